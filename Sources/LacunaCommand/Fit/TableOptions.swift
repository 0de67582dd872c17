import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaTensor

/// Names of columns separated by commas; one that holds a comma stands in quotation marks.
struct NameList: ExpressibleByArgument, Sendable, CustomStringConvertible {
    let names: [String]

    init?(argument: String) {
        var names: [String] = []
        var (name, isQuoted, wasQuoted) = ("", false, false)
        for character in argument {
            switch character {
            case "\"":
                isQuoted.toggle()
                wasQuoted = true
            case "," where !isQuoted:
                names.append(name)
                (name, wasQuoted) = ("", false)
            default: name.append(character)
            }
        }
        if isQuoted || (name.isEmpty && !wasQuoted) { return nil }
        self.names = names + [name]
    }

    var description: String { names.joined(separator: ",") }
}

/// One character between fields.
struct Separator: ExpressibleByArgument, Sendable, CustomStringConvertible {
    let byte: UInt8

    init?(argument: String) {
        switch argument {
        case "tab", "\\t": byte = 0x09
        default:
            guard argument.utf8.count == 1, let only = argument.utf8.first, only != UInt8(ascii: "\"") else {
                return nil
            }
            byte = only
        }
    }

    var description: String { String(decoding: [byte], as: UTF8.self) }
}

/// How a CSV file is written, where that is not plain from the file.
struct SpellingOptions: ParsableArguments {
    @Option(
        help: """
            Whether the first line of a CSV file has the names of the columns: yes, no, or auto (yes, and an error if all \
            are numbers, or numbers beside a word that stands in its column again).
            """)
    var header = CSVTable.Header.auto

    @Option(help: ArgumentHelp("What is between fields of a CSV file: a character, or tab.", valueName: "character"))
    var separator: Separator?

    @Option(help: "What is before the fraction of a number: point or comma; as the file suggests if not given.")
    var decimal: NumberSpelling.Decimal?

    @Option(
        name: .customLong("na"),
        help: ArgumentHelp("More words for a missing value, separated by commas.", valueName: "words"))
    var missingWords: NameList?

    var csv: CSVTable.Options {
        .init(
            header: header, separator: separator?.byte, decimal: decimal, missing: Set(missingWords?.names ?? []))
    }
}

/// Which columns of a table are used, and what becomes of gaps in them.
struct ColumnOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Columns to leave out, separated by commas; a name with a comma in quotation marks.", valueName: "columns"))
    var drop: NameList?

    @Option(help: "Missing values: error, mean (fill in), or drop (leave rows out).")
    var missing = TableLayout.Missing.error

    @OptionGroup var spelling: SpellingOptions

    var layout: TableLayout {
        var layout = TableLayout()
        (layout.drop, layout.missing, layout.csv) = (drop?.names ?? [], missing, spelling.csv)
        return layout
    }

    /// Reads a table, and tells what is unusual about its file.
    func read(
        _ file: InputFile, quiet: Bool, _ adjust: (inout TableLayout) -> Void = { _ in }
    ) throws -> LacunaRegress.Table {
        var layout = layout
        adjust(&layout)
        let table = try LacunaRegress.Table(contentsOf: file.path, layout)
        if !quiet {
            for remark in table.remarks.prefix(5) { Console.error.print("\(file.path): \(remark)") }
            if table.remarks.count > 5 {
                Console.error.print("\(file.path): and \(table.remarks.count - 5) more; see 'lacuna fit inspect'")
            }
        }
        return table
    }
}

/// What becomes of columns of text.
struct TextOptions: ParsableArguments {
    @Option(help: "Columns of text: error, one-hot (a feature for each value), or drop.")
    var text = TableLayout.Text.error
}

/// A table, its target, and how its columns become features.
struct TableOptions: ParsableArguments {
    @Argument(
        help: "A .csv, .tsv (plain or .gz), .svm, .npy, .npz or .mtx file; - is the input, as CSV.",
        completion: .file(extensions: TableFormat.endings))
    var data: InputFile

    @Option(
        help: ArgumentHelp(
            """
            The target: a column's name or number, several separated by commas; for .npz an array; for .npy, .npz and .mtx \
            also a file of its own: .npy, .mtx, or one number a line.
            """, valueName: "column"))
    var target: NameList?

    @Option(help: ArgumentHelp("Columns whose numbers are labels: a feature for each.", valueName: "columns"))
    var category: NameList?

    @OptionGroup var words: TextOptions

    @Option(help: "Columns of dates: text, days (since 1970), or parts (days, year, month and weekday).")
    var dates = TableLayout.Dates.text

    @OptionGroup var columns: ColumnOptions

    var layout: TableLayout {
        var layout = columns.layout
        apply(to: &layout)
        return layout
    }

    private func apply(to layout: inout TableLayout) {
        (layout.targets, layout.categories) = (target?.names ?? [], category?.names ?? [])
        (layout.text, layout.dates) = (words.text, dates)
    }

    /// Reads the table, and tells what is unusual about its file.
    ///
    /// - Throws: As `Table`, and ``LacunaError/invalidArgument(_:reason:)`` if there is no target.
    func read(
        quiet: Bool, _ adjust: (inout TableLayout) -> Void = { _ in }
    ) throws -> LacunaRegress.Table {
        let table = try columns.read(data, quiet: quiet) { layout in
            apply(to: &layout)
            adjust(&layout)
        }
        guard !table.responses.isEmpty else { throw missingTarget }
        return table
    }

    /// Says no to a file that cannot have a target of its own before it is read.
    func requireTarget() throws {
        if try target == nil && TableFormat(data.path) != .svmlight { throw missingTarget }
    }

    private var missingTarget: LacunaError { .invalidArgument("--target", reason: "is needed for \(data.path)") }
}

extension CSVTable.Header: ExpressibleByArgument {}
extension NumberSpelling.Decimal: ExpressibleByArgument {}
extension TableLayout.Missing: ExpressibleByArgument {}
extension TableLayout.Text: ExpressibleByArgument {}
extension TableLayout.Dates: ExpressibleByArgument {}
