import LacunaIO
import LacunaInfer

/// The body of `POST /v1/chat/completions`.
public struct ChatRequest: Sendable {
    /// What has been said.
    public var messages: [ChatTemplate.Message]
    /// Tokens to write; nil for as many as fit the context.
    public var maximumTokens: Int?
    /// Most probable tokens to list beside each token's log-probability; nil for neither.
    public var alternatives: Int?
    /// Whether the answer has to be a JSON object.
    public var writesJSON: Bool
    /// How tokens are chosen.
    public var sampling: SamplingFields

    /// Messages of a conversation, at most.
    static let mostMessages = 4096

    /// - Throws: ``APIError`` with status 400 that names the parameter.
    init(_ fields: RequestFields, recommended: Sampler.Options?, vocabulary: Int, mostChoices: Int) throws {
        try fields.requireKnown(
            SamplingFields.known.union([
                "messages", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "response_format",
                "tool_choice", "modalities", "store",
            ]),
            unsupported: [
                "tools", "functions", "function_call", "parallel_tool_calls", "audio", "prediction", "metadata",
                "reasoning_effort", "service_tier", "web_search_options", "verbosity", "prompt_cache_key",
                "safety_identifier", "min_p", "repetition_penalty", "guided_json", "guided_regex",
                "chat_template_kwargs",
                "moderation",
            ])
        messages = try Self.messages(fields)
        let limits = try ["max_tokens", "max_completion_tokens"].compactMap { key in
            try fields.integer(key, in: 1...Int.max)
        }
        if let first = limits.first, let last = limits.last, first != last {
            throw APIError.invalid(
                "max_completion_tokens", "'max_tokens' and 'max_completion_tokens' are given and differ.")
        }
        maximumTokens = limits.first
        let wantsScores = try fields.bool("logprobs") ?? false
        let count = try fields.integer("top_logprobs", in: 0...TokenScore.mostAlternatives)
        if count != nil && !wantsScores {
            throw APIError.invalid("top_logprobs", "'top_logprobs' is for requests with 'logprobs': true.")
        }
        alternatives = wantsScores ? count ?? 0 : nil
        writesJSON = try Self.writesJSON(fields)
        if let choice = fields["tool_choice"], choice.stringValue != "none" {
            throw APIError.unsupported("tool_choice")
        }
        if let modalities = try fields.array("modalities"), modalities != ["text"] {
            throw APIError.unsupported("modalities", "'modalities' other than [\"text\"] are not supported.")
        }
        if try fields.bool("store") == true { throw APIError.unsupported("store") }
        sampling = try SamplingFields(
            fields, recommended: recommended, vocabulary: vocabulary, mostChoices: mostChoices)
    }

    private static func writesJSON(_ fields: RequestFields) throws -> Bool {
        guard let format = try fields.fields("response_format") else { return false }
        guard let type = try format.string("type") else { throw format.missing("type") }
        switch type {
        case "text": try format.requireKnown(["type"])
        case "json_object":
            try format.requireKnown(["type"])
            return true
        case "json_schema":
            throw APIError.unsupported(
                "response_format.type",
                "A 'response_format' of type '\(type)' is not supported; 'text' and 'json_object' are.")
        default:
            throw APIError.invalid(
                "response_format.type", "'response_format.type' is none of text, json_object, json_schema.")
        }
        return false
    }

    /// The `messages` of a request.
    ///
    /// - Throws: ``APIError`` with status 400 that names the message.
    static func messages(_ fields: RequestFields) throws -> [ChatTemplate.Message] {
        guard let values = try fields.array("messages") else { throw fields.missing("messages") }
        guard !values.isEmpty, values.count <= mostMessages else {
            throw APIError.invalid(
                "messages", "'messages' has \(values.count) messages; 1 to \(mostMessages) are taken.")
        }
        return try values.enumerated().map { index, value in
            let message = try RequestFields(value, location: "messages[\(index)]")
            try message.requireKnown(
                ["role", "content", "name"],
                unsupported: ["tool_calls", "tool_call_id", "function_call", "audio", "refusal", "annotations"])
            guard let role = try message.string("role") else { throw message.missing("role") }
            let roles: [String: ChatTemplate.Role] = [
                "system": .system, "developer": .system, "user": .user, "assistant": .assistant,
            ]
            guard let known = roles[role] else {
                throw APIError.invalid(
                    message.name("role"),
                    "'\(message.name("role"))' is '\(role)'; system, developer, user and assistant are supported.")
            }
            var others = JSONObject()
            if let name = try message.string("name") { others["name"] = .string(name) }
            return ChatTemplate.Message(known, try content(message), fields: others)
        }
    }

    private static func content(_ message: RequestFields) throws -> String {
        guard let value = message["content"] else { throw message.missing("content") }
        if let text = value.stringValue { return text }
        guard let parts = value.arrayValue else {
            throw APIError.invalid(
                message.name("content"),
                "'\(message.name("content"))' has to be a string or an array of parts, not \(value.kind).",
                code: "invalid_type")
        }
        return try parts.enumerated().map { index, value in
            let part = try RequestFields(value, location: message.name("content[\(index)]"))
            guard let type = try part.string("type") else { throw part.missing("type") }
            guard type == "text" else {
                throw APIError.unsupported(
                    part.name("type"), "Content of type '\(type)' is not supported; 'text' is.")
            }
            try part.requireKnown(["type", "text"])
            guard let text = try part.string("text") else { throw part.missing("text") }
            return text
        }.joined()
    }
}
