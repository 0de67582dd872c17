import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Writes the directory of a model: `config.json`, `model.safetensors` and the tokenizer's files, all or nothing.
enum ModelDirectory {
    /// - Parameter write: Gives the writer every tensor of the model.
    /// - Throws: ``LacunaError/file(path:reason:)`` if it cannot be written, or is there and not to be replaced.
    static func save(
        to path: String, configuration: JSONObject, matrices: [any StoredMatrix], tokenizer: Tokenizer?,
        overwrite: Bool, write: (CheckpointWriter) throws -> Void
    ) throws {
        let directory = try AtomicDirectory(path, overwrite: overwrite)
        let writer = try CheckpointWriter(directory: directory.workingPath, layout: .fitting(matrices))
        try write(writer)
        try writer.finish(configuration: configuration)
        try tokenizer?.writeTokenizerJSON(to: directory.workingPath)
        try directory.commit()
    }
}

extension CheckpointWriter {
    /// A linear layer with its bias, as `NAME.weight` and `NAME.bias`.
    func write(_ name: String, layer: LinearLayer) throws {
        try write(name + ".weight", layer.weight)
        if let bias = layer.bias { try write(name + ".bias", bias) }
    }

    /// A norm with its bias, as `NAME.weight` and `NAME.bias`.
    func write(_ name: String, norm: Normalization) throws {
        try write(name + ".weight", norm.weight)
        if let bias = norm.bias { try write(name + ".bias", bias) }
    }

    /// A block, by the names of its parts behind `prefix`.
    func write(_ prefix: String, block: TransformerBlock, names: BlockNames) throws {
        try write("\(prefix).\(names.attention)", norm: block.attentionNorm)
        try write("\(prefix).\(names.feedForward)", norm: block.feedForwardNorm)
        for (role, name) in names.linears.sorted(by: { $0.value < $1.value }) {
            try write("\(prefix).\(name)", layer: block[role])
        }
    }
}

extension CheckpointReader {
    /// A linear layer of weight and bias.
    func linear(
        _ name: String, _ outputs: Int, _ inputs: Int, bias: Bool = true, as weights: WeightPrecision
    ) throws -> LinearLayer {
        LinearLayer(
            try matrix(name + ".weight", rows: outputs, columns: inputs, as: weights),
            bias: bias ? try vector(name + ".bias", count: outputs) : nil)
    }

    /// A layer norm.
    func layerNorm(_ name: String, width: Int, epsilon: Float) throws -> Normalization {
        Normalization(
            weight: try vector(name + ".weight", count: width), bias: try vector(name + ".bias", count: width),
            epsilon: epsilon)
    }
}

/// Reads sizes of a configuration, each checked before anything is made of it.
extension JSONFields {
    func size(_ key: String, atMost limit: Int, default value: Int? = nil) throws -> Int {
        let found = try value.map { try integer(key, default: $0) } ?? integer(key)
        guard found >= 1 && found <= limit else { throw failure(key, "\(found) is not in 1...\(limit)") }
        return found
    }

    func normEpsilon(_ key: String, default value: Double) throws -> Float {
        let epsilon = Float(try number(key, default: value))
        guard epsilon >= 0 && epsilon < 1 else { throw failure(key, "is not in 0..<1") }
        return epsilon
    }

    /// The function that a feed-forward part of no gate applies.
    func activation(_ key: String, default value: String) throws -> Activation {
        let name = try optionalString(key) ?? value
        guard let activation = Self.activations[name] else {
            throw LacunaError.unsupported(file: file, what: "\(key) '\(name)'")
        }
        return activation
    }

    private static let activations: [String: Activation] = [
        "gelu": .geluExact, "gelu_new": .gelu, "gelu_pytorch_tanh": .gelu, "relu": .relu, "silu": .silu,
    ]

    /// What a configuration calls a function.
    static func name(of activation: Activation) -> String {
        activation == .gelu ? "gelu_new" : activations.first { $0.value == activation }?.key ?? activation.rawValue
    }
}

extension StepContext {
    /// Whole texts, one below the other, for encoders and decoders without a store of keys and values.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for an empty text, one longer than `positions`, and tokens outside
    ///   the vocabulary.
    static func texts(_ texts: [[Int]], positions: Int, vocabulary: Int) throws -> StepContext {
        var spans: [Span] = []
        for text in texts {
            guard !text.isEmpty, text.count <= positions else {
                throw LacunaError.invalidArgument(
                    "text", reason: "\(text.count) tokens are not in 1...\(positions), the model's positions")
            }
            if let bad = text.first(where: { $0 < 0 || $0 >= vocabulary }) {
                throw LacunaError.invalidArgument(
                    "tokens", reason: "\(bad) is outside the vocabulary of \(vocabulary)")
            }
            let start = spans.last?.rows.upperBound ?? 0
            spans.append(Span(rows: start..<start + text.count, firstPosition: 0))
        }
        return StepContext(
            rotations: [], headSize: 0, spans: spans, count: spans.last?.rows.upperBound ?? 0,
            workspace: StepWorkspace())
    }
}
