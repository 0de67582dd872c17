import LacunaIO
import LacunaTensor

/// The text on which a model is observed while it is pruned: sequences of equal length.
///
/// A text is cut into windows of that length, of which some are drawn at random, each at most once. The defaults, 64
/// sequences of 512 tokens, are enough for models of a few hundred million weights; the authors of Wanda and SparseGPT
/// take 128 of 2048.
public struct CalibrationSet: Sendable, Hashable {
    /// Tokens, `sequenceLength` for each sequence.
    public let tokens: [Int]
    /// Tokens of each sequence.
    public let sequenceLength: Int

    /// Sequences, where nothing is said.
    public static let defaultSequences = 64
    /// Tokens of a sequence, where nothing is said.
    public static let defaultLength = 512

    /// Draws windows from a text.
    ///
    /// - Parameters:
    ///   - text: Token ids.
    ///   - sequences: How many windows, 1 or more.
    ///   - length: Tokens of each, 1 or more.
    ///   - seed: Decides which.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range, and if the text has fewer windows.
    public init(
        text: [Int], sequences: Int = defaultSequences, length: Int = defaultLength, seed: UInt64 = 0
    ) throws {
        if sequences < 1 { throw LacunaError.invalidArgument("calibration sequences", reason: "must be positive") }
        if length < 1 { throw LacunaError.invalidArgument("calibration length", reason: "must be positive") }
        let windows = text.count / length
        if windows < sequences {
            throw LacunaError.invalidArgument(
                "calibration",
                reason: "the text has \(text.count) tokens, not enough for \(sequences) sequences of \(length)")
        }
        var generator = SeededGenerator(seed: seed, stream: 0xCA11)
        let chosen = Array(0..<windows).shuffled(using: &generator).prefix(sequences)
        tokens = chosen.flatMap { text[$0 * length..<($0 + 1) * length] }
        sequenceLength = length
    }

    /// Draws windows from a text file.
    ///
    /// - Parameter recognizesSpecials: Whether special tokens that the text spells are those tokens, or plain text.
    /// - Throws: As ``init(text:sequences:length:seed:)``, and ``LacunaError/file(path:reason:)`` or
    ///   ``LacunaError/malformed(file:location:reason:)`` for a file that cannot be read or is not UTF-8.
    public init(
        file path: String, tokenizer: Tokenizer, sequences: Int = defaultSequences, length: Int = defaultLength,
        seed: UInt64 = 0, recognizesSpecials: Bool = false
    ) throws {
        let text = tokenizer.encode(
            try FileSystem.readText(path), recognizesSpecials: recognizesSpecials, addsBeginning: false)
        try self.init(text: text, sequences: sequences, length: length, seed: seed)
    }

    /// Number of sequences.
    public var sequenceCount: Int { tokens.count / sequenceLength }
}
