import ArgumentParser
import LacunaIO
import LacunaRegress

struct FitInspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "A first look at a table: what each column is taken for.",
        discussion: """
            Examples:
              lacuna fit inspect houses.csv
              lacuna fit inspect export.csv --decimal comma --na 999
            """)

    @Argument(
        help: "A .csv, .tsv (plain or .gz), .svm, .npy, .npz or .mtx file; - is the input, as CSV.",
        completion: .file(extensions: TableFormat.endings))
    var data: InputFile

    @OptionGroup var spelling: SpellingOptions

    @Option(in: 0...1_000_000_000, help: ArgumentHelp("Columns to show at most.", valueName: "n"))
    var top = 100

    @OptionGroup var form: JSONOption

    func run() throws {
        let summary = try TableSummary(contentsOf: data.path, spelling.csv)
        if form.json {
            let heading: JSONValue = [
                "file": .string(data.path), "rows": JSONValue(summary.rows),
                "remarks": .array(summary.remarks.map { .string($0) }),
            ]
            return printJSON(heading, endingWith: "columns", summary.columns.lazy.map(Self.json), on: .output)
        }
        var table = Table([
            .right("#"), .left("column"), .left("taken for"), .right("missing"), .right("different"), .left("from"),
            .left("to"), .left("remark"),
        ])
        for (index, column) in summary.columns.prefix(top).enumerated() {
            table.append([
                "\(index + 1)", column.name, column.kind, "\(column.missing)",
                column.distinct.map { "\($0)" } ?? "", column.range?.from ?? "", column.range?.to ?? "",
                column.remark ?? "",
            ])
        }
        let rest = summary.columns.count - min(top, summary.columns.count)
        let lines =
            ["\(data): \(Quantities.grouped(summary.rows)) rows, \(Quantities.grouped(summary.columns.count)) columns"]
            + summary.remarks + ["", table.text(console: .output)] + (rest > 0 ? ["… and \(rest) more (--top)"] : [])
        Console.output.print(lines.joined(separator: "\n"))
    }

    private static func json(_ column: TableSummary.Column) -> JSONValue {
        [
            "name": .string(column.name), "kind": .string(column.kind), "missing": JSONValue(column.missing),
            "distinct": column.distinct.map { JSONValue($0) } ?? .null,
            "from": column.range.map { .string($0.from) } ?? .null,
            "to": column.range.map { .string($0.to) } ?? .null,
            "remark": column.remark.map { .string($0) } ?? .null,
        ]
    }
}
