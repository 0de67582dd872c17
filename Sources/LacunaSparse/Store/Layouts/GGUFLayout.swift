import LacunaTensor

/// The formats of GGUF files that are multiplied as they are in the file, by their names: Q8_0, Q4_K and others.
public struct GGUFLayout: StoreLayout {
    public let name: String

    /// The layout of a block type's name, in lower case.
    public init(_ name: String) { self.name = name }

    /// Any block format of such a file is a name, so that one that cannot be multiplied is refused as such.
    private static let names = [
        "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    ]

    public static func parse(_ name: String) -> GGUFLayout? { names.contains(name) ? GGUFLayout(name) : nil }
    public func formatName(_ values: ValueType) -> String { name }
    /// The nearest of the types that stores have: blocks hold integers of 2 to 8 bits with scales of their own.
    public var fixedValues: ValueType? {
        switch name {
        case "Q8_0", "Q6_K": .int8
        default: .int4
        }
    }
    public var isSparse: Bool { false }

    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        let count = mask.rows * mask.columns
        return StoreSize(
            storedCount: count,
            byteCount: GGUFMatrix.blockColumns(name).map { (count + $0 - 1) / $0 * GGUFMatrix.blockBytes(name)! } ?? 0)
    }

    public var costKey: String { DenseLayout().costKey }
    public var costs: StorageCosts.Layout { DenseLayout().costs }

    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        throw LacunaError.unsupported(file: nil, what: "making GGUF blocks of type \(name): they are read from files")
    }

    public static var opaqueTensor: String? { "gguf_blocks" }

    public func columns(bytesPerRow: Int) -> Int? {
        guard let size = GGUFMatrix.blockBytes(name), bytesPerRow % size == 0 else { return nil }
        return bytesPerRow / size * GGUFMatrix.blockColumns(name)!
    }

    public func make(bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) throws -> any StoredMatrix {
        try GGUFMatrix(name, bytes: bytes, rows: rows, columns: columns)
    }
}
