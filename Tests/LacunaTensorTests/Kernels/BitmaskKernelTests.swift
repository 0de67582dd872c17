import CLacuna
import LacunaTensor
import Testing

/// Products with, and decoding of, bitmask and N:M matrices, against double precision arithmetic on a dense copy.
@Suite struct BitmaskKernelTests {
    enum Format: CaseIterable {
        case f32, bf16, f16, i8, i4

        /// Of a stored value, or of two nibbles.
        var bytes: Int { self == .f32 ? 4 : self == .bf16 || self == .f16 ? 2 : 1 }
    }

    struct Stored {
        let mask: Buffer<UInt64>
        let values: Buffer<UInt8>
        let scales: Buffer<UInt8>
        let rowStart: Buffer<UInt32>
        var matrix: lk_bitmask
        let dense: [Float]

        /// Row r keeps about `densities[r]` of its entries; with `nm`, two of every four columns.
        init(_ format: Format, densities: [Double], columns: Int, nm: Bool = false, _ random: inout SeededGenerator) {
            let (rows, words) = (densities.count, (columns + 63) / 64)
            var maskWords = [UInt64](repeating: 0, count: rows * words)
            // A misaligned start, and beyond the end bytes that are NaNs if they are ever read as values.
            let lead = format.bytes
            var bytes = [UInt8](repeating: 0xFF, count: lead)
            var starts: [UInt32] = []
            let rowScales = random.normals(rows)
            let groupScales = random.normals(rows * words).map { BFloat16($0).bits }
            var dense = [Float](repeating: 0, count: rows * columns)
            for r in 0..<rows {
                starts.append(UInt32((bytes.count - lead) / format.bytes))
                var pendingNibble: UInt8?
                for c in 0..<columns {
                    if c % 64 == 0, let low = pendingNibble {
                        bytes.append(low)
                        pendingNibble = nil
                    }
                    guard nm ? c % 4 == r % 3 || c % 4 == 3 : random.uniform() < densities[r] else { continue }
                    maskWords[r * words + c / 64] |= 1 << UInt64(c % 64)
                    let value: Float
                    switch format {
                    case .f32:
                        value = random.awkwardFloats(1)[0]
                        withUnsafeBytes(of: value) { bytes += $0 }
                    case .bf16:
                        let stored = BFloat16(random.awkwardFloats(1)[0])
                        value = stored.float
                        withUnsafeBytes(of: stored) { bytes += $0 }
                    case .f16:
                        let stored = Half(random.awkwardFloats(1)[0])
                        value = stored.float
                        withUnsafeBytes(of: stored) { bytes += $0 }
                    case .i8:
                        let q = Int8(truncatingIfNeeded: random.next())
                        value = rowScales[r] * Float(q)
                        bytes.append(UInt8(bitPattern: q))
                    case .i4:
                        let q = Int(random.next() % 16) - 8
                        value = BFloat16(bits: groupScales[r * words + c / 64]).float * Float(q)
                        let nibble = UInt8(q & 15)
                        if let low = pendingNibble {
                            bytes.append(low | nibble << 4)
                            pendingNibble = nil
                        } else {
                            pendingNibble = nibble
                        }
                    }
                    dense[r * columns + c] = value
                }
                if let low = pendingNibble { bytes.append(low) }
            }
            starts.append(UInt32((bytes.count - lead) / format.bytes))
            self.dense = dense
            mask = Buffer(maskWords)
            values = Buffer(bytes + [UInt8](repeating: 0xFF, count: 64))
            rowStart = Buffer(starts)
            scales =
                format == .i4
                ? Buffer(groupScales.withUnsafeBytes(Array.init))
                : Buffer(rowScales.withUnsafeBytes(Array.init))
            matrix = lk_bitmask(
                mask: mask.pointer, values: values.pointer + lead, scales: scales.pointer,
                row_start: nm ? nil : rowStart.pointer, row_stride: nm ? Int(starts[1]) : 0, columns: columns,
                word_values: 0)
        }
    }

    static func product(_ k: lk_table, _ format: Format)
        -> (UnsafePointer<lk_bitmask>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    {
        switch format {
        case .f32: k.gemv_bitmask_f32
        case .bf16: k.gemv_bitmask_bf16
        case .f16: k.gemv_bitmask_f16
        case .i8: k.gemv_bitmask_i8
        case .i4: k.gemv_bitmask_i4
        }
    }

    static func decoding(_ k: lk_table, _ format: Format)
        -> (UnsafePointer<lk_bitmask>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    {
        switch format {
        case .f32: k.decode_bitmask_f32
        case .bf16: k.decode_bitmask_bf16
        case .f16: k.decode_bitmask_f16
        case .i8: k.decode_bitmask_i8
        case .i4: k.decode_bitmask_i4
        }
    }

    /// Every check on one matrix, with the kernels of one table.
    func check(_ k: lk_table, _ format: Format, _ stored: Stored, rows: Int, columns: Int, _ vector: KernelInput) {
        var (matrix, input) = (stored.matrix, vector.input)
        let some = rows > 2 ? 1..<rows - 1 : 0..<rows
        var decoded = [Float](repeating: 9, count: some.count * columns + 1)
        Self.decoding(k, format)(&matrix, some.lowerBound, some.upperBound, &decoded)
        #expect(
            Array(decoded.dropLast()) == Array(stored.dense[(some.lowerBound * columns)..<(some.upperBound * columns)]))
        #expect(decoded.last == 9)

        let form: KernelInput.Form = [.i8, .i4].contains(format) ? .groups64 : format == .bf16 ? .bf16 : .floats
        let exact = LacunaTensorTests.product(stored.dense, vector.values(form), rows: rows)
        var out = [Float](repeating: 9, count: rows + 1)
        Self.product(k, format)(&matrix, &input, 0, rows, &out)
        for r in 0..<rows {
            #expect((Double(out[r]) - exact[r].value).magnitude <= exact[r].tolerance, "\(format) \(columns) \(r)")
            // How the rows are cut into ranges changes no bit.
            var alone: [Float] = [9]
            Self.product(k, format)(&matrix, &input, r, r + 1, &alone)
            #expect(alone[0] == out[r])
        }
        #expect(out[rows] == 9)
    }

    @Test(arguments: supportedLevels, Format.allCases) func unstructured(level: Int32, format: Format) {
        var random = SeededGenerator(seed: 1, stream: UInt64(level))
        for columns in awkwardLengths {
            let densities = [0.5, 0, 1, 0.25, 0.02, 0.1, 0.98, 0.2, 0]
            let stored = Stored(format, densities: densities, columns: columns, &random)
            let vector = KernelInput(random.normals(columns))
            check(kernels(level), format, stored, rows: densities.count, columns: columns, vector)
            if columns < 130 { check(reference, format, stored, rows: densities.count, columns: columns, vector) }
        }
    }

    @Test(arguments: supportedLevels, Format.allCases) func constantRowStride(level: Int32, format: Format) {
        var random = SeededGenerator(seed: 2, stream: UInt64(level))
        for columns in [4, 60, 64, 100, 128, 320] {
            let stored = Stored(
                format, densities: [Double](repeating: 0, count: 6), columns: columns, nm: true, &random)
            check(
                kernels(level), format, stored, rows: 6, columns: columns, KernelInput(random.normals(columns)))
        }
    }
}
