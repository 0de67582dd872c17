import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaPrune
import LacunaTensor

/// Training of learned sparse encoders as a configuration describes it: any encoder of queries × encoder of documents ×
/// regularisers × objective.
public enum RetrievalTraining {
    /// What the configuration calls this kind of data.
    public static let kind = "retrieval"

    /// What ``TrainingJob/Environment/kinds`` of LacunaPrune is given for ``kind``.
    ///
    /// - Throws: `LacunaError.malformed` that names the key for mistakes in the file, and what reading data and models throws.
    public static func task(
        _ file: ConfigurationFile, seed: UInt64, environment: TrainingJob.Environment
    ) throws -> any JobTask {
        try RetrievalReader(file: file, environment: environment, seed: seed).task()
    }

    /// Configurations that work as they are, by name, as ``TrainingJob/examples``.
    public static let examples: [(name: String, text: String)] = [
        (
            "splade-cranfield",
            """
            # SPLADE-tiny learns to find Cranfield's abstracts: `lacuna encode` and `lacuna index build` take the output
            # directory as --model. Queries need no network: each word weighs what it is worth in these texts.
            seed = 0

            [data]
            kind = "retrieval"
            path = "Data/cranfield"       # as BEIR has it; or lines {"query", "positive", "negatives", "scores"}
            split = "test"                # which judgements: qrels/test.tsv (default: train)
            test_fraction = 0.2           # of the queries, for evaluation
            batch = 8
            negatives = 2                 # chosen for each query, from BM25's first results
            query_length = 32             # tokens at most
            document_length = 128

            [model]
            from = "splade-tiny"          # or a folder; or, from nothing, vocabulary, dimensions, layers, heads

            [query]
            encoder = "table"             # shared, splade, weights, echo, table or binary
            trainable = true              # the table begins with inverse document frequencies

            [document]
            encoder = "splade"            # splade, weights (of the text's own words) or echo (a language model)
            regularizer = "df-flops"      # flops, l1, idf-flops, df-flops or none
            weight = 0.02
            warm_up = 100

            [loss]
            objective = "contrastive"     # or margin-mse or kl, with [teacher] from = ["bm25", "minilm"]

            [optimizer]
            name = "adamw"
            learning_rate = 1e-4

            [schedule]
            name = "linear"
            warm_up = 20

            [training]
            steps = 200
            clip = 1.0
            evaluate_every = 50
            """
        ),
        (
            "encoder-from-nothing",
            """
            # A sparse encoder made anew, of words of the texts themselves, from texts alone: a sentence is to find the rest of
            # its paragraph (the inverse cloze task).
            seed = 0

            [data]
            kind = "retrieval"
            path = "Data/cranfield"
            task = "inverse-cloze"        # or body-first, linked, or judged (the default)
            valid = "test"                # evaluated on these judgements
            batch = 16
            query_length = 32
            document_length = 96

            [model]
            vocabulary = 4000             # or the path of a tokenizer.json
            dimensions = 64
            layers = 1
            heads = 2

            [query]
            encoder = "shared"            # the documents' own
            regularizer = "flops"
            weight = 0.01
            warm_up = 100

            [document]
            encoder = "splade"
            pooling = "relu"              # or log1p_relu
            regularizer = "flops"
            weight = 0.01
            warm_up = 100

            [optimizer]
            name = "adamw"
            learning_rate = 2e-3

            [training]
            steps = 300
            clip = 1.0
            """
        ),
    ]
}

/// Reads `[data]`, `[model]`, `[query]`, `[document]`, `[loss]` and `[teacher]` of a run that trains a retriever.
struct RetrievalReader {
    let file: ConfigurationFile
    let environment: TrainingJob.Environment
    let seed: UInt64

    private func located<T>(_ key: String, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let LacunaError.invalidArgument(argument, reason) {
            let named = "data.\(argument)"
            throw file.failure(file.contains(named) ? named : key, reason)
        } catch let LacunaError.unsupported(nil, what) {
            throw file.failure(key, "\(what) is not supported")
        }
    }

    func task() throws -> any JobTask {
        let data = try readData()
        // Words that only queries have are words of the vocabulary too.
        let backbone = try backbone(data.texts + (data.train?.examples.map(\.query) ?? []))
        let inputs = try located("data.query_length") {
            (
                query: try input("data.query_length", default: 64, backbone),
                document: try input("data.document_length", default: 256, backbone)
            )
        }
        var generator = SeededGenerator(seed: seed, stream: 0x5B1A)
        let document = try encoder(
            "document", of: ["splade", "weights", "echo", "table", "binary"], default: "splade", backbone, data.texts,
            inputs.document, using: &generator)
        let query =
            try file.optionalString("query.encoder") ?? "shared" == "shared"
            ? document
            : encoder(
                "query", of: ["shared", "splade", "weights", "echo", "table", "binary"], default: "shared", backbone,
                data.texts,
                inputs.query, using: &generator)
        let (queryPenalty, documentPenalty) = (try regularizer("query"), try regularizer("document"))
        let needsFrequencies = [queryPenalty, documentPenalty].contains { $0?.kind == .idfFlops }
        let retriever = try located("document.regularizer") {
            try LexicalRetriever(
                query: query, document: document, queryRegularizer: queryPenalty, documentRegularizer: documentPenalty,
                idf: needsFrequencies ? table(data.texts, inputs.document, terms: document.termCount) : nil)
        }
        guard !retriever.trainableParameters.isEmpty else {
            throw file.failure("document.encoder", "neither side has anything to learn")
        }
        retriever.objective =
            RetrievalObjective(
                rawValue: try file.choice(
                    "loss.objective", of: RetrievalObjective.allCases.map(\.rawValue), default: "contrastive"))
            ?? .contrastive
        retriever.temperature = Float(try file.optionalNumber("loss.temperature", in: 1e-3...1e6) ?? 1)
        let origin = try origin(data)
        let size = try file.optionalInteger("data.batch", in: 1...4096) ?? 16
        let (teachers, scale) = try teachers(data, objective: retriever.objective)
        let readers = (
            SideReader(input: inputs.query, readsAddedTokens: query.readsAddedTokens),
            SideReader(input: inputs.document, readsAddedTokens: document.readsAddedTokens)
        )
        let negatives = data.negatives
        let batches = { (seed: UInt64, accumulation: Int) in
            RetrievalBatches(
                origin: origin(seed), query: readers.0, document: readers.1, size: size, negatives: negatives,
                teachers: teachers, scale: scale, accumulation: accumulation, seed: seed)
        }
        let limit = try file.optionalInteger("training.evaluate_documents", in: 1...10_000_000) ?? 2000
        let evaluation = RetrievalTask.Evaluation(data.held, documents: limit)
        return RetrievalTask(
            retriever, query: query, document: document, batches: batches, evaluation: evaluation, inputs: inputs,
            summary: data.summary
                + "; \(evaluation.queries.count) queries and \(evaluation.documents.count) documents to evaluate")
    }

    // MARK: Data

    private struct Content {
        /// Judged pairs; nil for pairs drawn from pages.
        var train: RetrievalExamples?
        var pages: (task: PairTask, pages: [LinkedPage])?
        var held: RetrievalExamples
        var negatives = 0
        /// What frequencies are counted in.
        var texts: [String]
        var summary: String
    }

    private func readData() throws -> Content {
        guard let paths = try file.optionalStrings("data.path"), let first = paths.first else {
            throw file.failure("data.path", "is missing")
        }
        let tasks: [String: PairTask] = [
            "inverse-cloze": .inverseCloze, "body-first": .bodyFirst, "linked": .linked,
        ]
        let name = try file.choice("data.task", of: ["judged"] + tasks.keys.sorted(), default: "judged")
        let isCollection = FileSystem.isDirectory(first)
        if isCollection && paths.count > 1 { throw file.failure("data.path", "is one directory, or files") }
        return try tasks[name].map { try pages(paths, isCollection, $0) } ?? judged(paths, isCollection)
    }

    private func testFraction() throws -> Double {
        try file.optionalNumber("data.test_fraction", in: 0.001...0.99) ?? 0.1
    }

    /// The examples of `data.valid`: judgements of another split, or files.
    private func valid(_ directory: String?) throws -> RetrievalExamples? {
        guard let paths = try file.optionalStrings("data.valid") else { return nil }
        if file.contains("data.test_fraction") {
            throw file.failure("data.test_fraction", "stands beside valid: give one")
        }
        guard let directory else { return try RetrievalExamples(files: paths) }
        guard paths.count == 1 else { throw file.failure("data.valid", "is the name of one split") }
        return try RetrievalExamples(BEIRDataset(directory, split: paths[0]), file: directory)
    }

    private func judged(_ paths: [String], _ isCollection: Bool) throws -> Content {
        var all: RetrievalExamples
        if isCollection {
            let split = try file.optionalString("data.split") ?? "train"
            all = try RetrievalExamples(BEIRDataset(paths[0], split: split), file: paths[0])
        } else {
            all = try RetrievalExamples(files: paths)
        }
        var held: RetrievalExamples
        if let valid = try valid(isCollection ? paths[0] : nil) {
            held = valid
        } else {
            (all, held) = try located("data.test_fraction") { try all.split(share: testFraction(), seed: seed) }
        }
        let negatives = try file.optionalInteger("data.negatives", in: 0...1000) ?? 0
        if negatives > 0 {
            if all.examples.allSatisfy(\.negatives.isEmpty) {
                try all.mineNegatives(try file.optionalInteger("data.mined", in: 1...10_000) ?? 50)
            }
            if let bare = all.examples.first(where: \.negatives.isEmpty) {
                throw file.failure("data.negatives", "query '\(bare.query.prefix(60))' has none")
            }
        }
        return Content(
            train: all, held: held, negatives: negatives, texts: all.documents,
            summary: "\(all.examples.count) queries with \(all.documents.count) documents")
    }

    private func pages(_ paths: [String], _ isCollection: Bool, _ task: PairTask) throws -> Content {
        let corpus = isCollection ? [FileSystem.join(paths[0], "corpus.jsonl")] : paths
        var documents: [TextDocument] = []
        for path in corpus {
            let lines = try JSONLines(path)
            while let document = try lines.next({ try TextDocument($0) }) { documents.append(document) }
            if documents.isEmpty { throw lines.isEmpty("texts") }
        }
        let places = Dictionary(documents.enumerated().map { ($1.id, $0) }, uniquingKeysWith: { first, _ in first })
        var all = documents.map { document in
            let links = document.metadata["links"]?.arrayValue?.compactMap { $0.stringValue.flatMap { places[$0] } }
            return LinkedPage(text: document.text, links: links ?? [])
        }
        var generator = SeededGenerator(seed: seed, stream: 0x7E58)
        let held: RetrievalExamples
        if let valid = try valid(isCollection ? paths[0] : nil) {
            held = valid
        } else {
            // Pages that pairs for evaluation are drawn from are pages of no other pair, but where links lead.
            let order = Array(all.indices).shuffled(using: &generator)
            let count = max(1, Int(try testFraction() * Double(all.count)))
            let own = Set(order.prefix(count))
            var hidden = all
            for index in all.indices where !own.contains(index) && task != .linked { hidden[index].paragraphs = [] }
            held = try located("data.task") {
                try RetrievalExamples(task, pages: hidden, count: min(500, 4 * count), using: &generator)
            }
            for index in own { all[index].paragraphs = [] }
        }
        try located("data.task") { _ = try task.pair(all, using: &generator) }
        return Content(
            pages: (task, all), held: held, texts: documents.map(\.content), summary: "\(all.count) pages")
    }

    /// Where pairs come from, given a seed.
    private func origin(_ data: Content) throws -> (UInt64) -> RetrievalBatches.Origin {
        if let (task, pages) = data.pages { return { _ in .pages(task, pages) } }
        guard let train = data.train else { throw file.failure("data.path", "has no pairs") }
        return { .examples(train, EpochOrder(count: train.examples.count, seed: $0)) }
    }

    // MARK: Encoders

    /// What both sides are made of.
    private struct Backbone {
        let tokenizer: Tokenizer
        /// The network that is loaded; both are nil for one that is made anew, or none.
        var model: BERT?
        var decoder: Transformer?
        var pooling = LexicalPooling()
        var form = EchoForm()

        /// Tokens of a text that the loaded network has positions for; nil for one that is made anew.
        var positions: Int? {
            if let decoder {
                return EchoForm.Tokens(form, tokenizer).longest(decoder.configuration.maximumPositions)
            }
            return model?.configuration.maximumPositions
        }
        /// Terms of the vectors.
        var terms: Int {
            decoder?.configuration.vocabularySize ?? model?.configuration.vocabularySize ?? tokenizer.vocabularySize
        }
        /// Numbers of the loaded network.
        var parameterCount: Int { decoder?.parameterCount ?? model?.configuration.parameterCount ?? 0 }
    }

    private func backbone(_ texts: [String]) throws -> Backbone {
        if let name = try file.optionalString("model.from") {
            for key in ["vocabulary", "dimensions", "layers", "heads", "hidden"] where file.contains("model.\(key)") {
                throw file.failure("model.\(key)", "is that of the model it is made from")
            }
            let path = FileSystem.exists(name) ? name : try environment.fetch(name)
            let loaded = try Self.network(path)
            // Values, gradients and two moments.
            try MachineMemory.require(
                shape: [loaded.parameterCount, 4], of: Float.self, for: "training all weights (\(file.file))")
            return loaded
        }
        let tokenizer: Tokenizer
        if let path = try? file.optionalString("model.vocabulary") {
            tokenizer = try Tokenizer(json: path)
        } else {
            let size = try file.integer("model.vocabulary", in: 6...10_000_000)
            let vocabulary = try WordPieceVocabulary(texts, size: size)
            tokenizer = try Tokenizer(vocabulary.tokenizerJSON, name: file.file)
        }
        return Backbone(tokenizer: tokenizer)
    }

    /// The network of a folder, with or without a list of modules, or of a GGUF file.
    private static func network(_ path: String) throws -> Backbone {
        if FileSystem.exists(FileSystem.join(path, ModuleList.name)) || SparseEncoder.isRun(path) {
            switch try SparseEncoder.load(path).document {
            case let encoder as SpladeEncoder:
                return Backbone(tokenizer: encoder.input.tokenizer, model: encoder.model, pooling: encoder.pooling)
            case let encoder as TokenWeightEncoder:
                return Backbone(tokenizer: encoder.input.tokenizer, model: encoder.model)
            case let encoder as EchoEncoder:
                return Backbone(
                    tokenizer: encoder.input.tokenizer, decoder: encoder.model, pooling: encoder.pooling,
                    form: encoder.form)
            default: throw LacunaError.unsupported(file: path, what: "going on from an encoder without a network")
            }
        }
        let source = try TensorFiles.open(path)
        try source.requireFinite()
        if source is GGUFFile {
            return Backbone(
                tokenizer: try Tokenizer(gguf: GGUFFile(path)), decoder: try Transformer.load(source, at: path))
        }
        let settings = try JSONFields(contentsOf: FileSystem.join(path, "config.json"))
        let tokenizer = try Tokenizer(directory: path)
        return try settings.optionalString("model_type") == "bert"
            ? Backbone(tokenizer: tokenizer, model: BERT.load(path))
            : Backbone(tokenizer: tokenizer, decoder: Transformer.load(source, at: path))
    }

    private func input(_ key: String, default value: Int, _ backbone: Backbone) throws -> TextInput {
        let most = backbone.positions ?? 65_536
        return try TextInput(
            backbone.tokenizer, maximumLength: try file.optionalInteger(key, in: 1...most) ?? min(value, most))
    }

    /// Sizes of a network that is made anew.
    private func sizes() throws -> (dimensions: Int, heads: Int, layers: Int, hidden: Int, longest: Int) {
        let (dimensions, heads) = (
            try file.integer("model.dimensions", in: 1...8192), try file.integer("model.heads", in: 1...256)
        )
        let longest = max(
            try file.optionalInteger("data.query_length", in: 1...65_536) ?? 64,
            try file.optionalInteger("data.document_length", in: 1...65_536) ?? 256)
        let hidden = try file.optionalInteger("model.hidden", in: 1...65_536) ?? 4 * dimensions
        return (dimensions, heads, try file.integer("model.layers", in: 1...256), hidden, longest)
    }

    private func bert(
        _ key: String, _ backbone: Backbone, using generator: inout SeededGenerator
    ) throws -> TrainableBERT {
        if backbone.decoder != nil {
            throw file.failure(key, "needs an encoder of the BERT family; a language model takes encoder = \"echo\"")
        }
        if let model = backbone.model { return try TrainableBERT(model) }
        let sizes = try sizes()
        let configuration = try located("model.heads") {
            try BERTConfiguration(
                vocabularySize: backbone.tokenizer.vocabularySize, hiddenSize: sizes.dimensions,
                intermediateSize: sizes.hidden, layerCount: sizes.layers, headCount: sizes.heads,
                maximumPositions: sizes.longest)
        }
        try MachineMemory.require(
            shape: [configuration.parameterCount, 4], of: Float.self, for: "training all weights (\(file.file))")
        return try TrainableBERT(BERT(random: configuration, using: &generator))
    }

    private func decoder(
        _ key: String, _ backbone: Backbone, using generator: inout SeededGenerator
    ) throws -> TrainableTransformer {
        if backbone.model != nil {
            throw file.failure(
                key, "needs a causal language model; encoders of the BERT family see all of a text at once")
        }
        if let decoder = backbone.decoder { return try TrainableTransformer(decoder) }
        let sizes = try sizes()
        guard sizes.dimensions % sizes.heads == 0, sizes.dimensions / sizes.heads % 2 == 0 else {
            throw file.failure(
                "model.heads", "\(sizes.dimensions) dimensions do not divide into \(sizes.heads) heads of even size")
        }
        let prompt = EchoForm.Tokens(backbone.form, backbone.tokenizer)
        let parameters =
            sizes.layers * sizes.dimensions * (4 * sizes.dimensions + 3 * sizes.hidden)
            + backbone.tokenizer.vocabularySize * sizes.dimensions
        try MachineMemory.require(
            shape: [parameters, 4], of: Float.self, for: "training all weights (\(file.file))")
        return try TrainableTransformer(
            TransformerConfiguration(
                vocabularySize: backbone.tokenizer.vocabularySize, hiddenSize: sizes.dimensions,
                intermediateSizes: Array(repeating: sizes.hidden, count: sizes.layers), headCount: sizes.heads,
                keyValueHeadCount: sizes.heads, headSize: sizes.dimensions / sizes.heads,
                maximumPositions: 2 * sizes.longest + prompt.before.count + (prompt.between?.count ?? 0),
                tiedEmbeddings: true), using: &generator)
    }

    /// Inverse document frequencies, one for each of the terms; what no text has is worth most.
    private func table(_ texts: [String], _ input: TextInput, terms: Int) throws -> [Float] {
        let found = try TableEncoder(inverseDocumentFrequenciesOf: texts, input: input).weights
        return (0..<terms).map { $0 < found.count ? found[$0] : found.max() ?? 1 }
    }

    private func encoder(
        _ side: String, of kinds: [String], default kind: String, _ backbone: Backbone, _ texts: [String],
        _ input: TextInput, using generator: inout SeededGenerator
    ) throws -> any StorableTermEncoder {
        let key = "\(side).encoder"
        let terms = backbone.terms
        func pooling() throws -> LexicalPooling {
            var pooling = backbone.pooling
            if let name = try file.optionalString("\(side).pooling") {
                guard let activation = LexicalPooling.Activation(rawValue: name) else {
                    throw file.failure("\(side).pooling", "is neither relu nor log1p_relu")
                }
                pooling.activation = activation
            }
            return pooling
        }
        switch try file.choice(key, of: kinds, default: kind) {
        case "table":
            let scale = Float(try file.optionalNumber("\(side).scale", in: 1e-6...1e6) ?? 1)
            return TableTermEncoder(
                try table(texts, input, terms: terms).map { $0 * scale },
                isTrainable: try file.optionalBool("\(side).trainable") ?? false)
        case "binary":
            return BinaryTermEncoder(
                terms: terms, scale: Float(try file.optionalNumber("\(side).scale", in: 1e-6...1e6) ?? 0.3))
        case "weights":
            return TrainableTokenWeightEncoder(
                try bert(key, backbone, using: &generator), addedTokens: input.addedTokens, using: &generator)
        case "echo":
            let network = try decoder(key, backbone, using: &generator)
            network.recomputesBlocks = try file.optionalBool("model.recompute") ?? false
            return try TrainableEchoEncoder(
                network, tokenizer: backbone.tokenizer, form: backbone.form, pooling: pooling())
        default:
            let network = try bert(key, backbone, using: &generator)
            return try located(key) { try TrainableSpladeEncoder(network, pooling: pooling()) }
        }
    }

    private func regularizer(_ side: String) throws -> SparsityRegularizer? {
        let kinds = SparsityRegularizer.Kind.allCases.map(\.rawValue)
        let name = try file.choice("\(side).regularizer", of: ["none"] + kinds, default: "none")
        guard let kind = SparsityRegularizer.Kind(rawValue: name) else { return nil }
        return try SparsityRegularizer(
            kind, weight: try file.number("\(side).weight", in: 0...1e6),
            warmUp: try file.optionalInteger("\(side).warm_up", in: 0...1_000_000_000) ?? 0)
    }

    // MARK: Teachers

    private func teachers(
        _ data: Content, objective: RetrievalObjective
    ) throws -> (teachers: [RetrievalTeacher], scale: Float?) {
        let names = try file.optionalStrings("teacher.from") ?? []
        guard objective != .contrastive else {
            if file.containsSection("teacher") {
                throw file.failure("teacher.from", "is for the objectives margin-mse and kl")
            }
            return ([], nil)
        }
        guard !names.isEmpty else {
            throw file.failure("teacher.from", "is missing: bm25, file, or folders of encoders")
        }
        guard let train = data.train else {
            throw file.failure("teacher.from", "pairs drawn from pages have no teacher")
        }
        if names.contains(RetrievalTeacher.file) {
            guard train.examples.allSatisfy({ $0.scores != nil }) else {
                throw file.failure("teacher.from", "not every line of the file has scores")
            }
            guard data.negatives > 0 else {
                throw file.failure("teacher.from", "scores of the file are those of its negatives: set data.negatives")
            }
        }
        let found = try names.map { name in
            try RetrievalTeacher(name, path: { FileSystem.exists($0) ? $0 : try environment.fetch($0) }, train)
        }
        // Scores of several teachers have ranges of their own.
        let isNormalized = try file.optionalBool("teacher.normalize") ?? (names.count > 1)
        let scale = try file.optionalNumber("teacher.scale", in: 1e-6...1e6)
        if scale != nil && !isNormalized {
            throw file.failure("teacher.scale", "is for scores that are normalised: set normalize = true")
        }
        return (found, isNormalized ? Float(scale ?? 30) : nil)
    }
}
