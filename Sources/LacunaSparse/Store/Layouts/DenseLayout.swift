import LacunaTensor

/// Every entry is stored. Its formats are called by their value type alone.
public struct DenseLayout: StoreLayout {
    /// The layout; it has no settings.
    public init() {}

    public var name: String { "dense" }
    public static func parse(_ name: String) -> DenseLayout? { name == "dense" ? DenseLayout() : nil }
    public func formatName(_ values: ValueType) -> String { values.rawValue }
    public var isSparse: Bool { false }
    public static func candidates(for mask: SparsePattern) -> [DenseLayout] { [DenseLayout()] }

    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        let count = mask.rows * mask.columns
        return StoreSize(
            storedCount: count,
            byteCount: values.byteCount(stored: count, rows: mask.rows, columns: mask.columns))
    }

    public var costs: StorageCosts.Layout {
        StorageCosts.Layout(entryNanoseconds: 0.05, valueNanoseconds: 0, rate16: 68e9, rate128: 165e9)
    }

    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        try DenseMatrix(source, values: values)
    }
}
