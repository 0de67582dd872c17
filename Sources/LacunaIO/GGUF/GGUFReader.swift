import LacunaTensor

/// A cursor over a GGUF file's header. Every read is checked against the end of the file, and every count against the
/// bytes that are left, before anything is allocated.
struct GGUFReader {
    let bytes: UnsafeRawBufferPointer
    let file: String
    private(set) var position = 0

    /// Arrays of arrays are legal, but nobody nests them deeply.
    private static let depthLimit = 4

    init(_ mapped: MappedFile) {
        bytes = mapped.bytes
        file = mapped.path
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
        let count = try readCount(of: 1, location)
        let text = UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
        if let offset = UTF8Validation.firstInvalidByte(text) {
            throw failure(location, "invalid UTF-8 at byte \(position + offset)")
        }
        position += count
        return String(decoding: text, as: UTF8.self)
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

    private mutating func readArray(_ location: String, depth: Int) throws -> [GGUFValue] {
        guard depth < Self.depthLimit else { throw failure(location, "arrays nested too deeply") }
        let type = try read(UInt32.self, location)
        let smallest: [UInt32: Int] = [
            0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 8, 9: 12, 10: 8, 11: 8, 12: 8,
        ]
        guard let size = smallest[type] else { throw failure(location, "unknown value type \(type)") }
        let count = try readCount(of: size, location)
        var values: [GGUFValue] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try readValue(type: type, location, depth: depth + 1)) }
        return values
    }
}
