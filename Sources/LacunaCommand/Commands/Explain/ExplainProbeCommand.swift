import ArgumentParser
import LacunaDictionary
import LacunaInfer

struct ExplainProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe",
        abstract:
            "Asks dictionaries for concepts that are known: held by one feature, split among several, absorbed by others.",
        discussion: """
            Example:
              lacuna explain probe sae/topk sae/batchtopk --model smollm2 --text test.txt --concepts letters

            Concepts are of single tokens: the first letter of a word, or what kind of token it is. Probes are fitted to the even \
            sequences of the text and judged on the odd ones, with as many examples without the concept as with it. 'Model' is F₁ of a \
            linear probe of the activations, 'feature' that of the best feature alone, 'features' how many the concept is split among, each \
            adding 0.03 or more, and 'together' their F₁. 'Absorbed' is the share of examples in which none of them is active and another \
            feature stands in for them.
            """)

    @Argument(help: "Directories of dictionaries in the layout of SAELens.", completion: .directory)
    var dictionaries: [String]

    @Option(help: ArgumentHelp("The model.", valueName: "model"))
    var model: ModelArgument

    @OptionGroup var source: ActivationTextOptions

    /// Which concepts are asked for.
    enum Concepts: String, CaseIterable, ExpressibleByArgument {
        case letters, kinds, all

        var list: [TokenConcept] {
            switch self {
            case .letters: TokenConcept.letters
            case .kinds: TokenConcept.kinds
            case .all: TokenConcept.letters + TokenConcept.kinds
            }
        }
    }

    @Option(
        help: ArgumentHelp("letters: what words begin with; kinds: capitals, numbers and such; all.", valueName: "name")
    )
    var concepts: Concepts = .all

    @Option(in: 40...1_000_000, help: ArgumentHelp("Most examples of each kind.", valueName: "n"))
    var examples = 500

    @Option(in: 0...4095, help: ArgumentHelp("The layer, if the dictionary does not say.", valueName: "n"))
    var layer: Int?

    @Option(help: ArgumentHelp("The site, if the dictionary does not say.", valueName: "site"))
    var site: ActivationSite.Part?

    @Option(seed: ArgumentHelp("Changes which examples are drawn.", valueName: "n"))
    var seed: UInt64 = 0

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let files = try dictionaries.map { try DictionaryFile($0, layer: layer, part: site) }
        let loaded = try LanguageModel(model, progress: progress)
        let slice = try TextSlice(source.text.path, limit: source.tokens, tokenizer: loaded.tokenizer)
        let reports = try files.map { file in
            try ConceptReport(
                of: file.dictionary, in: loaded.decoder, at: file.site, concepts: concepts.list, tokens: slice.tokens,
                text: { loaded.tokenizer.decode([$0]) }, context: source.context, skipping: source.skip,
                examples: examples, seed: seed, progress: progress)
        }
        progress.clear()
        var table = Table([
            .left("dictionary"), .left("concept"), .right("examples"), .right("model"), .right("feature"), .right("F₁"),
            .right("features"), .right("together"), .right("absorbed"),
        ])
        for (file, report) in zip(files, reports) {
            for row in report.rows {
                let probe = row.probe
                table.append([
                    file.name, row.name, Quantities.grouped(probe.positives), Quantities.fixed(probe.activations, 3),
                    probe.features.first.map { "\($0)" } ?? "-", Quantities.fixed(probe.single, 3),
                    "\(probe.features.count)", Quantities.fixed(probe.together, 3),
                    Quantities.percent(probe.absorbed, 1),
                ])
            }
        }
        let skipped = reports.first?.skipped ?? []
        printResult(
            json: form.json, .array(zip(files, reports).map(Self.json)),
            text: "\(slice.description)\n\n\(table.text(console: .output))"
                + (skipped.isEmpty ? "" : "\ntoo few examples: \(skipped.joined(separator: ", "))"))
    }

    private static func json(_ file: DictionaryFile, _ report: ConceptReport) -> JSONValue {
        [
            "dictionary": .string(file.name), "site": .string(file.site.description),
            "skipped": .array(report.skipped.map { .string($0) }),
            "concepts": .array(
                report.rows.map { row in
                    [
                        "concept": .string(row.name), "examples": JSONValue(row.probe.positives),
                        "model": .number(row.probe.activations), "single": .number(row.probe.single),
                        "features": .array(row.probe.features.map { JSONValue($0) }),
                        "together": .number(row.probe.together), "absorbed": .number(row.probe.absorbed),
                        "absorbers": .array(
                            row.probe.absorbers.map {
                                ["feature": JSONValue($0.feature), "examples": JSONValue($0.examples)]
                            }),
                    ]
                }),
        ]
    }
}
