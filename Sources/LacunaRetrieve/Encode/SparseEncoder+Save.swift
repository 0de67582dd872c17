import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaTensor

/// The module of ``TokenWeightEncoder`` in a folder of sentence-transformers, which has none of its own for it:
/// `model.safetensors` with `weight` [1, hiddenSize] and `bias` [1].
enum TokenWeighting {
    static let kind = "TokenWeighting"
    private static let file = "model.safetensors"

    static func load(_ directory: String, model: BERT, input: TextInput) throws -> TokenWeightEncoder {
        let path = FileSystem.join(directory, file)
        let tensors = try TensorFiles.open(path)
        let (weight, bias) = (try tensors.float("weight"), try tensors.float("bias"))
        guard weight.count == model.configuration.hiddenSize, bias.count == 1 else {
            throw LacunaError.malformed(
                file: path, location: "weight",
                reason: "has \(weight.count) numbers where hidden states have \(model.configuration.hiddenSize)")
        }
        return try TokenWeightEncoder(model, weight: weight.scalars, bias: bias.scalars[0], input: input)
    }

    static func save(_ encoder: TokenWeightEncoder, to directory: String) throws {
        let layer = Linear(
            weight: DenseWeight(Tensor(encoder.weight, shape: [1, encoder.weight.count])), bias: Tensor([encoder.bias]))
        try ModelFile.save(layer, to: FileSystem.join(directory, file))
    }
}

/// The module of ``EchoEncoder``: `config.json` with what stands before and between the copies, and how logits are pooled.
enum EchoPooling {
    static let kind = "EchoPooling"

    static func load(_ directory: String, model: Transformer, input: TextInput) throws -> EchoEncoder {
        let fields = try JSONFields(contentsOf: FileSystem.join(directory, "config.json"))
        return try EchoEncoder(
            model, input: input,
            form: EchoForm(before: try fields.string("before"), between: try fields.optionalString("between")),
            pooling: LexicalPooling(fields))
    }

    static func settings(_ encoder: EchoEncoder) -> JSONValue {
        [
            "before": .string(encoder.form.before), "between": encoder.form.between.map { .string($0) } ?? .null,
            "pooling_strategy": .string(encoder.pooling.strategy.rawValue),
            "activation_function": .string(encoder.pooling.activation.rawValue),
        ]
    }
}

extension LexicalPooling {
    /// As modules of sentence-transformers have it.
    init(_ fields: JSONFields) throws {
        guard let strategy = Strategy(rawValue: try fields.optionalString("pooling_strategy") ?? "max")
        else { throw fields.failure("pooling_strategy", "is neither max nor sum") }
        guard let activation = Activation(rawValue: try fields.optionalString("activation_function") ?? "relu")
        else { throw fields.failure("activation_function", "is neither relu nor log1p_relu") }
        self.init(activation: activation, strategy: strategy)
    }
}

extension SparseEncoder {
    /// Writes a folder that ``load(_:)`` and, if neither side is a ``TokenWeightEncoder`` or an ``EchoEncoder``, sentence-transformers read:
    /// `modules.json`, with a Router if queries and documents have encoders of their own.
    ///
    /// - Parameter overwrite: Replace a folder that was written before.
    /// - Throws: `LacunaError.unsupported` for encoders of other kinds than those of this library, and `LacunaError.file`.
    public func save(to path: String, overwrite: Bool = false) throws {
        let directory = try AtomicDirectory(path, overwrite: overwrite)
        let root = directory.workingPath
        if isShared {
            let modules = try Self.write(document, to: root, prefix: "")
            try Self.write(.array(Self.list(modules)), ModuleList.name, to: root)
        } else {
            let sides = [
                ("query", try Self.write(query, to: root, prefix: "query_")),
                ("document", try Self.write(document, to: root, prefix: "document_")),
            ]
            var (types, structure) = (JSONObject(), JSONObject())
            for (side, modules) in sides {
                for module in modules { types[module.path] = .string(module.type) }
                structure[side] = .array(modules.map { .string($0.path) })
            }
            try Self.write(
                [
                    "types": .object(types), "structure": .object(structure),
                    "parameters": [
                        "default_route": "document", "allow_empty_key": true, "route_mappings": .object(JSONObject()),
                    ],
                ], "router_config.json", to: root)
            try Self.write(
                .array(Self.list([(path: "", type: "sentence_transformers.base.modules.router.Router")])),
                ModuleList.name, to: root)
        }
        var settings = JSONObject()
        settings["model_type"] = "SparseEncoder"
        settings["prompts"] = [
            "query": .string(try Self.input(query).prompt), "document": .string(try Self.input(document).prompt),
        ]
        settings["default_prompt_name"] = .null
        settings["similarity_fn_name"] = "dot"
        if let maximumTerms { settings["max_active_dims"] = JSONValue(maximumTerms) }
        try Self.write(.object(settings), "config_sentence_transformers.json", to: root)
        try directory.commit()
    }

    private typealias Module = (path: String, type: String)

    private static func list(_ modules: [Module]) -> [JSONValue] {
        modules.enumerated().map { index, module in
            [
                "idx": JSONValue(index), "name": .string("\(index)"), "path": .string(module.path),
                "type": .string(module.type),
            ]
        }
    }

    private static func write(_ value: JSONValue, _ name: String, to directory: String) throws {
        try AtomicFile.write(value.serialized(.pretty) + "\n", to: FileSystem.join(directory, name))
    }

    private static func input(_ encoder: any TermEncoder) throws -> TextInput {
        switch encoder {
        case let encoder as SpladeEncoder: encoder.input
        case let encoder as TableEncoder: encoder.input
        case let encoder as TokenWeightEncoder: encoder.input
        case let encoder as EchoEncoder: encoder.input
        default: throw LacunaError.unsupported(file: nil, what: "saving an encoder of kind \(type(of: encoder))")
        }
    }

    /// Writes the modules of one side.
    private static func write(_ encoder: any TermEncoder, to root: String, prefix: String) throws -> [Module] {
        let input = try input(encoder)
        func folder(_ name: String) throws -> (name: String, place: String) {
            let place = FileSystem.join(root, prefix + name)
            try FileSystem.createDirectory(place)
            return (prefix + name, place)
        }
        func network(_ model: BERT, _ name: String) throws -> String {
            let folder = try folder(name)
            try model.save(to: folder.place, tokenizer: input.tokenizer)
            try limit(input, in: folder.place)
            return folder.name
        }
        let package = "sentence_transformers.sparse_encoder.modules."
        switch encoder {
        case let encoder as SpladeEncoder:
            let name = try network(encoder.model, "0_MLMTransformer")
            let pooling = try folder("1_SpladePooling")
            try write(
                [
                    "pooling_strategy": .string(encoder.pooling.strategy.rawValue),
                    "activation_function": .string(encoder.pooling.activation.rawValue),
                    "embedding_dimension": JSONValue(encoder.termCount),
                ], "config.json", to: pooling.place)
            return [
                (name, package + "mlm_transformer.MLMTransformer"),
                (pooling.name, package + "splade_pooling.SpladePooling"),
            ]
        case let encoder as TokenWeightEncoder:
            let name = try network(encoder.model, "0_Transformer")
            let weighting = try folder("1_" + TokenWeighting.kind)
            try TokenWeighting.save(encoder, to: weighting.place)
            return [
                (name, "sentence_transformers.base.modules.transformer.Transformer"),
                (weighting.name, "lacuna." + TokenWeighting.kind),
            ]
        case let encoder as EchoEncoder:
            let model = try folder("0_Transformer")
            try encoder.model.save(to: model.place, tokenizer: input.tokenizer)
            try limit(input, in: model.place)
            let pooling = try folder("1_" + EchoPooling.kind)
            try write(EchoPooling.settings(encoder), "config.json", to: pooling.place)
            return [
                (model.name, "sentence_transformers.base.modules.transformer.Transformer"),
                (pooling.name, "lacuna." + EchoPooling.kind),
            ]
        case let encoder as TableEncoder:
            let table = try folder("0_SparseStaticEmbedding")
            try input.tokenizer.writeTokenizerJSON(to: table.place)
            try limit(input, in: table.place)
            let writer = try SafetensorsWriter(FileSystem.join(table.place, "model.safetensors"))
            try writer.write("weight", type: .f32, shape: [encoder.weights.count], values: encoder.weights)
            try writer.finish()
            try write(["frozen": true], "config.json", to: table.place)
            return [(table.name, package + "sparse_static_embedding.SparseStaticEmbedding")]
        default: throw LacunaError.unsupported(file: nil, what: "saving an encoder of kind \(type(of: encoder))")
        }
    }

    /// Says in the tokenizer's settings how many tokens a text may have.
    private static func limit(_ input: TextInput, in directory: String) throws {
        let name = "tokenizer_config.json"
        var settings = try JSONFields(contentsOf: FileSystem.join(directory, name)).object
        settings["model_max_length"] = JSONValue(input.maximumLength)
        try write(.object(settings), name, to: directory)
    }
}
