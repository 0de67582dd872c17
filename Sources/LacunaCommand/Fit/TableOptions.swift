import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaTensor

/// A table, its target, and how its columns become features.
struct TableOptions: ParsableArguments {
    @Argument(
        help: "A .csv, .tsv, .svm, .npy, .npz or .mtx file; - is the input, as CSV.",
        completion: .file(extensions: TableFormat.endings))
    var data: InputFile

    @Option(
        help: ArgumentHelp(
            """
            The target: a column's name or number; for .npz an array; for .npy and .mtx another file (.npy, .mtx, or one \
            number a line).
            """, valueName: "column"))
    var target: String?

    @Option(help: ArgumentHelp("Columns to leave out, separated by commas.", valueName: "columns"))
    var drop: String?

    @Option(help: "Missing values: error, mean (fill in), or drop (leave rows out).")
    var missing = FitData.Missing.error

    @Option(help: "Columns of text: error, one-hot (a feature for each value), or drop.")
    var text = FitData.Text.error

    @Option(
        help: """
            Whether the first line of a CSV file has the names of the columns: yes, no, or auto (yes, and an error if all \
            are numbers).
            """)
    var header = CSVTable.Header.auto

    /// - Throws: As `FitData.read`, and ``LacunaError/invalidArgument(_:reason:)`` if there is no target.
    func read(weights: String? = nil, group: String? = nil) throws -> (table: FitData, target: [Double]) {
        let table = try FitData.read(
            data.path, target: target, weights: weights, group: group,
            drop: drop?.split(separator: ",").map(String.init) ?? [],
            missing: missing, text: text, header: header)
        guard let values = table.target else { throw missingTarget }
        if let row = values.firstIndex(where: { !(abs($0) <= Self.largest) }) {
            throw LacunaError.malformed(
                file: data.path, location: "target, row \(table.rowNumbers?[row] ?? row + 1)",
                reason: values[row].isFinite
                    ? "\(values[row]) is too large to be squared" : "\(values[row]) is not a finite number")
        }
        return (table, values)
    }

    /// Says no to a file that cannot have a target of its own before it is read.
    func requireTarget() throws {
        if try target == nil && TableFormat(data.path) != .svmlight { throw missingTarget }
    }

    private var missingTarget: LacunaError { .invalidArgument("--target", reason: "is needed for \(data.path)") }

    func requireFinite(_ design: any Design) throws {
        if let place = design.firstNonFinite() {
            throw LacunaError.malformed(
                file: data.path, location: "row \(place.row + 1), feature \(place.column + 1)",
                reason: "is not a finite number")
        }
        var norms = [Double](repeating: 0, count: design.columns)
        design.squaredNorms(weights: [Double](repeating: 1, count: design.rows), into: &norms)
        if let column = norms.firstIndex(where: { !$0.isFinite }) {
            throw LacunaError.malformed(
                file: data.path, location: "feature \(column + 1)", reason: "has numbers too large to be squared")
        }
    }

    /// Sums of squares of numbers up to here are finite for any number of rows that fits into memory.
    private static let largest = 1e145
}

extension CSVTable.Header: ExpressibleByArgument {}
