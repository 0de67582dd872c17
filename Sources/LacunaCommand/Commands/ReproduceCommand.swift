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

            The exit code is 1 if a verdict is not 'reproduced'. Verdicts hold for any seed.
            """)

    @Argument(help: ArgumentHelp("Short names or paper numbers.", valueName: "name"))
    var names: [String] = []

    @Flag(help: "Run all of them.")
    var all = false

    @Flag(help: "List what there is.")
    var list = false

    @Option(help: ArgumentHelp("Changes every random choice.", valueName: "n"))
    var seed: UInt64 = 0

    @Flag(help: "A version of about a minute or less, where one is meaningful.")
    var quick = false

    @Flag(help: "The setting, every measurement and every check, too.")
    var details = false

    @OptionGroup var output: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        switch (names.isEmpty, all, list) {
        case (false, false, false), (true, true, false), (true, false, true): break
        default: throw ValidationError("give names, or --all, or --list")
        }
    }

    func run() throws {
        if list { return printList() }
        let chosen = try all ? Reproductions.all : names.map(Reproductions.find)
        let progress = options.begin()
        defer { progress.clear() }
        var results: [JSONValue] = []
        var failures = 0
        for reproduction in chosen {
            let report = try ReproductionReport(
                reproduction, ReproductionContext(seed: seed, quick: quick, progress: progress))
            progress.clear()
            if !report.isReproduced { failures += 1 }
            if output.json {
                results.append(report.json)
            } else {
                Console.output.print(report.line(.output) + (details ? "\n" + report.details : ""))
            }
        }
        if output.json { Console.output.print(JSONValue.array(results).serialized(.pretty)) }
        if failures > 0 { throw ExitStatus.failure }
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

/// One reproduction, run, in the forms in which it is shown.
struct ReproductionReport {
    let reproduction: any Reproduction
    /// The outcome, or why there is none.
    let result: Result<Outcome, any Error>
    let seconds: Double

    /// Runs it. A reproduction that breaks down has failed, but does not stop others; a cancelled one does.
    init(_ reproduction: any Reproduction, _ context: ReproductionContext) throws {
        self.reproduction = reproduction
        let begin = monotonicSeconds()
        do {
            result = .success(try reproduction.run(context))
        } catch LacunaError.cancelled {
            throw LacunaError.cancelled
        } catch {
            result = .failure(error)
        }
        seconds = monotonicSeconds() - begin
    }

    var isReproduced: Bool {
        if case .success(let outcome) = result { outcome.verdict == .reproduced } else { false }
    }

    private var verdict: String {
        switch result {
        case .success(let outcome): outcome.verdict.description
        case .failure(let error): "failed: \(error)"
        }
    }

    private var measurements: [Measurement] { (try? result.get())?.measurements ?? [] }

    /// How many measurements fit into a line that is to be read.
    private static let shownMeasurements = 3

    /// Verdict, claim and the first measurements in one line.
    func line(_ console: Console) -> String {
        var measured = measurements.prefix(Self.shownMeasurements).map(Self.describe)
        let rest = measurements.count - measured.count
        if rest > 0 { measured.append("\(rest) more with --details") }
        return "[\(reproduction.paper)] \(reproduction.shortName): "
            + console.styled(verdict, isReproduced ? .green : .red)
            + " in \(Quantities.duration(seconds)). Claim: \(reproduction.claim) "
            + "Measured: \(measured.joined(separator: "; "))."
    }

    private static func describe(_ measurement: Measurement) -> String {
        var text = "\(measurement.quantity) \(Quantities.significant(measurement.measured))"
        if let baseline = measurement.baseline {
            let name = measurement.baselineName.isEmpty ? "baseline" : measurement.baselineName
            text += " (\(name) \(Quantities.significant(baseline)))"
        }
        return text
    }

    /// Setting, checks and notes, indented below the line.
    var details: String {
        guard case .success(let outcome) = result else { return "" }
        var lines = ["setting: \(outcome.setting)"]
        lines += outcome.measurements.map { "· " + Self.describe($0) }
        for check in outcome.checks {
            lines.append(
                "\(check.holds ? "✓" : "✗") \(check.statement): \(Quantities.significant(check.left)) "
                    + "\(check.relation.rawValue) \(Quantities.significant(check.right))")
        }
        lines += outcome.notes.map { "note: \($0)" }
        return lines.map { "    " + $0 }.joined(separator: "\n")
    }

    var json: JSONValue {
        let outcome = try? result.get()
        return [
            "paper": JSONValue(reproduction.paper), "name": .string(reproduction.shortName),
            "title": .string(reproduction.title), "arXiv": reproduction.arXiv.map { .string($0) } ?? .null,
            "claim": .string(reproduction.claim), "setting": .string(outcome?.setting ?? ""),
            "measurements": .array(
                measurements.map {
                    [
                        "quantity": .string($0.quantity), "measured": .number($0.measured),
                        "baseline": $0.baseline.map { .number($0) } ?? .null,
                        "baselineName": .string($0.baselineName),
                    ]
                }),
            "checks": .array(
                (outcome?.checks ?? []).map {
                    [
                        "statement": .string($0.statement), "left": .number($0.left),
                        "relation": .string($0.relation.rawValue), "right": .number($0.right),
                        "holds": .bool($0.holds),
                    ]
                }),
            "notes": .array((outcome?.notes ?? []).map { .string($0) }), "verdict": .string(verdict),
            "reproduced": .bool(isReproduced), "seconds": .number(seconds),
        ]
    }
}
