import LacunaIO
import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

@Suite struct PatternScheduleMethodTests {
    @Test func progressiveGradientFlowLimits() throws {
        let method = try ProgressiveGradientFlow(n: 1, m: 4, flow: .exponential(6))
        #expect(method.factor(at: 0) == 1 && abs(method.factor(at: 0.5) - exponential(-3)) < 1e-12)
        #expect(try ProgressiveGradientFlow(n: 1, m: 4, flow: .linear(2)).factor(at: 0.75) == 0)
        // No decay at all is dense training until the end; infinitely fast decay is the straight-through estimator.
        let (free, dense) = (network(), network())
        try train(free, hooks: [ProgressiveGradientFlow(n: 1, m: 4, flow: .exponential(0))], steps: 15)
        try train(dense, hooks: [], steps: 15)
        let mask = free.layers[0].dense!.mask!
        #expect(mask.satisfies(.nm(n: 1, m: 4)))
        #expect(free.layers[0].weight.densified() == mask.applied(to: dense.layers[0].weight.densified()))
        // At step 0 the factor is 1 whatever the rate, so the run is compared with one that masks from step 1.
        final class FromStepOne: TrainingHook {
            func beforeStep(_ run: TrainingRun) {
                guard run.step == 1 else { return }
                for (_, layer) in run.model.linears.dropLast() {
                    layer.dense!.view = StraightThroughView(.nm(n: 1, m: 4))
                }
            }
        }
        let (fast, through) = (network(), network())
        try train(fast, hooks: [ProgressiveGradientFlow(n: 1, m: 4, flow: .linear(1e9))], steps: 15)
        try train(through, hooks: [FromStepOne()], steps: 15)
        for (a, b) in zip(fast.layers.dropLast(), through.layers) {
            let weight = b.dense!.parameter.value
            #expect(a.weight.densified() == (try StraightThroughView.mask(weight, .nm(n: 1, m: 4))).applied(to: weight))
        }
        let stepwise = network()
        try train(stepwise, hooks: [ProgressiveGradientFlow(n: 1, m: 8, flow: .stepwise)], steps: 24)
        #expect(SparsePattern(nonzerosOf: stepwise.layers[0].weight.densified()).satisfies(.nm(n: 1, m: 8)))
        #expect(throws: LacunaError.self) { try ProgressiveGradientFlow(n: 5, m: 4) }
    }

    /// The input's gradient goes through the copy with groups of outputs, the weight's gradient to every entry.
    @Test func bothDirections() throws {
        var generator = SeededGenerator(seed: 3)
        let weight = Parameter(Tensor<Float>(normal: [8, 12], using: &generator))
        let view = StraightThroughView(.nm(n: 2, m: 4), backward: .nm(n: 2, m: 4, axis: .output))
        let tape = Tape<Float>()
        let x = tape.variable(Tensor(normal: [5, 12], using: &generator))
        let dy = Tensor<Float>(normal: [5, 8], using: &generator)
        let (forward, backward) = view.weights(weight.on(tape))
        let y = x.linear(forward, backward: backward)
        tape.backward(from: (y * tape.constant(dy)).sum())
        let outputs = try StraightThroughView.mask(weight.value, .nm(n: 2, m: 4, axis: .output))
        for c in 0..<12 { for r in [0, 4] { #expect((r..<r + 4).count { outputs[$0, c] } == 2) } }
        let expected = dy.multiplied(by: outputs.applied(to: weight.value))
        #expect(zip(x.gradient!.scalars, expected.scalars).allSatisfy { abs($0 - $1) < 1e-5 })
        let inputs = try StraightThroughView.mask(weight.value, .nm(n: 2, m: 4))
        #expect(y.value == x.value.multiplied(by: inputs.applied(to: weight.value), otherTransposed: true))
        #expect(weight.gradient!.scalars.allSatisfy { $0 != 0 })
        // Backward only: forward the weight is dense, in evaluation too, and costs what a dense one does.
        let half = StraightThroughView(nil, backward: .nm(n: 2, m: 4, axis: .output))
        #expect(half.multiplyAdds(weight) == 96)
        let dense = x.value.multiplied(by: weight.value, otherTransposed: true)
        for isTraining in [true, false] {
            let tape = Tape<Float>()
            tape.isTraining = isTraining
            let input = tape.variable(x.value)
            let (forward, backward) = half.weights(weight.on(tape))
            let output = input.linear(forward, backward: backward)
            #expect(output.value == dense && (backward != nil) == isTraining)
            tape.backward(from: (output * tape.constant(dy)).sum())
            let through = isTraining ? expected : dy.multiplied(by: weight.value)
            #expect(zip(input.gradient!.scalars, through.scalars).allSatisfy { abs($0 - $1) < 1e-5 })
        }
        let straight = network()
        try train(straight, hooks: [BDWP(n: 2, m: 4, isBackwardOnly: true)], steps: 10)
        #expect(straight.layers[0].dense!.mask == nil && straight.layers[0].dense!.view == nil)
        #expect(try BDWP(n: 2, m: 8).computeRatio == 0.5)
        let model = network()
        try train(model, hooks: [BDWP(n: 2, m: 4)], steps: 10)
        #expect(SparsePattern(nonzerosOf: model.layers[0].weight.densified()).satisfies(.nm(n: 2, m: 4)))
    }

    @Test func castDrivesMaskedWeightsToNothing() throws {
        let model = network()
        let method = try CAST(pattern: .nm(n: 2, m: 4), lambda: 1e-2)
        var before: [Tensor<Float>] = []
        method.beforePruning = { before = model.layers.map { $0.weight.densified() } }
        try train(model, hooks: [method], steps: 400, optimizer: AdamS(), rate: 2e-3)
        #expect(method.residual < 0.1)
        #expect(SparsePattern(nonzerosOf: model.layers[0].weight.densified()).satisfies(.nm(n: 2, m: 4)))
        #expect(SparsePattern(nonzerosOf: before[0]).count > 240)
        // The first step has no decay, α being 0. As v is built from the momentum, it is 1 / (1 - β₁) times the rate.
        let (one, start) = (network(), network())
        try train(
            one, hooks: [CAST(pattern: .nm(n: 2, m: 4), lambda: 100, scales: 0)], steps: 1, optimizer: AdamS(),
            rate: 1e-3)
        let mask = one.layers[0].dense!.mask!
        let (moved, from) = (one.layers[0].weight.densified(), start.layers[0].weight.densified())
        var moves: [Float] = []
        for r in 0..<24 { for c in 0..<20 where mask[r, c] { moves.append(abs(moved[r, c] - from[r, c])) } }
        #expect(moves.allSatisfy { $0 <= 1.001e-2 } && moves.count { $0 > 0.99e-2 } > 200)
    }

    /// A checkpoint can hold anything.
    @Test func masksOfOtherNetworksAreRefused() throws {
        let words: JSONValue = ["rows": 2, "columns": 4, "words": [5, 10]]
        let cast = try CAST(pattern: .nm(n: 2, m: 4))
        try cast.restore([words])
        #expect(throws: LacunaError.self) { try train(network(), hooks: [cast], steps: 1, optimizer: AdamS()) }
        let gradual = try GradualPruning(sparsity: 0.5)
        let ste = try SRSTE(pattern: .nm(n: 2, m: 4))
        for state: JSONValue in [.null, 3, ["masks": [1]], ["density": "much"]] {
            #expect(throws: LacunaError.self) { try cast.restore(state) }
            #expect(throws: LacunaError.self) { try ste.restore(state) }
            #expect(throws: LacunaError.self) { try gradual.restore(state) }
        }
    }

    /// Weights that a method moves by itself move at the rate of their group.
    @Test func ratesOfGroupsCount() throws {
        final class Still: TrainingHook {
            func beforeStep(_ run: TrainingRun) { run.model.linears[0].layer.dense!.parameter.rateFactor = 0 }
        }
        let (cast, envelope, start) = (network(), network(), network().layers[0].weight.densified())
        let method = try CAST(pattern: .nm(n: 2, m: 4), scales: 0)
        var before: Tensor<Float>?
        method.beforePruning = { before = cast.layers[0].weight.densified() }
        try train(cast, hooks: [Still(), method], steps: 5, optimizer: AdamS())
        #expect(before == start)
        try train(envelope, hooks: [Still(), EnvelopeRegularization(keep: 1, lambda: 5)], steps: 5)
        #expect(envelope.layers[0].weight.densified() == start)
        let pulled = network()
        let pull = try SRSTE(pattern: .nm(n: 2, m: 4), decay: 0.5, isDecoupled: true)
        try train(pulled, hooks: [Still(), pull], steps: 5) { _ in
            #expect(pulled.layers[0].dense!.parameter.value == start)
        }
    }

    /// Masks are chosen anew every seventh step, and at no other.
    @Test func castChoosesAtIntervals() throws {
        final class Probe: TrainingHook {
            let method: CAST
            var seen: [String] = []
            init(_ method: CAST) { self.method = method }
            func afterStep(_ run: TrainingRun) { seen.append(method.state.serialized()) }
        }
        let method = try CAST(pattern: .nm(n: 2, m: 4), interval: 7)
        let probe = Probe(method)
        try train(network(), hooks: [method, probe], steps: 29, optimizer: AdamS(), rate: 2e-2)
        #expect((1..<29).filter { probe.seen[$0] != probe.seen[$0 - 1] } == [7, 14, 21, 28])
    }

    /// Steps of AdamS by the formula, at three times of a run: masked entries follow `(1 - t/T) m + t/T λ sign(w)`.
    @Test func castStepsAreThoseOfItsFormula() throws {
        let method = try CAST(pattern: .nm(n: 2, m: 4), lambda: 0.5, interval: 1, scales: 0)
        final class Probe: TrainingHook {
            var seen: [Int: (weight: Tensor<Float>, gradient: Tensor<Float>, m: [Float], v: [Float])] = [:]
            func gradientsReady(_ run: TrainingRun) {
                let parameter = run.model.linears[0].layer.dense!.parameter
                let zeros = [Float](repeating: 0, count: parameter.count)
                seen[run.step] = (
                    parameter.value, parameter.gradient!, parameter.slots["first"]?.array ?? zeros,
                    parameter.slots["second"]?.array ?? zeros
                )
            }
        }
        let probe = Probe()
        let model = network()
        try train(model, hooks: [probe, method], steps: 10, optimizer: AdamS(), rate: 1e-2) { t in
            guard [0, 3, 7].contains(t), let (weight, gradient, first, second) = probe.seen[t],
                let kept = try? StraightThroughView.mask(weight, .nm(n: 2, m: 4))
            else { return }
            let after = model.layers[0].dense!.parameter.value
            let (g, w, moved) = (gradient.scalars, weight.scalars, after.scalars)
            let alpha = Double(t) / 10
            for i in w.indices {
                let m = 0.9 * Double(first[i]) + 0.1 * Double(g[i])
                let pull = 0.5 * (w[i] > 0 ? 1.0 : w[i] < 0 ? -1 : 0)
                let u = kept[i / 20, i % 20] ? m : (1 - alpha) * m + alpha * pull
                let v = 0.999 * Double(second[i]) + 0.001 * u * u
                let (c1, c2) = (1 - power(0.9, Double(t + 1)), 1 - power(0.999, Double(t + 1)))
                let expected = Double(w[i]) - 1e-2 * (u / c1) / ((v / c2).squareRoot() + 1e-8)
                #expect(abs(Double(moved[i]) - expected) < 2e-5, "step \(t), entry \(i)")
            }
        }
        #expect(probe.seen.count == 10)
    }

    /// What is reported is the mean size of what goes over that of what stays, in all layers together.
    @Test func castReportsWhatIsLeftOfMaskedWeights() throws {
        let model = network()
        let method = try CAST(pattern: .nm(n: 1, m: 4), scales: 0)
        var before: [Tensor<Float>] = []
        method.beforePruning = { before = model.layers.map { $0.weight.densified() } }
        try train(model, hooks: [method], steps: 3, optimizer: AdamS())
        var (gone, stays): ([Double], [Double]) = ([], [])
        for (layer, weight) in zip(model.layers.dropLast(), before) {
            for (after, old) in zip(layer.weight.densified().scalars, weight.scalars) {
                if after == 0 { gone.append(Double(abs(old))) } else { stays.append(Double(abs(old))) }
            }
        }
        #expect(gone.count == 3 * stays.count && stays.count == (24 * 20 + 16 * 24) / 4)
        let (lost, left) = (gone.reduce(0, +) / Double(gone.count), stays.reduce(0, +) / Double(stays.count))
        #expect(abs(method.residual - lost / left) < 1e-9)
    }

    @Test func gradualPruningFollowsItsRamp() throws {
        let method = try GradualPruning(sparsity: 0.8, layers: .all, interval: 1)
        #expect(method.sparsity(at: 0.2) == 0 && abs(method.sparsity(at: 0.5) - 0.7) < 1e-12)
        #expect(method.sparsity(at: 0.9) == 0.8)
        #expect(abs(method.meanDensity - 0.5) < 1e-12)
        let cases: [(Double, GradualPruning.Ramp, Double)] = [
            (0.2, .cubic, 0.875), (0.5, .cubic, 0.6875), (0.8, .linear, 0.6),
        ]
        for (sparsity, ramp, density) in cases {
            #expect(abs(try GradualPruning(sparsity: sparsity, ramp: ramp).meanDensity - density) < 1e-12)
        }
        let model = network()
        var kept = [SparsePattern?](repeating: nil, count: 3)
        try train(model, hooks: [method], steps: 80) { _ in
            for (index, layer) in model.layers.enumerated() {
                let mask = layer.dense!.mask
                if let old = kept[index] { #expect(mask!.subtracting(old).count == 0) }
                kept[index] = mask
            }
        }
        #expect(abs(method.measuredMeanDensity - 0.5) < 0.02)
        #expect(abs(model.layers[0].dense!.mask!.sparsity - 0.8) < 1e-9)
        // The next run is counted by itself: its only step is dense.
        try train(network(), hooks: [method], steps: 1)
        #expect(method.measuredMeanDensity == 1)
        // The end of the window is an update wherever it lies between two.
        let late = network()
        let rare = try GradualPruning(sparsity: 0.6, window: 0.1...0.5, layers: .all, interval: 1000)
        try train(late, hooks: [rare], steps: 20)
        #expect(abs((late.layers[0].dense!.mask?.sparsity ?? 0) - 0.6) < 1e-9)
    }

    @Test func densifyingKeepsTheFunction() throws {
        let model = network()
        try train(model, hooks: [StaticRandomSparsity(budget: UniformBudget(0.75), storage: .csr)], steps: 10)
        let before = model.layers.map { $0.weight.densified() }
        model.densify()
        #expect(model.layers.map { $0.weight.densified() } == before)
        #expect(model.layers.allSatisfy { $0.dense != nil && $0.dense!.mask == nil })
        try train(model, hooks: [], steps: 10)
        #expect(SparsePattern(nonzerosOf: model.layers[0].weight.densified()).count > 400)
    }

    @Test func isoFLOPWidths() throws {
        let (widths, budget) = try SparseIFT(sparsity: 0.75).wide([200, 16, 16, 4])
        #expect(widths == [200, 32, 32, 4])
        #expect(budget == LayerBudget(["layers.0": 0.5, "layers.1": 0.75, "layers.2": 0.5]))
        #expect(abs(try SparseIFT(sparsity: 0.9).widening - 3.1622776) < 1e-6)
        #expect(try SparseIFT(sparsity: 0).wide([4, 5, 6]).widths == [4, 5, 6])
        // Ranks of a 3x3 convolution of 64 channels.
        #expect(
            try [0.5, 0.75, 0.9].map { try SparseIFT(sparsity: $0).dopedRank(inputs: 576, outputs: 64) } == [
                28, 43, 51,
            ])
        var generator = SeededGenerator(seed: 1)
        let layer = Linear(inputDimensions: 60, outputDimensions: 40, using: &generator)
        let doped = try SparseIFT(sparsity: 0.75).doped(layer, using: &generator)
        // Dense yet: the layer itself beside a product of 18 · 100 numbers.
        #expect(doped.branches[0].weight.densified() == layer.weight.densified())
        #expect(doped.multiplyAdds == 2400 + 1800 && doped.isLinear)
        #expect(try SparseIFT(sparsity: 0).doped(layer, using: &generator).densified() == layer.weight.densified())
        // ⌈60 · 40 / (0.25 · 100)⌉; of 3 x 3 convolutions of 64 channels the authors' 116, 231 and 577, of which the last is 576 exactly.
        let factorized = try SparseIFT(sparsity: 0.75).factorized(layer, using: &generator)
        #expect(factorized.first.outputDimensions == 96 && !factorized.isLinear)
        #expect(
            try [0.5, 0.75, 0.9].map { try SparseIFT(sparsity: $0).factorizedWidth(inputs: 576, outputs: 64) } == [
                116, 231, 576,
            ])
        #expect(try [0, 0.5, 0.75, 0.9, 0.99].map { try SparseIFT(sparsity: $0).branchCount } == [1, 2, 4, 10, 100])
    }

    /// What takes layers' places costs what they cost, learns, and is read again as it was written.
    @Test(arguments: IsoFLOPLayers.Variant.allCases, [StorageLayout.csr, .masked]) func isoFLOPLayers(
        variant: IsoFLOPLayers.Variant, storage: StorageLayout
    ) throws {
        let model = network([40, 32, 32, 2])
        var settings = DropAndGrow.Settings(budget: UniformBudget(0))
        (settings.layers, settings.storage, settings.interval) = (.allButOutput, storage, 5)
        let method = try IsoFLOPLayers(SparseIFT(sparsity: 0.75), variant: variant, settings: settings)
        var first: [SparsePattern] = []
        func patterns() -> [SparsePattern] {
            model.linears.filter { $0.name.contains(".weight.") && $0.layer.weight.storage != "low-rank" }
                .map { SparsePattern(nonzerosOf: $0.layer.weight.densified()) }
        }
        try train(model, hooks: [method], steps: 30) { if $0 == 0 { first = patterns() } }
        let cost = model.layers.dropLast().reduce(0) { $0 + $1.weight.multiplyAdds }
        #expect(abs(Double(cost) / Double(40 * 32 + 32 * 32) - 1) < 0.03)
        #expect(model.layers[2].dense != nil && patterns() != first)
        #expect(model.layers[0].weight.isLinear == method.isLinear)
        let folder = "/tmp/lacuna-iso-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.createDirectory(folder)
        defer { try? FileSystem.remove(folder) }
        try ModelFile.save(model, to: folder + "/m.safetensors")
        let other = network([40, 32, 32, 2], seed: 9)
        try ModelFile.load(other, from: folder + "/m.safetensors")
        var generator = SeededGenerator(seed: 4)
        let x = Tensor<Float>(normal: [5, 40], using: &generator)
        let tape = Tape<Float>()
        #expect(tape.evaluating { model(tape.constant(x)).value } == tape.evaluating { other(tape.constant(x)).value })
        // What a sum has inside is counted once.
        let ledger = Ledger(model, on: tape) { _ = model(tape.constant(x)) }
        let numbers = model.parameters.reduce(0) { $0 + $1.buffer.byteCount }
        let positions = model.linears.reduce(0) { sum, entry in
            entry.layer.weight is SummedWeight || entry.layer.weight is ComposedWeight
                ? sum
                : sum + entry.layer.weight.byteCount
                    - entry.layer.weight.parameters.reduce(0) { $0 + $1.buffer.byteCount }
        }
        #expect(ledger.weightBytes == numbers + positions)
        if !method.isLinear {
            let dense = Densification()
            #expect(throws: LacunaError.self) { try train(model, hooks: [dense], steps: 1) }
        }
        // Without a sparsity nothing is replaced.
        let same = network([40, 32, 32, 2])
        try train(
            same, hooks: [IsoFLOPLayers(SparseIFT(sparsity: 0), variant: variant, settings: settings)], steps: 1)
        #expect(same.layers.allSatisfy { $0.dense != nil })
    }

    /// Branches without norms are their sum; two layers without anything between are their product.
    @Test func foldedLayers() {
        var generator = SeededGenerator(seed: 8)
        func layer(_ outputs: Int, _ inputs: Int) -> Linear {
            Linear(inputDimensions: inputs, outputDimensions: outputs, bias: false, using: &generator)
        }
        let sum = SummedWeight([layer(6, 9), layer(6, 9), layer(6, 9)])
        let composed = ComposedWeight(layer(4, 9), layer(6, 4))
        let tape = Tape<Float>()
        for weight in [sum, composed] as [any TrainableWeight] {
            let x = tape.variable(Tensor(normal: [3, 9], using: &generator))
            let bias = Tensor<Float>(normal: [6], using: &generator)
            let y = weight.apply(x, bias: tape.constant(bias))
            let expected = x.value.multiplied(by: weight.densified(), otherTransposed: true)
            for r in 0..<3 { for c in 0..<6 { #expect(abs(y.value[r, c] - expected[r, c] - bias[c]) < 1e-5) } }
        }
    }

    /// A dense beginning, an end under the last mask, and the decay between them.
    @Test func progressiveGradientFlowHasPhases() throws {
        let method = try ProgressiveGradientFlow(n: 1, m: 4, flow: .linear(1), dense: 0.2, fineTune: 0.3)
        #expect([0, 0.19, 0.2, 0.45, 0.71, 1].map(method.factor) == [1, 1, 1, 0.5, 0, 0])
        let steps = try ProgressiveGradientFlow(n: 1, m: 8, flow: .stepwise, dense: 0.2, fineTune: 0.2)
        #expect(steps.factor(at: 0.1) == 1 && steps.factor(at: 0.2) == 0)
        #expect(steps.pattern(at: 0.2) == .nm(n: 7, m: 8) && steps.pattern(at: 0.8) == .nm(n: 1, m: 8))
        let model = network()
        var masks: [SparsePattern?] = []
        try train(model, hooks: [method], steps: 20) { _ in masks.append(model.layers[0].dense!.mask) }
        // The mask is there from the first step of the last part, and stays.
        #expect(masks.prefix(14).allSatisfy { $0 == nil } && masks[14] != nil)
        #expect(masks.suffix(6).allSatisfy { $0 == masks[14] } && model.layers[0].dense!.mask == masks[14])
        #expect(model.layers[0].dense!.view == nil && masks[14]!.satisfies(.nm(n: 1, m: 4)))
        for (dense, fineTune) in [(-0.1, 0), (0, 1), (0.5, 0.5), (0.7, 0.4)] {
            #expect(throws: LacunaError.self) {
                try ProgressiveGradientFlow(n: 1, m: 4, dense: dense, fineTune: fineTune)
            }
        }
    }

    /// Products that skip what is masked give what products with zeros give, and do as much less.
    @Test func bothDirectionsSkip() throws {
        var generator = SeededGenerator(seed: 5)
        let weight = Parameter(Tensor<Float>(normal: [16, 24], using: &generator))
        let input = Tensor<Float>(normal: [7, 24], using: &generator)
        let offset = Parameter(Tensor<Float>(normal: [16], using: &generator))
        func run(_ skips: Bool) -> (values: [Tensor<Float>], work: Int) {
            let view = StraightThroughView(
                .nm(n: 1, m: 4), backward: .nm(n: 1, m: 4, axis: .output), skipsMasked: skips)
            let tape = Tape<Float>()
            let x = tape.variable(input)
            let (w, b) = (weight.on(tape), offset.on(tape))
            let (forward, backward) = view.weights(w)
            let y = view.product(x, w, bias: b) ?? x.linear(forward, bias: b, backward: backward)
            let target = tape.constant(Tensor<Float>(repeating: 0.5, shape: [7, 16]))
            tape.backward(from: (y - target).map(.square).sum())
            defer {
                weight.clearGradient()
                offset.clearGradient()
            }
            return ([y.value, x.gradient!, weight.gradient!, offset.gradient!], tape.multiplyAdds)
        }
        let (sparse, dense) = (run(true), run(false))
        for (a, b) in zip(sparse.values, dense.values) {
            #expect(zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) < 1e-4 })
        }
        #expect(dense.work == 3 * 7 * 16 * 24 && sparse.work == 7 * 16 * 24 * 3 / 2)
        // What fades is not masked yet.
        let fading = StraightThroughView(.nm(n: 1, m: 4), skipsMasked: true)
        fading.maskedFactor = 0.5
        let tape = Tape<Float>()
        tape.isTraining = true
        #expect(fading.product(tape.constant(input), weight.on(tape), bias: nil) == nil)
        // Masked weights are pulled: one step of descent with and without λ.
        let (free, pulled, start) = (network(), network(), network())
        let plain = SGD(learningRate: 0.1)
        try train(free, hooks: [BDWP(n: 2, m: 4)], steps: 1, optimizer: plain, rate: 0.1) { _ in }
        try train(pulled, hooks: [BDWP(n: 2, m: 4, decay: 0.5)], steps: 1, optimizer: SGD(learningRate: 0.1), rate: 0.1)
        let mask = try StraightThroughView.mask(start.layers[0].weight.densified(), .nm(n: 2, m: 4))
        let before = start.layers[0].weight.densified()
        for r in 0..<24 {
            for c in 0..<20 {
                let difference =
                    free.layers[0].dense!.parameter.value[r, c] - pulled.layers[0].dense!.parameter.value[r, c]
                // What the mask of the end has removed of both is 0.
                if free.layers[0].dense!.mask![r, c] && pulled.layers[0].dense!.mask![r, c] {
                    #expect(abs(difference - (mask[r, c] ? 0 : 0.05 * before[r, c])) < 1e-5)
                }
            }
        }
        #expect(throws: LacunaError.self) { try BDWP(n: 2, m: 4, decay: 0.1, isBackwardOnly: true) }
    }

    /// Factors of rows are trained, and in the weights at the end.
    @Test func castFoldsItsScales() throws {
        var generator = SeededGenerator(seed: 2)
        let scaled = GroupScaledWeight(DenseWeight(Tensor(normal: [3, 5], using: &generator)), groups: 2)
        scaled.scales.value = Tensor([2, 3, 4, 5, 6, 7], shape: [3, 2])
        let (w, whole) = (scaled.base.parameter.value, scaled.densified())
        // Columns 0, 1 and 2 are of the first run: ⌊2 · 2 / 5⌋ is 0.
        for r in 0..<3 { for c in 0..<5 { #expect(whole[r, c] == w[r, c] * Float(2 + 2 * r + (c < 3 ? 0 : 1))) } }
        let x = Tensor<Float>(normal: [4, 5], using: &generator)
        let tape = Tape<Float>()
        #expect(scaled.apply(tape.constant(x), bias: nil).value == x.multiplied(by: whole, otherTransposed: true))
        let model = network()
        let method = try CAST(pattern: .nm(n: 2, m: 4))
        var (factors, before): ([Float], [Tensor<Float>]) = ([], [])
        method.beforePruning = {
            factors = (model.layers[0].weight as! GroupScaledWeight).scales.value.scalars
            before = model.layers.map { $0.weight.densified() }
        }
        try train(model, hooks: [method], steps: 60, optimizer: AdamS(), rate: 5e-3)
        #expect(factors.count == 48 && factors.contains { abs($0 - 1) > 0.01 })
        let (mask, after) = (model.layers[0].dense!.mask!, model.layers[0].weight.densified())
        #expect(mask.satisfies(.nm(n: 2, m: 4)) && after == mask.applied(to: before[0]))
        #expect(throws: LacunaError.self) { try CAST(pattern: .nm(n: 2, m: 4), scales: -1) }
    }

    /// A window in compute lies where so much of it is done: found here by adding up steps.
    @Test(arguments: GradualPruning.Ramp.allCases) func windowsInCompute(ramp: GradualPruning.Ramp) throws {
        let method = try GradualPruning(sparsity: 0.8, window: 0.25...0.75, measure: .compute, ramp: ramp)
        let steps = 200_000
        let costs = (0..<steps).map { 1 - method.sparsity(at: (Double($0) + 0.5) / Double(steps)) }
        let all = costs.reduce(0, +)
        func done(_ share: Double) -> Double { costs.prefix(Int(share * Double(steps))).reduce(0, +) / all }
        #expect(abs(done(method.window.lowerBound) - 0.25) < 1e-4)
        #expect(abs(done(method.window.upperBound) - 0.75) < 1e-4)
        #expect(abs(all / Double(steps) - method.meanDensity) < 1e-4)
        #expect(try GradualPruning(sparsity: 0, measure: .compute).window == 0.25...0.75)
        #expect(throws: LacunaError.self) { try GradualPruning(sparsity: 1, measure: .compute) }
    }

    /// A slice computes what the parent computes with the other nodes silenced.
    @Test func slicedNetworks() {
        let parent = network()
        var generator = SeededGenerator(seed: 4)
        let choice = NodeSearch.randomChoice([20, 24, 16, 2], kept: 7, using: &generator)
        let child = NodeSearch.sliced(parent, choice)
        let silenced = network()
        for (index, kept) in choice.enumerated() {
            let layer = silenced.layers[index].dense!
            layer.mask = SparsePattern(rows: layer.outputs, columns: layer.inputs) { row, _ in kept.contains(row) }
            var bias = silenced.layers[index].bias!.value
            for row in 0..<layer.outputs where !kept.contains(row) { bias[row] = 0 }
            silenced.layers[index].bias!.value = bias
        }
        let x = Tensor<Float>(normal: [6, 20], using: &generator)
        let tape = Tape<Float>()
        let (a, b) = (child(tape.constant(x)).value, silenced(tape.constant(x)).value)
        #expect(zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) < 1e-5 })
        let all = NodeSearch.sliced(parent, [Array(0..<24), Array(0..<16)])
        #expect(all.layers[1].weight.densified() == parent.layers[1].weight.densified())
        let batch = (inputs: x, labels: [Int32](repeating: 0, count: 6))
        let found = NodeSearch(trials: 20, seed: 1).best(of: parent, kept: 5, batch: batch)
        #expect(found.losses.count == 20 && found.choice.allSatisfy { $0.count == 5 })
    }

    @Test func pqIndexClosedForms() throws {
        let (narrow, wide) = (try PQIndex(p: 0.5, q: 1), try PQIndex(p: 1, q: 2))
        let constant = [Float](repeating: -3, count: 50)
        var spike = [Float](repeating: 0, count: 100)
        spike[3] = 7
        #expect(narrow.value(constant) < 1e-12 && wide.value(constant) < 1e-12)
        #expect(abs(narrow.value(spike) - 0.99) < 1e-9 && abs(wide.value(spike) - 0.9) < 1e-9)
        var generator = SeededGenerator(seed: 3)
        let normal = (0..<100_000).map { _ in Float(generator.normal()) }
        #expect(abs(wide.value(normal) - 0.2021) < 2e-3 && abs(narrow.value(normal) - 0.1528) < 2e-3)
        #expect(abs(wide.retainedShare(index: 0.2021) - 0.637) < 1e-3)
        #expect(abs(narrow.retainedShare(index: 0.1528) - 0.847) < 1e-3)
        #expect(abs(wide.value(normal.map { 5 * $0 }) - wide.value(normal)) < 1e-9)
        #expect(abs(wide.value(normal + normal) - wide.value(normal)) < 1e-9)
        #expect(wide.value(normal + [0, 0, 0]) > wide.value(normal))
        #expect(wide.pruneShare(index: 0.99) == 0.9 && wide.pruneShare(index: 0) == 0)
        // Far exponents, and numbers near the ends of their range.
        let far = try PQIndex(p: 0.01, q: 200)
        #expect(
            far.value(constant.map { 1e-12 * $0 }) < 1e-9 && abs(far.value(normal + normal) - far.value(normal)) < 1e-9)
        #expect(far.value(normal) > 0.5 && far.value(normal) < 1)
        #expect(abs(wide.value(normal.map { 1e-30 * $0 }) - wide.value(normal)) < 1e-6)
        #expect(wide.value([1, .infinity]).isNaN && wide.value([.nan, 1]).isNaN && wide.value([]) == 0)
        #expect(throws: LacunaError.self) { try PQIndex(p: 2, q: 2) }
        #expect(throws: LacunaError.self) { try PQIndex(p: 1, q: .infinity) }
    }

    @Test func iterativePruningIsGlobalAndExact() throws {
        let model = network()
        let all = 20 * 24 + 24 * 16 + 16 * 2
        try IterativePruning.prune(model.layers, share: 0.3)
        #expect(
            model.layers.reduce(0) { $0 + $1.weight.activeCount } == all
                - Selection.removedCount(sparsity: 0.3, of: all))
        let first = model.layers.map { $0.dense!.mask! }
        let active = IterativePruning.activeValues(model.layers)
        #expect(active.count == first.reduce(0) { $0 + $1.count })
        try IterativePruning.prune(model.layers, share: 0.5)
        for (layer, old) in zip(model.layers, first) { #expect(layer.dense!.mask!.subtracting(old).count == 0) }
        let half = active.map(abs).sorted()[active.count - IterativePruning.activeValues(model.layers).count]
        #expect(IterativePruning.activeValues(model.layers).allSatisfy { abs($0) >= half })
    }

    @Test func soups() throws {
        let (a, b, target) = (network(seed: 1), network(seed: 2), network(seed: 1))
        let mask = SparsePattern(rows: 24, columns: 20) { ($0 + $1) % 3 == 0 }
        for model in [a, b, target] { model.layers[0].dense!.mask = mask }
        try SparseModelSoup.average([a, b], into: target)
        let mean = target.layers[0].weight.densified()
        #expect(SparsePattern(nonzerosOf: mean) == mask)
        #expect(
            abs(mean[0, 0] - 0.5 * (a.layers[0].weight.densified()[0, 0] + b.layers[0].weight.densified()[0, 0])) < 1e-6
        )
        try SparseModelSoup.average([a, a], into: target)
        #expect(target.layers.map { $0.weight.densified() } == a.layers.map { $0.weight.densified() })
        #expect(throws: LacunaError.self) { try SparseModelSoup.average([], into: target) }
        // What cannot be averaged leaves the target as it was, also where only the last layer differs.
        b.layers[2].dense!.mask = SparsePattern(rows: 2, columns: 16) { ($0 + $1) % 2 == 0 }
        #expect(throws: LacunaError.self) { try SparseModelSoup.average([b, a], into: target) }
        #expect(target.layers.map { $0.weight.densified() } == a.layers.map { $0.weight.densified() })
        var generator = SeededGenerator(seed: 1)
        let longer = MLP(widths: [20, 24, 16, 2, 2], using: &generator)
        longer.layers[0].dense!.mask = mask
        #expect(throws: LacunaError.self) { try SparseModelSoup.average([a, longer], into: target) }
    }

    @Test func greedySoups() throws {
        let (a, b, c, target) = (network(seed: 1), network(seed: 2), network(seed: 3), network(seed: 4))
        // Judged by one weight: 3, 1 and -8 for the candidates, so that the mean of the first two is the best.
        for (model, value) in [(a, Float(3)), (b, 1), (c, -8)] { model.layers[0].dense!.parameter.value[0, 0] = value }
        func score(_ model: MLP) -> Double { -abs(Double(model.layers[0].weight.densified()[0, 0]) - 2) }
        #expect(try SparseModelSoup.greedy([c, b, a], into: target, score: score) == [1, 2])
        #expect(target.layers[0].weight.densified()[0, 0] == 2)
        // A candidate that makes the mean worse stays out.
        func nearThree(_ model: MLP) -> Double { -abs(Double(model.layers[0].weight.densified()[0, 0]) - 3) }
        #expect(try SparseModelSoup.greedy([a, b, c], into: target, score: nearThree) == [0])
        #expect(target.layers.map { $0.weight.densified() } == a.layers.map { $0.weight.densified() })
        #expect(throws: LacunaError.self) { try SparseModelSoup.greedy([], into: target, score: score) }
        // A score that is not a number is the worst.
        func broken(_ model: MLP) -> Double { model === c ? .nan : score(model) }
        #expect(try SparseModelSoup.greedy([c, b, a], into: target, score: broken) == [1, 2])
    }

    @Test func recalibratedNorms() {
        var generator = SeededGenerator(seed: 2)
        let model = ConvNet(inputChannels: 1, channels: [3, 4], classes: 2, using: &generator)
        let batches = (0..<3).map { _ in Tensor<Float>(normal: [8, 1, 6, 6], using: &generator) }
        for norm in model.norms { norm.runningMean.value = Tensor(repeating: 100, shape: norm.runningMean.shape) }
        SparseModelSoup.recalibrate(model, batches: batches)
        // The first norm sees the first convolution: its statistics are means over the batches.
        let tape = Tape<Float>()
        var means = [Float](repeating: 0, count: 3)
        for batch in batches {
            let y = tape.withoutRecording { model.convolutions[0](tape.constant(batch)).value.scalars }
            for (place, value) in y.enumerated() { means[place / 36 % 3] += value / Float(3 * 8 * 36) }
        }
        let found = model.norms[0].runningMean.value.scalars
        for channel in 0..<3 { #expect(abs(found[channel] - means[channel]) < 1e-5) }
        #expect(model.norms.allSatisfy { $0.momentum == 0.1 })
        #expect(model.norms[1].runningMean.value.scalars.allSatisfy { abs($0) < 50 })
    }

    @Test func groupEnvelopes() throws {
        let singletons = (0..<5).map { [$0] }
        func prox(_ lambda: Double, _ k: Double) throws -> [Double] {
            var v = [3, -2, 1.5, 0.5, -0.1]
            try GroupEnvelope(k: k).prox(&v, groups: singletons, lambda: lambda)
            return v
        }
        func agree(_ a: [Double], _ b: [Double]) -> Bool { zip(a, b).allSatisfy { abs($0 - $1) < 1e-5 } }
        #expect(agree(try prox(1, 2), [1.5, -0.833333, 0.333333, 0, 0]))
        #expect(agree(try prox(0.5, 2), [2, -1.125, 0.625, 0, 0]))
        #expect(agree(try prox(1, 5), [1.5, -1, 0.75, 0.25, -0.05]))
        let norms = [3, 2, 1.5, 0.5, 0.1]
        // Groups that have nearly, or just, vanished beside others of any size.
        let faintest = Double.leastNormalMagnitude / 128
        for tiny in [0, Double.leastNonzeroMagnitude, faintest, 1e-30] {
            let u = try GroupEnvelope(k: 2).weights(norms: [3, 2, 1.5, 0.5, tiny, 0], lambda: 1)
            let exact = try GroupEnvelope(k: 2).weights(norms: [3, 2, 1.5, 0.5], lambda: 1)
            #expect(zip(u, exact + [0, 0]).allSatisfy { abs($0 - $1) < 1e-12 })
        }
        let faint = try GroupEnvelope(k: 1).weights(norms: [faintest, 0, faintest], lambda: 1)
        #expect(faint.allSatisfy(\.isFinite) && faint[1] == 0)
        #expect(abs(try GroupEnvelope(k: 1).value(norms: norms) - 25.205) < 1e-9)
        #expect(abs(try GroupEnvelope(k: 2).value(norms: norms) - 12.6025) < 1e-9)
        #expect(abs(try GroupEnvelope(k: 5).value(norms: norms) - 7.755) < 1e-9)
        // No change of the result lowers what it minimises.
        var generator = SeededGenerator(seed: 3)
        let (v, groups, lambda) = (
            (0..<12).map { _ in generator.normal() }, (0..<4).map { g in (3 * g..<3 * g + 3).map { $0 } }, 0.7
        )
        let envelope = try GroupEnvelope(k: 2)
        func objective(_ x: [Double]) -> Double {
            let norms = groups.map { $0.reduce(0) { $0 + x[$1] * x[$1] }.squareRoot() }
            return 0.5 * zip(x, v).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } + lambda
                * envelope.value(norms: norms)
        }
        var best = v
        envelope.prox(&best, groups: groups, lambda: lambda)
        let lowest = objective(best)
        for _ in 0..<300 {
            let moved = best.map { $0 + 0.02 * generator.normal() }
            #expect(objective(moved) > lowest - 1e-9)
        }
    }

    @Test func quickSelectionKeepsItsConnections() throws {
        var generator = SeededGenerator(seed: 3)
        var x = Tensor<Float>(normal: [120, 30], using: &generator)
        for i in 0..<120 { for c in 1..<6 { x[i, c] = x[i, 0] + 0.1 * x[i, c] } }
        var method = QuickSelection()
        (method.hidden, method.density, method.epochs, method.batch) = (20, 4, 3, 20)
        let result = try method.run(x)
        #expect(result.connections == 2 * 4 * 50 && result.strengths.count == 30)
        #expect(result.strengths.allSatisfy { $0 >= 0 } && result.selected(5).count == 5)
        #expect(try method.run(x).strengths == result.strengths)
        method.exchange = 1.5
        #expect(throws: LacunaError.self) { try method.run(x) }
    }
}
