import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct DSnoTTests {
    private func meanError(_ errors: [Double]) -> Double {
        errors.reduce(0) { $0 + abs($1) } / Double(errors.count)
    }

    @Test(arguments: [true, false])
    func trackedErrorsAreThoseOfTheMask(signTest: Bool) throws {
        let layer = LayerFixture(outputs: 40, inputs: 100)
        for pattern in [Pattern.unstructured(.row), .nm(n: 2, m: 4)] {
            let initial = try layer.pruned(Wanda(), pattern, 0.5).mask
            let found = try DSnoT(signTest: signTest).refineTracking(
                initial, weight: layer.weight, statistics: layer.statistics, pattern: pattern)
            // From the inputs themselves: mean output of the dense layer minus that of the pruned one.
            let kept = found.mask.applied(to: layer.weight)
            let dense = layer.inputs.multiplied(by: layer.weight, otherTransposed: true)
            let sparse = layer.inputs.multiplied(by: kept, otherTransposed: true)
            for row in 0..<40 {
                var sum = 0.0
                for token in 0..<dense.rows { sum += Double(dense[token, row] - sparse[token, row]) }
                #expect(abs(found.errors[row] - sum / Double(dense.rows)) < 1e-3)
            }
            #expect(found.mask != initial)
        }
    }

    @Test func expectedErrorsShrinkAndBudgetsStay() throws {
        let layer = LayerFixture(outputs: 60, inputs: 128)
        for pattern in [Pattern.unstructured(.row), .unstructured(.layer), .nm(n: 2, m: 4), .nm(n: 1, m: 4)] {
            let sparsity: Double? = pattern.impliedSparsity == nil ? 0.6 : nil
            let initial = try layer.pruned(Wanda(), pattern, sparsity).mask
            let refined = try DSnoT().refine(
                initial, weight: layer.weight, statistics: layer.statistics, pattern: pattern)
            for row in 0..<60 { #expect(refined.keptCount(row: row) == initial.keptCount(row: row)) }
            #expect(refined.satisfies(pattern))
            let before = DSnoT.expectedErrors(initial, weight: layer.weight, statistics: layer.statistics)
            let after = DSnoT.expectedErrors(refined, weight: layer.weight, statistics: layer.statistics)
            #expect(meanError(after) < 0.5 * meanError(before))
            for (a, b) in zip(after, before) { #expect(abs(a) <= abs(b) + 1e-6) }
        }
    }

    @Test func inputsOfMeanZeroGiveNothingToExchange() throws {
        let layer = LayerFixture(centred: true)
        let initial = try layer.pruned(Wanda(), .unstructured(.row), 0.5).mask
        let method = DSnoT(threshold: 0)
        let found = try method.refineTracking(
            initial, weight: layer.weight, statistics: layer.statistics, pattern: .unstructured(.row))
        #expect(found.mask == initial)
        #expect(found.errors.allSatisfy { abs($0) < 1e-6 })
    }

    @Test func noCyclesMeansNoChange() throws {
        let layer = LayerFixture()
        let initial = try layer.pruned(Magnitude(), .unstructured(.row), 0.5).mask
        let refined = try DSnoT(cycles: 0).refine(
            initial, weight: layer.weight, statistics: layer.statistics, pattern: .unstructured(.row))
        #expect(refined == initial)
    }

    @Test func handCase() throws {
        // One output; means are 1, 1, 1, 1. Removed: 0.5 and 0.2, so the error is 0.7. The largest contribution for
        // its variance comes back; what goes is the negative kept weight, although a positive one has a lower score.
        var statistics = InputStatistics(columns: 5)
        statistics.accumulate(Tensor<Float>([0, 0.5, 0.9, 0, 0, 2, 1.5, 1.1, 2, 2], shape: [2, 5]))
        let weight = Tensor<Float>([0.5, 0.2, 0.01, -0.3, 3], shape: [1, 5])
        let initial = SparsePattern(rows: 1, columns: 5, [false, false, true, true, true])
        // Variances are 1, 0.25, 0.01, 1, 1: 0.5 / 1 against 0.2 / 0.25.
        let found = try DSnoT(cycles: 1, threshold: 0, signTest: false).refineTracking(
            initial, weight: weight, statistics: statistics, pattern: .unstructured(.row))
        #expect(Array(found.mask.keptColumns(row: 0)) == [1, 2, 4])
        #expect(abs(found.errors[0] - (0.7 - 0.2 - 0.3)) < 1e-6)
        // Without the variance the larger contribution wins.
        let plain = try DSnoT(cycles: 1, threshold: 0, varianceExponent: 0, signTest: false).refine(
            initial, weight: weight, statistics: statistics, pattern: .unstructured(.row))
        #expect(Array(plain.keptColumns(row: 0)) == [0, 2, 4])
        // With the sign test that exchange would overshoot (0.7 - 0.5 - 0.3 < 0), so nothing happens.
        let tested = try DSnoT(cycles: 1, threshold: 0, varianceExponent: 0).refine(
            initial, weight: weight, statistics: statistics, pattern: .unstructured(.row))
        #expect(tested == initial)
    }

    @Test func refinedPruningKeepsOriginalValues() throws {
        let layer = LayerFixture()
        let found = try layer.pruned(RefinedPruning(Magnitude(), then: DSnoT()), .unstructured(.row), 0.5)
        #expect(found.weight == found.mask.applied(to: layer.weight))
        #expect(found.mask != (try layer.pruned(Magnitude(), .unstructured(.row), 0.5).mask))
    }

    @Test func badInputsAreRefused() throws {
        let layer = LayerFixture()
        #expect(throws: LacunaError.self) { try RefinedPruning(SparseGPT(), then: DSnoT()) }
        #expect(throws: LacunaError.self) { try layer.pruned(RefinedPruning.dsnot, .rows, 0.5) }
        #expect(throws: LacunaError.self) {
            try layer.pruned(RefinedPruning.dsnot, .nm(n: 2, m: 4, axis: .output), nil)
        }
        let mask = SparsePattern(rows: 24, columns: 40, keepingAll: true)
        #expect(throws: LacunaError.self) {
            try DSnoT().refine(mask, weight: layer.weight, statistics: nil, pattern: .unstructured(.row))
        }
        #expect(throws: LacunaError.self) {
            try DSnoT(threshold: .nan).refine(
                mask, weight: layer.weight, statistics: layer.statistics, pattern: .unstructured(.row))
        }
        #expect(throws: LacunaError.self) {
            try DSnoT().refine(
                SparsePattern(rows: 24, columns: 39), weight: layer.weight, statistics: layer.statistics,
                pattern: .unstructured(.row))
        }
    }
}
