import ArgumentParser
import LacunaDictionary
import LacunaInfer
import LacunaMPI

struct ExplainTrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Trains dictionaries of a model's activations: several rules in one pass over them.",
        discussion: """
            Examples:
              lacuna explain train smollm2 --layer 12 --rule topk --k 32 --width 8192 --text corpus.txt --output sae
              lacuna explain train smollm2 --layer 12 --rule topk,batchtopk,abstopk --text corpus.txt --output sae
              lacuna explain train smollm2 --layer 12 --text corpus.txt --output sae --resume
              mpirun -n 2 lacuna explain train smollm2 --layer 12 --text corpus.txt --output sae --mpi

            The output directory gets the activations (unless --store names another place for them), checkpoints, metrics.jsonl \
            and one dictionary a rule. A run that was stopped and is resumed ends, bit for bit, as one that was not.

            With --mpi the processes that mpirun has started, on one machine or several, share the tokens of every batch. The first             runs the model and writes the files; the others read the activations, in a directory that all machines see. The result is that             of one process, up to the rounding of sums.

            Rules: relu, topk, abstopk, batchtopk (also mutual-choice), batchabstopk, feature-choice, jumprelu, gated, \
            matching-pursuit. Signed thresholds (batchabstopk) have no name in the layout of SAELens.
            """)

    @Argument(help: "A model file or directory, or a catalogue name.")
    var model: ModelArgument

    @OptionGroup var place: SiteOptions
    @OptionGroup var source: ActivationTextOptions

    @Option(help: ArgumentHelp("One rule, or several with commas between.", valueName: "names"))
    var rule = "topk"

    @Option(in: 1...1_000_000, help: ArgumentHelp("Active features a token.", valueName: "n"))
    var k = 32

    @Option(in: 1...16_777_216, help: ArgumentHelp("Features.", valueName: "n"))
    var width = 8192

    @Option(help: ArgumentHelp("Widths of nested dictionaries, with commas between (Matryoshka).", valueName: "list"))
    var prefixes: String?

    @Option(within: .above(0), help: ArgumentHelp("Weight of the penalty of relu, gated and jumprelu.", valueName: "λ"))
    var sparsity: Double?

    @Option(within: .above(0), help: ArgumentHelp("Width of jumprelu's rectangles.", valueName: "x"))
    var bandwidth = 0.1

    @Option(in: 1...1_000_000, help: ArgumentHelp("Tokens of a batch.", valueName: "n"))
    var batch = 2048

    @Option(
        in: 1...1_000_000_000, help: ArgumentHelp("Steps; one pass over the activations by default.", valueName: "n"))
    var steps: Int?

    @Option(
        within: .above(0),
        help: ArgumentHelp("Learning rate of Adam; 2e-4 √(16384 / width) by default.", valueName: "rate"))
    var learningRate: Double?

    @Option(
        in: 1...16_777_216,
        help: ArgumentHelp("Tokens after which a feature that was never active counts as dead.", valueName: "n"))
    var deadAfter = 1_000_000

    @Option(help: ArgumentHelp("Where activations are, or go.", valueName: "directory"), completion: .directory)
    var store: String?

    @Option(help: ArgumentHelp("Where results go.", valueName: "directory"), completion: .directory)
    var output: String

    @Flag(help: "Go on with the run in the output directory.")
    var resume = false

    @Option(in: 1...1_000_000_000, help: ArgumentHelp("Steps between checkpoints.", valueName: "n"))
    var checkpointEvery = 500

    @Option(seed: ArgumentHelp("Changes every random choice.", valueName: "n"))
    var seed: UInt64 = 0

    @Flag(help: "Share every batch among the processes of mpirun; needs a program that was built with MPI.")
    var mpi = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        let processes: any Collective = try mpi ? MPIProcesses.join() : SingleProcess()
        let progress = options.begin(speaks: processes.rank == 0)
        defer { progress.clear() }
        let rules = try rule.split(separator: ",").map {
            (name: String($0), rule: try SelectionRule(named: String($0), k: k, bandwidth: bandwidth))
        }
        if rules.contains(where: { if case .gradientAware = $0.rule { true } else { false } }) {
            throw LacunaError.unsupported(
                file: nil,
                what: "gradient-aware selection here: stored activations have no gradients; the library takes them")
        }
        if rules.isEmpty || Set(rules.map(\.name)).count < rules.count {
            throw LacunaError.invalidArgument("--rule", reason: "'\(rule)': name some rules, each once")
        }
        let nested = try (prefixes ?? "").split(separator: ",").map { text -> Int in
            guard let value = Int(text) else {
                throw LacunaError.invalidArgument("--prefixes", reason: "'\(text)' is no width")
            }
            return value
        }
        // What cannot work is said before hours are spent.
        for (_, rule) in rules { try rule.validate(width: width) }
        let (activations, lock) = try activations(rules.map(\.name), processes, progress)
        defer { lock?.release() }
        let description = activations.description
        let dimensions = description.dimensions[description.sites.firstIndex(of: place.value)!]
        let batches = try activations.batches(of: place.value, size: batch, seed: seed)
        let steps = steps ?? max(1, activations.rows / batch)
        let dictionaries = try rules.map { name, rule in
            let dictionary = try SparseAutoencoder(
                .init(inputDimensions: dimensions, width: width, rule: rule), seed: seed)
            var settings = DictionaryTraining(for: rule, dimensions: dimensions, steps: steps, sparsity: sparsity)
            settings.learningRate = learningRate
            settings.prefixes = nested
            settings.seed = seed
            if case .dead? = settings.auxiliary?.choice { settings.auxiliary!.choice = .dead(afterTokens: deadAfter) }
            return (dictionary: dictionary, settings: settings)
        }
        let trainer = try DictionaryTrainer(
            dictionaries, source: batches, steps: steps, checkpointEvery: checkpointEvery, collective: processes)
        trainer.settings = arguments(steps: steps, description)
        if resume {
            let before = try DictionaryTrainer<StoredBatches>.settings(inCheckpointOf: output)
            guard before == trainer.settings else {
                throw LacunaError.file(
                    path: output, reason: "its run had other settings: \(before?.serialized() ?? "none")")
            }
            try trainer.resume(from: output)
        }
        let report = try Interruption.whileSaving { try trainer.train(directory: output, progress: progress) }
        if processes.rank == 0 {
            for ((name, _), (dictionary, _)) in zip(rules, dictionaries) {
                dictionary.origin = DictionaryOrigin(
                    model: description.model, site: place.value.description, contextLength: description.context)
                try dictionary.save(to: FileSystem.join(output, name), overwrite: true)
            }
            progress.clear()
            printResult(json: form.json, json(rules.map(\.name), report), text: text(rules.map(\.name), report))
        }
        // After an error mpirun ends the others, which would wait here for ever.
        if let processes = processes as? MPIProcesses { try processes.leave() }
    }

    /// What the dictionaries are trained on, and the right to write the output directory, which the first of the processes has.
    private func activations(
        _ rules: [String], _ processes: any Collective, _ progress: ProgressDisplay
    ) throws -> (ActivationStore, DirectoryLock?) {
        let path = store ?? FileSystem.join(output, "activations")
        if processes.rank > 0 {
            try processes.barrier()
            return (try ActivationStore(path), nil)
        }
        if resume {
            try DictionaryTrainer<StoredBatches>.requireCheckpoint(
                in: output, otherwise: "start it again without --resume")
        } else if DictionaryTrainer<StoredBatches>.hasCheckpoint(output) {
            throw LacunaError.file(
                path: output, reason: "holds a run already: go on with --resume, or give another --output")
        }
        if !resume { try RunDirectory.check(output) }
        for name in rules { try AtomicDirectory.check(FileSystem.join(output, name), overwrite: true) }
        let loaded = try LanguageModel(model, progress: progress)
        try place.value.validate(for: loaded.decoder.configuration)
        let slice = try TextSlice(source.text.path, limit: source.tokens, tokenizer: loaded.tokenizer)
        try DictionaryTrainer<StoredBatches>.requireMemory(
            dictionaries: rules.count, inputs: place.value.dimensions(of: loaded.decoder.configuration), width: width,
            batch: batch)
        let lock = try resume ? DirectoryLock(output) : RunDirectory.claim(output)
        let activations = try ActivationStore.write(
            loaded.decoder, model: loaded.name, tokens: slice.tokens, sites: [place.value], context: source.context,
            skipping: source.skip, to: path, progress: progress)
        try processes.barrier()
        return (activations, lock)
    }

    private func arguments(steps: Int, _ activations: ActivationStore.Description) -> JSONValue {
        [
            "rules": .string(rule), "k": JSONValue(k), "width": JSONValue(width), "prefixes": .string(prefixes ?? ""),
            "sparsity": sparsity.map { .number($0) } ?? .null, "bandwidth": .number(bandwidth),
            "batch": JSONValue(batch),
            "steps": JSONValue(steps), "learning_rate": learningRate.map { .number($0) } ?? .null,
            "dead_after": JSONValue(deadAfter), "seed": .string("\(seed)"), "site": .string(place.value.description),
            "activations": .string(activations.checksum), "context": JSONValue(activations.context),
            "skip": JSONValue(activations.skipped),
        ]
    }

    private func last(_ report: TrainingReport, _ index: Int, of count: Int) -> [(String, Double)] {
        let prefix = count > 1 ? "\(index)." : ""
        return ["unexplained", "active", "dead"].compactMap { name in
            (report.metrics.last?[prefix + name]).map { (name, $0) }
        }
    }

    private func text(_ names: [String], _ report: TrainingReport) -> String {
        var table = Table([
            .left("rule"), .right("variance explained"), .right("active"), .right("dead"), .left("written"),
        ])
        for (i, name) in names.enumerated() {
            let values = Dictionary(uniqueKeysWithValues: last(report, i, of: names.count))
            table.append([
                name, Quantities.percent(1 - (values["unexplained"] ?? .nan), 2),
                Quantities.fixed(values["active"] ?? .nan, 1),
                Quantities.percent(values["dead"] ?? .nan, 1), FileSystem.join(output, name),
            ])
        }
        return "\(Quantities.grouped(report.steps)) steps of \(Quantities.grouped(batch)) tokens, "
            + "\(Quantities.duration(report.seconds)); of the last batch:\n\n" + table.text(console: .output)
    }

    private func json(_ names: [String], _ report: TrainingReport) -> JSONValue {
        var dictionaries: [JSONValue] = []
        for (i, name) in names.enumerated() {
            var object = JSONObject()
            object["rule"] = .string(name)
            object["path"] = .string(FileSystem.join(output, name))
            for (key, value) in last(report, i, of: names.count) { object[key] = .number(value) }
            dictionaries.append(.object(object))
        }
        return [
            "steps": JSONValue(report.steps), "seconds": .number(report.seconds), "dictionaries": .array(dictionaries),
        ]
    }
}
