import CLacuna
import LacunaTensor

/// One bit for every entry, the kept values in order, and where each row begins unless all rows are equally long
/// (``BitmaskLayout``, ``NMLayout``).
///
/// A bit costs less than any index up to the sparsity at which it outweighs the values: bf16 values at 50 % take 0.56
/// of their dense bytes, at 80 % 0.26.
public final class BitmaskMatrix: StoredMatrix, PanelMatrix, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    public let storedCount: Int
    public let byteCount: Int
    public let inputEncoding: InputEncoding
    private let values: StoredValues
    private let words: Buffer<UInt64>
    private let rowStart: Buffer<UInt32>
    private let kernel: lk_bitmask
    private let gemv: Gemv
    private let decoder: Decoder
    private let panel: Panel

    typealias Gemv =
        @convention(c) (
            UnsafePointer<lk_bitmask>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void
    typealias Decoder = @convention(c) (UnsafePointer<lk_bitmask>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    typealias Panel =
        @convention(c) (
            UnsafePointer<lk_bitmask>?, UnsafePointer<Float>?, Int, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void

    /// Stores the entries of `source`, rounded to `values`.
    ///
    /// - Parameter groups: Stores `n` of every `m` columns, explicit zeros where the source has fewer entries.
    /// - Throws: As ``StoreLayout/make(_:values:)``; `LacunaError.unsupported` beyond 2³² - 1 stored values.
    public init(_ source: some RowSource, values type: ValueType, groups: NMLayout? = nil) throws {
        try source.checkShape()
        if let groups, groups.n < 1 || groups.n > groups.m || groups.m > Pattern.maximumGroup {
            throw LacunaError.invalidArgument(
                "pattern", reason: "\(groups.name) is not an N:M pattern with 1 <= N <= M <= \(Pattern.maximumGroup)")
        }
        let (rows, columns) = (source.rows, source.columns)
        let wordsPerRow = (columns + 63) / 64
        let words = Buffer<UInt64>(repeating: 0, count: rows * wordsPerRow, lasting: true)
        let overfull = Locked<(row: Int, group: Range<Int>, kept: Int)?>(nil)
        try source.forEachRow { row, entries, _ in
            let bits = words.pointer + row * wordsPerRow
            for column in entries { bits[Int(column) / 64] |= 1 << UInt64(column % 64) }
            if let groups, let (group, kept) = Self.fill(bits, columns: columns, groups) {
                overfull.withLock { if row < $0?.row ?? .max { $0 = (row, group, kept) } }
            }
        }
        if let groups, let (row, group, kept) = overfull.withLock({ $0 }) {
            throw LacunaError.invalidArgument(
                "pattern",
                reason: "row \(row) keeps \(kept) of columns \(group.lowerBound)...\(group.upperBound - 1), "
                    + "\(groups.name) holds at most \(groups.n)")
        }

        // In slots; the nibbles of each mask word start a new byte.
        var starts = [0]
        starts.reserveCapacity(rows + 1)
        var stored = 0
        for r in 0..<rows {
            var slots = 0
            for i in r * wordsPerRow..<(r + 1) * wordsPerRow {
                let count = words.pointer[i].nonzeroBitCount
                stored += count
                slots += type == .int4 ? (count + 1) / 2 * 2 : count
            }
            starts.append(starts[r] + slots)
        }
        let slots = starts[rows]
        let perUnit = type == .int4 ? 2 : 1
        guard slots / perUnit <= UInt32.max else {
            throw LacunaError.unsupported(file: nil, what: "a sparse matrix of more than 2^32 - 1 stored values")
        }
        let stride = rows == 0 ? 0 : starts[1]
        let isRegular = groups != nil && (0..<rows).allSatisfy { starts[$0 + 1] == starts[$0] + stride }

        (self.rows, self.columns, self.words) = (rows, columns, words)
        format = StorageFormat(groups.map { StorageLayout($0) } ?? .bitmask, type)
        values = StoredValues(type, slots: slots, rows: rows, columns: columns)
        rowStart = Buffer(isRegular ? [] : starts.map { UInt32($0 / perUnit) }, lasting: true)
        storedCount = stored
        byteCount = values.byteCount + words.byteCount + rowStart.byteCount
        // How many entries every 64 columns have, if all have equally many: kernels take multiples of 4.
        let wordValues = groups.map { 64 % $0.m == 0 && 64 / $0.m * $0.n % 4 == 0 ? 64 / $0.m * $0.n : 0 } ?? 0
        kernel = lk_bitmask(
            mask: words.pointer, values: values.bytes.pointer, scales: values.scales,
            row_start: isRegular ? nil : UnsafePointer(rowStart.pointer), row_stride: stride / perUnit,
            columns: columns, word_values: isRegular ? wordValues : 0)
        let k = Kernels.best
        switch type {
        case .f32:
            (gemv, decoder, panel) = (k.gemv_bitmask_f32, k.decode_bitmask_f32, k.panel_bitmask_f32)
            inputEncoding = .float
        case .bf16:
            (gemv, decoder, panel) = (k.gemv_bitmask_bf16, k.decode_bitmask_bf16, k.panel_bitmask_bf16)
            inputEncoding = .bf16
        case .f16:
            (gemv, decoder, panel) = (k.gemv_bitmask_f16, k.decode_bitmask_f16, k.panel_bitmask_f16)
            inputEncoding = .float
        case .int8:
            (gemv, decoder, panel) = (k.gemv_bitmask_i8, k.decode_bitmask_i8, k.panel_bitmask_i8)
            inputEncoding = .int8Groups64
        case .int4:
            (gemv, decoder, panel) = (k.gemv_bitmask_i4, k.decode_bitmask_i4, k.panel_bitmask_f32)
            inputEncoding = .int8Groups64
        }
        try values.fill(from: source) { row, entries in
            // Without explicit zeros, and without nibbles that begin bytes, values follow each other as entries do.
            if type != .int4 && entries.columns.count == starts[row + 1] - starts[row] {
                return entries.storeAll(from: starts[row])
            }
            // Where an entry stands among the stored ones of its word is what bits stand before it.
            let bits = words.pointer + row * wordsPerRow
            var (slot, word) = (starts[row], 0)
            for (i, column) in entries.columns.enumerated() {
                while word < Int(column) / 64 {
                    let count = bits[word].nonzeroBitCount
                    slot += type == .int4 ? (count + 1) / 2 * 2 : count
                    word += 1
                }
                let before = (bits[word] & ((1 << UInt64(column % 64)) - 1)).nonzeroBitCount
                entries.store(i, slot: slot + before)
            }
        }
    }

    /// Sets more bits of a row until every group has n, the first ones that are 0. Returns a group that has more.
    private static func fill(
        _ bits: UnsafeMutablePointer<UInt64>, columns: Int, _ groups: NMLayout
    ) -> (group: Range<Int>, kept: Int)? {
        for start in Swift.stride(from: 0, to: columns, by: groups.m) {
            let group = start..<min(start + groups.m, columns)
            var kept = 0
            for c in group { kept += Int(bits[c / 64] >> UInt64(c % 64) & 1) }
            if kept > groups.n { return (group, kept) }
            for c in group where kept < groups.n && bits[c / 64] >> UInt64(c % 64) & 1 == 0 {
                bits[c / 64] |= 1 << UInt64(c % 64)
                kept += 1
            }
        }
        return nil
    }

    /// The entries that are stored, explicit zeros included.
    public var mask: SparsePattern {
        SparsePattern(
            rows: rows, columns: columns, words: { target, _ in target.update(from: words.pointer, count: words.count) }
        )
    }

    public var keptEntries: SparsePattern { mask }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { decoder($0, rows.lowerBound, rows.upperBound, output) }
    }

    public var hasPanelKernel: Bool { true }

    public func multiply(panel x: InputPanel, block: Int, rows: Range<Int>, into tile: OutputPanel) {
        requireRows(rows)
        func run(_ kernel: lk_bitmask) {
            withUnsafePointer(to: kernel) {
                panel($0, x.pointer, x.width, rows.lowerBound, rows.upperBound, tile.pointer)
            }
        }
        if format.values == .int4 { withExpanded(rows, run) } else { run(kernel) }
    }

    /// Calls `body` with a matrix whose `rows` hold the values of this one as floats: a value meets many vectors, so that
    /// spreading it out beforehand costs little.
    private func withExpanded(_ rows: Range<Int>, _ body: (lk_bitmask) -> Void) {
        let wordsPerRow = (columns + 63) / 64
        var count = 0
        for i in rows.lowerBound * wordsPerRow..<rows.upperBound * wordsPerRow {
            count += words.pointer[i].nonzeroBitCount
        }
        let floats = Scratch.current.expanded(count: count)
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: rows.count + 1) { starts in
            var next = 0
            for r in rows {
                starts[r - rows.lowerBound] = UInt32(next)
                // Offsets count bytes; every word of bits starts one.
                var slot = 2 * (kernel.row_start.map { Int($0[r]) } ?? r * kernel.row_stride)
                for word in 0..<wordsPerRow {
                    let n = words.pointer[r * wordsPerRow + word].nonzeroBitCount
                    values.expand(slots: slot..<slot + n, row: r, group: word, into: floats + next)
                    slot += (n + 1) / 2 * 2
                    next += n
                }
            }
            body(
                lk_bitmask(
                    mask: words.pointer, values: UnsafeRawPointer(floats), scales: nil,
                    row_start: UnsafePointer(starts.baseAddress! - rows.lowerBound), row_stride: 0, columns: columns,
                    word_values: 0))
        }
    }
}
