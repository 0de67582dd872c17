import LacunaTensor

/// How well a decoder predicts a text: the exponential of the mean negative log-likelihood of its tokens.
///
/// The text is read in windows of `window` tokens that begin every `stride` tokens. A window is read without what comes
/// before it. Its first token is never scored, and tokens that an earlier window scored are not scored again: with
/// `stride == window` every window stands on its own, with a smaller stride every scored token but the first few sees at
/// least `window - stride` tokens of context.
public struct Perplexity: Sendable, Equatable {
    /// Sum of the negative natural logarithms of the probabilities of the scored tokens.
    public var negativeLogLikelihood: Double
    /// Tokens scored.
    public var tokens: Int
    /// How long it took.
    public var seconds: Double

    /// `exp(negativeLogLikelihood / tokens)`.
    public var value: Double { exponential(negativeLogLikelihood / Double(tokens)) }
    /// Natural logarithm of ``value``: the mean loss a token.
    public var loss: Double { negativeLogLikelihood / Double(tokens) }

    /// Rows of logits in memory at a time, on each side of the sum over the vocabulary.
    static let logitRows = 128
    /// Tokens that go through the blocks at a time.
    private static let batchTokens = 2048

    /// One window: where it begins in the text, how long it is, and the first of its tokens to be scored.
    struct Window: Equatable {
        var start: Int
        var length: Int
        var firstScored: Int
    }

    /// - Precondition: `window >= 2`, `stride` in `1...window`.
    static func windows(count: Int, window: Int, stride: Int) -> [Window] {
        var result: [Window] = []
        var scored = 0
        var start = 0
        while scored < count && start < count {
            let end = min(start + window, count)
            let first = max(start + 1, scored)
            if first < end { result.append(Window(start: start, length: end - start, firstScored: first - start)) }
            scored = end
            start += stride
        }
        return result
    }

    /// Windows that go through the blocks together: neighbours of equal length.
    static func batches(_ windows: [Window]) -> [[Window]] {
        var result: [[Window]] = []
        for window in windows {
            if let last = result.last, last[0].length == window.length,
                (last.count + 1) * window.length <= batchTokens
            {
                result[result.count - 1].append(window)
            } else {
                result.append([window])
            }
        }
        return result
    }

    /// Scores a text.
    ///
    /// - Parameters:
    ///   - window: Tokens of a window, in `2...maximumPositions`.
    ///   - stride: Tokens from one window's beginning to the next, in `1...window`; nil for `window`.
    ///   - gate: Which inputs products read; nil for all.
    ///   - meter: Counts what the gate leaves out.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a window or stride out of range, a text of fewer than 2
    ///   tokens or a token outside the vocabulary; ``LacunaError/numerical(operation:reason:)`` if a logit is not finite;
    ///   ``LacunaError/cancelled``.
    public static func measure(
        _ decoder: Transformer, tokens: [Int], window: Int = 512, stride: Int? = nil, gate: (any InputGate)? = nil,
        meter: SkippingMeter? = nil, progress: (any ProgressReporter)? = nil
    ) throws -> Perplexity {
        let stride = stride ?? window
        let limit = decoder.configuration.maximumPositions
        guard window >= 2 && window <= limit else {
            throw LacunaError.invalidArgument("window", reason: "\(window) is not in 2...\(limit)")
        }
        guard stride >= 1 && stride <= window else {
            throw LacunaError.invalidArgument("stride", reason: "\(stride) is not in 1...\(window)")
        }
        guard tokens.count >= 2 else {
            throw LacunaError.invalidArgument("text", reason: "\(tokens.count) tokens leave nothing to predict")
        }
        let begin = monotonicSeconds()
        let windows = windows(count: tokens.count, window: window, stride: stride)
        var result = Perplexity(negativeLogLikelihood: 0, tokens: 0, seconds: 0)
        var done = 0
        for batch in batches(windows) {
            let length = batch[0].length
            let hidden = try decoder.hiddenStates(
                batch.flatMap { tokens[$0.start..<$0.start + length] }, sequenceLength: length,
                gate: gate, meter: meter)
            for (index, window) in batch.enumerated() {
                let targets = Array(tokens[window.start + window.firstScored..<window.start + length])
                // The logits that predict a token are those after the one before it.
                let first = index * length + window.firstScored - 1
                result.negativeLogLikelihood += try score(decoder, hidden, firstRow: first, targets: targets)
                result.tokens += targets.count
            }
            done += batch.count
            try progress.report("perplexity", done, of: windows.count, shortened(result.value))
        }
        result.seconds = monotonicSeconds() - begin
        return result
    }

    /// The sum of the negative log-likelihoods of `targets` under the logits of as many rows from `firstRow` on.
    private static func score(
        _ decoder: Transformer, _ hidden: Tensor<Float>, firstRow: Int, targets: [Int]
    ) throws -> Double {
        let vocabulary = decoder.configuration.vocabularySize
        let logits = Buffer<Float>(uninitialized: min(logitRows, targets.count) * vocabulary)
        let losses = Buffer<Double>(uninitialized: targets.count)
        for start in Swift.stride(from: 0, to: targets.count, by: logitRows) {
            let count = min(logitRows, targets.count - start)
            hidden.withPointer { rows in
                decoder.logits(
                    rows + (firstRow + start) * decoder.configuration.hiddenSize, count: count, into: logits.pointer)
            }
            Parallel.forRanges(count, grain: 4) { range in
                for i in range {
                    losses.pointer[start + i] = loss(
                        logits.pointer + i * vocabulary, count: vocabulary, target: targets[start + i])
                }
            }
        }
        // Summed in the order of the text, so that the result does not depend on the number of threads.
        let total = losses.elements.reduce(0, +)
        guard total.isFinite else {
            throw LacunaError.numerical(operation: "perplexity", reason: "the model's logits are not finite")
        }
        return total
    }

    /// `log Σ exp(logits) - logits[target]`. Overwrites the logits.
    static func loss(_ logits: UnsafeMutablePointer<Float>, count: Int, target: Int) -> Double {
        let largest = VectorMath.argmax(logits, count: count)
        guard largest >= 0 else { return .nan }
        let distance = Double(logits[largest]) - Double(logits[target])
        // The largest entry's probability is exp(0) / Σ exp(logits - largest), so its logarithm is that of the sum.
        VectorMath.softmax(logits, count: count)
        return distance - logarithm(Double(logits[largest]))
    }

    private static func shortened(_ value: Double) -> String {
        value.isFinite ? "\((value * 1000).rounded() / 1000)" : "\(value)"
    }
}
