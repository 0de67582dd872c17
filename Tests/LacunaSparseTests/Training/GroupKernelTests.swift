import CLacuna
import LacunaTensor
import Testing

@testable import LacunaSparse

/// Products under masks of middling density: every level against the scalar reference, and against dense products.
@Suite struct GroupKernelTests {
    private static let levels = (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil }

    /// Masks with ragged blocks and groups, with empty rows and groups, N:M and not.
    private static let masks: [(name: String, mask: SparsePattern)] = {
        var generator = SeededGenerator(seed: 9)
        func random(_ rows: Int, _ columns: Int, _ keep: Double) -> SparsePattern {
            SparsePattern(rows: rows, columns: columns) { _, _ in generator.uniform() < keep }
        }
        let scores = Tensor<Float>(normal: [130, 72], using: &generator)
        return [
            ("2:4", try! Selection.mask(scores: scores, pattern: .nm(n: 2, m: 4))),
            ("4:8", try! Selection.mask(scores: scores, pattern: .nm(n: 4, m: 8))),
            ("half", random(257, 61, 0.5)), ("few", random(40, 130, 0.05)), ("many", random(129, 7, 0.9)),
            ("all", SparsePattern(rows: 5, columns: 9, keepingAll: true)), ("none", SparsePattern(rows: 5, columns: 9)),
            ("one", random(1, 1, 2)),
        ]
    }()

    @Test(arguments: levels, masks.map(\.name)) func kernels(level: Int32, name: String) {
        for width in [16, 48, 64] { check(name, width, Float.self, level: level, LK_F32, tolerance: 2e-5) }
        for width in [8, 24, 32] { check(name, width, Double.self, level: level, LK_F64, tolerance: 1e-13) }
    }

    private func check<R: SparseScalar>(
        _ name: String, _ width: Int, _: R.Type, level: Int32, _ type: Int, tolerance: Double
    ) {
        let (table, scalar) = (lk_real_level(level, Int32(type)).pointee, lk_real_reference(Int32(type)).pointee)
        var generator = SeededGenerator(seed: UInt64(width), stream: 3)
        let pattern = GroupOrder(Self.masks.first { $0.name == name }!.mask)
        func numbers(_ count: Int) -> Buffer<R> { Buffer((0..<count).map { _ in R(generator.normal()) }) }
        let (values, x, y) = (
            numbers(pattern.count), numbers(pattern.columns * width), numbers(pattern.rows * width)
        )
        var kernel = pattern.kernel(values: values.pointer)
        var wrong = 0
        func compare(_ a: Buffer<R>, _ b: Buffer<R>) {
            for (a, b) in zip(a.elements, b.elements) where !(abs(Double(a - b)) <= tolerance * (8 + abs(Double(b)))) {
                wrong += 1
            }
        }
        for block in 0..<pattern.blocks {
            let count = pattern.rows(block: block).count * width
            let (a, b) = (Buffer<R>(repeating: 0.5, count: count), Buffer<R>(repeating: 0.5, count: count))
            table.product_groups(&kernel, block, x.pointer, width, a.pointer)
            scalar.product_groups(&kernel, block, x.pointer, width, b.pointer)
            compare(a, b)
        }
        for from in stride(from: 0, to: pattern.groups, by: 3) {
            let to = min(from + 3, pattern.groups)
            let count = (min(4 * to, pattern.columns) - 4 * from) * width
            let (a, b) = (Buffer<R>(repeating: 0.5, count: count), Buffer<R>(repeating: 0.5, count: count))
            table.transposed_groups(&kernel, from, to, y.pointer, width, a.pointer)
            scalar.transposed_groups(&kernel, from, to, y.pointer, width, b.pointer)
            compare(a, b)
        }
        for add in [Int32(0), 1] {
            let (a, b) = (numbers(pattern.count), Buffer<R>(repeating: 0, count: pattern.count))
            b.pointer.update(from: a.pointer, count: pattern.count)
            for block in 0..<pattern.blocks {
                table.sampled_groups(&kernel, block, y.pointer, x.pointer, width, add, a.pointer)
                scalar.sampled_groups(&kernel, block, y.pointer, x.pointer, width, add, b.pointer)
            }
            compare(a, b)
        }
        #expect(wrong == 0, "\(name), width \(width)")
    }

    @Test(arguments: masks.map(\.name), [0, 1, 16, 70, 130]) func agreesWithDense(name: String, batch: Int) throws {
        let mask = Self.masks.first { $0.name == name }!.mask
        var generator = SeededGenerator(seed: UInt64(batch))
        let dense = Tensor<Double>(normal: [mask.rows, mask.columns], using: &generator)
        let matrix = try CompressedGroups(dense, mask: mask)
        let kept = mask.applied(to: dense)
        #expect(matrix.densified() == kept && matrix.count == mask.count)
        let x = Tensor<Double>(normal: [batch, mask.columns], using: &generator)
        let dy = Tensor<Double>(normal: [batch, mask.rows], using: &generator)
        func near(_ a: Tensor<Double>, _ b: Tensor<Double>) -> Bool {
            a.shape == b.shape && zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) < 1e-11 }
        }
        #expect(near(matrix.applied(toRows: x), x.multiplied(by: kept, otherTransposed: true)))
        #expect(near(matrix.transposeApplied(toRows: dy), dy.multiplied(by: kept)))
        var gradient = CompressedGroups(matrix.pattern, from: Tensor<Double>(zeros: dense.shape))
        gradient.withMutableValues { values in
            dy.withPointer { dy in
                x.withPointer { x in
                    guard let start = values.baseAddress else { return }
                    matrix.accumulateGradient(
                        output: dy, leadingY: mask.rows, input: x, leadingX: mask.columns, batch: batch, into: start)
                }
            }
        }
        let outer = batch == 0 ? Tensor<Double>(zeros: dense.shape) : dy.transposed().multiplied(by: x)
        #expect(near(gradient.densified(), mask.applied(to: outer)))
        // The order of the pattern lists every entry once.
        var seen = SparsePattern(rows: mask.rows, columns: mask.columns)
        matrix.pattern.forEachEntry { _, r, c in seen[r, c] = true }
        #expect(seen == mask)
    }

    /// Cuts of the work depend on the pattern alone, and so do the bits of every result.
    @Test(arguments: [30, 130]) func threadsDoNotChangeResults(batch: Int) throws {
        var generator = SeededGenerator(seed: 11)
        let weight = Tensor<Float>(normal: [300, 260], using: &generator)
        let mask = try Selection.mask(scores: weight, pattern: .nm(n: 2, m: 4))
        let x = Tensor<Float>(normal: [batch, 260], using: &generator)
        let dy = Tensor<Float>(normal: [batch, 300], using: &generator)
        let matrix = try CompressedGroups(weight, mask: mask)
        let threads = Parallel.threads
        defer { Parallel.threads = threads }
        func results(threads: Int) -> [[Float]] {
            Parallel.threads = threads
            var gradient = matrix
            gradient.withMutableValues {
                matrix.accumulateGradient(
                    output: Panels(dy), input: Panels(x), into: $0.baseAddress!)
            }
            return [
                matrix.applied(toRows: x).scalars, matrix.transposeApplied(toRows: dy).scalars, gradient.values,
            ]
        }
        let alone = results(threads: 1)
        for n in [2, 5] { #expect(results(threads: n) == alone) }
    }

    @Test func refusesAMaskOfAnotherShape() {
        #expect(throws: LacunaError.self) {
            try CompressedGroups(Tensor<Float>(zeros: [3, 4]), mask: SparsePattern(rows: 4, columns: 3))
        }
    }
}
