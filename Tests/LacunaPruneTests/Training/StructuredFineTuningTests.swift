import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// A small language model, and runs of it on tokens that repeat.
private struct Bench {
    let model: TrainableTransformer
    let ids: [Int32] = (0..<48).map { Int32($0 * 5 % 23) }

    init(seed: UInt64 = 3, tied: Bool = true) throws {
        model = try TrainableTransformer(
            Transformer(
                random: TransformerConfiguration(
                    vocabularySize: 30, hiddenSize: 32, intermediateSizes: [40, 40], headCount: 4, keyValueHeadCount: 2,
                    headSize: 8, maximumPositions: 64, tiedEmbeddings: tied), seed: seed))
    }

    func logits() -> Tensor<Float> {
        let tape = Tape<Float>()
        return tape.evaluating { model(ids, batch: 3, on: tape).value }
    }

    func loss(on tape: Tape<Float>) -> Variable<Float> {
        model.loss(ids, next: Array(ids.dropFirst()) + [0], batch: 3, on: tape)
    }

    func train(_ hooks: [any TrainingHook], steps: Int, optimizer: any Optimizer = Adam(), rate: Double = 1e-2) throws {
        struct Nothing: BatchSource {
            func batch(step: Int) -> Int { step }
            var batchesPerEpoch: Int? { nil }
        }
        let trainer = try Trainer(
            model: model, optimizer: optimizer, source: Nothing(),
            plan: TrainingPlan(steps: steps, learningRate: .constant(rate)), hooks: hooks,
            loss: { _, tape in loss(on: tape) })
        try trainer.train()
    }
}

@Suite struct CoupledUnitsTests {
    @Test func anotherOrderComputesTheSame() throws {
        let bench = try Bench()
        let before = bench.logits()
        let units = try CoupledUnits.all(of: bench.model)
        #expect(units.map(\.kind) == [.heads, .neurons, .heads, .neurons] && units.map(\.count) == [2, 40, 2, 40])
        var generator = SeededGenerator(seed: 1)
        var orders: [[Int]] = []
        for own in units {
            let order = own.kind == .heads ? [1, 0] : Array(0..<own.count).shuffled(using: &generator)
            orders.append(order)
            let first = own.producers[0].layer.weight.densified()
            try own.permute(order)
            #expect(own.producers[0].layer.weight.densified() != first)
        }
        #expect(bench.logits().isApproximatelyEqual(to: before, tolerance: 1e-4))
        let weights = units.map { $0.consumers[0].layer.weight.densified() }
        for (own, order) in zip(units, orders) { try own.permute(CoupledUnits.inverse(order)) }
        #expect(bench.logits() == before && weights[1] != units[1].consumers[0].layer.weight.densified())
        #expect(throws: LacunaError.self) { try CoupledUnits.all(of: Sequential([])) }

        let mlp = network()
        for parameter in mlp.parameters where parameter.shape.count == 1 {
            parameter.value = Tensor(normal: parameter.shape, using: &generator)
        }
        let tape = Tape<Float>()
        let x = Tensor<Float>(normal: [3, 20], using: &generator)
        let y = tape.evaluating { mlp(tape.constant(x)).value }
        for own in try CoupledUnits.all(of: mlp) { try own.permute(Array((0..<own.count).reversed())) }
        #expect(tape.evaluating { mlp(tape.constant(x)).value }.isApproximatelyEqual(to: y, tolerance: 1e-4))
    }
}

@Suite struct S2FTTests {
    private func shares(_ down: Double, _ up: Double = 0, _ output: Double = 0, _ value: Double = 0) -> S2FT.Shares {
        var shares = S2FT.Shares()
        (shares.down, shares.up, shares.output, shares.value) = (down, up, output, value)
        return shares
    }

    /// The gradients of slices are those of the whole weights, in the places that the slices stand for.
    @Test func slicesSeeTheWholeWeightsGradients() throws {
        let (bench, whole) = (try Bench(), try Bench())
        let method = try S2FT(shares: shares(0.2, 0.1, 0.5, 0.5))
        let run = TrainingRun(model: bench.model, optimizer: Adam(), tape: Tape(), totalSteps: 1, seed: 5)
        let before = bench.logits()
        try method.begin(run)
        try method.attach(run)
        #expect(bench.logits().isApproximatelyEqual(to: before, tolerance: 1e-4))
        let trained = bench.model.trainableParameters
        // Moments exist for slices alone.
        let slices = bench.model.linears.flatMap { entry -> [any TrainableWeight] in
            (entry.layer.weight as? UpdatedWeight)?.updates ?? []
        }
        #expect(trained.count == slices.count && slices.allSatisfy { $0 is SliceWeight })
        let (a, b) = (Tape<Float>(), Tape<Float>())
        a.backward(from: bench.loss(on: a))
        b.backward(from: whole.loss(on: b))
        let gradients = trained.map { $0.gradient! }
        // What the slices hold after one step of plain descent is their gradient, turned round.
        for (parameter, gradient) in zip(trained, gradients) { parameter.value = -1 * gradient }
        try method.end(run)
        #expect(!method.adapters.isEmpty)
        let full = Dictionary(
            uniqueKeysWithValues: whole.model.linears.map { ($0.name, $0.layer.dense!.parameter.gradient!) })
        for adapter in method.adapters {
            let gradient = full[adapter.layer]!
            var expected = Tensor<Float>(zeros: adapter.values.shape)
            for (index, place) in adapter.places.enumerated() {
                if adapter.side == .inputs {
                    for row in 0..<expected.rows { expected[row, index] = -gradient[row, place] }
                } else {
                    for column in 0..<expected.columns { expected[index, column] = -gradient[place, column] }
                }
            }
            #expect(adapter.values.isApproximatelyEqual(to: expected, tolerance: 1e-4), "\(adapter.layer)")
        }
        // The merged model is the first one with its adapters added.
        for (name, layer) in try Bench().model.linears {
            var weight = layer.weight.densified()
            for adapter in method.adapters where adapter.layer == name { adapter.add(to: &weight) }
            let merged = bench.model.linears.first { $0.name == name }!.layer.weight.densified()
            #expect(merged.isApproximatelyEqual(to: weight, tolerance: 1e-5), "\(name)")
        }
    }

    /// All columns of the last matrices: as training them whole.
    @Test func aShareOfOneIsFullTuning() throws {
        let (bench, whole) = (try Bench(), try Bench())
        try bench.train([S2FT(shares: shares(1))], steps: 5, optimizer: SGD(learningRate: 0, momentum: 0.9), rate: 0.1)
        for parameter in whole.model.parameters { parameter.isTrainable = false }
        for (name, layer) in whole.model.linears where name.hasSuffix("down_proj") {
            layer.dense!.parameter.isTrainable = true
        }
        try whole.train([], steps: 5, optimizer: SGD(learningRate: 0, momentum: 0.9), rate: 0.1)
        for (a, b) in zip(bench.model.linears, whole.model.linears) {
            #expect(
                a.layer.weight.densified().isApproximatelyEqual(to: b.layer.weight.densified(), tolerance: 1e-4),
                "\(a.name)")
        }
        #expect(bench.model.parameters.allSatisfy { $0.isTrainable })
    }

    @Test func onlyChosenUnitsMove() throws {
        for choice in S2FT.Choice.allCases {
            let model = network()
            let before = model.layers.map { $0.weight.densified() }
            let biases = model.layers.map { $0.bias!.value }
            let method = try S2FT(shares: shares(0.25, 0.1), choice: choice)
            try train(model, hooks: [method], steps: 10, optimizer: Adam(), rate: 1e-2)
            #expect(model.layers.map { $0.bias!.value } == biases)
            // 40 hidden units: 10 whose columns move, 4 whose rows do.
            let read = method.adapters.filter { $0.side == .inputs }.flatMap { $0.places }
            let made = method.adapters.filter { $0.side == .outputs }.flatMap { $0.places }
            #expect(read.count == 10 && made.count == 4)
            for (index, layer) in model.layers.enumerated() {
                let after = layer.weight.densified()
                let own = method.adapters.filter { $0.layer == "layers.\(index)" }
                for row in 0..<after.rows {
                    for column in 0..<after.columns where after[row, column] != before[index][row, column] {
                        #expect(own.contains { $0.places.contains($0.side == .inputs ? column : row) })
                    }
                }
                var added = before[index]
                for adapter in own { adapter.add(to: &added) }
                #expect(added.isApproximatelyEqual(to: after, tolerance: 1e-5))
            }
            if choice == .magnitude {
                var columns: [(name: String, length: Float)] = []
                for layer in 0..<2 {
                    for column in 0..<before[layer + 1].columns {
                        let length = before[layer + 1].column(column).reduce(Float(0)) { $0 + $1 * $1 }
                        columns.append(("layers.\(layer + 1) \(column)", length))
                    }
                }
                let longest = Set(columns.sorted { $0.length > $1.length }.prefix(10).map { $0.name })
                let found = method.adapters.filter { $0.side == .inputs }.flatMap { adapter -> [String] in
                    adapter.places.map { "\(adapter.layer) \($0)" }
                }
                #expect(Set(found) == longest)
            }
        }
    }

    @Test func whatCannotBeSlicedIsRefused() throws {
        #expect(throws: LacunaError.self) { try S2FT(shares: shares(0)) }
        #expect(throws: LacunaError.self) { try S2FT(shares: shares(1.5)) }
        #expect(throws: LacunaError.self) { try train(network(), hooks: [S2FT(shares: shares(0.001))], steps: 1) }
        #expect(throws: LacunaError.self) { try train(network(), hooks: [S2FT(shares: shares(0.1, 0, 0.1))], steps: 1) }
        let masked = network()
        masked.layers[0].dense!.mask = SparsePattern(rows: 24, columns: 20) { $0 != $1 }
        #expect(throws: LacunaError.self) { try train(masked, hooks: [S2FT(shares: shares(0.5))], steps: 1) }
    }
}

@Suite struct DSEETests {
    @Test func decompositionFindsEntriesThatMagnitudesHide() throws {
        var generator = SeededGenerator(seed: 7)
        let n = 96
        var matrix = Tensor<Float>(normal: [n, 4], using: &generator).multiplied(
            by: Tensor(normal: [4, n], using: &generator))
        let places = Set(sampledPlaces(60, of: n * n, using: &generator).map { Int($0) })
        for place in places { matrix[place / n, place % n] += generator.uniform() < 0.5 ? 2 : -2 }
        matrix = matrix + Tensor(normal: [n, n], standardDeviation: 0.01, using: &generator)
        func recall(_ support: SparsePattern) -> Double {
            Double(places.count { support[$0 / n, $0 % n] }) / 60
        }
        let (lowRank, support) = try GoDec.decompose(matrix, rank: 4, entries: 60)
        #expect(support.count == 60 && recall(support) == 1)
        let singular = try lowRank.svd().s
        #expect(singular[4] < 1e-3 * singular[0])
        let largest = try Selection.mask(
            scores: MagnitudeScore().scores(weight: matrix), pattern: .unstructured(.layer), amount: .count(60))
        #expect(recall(largest) < 0.2)
        #expect(try GoDec.decompose(matrix, rank: 0, entries: 60).support == largest)
        #expect(throws: LacunaError.self) { try GoDec.decompose(matrix, rank: -1, entries: 1) }
        #expect(throws: LacunaError.self) { try GoDec.decompose(matrix, rank: 1, entries: n * n + 1) }
    }

    private func settings(_ change: (inout DSEE.Settings) -> Void = { _ in }) -> DSEE.Settings {
        var settings = DSEE.Settings()
        (settings.rank, settings.alpha, settings.entries, settings.decompositionRank) = (2, 6, 5, 3)
        change(&settings)
        return settings
    }

    @Test func changesStartAtNothingAndAddUp() throws {
        let bench = try Bench()
        let before = bench.logits()
        let method = try DSEE(settings: settings())
        let run = TrainingRun(model: bench.model, optimizer: Adam(), tape: Tape(), totalSteps: 10, seed: 2)
        try method.begin(run)
        try method.attach(run)
        #expect(bench.logits() == before)
        let changed = bench.model.linears.filter { $0.layer.weight is UpdatedWeight }
        #expect(changed.count == 4 && changed.allSatisfy { $0.name.hasSuffix("q_proj") || $0.name.hasSuffix("v_proj") })
        // Rank 2 and 5 entries of two [32, 32] and two [16, 32] matrices.
        let trained = bench.model.trainableParameters.reduce(0) { $0 + $1.count }
        #expect(trained == 266 + 202)
        let layer = changed[0].layer
        let weight = try #require(layer.weight as? UpdatedWeight)
        let (factors, entries) = (
            try #require(weight.updates[0] as? FactoredWeight),
            try #require((weight.updates[1] as? ScaledWeight)?.base as? CSRWeight)
        )
        var generator = SeededGenerator(seed: 4)
        factors.b.value = Tensor(normal: factors.b.shape, using: &generator)
        entries.values.value = Tensor(normal: [5], using: &generator)
        // α / r multiplies both parts.
        let sum =
            weight.base.densified() + 3 * (factors.b.value.multiplied(by: factors.a.value) + entries.densified())
        #expect(layer.weight.densified().isApproximatelyEqual(to: sum, tolerance: 1e-4))
        let x = Tensor<Float>(normal: [4, 32], using: &generator)
        let tape = Tape<Float>()
        let y = tape.evaluating { layer(tape.constant(x)).value }
        #expect(y.isApproximatelyEqual(to: x.multiplied(by: sum, otherTransposed: true), tolerance: 1e-3))
    }

    /// A fifth of each set goes: by the change where there is one, by the weight elsewhere; what stays is what it was.
    @Test func weightsGoByTheirChange() throws {
        let bench = try Bench()
        let base = Dictionary(uniqueKeysWithValues: bench.model.linears.map { ($0.name, $0.layer.weight.densified()) })
        let method = try DSEE(settings: settings { $0.pruneAt = 0.5 })
        try bench.train([method], steps: 12)
        var (removed, all) = ((0, 0), (0, 0))
        var (largestGone, smallestKept) = (Float(0), Float.infinity)
        for (name, layer) in bench.model.linears {
            let isChanged = layer.weight is UpdatedWeight
            let own = ((layer.weight as? UpdatedWeight)?.base ?? layer.weight) as! DenseWeight
            let mask = try #require(own.mask)
            #expect(mask.applied(to: base[name]!) == own.densified())
            let gone = mask.rows * mask.columns - mask.count
            if isChanged {
                removed.0 += gone
                all.0 += mask.rows * mask.columns
            } else {
                removed.1 += gone
                all.1 += mask.rows * mask.columns
                for row in 0..<mask.rows {
                    for column in 0..<mask.columns {
                        let size = abs(base[name]![row, column])
                        if mask[row, column] {
                            smallestKept = min(smallestKept, size)
                        } else {
                            largestGone = max(largestGone, size)
                        }
                    }
                }
            }
        }
        #expect(removed.0 == Selection.removedCount(sparsity: 0.2, of: all.0))
        #expect(removed.1 == Selection.removedCount(sparsity: 0.2, of: all.1))
        #expect(largestGone <= smallestKept)
        #expect(abs(DSEE.backboneSparsity(bench.model) - 0.2) < 1e-3)
    }

    @Test func theSmallestChangesDecide() throws {
        let model = network([8, 6, 2])
        let method = try DSEE(
            settings: settings(), removal: .weights(0.25), layers: .matching([NamePattern("layers.0")]))
        let run = TrainingRun(model: model, optimizer: Adam(), tape: Tape(), totalSteps: 10, seed: 2)
        try method.begin(run)
        let weight = try #require(model.layers[0].weight as? UpdatedWeight)
        var generator = SeededGenerator(seed: 4)
        let factors = try #require(weight.updates[0] as? FactoredWeight)
        factors.b.value = Tensor(normal: factors.b.shape, using: &generator)
        try method.prune(model)
        let change = weight.updates[0].densified() + weight.updates[1].densified()
        let expected = try Selection.mask(magnitudesOf: change, pattern: .unstructured(.layer), sparsity: 0.25)
        #expect((weight.base as? DenseWeight)?.mask == expected)
    }

    @Test func headsAndNeuronsThatGoAreGone() throws {
        let bench = try Bench()
        let method = try DSEE(settings: settings(), removal: .units(heads: 1, neurons: 0.25))
        let run = TrainingRun(model: bench.model, optimizer: Adam(), tape: Tape(), totalSteps: 10, seed: 2)
        try method.begin(run)
        try method.attach(run)
        // Of the first block the second head's queries change more, of the second block the first one's.
        for (layer, name) in ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"].enumerated() {
            let weight = try #require(bench.model.linears.first { $0.name == name }?.layer.weight as? UpdatedWeight)
            let factors = try #require(weight.updates[0] as? FactoredWeight)
            var b = factors.b.value
            for row in 0..<32 { b[row, 0] = row / 16 == 1 - layer ? 2 : 1 }
            factors.b.value = b
        }
        try method.prune(bench.model)
        for (layer, gone) in [(0, 0), (1, 1)] {
            for (suffix, size, isRow) in [
                ("q_proj", 16, true), ("k_proj", 8, true), ("v_proj", 8, true), ("o_proj", 16, false),
            ] {
                let weight = bench.model.linears.first { $0.name == "model.layers.\(layer).self_attn.\(suffix)" }!.layer
                    .weight
                    .densified()
                for row in 0..<weight.rows {
                    for column in 0..<weight.columns {
                        let isGone = (isRow ? row : column) / size == gone
                        #expect((weight[row, column] == 0) == isGone, "\(suffix) \(row) \(column)")
                    }
                }
            }
        }
        let down = bench.model.linears.first { $0.name.hasSuffix("0.mlp.down_proj") }!.layer.weight.densified()
        let silent = (0..<40).filter { down.column($0).allSatisfy { $0 == 0 } }
        #expect(silent.count == 10)
        // Training on does not bring them back.
        let tape = Tape<Float>()
        let optimizer = Adam(learningRate: 0.01)
        for _ in 0..<3 {
            bench.model.clearGradients()
            tape.backward(from: bench.loss(on: tape))
            optimizer.step(bench.model.parameters)
        }
        let query = bench.model.linears.first { $0.name.hasSuffix("0.self_attn.q_proj") }!.layer.weight.densified()
        #expect(
            (0..<16).allSatisfy { query.row($0).allSatisfy { $0 == 0 } }
                && query.row(20) != Array(repeating: 0, count: 32))
    }

    @Test func whatCannotWorkIsRefused() throws {
        #expect(throws: LacunaError.self) { try DSEE(settings: settings { $0.rank = 0 }) }
        #expect(throws: LacunaError.self) { try DSEE(settings: settings { $0.pruneAt = 2 }) }
        #expect(throws: LacunaError.self) { try DSEE(removal: .weights(-0.1)) }
        #expect(throws: LacunaError.self) { try DSEE(removal: .units(heads: -1, neurons: 0)) }
        let bench = try Bench()
        #expect(throws: LacunaError.self) { try bench.train([DSEE(removal: .units(heads: 2, neurons: 0))], steps: 1) }
    }

    @Test func pruningHasItsTime() throws {
        final class Probe: TrainingHook {
            var hasMasks: [Bool] = []
            func afterStep(_ run: TrainingRun) {
                hasMasks.append(
                    run.model.linears.contains { entry in
                        (((entry.layer.weight as? UpdatedWeight)?.base ?? entry.layer.weight) as? DenseWeight)?.mask
                            != nil
                    })
            }
        }
        let probe = Probe()
        try Bench().train([DSEE(settings: settings { $0.pruneAt = 0.5 }), probe], steps: 6)
        #expect(probe.hasMasks == [false, false, false, true, true, true])
    }
}
