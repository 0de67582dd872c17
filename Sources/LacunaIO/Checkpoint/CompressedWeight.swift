import LacunaSparse
import LacunaTensor

/// One matrix taken apart into the arrays that checkpoints hold: the kept entries, the kept values in row order, and
/// their scales.
///
/// This is the layout of the `compressed-tensors` package: one bit for every entry (byte `c / 8` of a row has column `c`
/// in bit `c % 8`), the values of set bits in row order, and the number of values before each row.
struct CompressedWeight {
    let mask: SparsePattern
    /// f32, bf16, f16 or i8 numbers, or two int4 codes to a byte, the earlier in the lower half.
    let values: [UInt8]
    /// int8: one for each row. int4: one for each 64 columns of each row.
    let scales: [Float]

    /// Bytes of a row of bits.
    static func maskRowBytes(columns: Int) -> Int { (columns + 7) / 8 }

    var maskBytes: [UInt8] {
        let rowBytes = Self.maskRowBytes(columns: mask.columns)
        var bytes = [UInt8](repeating: 0, count: mask.rows * rowBytes)
        mask.withWords { words, wordsPerRow in
            for row in 0..<mask.rows {
                for i in 0..<rowBytes {
                    bytes[row * rowBytes + i] = UInt8(
                        truncatingIfNeeded: words[row * wordsPerRow + i / 8] >> UInt64(i % 8 * 8))
                }
            }
        }
        return bytes
    }

    /// Kept entries before each row.
    var rowOffsets: [Int64] {
        var offsets: [Int64] = []
        var total: Int64 = 0
        for row in 0..<mask.rows {
            offsets.append(total)
            total += Int64(mask.keptCount(row: row))
        }
        return offsets
    }

    /// nil if a bit beyond the last column is set.
    static func mask(bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) -> SparsePattern? {
        let rowBytes = maskRowBytes(columns: columns)
        if columns % 8 != 0 {
            for row in 0..<rows where bytes[(row + 1) * rowBytes - 1] >> UInt8(columns % 8) != 0 { return nil }
        }
        guard let start = bytes.baseAddress else { return SparsePattern(rows: rows, columns: columns) }
        return SparsePattern(rows: rows, columns: columns, packedBits: start.assumingMemoryBound(to: UInt8.self))
    }

    /// Takes a stored matrix apart. Its values are numbers of its own value type already, so rounding finds them again.
    init(_ matrix: any StoredMatrix) {
        let type = matrix.format.values
        let (rows, columns) = (matrix.rows, matrix.columns)
        let mask = matrix.keptEntries
        let groups = (columns + Quantization.int4Group - 1) / Quantization.int4Group
        var scales: [Float] = []
        var values: [UInt8] = []
        let row = Buffer<Float>(uninitialized: columns)
        let codes = Buffer<Int8>(uninitialized: columns)
        var pendingNibble: UInt8?
        values.reserveCapacity(mask.count * type.bits / 8 + 8)
        for r in 0..<rows {
            matrix.decode(rows: r..<r + 1, into: row.pointer)
            switch type {
            case .int8: scales.append(Quantization.int8(row.pointer, count: columns, codes: codes.pointer))
            case .int4:
                for group in 0..<groups {
                    let start = group * Quantization.int4Group
                    let count = min(Quantization.int4Group, columns - start)
                    let scale = Quantization.int4(row.pointer + start, count: count, codes: codes.pointer + start)
                    scales.append(scale.float)
                }
            case .f32, .bf16, .f16: break
            }
            Self.forEachKept(mask, row: r) { c in
                switch type {
                case .f32: Self.append(row.pointer[c].bitPattern, to: &values)
                case .bf16: Self.append(BFloat16(row.pointer[c]).bits, to: &values)
                case .f16: Self.append(Half(row.pointer[c]).bits, to: &values)
                case .int8: values.append(UInt8(bitPattern: codes.pointer[c]))
                case .int4:
                    let nibble = UInt8(bitPattern: codes.pointer[c]) & 15
                    if let low = pendingNibble {
                        values.append(low | nibble << 4)
                        pendingNibble = nil
                    } else {
                        pendingNibble = nibble
                    }
                }
            }
        }
        if let low = pendingNibble { values.append(low) }
        self.mask = mask
        self.values = values
        self.scales = scales
    }

    @inline(__always)
    private static func append<T: FixedWidthInteger>(_ bits: T, to values: inout [UInt8]) {
        for shift in stride(from: 0, to: T.bitWidth, by: 8) {
            values.append(UInt8(truncatingIfNeeded: bits >> T(shift)))
        }
    }

    static func forEachKept(_ mask: SparsePattern, row: Int, _ body: (Int) -> Void) {
        mask.forEachKeptColumn(row: row, body)
    }
}

extension ValueType {
    /// The type that values have in a file; two int4 to a byte.
    var elementType: ElementType {
        switch self {
        case .f32: .f32
        case .bf16: .bf16
        case .f16: .f16
        case .int8: .i8
        case .int4: .u8
        }
    }
}
