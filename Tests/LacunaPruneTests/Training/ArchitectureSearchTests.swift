import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// DASS: scores under straight-through masks, the unrolled gradient of α, cells and what is decided.
@Suite struct ArchitectureSearchTests {
    private func normal(_ shape: [Int], _ seed: UInt64) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        return Tensor(normal: shape, using: &generator)
    }

    // MARK: Scores

    @Test func allKeptIsThePlainLayer() throws {
        let (w, x) = (normal([5, 7], 1), normal([4, 7], 2))
        let weight = try PopupWeight(w, scores: normal([5, 7], 3), sparsity: 0)
        let tape = Tape<Float>()
        #expect(
            weight.apply(tape.constant(x), bias: nil).value == tape.constant(x).linear(tape.constant(w)).value)
        #expect(weight.activeCount == 35 && weight.densified() == w)
    }

    /// With a loss that is the sum of c y the full weight's gradient is cᵀ x: the entries' is that under the mask, the scores' is that
    /// times the entry, in the direction in which |p| grows.
    @Test func gradientsGoStraightThrough() throws {
        let (w, p, x, c) = (normal([3, 6], 1), normal([3, 6], 2), normal([4, 6], 3), normal([4, 3], 4))
        let weight = try PopupWeight(w, scores: p, sparsity: 0.5)
        #expect(weight.mask.count == 9)
        let cut = p.scalars.map { abs($0) }.sorted()[9]
        let kept = p.scalars.map { abs($0) >= cut }
        #expect(weight.densified().scalars == zip(w.scalars, kept).map { $1 ? $0 : 0 })
        let tape = Tape<Float>()
        tape.backward(from: (weight.apply(tape.constant(x), bias: nil) * tape.constant(c)).sum())
        let full = c.transposed().multiplied(by: x)
        for i in 0..<18 {
            let g = full.scalars[i]
            #expect(abs(weight.base.gradient!.scalars[i] - (kept[i] ? g : 0)) < 1e-4)
            let sign: Float = p.scalars[i] < 0 ? -1 : 1
            #expect(abs(weight.scores.gradient!.scalars[i] - sign * w.scalars[i] * g) < 1e-4)
        }
        // A mask is chosen anew when scores change, not before.
        weight.scores.value = Tensor((0..<18).map { Float($0) }, shape: [3, 6])
        #expect(weight.mask == SparsePattern(rows: 3, columns: 6) { r, c in r * 6 + c >= 9 })
    }

    @Test func scoresStartAtTheWeights() throws {
        let w = Tensor<Float>([1, -4, 2, 0.5, 0, 3], shape: [2, 3])
        let scale = Float(2).squareRoot() / 4  // √(6 / 3) / max
        #expect(
            zip(PopupWeight.scaledScores(w).scalars, w.scalars).allSatisfy { abs($0 - scale * $1) < 1e-6 })
        let none = Tensor<Float>(zeros: [2, 2])
        #expect(PopupWeight.scaledScores(none) == none)
        #expect(
            try PopupWeight(w, sparsity: 0.5).mask
                == SparsePattern(nonzerosOf: Tensor([0, 1, 1, 0, 0, 1], shape: [2, 3])))
        #expect(
            try PopupWeight(normal([4, 8], 1), pattern: .nm(n: 2, m: 4), sparsity: nil).mask.satisfies(.nm(n: 2, m: 4)))
        #expect(throws: LacunaError.self) { try PopupWeight(w, scores: none, sparsity: 0.5) }
        for sparsity in [-0.1, 1.1] { #expect(throws: LacunaError.self) { try PopupScores(sparsity: sparsity) } }
        #expect(throws: LacunaError.self) { try PopupScores(sparsity: nil) }
        #expect(throws: LacunaError.self) { try PopupScores(sparsity: 0.3, pattern: .nm(n: 2, m: 4)) }
        #expect(throws: LacunaError.self) { try PopupScores(pattern: .unstructured(.global)) }
    }

    /// Scores alone learn; at the end so many weights are left as they were, under masks, and all are trained again.
    @Test func scoresAloneAreTrained() throws {
        let model = network()
        let before = model.layers.map { ($0.weight.densified(), $0.bias!.value) }
        let magnitudes = try model.layers.map {
            try Selection.mask(magnitudesOf: $0.weight.densified(), pattern: .unstructured(.layer), sparsity: 0.75)
        }
        var first: [SparsePattern] = []
        try train(model, hooks: [PopupScores(sparsity: 0.75)], steps: 40, rate: 0.1) { step in
            let masks = model.layers.map { ($0.weight as! PopupWeight).mask }
            if step == 0 { first = masks }
            for (layer, old) in zip(model.layers, before) {
                #expect((layer.weight as! PopupWeight).base.value == old.0 && layer.bias!.value == old.1)
            }
        }
        for (index, layer) in model.layers.enumerated() {
            let mask = layer.dense!.mask!
            #expect(mask.count == mask.rows * mask.columns / 4)
            #expect(layer.dense!.parameter.value == mask.applied(to: before[index].0))
            #expect(layer.parameters.allSatisfy { $0.isTrainable })
            // One step of rate 0.1 leaves almost all of the first mask.
            #expect(first[index].intersection(magnitudes[index]).count > magnitudes[index].count * 3 / 4)
        }
        #expect(zip(model.layers, magnitudes).contains { $0.dense!.mask! != $1 }, "nothing was learned")
        #expect(throws: LacunaError.self, "masked layers have no whole weights") {
            try train(model, hooks: [PopupScores(sparsity: 0.9)], steps: 1)
        }
    }

    /// Scores that are no numbers would keep everything, and the loss of weights that stay would not show it.
    @Test func scoresThatAreNoNumbersStopTheRun() throws {
        let model = network()
        #expect {
            try train(model, hooks: [PopupScores(sparsity: 0.75)], steps: 3) { _ in
                (model.layers[0].weight as! PopupWeight).scores.value[0, 0] = .nan
            }
        } throws: { error in
            if case LacunaError.numerical(operation: "training scores", _) = error { true } else { false }
        }
    }

    // MARK: The gradient of α

    /// tanh(w₁ x) between two candidates that α weighs, one of which has a weight of its own: smooth in everything.
    private final class Bent: SearchableNetwork {
        let first = Linear(weight: DenseWeight(Tensor([0.4, -0.7, 0.2, 0.5, 0.3, -0.6], shape: [3, 2])))
        let second = Linear(weight: DenseWeight(Tensor([0.8, -0.3, 0.4, 0.1, 0.6, -0.9], shape: [2, 3])))
        let third = Linear(weight: DenseWeight(Tensor([-0.2, 0.7, 0.5, 0.9, -0.4, 0.3], shape: [2, 3])))
        let norm = BatchNorm(channels: 3)
        let alpha = Parameter<Float>(Tensor([0.3, -0.2], shape: [1, 2]))
        var architecture: [Parameter<Float>] { [alpha] }
        func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
            let hidden = norm(first(x).tanh())
            let mix = MixedOperation([Lambda { self.second($0) }, Lambda { self.third($0).tanh() }])
            return mix(hidden, weights: alpha.on(x.tape).softmax())
        }
    }

    private struct Fixed: BatchSource {
        let x: Tensor<Float>
        let labels: [Int32]
        var batchesPerEpoch: Int? { 1 }
        func batch(step: Int) -> (inputs: Tensor<Float>, labels: [Int32]) { (x, labels) }
    }

    private let rate = 0.3

    private func search(_ model: Bent, unrolled: Bool = true, difference: Double = 1e-2) throws -> BilevelSearch<Fixed>
    {
        var settings = BilevelSettings()
        (settings.isUnrolled, settings.difference) = (unrolled, difference)
        return try BilevelSearch(
            model, training: Fixed(x: normal([6, 2], 5), labels: [0, 1, 1, 0, 1, 0]),
            validation: Fixed(x: normal([6, 2], 6), labels: [1, 1, 0, 0, 1, 0]), rate: .constant(rate),
            settings: settings, loss: { Loss.crossEntropy(model($1.constant($0.inputs)), labels: $0.labels) })
    }

    private func run(_ model: Bent) -> TrainingRun {
        let sgd = SGD(learningRate: rate, momentum: 0.9, weightDecay: 0.05)
        let run = TrainingRun(model: model, optimizer: sgd, tape: Tape<Float>(), totalSteps: 10, seed: 1)
        for (number, parameter) in model.trainableParameters.enumerated() {
            let velocity = normal(parameter.shape, 40 + UInt64(number))
            velocity.withPointer { parameter.slot("velocity").update(from: $0, count: parameter.count) }
        }
        return run
    }

    /// What the search differentiates, step by step, as a function of α alone: the held-out loss after one step of SGD.
    private func lossAfterStep(_ alpha: [Float], unrolled: Bool = true) -> Double {
        let model = Bent()
        model.alpha.isTrainable = false
        let run = run(model)
        model.alpha.value = Tensor(alpha, shape: [1, 2])
        let tape = Tape<Float>()
        let (x, y) = (normal([6, 2], 5), normal([6, 2], 6))
        if unrolled {
            tape.backward(from: Loss.crossEntropy(model(tape.constant(x)), labels: [0, 1, 1, 0, 1, 0]))
            run.optimizer.step(model.parameters)
        }
        return Double(Loss.crossEntropy(model(tape.constant(y)), labels: [1, 1, 0, 0, 1, 0]).item)
    }

    @Test func unrolledGradientsAreThoseOfTheLossAfterTheStep() throws {
        let model = Bent()
        let gradient = try search(model).gradients(run(model))[0]
        let other = Bent()
        let first = try search(other, unrolled: false).gradients(run(other))[0]
        for place in 0..<2 {
            func slope(_ unrolled: Bool) -> Double {
                func moved(_ step: Float) -> Double {
                    var alpha: [Float] = [0.3, -0.2]
                    alpha[place] += step
                    return lossAfterStep(alpha, unrolled: unrolled)
                }
                return (moved(2e-2) - moved(-2e-2)) / 4e-2
            }
            #expect(abs(Double(gradient.scalars[place]) - slope(true)) < 2e-3)
            #expect(abs(Double(first.scalars[place]) - slope(false)) < 2e-3)
        }
        // The second derivative is no small part of it, or its sign would go unnoticed.
        #expect(abs(gradient.scalars[0] - first.scalars[0]) > 1e-2)
    }

    /// A step of α moves α alone: weights, momentum and running statistics are as they were; a step of the weights leaves α.
    @Test func stepsOfAlphaAndOfWeightsAreApart() throws {
        let model = Bent()
        let (hook, run) = (try search(model), run(model))
        func others() -> [Tensor<Float>] {
            model.parameters.filter { $0 !== model.alpha }.flatMap { p in
                [p.value] + p.slots.keys.sorted().map { Tensor(Array(p.slots[$0]!.elements)) }
            }
        }
        let (before, alpha) = (others(), model.alpha.value)
        try hook.beforeStep(run)
        #expect(others() == before)
        #expect(model.alpha.value != alpha && !model.alpha.isTrainable)
        #expect(model.parameters.allSatisfy { !$0.hasGradient })
        // Adam's first step is the rate, up to what decay adds to the gradient.
        #expect(zip(model.alpha.value.scalars, alpha.scalars).allSatisfy { abs(abs($0 - $1) - 3e-4) < 1e-5 })
        let moved = model.alpha.value
        run.tape.backward(
            from: Loss.crossEntropy(model(run.tape.constant(normal([6, 2], 5))), labels: [0, 1, 1, 0, 1, 0]))
        run.optimizer.step(model.parameters)
        #expect(model.alpha.value == moved && others() != before)
        // A search that is taken up again counts on.
        let again = try search(model)
        try again.restore(hook.state)
        #expect(again.state == hook.state)
        #expect(throws: LacunaError.self) { try again.restore(.null) }
    }

    // MARK: Cells

    @Test func twoEdgesAndTheirBestOperationStay() {
        let operations: [CellOperation] = [.none, .maxPool, .skip, .separable3]
        // Two nodes: edges (0,0) (0,1) and (1,0) (1,1) (1,2).
        let weights = Tensor<Float>(
            [
                0.1, 0.2, 0.3, 0.4,
                0.7, 0.1, 0.15, 0.05,
                0.0, 0.4, 0.3, 0.3,
                0.6, 0.1, 0.2, 0.1,
                0.0, 0.5, 0.4, 0.1,
            ], shape: [5, 4])
        let cell = Genotype.cell(weights, operations: operations, nodes: 2)
        #expect(
            cell == [
                [.init(from: 0, operation: .separable3), .init(from: 1, operation: .skip)],
                [.init(from: 0, operation: .maxPool), .init(from: 2, operation: .maxPool)],
            ])
        #expect(Genotype.edges(nodes: 4).count == 14)
        #expect(throws: LacunaError.self) { try Genotype(normal: cell, reduce: [cell[0]]) }
        #expect(throws: LacunaError.self) {
            try Genotype(normal: [[.init(from: 2, operation: .skip)]], reduce: [cell[0]])
        }
        #expect(throws: LacunaError.self) {
            try Genotype(normal: [[.init(from: 0, operation: .none)]], reduce: [cell[0]])
        }
    }

    @Test func mixturesAreWeightedSums() {
        let tape = Tape<Float>()
        let x = tape.variable(normal([2, 3], 1))
        let weights = tape.variable(Tensor([0.2, 0.5, 0.3], shape: [1, 3]))
        let mix = MixedOperation([nil, Lambda { $0.affine(2) }, Lambda { $0.map(.square) }])
        let y = mix(x, weights: weights)
        for (a, b) in zip(y.value.scalars, x.value.scalars) { #expect(abs(a - (b + 0.3 * b * b)) < 1e-5) }
        tape.backward(from: y.sum())
        let sums = [0, x.value.scalars.reduce(0) { $0 + 2 * $1 }, x.value.scalars.reduce(0) { $0 + $1 * $1 }]
        for (a, b) in zip(weights.gradient!.scalars, sums) { #expect(abs(a - b) < 1e-4) }
        for (a, b) in zip(x.gradient!.scalars, x.value.scalars) { #expect(abs(a - (1 + 0.6 * b)) < 1e-4) }
    }

    @Test func operationsKeepOrHalveImages() throws {
        var generator = SeededGenerator(seed: 1)
        let tape = Tape<Float>()
        let x = tape.constant(normal([2, 4, 6, 6], 2))
        for operation in CellOperation.allCases {
            for stride in [1, 2] {
                let layer = operation.layer(channels: 4, stride: stride, learnsNorms: false, using: &generator)
                #expect((layer == nil) == (operation == .none))
                guard let layer else { continue }
                #expect(layer(x).shape == [2, 4, 6 / stride, 6 / stride])
                #expect(layer.trainableParameters.allSatisfy { $0.shape.count == 2 }, "norms do not learn in a search")
            }
        }
        // Means of constants are constants at the border too: normalised they are 0.
        let flat = tape.constant(Tensor<Float>(repeating: 3, shape: [1, 4, 6, 6]))
        let mean = CellOperation.averagePool.layer(channels: 4, stride: 1, learnsNorms: false, using: &generator)!
        #expect(mean(flat).value.scalars.allSatisfy { abs($0) < 1e-3 })
        // Halving reads the pixels (0,0), (0,2) … and (1,1), (1,3) …
        let halving = HalvingConvolution(1, to: 2, learnsNorms: false, using: &generator)
        (halving.even.product.dense!.parameter.value, halving.odd.product.dense!.parameter.value) = (
            Tensor([1], shape: [1, 1]), Tensor([2], shape: [1, 1])
        )
        let image = tape.constant(Tensor((0..<16).map { Float($0) - 3 }, shape: [1, 1, 4, 4]))
        let halved = tape.evaluating { halving(image).value }.scalars
        for (a, b) in zip(halved, [0, 0, 5, 7, 4, 8, 20, 24]) { #expect(abs(a - Float(b)) < 1e-3) }
    }

    private func shape(nodes: Int = 2) -> CellNetwork.Shape {
        CellNetwork.Shape(inputChannels: 1, channels: 2, cells: 3, nodes: nodes, classes: 3)
    }

    @Test func networksOfCells() throws {
        var generator = SeededGenerator(seed: 3)
        let search = try CellNetwork(searching: shape(nodes: 4), using: &generator)
        #expect(search.normal!.shape == [14, 8] && search.reduce!.shape == [14, 8])
        #expect(search.outputLayer === search.classifier && search.architecture.allSatisfy { !$0.isTrainable })
        #expect((0..<8).filter { CellNetwork.Shape(inputChannels: 1, classes: 2).halves($0) } == [2, 5])
        let tape = Tape<Float>()
        let x = tape.constant(normal([3, 1, 8, 8], 4))
        for alpha in search.architecture { alpha.isTrainable = true }
        tape.backward(from: Loss.crossEntropy(search(x), labels: [0, 1, 2]))
        for alpha in search.architecture {
            let gradient = alpha.gradient!
            #expect((0..<14).allSatisfy { row in gradient.row(row).contains { $0 != 0 } })
        }
        let genotype = search.genotype!
        #expect(genotype.normal.count == 4 && genotype.reduce.allSatisfy { $0.count == 2 })
        let network = try CellNetwork(genotype, shape: shape(), using: &generator)
        #expect(network.architecture.isEmpty && network.genotype == nil && network.shape.nodes == 4)
        #expect(network(x).shape == [3, 3])
        var small = shape()
        small.channels = 1
        #expect(throws: LacunaError.self) { try CellNetwork(searching: small, using: &generator) }
        #expect(throws: LacunaError.self) {
            try CellNetwork(searching: shape(), operations: [.none], using: &generator)
        }
    }

    /// Moments of a run before count for nothing: a network that was trained goes on like a fresh one with its weights.
    @Test func momentsBeginAnew() throws {
        let examples = try LabelledExamples(
            inputs: normal([24, 1, 8, 8], 6), labels: (0..<24).map { Int32($0 % 3) }, classes: 3)
        func network() throws -> CellNetwork {
            var generator = SeededGenerator(seed: 5)
            return try CellNetwork(
                searching: shape(nodes: 1), operations: [.none, .skip, .separable3], using: &generator)
        }
        var method = try DASS(sparsity: 0)
        (method.batch, method.bilevel.rate) = (12, 0.05)
        (method.pretrain.epochs, method.prune.epochs, method.finetune.epochs) = (1, 0, 0)
        let (trained, fresh) = (try network(), try network())
        try method.search(trained, training: examples, validation: examples, seed: 1)
        #expect(trained.architecture.allSatisfy { !$0.slots.isEmpty })
        for (parameter, source) in zip(fresh.parameters, trained.parameters) { parameter.value = source.value }
        for model in [trained, fresh] {
            try method.search(model, training: examples, validation: examples, seed: 2)
        }
        for (one, two) in zip(fresh.parameters, trained.parameters) { #expect(one.value == two.value) }
    }

    /// Three phases: all alphas move in each, and every layer ends with its share.
    @Test func searchesAndTrains() throws {
        var generator = SeededGenerator(seed: 5)
        let examples = try LabelledExamples(
            inputs: normal([24, 1, 8, 8], 6), labels: (0..<24).map { Int32($0 % 3) }, classes: 3)
        let network = try CellNetwork(
            searching: shape(nodes: 1), operations: [.none, .skip, .separable3], using: &generator)
        let before = network.architecture.map(\.value)
        var method = try DASS(sparsity: 0.5)
        (method.batch, method.bilevel.rate) = (12, 0.05)
        (method.pretrain.epochs, method.prune.epochs, method.finetune.epochs) = (1, 1, 1)
        try method.search(network, training: examples, validation: examples, seed: 1)
        for (alpha, old) in zip(network.architecture, before) { #expect(alpha.value != old) }
        for (name, layer) in network.linears {
            let mask = try #require(layer.dense?.mask, "\(name)")
            #expect(
                mask.count == mask.rows * mask.columns
                    - Selection.removedCount(sparsity: 0.5, of: mask.rows * mask.columns))
        }
        let found = try CellNetwork(try #require(network.genotype), shape: shape(), using: &generator)
        try method.train(found, on: examples, seed: 2)
        #expect(found.linears.allSatisfy { $0.layer.dense?.mask != nil })
        try found.sparsify(
            .csr, masks: Dictionary(uniqueKeysWithValues: found.linears.map { ($0.name, $0.layer.dense!.mask!) }))
        // At 0 there is nothing to prune: a plain search.
        method = try DASS(sparsity: 0)
        (method.pretrain.epochs, method.prune.epochs, method.finetune.epochs) = (1, 0, 0)
        let dense = try CellNetwork(
            Genotype(normal: [[.init(from: 0, operation: .skip)]], reduce: [[.init(from: 1, operation: .separable3)]]),
            shape: shape(), using: &generator)
        try method.train(dense, on: examples, seed: 3)
        #expect(dense.linears.allSatisfy { $0.layer.dense!.mask == nil })
        method.finetune.rate = 1e-4
        #expect(throws: LacunaError.self, "a rate below the last") { try method.train(dense, on: examples, seed: 3) }
        for sparsity in [-0.1, 1] { #expect(throws: LacunaError.self) { try DASS(sparsity: sparsity) } }
    }
}
