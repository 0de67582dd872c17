import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

struct CalibrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "calibrate",
        abstract: "Finds, on a text, which inputs a model can leave out while it runs, and writes it to a file.",
        discussion: """
            Examples:
              lacuna calibrate smollm2 --activation wina:0.4 --calibration train.txt --output smollm2.wina.json
              lacuna run smollm2 --activation smollm2.wina.json --weights bf16 --prompt "The capital of France is"

            METHOD:RATIO names a method of 'lacuna methods' and the share of the linear layers' weights that a token is not \
            to read. The file holds a threshold for every matrix, and ranks where the method has them (r-sparse; their \
            factors go into a .safetensors file beside it). It refuses other models than the one it was made for.

            --allocation greedy spreads the ratio over a block's matrices by the error that each step makes; it takes a few \
            minutes where uniform takes seconds.
            """)

    @Argument(help: "A model file or directory, or a catalogue name.")
    var model: ModelArgument

    @Option(help: ArgumentHelp("What to leave out, and how much.", valueName: "method:ratio"))
    var activation: String

    @Option(help: ArgumentHelp("uniform or greedy.", valueName: "name"))
    var allocation: RatioAllocation = .uniform

    @OptionGroup var text: CalibrationOptions

    @Option(help: ArgumentHelp("The file to write.", valueName: "file"))
    var output: OutputFile

    @Flag(help: "Replace a file that exists.")
    var force = false

    @OptionGroup var precision: PrecisionOptions
    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        if output.isStandardOutput {
            throw ValidationError("--output needs a file: ranks go into another one beside it")
        }
    }

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let request = try ActivationRequest(activation)
        if request.method.hasBypass { try checkCompanion() }
        let progress = options.begin()
        defer { progress.clear() }
        let calibrator = try ActivationCalibrator(request, allocation: allocation)
        let loaded = try LanguageModel(model, weights: precision.weights, head: precision.head, progress: progress)
        let plan = try calibrator.plan(
            loaded.decoder, calibration: try text.set(loaded.tokenizer), progress: progress)
        try plan.save(to: output.path)
        progress.clear()
        printResult(json: form.json, Self.json(plan, output.path), text: Self.text(plan, output.path))
    }

    /// Ranks go into a file whose name nobody gave: one that is there is replaced with the plan that it belongs to, and only then.
    private func checkCompanion() throws {
        let beside = ActivationPlan.companion(of: output.path)
        let isTaken = FileSystem.exists(output.path)
        if isTaken && !FileSystem.isPlainFile(output.path) {
            throw LacunaError.file(path: output.path, reason: "is no file, beside which there could be one of ranks")
        }
        if FileSystem.exists(beside) && !(isTaken && (try? ActivationPlan(contentsOf: output.path)) != nil) {
            throw LacunaError.file(
                path: beside,
                reason: "is where the ranks beside \(output.path) go, and belongs to no plan: give another --output")
        }
        try AtomicFile.check(beside)
    }

    private static func shares(_ plan: ActivationPlan) -> [(role: LinearRole, mean: Double, rank: Double)] {
        LinearRole.allCases.compactMap { role in
            let rules = plan.rules.filter { $0.role == role }
            if rules.isEmpty { return nil }
            let count = Double(rules.count)
            return (
                role, rules.reduce(0) { $0 + $1.share } / count, rules.reduce(0) { $0 + Double($1.rank) } / count
            )
        }
    }

    private static func text(_ plan: ActivationPlan, _ path: String) -> String {
        let hasRanks = plan.rules.contains { $0.rank > 0 }
        var table = Table([.left("inputs of"), .right("left out")] + (hasRanks ? [.right("mean rank")] : []))
        for (role, mean, rank) in shares(plan) {
            let name = plan.request.method.target == .inputs ? role.rawValue : "neurons"
            table.append([name, Quantities.percent(mean)] + (hasRanks ? [Quantities.fixed(rank, 1)] : []))
        }
        return
            "\(plan.request), \(plan.allocation), on \(Quantities.grouped(plan.calibrationTokens)) tokens, in \(path)\n\n"
            + table.text(console: .output)
    }

    private static func json(_ plan: ActivationPlan, _ path: String) -> JSONValue {
        [
            "file": .string(path), "request": .string("\(plan.request)"), "allocation": .string(plan.allocation),
            "calibrationTokens": JSONValue(plan.calibrationTokens),
            "shares": .array(
                shares(plan).map { role, mean, rank in
                    ["role": .string(role.rawValue), "share": .number(mean), "rank": .number(rank)]
                }),
        ]
    }
}
