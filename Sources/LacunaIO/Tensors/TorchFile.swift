import LacunaTensor

/// The tensors of a file that PyTorch saved (`.pth`, `.pt`, `.bin`): a state dictionary, or dictionaries of dictionaries, whose keys are
/// joined by dots. Both kinds of file are read, that of PyTorch 1.6 and later, a ZIP archive, and the one before.
///
/// Such files are programs that Python runs to rebuild objects. Here nothing is run: tensors are taken from the descriptions of the calls
/// that would make them, numbers and texts beside them are left out, and a file that needs anything else, such as one with a whole
/// module, is refused. Tensors whose numbers lie in another order than their dimensions, such as transposed ones, are put in order when
/// they are asked for.
public final class TorchFile: TensorSource {
    /// The file's name, as it was given.
    public let path: String
    /// The tensors in the order of the dictionary.
    public let tensors: [TensorInfo]
    private let mapped: MappedFile
    private let positions: [String: Int]
    /// Elements from one place to the next along each dimension, of tensors that lie in another order.
    private let strides: [String: [Int]]
    private let ordered = Locked<[String: Buffer<UInt8>]>([:])

    /// - Throws: ``LacunaError/file(path:reason:)``; ``LacunaError/malformed(file:location:reason:)`` for damaged files;
    ///   ``LacunaError/unsupported(file:what:)`` for other objects than dictionaries of tensors, for a dictionary that stands in two
    ///   places, and for tensors that show numbers more than once.
    public convenience init(_ path: String) throws { try self.init(mapped: MappedFile(path)) }

    init(mapped: MappedFile) throws {
        self.mapped = mapped
        path = mapped.path
        let reader = try TorchReader(mapped)
        tensors = reader.tensors
        positions = reader.positions
        strides = reader.strides
    }

    /// Whether a file begins as such a file does.
    static func begins(_ mapped: MappedFile) -> Bool {
        mapped.bytes.starts(with: TorchReader.magic) || mapped.bytes.starts(with: TorchReader.zipMagic)
    }

    public func find(_ name: String) -> TensorInfo? { positions[name].map { tensors[$0] } }

    public func bytes(of name: String) throws -> UnsafeRawBufferPointer {
        let info = try info(name)
        guard let strides = strides[name] else { return UnsafeRawBufferPointer(rebasing: mapped.bytes[info.byteRange]) }
        return try ordered.withLock { made in
            let buffer: Buffer<UInt8>
            if let found = made[name] {
                buffer = found
            } else {
                try MachineMemory.require(info.byteRange.count, for: "tensor '\(name)'")
                buffer = Buffer(uninitialized: info.byteRange.count)
                inOrder(info, strides, into: buffer.pointer)
                made[name] = buffer
            }
            return UnsafeRawBufferPointer(start: buffer.pointer, count: buffer.count)
        }
    }

    /// Copies a tensor's numbers in the order of its dimensions.
    private func inOrder(_ info: TensorInfo, _ strides: [Int], into target: UnsafeMutablePointer<UInt8>) {
        guard let source = mapped.bytes.baseAddress else { return }
        let (size, rank) = (info.type.blockBytes, strides.count)
        var place = [Int](repeating: 0, count: rank)
        var from = info.byteRange.lowerBound
        for element in 0..<info.count {
            UnsafeMutableRawPointer(target + element * size).copyMemory(from: source + from, byteCount: size)
            // The next place, the last dimension first.
            var k = rank - 1
            while k >= 0 {
                place[k] += 1
                from += strides[k] * size
                if place[k] < info.shape[k] { break }
                from -= place[k] * strides[k] * size
                place[k] = 0
                k -= 1
            }
        }
    }
}

private struct TorchReader {
    /// The pickled number that the older kind begins with.
    static let magic: [UInt8] = [
        0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E,
    ]
    static let zipMagic: [UInt8] = [0x50, 0x4B, 0x03, 0x04]

    private(set) var tensors: [TensorInfo] = []
    private(set) var positions: [String: Int] = [:]
    private(set) var strides: [String: [Int]] = [:]
    private let path: String
    private let pickle: Pickle
    /// Where the numbers of a storage are.
    private var storages: [String: Range<Int>] = [:]

    /// Bytes of all names together, at most.
    private static let longestNames = 1 << 28
    /// Dimensions of a tensor, at most: as many as PyTorch has.
    private static let mostDimensions = 64

    private static let types: [String: ElementType] = [
        "torch DoubleStorage": .f64, "torch FloatStorage": .f32, "torch HalfStorage": .f16,
        "torch BFloat16Storage": .bf16, "torch LongStorage": .i64, "torch IntStorage": .i32, "torch ShortStorage": .i16,
        "torch CharStorage": .i8, "torch ByteStorage": .u8, "torch BoolStorage": .bool,
    ]

    init(_ mapped: MappedFile) throws {
        path = mapped.path
        if mapped.bytes.starts(with: Self.zipMagic) {
            (pickle, storages) = try Self.archive(mapped)
        } else {
            (pickle, storages) = try Self.stream(mapped)
        }
        // Dictionaries that are still to be walked, the last one first.
        var open: [(prefix: String, value: PickleValue)] = [("", pickle.value)]
        var seen = Set<Int>()
        var lengths = 0
        while let (prefix, value) = open.popLast() {
            if case .dictionary(let index) = value {
                guard seen.insert(index).inserted else {
                    throw LacunaError.unsupported(file: path, what: "a dictionary that stands in two places")
                }
                let items = pickle.items(value) ?? []
                for place in stride(from: items.count - 2, through: 0, by: -2) {
                    guard let key = Self.name(items[place]) else { throw Self.failure(path, "a key is no text") }
                    let name = prefix.isEmpty ? key : "\(prefix).\(key)"
                    guard name.utf8.count <= 1024 else { throw Self.failure(path, "a name is longer than 1024 bytes") }
                    // A key may be asked for again at every few bytes.
                    lengths += name.utf8.count
                    guard lengths <= Self.longestNames else {
                        throw LacunaError.unsupported(
                            file: path, what: "names of more than \(Self.longestNames) bytes together")
                    }
                    open.append((name, items[place + 1]))
                }
            } else if let (info, order) = try tensor(prefix, value) {
                guard positions.updateValue(tensors.count, forKey: prefix) == nil else {
                    throw Self.failure(path, "'\(prefix)' comes twice")
                }
                tensors.append(info)
                strides[prefix] = order
            }
        }
        if tensors.isEmpty {
            throw LacunaError.unsupported(file: path, what: "a pickle without a dictionary of tensors")
        }
    }

    private static func name(_ value: PickleValue) -> String? {
        switch value {
        case .text(let text): text
        case .integer(let number): String(number)
        default: nil
        }
    }

    private static func failure(_ path: String, _ reason: String, at location: String = "pickle") -> LacunaError {
        .malformed(file: path, location: location, reason: reason)
    }

    // MARK: The two kinds of file

    /// `NAME/data.pkl`, and the numbers in `NAME/data/KEY`.
    private static func archive(_ mapped: MappedFile) throws -> (Pickle, [String: Range<Int>]) {
        let archive = try ZipArchive(mapped, kind: "file of PyTorch")
        guard let main = archive.names.first(where: { $0.hasSuffix("/data.pkl") }) else {
            throw LacunaError.unsupported(file: mapped.path, what: "a ZIP archive that PyTorch did not write")
        }
        let root = main.dropLast("data.pkl".count)
        if let order = try archive.withBytes(
            of: "\(root)byteorder", { bytes, _ in String(decoding: bytes, as: UTF8.self) }),
            order != "little"
        {
            throw LacunaError.unsupported(file: mapped.path, what: "numbers whose bytes are in \(order) order")
        }
        var storages: [String: Range<Int>] = [:]
        for name in archive.names where name.hasPrefix("\(root)data/") {
            guard let range = archive.storedRange(of: name) else {
                throw LacunaError.unsupported(file: mapped.path, what: "compressed numbers ('\(name)')")
            }
            storages[String(name.dropFirst(root.count + "data/".count))] = range
        }
        let pickle = try archive.withBytes(of: main) { try Pickle($0, file: $1) }
        guard let pickle else { throw failure(mapped.path, "is missing") }
        return (pickle, storages)
    }

    /// Pickles of a magic number, a version, the system, the object and the keys of storages, then the storages: the number of elements and
    /// the elements of each, in the order of the keys.
    private static func stream(_ mapped: MappedFile) throws -> (Pickle, [String: Range<Int>]) {
        let (bytes, path) = (mapped.bytes, mapped.path)
        guard bytes.starts(with: magic) else { throw failure(path, "is not a file of PyTorch", at: "byte 0") }
        let version = try Pickle(bytes, from: magic.count, file: path)
        guard version.value == .integer(1001) else {
            throw LacunaError.unsupported(file: path, what: "a file of PyTorch of another version than 1001")
        }
        let system = try Pickle(bytes, from: version.end, file: path)
        let about = system.items(system.value) ?? []
        guard let place = about.firstIndex(of: .text("little_endian")), place + 1 < about.count,
            about[place + 1] == .boolean(true)
        else { throw LacunaError.unsupported(file: path, what: "numbers that are not little-endian") }
        let object = try Pickle(bytes, from: system.end, file: path)
        let keys = try Pickle(bytes, from: object.end, file: path)
        // How long a storage's elements are is said where a tensor uses it.
        let sizes = object.storageSizes(types)
        var storages: [String: Range<Int>] = [:]
        var at = keys.end
        for key in keys.items(keys.value) ?? [] {
            guard let name = name(key), let size = sizes[name] else {
                throw failure(path, "a storage that no tensor uses", at: "byte \(at)")
            }
            guard at <= bytes.count - 8 else { throw failure(path, "is cut off", at: "storage '\(name)'") }
            let count = bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self).littleEndian
            at += 8
            guard count <= UInt64((bytes.count - at) / size) else {
                throw failure(path, "announces \(count) elements beyond the file's end", at: "storage '\(name)'")
            }
            storages[name] = at..<at + Int(count) * size
            at += Int(count) * size
        }
        return (object, storages)
    }

    // MARK: Tensors

    /// A tensor that a call would make, and its strides if they are not those of its dimensions in order; nil for numbers, texts and the
    /// like.
    private func tensor(
        _ name: String, _ value: PickleValue, isParameter: Bool = false
    ) throws -> (info: TensorInfo, strides: [Int]?)? {
        guard case .call = value, let parts = pickle.items(value), case .global(let function) = parts[0] else {
            if case .call = value { throw unsupported(name, "an object") }
            return nil
        }
        let arguments = pickle.items(parts[1]) ?? []
        if !isParameter, function == "torch._utils _rebuild_parameter", let inner = arguments.first {
            return try tensor(name, inner, isParameter: true)
        }
        guard function == "torch._utils _rebuild_tensor_v2", arguments.count >= 4 else {
            throw unsupported(name, "what '\(function.replacing(" ", with: "."))' makes")
        }
        guard let storage = pickle.storage(arguments[0]), let shape = pickle.integers(arguments[2]),
            case .integer(let offset) = arguments[1], let strides = pickle.integers(arguments[3]),
            shape.count == strides.count, shape.count <= Self.mostDimensions,
            shape.allSatisfy({ $0 >= 0 }), strides.allSatisfy({ $0 >= 0 })
        else { throw Self.failure(path, "'\(name)' is described wrongly") }
        guard let type = Self.types[storage.type] else {
            throw unsupported(name, "numbers of the type \(storage.type.replacing(" ", with: "."))")
        }
        guard let range = storages[storage.key] else {
            throw Self.failure(path, "has no storage '\(storage.key)'", at: "tensor '\(name)'")
        }
        guard let bytes = TensorInfo.byteCount(shape: shape, type: .scalar(type)), offset >= 0,
            offset <= range.count / type.size, bytes <= range.count - offset * type.size
        else { throw Self.failure(path, "reaches beyond its storage", at: "tensor '\(name)'") }
        // A side of one entry is never stepped along.
        let sides = zip(shape, strides).filter { $0.0 > 1 }
        var (step, isInOrder) = (1, true)
        for (length, stride) in sides.reversed() {
            isInOrder = isInOrder && stride == step
            step *= length
        }
        if bytes > 0 && !isInOrder {
            // The shortest stride first, each goes beyond what those before reach: then no number is met twice.
            var reach = 0
            for (length, stride) in sides.sorted(by: { $0.1 < $1.1 }) {
                guard stride > reach else { throw unsupported(name, "a tensor that shows numbers more than once") }
                let (far, overflow) = stride.multipliedReportingOverflow(by: length - 1)
                guard !overflow, far <= range.count else {
                    throw Self.failure(path, "reaches beyond its storage", at: "tensor '\(name)'")
                }
                reach += far
            }
            guard reach < range.count / type.size - offset else {
                throw Self.failure(path, "reaches beyond its storage", at: "tensor '\(name)'")
            }
        }
        let start = range.lowerBound + offset * type.size
        let info = TensorInfo(
            name: name, shape: shape, type: .scalar(type), file: path, byteRange: start..<start + bytes)
        return (info, bytes > 0 && !isInOrder ? zip(shape, strides).map { $0 > 1 ? $1 : 0 } : nil)
    }

    private func unsupported(_ name: String, _ what: String) -> LacunaError {
        .unsupported(file: path, what: "'\(name)': \(what)")
    }
}

extension Pickle {
    /// The type and the key of a storage that is kept outside of the pickle.
    fileprivate func storage(_ value: PickleValue) -> (type: String, key: String)? {
        guard case .persistent = value, let inner = items(value), let parts = items(inner[0]), parts.count >= 3,
            parts[0] == .text("storage"), parts.count < 6 || parts[5] == .none, case .global(let type) = parts[1],
            case .text(let key) = parts[2]
        else { return nil }
        return (type, key)
    }

    fileprivate func integers(_ value: PickleValue) -> [Int]? {
        guard case .tuple = value, let parts = items(value) else { return nil }
        let numbers = parts.compactMap { part -> Int? in
            if case .integer(let number) = part { return number }
            return nil
        }
        return numbers.count == parts.count ? numbers : nil
    }

    /// Bytes of an element of every storage that is spoken of.
    fileprivate func storageSizes(_ types: [String: ElementType]) -> [String: Int] {
        var sizes: [String: Int] = [:]
        for index in persistent {
            if let (type, key) = storage(.persistent(index)), let size = types[type]?.size { sizes[key] = size }
        }
        return sizes
    }
}
