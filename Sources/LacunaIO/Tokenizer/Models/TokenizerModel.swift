import LacunaTensor

/// Takes words apart into tokens: the heart of a tokenizer, as the `model` of `tokenizer.json` names it.
public protocol TokenizerModel: Sendable {
    /// Memory that encoding one word after the other needs, reused between words.
    associatedtype Workspace

    /// Memory that one thread works in.
    func makeWorkspace() -> Workspace

    /// Appends the tokens of a word of well-formed UTF-8, which is not empty.
    func encode(_ word: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace, into output: inout [Int])

    /// Appends the tokens of all pieces of a text.
    func encode(_ words: TextPieces, into output: inout [Int])
}

extension TokenizerModel {
    public func encode(_ words: TextPieces, into output: inout [Int]) { encodeEach(words, into: &output) }

    /// One piece after the other; those that occurred before are copied.
    func encodeEach(_ words: TextPieces, into output: inout [Int]) {
        var workspace = makeWorkspace()
        words.bytes.withUnsafeBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return }
            // A word that occurred before has its tokens in the output already; most words of a long text did.
            var table = ByteTable(capacity: min(words.ranges.count, 1 << 16))
            var places: [Range<Int>] = []
            for range in words.ranges {
                let word = UnsafeBufferPointer(rebasing: bytes[range])
                let (start, next) = (output.count, Int32(places.count))
                if words.ranges.count > 1, range.upperBound <= Int(UInt32.max),
                    let known = table.findOrInsert(word, at: range.lowerBound, in: base, value: next)
                {
                    for i in places[Int(known)] { output.append(output[i]) }
                } else {
                    encode(word, &workspace, into: &output)
                    places.append(start..<output.count)
                }
            }
        }
    }
}

/// The tokens of single bytes, `<0x00>` to `<0xFF>`, by which some vocabularies spell what they have no token for.
struct ByteFallback: Sendable {
    /// By byte; -1 for those that the vocabulary lacks.
    private let tokens: [Int32]

    init(_ vocabulary: Vocabulary) {
        tokens = (0..<256).map { Int32(vocabulary.id(of: Self.spelling(UInt8($0))) ?? -1) }
    }

    static func spelling(_ byte: UInt8) -> String {
        let digits = Array("0123456789ABCDEF")
        return "<0x\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])>"
    }

    /// Calls `body` with the token of every byte; false, without doing so, if the vocabulary lacks one of them.
    @inline(__always)
    func spell(_ bytes: UnsafeBufferPointer<UInt8>, _ body: (Int32) -> Void) -> Bool {
        for byte in bytes where tokens[Int(byte)] < 0 { return false }
        for byte in bytes { body(tokens[Int(byte)]) }
        return true
    }
}
