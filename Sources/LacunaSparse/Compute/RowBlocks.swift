import LacunaTensor

/// A CSR matrix cut into blocks of consecutive rows, by entries rather than by rows, so that they cost about the same.
/// The cut depends on the pattern alone.
struct RowBlocks: Sendable {
    /// The first row of each block, and the number of rows.
    let starts: Buffer<UInt32>
    var count: Int { starts.count - 1 }

    /// Rows of a block at most. The sums of 64 vectors take this times 256 bytes of the second-level cache.
    static let limit = 512

    /// - Parameters:
    ///   - offsets: Where each row begins among the entries, [rows + 1].
    ///   - limit: Rows of a block at most, up to 65,535.
    init<Offset: FixedWidthInteger>(
        rows: Int, rowOffsets offsets: UnsafePointer<Offset>, limit: Int = RowBlocks.limit
    ) {
        let share = max(Int(offsets[rows]) / 16, 8192)
        var starts: [UInt32] = [0]
        for r in 0..<rows {
            let start = Int(starts.last!)
            if r > start && (r - start == limit || Int(offsets[r + 1] - offsets[start]) > share) {
                starts.append(UInt32(r))
            }
        }
        if rows > 0 { starts.append(UInt32(rows)) }
        self.starts = Buffer(starts)
    }

    func rows(_ block: Int) -> Range<Int> { Int(starts.pointer[block])..<Int(starts.pointer[block + 1]) }
}
