import LacunaTensor

/// A tokenizer as files describe it.
struct TokenizerDefinition: Sendable {
    /// The file, for messages.
    var file: String
    /// By id; nil for ids that nothing uses.
    var tokens: [String?] = []
    var ids: [ExactString: Int] = [:]
    /// In the order in which they were learned.
    var merges: [(left: String, right: String)] = []
    var added: [AddedToken] = []
    var preTokenizer = PreTokenizer([])
    /// Text is brought to Unicode normalisation form C first.
    var composes = false
    /// Words that are in the vocabulary are not merged but taken as they are.
    var ignoresMerges = false
    /// Takes the place of bytes that the vocabulary cannot spell.
    var unknown: Int?
    var beginning: Int?
    var ends: [Int] = []
    var addsBeginning = false
    var chatTemplate: String?

    init(file: String) { self.file = file }

    func failure(_ location: String, _ reason: String) -> LacunaError {
        .malformed(file: file, location: location, reason: reason)
    }

    /// Enters a token under an id. Entering the same again does nothing.
    mutating func enter(_ token: String, id: Int, limit: Int) throws {
        guard id >= 0, id < limit else { throw failure("token '\(token)'", "has the impossible id \(id)") }
        if id >= tokens.count { tokens.append(contentsOf: repeatElement(nil, count: id + 1 - tokens.count)) }
        if let other = tokens[id] {
            guard other.utf8.elementsEqual(token.utf8) else {
                throw failure("token '\(token)'", "has the same id \(id) as '\(other)'")
            }
            return
        }
        guard ids.updateValue(id, forKey: ExactString(token)) == nil else {
            throw failure("token '\(token)'", "has two ids")
        }
        tokens[id] = token
    }

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if a merge uses or makes a token that does not exist.
    func makeModel() throws -> BytePairModel {
        let byteTokens = ByteAlphabet.scalars.map { Int32(ids[ExactString(String($0))] ?? -1) }
        var table: [UInt64: BytePairModel.Merge] = [:]
        table.reserveCapacity(merges.count)
        for (rank, merge) in merges.enumerated() {
            func id(_ token: String) throws -> Int32 {
                guard let id = ids[ExactString(token)] else {
                    throw failure("merge \(rank)", "there is no token '\(token)'")
                }
                return Int32(id)
            }
            let key = BytePairModel.key(try id(merge.left), try id(merge.right))
            let result = try id(merge.left + merge.right)
            // Of a pair that is listed twice, the later rank counts, as in the tokenizers library.
            table[key] = BytePairModel.Merge(rank: Int32(rank), result: result)
        }
        var wholeWords: [[UInt8]: Int32]?
        if ignoresMerges {
            let addedIDs = Set(added.map(\.id))
            var words: [[UInt8]: Int32] = [:]
            words.reserveCapacity(tokens.count)
            for (id, token) in tokens.enumerated() where !addedIDs.contains(id) {
                if let token, let bytes = ByteAlphabet.bytes(of: token) { words[bytes] = Int32(id) }
            }
            wholeWords = words
        }
        return BytePairModel(
            byteTokens: byteTokens, merges: table, unknown: unknown.map { Int32($0) }, wholeWords: wholeWords)
    }
}
