import LacunaIO
import LacunaTensor

/// Text as an encoder takes it: tokens, not more than it has positions for.
public struct TextInput: Sendable {
    /// The tokenizer of the model that reads the tokens.
    public let tokenizer: Tokenizer
    /// Tokens at most, those put around the text included.
    public let maximumLength: Int
    /// Put before every text.
    public let prompt: String
    /// What the tokenizer puts around a text.
    public let addedTokens: Set<Int>

    /// - Throws: `LacunaError.invalidArgument` for a length that leaves no room for text.
    public init(_ tokenizer: Tokenizer, maximumLength: Int, prompt: String = "") throws {
        let added = tokenizer.encode("", and: nil)
        let count = added.isAdded.count { $0 }
        guard maximumLength > count else {
            throw LacunaError.invalidArgument(
                "length", reason: "\(maximumLength) tokens leave no room beside the \(count) that are put around a text"
            )
        }
        addedTokens = Set(zip(added.ids, added.isAdded).filter(\.1).map(\.0))
        (self.tokenizer, self.maximumLength, self.prompt) = (tokenizer, maximumLength, prompt)
    }

    /// The tokens of a text with those put around it; what is too long is cut off at the end. Special tokens that are
    /// written out in the text are text.
    public func tokens(_ text: String) -> [Int] {
        let encoding = tokenizer.encode(prompt + text, and: nil, recognizesSpecials: false)
        var excess = encoding.count - maximumLength
        guard excess > 0 else { return encoding.ids }
        var kept: [Int] = []
        for (id, isAdded) in zip(encoding.ids, encoding.isAdded).reversed() {
            if !isAdded && excess > 0 { excess -= 1 } else { kept.append(id) }
        }
        return kept.reversed()
    }

    /// How many tokens a text has with those put around it, before anything is cut off.
    public func length(of text: String) -> Int {
        tokenizer.encode(prompt + text, and: nil, recognizesSpecials: false).count
    }

    /// The tokens of the text alone.
    public func bareTokens(_ text: String) -> [Int] {
        Array(
            tokenizer.encode(prompt + text, recognizesSpecials: false, addsBeginning: false).prefix(maximumLength))
    }

    /// The spelling of every token: what terms are called. Ids that no token has are called by their number.
    public static func termNames(_ tokenizer: Tokenizer, count: Int) -> [String] {
        (0..<count).map { tokenizer.token($0) ?? "[\($0)]" }
    }
}
