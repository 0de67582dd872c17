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
        for (i, width) in Self.widths.enumerated() {
            check(
                w, width: width, seed: UInt64(i), product: lk_level(level).pointee.product_segments_f32,
                transposed: lk_level(level).pointee.transposed_segments_f32,
                sampled: lk_level(level).pointee.sampled_f32,
                sampledSegments: lk_level(level).pointee.sampled_segments_f32,
                expected: reference.product_segments_f32,
                expectedTransposed: reference.transposed_segments_f32, expectedSampled: reference.sampled_f32,
                expectedSegments: reference.sampled_segments_f32)
        }
    }

    @Test(arguments: levels, SparseCase.all)
    func doubles(level: Int32, shape: SparseCase) {
        let w: SparseMatrix<Double> = shape.matrix(seed: 4)
        for (i, width) in [8, 16, 32, 56].enumerated() {
            check(
                w, width: width, seed: UInt64(i), product: lk_level(level).pointee.product_segments_f64,
                transposed: lk_level(level).pointee.transposed_segments_f64,
                sampled: lk_level(level).pointee.sampled_f64,
                sampledSegments: lk_level(level).pointee.sampled_segments_f64,
                expected: reference.product_segments_f64,
                expectedTransposed: reference.transposed_segments_f64, expectedSampled: reference.sampled_f64,
                expectedSegments: reference.sampled_segments_f64)
        }
    }

    typealias Segments<R> = (
        UnsafePointer<lk_segmented>?, Int, UnsafePointer<R>?, Int, UnsafeMutablePointer<R>?
    ) -> Void
    typealias Sampled<R> = (
        UnsafePointer<UInt32>?, UnsafePointer<UInt32>?, Int, Int, UnsafePointer<R>?, UnsafePointer<R>?, Int, Int32,
        UnsafeMutablePointer<R>?
    ) -> Void

    typealias SampledSegments<R> = (
        UnsafePointer<lk_segmented>?, Int, UnsafePointer<R>?, UnsafePointer<R>?, Int, Int32, UnsafeMutablePointer<R>?
    ) -> Void

    private func check<R: SparseScalar>(
        _ w: SparseMatrix<R>, width: Int, seed: UInt64, product: Segments<R>, transposed: Segments<R>,
        sampled: Sampled<R>, sampledSegments: SampledSegments<R>, expected: Segments<R>,
        expectedTransposed: Segments<R>, expectedSampled: Sampled<R>, expectedSegments: SampledSegments<R>
    ) {
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
                values: w.buffer.pointer,
                column: wide ? UnsafeRawPointer(w.pattern.compressedRows.columns.pointer) : UnsafeRawPointer(narrow.pointer),
                wide: wide)
            var sizeKernel = kernel
            sizeKernel.values = UnsafeRawPointer(sizes.pointer)
            for block in 0..<order.blocks {
                let rows = order.rows(block: block)
                let start: [R] = generator.awkward(rows.count * width)
                let (a, b) = (Buffer(start), Buffer(start))
                product(&kernel, block, x.pointer, width, a.pointer)
                expected(&kernel, block, x.pointer, width, b.pointer)
                let size = Buffer(start.map(\.magnitude))
                expected(&sizeKernel, block, xSizes.pointer, width, size.pointer)
                for i in start.indices {
                    let magnitude = Double(size.pointer[i])
                    if !agree(a.pointer[i], Double(b.pointer[i]), magnitude: magnitude) { wrong += 1 }
                }
            }
            for band in 0..<order.bands {
                let columns = order.columns(band: band, of: w.columns)
                let start: [R] = generator.awkward(columns.count * width)
                let (a, b) = (Buffer(start), Buffer(start))
                transposed(&kernel, band, x.pointer, width, a.pointer)
                expectedTransposed(&kernel, band, x.pointer, width, b.pointer)
                let size = Buffer(start.map(\.magnitude))
                expectedTransposed(&sizeKernel, band, xSizes.pointer, width, size.pointer)
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
            let (offsets, indices) = (w.pattern.starts32.pointer, w.pattern.compressedRows.columns.pointer)
            let cut = w.rows / 3
            sampled(offsets, indices, 0, cut, y.pointer, x.pointer, width, add, a.pointer)
            sampled(offsets, indices, cut, w.rows, y.pointer, x.pointer, width, add, a.pointer)
            expectedSampled(offsets, indices, 0, w.rows, y.pointer, x.pointer, width, add, b.pointer)
            let (size, ySizes) = (Buffer(start.map(\.magnitude)), Buffer(y.elements.map(\.magnitude)))
            expectedSampled(offsets, indices, 0, w.rows, ySizes.pointer, xSizes.pointer, width, add, size.pointer)
            // The same entries band by band, and what the reference makes of them.
            let (c, d) = (Buffer(start), Buffer(start))
            var kernel = w.kernel(order)
            for block in 0..<order.blocks {
                sampledSegments(&kernel, block, y.pointer, x.pointer, width, add, c.pointer)
                expectedSegments(&kernel, block, y.pointer, x.pointer, width, add, d.pointer)
            }
            for j in 0..<w.count {
                let (expected, magnitude) = (Double(b.pointer[j]), Double(size.pointer[j]))
                for found in [a, c, d] where !agree(found.pointer[j], expected, magnitude: magnitude) { wrong += 1 }
            }
        }
        #expect(wrong == 0)
    }

    @Test(arguments: levels, SparseCase.all)
    func doublesTimesVector(level: Int32, shape: SparseCase) {
        let w: SparseMatrix<Double> = shape.matrix(seed: 6)
        var generator = SeededGenerator(seed: 2)
        let x: [Double] = generator.awkward(w.columns)
        let (a, b, sizes) = (
            Buffer<Double>(repeating: .nan, count: w.rows), Buffer<Double>(repeating: .nan, count: w.rows),
            Buffer<Double>(repeating: .nan, count: w.rows)
        )
        let (offsets, indices) = (w.pattern.starts32.pointer, w.pattern.compressedRows.columns.pointer)
        let cut = w.rows / 3
        w.withValues { values in
            for rows in [0..<cut, cut..<w.rows] {
                lk_level(level).pointee.gemv_csr_f64(
                    offsets, indices, values.baseAddress, x, rows.lowerBound, rows.upperBound, a.pointer + rows.lowerBound)
            }
            reference.gemv_csr_f64(offsets, indices, values.baseAddress, x, 0, w.rows, b.pointer)
        }
        reference.gemv_csr_f64(
            offsets, indices, w.values.map(\.magnitude), x.map(\.magnitude), 0, w.rows, sizes.pointer)
        let close = (0..<w.rows).allSatisfy { agree(a.pointer[$0], b.pointer[$0], magnitude: sizes.pointer[$0]) }
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

    @Test(arguments: levels)
    func bf16Values(level: Int32) {
        let w: SparseMatrix<Float> = SparseCase(rows: 70, columns: 300, density: 0.2).matrix(seed: 5)
        let bits = Buffer(w.values.map { BFloat16($0).bits } + [UInt16](repeating: 0, count: 2))
        var rounded = w
        rounded.withMutableValues { for i in $0.indices { $0[i] = Float(bitPattern: UInt32(bits.pointer[i]) << 16) } }
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
                lk_level(level).pointee.product_segments_bf16(&half, block, x.pointer, 64, a.pointer)
                // The order of operations is the same, the values are exact.
                lk_level(level).pointee.product_segments_f32(&full, block, x.pointer, 64, b.pointer)
                #expect(a.array == b.array)
                let c = Buffer<Float>(repeating: 0, count: rows.count * 64)
                reference.product_segments_bf16(&half, block, x.pointer, 64, c.pointer)
                #expect((0..<c.count).allSatisfy { agree(a.pointer[$0], Double(c.pointer[$0]), magnitude: 1e5) })
            }
        }
    }

    @Test(arguments: levels)
    func transposes(level: Int32) {
        var generator = SeededGenerator(seed: 6)
        for (m, n) in [(1, 1), (3, 70), (16, 16), (17, 33), (64, 40), (5, 8), (31, 2)] {
            let source: [Float] = generator.awkward(m * (n + 3))
            let wide = source.map { Double($0) }
            for beta in [0, 1, -0.5] {
                let start: [Float] = (0..<n * (m + 2)).map { _ in beta == 0 ? .nan : Float(generator.normal()) }
                let (a, b) = (Buffer(start), Buffer(start))
                lk_level(level).pointee.transpose_add_f32(source, n + 3, m, n, 1.5, Float(beta), a.pointer, m + 2)
                reference.transpose_add_f32(source, n + 3, m, n, 1.5, Float(beta), b.pointer, m + 2)
                for i in start.indices { #expect(same(a.pointer[i], b.pointer[i], 1e-6)) }
                let doubles = start.map { Double($0) }
                let (c, d) = (Buffer(doubles), Buffer(doubles))
                lk_level(level).pointee.transpose_add_f64(wide, n + 3, m, n, 1.5, beta, c.pointer, m + 2)
                reference.transpose_add_f64(wide, n + 3, m, n, 1.5, beta, d.pointer, m + 2)
                for i in doubles.indices { #expect(same(c.pointer[i], d.pointer[i], 1e-14)) }
                let (e, f) = (Buffer(start), Buffer(start))
                let count = min(start.count, source.count)
                lk_level(level).pointee.combine_f32(2, source, Float(beta), e.pointer, count)
                reference.combine_f32(2, source, Float(beta), f.pointer, count)
                for i in start.indices { #expect(same(e.pointer[i], f.pointer[i], 1e-6)) }
                let (g, h) = (Buffer(doubles), Buffer(doubles))
                lk_level(level).pointee.combine_f64(2, wide, beta, g.pointer, count)
                reference.combine_f64(2, wide, beta, h.pointer, count)
                for i in doubles.indices { #expect(same(g.pointer[i], h.pointer[i], 1e-14)) }
            }
        }
    }

    private func same<R: BinaryFloatingPoint>(_ a: R, _ b: R, _ tolerance: R) -> Bool {
        (a.isNaN && b.isNaN) || (a - b).magnitude <= tolerance * (1 + b.magnitude)
    }
}
