import LacunaTensor

/// Cuts text into words, for BM25: runs of letters and digits in lower case, without the most frequent words, cut
/// down to their stems.
public struct WordAnalyzer: Sendable, Equatable {
    /// How words are cut down, so that forms of one word count as one.
    public enum Stemmer: String, Sendable, Hashable, CaseIterable {
        /// Words stay as they are: for languages other than English.
        case none
        /// English: see ``PorterStemmer``.
        case porter
    }

    /// What is applied to every word that is no stop word.
    public var stemmer: Stemmer
    /// Leave out Lucene's 33 English stop words.
    public var removesStopWords: Bool

    /// The defaults are those of Anserini's English analyser. Documents and queries have to be analysed alike.
    public init(stemmer: Stemmer = .porter, removesStopWords: Bool = true) {
        (self.stemmer, self.removesStopWords) = (stemmer, removesStopWords)
    }

    /// The words that are left out.
    public static let stopWords: Set<String> = [
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
        "of",
        "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will",
        "with",
    ]

    /// The words of a text, in order.
    public func words(_ text: String) -> [String] {
        text.lowercased().split(whereSeparator: { !$0.isLetter && !$0.isNumber }).compactMap { word in
            let word = String(word)
            if removesStopWords && Self.stopWords.contains(word) { return nil }
            return stemmer == .porter ? PorterStemmer.stem(word) : word
        }
    }

    /// How often each word occurs, in the order in which they come first.
    public func counts(_ text: String) -> [(term: String, weight: Float)] {
        var (order, counts): ([String], [String: Float]) = ([], [:])
        for word in words(text) {
            if counts[word] == nil { order.append(word) }
            counts[word, default: 0] += 1
        }
        return order.map { ($0, counts[$0]!) }
    }
}

/// English words cut down to stems.
///
/// Martin Porter, "An algorithm for suffix stripping", 1980, with the author's two later changes (`bli` and `logi`).
public enum PorterStemmer {
    /// The stem of a word in lower case; one with other than the letters a to z, or of two letters, is its own.
    public static func stem(_ word: String) -> String {
        var stemmer = Stemming(letters: Array(word.utf8))
        guard word.utf8.count > 2, word.utf8.allSatisfy({ (97...122).contains($0) }) else { return word }
        stemmer.run()
        return String(decoding: stemmer.letters, as: UTF8.self)
    }

    private struct Stemming {
        var letters: [UInt8]

        private func isConsonant(_ i: Int) -> Bool {
            switch letters[i] {
            case UInt8(ascii: "a"), UInt8(ascii: "e"), UInt8(ascii: "i"), UInt8(ascii: "o"), UInt8(ascii: "u"): false
            case UInt8(ascii: "y"): i == 0 || !isConsonant(i - 1)
            default: true
            }
        }

        /// How often a vowel is followed by a consonant within the first `end` letters.
        private func measure(_ end: Int) -> Int {
            var (count, wasVowel) = (0, false)
            for i in 0..<end {
                let isVowel = !isConsonant(i)
                if wasVowel && !isVowel { count += 1 }
                wasVowel = isVowel
            }
            return count
        }

        private func hasVowel(_ end: Int) -> Bool { (0..<end).contains { !isConsonant($0) } }

        private func endsInDouble(_ end: Int) -> Bool {
            end >= 2 && letters[end - 1] == letters[end - 2] && isConsonant(end - 1)
        }

        /// Consonant, vowel, consonant other than w, x and y.
        private func endsInShort(_ end: Int) -> Bool {
            end >= 3 && isConsonant(end - 3) && !isConsonant(end - 2) && isConsonant(end - 1)
                && !"wxy".utf8.contains(letters[end - 1])
        }

        /// Where a suffix begins, if the word has it.
        private func start(_ suffix: String) -> Int? {
            let count = suffix.utf8.count
            guard letters.count >= count, letters.suffix(count).elementsEqual(suffix.utf8) else { return nil }
            return letters.count - count
        }

        private mutating func replace(from start: Int, _ replacement: String) {
            letters.replaceSubrange(start..., with: replacement.utf8)
        }

        /// Replaces the first suffix that the word has, if what is before it measures more than `bar`.
        private mutating func replaceFirst(_ rules: [(String, String)], above bar: Int) {
            for (suffix, replacement) in rules {
                guard let start = start(suffix) else { continue }
                if measure(start) > bar { replace(from: start, replacement) }
                return
            }
        }

        mutating func run() {
            plurals()
            pastAndProgressive()
            if let start = start("y"), hasVowel(start) { letters[start] = UInt8(ascii: "i") }
            replaceFirst(
                [
                    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"),
                    ("bli", "ble"), ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"),
                    ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"), ("iveness", "ive"),
                    ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"),
                    ("logi", "log"),
                ], above: 0)
            replaceFirst(
                [
                    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""),
                    ("ness", ""),
                ], above: 0)
            residues()
            if let start = start("e") {
                let m = measure(start)
                if m > 1 || (m == 1 && !endsInShort(start)) { letters.removeLast() }
            }
            if start("ll") != nil, measure(letters.count - 1) > 1 { letters.removeLast() }
        }

        private mutating func plurals() {
            if let start = start("sses") {
                replace(from: start, "ss")
            } else if let start = start("ies") {
                replace(from: start, "i")
            } else if start("ss") == nil, start("s") != nil {
                letters.removeLast()
            }
        }

        private mutating func pastAndProgressive() {
            if let start = start("eed") {
                if measure(start) > 0 { letters.removeLast() }
                return
            }
            guard let start = [start("ed"), start("ing")].compactMap({ $0 }).first, hasVowel(start) else { return }
            letters.removeSubrange(start...)
            if ["at", "bl", "iz"].contains(where: { self.start($0) != nil }) {
                letters.append(UInt8(ascii: "e"))
            } else if endsInDouble(letters.count), !"lsz".utf8.contains(letters[letters.count - 1]) {
                letters.removeLast()
            } else if measure(letters.count) == 1, endsInShort(letters.count) {
                letters.append(UInt8(ascii: "e"))
            }
        }

        private mutating func residues() {
            let suffixes = [
                "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
                "ate",
                "iti", "ous", "ive", "ize",
            ]
            for suffix in suffixes {
                guard let start = start(suffix) else { continue }
                if suffix == "ion", start == 0 || !"st".utf8.contains(letters[start - 1]) { return }
                if measure(start) > 1 { letters.removeSubrange(start...) }
                return
            }
        }
    }
}
