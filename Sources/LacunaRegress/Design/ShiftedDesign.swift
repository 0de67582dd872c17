import LacunaTensor

/// Columns of another design minus a number each. A column is spelt out, shifted, and used, so that nothing is lost to the
/// difference of two large sums; designs with a quicker way have their own ``Design/shifted(by:)``.
struct ShiftedDesign: Design {
    /// Without scales, which come after the shifts.
    let base: any Design
    /// In stored units.
    let shifts: [Double]
    let inverseScales: [Double]?

    init(_ base: some Design, by shifts: [Double]) {
        require(shifts.count == base.columns)
        self.init(plain: base.scaled(by: nil), shifts, base.inverseScales)
    }

    private init(plain: any Design, _ shifts: [Double], _ inverseScales: [Double]?) {
        (base, self.shifts, self.inverseScales) = (plain, shifts, inverseScales)
    }

    var rows: Int { base.rows }
    var columns: Int { base.columns }
    var byteCount: Int { base.byteCount }
    func firstNonFinite() -> (row: Int, column: Int)? { base.firstNonFinite() }

    func scaled(by inverseScales: [Double]?) -> ShiftedDesign {
        require(inverseScales == nil || inverseScales?.count == columns)
        return ShiftedDesign(plain: base, shifts, inverseScales)
    }

    private func fill(_ j: Int, into out: UnsafeMutablePointer<Double>) {
        let (shift, scale) = (shifts[j], inverseScales?[j] ?? 1)
        out.update(repeating: 0, count: rows)
        base.add(1, column: j, to: out)
        for i in 0..<rows { out[i] = (out[i] - shift) * scale }
    }

    func correlations(
        _ selected: [UInt32]?, with v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
    ) {
        let count = selected?.count ?? columns
        Parallel.forRanges(count, grain: columnGrain(2 * rows)) { range in
            var column = [Double](repeating: 0, count: rows)
            for k in range {
                fill(selected.map { Int($0[k]) } ?? k, into: &column)
                out[k] = kernels.dot_f64(column, v, rows)
            }
        }
    }

    func correlation(_ j: Int, with v: UnsafePointer<Double>) -> Double {
        var column = [Double](repeating: 0, count: rows)
        fill(j, into: &column)
        return kernels.dot_f64(column, v, rows)
    }

    func add(_ a: Double, column j: Int, to v: UnsafeMutablePointer<Double>) {
        var column = [Double](repeating: 0, count: rows)
        fill(j, into: &column)
        kernels.axpy_f64(a, column, v, rows)
    }

    func squaredNorms(weights: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        Parallel.forRanges(columns, grain: columnGrain(2 * rows)) { range in
            var column = [Double](repeating: 0, count: rows)
            for j in range {
                fill(j, into: &column)
                out[j] = kernels.weighted_squares_f64(column, weights, rows)
            }
        }
    }

    func gram(
        _ first: [UInt32], _ second: [UInt32], weights: UnsafePointer<Double>, totalWeight: Double,
        means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int
    ) {
        spelledGram(first, second, weights: weights, means: means, into: out, leading: leading) { fill($0, into: $1) }
    }
}

extension Design {
    /// A Gram matrix of columns that are spelt out some at a time, so that they stay small beside the design.
    ///
    /// - Parameter fill: Writes a column.
    func spelledGram(
        _ first: [UInt32], _ second: [UInt32], weights: UnsafePointer<Double>,
        means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int,
        fill: @escaping (Int, UnsafeMutablePointer<Double>) -> Void
    ) {
        if first.isEmpty || second.isEmpty { return }
        let rows = self.rows
        let block = max(16, min(512, (1 << 23) / max(rows, 1)))
        let left = Buffer<Double>(uninitialized: min(block, first.count) * rows)
        let right = Buffer<Double>(uninitialized: min(block, second.count) * rows)
        func spell(_ chosen: [UInt32], means: [Double]?, weights: UnsafePointer<Double>?, into target: Buffer<Double>) {
            Parallel.forRanges(chosen.count, grain: columnGrain(rows)) { range in
                for k in range {
                    let column = target.pointer + k * rows
                    fill(Int(chosen[k]), column)
                    if let means { for i in 0..<rows { column[i] -= means[k] } }
                    if let weights { for i in 0..<rows { column[i] *= weights[i] } }
                }
            }
        }
        for b in stride(from: 0, to: second.count, by: block) {
            let seconds = Array(second[b..<min(b + block, second.count)])
            spell(seconds, means: means.map { Array($0.second[b..<b + seconds.count]) }, weights: nil, into: right)
            for a in stride(from: 0, to: first.count, by: block) {
                let firsts = Array(first[a..<min(a + block, first.count)])
                spell(firsts, means: means.map { Array($0.first[a..<a + firsts.count]) }, weights: weights, into: left)
                LinearAlgebra.gemm(
                    m: firsts.count, n: seconds.count, k: rows, left.pointer, leadingA: rows, right.pointer,
                    leadingB: rows, transposedB: true, beta: 0, into: out + a * leading + b, leadingC: leading)
            }
        }
    }
}
