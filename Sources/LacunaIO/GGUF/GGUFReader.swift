import LacunaTensor

/// A cursor over a GGUF file's header. Every read is checked against the end of the file, and every count against the
/// bytes that are left, before anything is allocated.
struct GGUFReader {
    let bytes: UnsafeRawBufferPointer
    let file: String
    private(set) var position = 0

    /// Arrays of arrays are legal, but nobody nests them deeply.
    private static let depthLimit = 4

    init(_ mapped: MappedFile, at position: Int = 0) {
        bytes = mapped.bytes
        file = mapped.path
        self.position = position
    }

    func failure(_ location: String, _ reason: String) -> LacunaError {
        .malformed(file: file, location: location, reason: reason)
    }

    private var remaining: Int { bytes.count - position }

    mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type, _ location: String) throws -> T {
        let size = MemoryLayout<T>.size
        guard size <= remaining else { throw failure(location, "the file ends at byte \(bytes.count)") }
        defer { position += size }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    /// A count of things that take at least `size` bytes each in the rest of the file.
    mutating func readCount(of size: Int, _ location: String) throws -> Int {
        let count = try read(UInt64.self, location)
        guard count <= UInt64(remaining / size) else {
            throw failure(location, "announces \(count) entries, for which the file's \(bytes.count) bytes are too few")
        }
        return Int(count)
    }

    mutating func readString(_ location: String) throws -> String {
        String(decoding: try readText(location), as: UTF8.self)
    }

    /// The bytes of a string, which are UTF-8.
    private mutating func readText(_ location: String) throws -> UnsafeRawBufferPointer {
        let count = try readCount(of: 1, location)
        let text = UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
        if let offset = UTF8Validation.firstInvalidByte(text) {
            throw failure(location, "invalid UTF-8 at byte \(position + offset)")
        }
        position += count
        return text
    }

    /// A value, or nil for an array, which is read through and checked.
    mutating func readValueUnlessArray(_ location: String) throws -> GGUFValue? {
        let type = try read(UInt32.self, location)
        guard type == 9 else { return try readValue(type: type, location, depth: 0) }
        try skipArray(location, depth: 0)
        return nil
    }

    private mutating func skipArray(_ location: String, depth: Int) throws {
        let (type, count) = try readArrayHead(location, depth: depth)
        switch type {
        case 7: for _ in 0..<count { _ = try readBool(location) }
        case 8: for _ in 0..<count { _ = try readText(location) }
        case 9: for _ in 0..<count { try skipArray(location, depth: depth + 1) }
        default: position += count * Self.smallest[type]!
        }
    }

    mutating func readValue(_ location: String) throws -> GGUFValue {
        try readValue(type: read(UInt32.self, location), location, depth: 0)
    }

    private mutating func readValue(type: UInt32, _ location: String, depth: Int) throws -> GGUFValue {
        switch type {
        case 0: return .integer(Int64(try read(UInt8.self, location)))
        case 1: return .integer(Int64(try read(Int8.self, location)))
        case 2: return .integer(Int64(try read(UInt16.self, location)))
        case 3: return .integer(Int64(try read(Int16.self, location)))
        case 4: return .integer(Int64(try read(UInt32.self, location)))
        case 5: return .integer(Int64(try read(Int32.self, location)))
        case 6: return .number(Double(Float(bitPattern: try read(UInt32.self, location))))
        case 7: return .bool(try readBool(location))
        case 8: return .string(try readString(location))
        case 9: return .array(try readArray(location, depth: depth))
        case 10:
            let value = try read(UInt64.self, location)
            return Int64(exactly: value).map(GGUFValue.integer) ?? .unsigned(value)
        case 11: return .integer(try read(Int64.self, location))
        case 12: return .number(Double(bitPattern: try read(UInt64.self, location)))
        default: throw failure(location, "unknown value type \(type)")
        }
    }

    private mutating func readBool(_ location: String) throws -> Bool {
        let value = try read(UInt8.self, location)
        guard value < 2 else { throw failure(location, "a boolean is 0 or 1, not \(value)") }
        return value == 1
    }

    /// The bytes that a value of each type takes, at least.
    private static let smallest: [UInt32: Int] = [
        0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 8, 9: 12, 10: 8, 11: 8, 12: 8,
    ]

    /// The type of an array's elements, and how many there are.
    private mutating func readArrayHead(_ location: String, depth: Int) throws -> (type: UInt32, count: Int) {
        guard depth < Self.depthLimit else { throw failure(location, "arrays nested too deeply") }
        let type = try read(UInt32.self, location)
        guard let size = Self.smallest[type] else { throw failure(location, "unknown value type \(type)") }
        return (type, try readCount(of: size, location))
    }

    private mutating func readArray(_ location: String, depth: Int) throws -> [GGUFValue] {
        let (type, count) = try readArrayHead(location, depth: depth)
        var values: [GGUFValue] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try readValue(type: type, location, depth: depth + 1)) }
        return values
    }
}
