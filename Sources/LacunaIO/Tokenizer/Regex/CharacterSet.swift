/// A set of characters, as a class of a regular expression describes it.
struct CharacterSet: Sendable, Equatable {
    indirect enum Expression: Sendable, Equatable {
        case ranges([ClosedRange<UInt32>])
        /// General categories, as bits of ``UnicodeClasses``.
        case categories(UInt32)
        case whitespace
        case word
        case not(Expression)
        case union([Expression])
        case intersection([Expression])

        func contains(_ scalar: Unicode.Scalar) -> Bool {
            switch self {
            case .ranges(let ranges): ranges.contains { $0.contains(scalar.value) }
            case .categories(let mask): mask >> UInt32(UnicodeClasses.category(scalar)) & 1 == 1
            case .whitespace: UnicodeClasses.isWhitespace(scalar)
            case .word: UnicodeClasses.isExpressionWord(scalar)
            case .not(let other): !other.contains(scalar)
            case .union(let members): members.contains { $0.contains(scalar) }
            case .intersection(let members): members.allSatisfy { $0.contains(scalar) }
            }
        }
    }

    let expression: Expression
    /// Bits of the ASCII characters.
    private let low: UInt64
    private let high: UInt64
    /// What most sets are beyond ASCII: categories, space, a few ranges, or all but these.
    private let isPlain: Bool
    private let isInverted: Bool
    private let categories: UInt32
    private let hasWhitespace: Bool
    private let ranges: [ClosedRange<UInt32>]

    init(_ expression: Expression) {
        self.expression = expression
        var bits: (low: UInt64, high: UInt64) = (0, 0)
        for value in UInt32(0)..<128 where expression.contains(Unicode.Scalar(value)!) {
            if value < 64 { bits.low |= 1 << UInt64(value) } else { bits.high |= 1 << UInt64(value - 64) }
        }
        (low, high) = bits

        var body = expression
        var inverted = false
        while case .not(let inner) = body {
            body = inner
            inverted.toggle()
        }
        isInverted = inverted
        var (mask, space, found, plain) = (UInt32(0), false, [ClosedRange<UInt32>](), true)
        let members = if case .union(let members) = body { members } else { [body] }
        for member in members {
            switch member {
            case .categories(let more): mask |= more
            case .whitespace: space = true
            case .ranges(let more): found += more.filter { $0.upperBound >= 0x80 }
            default: plain = false
            }
        }
        (categories, hasWhitespace, ranges, isPlain) = (mask, space, found, plain)
    }

    @inline(__always)
    func contains(ascii byte: UInt8) -> Bool {
        byte < 64 ? low >> UInt64(byte) & 1 == 1 : high >> UInt64(byte - 64) & 1 == 1
    }

    @inline(__always)
    func contains(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.value < 0x80 { return contains(ascii: UInt8(scalar.value)) }
        guard isPlain else { return expression.contains(scalar) }
        var isIn = categories != 0 && categories >> UInt32(UnicodeClasses.category(scalar)) & 1 == 1
        if hasWhitespace && !isIn { isIn = UnicodeClasses.isWhitespace(scalar) }
        if !isIn && !ranges.isEmpty { isIn = ranges.contains { $0.contains(scalar.value) } }
        return isIn != isInverted
    }

    /// The one byte that the set consists of, if it is an ASCII character alone.
    var onlyByte: UInt8? {
        guard case .ranges(let ranges) = expression, ranges.count == 1, ranges[0].count == 1,
            ranges[0].lowerBound < 0x80
        else { return nil }
        return UInt8(ranges[0].lowerBound)
    }
}
