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

    /// - Throws: ``LacunaError``: what reading throws; ``LacunaError/resource(_:needed:available:)`` before anything large is
    ///   read, if the machine has too little memory; a number that is not finite, with its tensor's name.
    init(
        _ model: ModelArgument, weights: WeightPrecision = .stored, head: WeightPrecision? = nil,
        progress: (any ProgressReporter)?
    ) throws {
        let path = try model.path(progress: progress)
        let source = try Self.tensors(path)
        self.path = path
        name = model.text == path ? FileSystem.name(of: path) : model.text
        // The tokenizer first: it is the smaller part to find out that this is no model.
        tokenizer = try FileSystem.isDirectory(path) ? Tokenizer(directory: path) : Tokenizer(gguf: GGUFFile(path))
        try MachineMemory.require(source.loadedBytes(as: weights.valueType), for: "the model \(name)")
        try source.requireFinite(progress: progress)
        decoder = try Transformer.load(path, weights: weights, embedding: head, progress: progress)
        diskBytes = try FileSystem.size(path)
    }

    /// The tensors of a model that comes with a configuration.
    static func tensors(_ path: String) throws -> any TensorSource {
        let source = try TensorFiles.open(path)
        guard FileSystem.isDirectory(path) || source is GGUFFile else {
            throw LacunaError.unsupported(
                file: path, what: "a model in a single safetensors file: give its directory, with config.json")
        }
        return source
    }

    /// Tokens of a window when a text is scored and the user does not say.
    var defaultWindow: Int { min(512, decoder.configuration.maximumPositions) }
}
