import LacunaTensor

/// An array in NumPy's `.npy` format: booleans, integers and floating-point numbers of one or two dimensions.
public struct NumPyArray: Sendable {
    /// One or two lengths.
    public let shape: [Int]
    /// Whether the file keeps columns together.
    public let isColumnMajor: Bool
    /// Column after column.
    public let columnMajor: [Double]
    /// If the numbers can be used as they are (``NumPyHeader/isMappable``): where they begin in the file.
    public let doublesOffset: Int?

    /// The first dimension.
    public var rows: Int { shape[0] }
    /// The second dimension; 1 if there is none.
    public var columns: Int { shape.count > 1 ? shape[1] : 1 }

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if the file is cut off or contradicts itself;
    ///   ``LacunaError/unsupported(file:what:)`` for other types and more dimensions.
    public init(contentsOf path: String) throws {
        let file = try MappedFile(path)
        try self.init(file.bytes, file: path)
    }

    init(_ bytes: UnsafeRawBufferPointer, file: String) throws {
        let header = try NumPyHeader(bytes, file: file)
        shape = header.shape
        isColumnMajor = header.isColumnMajor
        doublesOffset = header.isMappable ? header.offset : nil
        let (rows, columns) = (header.rows, header.columns)
        // The header was checked: there is a reader.
        guard let reader = Self.reader(header.type) else {
            throw LacunaError.unsupported(file: file, what: "numbers of type '\(header.type)'")
        }
        try MachineMemory.require(shape: [rows, columns], of: Double.self, for: "the numbers of \(file)")
        var values = [Double](repeating: 0, count: rows * columns)
        if header.isMappable, let start = bytes.baseAddress {
            values.withUnsafeMutableBytes { target in
                target.copyMemory(from: UnsafeRawBufferPointer(start: start + header.offset, count: target.count))
            }
        } else {
            for i in 0..<rows {
                for j in 0..<columns {
                    let place = isColumnMajor ? j * rows + i : i * columns + j
                    values[j * rows + i] = reader.read(bytes, header.offset + place * reader.size)
                }
            }
        }
        columnMajor = values
    }

    static func reader(
        _ type: String
    ) -> (size: Int, read: (UnsafeRawBufferPointer, Int) -> Double)? {
        let isBig = type.hasPrefix(">")
        func integer<T: FixedWidthInteger>(_: T.Type) -> (Int, (UnsafeRawBufferPointer, Int) -> Double) {
            (
                MemoryLayout<T>.size,
                { bytes, at in
                    let raw = bytes.loadUnaligned(fromByteOffset: at, as: T.self)
                    return Double(isBig ? T(bigEndian: raw) : T(littleEndian: raw))
                }
            )
        }
        switch type.dropFirst() {
        case "f8":
            return (
                8,
                { bytes, at in
                    let raw = bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                    return Double(bitPattern: isBig ? UInt64(bigEndian: raw) : UInt64(littleEndian: raw))
                }
            )
        case "f4":
            return (
                4,
                { bytes, at in
                    let raw = bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)
                    return Double(Float(bitPattern: isBig ? UInt32(bigEndian: raw) : UInt32(littleEndian: raw)))
                }
            )
        case "i8": return integer(Int64.self)
        case "i4": return integer(Int32.self)
        case "i2": return integer(Int16.self)
        case "i1": return integer(Int8.self)
        case "u8": return integer(UInt64.self)
        case "u4": return integer(UInt32.self)
        case "u2": return integer(UInt16.self)
        case "u1", "b1": return integer(UInt8.self)
        default: return nil
        }
    }
}

extension NumPyArray {
    /// Writes a tensor of one or two dimensions as a `.npy` file that NumPy reads, row after row.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)``, and ``LacunaError/invalidArgument(_:reason:)`` for other tensors.
    public static func write<Scalar: TensorScalar>(_ tensor: Tensor<Scalar>, to path: String) throws {
        guard (1...2).contains(tensor.rank) else {
            throw LacunaError.invalidArgument(
                "tensor", reason: "shape \(tensor.shape) has neither one nor two dimensions")
        }
        let file = try AtomicFile(path)
        let type = Scalar.self == Float.self ? "<f4" : "<f8"
        try file.write(header(type: type, shape: tensor.shape))
        try tensor.withPointer { try file.write(littleEndian(UnsafeBufferPointer(start: $0, count: tensor.count))) }
        try file.commit()
    }

    /// The beginning of a `.npy` file of version 1.0, padded so that the numbers begin at a multiple of 64 bytes.
    static func header(type: String, shape: [Int]) -> [UInt8] {
        let lengths = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
        var text = "{'descr': '\(type)', 'fortran_order': False, 'shape': (\(lengths)), }"
        text += String(repeating: " ", count: 63 - (10 + text.utf8.count) % 64) + "\n"
        return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(text.utf8.count & 255), UInt8(text.utf8.count >> 8)]
            + Array(text.utf8)
    }

    /// Numbers as the bytes of a file. All machines that Lacuna runs on are little-endian.
    static func littleEndian<Number: BitwiseCopyable>(_ numbers: UnsafeBufferPointer<Number>) -> UnsafeRawBufferPointer
    {
        UnsafeRawBufferPointer(numbers)
    }
}
