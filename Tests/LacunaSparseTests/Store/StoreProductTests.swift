import LacunaTensor
import Testing

@testable import LacunaSparse

/// Several matrices at once, thread counts, and the sizes that stores report.
@Suite(.serialized) struct StoreProductTests {
    private func stores(rows: Int, columns: Int) throws -> [any StoredMatrix] {
        try StoreCases.layouts.flatMap { layout in
            try ValueType.allCases.map { values in
                let square = StoreCases.Square(layout: layout, values: values, rows: rows, columns: columns)
                let (weight, mask) = StoreCases.make(square)
                return try WeightStore.make(weight, mask: mask, layout: layout, values: values)
            }
        }
    }

    private func withThreads<R>(_ threads: Int, _ body: () throws -> R) rethrows -> R {
        let before = Parallel.threads
        Parallel.threads = threads
        defer { Parallel.threads = before }
        return try body()
    }

    @Test func thousandsOfRowsGiveTheSameBitsAtAnyNumberOfThreads() throws {
        let (rows, columns) = (700, 260)
        let x = StoreCases.vector(70 * columns, seed: 5)
        for stored in try stores(rows: rows, columns: columns) {
            let results = [1, 2, 3].map { threads in
                withThreads(threads) {
                    var y = [Float](repeating: .nan, count: 71 * rows)
                    y.withUnsafeMutableBufferPointer { y in
                        Product.gemv([(stored, y.baseAddress!)], x: x)
                        Product.gemm(stored, x, count: 70, into: y.baseAddress! + rows)
                    }
                    return y.map(\.bitPattern)
                }
            }
            #expect(results[0] == results[1] && results[0] == results[2], "\(stored.format)")
        }
    }

    @Test func matricesOfOneProductDoNotDisturbEachOther() throws {
        let columns = 321
        let all = try stores(rows: 37, columns: columns) + stores(rows: 90, columns: columns)
        let x = StoreCases.vector(20 * columns, seed: 6)
        for n in [1, 5, 20] {
            let outputs = all.map { Buffer<Float>(repeating: .nan, count: n * $0.rows) }
            let operands = zip(all, outputs).map { ($0, $1.pointer) }
            if n == 1 { Product.gemv(operands, x: x) } else { Product.gemm(operands, x: x, count: n) }
            for (stored, output) in zip(all, outputs) {
                var alone = [Float](repeating: .nan, count: n * stored.rows)
                if n == 1 {
                    alone.withUnsafeMutableBufferPointer { Product.gemv([(stored, $0.baseAddress!)], x: x) }
                } else {
                    Product.gemm(stored, x, count: n, into: &alone)
                }
                #expect(Array(output.elements) == alone, "\(stored.format)")
            }
        }
    }

    /// Dense bytes give each of a few vectors the bits of the product with it alone, and each of any number where vectors are kept
    /// apart; more are multiplied as blocks of 32 columns otherwise.
    @Test(arguments: [StorageLayout.dense, .masked]) func fewVectorsMeetDenseBytesAlone(layout: StorageLayout) throws {
        let (rows, columns) = (91, 321)
        let square = StoreCases.Square(layout: layout, values: .int8, rows: rows, columns: columns)
        let (weight, mask) = StoreCases.make(square)
        let stored = try WeightStore.make(weight, mask: mask, layout: layout, values: .int8)
        let x = StoreCases.vector(40 * columns, seed: 11)
        let alone = (0..<40).flatMap { t in
            var y = [Float](repeating: .nan, count: rows)
            y.withUnsafeMutableBufferPointer {
                Product.gemv([(stored, $0.baseAddress!)], x: Array(x[t * columns..<(t + 1) * columns]))
            }
            return y
        }
        func together(_ n: Int) -> [Float] {
            var y = [Float](repeating: .nan, count: n * rows)
            y.withUnsafeMutableBufferPointer { Product.gemm(stored, x, count: n, into: $0.baseAddress!) }
            return y
        }
        for n in [2, 3, 4, 8, MatrixProduct.mostApart] {
            #expect(together(n)[...] == alone[..<(n * rows)], "\(n) vectors")
        }
        let many = together(40)
        let error = zip(many, alone).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        let size = alone.reduce(0) { $0 + $1 * $1 }
        #expect(many != alone && error < 1e-3 * size)
        #expect(Product.apart { together(40) } == alone)
    }

    @Test func rowsOfTheOutputMayBeApart() throws {
        let square = StoreCases.Square(layout: .bitmask, values: .bf16, rows: 50, columns: 130)
        let (weight, mask) = StoreCases.make(square)
        let stored = try WeightStore.make(weight, mask: mask, layout: .bitmask, values: .bf16)
        for n in [3, 40] {
            let x = StoreCases.vector(n * 130, seed: 7)
            var tight = [Float](repeating: .nan, count: n * 50)
            var loose = [Float](repeating: -7, count: n * 64)
            stored.multiply(matrix: x, count: n, into: &tight, leadingY: 50)
            stored.multiply(matrix: x, count: n, into: &loose, leadingY: 64)
            for t in 0..<n {
                #expect(loose[t * 64..<t * 64 + 50] == tight[t * 50..<(t + 1) * 50])
                #expect(loose[t * 64 + 50..<(t + 1) * 64].allSatisfy { $0 == -7 })
            }
        }
    }

    @Test func anEncoderIsReusableForLongerAndShorterVectors() throws {
        let input = EncodedInput()
        for columns in [320, 64, 577, 1] {
            let square = StoreCases.Square(layout: .dense, values: .int8, rows: 9, columns: columns)
            let stored = try DenseMatrix(DenseRows(StoreCases.make(square).0), values: .int8)
            let x = StoreCases.vector(columns, seed: 8)
            var (reused, fresh) = ([Float](repeating: 0, count: 9), [Float](repeating: 0, count: 9))
            input.encode(x, count: columns, encodings: [.float, .bf16, .int8Groups64, .int8Groups32])
            stored.multiply(input, rows: 0..<9, into: &reused)
            stored.multiply(
                EncodedInput(x, count: columns, encodings: .int8Groups64), rows: 0..<9, into: &fresh)
            #expect(reused == fresh)
        }
    }

    @Test func byteCountsAreExact() throws {
        // 128 x 512 at exactly one half, laid out 2:4.
        let weight = Tensor<Float>(repeating: 1.5, shape: [128, 512])
        var mask = SparsePattern(rows: 128, columns: 512)
        for r in 0..<128 { for c in 0..<512 where c % 4 < 2 { mask[r, c] = true } }
        let kept = 128 * 256
        func bytes(_ layout: StorageLayout, _ values: ValueType) throws -> Int {
            try WeightStore.make(weight, mask: mask, layout: layout, values: values).byteCount
        }
        let (maskBytes, offsets, groups) = (128 * 512 / 8, 129 * 4, 128 * 8 * 2)
        #expect(try bytes(.dense, .f32) == 128 * 512 * 4)
        #expect(try bytes(.dense, .int8) == 128 * 512 + 128 * 4)
        #expect(try bytes(.dense, .int4) == 128 * 512 / 2 + groups)
        #expect(try bytes(.masked, .bf16) == 128 * 512 * 2)
        #expect(try bytes(.bitmask, .bf16) == kept * 2 + maskBytes + offsets)
        #expect(try bytes(.bitmask, .f16) == kept * 2 + maskBytes + offsets)
        #expect(try bytes(.bitmask, .int8) == kept + 128 * 4 + maskBytes + offsets)
        #expect(try bytes(.nm(n: 2, m: 4), .bf16) == kept * 2 + maskBytes)
        #expect(try bytes(.nm(n: 2, m: 4), .int4) == kept / 2 + groups + maskBytes)
        #expect(try bytes(.csr, .f32) == kept * 4 + kept * 2 + offsets)
        #expect(try bytes(.bsr(rows: 1, columns: 2), .bf16) == kept * 2 + kept / 2 * 4 + offsets)
    }

    @Test func sparsityCountsWhatIsStored() throws {
        var mask = SparsePattern(rows: 4, columns: 10)
        mask[0, 0] = true
        mask[3, 9] = true
        let weight = Tensor<Float>(repeating: 2, shape: [4, 10])
        func stored(_ layout: StorageLayout) throws -> any StoredMatrix {
            try WeightStore.make(weight, mask: mask, layout: layout, values: .f32)
        }
        #expect(try stored(.bitmask).storedCount == 2)
        #expect(try stored(.csr).sparsity == 0.95)
        #expect(try stored(.masked).storedCount == 40)
        #expect(try stored(.nm(n: 1, m: 4)).storedCount == 12)  // groups of 4, 4 and 2 columns
        #expect(try stored(.bsr(rows: 4, columns: 5)).storedCount == 40)
        #expect(try stored(.bsr(rows: 8, columns: 16)).sparsity == 0)
    }

    @Test func wideColumnsOfCSR() throws {
        let columns = 70_000
        var mask = SparsePattern(rows: 3, columns: columns)
        for c in [0, 65_535, 65_536, 69_999] { mask[1, c] = true }
        var generator = SeededGenerator(seed: 4)
        let weight = Tensor<Float>(normal: [3, columns], using: &generator)
        for values in ValueType.allCases {
            let stored = try CSRMatrix(DenseRows(weight, mask: mask), values: values)
            let dense = stored.densified().scalars
            let x = StoreCases.vector(20 * columns, seed: 9)
            var y = [Float](repeating: .nan, count: 3)
            y.withUnsafeMutableBufferPointer { Product.gemv([(stored, $0.baseAddress!)], x: x) }
            #expect(StoreCases.agrees(y[...], StoreCases.product(dense, rows: 3, x: Array(x[0..<columns]))))
            var many = [Float](repeating: .nan, count: 60)
            Product.gemm(stored, x, count: 20, into: &many)
            #expect(StoreCases.agrees(many[0..<3], StoreCases.product(dense, rows: 3, x: Array(x[0..<columns]))))
            #expect(stored.byteCount >= 4 * 4 + 4 * 4)
        }
    }

    /// Ranges of rows are cut by values: each row is in exactly one, whatever the rows hold.
    /// Rows walked whole and rows in segments: by the number of columns and of vectors.
    @Test(arguments: [(1000, 16), (1500, 9), (1500, 16), (1500, 30), (13_000, 7)])
    func manyVectorsByCSR(columns: Int, count: Int) throws {
        let rows = 11
        var generator = SeededGenerator(seed: 6)
        let weight = Tensor<Float>(normal: [rows, columns], using: &generator)
        let mask = SparsePattern(rows: rows, columns: columns) { r, _ in r % 9 != 4 && generator.uniform() < 0.1 }
        let x = StoreCases.vector(count * columns, seed: 9)
        for values in ValueType.allCases {
            let stored = try CSRMatrix(DenseRows(weight, mask: mask), values: values)
            let dense = stored.densified().scalars
            var y = [Float](repeating: .nan, count: count * rows)
            stored.multiply(matrix: x, count: count, into: &y, leadingY: rows)
            for t in 0..<count {
                let expected = StoreCases.product(
                    dense, rows: rows, x: Array(x[t * columns..<(t + 1) * columns]))
                #expect(StoreCases.agrees(y[t * rows..<(t + 1) * rows], expected), "\(values), vector \(t)")
            }
        }
    }

    @Test(arguments: [1, 7, 64, 100_000]) func cutsByValuesCoverEveryRow(bytes: Int) throws {
        for full in [[Int](), [0], [30], [3, 4, 29]] {
            let mask = SparsePattern(rows: 31, columns: 200) { r, c in full.contains(r) || (r % 5 == 2 && c == r) }
            let csr = try CSRMatrix(
                DenseRows(Tensor<Float>(repeating: 1, shape: [31, 200]), mask: mask), values: .f32)
            let cut = RowCut(csr, bytes: bytes)
            #expect((0..<cut.items).flatMap { Array(cut.range($0)) } == Array(0..<31))
        }
    }
}
