import CLacuna
import LacunaTensor

/// The order in which kernels visit the entries of a CSR matrix: blocks of rows × bands of columns, and within these the
/// rows by the number of their entries (`CLacuna/csr/panel.h` says why).
final class SegmentOrder: @unchecked Sendable {
    let segments: Buffer<lk_segment>
    let first: Buffer<UInt32>
    /// The first entry of each block.
    private let blockEntries: Buffer<Int>
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

    /// Entries of a part, on average, below which blocks and bands grow: a part takes as much memory as an entry, and
    /// where parts hold next to nothing there is nothing in the caches to come back to.
    private static let partEntries = 8

    convenience init(_ pattern: SparsePattern, bandColumns: Int? = nil) {
        self.init(
            rows: pattern.rows, columns: pattern.columns, rowOffsets: pattern.compressedRows.starts.pointer,
            columnIndices: pattern.compressedRows.columns.pointer, bandColumns: bandColumns)
    }

    /// - Parameters:
    ///   - offsets: Where each row begins, [rows + 1].
    ///   - indices: The column of every entry, ascending within a row.
    ///   - bandColumns: Columns of a band; nil for what panels of 256 bytes a column need.
    /// - Complexity: O(rows + entries) in time and memory, whatever the number of columns.
    @_specialize(where Offset == UInt32, Index == UInt16)
    @_specialize(where Offset == UInt32, Index == UInt32)
    @_specialize(where Offset == Int, Index == UInt32)
    init<Offset: FixedWidthInteger, Index: FixedWidthInteger & UnsignedInteger>(
        rows: Int, columns: Int, rowOffsets offsets: UnsafePointer<Offset>,
        columnIndices indices: UnsafePointer<Index>, bandColumns wanted: Int? = nil
    ) {
        let count = Int(offsets[rows])
        let density = rows == 0 || columns == 0 ? 0 : Double(count) / Double(rows) / Double(columns)
        var bandColumns = wanted ?? SegmentOrder.bandColumns(columns: columns, density: density)
        var limit = RowBlocks.limit
        let parts = max(count / SegmentOrder.partEntries, 1)
        func bands(_ width: Int) -> Int { max((columns + width - 1) / width, 1) }
        while max(rows / limit, 1) * bands(bandColumns) > parts && (limit < 32_768 || bands(bandColumns) > 1) {
            // Sums of a block are one row's each, those of a band one column's: both stay of a size.
            if limit < 32_768 && (limit <= bandColumns || bands(bandColumns) == 1) { limit *= 2 } else { bandColumns *= 2 }
        }
        let rowBlocks = RowBlocks(rows: rows, rowOffsets: offsets, limit: limit)
        let starts = rowBlocks.starts.pointer
        let (blocks, width, bandCount) = (rowBlocks.count, bandColumns, bands(bandColumns))
        (self.rowBlocks, self.bandColumns, self.bands) = (rowBlocks, bandColumns, bandCount)
        blockEntries = Buffer(rowBlocks.starts.elements.map { Int(offsets[Int($0)]) })

        first = Buffer(repeating: 0, count: blocks * bandCount + 1)
        // How many segments each part has, then where each part begins, then the segments.
        let counts = first.pointer
        /// Calls `body` with the segments of a block, row by row.
        func forEachSegment(_ block: Int, _ body: (_ band: Int, _ row: Int, _ start: Int, _ count: Int) -> Void) {
            for r in Int(starts[block])..<Int(starts[block + 1]) {
                var j = Int(offsets[r])
                let end = Int(offsets[r + 1])
                while j < end {
                    let band = Int(indices[j]) / width
                    let limit = (band + 1) * width
                    // A count has 16 bits: longer ones are cut.
                    let stop = min(end, j + 65_535)
                    let start = j
                    repeat { j += 1 } while j < stop && Int(indices[j]) < limit
                    body(band, r - Int(starts[block]), start, j - start)
                }
            }
        }
        Parallel.forRanges(blocks, grain: 1) { range in
            for block in range { forEachSegment(block) { band, _, _, _ in counts[block * bandCount + band + 1] += 1 } }
        }
        for i in 0..<blocks * bandCount { counts[i + 1] += counts[i] }
        let total = Int(counts[blocks * bandCount])
        meanLength = Double(count) / Double(max(total, 1))
        segments = Buffer(repeating: lk_segment(), count: total + SegmentOrder.slack)
        let segments = segments.pointer
        Parallel.forRanges(blocks, grain: 1) { range in
            // Sorted by length, then, in that order, put into their bands.
            var (found, bandOf): ([lk_segment], [UInt32]) = ([], [])
            var (places, order): ([Int], [Int]) = ([], [])
            for block in range {
                found.removeAll(keepingCapacity: true)
                bandOf.removeAll(keepingCapacity: true)
                let entry = Int(offsets[Int(starts[block])])
                var longest = 0
                forEachSegment(block) { band, row, start, count in
                    found.append(lk_segment(start: UInt32(start - entry), row: UInt16(row), count: UInt16(count)))
                    bandOf.append(UInt32(band))
                    longest = max(longest, count)
                }
                places = [Int](repeating: 0, count: longest + 2)
                for segment in found { places[Int(segment.count) + 1] += 1 }
                for i in 1..<places.count { places[i] += places[i - 1] }
                order = [Int](repeating: 0, count: found.count)
                for i in found.indices {
                    let n = Int(found[i].count)
                    order[places[n]] = i
                    places[n] += 1
                }
                var next = [UInt32](
                    UnsafeBufferPointer(start: counts + block * bandCount, count: bandCount))
                for i in order {
                    let band = Int(bandOf[i])
                    segments[Int(next[band])] = found[i]
                    next[band] += 1
                }
            }
        }
    }

    var byteCount: Int {
        segments.byteCount + first.byteCount + rowBlocks.starts.byteCount + blockEntries.byteCount
    }

    func rows(block: Int) -> Range<Int> { rowBlocks.rows(block) }
    func columns(band: Int, of columns: Int) -> Range<Int> {
        band * bandColumns..<min((band + 1) * bandColumns, columns)
    }

    /// What kernels take.
    func kernel(values: UnsafeRawPointer, column: UnsafeRawPointer, wide: Bool) -> lk_segmented {
        lk_segmented(
            values: values, column: column, wide: wide ? 1 : 0, segments: segments.pointer, first: first.pointer,
            block_start: rowBlocks.starts.pointer, block_entry: blockEntries.pointer, blocks: blocks, bands: bands,
            band_columns: bandColumns)
    }
}
