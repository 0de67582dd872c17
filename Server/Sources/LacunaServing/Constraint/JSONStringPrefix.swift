/// The inside of a JSON string (RFC 8259) so far, behind its opening quote: well-formed UTF-8 and whole escapes.
struct JSONStringPrefix: Sendable, Equatable {
    private enum State: UInt8 {
        case plain, escape, hex1, hex2, hex3, hex4
        /// Bytes of a character that have to come; the first of them may be narrower.
        case tail1, tail2, tail3
    }
    /// What a byte is to a string.
    enum Step { case goesOn, ends, cannotBe }

    /// Characters (Unicode scalars) that have begun.
    private(set) var count = 0
    private var state = State.plain
    /// The bounds of the next byte of a character.
    private var low: UInt8 = 0x80, high: UInt8 = 0xBF
    /// Of an escaped character: its bits so far, and whether it is the second half of a pair.
    private var unit: UInt16 = 0, awaitsLow = false

    /// Whether the next byte begins a character, or ends the string.
    var isBetween: Bool { state == .plain && !awaitsLow }

    /// Takes the next byte.
    ///
    /// - Parameter most: Characters, at most.
    mutating func accept(_ byte: UInt8, most: Int) -> Step {
        switch state {
        case .plain:
            if isBetween {
                if byte == UInt8(ascii: "\"") { return .ends }
                if count >= most { return .cannotBe }
                count += 1
            }
            return begin(byte) ? .goesOn : .cannotBe
        case .tail1, .tail2, .tail3:
            guard (low...high).contains(byte) else { return .cannotBe }
            (low, high) = (0x80, 0xBF)
            state = state == .tail3 ? .tail2 : state == .tail2 ? .tail1 : .plain
        case .escape:
            if awaitsLow && byte != UInt8(ascii: "u") { return .cannotBe }
            switch byte {
            case UInt8(ascii: "u"): (state, unit) = (.hex1, 0)
            case _ where Array("\"\\/bfnrt".utf8).contains(byte): state = .plain
            default: return .cannotBe
            }
        case .hex1, .hex2, .hex3, .hex4: return acceptHexadecimal(byte) ? .goesOn : .cannotBe
        }
        return .goesOn
    }

    /// The first byte of a character.
    private mutating func begin(_ byte: UInt8) -> Bool {
        // The second half of a pair has to follow at once.
        if awaitsLow && byte != UInt8(ascii: "\\") { return false }
        switch byte {
        case UInt8(ascii: "\\"): state = .escape
        case 0x20..<0x80: break
        case 0xC2...0xDF: state = .tail1
        case 0xE0...0xEF:
            state = .tail2
            // No longer than need be, and no halves of pairs.
            if byte == 0xE0 { low = 0xA0 } else if byte == 0xED { high = 0x9F }
        case 0xF0...0xF4:
            state = .tail3
            if byte == 0xF0 { low = 0x90 } else if byte == 0xF4 { high = 0x8F }
        default: return false
        }
        return true
    }

    private mutating func acceptHexadecimal(_ byte: UInt8) -> Bool {
        let digit: UInt8
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
        default: return false
        }
        unit = unit << 4 | UInt16(digit)
        if state == .hex2 {
            // Halves of pairs begin with D8 to DB and DC to DF.
            let isHigh = (0xD8...0xDB).contains(unit)
            let isLow = (0xDC...0xDF).contains(unit)
            if awaitsLow ? !isLow : isLow { return false }
            awaitsLow = isHigh
        }
        switch state {
        case .hex1: state = .hex2
        case .hex2: state = .hex3
        case .hex3: state = .hex4
        default: state = .plain
        }
        return true
    }
}

/// A JSON number (RFC 8259) so far.
struct JSONNumberPrefix: Sendable, Equatable {
    private enum State: UInt8 { case minus, zero, digits, point, fraction, exponent, exponentSign, exponentDigits }
    private var state: State
    private let isInteger: Bool

    /// - Parameter isInteger: Whether only digits may come.
    /// - Returns: Nil for a byte that no number begins with.
    init?(_ byte: UInt8, isInteger: Bool) {
        switch byte {
        case UInt8(ascii: "-"): state = .minus
        case UInt8(ascii: "0"): state = .zero
        case UInt8(ascii: "1")...UInt8(ascii: "9"): state = .digits
        default: return nil
        }
        self.isInteger = isInteger
    }

    /// Whether it may end here.
    var isWhole: Bool { [.zero, .digits, .fraction, .exponentDigits].contains(state) }

    /// Takes the next byte.
    ///
    /// - Returns: Whether it is one of the number.
    mutating func accept(_ byte: UInt8) -> Bool {
        guard let next = next(byte) else { return false }
        state = next
        return true
    }

    private func next(_ byte: UInt8) -> State? {
        let isDigit = (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        let isExponent = !isInteger && byte | 0x20 == UInt8(ascii: "e")
        let isPoint = !isInteger && byte == UInt8(ascii: ".")
        switch state {
        case .minus: return byte == UInt8(ascii: "0") ? .zero : isDigit ? .digits : nil
        case .zero: return isPoint ? .point : isExponent ? .exponent : nil
        case .digits: return isDigit ? .digits : isPoint ? .point : isExponent ? .exponent : nil
        case .point: return isDigit ? .fraction : nil
        case .fraction: return isDigit ? .fraction : isExponent ? .exponent : nil
        case .exponent:
            let isSign = byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-")
            return isDigit ? .exponentDigits : isSign ? .exponentSign : nil
        case .exponentSign, .exponentDigits: return isDigit ? .exponentDigits : nil
        }
    }
}
