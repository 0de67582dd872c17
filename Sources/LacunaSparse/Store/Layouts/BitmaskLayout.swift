import LacunaTensor

/// One bit for every entry, the kept values in order, and where each row begins.
public struct BitmaskLayout: StoreLayout {
    /// The layout; it has no settings.
    public init() {}

    public var name: String { "bitmask" }
    public static func parse(_ name: String) -> BitmaskLayout? { name == "bitmask" ? BitmaskLayout() : nil }
    public static func candidates(for mask: SparsePattern) -> [BitmaskLayout] { [BitmaskLayout()] }

    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        let kept = mask.count
        return StoreSize(
            storedCount: kept,
            byteCount: values.byteCount(stored: kept, rows: mask.rows, columns: mask.columns)
                + mask.rows * ((mask.columns + 63) / 64) * 8 + 4 * (mask.rows + 1))
    }

    public var costs: StorageCosts.Layout {
        StorageCosts.Layout(
            entryNanoseconds: 0.04, valueNanoseconds: 0.004, rate16: 50e9, rate128: 150e9, panelNanoseconds: 0.17)
    }

    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        try BitmaskMatrix(source, values: values)
    }
}
