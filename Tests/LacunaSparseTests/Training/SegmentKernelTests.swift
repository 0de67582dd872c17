import CLacuna
import LacunaTensor
import Testing

@testable import LacunaSparse

private let levels = (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil }
private var reference: lk_table { lk_reference().pointee }

/// Every level's kernels against the scalar ones.
@Suite struct SegmentKernelTests {
    /// Vectors of a panel: every cut into strips.
    static let widths = [16, 32, 64, 112]

    @Test(arguments: levels, SparseCase.all)
    func floats(level: Int32, shape: SparseCase) {
        let w: SparseMatrix<Float> = shape.matrix(seed: 3)
        for (i, width) in Self.widths.enumerated() { check(w, width: width, seed: UInt64(i), level: level, LK_F32) }
    }

    @Test(arguments: levels, SparseCase.all)
    func doubles(level: Int32, shape: SparseCase) {
        let w: SparseMatrix<Double> = shape.matrix(seed: 4)
        for (i, width) in [8, 16, 32, 56].enumerated() { check(w, width: width, seed: UInt64(i), level: level, LK_F64) }
    }

    private func check<R: SparseScalar>(_ w: SparseMatrix<R>, width: Int, seed: UInt64, level: Int32, _ type: Int) {
        let (table, scalar) = (lk_real_level(level, Int32(type)).pointee, lk_real_reference(Int32(type)).pointee)
        var generator = SeededGenerator(seed: seed, stream: 12)
        // Both orders that products use.
        let order = seed % 2 == 0 ? w.pattern.segments : w.pattern.narrowSegments
        let narrow = Buffer(w.pattern.compressedRows.columns.elements.map { UInt16($0) })
        let x = Buffer<R>(generator.awkward(max(w.rows, w.columns) * width))
        // The sums of the magnitudes of the terms bound the error; they are the same products of magnitudes.
        let sizes = Buffer(w.values.map(\.magnitude))
        let xSizes = Buffer(x.elements.map(\.magnitude))
        var wrong = 0
        for wide in [true, false] {
            var kernel = order.kernel(
                values: UnsafeRawPointer(w.buffer.pointer),
                column: wide
                    ? UnsafeRawPointer(w.pattern.compressedRows.columns.pointer) : UnsafeRawPointer(narrow.pointer),
                wide: wide)
            var sizeKernel = kernel
            sizeKernel.values = UnsafeRawPointer(sizes.pointer)
            for block in 0..<order.blocks {
                let rows = order.rows(block: block)
                let start: [R] = generator.awkward(rows.count * width)
                let (a, b) = (Buffer(start), Buffer(start))
                table.product_segments(&kernel, block, x.pointer, width, a.pointer)
                scalar.product_segments(&kernel, block, x.pointer, width, b.pointer)
                let size = Buffer(start.map(\.magnitude))
                scalar.product_segments(&sizeKernel, block, xSizes.pointer, width, size.pointer)
                for i in start.indices {
                    let magnitude = Double(size.pointer[i])
                    if !agree(a.pointer[i], Double(b.pointer[i]), magnitude: magnitude) { wrong += 1 }
                }
            }
            for band in 0..<order.bands {
                let columns = order.columns(band: band, of: w.columns)
                let start: [R] = generator.awkward(columns.count * width)
                let (a, b) = (Buffer(start), Buffer(start))
                table.transposed_segments(&kernel, band, x.pointer, width, a.pointer)
                scalar.transposed_segments(&kernel, band, x.pointer, width, b.pointer)
                let size = Buffer(start.map(\.magnitude))
                scalar.transposed_segments(&sizeKernel, band, xSizes.pointer, width, size.pointer)
                for i in start.indices {
                    let magnitude = Double(size.pointer[i])
                    if !agree(a.pointer[i], Double(b.pointer[i]), magnitude: magnitude) { wrong += 1 }
                }
            }
        }
        let y = Buffer<R>(generator.awkward(w.rows * width))
        for add in [Int32(0), 1] {
            let start: [R] = generator.awkward(w.count)
            let (a, b) = (Buffer(start), Buffer(start))
            let (offsets, indices) = (w.pattern.compressedRows.starts.pointer, w.pattern.compressedRows.columns.pointer)
            let cut = w.rows / 3
            table.sampled(offsets, indices, 0, cut, y.pointer, x.pointer, width, add, a.pointer)
            table.sampled(offsets, indices, cut, w.rows, y.pointer, x.pointer, width, add, a.pointer)
            scalar.sampled(offsets, indices, 0, w.rows, y.pointer, x.pointer, width, add, b.pointer)
            let (size, ySizes) = (Buffer(start.map(\.magnitude)), Buffer(y.elements.map(\.magnitude)))
            scalar.sampled(offsets, indices, 0, w.rows, ySizes.pointer, xSizes.pointer, width, add, size.pointer)
            // The same entries band by band, and what the reference makes of them.
            let (c, d) = (Buffer(start), Buffer(start))
            var kernel = w.kernel(order)
            for block in 0..<order.blocks {
                table.sampled_segments(&kernel, block, y.pointer, x.pointer, width, add, c.pointer)
                scalar.sampled_segments(&kernel, block, y.pointer, x.pointer, width, add, d.pointer)
            }
            for j in 0..<w.count {
                let (expected, magnitude) = (Double(b.pointer[j]), Double(size.pointer[j]))
                for found in [a, c, d] where !agree(found.pointer[j], expected, magnitude: magnitude) { wrong += 1 }
            }
        }
        #expect(wrong == 0)
    }

    @Test(arguments: levels, SparseCase.all)
    func timesVector(level: Int32, shape: SparseCase) {
        check(vector: shape.matrix(seed: 6, of: Float.self), level: level, LK_F32)
        check(vector: shape.matrix(seed: 6, of: Double.self), level: level, LK_F64)
    }

    private func check<R: SparseScalar>(vector w: SparseMatrix<R>, level: Int32, _ type: Int) {
        let (table, scalar) = (lk_real_level(level, Int32(type)).pointee, lk_real_reference(Int32(type)).pointee)
        var generator = SeededGenerator(seed: 2)
        let x: [R] = generator.awkward(w.columns)
        let (a, b, sizes) = (
            Buffer<R>(repeating: .nan, count: w.rows), Buffer<R>(repeating: .nan, count: w.rows),
            Buffer<R>(repeating: .nan, count: w.rows)
        )
        let (offsets, indices) = (w.pattern.compressedRows.starts.pointer, w.pattern.compressedRows.columns.pointer)
        let cut = w.rows / 3
        w.withValues { values in
            for rows in [0..<cut, cut..<w.rows] {
                table.gemv_rows(
                    offsets, indices, values.baseAddress, x, rows.lowerBound, rows.upperBound,
                    a.pointer + rows.lowerBound)
            }
            scalar.gemv_rows(offsets, indices, values.baseAddress, x, 0, w.rows, b.pointer)
        }
        scalar.gemv_rows(
            offsets, indices, w.values.map(\.magnitude), x.map(\.magnitude), 0, w.rows, sizes.pointer)
        let close = (0..<w.rows).allSatisfy {
            agree(a.pointer[$0], Double(b.pointer[$0]), magnitude: Double(sizes.pointer[$0]))
        }
        #expect(close)
    }

    @Test(arguments: levels)
    func bytes(level: Int32) {
        let pattern = SparseCase(rows: 70, columns: 300, density: 0.2).mask(seed: 5)
        var generator = SeededGenerator(seed: 9)
        let bytes = Buffer((0..<pattern.count).map { _ in Int8(truncatingIfNeeded: generator.next()) })
        let x = Buffer<Float>((0..<300 * 48).map { _ in Float(generator.normal()) })
        let order = pattern.segments
        var kernel = order.kernel(
            values: bytes.pointer, column: pattern.compressedRows.columns.pointer, wide: true)
        for block in 0..<order.blocks {
            let count = order.rows(block: block).count * 48
            let (a, b) = (Buffer<Float>(repeating: 0, count: count), Buffer<Float>(repeating: 0, count: count))
            lk_level(level).pointee.product_segments_i8(&kernel, block, x.pointer, 48, a.pointer)
            reference.product_segments_i8(&kernel, block, x.pointer, 48, b.pointer)
            let close = (0..<count).allSatisfy { agree(a.pointer[$0], Double(b.pointer[$0]), magnitude: 1e4) }
            #expect(close)
        }
    }

    @Test(arguments: levels, [ValueType.bf16, .f16])
    func halves(level: Int32, type: ValueType) {
        let w: SparseMatrix<Float> = SparseCase(rows: 70, columns: 300, density: 0.2).matrix(seed: 5)
        let bits = Buffer(
            w.values.map { type == .f16 ? Half($0).bits : BFloat16($0).bits } + [UInt16](repeating: 0, count: 2))
        var rounded = w
        rounded.withMutableValues {
            for i in $0.indices {
                $0[i] = type == .f16 ? Half(bits: bits.pointer[i]).float : BFloat16(bits: bits.pointer[i]).float
            }
        }
        func product(_ k: lk_table) -> CSRMatrix.Panel {
            type == .f16 ? k.product_segments_f16 : k.product_segments_bf16
        }
        var generator = SeededGenerator(seed: 9)
        let x = Buffer<Float>((0..<300 * 64).map { _ in Float(generator.normal()) })
        let order = w.pattern.segments
        var half = order.kernel(
            values: bits.pointer, column: w.pattern.compressedRows.columns.pointer, wide: true)
        rounded.withValues { values in
            var full = order.kernel(
                values: values.baseAddress!, column: w.pattern.compressedRows.columns.pointer, wide: true)
            for block in 0..<order.blocks {
                let rows = order.rows(block: block)
                let a = Buffer<Float>(repeating: 0, count: rows.count * 64)
                let b = Buffer<Float>(repeating: 0, count: rows.count * 64)
                product(lk_level(level).pointee)(&half, block, x.pointer, 64, a.pointer)
                // The order of operations is the same, the values are exact.
                lk_real_level(level, Int32(LK_F32)).pointee.product_segments(&full, block, x.pointer, 64, b.pointer)
                #expect(a.array == b.array)
                let c = Buffer<Float>(repeating: 0, count: rows.count * 64)
                product(reference)(&half, block, x.pointer, 64, c.pointer)
                #expect((0..<c.count).allSatisfy { agree(a.pointer[$0], Double(c.pointer[$0]), magnitude: 1e5) })
            }
        }
    }

    @Test(arguments: levels)
    func transposesAndCombinations(level: Int32) {
        checkTransposes(Float.self, level: level, LK_F32, tolerance: 1e-6)
        checkTransposes(Double.self, level: level, LK_F64, tolerance: 1e-14)
    }

    private func checkTransposes<R: SparseScalar>(_: R.Type, level: Int32, _ type: Int, tolerance: R) {
        let (table, scalar) = (lk_real_level(level, Int32(type)).pointee, lk_real_reference(Int32(type)).pointee)
        var generator = SeededGenerator(seed: 6)
        for (m, n) in [(1, 1), (3, 70), (16, 16), (17, 33), (64, 40), (5, 8), (31, 2)] {
            let source: [R] = generator.awkward(m * (n + 3))
            for beta in [0, 1, -0.5] {
                let start: [R] = (0..<n * (m + 2)).map { _ in beta == 0 ? .nan : R(generator.normal()) }
                let (a, b) = (Buffer(start), Buffer(start))
                table.transpose_add(source, n + 3, m, n, 1.5, beta, a.pointer, m + 2)
                scalar.transpose_add(source, n + 3, m, n, 1.5, beta, b.pointer, m + 2)
                for i in start.indices { #expect(same(a.pointer[i], b.pointer[i], tolerance)) }
                // The transpose itself, by its definition.
                for i in 0..<m {
                    for j in 0..<n {
                        let old = beta == 0 ? 0 : R(beta) * start[j * (m + 2) + i]
                        #expect(same(a.pointer[j * (m + 2) + i], 1.5 * source[i * (n + 3) + j] + old, tolerance))
                    }
                }
                let (c, d) = (Buffer(start), Buffer(start))
                let count = min(start.count, source.count)
                table.combine(2, source, beta, c.pointer, count)
                scalar.combine(2, source, beta, d.pointer, count)
                for i in start.indices { #expect(same(c.pointer[i], d.pointer[i], tolerance)) }
                for i in 0..<count {
                    #expect(same(c.pointer[i], 2 * source[i] + (beta == 0 ? 0 : R(beta) * start[i]), tolerance))
                }
            }
        }
    }

    private func same<R: BinaryFloatingPoint>(_ a: R, _ b: R, _ tolerance: R) -> Bool {
        (a.isNaN && b.isNaN) || (a - b).magnitude <= tolerance * (1 + b.magnitude)
    }
}
