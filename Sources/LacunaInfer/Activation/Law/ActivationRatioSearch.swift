import LacunaModels
import LacunaSparse
import LacunaTensor

/// How few neurons a model needs for a perplexity that is higher by p per cent and no more: activation sparsity measured at equal quality,
/// so that models with different functions compare.
///
/// Yuqi Luo and others, "Sparsing Law: Towards Large Language Models with Greater Activation Sparsity", arXiv 2411.02335: CETT-PPL-p%.
///
/// ```swift
/// let search = try ActivationRatioSearch(decoder, tokens: tokens, length: 256)
/// let found = try search.find(.tailEnergy)
/// print(found.activationRatio, found.perplexityRatio)
/// let gate = found.gate      // reads no more than these neurons
/// ```
public struct ActivationRatioSearch: Sendable {
    /// Which neurons of a token count as active.
    public enum Criterion: String, Sendable, Hashable, CaseIterable {
        /// Those whose contribution is above a threshold of the layer, all layers losing one share of their outputs: see ``TailEnergy``.
        case tailEnergy = "cett"
        /// Those whose activation is above one number in all layers: FAT-ε.
        case magnitude = "fat"
        /// As many in every layer and for every token, the largest activations.
        case largest = "top-k"
    }

    /// What was found.
    public struct Result: Sendable {
        /// Which neurons counted as active.
        public let criterion: Criterion
        /// The criterion's number: a tail energy, a magnitude, or the share of neurons left out.
        public let setting: Double
        /// Thresholds on contributions by layer; empty for other criteria.
        public let thresholds: [Float]
        /// Share of tokens and neurons that were active on the text, over layers.
        public let activationRatio: Double
        /// Perplexity on the text over that of the whole model.
        public let perplexityRatio: Double
        /// Lets products read active neurons alone.
        public let gate: ActivationGate
    }

    /// What is measured.
    public let decoder: Transformer
    /// The text, whole sequences of ``length`` tokens.
    public let tokens: [Int]
    /// Tokens of a sequence.
    public let length: Int
    /// p: by how many per cent the perplexity may rise.
    public let percent: Double
    /// Loss a token of the whole model.
    public let denseLoss: Double
    private let tails: [TailEnergy]
    private let norms: [[Float]]

    /// Runs the whole model once, and keeps what the down projections read on some of the tokens.
    ///
    /// - Parameters:
    ///   - tokens: Cut to whole sequences.
    ///   - sampledTokens: On which tail energies are measured, at most.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a text of less than a sequence of two tokens, or a percentage that is not
    ///   positive; as ``ActivationStatistics/init(_:tokens:length:above:gate:)`` and ``LacunaModels/Perplexity``.
    public init(
        _ decoder: Transformer, tokens: [Int], length: Int, percent: Double = 1, sampledTokens: Int = 256
    ) throws {
        guard length >= 2, tokens.count >= length, percent > 0, percent.isFinite, sampledTokens >= 1 else {
            throw LacunaError.invalidArgument(
                "tokens",
                reason: "\(tokens.count) in sequences of \(length), \(percent) %, \(sampledTokens) sampled: too few")
        }
        let whole = Array(tokens.prefix(tokens.count / length * length))
        (self.decoder, self.tokens, self.length, self.percent) = (decoder, whole, length, percent)
        var tails: [TailEnergy] = []
        try HiddenRows.forEachLayer(decoder, tokens: whole, length: length) { layer, rows, count, width in
            let step = max(1, (count + sampledTokens - 1) / sampledTokens)
            let chosen = Array(stride(from: 0, to: count, by: step))
            var sample: [Float] = []
            for row in chosen { sample += UnsafeBufferPointer(start: rows + row * width, count: width) }
            tails.append(
                try TailEnergy(
                    Tensor(sample, shape: [chosen.count, width]), down: decoder.blocks[layer][.down].weight))
        }
        self.tails = tails
        norms = tails.map(\.norms)
        denseLoss = try Perplexity.measure(decoder, tokens: whole, window: length).loss
    }

    /// Halves the criterion's number until the perplexity is p per cent above the whole model's.
    ///
    /// - Parameters:
    ///   - tolerance: Of the ratio of perplexities. The number is halved to one part in a million at most.
    /// - Throws: As ``LacunaModels/Perplexity``.
    /// - Complexity: Up to 20 passes over the text, each preceded, for tail energies, by 17 products of every layer's sample.
    public func find(_ criterion: Criterion, tolerance: Double = 2e-4) throws -> Result {
        let goal = 1 + percent / 100
        var (low, high) = (0.0, 1.0)
        if criterion == .magnitude {
            // Doubled until it costs too much.
            high = 1e-3
            while try evaluate(criterion, high).perplexityRatio < goal, high < 1e6 { (low, high) = (high, high * 2) }
        }
        var best = try evaluate(criterion, low)
        let width = high - low
        while high - low > 1e-6 * max(width, 1e-300), abs(best.perplexityRatio - goal) > tolerance {
            let middle = (low + high) / 2
            let found = try evaluate(criterion, middle)
            if found.perplexityRatio <= goal { (low, best) = (middle, found) } else { high = middle }
        }
        return best
    }

    /// What a number of a criterion comes to.
    ///
    /// - Throws: As ``LacunaModels/Perplexity``.
    public func evaluate(_ criterion: Criterion, _ setting: Double) throws -> Result {
        var thresholds: [Float] = []
        let rules: [[LinearRole: ActivationGate.Rule]]
        switch criterion {
        case .tailEnergy:
            thresholds = tails.map { $0.threshold(setting) }
            rules = zip(thresholds, norms).map { [.down: .init(.above($0), weights: $1)] }
        case .magnitude: rules = norms.map { _ in [.down: .init(.above(Float(setting)))] }
        case .largest:
            rules = norms.map {
                let left = Int((setting * Double($0.count)).rounded(.down))
                return [.down: .init(.largest($0.count - left))]
            }
        }
        let gate = ActivationGate(inputs: rules)
        let meter = SkippingMeter()
        let loss = try Perplexity.measure(decoder, tokens: tokens, window: length, gate: gate, meter: meter).loss
        var ratio = 1 - meter.total(.down).sparsity
        if criterion == .largest {
            // Among the largest may be exact zeros, which are not active.
            ratio = min(ratio, try ActivationStatistics(decoder, tokens: tokens, length: length, gate: gate).density)
        }
        return Result(
            criterion: criterion, setting: setting, thresholds: thresholds, activationRatio: ratio,
            perplexityRatio: exponential(loss - denseLoss), gate: gate)
    }
}
