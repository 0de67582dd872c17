import LacunaIO
import LacunaInfer

/// The body of `POST /v1/completions`.
public struct CompletionRequest: Sendable {
    /// A text to continue.
    public enum Prompt: Sendable, Equatable {
        /// As people write it; special tokens that are spelled out count.
        case text(String)
        /// As the model reads it.
        case tokens([Int])
    }

    /// Each has answers of its own, all in one response.
    public var prompts: [Prompt]
    /// Tokens to write after each.
    public var maximumTokens: Int
    /// Whether the answer begins with the prompt.
    public var echoes: Bool
    /// Most probable tokens to list beside each token's log-probability; nil for neither.
    public var alternatives: Int?
    /// How tokens are chosen.
    public var sampling: SamplingFields

    /// Prompts of one request, at most.
    static let mostPrompts = 256
    /// What the field's interface writes unless it is told.
    static let defaultTokens = 16

    /// - Throws: ``APIError`` with status 400 that names the parameter.
    init(_ fields: RequestFields, recommended: Sampler.Options?, vocabulary: Int, mostChoices: Int) throws {
        try fields.requireKnown(.completion)
        guard let prompt = fields["prompt"] else { throw fields.missing("prompt") }
        prompts = try Self.prompts(prompt, vocabulary: vocabulary)
        maximumTokens = try fields.integer("max_tokens", in: 0...Int.max) ?? Self.defaultTokens
        echoes = try fields.bool("echo") ?? false
        alternatives = try fields.integer("logprobs", in: 0...TokenScore.mostAlternatives)
        sampling = try SamplingFields(
            fields, recommended: recommended, vocabulary: vocabulary, mostChoices: mostChoices)
        if let best = try fields.integer("best_of", in: 1...Int.max), best != sampling.choices {
            throw APIError.unsupported("best_of", "'best_of' is not supported other than equal to 'n'.")
        }
        if let suffix = try fields.string("suffix"), !suffix.isEmpty { throw APIError.unsupported("suffix") }
    }

    private static func prompts(_ value: JSONValue, vocabulary: Int) throws -> [Prompt] {
        if let text = value.stringValue { return [.text(text)] }
        guard let values = value.arrayValue, !values.isEmpty else {
            throw APIError.invalid(
                "prompt", "'prompt' has to be a string, tokens, or an array of either that is not empty.",
                code: "invalid_type")
        }
        if values[0].intValue != nil { return [.tokens(try tokens(value, "prompt", vocabulary: vocabulary))] }
        if values.count > mostPrompts {
            throw APIError.invalid("prompt", "'prompt' has \(values.count) prompts; at most \(mostPrompts) are taken.")
        }
        return try values.enumerated().map { index, value in
            try value.stringValue.map { .text($0) }
                ?? .tokens(tokens(value, "prompt[\(index)]", vocabulary: vocabulary))
        }
    }

    /// Tokens of the model.
    ///
    /// - Throws: ``APIError`` with status 400 for anything else.
    static func tokens(_ value: JSONValue, _ name: String, vocabulary: Int) throws -> [Int] {
        guard let values = value.arrayValue else {
            throw APIError.invalid(
                name, "'\(name)' has to be a string or an array of tokens, not \(value.kind).", code: "invalid_type")
        }
        return try values.map { value in
            guard let token = value.intValue, (0..<vocabulary).contains(token) else {
                throw APIError.invalid(
                    name, "'\(name)' has something other than tokens of the model, 0 to \(vocabulary - 1).")
            }
            return token
        }
    }
}
