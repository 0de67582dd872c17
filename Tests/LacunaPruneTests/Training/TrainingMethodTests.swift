import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// Runs a hook around `steps` steps of a small regression.
func train(
    _ model: MLP, hooks: [any TrainingHook], steps: Int, seed: UInt64 = 1,
    optimizer: any Optimizer = SGD(learningRate: 0, momentum: 0.9),
    rate: Double = 0.02, after: ((Int) -> Void)? = nil
) throws {
    var generator = SeededGenerator(seed: seed)
    let inputs = model.layers[0].inputDimensions
    let x = Tensor<Float>(normal: [200, inputs], using: &generator)
    let labels = (0..<200).map { i in Int32(x[i, 0] + x[i, 1] > 0 ? 1 : 0) }
    final class Watcher: TrainingHook {
        let body: ((Int) -> Void)?
        init(_ body: ((Int) -> Void)?) { self.body = body }
        func afterStep(_ run: TrainingRun) { body?(run.step) }
    }
    var plan = TrainingPlan(steps: steps, learningRate: .constant(rate))
    plan.seed = seed
    let trainer = try Trainer(
        model: model, optimizer: optimizer,
        source: ShuffledBatches(
            try LabelledExamples(inputs: x, labels: labels, classes: 2), batchSize: 20, seed: seed),
        plan: plan, hooks: hooks + [Watcher(after)],
        loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
    try trainer.train()
}

func network(_ widths: [Int] = [20, 24, 16, 2], seed: UInt64 = 1) -> MLP {
    var generator = SeededGenerator(seed: seed)
    return MLP(widths: widths, using: &generator)
}

@Suite struct TrainingMethodTests {
    @Test(arguments: [StorageLayout.masked, .csr]) func staticMasksNeverChange(storage: StorageLayout) throws {
        let model = network()
        var first: [SparsePattern] = []
        let method = try StaticRandomSparsity(budget: ErdosRenyiBudget(0.7), storage: storage)
        try train(model, hooks: [method], steps: 30, optimizer: Adam(weightDecay: 0.1, isDecoupled: true)) { step in
            let masks = model.layers.map { SparsePattern(nonzerosOf: $0.weight.densified()) }
            if step == 0 { first = masks } else { #expect(masks == first) }
        }
        let kept = model.layers.reduce(0) { $0 + $1.weight.activeCount }
        let all = 20 * 24 + 24 * 16 + 16 * 2
        #expect(kept == all - Selection.removedCount(sparsity: 0.7, of: all))
    }

    /// Averages of gradients are those of the run, not of one before, which may have been of another network.
    @Test func averagesOfGradientsBeginAnew() throws {
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.5), growth: .momentum)
        settings.interval = 5
        let used = try DropAndGrow(settings)
        try train(network([30, 24, 2], seed: 2), hooks: [used], steps: 20, seed: 2)
        let (one, two) = (network([20, 16, 2]), network([20, 16, 2]))
        try train(one, hooks: [used], steps: 20)
        try train(two, hooks: [DropAndGrow(settings)], steps: 20)
        for (a, b) in zip(one.layers, two.layers) { #expect(a.weight.densified() == b.weight.densified()) }
    }

    /// Masked and stored training take the same steps.
    @Test func maskedAndStoredTrainingAgree() throws {
        var results: [[Tensor<Float>]] = []
        for storage in [StorageLayout.masked, .csr] {
            let model = network()
            try train(model, hooks: [StaticRandomSparsity(budget: UniformBudget(0.6), storage: storage)], steps: 40)
            results.append(model.layers.map { $0.weight.densified() })
        }
        for (a, b) in zip(results[0], results[1]) {
            #expect(zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) < 1e-4 })
        }
    }

    /// Convolutions are described to a budget by their four sides: at 97 %, [64, 32, 3, 3] keeps 332 and [10, 64] 241.
    @Test func convolutionsGetTheirSharesByTheirKernels() throws {
        var generator = SeededGenerator(seed: 1)
        let convolution = SparseConv2d(inputChannels: 32, outputChannels: 64, kernelSize: 3, using: &generator)
        let head = Linear(inputDimensions: 64, outputDimensions: 10, using: &generator)
        try StaticRandomSparsity.install(
            ErdosRenyiBudget(0.97), on: Sequential([convolution, head]), .all, .masked, rescalesWeights: true,
            using: &generator)
        #expect(convolution.product.dense!.mask!.count == 332 && head.dense!.mask!.count == 241)
        // Kernels of one channel each are described by [channels, 1, 3, 3], patches of all by [outputs, channels, 3, 3].
        let depthwise = DepthwiseConv2d(channels: 8, kernelSize: 3, using: &generator)
        let shapes = Sequential([convolution, depthwise]).weightShapes
        #expect(shapes[ObjectIdentifier(depthwise.product)] == [8, 1, 3, 3])
        #expect(shapes[ObjectIdentifier(convolution.product)] == [64, 32, 3, 3])
    }

    /// A pattern of one shot under a budget sees the same kernels.
    @Test func oneShotSeesKernels() throws {
        var generator = SeededGenerator(seed: 2)
        let convolution = SparseConv2d(inputChannels: 32, outputChannels: 64, kernelSize: 3, using: &generator)
        let head = Linear(inputDimensions: 64, outputDimensions: 10, using: &generator)
        try OneShotPruning(budget: ErdosRenyiBudget(0.97), layers: .all).prune(Sequential([convolution, head]))
        #expect(convolution.product.dense!.mask!.count == 332 && head.dense!.mask!.count == 241)
    }

    /// Of 480 weights a quarter stays, each of them twice what it was, or what it was.
    @Test func keptWeightsAreEnlarged() throws {
        let (enlarged, plain) = (network([20, 24, 2]), network([20, 24, 2]))
        let start = plain.layers[0].weight.densified()
        try train(enlarged, hooks: [StaticRandomSparsity(budget: UniformBudget(0.75))], steps: 1, rate: 0)
        let method = try StaticRandomSparsity(budget: UniformBudget(0.75), rescalesWeights: false)
        try train(plain, hooks: [method], steps: 1, rate: 0)
        for (model, factor) in [(enlarged, 2), (plain, 1)] as [(MLP, Float)] {
            let (weight, mask) = (model.layers[0].weight.densified(), model.layers[0].dense!.mask!)
            #expect(mask.count == 120)
            for r in 0..<24 {
                for c in 0..<20 {
                    let expected: Float = mask[r, c] ? factor * start[r, c] : 0
                    #expect(abs(weight[r, c] - expected) < 1e-6)
                }
            }
        }
    }

    /// Frames of a flow are patterns too: 8 · 256 is too large a group.
    @Test func flowsAreCheckedWhenTheyAreMade() {
        #expect(throws: LacunaError.self) { try ProgressiveGradientFlow(n: 2, m: 256, flow: .geometric) }
        #expect(throws: Never.self) { try ProgressiveGradientFlow(n: 2, m: 128, flow: .geometric) }
    }

    @Test func sparsityZeroIsDenseTraining() throws {
        let (sparse, dense) = (network(), network())
        try train(sparse, hooks: [StaticRandomSparsity(budget: UniformBudget(0))], steps: 25)
        try train(dense, hooks: [], steps: 25)
        #expect(sparse.layers.map { $0.weight.densified() } == dense.layers.map { $0.weight.densified() })
    }

    @Test(arguments: DropAndGrow.Growth.allCases, [StorageLayout.masked, .csr])
    func exchangesKeepTheCount(growth: DropAndGrow.Growth, storage: StorageLayout) throws {
        let model = network()
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.8), growth: growth)
        (settings.storage, settings.interval, settings.fraction) = (storage, 5, 0.4)
        if growth == .momentum, storage == .csr {
            #expect(throws: LacunaError.self, "averages of absent entries") { try DropAndGrow(settings) }
            return
        }
        let method = try DropAndGrow(settings)
        var masks: [SparsePattern] = []
        var changes = 0
        var kept: [Int] = []
        try train(model, hooks: [method], steps: 60, optimizer: Adam()) { step in
            let now = model.layers.map { layer -> SparsePattern in
                (layer.weight as? CSRWeight)?.pattern ?? layer.dense!.mask!
            }
            if step == 0 { kept = now.map(\.count) }
            #expect(now.map(\.count) == kept)
            if !masks.isEmpty && masks != now {
                changes += 1
                #expect(step % 5 == 0 && step < 45)
            }
            masks = now
        }
        #expect(changes == 8)
        #expect(method.exploration > 0.25 && method.exploration < 0.8)
        for layer in model.layers {
            for parameter in layer.weight.parameters {
                #expect(parameter.slots["first"]!.count == parameter.count)
            }
        }
    }

    /// What is dropped is smallest, what grows has the largest gradient, and the dropped do not come back at once.
    @Test func gradientGrowthTakesTheLargest() throws {
        let model = network([6, 8, 2])
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.5))
        (settings.interval, settings.fraction, settings.isAnnealed, settings.layers) = (3, 0.25, false, .allButOutput)
        final class Probe: TrainingHook {
            var before: (weight: Tensor<Float>, mask: SparsePattern, gradient: Tensor<Float>)?
            func gradientsReady(_ run: TrainingRun) {
                let weight = run.model.linears[0].layer.dense!
                before = (weight.parameter.value, weight.mask!, weight.parameter.gradient!)
            }
        }
        let probe = Probe()
        try train(model, hooks: [probe, DropAndGrow(settings)], steps: 6) { step in
            guard step == 3, let (weight, old, gradient) = probe.before else { return }
            let new = model.layers[0].dense!.mask!
            let (dropped, grown) = (old.subtracting(new), new.subtracting(old))
            #expect(dropped.count == 6 && grown.count == 6)
            var (largestDropped, smallestKept): (Float, Float) = (0, .infinity)
            var (smallestGrown, largestAbsent): (Float, Float) = (.infinity, 0)
            for r in 0..<8 {
                for c in 0..<6 {
                    if dropped[r, c] { largestDropped = max(largestDropped, abs(weight[r, c])) }
                    if old[r, c] && new[r, c] { smallestKept = min(smallestKept, abs(weight[r, c])) }
                    if grown[r, c] { smallestGrown = min(smallestGrown, abs(gradient[r, c])) }
                    if !old[r, c] && !new[r, c] { largestAbsent = max(largestAbsent, abs(gradient[r, c])) }
                }
            }
            #expect(largestDropped <= smallestKept && smallestGrown >= largestAbsent)
        }
    }

    /// Of 240 connections the fraction 0.2 (1 + cos(π t / 30)) is exchanged, rounded down: 30 is the end of the updates, not
    /// of the run. Without annealing it is 0.4 of them every time.
    @Test(arguments: DropAndGrow.Growth.allCases) func exchangesFollowTheirFraction(growth: DropAndGrow.Growth) throws {
        let annealed = [5: 89, 10: 72, 15: 48, 20: 24, 25: 6]
        for (isAnnealed, expected) in [(true, annealed), (false, annealed.mapValues { _ in 96 })] {
            let model = network([20, 24, 2])
            var settings = DropAndGrow.Settings(budget: UniformBudget(0.5), growth: growth)
            (settings.interval, settings.fraction, settings.isAnnealed) = (5, 0.4, isAnnealed)
            settings.layers = .allButOutput
            var (old, counts): (SparsePattern?, [Int: Int]) = (nil, [:])
            try train(model, hooks: [DropAndGrow(settings)], steps: 40) { step in
                let now = model.layers[0].dense!.mask!
                if let old, old != now { counts[step] = old.subtracting(now).count }
                old = now
            }
            #expect(counts == expected)
        }
    }

    /// What grows starts at 0, or as numbers of the deviation that was asked for.
    @Test(arguments: [0.0, 0.5]) func grownWeightsStartAsSaid(deviation: Double) throws {
        let model = network([40, 50, 2])
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.5), growth: .random)
        (settings.interval, settings.fraction, settings.isAnnealed) = (1, 0.8, false)
        (settings.growthDeviation, settings.layers) = (deviation, .allButOutput)
        var (old, grown): (SparsePattern?, [Double]) = (nil, [])
        try train(model, hooks: [DropAndGrow(settings)], steps: 3, rate: 0) { _ in
            let (now, weight) = (model.layers[0].dense!.mask!, model.layers[0].weight.densified())
            if let old, grown.isEmpty {
                now.subtracting(old).forEachEntry { _, r, c in grown.append(Double(weight[r, c])) }
            }
            old = now
        }
        #expect(grown.count == 800)
        let mean = grown.reduce(0, +) / 800
        let square = grown.reduce(0) { $0 + $1 * $1 } / 800
        #expect(abs(mean) <= 0.16 * deviation)
        #expect(abs(square - deviation * deviation) <= 0.2 * deviation * deviation)
    }

    /// Each setting up to its limit, and no further.
    @Test func settingsOfExchangesHaveLimits() {
        func isRefused(_ change: (inout DropAndGrow.Settings) -> Void) -> Bool {
            var settings = DropAndGrow.Settings(budget: UniformBudget(0.5))
            change(&settings)
            return (try? DropAndGrow(settings)) == nil
        }
        let refused: [(inout DropAndGrow.Settings) -> Void] = [
            { $0.interval = 0 }, { $0.fraction = 1.01 }, { $0.fraction = -0.01 }, { $0.leastFraction = 0.31 },
            { $0.leastFraction = -0.01 }, { $0.end = 1.01 }, { $0.end = -0.01 }, { $0.growthDeviation = -0.01 },
        ]
        let taken: [(inout DropAndGrow.Settings) -> Void] = [
            { $0.interval = 1 }, { $0.fraction = 1 }, { $0.fraction = 0 }, { $0.leastFraction = 0.3 }, { $0.end = 1 },
            { $0.end = 0 }, { $0.growthDeviation = 0 },
        ]
        for (index, change) in refused.enumerated() { #expect(isRefused(change), "\(index)") }
        for (index, change) in taken.enumerated() { #expect(!isRefused(change), "\(index)") }
    }

    /// Signed drops take the same fraction of the positive and of the negative weights, those nearest 0.
    @Test func signedDropsTakeBothSides() throws {
        let model = network([20, 24, 2])
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.5), growth: .random)
        (settings.interval, settings.fraction, settings.isAnnealed, settings.drop) = (3, 0.25, false, .signed)
        settings.layers = .allButOutput
        final class Probe: TrainingHook {
            var before: (weight: Tensor<Float>, mask: SparsePattern)?
            func gradientsReady(_ run: TrainingRun) {
                let weight = run.model.linears[0].layer.dense!
                before = (weight.parameter.value, weight.mask!)
            }
        }
        let probe = Probe()
        try train(model, hooks: [probe, DropAndGrow(settings)], steps: 6) { step in
            guard step == 3, let (weight, old) = probe.before else { return }
            let new = model.layers[0].dense!.mask!
            let dropped = old.subtracting(new)
            for sign: Float in [1, -1] {
                var (gone, stays): ([Float], [Float]) = ([], [])
                for r in 0..<24 {
                    for c in old.keptColumns(row: r) where weight[r, c] * sign > 0 {
                        if dropped[r, c] { gone.append(abs(weight[r, c])) } else { stays.append(abs(weight[r, c])) }
                    }
                }
                #expect(gone.count == (gone.count + stays.count) / 4 && gone.max()! <= stays.min()!)
            }
        }
    }

    /// A head that is the embedding table again is no linear layer: nothing of such a model is left out as its output.
    @Test func tiedHeadsLeaveNoLayerOut() throws {
        var generator = SeededGenerator(seed: 3)
        func model(tied: Bool) throws -> TrainableTransformer {
            try TrainableTransformer(
                TransformerConfiguration(
                    vocabularySize: 12, hiddenSize: 8, intermediateSizes: [16], headCount: 2, keyValueHeadCount: 2,
                    headSize: 4, maximumPositions: 8, tiedEmbeddings: tied), using: &generator)
        }
        let (tied, apart) = (try model(tied: true), try model(tied: false))
        #expect(try LayerChoice.allButOutput.layers(of: tied).map(\.name) == tied.linears.map(\.name))
        let names = Set(apart.linears.map(\.name)).subtracting(
            try LayerChoice.allButOutput.layers(of: apart).map(\.name))
        #expect(names == ["lm_head"])
    }

    @Test func everyMethodIsListedUnderItsName() {
        #expect(TrainingMethods.cards.map(\.name) == TrainingMethods.names)
        #expect(Set(TrainingMethods.names).count == TrainingMethods.names.count)
    }

    @Test func badSettingsAreRefused() throws {
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.5))
        settings.fraction = 1.5
        #expect(throws: LacunaError.self) { try DropAndGrow(settings) }
        settings.fraction = 0.3
        settings.storage = .bitmask
        #expect(throws: LacunaError.self) { try DropAndGrow(settings) }
        #expect(throws: LacunaError.self) { try SRSTE(pattern: .unstructured(.layer)) }
        for number in [-1, Double.infinity, .nan] {
            #expect(throws: LacunaError.self) { try SRSTE(pattern: .nm(n: 2, m: 4), decay: number) }
            #expect(throws: LacunaError.self) { try CAST(pattern: .nm(n: 2, m: 4), lambda: number) }
            #expect(throws: LacunaError.self) { try EnvelopeRegularization(keep: 0.5, lambda: number) }
            #expect(throws: LacunaError.self) { try ProgressiveGradientFlow(n: 2, m: 4, flow: .exponential(number)) }
        }
        #expect(throws: LacunaError.self) { try SLTrain(rank: -1) }
        #expect(throws: LacunaError.self) {
            try StaticRandomSparsity(budget: UniformBudget(0.5), storage: .bsr(rows: 2, columns: 2))
        }
        #expect(throws: LacunaError.self) {
            try train(network(), hooks: [SRSTE(pattern: .nm(n: 2, m: 4), layers: .matching(["nothing*"]))], steps: 1)
        }
    }

    @Test func straightThroughGradientsAndDecay() throws {
        // One step of plain descent on a linear layer: kept entries move by g, masked ones by g + λ w.
        let lambda: Float = 0.5
        var generator = SeededGenerator(seed: 3)
        let weight = Tensor<Float>(normal: [2, 8], using: &generator)
        let mask = try StraightThroughView.mask(weight, .nm(n: 2, m: 4))
        #expect(mask.satisfies(.nm(n: 2, m: 4)) && mask.count == 8)
        func step(_ decay: Double) throws -> Tensor<Float> {
            let model = network([8, 2])
            model.layers[0].dense!.parameter.value = weight
            // At the end of the run masked entries are gone: they are looked at before.
            var moved = weight
            try train(
                model, hooks: [SRSTE(pattern: .nm(n: 2, m: 4), decay: decay, layers: .all)], steps: 1,
                optimizer: SGD(learningRate: 0), rate: 0.1
            ) { _ in moved = model.layers[0].dense!.parameter.value }
            return moved
        }
        let (plain, decayed) = (try step(0), try step(Double(lambda)))
        for r in 0..<2 {
            for c in 0..<8 {
                let pull = mask[r, c] ? 0 : 0.1 * lambda * weight[r, c]
                #expect(abs(plain[r, c] - pull - decayed[r, c]) < 1e-6)
            }
        }
        #expect(zip(plain.scalars, weight.scalars).allSatisfy { $0 != $1 })
        let tape = Tape<Float>()
        let view = StraightThroughView(.nm(n: 2, m: 4))
        let parameter = Parameter(weight)
        let (forward, backward) = view.weights(parameter.on(tape))
        #expect(forward.value == mask.applied(to: weight) && backward == nil)
        tape.backward(from: (forward * forward).sum())
        let gradient = parameter.gradient!
        for r in 0..<2 { for c in 0..<8 { #expect(gradient[r, c] == (mask[r, c] ? 2 * weight[r, c] : 0)) } }
        let again = Tape<Float>()
        parameter.clearGradient()
        let sum = view.weights(parameter.on(again)).forward.sum()
        again.backward(from: sum)
        #expect(parameter.gradient!.scalars.allSatisfy { $0 == 1 })
    }

    @Test func srsteEndsWithThePattern() throws {
        let model = network()
        let method = try SRSTE(pattern: .nm(n: 1, m: 4), decay: 1e-3, divergenceInterval: 5)
        try train(model, hooks: [method], steps: 40)
        for layer in model.layers.dropLast() {
            let mask = SparsePattern(nonzerosOf: layer.weight.densified())
            #expect(mask.satisfies(.nm(n: 1, m: 4)) && layer.dense!.view == nil)
        }
        #expect(method.divergence > 0)
        #expect(model.layers.last!.weight.activeCount == 32)
    }

    @Test func slTrainLimits() throws {
        let model = network()
        try train(model, hooks: [SLTrain(rank: 2, alpha: 4, density: 0.1, layers: .allButOutput)], steps: 20)
        let weight = model.layers[0].weight as! LowRankSparseWeight
        #expect(weight.rank == 2 && weight.support.count == 48 && weight.scale == 2)
        #expect(model.layers[2].dense != nil)
        // Without rank it is static sparse training, without entries low rank.
        let sparse = network()
        try train(sparse, hooks: [SLTrain(rank: 0, density: 0.2)], steps: 5)
        #expect(SparsePattern(nonzerosOf: sparse.layers[0].weight.densified()).count <= 96)
        let low = network()
        try train(low, hooks: [SLTrain(rank: 1, density: 0)], steps: 30)
        let s = try low.layers[0].weight.densified().svd().s
        #expect(s[1] < 1e-4 * max(s[0], 1e-3))
        // Layer on layer of it learns: a network of zeros would stay one, with a loss of ln 2.
        #expect(low.layers.allSatisfy { layer in layer.weight.densified().scalars.contains { $0 != 0 } })
        var generator = SeededGenerator(seed: 2)
        let wide = MLP(widths: [400, 300, 2], using: &generator)
        try train(wide, hooks: [SLTrain(rank: 16, density: 0)], steps: 1, optimizer: SGD(learningRate: 0), rate: 0)
        let product = wide.layers[0].weight.densified().scalars
        let variance = product.reduce(0.0) { $0 + Double($1 * $1) } / Double(product.count)
        #expect(abs(variance * 3 * 400 - 1) < 0.25)
    }
}
