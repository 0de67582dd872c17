import LacunaTensor

/// A sparse matrix in CSC form: for each column its values and their ascending row numbers.
public struct SparseDesign: Design, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public private(set) var inverseScales: [Double]?
    // Not written to after initialisation.
    let start: Buffer<UInt64>
    let index: Buffer<UInt32>
    let values: Buffer<Double>

    /// - Parameters:
    ///   - start: Where each column begins; columns + 1 entries, from 0 to the number of values.
    ///   - index: Row numbers, ascending within a column.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if they contradict each other.
    public init(rows: Int, start: [Int], index: [UInt32], values: [Double]) throws {
        func failure(_ reason: String) -> LacunaError { .invalidArgument("sparse matrix", reason: reason) }
        guard rows >= 0, rows <= Int(Int32.max), start.first == 0, start.last == values.count,
            index.count == values.count, start.count - 1 <= Int(UInt32.max)
        else { throw failure("\(start.count) column starts, \(index.count) rows and \(values.count) values") }
        for j in 0..<start.count - 1 {
            guard start[j] <= start[j + 1] else { throw failure("column \(j + 1) ends before it begins") }
            for i in start[j]..<start[j + 1] {
                if index[i] >= rows { throw failure("column \(j + 1) has row \(index[i]) of \(rows)") }
                if i > start[j] && index[i] <= index[i - 1] {
                    throw failure("the rows of column \(j + 1) do not ascend")
                }
            }
        }
        self.rows = rows
        columns = start.count - 1
        self.start = Buffer(start.map(UInt64.init))
        self.index = Buffer(index)
        self.values = Buffer(values)
    }

    /// From entries in any order; those at the same place are added up.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a place outside the matrix.
    public init(rows: Int, columns: Int, entries: [(row: Int, column: Int, value: Double)]) throws {
        for entry in entries
        where !(0..<rows).contains(entry.row) || !(0..<columns).contains(entry.column) {
            throw LacunaError.invalidArgument(
                "sparse matrix", reason: "entry (\(entry.row), \(entry.column)) is outside \(rows) by \(columns)")
        }
        var start = [Int](repeating: 0, count: columns + 1)
        var index: [UInt32] = []
        var values: [Double] = []
        var last: (row: Int, column: Int)?
        for entry in entries.sorted(by: { ($0.column, $0.row) < ($1.column, $1.row) }) {
            if let last, last == (entry.row, entry.column) {
                values[values.count - 1] += entry.value
            } else {
                index.append(UInt32(entry.row))
                values.append(entry.value)
                start[entry.column + 1] += 1
            }
            last = (entry.row, entry.column)
        }
        for j in 0..<columns { start[j + 1] += start[j] }
        try self.init(rows: rows, start: start, index: index, values: values)
    }

    /// The entries of a dense design that are not 0.
    public init(_ dense: DenseDesign) {
        var (start, index, values): ([Int], [UInt32], [Double]) = ([0], [], [])
        for j in 0..<dense.columns {
            for i in 0..<dense.rows where dense.values[j * dense.rows + i] != 0 {
                index.append(UInt32(i))
                values.append(dense.values[j * dense.rows + i])
            }
            start.append(values.count)
        }
        rows = dense.rows
        columns = dense.columns
        inverseScales = dense.inverseScales
        self.start = Buffer(start.map(UInt64.init))
        self.index = Buffer(index)
        self.values = Buffer(values)
    }

    /// Stored values.
    public var count: Int { values.count }
    public var byteCount: Int { start.byteCount + index.byteCount + values.byteCount }

    public func scaled(by inverseScales: [Double]?) -> SparseDesign {
        precondition(inverseScales == nil || inverseScales!.count == columns)
        var result = self
        result.inverseScales = inverseScales
        return result
    }

    private func range(_ j: Int) -> (first: Int, count: Int) {
        let first = Int(start.pointer[j])
        return (first, Int(start.pointer[j + 1]) - first)
    }

    public func correlations(
        _ selected: [UInt32]?, with v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
    ) {
        let total = selected?.count ?? columns
        Parallel.forRanges(total, grain: columnGrain(4 + count / max(columns, 1))) { range in
            let target = out + range.lowerBound
            if let selected {
                selected.withUnsafeBufferPointer {
                    kernels.sparse_dots_f64(
                        values.pointer, index.pointer, start.pointer, $0.baseAddress! + range.lowerBound, range.count,
                        v, target)
                }
            } else {
                kernels.sparse_dots_f64(
                    values.pointer, index.pointer, start.pointer + range.lowerBound, nil, range.count, v, target)
            }
            if let scales = inverseScales {
                for k in range { out[k] *= scales[selected.map { Int($0[k]) } ?? k] }
            }
        }
    }

    public func correlation(_ j: Int, with v: UnsafePointer<Double>) -> Double {
        let (first, count) = range(j)
        return kernels.sparse_dot_f64(values.pointer + first, index.pointer + first, count, v)
            * (inverseScales?[j] ?? 1)
    }

    public func add(_ a: Double, column j: Int, to v: UnsafeMutablePointer<Double>) {
        let (first, count) = range(j)
        kernels.sparse_axpy_f64(
            a * (inverseScales?[j] ?? 1), values.pointer + first, index.pointer + first, count, v)
    }

    public func squaredNorms(weights: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        Parallel.forRanges(columns, grain: columnGrain(4 + count / max(columns, 1))) { columns in
            for j in columns {
                let (first, count) = range(j)
                let scale = inverseScales?[j] ?? 1
                out[j] =
                    kernels.sparse_weighted_squares_f64(
                        values.pointer + first, index.pointer + first, count, weights) * scale * scale
            }
        }
    }

    public func gram(
        _ first: [UInt32], _ second: [UInt32], weights: UnsafePointer<Double>, totalWeight: Double,
        means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int
    ) {
        if first.isEmpty || second.isEmpty { return }
        let column = Buffer<Double>(repeating: 0, count: rows)
        for (a, j) in first.enumerated() {
            // One column spread out, multiplied with all of the others.
            let (begin, count) = range(Int(j))
            let scale = inverseScales?[Int(j)] ?? 1
            for i in begin..<begin + count {
                let row = Int(index.pointer[i])
                column.pointer[row] = weights[row] * values.pointer[i] * scale
            }
            let row = out + a * leading
            correlations(second, with: column.pointer, into: row)
            if let means {
                for b in second.indices { row[b] -= totalWeight * means.first[a] * means.second[b] }
            }
            for i in begin..<begin + count { column.pointer[Int(index.pointer[i])] = 0 }
        }
    }

    public func firstNonFinite() -> (row: Int, column: Int)? {
        for j in 0..<columns {
            let (first, count) = range(j)
            for i in first..<first + count where !values.pointer[i].isFinite { return (Int(index.pointer[i]), j) }
        }
        return nil
    }
}
