import CZlib
import LacunaSparse
import LacunaTensor

extension SparseMatrix where Scalar: TensorScalar {
    /// Reads a sparse matrix that `scipy.sparse.save_npz` wrote: of the formats csr, csc and coo.
    ///
    /// - Throws: `LacunaError.malformed` with the array if the file is damaged or contradicts itself,
    ///   `LacunaError.unsupported` for the formats bsr and dia, `LacunaError.missingTensor` for a file that lacks an array.
    public init(npz path: String) throws {
        let archive = try NumPyArchive(contentsOf: path)
        func array(_ name: String) throws -> NumPyArray {
            guard let array = try archive.array(name) else { throw LacunaError.missingTensor(file: path, name: name) }
            return array
        }
        func malformed(_ name: String, _ reason: String) -> LacunaError {
            .malformed(file: path, location: "array '\(name)'", reason: reason)
        }
        /// Whole numbers that are not negative.
        func indices<Index: FixedWidthInteger>(_ name: String, _: Index.Type = Int.self) throws -> [Index] {
            try array(name).columnMajor.map {
                guard $0 >= 0, $0 <= 0x1p53, $0 == $0.rounded(), let index = Index(exactly: $0) else {
                    throw malformed(name, "\($0) is no index")
                }
                return index
            }
        }
        let format = try archive.text("format") ?? ""
        let shape = try indices("shape")
        guard shape.count == 2 else { throw malformed("shape", "has \(shape.count) lengths, 2 are needed") }
        let (rows, columns) = (shape[0], shape[1])
        let values = try { (all: [Double]) in all as? [Scalar] ?? all.map { Scalar($0) } }(array("data").columnMajor)
        // Rows without entries cost eight bytes too: as in MatrixMarket files, a hostile shape must not take much more than its file.
        let limit = Swift.max(values.count, 1 << 18) << 4
        guard rows <= limit else {
            throw malformed("shape", "\(rows) rows are above the limit of \(limit) for \(values.count) entries")
        }
        do {
            switch format {
            case "csr", "csc":
                // Rows of a csc file are the matrix's columns. Indices may be in any order.
                let (starts, places) = (try indices("indptr"), try indices("indices", UInt32.self))
                let lines = format == "csr" ? rows : columns
                guard starts.count == lines + 1, starts.first == 0, starts.last == values.count,
                    places.count == values.count, zip(starts, starts.dropFirst()).allSatisfy({ $0 <= $1 })
                else { throw malformed("indptr", "does not fit \(values.count) values in \(lines) lines") }
                var line = [UInt32](repeating: 0, count: values.count)
                for k in 0..<lines {
                    for place in starts[k]..<starts[k + 1] { line[place] = UInt32(truncatingIfNeeded: k) }
                }
                self = try SparseMatrix(
                    rows: rows, columns: columns, rowIndices: format == "csr" ? line : places,
                    columnIndices: format == "csr" ? places : line, values: values)
            case "coo":
                self = try SparseMatrix(
                    rows: rows, columns: columns, rowIndices: indices("row", UInt32.self),
                    columnIndices: indices("col", UInt32.self), values: values)
            default:
                throw LacunaError.unsupported(
                    file: path, what: "the sparse format '\(format)'; csr, csc and coo are read")
            }
        } catch let LacunaError.invalidArgument(argument, reason) {
            throw malformed(argument, reason)
        }
    }

    /// Writes the file that `scipy.sparse.load_npz` reads, in its format csr.
    ///
    /// - Throws: `LacunaError.file`.
    public func write(npz path: String) throws {
        var archive = try NumPyArchiveWriter(path)
        let isWide = Swift.max(rows, columns, count) > Int(Int32.max)
        func integers(_ values: [Int], _ name: String) throws {
            if isWide {
                try archive.add(name, type: "<i8", shape: [values.count], values.map { Int64($0) })
            } else {
                try archive.add(name, type: "<i4", shape: [values.count], values.map { Int32($0) })
            }
        }
        try integers(pattern.columnIndices, "indices")
        try integers(pattern.rowStarts, "indptr")
        try archive.add("format", type: "|S3", shape: [], Array("csr".utf8))
        try archive.add("shape", type: "<i8", shape: [2], [Int64(rows), Int64(columns)])
        try archive.add("data", type: Scalar.self == Float.self ? "<f4" : "<f8", shape: [count], values)
        try archive.commit()
    }
}

extension NumPyArchive {
    /// The text in an array of no dimensions, as `numpy.savez` writes a string or bytes; nil if there is no such array.
    func text(_ name: String) throws -> String? {
        try withBytes(of: name) { bytes, file in
            let header = try NumPyHeader(bytes, file: file, isRaw: true)
            func failure(_ reason: String) -> LacunaError { .malformed(file: file, location: "header", reason: reason) }
            guard header.shape.isEmpty, let length = Int(header.type.dropFirst(2)), (0...256).contains(length) else {
                throw failure("is no text")
            }
            let isWide = header.type.dropFirst().first == "U"
            guard isWide || header.type.hasPrefix("|S"), bytes.count - header.offset >= length * (isWide ? 4 : 1) else {
                throw failure("is no text, or is cut off")
            }
            let characters = (0..<length).map { i -> UInt32 in
                isWide
                    ? bytes.loadUnaligned(fromByteOffset: header.offset + 4 * i, as: UInt32.self)
                    : UInt32(bytes[header.offset + i])
            }
            return String(String.UnicodeScalarView(characters.prefix { $0 != 0 }.compactMap { Unicode.Scalar($0) }))
        }
    }
}

/// Writes several arrays as a `.npz` file, not packed: a ZIP archive that appears whole or not at all.
struct NumPyArchiveWriter {
    private let file: AtomicFile
    private var directory: [UInt8] = []
    private var entries = 0

    init(_ path: String) throws { file = try AtomicFile(path) }

    /// - Throws: `LacunaError.unsupported` for more than 4 GiB, which would need another form of archive.
    mutating func add<Number: BitwiseCopyable>(_ name: String, type: String, shape: [Int], _ values: [Number]) throws {
        let header = NumPyArray.header(type: type, shape: shape)
        let offset = file.count
        let size = header.count + values.count * MemoryLayout<Number>.stride
        guard offset + size + 4096 <= Int(UInt32.max) else {
            throw LacunaError.unsupported(file: file.path, what: "a .npz file of more than 4 GiB")
        }
        let checksum = values.withUnsafeBytes { bytes in
            let start = header.withUnsafeBufferPointer { crc32_z(0, $0.baseAddress, $0.count) }
            return UInt32(
                truncatingIfNeeded: crc32_z(start, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count))
        }
        let path = Array("\(name).npy".utf8)
        var common = Self.bytes(UInt16(20), UInt16(0), UInt16(0), UInt32(0x0021_0000))
        common += Self.bytes(checksum, UInt32(size), UInt32(size), UInt16(path.count), UInt16(0))
        try file.write(Self.bytes(UInt32(0x0403_4B50)) + common + path)
        try file.write(header)
        try values.withUnsafeBytes { try file.write($0) }
        directory += Self.bytes(UInt32(0x0201_4B50), UInt16(20)) + common
        directory += Self.bytes(UInt16(0), UInt16(0), UInt16(0), UInt32(0), UInt32(offset)) + path
        entries += 1
    }

    func commit() throws {
        let offset = file.count
        try file.write(directory)
        try file.write(
            Self.bytes(UInt32(0x0605_4B50), UInt16(0), UInt16(0), UInt16(entries), UInt16(entries))
                + Self.bytes(UInt32(directory.count), UInt32(offset), UInt16(0)))
        try file.commit()
    }

    private static func bytes(_ numbers: any FixedWidthInteger...) -> [UInt8] {
        var result: [UInt8] = []
        for number in numbers {
            let bits = UInt64(truncatingIfNeeded: number)
            for shift in stride(from: 0, to: number.bitWidth, by: 8) {
                result.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
            }
        }
        return result
    }
}
