/// The regular expressions by which byte-level tokenizers cut text into words, recognised literally and matched by hand.
///
/// A tokenizer with another expression is refused: a guess would give wrong tokens without a sign of it.
public enum SplitPattern: Sendable, Hashable, CaseIterable {
    /// GPT-2's (Radford et al., 2019).
    case gpt2
    /// Llama 3's: line breaks apart, numbers in groups of up to three digits.
    case llama3
    /// Qwen 2's: as Llama 3's, every digit on its own.
    case qwen2

    /// The expression as tokenizer.json files have it.
    var expression: String {
        switch self {
        case .gpt2:
            #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
        case .llama3:
            #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"#
                + #"\s*[\r\n]+|\s+(?!\S)|\s+"#
        case .qwen2:
            #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"#
                + #"\s*[\r\n]+|\s+(?!\S)|\s+"#
        }
    }

    init?(expression: String) {
        guard let match = Self.allCases.first(where: { $0.expression == expression }) else { return nil }
        self = match
    }

    /// Where the word that begins at `start` (before the end of the text) ends.
    func wordEnd(_ text: ScalarScanner, from start: Int) -> Int {
        switch self {
        case .gpt2: gpt2End(text, start)
        case .llama3: llamaEnd(text, start, digits: 3)
        case .qwen2: llamaEnd(text, start, digits: 1)
        }
    }

    private func gpt2End(_ text: ScalarScanner, _ start: Int) -> Int {
        if let end = contractionEnd(text, start, ignoringCase: false) { return end }
        let (kind, next) = text.classify(at: start)!
        // One blank may stand before a run of letters, of numbers, or of others.
        var (runKind, runStart) = (kind, start)
        if text.bytes[start] == 0x20, let (following, _) = text.classify(at: next), !following.isWhitespace {
            (runKind, runStart) = (following, next)
        }
        if !runKind.isWhitespace { return runEnd(text, runStart) { $0 == runKind } }
        return whitespaceEnd(text, start, splitsAtLineBreaks: false)
    }

    private func llamaEnd(_ text: ScalarScanner, _ start: Int, digits: Int) -> Int {
        if let end = contractionEnd(text, start, ignoringCase: true) { return end }
        let (kind, next) = text.classify(at: start)!
        if kind == .letter { return runEnd(text, start) { $0 == .letter } }
        // Any one character but a line break or a number may stand before letters.
        if kind == .space || kind == .other, text.classify(at: next)?.kind == .letter {
            return runEnd(text, next) { $0 == .letter }
        }
        if kind == .number {
            var (end, count) = (next, 1)
            while count < digits, let (following, further) = text.classify(at: end), following == .number {
                (end, count) = (further, count + 1)
            }
            return end
        }
        let isBlankBeforeOthers = text.bytes[start] == 0x20 && text.classify(at: next)?.kind == .other
        if kind == .other || isBlankBeforeOthers {
            let end = runEnd(text, kind == .other ? start : next) { $0 == .other }
            return runEnd(text, end) { $0 == .lineBreak }
        }
        return whitespaceEnd(text, start, splitsAtLineBreaks: true)
    }

    @inline(__always)
    private func runEnd(_ text: ScalarScanner, _ start: Int, while belongs: (ScalarClass) -> Bool) -> Int {
        var end = start
        while let (kind, next) = text.classify(at: end), belongs(kind) { end = next }
        return end
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`, or the last two of these.
    private func whitespaceEnd(_ text: ScalarScanner, _ start: Int, splitsAtLineBreaks: Bool) -> Int {
        var (end, last, afterBreak) = (start, start, start)
        while let (kind, next) = text.classify(at: end), kind.isWhitespace {
            if kind == .lineBreak { afterBreak = next }
            (last, end) = (end, next)
        }
        if splitsAtLineBreaks && afterBreak > start { return afterBreak }
        // The last white space before a word belongs to the word, unless it is the only one.
        return end < text.end && last > start ? last : end
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d`
    private func contractionEnd(_ text: ScalarScanner, _ start: Int, ignoringCase: Bool) -> Int? {
        guard text.bytes[start] == UInt8(ascii: "'"), start + 1 < text.end else { return nil }
        func letter(_ i: Int) -> UInt8 {
            guard i < text.end else { return 0 }
            let byte = text.bytes[i]
            return ignoringCase && byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
        }
        switch (letter(start + 1), letter(start + 2)) {
        case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _), (UInt8(ascii: "d"), _):
            return start + 2
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return start + 3
        // The long s (U+017F) is an s to expressions that ignore case.
        case (0xC5, 0xBF) where ignoringCase: return start + 3
        default: return nil
        }
    }
}
