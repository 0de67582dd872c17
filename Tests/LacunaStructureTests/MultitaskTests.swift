import LacunaTensor
import Testing

@testable import LacunaStructure

@Suite struct MultitaskTests {
    private static func heads(_ m: Int, _ k: Int, seed: UInt64) -> [[Double]] {
        var random = SeededGenerator(seed: seed)
        return (0..<m).map { _ in
            let v = (0..<k).map { _ in random.normal() }
            let length = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
            return v.map { $0 / length }
        }
    }

    private static func combined(_ heads: [[Double]], _ weights: [Double]) -> [Double] {
        heads[0].indices.map { i in zip(heads, weights).reduce(0) { $0 + $1.0[i] * $1.1 } }
    }

    /// The smallest L1 norm is attained at a vertex: all choices of three tasks, one by one.
    @Test(arguments: [1, 2, 3]) func smallestNormsAreThose(seed: UInt64) throws {
        let heads = Self.heads(9, 3, seed: seed)
        let target = Self.combined(heads, [0.7, -0.5, 0.4, 0, 0, 0, 0, 0, 0.2])
        let found = try TaskRelevance.l1.weights(heads: heads, target: target)
        #expect(largestDifference(Self.combined(heads, found), target) < 1e-10)
        var best = Double.infinity
        for a in 0..<9 {
            for b in 0..<a {
                for c in 0..<b {
                    let columns = [heads[a], heads[b], heads[c]]
                    func determinant(_ m: [[Double]]) -> Double {
                        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
                            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
                            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
                    }
                    let whole = determinant(columns)
                    let weights = (0..<3).map { k in
                        var changed = columns
                        changed[k] = target
                        return determinant(changed) / whole
                    }
                    best = min(best, weights.reduce(0) { $0 + abs($1) })
                }
            }
        }
        #expect(abs(found.reduce(0) { $0 + abs($1) } - best) < 1e-9)
        #expect(found.count { $0 != 0 } <= 3)
        // The shortest by length: orthogonal to all that W maps to 0, and never shorter in the other norm.
        let short = try TaskRelevance.l2.weights(heads: heads, target: target)
        #expect(largestDifference(Self.combined(heads, short), target) < 1e-10)
        func square(_ v: [Double]) -> Double { v.reduce(0) { $0 + $1 * $1 } }
        #expect(square(short) <= square(found) + 1e-12)
        #expect(short.reduce(0) { $0 + abs($1) } >= best - 1e-12)
    }

    /// Heads along the axes: every weight by itself, divided by one more than its head's variance, and with the L1 norm
    /// shrunk before by a share of the largest.
    @Test func uncertainHeadsWeighLess() throws {
        let heads = [[1.0, 0], [0, 1]]
        let ridge = try TaskRelevance.l2.weights(heads: heads, target: [3, 4], variances: [0.5, 3])
        #expect(largestDifference(ridge, [2, 1]) < 1e-9)
        let sparse = try TaskRelevance.l1.weights(heads: heads, target: [3, -4], variances: [0.5, 3], strength: 0.25)
        #expect(largestDifference(sparse, [2 / 1.5, -3.0 / 4]) < 1e-6)
    }

    @Test func uniqueWeightsAndASingleTask() throws {
        // As many tasks as dimensions: one solution, whatever the norm.
        let heads = Self.heads(4, 4, seed: 7)
        let truth = [0.5, -1, 0.25, 2]
        let target = Self.combined(heads, truth)
        for rule in [TaskRelevance.l1, .l2] {
            #expect(largestDifference(try rule.weights(heads: heads, target: target), truth) < 1e-9)
        }
        let nearly = try TaskRelevance.l1.weights(heads: heads, target: target, strength: 1e-7)
        #expect(largestDifference(nearly, truth) < 1e-4)
        // A source that is the target.
        let many = Self.heads(12, 4, seed: 8)
        let same = try TaskRelevance.l1.weights(heads: many, target: many[5])
        #expect(largestDifference(same, (0..<12).map { $0 == 5 ? 1 : 0 }) < 1e-10)
        #expect(try TaskRelevance.l1.weights(heads: many, target: [0, 0, 0, 0]).allSatisfy { $0 == 0 })
        #expect(throws: LacunaError.self) { try TaskRelevance.l1.weights(heads: [[1, 2]], target: [1]) }
        #expect(throws: LacunaError.self) { try TaskRelevance.l2.weights(heads: [[.nan]], target: [1]) }
        // Heads that cannot express the target.
        #expect(throws: LacunaError.self) { try TaskRelevance.l1.weights(heads: [[1, 0], [2, 0]], target: [1, 1]) }
    }

    /// The two formulas for the target's error, to rounding.
    @Test func samplesByRelevanceGiveTheStatedVariance() throws {
        let heads = Self.heads(30, 4, seed: 3)
        let target = Self.combined(heads, [0.6, 0.6, -0.5] + [Double](repeating: 0, count: 27))
        let first = try TaskRelevance.l1.weights(heads: heads, target: target)
        let second = try TaskRelevance.l2.weights(heads: heads, target: target)
        let n = 1000.0
        let norm1 = first.reduce(0) { $0 + abs($1) }
        let norm2 = second.reduce(0) { $0 + $1 * $1 }
        let one = TaskRelevance.targetVariance(first, samples: TaskRelevance.l1.shares(first).map { n * $0 })
        let two = TaskRelevance.targetVariance(second, samples: TaskRelevance.l2.shares(second).map { n * $0 })
        #expect(abs(one - norm1 * norm1 / n) < 1e-10)
        #expect(abs(two - Double(second.count { $0 != 0 }) * norm2 / n) < 1e-10)
        #expect(one < two)
        // Costs: no other shares of the same cost do better.
        let costs = (0..<30).map { 1 + Double($0 % 4) }
        let shares = TaskRelevance.l1.shares(first, costs: costs)
        func variance(_ shares: [Double]) -> Double {
            TaskRelevance.targetVariance(first, samples: shares) * zip(shares, costs).reduce(0) { $0 + $1.0 * $1.1 }
        }
        var random = SeededGenerator(seed: 1)
        for _ in 0..<50 {
            let other = shares.map { $0 * (0.8 + 0.4 * random.uniform()) }
            #expect(variance(shares) <= variance(other) * (1 + 1e-12))
        }
    }

    private static func task(
        _ basis: Tensor<Double>, _ head: [Double], _ count: Int, noise: Double, _ random: inout SeededGenerator
    ) throws -> SharedRepresentation.Task {
        let x = Tensor<Double>(normal: [count, basis.rows], using: &random)
        let y = x.multiplied(by: basis.multiplied(by: Tensor(head, shape: [head.count, 1]))).scalars
        return try SharedRepresentation.Task(inputs: x, targets: y.map { $0 + noise * random.normal() })
    }

    @Test func findsASharedRepresentation() throws {
        var random = SeededGenerator(seed: 11)
        let basis = try Tensor<Double>(normal: [12, 3], using: &random).qr().q
        let heads = Self.heads(8, 3, seed: 5)
        let exact = try heads.map { try Self.task(basis, $0, 20, noise: 0, &random) }
        let found = try SharedRepresentation(exact, dimensions: 3, tolerance: 1e-14, maximumIterations: 2000)
        #expect(found.converged && found.residuals.allSatisfy { $0 < 1e-8 })
        for head in heads {
            let direction = basis.multiplied(by: Tensor(head, shape: [3, 1])).scalars
            #expect(found.missing(of: direction) < 1e-6)
        }
        let gram = found.basis.multiplied(by: found.basis, transposed: true)
        for i in 0..<3 { for j in 0..<3 { #expect(abs(gram[i, j] - (i == j ? 1 : 0)) < 1e-12) } }
        // All inputs as dimensions: each task's own least squares.
        let whole = try SharedRepresentation(exact, dimensions: 12)
        #expect(whole.residuals.allSatisfy { $0 < 1e-10 })
        // A task without samples does no harm.
        let none = try SharedRepresentation.Task(inputs: Tensor(zeros: [0, 12]), targets: [])
        #expect(try SharedRepresentation(exact + [none], dimensions: 3).heads[8] == [0, 0, 0])
        #expect(throws: LacunaError.self) { try SharedRepresentation([], dimensions: 1) }
        #expect(throws: LacunaError.self) { try SharedRepresentation(exact, dimensions: 13) }
        #expect(throws: LacunaError.self) {
            try SharedRepresentation.Task(inputs: Tensor(zeros: [2, 3]), targets: [1, .infinity])
        }
    }

    @Test func budgetsAreSpentToTheLastSample() {
        for (shares, total, floor) in [
            ([0.5, 0.5], 11, 1), ([1, 0, 0, 0], 100, 5), ([0.4, 0.3, 0.2, 0.1], 37, 0),
            ([0.25, 0.25, 0.25, 0.25], 8, 2),
            ([0.97, 0.01, 0.02], 30, 4),
            // What the floors cost brings the second task to its floor too.
            ([0.74, 0.26, 0, 0], 40, 10), ([0.6, 0.2, 0.15, 0.05], 20, 5), ([0.5, 0.5, 0, 0], 21, 5),
        ] {
            let counts = ActiveMultitask.counts(shares, total: total, floor: floor)
            #expect(counts.reduce(0, +) == total && counts.allSatisfy { $0 >= floor }, "\(counts)")
        }
        #expect(ActiveMultitask.counts([0.5, 0.3, 0.2], total: 10, floor: 0) == [5, 3, 2])
    }

    @Test func drawsFromTheTasksThatMatter() throws {
        var random = SeededGenerator(seed: 21)
        let basis = try Tensor<Double>(normal: [10, 3], using: &random).qr().q
        let heads = Self.heads(10, 3, seed: 4)
        let head = Self.combined(heads, [0.8, -0.6] + [Double](repeating: 0, count: 8))
        let target = try Self.task(basis, head, 60, noise: 0.1, &random)
        let result = try ActiveMultitask(dimensions: 3, epochs: 3, floor: 3, strength: 0.05).run(
            sources: 10, budget: 2000, target: target
        ) { source, count in try Self.task(basis, heads[source], count, noise: 0.1, &random) }
        #expect(result.epochs.count == 3)
        #expect(result.epochs.reduce(0) { $0 + $1.drawn.reduce(0, +) } == 2000)
        #expect(Set(result.epochs[0].drawn).count <= 2, "uniform at first")
        let last = result.epochs[2].drawn
        let relevant = try TaskRelevance.l1.weights(heads: heads, target: head)
        let drawn = relevant.indices.reduce(0) { $0 + (relevant[$1] != 0 ? last[$1] : 0) }
        #expect(drawn > 1000 && last.allSatisfy { $0 >= 3 }, "\(last) for \(relevant)")
        let truth = basis.multiplied(by: Tensor(head, shape: [3, 1])).scalars
        #expect(largestDifference(result.coefficients, truth) < 0.1)
        #expect(throws: LacunaError.self) {
            try ActiveMultitask(dimensions: 3, floor: 3).run(sources: 10, budget: 50, target: target) { _, _ in target }
        }
    }

    /// Floors of early epochs are not paid twice.
    @Test func floorsStayWithinTheBudget() throws {
        var random = SeededGenerator(seed: 22)
        let basis = try Tensor<Double>(normal: [5, 2], using: &random).qr().q
        let heads = Self.heads(4, 2, seed: 5)
        let target = try Self.task(basis, heads[0], 20, noise: 0.1, &random)
        for budget in [120, 125, 137] {
            let result = try ActiveMultitask(dimensions: 2, epochs: 10, growth: 4, floor: 3).run(
                sources: 4, budget: budget, target: target
            ) { source, count in try Self.task(basis, heads[source], count, noise: 0.1, &random) }
            #expect(result.epochs.reduce(0) { $0 + $1.drawn.reduce(0, +) } == budget)
            #expect(result.epochs.allSatisfy { $0.drawn.allSatisfy { $0 >= 3 } })
        }
    }

    /// Prices of the simplex method belong to heads of any size.
    @Test func unitsOfHeadsDoNotMatter() throws {
        let heads = Self.heads(9, 3, seed: 4)
        let target = Self.combined(heads, [0.7, -0.5, 0.4, 0, 0, 0, 0, 0, 0.2])
        let plain = try TaskRelevance.l1.weights(heads: heads, target: target)
        for (unit, size) in [(0x1p-40, 1.0), (0x1p40, 1.0), (1.0, 0x1p-60), (0x1p30, 0x1p60)] {
            let found = try TaskRelevance.l1.weights(
                heads: heads.map { $0.map { $0 * unit } }, target: target.map { $0 * size })
            #expect(found == plain.map { $0 * size / unit })
        }
        // A target at right angles to all heads is no combination of them.
        #expect(throws: LacunaError.self) { try TaskRelevance.l1.weights(heads: [[1, 0], [2, 0]], target: [0, 1]) }
        #expect(throws: LacunaError.self) { try TaskRelevance.l1.weights(heads: [[0, 0]], target: [0, 1]) }
        #expect(try TaskRelevance.l1.weights(heads: [[1, 0]], target: [0, 0]) == [0])
    }

    /// Residuals that sums over samples would hide.
    @Test func smallResidualsAreTold() throws {
        var random = SeededGenerator(seed: 23)
        let basis = try Tensor<Double>(normal: [6, 2], using: &random).qr().q
        let tasks = try Self.heads(5, 2, seed: 6).map {
            try Self.task(basis, $0.map { $0 * 100 }, 40, noise: 1e-7, &random)
        }
        let found = try SharedRepresentation(tasks, dimensions: 2)
        // The noise, but for what two heads and a fifth of the basis explain of forty samples.
        for residual in found.residuals { #expect(residual > 0.3e-14 && residual < 2e-14, "\(residual)") }
    }

    // MARK: Networks

    /// Tasks that are linear in the same three kinks of the inputs.
    private static func kinked(
        _ head: [Double], _ count: Int, _ random: inout SeededGenerator
    ) throws -> SharedRepresentation.Task {
        let x = Tensor<Double>(normal: [count, 6], using: &random)
        let y = (0..<count).map { i in
            head[0] * max(0, x[i, 0] + x[i, 1]) + head[1] * max(0, x[i, 2] - 0.5) + head[2] * max(0, -x[i, 3])
                + 0.05 * random.normal()
        }
        return try SharedRepresentation.Task(inputs: x, targets: y)
    }

    @Test func findsASharedNetwork() throws {
        var random = SeededGenerator(seed: 31)
        let heads = Self.heads(6, 3, seed: 6)
        let none = try SharedRepresentation.Task(inputs: Tensor(zeros: [0, 6]), targets: [])
        let tasks = try heads.map { try Self.kinked($0, 150, &random) } + [none]
        let settings = SharedNetwork.Settings(hidden: [24, 8], epochs: 60, learningRate: 5e-3, seed: 3)
        let found = try SharedNetwork(tasks, settings)
        #expect(
            found.heads.count == 7 && found.heads.allSatisfy { $0.count == 9 } && found.heads[6].allSatisfy { $0 == 0 })
        // What no directions of the inputs can say.
        let linear = try SharedRepresentation(tasks, dimensions: 6)
        let (own, theirs) = (found.residuals.reduce(0, +), linear.residuals.reduce(0, +))
        #expect(own < 2 * theirs / 3, "\(own) \(theirs)")
        for t in 0..<6 {
            // Heads are those of least squares: residuals are orthogonal to features, the constant among them.
            let seen = found.features(tasks[t].inputs)
            let predicted = found.predictions(tasks[t].inputs, head: found.heads[t])
            let rest = zip(tasks[t].targets, predicted).map { $0 - $1 }
            #expect(seen.columns == 9 && (0..<150).allSatisfy { seen[$0, 8] == 1 && seen[$0, 0] >= 0 })
            for j in 0..<9 {
                let inner = (0..<150).reduce(0) { $0 + seen[$1, j] * rest[$1] }
                #expect(abs(inner) < 1e-3, "\(t) \(j): \(inner)")
            }
            #expect(abs(rest.reduce(0) { $0 + $1 * $1 } / 150 - found.residuals[t]) < 1e-8)
        }
        #expect(try SharedNetwork(tasks, settings).heads == found.heads, "seeded")
        // A new task of few samples is learnt better on these layers than by itself.
        let (few, many) = (try Self.kinked([0.5, -1, 1], 40, &random), try Self.kinked([0.5, -1, 1], 400, &random))
        func error(_ predicted: [Double]) -> Double {
            zip(predicted, many.targets).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / 400
        }
        let alone = try SharedNetwork([few], settings)
        let shared = error(found.predictions(many.inputs, head: try found.head(few)))
        #expect(shared < 0.7 * error(alone.predictions(many.inputs, head: alone.heads[0])), "\(shared)")
        #expect(throws: LacunaError.self) { try SharedNetwork([]) }
        #expect(throws: LacunaError.self) { try SharedNetwork([none]) }
    }

    /// Inputs and targets of any unit, around any number.
    @Test func networksDoNotSeeUnits() throws {
        var random = SeededGenerator(seed: 32)
        let tasks = try Self.heads(3, 3, seed: 8).map { try Self.kinked($0, 60, &random) }
        let settings = SharedNetwork.Settings(hidden: [12, 5], epochs: 20, learningRate: 5e-3, seed: 3)
        let plain = try SharedNetwork(tasks, settings)
        let moved = try tasks.map { task in
            try SharedRepresentation.Task(
                inputs: Tensor(task.inputs.scalars.map { $0 * 0x1p10 + 0x1p26 }, shape: task.inputs.shape),
                targets: task.targets.map { $0 * 0x1p-10 + 0x1p12 })
        }
        let other = try SharedNetwork(moved, settings)
        for t in 0..<3 {
            let expected = plain.predictions(tasks[t].inputs, head: plain.heads[t])
            let found = other.predictions(moved[t].inputs, head: other.heads[t]).map { ($0 - 0x1p12) * 0x1p10 }
            #expect(largestDifference(found, expected) < 1e-2, "\(t)")
            #expect(abs(other.residuals[t] * 0x1p20 - plain.residuals[t]) < 1e-2 * plain.residuals[t] + 1e-4)
            let own = other.predictions(moved[t].inputs, head: try other.head(moved[t]))
            #expect(largestDifference(own.map { ($0 - 0x1p12) * 0x1p10 }, expected) < 1e-2)
        }
    }

    @Test func drawsByANetwork() throws {
        var random = SeededGenerator(seed: 33)
        let heads = Self.heads(5, 3, seed: 9)
        let target = try Self.kinked(heads[2], 50, &random)
        let settings = SharedNetwork.Settings(hidden: [8], epochs: 5, seed: 1)
        let result = try ActiveMultitask(dimensions: 1, epochs: 2, growth: 2, floor: 4, strength: 0.1).run(
            sources: 5, budget: 300, target: target, learn: { tasks, _ in try SharedNetwork(tasks, settings) },
            draw: { source, count in try Self.kinked(heads[source], count, &random) })
        #expect(result.epochs.reduce(0) { $0 + $1.drawn.reduce(0, +) } == 300 && result.targetHead.count == 9)
        #expect(result.epochs[1].drawn.allSatisfy { $0 >= 4 } && result.representation.heads.count == 5)
    }
}
