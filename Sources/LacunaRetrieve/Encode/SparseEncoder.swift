import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// A pair of encoders, for queries and for documents, over one vocabulary.
public struct SparseEncoder: Sendable {
    /// Encodes queries.
    public let query: any TermEncoder
    /// Encodes documents; equal to ``query`` where both sides share one network.
    public let document: any TermEncoder
    /// Whether ``query`` and ``document`` are one and the same.
    public let isShared: Bool
    /// How many of a text's largest weights are kept; nil for all.
    public var maximumTerms: Int?

    /// - Throws: `LacunaError.invalidArgument` if the vocabularies differ.
    public init(query: any TermEncoder, document: any TermEncoder, maximumTerms: Int? = nil) throws {
        guard query.termNames == document.termNames else {
            throw LacunaError.invalidArgument(
                "encoders",
                reason: "the vocabularies of queries (\(query.termCount) terms) and of documents "
                    + "(\(document.termCount)) differ")
        }
        (self.query, self.document, self.maximumTerms) = (query, document, maximumTerms)
        isShared = false
    }

    /// One encoder for both sides.
    public init(_ encoder: any TermEncoder, maximumTerms: Int? = nil) {
        (query, document, self.maximumTerms, isShared) = (encoder, encoder, maximumTerms, true)
    }

    /// The name of each column of the vectors: the same for queries and documents.
    public var termNames: [String] { document.termNames }

    /// [texts, terms].
    public func encodeQueries(
        _ texts: [String], progress: (any ProgressReporter)? = nil
    ) throws -> SparseMatrix<Float> {
        try query.encode(all: texts, maximumTerms: maximumTerms, progress: progress)
    }

    /// [texts, terms].
    public func encodeDocuments(
        _ texts: [String], progress: (any ProgressReporter)? = nil
    ) throws -> SparseMatrix<Float> {
        try document.encode(all: texts, maximumTerms: maximumTerms, progress: progress)
    }

    /// A row of a matrix by the names of its terms, as indexes take it.
    public func weights(_ row: SparseVector<Float>) -> [(term: String, weight: Float)] {
        row.map { (termNames[$0.index], $0.value) }
    }

    // MARK: Loading

    /// The folder of a training run's directory that holds its encoder.
    static let runFolder = "encoder"

    /// Whether a directory is that of a run that trained an encoder.
    public static func isRun(_ directory: String) -> Bool {
        FileSystem.exists(FileSystem.join(FileSystem.join(directory, runFolder), ModuleList.name))
    }

    /// Loads a `SparseEncoder` of sentence-transformers (`modules.json` with MLMTransformer, SpladePooling,
    /// SparseStaticEmbedding and Router; also TokenWeighting and EchoPooling of this library), the directory of a run that trained one,
    /// or a plain BERT with a head for masked tokens, which is taken for a SPLADE.
    ///
    /// - Throws: `LacunaError.unsupported` for other modules or models, and what reading them throws.
    public static func load(_ directory: String) throws -> SparseEncoder {
        guard FileSystem.isDirectory(directory) else {
            throw LacunaError.file(path: directory, reason: "is no directory of a model")
        }
        guard FileSystem.exists(FileSystem.join(directory, ModuleList.name)) else {
            // The directory of a training run stands for the encoder in it.
            if isRun(directory) { return try load(FileSystem.join(directory, runFolder)) }
            return SparseEncoder(try splade(directory, pooling: LexicalPooling(), prompt: ""))
        }
        let list = try ModuleList(directory)
        let settingsPath = FileSystem.join(directory, "config_sentence_transformers.json")
        let settings = FileSystem.exists(settingsPath) ? try JSONFields(contentsOf: settingsPath) : nil
        let prompts = try settings?.optionalFields("prompts")
        let (queryPrompt, documentPrompt) = (
            try prompts?.optionalString("query") ?? "", try prompts?.optionalString("document") ?? ""
        )
        var (queryModules, documentModules) = (list.entries, list.entries)
        if let router = list.entries.first, router.kind == "Router", list.entries.count == 1 {
            let place = FileSystem.join(directory, router.path)
            (queryModules, documentModules) = try routes(place)
            queryModules = queryModules.map {
                ModuleList.Entry(kind: $0.kind, path: FileSystem.join(router.path, $0.path))
            }
            documentModules = documentModules.map {
                ModuleList.Entry(kind: $0.kind, path: FileSystem.join(router.path, $0.path))
            }
        }
        let limit = try settings?.optionalInteger("max_active_dims")
        let document = try encoder(directory, documentModules, prompt: documentPrompt, list.path)
        if queryModules == documentModules && queryPrompt == documentPrompt {
            return SparseEncoder(document, maximumTerms: limit)
        }
        let query = try encoder(directory, queryModules, prompt: queryPrompt, list.path)
        return try SparseEncoder(query: query, document: document, maximumTerms: limit)
    }

    private static func encoder(
        _ directory: String, _ modules: [ModuleList.Entry], prompt: String, _ file: String
    ) throws -> any TermEncoder {
        func place(_ index: Int) -> String { FileSystem.join(directory, modules[index].path) }
        switch modules.map(\.kind) {
        case ["MLMTransformer", "SpladePooling"], ["Transformer", "SpladePooling"]:
            let fields = try JSONFields(contentsOf: FileSystem.join(place(1), "config.json"))
            return try splade(place(0), pooling: LexicalPooling(fields), prompt: prompt)
        case ["SparseStaticEmbedding"]:
            let tensors = try TensorFiles.open(FileSystem.join(place(0), "model.safetensors"))
            try tensors.requireFinite()
            let tokenizer = try Tokenizer(directory: place(0))
            let weights = try tensors.float("weight")
            return try TableEncoder(
                weights.scalars, input: try TextInput(tokenizer, maximumLength: maximumLength(place(0)), prompt: prompt)
            )
        case ["Transformer", TokenWeighting.kind]:
            let (model, input) = try network(place(0), prompt: prompt)
            return try TokenWeighting.load(place(1), model: model, input: input)
        case ["Transformer", EchoPooling.kind]:
            let tensors = try TensorFiles.open(place(0))
            try MachineMemory.require(tensors.loadedBytes(), for: "the encoder \(place(0))")
            try tensors.requireFinite()
            let model = try Transformer.load(tensors, at: place(0))
            let tokenizer = try Tokenizer(directory: place(0))
            let input = try TextInput(tokenizer, maximumLength: maximumLength(place(0)), prompt: prompt)
            return try EchoPooling.load(place(1), model: model, input: input)
        case let names:
            throw LacunaError.unsupported(
                file: file, what: "modules \(names.joined(separator: ", ")) for sparse vectors")
        }
    }

    private static func splade(_ directory: String, pooling: LexicalPooling, prompt: String) throws -> SpladeEncoder {
        let (model, input) = try network(directory, prompt: prompt)
        return try SpladeEncoder(model, input: input, pooling: pooling)
    }

    private static func network(_ directory: String, prompt: String) throws -> (model: BERT, input: TextInput) {
        let tensors = try TensorFiles.open(directory)
        try MachineMemory.require(tensors.loadedBytes(), for: "the encoder \(directory)")
        try tensors.requireFinite()
        let model = try BERT.load(directory)
        return (
            model,
            try TextInput(
                Tokenizer(directory: directory), maximumLength: try ModuleList.maximumLength(directory, model),
                prompt: prompt)
        )
    }

    /// What the tokenizer's settings allow; without a word on it, as much as any text has.
    private static func maximumLength(_ directory: String) throws -> Int {
        let path = FileSystem.join(directory, "tokenizer_config.json")
        let number = FileSystem.exists(path) ? try JSONFields(contentsOf: path).optionalNumber("model_max_length") : nil
        return number.map { $0 >= 3 && $0 < 1e9 ? Int($0) : 1 << 30 } ?? 1 << 30
    }

    /// The modules of a Router for queries and for documents.
    private static func routes(
        _ directory: String
    ) throws -> (query: [ModuleList.Entry], document: [ModuleList.Entry]) {
        let fields = try JSONFields(contentsOf: FileSystem.join(directory, "router_config.json"))
        let (types, structure) = (try fields.fields("types"), try fields.fields("structure"))
        func route(_ name: String) throws -> [ModuleList.Entry] {
            try structure.array(name).map {
                guard let path = $0.stringValue, !path.hasPrefix("/"), !path.contains("..") else {
                    throw structure.failure(name, "is no list of folders")
                }
                return ModuleList.Entry(kind: ModuleList.kind(try types.string(path)), path: path)
            }
        }
        return (try route("query"), try route("document"))
    }
}

/// The `modules.json` of a directory of sentence-transformers.
struct ModuleList {
    static let name = "modules.json"

    struct Entry: Equatable {
        /// The last part of the module's type, such as `SpladePooling`.
        var kind: String
        /// Its folder in the directory; empty for the directory itself.
        var path: String
    }

    let path: String
    let entries: [Entry]

    init(_ directory: String) throws {
        path = FileSystem.join(directory, Self.name)
        let file = path
        guard let list = try JSONValue(contentsOf: path).arrayValue else {
            throw LacunaError.malformed(file: path, location: "document", reason: "expected an array")
        }
        entries = try list.map {
            let fields = try JSONFields($0, file: file)
            let folder = try fields.string("path")
            guard !folder.hasPrefix("/"), !folder.contains("..") else {
                throw fields.failure("path", "leads out of the directory")
            }
            return Entry(kind: Self.kind(try fields.string("type")), path: folder)
        }
    }

    static func kind(_ type: String) -> String { type.split(separator: ".").last.map(String.init) ?? type }

    /// Tokens that a model may be given: what the folder says, and not more than the model has positions for.
    static func maximumLength(_ directory: String, _ model: BERT) throws -> Int {
        var length = model.configuration.maximumPositions
        for (name, key) in [
            ("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length"),
        ] {
            let path = FileSystem.join(directory, name)
            guard FileSystem.exists(path), let number = try JSONFields(contentsOf: path).optionalNumber(key) else {
                continue
            }
            if number >= 3 && number < Double(length) { length = Int(number) }
        }
        return length
    }
}
