/// What a splitting pattern asks about a character.
enum ScalarClass: UInt8 {
    /// `\p{L}`
    case letter
    /// `\p{N}`
    case number
    /// `\s`, without the line breaks that have a class of their own
    case space
    /// `\r` or `\n`
    case lineBreak
    /// Everything else: punctuation, symbols, marks, controls, unassigned.
    case other

    var isWhitespace: Bool { self == .space || self == .lineBreak }
    var isOther: Bool { self == .other }

    init(_ scalar: Unicode.Scalar) {
        switch scalar.value {
        case 0x0A, 0x0D: self = .lineBreak
        case 0x09...0x0D, 0x20: self = .space
        case 0x30...0x39: self = .number
        case 0x41...0x5A, 0x61...0x7A: self = .letter
        case 0..<0x80: self = .other
        default: self = Self.classify(scalar.properties)
        }
    }

    private static func classify(_ properties: Unicode.Scalar.Properties) -> ScalarClass {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: .letter
        case .decimalNumber, .letterNumber, .otherNumber: .number
        default: properties.isWhitespace ? .space : .other
        }
    }
}

/// Looks at UTF-8 text (known to be well-formed) one character at a time.
struct ScalarScanner {
    let bytes: UnsafeBufferPointer<UInt8>
    /// Nothing at or beyond this offset is looked at.
    let end: Int

    /// The class of the character at `i` and the offset of the next; nil at the end.
    @inline(__always) func classify(at i: Int) -> (kind: ScalarClass, next: Int)? {
        guard i < end else { return nil }
        let (scalar, next) = scalar(at: i)
        return (ScalarClass(scalar), next)
    }

    /// The character at `i` and the offset of the next.
    @inline(__always) func scalar(at i: Int) -> (Unicode.Scalar, next: Int) {
        let lead = UInt32(bytes[i])
        if lead < 0x80 { return (Unicode.Scalar(UInt8(lead)), i + 1) }
        func trail(_ k: Int) -> UInt32 { UInt32(bytes[i + k] & 0x3F) }
        let length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
        let value =
            switch length {
            case 2: (lead & 0x1F) << 6 | trail(1)
            case 3: (lead & 0x0F) << 12 | trail(1) << 6 | trail(2)
            default: (lead & 0x07) << 18 | trail(1) << 12 | trail(2) << 6 | trail(3)
            }
        return (Unicode.Scalar(value)!, i + length)
    }
}
