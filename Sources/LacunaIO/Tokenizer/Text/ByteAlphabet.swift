/// The printable stand-ins that byte-level vocabularies use for bytes (Radford et al., "Language Models are Unsupervised
/// Multitask Learners", 2019): printable Latin-1 characters stand for themselves, the other bytes, in order, for the
/// characters from U+0100.
enum ByteAlphabet {
    /// The character of every byte.
    static let scalars: [Unicode.Scalar] = {
        var next: UInt32 = 0x100
        return (0..<256).map { (byte: UInt32) in
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return Unicode.Scalar(byte)!
            default:
                defer { next += 1 }
                return Unicode.Scalar(next)!
            }
        }
    }()

    /// The byte of every character, by scalar value; nil for characters outside the alphabet.
    private static let bytes: [UInt8?] = {
        var table = [UInt8?](repeating: nil, count: 0x180)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar.value)] = UInt8(byte) }
        return table
    }()

    static func byte(of scalar: Unicode.Scalar) -> UInt8? {
        scalar.value < bytes.count ? bytes[Int(scalar.value)] : nil
    }

    /// The bytes that a token of a vocabulary stands for; nil if it has a character outside the alphabet.
    static func bytes(of token: String) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(token.utf8.count)
        for scalar in token.unicodeScalars {
            guard let byte = byte(of: scalar) else { return nil }
            result.append(byte)
        }
        return result
    }
}

extension ByteAlphabet {
    /// Bytes in the characters that stand for them.
    static func spell(_ bytes: some Collection<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count * 2)
        for byte in bytes { UTF8Text.append(scalars[Int(byte)], to: &result) }
        return result
    }
}
