import CLacuna
import LacunaTensor

/// The order in which kernels visit the entries of a CSR matrix: blocks of rows × bands of columns, and within these the
/// rows by the number of their entries (`kernels_segments.h` says why).
final class SegmentOrder: @unchecked Sendable {
    let segments: Buffer<lk_segment>
    let first: Buffer<UInt32>
    let rowBlocks: RowBlocks
    let bandColumns: Int
    let bands: Int
    /// Entries of a segment, on average.
    let meanLength: Double
    var blocks: Int { rowBlocks.count }

    /// What a kernel reads beyond the last segment.
    private static let slack = 16

    /// Columns of a band. With 64 vectors 128 columns fill the first-level cache, but a row should have a dozen entries in
    /// a band to be worth fetching its sums; the second-level cache is the next best.
    static func bandColumns(columns: Int, density: Double) -> Int {
        let wanted = density >= 0.08 ? 128 : density >= 0.03 ? 256 : density >= 0.01 ? 512 : 1024
        // Bands are what transposed products share out among threads.
        return max(min(wanted, (columns / 8 + 63) / 64 * 64), 64)
    }

    /// Columns of a band for panels of at most 128 bytes a column, of which more columns fit in the first-level cache.
    static let narrowBandColumns = 512

    convenience init(_ pattern: SparsePattern, bandColumns: Int? = nil) {
        self.init(
            rows: pattern.rows, columns: pattern.columns, rowOffsets: pattern.starts32.pointer,
            columnIndices: pattern.compressedRows.columns.pointer, bandColumns: bandColumns)
    }

    /// - Parameters:
    ///   - offsets: Where each row begins, [rows + 1].
    ///   - indices: The column of every entry, ascending within a row.
    ///   - bandColumns: Columns of a band; nil for what panels of 256 bytes a column need.
    @_specialize(where Index == UInt16)
    @_specialize(where Index == UInt32)
    init<Index: FixedWidthInteger & UnsignedInteger>(
        rows: Int, columns: Int, rowOffsets offsets: UnsafePointer<UInt32>, columnIndices indices: UnsafePointer<Index>,
        bandColumns wanted: Int? = nil
    ) {
        let count = Int(offsets[rows])
        let density = rows * columns == 0 ? 0 : Double(count) / Double(rows * columns)
        bandColumns = wanted ?? SegmentOrder.bandColumns(columns: columns, density: density)
        bands = max((columns + bandColumns - 1) / bandColumns, 1)

        rowBlocks = RowBlocks(rows: rows, rowOffsets: offsets)
        let starts = rowBlocks.starts.pointer

        let blocks = rowBlocks.count
        let bandColumns = bandColumns
        let bands = bands
        first = Buffer(repeating: 0, count: blocks * bands + 1)
        // How many segments each part has, then where each part begins, then the segments.
        let counts = first.pointer
        Parallel.forRanges(blocks, grain: 1) { range in
            for block in range {
                for r in Int(starts[block])..<Int(starts[block + 1]) {
                    var previous = -1
                    for j in Int(offsets[r])..<Int(offsets[r + 1]) {
                        let band = Int(indices[j]) / bandColumns
                        if band != previous { counts[block * bands + band + 1] += 1 }
                        previous = band
                    }
                }
            }
        }
        for i in 0..<blocks * bands { counts[i + 1] += counts[i] }
        let total = Int(counts[blocks * bands])
        meanLength = Double(count) / Double(max(total, 1))
        segments = Buffer(repeating: lk_segment(), count: total + SegmentOrder.slack)
        let segments = segments.pointer
        Parallel.forRanges(blocks, grain: 1) { range in
            var at = [Int](repeating: 0, count: RowBlocks.limit)
            var unsorted = [lk_segment](repeating: lk_segment(), count: RowBlocks.limit)
            var places = [Int](repeating: 0, count: bandColumns + 2)
            for block in range {
                let (low, high) = (Int(starts[block]), Int(starts[block + 1]))
                for r in low..<high { at[r - low] = Int(offsets[r]) }
                for band in 0..<bands {
                    let limit = min((band + 1) * bandColumns, columns)
                    for i in places.indices { places[i] = 0 }
                    var found = 0
                    for r in low..<high {
                        let start = at[r - low]
                        var j = start
                        let end = Int(offsets[r + 1])
                        while j < end && Int(indices[j]) < limit { j += 1 }
                        if j > start {
                            unsorted[found] = lk_segment(
                                start: UInt32(start), row: UInt16(r - low), count: UInt16(j - start))
                            found += 1
                            places[j - start + 1] += 1
                        }
                        at[r - low] = j
                    }
                    for i in 1..<places.count { places[i] += places[i - 1] }
                    let target = segments + Int(counts[block * bands + band])
                    for i in 0..<found {
                        let n = Int(unsorted[i].count)
                        target[places[n]] = unsorted[i]
                        places[n] += 1
                    }
                }
            }
        }
    }

    var byteCount: Int { segments.byteCount + first.byteCount + rowBlocks.starts.byteCount }

    func rows(block: Int) -> Range<Int> { rowBlocks.rows(block) }
    func columns(band: Int, of columns: Int) -> Range<Int> {
        band * bandColumns..<min((band + 1) * bandColumns, columns)
    }

    /// What kernels take.
    func kernel(values: UnsafeRawPointer, column: UnsafeRawPointer, wide: Bool) -> lk_segmented {
        lk_segmented(
            values: values, column: column, wide: wide ? 1 : 0, segments: segments.pointer, first: first.pointer,
            block_start: rowBlocks.starts.pointer, blocks: blocks, bands: bands, band_columns: bandColumns)
    }
}
