import CLacuna
import LacunaTensor

/// The product of two sparse matrices in three steps: count the multiplications of every row, count its entries, allocate
/// exactly, compute. Rows are cut into pieces of about equally many multiplications, which threads claim one by one;
/// within a row sums run in the order of A's columns, so results do not depend on the threads.
///
/// Row-wise products with an accumulator chosen for each row: F. G. Gustavson, "Two Fast Algorithms for Sparse Matrices:
/// Multiplication and Permuted Transposition", ACM TOMS 1978; hashing of partial products and dynamic distribution of
/// rows: K. Shivdikar, "SMASH: Sparse Matrix Atomic Scratchpad Hashing", arXiv 2105.14156.
struct SparseProduct {
    let left: CSRPattern
    let right: CSRPattern
    /// Multiplications of each row.
    let operations: Buffer<UInt64>
    /// Pieces of work: the first row of each, and the number of rows.
    private let starts: [Int]
    private let work: WorkPool
    private let counts: Buffer<UInt32>

    /// Multiplications of a piece at least.
    private static let pieceOperations: UInt64 = 1 << 15

    /// Counts; - Throws: `LacunaError.unsupported` if the product has more than 2³¹ - 1 entries.
    init(_ left: CSRPattern, _ right: CSRPattern, valueBytes: Int) throws {
        precondition(
            left.columns == right.rows, "[\(left.rows), \(left.columns)] times [\(right.rows), \(right.columns)]")
        self.left = left
        self.right = right
        let operations = Buffer<UInt64>(uninitialized: left.rows)
        self.operations = operations
        let lengths = right.rowOffsets.pointer
        Parallel.forRanges(left.rows, grain: 4096) { range in
            for r in range {
                var sum: UInt64 = 0
                for j in left.entries(row: r) {
                    let k = Int(left.columnIndices.pointer[j])
                    sum += UInt64(lengths[k + 1] - lengths[k])
                }
                operations.pointer[r] = sum
            }
        }
        var (total, heaviest): (UInt64, UInt64) = (0, 0)
        for r in 0..<left.rows {
            total += operations.pointer[r]
            heaviest = max(heaviest, operations.pointer[r])
        }
        let share = max(SparseProduct.pieceOperations, total / 256)
        var starts = [0]
        var sum: UInt64 = 0
        for r in 0..<left.rows {
            if sum > 0 && sum + operations.pointer[r] > share {
                starts.append(r)
                sum = 0
            }
            sum += operations.pointer[r] + 1
        }
        starts.append(left.rows)
        self.starts = starts
        work = WorkPool(columns: right.columns, valueBytes: valueBytes, heaviest: heaviest)

        counts = Buffer(uninitialized: left.rows)
        let counts = counts.pointer
        forEachPiece { matrices, work, rows in
            Kernels.best.spgemm_count(matrices, operations.pointer, rows.lowerBound, rows.upperBound, work, counts)
        }
    }

    /// Calls `body` for every piece with memory of its own.
    private func forEachPiece(
        _ body: (UnsafePointer<lk_spgemm>, UnsafePointer<lk_spgemm_work>, Range<Int>) -> Void
    ) {
        let matrices = lk_spgemm(
            a_start: left.rowOffsets.pointer, a_column: left.columnIndices.pointer, b_start: right.rowOffsets.pointer,
            b_column: right.columnIndices.pointer, columns: right.columns)
        withUnsafePointer(to: matrices) { matrices in
            Parallel.forEach(starts.count - 1) { piece in
                work.with { body(matrices, $0, starts[piece]..<starts[piece + 1]) }
            }
        }
    }

    typealias Kernel =
        @convention(c) (
            UnsafePointer<lk_spgemm>?, UnsafeRawPointer?, UnsafeRawPointer?, UnsafePointer<UInt64>?, Int, Int,
            UnsafePointer<lk_spgemm_work>?, UnsafePointer<Int>?, UnsafeMutablePointer<UInt32>?,
            UnsafeMutableRawPointer?
        ) -> Void

    /// Where each row of the product begins.
    private func rowOffsets() throws -> Buffer<Int> {
        let offsets = Buffer<Int>(uninitialized: left.rows + 1)
        var total = 0
        for r in 0..<left.rows {
            offsets.pointer[r] = total
            total += Int(counts.pointer[r])
        }
        if total > Int(Int32.max) {
            throw LacunaError.unsupported(file: nil, what: "a sparse product of more than 2^31 - 1 entries")
        }
        offsets.pointer[left.rows] = total
        return offsets
    }

    /// The pattern and the values of the product. `zero` is the semiring's: what the kernel's sums hold between rows.
    func run<Value: BitwiseCopyable>(
        _ a: UnsafePointer<Value>, _ b: UnsafePointer<Value>, zero: Value, kernel: Kernel
    ) throws -> (CSRPattern, Buffer<Value>) {
        let offsets = try rowOffsets()
        let columns = Buffer<UInt32>(uninitialized: offsets.pointer[left.rows])
        let values = Buffer<Value>(uninitialized: offsets.pointer[left.rows])
        work.prepareSums(of: Value.self, zero: zero)
        forEachPiece { matrices, work, rows in
            kernel(
                matrices, a, b, operations.pointer, rows.lowerBound, rows.upperBound, work, offsets.pointer,
                columns.pointer, values.pointer)
        }
        let pattern = CSRPattern(rows: left.rows, columns: right.columns, rowOffsets: offsets, columnIndices: columns)
        return (pattern, values)
    }

    /// The pattern alone.
    func pattern() throws -> CSRPattern {
        let offsets = try rowOffsets()
        let columns = Buffer<UInt32>(uninitialized: offsets.pointer[left.rows])
        forEachPiece { matrices, work, rows in
            Kernels.best.spgemm_pattern(
                matrices, operations.pointer, rows.lowerBound, rows.upperBound, work, offsets.pointer, columns.pointer)
        }
        return CSRPattern(rows: left.rows, columns: right.columns, rowOffsets: offsets, columnIndices: columns)
    }
}

/// Memory that threads take to work on a piece and give back: as many as were ever needed at once.
private final class WorkPool: @unchecked Sendable {
    private final class Memory {
        let bits: Buffer<UInt64>
        let keys: Buffer<UInt32>
        let list: Buffer<UInt32>
        var sums: Buffer<UInt8>
        let table: Buffer<UInt8>
        var work: lk_spgemm_work

        init(columns: Int, valueBytes: Int, slots: Int) {
            bits = Buffer(repeating: 0, count: (columns + 511) / 512 * 8)
            keys = Buffer(repeating: 0, count: slots)
            list = Buffer(uninitialized: columns + 64)
            sums = Buffer(uninitialized: 0)
            table = Buffer(uninitialized: slots * valueBytes)
            work = lk_spgemm_work(
                bits: bits.pointer, sums: nil, keys: keys.pointer, table: table.pointer, list: list.pointer,
                value_bytes: valueBytes)
        }
    }

    private let columns: Int
    private let valueBytes: Int
    private let slots: Int
    private let free = Locked<[Memory]>([])
    private var fill: (UnsafeMutableRawPointer) -> Void = { _ in }
    private var hasSums = false

    init(columns: Int, valueBytes: Int, heaviest: UInt64) {
        self.columns = columns
        self.valueBytes = valueBytes
        // Rows with more operations than a sixteenth of the columns are dense.
        var slots = 16
        while slots < 2 * min(Int(heaviest), columns / 16 + 1, columns) { slots *= 2 }
        self.slots = slots
    }

    /// Before a computing pass: its sums start at `zero`.
    func prepareSums<Value: BitwiseCopyable>(of: Value.Type, zero: Value) {
        let count = columns
        fill = { $0.bindMemory(to: Value.self, capacity: count).update(repeating: zero, count: count) }
        hasSums = true
    }

    func with(_ body: (UnsafePointer<lk_spgemm_work>) -> Void) {
        let memory =
            free.withLock { $0.popLast() } ?? Memory(columns: columns, valueBytes: valueBytes, slots: slots)
        if hasSums && memory.sums.count == 0 && columns > 0 {
            memory.sums = Buffer(uninitialized: columns * valueBytes)
            fill(memory.sums.pointer)
            memory.work.sums = UnsafeMutableRawPointer(memory.sums.pointer)
        }
        withUnsafePointer(to: memory.work) { body($0) }
        free.withLock { $0.append(memory) }
    }
}

extension CompressedRows {
    /// The product of two sparse matrices [rows, columns] × [columns, n], columns ascending in every row.
    ///
    /// Entries whose terms cancel are kept as explicit zeros; ``droppingZeros()`` removes them.
    ///
    /// - Complexity: as many multiplications as there are pairs of entries `a_ik`, `b_kj`, and as much memory as the result.
    /// - Throws: `LacunaError.invalidArgument` if the matrices do not fit, `LacunaError.unsupported` if the product has
    ///   more than 2³¹ - 1 entries.
    public func multiplied(by other: CompressedRows, semiring: Semiring = .plusTimes) throws -> CompressedRows {
        guard columns == other.rows else {
            throw LacunaError.invalidArgument(
                "other", reason: "[\(other.rows), \(other.columns)] does not fit [\(rows), \(columns)]")
        }
        let product = try SparseProduct(pattern, other.pattern, valueBytes: MemoryLayout<Scalar>.stride)
        let (pattern, values) = try withValues { a in
            try other.withValues { b in
                switch semiring {
                case .plusTimes: try product.run(a, b, zero: 0, kernel: Scalar.kernelTable.pointee.spgemm)
                case .minPlus:
                    try product.run(a, b, zero: .infinity, kernel: Scalar.kernelTable.pointee.spgemm_min_plus)
                }
            }
        }
        return CompressedRows(pattern, buffer: values)
    }

    /// The same matrix without entries that are 0.
    public func droppingZeros() -> CompressedRows {
        let offsets = Buffer<Int>(uninitialized: rows + 1)
        var (indices, kept): ([UInt32], [Scalar]) = ([], [])
        withValues { values in
            for r in 0..<rows {
                offsets.pointer[r] = indices.count
                for j in self.pattern.entries(row: r) where values[j] != 0 {
                    indices.append(self.pattern.columnIndices.pointer[j])
                    kept.append(values[j])
                }
            }
        }
        offsets.pointer[rows] = indices.count
        let pattern = CSRPattern(rows: rows, columns: columns, rowOffsets: offsets, columnIndices: Buffer(indices))
        return CompressedRows(pattern, buffer: Buffer(kept))
    }
}

extension CSRPattern {
    /// Where the product of two matrices of these patterns may have entries: the Boolean product.
    /// - Throws: As ``CompressedRows/multiplied(by:semiring:)``.
    public func multiplied(by other: CSRPattern) throws -> CSRPattern {
        guard columns == other.rows else {
            throw LacunaError.invalidArgument(
                "other", reason: "[\(other.rows), \(other.columns)] does not fit [\(rows), \(columns)]")
        }
        return try SparseProduct(self, other, valueBytes: 1).pattern()
    }

    /// The pattern of the transpose, and the index of each of its entries in this one.
    public func transposed() -> (pattern: CSRPattern, order: [Int]) {
        let offsets = Buffer<Int>(repeating: 0, count: columns + 1)
        for j in 0..<count { offsets.pointer[Int(columnIndices.pointer[j]) + 1] += 1 }
        for c in 0..<columns { offsets.pointer[c + 1] += offsets.pointer[c] }
        var next = offsets.array
        let indices = Buffer<UInt32>(uninitialized: count)
        var order = [Int](repeating: 0, count: count)
        for r in 0..<rows {
            for j in entries(row: r) {
                let c = Int(columnIndices.pointer[j])
                indices.pointer[next[c]] = UInt32(r)
                order[next[c]] = j
                next[c] += 1
            }
        }
        return (CSRPattern(rows: columns, columns: rows, rowOffsets: offsets, columnIndices: indices), order)
    }
}

extension CompressedRows {
    /// The transpose. Products with it do not need it: see ``multiplyTransposed(_:alpha:beta:into:)``.
    public func transposed() -> CompressedRows {
        let (pattern, order) = pattern.transposed()
        let values = Buffer<Scalar>(uninitialized: count)
        for (j, source) in order.enumerated() { values.pointer[j] = buffer.pointer[source] }
        return CompressedRows(pattern, buffer: values)
    }
}
