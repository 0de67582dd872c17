import CLacuna
import LacunaTensor
import Testing

@testable import LacunaSparse

/// An input that is infinite or not a number reaches the outputs that keep its weight, and no others: at every level, in
/// every sparse layout and value type, for one vector and for many.
@Suite struct NotFiniteInputTests {
    static let levels = (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil }
    static let rows = 10

    /// Bits of `rows` rows, one in two set, and values 1, 2, 3 … in order.
    private static func words(_ columns: Int) -> [UInt64] {
        var generator = SeededGenerator(seed: UInt64(columns))
        var words = [UInt64](repeating: 0, count: rows * ((columns + 63) / 64))
        for r in 0..<rows {
            for c in 0..<columns where generator.uniform() < 0.5 {
                words[r * ((columns + 63) / 64) + c / 64] |= 1 << UInt64(c % 64)
            }
        }
        return words
    }

    @Test(arguments: levels, [3, 64, 70, 200])
    func bitmaskKernels(level: Int32, columns: Int) {
        let table = lk_level(level).pointee
        let perRow = (columns + 63) / 64
        let words = Self.words(columns)
        var (starts, byteStarts) = ([UInt32(0)], [UInt32(0)])
        for r in 0..<Self.rows {
            let counts = words[r * perRow..<(r + 1) * perRow].map(\.nonzeroBitCount)
            starts.append(starts[r] + UInt32(counts.reduce(0, +)))
            byteStarts.append(byteStarts[r] + UInt32(counts.reduce(0) { $0 + ($1 + 1) / 2 }))
        }
        let count = Int(starts.last!) + 64
        let floats = [Float](repeating: 2, count: count)
        let halves = floats.map { BFloat16($0).bits }
        let singles = floats.map { Half($0).bits }
        let bytes = [Int8](repeating: 2, count: count)
        let nibbles = [UInt8](repeating: 0x22, count: count)
        let (rowScales, groupScales) = (
            [Float](repeating: 1, count: Self.rows),
            [UInt16](repeating: BFloat16(1).bits, count: Self.rows * perRow + 16)
        )
        for special in [Float.infinity, -.infinity, .nan] {
            for column in Set([0, columns / 2, columns - 1]) {
                var x = [Float](repeating: 1, count: columns)
                x[column] = special
                let input = EncodedInput()
                x.withUnsafeBufferPointer {
                    input.encode($0.baseAddress!, count: columns, encodings: [.float, .bf16, .int8Groups64])
                }
                let narrow = halves + singles
                let run: [(Gemv, UnsafeRawPointer, UnsafeRawPointer?, [UInt32])] = floats.withUnsafeBytes { f in
                    narrow.withUnsafeBytes { h in
                        bytes.withUnsafeBytes { b in
                            nibbles.withUnsafeBytes { n in
                                rowScales.withUnsafeBytes { s in
                                    groupScales.withUnsafeBytes { g in
                                        [
                                            (table.gemv_bitmask_f32, f.baseAddress!, nil, starts),
                                            (table.gemv_bitmask_bf16, h.baseAddress!, nil, starts),
                                            (table.gemv_bitmask_f16, h.baseAddress! + 2 * halves.count, nil, starts),
                                            (table.gemv_bitmask_i8, b.baseAddress!, s.baseAddress, starts),
                                            (table.gemv_bitmask_i4, n.baseAddress!, g.baseAddress, byteStarts),
                                        ]
                                    }
                                }
                            }
                        }
                    }
                }
                for (type, (kernel, values, scales, starts)) in run.enumerated() {
                    words.withUnsafeBufferPointer { words in
                        starts.withUnsafeBufferPointer { starts in
                            var w = lk_bitmask(
                                mask: words.baseAddress, values: values, scales: scales, row_start: starts.baseAddress,
                                row_stride: 0, columns: columns, word_values: 0)
                            var out = [Float](repeating: -1, count: Self.rows)
                            kernel(&w, input.kernelInput, 0, Self.rows, &out)
                            for r in 0..<Self.rows {
                                let row = words[r * perRow..<(r + 1) * perRow]
                                let kept = row.reduce(0) { $0 + $1.nonzeroBitCount }
                                let meets = words[r * perRow + column / 64] >> UInt64(column % 64) & 1 == 1
                                let right =
                                    meets
                                    ? (special.isNaN ? out[r].isNaN : out[r] == special)
                                    : abs(out[r] - Float(2 * kept)) < 0.1
                                #expect(right, "type \(type), row \(r): \(out[r])")
                            }
                        }
                    }
                }
                withExtendedLifetime((floats, narrow, bytes, nibbles, rowScales, groupScales)) {}
            }
        }
    }

    typealias Gemv =
        @convention(c) (
            UnsafePointer<lk_bitmask>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void

    /// Whole products: a few vectors one by one, many by panels and by decoding.
    @Test(
        arguments: [StorageLayout.bitmask, .nm(n: 2, m: 4), .csr, .bsr(rows: 4, columns: 4)],
        ValueType.allCases)
    func storesAtEveryBatch(layout: StorageLayout, values: ValueType) throws {
        let (rows, columns) = (40, 136)
        var generator = SeededGenerator(seed: 3)
        let weight = Tensor<Float>(normal: [rows, columns], using: &generator)
        let draws = (0..<rows * columns).map { _ in generator.uniform() }
        for density in [0.5, 0.95] {
            if density > 0.5, layout.base is NMLayout { continue }
            let mask: SparsePattern
            switch layout.base {
            case is NMLayout: mask = try Selection.mask(scores: weight, pattern: .nm(n: 2, m: 4))
            case is BSRLayout:
                mask = SparsePattern(rows: rows, columns: columns) { draws[$0 / 4 * columns + $1 / 4] < density }
            default: mask = SparsePattern(rows: rows, columns: columns) { draws[$0 * columns + $1] < density }
            }
            let stored = try WeightStore.make(weight, mask: mask, layout: layout, values: values)
            for batch in [1, 3, 20, 70] {
                var x = [Float](repeating: 1, count: batch * columns)
                // Every vector has its own column and value.
                func special(_ t: Int) -> (column: Int, value: Float) {
                    (t * 37 % columns, [.infinity, -.infinity, .nan][t % 3])
                }
                for t in 0..<batch { x[t * columns + special(t).column] = special(t).value }
                let y = Buffer<Float>(repeating: -7, count: batch * rows)
                Product.gemm(stored, x, count: batch, into: y.pointer)
                var wrong = 0
                for t in 0..<batch {
                    for r in 0..<rows where !mask[r, special(t).column] {
                        if !y.pointer[t * rows + r].isFinite { wrong += 1 }
                    }
                    for r in 0..<rows where mask[r, special(t).column] {
                        // A kept value may have been rounded to 0, times which infinity is not a number.
                        if y.pointer[t * rows + r].isFinite { wrong += 1 }
                    }
                }
                #expect(wrong == 0, "\(layout) \(values), \(batch) vectors at \(density)")
            }
        }
    }
}
