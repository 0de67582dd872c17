import LacunaTensor

/// Bytes of a text file, whatever wrote it, as UTF-8.
public enum TextEncoding: String, Sendable, CaseIterable {
    /// With a byte order mark or without.
    case utf8 = "UTF-8"
    /// In either byte order, with a mark or without.
    case utf16 = "UTF-16"
    /// What programs for Windows in Western Europe write where they do not write Unicode; contains Latin-1.
    case windows1252 = "Windows-1252"

    /// Takes away a byte order mark, and turns UTF-16 (which such a mark or zero bytes give away) and Windows-1252 into UTF-8.
    ///
    /// - Returns: The text and what it was written in. Bytes that are not UTF-8 count as Windows-1252, where all but five of
    ///   them mean something.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for bytes that are text in none of these.
    public static func decoded(_ bytes: [UInt8], file: String) throws -> (bytes: [UInt8], encoding: TextEncoding) {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { return try (checked(Array(bytes[3...]), file: file), .utf8) }
        if bytes.starts(with: [0xFF, 0xFE]) { return try (utf16(bytes, from: 2, isBig: false, file: file), .utf16) }
        if bytes.starts(with: [0xFE, 0xFF]) { return try (utf16(bytes, from: 2, isBig: true, file: file), .utf16) }
        if bytes.count >= 4, bytes[0] != 0, bytes[1] == 0, bytes[2] != 0, bytes[3] == 0 {
            return try (utf16(bytes, from: 0, isBig: false, file: file), .utf16)
        }
        if let zero = bytes.firstIndex(of: 0) {
            throw LacunaError.malformed(file: file, location: "byte \(zero)", reason: "is 0: this is not a text file")
        }
        guard bytes.withUnsafeBytes({ UTF8Validation.firstInvalidByte($0) }) != nil else { return (bytes, .utf8) }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + bytes.count / 8)
        for (offset, byte) in bytes.enumerated() {
            guard byte >= 0x80 else {
                result.append(byte)
                continue
            }
            let scalar = byte >= 0xA0 ? UInt32(byte) : Self.upper[Int(byte) - 0x80]
            guard scalar != 0, let scalar = Unicode.Scalar(scalar) else {
                throw LacunaError.malformed(
                    file: file, location: "byte \(offset)", reason: "is text neither in UTF-8 nor in Windows-1252")
            }
            result += Array(String(Character(scalar)).utf8)
        }
        return (result, .windows1252)
    }

    private static func checked(_ bytes: [UInt8], file: String) throws -> [UInt8] {
        if let offset = bytes.withUnsafeBytes({ UTF8Validation.firstInvalidByte($0) }) {
            throw LacunaError.malformed(
                file: file, location: "byte \(offset + 3)",
                reason: "is not UTF-8 text, as the file's first bytes promise")
        }
        return bytes
    }

    private static func utf16(_ bytes: [UInt8], from start: Int, isBig: Bool, file: String) throws -> [UInt8] {
        guard (bytes.count - start) % 2 == 0 else {
            throw LacunaError.malformed(
                file: file, location: "byte \(bytes.count - 1)", reason: "is half of a UTF-16 character")
        }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count / 2)
        var units: [UInt16] = []
        units.reserveCapacity((bytes.count - start) / 2)
        for k in stride(from: start, to: bytes.count, by: 2) {
            let (a, b) = (UInt16(bytes[k]), UInt16(bytes[k + 1]))
            units.append(isBig ? a << 8 | b : b << 8 | a)
        }
        var index = 0
        while index < units.count {
            var scalar = UInt32(units[index])
            if units[index] & 0xFC00 == 0xD800, index + 1 < units.count, units[index + 1] & 0xFC00 == 0xDC00 {
                scalar = 0x10000 + (scalar & 0x3FF) << 10 + UInt32(units[index + 1] & 0x3FF)
                index += 1
            }
            guard scalar != 0, let character = Unicode.Scalar(scalar) else {
                throw LacunaError.malformed(
                    file: file, location: "byte \(start + 2 * index)", reason: "is not UTF-16 text")
            }
            result += Array(String(Character(character)).utf8)
            index += 1
        }
        return result
    }

    /// Bytes 80 to 9F; 0 for the five without a meaning.
    private static let upper: [UInt32] = [
        0x20AC, 0, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017D, 0,
        0, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0, 0x017E,
        0x0178,
    ]
}
