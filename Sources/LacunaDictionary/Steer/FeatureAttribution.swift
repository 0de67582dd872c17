import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Which features wrote a token: how far each feature, at each position, moves the logit of the token that follows.
///
/// With the model's later layers taken as linear where they are, a feature of strength `f` and direction `d` at position `t` accounts
/// for `f d·g_t` of the token's logit less the mean of all logits, `g_t` its gradient by the activations at `t`: every path
/// through later layers and later positions counts, to first order. What the dictionary does not explain accounts for `(x_t - x̂_t)·g_t`. Aaquib
/// Syed, Can Rager, Arthur Conmy, "Attribution Patching Outperforms Automated Circuit Discovery", arXiv 2310.10348; Samuel Marks and
/// others, "Sparse Feature Circuits", arXiv 2403.19647.
public final class FeatureAttribution {
    /// A feature at a position, and what it does.
    public struct Effect: Sendable, Hashable {
        /// The feature's number in the dictionary.
        public var feature: Int
        /// Of the token at which it is active, from 0.
        public var position: Int
        /// How strong it is there.
        public var strength: Float
        /// What it accounts for of the logit, in nats.
        public var effect: Double
    }

    /// A token of a text, and what wrote it.
    public struct Written: Sendable {
        /// Its place in the text.
        public var position: Int
        /// The token.
        public var token: Int
        /// Its logit less the mean of all logits, at the position before it.
        public var logit: Double
        /// The features with the largest effects, by magnitude.
        public var effects: [Effect]
        /// What all features of all positions account for together.
        public var explained: Double
        /// What the dictionary's errors account for, at positions that it encodes.
        public var missed: Double
    }

    private let dictionary: SparseAutoencoder
    private let decoder: Transformer
    private let network: TrainableTransformer
    private let site: ActivationSite
    private let skipping: Int

    /// - Parameters:
    ///   - site: Of the residual stream, or of the feed-forward part, which is added to it.
    ///   - skipping: Positions at the beginning of a text that are not encoded.
    /// - Throws: `LacunaError.invalidArgument` for a site that is not the dictionary's; `LacunaError.unsupported` for the heads of
    ///   attention, and for a model that cannot be differentiated.
    public init(
        _ dictionary: SparseAutoencoder, of decoder: Transformer, at site: ActivationSite, skipping: Int = 1
    ) throws {
        try dictionary.requireSite(site, of: decoder)
        if site.part == .attention {
            throw LacunaError.unsupported(
                file: nil, what: "effects of features of \(site): they are known at the residual stream and at the mlp")
        }
        guard skipping >= 0 else { throw LacunaError.invalidArgument("skipping", reason: "\(skipping) positions") }
        (self.dictionary, self.decoder, self.site, self.skipping) = (dictionary, decoder, site, skipping)
        network = try TrainableTransformer(decoder, weight: TrainableTransformer.frozen)
        for parameter in network.parameters { parameter.isTrainable = false }
    }

    /// What wrote the tokens of a text from a position on.
    ///
    /// - Parameters:
    ///   - tokens: The text, as the model read it.
    ///   - first: The first token that is explained, at least 1.
    ///   - effects: How many features are listed of each.
    /// - Throws: `LacunaError.invalidArgument` for a text that is longer than the model's context, and a first token that is not in it;
    ///   `.numerical` for activations that are not finite; `.cancelled`.
    /// - Complexity: For every token a pass over the text before it through the layers after the site, forwards and backwards.
    public func explain(
        _ tokens: [Int], from first: Int, effects: Int = 5, progress: (any ProgressReporter)? = nil
    ) throws -> [Written] {
        guard (1...max(tokens.count, 1)).contains(first), effects >= 0 else {
            throw LacunaError.invalidArgument("first", reason: "\(first) of \(tokens.count) tokens")
        }
        if tokens.isEmpty { return [] }
        var activations = Tensor<Float>(zeros: [0, 0])
        // The stream after the layer, whose gradient is that of what the feed-forward part adds as well.
        let stream = try decoder.hiddenStates(
            tokens, sequenceLength: tokens.count, sites: [site], upTo: site.layer + 1
        ) { _, values in
            activations = values
            return false
        }
        let code = try dictionary.encode(activations).filter { row, _, value in row >= self.skipping && value != 0 }
        let errors = activations.subtracting(dictionary.decode(code))
        let tape = Tape<Float>()
        return try (first..<tokens.count).map { place in
            try progress.report("effects", place - first, of: tokens.count - first)
            let x = tape.variable(stream.rows(0..<place))
            let last = network.blockStates(x, from: site.layer + 1, batch: 1).last!.gathered([Int32(place - 1)])
            let logits = network.logits(last)
            let goal = logits.sliced(columns: tokens[place]..<tokens[place] + 1).sum() - logits.mean()
            let logit = Double(goal.item)
            tape.backward(from: goal)
            let gradient = x.gradient ?? Tensor(zeros: [place, stream.columns])
            return written(tokens[place], at: place, logit, gradient, code, errors, effects)
        }
    }

    private func written(
        _ token: Int, at place: Int, _ logit: Double, _ gradient: Tensor<Float>, _ code: SparseMatrix<Float>,
        _ errors: Tensor<Float>, _ count: Int
    ) -> Written {
        let seen = code.filter { row, _, _ in row < place }
        let padded = Tensor(
            gradient.scalars + [Float](repeating: 0, count: errors.count - gradient.count), shape: errors.shape)
        let slopes = SparseMatrix.sampled(padded, dictionary.decoderWeight.value, at: seen.pattern)
        var all: [Effect] = []
        slopes.withValues { slopes in
            seen.withValues { strengths in
                seen.pattern.forEachEntry { i, position, feature in
                    all.append(
                        Effect(
                            feature: feature, position: position, strength: strengths[i],
                            effect: Double(strengths[i]) * Double(slopes[i])))
                }
            }
        }
        var missed = 0.0
        for row in min(skipping, place)..<place {
            for i in 0..<errors.columns { missed += Double(errors[row, i]) * Double(gradient[row, i]) }
        }
        let order = all.sorted {
            abs($0.effect) != abs($1.effect)
                ? abs($0.effect) > abs($1.effect) : ($0.position, $0.feature) < ($1.position, $1.feature)
        }
        return Written(
            position: place, token: token, logit: logit, effects: Array(order.prefix(count)),
            explained: all.reduce(0) { $0 + $1.effect }, missed: missed)
    }
}
