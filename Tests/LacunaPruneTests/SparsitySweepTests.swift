import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct SparsitySweepTests {
    private func curve(_ values: [Double], _ metric: SweepMetric = .accuracy) -> SparsityCurve {
        SparsityCurve(
            method: "m", metric: metric,
            points: values.enumerated().map { .init(sparsity: Double($0) / 10, value: $1) })
    }

    @Test func essentialSparsityIsTheLastPointBeforeTheFirstLoss() {
        let values = [0.80, 0.80, 0.795, 0.791, 0.78, 0.795, 0.5]
        #expect(curve(values).essentialSparsity() == 0.3)
        #expect(curve(values).essentialSparsity(tolerance: 0.02) == 0.5)
        #expect(curve([0.8, 0.1]).essentialSparsity() == 0)
        #expect(curve([]).essentialSparsity() == nil)
        #expect(curve([30, 30.2, 30.29, 30.4, 100], .perplexity).essentialSparsity() == 0.2)
        #expect(curve([30, .infinity, 30], .perplexity).essentialSparsity() == 0)
    }

    @Test func kneeIsTheFarthestFromTheChord() {
        #expect(curve([1, 1, 1, 0.9, 0.5, 0]).knee?.sparsity == 0.3)
        // Perplexities are judged by their logarithms: here a straight line, then a bend.
        #expect(curve([10, 10, 10, 100, 1000], .perplexity).knee?.sparsity == 0.2)
        #expect(curve([10, 100, 1000], .perplexity).knee == nil)
        #expect(curve([1, 1, 1]).knee == nil)
        #expect(curve([1, 0]).knee == nil)
        #expect(curve([10, 10, .infinity, .infinity], .perplexity).knee == nil)
        #expect(curve([10, 11, 20, .infinity], .perplexity).knee?.sparsity == 0.1)
    }

    @Test func everyPointStartsFromTheOriginal() throws {
        var generator = SeededGenerator(seed: 2)
        let weights = [
            Tensor<Float>(normal: [20, 10], using: &generator),
            Tensor<Float>(normal: [10, 30], standardDeviation: 0.1, using: &generator),
        ]
        var zeros: [[Int]] = []
        let sweep = SparsitySweep(sparsities: [0.9, 0, 0.5])
        let curve = try sweep.run(weights, method: Magnitude(), metric: .accuracy) { pruned in
            zeros.append(pruned.map { $0.scalars.count { $0 == 0 } })
            // A kept weight is the original one.
            for (a, b) in zip(pruned, weights) {
                #expect(zip(a.scalars, b.scalars).allSatisfy { $0 == 0 || $0 == $1 })
            }
            return 1
        }
        #expect(curve.points.map(\.sparsity) == [0, 0.5, 0.9])
        // Exact in total; the matrix with the smaller weights gives more.
        #expect(zeros.map { $0.reduce(0, +) } == [0, 250, 450])
        #expect(zeros[1][1] > 220)
        let uniform = try SparsitySweep(scope: .layer).prune(weights, method: Magnitude(), sparsity: 0.5)
        #expect(uniform.map { $0.scalars.count { $0 == 0 } } == [100, 150])
    }

    @Test func moreThanTenMatricesKeepTheirPlaces() throws {
        var generator = SeededGenerator(seed: 3)
        let weights = (0..<12).map { _ in Tensor<Float>(normal: [3, 4], using: &generator) }
        let pruned = try SparsitySweep().prune(weights, method: Magnitude(), sparsity: 0.25)
        let threshold = weights.flatMap(\.scalars).map(\.magnitude).sorted()[36]
        for (a, b) in zip(pruned, weights) {
            #expect(a.scalars == b.scalars.map { $0.magnitude < threshold ? 0 : $0 })
        }
    }

    @Test func badInputsAreRefused() {
        let weights = [Tensor<Float>(zeros: [2, 2])]
        #expect(throws: LacunaError.self) { try SparsitySweep().prune(weights, method: Wanda(), sparsity: 0.5) }
        #expect(throws: LacunaError.self) { try SparsitySweep().prune(weights, method: Magnitude(), sparsity: 2) }
    }
}
