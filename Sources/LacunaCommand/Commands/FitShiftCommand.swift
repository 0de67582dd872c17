import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaStructure
import LacunaTensor

struct FitShift: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shift",
        abstract: "Finds classes in rows without labels, from how differently domains mix them.",
        discussion: """
            Rows come from domains (hospitals, years, cameras) in which the same classes are mixed differently, and look the same. Rows \
            whose domains are alike belong together, however far their features are apart. A small network learns which domain \
            a row is from; its answers are clustered, and the corners of the clusters are the classes. There have to be at least as \
            many domains as classes, each class needs rows that are its own alone, and the domains must differ. (Roberts and \
            others, arXiv:2207.13179.)

              lacuna fit shift visits.csv --domain hospital --classes 3 --output classes.csv
            """)

    @Argument(
        help: "A .csv or .tsv file, plain or gzipped; - is the input, as CSV.",
        completion: .file(extensions: ["csv", "tsv", "gz"]))
    var data: InputFile
    @Option(help: ArgumentHelp("The column that says which domain a row is from.", valueName: "column"))
    var domain: String
    @Option(in: 2...1000, help: ArgumentHelp("How many classes to find.", valueName: "n"))
    var classes: Int
    @Option(
        in: 2...100_000, help: ArgumentHelp("Clusters of profiles; four for each class if not given.", valueName: "n"))
    var clusters: Int?
    @Option(help: "How the classes are found: corners (of the clusters) or factors (as the paper does).")
    var recovery = LatentLabelShift.Recovery.corners
    @Option(help: ArgumentHelp("A column with the true classes, for comparison only.", valueName: "column"))
    var truth: String?
    @OptionGroup var words: TextOptions
    @OptionGroup var columns: ColumnOptions
    @Option(in: 1...10_000, help: ArgumentHelp("Passes of the network over the rows.", valueName: "n"))
    var epochs = 40
    @Option(seed: ArgumentHelp("Changes the network's start and the clusters'.", valueName: "n"))
    var seed: UInt64 = 0
    @Option(
        help: ArgumentHelp("Write the class of every row and its probability; - is the output.", valueName: "file.csv"))
    var output: OutputFile?
    @Flag(help: "Replace a file that is there already.")
    var force = false
    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        if let clusters, clusters < classes { throw ValidationError("--clusters must be at least --classes") }
    }

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let progress = options.begin()
        defer { progress.clear() }
        let table = try columns.read(data, quiet: options.quiet) { layout in
            (layout.group, layout.targets, layout.text) = (domain, truth.map { [$0] } ?? [], words.text)
        }
        let found = try ShiftedClasses(
            table, shift: LatentLabelShift(classes: classes, clusters: clusters, recovery: recovery, seed: seed),
            discriminator: DomainDiscriminator(epochs: epochs, seed: seed, progress: progress))
        progress.clear()
        printResult(json: form.json, json(found), text: summary(found), files: [output])
        let lines = ["class,probability"] + zip(found.classes, found.probabilities).map { "\($0 + 1),\($1)" }
        try output?.write(lines.joined(separator: "\n") + "\n")
    }

    private func summary(_ found: ShiftedClasses) -> String {
        var table = Table([.left("domain"), .right("rows")] + (0..<classes).map { .right("class \($0 + 1)") })
        for (d, name) in found.domains.enumerated() {
            table.append(
                [name, Quantities.grouped(found.rows[d])]
                    + (0..<classes).map { Quantities.percent(found.result.mixtures[d, $0]) })
        }
        var lines = [
            "\(data): \(Quantities.grouped(found.classes.count)) rows of \(found.domains.count) domains",
            "the network loses \(Quantities.significant(found.loss, 3)) on rows held out; "
                + "\(Quantities.significant(found.chance, 3)) if rows told nothing of their domains",
            "condition of the mixtures: \(Quantities.significant(found.result.condition, 3))",
        ]
        if let accuracy = found.accuracy { lines.append("accuracy: \(Quantities.percent(accuracy)), classes matched") }
        lines += ["", table.text(console: .output)]
        return (lines + found.remarks.map { "\n" + $0 }).joined(separator: "\n")
    }

    private func json(_ found: ShiftedClasses) -> JSONValue {
        [
            "domains": .array(
                found.domains.enumerated().map { d, name in
                    [
                        "name": .string(name), "rows": JSONValue(found.rows[d]),
                        "mixture": .array((0..<classes).map { .number(found.result.mixtures[d, $0]) }),
                    ]
                }),
            "shares": .array(found.result.shares.map { .number($0) }),
            "condition": .number(found.result.condition), "loss": .number(found.loss), "chance": .number(found.chance),
            "accuracy": found.accuracy.map { .number($0) } ?? .null,
            "classes": .array(found.classes.map { JSONValue($0 + 1) }),
            "remarks": .array(found.remarks.map { .string($0) }),
        ]
    }
}

extension LatentLabelShift.Recovery: ExpressibleByArgument {}
