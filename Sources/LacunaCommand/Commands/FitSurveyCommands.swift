import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaTensor

struct FitPrivateSurvey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "private-survey",
        abstract: "Writes a survey that users answer with messages in which their rows are hidden (local privacy).",
        discussion: """
            The survey says what every message is made of and what it spends; users read it before they answer. Nobody's row \
            leaves its owner, and nobody need be trusted, but with many columns very many users are needed. No user may answer twice.

              lacuna fit private-survey --features age,steps,screen --target sleep --private 2 \\
                --feature-bound 3 --target-bound 4 --output survey.json          # the collector
              lacuna fit private-message survey.json me.csv --output me.json     # every user, where the row is
              lacuna fit private-sum survey.json *.json --model sleep.json       # the collector

            With --rounds gradients are sent instead, of other users in each round: the sum of a round makes the survey of the next \
            (--next). ε then needs no δ, and only coefficients that may matter are kept. (Zhu and others, arXiv:2310.07367.)
            """)

    @Option(help: ArgumentHelp("Names of the columns, separated by commas.", valueName: "columns"))
    var features: NameList
    @Option(help: ArgumentHelp("The column to be explained.", valueName: "column"))
    var target: String
    @Option(
        name: .customLong("private"), within: .above(0),
        help: ArgumentHelp("ε of every user's only message.", valueName: "epsilon"))
    var epsilon: Double?
    @Option(within: .above(0, below: 1), help: ArgumentHelp("δ of a survey in one round.", valueName: "x"))
    var delta: Double?
    @Option(within: .above(0), help: ArgumentHelp("Magnitude to which features are clipped.", valueName: "x"))
    var featureBound: Double?
    @Option(within: .above(0), help: ArgumentHelp("Magnitude to which the target is clipped.", valueName: "x"))
    var targetBound: Double?
    @Option(in: 1...10_000, help: ArgumentHelp("Rounds, each of other users.", valueName: "n"))
    var rounds: Int?
    @Option(
        in: 1...100_000,
        help: ArgumentHelp("With --rounds: how many coefficients may matter; twice as many are kept.", valueName: "n"))
    var sparsity: Int?
    @Option(
        within: .above(0),
        help: ArgumentHelp("With --rounds: the longest vector of coefficients; 1 if not given.", valueName: "x"))
    var radius: Double?
    @Option(help: ArgumentHelp("Where to write the survey; - is the output.", valueName: "file.json"))
    var output: OutputFile
    @Flag(help: "Replace a file that is there already.")
    var force = false

    func validate() throws {
        if rounds == nil && (sparsity != nil || radius != nil) {
            throw ValidationError("--sparsity and --radius are for --rounds")
        }
        if rounds != nil && sparsity == nil { throw ValidationError("--rounds needs --sparsity") }
        if rounds != nil && delta != nil { throw ValidationError("--rounds needs no --delta") }
        if epsilon == nil || featureBound == nil || targetBound == nil {
            throw ValidationError(
                "--private, --feature-bound and --target-bound are needed; bounds come from knowledge of the subject")
        }
    }

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let method: LocalSurvey.Method =
            if let rounds, let sparsity {
                .rounds(count: rounds, sparsity: sparsity, radius: radius ?? 1)
            } else {
                .oneRound(delta: delta ?? 1e-6)
            }
        let survey = try LocalSurvey(
            features: features.names, target: target, epsilon: epsilon ?? 0, method: method,
            featureBound: featureBound ?? 0, targetBound: targetBound ?? 0)
        try output.write(survey.json.serialized(.pretty))
    }
}

struct FitPrivateMessage: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "private-message", abstract: "Makes one user's message to a survey: run it where the row is.",
        discussion: """
            The row is clipped to the survey's bounds and randomised; the message is all that may be sent. What it spends is \
            printed. Answer a survey once: two messages of one row spend twice as much. Noise is made of floating-point numbers \
            by a fast generator, not a cryptographic one, and rounded to a grid, so that low bits tell nothing of the row (Mironov, \
            CCS 2012).
            """)

    @Argument(help: ArgumentHelp("The survey.", valueName: "survey.json"), completion: .file(extensions: ["json"]))
    var survey: InputFile
    @Argument(help: "A table with the row; - is the input, as CSV.", completion: .file(extensions: ["csv", "tsv"]))
    var data: InputFile
    @Option(in: 1...1_000_000_000, help: ArgumentHelp("Which row, of several.", valueName: "n"))
    var row: Int?
    @Option(
        seed: ArgumentHelp(
            "Seed of the privacy noise, for tests: whoever knows it can undo the privacy.", valueName: "n"))
    var noiseSeed: UInt64?
    @OptionGroup var spelling: SpellingOptions
    @Option(help: ArgumentHelp("Where to write the message; - is the output.", valueName: "file.json"))
    var output: OutputFile
    @Flag(help: "Replace a file that is there already.")
    var force = false

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let survey = try LocalSurvey(contentsOf: survey.path)
        var layout = TableLayout()
        layout.csv = spelling.csv
        let (features, target) = try survey.row(in: data.path, number: row, layout)
        var generator = noiseSeed.map { SeededGenerator(seed: $0) } ?? .unpredictable()
        let message = try survey.message(features, target, using: &generator)
        try output.write(message.json.serialized(.compact) + "\n")
        let total = try survey.account.total
        Console.error.print(
            "this message spends ε = \(Quantities.significant(total.epsilon, 4))"
                + (total.delta > 0 ? ", δ = \(Quantities.significant(total.delta, 2))" : "")
                + " of this row's privacy; do not answer this survey again"
                + (noiseSeed == nil ? "" : ". The noise can be drawn again from --noise-seed: this is not private."))
    }
}

struct FitPrivateSum: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "private-sum", abstract: "Adds up the messages to a survey, and fits.",
        discussion: """
            Files hold one message, or one a line; sums that --sum wrote can be added again. Whatever is computed from messages costs \
            no more privacy.
            """)

    @Argument(help: ArgumentHelp("The survey.", valueName: "survey.json"), completion: .file(extensions: ["json"]))
    var survey: InputFile
    @Argument(help: ArgumentHelp("Messages.", valueName: "files"), completion: .file(extensions: ["json", "jsonl"]))
    var messages: [InputFile]
    @Option(
        name: .customLong("lambda"), within: .atLeast(0),
        help: ArgumentHelp(
            "The soft threshold of a survey without --rounds; if not given it follows from the known noise.",
            valueName: "x"))
    var threshold: Double?
    @Option(help: ArgumentHelp("Write the sum of the messages; - is the output.", valueName: "file.json"))
    var sum: OutputFile?
    @Option(help: ArgumentHelp("Write the survey of the next round; - is the output.", valueName: "file.json"))
    var next: OutputFile?
    @Option(help: ArgumentHelp("Write the model, for 'lacuna fit predict'; - is the output.", valueName: "file.json"))
    var model: OutputFile?
    @Option(in: 0...1_000_000_000, help: ArgumentHelp("Rows of the table at most.", valueName: "n"))
    var top = 30
    @Flag(help: "Replace files that are there already.")
    var force = false
    @OptionGroup var form: JSONOption

    func run() throws {
        try OutputFile.check([sum, next, model], overwriting: force)
        let survey = try LocalSurvey(contentsOf: survey.path)
        // Randomised gradients may be asked for in a single round, too.
        let isThresholded = if case .oneRound = survey.method { true } else { false }
        if threshold != nil && !isThresholded {
            throw LacunaError.invalidArgument("--lambda", reason: "is for surveys without --rounds")
        }
        if next != nil && survey.round + 1 >= survey.rounds {
            throw LacunaError.invalidArgument("--next", reason: "there is no round after this one")
        }
        let whole = try survey.sum(contentsOf: messages.map(\.path))
        let outcome = try survey.close(whole, threshold: threshold.map { .fixed($0) } ?? .universal)
        let coefficients = outcome.model.coefficients[0]
        let selected = coefficients.indices.filter { coefficients[$0] != 0 }
            .sorted { (abs(coefficients[$0]), $1) > (abs(coefficients[$1]), $0) }
        var table = Table([.left("feature"), .right("coefficient")])
        for j in selected.prefix(top) {
            table.append([survey.features[j], Quantities.significant(coefficients[j], 6)])
        }
        var lines = [
            "\(Quantities.grouped(whole.users)) users, round \(survey.round + 1) of \(survey.rounds); "
                + "\(selected.count) of \(survey.features.count) features, without intercept",
            isThresholded
                ? "threshold: at most \(Quantities.significant(outcome.noise, 3))"
                : "noise of a step: \(Quantities.significant(outcome.noise, 3)) for every coefficient",
            "", table.text(console: .output),
        ]
        if outcome.isNoiseDominated {
            lines += [
                "",
                "The noise is as large as what it hides: with \(survey.features.count) columns and this ε far more users are "
                    + "needed. Do not rely on these numbers.",
            ]
        }
        let total = try survey.account.total
        printResult(
            json: form.json,
            [
                "users": JSONValue(whole.users), "round": JSONValue(survey.round), "rounds": JSONValue(survey.rounds),
                "features": .array(
                    selected.map {
                        ["name": .string(survey.features[$0]), "coefficient": .number(coefficients[$0])]
                    }),
                "noise": .number(outcome.noise), "isNoiseDominated": .bool(outcome.isNoiseDominated),
                "privacy": [
                    "model": "local", "epsilon": .number(total.epsilon), "delta": .number(total.delta),
                ],
            ], text: lines.joined(separator: "\n"), files: [sum, next, model])
        try sum?.write(whole.json.serialized(.compact) + "\n")
        if let next, let survey = outcome.next { try next.write(survey.json.serialized(.pretty)) }
        try model?.write { try outcome.model.serialize(to: $0) }
    }
}
