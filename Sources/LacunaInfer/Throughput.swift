import LacunaModels
import LacunaTensor

/// How fast a decoder reads prompts and writes tokens: medians over repetitions.
public struct Throughput: Sendable, Equatable {
    /// Tokens of the prompt.
    public var prefillTokens: Int
    /// Tokens written after it.
    public var decodeTokens: Int
    /// Tokens of the prompt that are read in a second.
    public var prefillTokensPerSecond: Double
    /// Tokens that are written in a second.
    public var decodeTokensPerSecond: Double
    /// Bytes that decoding one token reads: weights, and keys and values at the middle of the measured positions.
    public var bytesPerToken: Int

    /// Bytes a second that decoding moves.
    public var decodeBytesPerSecond: Double { decodeTokensPerSecond * Double(bytesPerToken) }

    /// Measures on arbitrary tokens, whose choice does not influence the time.
    ///
    /// - Parameters:
    ///   - prefill: Tokens of the prompt, at least 2.
    ///   - decode: Tokens to write, at least 1.
    ///   - repetitions: Of which the median is taken, after one that is not counted.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range or more tokens than the model has
    ///   positions; ``LacunaError/cancelled``.
    public static func measure(
        _ decoder: Transformer, prefill: Int = 128, decode: Int = 64, repetitions: Int = 3,
        progress: (any ProgressReporter)? = nil
    ) throws -> Throughput {
        try measure(
            [decoder], prefill: prefill, decode: decode, repetitions: repetitions, progress: progress)[0]
    }

    /// Measures several decoders in turn, repetition by repetition, so that what else the machine does meanwhile hits all
    /// of them alike and ratios between them can be trusted.
    ///
    /// - Returns: One result for each decoder.
    /// - Throws: As for one.
    public static func measure(
        _ decoders: [Transformer], prefill: Int = 128, decode: Int = 64, repetitions: Int = 3,
        progress: (any ProgressReporter)? = nil
    ) throws -> [Throughput] {
        guard prefill >= 2 && decode >= 1 && repetitions >= 1 else {
            throw LacunaError.invalidArgument(
                "throughput", reason: "\(prefill) + \(decode) tokens, \(repetitions) times: too few to measure")
        }
        let sessions = try decoders.map { try DecodingSession($0, context: prefill + decode) }
        var seconds = decoders.map { _ in (prefill: [Double](), decode: [Double]()) }
        for repetition in 0...repetitions {
            for (index, session) in sessions.enumerated() {
                let vocabulary = session.decoder.configuration.vocabularySize
                let prompt = (0..<prefill).map { ($0 * 7919 + 1) % vocabulary }
                session.reset()
                let start = monotonicSeconds()
                try session.prefill(prompt)
                let middle = monotonicSeconds()
                for i in 0..<decode { try session.decode((i * 104_729 + 3) % vocabulary) }
                if repetition > 0 {
                    seconds[index].prefill.append(middle - start)
                    seconds[index].decode.append(monotonicSeconds() - middle)
                }
                try progress.report(
                    "throughput", repetition * sessions.count + index + 1, of: (repetitions + 1) * sessions.count)
            }
        }
        return zip(decoders, seconds).map { decoder, seconds in
            Throughput(
                prefillTokens: prefill, decodeTokens: decode,
                prefillTokensPerSecond: Double(prefill) / median(seconds.prefill),
                decodeTokensPerSecond: Double(decode) / median(seconds.decode),
                bytesPerToken: decoder.bytesTouchedPerToken(position: prefill + decode / 2))
        }
    }

    private static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
