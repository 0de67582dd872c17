import LacunaTensor

/// Cuts at the matches of a pattern.
struct PatternPreTokenizer: PreTokenizer {
    /// What becomes of a match.
    enum Behavior: String, Sendable {
        case removed = "Removed"
        case isolated = "Isolated"
        case mergedWithPrevious = "MergedWithPrevious"
        case mergedWithNext = "MergedWithNext"
        /// Neighbouring matches stay together.
        case contiguous = "Contiguous"

        init(_ fields: JSONFields) throws {
            let name = try fields.string("behavior")
            guard let behavior = Self(rawValue: name) else {
                throw LacunaError.unsupported(file: fields.file, what: "split behaviour '\(name)'")
            }
            self = behavior
        }
    }

    private let pattern: TextPattern
    private let behavior: Behavior
    /// What does not match is the delimiter.
    private let isInverted: Bool

    init(_ pattern: TextPattern, _ behavior: Behavior, isInverted: Bool = false) {
        self.pattern = pattern
        self.behavior = behavior
        self.isInverted = isInverted
    }

    func split(_ words: inout TextPieces) {
        words.cut { bytes, range, emit in
            if behavior == .isolated {
                pattern.forEachPart(bytes, in: range) { part, _ in emit(part) }
            } else {
                var joiner = PieceJoiner(behavior)
                pattern.forEachPart(bytes, in: range) { joiner.add($0, isMatch: $1 != isInverted, emit) }
                joiner.finish(emit)
            }
        }
    }
}

/// Puts matches and what is between them together, as a behaviour says.
struct PieceJoiner {
    private let behavior: PatternPreTokenizer.Behavior
    private var pending: Range<Int>?
    private var lastWasMatch = false

    init(_ behavior: PatternPreTokenizer.Behavior) { self.behavior = behavior }

    mutating func add(_ part: Range<Int>, isMatch: Bool, _ emit: (Range<Int>) -> Void) {
        let joins: Bool
        switch behavior {
        case .removed: return isMatch ? () : emit(part)
        case .isolated: return emit(part)
        case .contiguous: joins = isMatch == lastWasMatch
        case .mergedWithPrevious: joins = isMatch && !lastWasMatch
        // A match waits for what follows, unless that is a match too.
        case .mergedWithNext: joins = lastWasMatch && !isMatch
        }
        if joins, let before = pending {
            pending = before.lowerBound..<part.upperBound
        } else {
            if let pending { emit(pending) }
            pending = part
        }
        lastWasMatch = isMatch
    }

    mutating func finish(_ emit: (Range<Int>) -> Void) {
        if let pending { emit(pending) }
        pending = nil
    }
}

/// Cuts at single characters of a kind.
struct CharacterPreTokenizer: PreTokenizer {
    private let behavior: PatternPreTokenizer.Behavior
    private let isDelimiter: @Sendable (Unicode.Scalar) -> Bool

    init(_ behavior: PatternPreTokenizer.Behavior, isDelimiter: @escaping @Sendable (Unicode.Scalar) -> Bool) {
        self.behavior = behavior
        self.isDelimiter = isDelimiter
    }

    func split(_ words: inout TextPieces) {
        words.cut { bytes, range, emit in
            var joiner = PieceJoiner(behavior)
            var (start, i) = (range.lowerBound, range.lowerBound)
            while i < range.upperBound {
                let (scalar, next) = UTF8Text.scalar(bytes, at: i)
                if isDelimiter(scalar) {
                    if start < i { joiner.add(start..<i, isMatch: false, emit) }
                    joiner.add(i..<next, isMatch: true, emit)
                    start = next
                }
                i = next
            }
            if start < i { joiner.add(start..<i, isMatch: false, emit) }
            joiner.finish(emit)
        }
    }
}

/// BERT's words: cut at white space, which goes, and at punctuation, each by itself.
struct BertPreTokenizer: PreTokenizer {
    func split(_ words: inout TextPieces) {
        words.cut { bytes, range, emit in
            var (start, i) = (range.lowerBound, range.lowerBound)
            while i < range.upperBound {
                let (scalar, next) = UTF8Text.scalar(bytes, at: i)
                let isSpace = UnicodeClasses.isWhitespace(scalar)
                if isSpace || UnicodeClasses.isBertPunctuation(scalar) {
                    emit(start..<i)
                    if !isSpace { emit(i..<next) }
                    start = next
                }
                i = next
            }
            emit(start..<i)
        }
    }
}

/// `\w+|[^\w\s]+`: words and runs of other characters, without white space.
struct WordPreTokenizer: PreTokenizer {
    func split(_ words: inout TextPieces) {
        words.cut { bytes, range, emit in
            // 0 for white space, 1 for words, 2 for others.
            func kind(_ scalar: Unicode.Scalar) -> Int {
                UnicodeClasses.isWhitespace(scalar) ? 0 : UnicodeClasses.isWord(scalar) ? 1 : 2
            }
            var (start, i, current) = (range.lowerBound, range.lowerBound, 0)
            while i < range.upperBound {
                let (scalar, next) = UTF8Text.scalar(bytes, at: i)
                let found = kind(scalar)
                if found != current {
                    if current != 0 { emit(start..<i) }
                    (start, current) = (i, found)
                }
                i = next
            }
            if current != 0 { emit(start..<i) }
        }
    }
}
