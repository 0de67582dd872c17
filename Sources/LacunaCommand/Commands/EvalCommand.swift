import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

struct EvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Measures the perplexity of a model on a text, alone or next to another model.",
        discussion: """
            Examples:
              lacuna eval smollm2 --text Data/wikitext-2/test.txt --tokens 8192
              lacuna eval sparse-model --text test.txt --compare smollm2
              lacuna eval sparse-model --text test.txt --stride 256 --at-most 60
              lacuna eval smollm2 --text test.txt --activation teal:0.4 --activation wina:0.4 --calibration train.txt

            Each --activation is a row of its own beside the dense model: what it leaves out of this text, what a token reads \
            then, and the perplexity. At one ratio all methods leave out equally many weights. Calibrate on another text than \
            the one that is scored.

            With --attention, --kv, --prefill and --evict a text is written rather than read: half of every window is a prompt, \
            the rest goes token by token, beside the model that reads and keeps all keys as floats.

            The text is read in windows; a stride below the window gives every token at least (window - stride) tokens \
            of context and takes longer. The first token of a text is never scored. What looks like a special token in \
            a text, such as <|im_end|>, is read as the characters it is made of; with --special-tokens it is that token.

            Perplexities of models that cut the text into other tokens cannot be compared. Such models read the same text, as \
            far as the first one's --tokens reach, and are compared in bits a byte.
            """)

    @Argument(help: "A model file or directory, or a catalogue name.")
    var model: ModelArgument

    @Option(help: ArgumentHelp("The text, UTF-8; - is the input.", valueName: "file"))
    var text: InputFile

    @Option(help: ArgumentHelp("A second model, evaluated on the same text.", valueName: "model"))
    var compare: ModelArgument?

    @Option(
        in: 2...Int(Int32.max),
        help: ArgumentHelp("Only so many tokens from the beginning of the text.", valueName: "n"))
    var tokens: Int?

    @Option(
        in: 2...Int(Int32.max),
        help: ArgumentHelp("Tokens of a window; 512, or what the model can take, by default.", valueName: "n"))
    var window: Int?

    @Option(
        in: 1...Int(Int32.max),
        help: ArgumentHelp("Tokens from one window's beginning to the next; the window by default.", valueName: "n"))
    var stride: Int?

    @Option(
        within: .above(0),
        help: ArgumentHelp("Exit with 1 if the (first) model's perplexity is above this.", valueName: "perplexity"))
    var atMost: Double?

    @OptionGroup var skipping: SkippingOptions
    @OptionGroup var precision: PrecisionOptions
    @OptionGroup var output: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        if !skipping.activation.isEmpty && compare != nil {
            throw ValidationError("--activation compares with the dense model; leave --compare out")
        }
        let readsKeys = skipping.concernsKeys
        if readsKeys && (compare != nil || stride != nil) {
            throw ValidationError(
                "--attention, --kv, --prefill and --evict compare with the dense model, window by window; leave --compare and "
                    + "--stride out")
        }
        if (readsKeys || !skipping.activation.isEmpty) && atMost != nil {
            throw ValidationError(
                "--at-most is for one model; with --activation, --attention, --kv, --prefill or --evict there are several "
                    + "results")
        }
        if readsKeys && skipping.activation.count > 1 {
            throw ValidationError("give one --activation with --attention, --kv, --prefill or --evict")
        }
    }

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let content = try FileSystem.readText(text.path)
        if skipping.concernsKeys { return try compareCaches(content, progress) }
        if !skipping.activation.isEmpty { return try compareActivations(content, progress) }
        var results: [Evaluation] = []
        for model in [model] + (compare.map { [$0] } ?? []) {
            let loaded = try LanguageModel(
                model, weights: precision.weights, head: precision.head, progress: progress)
            let slice = try slice(of: content, loaded.tokenizer, after: results.first)
            results.append(
                Evaluation(
                    model: loaded.name, text: slice, tokenizer: loaded.tokenizer, size: ModelSize(loaded.decoder),
                    perplexity: try Perplexity.measure(
                        loaded.decoder, tokens: slice.tokens, window: window ?? loaded.defaultWindow, stride: stride,
                        progress: progress)))
        }
        progress.clear()
        printResult(json: output.json, .array(results.map(\.json)), text: Self.text(results))
        if let atMost, !(results[0].perplexity.value <= atMost) {
            throw CommandFailure(
                .failure,
                "perplexity \(Quantities.fixed(results[0].perplexity.value, 3)) is above the bar of \(atMost)")
        }
    }

    /// The model as it is, and leaving out inputs in each of the ways asked for.
    private func compareActivations(_ content: String, _ progress: ProgressDisplay) throws {
        let loaded = try LanguageModel(model, weights: precision.weights, head: precision.head, progress: progress)
        let slice = try TextSlice(
            text: content, of: text.path, limit: tokens, tokenizer: loaded.tokenizer, specials: skipping.specialTokens)
        var results: [ActivationEvaluation] = []
        let plans = try skipping.activation.map { try skipping.plan($0, loaded, progress: progress) }
        for plan in [nil] + plans {
            results.append(
                try ActivationEvaluation(
                    loaded, plan: plan, tokens: slice.tokens, window: window, stride: stride, progress: progress))
        }
        progress.clear()
        let report = ActivationTable(results: results)
        printResult(
            json: output.json, report.json(file: slice.file, tokens: slice.tokens.count),
            text: "\(slice.description)\n\n\(report.text)")
    }

    /// The model with all keys as floats, and as it is asked to read and keep them; an activation gate is part of both.
    private func compareCaches(_ content: String, _ progress: ProgressDisplay) throws {
        var loaded = try LanguageModel(model, weights: precision.weights, head: precision.head, progress: progress)
        let slice = try TextSlice(
            text: content, of: text.path, limit: tokens, tokenizer: loaded.tokenizer, specials: skipping.specialTokens)
        if let words = skipping.activation.first {
            try loaded.skipActivations(try skipping.plan(words, loaded, progress: progress), progress: progress)
        }
        let request = try skipping.cacheRequest(loaded, progress: progress)
        let length = min(window ?? loaded.defaultWindow, slice.tokens.count)
        let results = try [CacheRequest(), request].map {
            try CacheEvaluation(
                loaded, $0, tokens: slice.tokens, window: length, prompt: max(1, length / 2), progress: progress)
        }
        progress.clear()
        let report = CacheTable(results: results)
        printResult(
            json: output.json, report.json(file: slice.file, tokens: slice.tokens.count),
            text: "\(slice.description)\n\n\(report.text)")
    }

    /// What a model reads: as many tokens as are wanted, or the text that the first model read, if it cuts it otherwise.
    private func slice(of content: String, _ tokenizer: Tokenizer, after first: Evaluation?) throws -> TextSlice {
        let specials = skipping.specialTokens
        let own = try TextSlice(
            text: content, of: text.path, limit: tokens, tokenizer: tokenizer, specials: specials)
        guard let first, tokens != nil, own.tokens != first.text.tokens else { return own }
        let same = first.tokenizer.decode(first.text.tokens)
        return try TextSlice(text: same, of: text.path, limit: nil, tokenizer: tokenizer, specials: specials)
    }

    private static func text(_ results: [Evaluation]) -> String {
        var table = Table([
            .left("model"), .right("sparsity"), .right("bytes a token"), .right("perplexity"), .right("loss"),
            .right("bits a byte"), .right("tokens scored"), .right("seconds"), .right("tokens/s"),
        ])
        for result in results { table.append(result.row) }
        var text = "\(results[0].text.description)\n\n\(table.text(console: .output))"
        if results.count == 2 && results[0].text.tokens != results[1].text.tokens {
            let difference = results[0].bitsPerByte - results[1].bitsPerByte
            text += "\n\nthe models cut the text into different tokens, so perplexities do not compare; bits a byte of "
            text += "\(results[0].model) - \(results[1].model): \(Quantities.fixed(difference, 4))"
        } else if results.count == 2 {
            let ratio = results[0].perplexity.value / results[1].perplexity.value
            let difference = results[0].perplexity.loss - results[1].perplexity.loss
            text += "\n\nperplexity of \(results[0].model) / \(results[1].model): \(Quantities.fixed(ratio, 4)); "
            text += "loss difference \(Quantities.fixed(difference, 4)) a token"
        }
        return text
    }
}

/// One model's result on one text.
struct Evaluation {
    let model: String
    let text: TextSlice
    let tokenizer: Tokenizer
    let size: ModelSize
    let perplexity: Perplexity

    /// The mean loss in bits, spread over the bytes of the text: comparable between tokenizers.
    var bitsPerByte: Double {
        perplexity.loss / logarithm(2) * Double(text.tokens.count) / Double(max(text.bytes, 1))
    }

    private var speed: Double { Double(perplexity.tokens) / perplexity.seconds }

    var row: [String] {
        [
            model, Quantities.percent(size.sparsity), Quantities.bytes(size.bytesPerToken),
            Quantities.fixed(perplexity.value, 3), Quantities.fixed(perplexity.loss, 4),
            Quantities.fixed(bitsPerByte, 4), Quantities.grouped(perplexity.tokens),
            Quantities.fixed(perplexity.seconds, 1), Quantities.fixed(speed, 0),
        ]
    }

    var json: JSONValue {
        [
            "model": .string(model), "text": .string(text.file), "tokens": JSONValue(text.tokens.count),
            "tokensScored": JSONValue(perplexity.tokens), "perplexity": .number(perplexity.value),
            "loss": .number(perplexity.loss), "bitsPerByte": .number(bitsPerByte),
            "seconds": .number(perplexity.seconds),
            "sparsity": .number(size.sparsity), "bytesPerToken": JSONValue(size.bytesPerToken),
        ]
    }
}
