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
    private let left: SparsePattern
    private let right: SparsePattern
    private let a: SparsePattern.CompressedRows
    private let b: SparsePattern.CompressedRows
    /// Multiplications of each row.
    let operations: Buffer<UInt64>
    /// Pieces of work: the first row of each, and the number of rows.
    private let starts: [Int]
    private let work: WorkPool
    private let counts: Buffer<UInt32>

    /// Multiplications of a piece at least.
    private static let pieceOperations: UInt64 = 1 << 15

    /// Counts the entries of every row.
    ///
    /// - Throws: `LacunaError.invalidArgument` if the patterns do not fit.
    init(_ left: SparsePattern, _ right: SparsePattern, valueBytes: Int) throws {
        guard left.columns == right.rows else {
            throw LacunaError.invalidArgument("other", reason: "\(right.shapeText) does not fit \(left.shapeText)")
        }
        (self.left, self.right) = (left, right)
        (a, b) = (left.compressedRows, right.compressedRows)
        let (from, indices, lengths) = (a.starts.pointer, a.columns.pointer, b.starts.pointer)
        let operations = Buffer<UInt64>(uninitialized: left.rows)
        self.operations = operations
        Parallel.forRanges(left.rows, grain: 4096) { range in
            for r in range {
                var sum: UInt64 = 0
                for j in from[r]..<from[r + 1] {
                    let k = Int(indices[j])
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
            a_start: a.starts.pointer, a_column: a.columns.pointer, b_start: b.starts.pointer,
            b_column: b.columns.pointer, columns: right.columns)
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
    ) throws -> (SparsePattern, Buffer<Value>) {
        let offsets = try rowOffsets()
        let columns = Buffer<UInt32>(uninitialized: offsets.pointer[left.rows])
        let values = Buffer<Value>(uninitialized: offsets.pointer[left.rows])
        work.prepareSums(of: Value.self, zero: zero)
        forEachPiece { matrices, work, rows in
            kernel(
                matrices, a, b, operations.pointer, rows.lowerBound, rows.upperBound, work, offsets.pointer,
                columns.pointer, values.pointer)
        }
        return (
            SparsePattern(rows: left.rows, columns: right.columns, .init(starts: offsets, columns: columns)), values
        )
    }

    /// The pattern alone.
    func pattern() throws -> SparsePattern {
        let offsets = try rowOffsets()
        let columns = Buffer<UInt32>(uninitialized: offsets.pointer[left.rows])
        forEachPiece { matrices, work, rows in
            Kernels.best.spgemm_pattern(
                matrices, operations.pointer, rows.lowerBound, rows.upperBound, work, offsets.pointer, columns.pointer)
        }
        return SparsePattern(rows: left.rows, columns: right.columns, .init(starts: offsets, columns: columns))
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
