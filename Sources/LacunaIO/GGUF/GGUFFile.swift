import LacunaTensor

/// A memory-mapped GGUF file, version 2 or 3: typed metadata, then tensors, many of them in quantised blocks.
///
/// Opening checks all counts, sizes and byte ranges. Tensors keep GGUF's names (`blk.0.attn_q.weight`); shapes are turned
/// round to the order of PyTorch.
public final class GGUFFile: TensorSource {
    /// The file's name, as it was given.
    public let path: String
    /// The tensors in the order of the file.
    public let tensors: [TensorInfo]
    /// Metadata in the order of the file.
    public let metadataKeys: [String]
    /// The version of the format: 2 or 3.
    public let version: Int
    /// Values but arrays, which are the long ones, such as the tokens of a vocabulary: those are decoded when they are asked for.
    private let metadata: [String: GGUFValue]
    /// Where the type and the content of each value are.
    private let encodings: [String: Range<Int>]
    private let mapped: MappedFile
    private let positions: [String: Int]

    static let magic: UInt32 = 0x4655_4747

    /// - Throws: ``LacunaError/file(path:reason:)``, ``LacunaError/malformed(file:location:reason:)``, and
    ///   ``LacunaError/unsupported(file:what:)`` for other versions and for tensor types that Lacuna does not read.
    public convenience init(_ path: String) throws { try self.init(mapped: MappedFile(path)) }

    init(mapped: MappedFile) throws {
        self.mapped = mapped
        path = mapped.path
        var reader = GGUFReader(mapped)
        guard try reader.read(UInt32.self, "header") == Self.magic else {
            throw reader.failure("header", "does not begin with 'GGUF'")
        }
        let version = try reader.read(UInt32.self, "header")
        guard version == 2 || version == 3 else {
            throw LacunaError.unsupported(
                file: path, what: version.byteSwapped == 3 ? "GGUF in big-endian order" : "GGUF version \(version)")
        }
        self.version = Int(version)
        // The least a tensor takes: an empty name, no dimensions, type and offset. The least a value takes: the same.
        let tensorCount = try reader.readCount(of: 24, "tensor count")
        let valueCount = try reader.readCount(of: 13, "metadata count")
        (metadata, metadataKeys, encodings) = try Self.readMetadata(&reader, count: valueCount)
        tensors = try Self.readTensors(&reader, count: tensorCount, alignment: Self.alignment(metadata, reader))
        var positions: [String: Int] = [:]
        for (index, tensor) in tensors.enumerated() {
            guard positions.updateValue(index, forKey: tensor.name) == nil else {
                throw reader.failure(tensor.name, "there are two tensors of this name")
            }
        }
        self.positions = positions
    }

    private static func readMetadata(
        _ reader: inout GGUFReader, count: Int
    ) throws -> ([String: GGUFValue], [String], [String: Range<Int>]) {
        var values: [String: GGUFValue] = [:]
        var encodings: [String: Range<Int>] = [:]
        var keys: [String] = []
        for index in 0..<count {
            let key = try reader.readString("metadata key \(index)")
            let start = reader.position
            let value = try reader.readValueUnlessArray("metadata '\(key)'")
            guard encodings.updateValue(start..<reader.position, forKey: key) == nil else {
                throw reader.failure("metadata '\(key)'", "occurs twice")
            }
            values[key] = value
            keys.append(key)
        }
        return (values, keys, encodings)
    }

    private static func alignment(_ metadata: [String: GGUFValue], _ reader: GGUFReader) throws -> Int {
        guard let value = metadata["general.alignment"] else { return 32 }
        guard let alignment = value.intValue, alignment > 0, alignment <= 1 << 20, alignment.nonzeroBitCount == 1 else {
            throw reader.failure("metadata 'general.alignment'", "is not a power of two")
        }
        return alignment
    }

    private static func readTensors(_ reader: inout GGUFReader, count: Int, alignment: Int) throws -> [TensorInfo] {
        struct Entry {
            let name: String
            let shape: [Int]
            let type: StoredType
            let offset: Int
            let size: Int
        }
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        for index in 0..<count {
            let name = try reader.readString("tensor \(index)")
            let rank = try reader.read(UInt32.self, name)
            guard rank <= 4 else { throw reader.failure(name, "has \(rank) dimensions, at most 4 are allowed") }
            var shape: [Int] = []
            for _ in 0..<rank {
                guard let length = Int(exactly: try reader.read(UInt64.self, name)) else {
                    throw reader.failure(name, "has a dimension that is too large")
                }
                shape.insert(length, at: 0)
            }
            let code = try reader.read(UInt32.self, name)
            guard let type = StoredType(gguf: code) else {
                if let other = StoredType.unreadGGUF[code] {
                    throw LacunaError.unsupported(file: reader.file, what: "tensor '\(name)' of type \(other)")
                }
                throw reader.failure(name, "unknown tensor type \(code)")
            }
            guard let size = TensorInfo.byteCount(shape: shape, type: type) else {
                throw reader.failure(name, "shape \(shape) is too large or not made of whole blocks of \(type)")
            }
            guard let offset = Int(exactly: try reader.read(UInt64.self, name)), offset % alignment == 0 else {
                throw reader.failure(name, "its offset is not a multiple of \(alignment)")
            }
            entries.append(Entry(name: name, shape: shape, type: type, offset: offset, size: size))
        }
        let start = (reader.position + alignment - 1) / alignment * alignment
        let available = max(reader.bytes.count - start, 0)
        var end = 0
        var previous = ""
        for entry in entries.sorted(by: { ($0.offset, $0.size) < ($1.offset, $1.size) }) {
            guard entry.offset <= available, entry.size <= available - entry.offset else {
                throw reader.failure(
                    entry.name,
                    "\(entry.size) bytes at offset \(entry.offset) go beyond the end of the file's "
                        + "\(available) bytes of data")
            }
            guard entry.offset >= end else { throw reader.failure(entry.name, "overlaps tensor '\(previous)'") }
            end = entry.offset + entry.size
            previous = entry.name
        }
        return entries.map {
            TensorInfo(
                name: $0.name, shape: $0.shape, type: $0.type, file: reader.file,
                byteRange: start + $0.offset..<start + $0.offset + $0.size)
        }
    }

    public func find(_ name: String) -> TensorInfo? { positions[name].map { tensors[$0] } }

    public func bytes(of name: String) throws -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: mapped.bytes[try info(name).byteRange])
    }

    /// Says that a tensor has been copied, so that its part of the file need not stay in memory. It stays readable.
    package func forget(_ name: String) throws { mapped.forget(try bytes(of: name)) }
}

extension GGUFFile {
    /// A metadata value as it is; nil if it is absent.
    public subscript(key: String) -> GGUFValue? {
        if let value = metadata[key] { return value }
        guard let place = encodings[key] else { return nil }
        // It was read through, and so checked, when the file was opened.
        var reader = GGUFReader(mapped, at: place.lowerBound)
        return try? reader.readValue("metadata '\(key)'")
    }

    /// A metadata value as the file has it, type and content, for ``GGUFWriter``; nil if it is absent.
    public func encodedValue(_ key: String) -> [UInt8]? { encodings[key].map { Array(mapped.bytes[$0]) } }

    private func value<T>(_ key: String, _ kind: String, _ convert: (GGUFValue) -> T?) throws -> T? {
        guard let value = self[key] else { return nil }
        guard let result = convert(value) else {
            throw LacunaError.malformed(
                file: path, location: "metadata '\(key)'", reason: "expected \(kind), found \(value.kind)")
        }
        return result
    }

    private func needed<T>(_ key: String, _ value: T?) throws -> T {
        guard let value else {
            throw LacunaError.malformed(file: path, location: "metadata '\(key)'", reason: "is missing")
        }
        return value
    }

    // Each of the following throws ``LacunaError/malformed(file:location:reason:)`` for a value of another type.

    /// The integer of a key, nil if there is none. Throws `LacunaError.malformed` if it is something else.
    public func optionalInteger(_ key: String) throws -> Int? { try value(key, "an integer", \.intValue) }
    /// The number of a key, nil if there is none. Throws `LacunaError.malformed` if it is something else.
    public func optionalNumber(_ key: String) throws -> Double? { try value(key, "a number", \.doubleValue) }
    /// The boolean of a key, nil if there is none. Throws `LacunaError.malformed` if it is something else.
    public func optionalBool(_ key: String) throws -> Bool? { try value(key, "a boolean", \.boolValue) }
    /// The string of a key, nil if there is none. Throws `LacunaError.malformed` if it is something else.
    public func optionalString(_ key: String) throws -> String? { try value(key, "a string", \.stringValue) }
    /// The integer of a key. Throws `LacunaError.malformed` if there is none or it is something else.
    public func integer(_ key: String) throws -> Int { try needed(key, optionalInteger(key)) }
    /// The number of a key. Throws `LacunaError.malformed` if there is none or it is something else.
    public func number(_ key: String) throws -> Double { try needed(key, optionalNumber(key)) }
    /// The string of a key. Throws `LacunaError.malformed` if there is none or it is something else.
    public func string(_ key: String) throws -> String { try needed(key, optionalString(key)) }

    /// The strings of a key, nil if there are none. Throws `LacunaError.malformed` if it is something else.
    public func optionalStrings(_ key: String) throws -> [String]? {
        try value(key, "an array of strings") { value in
            guard let elements = value.arrayValue else { return nil }
            let strings = elements.compactMap(\.stringValue)
            return strings.count == elements.count ? strings : nil
        }
    }

    /// The integers of a key, nil if there are none. Throws `LacunaError.malformed` if it is something else.
    public func optionalIntegers(_ key: String) throws -> [Int]? {
        try value(key, "an array of integers") { value in
            guard let elements = value.arrayValue else { return nil }
            let integers = elements.compactMap(\.intValue)
            return integers.count == elements.count ? integers : nil
        }
    }

    /// The strings of a key. Throws `LacunaError.malformed` if there are none or it is something else.
    public func strings(_ key: String) throws -> [String] { try needed(key, optionalStrings(key)) }
}

extension StoredType {
    /// The type of a number in GGUF's tensor headers.
    init?(gguf code: UInt32) {
        switch code {
        case 0: self = .scalar(.f32)
        case 1: self = .scalar(.f16)
        case 2: self = .block(.q40)
        case 3: self = .block(.q41)
        case 6: self = .block(.q50)
        case 7: self = .block(.q51)
        case 8: self = .block(.q80)
        case 10: self = .block(.q2K)
        case 11: self = .block(.q3K)
        case 12: self = .block(.q4K)
        case 13: self = .block(.q5K)
        case 14: self = .block(.q6K)
        case 24: self = .scalar(.i8)
        case 25: self = .scalar(.i16)
        case 26: self = .scalar(.i32)
        case 27: self = .scalar(.i64)
        case 28: self = .scalar(.f64)
        case 30: self = .scalar(.bf16)
        default: return nil
        }
    }

    /// Types that exist, but that Lacuna does not read.
    static let unreadGGUF: [UInt32: String] = [
        9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
        20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
    ]
}
