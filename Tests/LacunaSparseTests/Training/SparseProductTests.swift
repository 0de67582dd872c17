import CLacuna
import LacunaTensor
import Testing

@testable import LacunaSparse

@Suite struct SparseProductTests {
    /// A random matrix with rows that are empty, short, and full.
    private func matrix<S: SparseScalar>(
        _ rows: Int, _ columns: Int, _ density: Double, seed: UInt64, of: S.Type = S.self
    ) -> SparseMatrix<S> {
        var generator = SeededGenerator(seed: seed, stream: UInt64(rows))
        var (offsets, indices) = ([0], [Int]())
        for r in 0..<rows {
            if r % 5 != 2 {
                let d = r % 17 == 4 ? min(1, 60 * density) : density
                if d > 0.2 {
                    for c in 0..<columns where generator.uniform() < d { indices.append(c) }
                } else {
                    let picked = (0..<Int(Double(columns) * d) + r % 4).map { _ in
                        Int(generator.next() % UInt64(max(columns, 1)))
                    }
                    indices += Set(columns == 0 ? [] : picked).sorted()
                }
            }
            offsets.append(indices.count)
        }
        let pattern = try! SparsePattern(rows: rows, columns: columns, rowStarts: offsets, columnIndices: indices)
        return try! SparseMatrix(pattern, values: generator.awkward(pattern.count))
    }

    static let shapes = [(1, 1, 1), (7, 5, 9), (40, 30, 200), (64, 64, 64), (20, 50, 3000), (12, 0, 5), (5, 6, 0)]

    @Test(arguments: (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil })
    func everyAccumulatorAtEveryLevel(level: Int32) {
        for (rows, inner, columns) in Self.shapes + [(9, 400, 700)] {
            // The size of a value decides between dense and hashed rows; a large one hashes.
            for valueBytes in [4, 1 << 30] {
                let (a, b) = (
                    matrix(rows, inner, 0.05, seed: 1, of: Float.self),
                    matrix(inner, columns, 0.03, seed: 2, of: Float.self)
                )
                check(a, b, level: level, LK_F32, valueBytes: valueBytes, tolerance: 1e-5)
                let (c, d) = (
                    matrix(rows, inner, 0.05, seed: 1, of: Double.self),
                    matrix(inner, columns, 0.03, seed: 2, of: Double.self)
                )
                check(c, d, level: level, LK_F64, valueBytes: valueBytes, tolerance: 1e-13)
            }
        }
    }

    private func check<S: SparseScalar>(
        _ a: SparseMatrix<S>, _ b: SparseMatrix<S>, level: Int32, _ type: Int, valueBytes: Int, tolerance: S
    ) {
        let (table, reference) = (lk_level(level).pointee, lk_reference().pointee)
        let (real, scalar) = (lk_real_level(level, Int32(type)).pointee, lk_real_reference(Int32(type)).pointee)
        let (rows, columns) = (a.rows, b.columns)
        var operations = [UInt64](repeating: 0, count: rows)
        for r in 0..<rows {
            for j in a.pattern.entries(row: r) {
                operations[r] += UInt64(b.pattern.entries(row: Int(a.pattern.compressedRows.columns.pointer[j])).count)
            }
        }
        var slots = 16
        while slots < 2 * columns + 2 { slots *= 2 }
        let bits = Buffer<UInt64>(repeating: 0, count: (columns + 511) / 512 * 8)
        let sums = Buffer<S>(repeating: 0, count: columns)
        let keys = Buffer<UInt32>(repeating: 0, count: slots)
        let (slotValues, list) = (
            Buffer<S>(repeating: 0, count: slots), Buffer<UInt32>(repeating: 0, count: columns + 64)
        )
        var work = lk_spgemm_work(
            bits: bits.pointer, sums: sums.pointer, keys: keys.pointer, table: slotValues.pointer,
            list: list.pointer, value_bytes: valueBytes)
        var m = lk_spgemm(
            a_start: a.pattern.compressedRows.starts.pointer, a_column: a.pattern.compressedRows.columns.pointer,
            b_start: b.pattern.compressedRows.starts.pointer, b_column: b.pattern.compressedRows.columns.pointer,
            columns: columns)
        var (found, expected) = ([UInt32](repeating: 9, count: rows), [UInt32](repeating: 9, count: rows))
        table.spgemm_count(&m, operations, 0, rows, &work, &found)
        reference.spgemm_count(&m, operations, 0, rows, &work, &expected)
        #expect(found == expected)
        var starts = [0]
        for count in expected { starts.append(starts.last! + Int(count)) }
        let total = starts.last!
        // What lies beyond the result stays as it was.
        let beyond = [UInt32](repeating: 77, count: 64)
        let pattern = Buffer<UInt32>([UInt32](repeating: 0, count: total) + beyond)
        table.spgemm_pattern(&m, operations, 0, rows / 2, &work, starts, pattern.pointer)
        table.spgemm_pattern(&m, operations, rows / 2, rows, &work, starts, pattern.pointer)
        #expect(Array(pattern.array[total...]) == beyond)
        func compare(_ run: (lk_real, UnsafeMutablePointer<UInt32>, UnsafeMutablePointer<S>) -> Void) {
            let (c1, c2) = (Buffer<UInt32>(repeating: 0, count: total), Buffer<UInt32>(repeating: 0, count: total))
            let (v1, v2) = (Buffer<S>(repeating: 0, count: total), Buffer<S>(repeating: 0, count: total))
            run(real, c1.pointer, v1.pointer)
            run(scalar, c2.pointer, v2.pointer)
            #expect(c1.array == c2.array && Array(pattern.array[..<total]) == c2.array)
            let close = zip(v1.array, v2.array).allSatisfy {
                $0 == $1 || abs($0 - $1) <= 100 * tolerance + tolerance * abs($1)
            }
            #expect(close)
        }
        a.withValues { x in
            b.withValues { y in
                compare { $0.spgemm(&m, x.baseAddress, y.baseAddress, operations, 0, rows, &work, starts, $1, $2) }
                sums.pointer.update(repeating: .infinity, count: columns)
                compare {
                    $0.spgemm_min_plus(&m, x.baseAddress, y.baseAddress, operations, 0, rows, &work, starts, $1, $2)
                }
            }
        }
        // Everything is left as it was.
        #expect(bits.array.allSatisfy { $0 == 0 } && keys.array.allSatisfy { $0 == 0 })
        #expect(sums.array.allSatisfy { $0 == .infinity })
    }

    @Test func productsAgreeWithDenseOnes() throws {
        for (rows, inner, columns) in Self.shapes {
            try check(matrix(rows, inner, 0.1, seed: 3, of: Float.self), matrix(inner, columns, 0.1, seed: 4))
            try check(matrix(rows, inner, 0.1, seed: 5, of: Double.self), matrix(inner, columns, 0.1, seed: 6))
        }
    }

    private func check<S: SparseScalar>(_ a: SparseMatrix<S>, _ b: SparseMatrix<S>) throws {
        let c = try a.multiplied(by: b)
        let shortest = try a.multiplied(by: b, over: MinPlus())
        let boolean = try a.pattern.multiplied(by: b.pattern)
        let (x, y) = (a.densified().scalars, b.densified().scalars)
        let (inMask, bMask) = (a.pattern, b.pattern)
        let (found, paths, mask) = (c.densified().scalars, shortest.densified().scalars, c.pattern)
        #expect(boolean == mask && shortest.pattern == mask)
        var wrong = 0
        for i in 0..<a.rows {
            for j in 0..<b.columns {
                var (sum, magnitude, least, touched) = (0.0, 0.0, Double.infinity, false)
                for k in 0..<a.columns where inMask[i, k] && bMask[k, j] {
                    let (p, q) = (Double(x[i * a.columns + k]), Double(y[k * b.columns + j]))
                    sum += p * q
                    magnitude += (p * q).magnitude
                    least = min(least, p + q)
                    touched = true
                }
                let at = i * b.columns + j
                if mask[i, j] != touched || !agree(found[at], sum, magnitude: magnitude) { wrong += 1 }
                if touched && !agree(paths[at], least, magnitude: least.magnitude + 1) { wrong += 1 }
            }
        }
        #expect(wrong == 0)
        // (A B)ᵀ = Bᵀ Aᵀ
        let transposed = try b.transposed().multiplied(by: a.transposed()).transposed()
        #expect(transposed.pattern == mask)
        let identity = try SparseMatrix(
            SparsePattern(rows: a.columns, columns: a.columns) { $0 == $1 },
            values: [S](repeating: 1, count: a.columns))
        #expect(try a.multiplied(by: identity).values == a.values)
    }

    @Test func resultsDoNotDependOnThreads() throws {
        let a = matrix(3000, 3000, 0.004, seed: 8, of: Float.self)
        let threads = Parallel.threads
        defer { Parallel.threads = threads }
        Parallel.threads = 1
        let one = try a.multiplied(by: a)
        Parallel.threads = 3
        let three = try a.multiplied(by: a)
        #expect(
            one.values == three.values
                && one.pattern.compressedRows.columns.array == three.pattern.compressedRows.columns.array)
    }

    /// More columns than a dense accumulator is allowed for: hashed rows, merged pairs and a dense row in one product.
    @Test func wideMatricesAreHashed() throws {
        let columns = 400_000
        var generator = SeededGenerator(seed: 9)
        var (offsets, indices) = ([0], [Int]())
        for r in 0..<50 {
            let length = r == 7 ? 30_000 : 20
            indices += Set((0..<length).map { _ in Int(generator.next() % UInt64(columns)) }).sorted()
            offsets.append(indices.count)
        }
        let b = try SparseMatrix<Double>(
            SparsePattern(rows: 50, columns: columns, rowStarts: offsets, columnIndices: indices),
            values: (0..<indices.count).map { _ in generator.normal() })
        let a = matrix(60, 50, 0.1, seed: 3, of: Double.self)
        let c = try a.multiplied(by: b)
        for r in 0..<a.rows {
            var expected: [Int: Double] = [:]
            for i in a.pattern.entries(row: r) {
                for j in b.pattern.entries(row: Int(a.pattern.compressedRows.columns.pointer[i])) {
                    expected[Int(b.pattern.compressedRows.columns.pointer[j]), default: 0] += a.values[i] * b.values[j]
                }
            }
            let entries = c.pattern.entries(row: r)
            #expect(entries.map { Int(c.pattern.compressedRows.columns.pointer[$0]) } == expected.keys.sorted())
            let close = entries.allSatisfy {
                abs(c.buffer.pointer[$0] - expected[Int(c.pattern.compressedRows.columns.pointer[$0])]!) < 1e-9
            }
            #expect(close)
        }
    }

    /// The entries named are the sums of their terms, in order, and the semiring's zero where there is none.
    @Test func maskedProductsAreEntriesOfTheWhole() throws {
        for (rows, inner, columns) in Self.shapes {
            let a = matrix(rows, inner, 0.1, seed: 21, of: Double.self)
            let b = matrix(inner, columns, 0.1, seed: 22, of: Double.self)
            let wanted = matrix(rows, columns, 0.2, seed: 23, of: Double.self).pattern
            try check(a, b, at: wanted, part: a.multiplied(by: b, at: wanted), PlusTimes())
            try check(a, b, at: wanted, part: a.multiplied(by: b, over: MinPlus(), at: wanted), MinPlus())
            try check(a, b, at: wanted, part: a.multiplied(by: b, over: MaxPlus(), at: wanted), MaxPlus())
            try check(a, b, at: wanted, part: a.multiplied(by: b, over: MaxTimes(), at: wanted), MaxTimes())
            // The whole product is that at its own pattern, and the complement is the rest of it.
            let whole = try a.multiplied(by: b, over: MaxPlus())
            try check(a, b, at: a.pattern.multiplied(by: b.pattern), part: whole, MaxPlus())
            let rest = try a.multiplied(by: b, over: MaxPlus(), at: wanted, complemented: true)
            #expect(rest.pattern == whole.pattern.subtracting(wanted))
            try check(a, b, at: rest.pattern, part: rest, MaxPlus())
            // A named ordinary ring gives what the kernels give.
            let (named, plain) = (try a.multiplied(by: b, over: PlusTimes()), try a.multiplied(by: b))
            #expect(named.pattern == plain.pattern)
            #expect(zip(named.values, plain.values).allSatisfy { abs($0 - $1) <= 1e-12 * (abs($0) + 1e6) })
        }
        let square = matrix(7, 7, 0.3, seed: 1, of: Float.self)
        let wide = matrix(7, 9, 0.3, seed: 2, of: Float.self)
        #expect(throws: LacunaError.self) { try square.multiplied(by: square, at: wide.pattern) }
        #expect(throws: LacunaError.self) { try wide.multiplied(by: square, at: square.pattern) }
    }

    private func check<Ring: Semiring<Double>>(
        _ a: SparseMatrix<Double>, _ b: SparseMatrix<Double>, at wanted: SparsePattern, part: SparseMatrix<Double>,
        _ ring: Ring
    ) throws {
        var rows = [[Int: Double]](repeating: [:], count: b.rows)
        for entry in b { rows[entry.row][entry.column] = entry.value }
        #expect(part.pattern == wanted)
        var wrong = 0
        for (row, column, found) in part {
            var expected = ring.zero
            for k in a.pattern.keptColumns(row: row) {
                guard let value = rows[k][column] else { continue }
                expected = ring.plus(expected, ring.times(a[row, k], value))
            }
            if found != expected && !(found.isNaN && expected.isNaN) { wrong += 1 }
        }
        #expect(wrong == 0)
    }

    @Test func semiringsOfUsersAndOfBooleans() throws {
        // The paths of a ring of five nodes: after two steps those two away, after five steps oneself.
        let ring = try SparseMatrix<Bool>(
            rows: 5, columns: 5, entries: (0..<5).map { ($0, ($0 + 1) % 5, true) }, combining: nil)
        let two = try ring.multiplied(by: ring, over: OrAnd())
        #expect(two.map { [$0.row, $0.column] } == [[0, 2], [1, 3], [2, 4], [3, 0], [4, 1]])
        #expect(
            ring.multiplied(by: [true, false, false, false, true], over: OrAnd()) == [false, false, false, true, true])
        #expect(two.reduced(over: OrAnd()) && two.rowsReduced(over: OrAnd()) == [true, true, true, true, true])

        /// Counts paths modulo 7.
        struct Modular: Semiring {
            let zero: Int32 = 0
            func plus(_ a: Int32, _ b: Int32) -> Int32 { (a + b) % 7 }
            func times(_ a: Int32, _ b: Int32) -> Int32 { a * b % 7 }
        }
        let full = SparseMatrix<Int32>(SparsePattern(rows: 9, columns: 9, keepingAll: true), repeating: 1)
        #expect(try full.multiplied(by: full, over: Modular()).values.allSatisfy { $0 == 2 })
    }

    /// A wheel of 30 spokes has 30 triangles.
    @Test func trianglesOfAWheel() throws {
        var edges = Set<[Int]>()
        for i in 1...30 {
            let next = i % 30 + 1
            for pair in [[0, i], [i, 0], [i, next], [next, i]] { edges.insert(pair) }
        }
        var dense = Tensor<Double>(zeros: [31, 31])
        for edge in edges { dense[edge[0], edge[1]] = 1 }
        let graph = try SparseMatrix(dense)
        let paths = try graph.multiplied(by: graph, at: graph.pattern)
        let total = paths.withValues { values in (0..<paths.count).reduce(0) { $0 + values[$1] } }
        #expect(total == 6 * 30)
    }

    @Test func zerosAreDroppedOnDemand() throws {
        let a = try SparseMatrix(Tensor<Float>([1, 1, 0, 2], shape: [2, 2]))
        let b = try SparseMatrix(Tensor<Float>([3, 1, -3, 1], shape: [2, 2]))
        let c = try a.multiplied(by: b)
        #expect(c.values == [0, 2, -6, 2])
        #expect(c.droppingZeros().values == [2, -6, 2] && c.droppingZeros().densified() == c.densified())
        #expect(throws: LacunaError.self) { try a.multiplied(by: SparseMatrix(Tensor<Float>(zeros: [3, 2]))) }
    }
}
