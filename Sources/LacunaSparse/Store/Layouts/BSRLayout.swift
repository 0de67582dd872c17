import LacunaTensor

/// Block sparse rows: dense blocks of `rows` × `columns`, 1...256 each, and the block column of each.
public struct BSRLayout: StoreLayout {
    /// Rows of a block.
    public let rows: Int
    /// Columns of a block.
    public let columns: Int

    /// Blocks of these sides, each in 1...256.
    public init(rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
    }

    public var name: String { "bsr\(rows)x\(columns)" }

    public static func parse(_ name: String) -> BSRLayout? {
        guard name.hasPrefix("bsr") else { return nil }
        let sides = name.dropFirst(3).split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard sides.count == 2, let rows = sides[0], let columns = sides[1], rows > 0, columns > 0 else { return nil }
        return BSRLayout(rows: rows, columns: columns)
    }

    public var pattern: Pattern? { .block(rows: rows, columns: columns) }

    public static func suiting(_ pattern: Pattern, _ mask: SparsePattern) -> BSRLayout? {
        guard case .block(let rows, let columns) = pattern.unit, max(rows, columns) <= 256 else { return nil }
        return BSRLayout(rows: rows, columns: columns)
    }

    public static func candidates(for mask: SparsePattern) -> [BSRLayout] {
        [4, 16].map { BSRLayout(rows: $0, columns: $0) }
    }

    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        let grid = UnitGrid(rows: mask.rows, columns: mask.columns, .block(rows: rows, columns: columns))
        let blocks = grid.touched(by: mask).count
        let stored = blocks * rows * columns
        return StoreSize(
            storedCount: stored,
            byteCount: values.byteCount(stored: stored, rows: mask.rows, columns: mask.columns)
                + 4 * (blocks + grid.gridRows + 1))
    }

    private var isSmall: Bool { rows * columns < 64 }
    public var costKey: String { isSmall ? "bsr, small" : "bsr" }
    public var costs: StorageCosts.Layout {
        isSmall
            ? StorageCosts.Layout(entryNanoseconds: 0, valueNanoseconds: 0.15, rate16: 46e9, rate128: 110e9)
            : StorageCosts.Layout(
                entryNanoseconds: 0, valueNanoseconds: 0.16, rate16: 80e9, rate128: 125e9, panelNanoseconds: 0.02)
    }
    /// Fewer than 4 rows share what is loaded of the input.
    public func densityLimit(_ values: ValueType) -> Double { rows >= 4 ? 1 : 0.5 }

    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        try BSRMatrix(source, blockRows: rows, blockColumns: columns, values: values)
    }
}
