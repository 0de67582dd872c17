import LacunaTensor

/// Reads lines and words of a text file's bytes, and knows where it is.
struct TextScanner {
    let file: String
    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private(set) var line = 0

    init(_ bytes: UnsafeRawBufferPointer, file: String) {
        self.bytes = bytes
        self.file = file
    }

    /// The next line without its end; nil after the last.
    mutating func nextLine() -> UnsafeRawBufferPointer? {
        if position >= bytes.count { return nil }
        line += 1
        let begin = position
        while position < bytes.count && bytes[position] != 0x0A { position += 1 }
        var end = position
        position += 1
        if end > begin && bytes[end - 1] == 0x0D { end -= 1 }
        return UnsafeRawBufferPointer(rebasing: bytes[begin..<end])
    }

    func failure(_ reason: String) -> LacunaError {
        .malformed(file: file, location: "line \(line)", reason: reason)
    }

    /// The words of a line, one after another: what is between blanks. A line may be as long as its file, so no list is made of
    /// them.
    struct Words: Sequence, IteratorProtocol {
        private let line: UnsafeRawBufferPointer
        private var position = 0

        init(_ line: UnsafeRawBufferPointer) { self.line = line }

        mutating func next() -> Substring? {
            while position < line.count && Self.isBlank(line[position]) { position += 1 }
            let begin = position
            while position < line.count && !Self.isBlank(line[position]) { position += 1 }
            return position > begin ? Substring(decoding: line[begin..<position], as: UTF8.self) : nil
        }

        private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
    }

    /// All words of a short line.
    static func words(_ line: UnsafeRawBufferPointer) -> [Substring] { Array(Words(line)) }

    /// Text for an error message, not too long.
    static func quoted(_ text: some StringProtocol) -> String {
        text.count <= 40 ? "'\(text)'" : "'\(text.prefix(37))…'"
    }

    /// A finite decimal number, or nil. Swift would take hexadecimal ones too, which no table means.
    static func decimal(_ word: Substring) -> Double? {
        guard let value = Double(word), value.isFinite, !word.utf8.contains(where: { $0 | 0x20 == UInt8(ascii: "x") })
        else { return nil }
        return value
    }

    /// A finite number.
    func number(_ word: Substring) throws -> Double {
        guard let value = Self.decimal(word) else {
            throw failure("\(Self.quoted(word)) is not a finite number")
        }
        return value
    }

    /// The error for a line whose last word should be a number.
    func missingNumber(_ line: UnsafeRawBufferPointer) throws -> Double {
        guard let word = Words(line).dropFirst(2).first(where: { _ in true }) else {
            throw failure("is cut off: a number is missing")
        }
        throw failure("\(Self.quoted(word)) is not a finite number")
    }

    /// Reads numbers one after another from a line, without making words of it: what long files are read with.
    struct Cursor {
        private let bytes: UnsafeRawBufferPointer
        private var position = 0

        init(_ line: UnsafeRawBufferPointer) {
            bytes = line
            skipBlanks()
        }

        private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

        private mutating func skipBlanks() {
            while position < bytes.count && Self.isBlank(bytes[position]) { position += 1 }
        }

        var isAtEnd: Bool { position == bytes.count }

        /// The next word as a whole number that is not negative, or nil.
        mutating func natural() -> Int? {
            var value = 0
            let begin = position
            while position < bytes.count, bytes[position] &- 48 < 10 {
                if position - begin > 17 { return nil }
                value = value * 10 + Int(bytes[position] &- 48)
                position += 1
            }
            guard position > begin, position == bytes.count || Self.isBlank(bytes[position]) else { return nil }
            skipBlanks()
            return value
        }

        /// The next word as a finite number, rounded to nearest, or nil.
        ///
        /// A decimal of at most 19 digits, of which at most 19 after the point, is a quotient of 64-bit integers, which is rounded
        /// once; others go to the standard library.
        mutating func number() -> Double? {
            let begin = position
            var (mantissa, seen, digits, exponent) = (UInt64(0), 0, 0, 0)
            var isNegative = false
            if position < bytes.count, bytes[position] == UInt8(ascii: "-") || bytes[position] == UInt8(ascii: "+") {
                isNegative = bytes[position] == UInt8(ascii: "-")
                position += 1
            }
            var (hasPoint, isSimple) = (false, true)
            while position < bytes.count, !Self.isBlank(bytes[position]) {
                let byte = bytes[position]
                if byte &- 48 < 10 {
                    seen += 1
                    if mantissa != 0 || byte != 48 { digits += 1 }
                    if digits <= 19 { mantissa = mantissa &* 10 &+ UInt64(byte &- 48) }
                    if hasPoint { exponent -= 1 }
                } else if byte == UInt8(ascii: ".") && !hasPoint {
                    hasPoint = true
                } else {
                    isSimple = false
                }
                position += 1
            }
            let end = position
            skipBlanks()
            if isSimple && seen > 0 && digits <= 19 && exponent >= -19 {
                let value = Self.quotient(mantissa, Self.powers[-exponent])
                return isNegative ? -value : value
            }
            return TextScanner.decimal(Substring(decoding: bytes[begin..<end], as: UTF8.self))
        }

        private static let powers: [UInt64] = (0..<19).reduce(into: [1]) { powers, _ in powers.append(powers.last! * 10)
        }

        /// `a / b` rounded to nearest, ties to even; `b` is not 0.
        private static func quotient(_ a: UInt64, _ b: UInt64) -> Double {
            if a == 0 { return 0 }
            // Both with their highest bit set, so that the quotient of 128 bits by 64 has 63 or 64 bits.
            let (shiftA, shiftB) = (a.leadingZeroBitCount, b.leadingZeroBitCount)
            let (x, y) = (a << UInt64(shiftA), b << UInt64(shiftB))
            let (quotient, remainder) = y.dividingFullWidth((x >> 1, x << 63))
            let extra = 64 - quotient.leadingZeroBitCount - 53
            var kept = quotient >> UInt64(extra)
            let rest = quotient & ((1 << UInt64(extra)) - 1)
            let half = UInt64(1) << UInt64(extra - 1)
            if rest > half || (rest == half && (remainder != 0 || kept & 1 == 1)) { kept += 1 }
            return Double(sign: .plus, exponent: extra - 63 + shiftB - shiftA, significand: Double(kept))
        }
    }
}
