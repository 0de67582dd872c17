import LacunaModels
import LacunaTensor

/// How fast a model reads prompts and writes, over several runs.
public struct GenerationSpeed: Sendable, Equatable {
    /// Tokens of a prompt, read at once.
    public let promptTokens: Int
    /// Tokens written after it, one by one.
    public let writtenTokens: Int
    /// Tokens per second of each run, in the order in which they were made: reading the prompt.
    public let reading: [Double]
    /// The same: writing.
    public let writing: [Double]
    /// Bytes that a written token read, on average.
    public let bytesPerToken: Int

    /// Speeds that were measured elsewhere.
    public init(promptTokens: Int, writtenTokens: Int, reading: [Double], writing: [Double], bytesPerToken: Int) {
        (self.promptTokens, self.writtenTokens, self.bytesPerToken) = (promptTokens, writtenTokens, bytesPerToken)
        (self.reading, self.writing) = (reading, writing)
    }

    /// The middle one of the runs; of an even number, the mean of the middle two.
    public static func median(_ rates: [Double]) -> Double {
        let sorted = rates.sorted()
        let half = sorted.count / 2
        if sorted.isEmpty { return 0 }
        return sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
    }

    /// Bytes of weights, keys and values that writing reads in a second, at the median speed.
    public var bandwidth: Double { Double(bytesPerToken) * Self.median(writing) }
}

extension Generator {
    /// Measures how fast a prompt is read and how fast text is written after it, greedily and past every end.
    ///
    /// One run before the others is not counted: it reads the weights from the disk, and a meter counts during it, as counting takes time. What is
    /// written is the same in every run.
    ///
    /// - Parameters:
    ///   - prompt: At least one token. What a model leaves out depends on what it reads; other speeds do not.
    ///   - written: How many tokens are written, at least 2: choosing the first is part of reading.
    ///   - runs: At least 1.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers outside these ranges, and for more tokens than the model
    ///   has positions.
    /// - Complexity: That of `runs + 1` texts.
    public func measureSpeed(
        prompt: [Int], written: Int = 64, runs: Int = 5, progress: (any ProgressReporter)? = nil
    ) throws -> GenerationSpeed {
        guard written >= 2, runs >= 1 else {
            throw LacunaError.invalidArgument("runs", reason: "\(runs) of \(written) tokens measure nothing")
        }
        let positions = decoder.configuration.maximumPositions
        guard !prompt.isEmpty, prompt.count <= positions, written <= positions - prompt.count else {
            throw LacunaError.invalidArgument(
                "prompt", reason: "\(prompt.count) tokens and \(written) more, of a model with \(positions) positions")
        }
        let options = Options(maximumTokens: written, ignoresEnd: true)
        var (reading, writing, bytes): ([Double], [Double], Int) = ([], [], 0)
        var uncounted = skipping
        uncounted.meter = nil
        let measured = Generator(decoder, tokenizer: tokenizer, skipping: uncounted)
        for run in 0...runs {
            try progress.report("measuring", run, of: runs + 1)
            let result = try (run == 0 ? self : measured).generate(prompt, options) { _ in
                try progress.report("measuring", run, of: runs + 1)
                return true
            }
            if run == 0 {
                bytes = result.bytesPerToken
                continue
            }
            reading.append(result.prefill.tokensPerSecond)
            writing.append(result.decode.tokensPerSecond)
        }
        return GenerationSpeed(
            promptTokens: prompt.count, writtenTokens: written, reading: reading, writing: writing, bytesPerToken: bytes
        )
    }
}
