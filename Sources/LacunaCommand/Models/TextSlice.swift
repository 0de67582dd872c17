import LacunaIO
import LacunaTensor

/// The beginning of a text, as tokens.
struct TextSlice {
    let file: String
    let tokens: [Int]
    /// Tokens of the whole text.
    let total: Int
    /// Bytes of the text that the tokens stand for.
    let bytes: Int

    /// - Parameters:
    ///   - limit: How many tokens are taken from the beginning; nil for all.
    ///   - specials: Whether a text from outside gets to write special tokens.
    init(_ file: String, limit: Int?, tokenizer: Tokenizer, specials: Bool = false) throws {
        try self.init(
            text: FileSystem.readText(file), of: file, limit: limit, tokenizer: tokenizer, specials: specials)
    }

    init(text: String, of file: String, limit: Int?, tokenizer: Tokenizer, specials: Bool = false) throws {
        self.file = file
        let all = tokenizer.encode(text, recognizesSpecials: specials)
        guard !all.isEmpty else { throw LacunaError.malformed(file: file, location: "text", reason: "is empty") }
        tokens = Array(all.prefix(limit ?? all.count))
        total = all.count
        bytes = tokens.count == total ? text.utf8.count : tokenizer.decode(tokens).utf8.count
    }

    var description: String {
        tokens.count == total
            ? "\(file), all \(Quantities.grouped(total)) tokens"
            : "\(file), first \(Quantities.grouped(tokens.count)) of \(Quantities.grouped(total)) tokens"
    }
}
