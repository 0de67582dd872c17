import LacunaTensor

/// Some columns of another design, which are not copied.
struct ColumnSubset: Design {
    let base: any Design
    /// Columns of the base, each at most once.
    let chosen: [UInt32]

    init(_ base: any Design, _ chosen: [Int]) {
        self.base = base
        self.chosen = chosen.map { UInt32($0) }
    }

    var rows: Int { base.rows }
    var columns: Int { chosen.count }
    var byteCount: Int { base.byteCount / max(base.columns, 1) * chosen.count }
    var inverseScales: [Double]? { base.inverseScales.map { scales in chosen.map { scales[Int($0)] } } }

    func scaled(by inverseScales: [Double]?) -> ColumnSubset {
        var all: [Double]?
        if let inverseScales {
            require(inverseScales.count == columns)
            var scales = base.inverseScales ?? [Double](repeating: 1, count: base.columns)
            for (j, scale) in zip(chosen, inverseScales) { scales[Int(j)] = scale }
            all = scales
        }
        return ColumnSubset(base: base.scaled(by: all), chosen: chosen)
    }

    private init(base: any Design, chosen: [UInt32]) { (self.base, self.chosen) = (base, chosen) }

    private func places(_ columns: [UInt32]) -> [UInt32] { columns.map { chosen[Int($0)] } }

    func correlations(
        _ columns: [UInt32]?, with v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
    ) { base.correlations(columns.map(places) ?? chosen, with: v, into: out) }

    func correlation(_ j: Int, with v: UnsafePointer<Double>) -> Double { base.correlation(Int(chosen[j]), with: v) }

    func add(_ a: Double, column j: Int, to v: UnsafeMutablePointer<Double>) {
        base.add(a, column: Int(chosen[j]), to: v)
    }

    func squaredNorms(weights: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        Parallel.forRanges(columns, grain: columnGrain(2 * rows)) { range in
            for j in range {
                var column = [Double](repeating: 0, count: rows)
                add(1, column: j, to: &column)
                out[j] = kernels.weighted_squares_f64(column, weights, rows)
            }
        }
    }

    func gram(
        _ first: [UInt32], _ second: [UInt32], weights: UnsafePointer<Double>, totalWeight: Double,
        means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int
    ) {
        base.gram(
            places(first), places(second), weights: weights, totalWeight: totalWeight, means: means, into: out,
            leading: leading)
    }

    func firstNonFinite() -> (row: Int, column: Int)? {
        var column = [Double](repeating: 0, count: rows)
        for j in 0..<columns {
            for i in column.indices { column[i] = 0 }
            add(1, column: j, to: &column)
            if let row = column.firstIndex(where: { !$0.isFinite }) { return (row, j) }
        }
        return nil
    }
}
