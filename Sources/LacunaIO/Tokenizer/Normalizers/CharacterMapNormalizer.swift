import LacunaTensor

/// SentencePiece's normalisation by a compiled map from characters to what takes their place (Kudo and Richardson,
/// "SentencePiece: A simple and language independent subword tokenizer", arXiv 1808.06226), as models store it: a trie in
/// a double array, then the replacements, each ended by a zero.
///
/// Of every grapheme of fewer than six bytes the shortest prefix in the map decides for the whole grapheme; otherwise
/// every character is looked up by itself. That is what the `tokenizers` library does, and models are used with it.
struct CharacterMapNormalizer: Normalizer {
    private let units: [UInt32]
    private let replacements: [UInt8]

    init(_ fields: JSONFields) throws {
        guard let bytes = Base64.decode(try fields.string("precompiled_charsmap")) else {
            throw fields.failure("precompiled_charsmap", "is no base64 text")
        }
        try self.init(bytes) { fields.failure("precompiled_charsmap", $0) }
    }

    /// - Parameter failure: Makes the error for a reason.
    init(_ bytes: [UInt8], failure: (String) -> LacunaError) throws {
        func unit(_ i: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[i + $1]) << (8 * UInt32($1)) } }
        guard bytes.count >= 4, Int(unit(0)) <= bytes.count - 4, unit(0) % 4 == 0, unit(0) > 0 else {
            throw failure("has no whole trie")
        }
        let end = 4 + Int(unit(0))
        units = stride(from: 4, to: end, by: 4).map(unit)
        replacements = Array(bytes[end...])
        let invalid = replacements.withUnsafeBytes { UTF8Validation.firstInvalidByte($0) }
        guard invalid == nil else { throw failure("has replacements that are no UTF-8") }
    }

    func normalize(_ text: inout NormalizedText) {
        // A grapheme is what Swift calls a character.
        var result: [UInt8] = []
        result.reserveCapacity(text.bytes.count + 16)
        var isFirst = true
        func append(_ replacement: ArraySlice<UInt8>) {
            if isFirst, replacement.isEmpty { text.loseStart() }
            result.append(contentsOf: replacement)
        }
        for character in String(decoding: text.bytes, as: UTF8.self) {
            let bytes = Array(character.utf8)
            if bytes.count < 6, let replacement = replacement(bytes[...]) {
                append(replacement)
            } else {
                for scalar in character.unicodeScalars {
                    let bytes = Array(UTF8.encode(scalar)!)
                    if let replacement = replacement(bytes[...]) {
                        append(replacement)
                    } else {
                        result.append(contentsOf: bytes)
                    }
                    isFirst = false
                }
            }
            isFirst = false
        }
        text.bytes = result
    }

    /// What the shortest prefix of `key` in the map maps to.
    private func replacement(_ key: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        func offset(_ unit: UInt32) -> Int { Int((unit >> 10) << ((unit & 1 << 9) >> 6)) }
        var position = offset(units[0])
        for byte in key {
            if byte == 0 { return nil }
            position ^= Int(byte)
            guard position < units.count else { return nil }
            let unit = units[position]
            // The label, with the bit that marks a value.
            guard unit & 0x8000_00FF == UInt32(byte) else { return nil }
            position ^= offset(unit)
            guard unit >> 8 & 1 == 1 else { continue }
            guard position < units.count else { return nil }
            let start = Int(units[position] & 0x7FFF_FFFF)
            guard start < replacements.count else { return nil }
            let end = replacements[start...].firstIndex(of: 0) ?? replacements.count
            return replacements[start..<end]
        }
        return nil
    }
}

/// Base64 (RFC 4648) with padding, read whole.
enum Base64 {
    static func decode(_ text: String) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count / 4 * 3)
        var (bits, count, padding) = (UInt32(0), 0, 0)
        for byte in text.utf8 {
            let value: UInt32
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(byte) - 65
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(byte) - 71
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(byte) + 4
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case UInt8(ascii: "="):
                padding += 1
                continue
            default: return nil
            }
            guard padding == 0 else { return nil }
            bits = bits << 6 | value
            count += 1
            if count % 4 == 0 { result += [UInt8(bits >> 16 & 0xFF), UInt8(bits >> 8 & 0xFF), UInt8(bits & 0xFF)] }
        }
        switch (count % 4, padding) {
        case (0, 0): break
        case (2, 2): result.append(UInt8(bits >> 4 & 0xFF))
        case (3, 1): result += [UInt8(bits >> 10 & 0xFF), UInt8(bits >> 2 & 0xFF)]
        default: return nil
        }
        return result
    }

    static func encode(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << (8 * UInt32(3 - group.count))
            for i in 0..<4 {
                result.append(i <= group.count ? alphabet[Int(bits >> (18 - 6 * UInt32(i)) & 63)] : UInt8(ascii: "="))
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
