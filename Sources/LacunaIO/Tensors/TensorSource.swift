import LacunaTensor

/// How a tensor's numbers lie in a file.
public enum StoredType: Hashable, Sendable, CustomStringConvertible {
    /// One number after the other.
    case scalar(ElementType)
    /// Blocks of quantised numbers, as in GGUF files.
    case block(GGUFBlockType)
    /// Something that Lacuna can list but not compute with: `bytes` hold `count` numbers.
    case foreign(name: String, count: Int, bytes: Int)

    /// The name of the type as the file has it: `bf16`, `Q4_K`.
    public var description: String {
        switch self {
        case .scalar(let type): type.rawValue
        case .block(let type): type.rawValue
        case .foreign(let name, _, _): name
        }
    }

    /// Numbers that are stored together; the length of a row is a multiple of it.
    public var blockCount: Int {
        switch self {
        case .scalar: 1
        case .block(let type): type.elements
        case .foreign(_, let count, _): count
        }
    }

    /// Bytes of one block.
    public var blockBytes: Int {
        switch self {
        case .scalar(let type): type.size
        case .block(let type): type.bytes
        case .foreign(_, _, let bytes): bytes
        }
    }
}

/// What a file says about one tensor.
public struct TensorInfo: Hashable, Sendable {
    /// What the tensor is called.
    public let name: String
    /// Outermost dimension first, as in PyTorch: a linear layer's weight is [outputs, inputs]. GGUF's order is reversed
    /// when it is read.
    public let shape: [Int]
    /// How its elements are stored.
    public let type: StoredType
    /// The file that holds it.
    public let file: String
    /// Where in the file.
    public let byteRange: Range<Int>

    /// A tensor whose bytes are a range of a file.
    public init(name: String, shape: [Int], type: StoredType, file: String, byteRange: Range<Int>) {
        self.name = name
        self.shape = shape
        self.type = type
        self.file = file
        self.byteRange = byteRange
    }

    /// Number of elements.
    public var count: Int { shape.reduce(1, *) }
}

/// Named tensors in one or several files, memory-mapped: nothing is read before it is asked for.
public protocol TensorSource: AnyObject, Sendable {
    /// The file or directory, for messages.
    var path: String { get }
    /// All tensors, in the order of the file.
    var tensors: [TensorInfo] { get }
    /// nil if there is no such tensor.
    func find(_ name: String) -> TensorInfo?
    /// The tensor's bytes as they are in the file. Valid while the source lives; not aligned to anything.
    ///
    /// - Throws: ``LacunaError/missingTensor(file:name:)``.
    func bytes(of name: String) throws -> UnsafeRawBufferPointer
}

extension TensorSource {
    /// The names of all tensors.
    public var names: [String] { tensors.map(\.name) }

    /// Whether there is a tensor of this name.
    public func contains(_ name: String) -> Bool { find(name) != nil }

    /// - Throws: ``LacunaError/missingTensor(file:name:)``.
    public func info(_ name: String) throws -> TensorInfo {
        guard let info = find(name) else { throw LacunaError.missingTensor(file: path, name: name) }
        return info
    }

    /// A tensor widened to floats, whatever its type in the file; quantised blocks are multiplied out.
    ///
    /// - Parameter shape: The shape that is needed; nil takes any.
    /// - Throws: ``LacunaError/missingTensor(file:name:)``, ``LacunaError/tensorMismatch(file:name:expected:found:)``,
    ///   ``LacunaError/unsupported(file:what:)`` for a type that Lacuna cannot read, and
    ///   ``LacunaError/resource(_:needed:available:)``.
    public func float(_ name: String, shape: [Int]? = nil) throws -> Tensor<Float> {
        let info = try info(name)
        if let shape { try info.require(shape: shape) }
        if case .foreign(let type, _, _) = info.type {
            throw LacunaError.unsupported(file: info.file, what: "the numbers of tensor '\(name)', of type \(type)")
        }
        let bytes = try bytes(of: name)
        return try withExtendedLifetime(self) {
            try TensorConversion.float(bytes, type: info.type, shape: info.shape, name: name)
        }
    }

    /// A tensor of integers, such as offsets or shapes.
    ///
    /// - Throws: ``LacunaError/tensorMismatch(file:name:expected:found:)`` for a tensor of anything but integers.
    public func integers(_ name: String) throws -> [Int] {
        let info = try info(name)
        let bytes = try bytes(of: name)
        return try withExtendedLifetime(self) {
            guard let values = TensorConversion.integers(bytes, type: info.type) else {
                throw LacunaError.tensorMismatch(
                    file: info.file, name: name, expected: "integers", found: "\(info.type)")
            }
            return values
        }
    }
}

extension TensorInfo {
    /// - Throws: ``LacunaError/tensorMismatch(file:name:expected:found:)`` if the shape is another.
    public func require(shape expected: [Int]) throws {
        guard shape == expected else {
            throw LacunaError.tensorMismatch(file: file, name: name, expected: "\(expected)", found: "\(shape)")
        }
    }

    /// - Throws: ``LacunaError/tensorMismatch(file:name:expected:found:)`` if the element type is another.
    public func require(type expected: ElementType) throws {
        guard type == .scalar(expected) else {
            throw LacunaError.tensorMismatch(
                file: file, name: name, expected: expected.rawValue, found: type.description)
        }
    }

    /// Bytes that `shape` takes in `type`; nil if the number overflows or the last dimension does not divide into blocks.
    static func byteCount(shape: [Int], type: StoredType) -> Int? {
        var count = 1
        var product = 1
        for length in shape {
            // A zero must not hide that the other dimensions overflow: later code multiplies them in another order.
            let (next, overflow) = product.multipliedReportingOverflow(by: max(length, 1))
            guard length >= 0, !overflow else { return nil }
            product = next
            if length == 0 { count = 0 }
        }
        guard !product.multipliedReportingOverflow(by: 8).overflow else { return nil }
        guard (shape.last ?? 1) % type.blockCount == 0 else { return nil }
        return count == 0 ? 0 : product / type.blockCount * type.blockBytes
    }
}

/// The tensors of files, whatever their format.
public enum TensorFiles {
    /// Opens the tensors of a model: a `.gguf` or `.safetensors` file, one that PyTorch saved, or a directory with `model.safetensors` or
    /// `model.safetensors.index.json`.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` if there is nothing of that kind, and what the formats throw.
    public static func open(_ path: String) throws -> any TensorSource {
        if FileSystem.isDirectory(path) {
            try AtomicDirectory.settle(path)
            for (name, isIndex) in [("model.safetensors", false), ("model.safetensors.index.json", true)] {
                let file = FileSystem.join(path, name)
                guard FileSystem.exists(file) else { continue }
                return try isIndex ? ShardedSafetensors(index: file) : SafetensorsFile(file)
            }
            throw LacunaError.file(
                path: path, reason: "holds neither model.safetensors nor model.safetensors.index.json")
        }
        let file = try MappedFile(path)
        // A safetensors file begins with a length, which would have to be 1.1 GB to read as these letters.
        if file.count >= 4, file.bytes.loadUnaligned(as: UInt32.self).littleEndian == GGUFFile.magic {
            return try GGUFFile(mapped: file)
        }
        if TorchFile.begins(file) { return try TorchFile(mapped: file) }
        return try SafetensorsFile(mapped: file)
    }
}
