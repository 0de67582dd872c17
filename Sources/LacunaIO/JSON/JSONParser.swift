import LacunaTensor

extension JSONValue {
    /// Parses a whole document (RFC 8259). Keys that occur twice in an object are an error, and so are values that would take
    /// more than eight times the memory of the text (and 64 MiB): millions of empty lists, or of lists of one digit.
    ///
    /// - Parameters:
    ///   - file: The name for error messages.
    ///   - depthLimit: How deep arrays and objects may be nested.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` with byte offset and line.
    public init(parsing bytes: UnsafeRawBufferPointer, file: String, depthLimit: Int = 128) throws {
        var parser = JSONParser(bytes: bytes, file: file, depthLimit: depthLimit)
        self = try parser.parseDocument()
    }

    /// The value that a text describes. Throws `LacunaError.malformed`, with the line, if it describes none; `file` is
    /// for errors.
    public init(parsing text: String, file: String = "JSON text") throws {
        var text = text
        self = try text.withUTF8 { try JSONValue(parsing: UnsafeRawBufferPointer($0), file: file) }
    }

    /// Reads and parses a file.
    public init(contentsOf path: String) throws {
        let file = try MappedFile(path)
        self = try withExtendedLifetime(file) { try JSONValue(parsing: file.bytes, file: path) }
    }
}

/// Recursive descent over bytes that are known to be UTF-8.
private struct JSONParser {
    let bytes: UnsafeRawBufferPointer
    let file: String
    let depthLimit: Int
    private var position = 0
    /// Bytes that the values may still take.
    private var room: Int
    /// Where long arrays and objects begin, and how many values they have, in the order of the text: room for these is made at
    /// once, since lists that grow take up to three times the bytes.
    private var long: ArraySlice<(start: Int, count: Int)> = []

    private static let freeRoom = 64 << 20
    /// What an array or a string takes beside its content: its header and the allocator's.
    private static let overhead = 48
    private static let longCount = 32

    init(bytes: UnsafeRawBufferPointer, file: String, depthLimit: Int) {
        self.bytes = bytes
        self.file = file
        self.depthLimit = depthLimit
        room = Self.freeRoom + 8 * bytes.count
        // A short document cannot take much, however it is written.
        if bytes.count > 1 << 16 { long = Self.longContainers(bytes, depthLimit: depthLimit)[...] }
    }

    /// Counts commas. What is no JSON gives numbers without a meaning.
    private static func longContainers(_ bytes: UnsafeRawBufferPointer, depthLimit: Int) -> [(start: Int, count: Int)] {
        var result: [(start: Int, count: Int)] = []
        var open: [(start: Int, commas: Int)] = []
        var i = 0
        while i < bytes.count {
            switch bytes[i] {
            case UInt8(ascii: "\""):
                i += 1
                while i < bytes.count, bytes[i] != UInt8(ascii: "\"") { i += bytes[i] == UInt8(ascii: "\\") ? 2 : 1 }
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                if open.count >= depthLimit { return [] }
                open.append((i, 0))
            case UInt8(ascii: ","):
                if !open.isEmpty { open[open.count - 1].commas += 1 }
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                guard let last = open.popLast() else { return [] }
                if last.commas >= longCount - 1 { result.append((last.start, last.commas + 1)) }
            default: break
            }
            i += 1
        }
        return result.sorted { $0.start < $1.start }
    }

    /// The number of values of the array or object that begins here, if it is long; else 0.
    private mutating func expectedCount() -> Int {
        guard let next = long.first, next.start == position else { return 0 }
        long.removeFirst()
        return next.count
    }

    private mutating func take(_ bytes: Int) throws {
        room -= bytes
        if room < 0 {
            throw failure("its values take more than 8 times the memory of the text: too many of them are too small")
        }
    }

    private func failure(_ reason: String, at offset: Int? = nil) -> LacunaError {
        let offset = min(offset ?? position, bytes.count)
        let line = bytes[..<offset].reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
        return .malformed(file: file, location: "byte \(offset), line \(line)", reason: reason)
    }

    mutating func parseDocument() throws -> JSONValue {
        if let offset = UTF8Validation.firstInvalidByte(bytes) { throw failure("invalid UTF-8", at: offset) }
        let value = try parseValue(depth: 0)
        skipWhitespace()
        guard position == bytes.count else { throw failure("text after the end of the document") }
        return value
    }

    private mutating func skipWhitespace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    /// The next byte that is not white space, without consuming it.
    private mutating func peek() throws -> UInt8 {
        skipWhitespace()
        guard position < bytes.count else { throw failure("the document ends too early") }
        return bytes[position]
    }

    private mutating func parseValue(depth: Int) throws -> JSONValue {
        switch try peek() {
        case UInt8(ascii: "{"): return .object(try parseObject(depth: depth))
        case UInt8(ascii: "["): return .array(try parseArray(depth: depth))
        case UInt8(ascii: "\""): return .string(try parseString())
        case UInt8(ascii: "t"): return try parseWord("true", .bool(true))
        case UInt8(ascii: "f"): return try parseWord("false", .bool(false))
        case UInt8(ascii: "n"): return try parseWord("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
        default: throw failure("a value is expected")
        }
    }

    private func descend(_ depth: Int) throws -> Int {
        guard depth < depthLimit else { throw failure("nested deeper than \(depthLimit) levels") }
        return depth + 1
    }

    private mutating func parseObject(depth: Int) throws -> JSONObject {
        let depth = try descend(depth)
        let expected = expectedCount()
        if expected > 0 { try take(Self.overhead + JSONObject.byteCount(members: expected)) }
        position += 1
        if try peek() == UInt8(ascii: "}") {
            position += 1
            return JSONObject()
        }
        var object = JSONObject(capacity: expected)
        while true {
            guard try peek() == UInt8(ascii: "\"") else { throw failure("a key in quotes is expected") }
            let start = position
            let key = try parseString()
            guard try peek() == UInt8(ascii: ":") else { throw failure("':' is expected") }
            position += 1
            let value = try parseValue(depth: depth)
            guard object.append(key, value) else { throw failure("key '\(key)' occurs twice", at: start) }
            switch try peek() {
            case UInt8(ascii: ","): position += 1
            case UInt8(ascii: "}"):
                position += 1
                if expected == 0 { try take(Self.overhead + JSONObject.byteCount(members: object.members.capacity)) }
                return object
            default: throw failure("',' or '}' is expected")
            }
        }
    }

    private mutating func parseArray(depth: Int) throws -> [JSONValue] {
        let depth = try descend(depth)
        let expected = expectedCount()
        if expected > 0 { try take(Self.overhead + expected * MemoryLayout<JSONValue>.stride) }
        position += 1
        var array: [JSONValue] = []
        if try peek() == UInt8(ascii: "]") {
            position += 1
            return array
        }
        array.reserveCapacity(expected)
        while true {
            array.append(try parseValue(depth: depth))
            switch try peek() {
            case UInt8(ascii: ","): position += 1
            case UInt8(ascii: "]"):
                position += 1
                if expected == 0 { try take(Self.overhead + array.capacity * MemoryLayout<JSONValue>.stride) }
                return array
            default: throw failure("',' or ']' is expected")
            }
        }
    }

    private mutating func parseWord(_ word: StaticString, _ value: JSONValue) throws -> JSONValue {
        let length = word.utf8CodeUnitCount
        guard position + length <= bytes.count,
            (0..<length).allSatisfy({ bytes[position + $0] == word.utf8Start[$0] })
        else { throw failure("a value is expected") }
        position += length
        return value
    }

    private mutating func skipDigits() -> Int {
        let start = position
        while position < bytes.count, bytes[position] &- UInt8(ascii: "0") < 10 { position += 1 }
        return position - start
    }

    private mutating func parseNumber() throws -> JSONValue {
        let start = position
        let isNegative = bytes[position] == UInt8(ascii: "-")
        if isNegative { position += 1 }
        let digitsStart = position
        let digits = skipDigits()
        guard digits > 0, digits == 1 || bytes[digitsStart] != UInt8(ascii: "0") else {
            throw failure("malformed number", at: start)
        }
        var isWhole = true
        if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
            isWhole = false
            position += 1
            guard skipDigits() > 0 else { throw failure("malformed number", at: start) }
        }
        if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
            isWhole = false
            position += 1
            if position < bytes.count, bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-") {
                position += 1
            }
            guard skipDigits() > 0 else { throw failure("malformed number", at: start) }
        }
        // A negative zero has to stay one, which no integer can.
        if isWhole, !(isNegative && bytes[digitsStart] == UInt8(ascii: "0")),
            let integer = wholeNumber(digitsStart..<position, isNegative: isNegative)
        {
            return .integer(integer)
        }
        guard let number = Double(String(decoding: bytes[start..<position], as: UTF8.self)), number.isFinite else {
            throw failure("number out of range", at: start)
        }
        return .number(number)
    }

    /// The value of a run of digits; nil where it does not fit.
    private func wholeNumber(_ range: Range<Int>, isNegative: Bool) -> Int64? {
        var value: Int64 = 0
        for i in range {
            let digit = Int64(bytes[i] - UInt8(ascii: "0"))
            let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
            // Towards the sign, because the smallest integer has no positive counterpart.
            let (next, further) =
                isNegative ? scaled.subtractingReportingOverflow(digit) : scaled.addingReportingOverflow(digit)
            if overflow || further { return nil }
            value = next
        }
        return value
    }

    private mutating func parseString() throws -> String {
        position += 1
        let start = position
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\""):
                let text = String(decoding: bytes[start..<position], as: UTF8.self)
                // Shorter ones are in the value itself.
                if position - start > 15 { try take(Self.overhead + position - start) }
                position += 1
                return text
            case UInt8(ascii: "\\"):
                return try parseEscapedString(from: start)
            case 0..<0x20: throw failure("control character in a string")
            default: position += 1
            }
        }
        throw failure("the document ends inside a string")
    }

    /// The slower way for strings with escapes; `position` is at the first backslash.
    private mutating func parseEscapedString(from start: Int) throws -> String {
        var text = Array(bytes[start..<position])
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                if text.count > 15 { try take(Self.overhead + text.count) }
                return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                position += 1
                guard position < bytes.count else { break }
                let escape = bytes[position]
                position += 1
                switch escape {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(escape)
                case UInt8(ascii: "b"): text.append(0x08)
                case UInt8(ascii: "f"): text.append(0x0C)
                case UInt8(ascii: "n"): text.append(0x0A)
                case UInt8(ascii: "r"): text.append(0x0D)
                case UInt8(ascii: "t"): text.append(0x09)
                case UInt8(ascii: "u"): text.append(contentsOf: UTF8.encode(try parseEscapedScalar())!)
                default: throw failure("unknown escape in a string", at: position - 2)
                }
            case 0..<0x20: throw failure("control character in a string")
            default:
                text.append(byte)
                position += 1
            }
        }
        throw failure("the document ends inside a string")
    }

    /// What follows `\u`: four digits, or a surrogate pair.
    private mutating func parseEscapedScalar() throws -> Unicode.Scalar {
        let start = position - 2
        let first = try parseHexadecimal()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xDC00, position + 2 <= bytes.count, bytes[position] == UInt8(ascii: "\\"),
            bytes[position + 1] == UInt8(ascii: "u")
        else { throw failure("half a surrogate pair in a string", at: start) }
        position += 2
        let second = try parseHexadecimal()
        guard (0xDC00...0xDFFF).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw failure("half a surrogate pair in a string", at: start) }
        return scalar
    }

    private mutating func parseHexadecimal() throws -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard position < bytes.count, let digit = Character(Unicode.Scalar(bytes[position])).hexDigitValue,
                bytes[position] < 0x80
            else { throw failure("four hexadecimal digits are expected") }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }
}
