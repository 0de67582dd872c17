/// What tokenizers ask about characters.
///
/// Unicode grows, and a model knows the edition that its tokenizer was built with: a character that was no letter then
/// was cut off as something else. The functions here take the edition of the library that published tokenizers are made
/// and checked with (Hugging Face tokenizers 0.23, compared over all of Unicode by `Scripts/fixtures_tokenizers.py`),
/// and treat later characters as that does, as unassigned.
enum UnicodeClasses {
    /// The edition that regular expressions know.
    static let expressionEdition = 16

    /// General categories as numbers, and sets of them as bits.
    static func bit(_ category: Unicode.GeneralCategory) -> UInt32 { 1 << UInt32(code(category)) }

    static let unassigned: UInt8 = 29

    // The order of letters, marks, numbers and so on makes `\p{L}` a run of bits, which only helps to read a mask.
    private static func code(_ category: Unicode.GeneralCategory) -> UInt8 {
        switch category {
        case .uppercaseLetter: 0
        case .lowercaseLetter: 1
        case .titlecaseLetter: 2
        case .modifierLetter: 3
        case .otherLetter: 4
        case .nonspacingMark: 5
        case .spacingMark: 6
        case .enclosingMark: 7
        case .decimalNumber: 8
        case .letterNumber: 9
        case .otherNumber: 10
        case .connectorPunctuation: 11
        case .dashPunctuation: 12
        case .openPunctuation: 13
        case .closePunctuation: 14
        case .initialPunctuation: 15
        case .finalPunctuation: 16
        case .otherPunctuation: 17
        case .mathSymbol: 18
        case .currencySymbol: 19
        case .modifierSymbol: 20
        case .otherSymbol: 21
        case .spaceSeparator: 22
        case .lineSeparator: 23
        case .paragraphSeparator: 24
        case .control: 25
        case .format: 26
        case .surrogate: 27
        case .privateUse: 28
        case .unassigned: unassigned
        @unknown default: unassigned
        }
    }

    static let letters: UInt32 = 0x1F
    static let marks: UInt32 = 0xE0
    static let numbers: UInt32 = 0x700
    static let punctuation: UInt32 = 0x3F800
    static let symbols: UInt32 = 0x3C0000
    static let separators: UInt32 = 0x1C0_0000
    static let others: UInt32 = 0x3E00_0000

    private static func lookUp(_ scalar: Unicode.Scalar) -> UInt8 {
        isAssigned(scalar, in: expressionEdition) ? code(scalar.properties.generalCategory) : unassigned
    }

    /// Codes of the first 65,536 scalars: most text asks for nothing else, and asks for every character.
    private static let basic: [UInt8] = (0..<0x10000).map { (value: UInt32) in
        Unicode.Scalar(value).map(lookUp) ?? code(.surrogate)
    }

    /// The number of a character's general category in the edition of regular expressions.
    @inline(__always)
    static func category(_ scalar: Unicode.Scalar) -> UInt8 {
        scalar.value < 0x10000 ? basic[Int(scalar.value)] : lookUp(scalar)
    }

    static func isAssigned(_ scalar: Unicode.Scalar, in major: Int, _ minor: Int = 0) -> Bool {
        guard let age = scalar.properties.age else { return false }
        return age.major < major || age.major == major && age.minor <= minor
    }

    private static func belongs(_ scalar: Unicode.Scalar, _ mask: UInt32, edition: Int) -> Bool {
        isAssigned(scalar, in: edition) && mask >> UInt32(code(scalar.properties.generalCategory)) & 1 == 1
    }

    /// White_Space, which has not changed for long.
    @inline(__always)
    static func isWhitespace(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09...0x0D, 0x20: true
        case 0..<0x85: false
        case 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    /// `\w` where added tokens end at words: letters of all kinds, marks, decimal digits, connectors, joiners.
    static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.value < 0x80 {
            return scalar.properties.isASCIIHexDigit || scalar == "_"
                || scalar.value | 0x20 >= 0x61 && scalar.value | 0x20 <= 0x7A
        }
        guard isAssigned(scalar, in: expressionEdition) else { return false }
        let properties = scalar.properties
        return properties.isAlphabetic || properties.isJoinControl
            || (marks | bit(.decimalNumber) | bit(.connectorPunctuation))
                >> UInt32(code(properties.generalCategory)) & 1 == 1
    }

    /// `\w` in regular expressions, which also takes the Latin-1 superscripts and fractions for words, and no joiners.
    static func isExpressionWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE: true
        default: isWord(scalar) && !(scalar.properties.isJoinControl)
        }
    }

    /// Number characters of all kinds.
    static func isNumeric(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x80
            ? scalar.value >= 0x30 && scalar.value <= 0x39
            : numbers >> UInt32(code(scalar.properties.generalCategory)) & 1 == 1
    }

    /// Punctuation as BERT's rules see it: ASCII symbols count, and characters since Unicode 8 do not.
    static func isBertPunctuation(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: true
        case 0..<0x80: false
        // Two that other editions have as a symbol and a mark.
        case 0x166D, 0x111C9: true
        default: belongs(scalar, punctuation, edition: 8)
        }
    }

    /// What BERT's cleaning removes: controls, formats and private characters, but neither tabs nor line breaks.
    static func isBertControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09, 0x0A, 0x0D: false
        case 0x20...0x7E: false
        default: belongs(scalar, bit(.control) | bit(.format) | bit(.privateUse), edition: 7)
        }
    }

    /// The accents that BERT's rules remove after decomposition.
    static func isBertAccent(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x300: false
        case 0x1734, 0x1171E: true
        case 0x1885, 0x1886, 0xA9BD, 0x111C9: false
        default: belongs(scalar, bit(.nonspacingMark), edition: 8)
        }
    }

    /// The marks that the normaliser StripAccents removes.
    static func isCombiningMark(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x300: false
        case 0x1CF2, 0x1CF3: true
        case 0x111C9: false
        default: belongs(scalar, marks, edition: 9)
        }
    }

    /// The ideographs around which BERT's rules put blanks.
    static func isIdeograph(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}

/// Reads well-formed UTF-8, one character at a time.
enum UTF8Text {
    /// The character at `i` and the offset of the next.
    @inline(__always)
    static func scalar(_ bytes: UnsafeBufferPointer<UInt8>, at i: Int) -> (Unicode.Scalar, next: Int) {
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

    /// Where the character before `i` begins.
    @inline(__always)
    static func previous(_ bytes: UnsafeBufferPointer<UInt8>, before i: Int) -> Int {
        var i = i - 1
        while bytes[i] & 0xC0 == 0x80 { i -= 1 }
        return i
    }

    @inline(__always)
    static func append(_ scalar: Unicode.Scalar, to bytes: inout [UInt8]) {
        if scalar.value < 0x80 { bytes.append(UInt8(scalar.value)) } else { bytes.append(contentsOf: UTF8.encode(scalar)!) }
    }

    /// Rewrites text one character at a time.
    ///
    /// - Parameter body: Appends what takes the character's place.
    static func map(_ bytes: inout [UInt8], _ body: (Unicode.Scalar, inout [UInt8]) -> Void) {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + bytes.count / 8)
        bytes.withUnsafeBufferPointer { bytes in
            var i = 0
            while i < bytes.count {
                let (scalar, next) = scalar(bytes, at: i)
                body(scalar, &result)
                i = next
            }
        }
        bytes = result
    }
}
