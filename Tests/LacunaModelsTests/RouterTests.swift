import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

struct RouterTests {
    private static func linear(_ rows: Int, _ columns: Int, _ values: ValueType, _ random: inout SeededGenerator) throws
        -> LinearLayer
    {
        let weight = Tensor((0..<rows * columns).map { _ in Float(random.normal()) * 0.3 }, shape: [rows, columns])
        return LinearLayer(try WeightStore.make(weight, layout: .dense, values: values))
    }

    private static func make(
        experts: Int, count: Int, values: ValueType = .f32, normalizes: Bool = false
    ) throws -> ExpertFeedForward {
        var random = SeededGenerator(seed: 21)
        let router = try TopRouter(linear(experts, 12, .f32, &random), count: count, normalizes: normalizes)
        let parts = try (0..<experts).map { _ in
            FeedForward(
                gate: try linear(20, 12, values, &random), up: try linear(20, 12, values, &random),
                down: try linear(12, 20, values, &random))
        }
        return try ExpertFeedForward(router: router, experts: parts)
    }

    private static func inputs(_ n: Int) -> Tensor<Float> {
        var random = SeededGenerator(seed: 22)
        return Tensor((0..<n * 12).map { _ in Float(random.normal()) }, shape: [n, 12])
    }

    /// One expert's output for one vector, by hand.
    private static func output(_ part: FeedForward, _ x: [Float]) -> [Double] {
        func product(_ layer: LinearLayer, _ x: [Double]) -> [Double] {
            let weight = layer.weight.densified()
            return (0..<weight.rows).map { r in x.indices.reduce(0) { $0 + Double(weight[r, $1]) * x[$1] } }
        }
        let x = x.map(Double.init)
        let hidden = zip(product(part.gate!, x), product(part.up, x)).map { $0 / (1 + exponential(-$0)) * $1 }
        return product(part.down, hidden)
    }

    /// The sum over experts written by hand: all of them, two, one; weights of all or of the chosen.
    @Test(arguments: [(4, false), (2, false), (2, true), (1, false), (1, true)])
    func equalsTheSumOverExperts(count: Int, normalizes: Bool) throws {
        let layer = try Self.make(experts: 4, count: count, normalizes: normalizes)
        let x = Self.inputs(9)
        let (y, report) = try layer(x)
        let scores = (layer.router as! TopRouter).scores.weight.densified()
        var rows = [0, 0, 0, 0]
        for t in 0..<9 {
            let input = x.rows(t..<t + 1).scalars
            let logits = (0..<4).map { e in (0..<12).reduce(0.0) { $0 + Double(scores[e, $1]) * Double(input[$1]) } }
            let total = logits.reduce(0) { $0 + exponential($1) }
            let chosen = (0..<4).sorted { logits[$0] > logits[$1] }.prefix(count)
            let share = normalizes ? chosen.reduce(0) { $0 + exponential(logits[$1]) } : total
            var expected = [Double](repeating: 0, count: 12)
            for e in chosen {
                rows[e] += 1
                for (c, value) in Self.output(layer.experts[e], input).enumerated() {
                    expected[c] += exponential(logits[e]) / share * value
                }
            }
            for c in 0..<12 { #expect(abs(Double(y[t, c]) - expected[c]) < 1e-4) }
        }
        #expect(report.rows == rows && rows.reduce(0, +) == 9 * count)
    }

    /// The matrices of an expert are read once a step, those that nobody chose not at all.
    @Test func bytesFollowTheExpertsChosen() throws {
        let layer = try Self.make(experts: 4, count: 1)
        let one = try layer(Self.inputs(1)).report
        let each = 3 * 20 * 12 * 4
        #expect(one.rows.reduce(0, +) == 1 && one.bytesTouched == each)
        let many = try layer(Self.inputs(50)).report
        #expect(many.bytesTouched == many.rows.count { $0 > 0 } * each)
        let none = try layer(Tensor<Float>(zeros: [0, 12]))
        #expect(none.outputs.shape == [0, 12] && none.report.bytesTouched == 0)
    }

    /// Rounded experts are near; a gate that leaves nothing out changes nothing, one that leaves out all gives zeros.
    @Test func expertsRoundAndGate() throws {
        let x = Self.inputs(6)
        let exact = try Self.make(experts: 3, count: 2)
        let expected = try exact(x).outputs
        #expect(relativeError(try Self.make(experts: 3, count: 2, values: .int8)(x).outputs, expected) < 0.03)
        #expect(relativeError(try exact(x, gate: ThresholdGate([.down: 1e-30])).outputs, expected) < 1e-5)
        #expect(try exact(x, gate: ThresholdGate([.down: 1e9])).outputs.scalars.allSatisfy { $0 == 0 })
    }

    @Test func equalScoresChooseTheFirst() throws {
        let router = try TopRouter(
            LinearLayer(try WeightStore.make(Tensor<Float>(zeros: [3, 2]), layout: .dense, values: .f32)), count: 2)
        #expect(router.route([1, 2], count: 1, layer: 0).map { $0.map(\.expert) } == [[0, 1]])
        #expect(router.route([.nan, 2], count: 1, layer: 0)[0].count == 2)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        var random = SeededGenerator(seed: 1)
        let scores = try Self.linear(2, 12, .f32, &random)
        #expect(throws: LacunaError.self) { try TopRouter(scores, count: 0) }
        #expect(throws: LacunaError.self) { try TopRouter(scores, count: 3) }
        let layer = try Self.make(experts: 3, count: 1)
        #expect(throws: LacunaError.self) { try ExpertFeedForward(router: TopRouter(scores), experts: layer.experts) }
        let narrow = FeedForward(
            gate: try Self.linear(20, 11, .f32, &random), up: try Self.linear(20, 11, .f32, &random),
            down: try Self.linear(12, 20, .f32, &random))
        #expect(throws: LacunaError.self) {
            try ExpertFeedForward(router: TopRouter(scores), experts: [layer.experts[0], narrow])
        }
        #expect(throws: LacunaError.self) { try layer(Tensor<Float>(zeros: [2, 11])) }
    }

    /// A decoder whose middle layer has experts in the place of its feed-forward part.
    private static func decoder(router: (any Router)? = nil, count: Int = 2, normalizes: Bool = false) throws -> (
        Transformer, ExpertFeedForward
    ) {
        var decoder = try makeDecoder(seed: 7)
        var random = SeededGenerator(seed: 31)
        let parts = try (0..<4).map { _ in
            FeedForward(
                gate: try linear(20, 24, .f32, &random), up: try linear(20, 24, .f32, &random),
                down: try linear(24, 20, .f32, &random))
        }
        let scores = try linear(4, 24, .f32, &random)
        let layer = try ExpertFeedForward(
            router: try router ?? TopRouter(scores, count: count, normalizes: normalizes), experts: parts)
        try decoder.replaceFeedForward(layer: 1, with: layer)
        return (decoder, layer)
    }

    /// One expert for all is the block without experts.
    @Test func oneExpertIsTheDenseBlock() throws {
        let plain = try makeDecoder(seed: 7)
        var decoder = plain
        let scores = LinearLayer(
            try WeightStore.make(Tensor(zeros: [1, 24]), layout: .dense, values: .f32))
        try decoder.replaceFeedForward(
            layer: 1, with: ExpertFeedForward(router: TopRouter(scores), experts: [plain.blocks[1].feedForward]))
        #expect(decoder.hasExperts && !plain.hasExperts)
        let tokens = [3, 1, 4, 1, 5, 9]
        #expect(relativeError(try decoder.logits(tokens), try plain.logits(tokens)) < 1e-6)
        #expect(decoder.linearNames.count == plain.linearNames.count - 3)
        // The router has 24 weights of its own.
        #expect(decoder.weightBytes == plain.weightBytes + 4 * 24)
        #expect(decoder.parameterCount == plain.parameterCount)
    }

    /// The step of a whole text, of single tokens, and the tape give one result; what is learned is what is run.
    @Test(arguments: [(1, false), (2, false), (2, true), (4, false)])
    func blocksOfExpertsLearnAndRun(count: Int, normalizes: Bool) throws {
        let (decoder, _) = try Self.decoder(count: count, normalizes: normalizes)
        let tokens = [3, 1, 4, 1, 5, 9, 2, 6]
        let logits = try decoder.logits(tokens)
        let session = try DecodingSession(decoder, context: 8)
        for (i, token) in tokens.enumerated() {
            try session.decode(token)
            let row = Tensor(Array(session.logits), shape: [1, 50])
            #expect(relativeError(row, logits.rows(i..<i + 1)) < 1e-4)
        }
        let model = try TrainableTransformer(decoder)
        let ids = tokens.map { Int32($0) }
        let tape = Tape<Float>()
        #expect(relativeError(tape.evaluating { model(ids, batch: 1, on: tape) }.value, logits) < 1e-5)
        let names = model.namedParameters.map(\.name)
        #expect(names.contains("model.layers.1.mlp.gate.weight"))
        #expect(names.contains("model.layers.1.mlp.experts.3.down_proj.weight"))
        let optimizer = Adam(learningRate: 0.01)
        var losses: [Float] = []
        for _ in 0..<12 {
            model.clearGradients()
            let loss = model.loss(ids, next: ids.dropFirst() + [7], batch: 1, on: tape)
            losses.append(loss.item)
            tape.backward(from: loss)
            optimizer.step(model.parameters)
        }
        #expect(losses.last! < 0.7 * losses[0], "\(losses)")
        let learned = tape.evaluating { model(ids, batch: 1, on: tape) }.value
        #expect(relativeError(try model.stored().logits(tokens), learned) < 1e-4)
        #expect(throws: LacunaError.self) { try model.stored().save(to: "/tmp/no-experts") }
    }

    /// Gradients of the router's scores and of an expert by central differences of what is run.
    @Test(arguments: [false, true])
    func gradientsOfExperts(normalizes: Bool) throws {
        let (_, layer) = try Self.decoder(count: 2, normalizes: normalizes)
        let part = TrainableExperts(layer) { _, matrix in DenseWeight(matrix.densified()) }
        var random = SeededGenerator(seed: 5)
        let x = Tensor<Float>(normal: [6, 24], standardDeviation: 1, using: &random)
        let slopes = Tensor<Float>(normal: [6, 24], standardDeviation: 1, using: &random)
        let tape = Tape<Float>()
        tape.backward(from: (part(tape.constant(x)) * tape.constant(slopes)).sum())
        func value() throws -> Double {
            let y = try part.stored(.f32)(x).outputs
            return zip(y.scalars, slopes.scalars).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        for (name, parameter) in part.namedParameters {
            let gradient = parameter.gradient?.scalars ?? Array(repeating: 0, count: parameter.count)
            for index in [0, parameter.count / 2, parameter.count - 1] {
                let old = parameter.value.scalars
                func at(_ change: Float) throws -> Double {
                    var moved = old
                    moved[index] += change
                    parameter.value = Tensor(moved, shape: parameter.shape)
                    defer { parameter.value = Tensor(old, shape: parameter.shape) }
                    return try value()
                }
                let found = (try at(5e-3) - at(-5e-3)) / 1e-2
                #expect(abs(found - Double(gradient[index])) < 0.02 + 0.02 * abs(found), "\(name)[\(index)]")
            }
        }
    }

    /// A router of one's own chooses as it does when it runs, and is not learned.
    @Test func routersOfOnesOwn() throws {
        struct Alternating: Router {
            let inputs = 24
            let experts = 4
            let expertsPerVector = 1
            func route(_ x: UnsafePointer<Float>, count: Int, layer: Int) -> [[RoutedExpert]] {
                (0..<count).map { [RoutedExpert(x[$0 * 24] > 0 ? 3 : 1, weight: 0.5)] }
            }
        }
        let (decoder, layer) = try Self.decoder(router: Alternating())
        let tokens = [3, 1, 4, 1, 5, 9, 2, 6]
        let model = try TrainableTransformer(decoder)
        let tape = Tape<Float>()
        let found = tape.evaluating { model(tokens.map { Int32($0) }, batch: 1, on: tape) }.value
        #expect(relativeError(found, try decoder.logits(tokens)) < 1e-5)
        #expect(!model.namedParameters.contains { $0.name.hasSuffix("mlp.gate.weight") })
        #expect(try model.stored().hasExperts)
        // One of four experts is read.
        let expert = layer.experts[0].byteCount
        #expect(decoder.weightBytes - decoder.bytesTouchedPerToken() + decoder.embedding.byteCount / 50 == 3 * expert)
        var other = try makeDecoder(seed: 7)
        #expect(throws: LacunaError.self) {
            try other.replaceFeedForward(layer: 0, with: Self.make(experts: 4, count: 1))
        }
    }

    /// A cache of 3 positions is read whole, one of 20 as far as the window reaches: keys and values in every layer.
    @Test func windowsBoundTheBytesOfACache() throws {
        for (window, seen) in [(nil, [3, 20]), (5, [3, 5])] as [(Int?, [Int])] {
            let decoder = try makeDecoder(seed: 6, slidingWindow: window)
            let weights = decoder.bytesTouchedPerToken()
            for (position, read) in zip([3, 20], seen) {
                let bytes = 2 * 20 * 4 * read * decoder.blocks.count
                #expect(decoder.bytesTouchedPerToken(position: position) - weights == bytes)
            }
        }
    }
}
