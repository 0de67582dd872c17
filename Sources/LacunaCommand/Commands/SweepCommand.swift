import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor

struct SweepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sweep",
        abstract:
            "Prunes a model to growing sparsity, or leaves out more and more while it runs: perplexities, a plot.",
        discussion: """
            Examples:
              lacuna sweep smollm2 --text test.txt --tokens 2048
              lacuna sweep smollm2 --methods magnitude,wanda,sparsegpt \\
                --sparsities 0.2,0.4,0.5,0.6,0.7 --text test.txt --tokens 4096 \\
                --calibration valid.txt --report sweep.html --svg sweep.svg
              lacuna sweep smollm2 --text test.txt --tokens 1024 --activation teal:0.2,teal:0.4,wina:0.4 \\
                --attention quest:0.25 --kv int8 --calibration valid.txt --report skipping.html

            Every model is pruned anew from the original. The essential sparsity is the largest one up to which the \
            perplexity has not risen by more than the tolerance; the knee is where its logarithm bends most. \
            (Jaiswal and others, The Emergence of Essential Sparsity, arXiv:2306.03805.)

            With --activation, --attention or --kv nothing is pruned: every choice of one list is combined with every \
            choice of the others, none included, and the text is written token by token. The table has what a token reads, \
            how fast it goes, and which combinations no other beats in both perplexity and bytes.
            """)

    @Argument(help: "A model file or directory, or a catalogue name.")
    var model: ModelArgument

    @Option(
        help: ArgumentHelp("Methods, separated by commas; magnitude by default.", valueName: "names"),
        completion: NameCompletion.methods)
    var methods: String?

    @Option(
        help: ArgumentHelp(
            "Fractions removed, separated by commas; 0 is always measured. By default tenths up to 0.8.",
            valueName: "list"))
    var sparsities: String?

    @Option(
        help:
            "Which weights compete: row, layer (the default) or global (one threshold for all layers, where the method can)."
    )
    var scope: Pattern.Scope?

    @OptionGroup var skipping: SkippingSweepOptions

    @Option(help: ArgumentHelp("The text to be predicted, UTF-8; - is the input.", valueName: "file"))
    var text: InputFile

    @Option(
        in: 2...Int(Int32.max),
        help: ArgumentHelp("Only so many tokens from the beginning of the text.", valueName: "n"))
    var tokens = 4096

    @Option(
        in: 2...Int(Int32.max),
        help: ArgumentHelp("Tokens of a window; 512, or what the model can take, by default.", valueName: "n"))
    var window: Int?

    @OptionGroup var calibration: CalibrationOptions

    @Option(
        within: .atLeast(0),
        help: ArgumentHelp("Rise of the perplexity that still counts as none; 0.05 by default.", valueName: "fraction"))
    var tolerance: Double?

    @Option(help: ArgumentHelp("Write a page with table and plot; - is the output.", valueName: "file.html"))
    var report: OutputFile?

    @Option(help: ArgumentHelp("Write the plot; - is the output.", valueName: "file.svg"))
    var svg: OutputFile?

    @Flag(help: "Replace files that are there already.")
    var force = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        guard skipping.activation != nil || skipping.attention != nil || skipping.kv != nil else { return }
        if methods != nil || sparsities != nil || scope != nil || tolerance != nil {
            throw ValidationError(
                "--methods, --sparsities, --scope and --tolerance are about pruning; leave them out with --activation, "
                    + "--attention or --kv")
        }
    }

    func run() throws {
        if let sweep = try skipping.sweep { return try run(sweep) }
        let sparsities = try SparsityList.parse("0," + (sparsities ?? "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8"))
        let scope = scope ?? .layer
        let methods = try (methods ?? "magnitude").split(separator: ",").map {
            try PruningMethods.named(String($0), seed: calibration.seed)
        }
        if methods.isEmpty { throw LacunaError.invalidArgument("--methods", reason: "names none") }
        if let method = methods.first(where: { $0.requirement != .none }), calibration.calibration == nil {
            throw LacunaError.invalidArgument(
                "--calibration", reason: "the method \(method.card.name) looks at activations and needs a text")
        }
        try OutputFile.check([report, svg], overwriting: force)

        let progress = options.begin()
        defer { progress.clear() }
        let loaded = try LanguageModel(model, progress: progress)
        let slice = try TextSlice(
            text.path, limit: tokens, tokenizer: loaded.tokenizer, specials: calibration.specialTokens)
        let set = try calibration.set(loaded.tokenizer)
        let sweep = SparsitySweep(sparsities: sparsities, scope: scope)
        let curves = try methods.map {
            try sweep.run(
                loaded.decoder, method: $0, text: slice.tokens, window: window ?? loaded.defaultWindow,
                calibration: set,
                progress: progress)
        }
        progress.clear()
        let result = SweepResult(
            model: loaded.name, text: slice.description, scope: scope, tolerance: tolerance ?? 0.05, curves: curves)
        printResult(
            json: form.json, result.json, text: result.summary(console: .output), files: [report, svg])
        try svg?.write(result.chart.svg() + "\n")
        try report?.write(result.report.html())
    }

    /// Leaves out while the model runs, instead of pruning.
    private func run(_ sweep: SkippingSweep) throws {
        try OutputFile.check([report, svg], overwriting: force)
        let progress = options.begin()
        defer { progress.clear() }
        // Integers have scales by output, and cannot be read input by input.
        let loaded = try LanguageModel(
            model, weights: sweep.activations.count > 1 ? .f32 : .stored, progress: progress)
        let slice = try TextSlice(
            text.path, limit: tokens, tokenizer: loaded.tokenizer, specials: calibration.specialTokens)
        let length = min(window ?? loaded.defaultWindow, slice.tokens.count)
        let results = try sweep.run(
            loaded, calibration: calibration.set(loaded.tokenizer), tokens: slice.tokens, window: length,
            progress: progress)
        progress.clear()
        let result = SkippingSweepResult(
            model: loaded.name, text: slice.description, window: length, results: results)
        printResult(
            json: form.json, result.json, text: result.summary(console: .output), files: [report, svg])
        try svg?.write(result.chart.svg() + "\n")
        try report?.write(result.report.html())
    }
}

extension Pattern.Scope: ExpressibleByArgument {}

/// Curves of several methods over the same sparsities, and how they are shown.
struct SweepResult {
    let model: String
    let text: String
    let scope: Pattern.Scope
    let tolerance: Double
    let curves: [SparsityCurve]

    private var dense: Double? { curves.first?.points.first { $0.sparsity == 0 }?.value }

    /// A row for each sparsity, a column for each method.
    var table: Table {
        var table = Table([.right("sparsity")] + curves.map { .right($0.method) })
        for (index, point) in (curves.first?.points ?? []).enumerated() {
            table.append(
                [Quantities.percent(point.sparsity, 0)] + curves.map { Self.perplexity($0.points[index].value) })
        }
        table.append(
            ["essential"]
                + curves.map { curve in
                    curve.essentialSparsity(tolerance: tolerance).map { Quantities.percent($0, 0) } ?? "-"
                })
        table.append(["knee"] + curves.map { $0.knee.map { Quantities.percent($0.sparsity, 0) } ?? "-" })
        return table
    }

    private static func perplexity(_ value: Double) -> String {
        value < 1000 ? Quantities.fixed(value, 2) : value < 1e15 ? Quantities.grouped(Int(value)) : "\(value)"
    }

    var explanation: String {
        "Perplexity of \(model) on \(text). Weights compete within each \(scope == .global ? "model" : scope.rawValue) "
            + "where the method allows it. Essential: the largest sparsity up to which the perplexity rises by at most "
            + "\(Quantities.percent(tolerance)). Knee: where its logarithm bends most."
    }

    func summary(console: Console) -> String { "\(explanation)\n\n\(table.text(console: console))" }

    var chart: LineChart {
        var series = curves.map { curve in
            LineChart.Series(
                name: curve.method, points: curve.points.map { .init($0.sparsity, $0.value) },
                mark: curve.knee.map {
                    (.init($0.sparsity, $0.value), "knee \(Quantities.percent($0.sparsity, 0))")
                })
        }
        if let dense, let last = curves.first?.points.last?.sparsity {
            series.append(
                .init(name: "dense", points: [.init(0, dense), .init(last, dense)], isReference: true))
        }
        return LineChart(
            title: "Perplexity of \(model) against sparsity", x: .init(title: "sparsity (fraction of weights removed)"),
            y: .init(title: "perplexity (logarithmic)", scale: .logarithmic), series: series)
    }

    var report: HTMLReport {
        var report = HTMLReport(title: "How far can \(model) be pruned?", lead: explanation)
        report.chart(chart)
        report.table(table)
        return report
    }

    var json: JSONValue {
        [
            "model": .string(model), "text": .string(text), "scope": .string(scope.rawValue),
            "tolerance": .number(tolerance),
            "curves": .array(
                curves.map { curve in
                    [
                        "method": .string(curve.method),
                        "points": .array(
                            curve.points.map {
                                ["sparsity": .number($0.sparsity), "perplexity": .number($0.value)]
                            }),
                        "essentialSparsity": curve.essentialSparsity(tolerance: tolerance).map { .number($0) } ?? .null,
                        "knee": curve.knee.map { .number($0.sparsity) } ?? .null,
                    ]
                }),
        ]
    }
}
