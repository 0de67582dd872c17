import LacunaTensor

/// Writes a safetensors file tensor by tensor; it appears whole or not at all.
///
/// Tensors may come in any order and need not be known beforehand: their bytes wait in a hidden file beside the target,
/// and ``finish()`` moves them behind the header, those of wide elements first, so that every tensor is aligned to its
/// element's size and the first to 64 bytes. The disk never holds a second copy of them.
public final class SafetensorsWriter {
    /// The file that will appear.
    public let path: String
    private let metadata: [String: String]
    private let scratch: AtomicFile
    private var entries: [Entry] = []
    private var names: Set<String> = []

    private struct Entry {
        let name: String
        let type: ElementType
        let shape: [Int]
        /// Where the bytes are in the scratch file.
        let range: Range<Int>
    }

    /// - Throws: ``LacunaError/file(path:reason:)`` if the file cannot be made, or `path` is no plain file.
    public init(_ path: String, metadata: [String: String] = [:]) throws {
        self.path = path
        self.metadata = metadata
        scratch = try AtomicFile(path)
        guard scratch.isPlainFile else {
            throw LacunaError.file(path: path, reason: "is a device or a pipe; a plain file is needed")
        }
    }

    /// Appends a tensor as it is.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the name is taken or the bytes do not fill the shape.
    public func write(_ name: String, type: ElementType, shape: [Int], bytes: UnsafeRawBufferPointer) throws {
        guard name != "__metadata__", names.insert(name).inserted else {
            throw LacunaError.invalidArgument(name, reason: "a tensor of this name is in the file already")
        }
        guard TensorInfo.byteCount(shape: shape, type: .scalar(type)) == bytes.count else {
            throw LacunaError.invalidArgument(
                name, reason: "\(bytes.count) bytes do not fill shape \(shape) of \(type.rawValue)")
        }
        let start = scratch.count
        try scratch.write(bytes)
        entries.append(Entry(name: name, type: type, shape: shape, range: start..<scratch.count))
    }

    /// Appends a tensor of integers or other plain values, which have to be as wide as `type`.
    public func write<T: BitwiseCopyable>(_ name: String, type: ElementType, shape: [Int], values: [T]) throws {
        try values.withUnsafeBytes { try write(name, type: type, shape: shape, bytes: $0) }
    }

    /// Appends a tensor, rounded to `type` (f32, bf16 or f16).
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for another type.
    public func write(_ name: String, _ tensor: Tensor<Float>, as type: ElementType = .f32) throws {
        try tensor.withPointer { pointer in
            let values = UnsafeBufferPointer(start: pointer, count: tensor.count)
            guard let bytes = TensorConversion.narrowed(values, to: type) else {
                throw LacunaError.unsupported(file: path, what: "rounding floats to \(type.rawValue)")
            }
            try bytes.withUnsafeBytes { try write(name, type: type, shape: tensor.shape, bytes: $0) }
        }
    }

    /// Writes the header and puts the file under its name.
    public func finish() throws {
        // Names break ties, so that the file does not depend on the order of the calls.
        let order = entries.sorted { ($1.type.size, $0.name) < ($0.type.size, $1.name) }
        let file = try AtomicFile(path)
        try file.write(header(order))
        try scratch.move(order.map(\.range), to: file)
        scratch.discard()
        try file.commit()
    }

    private func header(_ order: [Entry]) -> [UInt8] {
        var object = JSONObject()
        if !metadata.isEmpty {
            var text = JSONObject()
            for key in metadata.keys.sorted() { text[key] = .string(metadata[key]!) }
            object["__metadata__"] = .object(text)
        }
        var offset = 0
        for entry in order {
            object[entry.name] = [
                "dtype": .string(entry.type.safetensorsName), "shape": .array(entry.shape.map { JSONValue($0) }),
                "data_offsets": [JSONValue(offset), JSONValue(offset + entry.range.count)],
            ]
            offset += entry.range.count
        }
        var text = Array(JSONValue.object(object).serialized().utf8)
        while (8 + text.count) % 64 != 0 { text.append(UInt8(ascii: " ")) }
        return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text
    }
}
