import LacunaTensor
import Testing

@testable import LacunaSparse

@Suite struct SparseMatrixTests {
    private typealias Place = EntryTable.Place

    @Test(arguments: EntryTable.cases) func triplets(table: EntryTable) throws {
        let a = table.matrix()
        #expect(EntryTable(a) == table)
        #expect(a.count == table.entries.count)
        let order = a.map { $0.row * max(table.columns, 1) + $0.column }
        #expect(order == order.sorted() && Set(order).count == order.count)
        for r in 0..<table.rows { for c in 0..<table.columns { #expect(a[r, c] == table[r, c]) } }
        // Every entry three times, in another order: sums of them.
        let thrice = table.shuffled + table.shuffled.reversed() + table.shuffled
        let sums = try SparseMatrix<Double>(rows: table.rows, columns: table.columns, entries: thrice)
        #expect(sums == 3 * a && sums.pattern == a.pattern)
        let arrays = try SparseMatrix<Double>(
            rows: table.rows, columns: table.columns, rowIndices: thrice.map { Int32($0.row) },
            columnIndices: thrice.map { Int32($0.column) }, values: thrice.map(\.value))
        #expect(arrays == sums)
        // The last of equals, by a rule of the caller's.
        let last = try SparseMatrix<Double>(
            rows: table.rows, columns: table.columns,
            entries: table.shuffled.map { ($0.row, $0.column, 99) } + table.shuffled, combining: { $1 })
        #expect(last == a)
    }

    /// Long rows are sorted by another algorithm than short ones; duplicates add in the order in which they come.
    @Test(arguments: [1, 23, 24, 25, 26, 300]) func orderOfSums(count: Int) throws {
        var entries: [(row: Int, column: Int, value: Double)] = []
        for i in (0..<count).reversed() {
            entries.append((1, i % 13, Double(i)))
            entries.append((1, i % 13, Double(i) * 1e-3))
        }
        let joined = try SparseMatrix<Double>(
            rows: 3, columns: 13, entries: entries, combining: { $0 * 0.5 + $1 })
        for c in 0..<min(count, 13) {
            var expected: Double?
            for entry in entries where entry.column == c {
                expected = expected.map { $0 * 0.5 + entry.value } ?? entry.value
            }
            #expect(joined[1, c] == expected)
        }
        #expect(joined.count == min(count, 13) && joined.pattern.keptCount(row: 1) == joined.count)
    }

    @Test func badTripletsAreRefused() {
        func refuses(_ entries: [(row: Int, column: Int, value: Double)]) -> Bool {
            do {
                _ = try SparseMatrix<Double>(rows: 2, columns: 3, entries: entries, combining: nil)
                return false
            } catch { return true }
        }
        #expect(refuses([(2, 0, 1)]) && refuses([(0, 3, 1)]) && refuses([(-1, 0, 1)]) && refuses([(0, -1, 1)]))
        #expect(refuses([(0, 1, 1), (1, 2, 1), (0, 1, 2)]) && !refuses([(0, 1, 1), (1, 2, 1)]))
        #expect(throws: LacunaError.self) { try SparseMatrix<Double>(rows: -1, columns: 3, entries: []) }
        #expect(throws: LacunaError.self) { try SparseMatrix<Double>(rows: 1, columns: 1 << 40, entries: []) }
        #expect(throws: LacunaError.self) {
            try SparseMatrix<Double>(rows: 2, columns: 2, rowIndices: [0, 1], columnIndices: [0], values: [1, 2])
        }
        #expect(throws: LacunaError.self) {
            try SparseMatrix<Double>(rows: 2, columns: 2, rowIndices: [0, 2], columnIndices: [0, 1], values: [1, 2])
        }
        #expect(throws: LacunaError.self) {
            try SparseMatrix(SparsePattern(rows: 2, columns: 2, keepingAll: true), values: [1.0])
        }
    }

    @Test(arguments: EntryTable.cases) func writingEntries(table: EntryTable) {
        var a = table.matrix()
        var expected = table
        var generator = SeededGenerator(seed: 4)
        guard table.rows > 0 && table.columns > 0 else { return }
        let copy = a
        for _ in 0..<20 {
            let place = Place(
                row: Int.random(in: 0..<table.rows, using: &generator),
                column: Int.random(in: 0..<table.columns, using: &generator))
            let value = generator.normal()
            a[place.row, place.column] = value
            expected.entries[place] = value
        }
        #expect(EntryTable(a) == expected && EntryTable(copy) == table)
    }

    @Test(arguments: EntryTable.cases) func dense(table: EntryTable) throws {
        let a = table.matrix()
        #expect(a.densified() == table.dense)
        #expect(try SparseMatrix(table.dense) == a)
        let above = try SparseMatrix(table.dense, threshold: 2)
        #expect(EntryTable(above).entries == table.entries.filter { abs($0.value) > 2 })
        #expect(try SparseMatrix(table.dense, at: a.pattern) == a)
        let float = a.converted(to: Float.self)
        #expect(EntryTable(float) == table && float.converted(to: Double.self) == a)
    }

    @Test(arguments: EntryTable.cases) func sumsAndScaling(table: EntryTable) {
        let other = EntryTable(table.rows, table.columns, density: 0.3, seed: 77)
        let (a, b) = (table.matrix(), other.matrix())
        func combined(_ f: (Double?, Double?) -> Double?) -> EntryTable {
            EntryTable(rows: table.rows, columns: table.columns) {
                f(table.entries[Place(row: $0, column: $1)], other.entries[Place(row: $0, column: $1)])
            }
        }
        #expect(EntryTable(a + b) == combined { $0 == nil && $1 == nil ? nil : ($0 ?? 0) + ($1 ?? 0) })
        #expect(EntryTable(a - b) == combined { $0 == nil && $1 == nil ? nil : ($0 ?? 0) - ($1 ?? 0) })
        #expect(EntryTable(a.hadamard(b)) == combined { x, y in x.flatMap { x in y.map { x * $0 } } })
        #expect(EntryTable(-2.5 * a) == combined { x, _ in x.map { $0 * -2.5 } })
        #expect(a * 4 == a + a + a + a && a / 4 == 0.25 * a && -a == a * -1)
        #expect(a.hadamard(other.dense) == a.hadamard(b))
        var c = a
        c += b
        c -= a
        c *= 2
        #expect(c == b + b)
        #expect((a + other.dense).scalars == zip(table.dense.scalars, other.dense.scalars).map { $0 + $1 })
        let divisors = Tensor<Double>(repeating: 8, shape: [table.rows, table.columns])
        #expect(a / divisors == a / 8)
        let (left, right) = ((0..<table.rows).map { Double($0 - 2) }, (0..<table.columns).map { Double(3 - $0) })
        #expect(
            EntryTable(a.scaled(rows: left).scaled(columns: right))
                == EntryTable(rows: table.rows, columns: table.columns) { r, c in
                    table.entries[Place(row: r, column: c)].map { $0 * left[r] * right[c] }
                })
    }

    @Test(arguments: EntryTable.cases) func equalityIsOfNumbers(table: EntryTable) {
        let a = table.matrix()
        #expect(a == a.droppingZeros() && a.droppingZeros() == a)
        #expect(a.droppingZeros().count == table.entries.values.filter { $0 != 0 }.count)
        #expect(a.droppingZeros().allSatisfy { $0.value != 0 })
        guard table.rows > 0 && table.columns > 0 else { return }
        var b = a
        b[table.rows - 1, table.columns - 1] += 1
        #expect(a != b && b != a)
        #expect(a != SparseMatrix<Double>(zeros: table.rows + 1, table.columns))
        #expect(a.isApproximatelyEqual(to: b, tolerance: 1) && !a.isApproximatelyEqual(to: b, tolerance: 1e-3))
    }

    @Test(arguments: EntryTable.cases) func transposesAndTriangles(table: EntryTable) {
        let a = table.matrix()
        let expected = EntryTable(rows: table.columns, columns: table.rows) {
            table.entries[Place(row: $1, column: $0)]
        }
        #expect(EntryTable(a.transposed()) == expected)
        #expect(a.transposed().transposed() == a)
        // Twice, since the order is kept, and for other values of the same pattern.
        #expect(EntryTable((2 * a).transposed()).entries == expected.entries.mapValues { $0 * 2 })
        for k in [-3, -1, 0, 2] {
            #expect(
                EntryTable(a.upperTriangle(diagonal: k)).entries
                    == table.entries.filter { $0.key.column - $0.key.row >= k })
            #expect(
                EntryTable(a.lowerTriangle(diagonal: k)).entries
                    == table.entries.filter { $0.key.column - $0.key.row <= k })
        }
        #expect(a.diagonal == (0..<min(table.rows, table.columns)).map { table[$0, $0] })
        #expect(a.upperTriangle() + a.lowerTriangle(diagonal: -1) == a)
    }

    @Test(arguments: EntryTable.cases) func slices(table: EntryTable) throws {
        let a = table.matrix()
        let (m, n) = (table.rows, table.columns)
        for (r, c) in [(0..<m, 0..<n), (m / 3..<m, 0..<n / 2), (0..<m / 2, n / 4..<n), (m / 2..<m / 2, 0..<n)] {
            let part = EntryTable(rows: r.count, columns: c.count) {
                table.entries[Place(row: $0 + r.lowerBound, column: $1 + c.lowerBound)]
            }
            #expect(EntryTable(a[rows: r, columns: c]) == part)
        }
        #expect(a[rows: 0..<m] == a && a[columns: 0..<n] == a)
        for r in 0..<m {
            #expect(a.row(r).densified() == (0..<n).map { table[r, $0] })
            #expect(a.row(r).indices == (0..<n).filter { table.entries[Place(row: r, column: $0)] != nil })
        }
        for c in 0..<n { #expect(a.column(c).densified() == (0..<m).map { table[$0, c] }) }
        // Out of order, repeated, left out.
        var generator = SeededGenerator(seed: 6)
        let rows = (0..<min(2 * m, 50)).map { _ in Int.random(in: 0..<m, using: &generator) }
        let columns = (0..<min(2 * n, 90)).map { _ in Int.random(in: 0..<n, using: &generator) }
        #expect(
            EntryTable(a.selecting(rows: rows))
                == EntryTable(rows: rows.count, columns: n) { table.entries[Place(row: rows[$0], column: $1)] })
        #expect(
            EntryTable(a.selecting(columns: columns))
                == EntryTable(rows: m, columns: columns.count) { table.entries[Place(row: $0, column: columns[$1])] })
        let (p, q) = ((0..<m).shuffled(using: &generator), (0..<n).shuffled(using: &generator))
        let permuted = try a.permuted(rows: p, columns: q)
        #expect(
            EntryTable(permuted) == EntryTable(rows: m, columns: n) { table.entries[Place(row: p[$0], column: q[$1])] })
        if m > 1 {
            #expect(throws: LacunaError.self) { try a.permuted(rows: [Int](repeating: 0, count: m)) }
            #expect(throws: LacunaError.self) { try a.permuted(rows: [0]) }
        }
    }

    @Test func joined() throws {
        let (x, y) = (EntryTable(5, 8, density: 0.4, seed: 1), EntryTable(7, 8, density: 0.4, seed: 2))
        let stacked = try SparseMatrix.stackedVertically([x.matrix(), y.matrix(), x.matrix()])
        #expect(
            stacked[rows: 0..<5] == x.matrix() && stacked[rows: 5..<12] == y.matrix()
                && stacked[rows: 12..<17] == x.matrix())
        let beside = try SparseMatrix.stackedHorizontally([x.matrix().transposed(), y.matrix().transposed()])
        #expect(beside.columns == 12 && beside[columns: 0..<5] == x.matrix().transposed())
        #expect(beside[columns: 5..<12] == y.matrix().transposed())
        let diagonal = try SparseMatrix.blockDiagonal([x.matrix(), y.matrix()])
        #expect(diagonal.rows == 12 && diagonal.columns == 16)
        #expect(
            diagonal[rows: 0..<5, columns: 0..<8] == x.matrix() && diagonal[rows: 5..<12, columns: 8..<16] == y.matrix()
        )
        #expect(diagonal.count == x.entries.count + y.entries.count)
        // Many parts, of which some have no rows, no columns or no entries.
        let parts = (0..<400).map { EntryTable($0 % 3, $0 % 4, density: 0.8, seed: UInt64($0)) }
        let many = try SparseMatrix.blockDiagonal(parts.map { $0.matrix(of: Double.self) })
        var (row, column, expected) = (0, 0, [Place: Double]())
        for part in parts {
            for (place, value) in part.entries {
                expected[Place(row: row + place.row, column: column + place.column)] = value
            }
            (row, column) = (row + part.rows, column + part.columns)
        }
        #expect(many.rows == row && many.columns == column && EntryTable(many).entries == expected)
        let grid = try SparseMatrix.blocks([[x.matrix(), nil], [y.matrix(), SparseMatrix(zeros: 7, 3)]])
        #expect(grid.rows == 12 && grid.columns == 11 && grid.count == diagonal.count)
        #expect(try SparseMatrix<Double>.blockDiagonal([]).rows == 0)
        #expect(throws: LacunaError.self) { try SparseMatrix.stackedVertically([x.matrix(), x.matrix().transposed()]) }
        #expect(throws: LacunaError.self) { try SparseMatrix.stackedHorizontally([x.matrix(), y.matrix()]) }
        #expect(throws: LacunaError.self) { try SparseMatrix<Double>.blocks([[nil, nil]]) }
        #expect(throws: LacunaError.self) { try SparseMatrix.blocks([[x.matrix()], [nil, x.matrix()]]) }
        #expect(throws: LacunaError.self) {
            try SparseMatrix.blocks([[x.matrix(), x.matrix()], [y.matrix(), SparseMatrix(zeros: 7, 3)]])
        }
        #expect(throws: LacunaError.self) { try SparseMatrix<Double>.stackedVertically([]) }
    }

    @Test func madeFromRules() throws {
        let identity = SparseMatrix<Double>.identity(4)
        #expect(
            identity.densified().scalars == (0..<16).map { $0 % 5 == 0 ? 1 : 0 }
                && SparseMatrix<Float>.identity(0).count == 0)
        #expect(SparseMatrix(diagonal: [1.0, 0, 3]).diagonal == [1, 0, 3])
        let bands = try SparseMatrix<Double>(
            rows: 3, columns: 4, diagonals: [(0, [1, 2, 3]), (2, [4, 5]), (-1, [6, 7])])
        #expect(bands.densified().scalars == [1, 0, 4, 0, 6, 2, 0, 5, 0, 7, 3, 0])
        #expect(throws: LacunaError.self) { try SparseMatrix<Double>(rows: 3, columns: 4, diagonals: [(0, [1, 2])]) }
        #expect(throws: LacunaError.self) { try SparseMatrix<Double>(rows: 3, columns: 4, diagonals: [(4, [1])]) }
        let rows = try SparseMatrix<Double>(columns: 3, rows: [[(2, 5), (0, 1)], [], [(1, -1)]])
        #expect(rows.densified().scalars == [1, 0, 5, 0, 0, 0, 0, -1, 0])
        let (x, y) = (EntryTable(3, 4, density: 0.6, seed: 8), EntryTable(5, 2, density: 0.6, seed: 9))
        let product = try x.matrix().kronecker(y.matrix())
        #expect(
            EntryTable(product)
                == EntryTable(rows: 15, columns: 8) { r, c in
                    x.entries[Place(row: r / 5, column: c / 2)].flatMap { a in
                        y.entries[Place(row: r % 5, column: c % 2)].map { a * $0 }
                    }
                })
        #expect(throws: LacunaError.self) {
            try SparseMatrix<Double>(zeros: 1 << 20, 1).kronecker(SparseMatrix(zeros: 1 << 20, 1))
        }
    }

    @Test(arguments: [0.0, 0.004, 0.3, 0.5, 0.51, 0.97, 1.0]) func randomPatterns(density: Double) throws {
        var generator = SeededGenerator(seed: 12)
        let pattern = try SparsePattern.random(rows: 61, columns: 83, density: density, using: &generator)
        #expect(pattern.count == Int((density * 61 * 83).rounded()))
        var again = SeededGenerator(seed: 12)
        #expect(try SparsePattern.random(rows: 61, columns: 83, density: density, using: &again) == pattern)
        // Every place is as likely as any other: counts over many draws of 40 of 100.
        if density == 0.3 || density == 0.97 {
            var hits = [Int](repeating: 0, count: 100)
            for _ in 0..<2000 {
                try SparsePattern.random(rows: 10, columns: 10, density: density == 0.3 ? 0.4 : 0.6, using: &generator)
                    .forEachEntry { hits[$1 * 10 + $2] += 1 }
            }
            let mean = density == 0.3 ? 800.0 : 1200.0
            #expect(hits.allSatisfy { abs(Double($0) - mean) < 5 * (2000 * 0.24).squareRoot() })
        }
        #expect(throws: LacunaError.self) {
            try SparsePattern.random(rows: 2, columns: 2, density: 1.1, using: &generator)
        }
        let values = try SparseMatrix<Float>.random(rows: 300, columns: 300, density: 0.2, using: &generator)
        #expect(
            abs(values.sum() / Float(values.count)) < 0.05 && abs(values.norm() - Float(values.count).squareRoot()) < 3)
    }

    @Test(arguments: EntryTable.cases) func reductions(table: EntryTable) {
        let a = table.matrix()
        let (m, n) = (table.rows, table.columns)
        let rows = (0..<m).map { r in (0..<n).map { table[r, $0] } }
        let columns = (0..<n).map { c in (0..<m).map { table[$0, c] } }
        #expect(a.sum() == table.entries.values.reduce(0, +))
        #expect(a.rowSums() == rows.map { $0.reduce(0, +) } && a.columnSums() == columns.map { $0.reduce(0, +) })
        #expect(a.max() == rows.joined().max() && a.min() == rows.joined().min())
        if n > 0 { #expect(a.rowMaxima() == rows.map { $0.max()! } && a.rowMinima() == rows.map { $0.min()! }) }
        if m > 0 {
            #expect(a.columnMaxima() == columns.map { $0.max()! } && a.columnMinima() == columns.map { $0.min()! })
        }
        if m > 0 && n > 0 {
            #expect(a.mean() == a.sum() / Double(m * n))
            #expect(
                a.rowMeans() == a.rowSums().map { $0 / Double(n) }
                    && a.columnMeans() == a.columnSums().map { $0 / Double(m) })
        }
        func length(_ x: [Double]) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }
        func size(_ x: [Double]) -> Double { x.reduce(0) { $0 + abs($1) } }
        #expect(abs(a.norm() - length(Array(rows.joined()))) < 1e-9)
        #expect(a.norm(.one) == columns.map(size).max() ?? 0 && a.norm(.infinity) == rows.map(size).max() ?? 0)
        #expect(a.norm(.largest) == rows.joined().map { abs($0) }.max() ?? 0)
        #expect(a.rowNorms() == rows.map(length) && a.columnNorms() == columns.map(length))
        if m == n { #expect(a.trace() == (0..<m).reduce(0) { $0 + table[$1, $1] }) }
        #expect(abs(a.density - (m * n == 0 ? 0 : Double(a.count) / Double(m * n))) < 1e-15)
        #expect(m * n == 0 ? a.sparsity == 0 : a.sparsity == 1 - a.density)
    }

    @Test func normsDoNotOverflow() {
        let large = SparseMatrix(diagonal: [3e200, 4e200])
        #expect(abs(large.norm() / 5e200 - 1) < 1e-15)
        #expect(abs((1e-280 * SparseMatrix(diagonal: [3.0, 4])).norm() / 5e-280 - 1) < 1e-15)
        #expect(
            SparseMatrix(diagonal: [1, Double.nan]).norm().isNaN
                && SparseMatrix(diagonal: [1, Double.nan]).norm(.one).isNaN)
        #expect(SparseMatrix(diagonal: [1, -Double.infinity]).norm() == .infinity)
    }

    @Test func text() {
        let a = SparseMatrix(diagonal: [1.0, -2.5, 0.333333])
        #expect("\(a)" == "SparseMatrix<Double> 3 x 3, 3 stored\n1     .        .\n.  -2.5        .\n.     .  0.33333")
        let large = SparseMatrix<Float>.identity(100)
        #expect("\(large)".split(separator: "\n").count == 10 && "\(large)".hasSuffix("… 92 more"))
        #expect("\(large)".contains("[7, 7]  1"))
        #expect("\(SparseMatrix<Double>(zeros: 0, 3))" == "SparseMatrix<Double> 0 x 3, 0 stored")
        #expect(NumberText.number(123456.7) == "123456.7" || NumberText.number(123456.7) == "123457.0")
        #expect(
            NumberText.number(1.5e-7) == "1.5e-7" && NumberText.number(Double.nan) == "nan"
                && NumberText.number(true) == "1")
        #expect(NumberText.number(-2e9) == "-2.0e9" && NumberText.number(Int32(-7)) == "-7")
    }

    // MARK: Products

    @Test(arguments: EntryTable.cases) func denseProducts(table: EntryTable) {
        let (m, n) = (table.rows, table.columns)
        for k in [0, 1, 5, 16, 33, 70] {
            var generator = SeededGenerator(seed: UInt64(k))
            let b = Tensor<Double>(
                (0..<n * k).map { _ in Double(Int.random(in: -3...3, using: &generator)) }, shape: [n, k])
            let c = Tensor<Double>(
                (0..<m * k).map { _ in Double(Int.random(in: -3...3, using: &generator)) }, shape: [m, k])
            let product = (0..<m * k).map { i in (0..<n).reduce(0) { $0 + table[i / k, $1] * b[$1, i % k] } }
            let transposed = (0..<n * k).map { i in (0..<m).reduce(0) { $0 + table[$1, i / k] * c[$1, i % k] } }
            let a = table.matrix()
            #expect(a.multiplied(by: b).scalars == product && (a * b).shape == [m, k])
            #expect(a.multiplied(by: c, transposed: true).scalars == transposed)
            let single = table.matrix(of: Float.self)
            #expect(
                single.multiplied(by: Tensor(b.scalars.map(Float.init), shape: b.shape)).scalars
                    == product.map(Float.init))
            // Rows of a batch, as a layer sees them.
            #expect(a.applied(toRows: b.transposed()) == a.multiplied(by: b).transposed())
            #expect(a.transposeApplied(toRows: c.transposed()) == a.multiplied(by: c, transposed: true).transposed())
            let sampled = SparseMatrix.sampled(c, b, at: a.pattern)
            for (row, column, value) in sampled {
                #expect(value == (0..<k).reduce(0) { $0 + c[row, $1] * b[column, $1] })
            }
        }
    }

    @Test(arguments: EntryTable.cases) func vectorProducts(table: EntryTable) throws {
        let a = table.matrix()
        let x = (0..<table.columns).map { Double($0 % 5 - 2) }
        let z = (0..<table.rows).map { Double($0 % 3 - 1) }
        let expected = (0..<table.rows).map { r in (0..<table.columns).reduce(0) { $0 + table[r, $1] * x[$1] } }
        #expect(a * x == expected && a.multiplied(by: SparseVector(x)).densified() == expected)
        #expect(
            a.multiplied(by: z, transposed: true)
                == (0..<table.columns).map { c in (0..<table.rows).reduce(0) { $0 + table[$1, c] * z[$1] } })
        #expect(table.matrix(of: Float.self).multiplied(by: x.map(Float.init)) == expected.map(Float.init))
    }

    /// Long enough that rows of a transposed product are added up in pieces.
    @Test func transposedProductsInPieces() throws {
        var generator = SeededGenerator(seed: 3)
        let a = try SparseMatrix<Double>.random(rows: 3000, columns: 300, density: 0.3, using: &generator)
            .mapValues { $0.rounded() }
        let x = (0..<3000).map { _ in Double(Int.random(in: -3...3, using: &generator)) }
        let expected = a.transposed() * x
        let threads = Parallel.threads
        defer { Parallel.threads = threads }
        for count in [1, 2, 3] {
            Parallel.threads = count
            #expect(a.multiplied(by: x, transposed: true) == expected)
        }
    }

    @Test(arguments: EntryTable.cases) func sparseProducts(table: EntryTable) throws {
        let other = EntryTable(table.columns, 17, density: 0.3, seed: 5)
        let product = table.matrix() * other.matrix()
        for r in 0..<table.rows {
            for c in 0..<17 {
                #expect(product[r, c] == (0..<table.columns).reduce(0) { $0 + table[r, $1] * other[$1, c] })
            }
        }
        if table.columns != 18 {
            #expect(throws: LacunaError.self) { try table.matrix().multiplied(by: SparseMatrix(zeros: 18, 2)) }
        }
    }

    // MARK: Patterns

    @Test(arguments: EntryTable.cases) func patternsInBothForms(table: EntryTable) throws {
        let compressed = table.matrix().pattern
        let bits = SparsePattern(rows: table.rows, columns: table.columns) {
            table.entries[Place(row: $0, column: $1)] != nil
        }
        #expect(!compressed.isBits && bits.isBits && compressed == bits && bits == compressed)
        #expect(bits.rowStarts == compressed.rowStarts && bits.columnIndices == compressed.columnIndices)
        #expect(bits.packedWords == compressed.packedWords && bits.count == compressed.count)
        #expect(try SparsePattern(rows: table.rows, columns: table.columns, packedWords: bits.packedWords) == bits)
        let other = EntryTable(table.rows, table.columns, density: 0.4, seed: 50).matrix().pattern
        var otherBits = SparsePattern(rows: table.rows, columns: table.columns)
        other.forEachEntry { otherBits[$1, $2] = true }
        #expect(otherBits == other)
        for (a, b) in [(compressed, other), (bits, other), (compressed, otherBits), (bits, otherBits)] {
            #expect(a.union(b) == bits.union(otherBits) && a.intersection(b) == bits.intersection(otherBits))
            #expect(a.subtracting(b) == bits.subtracting(otherBits))
            #expect(a.intersection(b).isSubset(of: a) && a.isSubset(of: a.union(b)))
            #expect(a.isSubset(of: b) == (a.subtracting(b).count == 0))
        }
        #expect(compressed.inverted() == bits.inverted() && compressed.transposed() == bits.transposed())
        #expect(compressed.transposed().transposed() == bits)
        for r in 0..<table.rows {
            #expect(compressed.keptColumns(row: r) == bits.keptColumns(row: r))
            #expect(
                compressed.keptCount(row: r) == bits.keptCount(row: r)
                    && compressed.entries(row: r) == bits.entries(row: r))
            for c in 0..<table.columns {
                #expect(
                    compressed[r, c] == bits[r, c]
                        && compressed.index(row: r, column: c) == bits.index(row: r, column: c))
            }
        }
        // Changing a copy changes neither the original nor what was derived from it.
        if table.rows > 0 && table.columns > 0 {
            for original in [compressed, bits] {
                var copy = original
                copy[0, 0].toggle()
                #expect(copy[0, 0] != original[0, 0] && abs(copy.count - original.count) == 1 && original == bits)
                #expect(copy.columnIndices.count == copy.count && copy.transposed()[0, 0] == copy[0, 0])
                copy[0, 0].toggle()
                #expect(copy == original && copy.columnIndices == original.columnIndices)
            }
        }
        #expect(
            bits.applied(to: Tensor(repeating: 1.0, shape: [table.rows, table.columns]))
                == compressed.applied(to: Tensor(repeating: 1.0, shape: [table.rows, table.columns])))
    }

    @Test func badPatternWordsAreRefused() {
        #expect(throws: LacunaError.self) { try SparsePattern(rows: 2, columns: 65, packedWords: [1, 2, 3]) }
        #expect(throws: LacunaError.self) { try SparsePattern(rows: -1, columns: 2, packedWords: []) }
        let slack = try? SparsePattern(rows: 1, columns: 3, packedWords: [~0])
        #expect(slack?.count == 3 && slack == SparsePattern(rows: 1, columns: 3, keepingAll: true))
        #expect(throws: LacunaError.self) {
            try SparsePattern(rows: 1, columns: 3, rowStarts: [0, 1], columnIndices: [UInt64.max])
        }
    }
}
