import LacunaLearn
import LacunaModels
import LacunaTensor

extension SeerGate {
    /// How a gate is learned.
    public struct Options: Sendable, Hashable {
        /// Queries of a tile, and positions of a block.
        public var block: Int
        /// Of what is multiplied. Even.
        public var width: Int
        /// Steps of Adam for each layer; each reads one text.
        public var steps: Int
        /// At first, of a cosine that ends at 0, after a twentieth of the steps for warming up.
        public var learningRate: Double
        /// Changes first maps, and the order of texts.
        public var seed: UInt64

        /// Blocks of 64 and a width of 128, as the authors'.
        public init(
            block: Int = 64, width: Int = 128, steps: Int = 300, learningRate: Double = 2e-3, seed: UInt64 = 0
        ) {
            (self.block, self.width, self.steps) = (block, width, steps)
            (self.learningRate, self.seed) = (learningRate, seed)
        }

        func validate() throws {
            guard block >= 1, width >= 2, width % 2 == 0, steps >= 0, learningRate > 0 else {
                throw LacunaError.invalidArgument(
                    "gate",
                    reason:
                        "blocks of \(block), width \(width), \(steps) steps, learning rate \(learningRate): widths are even"
                )
            }
        }
    }

    /// Learns a gate from a model's own attention on some texts. The model is not changed.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for options out of range, or texts of fewer than four blocks or more
    ///   positions than the model has; ``LacunaError/cancelled``.
    public init(
        of decoder: Transformer, on calibration: CalibrationSet, options: Options = .init(),
        progress: (any ProgressReporter)? = nil
    ) throws {
        try options.validate()
        let configuration = decoder.configuration
        guard calibration.sequenceLength >= max(4 * options.block, TokenBatch.draftRows + 1) else {
            throw LacunaError.invalidArgument(
                "calibration",
                reason: "texts of \(calibration.sequenceLength) tokens have fewer than four blocks of \(options.block)")
        }
        let rotations = decoder.blocks.map(\.attention.geometry.rotary)
        let observer = SeerObserver(block: options.block, rotations: rotations, rows: calibration.sequenceLength)
        let engine = TokenEngine(decoder, selector: observer)
        let length = calibration.sequenceLength
        for index in 0..<calibration.sequenceCount {
            let session = try DecodingSession(engine, context: length)
            try session.prefill(Array(calibration.tokens[index * length..<(index + 1) * length]))
            observer.text.withLock { $0 += 1 }
            try progress.report("attention", index + 1, of: calibration.sequenceCount)
        }
        let seen = observer.features.withLock { $0 }
        let features = (0..<configuration.layerCount).map { layer in
            (0..<configuration.headCount).map { head in
                (0..<calibration.sequenceCount).compactMap { seen[.init(text: $0, layer: layer, head: head)] }
            }
        }
        try self.init(
            features: features, keyHeads: configuration.keyValueHeadCount, rotations: rotations, options: options,
            progress: progress)
    }

    /// Learns a gate from pooled features and the attention that belongs to them.
    ///
    /// The loss is `KL(attention ‖ gate)`, the mean over tiles, of which the first quarter is left out.
    ///
    /// - Parameters:
    ///   - features: [layer][head][text], with their truths; of one text the heads of a layer see the same blocks.
    ///   - keyHeads: A divisor of the heads.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for options out of range or features without truths;
    ///   ``LacunaError/cancelled``.
    public init(
        features: [[[SeerFeatures]]], keyHeads: Int, rotations: [RotaryEmbedding?], options: Options = .init(),
        progress: (any ProgressReporter)? = nil
    ) throws {
        try options.validate()
        guard features.allSatisfy({ $0.allSatisfy { !$0.isEmpty && $0.allSatisfy { $0.truth != nil } } }) else {
            throw LacunaError.invalidArgument("features", reason: "there are none, or their truth is missing")
        }
        var layers: [Layer] = []
        for (layer, heads) in features.enumerated() {
            try progress.report("gates", layer, of: features.count)
            layers.append(
                Self.learned(
                    heads, keyHeads: keyHeads, rotation: Self.widened(rotations[layer], to: options.width), options,
                    layer: layer))
        }
        self.init(block: options.block, width: options.width, layers: layers, rotations: rotations)
    }

    private static func learned(
        _ heads: [[SeerFeatures]], keyHeads: Int, rotation: RotaryEmbedding?, _ options: Options, layer: Int
    ) -> Layer {
        let (size, width) = (heads[0][0].queries.columns, options.width)
        var generator = SeededGenerator(seed: options.seed, stream: 97 &+ UInt64(layer) << 8)
        func maps(_ count: Int, _ inputs: Int) -> [Parameter<Float>] {
            (0..<count).map { _ in
                Parameter(
                    Tensor(
                        normal: [width, inputs], standardDeviation: 1 / Float(inputs).squareRoot(), using: &generator))
            }
        }
        let (queries, keys) = (maps(heads.count, size), maps(keyHeads, 3 * size))
        let optimizer = Adam(learningRate: options.learningRate)
        let warm = max(1, options.steps / 20)
        let rates = Schedule.warmUp(
            steps: warm, then: .cosine(from: options.learningRate, to: 0, steps: max(1, options.steps - warm)))
        let tape = Tape<Float>()
        for step in 0..<options.steps {
            let text = Int(generator.next() % UInt64(heads[0].count))
            tape.reset()
            var losses: [Variable<Float>] = []
            for (head, texts) in heads.enumerated() {
                losses.append(
                    divergence(
                        texts[text], queries: queries[head].on(tape),
                        keys: keys[head / (heads.count / keyHeads)].on(tape),
                        rotation: rotation, block: options.block))
            }
            let loss = losses.dropFirst().reduce(losses[0]) { $0 + $1 }
            for parameter in queries + keys { parameter.clearGradient() }
            tape.backward(from: loss)
            optimizer.learningRate = rates(step)
            optimizer.step(queries + keys)
        }
        tape.reset()
        return Layer(queries: queries.map(\.value), keys: keys.map(\.value))
    }

    /// `KL(truth ‖ gate)`, the mean over all tiles but the first quarter.
    static func divergence(
        _ features: SeerFeatures, queries: Variable<Float>, keys: Variable<Float>, rotation: RotaryEmbedding?,
        block: Int
    ) -> Variable<Float> {
        let tape = queries.tape
        let width = queries.rows
        func mapped(_ x: Tensor<Float>, _ map: Variable<Float>, _ starts: [Int]) -> Variable<Float> {
            let y = tape.constant(x).linear(map)
            guard let rotation else { return y }
            // Turned by the numbers of blocks, so that the table of angles is short; starts on the grid are multiples.
            let unit = starts.allSatisfy { $0 % block == 0 } ? block : 1
            return y.rotated(
                positions: starts.map { Int32($0 / unit) }, heads: 1, dimensions: width,
                frequencies: rotation.frequencies.map { $0 * Double(unit) })
        }
        let q = mapped(features.queries, queries, features.tileStarts)
        let k = mapped(features.keys, keys, features.blockStarts)
        let (tiles, blocks) = (features.tileStarts.count, features.blockStarts.count)
        let hidden = features.tileStarts.flatMap { tile in
            features.blockStarts.map { $0 >= tile + block ? Float(-1e9) : 0 }
        }
        let logits =
            q.multiplied(by: k, otherTransposed: true).affine(1 / Float(width).squareRoot())
            + tape.constant(Tensor(hidden, shape: [tiles, blocks]))
        let first = tiles / 4
        let truth = (features.truth ?? Tensor(zeros: [tiles, blocks])).rows(first..<tiles)
        let logs = truth.map { $0 > 0 ? Float(logarithm(Double($0))) : 0 }
        let difference = tape.constant(logs) - logits.logSoftmax().sliced(rows: first..<tiles)
        return (tape.constant(truth) * difference).sum().affine(1 / Float(tiles - first))
    }
}

/// Reads everything, and takes features and attention of every head on the way.
private final class SeerObserver: KeySelector {
    struct Place: Hashable {
        let text, layer, head: Int
    }

    let block: Int
    let rotations: [RotaryEmbedding?]
    let promptRows: Int
    let text = Locked(0)
    let features = Locked([Place: SeerFeatures]())

    init(block: Int, rotations: [RotaryEmbedding?], rows: Int) {
        (self.block, self.rotations, promptRows) = (block, rotations, rows)
    }

    var readsAll: Bool { true }
    func select(_ request: KeyRequest) -> [Range<Int>] { [request.visible] }

    func plan(_ request: PromptRequest) -> PromptPlan? {
        let found = SeerFeatures(request, block: block, rotary: rotations[request.layer], hasTruth: true)
        let place = Place(text: text.withLock { $0 }, layer: request.layer, head: request.head)
        features.withLock { $0[place] = found }
        return nil
    }
}
