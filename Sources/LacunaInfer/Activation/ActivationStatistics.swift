import LacunaModels
import LacunaSparse
import LacunaTensor

/// How often neurons of feed-forward parts are active on a text: what the down projections read, layer by layer.
///
/// Zonglin Li and others, "The Lazy Neuron Phenomenon", arXiv 2210.06313.
public struct ActivationStatistics: Sendable {
    /// One feed-forward part.
    public struct Layer: Sendable {
        /// Tokens that were seen.
        public let tokens: Int
        /// Of each neuron, the tokens on which it was active.
        public let counts: [Int]

        /// Share of tokens and neurons that were active.
        public var density: Double { Double(counts.reduce(0, +)) / Double(max(tokens * counts.count, 1)) }
        /// Share of the neurons that no token activated. Small: sparsity is not dead neurons.
        public var never: Double { Double(counts.count { $0 == 0 }) / Double(max(counts.count, 1)) }
        /// Of each neuron, the share of the tokens that activated it.
        public var frequencies: [Double] { counts.map { Double($0) / Double(max(tokens, 1)) } }
    }

    /// In the order of the blocks.
    public let layers: [Layer]

    /// The mean of the layers' densities.
    public var density: Double { layers.reduce(0) { $0 + $1.density } / Double(max(layers.count, 1)) }

    /// Runs a text.
    ///
    /// - Parameters:
    ///   - tokens: Whole sequences of `length` tokens, each from position 0.
    ///   - threshold: What magnitude an activation must exceed to count; 0 for networks with exact zeros.
    ///   - gate: Which inputs products read; nil for all.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for tokens that are not whole sequences or that the model does not have, and
    ///   for a negative threshold; ``LacunaError/unsupported(file:what:)`` for a decoder with experts.
    public init(
        _ decoder: Transformer, tokens: [Int], length: Int, above threshold: Float = 0, gate: (any InputGate)? = nil
    ) throws {
        guard threshold >= 0 else {
            throw LacunaError.invalidArgument("threshold", reason: "\(threshold) is negative")
        }
        var layers: [Layer] = []
        try HiddenRows.forEachLayer(decoder, tokens: tokens, length: length, gate: gate) { _, rows, count, width in
            var counts = [Int](repeating: 0, count: width)
            for i in 0..<count { for j in 0..<width where abs(rows[i * width + j]) > threshold { counts[j] += 1 } }
            layers.append(Layer(tokens: count, counts: counts))
        }
        self.layers = layers
    }
}

/// What the down projections of a decoder read.
enum HiddenRows {
    /// Runs whole sequences and calls `body` once for each layer: number, rows [count, width].
    static func forEachLayer(
        _ decoder: Transformer, tokens: [Int], length: Int, gate: (any InputGate)? = nil,
        _ body: (_ layer: Int, _ rows: UnsafePointer<Float>, _ count: Int, _ width: Int) throws -> Void
    ) throws {
        guard length >= 1, !tokens.isEmpty, tokens.count % length == 0 else {
            throw LacunaError.invalidArgument(
                "tokens", reason: "\(tokens.count) are not whole sequences of \(length)")
        }
        guard !decoder.hasExperts else {
            throw LacunaError.unsupported(file: nil, what: "activations of experts")
        }
        guard length <= decoder.configuration.maximumPositions else {
            throw LacunaError.invalidArgument(
                "length", reason: "\(length) exceeds the model's \(decoder.configuration.maximumPositions) positions")
        }
        var hidden = try decoder.embed(tokens, sequenceLength: length)
        for layer in decoder.blocks.indices {
            let name = decoder.configuration.weightName(.down, layer: layer)
            let width = decoder.configuration.intermediateSizes[layer]
            // The observer counts as escaping; it is done when the call returns.
            try withoutActuallyEscaping(body) { body in
                try decoder.runBlock(layer, hidden: &hidden, sequenceLength: length, gate: gate) { names, rows, count in
                    if names == [name] { try body(layer, rows, count, width) }
                }
            }
        }
    }
}

/// How far confidence is from being right: `Σ_bins n_b/n |accuracy_b - confidence_b|` over equally wide bins of confidence, 0 for a
/// calibrated classifier.
public enum CalibrationError {
    /// - Parameters:
    ///   - confidences: Of each prediction, 0...1; 1 counts to the last bin.
    ///   - isRight: Of each prediction.
    ///   - bins: 15 as is customary.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for different numbers of both, none, confidences outside 0...1 or no bins.
    public static func expected(_ confidences: [Double], isRight: [Bool], bins: Int = 15) throws -> Double {
        guard confidences.count == isRight.count, !confidences.isEmpty, bins >= 1,
            confidences.allSatisfy({ (0...1).contains($0) })
        else {
            throw LacunaError.invalidArgument(
                "confidences",
                reason: "\(confidences.count) in 0...1 and \(isRight.count) outcomes are needed, at least one")
        }
        var differences = [Double](repeating: 0, count: bins)
        for (confidence, right) in zip(confidences, isRight) {
            differences[min(Int(confidence * Double(bins)), bins - 1)] += (right ? 1 : 0) - confidence
        }
        return differences.reduce(0) { $0 + abs($1) } / Double(confidences.count)
    }
}
