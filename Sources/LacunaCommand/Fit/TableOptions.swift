import ArgumentParser
import LacunaRegress
import LacunaTensor

/// A table, its target, and how its columns become features.
struct TableOptions: ParsableArguments {
    @Argument(help: "A .csv, .tsv, .svm, .npy, .npz or .mtx file.")
    var data: String

    @Option(
        help: ArgumentHelp(
            "The target: a column's name or number, an array (.npz), a file (.npy, .mtx).", valueName: "column"))
    var target: String?

    @Option(help: ArgumentHelp("Columns to leave out, separated by commas.", valueName: "columns"))
    var drop: String?

    @Option(help: "Missing values: error, mean (fill in), or drop (leave rows out).")
    var missing = FitData.Missing.error

    @Option(help: "Columns of text: error, one-hot (a feature for each value), or drop.")
    var text = FitData.Text.error

    /// - Throws: As `FitData.read`, and ``LacunaError/invalidArgument(_:reason:)`` if there is no target.
    func read(weights: String? = nil, group: String? = nil) throws -> (table: FitData, target: [Double]) {
        let table = try FitData.read(
            data, target: target, weights: weights, group: group,
            drop: drop?.split(separator: ",").map(String.init) ?? [],
            missing: missing, text: text)
        guard let values = table.target else { throw missingTarget }
        return (table, values)
    }

    /// Says no to a file that cannot have a target of its own before it is read.
    func requireTarget() throws {
        if target == nil && !data.hasSuffix(".svm") && !data.hasSuffix(".libsvm") { throw missingTarget }
    }

    private var missingTarget: LacunaError { .invalidArgument("--target", reason: "is needed for \(data)") }

    func requireFinite(_ design: any Design) throws {
        if let place = design.firstNonFinite() {
            throw LacunaError.malformed(
                file: data, location: "row \(place.row + 1), feature \(place.column + 1)",
                reason: "is not a finite number")
        }
    }
}
