import LacunaTensor
import Testing

@testable import LacunaStructure

@Suite struct GraphTests {
    private func expectInside(_ isInside: Bool, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(isInside, sourceLocation: sourceLocation)
    }

    @Test func barrierVanishesOnAcyclicGraphsOnly() {
        var barrier = AcyclicityBarrier(count: 3)
        // Upper triangular: acyclic whatever the weights.
        expectInside(barrier.update([0, 2, -3, 0, 0, 5, 0, 0, 0], domain: 1))
        #expect(abs(barrier.value(domain: 1)) < 1e-12)
        // A cycle of three with weights a: det(sI - A) = s³ - a⁶.
        let a = 0.8
        expectInside(barrier.update([0, a, 0, 0, 0, a, a, 0, 0], domain: 1))
        #expect(abs(barrier.value(domain: 1) + logarithm(1 - power(a, 6))) < 1e-12)
        // Beyond the domain.
        expectInside(!barrier.update([0, 1.2, 0, 0, 0, 1.2, 1.2, 0, 0], domain: 1))
    }

    /// Sizes below, at and above the block, against the product with the matrix itself and the determinant by QR.
    @Test(arguments: [1, 31, 32, 33, 70, 200]) func barrierByBlocks(count d: Int) throws {
        var random = SeededGenerator(seed: UInt64(d))
        let w = (0..<d * d).map { $0 % (d + 1) == 0 ? 0 : 0.6 / Double(d).squareRoot() * random.normal() }
        var barrier = AcyclicityBarrier(count: d)
        expectInside(barrier.update(w, domain: 0.9))
        var matrix = Tensor(w.map { -$0 * $0 }, shape: [d, d])
        for i in 0..<d { matrix[i, i] += 0.9 }
        let product = matrix.multiplied(by: Tensor(barrier.inverse, shape: [d, d]))
        for i in 0..<d {
            for j in 0..<d where abs(product[i, j] - (i == j ? 1 : 0)) > 1e-12 { Issue.record("entry (\(i), \(j))") }
        }
        let r = try matrix.qr().r
        var logDeterminant = 0.0
        for i in 0..<d { logDeterminant += logarithm(abs(r[i, i])) }
        #expect(abs(barrier.logDeterminant - logDeterminant) < 1e-10)
        // Large entries leave the domain, whichever block they are in.
        if d > 1 {
            var outside = w
            (outside[1], outside[d]) = (1.3, 1.3)
            expectInside(!barrier.update(outside, domain: 0.9))
            outside = w
            (outside[d * d - 2], outside[d * (d - 1) - 1]) = (1.3, 1.3)
            expectInside(!barrier.update(outside, domain: 0.9))
        }
    }

    @Test func barrierGradient() {
        var random = SeededGenerator(seed: 3)
        var w = (0..<25).map { $0 % 6 == 0 ? 0 : 0.3 * random.normal() }
        var barrier = AcyclicityBarrier(count: 5)
        expectInside(barrier.update(w, domain: 0.9))
        let inverse = barrier.inverse
        for k in [1, 7, 13, 20, 23] {
            let (i, j) = (k / 5, k % 5)
            let slope = 2 * w[k] * inverse[j * 5 + i]
            func value(_ shift: Double) -> Double {
                w[k] += shift
                defer { w[k] -= shift }
                _ = barrier.update(w, domain: 0.9)
                return barrier.value(domain: 0.9)
            }
            #expect(abs((value(1e-6) - value(-1e-6)) / 2e-6 - slope) < 1e-7)
        }
    }

    @Test func graphs() {
        var graph = DirectedGraph(count: 3)
        graph[0, 1] = 2
        graph[1, 2] = -1
        #expect(graph.topologicalOrder == [0, 1, 2] && graph.edges.count == 2)
        var other = graph
        other[2, 0] = 0.5
        #expect(other.topologicalOrder == nil && other.distance(to: graph) == 1)
        #expect(other.pruned(threshold: 0) == graph, "the weakest edge of the cycle goes")
        #expect(graph.pruned(threshold: 1).edges.count == 1)
        var turned = DirectedGraph(count: 3)
        turned[1, 0] = 2
        #expect(turned.distance(to: graph) == 2, "one turned round, one missing")
    }

    @Test func findsASmallGraph() throws {
        var random = SeededGenerator(seed: 5)
        let model = LinearStructuralModel(count: 6, edges: 7, noise: [0.5], using: &random)
        let data = model.sample(rows: 2000, using: &random)
        for noise in [CoLiDE.Noise.equal, .varying] {
            let found = try CoLiDE(noise: noise, iterations: 3000, finalIterations: 8000, rate: 1e-3).fit(data)
            #expect(found.graph.topologicalOrder != nil)
            #expect(found.graph.distance(to: model.graph) <= 1, "\(noise)")
            #expect(found.noise.allSatisfy { abs($0 - 0.5) < 0.1 })
        }
    }

    @Test func unusableData() {
        let solver = CoLiDE()
        #expect(throws: LacunaError.self) { try solver.fit(Tensor(zeros: [1, 3])) }
        #expect(throws: LacunaError.self) { try solver.fit(Tensor(repeating: 1, shape: [9, 3])) }
        #expect(throws: LacunaError.self) { try solver.fit(Tensor([1, 2, .nan, 4, 5, 7], shape: [3, 2])) }
    }

    /// With a noise level for each variable, the pull on an edge is divided by the level of its effect, not of its cause.
    @Test func unequalNoise() throws {
        var generator = SeededGenerator(seed: 21)
        let rows = 400
        var data = Tensor<Double>(zeros: [rows, 3])
        for i in 0..<rows {
            let a = 0.5 * generator.normal()
            let b = 1.6 * a + 2 * generator.normal()
            data[i, 0] = a
            data[i, 1] = b
            data[i, 2] = 0.8 * b + generator.normal()
        }
        let lambda = 0.2
        let result = try CoLiDE(noise: .varying, sparsity: lambda, iterations: 4000, finalIterations: 15_000).fit(data)
        let w = result.dense
        var means = [0.0, 0, 0]
        for i in 0..<rows { for j in 0..<3 { means[j] += data[i, j] / Double(rows) } }
        func covariance(_ a: Int, _ b: Int) -> Double {
            (0..<rows).reduce(0) { $0 + (data[$1, a] - means[a]) * (data[$1, b] - means[b]) } / Double(rows)
        }
        let unit = (0..<3).map { covariance($0, $0).squareRoot() }.min() ?? 1
        var checked = 0
        for edge in result.graph.edges {
            let (i, j) = (edge.source, edge.target)
            var pull = covariance(i, j)
            for k in 0..<3 { pull -= covariance(i, k) * w[k, j] }
            let slope = -pull / unit / result.noise[j] + lambda * (w[i, j] > 0 ? 1 : -1)
            #expect(abs(slope) < 0.06, "\(edge) \(slope) \(result.noise)")
            if result.noise[i] / result.noise[j] > 1.5 || result.noise[i] / result.noise[j] < 0.67 { checked += 1 }
        }
        #expect(checked >= 1, "an edge between unequal levels: \(result.graph.edges) \(result.noise)")
    }

    /// The noise is what the effects leave of every variable, at each moment of the search: its own, or the mean of all.
    @Test func noiseIsWhatIsLeft() throws {
        var generator = SeededGenerator(seed: 23)
        let rows = 60
        var data = Tensor<Double>(zeros: [rows, 3])
        for i in 0..<rows {
            let a = 0.5 * generator.normal()
            let b = a + 2 * generator.normal()
            (data[i, 0], data[i, 1], data[i, 2]) = (a, b, 0.8 * b + generator.normal())
        }
        var means = [0.0, 0, 0]
        for i in 0..<rows { for j in 0..<3 { means[j] += data[i, j] / Double(rows) } }
        func left(_ w: DirectedGraph) -> [Double] {
            (0..<3).map { j in
                var sum = 0.0
                for i in 0..<rows {
                    var rest = data[i, j] - means[j]
                    for k in 0..<3 { rest -= w[k, j] * (data[i, k] - means[k]) }
                    sum += rest * rest / Double(rows)
                }
                return sum
            }
        }
        func search(_ noise: CoLiDE.Noise) throws -> CoLiDE.Result {
            try CoLiDE(noise: noise, iterations: 300, finalIterations: 300).fit(data)
        }
        let (varying, equal, fixed) = (try search(.varying), try search(.equal), try search(.fixed(0.7)))
        #expect(varying.dense.weights.contains { abs($0) > 0.05 })
        #expect(largestDifference(varying.noise, left(varying.dense).map { $0.squareRoot() }) < 1e-9)
        let shared = (left(equal.dense).reduce(0, +) / 3).squareRoot()
        #expect(largestDifference(equal.noise, [shared, shared, shared]) < 1e-9)
        #expect(largestDifference(fixed.noise, [0.7, 0.7, 0.7]) < 1e-12)
        #expect(!varying.converged && varying.iterations == 1200)
    }

    /// A stage whose objective is looked at every 1000 steps ends at the second look where every change is small enough, and
    /// at its bound where none is.
    @Test func stagesEndByTheirTolerance() throws {
        var generator = SeededGenerator(seed: 24)
        var data = Tensor<Double>(zeros: [50, 2])
        for i in 0..<50 {
            data[i, 0] = generator.normal()
            data[i, 1] = data[i, 0] + generator.normal()
        }
        let easy = try CoLiDE(iterations: 2500, finalIterations: 3500, tolerance: 10).fit(data)
        #expect(easy.iterations == 4 * 2000 && easy.converged)
        let hard = try CoLiDE(iterations: 2500, finalIterations: 3500, tolerance: -1).fit(data)
        #expect(hard.iterations == 3 * 2500 + 3500 && !hard.converged)
    }

    /// The settings of the authors' experiments.
    @Test func settingsOfTheAuthors() {
        let solver = CoLiDE()
        #expect(solver.noise == .equal && solver.sparsity == 0.05 && solver.threshold == 0.3 && solver.rate == 3e-4)
        #expect(solver.iterations == 20_000 && solver.finalIterations == 70_000 && solver.tolerance == 1e-6)
        #expect(solver.stages.map { $0.weight } == [1, 0.1, 0.01, 0.001])
        #expect(solver.stages.map { $0.domain } == [1, 0.9, 0.8, 0.7])
    }

    @Test func graphsAreTheSameInOtherUnits() throws {
        var generator = SeededGenerator(seed: 9)
        var data = Tensor<Double>(zeros: [150, 3])
        for i in 0..<150 {
            let a = generator.normal()
            let b = 1.2 * a + generator.normal()
            data[i, 0] = a
            data[i, 1] = b
            data[i, 2] = -0.9 * b + generator.normal()
        }
        let solver = CoLiDE(iterations: 3000, finalIterations: 6000)
        let expected = try solver.fit(data)
        #expect(Set(expected.graph.edges.map { [$0.source, $0.target] }) == [[0, 1], [1, 2]])
        for factor in [1e-12, 0.01, 1000, 1e12] {
            let found = try solver.fit(Tensor(data.scalars.map { $0 * factor }, shape: [150, 3]))
            #expect(
                found.graph.edges.map { [$0.source, $0.target] } == expected.graph.edges.map { [$0.source, $0.target] })
            #expect(largestDifference(found.graph.weights, expected.graph.weights) < 1e-3)
            #expect(abs(found.noise[0] / factor - expected.noise[0]) < 1e-3)
        }
        let cyclic = DirectedGraph(count: 2, weights: [0, 0.6, 0.5, 0])
        #expect(cyclic.thresholded(0.3).topologicalOrder == nil && cyclic.thresholded(0.5).topologicalOrder == [0, 1])
        #expect(cyclic.withoutCycles().weights == [0, 0.6, 0, 0])
    }

    @Test func thresholdsThatLeaveNoCycle() {
        #expect(DirectedGraph(count: 3, weights: [0, 2, -3, 0, 0, 5, 0, 0, 0]).acyclicThreshold == 0)
        #expect(
            DirectedGraph(count: 2, weights: [7, 0.6, -0.5, 7]).acyclicThreshold == 0.5, "no variable acts on itself")
        var random = SeededGenerator(seed: 6)
        for _ in 0..<20 {
            let graph = DirectedGraph(count: 5, weights: (0..<25).map { _ in random.normal() })
            // Each magnitude tried from below.
            let expected = graph.thresholded(0).weights.map { abs($0) }.sorted().first {
                graph.thresholded($0).topologicalOrder != nil
            }
            #expect(graph.acyclicThreshold == expected)
        }
    }

    // MARK: NOTEARS

    @Test func traceOfTheExponential() {
        // A cycle of two: the exponential of [0 a; b 0] has cosh √(ab) on its diagonal.
        for (x, y) in [(0.3, -0.5), (1.5, 2), (-4, 3)] {
            let found = NOTEARS.Lagrangian.acyclicity([0, x, y, 0], 2)
            let root = abs(x * y)
            let expected = exponential(root) + exponential(-root) - 2
            #expect(abs(found.value - expected) < 1e-12 * max(1, expected))
        }
        // Acyclic, however large: exactly I + N + N²/2, so that the trace is 0.
        let acyclic = NOTEARS.Lagrangian.acyclicity([0, 2, -3, 0, 0, 5, 0, 0, 0], 3)
        #expect(acyclic.value == 0 && acyclic.gradient.allSatisfy { $0 == 0 })
        let series = NOTEARS.Lagrangian.exponential(of: [0, 4, 9, 0, 0, 25, 0, 0, 0], 3)
        #expect(largestDifference(series, [1, 4, 59, 0, 1, 25, 0, 0, 1]) < 1e-10)
        #expect(NOTEARS.Lagrangian.acyclicity([0, 1e200, 1e200, 0], 2).value.isFinite == false)
    }

    @Test func lagrangianGradient() {
        var random = SeededGenerator(seed: 8)
        let d = 4
        let x = Tensor<Double>(normal: [9, d], using: &random)
        let covariance = x.multiplied(by: x, transposed: true).scalars.map { $0 / 9 }
        var lagrangian = NOTEARS.Lagrangian(covariance: covariance, count: d, 0.07)
        (lagrangian.weight, lagrangian.multiplier) = (3, 0.4)
        var z = (0..<2 * d * d).map { _ in 0.6 * random.uniform() }
        let gradient = lagrangian.evaluate(z).gradient
        for k in z.indices {
            func value(_ shift: Double) -> Double {
                z[k] += shift
                defer { z[k] -= shift }
                return lagrangian.evaluate(z).value
            }
            #expect(abs((value(1e-5) - value(-1e-5)) / 2e-5 - gradient[k]) < 1e-7)
        }
        // By the definition: half the mean square of what is left, the L1 norm of both parts, and the two terms of h.
        let w = lagrangian.weights(z)
        let left = x - x.multiplied(by: Tensor(w, shape: [d, d]))
        let h = lagrangian.acyclicity(z)
        let expected = left.scalars.reduce(0) { $0 + $1 * $1 } / 18 + 0.07 * z.reduce(0, +) + 0.4 * h + 1.5 * h * h
        #expect(abs(lagrangian.evaluate(z).value - expected) < 1e-10)
    }

    /// Two variables: the better direction, with the lasso's coefficient in closed form.
    @Test func twoVariablesByNOTEARS() throws {
        var random = SeededGenerator(seed: 12)
        var data = Tensor<Double>(zeros: [400, 2])
        for i in 0..<400 {
            data[i, 1] = random.normal()
            data[i, 0] = -1.4 * data[i, 1] + random.normal()
        }
        let means = [0, 1].map { j in (0..<400).reduce(0) { $0 + data[$1, j] / 400 } }
        func covariance(_ a: Int, _ b: Int) -> Double {
            (0..<400).reduce(0) { $0 + (data[$1, a] - means[a]) * (data[$1, b] - means[b]) / 400 }
        }
        let found = try NOTEARS(sparsity: 0.1).fit(data)
        #expect(found.converged && found.acyclicity <= 1e-8)
        #expect(found.graph.edges.map { [$0.source, $0.target] } == [[1, 0]])
        let expected = (covariance(0, 1) + 0.1) / covariance(1, 1)
        #expect(abs(found.graph[1, 0] - expected) < 1e-3, "\(found.graph[1, 0]) \(expected)")
        #expect(abs(found.dense[0, 1]) < 1e-3)
    }

    @Test func graphsByNOTEARS() throws {
        var random = SeededGenerator(seed: 5)
        let model = LinearStructuralModel(count: 6, edges: 7, noise: [1], using: &random)
        let data = model.sample(rows: 2000, using: &random)
        let found = try NOTEARS().fit(data)
        #expect(found.graph.topologicalOrder != nil && found.graph.distance(to: model.graph) <= 1)
        #expect(found.dense.acyclicThreshold < 0.05, "acyclic before anything is cut")
        #expect(throws: LacunaError.self) { try NOTEARS().fit(Tensor(zeros: [1, 3])) }
        #expect(throws: LacunaError.self) { try NOTEARS().fit(Tensor(repeating: 1, shape: [9, 3])) }
    }

    // MARK: Models

    @Test func noiseAndGraphsOfModels() {
        var random = SeededGenerator(seed: 14)
        let alone = DirectedGraph(count: 2)
        for distribution in LinearStructuralModel.Distribution.allCases {
            let model = LinearStructuralModel(alone, noise: [0.5, 2], distribution: distribution)
            let data = model.sample(rows: 40_000, using: &random)
            // Skewness and kurtosis as the books have them: 0 and 3, 2 and 9, 0 and 6.
            let expected = [0.0, 2, 0]
            let tails = [3.0, 9, 6]
            let which = LinearStructuralModel.Distribution.allCases.firstIndex(of: distribution)!
            for (j, deviation) in [0.5, 2].enumerated() {
                let x = (0..<data.rows).map { data[$0, j] / deviation }
                func moment(_ k: Int) -> Double {
                    x.reduce(0) { sum, x in sum + (0..<k).reduce(1) { product, _ in product * x } } / Double(x.count)
                }
                #expect(abs(moment(1)) < 0.03 && abs(moment(2) - 1) < 0.05)
                #expect(abs(moment(3) - expected[which]) < 0.3 && abs(moment(4) - tails[which]) < 1.8)
            }
        }
        // Scale-free: as many edges as promised, and few variables with many of them.
        let model = LinearStructuralModel(scaleFree: 100, edgesPerVariable: 2, noise: [1], using: &random)
        #expect(model.graph.edges.count == 1 + 98 * 2 && model.graph.topologicalOrder != nil)
        #expect(model.graph.edges.allSatisfy { (0.5...2).contains(abs($0.weight)) })
        var degree = [Int](repeating: 0, count: 100)
        for edge in model.graph.edges {
            degree[edge.source] += 1
            degree[edge.target] += 1
        }
        #expect(degree.max()! >= 12 && degree.min()! >= 1, "\(degree.max()!)")
    }

    /// Every noise has the deviation that was asked for, and the mean 0; what a variable gets from others comes on top.
    @Test(arguments: LinearStructuralModel.Distribution.allCases)
    func noiseHasItsDeviation(distribution: LinearStructuralModel.Distribution) {
        var graph = DirectedGraph(count: 2)
        graph[0, 1] = -0.5
        let model = LinearStructuralModel(graph, noise: [2, 3], distribution: distribution)
        var random = SeededGenerator(seed: 17)
        let data = model.sample(rows: 20_000, using: &random)
        for j in 0..<2 {
            let own = (0..<20_000).map { j == 0 ? data[$0, 0] : data[$0, 1] + 0.5 * data[$0, 0] }
            let mean = own.reduce(0, +) / 20_000
            let variance = own.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 20_000
            #expect(abs(mean) < 0.04 * model.noise[j])
            #expect(abs(variance / (model.noise[j] * model.noise[j]) - 1) < 0.08)
        }
    }
}
