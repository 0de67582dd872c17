import Foundation
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct PrunerTests {
    let decoder: Transformer
    let text: [Int]
    let calibration: CalibrationSet

    init() throws {
        var generator = SeededGenerator(seed: 11)
        let configuration = TransformerConfiguration(
            vocabularySize: 40, hiddenSize: 32, intermediateSizes: [48, 64, 48], headCount: 4, keyValueHeadCount: 2,
            headSize: 8, maximumPositions: 64, tiedEmbeddings: true)
        func matrix(_ shape: [Int]) throws -> any StoredMatrix {
            let weight = Tensor<Float>(
                normal: shape, standardDeviation: 1 / Float(shape[1]).squareRoot(), using: &generator)
            return try WeightStore.make(weight, layout: .dense, values: .f32)
        }
        func norm() -> Tensor<Float> { Tensor(uniform: [32], in: 0.2..<2, using: &generator) }
        let blocks = try (0..<3).map { layer in
            func linear(_ role: LinearRole) throws -> LinearLayer {
                LinearLayer(try matrix(configuration.shape(of: role, layer: layer)))
            }
            return TransformerBlock(
                attentionNorm: norm(),
                attention: Attention(
                    query: try linear(.query), key: try linear(.key), value: try linear(.value),
                    output: try linear(.output), geometry: AttentionGeometry(configuration, layer: layer)),
                feedForwardNorm: norm(),
                feedForward: FeedForward(gate: try linear(.gate), up: try linear(.up), down: try linear(.down)),
                normEpsilon: 1e-5)
        }
        decoder = try Transformer(
            configuration: configuration, embedding: matrix([40, 32]), blocks: blocks,
            finalNorm: Normalization(weight: norm(), bias: nil, epsilon: 1e-5), untiedHead: nil)
        text = (0..<1200).map { _ in Int.random(in: 0..<40, using: &generator) }
        calibration = try CalibrationSet(text: text, sequences: 20, length: 16)
    }

    private func difference(_ a: Transformer, _ b: Transformer) throws -> Double {
        let tokens = Array(text.prefix(48))
        let (x, y) = (try a.logits(tokens).scalars, try b.logits(tokens).scalars)
        let square = zip(x, y).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        return square / x.reduce(0.0) { $0 + Double($1 * $1) }
    }

    @Test(arguments: ["random", "magnitude", "wanda", "sparsegpt", "dsnot", "magnitude+dsnot"])
    func everyMethodPrunesEveryLayer(name: String) throws {
        let method = try PruningMethods.named(name)
        for pattern in [Pattern.unstructured(.row), .nm(n: 2, m: 4)] {
            let budget: SparsityBudget? = pattern.impliedSparsity == nil ? UniformBudget(0.5) : nil
            let (pruned, report) = try Pruner(method, pattern: pattern, budget: budget).prune(
                decoder, calibration: calibration)
            #expect(report.layers.map(\.name) == decoder.linearNames)
            #expect(report.sparsity == 0.5)
            for name in decoder.linearNames {
                let mask = SparsePattern(nonzerosOf: pruned[linear: name].densified())
                #expect(mask.sparsity == 0.5 && mask.satisfies(pattern), "\(name)")
            }
            #expect(report.calibrationTokens == (method.requirement == .none ? 0 : 320))
            #expect(report.bytes.after < report.bytes.before)
            #expect(report.peakBytes > 0 && report.estimatedBytes > 0)
        }
        // The original is as it was.
        #expect(decoder.linearNames.allSatisfy { decoder[linear: $0].format == StorageFormat(.dense, .f32) })
    }

    /// Statistics are those of the inputs that a layer gets once all before it are pruned.
    @Test func layersSeePrunedInputs() throws {
        let (pruned, _) = try Pruner(Wanda(), pattern: .unstructured(.row), budget: UniformBudget(0.5), batchTokens: 48)
            .prune(decoder, calibration: calibration)
        // By hand: one block at a time, all sequences at once.
        var byHand = decoder
        var hidden = try decoder.embed(calibration.tokens)
        for layer in 0..<3 {
            var statistics: [String: InputStatistics] = [:]
            var states = hidden
            try byHand.runBlock(layer, hidden: &states, sequenceLength: 16) { names, inputs, count in
                for name in names {
                    statistics[name] = InputStatistics(columns: byHand[linear: name].columns)
                    statistics[name]!.accumulate(inputs, count: count)
                }
            }
            for (name, statistics) in statistics {
                var weight = byHand[linear: name].densified()
                _ = try Wanda().prune(
                    &weight, statistics: statistics, request: PruningRequest(.unstructured(.row), sparsity: 0.5))
                byHand[linear: name] = try WeightStore.make(weight, layout: .bitmask, values: .f32)
            }
            try byHand.runBlock(layer, hidden: &hidden, sequenceLength: 16)
        }
        for name in decoder.linearNames {
            #expect(pruned[linear: name].densified() == byHand[linear: name].densified(), "\(name)")
        }
    }

    @Test func compensationBeatsMasksAlone() throws {
        func error(_ name: String) throws -> Double {
            let pruner = Pruner(
                try PruningMethods.named(name), pattern: .unstructured(.row), budget: UniformBudget(0.5))
            return try difference(pruner.prune(decoder, calibration: calibration).decoder, decoder)
        }
        let (own, wanda, random) = (try error("sparsegpt"), try error("wanda"), try error("random"))
        #expect(own < wanda && wanda < random)
    }

    @Test func outputErrorsAreReportedWhereAGramMatrixIs() throws {
        var pruner = Pruner(Wanda(), pattern: .unstructured(.row), budget: UniformBudget(0.5))
        #expect(try pruner.prune(decoder, calibration: calibration).report.layers.allSatisfy { $0.outputError == nil })
        pruner.measuresError = true
        let wanda = try pruner.prune(decoder, calibration: calibration).report.layers
        #expect(wanda.allSatisfy { $0.outputError! > 0.001 && $0.outputError! < 1 })
        pruner.method = SparseGPT()
        let compensated = try pruner.prune(decoder, calibration: calibration).report.layers
        #expect(compensated[0].outputError! < wanda[0].outputError!)
        pruner.budget = UniformBudget(0)
        #expect(try pruner.prune(decoder, calibration: calibration).report.layers.allSatisfy { $0.outputError == 0 })
    }

    @Test func budgetsAreKept() throws {
        let magnitude = Pruner(Magnitude(), pattern: .unstructured(.global), budget: UniformBudget(0.6))
        let global = try magnitude.prune(decoder)
        #expect(abs(global.report.sparsity - 0.6) < 1e-4)
        #expect(Set(global.report.layers.map(\.sparsity)).count > 3)
        let largestRemoved = decoder.linearNames.flatMap { name in
            zip(decoder[linear: name].densified().scalars, global.decoder[linear: name].densified().scalars)
                .filter { $1 == 0 }.map { $0.0.magnitude }
        }.max()!
        let smallestKept = decoder.linearNames.flatMap { name in
            global.decoder[linear: name].densified().scalars.filter { $0 != 0 }.map(\.magnitude)
        }.min()!
        #expect(largestRemoved <= smallestKept)

        let kernel = try Pruner(Magnitude(), pattern: .unstructured(.layer), budget: ErdosRenyiBudget(0.5))
            .prune(decoder).report
        #expect(abs(kernel.sparsity - 0.5) < 1e-3)
        let sparsities = Dictionary(
            uniqueKeysWithValues: decoder.linearNames.enumerated().map { ($1, Double($0 % 4) / 4) })
        let given = try Pruner(Wanda(), pattern: .unstructured(.row), budget: LayerBudget(sparsities))
            .prune(decoder, calibration: calibration).report
        for layer in given.layers { #expect(abs(layer.sparsity - sparsities[layer.name]!) < 1e-9) }
        // What is not pruned at all is stored dense.
        #expect(given.layers[0].format.layout == .dense && given.layers[1].format.layout == .bitmask)
    }

    @Test func storageFollowsThePatternUnlessToldOtherwise() throws {
        func formats(_ pattern: Pattern, _ budget: (any SparsityBudget)?, _ storage: PrunedStorage) throws -> Set<
            StorageFormat
        > {
            let pruner = Pruner(Magnitude(), pattern: pattern, budget: budget, storage: storage)
            return Set(try pruner.prune(decoder).report.layers.map(\.format))
        }
        let bf16 = PrunedStorage(values: .bf16)
        #expect(try formats(.nm(n: 2, m: 4), nil, bf16) == [StorageFormat(.nm(n: 2, m: 4), .bf16)])
        #expect(try formats(.unstructured(.row), UniformBudget(0.5), bf16) == [StorageFormat(.bitmask, .bf16)])
        #expect(
            try formats(.block(rows: 4, columns: 4), UniformBudget(0.5), bf16)
                == [StorageFormat(.bsr(rows: 4, columns: 4), .bf16)])
        #expect(
            try formats(.nm(n: 2, m: 4), nil, PrunedStorage(layout: .csr, values: .int8))
                == [StorageFormat(.csr, .int8)])
    }

    @Test(arguments: [0.25, 0.5])
    func structuredPruningMakesSmallerMatrices(sparsity: Double) throws {
        let (pruned, report) = try Pruner(CFSP(), pattern: .rows, budget: UniformBudget(sparsity)).prune(
            decoder, calibration: calibration)
        let sizes = pruned.configuration.intermediateSizes
        #expect(abs(sizes.reduce(0, +) - Int((160 * (1 - sparsity)).rounded())) <= 1)
        #expect(report.layers.count == 9)
        for layer in 0..<3 {
            let names = [LinearRole.gate, .up, .down].map { decoder.configuration.weightName($0, layer: layer) }
            #expect(pruned[linear: names[0]].rows == sizes[layer])
            #expect(pruned[linear: names[2]].columns == sizes[layer])
        }
        #expect(report.bytes.after < report.bytes.before)
        #expect(
            pruned[linear: "model.layers.0.self_attn.q_proj.weight"].densified()
                == decoder[linear: "model.layers.0.self_attn.q_proj.weight"].densified())
        let random = try Pruner(RandomPruning(), pattern: .unstructured(.row), budget: UniformBudget(sparsity)).prune(
            decoder)
        #expect(try difference(pruned, decoder) < difference(random.decoder, decoder))
    }

    @Test func resultsDoNotDependOnBatchesOrThreads() throws {
        let threads = Parallel.threads
        defer { Parallel.threads = threads }
        func weights(_ batch: Int, _ threads: Int) throws -> [[Float]] {
            Parallel.threads = threads
            let pruner = Pruner(Wanda(), pattern: .nm(n: 2, m: 4), batchTokens: batch)
            let pruned = try pruner.prune(decoder, calibration: calibration).decoder
            return pruned.linearNames.map { pruned[linear: $0].densified().scalars }
        }
        #expect(try weights(48, 1) == weights(320, 4))
    }

    @Test func cancellingStopsTheRun() throws {
        final class Stop: ProgressReporter, @unchecked Sendable {
            var updates = 0
            func update(task: String, completed: Int, total: Int, detail: String) {
                updates += 1
                #expect(completed >= 0 && completed <= total)
            }
            var isCancelled: Bool { updates >= 5 }
        }
        for name in ["magnitude", "wanda", "cfsp"] {
            let pruner = Pruner(
                try PruningMethods.named(name), pattern: .unstructured(.row), budget: UniformBudget(0.5))
            let stop = Stop()
            #expect(throws: LacunaError.cancelled) {
                try pruner.prune(decoder, calibration: calibration, progress: stop)
            }
            #expect(stop.updates == 5)
        }
    }

    @Test func badRequestsAreRefused() throws {
        func prune(_ pruner: Pruner, _ set: CalibrationSet? = nil) throws {
            _ = try pruner.prune(decoder, calibration: set)
        }
        let half = UniformBudget(0.5)
        #expect(throws: LacunaError.self) { try prune(Pruner(Wanda(), pattern: .nm(n: 2, m: 4))) }
        #expect(throws: LacunaError.self) { try prune(Pruner(Magnitude(), pattern: .unstructured(.row))) }
        #expect(throws: LacunaError.self) { try prune(Pruner(Magnitude(), pattern: .nm(n: 4, m: 4))) }
        #expect(throws: LacunaError.self) { try prune(Pruner(Magnitude(), pattern: .rows, budget: UniformBudget(1.2))) }
        #expect(throws: LacunaError.self) { try prune(Pruner(SparseGPT(), pattern: .rows, budget: half), calibration) }
        #expect(throws: LacunaError.self) {
            try prune(Pruner(Wanda(), pattern: .unstructured(.global), budget: half), calibration)
        }
        #expect(throws: LacunaError.self) {
            try prune(Pruner(CFSP(), pattern: .rows, budget: ErdosRenyiBudget(0.5)), calibration)
        }
        var whole = Pruner(CFSP(), pattern: .rows, budget: half)
        whole.ignored = ["model.layers.0.*"]
        #expect(throws: LacunaError.self) { try prune(whole, calibration) }
        #expect(throws: LacunaError.self) {
            try prune(Pruner(CFSP(), pattern: .rows, budget: half, storage: PrunedStorage(layout: .csr)), calibration)
        }
        #expect(throws: LacunaError.self) { try prune(Pruner(WeLore(), pattern: nil)) }
        #expect(throws: LacunaError.self) { try prune(Pruner(LowRank(isWhitened: false), pattern: nil)) }
        #expect(throws: LacunaError.self) {
            try prune(Pruner(Wanda(), pattern: .rows, budget: half, batchTokens: 0), calibration)
        }
        let long = try CalibrationSet(text: text, sequences: 2, length: 100)
        #expect(throws: LacunaError.self) { try prune(Pruner(Wanda(), pattern: .rows, budget: half), long) }
        let foreign = try CalibrationSet(text: [Int](repeating: 40, count: 16), sequences: 1, length: 16)
        #expect(throws: LacunaError.self) { try prune(Pruner(Wanda(), pattern: .rows, budget: half), foreign) }
    }

    @Test func calibrationDrawsWindowsOfTheText() throws {
        let numbered = Array(0..<1000)
        let set = try CalibrationSet(text: numbered, sequences: 6, length: 30, seed: 3)
        #expect(set.sequenceCount == 6 && set.tokens.count == 180)
        let starts = (0..<6).map { set.tokens[$0 * 30] }
        #expect(Set(starts).count == 6)
        for (index, start) in starts.enumerated() {
            #expect(start % 30 == 0)
            #expect(Array(set.tokens[index * 30..<(index + 1) * 30]) == Array(start..<start + 30))
        }
        #expect(try CalibrationSet(text: numbered, sequences: 6, length: 30, seed: 3) == set)
        #expect(try CalibrationSet(text: numbered, sequences: 6, length: 30, seed: 4) != set)
        for (sequences, length) in [(34, 30), (0, 30), (1, 0), (1, 1001)] {
            #expect(throws: LacunaError.self) {
                try CalibrationSet(text: numbered, sequences: sequences, length: length)
            }
        }
    }

    @Test func aSweepStartsFromTheOriginalEachTime() throws {
        let sweep = SparsitySweep(sparsities: [0, 0.3, 0.9])
        let curve = try sweep.run(decoder, method: Magnitude(), text: text, window: 32)
        #expect(curve.points[0].value == (try Perplexity.measure(decoder, tokens: text, window: 32).value))
        let direct = try Pruner(Magnitude(), pattern: .unstructured(.global), budget: GlobalBudget(0.9)).prune(decoder)
            .decoder
        let expected = try Perplexity.measure(direct, tokens: text, window: 32).value
        #expect(abs(curve.points[2].value / expected - 1) < 1e-3)
        let wanda = try sweep.run(decoder, method: Wanda(), text: text, window: 32, calibration: calibration)
        #expect(wanda.points.count == 3 && wanda.method == "wanda")
        let neurons = try sweep.run(decoder, method: CFSP(), text: text, window: 32, calibration: calibration)
        #expect(neurons.points[0].value == curve.points[0].value)
    }

    @Test(arguments: ["lowrank", "welore", "cospadi", "armor"])
    func everyFactorisationIsStoredRunAndSaved(name: String) throws {
        let plan = PruningPlan(method: name, sparsity: name == "armor" ? nil : 0.3, values: .f32)
        var pruner = try plan.pruner()
        if let method = pruner.method as? ARMOR {
            pruner.method = ARMOR(blockSize: 8, iterations: 3, seed: method.seed)
        }
        let (compressed, report) = try pruner.prune(decoder, calibration: calibration)
        #expect(report.layers.map(\.name) == decoder.linearNames)
        #expect((report.pattern != nil) == (name == "armor"))
        #expect(report.layers.contains { $0.format.layout.description == "product" })
        if name != "armor" { #expect(report.sparsity > 0.28) }
        // Runs as what it stands for.
        let spelled = try compressed.sparsified { _, matrix in
            try WeightStore.make(matrix.densified(), layout: .dense, values: .f32)
        }
        #expect(try difference(spelled, compressed) < 1e-8)
        // Is saved as its factors.
        let path = NSTemporaryDirectory() + "lacuna-product-\(name)-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try compressed.save(to: path)
        let loaded = try Transformer.load(path)
        for name in decoder.linearNames {
            #expect(loaded[linear: name].format == compressed[linear: name].format, "\(name)")
            #expect(loaded[linear: name].byteCount == compressed[linear: name].byteCount, "\(name)")
        }
        #expect(try difference(loaded, compressed) < 1e-10)
    }

    @Test func whatAFactorisationCannotDoIsRefused() throws {
        func prune(_ plan: PruningPlan) throws {
            _ = try plan.pruner().prune(decoder, calibration: calibration)
        }
        #expect(throws: LacunaError.self) { try prune(PruningPlan(method: "lowrank", pattern: "2:4")) }
        #expect(throws: LacunaError.self) { try prune(PruningPlan(method: "lowrank", layout: .csr)) }
        #expect(throws: LacunaError.self) { try prune(PruningPlan(method: "welore", sparsity: 0.3, budget: .erk)) }
        #expect(throws: LacunaError.self) { try prune(PruningPlan(method: "armor", sparsity: 0.3)) }
        #expect(throws: LacunaError.self) { try prune(PruningPlan(method: "cospadi", sparsity: 0.999)) }
        #expect(throws: LacunaError.self) { try PruningPlan(method: "lowrank").pruner().prune(decoder) }
    }

    @Test func namedLayersStayOrGetASparsityOfTheirOwn() throws {
        var plan = PruningPlan(method: "wanda", sparsity: 0.5, values: .f32)
        plan.ignored = ["model.layers.1.*"]
        plan.layerSparsities = [("*.mlp.down_proj.weight", 0.25), ("*", 0.75)]
        let (pruned, report) = try plan.pruner().prune(decoder, calibration: calibration)
        #expect(!report.layers.contains { $0.name.hasPrefix("model.layers.1.") })
        for name in decoder.linearNames where name.hasPrefix("model.layers.1.") {
            #expect(pruned[linear: name].densified() == decoder[linear: name].densified())
        }
        for layer in report.layers {
            #expect(abs(layer.sparsity - (layer.name.hasSuffix("down_proj.weight") ? 0.25 : 0.75)) < 0.01)
        }
        plan.ignored = ["model.layers.9.*"]
        #expect(throws: LacunaError.self) { try plan.pruner().prune(decoder, calibration: calibration) }
    }

    @Test func outliersAndGlobalThresholdsAreSurveyedBeforeAnythingIsPruned() throws {
        for method in ["wanda", "sparsegpt"] {
            for budget in [PruningPlan.Budget.owl, .global] {
                let plan = PruningPlan(method: method, sparsity: 0.5, budget: budget, values: .f32)
                let (_, report) = try plan.pruner().prune(decoder, calibration: calibration)
                // Rows of a few dozen entries are rounded one by one.
                #expect(abs(report.sparsity - 0.5) < 0.02, "\(method) \(budget): \(report.sparsity)")
                let byBlock = Set(report.layers.map { ($0.sparsity * 100).rounded() })
                #expect(byBlock.count > 1, "\(method) \(budget)")
                if budget == .owl { #expect(report.layers.allSatisfy { abs($0.sparsity - 0.5) < 0.17 }) }
            }
        }
    }
}
