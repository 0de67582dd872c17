import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The sizes of an encoder of pictures of the ViT family.
public struct ViTConfiguration: Sendable, Equatable {
    /// Which published architecture a checkpoint follows: DeiT has a second token and classifier, learned from a teacher.
    public enum Architecture: String, Sendable, CaseIterable {
        /// One token and one classifier.
        case vit
        /// Two of each.
        case deit
    }

    /// ViT or DeiT.
    public var architecture: Architecture
    /// Width of the residual stream.
    public var hiddenSize: Int
    /// Width of the feed-forward parts, between their two matrices.
    public var intermediateSize: Int
    /// Blocks.
    public var layerCount: Int
    /// Heads of attention; a divisor of ``hiddenSize``.
    public var headCount: Int
    /// Pixels of a side; of a patch's side.
    public var imageSize: Int
    /// Pixels of a patch's side; a divisor of ``imageSize``.
    public var patchSize: Int
    /// Numbers a pixel: 3 for red, green and blue.
    public var channels: Int
    /// Added to the variance in every layer norm.
    public var normEpsilon: Float
    /// The function between the two matrices of a feed-forward part.
    public var activation: Activation
    /// Whether queries, keys and values have biases.
    public var attentionBias: Bool
    /// The names of the classes, in the order of the logits; empty for an encoder without a classifier.
    public var classes: [String]

    /// Entries of one head's query, key and value.
    public var headSize: Int { hiddenSize / headCount }
    /// Patches of a picture, each of which becomes a token.
    public var patchCount: Int { (imageSize / patchSize) * (imageSize / patchSize) }
    /// Tokens in front of those of the patches: one for the class, and in DeiT one for the teacher.
    public var specialTokens: Int { architecture == .deit ? 2 : 1 }
    var tokens: Int { specialTokens + patchCount }

    private static let read: Set<String> = [
        "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "num_attention_heads",
        "num_hidden_layers", "image_size", "patch_size", "num_channels", "qkv_bias",
        // Without effect when running, or of heads that are not read.
        "attention_probs_dropout_prob", "hidden_dropout_prob", "encoder_stride", "pooler_act", "pooler_output_size",
    ]

    /// Reads the content of a `config.json`.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for another architecture or settings that are not computed here,
    ///   ``LacunaError/malformed(file:location:reason:)`` for missing or impossible values.
    public init(_ fields: JSONFields) throws {
        let type = try fields.string("model_type")
        guard let architecture = Architecture(rawValue: type) else {
            throw LacunaError.unsupported(file: fields.file, what: "model_type '\(type)' (supported: vit, deit)")
        }
        try HuggingFaceSettings.requireKnown(fields, read: Self.read, neutral: [:])
        self.architecture = architecture
        hiddenSize = try fields.size("hidden_size", atMost: 1 << 20)
        intermediateSize = try fields.size("intermediate_size", atMost: 1 << 22)
        layerCount = try fields.size("num_hidden_layers", atMost: 1 << 12)
        headCount = try fields.size("num_attention_heads", atMost: 1 << 14)
        imageSize = try fields.size("image_size", atMost: 1 << 14, default: 224)
        patchSize = try fields.size("patch_size", atMost: 1 << 14, default: 16)
        channels = try fields.size("num_channels", atMost: 1 << 10, default: 3)
        normEpsilon = try fields.normEpsilon("layer_norm_eps", default: 1e-12)
        activation = try fields.activation("hidden_act", default: "gelu")
        attentionBias = try fields.bool("qkv_bias", default: true)
        classes = []
        if let names = try fields.optionalFields("id2label") {
            classes = try (0..<names.object.count).map { try names.string("\($0)") }
        }
        guard hiddenSize % headCount == 0 else {
            throw fields.failure("num_attention_heads", "\(hiddenSize) entries do not divide into \(headCount) heads")
        }
        guard imageSize % patchSize == 0 else {
            throw fields.failure("patch_size", "\(imageSize) pixels do not divide into patches of \(patchSize)")
        }
    }

    /// The content of a `config.json` that transformers reads.
    ///
    /// - Parameter modelClass: What transformers calls the network with its head.
    func json(_ modelClass: String) -> JSONObject {
        var object = JSONObject()
        object["architectures"] = [.string(modelClass)]
        object["model_type"] = .string(architecture.rawValue)
        object["dtype"] = "float32"
        object["hidden_act"] = .string(JSONFields.name(of: activation))
        object["layer_norm_eps"] = .number(Double(normEpsilon.description) ?? 1e-12)
        object["qkv_bias"] = .bool(attentionBias)
        for (key, value) in [
            ("hidden_size", hiddenSize), ("intermediate_size", intermediateSize), ("num_hidden_layers", layerCount),
            ("num_attention_heads", headCount), ("image_size", imageSize), ("patch_size", patchSize),
            ("num_channels", channels),
        ] { object[key] = JSONValue(value) }
        if !classes.isEmpty {
            var (names, places) = (JSONObject(), JSONObject())
            for (index, name) in classes.enumerated() {
                names["\(index)"] = .string(name)
                places[name] = JSONValue(index)
            }
            (object["id2label"], object["label2id"]) = (.object(names), .object(places))
        }
        return object
    }
}

/// An encoder of pictures of the ViT family, to be run: patches embedded by a convolution, a token for the class, learned
/// positions, blocks with layer norms before their parts, and a classifier on the class's token.
///
/// Alexey Dosovitskiy and others, "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
/// arXiv:2010.11929. DeiT adds a token that learned from a teacher, and the mean of two classifiers: Hugo Touvron and others,
/// "Training data-efficient image transformers & distillation through attention", arXiv:2012.12877.
public struct ViT: Sendable {
    /// The sizes and the names of the classes, as `config.json` has them.
    public let configuration: ViTConfiguration
    /// [hiddenSize, channels · patchSize · patchSize]: the convolution's kernel, flattened, with its bias.
    public var patches: LinearLayer
    /// [specialTokens, hiddenSize].
    public var specialTokens: Tensor<Float>
    /// [specialTokens + patches, hiddenSize].
    public var positions: Tensor<Float>
    /// The blocks, from the patches on.
    public var blocks: [TransformerBlock]
    /// The norm before the classifier, of width hiddenSize.
    public var norm: Normalization
    /// On the class's token; nil for an encoder alone.
    public var classifier: LinearLayer?
    /// On the teacher's token; the logits are the mean of both. nil where there is none.
    public var teacherClassifier: LinearLayer?

    private static func names(_ architecture: ViTConfiguration.Architecture) -> [String] {
        architecture == .deit ? ["cls_token", "distillation_token"] : ["cls_token"]
    }

    /// Loads a directory of Hugging Face transformers. A pooler, which classifiers do not read, is not read.
    ///
    /// - Parameter weights: The form of the linear layers.
    /// - Throws: ``LacunaError`` naming the file and the tensor.
    public static func load(_ directory: String, weights: WeightPrecision = .stored) throws -> ViT {
        let fields = try JSONFields(contentsOf: FileSystem.join(directory, "config.json"))
        var c = try ViTConfiguration(fields)
        let source = try TensorFiles.open(directory)
        let reader = try CheckpointReader(source, fields: fields, headSize: c.headSize)
        let own = c.architecture.rawValue + "."
        let prefix = source.contains(own + "embeddings.cls_token") ? own : ""
        let (d, inner) = (c.hiddenSize, c.intermediateSize)
        func embedding(_ name: String) -> String { "\(prefix)embeddings.\(name)" }
        let kernel = try reader.tensor(
            embedding("patch_embeddings.projection.weight"), shape: [d, c.channels, c.patchSize, c.patchSize])
        let blocks = try (0..<c.layerCount).map { layer in
            func name(_ part: String) -> String { "\(prefix)encoder.layer.\(layer).\(part)" }
            func linear(_ role: LinearRole, _ outputs: Int, _ inputs: Int, bias: Bool = true) throws -> LinearLayer {
                try reader.linear(
                    name(BlockNames.vision.linears[role] ?? role.rawValue), outputs, inputs, bias: bias, as: weights)
            }
            return TransformerBlock(
                attentionNorm: try reader.layerNorm(name("layernorm_before"), width: d, epsilon: c.normEpsilon),
                attention: Attention(
                    query: try linear(.query, d, d, bias: c.attentionBias),
                    key: try linear(.key, d, d, bias: c.attentionBias),
                    value: try linear(.value, d, d, bias: c.attentionBias), output: try linear(.output, d, d),
                    geometry: AttentionGeometry(headCount: c.headCount, headSize: c.headSize, isCausal: false)),
                feedForwardNorm: try reader.layerNorm(name("layernorm_after"), width: d, epsilon: c.normEpsilon),
                feedForward: FeedForward(
                    gate: nil, up: try linear(.up, inner, d), down: try linear(.down, d, inner),
                    activation: c.activation))
        }
        func head(_ name: String) throws -> LinearLayer? {
            guard reader.contains(name + ".weight") else { return nil }
            return try reader.linear(name, c.classes.count, d, as: weights)
        }
        let special = try names(c.architecture).flatMap {
            try reader.tensor(embedding($0), shape: [1, 1, d]).scalars
        }
        let classifier = try head("classifier") ?? head("cls_classifier")
        if classifier == nil { c.classes = [] }
        let result = ViT(
            configuration: c,
            patches: LinearLayer(
                try WeightStore.make(kernel.reshaped([d, kernel.count / d]), layout: .dense, values: .f32),
                bias: try reader.vector(embedding("patch_embeddings.projection.bias"), count: d)),
            specialTokens: Tensor(special, shape: [c.specialTokens, d]),
            positions: try reader.tensor(embedding("position_embeddings"), shape: [1, c.tokens, d])
                .reshaped([c.tokens, d]),
            blocks: blocks, norm: try reader.layerNorm(prefix + "layernorm", width: d, epsilon: c.normEpsilon),
            classifier: classifier, teacherClassifier: try head("distillation_classifier"))
        try reader.requireAllUsed(besides: [
            embedding("mask_token"), prefix + "pooler.dense.weight", prefix + "pooler.dense.bias",
        ])
        return result
    }

    /// Writes a directory that ``load(_:weights:)`` and, if matrices are dense f32 or bf16, transformers read.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` if it cannot be written; ``LacunaError/unsupported(file:what:)`` for blocks of their
    ///   own sizes, as a search for widths leaves them: the format has one size for all.
    public func save(to path: String, overwrite: Bool = false) throws {
        let c = configuration
        for block in blocks {
            let g = block.attention.geometry
            guard g.headCount == c.headCount, g.headSize == c.headSize, c.headSize * c.headCount == c.hiddenSize,
                block[.up].weight.rows == c.intermediateSize
            else { throw LacunaError.unsupported(file: path, what: "blocks of sizes of their own") }
        }
        let own = c.architecture.rawValue
        let base = c.architecture == .deit ? "DeiT" : "ViT"
        let kind =
            classifier == nil
            ? base + "Model" : base + "ForImageClassification" + (teacherClassifier == nil ? "" : "WithTeacher")
        let matrices = blocks.flatMap { block in BlockNames.vision.linears.keys.map { block[$0].weight } }
        try ModelDirectory.save(
            to: path, configuration: c.json(kind), matrices: matrices, tokenizer: nil, overwrite: overwrite
        ) { writer in
            let d = c.hiddenSize
            for (index, name) in Self.names(c.architecture).enumerated() {
                try writer.write(
                    "\(own).embeddings.\(name)", specialTokens.rows(index..<index + 1).reshaped([1, 1, d]))
            }
            try writer.write("\(own).embeddings.position_embeddings", positions.reshaped([1, c.tokens, d]))
            try writer.write(
                "\(own).embeddings.patch_embeddings.projection.weight",
                patches.weight.densified().reshaped([d, c.channels, c.patchSize, c.patchSize]))
            if let bias = patches.bias {
                try writer.write("\(own).embeddings.patch_embeddings.projection.bias", bias)
            }
            for (layer, block) in blocks.enumerated() {
                try writer.write("\(own).encoder.layer.\(layer)", block: block, names: .vision)
            }
            try writer.write("\(own).layernorm", norm: norm)
            if let classifier {
                try writer.write(teacherClassifier == nil ? "classifier" : "cls_classifier", layer: classifier)
            }
            if let teacherClassifier { try writer.write("distillation_classifier", layer: teacherClassifier) }
        }
    }

    /// The last hidden states of some pictures, [n · (specialTokens + patches), hiddenSize], normalised.
    ///
    /// - Parameter images: [n, channels, imageSize, imageSize], prepared as the model was trained.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for pictures of another shape.
    public func hiddenStates(_ images: Tensor<Float>) throws -> Tensor<Float> {
        let (c, d) = (configuration, configuration.hiddenSize)
        guard images.rank == 4, Array(images.shape.dropFirst()) == [c.channels, c.imageSize, c.imageSize] else {
            throw LacunaError.invalidArgument(
                "images",
                reason: "are \(images.shape), not [n, \(c.channels), \(c.imageSize), \(c.imageSize)]")
        }
        let n = images.shape[0]
        let spans = (0..<n).map { Span(rows: $0 * c.tokens..<($0 + 1) * c.tokens, firstPosition: 0) }
        let context = StepContext(
            rotations: [], headSize: c.headSize, spans: spans, count: n * c.tokens, workspace: StepWorkspace())
        // What the convolution sees of each patch.
        let tape = Tape<Float>()
        let seen = tape.withoutRecording {
            tape.constant(images).patches(c.patchSize, sliding: Sliding(stride: c.patchSize))
        }.value
        var hidden = Tensor<Float>(uninitialized: [n * c.tokens, d])
        let embedded = Buffer<Float>(uninitialized: max(n * c.patchCount, 1) * d)
        let patchContext = StepContext(
            rotations: [], headSize: c.headSize, spans: [], count: n * c.patchCount, workspace: StepWorkspace())
        seen.withPointer {
            LinearLayer.multiply(
                [(patches, embedded.pointer)], $0, context: patchContext, layer: 0, roles: [.up])
        }
        try hidden.withMutablePointer { rows in
            for image in 0..<n {
                for token in 0..<c.tokens {
                    let row = rows + (image * c.tokens + token) * d
                    for j in 0..<d {
                        let own =
                            token < c.specialTokens
                            ? specialTokens[token, j]
                            : embedded.pointer[(image * c.patchCount + token - c.specialTokens) * d + j]
                        row[j] = own + positions[token, j]
                    }
                }
            }
            for (layer, block) in blocks.enumerated() { try block.step(rows, context: context, layer: layer) }
            norm.apply(rows, count: n * c.tokens, into: rows)
        }
        return hidden
    }

    /// Logits [n, classes] of some pictures [n, channels, imageSize, imageSize].
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for an encoder without a classifier; as
    ///   ``hiddenStates(_:)``.
    public func logits(_ images: Tensor<Float>) throws -> Tensor<Float> {
        guard let classifier else {
            throw LacunaError.unsupported(file: nil, what: "classes with an encoder that has no classifier")
        }
        let (c, hidden) = (configuration, try hiddenStates(images))
        let n = images.shape[0]
        func head(_ layer: LinearLayer, token: Int) -> Tensor<Float> {
            let context = StepContext(
                rotations: [], headSize: c.headSize, spans: [], count: n, workspace: StepWorkspace())
            let rows = Tensor<Float>(
                (0..<n).flatMap { image in (0..<c.hiddenSize).map { hidden[image * c.tokens + token, $0] } },
                shape: [n, c.hiddenSize])
            var result = Tensor<Float>(uninitialized: [n, layer.outputs])
            rows.withPointer { x in
                result.withMutablePointer {
                    LinearLayer.multiply(
                        [(layer, $0)], x, context: context, layer: c.layerCount, roles: [.output])
                }
            }
            return result
        }
        let own = head(classifier, token: 0)
        guard let teacherClassifier else { return own }
        let taught = head(teacherClassifier, token: 1)
        return Tensor(zip(own.scalars, taught.scalars).map { ($0 + $1) / 2 }, shape: own.shape)
    }
}

// MARK: - On the tape

/// ``ViT`` to be learned. Parameters have the names that checkpoints give them.
public final class TrainableViT: UnaryLayer {
    /// The sizes and the names of the classes.
    public private(set) var configuration: ViTConfiguration
    /// The convolution's kernel [hiddenSize, channels, patchSize, patchSize], and its bias.
    public let kernel, kernelBias: Parameter<Float>
    /// One each, [1, 1, hiddenSize].
    public let specialTokens: [Parameter<Float>]
    /// [1, specialTokens + patches, hiddenSize].
    public let positions: Parameter<Float>
    /// The blocks, from the patches on.
    public let blocks: [TrainableBlock]
    /// The norm before the classifier.
    public let norm: LayerNorm
    /// [classes, hiddenSize], on the class's token and on the teacher's; nil where there is none.
    public let classifier, teacherClassifier: Linear?
    /// Share of entries that are set to 0 while training, of embeddings and of what each part of a block gives; 0..<1.
    public var dropout = 0.0
    /// What becomes of the embedded tokens, positions included, [n · (specialTokens + patches), hiddenSize], before the first block; nil for
    /// nothing. Methods set it for a training run; it is no part of the form that is run.
    public var embedding: ((Variable<Float>) -> Variable<Float>)?

    /// - Parameter weight: The form of each matrix, given its name: see ``TrainableTransformer``.
    /// - Throws: What `weight` throws.
    public init(_ model: ViT, weight: TrainableTransformer.WeightForm = TrainableTransformer.dense) throws {
        let c = model.configuration
        configuration = c
        let own = c.architecture.rawValue
        kernel = Parameter(
            model.patches.weight.densified().reshaped([c.hiddenSize, c.channels, c.patchSize, c.patchSize]))
        kernelBias = Parameter(model.patches.bias ?? Tensor(zeros: [c.hiddenSize]))
        specialTokens = (0..<c.specialTokens).map {
            Parameter(model.specialTokens.rows($0..<$0 + 1).reshaped([1, 1, c.hiddenSize]), decays: false)
        }
        positions = Parameter(model.positions.reshaped([1, c.tokens, c.hiddenSize]), decays: false)
        blocks = try model.blocks.enumerated().map { layer, block in
            try TrainableBlock(block, names: .vision) {
                try weight("\(own).encoder.layer.\(layer).\(BlockNames.vision.linears[$0] ?? $0.rawValue).weight", $1)
            }
        }
        norm = LayerNorm(model.norm)
        classifier = try model.classifier.map { layer in
            Linear(
                weight: try weight(
                    model.teacherClassifier == nil ? "classifier.weight" : "cls_classifier.weight", layer.weight),
                bias: layer.bias)
        }
        teacherClassifier = try model.teacherClassifier.map { layer in
            Linear(weight: try weight("distillation_classifier.weight", layer.weight), bias: layer.bias)
        }
    }

    /// The parts by the names that checkpoints give them.
    public var parts: [(name: String, part: Any)] {
        let own = configuration.architecture.rawValue
        var parts: [(String, Any)] = zip(["cls_token", "distillation_token"], specialTokens).map {
            ("\(own).embeddings.\($0)", $1)
        }
        parts += [
            ("\(own).embeddings.position_embeddings", positions),
            ("\(own).embeddings.patch_embeddings.projection.weight", kernel),
            ("\(own).embeddings.patch_embeddings.projection.bias", kernelBias), ("\(own).encoder.layer", blocks),
            ("\(own).layernorm", norm),
        ]
        if let classifier { parts.append((teacherClassifier == nil ? "classifier" : "cls_classifier", classifier)) }
        if let teacherClassifier { parts.append(("distillation_classifier", teacherClassifier)) }
        return parts
    }

    /// The classifier; nil for an encoder alone.
    public var outputLayer: Linear? { classifier }

    /// The last hidden states [n · (specialTokens + patches), hiddenSize] of pictures [n, channels, side, side].
    public func hiddenStates(_ images: Variable<Float>) -> Variable<Float> {
        let (c, tape, n) = (configuration, images.tape, images.shape[0])
        require(Array(images.shape.dropFirst()) == [c.channels, c.imageSize, c.imageSize], "pictures \(images.shape)")
        let patches = images.convolved(
            kernel.on(tape), bias: kernelBias.on(tape), sliding: Sliding(stride: c.patchSize)
        ).reshaped([n, c.hiddenSize, c.patchCount]).permuted([0, 2, 1]).reshaped([n * c.patchCount, c.hiddenSize])
        // One table of all rows, of which each token of each picture takes its own.
        let special = specialTokens.map { $0.on(tape).reshaped([1, c.hiddenSize]) }
        let table = Variable.concatenated(rows: special + [patches])
        let order = (0..<n).flatMap { image in
            (0..<c.tokens).map { token in
                Int32(
                    token < c.specialTokens ? token : c.specialTokens + image * c.patchCount + token - c.specialTokens)
            }
        }
        let places = (0..<n * c.tokens).map { Int32($0 % c.tokens) }
        var x = table.gathered(order) + positions.on(tape).reshaped([c.tokens, c.hiddenSize]).gathered(places)
        if let embedding { x = embedding(x) }
        return norm(blocks.reduce(x.dropout(dropout)) { $1($0, positions: nil, batch: n, dropout: dropout) })
    }

    /// Logits [n, classes] of pictures [n, channels, side, side]; without a classifier, the class's token.
    public func callAsFunction(_ images: Variable<Float>) -> Variable<Float> { logits(of: hiddenStates(images)) }

    /// Logits [n, classes] of ``hiddenStates(_:)``; without a classifier, the class's token.
    public func logits(of hidden: Variable<Float>) -> Variable<Float> {
        let c = configuration
        func token(_ index: Int) -> Variable<Float> {
            hidden.gathered((0..<hidden.rows / c.tokens).map { Int32($0 * c.tokens + index) })
        }
        guard let classifier else { return token(0) }
        let own = classifier(token(0))
        guard let teacherClassifier else { return own }
        return (own + teacherClassifier(token(1))).affine(0.5)
    }

    /// Keeps some entries of the residual stream: in embeddings, norms and in every matrix that reads or writes it, optimiser states included.
    ///
    /// - Parameter entries: In 0..<hiddenSize, each at most once.
    /// - Throws: `LacunaError.unsupported` for weights that are not dense, and for experts.
    public func keepStream(_ entries: [Int]) throws {
        var (readers, writers) = ([classifier, teacherClassifier].compactMap(\.self), [Linear]())
        var norms: [any UnaryLayer] = [norm]
        for block in blocks {
            guard case .dense(let part) = block.mixer else {
                throw LacunaError.unsupported(file: nil, what: "a smaller stream through experts")
            }
            readers += [block.attention.query, block.attention.key, block.attention.value, part.up]
            if let gate = part.gate { readers.append(gate) }
            writers += [block.attention.output, part.down]
            norms += [block.attentionNorm, block.feedForwardNorm]
            if let outputs = block.outputNorms { norms += [outputs.attention, outputs.feedForward] }
        }
        guard (readers + writers).allSatisfy({ $0.dense != nil }) else {
            throw LacunaError.unsupported(file: nil, what: "a smaller stream of weights that are not dense")
        }
        for layer in readers { layer.dense!.parameter.keep(entries, along: 1) }
        for layer in writers {
            layer.dense!.parameter.keep(entries, along: 0)
            layer.bias?.keep(entries, along: 0)
        }
        for norm in norms { for parameter in norm.parameters { parameter.keep(entries, along: 0) } }
        kernel.keep(entries, along: 0)
        kernelBias.keep(entries, along: 0)
        for parameter in specialTokens + [positions] { parameter.keep(entries, along: 2) }
        configuration.hiddenSize = entries.count
    }

    /// The encoder that this is now, to be run and saved.
    ///
    /// - Throws: As ``TrainableWeight/stored(_:)``.
    public func stored(_ values: ValueType = .f32) throws -> ViT {
        let (c, d) = (configuration, configuration.hiddenSize)
        return ViT(
            configuration: c,
            patches: LinearLayer(
                try WeightStore.make(kernel.value.reshaped([d, kernel.count / d]), layout: .dense, values: values),
                bias: kernelBias.value),
            specialTokens: Tensor(specialTokens.flatMap { $0.value.scalars }, shape: [c.specialTokens, d]),
            positions: positions.value.reshaped([c.tokens, d]), blocks: try blocks.map { try $0.stored(values) },
            norm: norm.stored, classifier: try classifier.map { try LinearLayer($0, values) },
            teacherClassifier: try teacherClassifier.map { try LinearLayer($0, values) })
    }
}
