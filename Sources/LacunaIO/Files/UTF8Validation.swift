/// Strict UTF-8 checks over bytes, without making strings.
enum UTF8Validation {
    /// Offset of the first byte that does not belong to well-formed UTF-8 (The Unicode Standard, table 3-7), or nil.
    static func firstInvalidByte(_ bytes: UnsafeRawBufferPointer) -> Int? {
        var i = 0
        let count = bytes.count
        while i < count {
            if i + 8 <= count,
                bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
            {
                i += 8
                continue
            }
            let length = sequenceLength(bytes, at: i)
            if length <= 0 { return i }
            i += length
        }
        return nil
    }

    /// Length of the well-formed sequence at `i`; 0 if it is ill-formed; negative if it is so far right but cut off by
    /// the end of the bytes.
    static func sequenceLength(_ bytes: UnsafeRawBufferPointer, at i: Int) -> Int {
        let lead = bytes[i]
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch lead {
        case 0x00...0x7F: return 1
        case 0xC2...0xDF: length = 2
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: length = 3
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        case 0xF1...0xF3: length = 4
        default: return 0
        }
        for k in 1..<length {
            guard i + k < bytes.count else { return -1 }
            if !(k == 1 ? second : 0x80...0xBF).contains(bytes[i + k]) { return 0 }
        }
        return length
    }
}
