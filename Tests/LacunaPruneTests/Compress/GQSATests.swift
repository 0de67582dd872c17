import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// 4-bit groups that are pruned, fitted, trained through their rounding, and stored.
@Suite struct GQSATests {
    private static let quick = GQSA(
        layer: Reconstruction(steps: 0, learningRate: 0, batch: 1),
        block: Reconstruction(steps: 0, learningRate: 0, batch: 1),
        model: Reconstruction(steps: 0, learningRate: 0, batch: 1))

    private func request(_ sparsity: Double) -> CompressionRequest {
        CompressionRequest(name: "w", sparsity: sparsity, values: .int4)
    }

    /// Values in a range, at its end and beyond it, and the gradients that the paper's straight-through rounding gives.
    @Test func gradientsPassTheRounding() throws {
        var groups = try CodeGroups(rows: 1, columns: 16, size: 16, kept: 1, groups: [0])
        (groups.scales, groups.zeros) = ([0.5], [8])
        // In steps: 1.3 → 1, -3.6 → -4, 20 → beyond (7), -20 → beyond (-8), others 0.
        let w = Tensor<Float>([0.65, -1.8, 10, -10] + Array(repeating: 0, count: 12), shape: [1, 16])
        let weight = CodeGroupWeight(groups, values: w)
        let tape = Tape<Float>()
        let quantized = weight.quantized(on: tape)
        #expect(Array(quantized.value.scalars[..<5]) == [0.5, -2, 3.5, -4, 0])
        let g = Tensor<Float>([2, 3, 5, 7] + Array(repeating: 1, count: 12), shape: [1, 16])
        tape.backward(from: (quantized * tape.constant(g)).sum())
        #expect(Array(weight.values.gradient!.scalars[..<5]) == [2, 3, 0, 0, 1])
        // 2 (1 - 1.3) + 3 (-4 + 3.6) + 5 · 7 - 7 · 8
        let (ds, dz) = (weight.scales.gradient!.scalars[0], weight.zeros.gradient!.scalars[0])
        #expect(abs(ds + 22.8) < 1e-4)
        // -(5 + 7) · 0.5
        #expect(abs(dz + 6) < 1e-5)
        let stored = weight.codeGroups
        let codes: [UInt8] = [9, 4, 15, 0] + Array(repeating: 8, count: 12)
        #expect(stored.codes == codes)
        #expect(stored.densified() == quantized.value)

        let fixed = CodeGroupWeight(stored)
        let again = fixed.quantized(on: tape)
        #expect(again.value == quantized.value)
        tape.backward(from: (again * tape.constant(g)).sum())
        let (fixedScale, fixedZero) = (fixed.scales.gradient!.scalars[0], fixed.zeros.gradient!.scalars[0])
        // 2 - 12 + 35 - 56, and -(2 + 3 + 5 + 7 + 12) · 0.5
        #expect(abs(fixedScale + 31) < 1e-4)
        #expect(abs(fixedZero + 14.5) < 1e-4)
        #expect(!fixed.values.isTrainable && fixed.parameters.count == 2)
    }

    @Test func trainedWeightsAreStoredAsTheyAreUsed() throws {
        var generator = SeededGenerator(seed: 3)
        let w = Tensor<Float>(normal: [5, 64], using: &generator)
        let mask = try Selection.mask(
            scores: w * w, pattern: .block(rows: 1, columns: 16, .row), amount: .count(2))
        let weight = CodeGroupWeight(try CodeGroups(DenseRows(w, mask: mask), size: 16), values: w)
        // Scales that f16 does not have.
        weight.scales.value = weight.scales.value.map { $0 * 1.0001 }
        let x = Tensor<Float>(normal: [3, 64], using: &generator)
        let tape = Tape<Float>()
        let used = tape.evaluating { weight.apply(tape.constant(x), bias: nil).value }
        let stored = try weight.stored(.int4)
        #expect(stored.format.description == "groups16x2:4" && stored.keptEntries == mask)
        let run = stored.applied(toRows: x)
        for (a, b) in zip(used.scalars, run.scalars) { #expect(abs(a - b) < 0.02) }
    }

    @Test func theFitIsTheLeastSquaresOfEveryRow() throws {
        let layer = LayerFixture(outputs: 6, inputs: 32)
        let hessian = try layer.statistics.hessian(Float.self, damping: 0.01)
        let mask = try GQSA(groupSize: 16).mask(layer.weight, statistics: layer.statistics, sparsity: 0.5)
        let fitted = GQSA.fitted(layer.weight, mask, hessian: hessian, steps: 80)
        #expect(mask.applied(to: fitted) == fitted)
        let wanted = layer.weight.multiplied(by: hessian)
        for row in 0..<6 {
            let kept = Array(mask.keptColumns(row: row))
            var (part, side) = (Tensor<Double>(zeros: [16, 16]), Tensor<Double>(zeros: [16, 1]))
            for (i, a) in kept.enumerated() {
                side[i, 0] = Double(wanted[row, a])
                for (j, b) in kept.enumerated() { part[i, j] = Double(hessian[a, b]) }
            }
            let best = try part.solvePositiveDefinite(side)
            for (i, column) in kept.enumerated() {
                #expect(abs(Double(fitted[row, column]) - best[i, 0]) < 0.02 * (1 + abs(best[i, 0])))
            }
        }
        #expect(GQSA.fitted(layer.weight, mask, hessian: hessian, steps: 0) == mask.applied(to: layer.weight))
    }

    /// Groups whose entries matter most stay, equally many in each row.
    @Test(arguments: GQSA.Saliency.allCases) func groupsAreChosenByTheirMeanImportance(saliency: GQSA.Saliency) throws {
        let layer = LayerFixture(outputs: 9, inputs: 64)
        let mask = try GQSA(saliency: saliency).mask(layer.weight, statistics: layer.statistics, sparsity: 0.75)
        let diagonal: [Float] =
            switch saliency {
            case .hessian:
                try {
                    let inverse = try layer.statistics.hessian(Double.self, damping: 0.01).cholesky()
                        .inverseFromCholesky()
                    return (0..<64).map { Float(1 / inverse[$0, $0]) }
                }()
            case .activation: layer.statistics.squares.map { Float($0) }
            case .magnitude: Array(repeating: 1, count: 64)
            }
        for row in 0..<9 {
            let sums = (0..<4).map { group in
                (0..<16).reduce(Float(0)) { sum, j in
                    let w = layer.weight[row, group * 16 + j]
                    return sum + w * w * diagonal[group * 16 + j]
                }
            }
            let best = sums.indices.max { sums[$0] < sums[$1] }!
            #expect(Array(mask.keptColumns(row: row)) == Array(best * 16..<best * 16 + 16))
        }
    }

    @Test func trainingRecoversWhatGroupsCost() throws {
        let layer = LayerFixture(outputs: 48, inputs: 128, tokens: 400)
        func error(_ method: GQSA) throws -> Double {
            let matrix = try method.compress(layer.weight, statistics: layer.statistics, request: request(0.5))
            #expect(matrix.format.description == "groups16x4:8")
            return layer.error(matrix.densified())
        }
        var bare = Self.quick
        bare.fitSteps = 0
        var trained = Self.quick
        (trained.fitSteps, trained.layer) = (0, Reconstruction(steps: 300, learningRate: 2e-2, batch: 1))
        let (cut, fitted, learned) = (try error(bare), try error(Self.quick), try error(trained))
        #expect(fitted < 0.5 * cut && learned < 0.3 * cut, "\(cut) \(fitted) \(learned)")
        let both = try error(GQSA(layer: Reconstruction(steps: 100, learningRate: 5e-3, batch: 1)))
        #expect(both < fitted)
    }

    private func decoder() throws -> (Transformer, CalibrationSet) {
        let decoder = try Transformer(
            random: TransformerConfiguration(
                vocabularySize: 40, hiddenSize: 32, intermediateSizes: [64, 96], headCount: 4, keyValueHeadCount: 2,
                headSize: 8, maximumPositions: 64, tiedEmbeddings: true), seed: 4)
        let text = (0..<40 * 16).map { ($0 * 7 + $0 / 5) % 40 }
        return (decoder, try CalibrationSet(text: text, sequences: 16, length: 16))
    }

    private func pruned(_ method: GQSA, _ decoder: Transformer, _ set: CalibrationSet) throws -> (
        Transformer, PruningReport
    ) {
        try Pruner(method, pattern: nil, budget: UniformBudget(0.5), storage: PrunedStorage(values: .int4)).prune(
            decoder, calibration: set)
    }

    @Test func blocksAndModelsAreRecovered() throws {
        let (dense, set) = try decoder()
        let (bare, report) = try pruned(Self.quick, dense, set)
        #expect(abs(report.sparsity - 0.5) < 0.02 && report.layers.allSatisfy { $0.bytesAfter < $0.bytesBefore / 8 })
        let states = try dense.embed(Array(set.tokens), sequenceLength: 16)
        func output(_ network: Transformer, _ layer: Int) throws -> Tensor<Float> {
            var result = states
            try network.runBlock(layer, hidden: &result, sequenceLength: 16)
            return result
        }
        var method = Self.quick
        method.block = Reconstruction(steps: 60, learningRate: 1e-2, batch: 8)
        let (recovered, _) = try pruned(method, dense, set)
        func error(_ network: Transformer) throws -> Float { try (output(network, 0) - output(dense, 0)).norm() }
        #expect(try error(recovered) < 0.9 * error(bare))
        // Groups and codes stay when scales and zeros of the whole are trained, and the text is predicted better.
        method.model = Reconstruction(steps: 40, learningRate: 1e-2, batch: 8)
        let (finished, _) = try pruned(method, dense, set)
        func loss(_ network: Transformer) throws -> Double {
            logarithm(try Perplexity.measure(network, tokens: set.tokens, window: 16).value)
        }
        #expect(try loss(finished) < loss(recovered))
        for name in dense.linearNames {
            let (a, b) = (recovered[linear: name] as? CodeGroupMatrix, finished[linear: name] as? CodeGroupMatrix)
            #expect(a?.codeGroups.codes == b?.codeGroups.codes && a?.codeGroups.groups == b?.codeGroups.groups)
            #expect(a?.codeGroups.scales != b?.codeGroups.scales)
        }
        // The same again, to the bit.
        let (again, _) = try pruned(method, dense, set)
        #expect(dense.linearNames.allSatisfy { again[linear: $0].densified() == finished[linear: $0].densified() })
    }

    @Test func modelsComeBackFromDirectories() throws {
        let (dense, set) = try decoder()
        let (model, _) = try pruned(Self.quick, dense, set)
        let folder = "/tmp/lacuna-gqsa-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(folder) }
        try model.save(to: folder)
        let loaded = try Transformer.load(folder)
        for name in model.linearNames {
            let (a, b) = (model[linear: name] as? CodeGroupMatrix, loaded[linear: name] as? CodeGroupMatrix)
            #expect(a != nil && a?.codeGroups == b?.codeGroups, "\(name)")
            #expect(loaded[linear: name].format == model[linear: name].format)
        }
        // Read as another type, the same numbers.
        let wide = try Transformer.load(folder, weights: .f32)
        let name = model.linearNames[3]
        #expect(wide[linear: name].densified() == model[linear: name].densified())
    }

    @Test func whatCannotWorkIsRefused() throws {
        let layer = LayerFixture(outputs: 4, inputs: 40)
        func compress(_ method: GQSA, _ request: CompressionRequest, _ statistics: InputStatistics?) throws {
            _ = try method.compress(layer.weight, statistics: statistics, request: request)
        }
        // 40 columns have no groups of 16.
        #expect(throws: LacunaError.self) { try compress(Self.quick, request(0.5), layer.statistics) }
        var method = Self.quick
        method.groupSize = 8
        #expect(throws: LacunaError.self) { try compress(method, request(0.5), layer.statistics) }
        let other = LayerFixture(outputs: 4, inputs: 32)
        #expect(throws: LacunaError.self) {
            try Self.quick.compress(other.weight, statistics: nil, request: request(0.5))
        }
        #expect(throws: LacunaError.self) {
            try Self.quick.compress(
                other.weight, statistics: other.statistics, request: CompressionRequest(name: "w", sparsity: 0.5))
        }
        method = Self.quick
        method.block.batch = 0
        #expect(throws: LacunaError.self) {
            try method.compress(other.weight, statistics: other.statistics, request: request(0.5))
        }
        let (dense, set) = try decoder()
        #expect(throws: LacunaError.self) {
            try Pruner(Self.quick, pattern: nil, budget: UniformBudget(0.5)).prune(dense, calibration: set)
        }
        #expect(throws: LacunaError.self) { try PruningPlan(method: "gqsa", pattern: "2:4").pruner() }
    }

    /// Of white inputs every saliency is the square of the weight: four large ones outweigh sixteen small ones.
    @Test(arguments: GQSA.Saliency.allCases) func groupsCompeteBySquares(saliency: GQSA.Saliency) throws {
        var weight = Tensor<Float>(repeating: 1, shape: [1, 32])
        for column in 16..<32 { weight[0, column] = column < 20 ? 3 : 0 }
        var method = Self.quick
        method.saliency = saliency
        let mask = try method.mask(weight, statistics: whiteStatistics(columns: 32), sparsity: 0.5)
        #expect(Array(mask.keptColumns(row: 0)) == Array(16..<32))
    }

    /// Training by layer does not depend on the unit that weights are in.
    @Test func trainingFollowsTheScale() throws {
        let layer = LayerFixture(outputs: 6, inputs: 64)
        var method = Self.quick
        method.layer = Reconstruction(steps: 30, learningRate: 3e-3, batch: 1)
        func compressed(_ factor: Float, _ method: GQSA) throws -> Tensor<Float> {
            (1 / factor)
                * (try method.compress(
                    factor * layer.weight, statistics: layer.statistics, request: request(0.5)
                ).densified())
        }
        let (one, large) = (try compressed(1, method), try compressed(64, method))
        #expect(large.isApproximatelyEqual(to: one, tolerance: 1e-3))
        #expect(try !one.isApproximatelyEqual(to: compressed(1, Self.quick), tolerance: 1e-2))
    }
}
