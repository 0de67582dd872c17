import CLacuna
import LacunaTensor

/// Where the entries of a mask of middling density stand (N:M patterns above all), in the order in which
/// ``CompressedGroups`` keeps and multiplies them.
///
/// Columns are cut into groups of four, rows into blocks of 128. A part is a block and a group; parts follow one another
/// group by group within a block. In a part, rows come by which of the four columns they keep (as a number of four bits,
/// ascending), then by number; a row's entries by column. `CLacuna/groups/groups.h` says what that is good for.
public final class GroupPattern: Sendable {
    /// The entries as bits.
    public let mask: Mask
    /// Number of entries.
    public let count: Int
    let groups: Int
    let blocks: Int
    private let row: Buffer<UInt8>
    private let counts: Buffer<UInt8>
    private let first: Buffer<UInt32>
    private let valueFirst: Buffer<UInt32>

    /// Rows of a block.
    static let blockRows = Int(LK_GROUP_ROWS)

    public var rows: Int { mask.rows }
    public var columns: Int { mask.columns }

    /// - Complexity: O(rows · columns).
    public init(_ mask: Mask) {
        self.mask = mask
        count = mask.keptCount
        precondition(count <= Int(Int32.max), "a pattern of more than 2^31 - 1 entries")
        let (groups, blocks) = (
            (mask.columns + 3) / 4, (mask.rows + GroupPattern.blockRows - 1) / GroupPattern.blockRows
        )
        (self.groups, self.blocks) = (groups, blocks)
        let parts = groups * blocks
        counts = Buffer(repeating: 0, count: parts * 15)
        first = Buffer(repeating: 0, count: parts + 1)
        valueFirst = Buffer(repeating: 0, count: parts + 1)
        let (counts, first, valueFirst) = (counts.pointer, first.pointer, valueFirst.pointer)
        /// Calls `body` with the part of every group of a row and the columns it keeps, as bits.
        func forEachGroup(row r: Int, _ body: (_ part: Int, _ pattern: Int) -> Void) {
            let start = r / GroupPattern.blockRows * groups
            for group in 0..<groups {
                let word = mask.words[r * mask.wordsPerRow + group / 16]
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
                row.pointer[Int(next[part * 15 + pattern - 1])] = UInt8(r % GroupPattern.blockRows)
                next[part * 15 + pattern - 1] += 1
            }
        }
    }

    /// Calls `body` with the index of every entry, ascending, and its row and column.
    public func forEachEntry(_ body: (_ index: Int, _ row: Int, _ column: Int) throws -> Void) rethrows {
        var (entry, index) = (0, 0)
        for part in 0..<groups * blocks {
            let (block, group) = (part / groups, part % groups)
            for pattern in 1...15 {
                for _ in 0..<counts.pointer[part * 15 + pattern - 1] {
                    let r = block * GroupPattern.blockRows + Int(row.pointer[entry])
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
        block * GroupPattern.blockRows..<min((block + 1) * GroupPattern.blockRows, rows)
    }

    /// Mask, rows and counts: about 1.6 bytes for two entries of a 2:4 pattern.
    public var byteCount: Int {
        8 * mask.words.count + row.byteCount + counts.byteCount + first.byteCount + valueFirst.byteCount
    }

    /// What kernels take.
    func kernel(values: UnsafeRawPointer) -> lk_grouped {
        lk_grouped(
            values: values, row: row.pointer, first: first.pointer, value_first: valueFirst.pointer,
            counts: counts.pointer, columns: columns, groups: groups, blocks: blocks)
    }
}
