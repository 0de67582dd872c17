import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct SparseGPTTests {
    /// The method as its definition reads: at every column the Hessian of the columns not yet visited is inverted anew,
    /// and the whole rest of the row is corrected at once.
    private func reference(
        _ weight: Tensor<Float>, _ statistics: InputStatistics, damping: Double, window: Int,
        removed: (_ scores: Tensor<Float>) throws -> SparsePattern
    ) throws -> (weight: [Double], mask: SparsePattern) {
        let (rows, columns) = (weight.rows, weight.columns)
        let hessian = try statistics.hessian(Double.self, damping: damping)
        var w = weight.scalars.map(Double.init)
        for j in statistics.deadColumns { for i in 0..<rows { w[i * columns + j] = 0 } }
        let inverses: [Tensor<Double>] = try (0..<columns).map { j in
            let rest = Tensor<Double>(
                (j..<columns).flatMap { a in (j..<columns).map { hessian[a, $0] } }, shape: [columns - j, columns - j])
            return try rest.cholesky().inverseFromCholesky()
        }
        var mask = SparsePattern(rows: rows, columns: columns, keepingAll: true)
        for first in stride(from: 0, to: columns, by: window) {
            let width = min(window, columns - first)
            let scores = Tensor<Float>(
                (0..<rows).flatMap { i in
                    (first..<first + width).map { j in
                        Float(w[i * columns + j] * w[i * columns + j] / inverses[j][0, 0])
                    }
                }, shape: [rows, width])
            let chosen = try removed(scores)
            for j in first..<first + width {
                for i in 0..<rows where !chosen[i, j - first] {
                    let e = w[i * columns + j] / inverses[j][0, 0]
                    for t in j..<columns { w[i * columns + t] -= e * inverses[j][0, t - j] }
                    w[i * columns + j] = 0
                    mask[i, j] = false
                }
            }
        }
        return (w, mask)
    }

    private func expectEqual(_ found: Tensor<Float>, _ expected: [Double]) {
        let difference = zip(found.scalars, expected).map { abs(Double($0) - $1) }.max()!
        #expect(difference < 1e-3)
    }

    @Test(arguments: [4, 5, 11, 64])
    func equalsBruteForceForUnstructured(blockSize: Int) throws {
        let layer = LayerFixture(outputs: 6, inputs: 20, seed: 3)
        let method = SparseGPT(blockSize: blockSize)
        let found = try layer.pruned(method, .unstructured(.row), 0.5)
        var seen = 0
        var gone = 0
        let expected = try reference(layer.weight, layer.statistics, damping: 0.01, window: blockSize) { scores in
            // Every block of columns removes what makes the running total right.
            seen += scores.columns
            let share = seen / 2 - gone
            gone += share
            return try Selection.mask(
                scores: scores, pattern: .unstructured(.row), sparsity: Double(share) / Double(scores.columns))
        }
        #expect(found.mask == expected.mask)
        expectEqual(found.weight, expected.weight)
    }

    @Test func equalsBruteForceForGroups() throws {
        let layer = LayerFixture(outputs: 7, inputs: 30, seed: 4)
        let found = try layer.pruned(SparseGPT(blockSize: 10), .nm(n: 2, m: 4), nil)
        let expected = try reference(layer.weight, layer.statistics, damping: 0.01, window: 4) {
            try Selection.mask(scores: $0, pattern: .nm(n: 2, m: 4))
        }
        #expect(found.mask == expected.mask)
        expectEqual(found.weight, expected.weight)
    }

    @Test func roundsInTheSameSweepAsItsDefinition() throws {
        // Three groups of int4, the last one short; blocks of columns that end with groups.
        for (blockSize, sparsity) in [(64, 0.5), (128, 0.25), (192, 0)] {
            let layer = LayerFixture(outputs: 5, inputs: 150, seed: 6)
            var weight = layer.weight
            let mask = try SparseGPT(blockSize: blockSize).prune(
                &weight, statistics: layer.statistics,
                request: PruningRequest(.unstructured(.row), sparsity: sparsity, values: .int4))
            // Given the mask: column after column, with the Hessian of the rest inverted anew.
            let hessian = try layer.statistics.hessian(Double.self, damping: 0.01)
            var w = layer.weight.scalars.map(Double.init)
            var scales = [BFloat16](repeating: BFloat16(0), count: 5)
            for j in 0..<150 {
                let rest = Tensor<Double>(
                    (j..<150).flatMap { a in (j..<150).map { hessian[a, $0] } }, shape: [150 - j, 150 - j])
                let inverse = try rest.cholesky().inverseFromCholesky()
                let block = j / blockSize * blockSize..<min((j / blockSize + 1) * blockSize, 150)
                for i in 0..<5 {
                    if j % 64 == 0 {
                        let group = (j..<min(j + 64, 150)).map { t in
                            block.contains(t) && !mask[i, t] ? 0 : Float(w[i * 150 + t])
                        }
                        scales[i] = Quantization.int4Scale(group, count: group.count)
                    }
                    let scale = Double(scales[i].float)
                    let kept = max(-8, min(7, (w[i * 150 + j] / scale).rounded(.toNearestOrEven))) * scale
                    let e = (w[i * 150 + j] - (mask[i, j] ? kept : 0)) / inverse[0, 0]
                    for t in j..<150 { w[i * 150 + t] -= e * inverse[0, t - j] }
                }
            }
            // A number in the middle of two may be rounded to either, which moves what comes behind it.
            let far = zip(weight.scalars, w).count { abs(Double($0) - $1) > 2e-3 }
            #expect(far < 15, "\(far) of 750 differ at blocks of \(blockSize)")
        }
    }

    @Test func roundingIsMadeUpForAndStoredAsItIs() throws {
        let layer = LayerFixture(outputs: 64, inputs: 192, tokens: 512, seed: 7)
        for (pattern, sparsity) in [
            (Pattern.unstructured(.layer), 0.5), (.nm(n: 2, m: 4), nil), (.unstructured(.row), 0),
        ] {
            var (joint, apart) = (layer.weight, layer.weight)
            let request = PruningRequest(pattern, sparsity: sparsity)
            var rounding = request
            rounding.values = .int4
            let mask = try SparseGPT().prune(&joint, statistics: layer.statistics, request: rounding)
            let other = try SparseGPT().prune(&apart, statistics: layer.statistics, request: request)
            let stored = try WeightStore.make(joint, mask: mask, layout: .bitmask, values: .int4)
            #expect(stored.densified() == joint)
            let plain = try WeightStore.make(apart, mask: other, layout: .bitmask, values: .int4).densified()
            #expect(mask.satisfies(pattern) && mask.count == other.count)
            #expect(
                layer.error(joint) < 0.8 * layer.error(plain), "\(layer.error(joint)) beside \(layer.error(plain))")
        }
    }

    @Test func dampedFactorInvertsTheHessian() throws {
        let layer = LayerFixture(inputs: 33)
        let upper = try InverseFactor(layer.statistics, damping: 0.05).upper
        let inverse = upper.multiplied(by: upper, transposed: true)
        let product = inverse.multiplied(by: try layer.statistics.hessian(Float.self, damping: 0.05))
        for i in 0..<33 {
            for j in 0..<33 {
                #expect(abs(product[i, j] - (i == j ? 1 : 0)) < 2e-2)
                if i > j { #expect(upper[i, j] == 0) }
            }
        }
    }

    @Test(arguments: [Pattern.unstructured(.layer), .unstructured(.row), .nm(n: 2, m: 4), .block(rows: 4, columns: 4)])
    func whiteInputsMakeItMagnitude(pattern: Pattern) throws {
        var generator = SeededGenerator(seed: 9)
        let original = Tensor<Float>(normal: [16, 32], using: &generator)
        let sparsity: Double? = pattern.impliedSparsity == nil ? 0.5 : nil
        // Blocks are compared by squares here, by magnitudes there: only patterns of entries must agree.
        var expected = original
        let scores = original.withPointer { p in
            Tensor<Float>((0..<original.count).map { p[$0] * p[$0] }, shape: original.shape)
        }
        let mask = try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
        mask.apply(to: &expected)
        var found = original
        let foundMask = try SparseGPT().prune(
            &found, statistics: whiteStatistics(columns: 32), request: PruningRequest(pattern, sparsity: sparsity))
        #expect(foundMask == mask)
        #expect(found == expected)
    }

    @Test(arguments: [
        Pattern.unstructured(.row), .unstructured(.layer), .nm(n: 2, m: 4), .nm(n: 4, m: 8),
        .nm(n: 2, m: 4, axis: .output), .block(rows: 4, columns: 4), .columns,
    ])
    func beatsMethodsThatDoNotCompensate(pattern: Pattern) throws {
        let layer = LayerFixture(outputs: 64, inputs: 96, tokens: 512, seed: 5)
        let sparsity: Double? = pattern.impliedSparsity == nil ? 0.5 : nil
        let own = try layer.pruned(SparseGPT(blockSize: 32), pattern, sparsity)
        let wanda = try layer.pruned(Wanda(), pattern, sparsity)
        let magnitude = try layer.pruned(Magnitude(), pattern, sparsity)
        #expect(own.mask.satisfies(pattern))
        #expect(own.mask.count == wanda.mask.count)
        #expect(layer.error(own.weight) < 0.8 * layer.error(wanda.weight))
        #expect(layer.error(own.weight) < 0.8 * layer.error(magnitude.weight))
        for i in 0..<64 { for j in 0..<96 where !own.mask[i, j] { #expect(own.weight[i, j] == 0) } }
    }

    @Test func nothingRemovedChangesNothing() throws {
        let layer = LayerFixture()
        let found = try layer.pruned(SparseGPT(), .unstructured(.layer), 0)
        #expect(found.weight == layer.weight)
        #expect(found.mask == SparsePattern(rows: 24, columns: 40, keepingAll: true))
    }

    @Test func everythingRemovedLeavesZeros() throws {
        let found = try LayerFixture().pruned(SparseGPT(blockSize: 16), .unstructured(.row), 1)
        #expect(found.weight.scalars.allSatisfy { $0 == 0 })
        #expect(found.mask.count == 0)
    }

    @Test(arguments: [0.1, 0.3, 0.37, 0.9])
    func countsAreExactOverBlocks(sparsity: Double) throws {
        let layer = LayerFixture(outputs: 11, inputs: 50)
        let found = try layer.pruned(SparseGPT(blockSize: 16), .unstructured(.layer), sparsity)
        #expect(550 - found.mask.count == Selection.removedCount(sparsity: sparsity, of: 550))
    }

    @Test func deadInputsGoFirst() throws {
        let source = LayerFixture(outputs: 5, inputs: 8)
        var inputs = source.inputs
        for i in 0..<inputs.rows { for j in [1, 6] { inputs[i, j] = 0 } }
        var statistics = InputStatistics(columns: 8, gram: true)
        statistics.accumulate(inputs)
        var weight = source.weight
        let mask = try SparseGPT().prune(
            &weight, statistics: statistics, request: PruningRequest(.unstructured(.row), sparsity: 0.25))
        for i in 0..<5 {
            #expect(Array(mask.keptColumns(row: i)) == [0, 2, 3, 4, 5, 7])
            for j in [0, 2, 3, 4, 5, 7] { #expect(abs(weight[i, j] - source.weight[i, j]) < 1e-5) }
        }
    }

    @Test func aGroupIsPrunedAsEachAlone() throws {
        let layer = LayerFixture()
        var generator = SeededGenerator(seed: 77)
        let other = Tensor<Float>(normal: [10, 40], using: &generator)
        let requests = [
            PruningRequest(.nm(n: 2, m: 4)), PruningRequest(.unstructured(.layer), sparsity: 0.6),
        ]
        var group = [layer.weight, other]
        let masks = try SparseGPT().prune(group: &group, statistics: layer.statistics, requests: requests)
        for (index, weight) in [layer.weight, other].enumerated() {
            var alone = weight
            let mask = try SparseGPT().prune(&alone, statistics: layer.statistics, request: requests[index])
            #expect(mask == masks[index])
            #expect(alone == group[index])
        }
    }

    @Test func badInputsAreRefused() throws {
        let layer = LayerFixture()
        #expect(throws: LacunaError.self) { try layer.pruned(SparseGPT(), .rows, 0.5) }
        #expect(throws: LacunaError.self) { try layer.pruned(SparseGPT(), .unstructured(.layer), 1.5) }
        #expect(throws: LacunaError.self) { try layer.pruned(SparseGPT(), .unstructured(.layer), nil) }
        #expect(throws: LacunaError.self) { try layer.pruned(SparseGPT(), .nm(n: 2, m: 4), 0.6) }
        #expect(throws: LacunaError.self) { try layer.pruned(SparseGPT(damping: -1), .nm(n: 2, m: 4), nil) }
        #expect(throws: LacunaError.self) { try layer.pruned(SparseGPT(blockSize: 0), .nm(n: 2, m: 4), nil) }
        var weight = layer.weight
        let request = PruningRequest(.nm(n: 2, m: 4))
        #expect(throws: LacunaError.self) { try SparseGPT().prune(&weight, statistics: nil, request: request) }
        var moments = InputStatistics(columns: 40)
        moments.accumulate(layer.inputs)
        #expect(throws: LacunaError.self) { try SparseGPT().prune(&weight, statistics: moments, request: request) }
        let narrow = InputStatistics(columns: 39, gram: true)
        #expect(throws: LacunaError.self) { try SparseGPT().prune(&weight, statistics: narrow, request: request) }
        #expect(weight == layer.weight)
    }

    @Test func resultsDoNotDependOnTheNumberOfThreads() throws {
        let layer = LayerFixture(outputs: 150, inputs: 130)
        let threads = Parallel.threads
        defer { Parallel.threads = threads }
        Parallel.threads = 1
        let one = try layer.pruned(SparseGPT(), .unstructured(.layer), 0.5)
        Parallel.threads = 4
        let four = try layer.pruned(SparseGPT(), .unstructured(.layer), 0.5)
        #expect(one.mask == four.mask)
        #expect(one.weight == four.weight)
    }
}
