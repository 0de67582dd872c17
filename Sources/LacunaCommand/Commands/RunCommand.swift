import ArgumentParser
import LacunaDictionary
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Generates text: continues a prompt, or holds a conversation.",
        discussion: """
            Examples:
              lacuna run smollm2 --prompt "The capital of France is" --max-tokens 30
              lacuna run sparse-model --chat
              lacuna run sparse-model --chat --prompt "Why is the sky blue?"
              lacuna run sparse-model --prompt - --temperature 0.8 --top-p 0.95 --seed 7 < draft.txt
              lacuna run smollm2 --prompt "Once" --activation wina:0.4 --calibration train.txt --weights bf16
              lacuna run smollm2 --prompt "Once" --activation wina:0.5 --calibration train.txt --weights bf16 --correct 16
              lacuna run smollm2 --prompt "The capital of France is" --max-tokens 8 --features sae/topk
              lacuna run smollm2 --prompt "The weather today" --features sae/topk --steer 300=40

            Greedy unless --temperature is above 0. The text goes to the output stream, the speed to the error stream.

            With --features every written token is followed up: the features of the dictionary that account for its logit, less the             mean of all logits, each with its effect and the token at which it was active. Effects are to first order, through all later             layers. With --steer nothing is followed up: the features are held at strengths while the model writes.

            Special tokens such as <|im_end|> count in a --prompt that is continued, as the model's own form may be written \
            there by hand. What is said in a conversation (--chat) cannot spell them: there they are plain text, as in the texts \
            of eval, sweep and --calibration, unless --special-tokens has them count there.
            """)

    @Argument(help: "A model file or directory, or a catalogue name.")
    var model: ModelArgument

    @Option(
        help: ArgumentHelp(
            "The text to continue, or the question with --chat; - reads it from the input.",
            valueName: "text"))
    var prompt: String?

    @Flag(help: "A conversation in the model's own form; without --prompt, line by line until the input ends.")
    var chat = false

    @Option(help: ArgumentHelp("With --chat: what the model is told to be.", valueName: "text"))
    var system: String?

    @Option(in: 0...Int(Int32.max), help: ArgumentHelp("Tokens to write at most.", valueName: "n"))
    var maxTokens = 256

    @Option(
        within: .atLeast(0),
        help: ArgumentHelp("0 takes the most probable token; 1 is the model's own distribution.", valueName: "t"))
    var temperature = 0.0

    @Option(in: 1...Int(Int32.max), help: ArgumentHelp("Draw from the k most probable tokens only.", valueName: "k"))
    var topK: Int?

    @Option(
        within: .above(0, atMost: 1),
        help: ArgumentHelp("Draw from the most probable tokens of this total probability only.", valueName: "p"))
    var topP = 1.0

    @Option(seed: ArgumentHelp("Changes every random choice.", valueName: "n"))
    var seed: UInt64 = 0

    @Option(
        in: 2...Int(Int32.max),
        help: ArgumentHelp("With --chat: tokens of the conversation to remember.", valueName: "n"))
    var context: Int?

    @Option(
        in: 1...1024,
        help: ArgumentHelp(
            """
            With --activation or --attention: what is left out is left out of drafts of so many tokens, which the whole model \
            reads in one pass and corrects (Sirius).
            """,
            valueName: "n"))
    var correct: Int?

    @Option(
        help: ArgumentHelp(
            "Write a page of what was left out, layer by layer, with --activation or what is about keys.",
            valueName: "file"))
    var report: OutputFile?

    @Flag(help: "Replace a file that exists.")
    var force = false

    @OptionGroup var dictionary: FeatureOptions
    @OptionGroup var skipping: SkippingOptions
    @OptionGroup var precision: PrecisionOptions
    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        if skipping.activation.count > 1 {
            throw ValidationError("give one --activation; 'lacuna eval' compares several")
        }
        try validateCorrection()
        try dictionary.validate(hasPrompt: prompt != nil, corrects: correct != nil)
        if prompt == nil && !chat { throw ValidationError("give a --prompt, or --chat") }
        if report != nil {
            if skipping.activation.isEmpty && !skipping.concernsKeys {
                throw ValidationError(
                    "--report is about what is left out: give --activation, --attention, --kv, --prefill or --evict")
            }
            if prompt == nil { throw ValidationError("--report needs a --prompt") }
        }
        if system != nil && !chat { throw ValidationError("--system needs --chat") }
        if form.json && prompt == nil { throw ValidationError("--json needs a --prompt") }
        if skipping.specialTokens && skipping.calibration == nil {
            throw ValidationError("--special-tokens is about --calibration; in a --prompt they count anyway")
        }
    }

    func run() throws {
        try OutputFile.check([report], overwriting: force)
        let progress = options.begin()
        defer { progress.clear() }
        let prompt = try prompt.map { try $0 == "-" ? Self.readInput() : $0 }
        let file = try dictionary.file()
        var loaded = try LanguageModel(
            model, weights: precision.weights, head: precision.head, progress: progress)
        let meter = SkippingMeter()
        let cache = try skipping.cacheRequest(loaded, progress: progress)
        let plan = try skipping.activation.first.map { try skipping.plan($0, loaded, progress: progress) }
        if let plan { try loaded.skipActivations(plan, meter: meter, progress: progress) }
        try cache.apply(to: &loaded.skipping)
        if skipping.concernsKeys { loaded.skipping.meter = meter }
        try steer(&loaded, by: file)
        progress.clear()
        if let correct, let prompt {
            let summary = SkippingSummary(request: plan?.request, cache: cache, meter: meter)
            return try writeCorrected(loaded, prompt, draft: correct, summary)
        }
        let generator = loaded.generator
        guard let prompt else { return try ConversationLoop(generator, self).hold() }
        let (tokens, generation) =
            chat
            ? try loaded.turn(messages(prompt), generation, Self.templateOptions)
            : (loaded.tokenizer.encode(prompt), generation)
        var text = StreamingText(loaded.tokenizer, echo: !form.json)
        let result = try generator.generate(tokens, generation) { text.receive($0) }
        text.finish()
        try Interruption.check()
        let written = try written(loaded, prompt: tokens, text: result.tokens, by: file, progress: progress)
        progress.clear()
        let skipped =
            plan != nil || skipping.concernsKeys
            ? SkippingSummary(request: plan?.request, cache: cache, meter: meter) : nil
        if let skipped { try report?.write(skipped.page(model: loaded.name).html()) }
        if form.json {
            Console.output.print(json(prompt, text.text, tokens: tokens, result, skipped, written).serialized(.pretty))
        } else {
            tell(result)
            if let written { Console.output.print("\n" + table(written, tokens: tokens + result.tokens, loaded)) }
            if let skipped, !options.quiet { Console.error.print(Console.error.styled(skipped.line, .dim)) }
        }
    }

    /// What the generator is asked for.
    var generation: Generator.Options {
        Generator.Options(
            maximumTokens: maxTokens,
            sampling: .init(temperature: temperature, topK: topK, topP: topP, seed: seed))
    }

    /// What templates are told: the date, for those that write it.
    static var templateOptions: ChatTemplate.Options {
        var (now, moment) = (time(nil), tm())
        guard localtime_r(&now, &moment) != nil else { return .init() }
        return .init(
            clock: ChatClock(
                year: Int(moment.tm_year) + 1900, month: Int(moment.tm_mon) + 1, day: Int(moment.tm_mday),
                hour: Int(moment.tm_hour), minute: Int(moment.tm_min), second: Int(moment.tm_sec)))
    }

    func messages(_ question: String) -> [ChatTemplate.Message] {
        (system.map { [.init(.system, $0)] } ?? []) + [.init(.user, question)]
    }

    /// The speed, for people who watch.
    func tell(_ result: Generation) {
        if options.quiet { return }
        func rate(_ rate: Generation.Rate) -> String {
            "\(rate.tokens) tokens at \(Quantities.fixed(rate.tokensPerSecond, 1)) tokens/s"
        }
        let line =
            "[prompt: \(rate(result.prefill)); text: \(rate(result.decode)), "
            + "\(Quantities.bytes(result.bytesPerToken)) a token]"
        Console.error.print(Console.error.styled(line, .dim))
    }

    private static func readInput() throws -> String {
        let text = try FileSystem.readText("/dev/stdin")
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    private func json(
        _ prompt: String, _ text: String, tokens: [Int], _ result: Generation, _ skipped: SkippingSummary?,
        _ written: [FeatureAttribution.Written]?
    ) -> JSONValue {
        func rate(_ rate: Generation.Rate) -> JSONValue {
            [
                "tokens": JSONValue(rate.tokens), "seconds": .number(rate.seconds),
                "tokensPerSecond": .number(rate.tokensPerSecond),
            ]
        }
        let reason =
            switch result.reason {
            case .length: "length"
            case .endToken: "end"
            case .contextFull: "context"
            case .stopped: "stopped"
            }
        return [
            "prompt": .string(prompt), "text": .string(text), "promptTokens": .array(tokens.map { JSONValue($0) }),
            "tokens": .array(result.tokens.map { JSONValue($0) }), "ended": .string(reason),
            "prefill": rate(result.prefill), "decode": rate(result.decode),
            "bytesPerToken": JSONValue(result.bytesPerToken), "skipping": skipped?.json ?? .null,
            "features": written.map { json($0) } ?? .null,
        ]
    }
}

/// Tokens on their way to the output stream, as whole characters.
struct StreamingText {
    private var decoder: StreamingDecoder
    private let echo: Bool
    private(set) var text = ""

    init(_ tokenizer: Tokenizer, echo: Bool) {
        decoder = StreamingDecoder(tokenizer)
        self.echo = echo
    }

    /// Whether to go on.
    mutating func receive(_ token: Int) -> Bool {
        append(decoder.append(token))
        return !Interruption.isRequested
    }

    mutating func finish() {
        append(decoder.finish())
        if echo { Console.output.print() }
    }

    private mutating func append(_ piece: String) {
        text += piece
        guard echo && !piece.isEmpty else { return }
        Console.output.write(Console.output.isTerminal ? Printable.prose(piece) : piece)
    }
}

/// `lacuna run --chat`: questions from the input, answers to the output.
struct ConversationLoop {
    private let tokenizer: Tokenizer
    private let command: RunCommand
    private let conversation: Conversation

    init(_ generator: Generator, _ command: RunCommand) throws {
        conversation = try Conversation(
            generator, system: command.system, context: command.context, template: RunCommand.templateOptions)
        guard let tokenizer = generator.tokenizer else {
            throw LacunaError.invalidArgument("tokenizer", reason: "is needed for a conversation")
        }
        self.tokenizer = tokenizer
        self.command = command
    }

    func hold() throws {
        let isInteractive = isatty(0) == 1 && Console.output.isTerminal
        if isInteractive { Console.error.print("Ctrl-D ends the conversation.") }
        while true {
            if isInteractive { Console.output.write(Console.output.styled("> ", .bold)) }
            guard let line = Interruption.whileIdle({ readLine() }) else { break }
            if line.allSatisfy(\.isWhitespace) { continue }
            try answer(line)
        }
        if isInteractive { Console.output.print() }
    }

    private func answer(_ question: String) throws {
        var text = StreamingText(tokenizer, echo: true)
        let result = try conversation.answer(
            question, command.generation,
            startsAnew: { Console.error.print("[the conversation is longer than --context: it starts anew]") },
            receive: { text.receive($0) })
        text.finish()
        try Interruption.check()
        command.tell(result)
    }
}
