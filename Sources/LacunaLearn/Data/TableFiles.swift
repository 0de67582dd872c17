import LacunaIO
import LacunaTensor

/// Tables of numbers as examples for networks.
public enum TableFiles {
    /// A CSV file of numbers with the class in its last column, split into training and test examples at random; inputs
    /// are standardised by the training part's statistics, which the scaler holds for later rows.
    ///
    /// - Throws: `LacunaError.malformed` for columns that are not numbers or lack some, and for classes that are not
    ///   whole numbers from 0 on.
    public static func classification(
        _ path: String, testFraction: Double = 0.2, seed: UInt64 = 0
    ) throws -> (train: LabelledExamples, test: LabelledExamples, scaler: Standardization) {
        let table = try CSVTable(contentsOf: path)
        let (rows, width) = (table.rows, table.columns.count - 1)
        guard rows >= 2, width >= 1 else {
            throw LacunaError.malformed(
                file: path, location: "table", reason: "\(rows) rows of \(table.columns.count) columns")
        }
        let columns = try table.columns.map { column -> [Double] in
            guard case .numbers(let numbers) = column.values, column.missing.isEmpty, numbers.allSatisfy(\.isFinite)
            else {
                throw LacunaError.malformed(
                    file: path, location: "column '\(column.name)'", reason: "is not all numbers")
            }
            return numbers
        }
        let labels = try columns[width].enumerated().map { row, value in
            guard let label = Int32(exactly: value), label >= 0, label < 1 << 20 else {
                throw LacunaError.malformed(
                    file: path, location: "row \(row + 1)",
                    reason: "the class \(value) is no whole number from 0 on")
            }
            return label
        }
        var generator = SeededGenerator(seed: seed, stream: 0x7AB1)
        let order = Array(0..<rows).shuffled(using: &generator)
        let testCount = max(1, min(rows - 1, Int(testFraction * Double(rows))))
        let (test, train) = (order[..<testCount], order[testCount...])
        func inputs(_ indices: ArraySlice<Int>) -> Tensor<Float> {
            Tensor(indices.flatMap { row in columns[..<width].map { Float($0[row]) } }, shape: [indices.count, width])
        }
        let scaler = Standardization(of: inputs(train))
        func examples(_ indices: ArraySlice<Int>) throws -> LabelledExamples {
            try LabelledExamples(
                inputs: scaler(inputs(indices)), labels: indices.map { labels[$0] }, classes: Int(labels.max()!) + 1)
        }
        return (try examples(train), try examples(test), scaler)
    }
}
