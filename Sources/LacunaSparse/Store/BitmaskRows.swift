import CLacuna
import LacunaTensor

/// Rows of which each keeps equally many entries, the largest, as one bit for every entry and the kept values in order: a store
/// that is filled row by row while it is read, as keys and values of attention are.
///
/// Rows of 64 entries with a multiple of 4 kept go through the kernels of regular patterns. Memory of rows not yet set is
/// reserved but not touched.
public final class BitmaskRows: @unchecked Sendable {
    /// Rows that fit.
    public let capacity: Int
    /// Entries of a row, and those of them that are kept.
    public let columns, kept: Int
    private let words: Buffer<UInt64>
    private let values: Buffer<Float>
    private let kernel: lk_bitmask
    private let wordsPerRow: Int

    /// - Precondition: `kept` is in `0...columns`.
    public init(capacity: Int, columns: Int, kept: Int) {
        require(capacity >= 0 && columns >= 1 && kept >= 0 && kept <= columns, "\(kept) of \(columns) entries")
        (self.capacity, self.columns, self.kept) = (capacity, columns, kept)
        wordsPerRow = (columns + 63) / 64
        words = Buffer(uninitialized: capacity * wordsPerRow)
        values = Buffer(uninitialized: capacity * kept)
        kernel = lk_bitmask(
            mask: words.pointer, values: values.pointer, scales: nil, row_start: nil, row_stride: kept,
            columns: columns, word_values: columns == 64 && kept % 4 == 0 ? kept : 0)
    }

    /// Bytes of a row.
    public var rowBytes: Int { 8 * wordsPerRow + 4 * kept }

    private func requireRows(_ rows: Range<Int>) {
        require(rows.lowerBound >= 0 && rows.upperBound <= capacity, "rows of the store")
    }

    /// Keeps the entries of largest magnitude of `x` [columns]; of equals the later ones.
    public func set(row: Int, from x: UnsafePointer<Float>) {
        requireRows(row..<row + 1)
        let bits = words.pointer + row * wordsPerRow
        withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { magnitudes in
            // What is not a number is larger than all numbers: it stays, and is seen.
            for i in 0..<columns { magnitudes[i] = x[i].isNaN ? .infinity : abs(x[i]) }
            Kernels.best.mask_largest(magnitudes.baseAddress!, columns, kept, bits)
        }
        var place = row * kept
        for word in 0..<wordsPerRow {
            var rest = bits[word]
            while rest != 0 {
                values.pointer[place] = x[word * 64 + rest.trailingZeroBitCount]
                place += 1
                rest &= rest - 1
            }
        }
    }

    /// Copies rows of another store of the same widths.
    public func copy(rows: Range<Int>, from other: BitmaskRows) {
        requireRows(rows)
        require(other.columns == columns && other.kept == kept && rows.upperBound <= other.capacity)
        (words.pointer + rows.lowerBound * wordsPerRow).update(
            from: other.words.pointer + rows.lowerBound * wordsPerRow, count: rows.count * wordsPerRow)
        (values.pointer + rows.lowerBound * kept).update(
            from: other.values.pointer + rows.lowerBound * kept, count: rows.count * kept)
    }

    /// `output[i] = scale · Σ_c A[rows.lowerBound + i, c] x[c]`.
    public func multiply(
        _ x: UnsafePointer<Float>, rows: Range<Int>, scale: Float = 1, into output: UnsafeMutablePointer<Float>
    ) {
        requireRows(rows)
        let input = Scratch.current.input
        input.encode(x, count: columns, encodings: .float)
        withUnsafePointer(to: kernel) {
            Kernels.best.gemv_bitmask_f32($0, input.kernelInput, rows.lowerBound, rows.upperBound, output)
        }
        if scale != 1 { for i in 0..<rows.count { output[i] *= scale } }
    }

    /// Rows that are spread out at a time: they stay in the first-level cache.
    private static let tile = 64

    /// `output[c] += Σ_i weights[i] A[rows.lowerBound + i, c]`.
    public func addMix(
        _ weights: UnsafePointer<Float>, rows: Range<Int>, to output: UnsafeMutablePointer<Float>
    ) {
        requireRows(rows)
        let spread = Scratch.current.tile(count: (Self.tile + 1) * columns)
        let sum = spread + Self.tile * columns
        for start in stride(from: rows.lowerBound, to: rows.upperBound, by: Self.tile) {
            let end = min(start + Self.tile, rows.upperBound)
            decode(rows: start..<end, into: spread)
            Kernels.best.attention_mix(weights + start - rows.lowerBound, spread, columns, end - start, columns, sum)
            Kernels.best.axpy_f32(1, sum, output, columns)
        }
    }

    /// Writes rows as dense floats, `columns` apart.
    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { Kernels.best.decode_bitmask_f32($0, rows.lowerBound, rows.upperBound, output) }
    }
}
