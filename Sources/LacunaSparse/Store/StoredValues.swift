import CLacuna
import LacunaTensor

/// The values of a stored matrix, in an order that its layout decides, and their scales.
///
/// A value has a *slot*: its index among the values, or, for int4, among the nibbles (the even slot is the low half of a
/// byte).
final class StoredValues: @unchecked Sendable {
    let type: ValueType
    let bytes: Buffer<UInt8>
    /// int8: one for each row.
    let rowScales: Buffer<Float>
    /// int4: bf16, one for every 64 columns of each row.
    let groupScales: Buffer<UInt16>
    private let groups: Int

    init(_ type: ValueType, slots: Int, rows: Int, columns: Int) {
        self.type = type
        groups = (columns + Quantization.int4Group - 1) / Quantization.int4Group
        bytes = Buffer(
            repeating: 0, count: type == .int4 ? (slots + 1) / 2 : slots * type.valueSize, lasting: true)
        rowScales = Buffer(repeating: 0, count: type == .int8 ? rows : 0, lasting: true)
        groupScales = Buffer(repeating: 0, count: type == .int4 ? rows * groups : 0, lasting: true)
    }

    var scales: UnsafeRawPointer? {
        switch type {
        case .f32, .bf16: nil
        case .int8: UnsafeRawPointer(rowScales.pointer)
        case .int4: UnsafeRawPointer(groupScales.pointer)
        }
    }

    /// Values and scales.
    var byteCount: Int { bytes.byteCount + rowScales.byteCount + groupScales.byteCount }

    /// Rounds rows of a matrix to the value type, one after another, and hands out the results by column.
    struct RowCoder {
        let values: StoredValues
        private let columns: Int
        /// The row with its removed entries set to 0.
        let row: UnsafeMutablePointer<Float>
        private let codes: UnsafeMutablePointer<Int8>
        private let memory: (Buffer<Float>, Buffer<Int8>)

        init(_ values: StoredValues, columns: Int) {
            self.values = values
            self.columns = columns
            memory = (Buffer(uninitialized: columns), Buffer(uninitialized: columns))
            row = memory.0.pointer
            codes = memory.1.pointer
        }

        /// Takes row `index`, `source` [columns], of which the entries set in `mask` are kept, and stores its scales.
        func load(_ index: Int, _ source: UnsafePointer<Float>, mask: UnsafePointer<UInt64>) {
            for word in 0..<(columns + 63) / 64 {
                let bits = mask[word]
                for c in word * 64..<min(word * 64 + 64, columns) {
                    row[c] = bits >> UInt64(c & 63) & 1 == 1 ? source[c] : 0
                }
            }
            switch values.type {
            case .f32, .bf16: break
            case .int8: values.rowScales.pointer[index] = Quantization.int8(row, count: columns, codes: codes)
            case .int4:
                for group in 0..<values.groups {
                    let start = group * Quantization.int4Group
                    values.groupScales.pointer[index * values.groups + group] =
                        Quantization.int4(
                            row + start, count: min(Quantization.int4Group, columns - start), codes: codes + start
                        ).bits
                }
            }
        }

        /// Stores the loaded row's entry at `column` in `slot`.
        @inline(__always)
        func store(column: Int, slot: Int) {
            let p = UnsafeMutableRawPointer(values.bytes.pointer)
            switch values.type {
            case .f32: p.storeBytes(of: row[column], toByteOffset: 4 * slot, as: Float.self)
            case .bf16: p.storeBytes(of: BFloat16(row[column]).bits, toByteOffset: 2 * slot, as: UInt16.self)
            case .int8: p.storeBytes(of: codes[column], toByteOffset: slot, as: Int8.self)
            case .int4:
                values.bytes.pointer[slot >> 1] |=
                    UInt8(truncatingIfNeeded: codes[column] & 15) << UInt8(4 * (slot & 1))
            }
        }
    }

    /// Loads every row of `weight` and calls `place` to store its entries, in parallel unless `serially`.
    func fill(
        from weight: Tensor<Float>, mask: Mask, serially: Bool = false, _ place: (Int, RowCoder) -> Void
    ) {
        let columns = mask.columns
        weight.withPointer { source in
            mask.withWords { words, wordsPerRow in
                let grain = serially ? mask.rows : max(1, 65_536 / max(columns, 1))
                Parallel.forRanges(mask.rows, grain: grain) { range in
                    let coder = RowCoder(self, columns: columns)
                    for r in range {
                        coder.load(r, source + r * columns, mask: words + r * wordsPerRow)
                        place(r, coder)
                    }
                }
            }
        }
    }
}

extension ValueType {
    /// Bytes of one value; for int4, of a pair.
    var valueSize: Int {
        switch self {
        case .f32: 4
        case .bf16: 2
        case .int8, .int4: 1
        }
    }

    /// Whether values are rounded to integers with a scale.
    var isInteger: Bool { self == .int8 || self == .int4 }
}
