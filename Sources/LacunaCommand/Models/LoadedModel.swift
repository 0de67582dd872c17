import LacunaIO
import LacunaModels
import LacunaTensor

/// A model with its tokenizer, and what there is to say about its files.
struct LoadedModel {
    /// What the user called it.
    let name: String
    let path: String
    var decoder: Transformer
    let tokenizer: Tokenizer

    /// Bytes of all files of the model.
    let diskBytes: Int

    init(
        _ model: ModelArgument, weights: WeightPrecision = .stored, head: WeightPrecision? = nil,
        progress: (any ProgressReporter)?
    ) throws {
        let path = try model.path(progress: progress)
        self.path = path
        name = model.text == path ? FileSystem.name(of: path) : model.text
        // The tokenizer first: it is the smaller part to find out that this is no model.
        tokenizer =
            FileSystem.isDirectory(path) ? try Tokenizer(directory: path) : try Tokenizer(gguf: GGUFFile(path))
        decoder = try Transformer.load(path, weights: weights, embedding: head, progress: progress)
        diskBytes = try FileSystem.size(path)
    }

    /// Tokens of a window when a text is scored and the user does not say.
    var defaultWindow: Int { min(512, decoder.configuration.maximumPositions) }
}
