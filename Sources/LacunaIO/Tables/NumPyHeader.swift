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

    /// The first dimension.
    public var rows: Int { shape[0] }
    /// The second dimension; 1 if there is none.
    public var columns: Int { shape.count > 1 ? shape[1] : 1 }

    /// Whether the numbers are doubles of this machine's byte order, column after column, at a multiple of 8 bytes: then
    /// the file can be used as it is, mapped into memory.
    public var isMappable: Bool { type == Self.nativeDouble && isColumnMajor && offset % 8 == 0 }

    private static var nativeDouble: String { 1.littleEndian == 1 ? "<f8" : ">f8" }

    /// - Throws: As ``NumPyArray/init(contentsOf:)``.
    public init(_ file: MappedFile) throws { try self.init(file.bytes, file: file.path) }

    /// - Parameter isRaw: Accepts any number of dimensions and any type: what only the bytes are taken of.
    init(_ bytes: UnsafeRawBufferPointer, file: String, isRaw: Bool = false) throws {
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
        if isRaw {
            (self.shape, isColumnMajor, self.type, offset) = (shape, order.hasPrefix("True"), type, begin + length)
            return
        }
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
