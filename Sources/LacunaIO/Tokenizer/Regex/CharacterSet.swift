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
    let summary: Summary

    /// What decides about most characters, in a few numbers that are cheap to hand around.
    struct Summary: Sendable, Equatable {
        /// Bits of the ASCII characters.
        fileprivate var low: UInt64 = 0
        fileprivate var high: UInt64 = 0
        /// What most sets are beyond ASCII: categories, space, a few ranges, or all but these.
        fileprivate var categories: UInt32 = 0
        fileprivate var hasWhitespace = false
        fileprivate var isInverted = false
        /// The rest has to be asked of the whole set.
        fileprivate var isIncomplete = false

        @inline(__always)
        func contains(ascii byte: UInt8) -> Bool {
            byte < 64 ? low >> UInt64(byte) & 1 == 1 : high >> UInt64(byte & 63) & 1 == 1
        }

        /// Nil if only the whole set knows.
        @inline(__always)
        func contains(_ scalar: Unicode.Scalar) -> Bool? {
            if scalar.value < 0x80 { return contains(ascii: UInt8(scalar.value)) }
            if isIncomplete { return nil }
            var isIn = categories != 0 && categories >> UInt32(UnicodeClasses.category(scalar)) & 1 == 1
            if hasWhitespace && !isIn { isIn = UnicodeClasses.isWhitespace(scalar) }
            return isIn != isInverted
        }
    }

    init(_ expression: Expression) {
        self.expression = expression
        var summary = Summary()
        for value in UInt32(0)..<128 where expression.contains(Unicode.Scalar(value)!) {
            if value < 64 { summary.low |= 1 << UInt64(value) } else { summary.high |= 1 << UInt64(value - 64) }
        }
        var body = expression
        while case .not(let inner) = body {
            body = inner
            summary.isInverted.toggle()
        }
        let members = if case .union(let members) = body { members } else { [body] }
        for member in members {
            switch member {
            case .categories(let more): summary.categories |= more
            case .whitespace: summary.hasWhitespace = true
            case .ranges(let more):
                if more.contains(where: { $0.upperBound >= 0x80 }) { summary.isIncomplete = true }
            default: summary.isIncomplete = true
            }
        }
        self.summary = summary
    }

    func contains(_ scalar: Unicode.Scalar) -> Bool { summary.contains(scalar) ?? expression.contains(scalar) }

    func contains(ascii byte: UInt8) -> Bool { summary.contains(ascii: byte) }

    /// The one byte that the set consists of, if it is an ASCII character alone.
    var onlyByte: UInt8? {
        guard case .ranges(let ranges) = expression, ranges.count == 1, ranges[0].count == 1,
            ranges[0].lowerBound < 0x80
        else { return nil }
        return UInt8(ranges[0].lowerBound)
    }
}
