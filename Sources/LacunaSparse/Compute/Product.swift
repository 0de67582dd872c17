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
    /// Rows of a range; values of one if the ranges are cut by values.
    let grain: Int
    /// Where rows begin among the values, if the ranges are cut by these.
    private var offsets: UnsafePointer<UInt32>?

    init(_ matrix: any WeightMatrix, bytes: Int) {
        rows = matrix.rows
        if let uneven = matrix as? any UnevenRows, uneven.storedCount > 0 {
            grain = max(1, bytes * uneven.storedCount / max(uneven.byteCount, 1))
            offsets = uneven.rowOffsets
            return
        }
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

    var items: Int { ((offsets.map { Int($0[rows]) } ?? rows) + grain - 1) / grain }

    func range(_ item: Int) -> Range<Int> {
        guard let offsets else { return item * grain..<min((item + 1) * grain, rows) }
        // A row belongs to the range in which it begins; those that begin after the last value to the last one.
        let first = firstRow(at: item * grain, offsets)
        return first..<(item + 1 == items ? rows : firstRow(at: (item + 1) * grain, offsets))
    }

    /// The first row that begins at `value` or after it.
    private func firstRow(at value: Int, _ offsets: UnsafePointer<UInt32>) -> Int {
        var (low, high) = (0, rows)
        while low < high {
            let middle = (low + high) / 2
            if Int(offsets[middle]) < value { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// A matrix whose rows may differ much in the number of their values: work is cut by values.
protocol UnevenRows: WeightMatrix {
    /// [rows + 1]
    var rowOffsets: UnsafePointer<UInt32> { get }
}

extension WeightMatrix {
    public func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int
    ) {
        MatrixProduct.run([(self, y, leadingY)], x: x, count: n)
    }
}
