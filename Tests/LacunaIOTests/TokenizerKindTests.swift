import Foundation
import LacunaTensor
import Testing

@testable import LacunaIO

/// Every kind of tokenizer against what the `tokenizers` package does with 10,000 nasty strings
/// (Scripts/fixtures_tokenizers.py).
@Suite struct TokenizerKindTests {
    static let kinds = [
        "byte-level", "byte-level-cased", "sentencepiece", "sentencepiece-bare", "metaspace-pairs", "suffixed-pairs",
        "wordpiece", "wordpiece-cased", "unigram", "unigram-bytes",
    ]

    private static func unpacked(_ path: String) throws -> [UInt8] {
        let file = try MappedFile(path)
        return try withExtendedLifetime(file) { try Gzip.decompressed(Array(file.bytes), file: path) }
    }

    private static func number(_ bytes: [UInt8], at offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * UInt32($1)) }
    }

    private static let strings: Result<[String], any Error> = Result {
        let bytes = try unpacked(fixture("tokenizers/strings.gz"))
        var (strings, i) = ([String](), 0)
        while i < bytes.count {
            let count = Int(number(bytes, at: i))
            strings.append(String(decoding: bytes[i + 4..<i + 4 + count], as: UTF8.self))
            i += 4 + count
        }
        return strings
    }

    static func load(_ kind: String) throws -> Tokenizer {
        let scratch = try Scratch()
        return try Tokenizer(
            json: scratch.write(unpacked(fixture("tokenizers/\(kind).json.gz")), to: "tokenizer.json"))
    }

    private struct Hash {
        private var value: UInt64 = 0xCBF2_9CE4_8422_2325

        mutating func add(_ bytes: some Sequence<UInt8>) {
            for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
        }
        mutating func add(_ ids: [Int]) { for id in ids { add(littleEndian(UInt32(id))) } }
        mutating func addSized(_ bytes: [UInt8]) {
            add(littleEndian(UInt32(bytes.count)))
            add(bytes)
        }
        var folded: UInt32 { UInt32(truncatingIfNeeded: value ^ value >> 32) }
    }

    static func compare(_ tokenizer: Tokenizer, _ path: String, isUnigram: Bool) throws -> (ids: [String], rest: [String]) {
        let expected = try unpacked(path)
        let strings = try strings.get()
        #expect(strings.count == 10_000 && expected.count == 8 * strings.count)
        let specials = tokenizer.addedTokens.filter(\.isSpecial).map(\.content)
        var wrong: (ids: [String], rest: [String]) = ([], [])
        for (index, text) in strings.enumerated() {
            let ids = tokenizer.encode(text)
            var hash = Hash()
            hash.add(ids)
            if hash.folded != number(expected, at: 8 * index) {
                wrong.ids.append(text)
                continue
            }
            // Special tokens in plain text are pieces to a unigram model of the package, and words here.
            let differs = isUnigram && specials.contains { Array(text.utf8).firstRange(of: Array($0.utf8)) != nil }
            let plain = differs ? [] : tokenizer.encode(text, recognizesSpecials: false, addsBeginning: false)
            hash = Hash()
            hash.addSized(plain.flatMap { littleEndian(UInt32($0)) })
            hash.addSized(Array(tokenizer.decode(ids).utf8))
            hash.addSized(Array(tokenizer.decode(ids, skipsSpecials: true).utf8))
            if hash.folded != number(expected, at: 8 * index + 4) { wrong.rest.append(text) }
        }
        return wrong
    }

    @Test(arguments: kinds) func equalsThePackage(kind: String) throws {
        let wrong = try Self.compare(
            Self.load(kind), fixture("tokenizers/\(kind).expected.gz"), isUnigram: kind.hasPrefix("unigram"))
        #expect(wrong.ids.isEmpty, "\(wrong.ids.count): \(wrong.ids.prefix(12).map(\.debugDescription))")
        #expect(wrong.rest.isEmpty, "\(wrong.rest.count): \(wrong.rest.prefix(12).map(\.debugDescription))")
    }

    /// Any tokenizer.json, where `--check` of the script has written what to expect beside it.
    @Test func realTokenizers() throws {
        guard let list = ProcessInfo.processInfo.environment["LACUNA_TOKENIZERS"] else {
            print("skipped: LACUNA_TOKENIZERS names no tokenizer.json")
            return
        }
        for path in list.split(separator: ":").map(String.init) {
            let wrong = try Self.compare(Tokenizer(json: path), path + ".expected.gz", isUnigram: false)
            #expect(wrong.ids.isEmpty, "\(path): \(wrong.ids.count): \(wrong.ids.prefix(12).map(\.debugDescription))")
            #expect(wrong.rest.isEmpty, "\(path): \(wrong.rest.count): \(wrong.rest.prefix(12).map(\.debugDescription))")
        }
    }

    @Test(arguments: kinds) func whatIsWrittenIsReadBack(kind: String) throws {
        let scratch = try Scratch()
        let tokenizer = try Self.load(kind)
        try tokenizer.writeTokenizerJSON(to: scratch.path)
        let copy = try Tokenizer(directory: scratch.path)
        for text in try Self.strings.get().prefix(400) { #expect(copy.encode(text) == tokenizer.encode(text)) }
        #expect(copy.tokenizerJSON() == tokenizer.tokenizerJSON())
    }

    @Test(arguments: kinds) func streamedTextEqualsTheWhole(kind: String) throws {
        let tokenizer = try Self.load(kind)
        for text in try Self.strings.get().suffix(400) {
            let ids = tokenizer.encode(text)
            let whole = tokenizer.decode(ids)
            // Bytes that are no character make U+FFFD of their whole run, which a stream cannot know.
            if whole.unicodeScalars.contains("\u{FFFD}") { continue }
            var decoder = StreamingDecoder(tokenizer, skipsSpecials: false)
            let pieces = ids.map { decoder.append($0) }
            #expect((pieces.joined() + decoder.finish()).utf8.elementsEqual(whole.utf8), "\(text.debugDescription)")
        }
    }
}
