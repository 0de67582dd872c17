import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaTensor

struct FitScreen: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "screen", abstract: "Ranks columns by what they tell about the target, linear or not.",
        discussion: """
            Examples:
              lacuna fit screen expression.csv --target y --top 20
              lacuna fit screen patients.csv --target ill --text one-hot --clump
              lacuna fit screen wide.npz --target y --json | jq -r '.columns[:50][].name'

            Mutual information is measured in nats: 0 for an independent column, whatever the shape of the dependence \
            otherwise. The dependence, from 0 to 1, is the correlation that normal variables of that information would have. \
            p is the chance that the best of all columns would tell as much about an unrelated target, by permuting the \
            target: it already accounts for how many columns there are. (Yang and others, fastHDMI, arXiv:2410.10082.)
            """)

    enum Estimator: String, ExpressibleByArgument, CaseIterable {
        case kernel
        case histogram
    }

    @OptionGroup var source: TableOptions

    @Option(in: 1...1_000_000_000, help: ArgumentHelp("Rows of the table at most.", valueName: "n"))
    var top = 30

    @Option(help: "How information is estimated: kernel (densities on a grid) or histogram (counts).")
    var estimator = Estimator.kernel

    @Option(in: 2...2000, help: ArgumentHelp("Cells a side of the kernel's grid; 100 if not given.", valueName: "n"))
    var cells: Int?

    @Option(in: 0...1_000_000, help: ArgumentHelp("Permutations of the target for p; 0 for none.", valueName: "n"))
    var permutations = 19

    @Flag(help: "Leave out columns that tell more about a better one than about the target.")
    var clump = false

    @Option(seed: ArgumentHelp("Changes the permutations.", valueName: "n"))
    var seed: UInt64 = 0

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        if cells != nil && estimator != .kernel { throw ValidationError("--cells is for --estimator kernel") }
    }

    func run() throws {
        try source.requireTarget()
        let progress = options.begin()
        defer { progress.clear() }
        let table = try source.read(quiet: options.quiet)
        let values = try table.labelsOrNumbers()
        guard values.count >= 2 else {
            throw LacunaError.malformed(
                file: source.data.path, location: "rows", reason: "there is \(values.count); 2 are needed")
        }
        try table.requireFinite()
        let found: [Row]
        switch estimator {
        case .kernel: found = try rank(KernelDensityInformation(cells: cells ?? 100), table, values, progress)
        case .histogram: found = try rank(HistogramInformation(), table, values, progress)
        }
        progress.clear()
        printResult(
            json: form.json, json(found, table, values.count), text: summary(found, table, values.count))
    }

    /// What the table has of one column.
    private struct Row {
        let name: String
        let column: Int
        let information, dependence, correlation: Double
        let pValue: Double?
    }

    private func rank<E: MutualInformationEstimator>(
        _ estimator: E, _ table: LacunaRegress.Table, _ target: [Double], _ progress: any ProgressReporter
    ) throws -> [Row] {
        let screen = InformationScreen(
            estimator: estimator, permutations: permutations, seed: seed, progress: progress)
        var ranked = try screen.rank(table.design, target: target)
        if clump { ranked = try screen.clumped(ranked, table.design) }
        return ranked.map {
            Row(
                name: table.features[$0.column].name, column: $0.column + 1, information: $0.information,
                dependence: $0.dependence, correlation: $0.correlation, pValue: $0.pValue)
        }
    }

    private func summary(_ rows: [Row], _ table: LacunaRegress.Table, _ count: Int) -> String {
        var columns: [Table.Column] = [
            .right("rank"), .left("column"), .right("information"), .right("dependence"), .right("correlation"),
        ]
        if permutations > 0 { columns.append(.right("p")) }
        var result = Table(columns)
        for (index, row) in rows.prefix(top).enumerated() {
            var cells = [
                "\(index + 1)", row.name, Quantities.significant(row.information, 4),
                Quantities.significant(row.dependence, 3), Quantities.significant(row.correlation, 3),
            ]
            if let p = row.pValue { cells.append(Quantities.significant(p, 3)) }
            result.append(cells)
        }
        let left = clump ? "; \(Quantities.grouped(rows.count)) are left of those that repeat a better one" : ""
        let significant = rows.count { ($0.pValue ?? 1) <= 0.05 }
        let verdict = permutations >= 19 ? "; \(Quantities.grouped(significant)) stand out (p ≤ 0.05)" : ""
        return
            "\(source.data): \(Quantities.grouped(count)) rows, \(Quantities.grouped(table.features.count)) columns\(left)"
            + "\(verdict)\n\n" + result.text(console: .output)
    }

    private func json(_ rows: [Row], _ table: LacunaRegress.Table, _ count: Int) -> JSONValue {
        [
            "rows": JSONValue(count), "screened": JSONValue(table.features.count),
            "estimator": .string(estimator.rawValue), "permutations": JSONValue(permutations),
            "columns": .array(
                rows.prefix(top).enumerated().map { index, row in
                    [
                        "rank": JSONValue(index + 1), "name": .string(row.name), "column": JSONValue(row.column),
                        "information": .number(row.information), "dependence": .number(row.dependence),
                        "correlation": .number(row.correlation), "p": row.pValue.map { .number($0) } ?? .null,
                    ]
                }),
        ]
    }
}
