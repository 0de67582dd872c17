import CLacuna
import LacunaTensor

/// One bit for every entry and the kept values in order: what bitmask and N:M matrices have in common.
final class BitmaskStorage: @unchecked Sendable {
    private let (rows, columns): (Int, Int)
    let storedCount: Int
    let byteCount: Int
    let inputEncoding: InputEncoding
    private let values: StoredValues
    private let words: Buffer<UInt64>
    private let rowStart: Buffer<UInt32>
    private let kernel: lk_bitmask
    private let gemv: Gemv
    private let decoder: Decoder
    private let panel: Panel?

    typealias Gemv =
        @convention(c) (
            UnsafePointer<lk_bitmask>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void
    typealias Decoder = @convention(c) (UnsafePointer<lk_bitmask>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    typealias Panel =
        @convention(c) (
            UnsafePointer<lk_bitmask>?, UnsafePointer<Float>?, Int, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void

    /// Stores the entries set in `mask`: those of `weight` that are in `kept`, zeros for the others. Offsets of rows are
    /// left out where all rows are equally long and `withoutOffsets` is set.
    ///
    /// - Parameter wordValues: How many entries every 64 columns have, a multiple of 4, if all have equally many.
    init(
        _ weight: Tensor<Float>, kept: Mask, stored mask: Mask, values type: ValueType, withoutOffsets: Bool,
        wordValues: Int = 0
    ) throws {
        let (rows, columns) = (mask.rows, mask.columns)
        // In slots; the nibbles of each mask word start a new byte.
        var starts = [0]
        let bits = mask.bits
        for r in 0..<rows {
            var slots = 0
            for word in bits.elements[r * mask.wordsPerRow..<(r + 1) * mask.wordsPerRow] {
                slots += type == .int4 ? (word.nonzeroBitCount + 1) / 2 * 2 : word.nonzeroBitCount
            }
            starts.append(starts[r] + slots)
        }
        let slots = starts[rows]
        let perUnit = type == .int4 ? 2 : 1
        guard slots / perUnit <= UInt32.max else {
            throw LacunaError.unsupported(file: nil, what: "a sparse matrix of more than 2^32 - 1 stored values")
        }
        let stride = rows == 0 ? 0 : starts[1]
        let regular = withoutOffsets && (0..<rows).allSatisfy { starts[$0 + 1] == starts[$0] + stride }

        (self.rows, self.columns) = (rows, columns)
        values = StoredValues(type, slots: slots, rows: rows, columns: columns)
        words = Buffer(bits.elements, lasting: true)
        rowStart = Buffer(regular ? [] : starts.map { UInt32($0 / perUnit) }, lasting: true)
        storedCount = mask.keptCount
        byteCount = values.byteCount + words.byteCount + rowStart.byteCount
        kernel = lk_bitmask(
            mask: words.pointer, values: values.bytes.pointer, scales: values.scales,
            row_start: regular ? nil : UnsafePointer(rowStart.pointer), row_stride: stride / perUnit, columns: columns,
            word_values: regular ? wordValues : 0)
        let k = Kernels.best
        switch type {
        case .f32:
            (gemv, decoder, panel) = (k.gemv_bitmask_f32, k.decode_bitmask_f32, k.panel_bitmask_f32)
            inputEncoding = .float
        case .bf16:
            (gemv, decoder, panel) = (k.gemv_bitmask_bf16, k.decode_bitmask_bf16, k.panel_bitmask_bf16)
            inputEncoding = .bf16
        case .int8:
            (gemv, decoder, panel) = (k.gemv_bitmask_i8, k.decode_bitmask_i8, k.panel_bitmask_i8)
            inputEncoding = .int8Groups64
        case .int4:
            (gemv, decoder, panel) = (k.gemv_bitmask_i4, k.decode_bitmask_i4, nil)
            inputEncoding = .int8Groups64
        }
        values.fill(from: weight, mask: kept) { r, coder in
            var slot = starts[r]
            var word = 0
            mask.forEachKept(row: r) { c in
                if type == .int4 && c / 64 != word {
                    slot = (slot + 1) / 2 * 2
                    word = c / 64
                }
                coder.store(column: c, slot: slot)
                slot += 1
            }
        }
    }

    /// The entries that are stored.
    var mask: Mask {
        var mask = Mask(rows: rows, columns: columns)
        mask.withMutableWords { target, _ in target.update(from: words.pointer, count: words.count) }
        return mask
    }

    func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: kernel) { gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: kernel) { decoder($0, rows.lowerBound, rows.upperBound, output) }
    }

    var hasPanelKernel: Bool { panel != nil }

    func multiply(
        panel x: UnsafePointer<Float>, width: Int, rows: Range<Int>, into tile: UnsafeMutablePointer<Float>
    ) {
        withUnsafePointer(to: kernel) { panel!($0, x, width, rows.lowerBound, rows.upperBound, tile) }
    }
}
