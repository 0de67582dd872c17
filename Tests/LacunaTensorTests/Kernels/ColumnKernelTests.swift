import CLacuna
import LacunaTensor
import Testing

/// Columns in double precision: every level against the scalar reference.
@Suite struct ColumnKernelTests {
    private func numbers(_ count: Int, _ random: inout SeededGenerator) -> [Double] {
        (0..<count).map { _ in
            switch random.next() % 32 {
            case 0: 0
            case 1: random.normal() * 0x1p-1060
            case 2: 1000 * random.normal()
            default: random.normal()
            }
        }
    }

    /// Error of a sum of products, as rounding allows it.
    private func bound(_ terms: [Double]) -> Double { 1e-14 * terms.reduce(1e-300) { $0 + abs($1) } }

    @Test(arguments: supportedLevels) func denseColumns(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 11, stream: UInt64(level))
        for n in [0] + awkwardLengths {
            let stride = n + 3
            let matrix = numbers(5 * stride + 1, &random)
            let v = numbers(n, &random)
            let w = numbers(n, &random).map(abs)
            matrix.withUnsafeBufferPointer { matrix in
                let x = matrix.baseAddress! + 1
                let terms = (0..<n).map { x[$0] * v[$0] }
                #expect(abs(k.dot_f64(x, v, n) - reference.dot_f64(x, v, n)) <= bound(terms))
                let squares = (0..<n).map { w[$0] * x[$0] * x[$0] }
                #expect(
                    abs(k.weighted_squares_f64(x, w, n) - reference.weighted_squares_f64(x, w, n)) <= bound(squares))
                var mine = numbers(n + 1, &random)
                var expected = mine
                let last = mine[n]
                k.axpy_f64(-0.7, x, &mine, n)
                reference.axpy_f64(-0.7, x, &expected, n)
                #expect((0..<n).allSatisfy { abs(mine[$0] - expected[$0]) <= 1e-15 * (abs(expected[$0]) + abs(x[$0])) })
                #expect(mine[n] == last, "axpy wrote beyond its end")
                for columns in [nil, [4, 0, 3] as [UInt32]] {
                    let count = columns?.count ?? 5
                    var out = [Double](repeating: 9, count: count + 1)
                    var exact = out
                    if let columns {
                        k.dots_f64(x, stride, columns, count, v, n, &out)
                        reference.dots_f64(x, stride, columns, count, v, n, &exact)
                    } else {
                        k.dots_f64(x, stride, nil, count, v, n, &out)
                        reference.dots_f64(x, stride, nil, count, v, n, &exact)
                    }
                    for i in 0..<count {
                        let j = columns.map { Int($0[i]) } ?? i
                        #expect(abs(out[i] - exact[i]) <= bound((0..<n).map { x[j * stride + $0] * v[$0] }))
                    }
                    #expect(out[count] == 9)
                }
            }
        }
    }

    @Test(arguments: supportedLevels) func sparseColumns(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 12, stream: UInt64(level))
        let rows = 300
        let v = numbers(rows, &random)
        let w = numbers(rows, &random).map(abs)
        var (start, index, values): ([UInt64], [UInt32], [Double]) = ([0], [], [])
        // An empty column, and every tail of the unrolled loop.
        for count in [0, 1, 2, 3, 4, 5, 7, 8, 33] {
            let chosen = (0..<UInt32(rows)).shuffled(using: &random).prefix(count).sorted()
            index += chosen
            values += numbers(count, &random)
            start.append(UInt64(index.count))
        }
        let columns = start.count - 1
        var all = [Double](repeating: 9, count: columns + 1)
        k.sparse_dots_f64(values, index, start, nil, columns, v, &all)
        #expect(all[columns] == 9)
        for j in 0..<columns {
            let range = Int(start[j])..<Int(start[j + 1])
            let (own, at) = (Array(values[range]), Array(index[range]))
            let limit = bound(zip(own, at).map { $0 * v[Int($1)] })
            let exact = reference.sparse_dot_f64(own, at, own.count, v)
            #expect(abs(k.sparse_dot_f64(own, at, own.count, v) - exact) <= limit)
            #expect(abs(all[j] - exact) <= limit)
            #expect(
                abs(
                    k.sparse_weighted_squares_f64(own, at, own.count, w)
                        - reference.sparse_weighted_squares_f64(own, at, own.count, w))
                    <= bound(zip(own, at).map { $0 * $0 * w[Int($1)] }))
            var (mine, expected) = (v, v)
            k.sparse_axpy_f64(0.3, own, at, own.count, &mine)
            reference.sparse_axpy_f64(0.3, own, at, own.count, &expected)
            #expect(zip(mine, expected).allSatisfy { abs($0 - $1) <= 1e-13 * max(1, abs($1)) })
        }
        var some = [Double](repeating: 9, count: 2)
        k.sparse_dots_f64(values, index, start, [8, 2], 2, v, &some)
        #expect(some == [all[8], all[2]])
    }
}
