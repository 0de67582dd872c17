/// Whether bytes so far can become a JSON object (RFC 8259), byte by byte: a pushdown automaton in a few words.
///
/// Strings are well-formed UTF-8. Of what the grammar leaves open, white space goes on for at most ``mostSpace`` bytes, so that a
/// model cannot write it for ever, and nesting is at most ``mostDepth``.
struct JSONPrefix: Sendable, Equatable {
    /// Bytes of white space in a row, at most.
    static let mostSpace = 24
    /// Objects and arrays within each other, at most.
    static let mostDepth = 32

    private enum State: UInt8 {
        case start, end
        /// What has to come: a value, a value or the end of an array, a key or the end of an object, a key, a colon, what follows a value.
        case value, valueOrEnd, keyOrEnd, key, colon, afterValue
        case string, escape, hex1, hex2, hex3, hex4
        /// Bytes of a character that have to come; the first of them may be narrower.
        case tail1, tail2, tail3
        case minus, zero, digits, point, fraction, exponent, exponentSign, exponentDigits
        case word
    }
    private var state = State.start
    /// One bit a level: whether it is an object.
    private var objects: UInt32 = 0
    private var depth: UInt8 = 0
    private var space: UInt8 = 0
    private var isKey = false
    /// The bounds of the next byte of a character.
    private var low: UInt8 = 0x80, high: UInt8 = 0xBF
    /// Of a word, which one and how many bytes of it are there.
    private var word: UInt8 = 0, place: UInt8 = 0
    /// Of an escaped character: its bits so far, and whether it is the second half of a pair.
    private var unit: UInt16 = 0, awaitsLow = false

    private static let words: [[UInt8]] = [Array("true".utf8), Array("false".utf8), Array("null".utf8)]

    /// Whether the object is complete. Nothing but white space may follow.
    var isComplete: Bool { state == .end }

    /// Takes the next byte.
    ///
    /// - Returns: Whether it can be; if not, the prefix is as it was no more.
    mutating func accept(_ byte: UInt8) -> Bool {
        switch state {
        case .string, .escape, .hex1, .hex2, .hex3, .hex4, .tail1, .tail2, .tail3: return acceptInString(byte)
        case .word:
            guard byte == Self.words[Int(word)][Int(place)] else { return false }
            place += 1
            if Int(place) == Self.words[Int(word)].count { state = .afterValue }
            return true
        case .minus, .zero, .digits, .point, .fraction, .exponent, .exponentSign, .exponentDigits:
            if let next = nextOfNumber(byte) {
                state = next
                return true
            }
            guard [.zero, .digits, .fraction, .exponentDigits].contains(state) else { return false }
            state = .afterValue
        default: break
        }
        if [0x20, 0x09, 0x0A, 0x0D].contains(byte) {
            space += 1
            return space <= Self.mostSpace
        }
        space = 0
        return acceptBetween(byte)
    }

    private mutating func acceptBetween(_ byte: UInt8) -> Bool {
        switch (state, byte) {
        case (.start, UInt8(ascii: "{")): return open(isObject: true)
        case (.keyOrEnd, UInt8(ascii: "}")), (.valueOrEnd, UInt8(ascii: "]")): return close()
        case (.keyOrEnd, UInt8(ascii: "\"")), (.key, UInt8(ascii: "\"")): (state, isKey) = (.string, true)
        case (.colon, UInt8(ascii: ":")): state = .value
        case (.afterValue, UInt8(ascii: ",")): state = isInObject ? .key : .value
        case (.afterValue, UInt8(ascii: "}")): return isInObject && close()
        case (.afterValue, UInt8(ascii: "]")): return !isInObject && close()
        case (.value, _), (.valueOrEnd, _): return begin(byte)
        default: return false
        }
        return true
    }

    private mutating func begin(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "{"): return open(isObject: true)
        case UInt8(ascii: "["): return open(isObject: false)
        case UInt8(ascii: "\""): (state, isKey) = (.string, false)
        case UInt8(ascii: "-"): state = .minus
        case UInt8(ascii: "0"): state = .zero
        case UInt8(ascii: "1")...UInt8(ascii: "9"): state = .digits
        case UInt8(ascii: "t"): (state, word, place) = (.word, 0, 1)
        case UInt8(ascii: "f"): (state, word, place) = (.word, 1, 1)
        case UInt8(ascii: "n"): (state, word, place) = (.word, 2, 1)
        default: return false
        }
        return true
    }

    private var isInObject: Bool { objects >> (UInt32(depth) - 1) & 1 == 1 }

    private mutating func open(isObject: Bool) -> Bool {
        guard Int(depth) < Self.mostDepth else { return false }
        let bit = UInt32(1) << UInt32(depth)
        objects = isObject ? objects | bit : objects & ~bit
        depth += 1
        state = isObject ? .keyOrEnd : .valueOrEnd
        return true
    }

    private mutating func close() -> Bool {
        depth -= 1
        state = depth == 0 ? .end : .afterValue
        return true
    }

    /// What a byte makes of a number; nil if it is no part of it.
    private func nextOfNumber(_ byte: UInt8) -> State? {
        let isDigit = (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        let isExponent = byte | 0x20 == UInt8(ascii: "e")
        switch state {
        case .minus: return byte == UInt8(ascii: "0") ? .zero : isDigit ? .digits : nil
        case .zero: return byte == UInt8(ascii: ".") ? .point : isExponent ? .exponent : nil
        case .digits: return isDigit ? .digits : byte == UInt8(ascii: ".") ? .point : isExponent ? .exponent : nil
        case .point: return isDigit ? .fraction : nil
        case .fraction: return isDigit ? .fraction : isExponent ? .exponent : nil
        case .exponent:
            let isSign = byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-")
            return isDigit ? .exponentDigits : isSign ? .exponentSign : nil
        case .exponentSign, .exponentDigits: return isDigit ? .exponentDigits : nil
        default: return nil
        }
    }

    private mutating func acceptInString(_ byte: UInt8) -> Bool {
        switch state {
        case .tail1, .tail2, .tail3:
            guard (low...high).contains(byte) else { return false }
            (low, high) = (0x80, 0xBF)
            state = state == .tail3 ? .tail2 : state == .tail2 ? .tail1 : .string
        case .escape:
            if awaitsLow && byte != UInt8(ascii: "u") { return false }
            switch byte {
            case UInt8(ascii: "u"): (state, unit) = (.hex1, 0)
            case _ where Array("\"\\/bfnrt".utf8).contains(byte): state = .string
            default: return false
            }
        case .hex1, .hex2, .hex3, .hex4: return acceptHexadecimal(byte)
        default:
            // The second half of a pair has to follow at once.
            if awaitsLow && byte != UInt8(ascii: "\\") { return false }
            switch byte {
            case UInt8(ascii: "\""): state = isKey ? .colon : .afterValue
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
        default: state = .string
        }
        return true
    }
}
