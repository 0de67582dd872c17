import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// One dense vector a text, for fusion with sparse retrieval and as a teacher: the mean of an encoder's last hidden
/// states.
public struct DenseEncoder: Sendable {
    /// The encoder whose last hidden states are averaged over a text's tokens.
    public let model: BERT
    /// How texts become tokens of that model, and how many of them it takes.
    public let input: TextInput
    /// Whether vectors have length 1, so that their products are cosines.
    public let isNormalized: Bool

    /// - Parameters:
    ///   - model: Its head for masked tokens, if it has one, is not used.
    ///   - input: Made with the model's own tokenizer.
    ///   - isNormalized: Whether vectors are brought to length 1.
    public init(_ model: BERT, input: TextInput, isNormalized: Bool = true) {
        (self.model, self.input, self.isNormalized) = (model, input, isNormalized)
    }

    /// Loads a directory of sentence-transformers: a BERT, mean pooling and, if it is named, normalisation. A plain BERT without
    /// `modules.json` is taken for one with both.
    ///
    /// - Throws: `LacunaError.unsupported` for other modules, and as ``BERT/load(_:weights:)``.
    public static func load(_ directory: String) throws -> DenseEncoder {
        guard FileSystem.exists(FileSystem.join(directory, ModuleList.name)) else {
            return try encoder(directory, isNormalized: true)
        }
        let modules = try ModuleList(directory)
        let names = modules.entries.map(\.kind)
        guard names == ["Transformer", "Pooling"] || names == ["Transformer", "Pooling", "Normalize"] else {
            throw LacunaError.unsupported(
                file: modules.path, what: "modules \(names.joined(separator: ", ")) for dense vectors")
        }
        let pooling = try JSONFields(
            contentsOf: FileSystem.join(FileSystem.join(directory, modules.entries[1].path), "config.json"))
        let isMean =
            try pooling.optionalString("pooling_mode").map { $0 == "mean" }
            ?? pooling.bool("pooling_mode_mean_tokens", default: false)
        let others = ["cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
        guard isMean, try !others.contains(where: { try pooling.bool("pooling_mode_\($0)", default: false) }) else {
            throw LacunaError.unsupported(file: pooling.file, what: "pooling other than the mean")
        }
        let place = FileSystem.join(directory, modules.entries[0].path)
        return try encoder(place, isNormalized: names.count == 3)
    }

    private static func encoder(_ directory: String, isNormalized: Bool) throws -> DenseEncoder {
        let model = try BERT.load(directory)
        return DenseEncoder(
            model,
            input: try TextInput(
                Tokenizer(directory: directory), maximumLength: try ModuleList.maximumLength(directory, model)),
            isNormalized: isNormalized)
    }

    /// [texts, width].
    public func encode(
        _ texts: [String], progress: (any ProgressReporter)? = nil
    ) throws -> Tensor<Float> {
        var result = Tensor<Float>(uninitialized: [texts.count, model.configuration.hiddenSize])
        let width = model.configuration.hiddenSize
        for start in stride(from: 0, to: texts.count, by: 16) {
            try progress.report("encoding", start, of: texts.count)
            let tokens = texts[start..<min(start + 16, texts.count)].map(input.tokens)
            let part = try model.sentenceVectors(tokens, isNormalized: isNormalized)
            part.withPointer { source in
                result.withMutablePointer { ($0 + start * width).update(from: source, count: tokens.count * width) }
            }
        }
        try progress.report("encoding", texts.count, of: texts.count)
        return result
    }
}
