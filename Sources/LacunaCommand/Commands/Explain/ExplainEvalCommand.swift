import ArgumentParser
import LacunaDictionary
import LacunaInfer

struct ExplainEvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract:
            "Measures dictionaries: variance explained, loss recovered, dead and dense features, what the error is made of.",
        discussion: """
            Example:
              lacuna explain eval sae/topk sae/batchtopk --model smollm2 --text test.txt --tokens 65536

            The loss recovered is (L(zeros) - L(reconstruction)) / (L(zeros) - L(model)), with the reconstruction spliced into the \
            model. The linear share is that of the error which least squares from the activations predict on other tokens.
            """)

    @Argument(help: "Directories of dictionaries in the layout of SAELens.", completion: .directory)
    var dictionaries: [String]

    @Option(help: ArgumentHelp("The model.", valueName: "model"))
    var model: ModelArgument

    @OptionGroup var source: ActivationTextOptions

    @Option(in: 0...4095, help: ArgumentHelp("The layer, if the dictionary does not say.", valueName: "n"))
    var layer: Int?

    @Option(help: ArgumentHelp("The site, if the dictionary does not say.", valueName: "site"))
    var site: ActivationSite.Part?

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let files = try dictionaries.map { try DictionaryFile($0, layer: layer, part: site) }
        let loaded = try LanguageModel(model, progress: progress)
        let slice = try TextSlice(source.text.path, limit: source.tokens, tokenizer: loaded.tokenizer)
        var results: [(DictionaryFile, ModelDictionaryReport)] = []
        for file in files {
            results.append(
                (
                    file,
                    try ModelDictionaryReport(
                        file.dictionary, in: loaded.decoder, at: file.site, tokens: slice.tokens,
                        context: source.context,
                        skipping: source.skip, progress: progress)
                ))
        }
        progress.clear()
        var table = Table([
            .left("dictionary"), .left("site"), .right("features"), .right("active"), .right("explained"),
            .right("cosine"),
            .right("loss recovered"), .right("loss"), .right("dead"), .right("dense"), .right("linear share"),
        ])
        for (file, report) in results {
            table.append([
                file.name, file.site.description, Quantities.grouped(file.dictionary.width),
                Quantities.fixed(report.quality.active, 1), Quantities.percent(report.quality.explained, 2),
                Quantities.fixed(report.quality.cosine, 3), Quantities.percent(report.loss.recovered, 2),
                Quantities.fixed(report.loss.reconstructed, 4), Quantities.percent(report.quality.dead, 1),
                Quantities.percent(report.quality.dense(), 1),
                report.darkMatter.map { Quantities.percent($0.linearShare, 1) } ?? "-",
            ])
        }
        let loss = results.first.map {
            "\nloss of the model \(Quantities.fixed($0.1.loss.clean, 4)), with zeros \(Quantities.fixed($0.1.loss.ablated, 4))"
        }
        printResult(
            json: form.json, .array(results.map { Self.json($0.0, $0.1) }),
            text: "\(slice.description)\n\n\(table.text(console: .output))\(loss ?? "")")
    }

    private static func json(_ file: DictionaryFile, _ report: ModelDictionaryReport) -> JSONValue {
        var object = JSONObject()
        object["dictionary"] = .string(file.name)
        object["site"] = .string(file.site.description)
        object["rule"] = file.dictionary.rule.json
        object["width"] = JSONValue(file.dictionary.width)
        object["tokens"] = JSONValue(report.quality.tokens)
        object["active"] = .number(report.quality.active)
        object["explained"] = .number(report.quality.explained)
        object["cosine"] = .number(report.quality.cosine)
        object["dead"] = .number(report.quality.dead)
        object["dense"] = .number(report.quality.dense())
        object["density_histogram"] = .array(report.quality.densityHistogram.map { JSONValue($0.features) })
        object["loss"] = .number(report.loss.clean)
        object["loss_reconstructed"] = .number(report.loss.reconstructed)
        object["loss_ablated"] = .number(report.loss.ablated)
        object["loss_recovered"] = .number(report.loss.recovered)
        if let dark = report.darkMatter {
            object["linear_share"] = .number(dark.linearShare)
            object["norm_determination"] = .number(dark.normDetermination)
            object["unexplained_nonlinear"] = .number(dark.unexplainedNonlinear)
        }
        return .object(object)
    }
}
