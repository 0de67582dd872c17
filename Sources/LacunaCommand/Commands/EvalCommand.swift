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

            The text is read in windows; a stride below the window gives every token at least (window - stride) tokens \
            of context and takes longer. The first token of a text is never scored. What looks like a special token in \
            a text, such as <|im_end|>, is read as the characters it is made of.

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

    @OptionGroup var precision: PrecisionOptions
    @OptionGroup var output: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let content = try FileSystem.readText(text.path)
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

    /// What a model reads: as many tokens as are wanted, or the text that the first model read, if it cuts it otherwise.
    private func slice(of content: String, _ tokenizer: Tokenizer, after first: Evaluation?) throws -> TextSlice {
        let own = try TextSlice(text: content, of: text.path, limit: tokens, tokenizer: tokenizer)
        guard let first, tokens != nil, own.tokens != first.text.tokens else { return own }
        let same = first.tokenizer.decode(first.text.tokens)
        return try TextSlice(text: same, of: text.path, limit: nil, tokenizer: tokenizer)
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
