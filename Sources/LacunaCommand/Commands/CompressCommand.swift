import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor

struct CompressCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compress",
        abstract: "Halves a language model, heals it, and shows what every step cost and gained.",
        discussion: """
            Examples:
              lacuna compress smollm2 --target 50% --weights int4 --heal 20min --output small
              lacuna compress smollm2 --target 2:4 --heal 400steps --output small \\
                --text general.txt --text more.txt --evaluate test.txt
              lacuna compress smollm2 --target 50% --weights int4 --heal 20min --output small --resume
              lacuna run small --prompt "The capital of France is"

            Tries methods and budgets on a part of the general text and keeps the composition whose predictions stay nearest \
            to the dense model's; prunes; trains what is left, first block by block on what the dense model gives, then end \
            to end on what it predicts; rounds to integers, if --weights says so, and trains through the rounding. The \
            second text is only measured.

            The output directory gets report.html, compression.json and the folder model, and `run`, `eval` and `inspect` \
            take it as MODEL. A run that was stopped goes on with the same command and --resume, and ends in the same \
            numbers: a time given to --heal only decides how many steps there will be.
            """)

    @Argument(help: "A model file or directory, or a catalogue name.")
    var model: ModelArgument

    @Option(
        help: ArgumentHelp(
            "What goes: a fraction, such as 50%, or a pattern n:m, such as 2:4.", valueName: "fraction|n:m"))
    var target = "50%"

    @Option(help: ArgumentHelp("Values of the weights that stay: f32, bf16, f16, int8 or int4.", valueName: "type"))
    var weights = ValueType.bf16

    @Option(
        help: ArgumentHelp(
            "Embedding and output head: f32, bf16, f16, int8 or int4; as they are by default.", valueName: "type"))
    var head: ValueType?

    @Option(
        help: ArgumentHelp(
            "How long to train: a time such as 90s, 20min or 4h, a number of steps such as 400steps, or none.",
            valueName: "effort"))
    var heal = "20min"

    @Option(
        help: ArgumentHelp(
            "General text to calibrate on and learn from, UTF-8. Once for each file; those in Data/ by default.",
            valueName: "file"), completion: .file())
    var text: [InputFile] = []

    @Option(
        help: ArgumentHelp(
            "Another text, which is only measured; Data/wikitext-2/test.txt by default.", valueName: "file"))
    var evaluate: InputFile?

    @Option(in: 16...Int(Int32.max), help: ArgumentHelp("Tokens of it that are measured.", valueName: "n"))
    var tokens = 8192

    @Option(help: ArgumentHelp("Where report and model go.", valueName: "directory"), completion: .directory)
    var output: String

    @Flag(help: "Go on with the run in the output directory.")
    var resume = false

    @Option(
        help: ArgumentHelp("Methods to choose from; wanda,dsnot,sparsegpt by default.", valueName: "names"),
        completion: NameCompletion.methods)
    var methods: String?

    @Option(
        help: ArgumentHelp(
            "Budgets to choose from, the first for the comparison of methods; uniform,owl,searched by default.",
            valueName: "names"))
    var budgets: String?

    @Option(in: 2...1_000_000, help: ArgumentHelp("Sequences of the general text to calibrate on.", valueName: "n"))
    var sequences = 64

    @Option(in: 2...1_000_000, help: ArgumentHelp("Tokens of each of them.", valueName: "n"))
    var sequenceLength = 512

    @Option(
        in: 0...1_000_000,
        help: ArgumentHelp(
            "Steps in which each block is trained by itself; 16, or what three tenths of the time allow, by default.",
            valueName: "n"))
    var blockSteps: Int?

    @Option(in: 1...4096, help: ArgumentHelp("Windows of a step end to end.", valueName: "n"))
    var batch: Int?

    @Option(in: 2...1_000_000, help: ArgumentHelp("Tokens of a window.", valueName: "n"))
    var window: Int?

    @Option(
        within: .above(0, below: 1),
        help: ArgumentHelp("Rate end to end, relative to the size of weights.", valueName: "rate"))
    var learningRate: Double?

    @Option(help: ArgumentHelp("What products of training read: f32 or bf16.", valueName: "type"))
    var precision = ProductPrecision.bf16

    @Option(
        within: .from(0, to: 1),
        help: ArgumentHelp(
            "Share of the dense model's predictions in what is learned end to end; the rest is the text.",
            valueName: "share"))
    var teacherWeight: Double?

    @Flag(help: "Train the dense model in the same way, for comparison.")
    var control = false

    @Option(seed: ArgumentHelp("Changes every random choice.", valueName: "n"))
    var seed: UInt64 = 0

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    private static let defaultTexts = ["wikitext-2/valid.txt", "austen/train.txt"]
    private static let defaultEvaluation = "wikitext-2/test.txt"
    private static let prompts = ["The capital of France is", "Water boils at", "The Great Barrier Reef is"]
    private static let writtenTokens = 40

    func run() throws {
        let (plan, sources, measured) = (try plan(), try sources(), try measuredText())
        if !resume {
            if try Compressor.report(in: output) != nil {
                throw LacunaError.file(
                    path: output, reason: "holds a run already: go on with --resume, or give another --output")
            }
            try RunDirectory.check(output)
        } else if try Compressor.report(in: output) == nil {
            try RunDirectory.require(
                Compressor.reportName, in: output, otherwise: "start it again without --resume")
        }
        let progress = options.begin()
        defer { progress.clear() }
        let loaded = try LanguageModel(model, progress: progress)
        let texts = try CompressionText(
            files: sources, evaluation: measured, tokenizer: loaded.tokenizer, limit: tokens,
            heldOut: plan.heldOutTokens)
        let lock = try resume ? DirectoryLock(output) : RunDirectory.claim(output)
        defer { lock.release() }
        let compressor = Compressor(plan, text: texts, directory: output)
        compressor.tokenizer = loaded.tokenizer
        compressor.speed = { models in
            // Within what short contexts take.
            let half = max(2, (models.map(\.configuration.maximumPositions).min() ?? 0) / 2)
            return try Throughput.measure(
                models, prefill: min(64, half), decode: min(48, half), repetitions: 5, progress: progress
            ).map(\.decodeTokensPerSecond)
        }
        let begin = monotonicSeconds()
        let (decoder, report): (Transformer, CompressionReport)
        do {
            (decoder, report) = try Interruption.whileSaving {
                try compressor.compress(loaded.decoder, resumes: resume, progress: progress)
            }
        } catch LacunaError.cancelled {
            progress.clear()
            Console.error.print("lacuna: go on with the same command and --resume")
            throw LacunaError.cancelled
        }
        let folder = FileSystem.join(output, Compressor.modelFolder)
        let small = LanguageModel(
            name: "compressed", path: folder, decoder: decoder, tokenizer: loaded.tokenizer,
            diskBytes: try FileSystem.size(folder))
        let continuations = try Self.prompts.map { prompt in
            try [loaded, small].map { try Self.written($0, prompt) }
        }
        progress.clear()
        let story = CompressionStory(
            model: loaded.name, report: report, diskBytes: (loaded.diskBytes, small.diskBytes),
            text: sources.joined(separator: ", "), evaluation: measured, trainingTokens: texts.training.count,
            prompts: Self.prompts, continuations: continuations, seconds: monotonicSeconds() - begin, directory: output)
        try AtomicFile.write(story.page.html(), to: FileSystem.join(output, "report.html"))
        printResult(json: form.json, story.json, text: story.text(console: .output))
    }

    private func plan() throws -> CompressionPlan {
        var plan = try CompressionPlan(target: target, values: weights, healing: heal)
        plan.head = head
        if let methods { plan.methods = methods.split(separator: ",").map(String.init) }
        if let budgets {
            plan.budgets = try budgets.split(separator: ",").map { name in
                guard let budget = CompressionPlan.Budget(rawValue: String(name)) else {
                    let known = CompressionPlan.Budget.allCases.map(\.rawValue)
                    throw LacunaError.invalidArgument(
                        "--budgets",
                        reason: "there is no '\(name)'; there are \(known.joined(separator: ", "))"
                            + Suggestion.phrase(String(name), among: known))
                }
                return budget
            }
        }
        (plan.sequences, plan.sequenceLength) = (sequences, sequenceLength)
        if let blockSteps { plan.reconstruction.steps = blockSteps }
        if let batch { plan.healing.batch = batch }
        if let window { plan.healing.window = window }
        if let learningRate { plan.healing.learningRate = learningRate }
        (plan.healing.precision, plan.reconstruction.precision) = (precision, precision)
        if let teacherWeight { plan.healing.teacherWeight = teacherWeight }
        (plan.control, plan.evaluationTokens, plan.seed) = (control, tokens, seed)
        plan.heldOutTokens = min(plan.heldOutTokens, max(16, sequences * sequenceLength))
        try plan.validate()
        return plan
    }

    private func sources() throws -> [String] {
        if !text.isEmpty { return text.map(\.path) }
        let found = Self.defaultTexts.compactMap { RepositoryData.path($0) }
        if !found.isEmpty { return found }
        let advice = "give general text to learn from with --text"
        return try [RepositoryData.require(Self.defaultTexts[0], otherwise: advice)]
    }

    private func measuredText() throws -> String {
        if let evaluate { return evaluate.path }
        return try RepositoryData.require(
            Self.defaultEvaluation, otherwise: "give a text to be measured with --evaluate")
    }

    /// The most likely words after a prompt.
    private static func written(_ model: LanguageModel, _ prompt: String) throws -> String {
        try model.generate(prompt, Generator.Options(maximumTokens: writtenTokens))
    }
}
