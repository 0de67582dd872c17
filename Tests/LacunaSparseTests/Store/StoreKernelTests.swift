import CLacuna
import LacunaTensor
import Testing

@testable import LacunaSparse

/// A product of a layout with one vector.
private typealias UnsafeVectorProduct<Matrix> = (
    UnsafePointer<Matrix>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?
) -> Void

/// CSR, BSR and panel kernels of every level this processor has, against the scalar ones.
@Suite struct StoreKernelTests {
    static let levels = (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil }
    /// Rows and columns: tails of vectors, of mask words and of bands; more rows than a block of them.
    static let shapes = [(1, 1), (7, 64), (40, 129), (520, 70), (33, 700), (5, 0)]

    /// The same random positions as a bitmask, as CSR and as BSR, and values of every type for them.
    struct Operands {
        let rows: Int
        let columns: Int
        var starts: [UInt32] = [0]
        var words: [UInt64]
        var narrow: [UInt16] = []
        var wide: [UInt32] = []
        let floats: [Float]
        let halves: [UInt16]
        let singles: [UInt16]
        let bytes: [Int8]
        let rowScales: [Float]
        let groupScales: [UInt16]

        init(_ rows: Int, _ columns: Int, blockRows: Int = 1, blockColumns: Int = 1) {
            (self.rows, self.columns) = (rows, columns)
            var generator = SeededGenerator(seed: UInt64(rows), stream: UInt64(columns * 100 + blockColumns))
            let perRow = (columns + 63) / 64
            words = [UInt64](repeating: 0, count: rows * perRow + 8)
            let blocksAcross = (columns + blockColumns - 1) / blockColumns
            for r in 0..<(rows + blockRows - 1) / blockRows {
                let density = [0.0, 0.2, 0.5, 1.0][r % 4]
                for c in 0..<blocksAcross where generator.uniform() < density {
                    narrow.append(UInt16(c))
                    wide.append(UInt32(c))
                    if blockRows == 1 { words[r * perRow + c / 64] |= 1 << UInt64(c % 64) }
                }
                starts.append(UInt32(narrow.count))
            }
            let count = (narrow.count + 1) * blockRows * blockColumns + 64
            floats = (0..<count).map { i in i % 50 == 7 ? Float(bitPattern: 77) : Float(generator.normal()) }
            halves = floats.map { BFloat16($0).bits }
            singles = floats.map { Half($0).bits }
            bytes = (0..<count).map { _ in Int8(truncatingIfNeeded: generator.next()) }
            rowScales = (0..<rows).map { _ in Float(generator.uniform()) * 0.01 }
            groupScales = (0..<rows * perRow + 1).map { _ in BFloat16(Float(generator.uniform())).bits }
        }

        /// The values and scales of one type.
        func withValues<R>(_ type: ValueType, _ body: (UnsafeRawPointer, UnsafeRawPointer) -> R) -> R {
            rowScales.withUnsafeBytes { rowScales in
                groupScales.withUnsafeBytes { groupScales in
                    let empty = UnsafeRawPointer(bitPattern: 64)!
                    let scales = (type == .int4 ? groupScales.baseAddress : rowScales.baseAddress) ?? empty
                    switch type {
                    case .f32: return floats.withUnsafeBytes { body($0.baseAddress!, scales) }
                    case .bf16: return halves.withUnsafeBytes { body($0.baseAddress!, scales) }
                    case .f16: return singles.withUnsafeBytes { body($0.baseAddress!, scales) }
                    case .int8, .int4: return bytes.withUnsafeBytes { body($0.baseAddress!, scales) }
                    }
                }
            }
        }
    }

    static func agree(_ a: UnsafeMutablePointer<Float>, _ b: UnsafeMutablePointer<Float>, _ count: Int) -> Bool {
        for i in 0..<count where !(abs(a[i] - b[i]) <= 2e-4 + 1e-4 * abs(b[i])) { return false }
        return true
    }

    static func random(_ count: Int, seed: UInt64) -> Buffer<Float> {
        var generator = SeededGenerator(seed: seed)
        return Buffer((0..<count).map { _ in Float(generator.normal()) * 0.1 })
    }

    @Test(arguments: levels, shapes)
    func csr(level: Int32, shape: (Int, Int)) {
        let (rows, columns) = shape
        let operands = Operands(rows, columns)
        let (table, reference) = (lk_level(level)!.pointee, lk_reference()!.pointee)
        let x = Self.random((columns + 63) / 64 * 64, seed: 1)
        var input = lk_input()
        input.x = UnsafePointer(x.pointer)
        func single(_ k: lk_table, _ type: ValueType) -> UnsafeVectorProduct<lk_csr> {
            switch type {
            case .f32: k.gemv_csr_f32
            case .bf16: k.gemv_csr_bf16
            case .f16: k.gemv_csr_f16
            case .int8: k.gemv_csr_i8
            case .int4: k.gemv_csr_i4
            }
        }
        func many(_ k: lk_table, _ type: ValueType) -> CSRMatrix.RowPanel? {
            switch type {
            case .f32: k.product_rows_f32
            case .bf16: k.product_rows_bf16
            case .f16: k.product_rows_f16
            case .int8: k.product_rows_i8
            case .int4: nil
            }
        }
        let panel = Self.random(columns * 16, seed: 2)
        for wide in [false, true] {
            for type in ValueType.allCases {
                operands.withValues(type) { values, scales in
                    operands.starts.withUnsafeBufferPointer { starts in
                        operands.narrow.withUnsafeBytes { narrow in
                            operands.wide.withUnsafeBytes { wideColumns in
                                var w = lk_csr(
                                    row_start: starts.baseAddress,
                                    column: wide ? wideColumns.baseAddress : narrow.baseAddress, values: values,
                                    scales: scales, columns: columns, wide: wide ? 1 : 0)
                                let (a, b) = (
                                    Buffer<Float>(repeating: .nan, count: rows * 64), Self.random(rows * 64, seed: 3)
                                )
                                for first in Set([0, rows / 3]) {
                                    single(table, type)(&w, &input, first, rows, a.pointer)
                                    single(reference, type)(&w, &input, first, rows, b.pointer)
                                    #expect(Self.agree(a.pointer, b.pointer, rows - first), "vector, \(type)")
                                    guard type != .int4 else { continue }
                                    many(table, type)?(&w, panel.pointer, first, rows, a.pointer)
                                    many(reference, type)?(&w, panel.pointer, first, rows, b.pointer)
                                    #expect(Self.agree(a.pointer, b.pointer, (rows - first) * 16), "panel, \(type)")
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// What entry `at` of the values is worth in row r, column c.
    private static func value(_ operands: Operands, _ type: ValueType, at: Int, row: Int, column: Int) -> Float {
        switch type {
        case .f32: return operands.floats[at]
        case .bf16: return BFloat16(bits: operands.halves[at]).float
        case .f16: return Half(bits: operands.singles[at]).float
        case .int8: return operands.rowScales[row] * Float(operands.bytes[at])
        case .int4:
            let nibble = UInt8(bitPattern: operands.bytes[at / 2]) >> UInt8(at % 2 * 4) & 15
            let group = row * ((operands.columns + 63) / 64) + column / 64
            return BFloat16(bits: operands.groupScales[group]).float * Float((Int(nibble) ^ 8) - 8)
        }
    }

    @Test(arguments: levels, shapes)
    func decodingOfRows(level: Int32, shape: (Int, Int)) {
        let (rows, columns) = shape
        let operands = Operands(rows, columns)
        let k = lk_level(level)!.pointee
        let decoders: [ValueType: CSRMatrix.Decoder] = [
            .f32: k.decode_csr_f32, .bf16: k.decode_csr_bf16, .f16: k.decode_csr_f16, .int8: k.decode_csr_i8,
            .int4: k.decode_csr_i4,
        ]
        for (wide, type) in [false, true].flatMap({ wide in ValueType.allCases.map { (wide, $0) } }) {
            operands.withValues(type) { values, scales in
                operands.starts.withUnsafeBufferPointer { starts in
                    operands.narrow.withUnsafeBytes { narrow in
                        operands.wide.withUnsafeBytes { wideColumns in
                            var w = lk_csr(
                                row_start: starts.baseAddress,
                                column: wide ? wideColumns.baseAddress : narrow.baseAddress, values: values,
                                scales: scales, columns: columns, wide: wide ? 1 : 0)
                            let out = Buffer<Float>(repeating: .nan, count: rows * columns + 1)
                            decoders[type]!(&w, rows / 3, rows, out.pointer)
                            var expected = [Float](repeating: 0, count: (rows - rows / 3) * columns)
                            for r in rows / 3..<rows {
                                for j in Int(starts[r])..<Int(starts[r + 1]) {
                                    let c = Int(operands.wide[j])
                                    expected[(r - rows / 3) * columns + c] =
                                        Self.value(operands, type, at: j, row: r, column: c)
                                }
                            }
                            #expect(Array(out.array[..<expected.count]) == expected && out.array.last!.isNaN)
                        }
                    }
                }
            }
        }
    }

    @Test(arguments: levels, [(1, 1), (4, 4), (2, 8), (1, 16), (16, 16), (3, 5), (40, 16), (6, 4)])
    func decodingOfBlocks(level: Int32, block: (Int, Int)) {
        let k = lk_level(level)!.pointee
        let decoders: [ValueType: BSRMatrix.Decoder] = [
            .f32: k.decode_bsr_f32, .bf16: k.decode_bsr_bf16, .f16: k.decode_bsr_f16, .int8: k.decode_bsr_i8,
            .int4: k.decode_bsr_i4,
        ]
        let size = block.0 * block.1
        for (rows, columns) in [(block.0 * 5, block.1 * 9), (block.0 * 2 + 1, block.1 * 30 + 1)] {
            let operands = Operands(rows, columns, blockRows: block.0, blockColumns: block.1)
            for type in ValueType.allCases {
                operands.withValues(type) { values, scales in
                    operands.starts.withUnsafeBufferPointer { starts in
                        operands.wide.withUnsafeBufferPointer { blocks in
                            var w = lk_bsr(
                                row_start: starts.baseAddress, block_column: blocks.baseAddress, values: values,
                                scales: scales, columns: columns, block_rows: block.0, block_columns: block.1)
                            let first = rows / 3
                            let out = Buffer<Float>(repeating: .nan, count: (rows - first) * columns)
                            decoders[type]!(&w, first, rows, out.pointer)
                            var expected = [Float](repeating: 0, count: (rows - first) * columns)
                            for r in first..<rows {
                                for b in Int(starts[r / block.0])..<Int(starts[r / block.0 + 1]) {
                                    for j in 0..<block.1 where Int(blocks[b]) * block.1 + j < columns {
                                        let c = Int(blocks[b]) * block.1 + j
                                        // The nibbles of each block start a new byte.
                                        let start = type == .int4 ? (size + 1) / 2 * 2 * b : size * b
                                        expected[(r - first) * columns + c] = Self.value(
                                            operands, type, at: start + r % block.0 * block.1 + j, row: r, column: c)
                                    }
                                }
                            }
                            #expect(out.array == expected, "type \(type), [\(rows), \(columns)]")
                        }
                    }
                }
            }
        }
    }

    /// The last entries of a row may be read twice: what they meet must count once, infinities too.
    @Test(arguments: levels)
    func infiniteInputsOfRows(level: Int32) {
        for count in [1, 7, 8, 15, 16, 17, 31, 33] {
            let x = Buffer<Float>(repeating: 1, count: 64)
            let values = Buffer<Float>(repeating: 2, count: count)
            let columns = Buffer((0..<count).map { UInt16($0) })
            let starts = Buffer<UInt32>([0, UInt32(count)])
            var w = lk_csr(
                row_start: starts.pointer, column: UnsafeRawPointer(columns.pointer),
                values: UnsafeRawPointer(values.pointer), scales: nil, columns: 64, wide: 0)
            var input = lk_input()
            input.x = UnsafePointer(x.pointer)
            var sum: Float = 0
            lk_level(level).pointee.gemv_csr_f32(&w, &input, 0, 1, &sum)
            #expect(sum == Float(2 * count))
            for c in 0..<count {
                x.pointer[c] = .infinity
                lk_level(level).pointee.gemv_csr_f32(&w, &input, 0, 1, &sum)
                #expect(sum == .infinity, "\(count) entries, infinity at \(c)")
                x.pointer[c] = 1
            }
        }
    }

    /// Those with panel kernels of their own; int4 values are spread out as floats.
    static let panelTypes = ValueType.allCases.filter { $0 != .int4 }

    static func panels(_ k: lk_table, _ type: ValueType) -> BitmaskMatrix.Panel {
        switch type {
        case .f32, .int4: k.panel_bitmask_f32
        case .bf16: k.panel_bitmask_bf16
        case .f16: k.panel_bitmask_f16
        case .int8: k.panel_bitmask_i8
        }
    }

    @Test(arguments: levels, shapes)
    func bitmaskPanels(level: Int32, shape: (Int, Int)) {
        let (rows, columns) = shape
        let operands = Operands(rows, columns)
        let (table, reference) = (lk_level(level)!.pointee, lk_reference()!.pointee)
        let panel = Self.random(columns * 64, seed: 2)
        for type in Self.panelTypes {
            operands.withValues(type) { values, scales in
                operands.starts.withUnsafeBufferPointer { starts in
                    operands.words.withUnsafeBufferPointer { words in
                        var w = lk_bitmask(
                            mask: words.baseAddress, values: values, scales: scales, row_start: starts.baseAddress,
                            row_stride: 0, columns: columns, word_values: 0)
                        let (a, b) = (Buffer<Float>(repeating: .nan, count: rows * 64), Self.random(rows * 64, seed: 3))
                        for first in Set([0, rows / 3]) {
                            for width in [16, 32, 64] {
                                Self.panels(table, type)(&w, panel.pointer, width, first, rows, a.pointer)
                                Self.panels(reference, type)(&w, panel.pointer, width, first, rows, b.pointer)
                                #expect(Self.agree(a.pointer, b.pointer, (rows - first) * width), "\(width), \(type)")
                            }
                        }
                    }
                }
            }
        }
    }

    /// Words of equally many values: every one the kernel's loop over four of them at a time can meet, a last word that is
    /// not full, bands that end within the matrix, one column alone.
    @Test(arguments: levels, [(1, 16), (2, 4), (4, 8), (5, 8), (1, 1), (3, 16)])
    func regularPanels(level: Int32, pattern: (Int, Int)) {
        let (n, m) = pattern
        let (table, reference) = (lk_level(level)!.pointee, lk_reference()!.pointee)
        for (rows, columns) in [(9, 640), (1, 64), (37, 200), (3, 1), (530, 129), (5, 64 * 9 + 5)] {
            let operands = Operands(rows, columns)
            let perRow = (columns + 63) / 64
            var generator = SeededGenerator(seed: UInt64(columns), stream: UInt64(m))
            var words = [UInt64](repeating: 0, count: rows * perRow)
            var stride = 0
            for r in 0..<rows {
                var stored = 0
                for start in Swift.stride(from: 0, to: columns, by: m) {
                    let group = Array(start..<min(start + m, columns)).shuffled(using: &generator).prefix(n)
                    for c in group { words[r * perRow + c / 64] |= 1 << UInt64(c % 64) }
                    stored += group.count
                }
                stride = stored
            }
            let values = (0..<rows * stride + 64).map { operands.floats[$0 % operands.floats.count] }
            let (halves, singles) = (values.map { BFloat16($0).bits }, values.map { Half($0).bits })
            let bytes = (0..<values.count).map { operands.bytes[$0 % operands.bytes.count] }
            let panel = Self.random(columns * 64, seed: 2)
            for type in Self.panelTypes {
                operands.withValues(type) { _, scales in
                    func check(_ stored: UnsafeRawBufferPointer) {
                        words.withUnsafeBufferPointer { words in
                            var w = lk_bitmask(
                                mask: words.baseAddress, values: stored.baseAddress, scales: scales, row_start: nil,
                                row_stride: stride, columns: columns, word_values: 64 / m * n)
                            let (a, b) = (
                                Buffer<Float>(repeating: .nan, count: rows * 64), Self.random(rows * 64, seed: 3)
                            )
                            for first in Set([0, rows / 3]) {
                                for width in [16, 32, 64] {
                                    Self.panels(table, type)(&w, panel.pointer, width, first, rows, a.pointer)
                                    Self.panels(reference, type)(&w, panel.pointer, width, first, rows, b.pointer)
                                    #expect(
                                        Self.agree(a.pointer, b.pointer, (rows - first) * width),
                                        "\(columns) columns, \(width) vectors, \(type)")
                                }
                            }
                        }
                    }
                    switch type {
                    case .f32: values.withUnsafeBytes(check)
                    case .bf16: halves.withUnsafeBytes(check)
                    case .f16: singles.withUnsafeBytes(check)
                    case .int8, .int4: bytes.withUnsafeBytes(check)
                    }
                }
            }
        }
    }

    @Test(arguments: levels, [(1, 1), (4, 4), (2, 8), (8, 8), (1, 16), (16, 16), (5, 32), (3, 5), (40, 16), (6, 4)])
    func bsr(level: Int32, block: (Int, Int)) {
        let (table, reference) = (lk_level(level)!.pointee, lk_reference()!.pointee)
        func single(_ k: lk_table, _ type: ValueType) -> UnsafeVectorProduct<lk_bsr> {
            switch type {
            case .f32: k.gemv_bsr_f32
            case .bf16: k.gemv_bsr_bf16
            case .f16: k.gemv_bsr_f16
            case .int8: k.gemv_bsr_i8
            case .int4: k.gemv_bsr_i4
            }
        }
        func many(_ k: lk_table, _ type: ValueType) -> BSRMatrix.Panel? {
            switch type {
            case .f32: k.panel_bsr_f32
            case .bf16: k.panel_bsr_bf16
            case .f16: k.panel_bsr_f16
            case .int8: k.panel_bsr_i8
            case .int4: nil
            }
        }
        // Whole blocks, blocks that reach beyond the matrix, more rows than a block of them.
        for (rows, columns) in [(block.0 * 5, block.1 * 9), (block.0 * 2 + 1, block.1 * 30 + 1), (515, 40)] {
            let operands = Operands(rows, columns, blockRows: block.0, blockColumns: block.1)
            let x = Self.random((columns + 63) / 64 * 64, seed: 1)
            let panel = Self.random(columns * 64, seed: 2)
            var input = lk_input()
            input.x = UnsafePointer(x.pointer)
            for type in ValueType.allCases {
                operands.withValues(type) { values, scales in
                    operands.starts.withUnsafeBufferPointer { starts in
                        operands.wide.withUnsafeBufferPointer { blocks in
                            var w = lk_bsr(
                                row_start: starts.baseAddress, block_column: blocks.baseAddress, values: values,
                                scales: scales, columns: columns, block_rows: block.0, block_columns: block.1)
                            let (a, b) = (
                                Buffer<Float>(repeating: .nan, count: rows * 64), Self.random(rows * 64, seed: 3)
                            )
                            for first in Set([0, rows / 3]) {
                                single(table, type)(&w, &input, first, rows, a.pointer)
                                single(reference, type)(&w, &input, first, rows, b.pointer)
                                #expect(Self.agree(a.pointer, b.pointer, rows - first), "vector, \(type)")
                                for width in [16, 32, 64] where type != .int4 {
                                    many(table, type)?(&w, panel.pointer, width, first, rows, a.pointer)
                                    many(reference, type)?(&w, panel.pointer, width, first, rows, b.pointer)
                                    #expect(
                                        Self.agree(a.pointer, b.pointer, (rows - first) * width),
                                        "panel \(width), \(type)")
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    @Test(arguments: levels)
    func panelsAreTransposes(level: Int32) {
        let table = lk_level(level)!.pointee
        for (count, columns, width) in [(64, 64, 64), (1, 5, 16), (16, 33, 16), (31, 70, 32), (40, 129, 64)] {
            let x = Self.random(count * (columns + 3), seed: 4)
            let panel = Buffer<Float>(repeating: .nan, count: columns * width)
            table.pack_panel(x.pointer, columns + 3, count, columns, width, panel.pointer)
            for c in 0..<columns {
                for t in 0..<width {
                    let expected = t < count ? x.pointer[t * (columns + 3) + c] : 0
                    if panel.pointer[c * width + t] != expected { Issue.record("entry \(c) of vector \(t)") }
                }
            }
            let back = Buffer<Float>(repeating: -1, count: count * (columns + 2))
            table.unpack_panel(panel.pointer, width, columns, count, back.pointer, columns + 2)
            for t in 0..<count {
                for c in 0..<columns + 2 {
                    let expected = c < columns ? x.pointer[t * (columns + 3) + c] : -1
                    if back.pointer[t * (columns + 2) + c] != expected { Issue.record("vector \(t), row \(c)") }
                }
            }
        }
    }
}
