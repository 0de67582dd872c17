import LacunaTensor

/// An array in NumPy's `.npy` format: booleans, integers and floating-point numbers of one or two dimensions.
public struct NumPyArray: Sendable {
    /// One or two lengths.
    public let shape: [Int]
    /// Whether the file keeps columns together.
    public let isColumnMajor: Bool
    /// Column after column.
    public let columnMajor: [Double]
    /// If the numbers are little-endian doubles: where they begin in the file, so that it can be mapped.
    public let doublesOffset: Int?

    public var rows: Int { shape[0] }
    public var columns: Int { shape.count > 1 ? shape[1] : 1 }

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if the file is cut off or contradicts itself;
    ///   ``LacunaError/unsupported(file:what:)`` for other types and more dimensions.
    public init(contentsOf path: String) throws {
        let file = try MappedFile(path)
        try self.init(file.bytes, file: path)
    }

    init(_ bytes: UnsafeRawBufferPointer, file: String) throws {
        func failure(_ location: String, _ reason: String) -> LacunaError {
            .malformed(file: file, location: location, reason: reason)
        }
        guard bytes.count >= 10, bytes.prefix(6).elementsEqual([0x93] + Array("NUMPY".utf8)) else {
            throw failure("byte 0", "is not a .npy file")
        }
        let wide = bytes[6] >= 2
        guard (1...3).contains(bytes[6]), bytes.count >= (wide ? 12 : 10) else {
            throw failure("byte 6", "version \(bytes[6]) of the format is not known")
        }
        let begin = wide ? 12 : 10
        let length = (0..<(wide ? 4 : 2)).reduce(0) { $0 | Int(bytes[8 + $1]) << (8 * $1) }
        guard length <= bytes.count - begin else { throw failure("byte 8", "the header is cut off") }
        let header = String(decoding: bytes[begin..<begin + length], as: UTF8.self)
        guard let type = Self.field("descr", header).flatMap(Self.string),
            let order = Self.field("fortran_order", header), order.hasPrefix("True") || order.hasPrefix("False"),
            let shape = Self.field("shape", header).flatMap(Self.tuple)
        else { throw failure("header", "descr, fortran_order or shape is missing") }
        guard (1...2).contains(shape.count) else {
            throw LacunaError.unsupported(file: file, what: "an array of \(shape.count) dimensions")
        }
        guard let reader = Self.reader(type) else {
            throw LacunaError.unsupported(file: file, what: "numbers of type '\(type)'")
        }
        let (rows, columns) = (shape[0], shape.count > 1 ? shape[1] : 1)
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
        let data = begin + length
        guard !overflow, count <= (bytes.count - data) / reader.size else {
            throw failure("shape", "\(rows) by \(columns) numbers are not in \(bytes.count - data) bytes")
        }
        self.shape = shape
        isColumnMajor = order.hasPrefix("True") || shape.count == 1
        doublesOffset = type == "<f8" && isColumnMajor && data % 8 == 0 ? data : nil
        var values = [Double](repeating: 0, count: count)
        for i in 0..<rows {
            for j in 0..<columns {
                let place = isColumnMajor ? j * rows + i : i * columns + j
                values[j * rows + i] = reader.read(bytes, data + place * reader.size)
            }
        }
        columnMajor = values
    }

    private static func reader(
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

    // The header is a Python dictionary of three known keys.

    private static func field(_ key: String, _ header: String) -> Substring? {
        for quote in ["'", "\""] {
            if let range = header.firstRange(of: "\(quote)\(key)\(quote)") {
                let rest = header[range.upperBound...].drop { $0 == " " }
                return rest.first == ":" ? rest.dropFirst().drop { $0 == " " } : nil
            }
        }
        return nil
    }

    private static func string(_ text: Substring) -> String? {
        guard let quote = text.first, quote == "'" || quote == "\"",
            let end = text.dropFirst().firstIndex(of: quote)
        else { return nil }
        return String(text[text.index(after: text.startIndex)..<end])
    }

    private static func tuple(_ text: Substring) -> [Int]? {
        guard text.first == "(", let end = text.firstIndex(of: ")") else { return nil }
        let items = text[text.index(after: text.startIndex)..<end].split(separator: ",").map { item in
            String(item.filter { $0 != " " })
        }.filter { !$0.isEmpty }
        let numbers = items.compactMap { Int($0) }
        return numbers.count == items.count && numbers.allSatisfy { $0 >= 0 } ? numbers : nil
    }
}

/// Several arrays in one `.npz` file, as `numpy.savez` writes it: a ZIP archive of `.npy` files, not compressed.
public struct NumPyArchive: Sendable {
    /// By name, without `.npy`.
    public let arrays: [String: NumPyArray]

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if the archive is damaged;
    ///   ``LacunaError/unsupported(file:what:)`` for compressed entries, as `savez_compressed` makes them.
    public init(contentsOf path: String) throws {
        let file = try MappedFile(path)
        let bytes = file.bytes
        func failure(_ at: Int, _ reason: String) -> LacunaError {
            .malformed(file: path, location: "byte \(at)", reason: reason)
        }
        func number(_ at: Int, _ count: Int) throws -> Int {
            guard at >= 0, at <= bytes.count - count else { throw failure(at, "the archive is cut off") }
            return (0..<count).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
        }
        // The directory is found from the end record, which is the last but for a comment.
        var end = bytes.count - 22
        while end >= 0 && end >= bytes.count - 22 - 65_535 {
            if try number(end, 4) == 0x0605_4B50 { break }
            end -= 1
        }
        guard end >= 0, try number(end, 4) == 0x0605_4B50 else { throw failure(0, "is not a .npz archive") }
        var at = try number(end + 16, 4)
        var arrays: [String: NumPyArray] = [:]
        for _ in 0..<(try number(end + 10, 2)) {
            guard try number(at, 4) == 0x0201_4B50 else { throw failure(at, "no entry of the directory is here") }
            let method = try number(at + 10, 2)
            var size = try number(at + 24, 4)
            let (nameLength, extraLength) = (try number(at + 28, 2), try number(at + 30, 2))
            let local = try number(at + 42, 4)
            _ = try number(at + 46 + nameLength + extraLength, 0)
            let name = String(decoding: bytes[(at + 46)..<(at + 46 + nameLength)], as: UTF8.self)
            if method != 0 {
                throw LacunaError.unsupported(
                    file: path, what: "compressed arrays ('\(name)'); write the file with numpy.savez")
            }
            guard try number(local, 4) == 0x0403_4B50 else { throw failure(local, "no entry is here") }
            let data = local + 30 + (try number(local + 26, 2)) + (try number(local + 28, 2))
            if size == 0xFFFF_FFFF {
                // Large sizes are in the first field of the extra data.
                guard extraLength >= 12, try number(at + 46 + nameLength, 2) == 1 else {
                    throw failure(at, "the size of '\(name)' is missing")
                }
                size = try number(at + 46 + nameLength + 4, 8)
            }
            guard data <= bytes.count, size >= 0, size <= bytes.count - data else {
                throw failure(local, "'\(name)' is cut off")
            }
            let key = name.hasSuffix(".npy") ? String(name.dropLast(4)) : name
            arrays[key] = try NumPyArray(
                UnsafeRawBufferPointer(rebasing: bytes[data..<data + size]), file: "\(path)/\(name)")
            at += 46 + nameLength + extraLength + (try number(at + 32, 2))
        }
        self.arrays = arrays
    }
}
