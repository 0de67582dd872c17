import LacunaTensor
import Testing

@testable import LacunaSparse

/// Matrices large enough for work to be cut into items, whose parts then close up: against loops over dictionaries.
@Suite(.serialized) struct ManyEntriesTests {
    /// The results with one thread and with several, which must be the same.
    private func withOneAndSeveralThreads<Result: Equatable>(_ body: () throws -> Result) rethrows -> Result {
        let before = Parallel.threads
        defer { Parallel.threads = before }
        Parallel.threads = 1
        let one = try body()
        Parallel.threads = 3
        #expect(try body() == one)
        return one
    }

    /// A matrix's arrays, which tell more than its equality does: entries stored as 0 count.
    private struct Arrays<Scalar: SparseElement>: Equatable {
        var starts: [Int]
        var columns: [Int]
        var values: [Scalar]

        init(_ matrix: SparseMatrix<Scalar>) {
            (starts, columns, values) = (matrix.pattern.rowStarts, matrix.pattern.columnIndices, matrix.values)
        }

        init(rows: Int, _ table: [Int: Scalar], columns width: Int) {
            (starts, columns, values) = ([0], [], [])
            var row = 0
            for (place, value) in table.sorted(by: { $0.key < $1.key }) {
                while row < place / width {
                    starts.append(columns.count)
                    row += 1
                }
                columns.append(place % width)
                values.append(value)
            }
            while row < rows {
                starts.append(columns.count)
                row += 1
            }
        }
    }

    /// Few rows, of which each is many blocks of entries; as many rows as entries; far more rows than entries.
    @Test(arguments: [2, 900, 70_000, 1_000_000]) func triplets(rows: Int) throws {
        let (count, width) = (140_000, 1000)
        var generator = SeededGenerator(seed: 5, stream: UInt64(rows))
        let rowIndices = (0..<count).map { _ in Int.random(in: 0..<rows, using: &generator) }
        let columnIndices = (0..<count).map { _ in Int.random(in: 0..<width, using: &generator) }
        let values = (0..<count).map { Double($0) }
        var table: [Int: Double] = [:]
        for i in 0..<count {
            // The order of the two matters.
            table[rowIndices[i] * width + columnIndices[i]] =
                table[rowIndices[i] * width + columnIndices[i]].map { $0 * 0.5 + values[i] } ?? values[i]
        }
        let found = try withOneAndSeveralThreads {
            Arrays(
                try SparseMatrix<Double>(
                    rows: rows, columns: width, rowIndices: rowIndices, columnIndices: columnIndices, values: values,
                    combining: { $0 * 0.5 + $1 }))
        }
        #expect(found == Arrays(rows: rows, table, columns: width))
    }

    @Test func tripletsThatAreRefused() throws {
        let count = 140_000
        var (rows, columns) = (Array(0..<count), [Int](repeating: 3, count: count))
        let values = [Float](repeating: 1, count: count)
        func error() -> LacunaError? {
            do {
                _ = try SparseMatrix(
                    rows: count, columns: 4, rowIndices: rows, columnIndices: columns, values: values, combining: nil)
                return nil
            } catch { return error as? LacunaError }
        }
        #expect(error() == nil)
        rows[130_000] = 17
        #expect(error() == .invalidArgument("entries", reason: "[17, 3] comes twice"))
        // The first place outside is named, whichever thread finds one.
        columns[139_999] = 4
        columns[70_001] = -1
        #expect(
            try withOneAndSeveralThreads { try #require(error()) }
                == .invalidArgument("entries", reason: "[70001, -1] is outside a matrix of \(count) x 4"))
    }

    @Test func sumsAndProducts() throws {
        try check(Float.self) { Float(Int.random(in: -9...9, using: &$0)) }
        try check(Double.self) { Double(Int.random(in: -9...9, using: &$0)) }
        try check(Int32.self) { Int32.random(in: -9...9, using: &$0) }
    }

    private func check<Scalar: SparseElement & Numeric>(
        _: Scalar.Type, _ value: (inout SeededGenerator) -> Scalar
    ) throws {
        let (rows, columns) = (2000, 300)
        var generator = SeededGenerator(seed: 8)
        func random() -> [Int: Scalar] {
            var table: [Int: Scalar] = [:]
            for _ in 0..<60_000 {
                let place = Int.random(in: 0..<rows * columns, using: &generator)
                // Some rows are empty.
                if place / columns % 9 != 4 { table[place] = value(&generator) }
            }
            return table
        }
        let (left, right) = (random(), random())
        func matrix(_ table: [Int: Scalar]) throws -> SparseMatrix<Scalar> {
            try SparseMatrix(
                rows: rows, columns: columns,
                entries: table.map { (row: $0.key / columns, column: $0.key % columns, value: $0.value) },
                combining: nil)
        }
        let (a, b) = (try matrix(left), try matrix(right))
        func same(_ expected: [Int: Scalar], _ body: () -> SparseMatrix<Scalar>) {
            #expect(withOneAndSeveralThreads { Arrays(body()) } == Arrays(rows: rows, expected, columns: columns))
        }
        same(left.merging(right, uniquingKeysWith: +)) { a + b }
        same(left.merging(right.mapValues { 0 - $0 }, uniquingKeysWith: +)) { a - b }
        same(left.filter { right[$0.key] != nil }.reduce(into: [:]) { $0[$1.key] = $1.value * right[$1.key]! }) {
            a.hadamard(b)
        }
        // Of one pattern, and with what has no entries.
        same(left.mapValues { $0 + $0 }) { a + a }
        same(left.mapValues { _ in 0 }) { a - a }
        same(left.mapValues { $0 * $0 }) { a.hadamard(a) }
        let empty = SparseMatrix<Scalar>(zeros: rows, columns)
        same(left) { a + empty }
        same(right.mapValues { 0 - $0 }) { empty - b }
        same([:]) { empty.hadamard(b) }
    }

    /// What one of the two has as infinity or NaN stays where the other has nothing, and harms no other entry.
    @Test func sumsOfWhatIsNotFinite() throws {
        func row(_ entries: [(row: Int, column: Int, value: Float)]) throws -> SparseMatrix<Float> {
            try SparseMatrix(rows: 1, columns: 5, entries: entries)
        }
        let a = try row([(0, 0, .infinity), (0, 2, .nan), (0, 3, 1)])
        let b = try row([(0, 1, 2), (0, 3, .infinity), (0, 4, 4)])
        let sum = (a + b).values
        #expect(sum[0] == .infinity && sum[1] == 2 && sum[2].isNaN && sum[3] == .infinity && sum[4] == 4)
        let difference = (b - a).values
        #expect(difference[0] == -.infinity && difference[1] == 2 && difference[2].isNaN && difference[4] == 4)
    }
}
