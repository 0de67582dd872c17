import ArgumentParser
import LacunaDictionary
import LacunaInfer

struct ExplainCompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Trains one dictionary of two models and says which features only one of them has.",
        discussion: """
            Example:
              lacuna explain compare sparse-model smollm2 --layer 12 --text corpus.txt --output compared

            The models read the same tokens: they need the same tokenizer and width. A feature whose direction in one model is \
            shorter than a tenth of that in the other is a candidate; it counts as the second model's alone if the first holds less \
            than 0.2 of it in its error and less than 0.5 in its reconstruction (latent scaling).
            """)

    @Argument(help: "The first model, a pruned one for instance.")
    var first: ModelArgument

    @Argument(help: "The second, its original.")
    var second: ModelArgument

    @OptionGroup var place: SiteOptions
    @OptionGroup var source: ActivationTextOptions

    @Option(in: 1...1_000_000, help: ArgumentHelp("Active features a token.", valueName: "n"))
    var k = 32

    @Option(in: 1...16_777_216, help: ArgumentHelp("Features.", valueName: "n"))
    var width = 4096

    @Option(in: 1...1_000_000, help: ArgumentHelp("Tokens of a batch.", valueName: "n"))
    var batch = 2048

    @Option(in: 1...1_000_000_000, help: ArgumentHelp("Steps; one pass by default.", valueName: "n"))
    var steps: Int?

    @Option(
        within: .above(0),
        help: ArgumentHelp("Learning rate of Adam; 2e-4 √(16384 / width) by default.", valueName: "rate"))
    var learningRate: Double?

    @Option(help: ArgumentHelp("Where activations and checkpoints go.", valueName: "directory"), completion: .directory)
    var output: String

    @Flag(help: "Go on with the run in the output directory.")
    var resume = false

    @Option(seed: ArgumentHelp("Changes every random choice.", valueName: "n"))
    var seed: UInt64 = 0

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        if resume {
            try DictionaryTrainer<PairedBatches>.requireCheckpoint(
                in: output, otherwise: "start it again without --resume")
        } else if DictionaryTrainer<PairedBatches>.hasCheckpoint(output) {
            throw LacunaError.file(
                path: output, reason: "holds a run already: go on with --resume, or give another --output")
        }
        if !resume { try RunDirectory.check(output) }
        var lock: DirectoryLock?
        defer { lock?.release() }
        let stores = try [("first", first), ("second", second)].map { name, model in
            let loaded = try LanguageModel(model, progress: progress)
            try place.value.validate(for: loaded.decoder.configuration)
            try DictionaryTrainer<PairedBatches>.requireMemory(
                dictionaries: 2, inputs: place.value.dimensions(of: loaded.decoder.configuration), width: width,
                batch: batch)
            let slice = try TextSlice(source.text.path, limit: source.tokens, tokenizer: loaded.tokenizer)
            lock = try lock ?? (resume ? DirectoryLock(output) : RunDirectory.claim(output))
            return try ActivationStore.write(
                loaded.decoder, model: loaded.name, tokens: slice.tokens, sites: [place.value], context: source.context,
                skipping: source.skip, to: FileSystem.join(output, name), progress: progress)
        }
        let batches = try PairedBatches(stores[0], place.value, stores[1], place.value, size: batch, seed: seed)
        let d = stores.map { $0.description.dimensions[0] }
        let steps = steps ?? max(1, stores[0].rows / batch)
        let crosscoder = try Crosscoder(dimensions: (d[0], d[1]), width: width, rule: .batchTopK(k), seed: seed)
        var settings = DictionaryTraining(for: .batchTopK(k), dimensions: d[0] + d[1], steps: steps)
        settings.learningRate = learningRate
        settings.scalesInputs = false
        settings.auxiliary = AuxiliaryLoss(.dead(afterTokens: min(1 << 24, max(1, stores[0].rows / 2))))
        let trainer = try DictionaryTrainer(
            [(crosscoder.dictionary, settings)], source: batches, steps: steps, checkpointEvery: 500)
        trainer.settings = [
            "k": JSONValue(k), "width": JSONValue(width), "batch": JSONValue(batch), "steps": JSONValue(steps),
            "seed": .string("\(seed)"), "learning_rate": learningRate.map { .number($0) } ?? .null,
            "activations": .array(stores.map { .string("\($0.description.model) \($0.description.checksum)") }),
        ]
        if resume {
            guard try DictionaryTrainer<PairedBatches>.settings(inCheckpointOf: output) == trainer.settings else {
                throw LacunaError.file(path: output, reason: "its run had other settings")
            }
            try trainer.resume(from: output)
        }
        _ = try Interruption.whileSaving { try trainer.train(directory: output, progress: progress) }
        let sample = stride(from: 0, to: min(stores[0].rows, 32_768), by: 2048).map {
            batches.rows($0..<min($0 + 2048, stores[0].rows))
        }
        let comparison = try ModelComparisonByFeatures(crosscoder, on: sample)
        progress.clear()
        let names = stores.map(\.description.model)
        var table = Table([.left("features"), .right("number")])
        table.append(["active", Quantities.grouped(comparison.active)])
        table.append(["of both models", Quantities.grouped(comparison.shared)])
        for (name, side) in zip(names, [comparison.first, comparison.second]) {
            table.append(["only in \(name), by norms", Quantities.grouped(side.candidates.count)])
            table.append(["only in \(name), by latent scaling too", Quantities.grouped(side.confirmed.count)])
        }
        let shares = zip(names, comparison.explained).map { "\($0) \(Quantities.percent($1, 2))" }.joined(
            separator: ", ")
        printResult(
            json: form.json,
            [
                "active": JSONValue(comparison.active), "shared": JSONValue(comparison.shared),
                "explained": .array(comparison.explained.map { .number($0) }),
                "first": Self.json(comparison.first), "second": Self.json(comparison.second),
            ], text: "variance explained: \(shares)\n\n\(table.text(console: .output))")
    }

    private static func json(_ side: ModelComparisonByFeatures.Side) -> JSONValue {
        [
            "candidates": .array(side.candidates.map { JSONValue($0) }),
            "confirmed": .array(side.confirmed.map { JSONValue($0) }),
        ]
    }
}
