import LacunaTensor

/// How much of a model's predictions another one keeps, on a text: what compression costs, beyond perplexity.
public struct Fidelity: Sendable, Equatable {
    /// Of the other model: as ``Perplexity/value``.
    public var perplexity: Double
    /// The mean over scored tokens of `KL(p ‖ q)` in nats, `p` the reference's distribution of the next token and `q` the other
    /// model's: 0 or more, 0 for equal predictions.
    public var divergence: Double
    /// The share of scored tokens, 0...1, for which both models think the same token the likeliest.
    public var agreement: Double
    /// Tokens scored.
    public var tokens: Int

    /// Numbers that were measured elsewhere.
    public init(perplexity: Double, divergence: Double, agreement: Double, tokens: Int) {
        (self.perplexity, self.divergence, self.agreement, self.tokens) = (perplexity, divergence, agreement, tokens)
    }
}

/// What a model predicts on a text, kept as its final hidden states, so that others can be compared with it without running it
/// again.
///
/// The text is read in windows that stand by themselves, as ``Perplexity`` reads it with a stride of a window.
///
/// ```swift
/// let reference = try PredictionReference(decoder, tokens: tokens)
/// let kept = try reference.compare(Transformer.load("sparse"))
/// print(kept.perplexity, kept.divergence, kept.agreement)
/// ```
public struct PredictionReference: Sendable {
    /// The model with which others are compared.
    public let decoder: Transformer
    /// The text.
    public let tokens: [Int]
    private let batches: [[Perplexity.Window]]
    /// Of each batch, before the last norm.
    private let states: [Tensor<Float>]

    /// Runs the model on the text. Memory: a float for each token and hidden dimension.
    ///
    /// - Parameter window: Tokens of a window, in `2...maximumPositions`; nil for 512, or what the model can take.
    /// - Throws: As ``Perplexity/measure(_:tokens:window:stride:gate:meter:progress:)``.
    public init(
        _ decoder: Transformer, tokens: [Int], window: Int? = nil, progress: (any ProgressReporter)? = nil
    ) throws {
        let limit = decoder.configuration.maximumPositions
        let window = window ?? min(512, limit)
        guard window >= 2 && window <= limit else {
            throw LacunaError.invalidArgument("window", reason: "\(window) is not in 2...\(limit)")
        }
        guard tokens.count >= 2 else {
            throw LacunaError.invalidArgument("text", reason: "\(tokens.count) tokens leave nothing to predict")
        }
        let windows = Perplexity.batches(Perplexity.windows(count: tokens.count, window: window, stride: window))
        (self.decoder, self.tokens, batches) = (decoder, tokens, windows)
        states = try windows.enumerated().map { index, batch in
            try progress.report("reference", index, of: windows.count)
            return try Self.hiddenStates(decoder, tokens, batch)
        }
    }

    private static func hiddenStates(
        _ decoder: Transformer, _ tokens: [Int], _ batch: [Perplexity.Window]
    ) throws -> Tensor<Float> {
        try decoder.hiddenStates(
            batch.flatMap { tokens[$0.start..<$0.start + $0.length] }, sequenceLength: batch[0].length)
    }

    /// Compares a model with the reference.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a model of another vocabulary or fewer positions than a window;
    ///   ``LacunaError/numerical(operation:reason:)`` if a logit of one of the two is not finite;
    ///   ``LacunaError/cancelled``.
    /// - Complexity: The model on the whole text, and both heads.
    public func compare(_ model: Transformer, progress: (any ProgressReporter)? = nil) throws -> Fidelity {
        guard model.configuration.vocabularySize == decoder.configuration.vocabularySize else {
            throw LacunaError.invalidArgument(
                "model",
                reason: "has a vocabulary of \(model.configuration.vocabularySize), the reference one of "
                    + "\(decoder.configuration.vocabularySize)")
        }
        var (loss, divergence, agreeing, count) = (0.0, 0.0, 0, 0)
        for (index, batch) in batches.enumerated() {
            let own = try Self.hiddenStates(model, tokens, batch)
            for (place, window) in batch.enumerated() {
                let first = place * window.length + window.firstScored - 1
                let targets = Array(tokens[window.start + window.firstScored..<window.start + window.length])
                let scores = scores(model, own, states[index], firstRow: first, targets: targets)
                // Summed in the order of the text, so that the result does not depend on the number of threads.
                for score in scores {
                    loss += score.loss
                    divergence += score.divergence
                    agreeing += score.agrees ? 1 : 0
                }
                count += targets.count
            }
            try progress.report("comparing", index + 1, of: batches.count)
        }
        guard loss.isFinite, divergence.isFinite else {
            throw LacunaError.numerical(operation: "comparing predictions", reason: "a logit is not finite")
        }
        return Fidelity(
            perplexity: exponential(loss / Double(count)), divergence: max(0, divergence / Double(count)),
            agreement: Double(agreeing) / Double(count), tokens: count)
    }

    private struct Score {
        var loss = 0.0
        var divergence = 0.0
        var agrees = false
    }

    /// Of as many rows from `firstRow` on as there are targets.
    private func scores(
        _ model: Transformer, _ own: Tensor<Float>, _ states: Tensor<Float>, firstRow: Int, targets: [Int]
    ) -> [Score] {
        let vocabulary = decoder.configuration.vocabularySize
        let rows = min(Perplexity.logitRows, targets.count)
        let buffers = (0..<4).map { _ in Buffer<Float>(uninitialized: rows * vocabulary) }
        let scores = Buffer<Score>(repeating: Score(), count: targets.count)
        for start in stride(from: 0, to: targets.count, by: rows) {
            let count = min(rows, targets.count - start)
            for (network, hidden, logits) in [(decoder, states, buffers[0]), (model, own, buffers[1])] {
                hidden.withPointer { p in
                    network.logits(
                        p + (firstRow + start) * network.configuration.hiddenSize, count: count, into: logits.pointer)
                }
            }
            Parallel.forRanges(count, grain: 4) { range in
                for i in range {
                    let row = buffers.map { $0.pointer + i * vocabulary }
                    scores.pointer[start + i] = Self.score(
                        row[0], row[1], probabilities: row[2], scratch: row[3], count: vocabulary,
                        target: targets[start + i])
                }
            }
        }
        return Array(scores.elements)
    }

    /// The two terms of a row: `p` of the reference's logits, `q` of the other model's.
    private static func score(
        _ reference: UnsafePointer<Float>, _ other: UnsafePointer<Float>, probabilities: UnsafeMutablePointer<Float>,
        scratch: UnsafeMutablePointer<Float>, count: Int, target: Int
    ) -> Score {
        let (top, ownTop) = (VectorMath.argmax(reference, count: count), VectorMath.argmax(other, count: count))
        guard top >= 0, ownTop >= 0 else { return Score(loss: .nan, divergence: .nan, agrees: false) }
        probabilities.update(from: reference, count: count)
        scratch.update(from: other, count: count)
        VectorMath.softmax(probabilities, count: count)
        VectorMath.softmax(scratch, count: count)
        // The likeliest token's probability is 1 / Σ exp(logit - largest).
        let (largest, ownLargest) = (reference[top], other[ownTop])
        let logSum = -logarithm(Double(probabilities[top]))
        let ownLogSum = -logarithm(Double(scratch[ownTop]))
        var apart = 0.0
        for j in 0..<count {
            let difference = (reference[j] - largest) - (other[j] - ownLargest)
            // A token of probability 0 adds nothing, however unlikely the other model thinks it.
            if probabilities[j] > 0 { apart += Double(probabilities[j]) * Double(difference) }
        }
        return Score(
            loss: Double(ownLargest) - Double(other[target]) + ownLogSum, divergence: apart - logSum + ownLogSum,
            agrees: top == ownTop)
    }
}
