import LacunaTensor
import Testing

@testable import LacunaSparse

/// Whole products against dense ones in double precision.
@Suite struct SparsePanelTests {
    static let batches = [1, 16, 33, 65, 150]

    @Test(arguments: SparseCase.all) func floats(shape: SparseCase) { check(shape.matrix(seed: 1, of: Float.self)) }
    @Test(arguments: SparseCase.all) func doubles(shape: SparseCase) { check(shape.matrix(seed: 2, of: Double.self)) }

    private func check<S: SparseScalar>(_ w: SparseMatrix<S>) {
        let dense = w.densified().scalars.map { Double($0) }
        let (rows, columns) = (w.rows, w.columns)
        var wrong = 0
        func expect(_ holds: Bool) { if !holds { wrong += 1 } }
        for batch in rows * columns > 20000 ? [65] : Self.batches {
            var generator = SeededGenerator(seed: UInt64(batch))
            let x = Tensor<S>(generator.awkward(batch * columns), shape: [batch, columns])
            let dy = Tensor<S>(generator.awkward(batch * rows), shape: [batch, rows])
            let (xs, ys) = (x.scalars.map { Double($0) }, dy.scalars.map { Double($0) })

            var y = Tensor<S>(generator.awkward(batch * rows), shape: [batch, rows])
            let before = y.scalars
            x.withPointer { x in
                y.withMutablePointer {
                    w.multiply(x, leadingX: columns, batch: batch, alpha: 2, beta: -0.5, into: $0, leadingY: rows)
                }
            }
            let (plain, panelled) = (w.applied(toRows: x), Panels<S>(zeros: batch, features: rows))
            w.multiply(Panels(x), into: panelled)
            #expect(panelled.tensor == plain)
            var dx = Tensor<S>(generator.awkward(batch * columns), shape: [batch, columns])
            let beforeX = dx.scalars
            dy.withPointer { dy in
                dx.withMutablePointer {
                    w.multiplyTransposed(
                        dy, leadingY: rows, batch: batch, alpha: -1, beta: 1, into: $0, leadingX: columns)
                }
            }
            let (plainX, panelledX) = (w.transposeApplied(toRows: dy), Panels<S>(zeros: batch, features: columns))
            w.multiplyTransposed(Panels(dy), into: panelledX)
            #expect(panelledX.tensor == plainX)
            let (plains, ysAfter, plainXs, dxs) = (plain.scalars, y.scalars, plainX.scalars, dx.scalars)
            for t in 0..<batch {
                for r in 0..<rows {
                    var (sum, magnitude) = (0.0, 0.0)
                    for c in 0..<columns {
                        let term = dense[r * columns + c] * xs[t * columns + c]
                        sum += term
                        magnitude += term.magnitude
                    }
                    expect(agree(plains[t * rows + r], sum, magnitude: magnitude))
                    let old = Double(before[t * rows + r])
                    expect(agree(ysAfter[t * rows + r], 2 * sum - 0.5 * old, magnitude: 2 * magnitude + old.magnitude))
                }
                for c in 0..<columns {
                    var (sum, magnitude) = (0.0, 0.0)
                    for r in 0..<rows {
                        let term = dense[r * columns + c] * ys[t * rows + r]
                        sum += term
                        magnitude += term.magnitude
                    }
                    expect(agree(plainXs[t * columns + c], sum, magnitude: magnitude))
                    let old = Double(beforeX[t * columns + c])
                    expect(agree(dxs[t * columns + c], old - sum, magnitude: magnitude + old.magnitude))
                }
            }

            let sampled = SparseMatrix.sampled(dy.transposed(), x.transposed(), at: w.pattern)
            var twice = sampled
            twice.withMutableValues { values in
                guard let p = values.baseAddress else { return }
                w.accumulateGradient(output: Panels(dy), input: Panels(x), into: p, adding: true)
            }
            let (once, both) = (sampled.values, twice.values)
            for r in 0..<rows {
                for j in w.pattern.entries(row: r) {
                    let c = Int(w.pattern.compressedRows.columns.pointer[j])
                    var (sum, magnitude) = (0.0, 0.0)
                    for t in 0..<batch {
                        let term = ys[t * rows + r] * xs[t * columns + c]
                        sum += term
                        magnitude += term.magnitude
                    }
                    expect(agree(once[j], sum, magnitude: magnitude))
                    expect(agree(both[j], 2 * sum, magnitude: 2 * magnitude))
                }
            }
        }
        #expect(wrong == 0)
    }

    /// Rows of which one has nearly everything, or all, or the first or the last.
    @Test(arguments: [0, 1, 2, 3]) func vectorsMeetVeryLongRows(kind: Int) throws {
        let (rows, columns) = (41, 120_000)
        var generator = SeededGenerator(seed: 3)
        var (offsets, indices) = ([0], [Int]())
        for r in 0..<rows {
            let isLong = kind == 0 ? r == 20 : kind == 1 ? r == 0 : kind == 2 ? r == rows - 1 : r % 13 == 7
            if isLong { indices += Array(0..<columns) } else if r % 3 == 1 { indices += [r, 5000 + r, 119_999] }
            offsets.append(indices.count)
        }
        let pattern = try SparsePattern(rows: rows, columns: columns, rowStarts: offsets, columnIndices: indices)
        check(vector: try SparseMatrix<Float>(pattern, values: generator.awkward(pattern.count)))
        check(vector: try SparseMatrix<Double>(pattern, values: generator.awkward(pattern.count)))
    }

    @Test(arguments: SparseCase.all) func vectors(shape: SparseCase) {
        check(vector: shape.matrix(seed: 1, of: Float.self))
        check(vector: shape.matrix(seed: 1, of: Double.self))
    }

    private func check<S: SparseScalar>(vector w: SparseMatrix<S>) {
        var generator = SeededGenerator(seed: 4)
        let x: [S] = generator.awkward(w.columns)
        let y: [S] = generator.awkward(w.rows)
        let plain = w.multiplied(by: x)
        let combined = Buffer(y)
        w.multiply(vector: x, alpha: 3, beta: -1, into: combined.pointer)
        var wrong = 0
        let values = w.values
        for r in 0..<w.rows {
            var (sum, magnitude) = (0.0, 0.0)
            for j in w.pattern.entries(row: r) {
                let term = Double(values[j]) * Double(x[Int(w.pattern.compressedRows.columns.pointer[j])])
                sum += term
                magnitude += term.magnitude
            }
            if !agree(plain[r], sum, magnitude: magnitude) { wrong += 1 }
            let old = Double(y[r])
            if !agree(combined.pointer[r], 3 * sum - old, magnitude: 3 * magnitude + old.magnitude) { wrong += 1 }
        }
        #expect(wrong == 0)
    }

    @Test func resultsDoNotDependOnThreads() {
        let w: SparseMatrix<Float> = SparseCase(rows: 700, columns: 900, density: 0.1).matrix(seed: 8)
        var generator = SeededGenerator(seed: 1)
        let x = Tensor<Float>(normal: [70, 900], using: &generator)
        let dy = Tensor<Float>(normal: [70, 700], using: &generator)
        let threads = Parallel.threads
        defer { Parallel.threads = threads }
        Parallel.threads = 1
        let vector = w.multiplied(by: x.rows(0..<1).scalars)
        let (y, dx, g) = (
            w.applied(toRows: x), w.transposeApplied(toRows: dy),
            SparseMatrix.sampled(dy.transposed(), x.transposed(), at: w.pattern)
        )
        for n in [2, 3] {
            Parallel.threads = n
            #expect(w.applied(toRows: x) == y)
            #expect(w.multiplied(by: x.rows(0..<1).scalars) == vector)
            #expect(w.transposeApplied(toRows: dy) == dx)
            #expect(SparseMatrix.sampled(dy.transposed(), x.transposed(), at: w.pattern).values == g.values)
        }
    }

    @Test func panelsKeepColumns() {
        var generator = SeededGenerator(seed: 2)
        for (batch, features) in [(1, 1), (64, 10), (70, 33), (130, 5)] {
            let x = Tensor<Double>(normal: [batch, features], using: &generator)
            let panels = Panels<Double>(zeros: batch, features: features)
            x.transposed().withPointer { panels.load(columns: $0, leading: batch) }
            #expect(panels.tensor == x)
            var back = Tensor<Double>(repeating: .nan, shape: [features, batch])
            back.withMutablePointer { panels.store(intoColumns: $0, leading: batch) }
            #expect(back == x.transposed())
        }
    }

    @Test func valuesAreValues() throws {
        let dense = Tensor<Float>([1, 0, 2, 0, 0, 3], shape: [2, 3])
        let a = try SparseMatrix(dense)
        var b = a
        b.withMutableValues { $0[1] = 9 }
        #expect(a.values == [1, 2, 3] && b.values == [1, 9, 3])
        #expect(a.densified() == dense && a.pattern == SparsePattern(nonzerosOf: dense))
        b.gather(from: dense)
        #expect(b.values == a.values)
        let target = try SparsePattern(rows: 2, columns: 3, rowStarts: [0, 2, 4], columnIndices: [1, 2, 0, 2])
        #expect(try a.moved(to: target).values == [0, 2, 0, 3])
        #expect(a.count == 3 && a.sparsity == 0.5 && a.byteCount == 12 + 12 + 24)
    }

    /// How often each entry is in a segment of its row and band; 100 where a segment is wrong.
    private func coverage(_ order: SegmentOrder, of pattern: SparsePattern) -> [Int] {
        var seen = [Int](repeating: 0, count: pattern.count)
        for block in 0..<order.blocks {
            let entry = pattern.compressedRows.starts.pointer[order.rows(block: block).lowerBound]
            for band in 0..<order.bands {
                let part = block * order.bands + band
                var previous = 0
                for i in Int(order.first.pointer[part])..<Int(order.first.pointer[part + 1]) {
                    let s = order.segments.pointer[i]
                    let start = entry + Int(s.start)
                    if s.count == 0 || Int(s.count) < previous { seen[start] += 100 }
                    previous = Int(s.count)
                    let row = order.rows(block: block).lowerBound + Int(s.row)
                    for j in start..<start + Int(s.count) {
                        let inBand = Int(pattern.compressedRows.columns.pointer[j]) / order.bandColumns == band
                        seen[j] += pattern.entries(row: row).contains(j) && inBand ? 1 : 100
                    }
                }
            }
        }
        return seen
    }

    @Test func segmentsCoverEveryEntryOnce() {
        for shape in SparseCase.all {
            let pattern = shape.mask(seed: 3)
            for order in [pattern.segments, pattern.narrowSegments, SegmentOrder(pattern, bandColumns: 64)] {
                #expect(coverage(order, of: pattern).allSatisfy { $0 == 1 })
            }
        }
    }

    /// Very sparse and very wide: memory follows the entries, and products are right.
    @Test(arguments: [(200_000, 300_000, 3), (40, 1_000_000, 2), (100_000, 5, 1), (3, 400_000, 200_000)])
    func segmentsOfVerySparseMatrices(rows: Int, columns: Int, perRow: Int) throws {
        var generator = SeededGenerator(seed: 21)
        var indices: [Int] = []
        for _ in 0..<rows {
            // One entry in each of `perRow` equal parts of the row.
            let part = columns / perRow
            for k in 0..<perRow { indices.append(k * part + Int(generator.next() % UInt64(part))) }
        }
        let pattern = try SparsePattern(
            rows: rows, columns: columns, rowStarts: (0...rows).map { $0 * perRow }, columnIndices: indices)
        let order = pattern.segments
        #expect(coverage(order, of: pattern).allSatisfy { $0 == 1 })
        #expect(order.byteCount <= 10 * pattern.count + 4 * rows + 4096)
        let w = try SparseMatrix<Double>(pattern, values: (0..<pattern.count).map { _ in generator.normal() })
        let values = w.values
        let x = Panels<Double>(zeros: 2, features: columns)
        for c in 0..<columns { for t in 0..<2 { x.elements[c * 8 + t] = generator.normal() } }
        let (y, back) = (Panels<Double>(zeros: 2, features: rows), Panels<Double>(zeros: 2, features: columns))
        w.multiply(x, into: y)
        w.multiplyTransposed(y, into: back)
        var (worst, expectedBack) = (0.0, [Double](repeating: 0, count: columns * 2))
        for r in 0..<rows {
            for t in 0..<2 {
                var sum = 0.0
                for j in pattern.entries(row: r) { sum += values[j] * x.elements[indices[j] * 8 + t] }
                worst = max(worst, abs(sum - y.elements[r * 8 + t]))
                for j in pattern.entries(row: r) {
                    expectedBack[indices[j] * 2 + t] += values[j] * y.elements[r * 8 + t]
                }
            }
        }
        for i in expectedBack.indices { worst = max(worst, abs(expectedBack[i] - back.elements[i / 2 * 8 + i % 2])) }
        #expect(worst < 1e-8)
    }

    @Test func badPatternsAreRefused() {
        func refuses(_ offsets: [Int], _ indices: [Int]) -> Bool {
            do {
                _ = try SparsePattern(rows: 2, columns: 3, rowStarts: offsets, columnIndices: indices)
                return false
            } catch { return error is LacunaError }
        }
        #expect(refuses([0, 1], [0]))
        #expect(refuses([0, 2, 1], [0]))
        #expect(refuses([1, 1, 1], [0]))
        #expect(refuses([0, 2, 2], [1, 1]))
        #expect(refuses([0, 1, 2], [0, 3]))
        #expect(refuses([0, 1, 2], [-1, 0]))
        #expect(refuses([0, 2, 1], [0, 1]))
        #expect(!refuses([0, 2, 3], [0, 2, 1]))
        #expect(throws: LacunaError.self) { try SparseMatrix(Tensor<Float>(zeros: [2])) }
        #expect(throws: LacunaError.self) {
            try SparseMatrix(Tensor<Float>(zeros: [2, 2]), at: SparsePattern(rows: 2, columns: 3))
        }
        #expect(throws: LacunaError.self) {
            try SparseMatrix(SparsePattern(rows: 1, columns: 2, keepingAll: true), values: [Float(1)])
        }
    }
}
