import LacunaTensor

/// How texts that are too long are cut, as `truncation` of a `tokenizer.json` says.
public struct TokenTruncation: Sendable, Hashable {
    /// Which of two texts is cut.
    public enum Strategy: String, Sendable, Hashable, CaseIterable {
        /// The longer one until both are equally long, then both.
        case longestFirst = "LongestFirst"
        /// The first, as far as it has more tokens than there are too many.
        case onlyFirst = "OnlyFirst"
        /// The second, as far as it has more tokens than there are too many.
        case onlySecond = "OnlySecond"
    }

    /// Tokens at most, those put around the texts included.
    public var maximumLength: Int
    /// What is cut first where a text has two parts.
    public var strategy: Strategy
    /// Whether a text loses its beginning rather than its end.
    public var cutsBeginning: Bool

    /// - Parameter maximumLength: At least 0.
    public init(maximumLength: Int, strategy: Strategy = .longestFirst, cutsBeginning: Bool = false) {
        require(maximumLength >= 0, "texts of \(maximumLength) tokens")
        (self.maximumLength, self.strategy, self.cutsBeginning) = (maximumLength, strategy, cutsBeginning)
    }

    /// How many tokens of each of one or two texts stay.
    ///
    /// - Parameter room: Tokens of both together, at most.
    /// - Throws: `LacunaError.invalidArgument` if the strategy cannot make them fit.
    func kept(_ counts: [Int], room: Int) throws -> [Int] {
        let excess = counts.reduce(0, +) - room
        if excess <= 0 { return counts }
        switch strategy {
        case .longestFirst:
            guard counts.count == 2 else { return [counts[0] - excess] }
            let short = min(counts[0], counts[1])
            var (less, more) = (short, max(short, room - short))
            if less + more > room { (less, more) = (room / 2, room / 2 + room % 2) }
            return counts[0] > counts[1] ? [more, less] : [less, more]
        case .onlyFirst, .onlySecond:
            let index = strategy == .onlyFirst ? 0 : 1
            guard index < counts.count, counts[index] > excess else {
                throw LacunaError.invalidArgument(
                    "text", reason: "\(excess) tokens too many cannot be cut off by the strategy \(strategy.rawValue)")
            }
            var counts = counts
            counts[index] -= excess
            return counts
        }
    }
}

/// How the texts of a batch are brought to one length, as `padding` of a `tokenizer.json` says.
public struct TokenPadding: Sendable, Hashable {
    /// Tokens of every text; nil for those of the longest.
    public var length: Int?
    /// The length is rounded up to a multiple of this; nil for none.
    public var multiple: Int?
    /// Whether texts are filled up in front.
    public var fillsBeginning: Bool
    /// The token that fills up, and its kind among ``TokenEncoding/typeIDs``.
    public var token: Int
    /// The type of the tokens that fill up.
    public var typeID: Int

    /// - Parameters:
    ///   - length: At least 0, or nil.
    ///   - multiple: At least 1, or nil.
    public init(length: Int? = nil, multiple: Int? = nil, fillsBeginning: Bool = false, token: Int, typeID: Int = 0) {
        require(
            length ?? 0 >= 0 && multiple ?? 1 >= 1, "a length of \(length ?? 0), of \(multiple ?? 1) tokens at a time")
        (self.length, self.multiple, self.fillsBeginning) = (length, multiple, fillsBeginning)
        (self.token, self.typeID) = (token, typeID)
    }

    func apply(_ encodings: inout [TokenEncoding]) {
        var length = length ?? encodings.map(\.count).max() ?? 0
        if let multiple { length = (length + multiple - 1) / multiple * multiple }
        for index in encodings.indices where encodings[index].count < length {
            let missing = length - encodings[index].count
            encodings[index].fill(missing, token: token, type: typeID, inFront: fillsBeginning)
        }
    }
}

extension Tokenizer {
    /// A batch of texts as an encoder takes it: cut and filled up as the tokenizer's file says (``truncation``, ``padding``),
    /// like `encode_batch` of the tokenizers library. What is cut off is gone: `stride`, by which that library hands out
    /// overlapping rests, has no effect.
    ///
    /// The other ways to encode are for whole texts of any length, and neither cut nor fill up.
    ///
    /// - Parameters:
    ///   - texts: Texts, or pairs of texts that belong together.
    ///   - recognizesSpecials: As for ``encode(_:recognizesSpecials:addsBeginning:)``.
    /// - Throws: `LacunaError.invalidArgument` for a text that the file's strategy cannot make short enough, and a length
    ///   with no room beside the tokens that are put around.
    public func encode(
        batch texts: [(first: String, second: String?)], recognizesSpecials: Bool = true
    ) throws -> [TokenEncoding] {
        var encodings = try texts.map { first, second in
            var parts = [first, second].compactMap(\.self).map { tokens($0, recognizesSpecials: recognizesSpecials) }
            if let truncation {
                let around = encoding(parts.map { _ in [] }).count
                guard truncation.maximumLength >= around else {
                    throw LacunaError.invalidArgument(
                        "truncation",
                        reason: "\(truncation.maximumLength) tokens have no room for the \(around) put around a text")
                }
                let kept = try truncation.kept(parts.map(\.count), room: truncation.maximumLength - around)
                for (index, count) in kept.enumerated() {
                    parts[index] = Array(
                        truncation.cutsBeginning ? parts[index].suffix(count) : parts[index].prefix(count))
                }
            }
            return encoding(parts)
        }
        padding?.apply(&encodings)
        return encodings
    }
}

extension TokenizerDefinition {
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for settings that are not known here, and
    ///   ``LacunaError/malformed(file:location:reason:)`` for numbers out of range.
    func makeTruncation() throws -> TokenTruncation? {
        guard let fields = try component("truncation", truncation) else { return nil }
        let name = try fields.optionalString("strategy") ?? TokenTruncation.Strategy.longestFirst.rawValue
        guard let strategy = TokenTruncation.Strategy(rawValue: name) else {
            throw unsupported("truncation by the strategy '\(name)'")
        }
        let length = try fields.integer("max_length")
        guard length >= 0 else { throw fields.failure("max_length", "\(length) is negative") }
        return TokenTruncation(
            maximumLength: length, strategy: strategy, cutsBeginning: try isLeft(fields, "truncation"))
    }

    /// - Throws: As ``makeTruncation()``.
    func makePadding() throws -> TokenPadding? {
        guard let fields = try component("padding", padding) else { return nil }
        var length: Int?
        if let strategy = try? fields.fields("strategy") {
            length = try strategy.integer("Fixed")
        } else if let name = try fields.optionalString("strategy"), name != "BatchLongest" {
            throw unsupported("padding by the strategy '\(name)'")
        }
        let multiple = try fields.optionalInteger("pad_to_multiple_of").flatMap { $0 == 0 ? nil : $0 }
        let token = try fields.integer("pad_id", default: 0)
        guard length ?? 0 >= 0, multiple ?? 1 >= 1, token >= 0 else {
            throw fields.failure("strategy", "a length, a multiple or a token is negative")
        }
        return TokenPadding(
            length: length, multiple: multiple, fillsBeginning: try isLeft(fields, "padding"), token: token,
            typeID: try fields.integer("pad_type_id", default: 0))
    }

    private func isLeft(_ fields: JSONFields, _ what: String) throws -> Bool {
        switch try fields.optionalString("direction") ?? "Right" {
        case "Right": return false
        case "Left": return true
        case let name: throw unsupported("\(what) in the direction '\(name)'")
        }
    }
}
