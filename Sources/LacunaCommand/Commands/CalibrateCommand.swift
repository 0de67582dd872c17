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
              lacuna calibrate smollm2 --prefill seer:0.4 --calibration train.txt --output smollm2.seer.safetensors

            METHOD:RATIO names a method of 'lacuna methods' and the share of the linear layers' weights that a token is not \
            to read. The file holds a threshold for every matrix, and ranks where the method has them (r-sparse; their \
            factors go into a .safetensors file beside it). It refuses other models than the one it was made for.

            --prefill seer:SHARE learns, from the attention that the model pays on the text, which blocks of keys the blocks of a \
            prompt will look at; the file is for --prefill.

            --allocation greedy spreads the ratio over a block's matrices by the error that each step makes; it takes a few \
            minutes where uniform takes seconds.
            """)

    @Argument(help: "A model file or directory, or a catalogue name.")
    var model: ModelArgument

    @Option(help: ArgumentHelp("What to leave out of products, and how much.", valueName: "method:ratio"))
    var activation: String?

    @Option(help: ArgumentHelp("uniform or greedy.", valueName: "name"))
    var allocation: RatioAllocation?

    @Option(
        help: ArgumentHelp(
            "Instead: the share of what prompts may read that a learned gate is to choose.", valueName: "seer:share"))
    var prefill: String?

    @Option(in: 1...65_536, help: ArgumentHelp("With --prefill: positions of a block; 64 by default.", valueName: "n"))
    var block: Int?

    @Option(
        in: 1...1_000_000, help: ArgumentHelp("With --prefill: steps for each layer; 300 by default.", valueName: "n"))
    var steps: Int?

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
        if (activation == nil) == (prefill == nil) {
            throw ValidationError("give --activation METHOD:RATIO, or --prefill seer:SHARE")
        }
        if prefill != nil && allocation != nil { throw ValidationError("--allocation is about --activation") }
        if prefill == nil && (block != nil || steps != nil) {
            throw ValidationError("--block and --steps are about --prefill")
        }
        if prefill != nil && text.calibration == nil {
            throw ValidationError("--prefill needs a text to learn from: --calibration")
        }
    }

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        if let prefill { return try learnGate(prefill) }
        let request = try ActivationRequest(activation ?? "")
        if request.method.hasBypass { try checkCompanion() }
        let progress = options.begin()
        defer { progress.clear() }
        let calibrator = try ActivationCalibrator(request, allocation: allocation ?? .uniform)
        let loaded = try LanguageModel(model, weights: precision.weights, head: precision.head, progress: progress)
        let plan = try calibrator.plan(
            loaded.decoder, calibration: try text.set(loaded.tokenizer), progress: progress)
        try plan.save(to: output.path)
        progress.clear()
        printResult(json: form.json, Self.json(plan, output.path), text: Self.text(plan, output.path))
    }

    /// Learns which blocks prompts look at.
    private func learnGate(_ words: String) throws {
        let parts = words.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == "seer", let share = Double(parts[1]), share > 0, share <= 1 else {
            throw LacunaError.invalidArgument("prefill", reason: "'\(words)' is not seer:SHARE, such as seer:0.4")
        }
        let progress = options.begin()
        defer { progress.clear() }
        let loaded = try LanguageModel(model, weights: precision.weights, head: precision.head, progress: progress)
        guard let set = try text.set(loaded.tokenizer) else { return }
        let settings = SeerGate.Options(block: block ?? 64, steps: steps ?? 300, seed: text.seed)
        let gate = try SeerGate(of: loaded.decoder, on: set, options: settings, progress: progress)
        try SeerAttention(gate, .share(share)).save(to: output.path, for: loaded.decoder)
        progress.clear()
        let json: JSONValue = [
            "file": .string(output.path), "request": .string(words), "block": JSONValue(settings.block),
            "steps": JSONValue(settings.steps), "calibrationTokens": JSONValue(set.tokens.count),
        ]
        printResult(
            json: form.json, json,
            text: "\(words), blocks of \(settings.block), on \(Quantities.grouped(set.tokens.count)) tokens, in "
                + output.path)
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
