import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

extension BenchCommand {
    struct Model: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measures how fast a model reads prompts and writes.",
            discussion: """
                Medians over several runs, after one that is not counted. Run it while nothing else does.

                Examples:
                  lacuna bench model smollm2
                  lacuna bench model sparse-model --prompt-tokens 512 --threads 1 --json
                  lacuna bench model smollm2 --weights bf16 --text test.txt --activation smollm2.wina.json

                The prompt is the beginning of --text; without it, tokens drawn by chance, as speed does not depend on them. With \
                --activation it does: a --text is needed then.
                """)

        @Argument(help: "A model file or directory, or a catalogue name.")
        var model: ModelArgument

        @Option(help: ArgumentHelp("What is read, UTF-8; - is the input.", valueName: "file"))
        var text: InputFile?

        @Option(in: 1...Int(Int32.max), help: ArgumentHelp("Tokens of the prompt.", valueName: "n"))
        var promptTokens = 128

        @Option(in: 2...Int(Int32.max), help: ArgumentHelp("Tokens that are written after it.", valueName: "n"))
        var newTokens = 64

        @Option(in: 1...100_000, help: ArgumentHelp("Runs; every number is a median over them.", valueName: "n"))
        var runs = 5

        @Option(seed: ArgumentHelp("Changes the tokens drawn by chance.", valueName: "n"))
        var seed: UInt64 = 0

        @OptionGroup var skipping: SkippingOptions
        @OptionGroup var precision: PrecisionOptions
        @OptionGroup var form: JSONOption
        @OptionGroup var options: RunOptions

        func validate() throws {
            if skipping.activation.count > 1 { throw ValidationError("give one --activation; run this once for each") }
            if !skipping.activation.isEmpty && text == nil {
                throw ValidationError("--activation needs a --text: what is left out depends on what is read")
            }
            if skipping.specialTokens && text == nil && skipping.calibration == nil {
                throw ValidationError("--special-tokens is about --text and --calibration: give one")
            }
        }

        func run() throws {
            let progress = options.begin()
            defer { progress.clear() }
            var loaded = try LanguageModel(model, weights: precision.weights, head: precision.head, progress: progress)
            let prompt = try prompt(loaded)
            let meter = SkippingMeter()
            let cache = try skipping.cacheRequest(loaded, progress: progress)
            let plan = try skipping.activation.first.map { try skipping.plan($0, loaded, progress: progress) }
            if let plan { try loaded.skipActivations(plan, meter: meter, progress: progress) }
            try cache.apply(to: &loaded.skipping)
            if skipping.concernsKeys { loaded.skipping.meter = meter }
            let speed = try loaded.generator.measureSpeed(
                prompt: prompt, written: newTokens, runs: runs, progress: progress)
            progress.clear()
            let skipped =
                plan != nil || skipping.concernsKeys
                ? SkippingSummary(request: plan?.request, cache: cache, meter: meter) : nil
            printResult(
                json: form.json, json(loaded, speed, skipped), text: text(loaded, speed, skipped))
        }

        private func prompt(_ model: LanguageModel) throws -> [Int] {
            guard let text else {
                var generator = SeededGenerator(seed: seed, stream: 0)
                let vocabulary = model.decoder.configuration.vocabularySize
                return (0..<promptTokens).map { _ in Int.random(in: 0..<vocabulary, using: &generator) }
            }
            let slice = try TextSlice(
                text.path, limit: promptTokens, tokenizer: model.tokenizer, specials: skipping.specialTokens)
            guard slice.tokens.count == promptTokens else {
                throw LacunaError.invalidArgument(
                    "--prompt-tokens", reason: "\(promptTokens), but \(text.path) has \(slice.total) tokens")
            }
            return slice.tokens
        }

        private func text(_ model: LanguageModel, _ speed: GenerationSpeed, _ skipped: SkippingSummary?) -> String {
            var table = Table([
                .left(""), .right("tokens"), .right("tokens/s"), .right("slowest"), .right("fastest"),
            ])
            for (name, tokens, rates) in [
                ("reading", speed.promptTokens, speed.reading), ("writing", speed.writtenTokens, speed.writing),
            ] {
                table.append([
                    name, "\(tokens)", Quantities.fixed(GenerationSpeed.median(rates), 1),
                    Quantities.fixed(rates.min() ?? 0, 1), Quantities.fixed(rates.max() ?? 0, 1),
                ])
            }
            let header =
                "\(Printable.name(model.name)), \(runs) runs, \(Processor.description), \(Parallel.threads) threads"
            let footer =
                "\(Quantities.bytes(speed.bytesPerToken)) read for a token: \(Quantities.fixed(speed.bandwidth / 1e9, 1)) GB/s"
            return ([header, table.text(console: .output), footer] + (skipped.map { [$0.line] } ?? []))
                .joined(separator: "\n\n")
        }

        private func json(_ model: LanguageModel, _ speed: GenerationSpeed, _ skipped: SkippingSummary?) -> JSONValue {
            func rates(_ tokens: Int, _ rates: [Double]) -> JSONValue {
                [
                    "tokens": JSONValue(tokens), "tokensPerSecond": .number(GenerationSpeed.median(rates)),
                    "runs": .array(rates.map { .number($0) }),
                ]
            }
            return [
                "model": .string(model.name), "processor": .string(Processor.name),
                "threads": JSONValue(Parallel.threads), "reading": rates(speed.promptTokens, speed.reading),
                "writing": rates(speed.writtenTokens, speed.writing), "bytesPerToken": JSONValue(speed.bytesPerToken),
                "bytesPerSecond": .number(speed.bandwidth), "skipping": skipped?.json ?? .null,
            ]
        }
    }
}
