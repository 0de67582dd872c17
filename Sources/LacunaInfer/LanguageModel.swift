import LacunaIO
import LacunaModels
import LacunaTensor

/// A model that writes: its transformer, tokenizer, chat template and generation settings, loaded by one name.
///
///     let model = try LanguageModel.load("smollm2")
///     print(try model.generate("The capital of France is"))
///     for try await piece in model.stream(answering: "Why is the sky blue?") {
///         print(piece, terminator: "")
///     }
///     print(try model.perplexity(of: text).value)
///     let logits = try model.logits(after: "2 + 2 =")
///
/// The parts are open to those who want more: ``decoder`` is what pruning and training take, ``generator`` counts tokens and
/// seconds, ``Conversation`` remembers turns.
public struct LanguageModel: Sendable {
    /// What it was called, or the name of its file.
    public let name: String
    /// The file or directory that it was read from.
    public let path: String
    /// The network, its matrices where they are in the mapped file as far as they have products of their own there.
    public var decoder: Transformer
    /// Text to tokens and back, with the chat template and the tokens that end a text.
    public let tokenizer: Tokenizer
    /// Bytes of all files of the model.
    public let diskBytes: Int
    /// What it leaves out while it runs; nothing at first.
    public var skipping = Skipping()
    /// What looks at its activations while it writes, and may replace them, such as the steering of `LacunaDictionary`; nil for nothing.
    /// Scores of texts are those of the model as it is.
    public var watch: ActivationWatch?

    /// A model of parts that are there already, such as one that was trained here.
    public init(
        name: String = "model", path: String = "", decoder: Transformer, tokenizer: Tokenizer, diskBytes: Int = 0
    ) {
        (self.name, self.path, self.decoder) = (name, path, decoder)
        (self.tokenizer, self.diskBytes) = (tokenizer, diskBytes)
    }

    /// Loads a model.
    ///
    /// - Parameters:
    ///   - name: A GGUF file, a directory of Hugging Face or of Lacuna, a name of the ``Catalogue``, or `hf:ORG/NAME`: see
    ///     ``ModelLocation/path(of:progress:)``. The last two are fetched if they are not in the cache.
    ///   - weights: The form of the linear layers, as in ``Transformer/load(_:weights:embedding:progress:)``.
    ///   - head: The form of the embedding table and the head; nil for the one that suits `weights`.
    ///   - checksNumbers: Whether every number of the file is looked at first, so that one that is not finite is found with
    ///     its tensor's name. That reads the whole file, which otherwise happens as it is used.
    /// - Throws: ``LacunaError`` naming the file and the tensor: what cannot be read or is not understood;
    ///   ``LacunaError/resource(_:needed:available:)`` before anything large is read, if the machine has too little memory;
    ///   ``FetchFailure``.
    public static func load(
        _ name: String, weights: WeightPrecision = .stored, head: WeightPrecision? = nil, checksNumbers: Bool = false,
        progress: (any ProgressReporter)? = nil
    ) throws -> LanguageModel {
        let path = try ModelLocation.path(of: name, progress: progress)
        let source = try tensors(path)
        let called = name == path ? FileSystem.name(of: path) : name
        // The tokenizer first: it is the smaller part to find out that this is no model.
        let tokenizer = try (source as? GGUFFile).map { try Tokenizer(gguf: $0) } ?? Tokenizer(directory: path)
        // Vocabularies are read by way of many short strings.
        MachineMemory.returnUnused()
        try MachineMemory.require(source.loadedBytes(as: weights.valueType), for: "the model \(called)")
        if checksNumbers { try source.requireFinite(progress: progress) }
        let decoder = try Transformer.load(source, at: path, weights: weights, embedding: head, progress: progress)
        return LanguageModel(
            name: called, path: path, decoder: decoder, tokenizer: tokenizer, diskBytes: try FileSystem.size(path))
    }

    /// The tensors of a model that comes with a configuration.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a single safetensors file.
    public static func tensors(_ path: String) throws -> any TensorSource {
        let source = try TensorFiles.open(path)
        guard FileSystem.isDirectory(path) || source is GGUFFile else {
            throw LacunaError.unsupported(
                file: path, what: "a model in a single safetensors file: give its directory, with config.json")
        }
        return source
    }

    /// Tokens of a window when a text is scored and nobody says.
    public var defaultWindow: Int { min(512, decoder.configuration.maximumPositions) }

    /// What writes tokens and measures how fast.
    public var generator: Generator {
        Generator(decoder, tokenizer: tokenizer, skipping: skipping, watch: watch)
    }

    /// The template that the model's conversations have.
    ///
    /// - Throws: As ``ChatTemplate/init(_:)``.
    public func chatTemplate() throws -> ChatTemplate { try ChatTemplate(tokenizer) }

    /// How the model's authors have it write, by its `generation_config.json`: greedy unless that says `do_sample`, then by
    /// its `temperature`, `top_k` and `top_p`, each as it stands there or without effect.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for settings out of range.
    public var recommendedOptions: Generator.Options {
        get throws {
            guard let settings = decoder.generationSettings, settings["do_sample"]?.boolValue == true else {
                return Generator.Options()
            }
            let sampling = Sampler.Options(
                temperature: settings["temperature"]?.doubleValue ?? 1,
                topK: settings["top_k"]?.intValue.flatMap { $0 == 0 ? nil : $0 },
                topP: settings["top_p"]?.doubleValue ?? 1)
            try sampling.validate()
            return Generator.Options(sampling: sampling)
        }
    }

    /// Has the model leave out inputs of products from now on, by what calibration has found.
    ///
    /// - Parameter meter: Counts what is left out.
    /// - Throws: As ``ActivationPlan/applied(to:file:progress:)``.
    public mutating func skipActivations(
        _ plan: ActivationPlan, meter: SkippingMeter? = nil, file: String = "calibration",
        progress: (any ProgressReporter)? = nil
    ) throws {
        let (gated, gate) = try plan.applied(to: decoder, file: file, progress: progress)
        decoder = gated
        (skipping.gate, skipping.meter) = (gate, meter)
    }

    // MARK: Writing

    /// The text after a prompt.
    ///
    /// - Parameter options: nil for ``recommendedOptions``.
    /// - Throws: As ``Generator/generate(_:_:receive:)``.
    public func generate(_ prompt: String, _ options: Generator.Options? = nil) throws -> String {
        try text(tokenizer.encode(prompt), try options ?? recommendedOptions)
    }

    /// The text after tokens.
    ///
    /// - Parameter options: nil for ``recommendedOptions``.
    /// - Throws: As ``Generator/generate(_:_:receive:)``.
    public func generate(after tokens: [Int], _ options: Generator.Options? = nil) throws -> String {
        try text(tokens, try options ?? recommendedOptions)
    }

    /// The answer to messages, in the form that the model was trained on.
    ///
    /// - Throws: As ``Generator/generate(_:_:receive:)`` and ``ChatTemplate/encode(_:with:_:)``.
    public func answer(
        _ messages: [ChatTemplate.Message], _ options: Generator.Options? = nil,
        template: ChatTemplate.Options = .init()
    ) throws -> String {
        let (tokens, options) = try turn(messages, options, template)
        return try text(tokens, options)
    }

    /// The answer to a question.
    ///
    /// - Throws: As for messages.
    public func answer(_ question: String, _ options: Generator.Options? = nil) throws -> String {
        try answer([.init(.user, question)], options)
    }

    /// The text after a prompt, piece by piece, as soon as its characters are complete. It is computed on a thread of its
    /// own; leaving the loop stops it. What ``generate(_:_:)`` throws ends the stream.
    public func stream(_ prompt: String, _ options: Generator.Options? = nil) -> AsyncThrowingStream<String, any Error>
    {
        stream { (tokenizer.encode(prompt), try options ?? recommendedOptions) }
    }

    /// The answer to messages, piece by piece.
    public func stream(
        answering messages: [ChatTemplate.Message], _ options: Generator.Options? = nil,
        template: ChatTemplate.Options = .init()
    ) -> AsyncThrowingStream<String, any Error> {
        stream { try turn(messages, options, template) }
    }

    /// The answer to a question, piece by piece.
    public func stream(
        answering question: String, _ options: Generator.Options? = nil
    ) -> AsyncThrowingStream<String, any Error> { stream(answering: [.init(.user, question)], options) }

    /// The tokens of messages, and options by which the answer ends where the turn does.
    public func turn(
        _ messages: [ChatTemplate.Message], _ options: Generator.Options? = nil,
        _ template: ChatTemplate.Options = .init()
    ) throws -> (tokens: [Int], options: Generator.Options) {
        let form = try chatTemplate()
        var options = try options ?? recommendedOptions
        if let end = form.endOfTurn(tokenizer) { options.stopTokens.insert(end) }
        return (try form.encode(messages, with: tokenizer, template), options)
    }

    private func text(_ tokens: [Int], _ options: Generator.Options) throws -> String {
        var decoder = StreamingDecoder(tokenizer)
        var text = ""
        _ = try generator.generate(tokens, options) { token in
            text += decoder.append(token)
            return true
        }
        return text + decoder.finish()
    }

    private func stream(
        _ start: @escaping @Sendable () throws -> (tokens: [Int], options: Generator.Options)
    ) -> AsyncThrowingStream<String, any Error> {
        AsyncThrowingStream { continuation in
            let task = Task.detached {
                do {
                    let (tokens, options) = try start()
                    var decoder = StreamingDecoder(tokenizer)
                    _ = try generator.generate(tokens, options) { token in
                        let piece = decoder.append(token)
                        if !piece.isEmpty, case .terminated = continuation.yield(piece) { return false }
                        return !Task.isCancelled
                    }
                    let rest = decoder.finish()
                    if !rest.isEmpty { continuation.yield(rest) }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    // MARK: Scoring

    /// How well the model predicts a text. What looks like a special token in it is plain text.
    ///
    /// - Parameters:
    ///   - window: Tokens of a window; nil for ``defaultWindow``.
    ///   - stride: Tokens from one window's beginning to the next; nil for the window.
    /// - Throws: As ``Perplexity/measure(_:tokens:window:stride:progress:)``.
    public func perplexity(
        of text: String, window: Int? = nil, stride: Int? = nil, progress: (any ProgressReporter)? = nil
    ) throws -> Perplexity {
        try Perplexity.measure(
            decoder, tokens: tokenizer.encode(text, recognizesSpecials: false), window: window ?? defaultWindow,
            stride: stride, gate: skipping.gate, meter: skipping.meter, progress: progress)
    }

    /// The logits [vocabularySize] of the token that follows a prompt.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a prompt that is empty or longer than the model has
    ///   positions.
    public func logits(after prompt: String) throws -> Tensor<Float> {
        let tokens = tokenizer.encode(prompt)
        let session = try generator.session(context: max(tokens.count, 1))
        try session.prefill(tokens)
        return Tensor(Array(session.logits), shape: [session.logits.count])
    }

    /// The logits [tokens.count, vocabularySize] after each of the tokens.
    ///
    /// - Throws: As ``DecodingSession/verify(_:)``.
    public func logits(_ tokens: [Int]) throws -> Tensor<Float> {
        try generator.session(context: max(tokens.count, 1)).verify(tokens)
    }
}
