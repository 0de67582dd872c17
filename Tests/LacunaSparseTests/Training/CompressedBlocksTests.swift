import CLacuna
import LacunaTensor
import Testing

@testable import LacunaSparse

/// Block products: every level's kernels against the scalar ones, whole products against CSR ones of the same matrix.
@Suite struct CompressedBlocksTests {
    static let sides = [(1, 1), (1, 16), (4, 4), (8, 3), (16, 16), (5, 20), (64, 64), (3, 1)]

    private func matrix<S: SparseScalar>(
        _ rows: Int, _ columns: Int, _ side: (Int, Int), seed: UInt64, of: S.Type = S.self
    ) throws -> CompressedBlocks<S> {
        var generator = SeededGenerator(seed: seed)
        let across = (columns + side.1 - 1) / side.1
        let draws = (0..<((rows + side.0 - 1) / side.0) * across).map { _ in generator.uniform() }
        let mask = SparsePattern(rows: rows, columns: columns) { r, c in
            let i = r / side.0
            return i % 4 == 2 ? false : i % 4 == 3 || draws[i * across + c / side.1] < 0.4
        }
        let weight = Tensor<S>(generator.awkward(rows * columns), shape: [rows, columns])
        return try CompressedBlocks(weight, mask: mask, blockRows: side.0, blockColumns: side.1)
    }

    @Test(arguments: (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil }, sides.indices)
    func kernels(level: Int32, index: Int) throws {
        try check(Float.self, widths: [16, 32, 48, 64, 80], level, LK_F32, index)
        try check(Double.self, widths: [8, 16, 24, 32, 40], level, LK_F64, index)
    }

    private func check<S: SparseScalar>(
        _: S.Type, widths: [Int], _ level: Int32, _ type: Int, _ index: Int
    ) throws {
        let (rows, columns) = (37, 71)
        let w = try matrix(rows, columns, Self.sides[index], seed: UInt64(index), of: S.self)
        var absolute = w
        absolute.withMutableValues { for i in $0.indices { $0[i] = $0[i].magnitude } }
        let (table, reference) = (lk_real_level(level, Int32(type)).pointee, lk_real_reference(Int32(type)).pointee)
        var generator = SeededGenerator(seed: 3)
        var wrong = 0
        for width in widths {
            let a = Buffer<S>(generator.awkward(rows * width))
            let b = Buffer<S>(generator.awkward(columns * width))
            let (aSizes, bSizes) = (Buffer(a.elements.map(\.magnitude)), Buffer(b.elements.map(\.magnitude)))
            func compare(_ count: Int, _ run: (lk_real, lk_blocks, Buffer<S>, Buffer<S>, Buffer<S>) -> Void) {
                let start: [S] = generator.awkward(count)
                let (found, expected, sizes) = (Buffer(start), Buffer(start), Buffer(start.map(\.magnitude)))
                run(table, w.kernel, a, b, found)
                run(reference, w.kernel, a, b, expected)
                run(reference, absolute.kernel, aSizes, bSizes, sizes)
                for i in 0..<count {
                    let close = agree(
                        found.pointer[i], Double(expected.pointer[i]), magnitude: Double(sizes.pointer[i]))
                    if !close { wrong += 1 }
                }
            }
            let (down, across) = (w.blocks.rows, w.blocks.columns)
            let (i, j) = (down / 3, across / 2)
            compare((down - i) * w.blockRows * width) { table, kernel, a, b, out in
                withUnsafePointer(to: kernel) { table.product_blocks($0, i, down, b.pointer, width, out.pointer) }
            }
            compare((across - j) * w.blockColumns * width) { table, kernel, a, b, out in
                withUnsafePointer(to: kernel) { table.transposed_blocks($0, j, across, a.pointer, width, out.pointer) }
            }
            for add in [Int32(0), 1] {
                compare(w.count) { table, kernel, a, b, out in
                    withUnsafePointer(to: kernel) {
                        table.sampled_blocks($0, i, down, a.pointer, b.pointer, width, add, out.pointer)
                    }
                }
            }
        }
        #expect(wrong == 0)
    }

    @Test(arguments: sides.indices)
    func productsAgreeWithRows(index: Int) throws {
        for (rows, columns, batch) in [(37, 71, 33), (200, 130, 64), (64, 64, 130)] {
            let blocks = try matrix(rows, columns, Self.sides[index], seed: 17, of: Float.self)
            let dense = blocks.densified()
            let csr = try SparseMatrix(dense)
            var generator = SeededGenerator(seed: 5)
            let x = Panels(Tensor<Float>(normal: [batch, columns], using: &generator))
            let dy = Panels(Tensor<Float>(normal: [batch, rows], using: &generator))
            let start = Tensor<Float>(normal: [batch, rows], using: &generator)
            let startX = Tensor<Float>(normal: [batch, columns], using: &generator)
            for (alpha, beta) in [(Float(1), Float(0)), (0.5, 2)] {
                let (y, z, dx, dz) = (Panels(start), Panels(start), Panels(startX), Panels(startX))
                blocks.multiply(x, alpha: alpha, beta: beta, into: y)
                csr.multiply(x, alpha: alpha, beta: beta, into: z)
                blocks.multiplyTransposed(dy, alpha: alpha, beta: beta, into: dx)
                csr.multiplyTransposed(dy, alpha: alpha, beta: beta, into: dz)
                #expect(distance(y.tensor, z.tensor) < 1e-4 && distance(dx.tensor, dz.tensor) < 1e-4)
            }
            // The same from rows of a batch.
            #expect(distance(blocks.applied(toRows: x.tensor), csr.applied(toRows: x.tensor)) < 1e-4)
            #expect(
                distance(blocks.transposeApplied(toRows: dy.tensor), csr.transposeApplied(toRows: dy.tensor)) < 1e-4)
            var once = blocks
            once.withMutableValues { blocks.accumulateGradient(output: dy, input: x, into: $0.baseAddress!) }
            // The gradient by rows covers the entries that are not 0; those that are have a gradient too.
            let expected = SparseMatrix.sampled(
                dy.tensor.transposed(), x.tensor.transposed(),
                at: SparsePattern(rows: rows, columns: columns, keepingAll: true)
            ).densified()
            var error: Float = 0
            let (found, wanted) = (once.values, expected.scalars)
            blocks.forEachEntry { r, c, slot in error = max(error, abs(found[slot] - wanted[r * columns + c])) }
            #expect(error < 1e-4)
            var twice = once
            twice.withMutableValues {
                blocks.accumulateGradient(output: dy, input: x, into: $0.baseAddress!, adding: true)
            }
            #expect(zip(twice.values, once.values).allSatisfy { abs($0 - 2 * $1) < 1e-3 })
        }
    }

    private func distance(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Float {
        zip(a.scalars, b.scalars).reduce(0) { max($0, abs($1.0 - $1.1) / (1 + abs($1.1))) } / 10
    }

    @Test func badInputsAreRefused() {
        #expect(throws: LacunaError.self) {
            try CompressedBlocks(Tensor<Float>(zeros: [4]), blockRows: 2, blockColumns: 2)
        }
        #expect(throws: LacunaError.self) {
            try CompressedBlocks(Tensor<Float>(zeros: [4, 4]), blockRows: 0, blockColumns: 2)
        }
        #expect(throws: LacunaError.self) {
            try CompressedBlocks(
                Tensor<Float>(zeros: [4, 4]), mask: SparsePattern(rows: 4, columns: 5), blockRows: 2, blockColumns: 2)
        }
    }
}
