import LacunaModels
import LacunaSparse
import LacunaTensor

/// Greedy writing by a model that leaves out a part of itself, corrected by the whole model: the sparse model drafts some
/// tokens one by one, the dense one reads them all in one step, and everything from the first token on that it holds to be
/// implausible is taken back.
///
/// Of a draft `t_0 … t_{n-1}` the first is the dense model's own choice; the others are accepted as long as
/// `softmax(logits / temperature)[t_i] >= threshold` under the dense model, which is lenient where speculative decoding
/// is exact, so that much more is accepted. Both models share weights, keys and values; those of accepted positions are always the
/// dense model's, since the draft's are overwritten.
///
/// Yang Zhou, Zhuoming Chen, Zhaozhuo Xu, Victoria Lin, Beidi Chen, "Sirius: Contextual Sparsity with Correction for Efficient
/// LLMs", arXiv 2409.03856.
public struct Sirius: Sendable {
    /// How far is drafted, and when the dense model disagrees.
    public struct Options: Sendable, Hashable {
        /// Tokens of a draft, the dense model's own included; at least 1.
        public var draft: Int
        /// What probability a token must have to stay. Above 1 nothing does, and the text is the dense model's.
        public var threshold: Double
        /// By which the dense model's logits are divided.
        public var temperature: Double

        /// The authors' numbers, unless said otherwise.
        public init(draft: Int = 16, threshold: Double = 0.1, temperature: Double = 0.6) {
            (self.draft, self.threshold, self.temperature) = (draft, threshold, temperature)
        }
    }

    /// What was written, and what it took.
    public struct Result: Sendable, Hashable {
        /// The tokens written, without the one that ended the text.
        public var tokens: [Int] = []
        /// The token that ended the text, if one did.
        public var endToken: Int?
        /// Passes of the dense model over a draft.
        public var rounds = 0
        /// Tokens that the sparse model decoded.
        public var drafted = 0
        /// Tokens taken back.
        public var rejected = 0
        /// For the whole text.
        public var seconds = 0.0

        /// Tokens a pass of the dense model, the one that ended the text included.
        public var acceptedLength: Double {
            rounds == 0 ? 0 : Double(tokens.count + (endToken == nil ? 0 : 1)) / Double(rounds)
        }

        /// Weights read a token, over those of the dense model, if the sparse model reads a share `density` of them and a
        /// pass over a draft reads them once.
        public func effectiveDensity(_ density: Double) -> Double {
            let written = tokens.count + (endToken == nil ? 0 : 1)
            return written == 0 ? 0 : (Double(drafted) * density + Double(rounds)) / Double(written)
        }
    }

    /// The model; matrices that its gate reads in part are stored so that they can be.
    public let decoder: Transformer
    /// What the draft leaves out.
    public let skipping: Skipping
    /// How far is drafted, and when the dense model disagrees.
    public let options: Options

    /// - Parameters:
    ///   - decoder: As ``ActivationPlan/applied(to:file:progress:)`` makes it, if the draft is gated.
    ///   - skipping: Of the draft.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for options out of range; ``LacunaError/unsupported(file:what:)`` for ``ALISA``,
    ///   which chooses by what attention was paid before: of that nothing is left when a draft has been overwritten.
    public init(_ decoder: Transformer, draft skipping: Skipping, options: Options = .init()) throws {
        guard options.draft >= 1, options.temperature > 0, options.threshold >= 0 else {
            throw LacunaError.invalidArgument(
                "sirius",
                reason:
                    "drafts of \(options.draft) tokens, threshold \(options.threshold), temperature \(options.temperature)"
            )
        }
        let written = (skipping.selector as? PromptsApart)?.written ?? skipping.selector
        if written is ALISA {
            throw LacunaError.unsupported(
                file: nil, what: "drafts that read keys by the attention paid before (alisa); quest and double can")
        }
        (self.decoder, self.skipping, self.options) = (decoder, skipping, options)
    }

    /// Writes tokens after a prompt.
    ///
    /// - Parameters:
    ///   - prompt: At least one token. The dense model reads it.
    ///   - maximum: Tokens to write at most.
    ///   - stops: Tokens that end the text, once they are accepted.
    ///   - receive: Called with each token as soon as it is accepted; returns whether to go on.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a prompt that is empty or does not fit the model's context
    ///   together with the tokens to write.
    public func generate(
        _ prompt: [Int], maximum: Int, stops: Set<Int> = [], receive: (Int) throws -> Bool = { _ in true }
    ) throws -> Result {
        let start = monotonicSeconds()
        // A draft may reach beyond the last token that is wanted.
        let limit = decoder.configuration.maximumPositions
        let context = min(prompt.count + max(maximum, 0) + options.draft, limit)
        let shape = try KeyValueShape(decoder.configuration, capacity: max(context, 1))
        let shared = skipping.store(shape)
        let store: (KeyValueShape) -> any KeyValueStore = { _ in shared }
        let dense = try DecodingSession(TokenEngine(decoder, store: store), context: shape.capacity)
        let sparse = try DecodingSession(
            TokenEngine(decoder, selector: skipping.selector, gate: skipping.gate, meter: skipping.meter, store: store),
            context: shape.capacity)
        try dense.prefill(prompt)
        var next = Self.largest(dense.logits)
        var result = Result()
        while result.tokens.count < maximum {
            let verified = shared.count
            let length = min(options.draft, maximum - result.tokens.count, shared.capacity - verified)
            if length < 1 { break }
            var draft = [next]
            while draft.count < length {
                try sparse.decode(draft[draft.count - 1])
                draft.append(Self.largest(sparse.logits))
                result.drafted += 1
            }
            shared.truncate(to: verified)
            let logits = try dense.verify(draft)
            result.rounds += 1
            let accepted = plausible(draft, logits)
            shared.truncate(to: verified + accepted)
            result.rejected += draft.count - accepted
            next = logits.withPointer {
                Self.largest(
                    UnsafeBufferPointer(start: $0 + (accepted - 1) * logits.columns, count: logits.columns))
            }
            for token in draft[..<accepted] {
                if stops.contains(token) {
                    result.endToken = token
                    break
                }
                result.tokens.append(token)
                if try !receive(token) {
                    result.seconds = monotonicSeconds() - start
                    return result
                }
            }
            if result.endToken != nil { break }
        }
        result.seconds = monotonicSeconds() - start
        return result
    }

    /// How many tokens from the beginning of a draft stay, at least 1: that the dense model chose itself.
    ///
    /// - Parameter logits: [draft.count, vocabulary], after each of its tokens; those before a token judge it.
    func plausible(_ draft: [Int], _ logits: Tensor<Float>) -> Int {
        let width = logits.columns
        return logits.withPointer { logits in
            for i in 1..<max(draft.count, 1) {
                let row = logits + (i - 1) * width
                var largest = -Float.infinity
                for j in 0..<width { largest = max(largest, row[j]) }
                var sum = 0.0
                for j in 0..<width { sum += exponential(Double(row[j] - largest) / options.temperature) }
                let probability = exponential(Double(row[draft[i]] - largest) / options.temperature) / sum
                if !(probability >= options.threshold) { return i }
            }
            return draft.count
        }
    }

    /// The first of the largest.
    private static func largest(_ logits: some RandomAccessCollection<Float>) -> Int {
        var (best, place) = (-Float.infinity, 0)
        for (i, x) in logits.enumerated() where x > best { (best, place) = (x, i) }
        return place
    }
}

extension ActivationGate {
    /// Computes, in every layer, only the neurons that mattered most for a prompt: those with the largest
    /// `‖(h_tj / ‖h_t‖)_t‖` over its tokens t, with h what the down projection reads. What Sirius calls coarse-grained sparsity;
    /// the choice stays for all that is written.
    ///
    /// - Parameter share: Of neurons to leave out, in `0..<1`.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for an empty prompt, or one that the model does not take.
    public init(neuronsOf decoder: Transformer, prompt: [Int], leavingOut share: Double) throws {
        guard share >= 0, share < 1, !prompt.isEmpty, prompt.count <= decoder.configuration.maximumPositions else {
            throw LacunaError.invalidArgument("prompt", reason: "\(prompt.count) tokens, \(share) of neurons left out")
        }
        var states = try decoder.embed(prompt)
        var rules: [Rule?] = []
        for layer in decoder.blocks.indices {
            let width = decoder.blocks[layer].feedForward.intermediateSize
            var scores = [Float](repeating: 0, count: width)
            try decoder.runBlock(layer, hidden: &states, sequenceLength: prompt.count) { names, inputs, count in
                guard names.contains(decoder.configuration.weightName(.down, layer: layer)) else { return }
                for row in 0..<count {
                    let h = inputs + row * width
                    var size: Float = 0
                    for j in 0..<width { size += h[j] * h[j] }
                    if size > 0 { for j in 0..<width { scores[j] += h[j] * h[j] / size } }
                }
            }
            let kept = max(1, Int((1 - share) * Double(width) + 0.5))
            rules.append(Rule(.fixed(Rule(.largest(kept)).active(scores, count: width) ?? [])))
        }
        self.init(inputs: decoder.blocks.map { _ in [:] }, neurons: rules)
    }
}
