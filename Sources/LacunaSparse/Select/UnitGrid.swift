import LacunaTensor

/// A matrix cut into units that are kept or removed as a whole: single entries, blocks, groups of rows or columns.
struct UnitGrid {
    let rows: Int
    let columns: Int
    /// Sides of a unit; those at the lower and right edges may be smaller.
    let unitRows: Int
    let unitColumns: Int

    init(rows: Int, columns: Int, _ unit: Pattern.Unit) {
        self.rows = rows
        self.columns = columns
        switch unit {
        case .entry: (unitRows, unitColumns) = (1, 1)
        case .block(let blockRows, let blockColumns): (unitRows, unitColumns) = (blockRows, blockColumns)
        case .rows(let size): (unitRows, unitColumns) = (size, max(columns, 1))
        case .columns(let size): (unitRows, unitColumns) = (max(rows, 1), size)
        }
    }

    var gridRows: Int { UnitGrid.pieces(rows, unitRows) }
    var gridColumns: Int { UnitGrid.pieces(columns, unitColumns) }
    private var isSingle: Bool { unitRows == 1 && unitColumns == 1 }

    /// Written so that a unit far larger than the matrix does not overflow.
    private static func pieces(_ length: Int, _ unit: Int) -> Int { length == 0 ? 0 : (length - 1) / unit + 1 }

    private func range(_ index: Int, _ unit: Int, _ length: Int) -> Range<Int> {
        let start = index * unit
        return start..<start + min(unit, length - start)
    }

    /// The score of every unit [gridRows, gridColumns], summed in double precision. Single entries keep theirs.
    func reduced(_ scores: Tensor<Float>, _ unitScore: Selection.UnitScore) -> Tensor<Float> {
        if isSingle { return scores }
        let (gridRows, gridColumns) = (gridRows, gridColumns)
        let squares = unitScore == .norm
        var result = Tensor<Float>(uninitialized: [gridRows, gridColumns])
        scores.withPointer { p in
            result.withMutablePointer { target in
                Parallel.forRanges(gridRows, grain: max(1, 65536 / max(min(unitRows, rows) * columns, 1))) { bands in
                    for band in bands {
                        let rowRange = range(band, unitRows, rows)
                        var sums = [Double](repeating: 0, count: gridColumns)
                        for row in rowRange {
                            let start = p + row * columns
                            for unit in 0..<gridColumns {
                                var sum = 0.0
                                for column in range(unit, unitColumns, columns) {
                                    let x = Double(start[column])
                                    sum += squares ? x * x : x
                                }
                                sums[unit] += sum
                            }
                        }
                        for unit in 0..<gridColumns {
                            let size = rowRange.count * range(unit, unitColumns, columns).count
                            let value =
                                switch unitScore {
                                case .mean: sums[unit] / Double(size)
                                case .sum: sums[unit]
                                case .norm: sums[unit].squareRoot()
                                }
                            target[band * gridColumns + unit] = Float(value)
                        }
                    }
                }
            }
        }
        return result
    }

    /// The units of which a mask of entries keeps any.
    func touched(by mask: SparsePattern) -> SparsePattern {
        if isSingle { return mask }
        var result = SparsePattern(rows: gridRows, columns: gridColumns)
        for row in 0..<rows {
            mask.forEachKeptColumn(row: row) { result[row / unitRows, $0 / unitColumns] = true }
        }
        return result
    }

    /// The mask of entries for a mask of units.
    func expanded(_ units: SparsePattern) -> SparsePattern {
        if isSingle { return units }
        var result = SparsePattern(rows: rows, columns: columns)
        for band in 0..<gridRows {
            for row in range(band, unitRows, rows) {
                units.forEachKeptColumn(row: band) {
                    result.set(row: row, columns: range($0, unitColumns, columns), kept: true)
                }
            }
        }
        return result
    }
}
