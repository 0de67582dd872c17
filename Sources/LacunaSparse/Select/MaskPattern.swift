import LacunaTensor

extension SparsePattern {
    /// Whether the mask could have been selected under `pattern`.
    ///
    /// Units are kept or removed as a whole. For n:m every group of `m` consecutive units, an incomplete last one too, keeps
    /// at most `n`. Scopes ask for nothing.
    public func satisfies(_ pattern: Pattern) -> Bool {
        let grid = UnitGrid(rows: rows, columns: columns, pattern.unit)
        let units = grid.touched(by: self)
        if pattern.unit != .entry && self != grid.expanded(units) { return false }
        guard let (n, m, axis) = pattern.group else { return true }
        return units.largestGroup(m, along: axis) <= n
    }

    /// The most specific pattern that the mask satisfies, or nil if it keeps everything (or has no entries).
    ///
    /// Tried in this order: rows, columns, square blocks of 64 to 4, blocks of 64 to 4 along one side, n:m with m of 4,
    /// 2, 8, 16 and 32 along the inputs, then the outputs. An n:m pattern is only reported if the mask keeps at least
    /// 98 % of what that pattern allows; a sparser one is unstructured. What remains is unstructured, of scope row if
    /// all rows keep the same number.
    public func detectedPattern() -> Pattern? {
        let kept = count
        if kept == rows * columns { return nil }
        for pattern in [Pattern.rows, .columns] where satisfies(pattern) { return pattern }
        for pattern in SparsePattern.blockCandidates where fits(pattern) && satisfies(pattern) { return pattern }
        let density = Double(kept) / Double(rows * columns)
        for axis in Pattern.Axis.allCases {
            let length = axis == .input ? columns : rows
            for m in [4, 2, 8, 16, 32] where length >= m && kept > 0 {
                // The one n that would hold this many and not many more.
                let n = Int((density * Double(m)).rounded(.up))
                if n < m && density >= 0.98 * Double(n) / Double(m) && largestGroup(m, along: axis) <= n {
                    return .nm(n: n, m: m, axis: axis)
                }
            }
        }
        let counts = keptCounts
        return .unstructured(counts.allSatisfy { $0 == counts[0] } ? .row : .layer)
    }

    private static let blockCandidates: [Pattern] =
        [64, 32, 16, 8, 4].map { .block(rows: $0, columns: $0) }
        + [64, 32, 16, 8, 4].flatMap { [.block(rows: $0, columns: 1), .block(rows: 1, columns: $0)] }

    /// Whether the matrix holds at least one whole block.
    private func fits(_ pattern: Pattern) -> Bool {
        if case .block(let blockRows, let blockColumns) = pattern.unit {
            return rows >= blockRows && columns >= blockColumns
        }
        return true
    }

    /// The most that any group of `m` consecutive entries along an axis keeps.
    public func largestGroup(_ m: Int, along axis: Pattern.Axis) -> Int {
        // Kept entries of the group of each column; of the current group alone if groups run along the row.
        var kept = [Int](repeating: 0, count: axis == .input ? 1 : columns)
        var largest = 0
        for row in 0..<rows {
            switch axis {
            case .input:
                var group = -1
                forEachKeptColumn(row: row) { column in
                    if column / m != group { (group, kept[0]) = (column / m, 0) }
                    kept[0] += 1
                    largest = max(largest, kept[0])
                }
            case .output:
                if row % m == 0 { for column in 0..<columns { kept[column] = 0 } }
                forEachKeptColumn(row: row) { column in
                    kept[column] += 1
                    largest = max(largest, kept[column])
                }
            }
        }
        return largest
    }
}
