import LacunaIO
import LacunaTensor

/// How the columns of a table become the inputs of a network: numbers standardised, levels of text as one column of zeros
/// and ones each, standardised too. Kept with a model, it prepares later tables as the first one was.
public struct TableEncoding: Sendable, Hashable {
    /// A column of the first table.
    public struct Column: Sendable, Hashable {
        /// Its heading.
        public let name: String
        /// The different texts of a column of text, in order; nil for a column of numbers.
        public let levels: [String]?
    }

    /// The columns that are inputs, in their order.
    public let columns: [Column]
    /// What each input is shifted and scaled by; levels of text count one by one.
    public let scaler: Standardization
    /// Inputs of a network.
    public var width: Int { scaler.means.count }

    /// What each input is called: its column, or its column and the text that it stands for (`colour=red`).
    public var inputNames: [String] {
        columns.flatMap { column in column.levels.map { $0.map { "\(column.name)=\($0)" } } ?? [column.name] }
    }

    /// Most levels of a column of text: more is an identifier rather than a kind.
    static let mostLevels = 1000

    /// Learns from some rows of a table.
    ///
    /// - Parameters:
    ///   - target: A column that is no input.
    ///   - file: Named in errors.
    /// - Throws: `LacunaError.malformed` for a table without inputs, fields that are missing, and columns of text of more
    ///   than 1000 levels.
    public init(of table: CSVTable, rows: [Int], excluding target: String?, file: String) throws {
        let inputs = table.columns.filter { $0.name != target }
        guard !inputs.isEmpty, !rows.isEmpty else {
            throw LacunaError.malformed(
                file: file, location: "table", reason: "has \(rows.count) rows of \(inputs.count) inputs")
        }
        columns = try inputs.map { column in
            guard case .text(let text) = column.values else { return Column(name: column.name, levels: nil) }
            // Of all rows: a level that is in the rows held back alone is still a level.
            let levels = Set(text).subtracting([""]).sorted()
            guard levels.count <= Self.mostLevels else {
                throw LacunaError.malformed(
                    file: file, location: "column '\(column.name)'",
                    reason: "is text of \(levels.count) different values, more than \(Self.mostLevels)")
            }
            return Column(name: column.name, levels: levels)
        }
        let raw = try Self.encoded(table, rows: rows, columns, file: file)
        scaler = Standardization(of: raw)
    }

    /// Some rows as inputs [rows.count, width]. Columns are found by their names; others are not looked at.
    ///
    /// - Throws: `LacunaError.malformed` for columns that are absent, fields that are missing or of another kind, and
    ///   levels that the first table did not have.
    public func callAsFunction(_ table: CSVTable, rows: [Int], file: String) throws -> Tensor<Float> {
        scaler(try Self.encoded(table, rows: rows, columns, file: file))
    }

    private static func encoded(
        _ table: CSVTable, rows: [Int], _ columns: [Column], file: String
    ) throws -> Tensor<Float> {
        let width = columns.reduce(0) { $0 + ($1.levels?.count ?? 1) }
        try MachineMemory.require(shape: [rows.count, width], of: Float.self, for: "the inputs of \(file)")
        var result = Tensor<Float>(zeros: [rows.count, width])
        var start = 0
        for column in columns {
            guard let found = table[column.name] else {
                throw LacunaError.malformed(
                    file: file, location: "line 1", reason: "has no column '\(column.name)', which the model reads")
            }
            func failure(_ row: Int, _ reason: String) -> LacunaError {
                .malformed(file: file, location: "column '\(column.name)', row \(row + 1)", reason: reason)
            }
            if let levels = column.levels {
                let places = Dictionary(uniqueKeysWithValues: levels.enumerated().map { ($1, $0) })
                for (i, row) in rows.enumerated() {
                    let level = try TableFiles.label(found, row, among: levels, places, failure)
                    result[i, start + level] = 1
                }
            } else {
                guard case .numbers(let numbers) = found.values else {
                    throw failure(rows.first ?? 0, "is text, where the model reads numbers")
                }
                for (i, row) in rows.enumerated() {
                    guard numbers[row].isFinite, Float(numbers[row]).isFinite else {
                        throw failure(row, "is missing or no finite number")
                    }
                    result[i, start] = Float(numbers[row])
                }
            }
            start += column.levels?.count ?? 1
        }
        return result
    }

    /// For a model's files.
    public var json: JSONValue {
        [
            "columns": .array(
                columns.map { column in
                    var object = JSONObject()
                    object["name"] = .string(column.name)
                    if let levels = column.levels { object["levels"] = .array(levels.map { .string($0) }) }
                    return .object(object)
                }), "scaler": scaler.json,
        ]
    }

    /// Takes back what ``json`` gave.
    ///
    /// - Throws: `LacunaError.malformed` for anything else.
    public init(_ fields: JSONFields) throws {
        columns = try fields.array("columns").map { value in
            let column = try JSONFields(value, file: fields.file, location: "columns")
            let levels = try column.optionalArray("levels")?.map { level in
                guard let text = level.stringValue else { throw column.failure("levels", "expected strings") }
                return text
            }
            return Column(name: try column.string("name"), levels: levels)
        }
        scaler = try Standardization(fields.fields("scaler"))
        guard scaler.means.count == columns.reduce(0, { $0 + ($1.levels?.count ?? 1) }) else {
            throw fields.failure("scaler", "is not that of the columns")
        }
    }
}
