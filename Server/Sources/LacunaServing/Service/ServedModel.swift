import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

/// A model as it is served: what requests and responses need to know of it, found once.
public struct ServedModel: Sendable {
    /// The network, its tokenizer, and what it leaves out.
    public let model: LanguageModel
    /// What clients call it.
    public let name: String
    /// The template of conversations; nil if it has none.
    public let template: ChatTemplate?
    /// What the authors recommend, if they do.
    let recommended: Sampler.Options?
    /// Tokens that end a text, and a turn.
    let endTokens: Set<Int>
    let turnEnds: Set<Int>
    /// Since 1970.
    let created: Int
    let sparsity: Double
    let parameters: Int
    let weightBytes: Int
    let bytesPerToken: Int
    let spellings: TokenSpellings
    /// The tokens of a text that has none of its own.
    let beginning: [Int]

    /// - Parameter name: What clients call it; nil for the model's own name.
    /// - Throws: ``LacunaError`` for settings of the model's files that are out of range.
    public init(_ model: LanguageModel, name: String? = nil) throws {
        self.model = model
        self.name = name ?? model.name
        template = model.tokenizer.chatTemplate == nil ? nil : try model.chatTemplate()
        let options = try model.recommendedOptions.sampling
        recommended = options == .greedy ? nil : options
        endTokens = model.generator.endTokens
        turnEnds = endTokens.union(template?.endOfTurn(model.tokenizer).map { [$0] } ?? [])
        created = ServingClock.unixTime
        sparsity = model.decoder.linearSparsity
        parameters = model.decoder.parameterCount
        weightBytes = model.decoder.weightBytes
        bytesPerToken = model.decoder.bytesTouchedPerToken()
        spellings = TokenSpellings(model.tokenizer)
        beginning = (model.tokenizer.beginningToken ?? model.tokenizer.endTokens.first).map { [$0] } ?? []
    }

    var tokenizer: Tokenizer { model.tokenizer }
    var vocabularySize: Int { model.decoder.configuration.vocabularySize }

    /// The tokens of a prompt as people write it. Special tokens that are spelled out count, as with `lacuna run --prompt`.
    func tokens(of text: String) -> [Int] {
        let tokens = tokenizer.encode(text)
        return tokens.isEmpty ? beginning : tokens
    }

    /// The tokens of a conversation, for the model to answer.
    ///
    /// - Throws: ``APIError`` with status 400 if the model has no template, or its template objects.
    func tokens(
        of messages: [ChatTemplate.Message], tools: [JSONValue] = [], addsGenerationPrompt: Bool = true
    ) throws -> [Int] {
        guard let template else {
            throw APIError.unsupported(
                "messages", "The model '\(name)' has no chat template; use /v1/completions.")
        }
        do {
            return try template.encode(
                messages, with: tokenizer,
                .init(tools: tools, addsGenerationPrompt: addsGenerationPrompt, clock: ServingClock.chatClock))
        } catch {
            throw APIError(error, parameter: "messages")
        }
    }

    /// Whether it can be told of functions, and writes calls of them in a form that is known here.
    var callsTools: Bool { tokenizer.chatTemplate.map(ToolCallForm.isSpoken) ?? false }

    /// The model as `/v1/models` lists it.
    func json(context: Int) -> JSONValue {
        [
            "id": .string(name), "object": "model", "created": JSONValue(created), "owned_by": "lacuna",
            "max_model_len": JSONValue(context),
            "lacuna": [
                "parameters": JSONValue(parameters), "linear_sparsity": .number(sparsity),
                "weight_bytes": JSONValue(weightBytes), "weight_bytes_per_token": JSONValue(bytesPerToken),
                "architecture": .string(model.decoder.configuration.architecture.rawValue),
                "has_chat_template": .bool(template != nil), "calls_tools": .bool(callsTools),
            ],
        ]
    }
}
