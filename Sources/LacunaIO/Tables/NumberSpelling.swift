import LacunaTensor

/// How the numbers of a column are written.
public struct NumberSpelling: Sendable, Equatable {
    /// What separates the fraction.
    public enum Decimal: String, Sendable, CaseIterable {
        /// `3.14`
        case point
        /// `3,14`
        case comma
    }

    /// What separates the fraction.
    public var decimal: Decimal
    /// Whether digits are grouped in threes: by commas, points, apostrophes or spaces.
    public var isGrouped = false
    /// Whether numbers carry a sign of money, which is taken away.
    public var hasCurrency = false
    /// Whether numbers are per cent; they are read as fractions.
    public var isPercent = false

    /// Numbers without groups, money and per cent.
    public init(decimal: Decimal = .point) { self.decimal = decimal }

    /// What is unusual about the spelling; empty for nothing.
    public var remarks: [String] {
        (decimal == .comma ? ["decimal commas"] : []) + (isGrouped ? ["digits in groups"] : [])
            + (hasCurrency ? ["signs of money taken away"] : []) + (isPercent ? ["per cent, as fractions"] : [])
    }

    /// A number as programs write it: digits with a point, perhaps an exponent, or an infinity. NaN counts as missing.
    static func plain(_ field: UnsafeRawBufferPointer) -> Double? {
        guard let first = field.first else { return nil }
        // Most fields that are no numbers show it at once.
        guard first &- 48 < 10 || first == 0x2B || first == 0x2D || first == 0x2E || first | 0x20 == 0x69 else {
            return nil
        }
        var isSimple = true
        var (mantissa, digits, fraction, hasPoint) = (0, 0, 0, false)
        for (index, byte) in field.enumerated() {
            if byte &- 48 < 10 {
                digits += 1
                if digits <= 15 { mantissa = mantissa * 10 + Int(byte &- 48) }
                if hasPoint { fraction += 1 }
            } else if byte == 0x2E && !hasPoint {
                hasPoint = true
            } else if index > 0 || (byte != 0x2B && byte != 0x2D) {
                isSimple = false
                break
            }
        }
        // Both are exact, so their quotient is rounded once.
        if isSimple && digits > 0 && digits <= 15 {
            let value = Double(mantissa) / powers[fraction]
            return first == 0x2D ? -value : value
        }
        let word = String(decoding: field, as: UTF8.self)
        guard let value = Double(word), !value.isNaN, !word.utf8.contains(where: { $0 | 0x20 == UInt8(ascii: "x") })
        else { return nil }
        return value
    }

    private static let powers: [Double] = (0..<16).reduce(into: [1]) { powers, _ in
        powers.append((powers.last ?? 1) * 10)
    }

    private static let money: Set<Character> = ["$", "€", "£", "¥", "₹", "₩", "₽", "₣", "¢"]

    /// The number, if it is spelt this way; infinities are none.
    public func number(_ text: String) -> Double? {
        var word = Substring(text)
        func trim() {
            while let first = word.first, first.isWhitespace { word.removeFirst() }
            while let last = word.last, last.isWhitespace { word.removeLast() }
        }
        var isNegative = false
        if word.first == "(", word.last == ")", hasCurrency {
            word = word.dropFirst().dropLast()
            isNegative = true
        }
        if word.first == "-" || word.first == "−" {
            isNegative.toggle()
            word.removeFirst()
        } else if word.first == "+" {
            word.removeFirst()
        }
        if hasCurrency {
            trim()
            if let first = word.first, Self.money.contains(first) {
                word.removeFirst()
            } else if let last = word.last, Self.money.contains(last) {
                word.removeLast()
            }
            trim()
            if word.first == "-" && !isNegative {
                isNegative = true
                word.removeFirst()
            }
        }
        if isPercent {
            guard word.last == "%" else { return nil }
            word.removeLast()
            trim()
        }
        guard let first = word.first, first.isNumber || first == "." || first == "," else { return nil }
        let point: Character = decimal == .point ? "." : ","
        let other: Character = decimal == .point ? "," : "."
        let parts = word.split(separator: point, maxSplits: 1, omittingEmptySubsequences: false)
        var whole = String(parts[0])
        if isGrouped {
            // Groups of three after the first, of one kind.
            let kinds = Set(whole.filter { !$0.isNumber })
            if let kind = kinds.first {
                guard kinds.count == 1,
                    kind == other || kind == " " || kind == "'" || kind == "\u{A0}" || kind == "\u{202F}" || kind == "’"
                else { return nil }
                let groups = whole.split(separator: kind, omittingEmptySubsequences: false)
                guard (1...3).contains(groups[0].count), groups.dropFirst().allSatisfy({ $0.count == 3 }) else {
                    return nil
                }
                whole = groups.joined()
            }
        }
        let rest = parts.count > 1 ? String(parts[1]) : nil
        var plain = (whole + (rest.map { "." + $0 } ?? ""))
        guard let value = plain.withUTF8({ Self.plain(UnsafeRawBufferPointer($0)) }), value.isFinite else { return nil }
        return (isNegative ? -value : value) / (isPercent ? 100 : 1)
    }

    /// Spellings to try on a column, the usual first.
    ///
    /// - Parameters:
    ///   - decimal: What the user says; nil for what the file suggests.
    ///   - fields: Some fields of the column that are no plain numbers.
    ///   - separator: Of the file's fields. Where it is a semicolon, a comma is most likely a decimal one.
    static func candidates(_ fields: [String], decimal: Decimal?, separator: UInt8) -> [NumberSpelling] {
        let text = fields.joined()
        let hasPercent = fields.contains { $0.last == "%" }
        let hasMoney = fields.contains { $0.contains { money.contains($0) } }
        var decimals: [Decimal]
        if let decimal {
            decimals = [decimal]
        } else if text.contains(",") {
            // The last of the two kinds in a number is the decimal one.
            let both = fields.first { $0.contains(",") && $0.contains(".") }
            if let both, let comma = both.lastIndex(of: ","), let point = both.lastIndex(of: ".") {
                decimals = comma > point ? [.comma] : [.point]
            } else {
                decimals = separator == UInt8(ascii: ";") || separator == 0x09 ? [.comma, .point] : [.point, .comma]
            }
        } else {
            decimals = [.point]
        }
        return decimals.flatMap { decimal in
            [false, true].map { isGrouped in
                var spelling = NumberSpelling(decimal: decimal)
                (spelling.isGrouped, spelling.hasCurrency, spelling.isPercent) = (isGrouped, hasMoney, hasPercent)
                return spelling
            }
        }
    }
}
