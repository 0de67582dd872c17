import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// Recommenders, and tables of vectors of which a fixed share lives.
@Suite struct RecommenderTests {
    private func data(users: Int = 12, items: Int = 9, seed: UInt64 = 1) throws -> Interactions {
        var generator = SeededGenerator(seed: seed)
        return try Interactions(
            SparsePattern(rows: users, columns: items) { user, item in
                item != user % items
                    && (item == (user + 1) % items || Double.random(in: 0..<1, using: &generator) < 0.4)
            })
    }

    @Test func interactions() throws {
        let data = try data()
        let (train, test) = try data.split(share: 0.34, seed: 3)
        #expect(
            train.pattern.union(test.pattern) == data.pattern && train.pattern.intersection(test.pattern).count == 0)
        for user in 0..<12 {
            #expect(test.items(of: user).count == Int(0.34 * Double(data.items(of: user).count)))
        }
        #expect(try data.split(share: 0.34, seed: 4).test.pattern != test.pattern)
        for share in [0, 1, -0.1] { #expect(throws: LacunaError.self) { try data.split(share: share, seed: 0) } }
        #expect(throws: LacunaError.self) { try Interactions(SparsePattern(rows: 2, columns: 3)) }
        #expect(throws: LacunaError.self) { try Interactions(SparsePattern(rows: 2, columns: 3, keepingAll: true)) }
    }

    /// The mean over 0 to L steps of the normalised adjacency, by hand, and its gradient by differences.
    @Test func lightGCN() throws {
        let data = try data()
        var generator = SeededGenerator(seed: 5)
        let model = try LightGCN(data, dimensions: 4, steps: 2, decay: 0.3, using: &generator)
        let table = model.table.weight.densified()
        let n = 21
        var a = [[Double]](repeating: [Double](repeating: 0, count: n), count: n)
        data.pattern.forEachEntry { _, user, item in
            a[user][12 + item] = 1
            a[12 + item][user] = 1
        }
        let degree = a.map { $0.reduce(0, +) }
        func spread(_ x: [[Double]]) -> [[Double]] {
            (0..<n).map { i in
                (0..<4).map { c in
                    (0..<n).reduce(0) { sum, j in
                        a[i][j] == 0 ? sum : sum + x[j][c] / (degree[i] * degree[j]).squareRoot()
                    }
                }
            }
        }
        func loss(_ table: [[Double]]) -> Double {
            let (first, second) = (spread(table), spread(spread(table)))
            var total = 0.0
            for i in 0..<n {
                for c in 0..<4 {
                    let mean: Double = (table[i][c] + first[i][c] + second[i][c]) / 3
                    total += mean * mean
                }
            }
            return total
        }
        let tape = Tape<Float>()
        let vectors = model.vectors(on: tape)
        let rows = (0..<n).map { i in (0..<4).map { Double(table[i, $0]) } }
        tape.backward(from: vectors.map(.square).sum())
        let value = tape.evaluating { model.vectors(on: tape).map(.square).sum().item }
        #expect(abs(Double(value) - loss(rows)) < 1e-4)
        let gradient = model.table.dense!.parameter.gradient!
        for (i, c) in [(0, 0), (5, 3), (14, 1), (20, 2)] {
            var (up, down) = (rows, rows)
            up[i][c] += 1e-4
            down[i][c] -= 1e-4
            #expect(abs(Double(gradient[i, c]) - (loss(up) - loss(down)) / 2e-4) < 1e-4)
        }
        // Scores are inner products of the final vectors.
        let final = tape.evaluating { model.vectors(on: tape).value }
        let scores = tape.evaluating { model.scores(of: [3, 0], data, on: tape).value }
        #expect(scores.shape == [2, 9])
        #expect(abs(scores[0, 7] - (0..<4).reduce(0) { $0 + final[3, $1] * final[19, $1] }) < 1e-6)
    }

    /// All vectors 0: every pair is a draw, log 2, and lengths cost nothing; equal vectors cost decay / 2 a square and vector.
    @Test func theLossOfPairs() throws {
        let data = try data()
        var generator = SeededGenerator(seed: 5)
        let model = try LightGCN(data, dimensions: 4, steps: 0, decay: 0.3, using: &generator)
        let tape = Tape<Float>()
        func loss(_ value: Float) -> Float {
            model.table.dense!.parameter.value = Tensor(repeating: value, shape: [21, 4])
            return tape.evaluating { model.loss(data, batch: 10, step: 0, seed: 1, on: tape).item }
        }
        #expect(abs(loss(0) - 0.693147) < 1e-5)
        #expect(abs(loss(0.5) - (0.693147 + 0.15 * 3)) < 1e-5)
        // A table by which users like exactly what they have: the loss falls below that of a draw.
        var rows = [[Float]](repeating: [Float](repeating: 0, count: 9), count: 21)
        data.pattern.forEachEntry { _, user, item in rows[user][item] = 3 }
        for item in 0..<9 { rows[12 + item][item] = 3 }
        let known = try LightGCN(data, dimensions: 9, steps: 0, decay: 0, using: &generator)
        known.table.dense!.parameter.value = Tensor(rows.flatMap(\.self), shape: [21, 9])
        // softplus(-9) for every pair: others are never items that the user has.
        #expect(abs(tape.evaluating { known.loss(data, batch: 64, step: 3, seed: 1, on: tape).item } - 1.234e-4) < 1e-6)
        // Recommended is what the user has not.
        for (user, ranking) in known.recommendations(for: Array(0..<12), count: 9, data).enumerated() {
            #expect(Set(ranking).isDisjoint(with: data.items(of: user)))
            #expect(ranking.count == 9 - data.items(of: user).count)
        }
    }

    /// Every kind learns to tell what users have.
    @Test(arguments: ["factors", "graph", "network", "autoencoder"]) func recommendersLearn(kind: String) throws {
        let data = try data(users: 30, items: 12)
        var generator = SeededGenerator(seed: 7)
        func ranks(_ model: some Recommender) throws -> Double {
            var plan = TrainingPlan(steps: 150, learningRate: .constant(0.02))
            plan.seed = 2
            let method = try DynamicSparseEmbeddings(density: 0.6, interval: 20, tables: model.tables)
            try model.train(on: data, optimizer: Adam(), plan: plan, batch: 32, hooks: [method])
            let stored = try method.stored(model)
            for (name, matrix) in stored {
                let size = matrix.rows * matrix.columns
                #expect(matrix.pattern.count == size - Selection.removedCount(sparsity: 0.4, of: size), "\(name)")
                let layer = model.linears.first { $0.name == name }!.layer
                #expect(matrix.densified() == layer.weight.densified())
            }
            // The share of pairs in which what a user has stands above what it has not.
            let tape = Tape<Float>()
            let scores = tape.evaluating { model.scores(of: (0..<30).map { Int32($0) }, data, on: tape).value }
            #expect(scores.shape == [30, 12])
            var (right, all) = (0.0, 0.0)
            for user in 0..<30 {
                for item in data.items(of: user) {
                    for other in 0..<12 where !data.pattern[user, other] {
                        right += scores[user, Int(item)] > scores[user, other] ? 1 : 0
                        all += 1
                    }
                }
            }
            return right / all
        }
        let share =
            switch kind {
            case "factors": try ranks(LightGCN(data, dimensions: 8, steps: 0, using: &generator))
            case "graph": try ranks(LightGCN(data, dimensions: 8, steps: 2, using: &generator))
            case "network": try ranks(NeuMF(data, dimensions: 8, using: &generator))
            default: try ranks(MultVAE(data, hidden: 16, latent: 8, annealing: 100, using: &generator))
            }
        #expect(share > 0.7)
    }

    /// With everything alive it is dense training, to the bit.
    @Test func densityOneIsDense() throws {
        let data = try data()
        func trained(_ hooks: [any TrainingHook]) throws -> Tensor<Float> {
            var generator = SeededGenerator(seed: 7)
            let model = try LightGCN(data, dimensions: 6, steps: 1, using: &generator)
            var plan = TrainingPlan(steps: 60, learningRate: .constant(0.02))
            plan.seed = 2
            try model.train(on: data, optimizer: Adam(), plan: plan, batch: 16, hooks: hooks)
            return model.table.weight.densified()
        }
        let method = try DynamicSparseEmbeddings(density: 1, interval: 10)
        #expect(try trained([method]) == trained([]))
        #expect(method.exploration == 1)
        for (density, fraction, interval) in [(0, 0.5, 1), (1.1, 0.5, 1), (0.5, 1.1, 1), (0.5, 0.5, 0)] {
            #expect(throws: LacunaError.self) {
                try DynamicSparseEmbeddings(density: density, interval: interval, fraction: fraction)
            }
        }
    }

    /// The number of live weights never changes, whatever grows; the share that is exchanged falls to a hundredth.
    @Test(arguments: DropAndGrow.Growth.allCases, DropAndGrow.Start.allCases)
    func theBudgetIsFixed(growth: DropAndGrow.Growth, start: DropAndGrow.Start) throws {
        final class Probe: TrainingHook {
            var masks: [SparsePattern] = []
            func afterStep(_ run: TrainingRun) { masks.append((run.model as! LightGCN).table.dense!.mask!) }
        }
        let (data, probe) = (try data(), Probe())
        var generator = SeededGenerator(seed: 9)
        let model = try LightGCN(data, dimensions: 10, steps: 1, using: &generator)
        let first = model.table.weight.densified()
        let method = try DynamicSparseEmbeddings(density: 0.3, interval: 10, growth: growth, start: start)
        var plan = TrainingPlan(steps: 100, learningRate: .constant(0.02))
        plan.seed = 2
        try model.train(on: data, optimizer: Adam(), plan: plan, batch: 16, hooks: [method, probe])
        let kept = 210 - Selection.removedCount(sparsity: 0.7, of: 210)
        #expect(probe.masks.allSatisfy { $0.count == kept })
        let changes = (1..<100).map { probe.masks[$0].subtracting(probe.masks[$0 - 1]).count }
        for step in 1..<100 {
            let share = 0.005 + (0.5 - 0.005) / 2 * (1 + cosine(Double.pi * Double(step) / 100))
            #expect(changes[step - 1] == (step % 10 == 0 ? Selection.removedCount(sparsity: share, of: kept) : 0))
        }
        #expect(method.exploration > 0.5 && method.exploration <= 1)
        if growth == .unvisited {
            // Nothing is looked at twice while there is something new.
            #expect(abs(method.exploration * 210 - Double(min(210, kept + changes.reduce(0, +)))) < 1e-9)
        }
        if start == .largest {
            let order = first.scalars.map(abs).sorted(by: >)
            probe.masks[0].forEachEntry { _, r, c in #expect(abs(first[r, c]) >= order[kept - 1]) }
        }
    }

    private func cosine(_ x: Double) -> Double {
        // Σ (-1)ᵏ x²ᵏ / (2k)!
        var (term, sum) = (1.0, 1.0)
        for k in 1..<30 {
            term *= -x * x / Double((2 * k - 1) * 2 * k)
            sum += term
        }
        return sum
    }

    @Test func momentumGrowsWhereGradientsWere() throws {
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.5), growth: .momentum)
        settings.storage = .csr
        #expect(throws: LacunaError.self) { try DropAndGrow(settings) }
        settings.storage = .masked
        (settings.interval, settings.fraction, settings.leastFraction) = (5, 0.2, 0.3)
        #expect(throws: LacunaError.self) { try DropAndGrow(settings) }
        settings.leastFraction = 0.1
        // Its averages are part of checkpoints.
        let method = try DropAndGrow(settings)
        try train(network(), hooks: [method], steps: 12)
        let other = try DropAndGrow(settings)
        try other.restore(method.state)
        #expect("\(other.state)" == "\(method.state)")
        #expect(throws: LacunaError.self) { try other.restore(.null) }
    }

    /// The divergence comes in linearly, and all of it counts from the end of the annealing on.
    @Test func divergencesAreAnnealed() throws {
        let data = try data()
        func loss(_ divergence: Float, _ annealing: Int, step: Int) throws -> Double {
            var generator = SeededGenerator(seed: 5)
            let model = try MultVAE(
                data, hidden: 6, latent: 3, divergence: divergence, annealing: annealing, using: &generator)
            let tape = Tape<Float>()
            return Double(tape.evaluating { model.loss(data, batch: 6, step: step, seed: 3, on: tape).item })
        }
        for step in [0, 2, 6, 8, 30] {
            let likelihood = try loss(0, 0, step: step)
            let whole = try loss(1, 0, step: step) - likelihood
            #expect(whole > 1e-2)
            #expect(abs(try loss(1, 8, step: step) - likelihood - whole * min(1, Double(step) / 8)) < 1e-4)
            #expect(abs(try loss(0.5, 8, step: 30) - loss(0, 0, step: 30)) > 1e-3)
        }
    }

    /// Gradients that never change: the mean is nearly there after twenty steps, the mean of squares at 2 percent.
    @Test func momentsHaveTheirOwnMemories() throws {
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.5), growth: .momentum)
        (settings.interval, settings.end) = (1000, 1)
        let method = try DropAndGrow(settings)
        var generator = SeededGenerator(seed: 2)
        let (layer, x) = (
            Linear(inputDimensions: 3, outputDimensions: 2, bias: false, using: &generator),
            Tensor<Float>([1, -2, 3], shape: [1, 3])
        )
        struct Nothing: BatchSource {
            func batch(step: Int) -> Int { step }
            var batchesPerEpoch: Int? { nil }
        }
        try Trainer(
            model: Sequential([layer]), optimizer: SGD(learningRate: 0), source: Nothing(),
            plan: TrainingPlan(steps: 20, learningRate: .constant(0)), hooks: [method],
            loss: { _, tape in layer(tape.constant(x)).sum() }
        ).train()
        func numbers(_ name: String) throws -> [Double] {
            try #require(method.state[name]?.arrayValue?.first?.arrayValue).map { $0.doubleValue ?? .nan }
        }
        func left(_ share: Double) -> Double { (0..<20).reduce(1) { rest, _ in rest * share } }
        let gradient = [1.0, -2, 3, 1, -2, 3]
        for (found, g) in zip(try numbers("means"), gradient) { #expect(abs(found - (1 - left(0.9)) * g) < 1e-4) }
        for (found, g) in zip(try numbers("squares"), gradient) {
            #expect(abs(found - (1 - left(0.999)) * g * g) < 1e-4)
        }
    }
}
