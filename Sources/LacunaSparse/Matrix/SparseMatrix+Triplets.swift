import LacunaTensor

// Triplets in any order become rows by counting twice: first into blocks of rows, of which each fits in a core's cache, and within
// these into rows. Counting straight into rows would wait for memory at every entry.
extension SparseMatrix {
    /// Sorts triplets by rows and columns. Entries at one place are combined in the order in which they come.
    ///
    /// Beside the result it needs two bytes an entry, and what a few blocks take.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a place outside the matrix, or one that comes twice without a rule.
    @_specialize(where Scalar == Float, Index == UInt32)
    @_specialize(where Scalar == Double, Index == UInt32)
    @_specialize(where Scalar == Float, Index == Int)
    @_specialize(where Scalar == Double, Index == Int)
    @_specialize(where Scalar == Double, Index == Int32)
    static func assembled<Index: FixedWidthInteger>(
        rows: Int, columns: Int, _ rowIndices: [Index], _ columnIndices: [Index], _ values: [Scalar],
        combining: ((Scalar, Scalar) -> Scalar)?
    ) throws -> SparseMatrix {
        let plan = TripletPlan(rows: rows, entries: values.count)
        let places = try plan.count(rowIndices, columnIndices, columns: columns)
        let blockStarts = plan.turnIntoPlaces(places)
        let (indices, sorted) = (
            Buffer<UInt32>(uninitialized: values.count), Buffer<Scalar>(uninitialized: values.count)
        )
        let rowsInBlock = Buffer<UInt16>(uninitialized: values.count)
        rowIndices.withUnsafeBufferPointer { rowIndices in
            columnIndices.withUnsafeBufferPointer { columnIndices in
                values.withUnsafeBufferPointer { values in
                    Parallel.forEach(plan.chunks) { chunk in
                        let next = places.pointer + chunk * plan.blocks
                        for i in plan.range(chunk: chunk) {
                            let row = Int(truncatingIfNeeded: rowIndices[i])
                            let place = next[row >> plan.shift]
                            next[row >> plan.shift] = place + 1
                            rowsInBlock.pointer[place] = UInt16(truncatingIfNeeded: row & plan.rowMask)
                            indices.pointer[place] = UInt32(truncatingIfNeeded: columnIndices[i])
                            sorted.pointer[place] = values[i]
                        }
                    }
                }
            }
        }
        let starts = Buffer<Int>(uninitialized: rows + 1)
        starts.pointer[0] = 0
        let kept = Buffer<Int>(uninitialized: plan.blocks)
        let refused = Locked<(row: Int, column: Int)?>(nil)
        let largest = (0..<plan.blocks).reduce(0) {
            Swift.max($0, blockStarts.pointer[$1 + 1] - blockStarts.pointer[$1])
        }
        Parallel.forRanges(plan.blocks, grain: (plan.blocks + 63) / 64) { range in
            let next = Buffer<Int>(uninitialized: plan.rowMask + 3)
            var sorter = RowSorter<Scalar>(capacity: largest)
            for block in range {
                let (first, end) = (blockStarts.pointer[block], blockStarts.pointer[block + 1])
                let (firstRow, endRow) = (block << plan.shift, Swift.min(rows, (block + 1) << plan.shift))
                let (c, v) = (indices.pointer + first, sorted.pointer + first)
                // next[r + 1] is where the next entry of row r goes, and after all of them where row r + 1 begins.
                next.pointer.update(repeating: 0, count: endRow - firstRow + 2)
                for i in first..<end { next.pointer[Int(rowsInBlock.pointer[i]) + 2] += 1 }
                for r in 0..<endRow - firstRow { next.pointer[r + 2] += next.pointer[r + 1] }
                for i in 0..<end - first {
                    let row = Int(rowsInBlock.pointer[first + i])
                    let place = next.pointer[row + 1]
                    next.pointer[row + 1] = place + 1
                    sorter.columns.pointer[place] = c[i]
                    sorter.values.pointer[place] = v[i]
                }
                var total = 0
                for row in firstRow..<endRow {
                    let entries = next.pointer[row - firstRow]..<next.pointer[row - firstRow + 1]
                    total += sorter.take(
                        entries, to: c + total, v + total, combining: combining,
                        refuse: { column in
                            refused.withLock { if $0 == nil || row < $0!.row { $0 = (row, column) } }
                        })
                    starts.pointer[row + 1] = first + total
                }
                kept.pointer[block] = total
            }
        }
        if let place = refused.withLock({ $0 }) {
            throw LacunaError.invalidArgument("entries", reason: "[\(place.row), \(place.column)] comes twice")
        }
        // Blocks close up where entries were combined.
        var total = 0
        for block in 0..<plan.blocks {
            let (first, n) = (blockStarts.pointer[block], kept.pointer[block])
            if first > total {
                (indices.pointer + total).update(from: indices.pointer + first, count: n)
                (sorted.pointer + total).update(from: sorted.pointer + first, count: n)
                for row in block << plan.shift..<Swift.min(rows, (block + 1) << plan.shift) {
                    starts.pointer[row + 1] -= first - total
                }
            }
            total += n
        }
        return SparseMatrix(
            SparsePattern(
                rows: rows, columns: columns, .init(starts: starts, columns: Buffer(first: total, of: indices))),
            buffer: Buffer(first: total, of: sorted))
    }
}

/// How triplets are cut: chunks of their list for threads, and blocks of rows, a power of two each, for caches. By sizes alone.
private struct TripletPlan {
    let rows: Int
    let entries: Int
    /// Binary digits of the rows of a block, at most 16.
    let shift: Int
    let blocks: Int
    let chunks: Int

    init(rows: Int, entries: Int) {
        self.rows = rows
        self.entries = entries
        // About 64 thousand entries a block; beyond some thousand blocks, writing to all of them at once is slower than their size.
        let wanted = Swift.min(Swift.max(entries >> 16, 1), 4096)
        var shift = 16
        while shift > 0 && rows >> shift < wanted { shift -= 1 }
        self.shift = shift
        blocks = rows == 0 ? 0 : ((rows - 1) >> shift) + 1
        chunks = Swift.min(Swift.max(entries >> 16, 1), 16)
    }

    var rowMask: Int { 1 << shift - 1 }

    func range(chunk: Int) -> Range<Int> { entries * chunk / chunks..<entries * (chunk + 1) / chunks }

    /// How many entries of each chunk each block has, [chunks, blocks].
    ///
    /// - Throws: `LacunaError.invalidArgument` for the first place outside the matrix.
    @inline(__always)
    func count<Index: FixedWidthInteger>(
        _ rowIndices: [Index], _ columnIndices: [Index], columns: Int
    ) throws -> Buffer<Int> {
        let counts = Buffer<Int>(repeating: 0, count: chunks * blocks)
        let outside = Locked<Int?>(nil)
        rowIndices.withUnsafeBufferPointer { r in
            columnIndices.withUnsafeBufferPointer { c in
                Parallel.forEach(chunks) { chunk in
                    let mine = counts.pointer + chunk * blocks
                    for i in range(chunk: chunk) {
                        // Negative numbers are large ones without their sign.
                        let (row, column) = (UInt(truncatingIfNeeded: r[i]), UInt(truncatingIfNeeded: c[i]))
                        if row >= UInt(rows) || column >= UInt(columns) {
                            return outside.withLock { $0 = Swift.min($0 ?? i, i) }
                        }
                        mine[Int(row) >> shift] += 1
                    }
                }
            }
        }
        if let i = outside.withLock({ $0 }) {
            throw LacunaError.invalidArgument(
                "entries", reason: "[\(rowIndices[i]), \(columnIndices[i])] is outside a matrix of \(rows) x \(columns)"
            )
        }
        return counts
    }

    /// Turns counts into the place where the first entry of a chunk goes in each block, chunk after chunk, so that entries keep
    /// their order. Returns where blocks begin, [blocks + 1].
    func turnIntoPlaces(_ counts: Buffer<Int>) -> Buffer<Int> {
        let starts = Buffer<Int>(uninitialized: blocks + 1)
        var place = 0
        for block in 0..<blocks {
            starts.pointer[block] = place
            for chunk in 0..<chunks {
                let n = counts.pointer[chunk * blocks + block]
                counts.pointer[chunk * blocks + block] = place
                place += n
            }
        }
        starts.pointer[blocks] = place
        return starts
    }
}

/// The entries of a block by rows, and the sorting of one row.
private struct RowSorter<Scalar: SparseElement> {
    let columns: Buffer<UInt32>
    let values: Buffer<Scalar>
    private var keys: [(column: UInt32, place: UInt32)] = []
    private var copy: [Scalar] = []

    init(capacity: Int) {
        columns = Buffer(uninitialized: capacity)
        values = Buffer(uninitialized: capacity)
    }

    /// Sorts a row by columns, combines what comes more than once, and writes it to where it belongs. Returns its entries.
    @inline(__always)
    mutating func take(
        _ range: Range<Int>, to targetColumns: UnsafeMutablePointer<UInt32>,
        _ targetValues: UnsafeMutablePointer<Scalar>,
        combining: ((Scalar, Scalar) -> Scalar)?, refuse: (Int) -> Void
    ) -> Int {
        let n = range.count
        if n == 0 { return 0 }
        let (c, v) = (columns.pointer + range.lowerBound, values.pointer + range.lowerBound)
        if n <= 24 {
            for i in 1..<Swift.max(n, 1) {
                let (column, value) = (c[i], v[i])
                var j = i
                while j > 0 && c[j - 1] > column {
                    (c[j], v[j]) = (c[j - 1], v[j - 1])
                    j -= 1
                }
                (c[j], v[j]) = (column, value)
            }
        } else if !(1..<n).allSatisfy({ c[$0 - 1] <= c[$0] }) {
            keys.removeAll(keepingCapacity: true)
            copy.removeAll(keepingCapacity: true)
            for i in 0..<n {
                keys.append((c[i], UInt32(truncatingIfNeeded: i)))
                copy.append(v[i])
            }
            keys.sort { ($0.column, $0.place) < ($1.column, $1.place) }
            for i in 0..<n { (c[i], v[i]) = (keys[i].column, copy[Int(keys[i].place)]) }
        }
        (targetColumns[0], targetValues[0]) = (c[0], v[0])
        var kept = 1
        for i in 1..<Swift.max(n, 1) {
            if c[i] == targetColumns[kept - 1] {
                if let combining {
                    targetValues[kept - 1] = combining(targetValues[kept - 1], v[i])
                } else {
                    refuse(Int(c[i]))
                }
            } else {
                (targetColumns[kept], targetValues[kept]) = (c[i], v[i])
                kept += 1
            }
        }
        return kept
    }
}
