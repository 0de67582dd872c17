import CLacuna
import LacunaTensor
import Testing

/// Products with, and decoding of, dense matrices in every format, against double precision arithmetic.
@Suite struct DenseKernelTests {
    enum Format: CaseIterable { case f32, bf16, f16, i8, i4, q80, q40, q41 }

    /// Random stored bytes of a format, at an address as badly aligned as the format allows.
    struct Stored {
        let bytes: Buffer<UInt8>
        let scales: Buffer<UInt8>
        let matrix: lk_dense

        init(_ format: Format, rows: Int, columns: Int, _ random: inout SeededGenerator) {
            func put(_ values: [some BitwiseCopyable]) -> [UInt8] { values.withUnsafeBytes(Array.init) }
            let groups = (columns + 63) / 64
            let blocks = rows * columns / 32
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
            case .q80:
                raw = (0..<blocks).flatMap { _ in
                    put(halves([Float(random.normal())]))
                        + (0..<32).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                }
            case .q40, .q41:
                raw = (0..<blocks).flatMap { _ in
                    put(halves(random.normals(format == .q40 ? 1 : 2)))
                        + (0..<16).map { _ in UInt8(truncatingIfNeeded: random.next()) }
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
        case .q80: k.gemv_q8_0
        case .q40: k.gemv_q4_0
        case .q41: k.gemv_q4_1
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
        case .q80: k.decode_q8_0
        case .q40: k.decode_q4_0
        case .q41: k.decode_q4_1
        }
    }

    @Test(arguments: supportedLevels, Format.allCases) func agreesWithTheReference(level: Int32, format: Format) {
        let k = kernels(level)
        let blocked = [.q80, .q40, .q41].contains(format)
        var random = SeededGenerator(seed: 1, stream: UInt64(level))
        for columns in blocked ? [32, 64, 96, 160, 576] : awkwardLengths {
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
            }
        }
    }
}
