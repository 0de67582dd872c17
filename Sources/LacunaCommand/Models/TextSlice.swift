import LacunaIO
import LacunaTensor

/// The beginning of a text file, as tokens.
struct TextSlice {
    let file: String
    let tokens: [Int]
    /// Tokens of the whole file.
    let total: Int

    /// - Parameter limit: How many tokens are taken from the beginning; nil for all.
    init(_ file: String, limit: Int?, tokenizer: Tokenizer) throws {
        self.file = file
        // A text from outside does not get to write special tokens.
        let all = tokenizer.encode(try FileSystem.readText(file), recognizesSpecials: false)
        guard !all.isEmpty else { throw LacunaError.malformed(file: file, location: "text", reason: "is empty") }
        tokens = Array(all.prefix(limit ?? all.count))
        total = all.count
    }

    var description: String {
        tokens.count == total
            ? "\(file), all \(Quantities.grouped(total)) tokens"
            : "\(file), first \(Quantities.grouped(tokens.count)) of \(Quantities.grouped(total)) tokens"
    }
}
