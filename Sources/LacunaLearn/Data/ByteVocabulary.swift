import LacunaIO

/// Text as numbers: one for each different byte of a training text, in ascending order; bytes it lacks share the last.
public struct ByteVocabulary: Sendable, Hashable {
    /// The bytes that are known, ascending; a byte's id is its place.
    public let bytes: [UInt8]
    private let ids: [Int32]

    /// The bytes of a text.
    public init(_ text: [UInt8]) {
        bytes = Set(text).sorted()
        var ids = [Int32](repeating: Int32(bytes.count), count: 256)
        for (id, byte) in bytes.enumerated() { ids[Int(byte)] = Int32(id) }
        self.ids = ids
    }

    /// Different ids, that of unknown bytes included.
    public var count: Int { bytes.count + 1 }
    /// The ids of a text, one a byte.
    public func encode(_ text: [UInt8]) -> [Int32] { text.map { ids[Int($0)] } }
    /// The text of some ids; unknown bytes become question marks.
    public func decode(_ ids: [Int32]) -> String {
        String(decoding: ids.map { $0 >= 0 && Int($0) < bytes.count ? bytes[Int($0)] : 63 }, as: UTF8.self)
    }

    /// The same as a `tokenizer.json` of byte-level pairs without a single pair, which every reader of such files
    /// understands.
    public var tokenizerJSON: JSONValue {
        var vocabulary = JSONObject()
        for (id, byte) in bytes.enumerated() { vocabulary[String(ByteAlphabet.scalars[Int(byte)])] = JSONValue(id) }
        let unknown = "<unk>"
        vocabulary[unknown] = JSONValue(bytes.count)
        return [
            "version": "1.0",
            "added_tokens": [
                [
                    "id": JSONValue(bytes.count), "content": .string(unknown), "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true,
                ]
            ],
            "normalizer": nil,
            "pre_tokenizer": [
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
            ],
            "post_processor": nil,
            "decoder": ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true],
            "model": [
                "type": "BPE", "dropout": nil, "unk_token": .string(unknown), "continuing_subword_prefix": nil,
                "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "vocab": .object(vocabulary),
                "merges": [],
            ],
        ]
    }
}
