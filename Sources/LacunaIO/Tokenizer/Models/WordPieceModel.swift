/// WordPiece (Schuster and Nakajima, "Japanese and Korean Voice Search", 2012), as BERT uses it: of a word the longest
/// beginning that is a token, then of the rest the longest that continues a word, and so on; a word that cannot be spelled
/// so is one unknown token.
struct WordPieceModel: TokenizerModel {
    private let vocabulary: Vocabulary
    /// Tokens that continue words, without the prefix that marks them.
    private let continuations: Vocabulary
    private let unknown: Int32
    /// Longer words are unknown.
    private let maximumCharacters: Int

    init(_ vocabulary: Vocabulary, continuationPrefix: String, unknown: Int, maximumCharacters: Int) throws {
        self.vocabulary = vocabulary
        self.unknown = Int32(unknown)
        self.maximumCharacters = maximumCharacters
        var continuations = Vocabulary(capacity: vocabulary.count)
        let prefix = Array(continuationPrefix.utf8)
        for id in 0..<vocabulary.count {
            guard let spelling = vocabulary.spelling(id), spelling.starts(with: prefix) else { continue }
            let rest = String(decoding: spelling.dropFirst(prefix.count), as: UTF8.self)
            if !rest.isEmpty { try continuations.enter(rest, id: id, limit: vocabulary.count) }
        }
        self.continuations = continuations
    }

    func makeWorkspace() {}

    /// - Complexity: O(n · m) for a word of n bytes and a longest token of m.
    func encode(_ word: UnsafeBufferPointer<UInt8>, _ workspace: inout Void, into output: inout [Int]) {
        let first = output.count
        let characters = word.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
        var start = characters > maximumCharacters ? -1 : 0
        while start >= 0, start < word.count {
            let tokens = start == 0 ? vocabulary : continuations
            var end = min(word.count, start + tokens.longest)
            while end < word.count, word[end] & 0xC0 == 0x80 { end -= 1 }
            var token: Int32?
            while end > start {
                token = tokens.id(of: UnsafeBufferPointer(rebasing: word[start..<end]))
                if token != nil { break }
                end = UTF8Text.previous(word, before: end)
            }
            if let token { output.append(Int(token)) }
            start = token == nil ? -1 : end
        }
        if start < 0 {
            output.removeLast(output.count - first)
            output.append(Int(unknown))
        }
    }
}
