import LacunaTensor

/// A matrix cut into units that are kept or removed as a whole: single entries, blocks, rows or columns.
struct UnitGrid {
    let rows: Int
    let columns: Int
    /// Sides of a unit; those at the lower and right edges may be smaller.
    let unitRows: Int
    let unitColumns: Int

    init(rows: Int, columns: Int, pattern: Pattern) {
        self.rows = rows
        self.columns = columns
        switch pattern {
        case .unstructured, .nm: (unitRows, unitColumns) = (1, 1)
        case .block(let blockRows, let blockColumns): (unitRows, unitColumns) = (blockRows, blockColumns)
        case .rows: (unitRows, unitColumns) = (1, max(columns, 1))
        case .columns: (unitRows, unitColumns) = (max(rows, 1), 1)
        }
    }

    var gridRows: Int { UnitGrid.pieces(rows, unitRows) }
    var gridColumns: Int { UnitGrid.pieces(columns, unitColumns) }

    /// Written so that a unit far larger than the matrix does not overflow.
    private static func pieces(_ length: Int, _ unit: Int) -> Int { length == 0 ? 0 : (length - 1) / unit + 1 }

    private func range(_ index: Int, _ unit: Int, _ length: Int) -> Range<Int> {
        let start = index * unit
        return start..<start + min(unit, length - start)
    }

    /// The mean of every unit [gridRows, gridColumns], summed in double precision.
    func means(_ scores: Tensor<Float>) -> Tensor<Float> {
        if unitRows == 1 && unitColumns == 1 { return scores }
        let (gridRows, gridColumns) = (gridRows, gridColumns)
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
                                for column in range(unit, unitColumns, columns) { sum += Double(start[column]) }
                                sums[unit] += sum
                            }
                        }
                        for unit in 0..<gridColumns {
                            let size = rowRange.count * range(unit, unitColumns, columns).count
                            target[band * gridColumns + unit] = Float(sums[unit] / Double(size))
                        }
                    }
                }
            }
        }
        return result
    }

    /// The mask of entries for a mask of units.
    func expanded(_ units: Mask) -> Mask {
        if unitRows == 1 && unitColumns == 1 { return units }
        var result = Mask(rows: rows, columns: columns)
        for band in 0..<gridRows {
            let rowRange = range(band, unitRows, rows)
            guard let first = rowRange.first else { continue }
            units.forEachKeptColumn(row: band) {
                result.set(row: first, columns: range($0, unitColumns, columns), kept: true)
            }
            result.withMutableWords { words, width in
                for row in rowRange.dropFirst() { (words + row * width).update(from: words + first * width, count: width) }
            }
        }
        return result
    }
}
