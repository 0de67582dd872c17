import LacunaTensor

/// Whole products of stored matrices on the thread pool.
///
/// Every row of a result is computed by one thread, in an order that the stored matrix alone decides, so results are the
/// same at any number of threads.
public enum Product {
    /// Products that cost less than this run on the calling thread: waking another costs more than it saves.
    static let serialCost = 128 << 10
    /// What one item of a parallel product with one vector costs, at least.
    static let itemCost = 64 << 10
    /// What an item costs at most, if there are more items than threads.
    static let largeItemCost = 8 << 20

    /// `output[r] = Σ_c W[r, c] x[c]` for each matrix and its output, all of them with the same input, in one parallel
    /// region.
    ///
    /// - Precondition: All matrices have equally many columns.
    public static func gemv(
        _ matrices: [(any StoredMatrix, UnsafeMutablePointer<Float>)], x: UnsafePointer<Float>
    ) {
        guard let columns = matrices.first?.0.columns else { return }
        if matrices.contains(where: { $0.0.isMultipliedWhole }) {
            for (matrix, output) in matrices where matrix.isMultipliedWhole {
                require(matrix.columns == columns, "matrices of one product differ in their columns")
                matrix.multiply(matrix: x, count: 1, into: output, leadingY: matrix.rows)
            }
            return gemv(matrices.filter { !$0.0.isMultipliedWhole }, x: x)
        }
        var encodings: InputEncoding = []
        var cost = 0
        for (matrix, _) in matrices {
            require(matrix.columns == columns, "matrices of one product differ in their columns")
            encodings.formUnion(matrix.inputEncoding)
            cost += gemvCost(matrix)
        }
        let input = Scratch.current.input
        input.encode(x, count: columns, encodings: encodings)
        let threads = Parallel.threads
        // Kernels read their rows in a few long streams, which memory serves at full speed only after some kilobytes: the
        // fewer items the better. Only of large products there are more of them, not to wait for a thread held up.
        let fewest = min(threads, max(cost / itemCost, 2))
        let items = threads == 1 || cost < serialCost ? 1 : max(fewest, cost / largeItemCost)
        Parallel.forEach(items) { item in
            // An item is a part of the matrices put one below the other.
            let part = item * cost / items..<(item + 1) * cost / items
            var start = 0
            for (matrix, output) in matrices {
                let end = start + gemvCost(matrix)
                func row(at position: Int) -> Int {
                    RowCut.row(of: matrix, at: max(position - start, 0), outOf: end - start)
                }
                let rows = row(at: part.lowerBound)..<row(at: part.upperBound)
                if !rows.isEmpty { matrix.multiply(input, rows: rows, into: output + rows.lowerBound) }
                start = end
            }
        }
    }

    /// About what a product with one vector takes, in bytes read from memory: very sparse matrices are bound by their
    /// entries, absent ones included.
    private static func gemvCost(_ matrix: any StoredMatrix) -> Int {
        max(matrix.byteCount, matrix.rows * matrix.columns / 2, matrix.rows)
    }

    /// `y[n, rows] = x[n, columns] Wᵀ` for `count` vectors.
    public static func gemm(
        _ matrix: any StoredMatrix, _ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>
    ) {
        matrix.multiply(matrix: x, count: count, into: y, leadingY: matrix.rows)
    }

    /// `y[n, rows] = x[n, columns] Wᵀ` for each matrix and its output, all of them with the same `count` inputs, which
    /// are brought into the form that sparse products read only once. Rows of an output are as long as its matrix has
    /// rows.
    ///
    /// - Precondition: All matrices have equally many columns.
    public static func gemm(
        _ matrices: [(any StoredMatrix, UnsafeMutablePointer<Float>)], x: UnsafePointer<Float>, count: Int
    ) {
        MatrixProduct.run(matrices.map { ($0.0, $0.1, $0.0.rows) }, x: x, count: count)
    }

    /// Runs `body`, during which products that this thread starts with several vectors give for each of them the bits that a
    /// product with it alone gives.
    ///
    /// Otherwise the fastest way for their number is taken, and sums are added in another order: where inputs are rounded to
    /// bytes, such a difference in the last bit moves an entry to the next byte now and then, and grows from layer to layer.
    /// The matrix is read from memory once all the same, a piece after the other that stays in cache while each vector is
    /// multiplied with it.
    public static func apart<Result>(_ body: () throws -> Result) rethrows -> Result {
        let scratch = Scratch.current
        let before = scratch.keepsVectorsApart
        scratch.keepsVectorsApart = true
        defer { scratch.keepsVectorsApart = before }
        return try body()
    }

    /// Runs `body`, during which products that this thread starts with several vectors, and that are done by decoding the matrix, are
    /// done in a precision. Matrices of bf16 values are multiplied in ``ProductPrecision/bf16`` in any case, as they are with one
    /// vector; integers have ways of their own.
    public static func rounded<Result>(_ precision: ProductPrecision, _ body: () throws -> Result) rethrows -> Result {
        let scratch = Scratch.current
        let before = scratch.precision
        scratch.precision = precision
        defer { scratch.precision = before }
        return try body()
    }

    /// Whether products that this thread starts keep their vectors apart, within ``apart(_:)``.
    public static var keepsVectorsApart: Bool { Scratch.current.keepsVectorsApart }
}

/// A matrix cut into ranges of rows that take about equally many bytes.
struct RowCut {
    let rows: Int
    /// Rows of a range; values of one if the ranges are cut by values.
    let grain: Int
    /// Where rows begin among the values, if the ranges are cut by these.
    private var offsets: UnsafePointer<UInt32>?

    init(_ matrix: any StoredMatrix, bytes: Int) {
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
        func row(_ item: Int) -> Int { item == items ? rows : Self.firstRow(at: item * grain, offsets, rows: rows) }
        return row(item)..<row(item + 1)
    }

    /// The row that begins about `part` of the `whole` way through a matrix.
    static func row(of matrix: any StoredMatrix, at part: Int, outOf whole: Int) -> Int {
        if part == 0 { return 0 }
        if part >= whole { return matrix.rows }
        if let uneven = matrix as? any UnevenRows {
            return firstRow(at: uneven.storedCount * part / whole, uneven.rowOffsets, rows: matrix.rows)
        }
        let unit = matrix.rowGranularity
        return part * matrix.rows / whole / unit * unit
    }

    /// The first row that begins at `value` or after it.
    private static func firstRow(at value: Int, _ offsets: UnsafePointer<UInt32>, rows: Int) -> Int {
        var (low, high) = (0, rows)
        while low < high {
            let middle = (low + high) / 2
            if Int(offsets[middle]) < value { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// A matrix whose rows may differ much in the number of their values: work is cut by values.
protocol UnevenRows: StoredMatrix {
    /// [rows + 1]
    var rowOffsets: UnsafePointer<UInt32> { get }
}

extension StoredMatrix {
    public func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int
    ) {
        MatrixProduct.run([(self, y, leadingY)], x: x, count: n)
    }
}
