import LacunaSparse
import LacunaTensor
import Testing

/// What goes over the entries of a matrix one by one, and semirings, against dictionaries: for the shapes that algorithms
/// stumble over and for random ones.
@Suite struct EntryMappingTests {
    private typealias Place = EntryTable.Place

    /// Random shapes of up to 40 rows and 90 columns, of all densities.
    static let random: [EntryTable] = (0..<40).map { seed in
        var generator = SeededGenerator(seed: UInt64(seed), stream: 31)
        return EntryTable(
            Int.random(in: 0...40, using: &generator), Int.random(in: 0...90, using: &generator),
            density: [0, 0.03, 0.2, 0.7, 1][seed % 5], seed: UInt64(seed))
    }

    static let tables = EntryTable.cases + random

    @Test(arguments: tables) func mappedAndFiltered(table: EntryTable) throws {
        let a = table.matrix()
        let negated = a.mapValues { Float(-$0) }
        #expect(EntryTable(negated).entries == table.entries.mapValues { -$0 } && negated.pattern == a.pattern)
        let placed = a.mapEntries { row, column, value in value + Double(1000 * row + column) }
        var expected = table
        for (place, value) in table.entries {
            expected.entries[place] = value + Double(1000 * place.row + place.column)
        }
        #expect(EntryTable(placed) == expected)
        // Stored zeros count as entries until they are dropped.
        let kept = a.filter { row, column, value in (row + column) % 3 != 0 && value <= 2 }
        #expect(
            EntryTable(kept).entries
                == table.entries.filter { ($0.key.row + $0.key.column) % 3 != 0 && $0.value <= 2 })
        var visited: [[Double]] = []
        a.forEachEntry { visited.append([Double($0), Double($1), $2]) }
        #expect(visited == a.map { [Double($0.row), Double($0.column), $0.value] } && visited.count == a.count)
        // An error of the caller's comes through.
        struct Stop: Error {}
        if a.count > 0 {
            #expect(throws: Stop.self) { _ = try a.mapValues { _ -> Double in throw Stop() } }
            #expect(throws: Stop.self) { try a.forEachEntry { _, _, _ in throw Stop() } }
        }
    }

    @Test(arguments: tables) func valuesInPlace(table: EntryTable) throws {
        let a = table.matrix()
        var b = a
        b.withMutableValues { for i in $0.indices { $0[i] = Double(i) } }
        #expect(EntryTable(a) == table && b.values == (0..<a.count).map(Double.init) && b.pattern == a.pattern)
        // To other positions: what both have, and zeros.
        let target = EntryTable(table.rows, table.columns, density: 0.4, seed: 90).matrix().pattern
        let moved = try a.moved(to: target)
        #expect(moved.pattern == target)
        for (row, column, value) in moved { #expect(value == table[row, column]) }
        var gathered = SparseMatrix<Double>(target)
        gathered.gather(from: table.dense)
        #expect(gathered == moved)
        #expect(throws: LacunaError.self) {
            try a.moved(to: SparsePattern(rows: table.rows + 1, columns: table.columns))
        }
        // The arrays of compressed rows say all of a matrix.
        let again = try SparseMatrix(
            rows: a.rows, columns: a.columns, rowStarts: a.pattern.rowStarts,
            columnIndices: a.pattern.columnIndices, values: a.values)
        #expect(again == a && again.pattern == a.pattern)
    }

    @Test(arguments: tables) func overSemirings(table: EntryTable) throws {
        let a = table.matrix()
        let x = (0..<table.columns).map { Double($0 * 7 % 11) - 5 }
        func check<Ring: Semiring<Double>>(_ ring: Ring) {
            var (product, rows, all) = (
                [Double](repeating: ring.zero, count: table.rows), [Double](repeating: ring.zero, count: table.rows),
                ring.zero
            )
            for place in table.entries.keys.sorted(by: { ($0.row, $0.column) < ($1.row, $1.column) }) {
                let value = table.entries[place]!
                product[place.row] = ring.plus(product[place.row], ring.times(value, x[place.column]))
                rows[place.row] = ring.plus(rows[place.row], value)
                all = ring.plus(all, value)
            }
            #expect(a.multiplied(by: x, over: ring) == product)
            #expect(a.rowsReduced(over: ring) == rows && a.reduced(over: ring) == all)
        }
        check(PlusTimes<Double>())
        check(MinPlus<Double>())
        check(MaxPlus<Double>())
        check(MaxTimes<Double>())
        // Whole numbers and truth values.
        let counts = a.mapValues { Int32($0) }
        let dense = counts.densifiedValues
        let integers = counts.multiplied(by: x.map { Int32($0) }, over: PlusTimes())
        #expect(
            integers
                == (0..<table.rows).map { r in
                    (0..<table.columns).reduce(Int32(0)) { $0 + dense[r * table.columns + $1] * Int32(x[$1]) }
                })
        let truths = a.mapValues { $0 > 0 }
        #expect(
            truths.multiplied(by: x.map { $0 > 0 }, over: OrAnd())
                == (0..<table.rows).map { r in
                    (0..<table.columns).contains { table[r, $0] > 0 && x[$0] > 0 }
                })
        #expect(truths.droppingZeros().count == table.entries.values.filter { $0 > 0 }.count)
    }

    /// Sparse times sparse, at some entries and at all others, in whole numbers, which are exact.
    @Test(arguments: random) func products(table: EntryTable) throws {
        let other = EntryTable(table.columns, 1 + table.rows, density: 0.2, seed: 91)
        let wanted = EntryTable(table.rows, other.columns, density: 0.3, seed: 92).matrix().pattern
        let (a, b) = (table.matrix(), other.matrix())
        var sums: [Place: Double] = [:]
        var byRow: [Int: [(Int, Double)]] = [:]
        for (place, value) in other.entries { byRow[place.row, default: []].append((place.column, value)) }
        for (place, value) in table.entries {
            for (column, factor) in byRow[place.column] ?? [] {
                sums[Place(row: place.row, column: column), default: 0] += value * factor
            }
        }
        #expect(EntryTable(try a.multiplied(by: b)).entries == sums)
        let part = try a.multiplied(by: b, at: wanted)
        #expect(part.pattern == wanted)
        for (row, column, value) in part { #expect(value == sums[Place(row: row, column: column)] ?? 0) }
        let rest = try a.multiplied(by: b, at: wanted, complemented: true)
        #expect(EntryTable(rest).entries == sums.filter { !wanted[$0.key.row, $0.key.column] })
        let pattern = try a.pattern.multiplied(by: b.pattern)
        #expect(pattern.count == sums.count && sums.keys.allSatisfy { pattern[$0.row, $0.column] })
        // (A B) x = A (B x), and (A B)ᵀ = Bᵀ Aᵀ.
        let x = (0..<other.columns).map { Double($0 % 5) - 2 }
        #expect(a * b * x == a * (b * x))
        #expect((a * b).transposed() == b.transposed() * a.transposed())
    }

    @Test func arraysThatContradictEachOtherAreRefused() {
        func refuses(_ starts: [Int], _ columns: [Int], _ values: [Double]) -> Bool {
            (try? SparseMatrix(rows: 2, columns: 3, rowStarts: starts, columnIndices: columns, values: values)) == nil
        }
        #expect(!refuses([0, 1, 3], [2, 0, 1], [1, 2, 3]))
        #expect(refuses([0, 1], [2], [1]) && refuses([0, 1, 3, 3], [2, 0, 1], [1, 2, 3]))
        #expect(refuses([1, 1, 3], [2, 0, 1], [1, 2, 3]) && refuses([0, 2, 1], [2, 0, 1], [1, 2, 3]))
        #expect(refuses([0, 1, 4], [2, 0, 1], [1, 2, 3]) && refuses([0, 1, 2], [2, 0, 1], [1, 2, 3]))
        #expect(refuses([0, 1, 3], [2, 0, 3], [1, 2, 3]) && refuses([0, 1, 3], [2, -1, 1], [1, 2, 3]))
        #expect(refuses([0, 1, 3], [2, 0, 1], [1, 2]) && refuses([0, 1, 3], [2, 0, 1], [1, 2, 3, 4]))
        #expect(refuses([0, 1, 3], [2, 1, 1], [1, 2, 3]))
    }
}

extension SparseMatrix {
    /// Row by row, what is absent too.
    fileprivate var densifiedValues: [Scalar] {
        var result = [Scalar](repeating: .absent, count: rows * columns)
        forEachEntry { result[$0 * columns + $1] = $2 }
        return result
    }
}
