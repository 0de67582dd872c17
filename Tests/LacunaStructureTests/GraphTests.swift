import LacunaStructure
import LacunaTensor
import Testing

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
}
