import LacunaIO
import LacunaTensor

/// Tables as examples for networks.
public enum TableFiles {
    /// What a network is to say about a row.
    public enum Task: String, Sendable, CaseIterable {
        /// Which of some classes it is.
        case classification
        /// How large a number is.
        case regression
    }

    /// A table split into examples to train with and to test with.
    public struct Examples: Sendable {
        /// The examples, by what there is to predict.
        public enum Parts: Sendable {
            /// A class each.
            case classes(train: LabelledExamples, test: LabelledExamples)
            /// Targets are standardised.
            case numbers(train: TargetExamples, test: TargetExamples)
        }

        /// To train with and to test with.
        public let parts: Parts
        /// What the columns went through.
        public let inputs: TableEncoding
        /// What a network's outputs mean.
        public let outputs: NetworkOutputs
    }

    /// Reads a CSV file, splits its rows at random, and standardises by the training part's statistics.
    ///
    /// - Parameters:
    ///   - target: The column to predict; nil for the last one.
    ///   - task: Nil stands for classification, and is not enough for a target of many fractions.
    /// - Throws: `LacunaError.malformed` as ``TableEncoding``, for a target that is not there, is missing in a row, or is
    ///   text where numbers are asked for, for more than 10,000 classes, and without a task for more than 20 numbers of which some
    ///   are not whole.
    public static func examples(
        _ path: String, target: String? = nil, task: Task? = nil, testFraction: Double = 0.2, seed: UInt64 = 0
    ) throws -> Examples {
        let table = try self.table(path, with: target)
        guard table.columns.count >= 2, let column = target.map({ table[$0] }) ?? table.columns.last else {
            throw LacunaError.malformed(
                file: path, location: "table", reason: "\(table.rows) rows of \(table.columns.count) columns")
        }
        func failure(_ row: Int, _ reason: String) -> LacunaError {
            .malformed(file: path, location: "column '\(column.name)', row \(row + 1)", reason: reason)
        }
        if let row = column.missing.first { throw failure(row, "the target is missing") }
        let (train, test) = split(table, testFraction, seed: seed)
        let inputs = try TableEncoding(of: table, rows: train, excluding: column.name, file: path)
        func rows(_ part: [Int]) throws -> Tensor<Float> { try inputs(table, rows: part, file: path) }
        switch task ?? .classification {
        case .regression:
            guard case .numbers(let numbers) = column.values, numbers.allSatisfy({ Float($0).isFinite }) else {
                throw failure(0, "is not all finite numbers, which regression predicts")
            }
            let scaler = Standardization(of: Tensor(train.map { Float(numbers[$0]) }, shape: [train.count, 1]))
            func part(_ indices: [Int]) throws -> TargetExamples {
                let targets = scaler(Tensor(indices.map { Float(numbers[$0]) }, shape: [indices.count, 1]))
                return try TargetExamples(inputs: rows(indices), targets: targets.scalars)
            }
            return Examples(
                parts: .numbers(train: try part(train), test: try part(test)), inputs: inputs,
                outputs: .number(name: column.name, scaler))
        case .classification:
            let names = classNames(column)
            guard names.count <= mostClasses else {
                throw failure(
                    0, "has \(names.count) different values, more than \(mostClasses): is it for regression?")
            }
            if task == nil, names.count > 20, case .numbers(let numbers) = column.values,
                numbers.contains(where: { $0 != $0.rounded() })
            {
                throw LacunaError.malformed(
                    file: path, location: "column '\(column.name)'",
                    reason:
                        "has \(names.count) different numbers, not all whole: say task = \"regression\" to predict a number, or "
                        + "\"classification\" for a class each")
            }
            let places = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
            func part(_ indices: [Int]) throws -> LabelledExamples {
                let labels = try indices.map { Int32(try label(column, $0, among: names, places, failure)) }
                return try LabelledExamples(inputs: rows(indices), labels: labels, classes: names.count)
            }
            return Examples(
                parts: .classes(train: try part(train), test: try part(test)), inputs: inputs,
                outputs: .classes(names))
        }
    }

    /// A table of two rows at least that has a column, if one is named.
    private static func table(_ path: String, with column: String?) throws -> CSVTable {
        let table = try CSVTable(contentsOf: path)
        guard table.rows >= 2 else {
            throw LacunaError.malformed(
                file: path, location: "table", reason: "\(table.rows) rows of \(table.columns.count) columns")
        }
        if let column, table[column] == nil {
            throw LacunaError.malformed(
                file: path, location: "line 1",
                reason: "has no column '\(column)'" + Suggestion.phrase(column, among: table.columns.map(\.name)))
        }
        return table
    }

    /// Rows drawn at random to test with, one at least, and the others.
    private static func split(_ table: CSVTable, _ testFraction: Double, seed: UInt64) -> (train: [Int], test: [Int]) {
        var generator = SeededGenerator(seed: seed, stream: 0x7AB1)
        let order = Array(0..<table.rows).shuffled(using: &generator)
        let testCount = max(1, min(table.rows - 1, Int(testFraction * Double(table.rows))))
        return (Array(order[testCount...]), Array(order[..<testCount]))
    }

    /// Reads a CSV file in which there is nothing to predict, splits its rows at random, and standardises by the training part's
    /// statistics.
    ///
    /// - Parameter left: A column that is left out; nil for none.
    /// - Returns: Inputs [rows, width] to train and to test with, and what the columns went through.
    /// - Throws: `LacunaError.malformed` as ``TableEncoding``, and for a column that is not there.
    public static func features(
        _ path: String, leavingOut left: String? = nil, testFraction: Double = 0.2, seed: UInt64 = 0
    ) throws -> (train: Tensor<Float>, test: Tensor<Float>, inputs: TableEncoding) {
        let table = try self.table(path, with: left)
        let (train, test) = split(table, testFraction, seed: seed)
        let inputs = try TableEncoding(of: table, rows: train, excluding: left, file: path)
        return (try inputs(table, rows: train, file: path), try inputs(table, rows: test, file: path), inputs)
    }

    private static let mostClasses = 10_000

    /// The different values of a column, numbers in ascending order.
    private static func classNames(_ column: CSVTable.Column) -> [String] {
        switch column.values {
        case .text(let text): Set(text).sorted()
        case .numbers(let numbers): Set(numbers).sorted().map(name)
        }
    }

    /// A number as the name of a class.
    private static func name(_ value: Double) -> String { Int(exactly: value).map { "\($0)" } ?? "\(value)" }

    /// Which of `levels` a field is. A column whose levels all look like numbers is read as numbers, in which spelling is
    /// lost: then the level of the same value counts.
    static func label(
        _ column: CSVTable.Column, _ row: Int, among levels: [String], _ places: [String: Int],
        _ failure: (Int, String) -> LacunaError
    ) throws -> Int {
        let text: String
        switch column.values {
        case .text(let values): text = values[row]
        case .numbers(let values):
            if values[row].isNaN { throw failure(row, "is missing") }
            let equal = levels.indices.filter { Double(levels[$0]) == values[row] }
            if equal.count == 1 { return equal[0] }
            text = name(values[row])
        }
        if text.isEmpty { throw failure(row, "is missing") }
        guard let place = places[text] else {
            throw failure(row, "'\(text)' is none of the \(levels.count) values that the model knows")
        }
        return place
    }

    /// A CSV file of numbers with the class in its last column: ``examples(_:target:task:testFraction:seed:)`` for
    /// classification, with the scaler of the inputs for later rows.
    ///
    /// - Throws: `LacunaError.malformed` as there, and for inputs that are not numbers.
    public static func classification(
        _ path: String, testFraction: Double = 0.2, seed: UInt64 = 0
    ) throws -> (train: LabelledExamples, test: LabelledExamples, scaler: Standardization) {
        let found = try examples(path, task: .classification, testFraction: testFraction, seed: seed)
        if let text = found.inputs.columns.first(where: { $0.levels != nil }) {
            throw LacunaError.malformed(file: path, location: "column '\(text.name)'", reason: "is not all numbers")
        }
        switch found.parts {
        case .classes(let train, let test): return (train, test, found.inputs.scaler)
        case .numbers: throw LacunaError.unsupported(file: path, what: "classes of a table for regression")
        }
    }
}
