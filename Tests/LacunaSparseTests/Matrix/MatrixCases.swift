import LacunaSparse
import LacunaTensor

/// A matrix as a dictionary of its entries: the oracle of the tests of sparse algebra, written without any of it.
struct EntryTable: Equatable, Sendable, CustomStringConvertible {
    struct Place: Hashable, Sendable {
        var row: Int
        var column: Int
    }

    var rows: Int
    var columns: Int
    var entries: [Place: Double] = [:]

    var description: String { "\(rows) x \(columns), \(entries.count) entries" }

    subscript(row: Int, column: Int) -> Double { entries[Place(row: row, column: column)] ?? 0 }

    /// Random entries at about `density`, small whole numbers, so that sums are exact; some rows and columns are empty.
    init(_ rows: Int, _ columns: Int, density: Double, seed: UInt64) {
        (self.rows, self.columns) = (rows, columns)
        var generator = SeededGenerator(seed: seed, stream: UInt64(rows * 1009 + columns))
        for r in 0..<rows where r % 5 != 3 {
            for c in 0..<columns where c % 7 != 2 && generator.uniform() < density {
                entries[Place(row: r, column: c)] = Double(Int.random(in: -4...4, using: &generator))
            }
        }
    }

    init(rows: Int, columns: Int, _ value: (Int, Int) -> Double?) {
        (self.rows, self.columns) = (rows, columns)
        for r in 0..<rows {
            for c in 0..<columns { if let value = value(r, c) { entries[Place(row: r, column: c)] = value } }
        }
    }

    init<Scalar: BinaryFloatingPoint>(_ matrix: SparseMatrix<Scalar>) {
        (rows, columns) = (matrix.rows, matrix.columns)
        for (row, column, value) in matrix { entries[Place(row: row, column: column)] = Double(value) }
    }

    /// The entries in an order of no meaning.
    var shuffled: [(row: Int, column: Int, value: Double)] {
        var generator = SeededGenerator(seed: UInt64(entries.count))
        return entries.map { ($0.key.row, $0.key.column, $0.value) }
            .sorted { ($0.0, $0.1) < ($1.0, $1.1) }.shuffled(using: &generator)
    }

    func matrix<Scalar: SparseElement & BinaryFloatingPoint>(of: Scalar.Type = Double.self) -> SparseMatrix<Scalar> {
        try! SparseMatrix(
            rows: rows, columns: columns, entries: shuffled.map { ($0.row, $0.column, Scalar($0.value)) })
    }

    var dense: Tensor<Double> {
        Tensor((0..<rows * columns).map { self[$0 / columns, $0 % columns] }, shape: [rows, columns])
    }

    /// Shapes that algorithms stumble over: empty ones, single rows, columns and entries, ragged words.
    static let cases: [EntryTable] = [
        EntryTable(0, 0, density: 1, seed: 1), EntryTable(0, 5, density: 1, seed: 1),
        EntryTable(4, 0, density: 1, seed: 1),
        EntryTable(1, 1, density: 1, seed: 2), EntryTable(1, 70, density: 0.5, seed: 3),
        EntryTable(70, 1, density: 0.5, seed: 4), EntryTable(9, 13, density: 0, seed: 5),
        EntryTable(13, 9, density: 0.3, seed: 6), EntryTable(40, 65, density: 0.1, seed: 7),
        EntryTable(64, 64, density: 0.9, seed: 8), EntryTable(33, 130, density: 0.02, seed: 9),
        EntryTable(12, 400, density: 0.6, seed: 10),
    ]
}
