import LacunaTensor

/// What the beginning of a `.npy` file says about its array, without the numbers.
public struct NumPyHeader: Sendable, Equatable {
    /// One or two lengths.
    public let shape: [Int]
    /// Whether the file keeps columns together; true for one dimension.
    public let isColumnMajor: Bool
    /// NumPy's name of the element type, such as `<f8`.
    public let type: String
    /// Where the numbers begin, in bytes.
    public let offset: Int

    public var rows: Int { shape[0] }
    public var columns: Int { shape.count > 1 ? shape[1] : 1 }

    /// Whether the numbers are doubles of this machine's byte order, column after column, at a multiple of 8 bytes: then
    /// the file can be used as it is, mapped into memory.
    public var isMappable: Bool { type == Self.nativeDouble && isColumnMajor && offset % 8 == 0 }

    private static var nativeDouble: String { 1.littleEndian == 1 ? "<f8" : ">f8" }

    /// - Throws: As ``NumPyArray/init(contentsOf:)``.
    public init(_ file: MappedFile) throws { try self.init(file.bytes, file: file.path) }

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
        guard let reader = NumPyArray.reader(type) else {
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
        self.type = type
        offset = data
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

    public var rows: Int { shape[0] }
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

    fileprivate static func reader(
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

/// Several arrays in one `.npz` file, as `numpy.savez` writes it, or `numpy.savez_compressed`: a ZIP archive of
/// `.npy` files.
public struct NumPyArchive: Sendable {
    /// By name, without `.npy`.
    public let arrays: [String: NumPyArray]

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if the archive is damaged;
    ///   ``LacunaError/unsupported(file:what:)`` for entries that are neither stored nor deflated.
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
            var (packed, size) = (try number(at + 20, 4), try number(at + 24, 4))
            let (nameLength, extraLength) = (try number(at + 28, 2), try number(at + 30, 2))
            let local = try number(at + 42, 4)
            _ = try number(at + 46 + nameLength + extraLength, 0)
            let name = String(decoding: bytes[(at + 46)..<(at + 46 + nameLength)], as: UTF8.self)
            guard method == 0 || method == 8 else {
                throw LacunaError.unsupported(file: path, what: "compression method \(method) ('\(name)')")
            }
            guard try number(local, 4) == 0x0403_4B50 else { throw failure(local, "no entry is here") }
            let data = local + 30 + (try number(local + 26, 2)) + (try number(local + 28, 2))
            if size == 0xFFFF_FFFF || packed == 0xFFFF_FFFF {
                // Large sizes are in the first field of the extra data, the unpacked one first.
                var place = at + 46 + nameLength + 4
                guard extraLength >= 4, try number(place - 4, 2) == 1 else {
                    throw failure(at, "the size of '\(name)' is missing")
                }
                let end = place + (try number(place - 2, 2))
                func large() throws -> Int {
                    guard place + 8 <= end, end <= at + 46 + nameLength + extraLength else {
                        throw failure(at, "the size of '\(name)' is missing")
                    }
                    defer { place += 8 }
                    return try number(place, 8)
                }
                if size == 0xFFFF_FFFF { size = try large() }
                if packed == 0xFFFF_FFFF { packed = try large() }
            }
            if method == 0 { packed = size }
            guard data <= bytes.count, size >= 0, packed >= 0, packed <= bytes.count - data else {
                throw failure(local, "'\(name)' is cut off")
            }
            let key = name.hasSuffix(".npy") ? String(name.dropLast(4)) : name
            let content = UnsafeRawBufferPointer(rebasing: bytes[data..<data + packed])
            if method == 0 {
                arrays[key] = try NumPyArray(content, file: "\(path)/\(name)")
            } else {
                let checksum = UInt32(truncatingIfNeeded: try number(at + 16, 4))
                let unpacked = try Gzip.inflated(
                    Array(content), count: size, checksum: checksum, file: "\(path)/\(name)")
                arrays[key] = try unpacked.withUnsafeBytes { try NumPyArray($0, file: "\(path)/\(name)") }
            }
            at += 46 + nameLength + extraLength + (try number(at + 32, 2))
        }
        self.arrays = arrays
    }
}
