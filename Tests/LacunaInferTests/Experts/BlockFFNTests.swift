import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaInfer

struct BlockFFNTests {
    private static func layer(width: Int = 12, experts: Int = 6, size: Int = 5, seed: UInt64 = 1) throws -> BlockFFN {
        var random = SeededGenerator(seed: seed)
        let layer = try BlockFFN(
            width: width, experts: experts, size: size, initialization: .normal(0.5), using: &random)
        layer.norm.weight.value = Tensor((0..<experts).map { _ in Float(1 + 0.3 * random.normal()) })
        return layer
    }

    /// The sum over experts by hand: ReLU, then the norm, then experts without gates.
    private static func reference(_ layer: BlockFFN, _ x: [Float]) -> [Double] {
        func product(_ linear: Linear, _ x: [Double]) -> [Double] {
            let w = linear.weight.densified()
            return (0..<w.rows).map { r in x.indices.reduce(0) { $0 + Double(w[r, $1]) * x[$1] } }
        }
        let x = x.map(Double.init)
        let scores = product(layer.router, x).map { max($0, 0) }
        let root = (scores.reduce(0) { $0 + $1 * $1 } / Double(scores.count) + 1e-6).squareRoot()
        let gain = layer.norm.weight.value.scalars
        let hidden = product(layer.up, x).enumerated().map { i, h in
            let e = i / layer.size
            return h / (1 + exponential(-h)) * scores[e] / root * Double(gain[e])
        }
        return product(layer.down, hidden)
    }

    /// What is learned, what is run and the sum over experts are one function; only experts of the union are read, once.
    @Test func learnedRunAndWrittenOut() throws {
        let layer = try Self.layer()
        let x = Skip.gaussian([9, 12], seed: 3)
        guard case .experts(let part) = try layer.stored(.f32) else {
            Issue.record("no experts")
            return
        }
        let (y, report) = try part(x)
        let tape = Tape<Float>()
        let taped = tape.evaluating { layer(tape.constant(x)).value }
        let routes = x.withPointer { part.router.route($0, count: 9, layer: 0) }
        var union = Set<Int>()
        for t in 0..<9 {
            let expected = Self.reference(layer, x.rows(t..<t + 1).scalars)
            for c in 0..<12 {
                #expect(abs(Double(y[t, c]) - expected[c]) < 1e-4 && abs(Double(taped[t, c]) - expected[c]) < 1e-4)
            }
            union.formUnion(routes[t].map(\.expert))
        }
        #expect(routes.contains { $0.count < 6 } && report.rows.count { $0 > 0 } == union.count)
        #expect(report.bytesTouched == union.count * 2 * 5 * 12 * 4)
        // A token alone reads its own experts.
        #expect(try part(x.rows(0..<1)).report.bytesTouched == routes[0].count * 2 * 5 * 12 * 4)
    }

    /// A larger score of all experts changes nothing; scores below 0 choose no one, and the output is 0.
    @Test func theRouterIsFreeOfScale() throws {
        let layer = try Self.layer()
        let x = Skip.gaussian([4, 12], seed: 5)
        let tape = Tape<Float>()
        let before = tape.evaluating { layer.weights(tape.constant(x)).value }
        let w = layer.router.dense!.parameter
        w.value = w.value.map { 7 * $0 }
        let after = tape.evaluating { layer.weights(tape.constant(x)).value }
        #expect(Skip.error(after, before) < 1e-5)
        let closed = try RectifiedRouter(
            LinearLayer(
                try WeightStore.make(Tensor<Float>(zeros: [3, 2]), layout: .dense, values: .f32),
                bias: Tensor([-1, -2, 0])), gain: [1, 1, 1])
        #expect(closed.route([1, 1], count: 1, layer: 0) == [[]])
        let open = try RectifiedRouter(
            LinearLayer(
                try WeightStore.make(Tensor<Float>(zeros: [2, 2]), layout: .dense, values: .f32), bias: Tensor([3, -4])),
            gain: [2, 1])
        let found = open.route([1, 1], count: 1, layer: 0)[0]
        // 3 / √(9/2) times the gain.
        #expect(found.count == 1 && abs(found[0].weight - 2 * 2.0.squareRoot().asFloat) < 1e-5)
        let parts = try (0..<3).map { _ in
            FeedForward(
                gate: nil,
                up: LinearLayer(try WeightStore.make(Skip.gaussian([4, 2], seed: 1), layout: .dense, values: .f32)),
                down: LinearLayer(try WeightStore.make(Skip.gaussian([2, 4], seed: 2), layout: .dense, values: .f32)))
        }
        let (y, report) = try ExpertFeedForward(router: closed, experts: parts)(Tensor([1, 1], shape: [1, 2]))
        #expect(y.scalars == [0, 0] && report.bytesTouched == 0)
    }

    /// All parameters learn, the router through both the experts' weights and the terms about chunks.
    @Test func gradients() throws {
        let layer = try Self.layer(width: 4, experts: 3, size: 2)
        let x = Skip.gaussian([6, 4], seed: 8)
        let slopes = Skip.gaussian([6, 4], seed: 9)
        let tape = Tape<Float>()
        func value() -> Variable<Float> {
            var extra: Variable<Float>?
            layer.watch = { scores, rectified in
                extra =
                    RoutingLoss.locality(scores, length: 3, sharpness: 1)
                    + RoutingLoss.chunk(RoutingLoss.shares(rectified), length: 3, chunk: 3)
            }
            let y = (layer(tape.constant(x)) * tape.constant(slopes)).sum()
            return extra.map { y + $0 } ?? y
        }
        tape.backward(from: value())
        for (name, parameter) in layer.namedParameters {
            let gradient = parameter.gradient!.scalars
            for place in [0, parameter.count / 2, parameter.count - 1] {
                let old = parameter.value.scalars
                func at(_ change: Float) -> Float {
                    var moved = old
                    moved[place] += change
                    parameter.value = Tensor(moved, shape: parameter.shape)
                    defer { parameter.value = Tensor(old, shape: parameter.shape) }
                    let found = value().item
                    tape.reset()
                    return found
                }
                let found = (at(1e-2) - at(-1e-2)) / 2e-2
                #expect(abs(found - gradient[place]) < 0.02 + 0.02 * abs(found), "\(name)[\(place)]")
            }
        }
    }

    /// Token and chunk sparsity by hand; chunks end with their sequences.
    @Test func statistics() throws {
        func route(_ experts: Int...) -> [RoutedExpert] { experts.map { RoutedExpert($0, weight: 1) } }
        let routes = [route(0), route(0, 1), route(2), route(2), route(), route(3), route(0)]
        let found = try RoutingStatistics(routes, experts: 4, length: 5, chunk: 2)
        #expect(abs(found.tokenSparsity - (1 - 7.0 / 28)) < 1e-12)
        // {0, 1}, {2}, and {3, 0} of the second sequence; the fifth row of the first is left over.
        #expect(abs(found.chunkSparsity - (1 - 5.0 / 12)) < 1e-12)
        #expect(found.loads == [3, 1, 2, 1] && found.deadExperts == 0)
        // Mean 7/4, squares of deviations 25 + 9 + 1 + 9 in sixteenths.
        #expect(abs(found.loadVariation - (44.0 / 16 / 4).squareRoot() / 1.75) < 1e-12)
        let sorted = [route(0), route(1), route(0), route(1)]
        #expect(abs(try RoutingStatistics.information(sorted, labels: [5, 2, 5, 2]) - logarithm(2)) < 1e-12)
        #expect(abs(try RoutingStatistics.information(sorted, labels: [0, 0, 1, 1])) < 1e-12)
        #expect(throws: LacunaError.self) { try RoutingStatistics(routes, experts: 3, length: 5) }
        #expect(throws: LacunaError.self) { try RoutingStatistics(routes, experts: 4, length: 0) }
        #expect(throws: LacunaError.self) { try RoutingStatistics.information(sorted, labels: [0]) }
    }

    /// In the blocks of a transformer: parameters by name, one function learned and run, routes on a text, and the hook.
    @Test func insideOfATransformer() throws {
        let model = try TrainableTransformer(Skip.decoder())
        var random = SeededGenerator(seed: 4)
        for block in model.blocks {
            block.mixer = .custom(try BlockFFN(width: 32, experts: 8, size: 8, using: &random))
        }
        #expect(model.namedParameters.contains { $0.name == "model.layers.1.mlp.router.weight" })
        let tokens = Skip.tokens(24, seed: 2)
        let ids = tokens.map { Int32($0) }
        var plan = TrainingPlan(steps: 12, learningRate: .constant(1e-2))
        plan.logEvery = 12
        func hook(_ weight: Double) throws -> ChunkSparsification {
            try ChunkSparsification(
                length: 12, chunk: 4, localityWeight: weight / 20,
                chunkWeight: AdaptiveWeight(initial: weight, constantSteps: 4, window: 2))
        }
        let chunks = try hook(0.5)
        try Trainer(
            model: model, optimizer: Adam(learningRate: 1e-2),
            source: TokenWindows(ids, length: 12, batchSize: 2, seed: 1),
            plan: plan, hooks: [chunks],
            loss: { batch, tape in model.loss(batch.ids, next: batch.next, batch: 2, on: tape) }
        ).train()
        #expect(chunks.chunkWeight.value != 0.5)
        let decoder = try model.stored()
        #expect(decoder.hasExperts)
        let tape = Tape<Float>()
        let learned = tape.evaluating { model(ids, batch: 2, on: tape).value }
        let hidden = try decoder.hiddenStates(tokens, sequenceLength: 12)
        #expect(Skip.error(decoder.logits(hidden, rows: 0..<24), learned) < 1e-4)
        let routes = try decoder.routes(tokens, length: 12)
        #expect(routes.keys.sorted() == [0, 1] && routes.values.allSatisfy { $0.count == 24 })
        #expect(throws: LacunaError.self) { try decoder.routes(tokens, length: 7) }
        // What a gate leaves out of experts is counted: a product for each expert that was chosen.
        let meter = SkippingMeter()
        let engine = TokenEngine(decoder, gate: ThresholdGate([.up: 1e-9, .down: 1e-9]), meter: meter)
        try DecodingSession(engine, context: 1).decode(tokens[0])
        let chosen = try decoder.routes([tokens[0]], length: 1).values.reduce(0) { $0 + $1[0].count }
        #expect(chosen > 0 && meter.total(.up).vectors == chosen && meter.total(.down).vectors == chosen)
        #expect(meter.total(.up).weights == chosen * 8 * 32)
        let plain = try TrainableTransformer(Skip.decoder())
        #expect(throws: LacunaError.self) {
            try hook(1).attach(
                TrainingRun(model: plain, optimizer: SGD(learningRate: 1), tape: tape, totalSteps: 1, seed: 0))
        }
        #expect(throws: LacunaError.self) { try BlockFFN(width: 2, experts: 0, size: 1, using: &random) }
        #expect(throws: LacunaError.self) { try ChunkSparsification(length: 0) }
    }

    /// Loads even out under the hook, and the report counts what there is.
    @Test func balancedExpertsAndTheirReport() throws {
        func trained(_ hooks: [any TrainingHook]) throws -> ExpertReport {
            var random = SeededGenerator(seed: 12)
            func linear(_ rows: Int, _ columns: Int) throws -> LinearLayer {
                LinearLayer(
                    try WeightStore.make(
                        Tensor(normal: [rows, columns], standardDeviation: 0.3, using: &random), layout: .dense,
                        values: .f32))
            }
            // One expert is far ahead at first.
            let scores = LinearLayer(try linear(4, 8).weight, bias: Tensor([2, 0, 0, 0]))
            let experts = try (0..<4).map { _ in
                FeedForward(gate: nil, up: try linear(6, 8), down: try linear(8, 6), activation: .relu)
            }
            let model = TrainableExperts(
                try ExpertFeedForward(router: TopRouter(scores, count: 1), experts: experts)
            ) { _, matrix in DenseWeight(matrix.densified()) }
            let x = Tensor<Float>(normal: [128, 8], using: &random)
            let run = TrainingRun(
                model: model, optimizer: Adam(learningRate: 0.02), tape: Tape(), totalSteps: 60, seed: 0)
            for hook in hooks { try hook.attach(run) }
            for _ in 0..<60 {
                for hook in hooks { try hook.beforeStep(run) }
                model.clearGradients()
                var loss = Loss.meanSquaredError(model(run.tape.constant(x)), run.tape.constant(x))
                for hook in hooks { if let term = hook.penalty(run) { loss = loss + term } }
                run.tape.backward(from: loss)
                run.optimizer.step(model.parameters)
            }
            for hook in hooks { try hook.end(run) }
            return try ExpertReport(
                model.stored(.f32), inputs: x, domains: (0..<128).map { $0 % 2 }, examples: 640, trainingLoss: 0,
                loss: 0)
        }
        let (plain, even) = (try trained([]), try trained([LoadBalancing(weight: 0.5, sizeWeight: 0)]))
        #expect(even.routing.loadVariation < 0.7 * plain.routing.loadVariation)
        #expect(even.experts == 4 && even.chosen == 1)
        #expect(even.parameters == 32 + 4 * 96 && even.activeParameters == 32 + 96)
        #expect(abs(even.examplesPerParameter - 640.0 / 416) < 1e-12 && even.information! >= 0)
        #expect(throws: LacunaError.self) { try LoadBalancing(weight: -1) }
    }

    /// Both terms by hand: means over layers, and of the batches of a step for the weight that adapts.
    @Test func termsAreMeansOverLayersAndBatches() throws {
        final class Pair: Module {
            let layers: [BlockFFN]
            init(_ layers: [BlockFFN]) { self.layers = layers }
            var parts: [(name: String, part: Any)] { [("layers", layers)] }
        }
        let model = Pair([try Self.layer(seed: 1), try Self.layer(seed: 2)])
        let hook = try ChunkSparsification(
            length: 6, chunk: 3, localityWeight: 0.4, sharpness: 2,
            chunkWeight: AdaptiveWeight(initial: 0.5, constantSteps: 8, window: 4))
        let tape = Tape<Float>()
        let run = TrainingRun(model: model, optimizer: SGD(learningRate: 1), tape: tape, totalSteps: 4, seed: 0)
        try hook.attach(run)
        try hook.beforeStep(run)
        var random = SeededGenerator(seed: 9)
        var chunks: [Double] = []
        for _ in 0..<2 {
            let x = tape.constant(Tensor<Float>(normal: [12, 12], using: &random))
            var expected = 0.0
            for layer in model.layers {
                _ = layer(x)
                let scores = layer.router(x)
                let chunk = RoutingLoss.chunk(RoutingLoss.shares(scores.relu()), length: 6, chunk: 3).item
                let locality = RoutingLoss.locality(scores, length: 6, sharpness: 2).item
                chunks.append(Double(chunk))
                expected += (0.4 * Double(locality) + 0.5 * Double(chunk)) / 2
            }
            let found = try #require(hook.penalty(run))
            #expect(abs(Double(found.item) - expected) < 1e-5)
        }
        try hook.afterStep(run)
        let sum = try #require(hook.state.arrayValue?[1].doubleValue)
        #expect(abs(sum - chunks.reduce(0, +) / 4) < 1e-6)
    }
}

extension Double {
    fileprivate var asFloat: Float { Float(self) }
}
