import LacunaTensor

/// Writes a GGUF file, version 3: metadata, then tensors aligned to 32 bytes. It appears whole or not at all.
///
/// Tensors are given one after the other; their bytes wait in a hidden file beside the target until ``finish()`` puts them
/// behind the header.
public final class GGUFWriter {
    /// Where the file will be.
    public let path: String
    private let scratch: AtomicFile
    private var metadata: [(key: String, bytes: [UInt8])] = []
    private var entries: [(name: String, shape: [Int], code: UInt32, offset: Int)] = []
    private var names: Set<String> = []

    static let alignment = 32

    /// A metadata value in the type that it has in the file: readers insist on it.
    public enum Value: Sendable {
        /// An unsigned number of 32 bits, as sizes and counts are.
        case uint32(UInt32)
        /// A signed number of 32 bits.
        case int32(Int32)
        /// A number of single precision.
        case float32(Float)
        /// True or false, one byte.
        case bool(Bool)
        /// Text in UTF-8.
        case string(String)
        /// An array of texts, as the pieces of a vocabulary.
        case strings([String])
        /// An array of signed numbers, as the kinds of tokens.
        case int32s([Int32])
        /// An array of numbers, as the scores of tokens.
        case float32s([Float])
        /// A value of another file, as ``GGUFFile/encodedValue(_:)`` gives it.
        case encoded([UInt8])
    }

    /// - Throws: ``LacunaError/file(path:reason:)`` if the file cannot be made, or `path` is no plain file.
    public init(_ path: String) throws {
        self.path = path
        scratch = try AtomicFile(path)
        guard scratch.isPlainFile else {
            throw LacunaError.file(path: path, reason: "is a device or a pipe; a plain file is needed")
        }
    }

    /// Adds metadata, in the order of the calls; a key that is there already gets the new value.
    public func set(_ key: String, _ value: Value) {
        let bytes = Self.encode(value)
        if let index = metadata.firstIndex(where: { $0.key == key }) {
            metadata[index].bytes = bytes
        } else {
            metadata.append((key, bytes))
        }
    }

    /// Whether a key has a value.
    public func contains(_ key: String) -> Bool { metadata.contains { $0.key == key } }

    /// Appends a tensor as it is.
    ///
    /// - Parameter shape: Outermost dimension first, as in PyTorch.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the name is taken, the bytes do not fill the shape or the type
    ///   has no place in the format.
    public func write(_ name: String, type: StoredType, shape: [Int], bytes: UnsafeRawBufferPointer) throws {
        guard names.insert(name).inserted else {
            throw LacunaError.invalidArgument(name, reason: "a tensor of this name is in the file already")
        }
        guard let code = type.codeInGGUF, shape.count <= 4 else {
            throw LacunaError.invalidArgument(name, reason: "\(type) of shape \(shape) is no tensor of GGUF files")
        }
        guard TensorInfo.byteCount(shape: shape, type: type) == bytes.count else {
            throw LacunaError.invalidArgument(
                name, reason: "\(bytes.count) bytes do not fill shape \(shape) of \(type)")
        }
        entries.append((name, shape, code, scratch.count))
        try scratch.write(bytes)
        let rest = (Self.alignment - scratch.count % Self.alignment) % Self.alignment
        if rest > 0 { try scratch.write([UInt8](repeating: 0, count: rest)) }
    }

    /// Appends a tensor rounded to a type.
    ///
    /// - Throws: As above, and ``LacunaError/unsupported(file:what:)`` for a type that floats are not rounded to here.
    public func write(_ name: String, _ tensor: Tensor<Float>, as type: StoredType = .scalar(.f32)) throws {
        guard let bytes = type.rounded(tensor.scalars) else {
            throw LacunaError.unsupported(file: path, what: "rounding floats to \(type)")
        }
        try bytes.withUnsafeBytes { try write(name, type: type, shape: tensor.shape, bytes: $0) }
    }

    /// Writes the header and puts the file under its name.
    public func finish() throws {
        let file = try AtomicFile(path)
        try file.write(header())
        if scratch.count > 0 { try scratch.move([0..<scratch.count], to: file) }
        scratch.discard()
        try file.commit()
    }

    // MARK: Bytes

    private func header() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.put(GGUFFile.magic)
        bytes.put(UInt32(3))
        bytes.put(UInt64(entries.count))
        bytes.put(UInt64(metadata.count))
        for (key, value) in metadata {
            bytes.put(key)
            bytes += value
        }
        for entry in entries {
            bytes.put(entry.name)
            bytes.put(UInt32(entry.shape.count))
            for length in entry.shape.reversed() { bytes.put(UInt64(length)) }
            bytes.put(entry.code)
            bytes.put(UInt64(entry.offset))
        }
        while bytes.count % Self.alignment != 0 { bytes.append(0) }
        return bytes
    }

    private static func encode(_ value: Value) -> [UInt8] {
        var bytes: [UInt8] = []
        func array(_ type: UInt32, _ count: Int) {
            bytes.put(UInt32(9))
            bytes.put(type)
            bytes.put(UInt64(count))
        }
        switch value {
        case .uint32(let value):
            bytes.put(UInt32(4))
            bytes.put(value)
        case .int32(let value):
            bytes.put(UInt32(5))
            bytes.put(UInt32(bitPattern: value))
        case .float32(let value):
            bytes.put(UInt32(6))
            bytes.put(value.bitPattern)
        case .bool(let value):
            bytes.put(UInt32(7))
            bytes.append(value ? 1 : 0)
        case .string(let value):
            bytes.put(UInt32(8))
            bytes.put(value)
        case .strings(let values):
            array(8, values.count)
            for value in values { bytes.put(value) }
        case .int32s(let values):
            array(5, values.count)
            for value in values { bytes.put(UInt32(bitPattern: value)) }
        case .float32s(let values):
            array(6, values.count)
            for value in values { bytes.put(value.bitPattern) }
        case .encoded(let encoded): bytes = encoded
        }
        return bytes
    }
}

extension [UInt8] {
    fileprivate mutating func put(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    fileprivate mutating func put(_ text: String) {
        put(UInt64(text.utf8.count))
        append(contentsOf: text.utf8)
    }
}

extension StoredType {
    /// The type's number in GGUF's tensor headers; nil for types that such files do not have.
    var codeInGGUF: UInt32? { (0...30).first { StoredType(gguf: $0) == self } }

    /// Floats rounded to this type, in blocks where it has them: f32, f16, bf16, Q8_0 and Q4_0, the last two as the `gguf`
    /// package and llama.cpp round them. nil for other types, and for numbers that do not fill whole blocks.
    public func rounded(_ values: [Float]) -> [UInt8]? {
        switch self {
        case .scalar(let type): return values.withUnsafeBufferPointer { TensorConversion.narrowed($0, to: type) }
        case .block(let type) where type == .q80 || type == .q40:
            guard values.count % type.elements == 0 else { return nil }
            let blocks = values.count / type.elements
            var bytes = [UInt8](repeating: 0, count: blocks * type.bytes)
            bytes.withUnsafeMutableBufferPointer { target in
                values.withUnsafeBufferPointer { values in
                    guard let target = target.baseAddress, let values = values.baseAddress else { return }
                    let (y, x) = (UInt(bitPattern: target), UInt(bitPattern: values))
                    Parallel.forRanges(blocks, grain: 1 << 12) { range in
                        guard let y = UnsafeMutablePointer<UInt8>(bitPattern: y),
                            let x = UnsafePointer<Float>(bitPattern: x)
                        else { return }
                        for block in range {
                            let (x, y) = (x + block * type.elements, y + block * type.bytes)
                            if type == .q80 { GGUFRounding.q80(x, into: y) } else { GGUFRounding.q40(x, into: y) }
                        }
                    }
                }
            }
            return bytes
        default: return nil
        }
    }
}

/// Blocks of 32 floats, rounded as the field does it.
private enum GGUFRounding {
    /// The largest magnitude becomes ±127.
    static func q80(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<UInt8>) {
        var largest: Float = 0
        for i in 0..<32 { largest = max(largest, abs(x[i])) }
        let scale = largest / 127
        let inverse = scale == 0 ? 0 : 1 / scale
        put(scale, y)
        for i in 0..<32 {
            let code = (x[i] * inverse).rounded(.toNearestOrAwayFromZero)
            y[2 + i] = UInt8(bitPattern: Int8(exactly: code) ?? 0)
        }
    }

    /// The number of largest magnitude becomes -8.
    static func q40(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<UInt8>) {
        var extreme: Float = 0
        for i in 0..<32 where abs(x[i]) > abs(extreme) { extreme = x[i] }
        let scale = extreme / -8
        let inverse = scale == 0 ? 0 : 1 / scale
        put(scale, y)
        func code(_ i: Int) -> UInt8 {
            let shifted = (x[i] * inverse + 8.5).rounded(.towardZero)
            return UInt8(exactly: min(max(shifted, 0), 15)) ?? 0
        }
        for i in 0..<16 { y[2 + i] = code(i) | code(i + 16) << 4 }
    }

    private static func put(_ scale: Float, _ y: UnsafeMutablePointer<UInt8>) {
        let bits = Half(scale).bits
        (y[0], y[1]) = (UInt8(bits & 255), UInt8(bits >> 8))
    }
}
