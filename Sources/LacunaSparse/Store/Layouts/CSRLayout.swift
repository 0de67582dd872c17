import LacunaTensor

/// Compressed sparse rows: the column of every kept value.
public struct CSRLayout: StoreLayout {
    /// The layout; it has no settings.
    public init() {}

    public var name: String { "csr" }
    public static func parse(_ name: String) -> CSRLayout? { name == "csr" ? CSRLayout() : nil }
    public static func candidates(for mask: SparsePattern) -> [CSRLayout] { [CSRLayout()] }

    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        let kept = mask.count
        return StoreSize(
            storedCount: kept,
            byteCount: values.byteCount(stored: kept, rows: mask.rows, columns: mask.columns)
                + (mask.columns > 65_536 ? 4 : 2) * kept + 4 * (mask.rows + 1))
    }

    public var costs: StorageCosts.Layout {
        StorageCosts.Layout(
            entryNanoseconds: 0, valueNanoseconds: 0.26, rate16: 70e9, rate128: 115e9, panelNanoseconds: 0.05)
    }
    public func densityLimit(_ values: ValueType) -> Double {
        values == .int4 ? 0.4 : values == .bf16 && Kernels.multipliesBF16 ? 0.5 : 0.75
    }

    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        try CSRMatrix(source, values: values)
    }
}
