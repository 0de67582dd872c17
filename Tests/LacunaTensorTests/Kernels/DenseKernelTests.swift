import CLacuna
import LacunaTensor
import Testing

/// Products with, and decoding of, dense matrices in every format, against double precision arithmetic.
@Suite struct DenseKernelTests {
    enum Format: CaseIterable {
        case f32, bf16, f16, i8, i4, q40, q41, q50, q51, q80, q2k, q3k, q4k, q5k, q6k

        /// Columns and bytes of a block, and where in it the scales are; nil for formats without blocks.
        var block: (columns: Int, bytes: Int, scales: [Int])? {
            switch self {
            case .f32, .bf16, .f16, .i8, .i4: nil
            case .q40: (32, 18, [0])
            case .q41: (32, 20, [0, 2])
            case .q50: (32, 22, [0])
            case .q51: (32, 24, [0, 2])
            case .q80: (32, 34, [0])
            case .q2k: (256, 84, [80, 82])
            case .q3k: (256, 110, [108])
            case .q4k: (256, 144, [0, 2])
            case .q5k: (256, 176, [0, 2])
            case .q6k: (256, 210, [208])
            }
        }
    }

    /// Random stored bytes of a format, at an address as badly aligned as the format allows.
    struct Stored {
        let bytes: Buffer<UInt8>
        let scales: Buffer<UInt8>
        let matrix: lk_dense

        init(_ format: Format, rows: Int, columns: Int, _ random: inout SeededGenerator) {
            func put(_ values: [some BitwiseCopyable]) -> [UInt8] { values.withUnsafeBytes(Array.init) }
            let groups = (columns + 63) / 64
            var raw: [UInt8]
            var scaleBytes: [UInt8] = []
            var misalignment = 1
            func halves(_ values: [Float]) -> [UInt16] { values.map { Half($0).bits } }
            switch format {
            case .f32: (raw, misalignment) = (put(random.awkwardFloats(rows * columns)), 4)
            case .bf16: (raw, misalignment) = (put(random.awkwardFloats(rows * columns).map { BFloat16($0).bits }), 2)
            case .f16: (raw, misalignment) = (put(halves(random.awkwardFloats(rows * columns))), 2)
            case .i8:
                raw = (0..<rows * columns).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                scaleBytes = put(random.normals(rows))
            case .i4:
                raw = (0..<rows * groups * 32).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                scaleBytes = put(random.normals(rows * groups).map { BFloat16($0).bits })
            default:
                let block = format.block!
                raw = (0..<rows * columns / block.columns).flatMap { _ in
                    var bytes = (0..<block.bytes).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                    for start in block.scales {
                        bytes.replaceSubrange(start..<start + 2, with: put(halves(random.normals(1))))
                    }
                    return bytes
                }
            }
            bytes = Buffer([UInt8](repeating: 0, count: misalignment) + raw)
            scales = Buffer(scaleBytes)
            matrix = lk_dense(values: bytes.pointer + misalignment, scales: scales.pointer, columns: columns)
        }
    }

    static func product(_ k: lk_table, _ format: Format)
        -> (UnsafePointer<lk_dense>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    {
        switch format {
        case .f32: k.gemv_f32
        case .bf16: k.gemv_bf16
        case .f16: k.gemv_f16
        case .i8: k.gemv_i8
        case .i4: k.gemv_i4
        case .q40: k.gemv_q4_0
        case .q41: k.gemv_q4_1
        case .q50: k.gemv_q5_0
        case .q51: k.gemv_q5_1
        case .q80: k.gemv_q8_0
        case .q2k: k.gemv_q2_k
        case .q3k: k.gemv_q3_k
        case .q4k: k.gemv_q4_k
        case .q5k: k.gemv_q5_k
        case .q6k: k.gemv_q6_k
        }
    }

    static func decoding(_ k: lk_table, _ format: Format)
        -> (UnsafePointer<lk_dense>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    {
        switch format {
        case .f32: k.decode_f32
        case .bf16: k.decode_bf16
        case .f16: k.decode_f16
        case .i8: k.decode_i8
        case .i4: k.decode_i4
        case .q40: k.decode_q4_0
        case .q41: k.decode_q4_1
        case .q50: k.decode_q5_0
        case .q51: k.decode_q5_1
        case .q80: k.decode_q8_0
        case .q2k: k.decode_q2_k
        case .q3k: k.decode_q3_k
        case .q4k: k.decode_q4_k
        case .q5k: k.decode_q5_k
        case .q6k: k.decode_q6_k
        }
    }

    static func rowProduct(_ k: lk_table, _ format: Format)
        -> (
            (UnsafePointer<lk_dense>?, UnsafePointer<lk_input>?, Int, Int, Int, UnsafeMutablePointer<Float>?, Int)
                -> Void
        )?
    {
        switch format {
        case .f32, .bf16, .f16: nil
        case .i8: k.rows_i8
        case .i4: k.rows_i4
        case .q40: k.rows_q4_0
        case .q41: k.rows_q4_1
        case .q50: k.rows_q5_0
        case .q51: k.rows_q5_1
        case .q80: k.rows_q8_0
        case .q2k: k.rows_q2_k
        case .q3k: k.rows_q3_k
        case .q4k: k.rows_q4_k
        case .q5k: k.rows_q5_k
        case .q6k: k.rows_q6_k
        }
    }

    /// Products with 1 to 70 vectors, of ranges of rows that fill no vector, and without a write elsewhere.
    @Test(arguments: supportedLevels, Format.allCases) func severalVectorsAgreeWithTheReference(
        level: Int32, format: Format
    ) {
        guard let mine = Self.rowProduct(kernels(level), format) else { return }
        var random = SeededGenerator(seed: 9, stream: UInt64(level))
        let lengths = format.block.map { $0.columns == 32 ? [32, 96, 256, 288, 576] : [256, 768] } ?? awkwardLengths
        for (i, columns) in lengths.enumerated() {
            let (rows, first) = (37, i % 3)
            let stored = Stored(format, rows: rows, columns: columns, &random)
            let count = [1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 70][(i + Int(level)) % 11]
            let vectors = (0..<count).map { _ in KernelInput(random.normals(columns)) }
            // Bytes meet groups of 64 where they are given, and groups of 32 where they are not.
            let form: KernelInput.Form = format == .i8 && i % 2 == 0 ? .groups64 : .groups32
            let inputs = vectors.map { vector in
                var input = vector.input
                if form == .groups32 { input.q64 = nil }
                return input
            }
            var (matrix, expected) = (stored.matrix, [Float](repeating: 0, count: rows * columns))
            Self.decoding(reference, format)(&matrix, 0, rows, &expected)
            let (height, stride) = (rows - first - 1, rows + 3)
            var out = [Float](repeating: 9, count: count * stride + 1)
            mine(&matrix, inputs, count, first, rows - 1, &out, stride)
            var theirs = out.map { _ in Float(9) }
            Self.rowProduct(reference, format)!(&matrix, inputs, count, first, rows - 1, &theirs, stride)
            for t in 0..<count {
                let exact = LacunaTensorTests.product(expected, vectors[t].values(form), rows: rows)
                for r in 0..<height {
                    let bound = exact[first + r]
                    #expect((Double(out[t * stride + r]) - bound.value).magnitude <= bound.tolerance)
                    #expect((Double(theirs[t * stride + r]) - bound.value).magnitude <= bound.tolerance)
                }
                #expect(out[t * stride + height..<(t + 1) * stride].allSatisfy { $0 == 9 })
            }
            #expect(out.last == 9)
            withExtendedLifetime(stored) {}
        }
    }

    /// Every number of inputs and of rows gives each input the bits of the product with it alone.
    @Test(arguments: supportedLevels) func bytesOfSeveralVectorsAreThoseOfOne(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 21, stream: UInt64(level))
        for columns in awkwardLengths + [576, 1536] {
            let rows = 11
            let stored = Stored(.i8, rows: rows, columns: columns, &random)
            var matrix = stored.matrix
            let vectors = (0..<13).map { _ in KernelInput(random.normals(columns)) }
            let inputs = vectors.map(\.input)
            for (count, first) in [(1, 0), (2, 1), (3, 2), (4, 3), (7, 0), (13, 4)] {
                let height = rows - first
                var together = [Float](repeating: 0, count: count * height)
                k.rows_i8(&matrix, inputs, count, first, rows, &together, height)
                var alone = together
                for t in 0..<count {
                    var (input, product) = (inputs[t], [Float](repeating: 0, count: height))
                    k.gemv_i8(&matrix, &input, first, rows, &product)
                    alone.replaceSubrange(t * height..<(t + 1) * height, with: product)
                }
                #expect(together == alone, "\(columns) columns, \(count) inputs, rows from \(first)")
            }
            withExtendedLifetime((stored, vectors)) {}
        }
    }

    @Test(arguments: supportedLevels) func sumsOfSixteenBytes(level: Int32) {
        var random = SeededGenerator(seed: 12)
        for count in [1, 31, 32, 33, 200] {
            let bytes = (0..<256).map { _ in Int8(truncatingIfNeeded: random.next()) }
            var (mine, expected) = ([Int32](repeating: 7, count: 17), [Int32](repeating: 7, count: 17))
            kernels(level).sums_x16(bytes, count, &mine)
            for i in 0..<(count + 31) / 32 * 2 {
                expected[i] = bytes[16 * i..<16 * i + 16].reduce(0) { $0 + Int32($1) }
            }
            #expect(mine == expected)
            reference.sums_x16(bytes, count, &mine)
            #expect(mine == expected)
        }
    }

    @Test(arguments: supportedLevels, Format.allCases) func agreesWithTheReference(level: Int32, format: Format) {
        let k = kernels(level)
        let blocked = format.block != nil
        var random = SeededGenerator(seed: 1, stream: UInt64(level))
        let lengths = format.block.map { $0.columns == 32 ? [32, 64, 96, 160, 256, 576] : [256, 512, 768] }
        for columns in lengths ?? awkwardLengths {
            let rows = 7
            let stored = Stored(format, rows: rows, columns: columns, &random)
            let vector = KernelInput(random.normals(columns))
            var (matrix, input) = (stored.matrix, vector.input)

            // Decoding, of a range, and without a write beyond it.
            var expected = [Float](repeating: 0, count: rows * columns)
            Self.decoding(reference, format)(&matrix, 0, rows, &expected)
            var decoded = [Float](repeating: 9, count: 4 * columns + 1)
            Self.decoding(k, format)(&matrix, 2, 6, &decoded)
            #expect(zip(decoded, expected[(2 * columns)...]).prefix(4 * columns).allSatisfy { isClose($0, $1) })
            #expect(decoded[4 * columns] == 9)

            let form: KernelInput.Form =
                blocked ? .groups32 : [.i8, .i4].contains(format) ? .groups64 : format == .bf16 ? .bf16 : .floats
            let exact = LacunaTensorTests.product(expected, vector.values(form), rows: rows)
            var out = [Float](repeating: 9, count: rows + 1)
            Self.product(k, format)(&matrix, &input, 0, rows, &out)
            for r in 0..<rows {
                #expect((Double(out[r]) - exact[r].value).magnitude <= exact[r].tolerance, "\(format) \(columns) \(r)")
            }
            #expect(out[rows] == 9)
            // How the rows are cut into ranges changes no bit.
            for r in 0..<rows {
                var alone: [Float] = [9]
                Self.product(k, format)(&matrix, &input, r, r + 1, &alone)
                #expect(alone[0] == out[r])
            }
        }
    }

    @Test(arguments: supportedLevels) func rowsDoNotSeeTheirNeighbours(level: Int32) {
        let k = kernels(level)
        for columns in awkwardLengths {
            var values = [Float](repeating: .nan, count: 3 * columns)
            for c in columns..<2 * columns { values[c] = 1 }
            let (f32, bf16) = (Buffer(values), Buffer(values.map { BFloat16($0).bits }))
            let f16 = Buffer(values.map { Half($0).bits })
            var input = KernelInput([Float](repeating: 1, count: columns)).input
            let vector = KernelInput([Float](repeating: 1, count: columns))
            input = vector.input
            var out: [Float] = [0]
            var matrix = lk_dense(values: f32.pointer, scales: nil, columns: columns)
            k.gemv_f32(&matrix, &input, 1, 2, &out)
            #expect(out[0] == Float(columns))
            matrix.values = UnsafeRawPointer(bf16.pointer)
            k.gemv_bf16(&matrix, &input, 1, 2, &out)
            #expect(out[0] == Float(columns))
            matrix.values = UnsafeRawPointer(f16.pointer)
            k.gemv_f16(&matrix, &input, 1, 2, &out)
            #expect(out[0] == Float(columns))
        }
    }

    @Test(arguments: supportedLevels) func extremeBytesDoNotOverflow(level: Int32) {
        let k = kernels(level)
        let vector = KernelInput([Float](repeating: 127, count: 128))
        var input = vector.input
        let scale: [Float] = [1]
        for byte in [Int8.min, -127, 127] {
            let row = Buffer(repeating: byte, count: 128)
            var out: [Float] = [0]
            scale.withUnsafeBufferPointer { scale in
                var matrix = lk_dense(values: row.pointer, scales: scale.baseAddress, columns: 128)
                k.gemv_i8(&matrix, &input, 0, 1, &out)
            }
            #expect(out[0] == 127 * 128 * Float(byte))
        }
    }

    @Test(arguments: supportedLevels) func skippingRows(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 2, stream: UInt64(level))
        for columns in [1, 5, 16, 31, 64, 100, 257] {
            let rows = 13
            let w = random.awkwardFloats(rows * columns)
            let half = w.map { BFloat16($0).bits }
            let single = w.map { Half($0).bits }
            let h = random.normals(rows)
            for kept: [UInt32] in [[], [3], [0, 2, 5, 12], [1, 2, 3, 4, 5, 7, 9, 10, 11], Array(0..<13)] {
                let first = columns / 3
                let start = random.normals(columns - first) + [9]
                var mine = start
                k.skip_rows_f32(w, columns, kept, kept.count, h, first, columns, &mine)
                var expected = start
                reference.skip_rows_f32(w, columns, kept, kept.count, h, first, columns, &expected)
                #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 1e-5, absolute: 1e-2) })
                #expect(mine.last == 9)
                mine = start
                k.skip_rows_bf16(half, columns, kept, kept.count, h, first, columns, &mine)
                expected = start
                reference.skip_rows_bf16(half, columns, kept, kept.count, h, first, columns, &expected)
                #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 1e-5, absolute: 1e-2) })
                #expect(mine.last == 9)
                mine = start
                k.skip_rows_f16(single, columns, kept, kept.count, h, first, columns, &mine)
                expected = start
                reference.skip_rows_f16(single, columns, kept, kept.count, h, first, columns, &expected)
                #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 1e-5, absolute: 1e-2) })
                #expect(mine.last == 9)
            }
        }
    }

    /// Sides around the heights and widths of tiles and of what is packed at a time, all forms of the operands; memory ends where the
    /// matrices do.
    @Test(arguments: supportedLevels) func productsOfTwoMatrices(level: Int32) {
        let k = kernels(level)
        let space = Buffer<UInt8>(uninitialized: Int(LK_PRODUCT_SPACE))
        var random = SeededGenerator(seed: 3, stream: UInt64(level))
        let sides = [
            (1, 1, 1), (1, 33, 2), (4, 16, 3), (5, 31, 17), (13, 32, 31), (14, 33, 32), (15, 64, 33), (29, 65, 319),
            (12, 8, 320), (3, 9, 321), (450, 3, 5), (2, 1030, 6), (30, 70, 641),
        ]
        for (i, (m, n, depth)) in sides.enumerated() {
            for form in 0..<8 {
                let (ta, tb, isHalf) = (form & 1 != 0, form & 2 != 0, form & 4 != 0)
                let pad = (i + form) % 3
                let (strideA, strideB, strideC) = ((ta ? m : depth) + pad, (tb ? depth : n) + pad, n + pad)
                // The last row of an operand has no gap behind it. Sums of large numbers would hide small mistakes.
                let a = random.normals((ta ? depth : m) * strideA - pad)
                let b = random.normals((tb ? n : depth) * strideB - pad)
                let half = b.map { BFloat16($0).bits }
                let beta: Float = [0, 1, -0.5][form % 3]
                let start = random.normals(m * strideC - pad)
                func result(_ product: (UnsafePointer<lk_product>?, UnsafeMutableRawPointer?) -> Void) -> [Float] {
                    var c = beta == 0 ? start.map { _ in Float.nan } : start
                    // Between rows nothing is written.
                    if pad > 0 { for row in 0..<m - 1 { c[row * strideC + n] = 77 } }
                    a.withUnsafeBufferPointer { a in
                        b.withUnsafeBytes { floats in
                            half.withUnsafeBytes { halves in
                                c.withUnsafeMutableBufferPointer { c in
                                    var operands = lk_product(
                                        a: a.baseAddress, b: (isHalf ? halves : floats).baseAddress, c: c.baseAddress,
                                        a_stride: strideA, b_stride: strideB, c_stride: strideC,
                                        a_transposed: ta ? 1 : 0, b_transposed: tb ? 1 : 0, b_bf16: isHalf ? 1 : 0,
                                        beta: beta, m: m, n: n, k: depth)
                                    product(&operands, UnsafeMutableRawPointer(space.pointer))
                                }
                            }
                        }
                    }
                    return c
                }
                let mine = result { k.product_bf16($0, $1) }
                let expected = result { reference.product_bf16($0, $1) }
                let isRight = (0..<mine.count).allSatisfy { place in
                    place % strideC >= n && beta == 0 && expected[place].isNaN
                        ? mine[place].isNaN
                        : isClose(mine[place], expected[place], relative: 1e-5, absolute: 1e-3)
                }
                #expect(isRight, "\(m) x \(n) x \(depth), form \(form)")
                if pad > 0 { #expect((0..<m - 1).allSatisfy { mine[$0 * strideC + n] == 77 }) }
            }
        }
    }

    /// Halfway between two bf16 numbers the even one is taken, infinities stay, and what is not a number reaches its row alone.
    @Test(arguments: supportedLevels) func roundingOfProducts(level: Int32) {
        let k = kernels(level)
        let space = Buffer<UInt8>(uninitialized: Int(LK_PRODUCT_SPACE))
        let step = Float(0x1p-7)
        let values: [Float] = [
            1 + step / 2, 1 + 1.5 * step, 1 + step / 2 + 0x1p-23, -(1 + step / 2), 3e38, .infinity, -.infinity,
            Float(bitPattern: 0x7F80_0001), 0x1.fffffep127,
        ]
        let expected: [Float] = [
            1, 1 + 2 * step, 1 + step, -1, BFloat16(3e38).float, .infinity, -.infinity, .nan, .infinity,
        ]
        for isTransposed in [false, true] {
            var c = [Float](repeating: 0, count: values.count)
            let one: [Float] = [1]
            one.withUnsafeBytes { one in
                var operands = lk_product(
                    a: nil, b: one.baseAddress, c: nil, a_stride: isTransposed ? values.count : 1, b_stride: 1,
                    c_stride: 1, a_transposed: isTransposed ? 1 : 0, b_transposed: 0, b_bf16: 0, beta: 0,
                    m: values.count, n: 1, k: 1)
                values.withUnsafeBufferPointer { values in
                    c.withUnsafeMutableBufferPointer { c in
                        (operands.a, operands.c) = (values.baseAddress, c.baseAddress)
                        k.product_bf16(&operands, UnsafeMutableRawPointer(space.pointer))
                    }
                }
            }
            #expect(zip(c, expected).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }, "\(c)")
        }
    }
}
