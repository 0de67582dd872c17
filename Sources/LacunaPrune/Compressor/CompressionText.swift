import LacunaIO
import LacunaModels
import LacunaTensor

/// The texts of a compression, as tokens: general text to calibrate on and to learn from, a part of it held out to choose by, and
/// another text that is measured and otherwise never looked at.
public struct CompressionText: Sendable, Hashable {
    /// All sources one after the other, without what is held out.
    public let training: [Int]
    /// The end of every source.
    public let heldOut: [Int]
    /// What is only measured.
    public let evaluation: [Int]

    /// Tokens that are looked for in both texts.
    static let shingle = 32
    /// Share of the evaluation's pieces that may stand in the training text: sentences that everybody quotes.
    static let tolerance = 0.02

    /// - Parameters:
    ///   - sources: General texts. Each gives the same number of tokens to the held-out text, at most a tenth of its own.
    ///   - evaluation: The text to be measured, cut to what is measured.
    ///   - heldOut: Tokens to choose by, from all sources together.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for texts too short to be split, and for an evaluation text of which more
    ///   than a fiftieth, in pieces of 32 tokens, stands in the sources: it would measure what was learned by heart.
    /// - Complexity: A hash of every token.
    public init(sources: [[Int]], evaluation: [Int], heldOut count: Int = 4096) throws {
        guard !sources.isEmpty else { throw LacunaError.invalidArgument("text", reason: "there is none to learn from") }
        var (training, held): ([Int], [Int]) = ([], [])
        for source in sources {
            let end = min(count / sources.count, source.count / 10)
            training += source.dropLast(end)
            held += source.suffix(end)
        }
        guard held.count >= 2 else {
            let total = sources.reduce(0) { $0 + $1.count }
            throw LacunaError.invalidArgument(
                "text", reason: "\(total) tokens of general text are too few to hold out a part")
        }
        guard evaluation.count >= 2 else {
            throw LacunaError.invalidArgument(
                "evaluation text", reason: "\(evaluation.count) tokens leave nothing to predict")
        }
        let shared = Self.sharedPieces(of: evaluation, in: training + held)
        guard shared <= Self.tolerance else {
            let percent = Int((100 * shared).rounded())
            throw LacunaError.invalidArgument(
                "evaluation text",
                reason:
                    "\(percent) % of it stands in the general text as well, and would be learned by heart: give another"
            )
        }
        (self.training, self.heldOut, self.evaluation) = (training, held, evaluation)
    }

    /// Reads texts, in which special tokens are plain text.
    ///
    /// - Parameter limit: Tokens of the beginning of the evaluation text; nil for all.
    /// - Throws: As ``init(sources:evaluation:heldOut:)``, and ``LacunaError/file(path:reason:)`` or
    ///   ``LacunaError/malformed(file:location:reason:)`` for a file that cannot be read or is not UTF-8.
    public init(
        files: [String], evaluation: String, tokenizer: Tokenizer, limit: Int? = nil, heldOut count: Int = 4096
    ) throws {
        func tokens(_ path: String) throws -> [Int] {
            tokenizer.encode(try FileSystem.readText(path), recognizesSpecials: false, addsBeginning: false)
        }
        let measured = try tokens(evaluation)
        try self.init(
            sources: files.map(tokens), evaluation: Array(measured.prefix(limit ?? measured.count)), heldOut: count)
    }

    /// The share of the pieces of `text`, one after the other, that stand somewhere in `other`.
    static func sharedPieces(of text: [Int], in other: [Int]) -> Double {
        let count = text.count / shingle
        if count == 0 || other.count < shingle { return 0 }
        // A rolling polynomial hash, in arithmetic that wraps around.
        let base: UInt64 = 0x9E37_79B9_7F4A_7C15
        var leaving: UInt64 = 1
        for _ in 0..<shingle { leaving = leaving &* base }
        func hash(_ piece: ArraySlice<Int>) -> UInt64 { piece.reduce(0) { $0 &* base &+ UInt64($1 + 1) } }
        var found: [UInt64: Bool] = [:]
        let pieces = (0..<count).map { hash(text[$0 * shingle..<($0 + 1) * shingle]) }
        for piece in pieces { found[piece] = false }
        var rolling = hash(other[..<shingle])
        if found[rolling] != nil { found[rolling] = true }
        for i in shingle..<other.count {
            rolling = rolling &* base &+ UInt64(other[i] + 1) &- leaving &* UInt64(other[i - shingle] + 1)
            if found[rolling] != nil { found[rolling] = true }
        }
        return Double(pieces.count { found[$0]! }) / Double(count)
    }

    /// What tells one set of texts from another.
    var fingerprint: String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for part in [training, heldOut, evaluation] {
            for token in part { hash = (hash ^ UInt64(token)) &* 0x100_0000_01B3 }
            hash = (hash ^ UInt64(part.count)) &* 0x100_0000_01B3
        }
        return String(hash, radix: 16)
    }
}
