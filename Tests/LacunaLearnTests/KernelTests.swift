import CLacuna
import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

/// Kernels of f32 at every level against those of f64, which gradient checks prove.
@Suite struct TrainingKernelTests {
    static var levels: [Int32] { (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil } }
    private let reference = lk_training_f64()!.pointee

    private func kernels(_ level: Int32) -> lk_training { lk_training_f32_level(level)!.pointee }

    private func numbers(_ n: Int, _ seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<n).map { _ in Float(generator.normal()) }
    }

    private func agree(_ a: [Float], _ b: [Double], _ tolerance: Double = 2e-5) -> Bool {
        zip(a, b).allSatisfy { abs(Double($0) - $1) <= tolerance * max(1, abs($1)) }
    }

    @Test(arguments: levels, [1, 15, 16, 17, 63, 100]) func elementwise(level: Int32, n: Int) {
        let k = kernels(level)
        let (x, dy) = (numbers(n, 1).map { $0 == 0 ? 1 : $0 }, numbers(n, 2))
        let (wide, wideGradient) = (x.map(Double.init), dy.map(Double.init))
        for function in 0..<Int32(LK_UNARY_COUNT) {
            let positive = function == Int32(LK_LOG) || function == Int32(LK_SQRT)
            let a = positive ? x.map { abs($0) + 0.1 } : x
            let b = positive ? wide.map { abs($0) + Double(Float(0.1)) } : wide
            var (y, expected) = ([Float](repeating: 0, count: n), [Double](repeating: 0, count: n))
            k.unary(function, a, &y, n)
            reference.unary(function, b, &expected, n)
            #expect(agree(y, expected), "function \(function)")
            for add: Int32 in [0, 1] {
                var (dx, expectedGradient) = ([Float](repeating: 0.5, count: n), [Double](repeating: 0.5, count: n))
                k.unary_backward(function, a, y, dy, &dx, n, add)
                reference.unary_backward(function, b, expected, wideGradient, &expectedGradient, n, add)
                #expect(agree(dx, expectedGradient, 1e-4), "derivative \(function)")
            }
        }
        for function in 0..<4 as Range<Int32> {
            var (y, expected) = ([Float](repeating: 1, count: n), [Double](repeating: 1, count: n))
            k.binary(function, x, dy.map { $0 + 3 * ($0 < 0 ? -1 : 1) }, &y, n, 1)
            reference.binary(function, wide, wideGradient.map { $0 + 3 * ($0 < 0 ? -1 : 1) }, &expected, n, 1)
            #expect(agree(y, expected))
        }
    }

    @Test(arguments: levels, [(1, 1), (3, 7), (5, 16), (4, 33), (9, 130)]) func rows(level: Int32, shape: (Int, Int)) {
        let (r, c) = shape
        let k = kernels(level)
        let (x, z, row) = (numbers(r * c, 1), numbers(r * c, 2), numbers(c, 3))
        let (x64, z64, row64) = (x.map(Double.init), z.map(Double.init), row.map(Double.init))
        var (y, y64) = ([Float](repeating: 0, count: r * c), [Double](repeating: 0, count: r * c))
        k.softmax(x, &y, r, c)
        reference.softmax(x64, &y64, r, c)
        #expect(agree(y, y64))
        var (d, d64) = (y, y64)
        k.softmax_backward(y, z, &d, r, c, 1)
        reference.softmax_backward(y64, z64, &d64, r, c, 1)
        #expect(agree(d, d64))
        k.log_softmax(x, &y, r, c)
        reference.log_softmax(x64, &y64, r, c)
        #expect(agree(y, y64))
        var (mean, inverse) = ([Float](repeating: 0, count: r), [Float](repeating: 0, count: r))
        var (mean64, inverse64) = ([Double](repeating: 0, count: r), [Double](repeating: 0, count: r))
        k.layer_norm(x, row, row, 1e-3, &y, &mean, &inverse, r, c)
        reference.layer_norm(x64, row64, row64, 1e-3, &y64, &mean64, &inverse64, r, c)
        #expect(agree(y, y64, 1e-4))
        k.layer_norm_backward(x, row, mean, inverse, z, &d, r, c, 0)
        reference.layer_norm_backward(x64, row64, mean64, inverse64, z64, &d64, r, c, 0)
        #expect(agree(d, d64, 5e-3))
        var (sums, sums64) = ([Float](repeating: 0, count: c), [Double](repeating: 0, count: c))
        k.column_dots(x, z, &sums, r, c, 1)
        reference.column_dots(x64, z64, &sums64, r, c, 1)
        #expect(agree(sums, sums64))
        k.rms_norm(x, row, 1e-3, &y, &inverse, r, c)
        reference.rms_norm(x64, row64, 1e-3, &y64, &inverse64, r, c)
        #expect(agree(y, y64))
    }

    /// The n largest of every m, of equals the later ones, by sorting every group.
    private func largest(_ scores: Tensor<Float>, n: Int, m: Int, _ axis: Pattern.Axis) -> SparsePattern {
        var mask = SparsePattern(rows: scores.rows, columns: scores.columns)
        let (length, lines) =
            axis == .input ? (scores.columns, scores.rows) : (scores.rows, scores.columns)
        for line in 0..<lines {
            func place(_ i: Int) -> (Int, Int) { axis == .input ? (line, i) : (i, line) }
            for start in stride(from: 0, to: length, by: m) {
                let group = Array(start..<min(start + m, length))
                let order = group.sorted { a, b in
                    let (x, y) = (scores[place(a).0, place(a).1], scores[place(b).0, place(b).1])
                    return x != y ? x > y : a > b
                }
                for i in order.prefix((n * group.count + m - 1) / m) { mask[place(i).0, place(i).1] = true }
            }
        }
        return mask
    }

    /// N:M masks of every level are those of sorting, ties, ragged groups and NaN included.
    @Test(arguments: levels, [(2, 4), (1, 2), (4, 8), (1, 16), (3, 32), (7, 64)])
    func largestOfGroups(level: Int32, group: (n: Int, m: Int)) throws {
        let k = kernels(level)
        var generator = SeededGenerator(seed: UInt64(group.m))
        for columns in [1, 7, 64, 90, 200] {
            let rows = 9
            var weight = Tensor<Float>(normal: [rows, columns], using: &generator)
            for i in 0..<rows * columns where i % 3 == 0 { weight[i / columns, i % columns] = Float(i % 2) - 1 }
            weight[0, 0] = .nan
            var scores = weight
            for r in 0..<rows { for c in 0..<columns { scores[r, c] = weight[r, c].isNaN ? 0 : abs(weight[r, c]) } }
            for axis in [Pattern.Axis.input, .output] {
                let pattern = Pattern.nm(n: group.n, m: group.m, axis: axis)
                let expected = largest(scores, n: group.n, m: group.m, axis)
                var found = SparsePattern(rows: rows, columns: columns)
                weight.withPointer { w in
                    if axis == .output {
                        found.withMutableWords {
                            k.keep_along_columns(w, rows, columns, group.n, group.m, $0, $1)
                        }
                    } else {
                        found.withMutableWords { words, wordsPerRow in
                            for r in 0..<rows {
                                k.keep_along_rows(w + r * columns, columns, group.n, group.m, words + r * wordsPerRow)
                            }
                        }
                    }
                }
                #expect(found == expected, "\(pattern), \(columns) columns")
                #expect(try Selection.mask(magnitudesOf: weight, pattern: pattern) == expected)
            }
        }
        let odd = Tensor<Float>(normal: [5, 12], using: &generator)
        #expect(try Selection.mask(magnitudesOf: odd, pattern: .nm(n: 1, m: 3)).satisfies(.nm(n: 1, m: 3)))
        #expect(throws: LacunaError.self) { try Selection.mask(magnitudesOf: odd, pattern: .nm(n: 5, m: 4)) }
    }

    @Test(arguments: levels, [1, 31, 64, 130]) func scaledByMasks(level: Int32, n: Int) {
        var generator = SeededGenerator(seed: UInt64(n))
        let words = (0..<(n + 63) / 64).map { _ in generator.next() }
        var x = numbers(n, 3)
        x[0] = .infinity
        let old = numbers(n, 4)
        var (y, z) = (old, old)
        kernels(level).scale_masked(x, words, n, 2, 0, &y, 0)
        kernels(level).scale_masked(x, words, n, 0, -3, &z, 1)
        for i in 0..<n {
            let isKept = words[i / 64] >> UInt64(i % 64) & 1 == 1
            #expect(y[i] == (isKept ? 2 * x[i] : 0))
            let expected = isKept ? old[i] : old[i] - 3 * x[i]
            #expect(z[i] == expected || abs(z[i] - expected) < 1e-5)
        }
    }

    @Test(arguments: levels) func optimizers(level: Int32) {
        let k = kernels(level)
        let n = 77
        let g = numbers(n, 1)
        let g64 = g.map(Double.init)
        var (w, m, v) = (numbers(n, 2), numbers(n, 3), numbers(n, 4).map { abs($0) })
        var (w64, m64, v64) = (w.map(Double.init), m.map(Double.init), v.map(Double.init))
        k.adam(&w, g, &m, &v, n, 0.1, 0.9, 0.99, 1e-8, 0.01, 0.02, 0.3, 0.2)
        reference.adam(&w64, g64, &m64, &v64, n, 0.1, 0.9, 0.99, 1e-8, 0.01, 0.02, 0.3, 0.2)
        #expect(agree(w, w64) && agree(m, m64) && agree(v, v64))
        for nesterov: Int32 in [0, 1] {
            k.sgd(&w, g, &m, n, 0.1, 0.9, 0.2, 0.01, nesterov)
            reference.sgd(&w64, g64, &m64, n, 0.1, 0.9, 0.2, 0.01, nesterov)
            #expect(agree(w, w64) && agree(m, m64))
        }
        k.sgd(&w, g, nil, n, 0.1, 0, 0, 0.01, 0)
        reference.sgd(&w64, g64, nil, n, 0.1, 0, 0, 0.01, 0)
        k.adagrad(&w, g, &v, n, 0.1, 1e-8, 0.01)
        reference.adagrad(&w64, g64, &v64, n, 0.1, 1e-8, 0.01)
        #expect(agree(w, w64) && agree(v, v64))
    }
}
