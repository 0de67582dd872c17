import ArgumentParser
import LacunaDictionary
import LacunaInfer

struct ExplainPageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "page",
        abstract: "Writes one page of a dictionary's features: where they are active, what they do, which are alike.",
        discussion: """
            Example:
              lacuna explain page sae/topk --model smollm2 --text test.txt --tokens 100000 --output features.html

            The page is one file that opens in a browser without a network. A line of context is a stretch of text around a place \
            where the feature is strong; shades are its strength at each token.
            """)

    @Argument(help: "Directory of a dictionary in the layout of SAELens.", completion: .directory)
    var dictionary: String

    @Option(help: ArgumentHelp("The model.", valueName: "model"))
    var model: ModelArgument

    @OptionGroup var source: ActivationTextOptions

    @Option(in: 0...4095, help: ArgumentHelp("The layer, if the dictionary does not say.", valueName: "n"))
    var layer: Int?

    @Option(help: ArgumentHelp("The site, if the dictionary does not say.", valueName: "site"))
    var site: ActivationSite.Part?

    @Option(in: 1...1000, help: ArgumentHelp("Places shown of each feature.", valueName: "n"))
    var contexts = 8

    @Option(in: 1...1000, help: ArgumentHelp("Tokens shown on both sides.", valueName: "n"))
    var radius = 12

    @Option(name: .shortAndLong, help: ArgumentHelp("The page; - is the output.", valueName: "file"))
    var output: OutputFile

    @Flag(help: "Replace the file if it is there.")
    var force = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        try OutputFile.check([output], overwriting: force)
        let file = try DictionaryFile(dictionary, layer: layer, part: site)
        let loaded = try LanguageModel(model, progress: progress)
        let slice = try TextSlice(source.text.path, limit: source.tokens, tokenizer: loaded.tokenizer)
        let atlas = try FeatureAtlas(
            of: file.dictionary, in: loaded.decoder, model: loaded.name, at: file.site, tokens: slice.tokens,
            context: source.context, skipping: source.skip, contexts: contexts, radius: radius, progress: progress)
        try output.write(atlas.page(loaded.tokenizer))
        progress.clear()
        printResult(
            json: form.json,
            [
                "page": .string(output.path), "features": JSONValue(atlas.features.count),
                "width": JSONValue(atlas.width),
                "tokens": JSONValue(atlas.tokens),
            ],
            text: "\(slice.description)\n\(Quantities.grouped(atlas.features.count)) of "
                + "\(Quantities.grouped(atlas.width)) features are active; written: \(output.path)", files: [output])
    }
}
