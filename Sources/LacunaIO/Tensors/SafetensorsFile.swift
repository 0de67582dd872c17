import LacunaTensor

/// A memory-mapped safetensors file: an 8-byte header length, a JSON header, and the tensors' bytes.
///
/// Opening checks everything that later reads rely on: the header's length, known element types, sizes that agree with
/// the shapes, and byte ranges that lie inside the file and follow each other without gap or overlap.
public final class SafetensorsFile: TensorSource {
    /// The file's name, as it was given.
    public let path: String
    /// The tensors in the order of their bytes.
    public let tensors: [TensorInfo]
    /// The header's `__metadata__`.
    public let metadata: [String: String]
    private let mapped: MappedFile
    private let positions: [String: Int]

    /// Headers larger than this are refused, as the format's reference implementation does.
    static let headerLimit = 100_000_000

    /// Element types that Lacuna does not compute with are listed (``StoredType/foreign(name:count:bytes:)``).
    ///
    /// - Throws: ``LacunaError/file(path:reason:)``, ``LacunaError/malformed(file:location:reason:)``.
    public convenience init(_ path: String) throws { try self.init(mapped: MappedFile(path)) }

    init(mapped: MappedFile) throws {
        self.mapped = mapped
        path = mapped.path
        let header = try SafetensorsHeader(mapped)
        metadata = header.metadata
        tensors = header.tensors
        positions = header.positions
    }

    public func find(_ name: String) -> TensorInfo? { positions[name].map { tensors[$0] } }

    public func bytes(of name: String) throws -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: mapped.bytes[try info(name).byteRange])
    }
}

/// The parsed and checked header.
private struct SafetensorsHeader {
    private(set) var tensors: [TensorInfo] = []
    private(set) var metadata: [String: String] = [:]
    private(set) var positions: [String: Int] = [:]
    private let path: String

    init(_ mapped: MappedFile) throws {
        path = mapped.path
        guard mapped.count >= 8 else {
            throw failure("header", "the file has \(mapped.count) bytes, a header length alone takes 8")
        }
        let length = mapped.bytes.loadUnaligned(as: UInt64.self).littleEndian
        guard length <= UInt64(SafetensorsFile.headerLimit), Int(length) <= mapped.count - 8 else {
            throw failure(
                "header", "announces \(length) bytes, but the file has \(mapped.count - 8) after the header's length")
        }
        let start = 8 + Int(length)
        let text = UnsafeRawBufferPointer(rebasing: mapped.bytes[8..<start])
        guard text.first == UInt8(ascii: "{") else { throw failure("header", "does not begin with '{'") }
        let document = try JSONValue(parsing: text, file: path, depthLimit: 8)
        let fields = try JSONFields(document, file: path, location: "header")
        for member in fields.object {
            if member.key == "__metadata__" {
                try readMetadata(fields.fields(member.key))
            } else {
                tensors.append(try readTensor(member, dataStart: start, fileEnd: mapped.count))
            }
        }
        // The header's order is free; the order of the bytes is what readers expect.
        tensors.sort {
            ($0.byteRange.lowerBound, $0.byteRange.upperBound) < ($1.byteRange.lowerBound, $1.byteRange.upperBound)
        }
        var end = start
        for (index, tensor) in tensors.enumerated() {
            guard tensor.byteRange.lowerBound == end else {
                throw failure(
                    tensor.name,
                    "begins at byte \(tensor.byteRange.lowerBound), where byte \(end) would follow "
                        + "the tensor before it without gap or overlap")
            }
            end = tensor.byteRange.upperBound
            positions[tensor.name] = index
        }
        guard end == mapped.count else {
            throw failure("data", "the tensors end at byte \(end), the file at \(mapped.count)")
        }
    }

    private func failure(_ location: String, _ reason: String) -> LacunaError {
        .malformed(file: path, location: location, reason: reason)
    }

    private mutating func readMetadata(_ fields: JSONFields) throws {
        for member in fields.object { metadata[member.key] = try fields.string(member.key) }
    }

    private func readTensor(_ member: JSONObject.Member, dataStart: Int, fileEnd: Int) throws -> TensorInfo {
        let fields = try JSONFields(member.value, file: path, location: member.key)
        let dtype = try fields.string("dtype")
        guard let type = StoredType(safetensors: dtype) else {
            throw fields.failure("dtype", "unknown element type '\(dtype)'")
        }
        let shape = try fields.integers("shape")
        let offsets = try fields.integers("data_offsets")
        guard let size = TensorInfo.byteCount(shape: shape, type: type) else {
            throw fields.failure("shape", "\(shape) is negative or too large")
        }
        guard offsets.count == 2, offsets[0] >= 0, offsets[0] <= offsets[1], offsets[1] <= fileEnd - dataStart else {
            throw fields.failure(
                "data_offsets", "\(offsets) is no range inside the file's \(fileEnd - dataStart) bytes of data")
        }
        guard offsets[1] - offsets[0] == size else {
            throw fields.failure(
                "data_offsets", "\(offsets[1] - offsets[0]) bytes, but shape \(shape) of \(dtype) takes \(size)")
        }
        return TensorInfo(
            name: member.key, shape: shape, type: type, file: path,
            byteRange: dataStart + offsets[0]..<dataStart + offsets[1])
    }
}

extension ElementType {
    /// The format's names for what Lacuna stores.
    private static let safetensorsNames: [(ElementType, String)] = [
        (.f64, "F64"), (.f32, "F32"), (.f16, "F16"), (.bf16, "BF16"), (.i64, "I64"), (.i32, "I32"), (.i16, "I16"),
        (.i8, "I8"), (.u8, "U8"), (.bool, "BOOL"),
    ]

    init?(safetensors name: String) {
        guard let match = Self.safetensorsNames.first(where: { $0.1 == name }) else { return nil }
        self = match.0
    }

    var safetensorsName: String { Self.safetensorsNames.first { $0.0 == self }!.1 }
}

extension StoredType {
    /// Types of the format that Lacuna does not read: numbers in a unit of whole bytes.
    private static let elsewhere: [String: (count: Int, bytes: Int)] = [
        "U16": (1, 2), "U32": (1, 4), "U64": (1, 8), "C64": (1, 8), "F8_E4M3": (1, 1), "F8_E5M2": (1, 1),
        "F8_E8M0": (1, 1), "F4": (2, 1), "F6_E2M3": (4, 3), "F6_E3M2": (4, 3),
    ]

    fileprivate init?(safetensors name: String) {
        if let element = ElementType(safetensors: name) {
            self = .scalar(element)
        } else if let unit = Self.elsewhere[name] {
            self = .foreign(name: name, count: unit.count, bytes: unit.bytes)
        } else {
            return nil
        }
    }
}
