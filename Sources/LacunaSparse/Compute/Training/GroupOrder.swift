import CLacuna
import LacunaTensor

/// The order in which ``CompressedGroups`` keeps and multiplies the entries of a pattern of middling density (N:M above all).
///
/// Columns are cut into groups of four, rows into blocks of 128. A part is a block and a group; parts follow one another
/// group by group within a block. In a part, rows come by which of the four columns they keep (as a number of four bits,
/// ascending), then by number; a row's entries by column. `CLacuna/groups/groups.h` says what that is good for.
final class GroupOrder: Sendable {
    let (rows, columns): (Int, Int)
    /// Number of entries.
    let count: Int
    let groups: Int
    let blocks: Int
    private let row: Buffer<UInt8>
    private let counts: Buffer<UInt8>
    private let first: Buffer<UInt32>
    private let valueFirst: Buffer<UInt32>

    /// Rows of a block.
    static let blockRows = Int(LK_GROUP_ROWS)

    /// - Complexity: O(rows · columns).
    init(_ mask: SparsePattern) {
        (rows, columns) = (mask.rows, mask.columns)
        count = mask.count
        require(count <= Int(Int32.max), "a pattern of more than 2^31 - 1 entries")
        let (groups, blocks) = (
            (mask.columns + 3) / 4, (mask.rows + GroupOrder.blockRows - 1) / GroupOrder.blockRows
        )
        (self.groups, self.blocks) = (groups, blocks)
        let parts = groups * blocks
        counts = Buffer(repeating: 0, count: parts * 15)
        first = Buffer(repeating: 0, count: parts + 1)
        valueFirst = Buffer(repeating: 0, count: parts + 1)
        let (counts, first, valueFirst) = (counts.pointer, first.pointer, valueFirst.pointer)
        let (bits, wordsPerRow) = (mask.bits, mask.wordsPerRow)
        let words = bits.pointer
        defer { withExtendedLifetime(bits) {} }
        /// Calls `body` with the part of every group of a row and the columns it keeps, as bits.
        func forEachGroup(row r: Int, _ body: (_ part: Int, _ pattern: Int) -> Void) {
            let start = r / GroupOrder.blockRows * groups
            for group in 0..<groups {
                let word = words[r * wordsPerRow + group / 16]
                body(start + group, Int(word >> UInt64(group % 16 * 4) & 15))
            }
        }
        for r in 0..<mask.rows {
            forEachGroup(row: r) { part, pattern in
                if pattern == 0 { return }
                counts[part * 15 + pattern - 1] += 1
                first[part + 1] += 1
                valueFirst[part + 1] += UInt32(pattern.nonzeroBitCount)
            }
        }
        for part in 0..<parts {
            first[part + 1] += first[part]
            valueFirst[part + 1] += valueFirst[part]
        }
        // Kernels read up to 16 rows beyond the last.
        row = Buffer(repeating: 0, count: Int(first[parts]) + 16)
        // Where the next row of each pattern goes.
        var next = [UInt32](repeating: 0, count: parts * 15)
        for part in 0..<parts {
            var place = first[part]
            for i in part * 15..<part * 15 + 15 {
                next[i] = place
                place += UInt32(counts[i])
            }
        }
        for r in 0..<mask.rows {
            forEachGroup(row: r) { part, pattern in
                if pattern == 0 { return }
                row.pointer[Int(next[part * 15 + pattern - 1])] = UInt8(r % GroupOrder.blockRows)
                next[part * 15 + pattern - 1] += 1
            }
        }
    }

    /// Calls `body` with the index of every entry, ascending, and its row and column.
    func forEachEntry(_ body: (_ index: Int, _ row: Int, _ column: Int) throws -> Void) rethrows {
        var (entry, index) = (0, 0)
        for part in 0..<groups * blocks {
            let (block, group) = (part / groups, part % groups)
            for pattern in 1...15 {
                for _ in 0..<counts.pointer[part * 15 + pattern - 1] {
                    let r = block * GroupOrder.blockRows + Int(row.pointer[entry])
                    for c in 0..<4 where pattern >> c & 1 == 1 {
                        try body(index, r, 4 * group + c)
                        index += 1
                    }
                    entry += 1
                }
            }
        }
    }

    /// The rows of a block.
    func rows(block: Int) -> Range<Int> {
        block * GroupOrder.blockRows..<min((block + 1) * GroupOrder.blockRows, rows)
    }

    /// Rows and counts: about 1.1 bytes for two entries of a 2:4 pattern.
    var byteCount: Int {
        row.byteCount + counts.byteCount + first.byteCount + valueFirst.byteCount
    }

    /// What kernels take.
    func kernel(values: UnsafeRawPointer) -> lk_grouped {
        lk_grouped(
            values: values, row: row.pointer, first: first.pointer, value_first: valueFirst.pointer,
            counts: counts.pointer, columns: columns, groups: groups, blocks: blocks)
    }
}
