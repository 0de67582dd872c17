import LacunaTensor

/// Whole products of stored matrices on the thread pool.
///
/// How a product is cut depends on the shapes and the stored bytes alone, so results are the same at any number of
/// threads.
public enum Product {
    /// Products that read fewer bytes than this run on the calling thread: waking another costs more than it saves.
    static let serialBytes = 192 << 10
    /// What one item of a parallel product with one vector reads, at least.
    static let itemBytes = 64 << 10
    /// Items of a parallel product, at most about.
    static let maximumItems = 32

    /// `output[r] = Σ_c W[r, c] x[c]` for each matrix and its output, all of them with the same input, in one parallel
    /// region.
    ///
    /// - Precondition: All matrices have equally many columns.
    public static func gemv(
        _ matrices: [(any WeightMatrix, UnsafeMutablePointer<Float>)], x: UnsafePointer<Float>
    ) {
        guard let columns = matrices.first?.0.columns else { return }
        var encodings: InputEncoding = []
        var bytes = 0
        for (matrix, _) in matrices {
            precondition(matrix.columns == columns, "matrices of one product differ in their columns")
            encodings.formUnion(matrix.inputEncoding)
            bytes += matrix.byteCount
        }
        let input = Scratch.current.input
        input.encode(x, count: columns, encodings: encodings)
        if bytes < serialBytes {
            for (matrix, output) in matrices { matrix.multiply(input, rows: 0..<matrix.rows, into: output) }
            return
        }
        let share = max(itemBytes, bytes / maximumItems)
        var items = 0
        for (matrix, _) in matrices { items += RowCut(matrix, bytes: share).items }
        Parallel.forEach(items) { item in
            var item = item
            for (matrix, output) in matrices {
                let cut = RowCut(matrix, bytes: share)
                if item < cut.items {
                    let rows = cut.range(item)
                    return matrix.multiply(input, rows: rows, into: output + rows.lowerBound)
                }
                item -= cut.items
            }
        }
    }

    /// `y[n, rows] = x[n, columns] Wᵀ` for `count` vectors.
    public static func gemm(
        _ matrix: any WeightMatrix, _ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>
    ) {
        matrix.multiply(matrix: x, count: count, into: y, leadingY: matrix.rows)
    }

    /// `y[n, rows] = x[n, columns] Wᵀ` for each matrix and its output, all of them with the same `count` inputs, which
    /// are brought into the form that sparse products read only once. Rows of an output are as long as its matrix has
    /// rows.
    ///
    /// - Precondition: All matrices have equally many columns.
    public static func gemm(
        _ matrices: [(any WeightMatrix, UnsafeMutablePointer<Float>)], x: UnsafePointer<Float>, count: Int
    ) {
        MatrixProduct.run(matrices.map { ($0.0, $0.1, $0.0.rows) }, x: x, count: count)
    }
}

/// A matrix cut into ranges of rows that take about equally many bytes.
struct RowCut {
    let rows: Int
    let grain: Int

    init(_ matrix: any WeightMatrix, bytes: Int) {
        rows = matrix.rows
        let unit = matrix.rowGranularity
        let wanted = bytes * rows / max(matrix.byteCount, 1)
        grain = max((wanted + unit - 1) / unit * unit, unit)
    }

    /// About `items` ranges of at most about `limit` rows.
    init(rows: Int, unit: Int, items: Int, limit: Int) {
        self.rows = rows
        grain = max((min((rows + items - 1) / items, limit) + unit - 1) / unit * unit, unit)
    }

    /// One range.
    init(rows: Int) {
        self.rows = rows
        grain = max(rows, 1)
    }

    var items: Int { (rows + grain - 1) / grain }
    func range(_ item: Int) -> Range<Int> { item * grain..<min((item + 1) * grain, rows) }
}

extension WeightMatrix {
    public func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int
    ) {
        MatrixProduct.run([(self, y, leadingY)], x: x, count: n)
    }
}
