import ArgumentParser
import LacunaIO
import LacunaReproduce
import LacunaTensor

struct ReproduceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reproduce",
        abstract: "Checks papers' claims at desk scale: claim, measured, verdict.",
        discussion: """
            Examples:
              lacuna reproduce --list
              lacuna reproduce dsnot                  by name
              lacuna reproduce 64 --details           by paper number, in detail
              lacuna reproduce --all --quick --json
              lacuna reproduce --all --markdown reproductions.md
              lacuna reproduce --all --results kept   # goes on where it stopped
              lacuna reproduce --all --results kept --kept --markdown reproductions.md

            The exit code is 1 if a verdict is not 'reproduced'. Verdicts are meant to hold for any --seed.
            """)

    @Argument(
        help: ArgumentHelp("Short names or paper numbers.", valueName: "name"),
        completion: NameCompletion.reproductions)
    var names: [String] = []

    @Flag(help: "Run all of them.")
    var all = false

    @Flag(help: "List what there is.")
    var list = false

    @Option(seed: ArgumentHelp("Changes every random choice.", valueName: "n"))
    var seed: UInt64 = 0

    @Flag(help: "A version of about a minute or less, where one is meaningful.")
    var quick = false

    @Flag(help: "The setting, every measurement and every check, too.")
    var details = false

    @Option(
        help: ArgumentHelp(
            """
            Keep every result in this directory as it comes, and take those that are there already instead of running \
            again: of the same seed, form and version.
            """, valueName: "directory"), completion: .directory)
    var results: String?

    @Flag(help: "Run nothing: what --results has, and the names of what it lacks.")
    var kept = false

    @Option(
        help: ArgumentHelp(
            "Write a page with every setting, measurement and check; - is the output.", valueName: "file.md"))
    var markdown: OutputFile?

    @Flag(help: "Replace the page if it is there already.")
    var force = false

    @OptionGroup var output: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        switch (names.isEmpty, all, list) {
        case (false, false, false), (true, true, false), (true, false, true): break
        default: throw ValidationError("give names, or --all, or --list")
        }
        if kept, results == nil { throw ValidationError("--kept needs --results, where results are kept") }
    }

    func run() throws {
        if list { return printList() }
        try OutputFile.check([markdown], overwriting: force)
        if kept, let results, !FileSystem.isDirectory(results) {
            throw LacunaError.file(path: results, reason: "there is no such directory of results")
        }
        let store = try results.map { try KeptResults($0, version: LacunaCommand.configuration.version) }
        let chosen = try all ? Reproductions.all : names.map(Reproductions.find)
        let console = markdown?.isStandardOutput ?? false ? Console.error : Console.output
        let progress = options.begin()
        defer { progress.clear() }
        let context = ReproductionContext(seed: seed, quick: quick, progress: progress)
        var (reports, lacking): ([ReproductionReport], [any Reproduction]) = ([], [])
        for reproduction in chosen {
            let report: ReproductionReport
            if kept, let store {
                guard let known = try ReproductionReport(kept: store, reproduction, context) else {
                    lacking.append(reproduction)
                    continue
                }
                report = known
            } else {
                report = try ReproductionReport(reproduction, context, kept: store)
            }
            progress.clear()
            reports.append(report)
            if !output.json { console.print(report.line(.output) + (details ? "\n" + report.details : "")) }
        }
        if output.json { console.print(JSONValue.array(reports.map(\.json)).serialized(.pretty)) }
        if !lacking.isEmpty {
            let names = lacking.map { "[\($0.paper)] \($0.shortName)" }.joined(separator: ", ")
            Console.error.print("lacuna: no results of \(names)")
        }
        try markdown?.write(
            ReproductionPage(reports: reports, lacking: lacking, results: results, quick: quick, seed: seed).markdown)
        if !lacking.isEmpty || !reports.allSatisfy(\.isReproduced) { throw ExitStatus.failure }
    }

    private func printList() {
        let table = Table(
            [.right("paper"), .left("name"), .left("title"), .left("arXiv")],
            rows: Reproductions.all.map { [String($0.paper), $0.shortName, $0.title, $0.arXiv ?? ""] })
        let json = Reproductions.all.map { reproduction -> JSONValue in
            [
                "paper": JSONValue(reproduction.paper), "name": .string(reproduction.shortName),
                "title": .string(reproduction.title), "arXiv": reproduction.arXiv.map { .string($0) } ?? .null,
                "claim": .string(reproduction.claim),
            ]
        }
        printResult(json: output.json, .array(json), text: table.text(console: .output))
    }
}
