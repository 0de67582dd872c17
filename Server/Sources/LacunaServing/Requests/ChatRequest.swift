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
    /// What the answer has to be; nil for any text.
    let schema: JSONSchema?
    /// Functions that the model may call; nil if there are none.
    public var tools: ToolFields?
    /// How tokens are chosen.
    public var sampling: SamplingFields

    /// Messages of a conversation, at most.
    static let mostMessages = 4096

    /// - Throws: ``APIError`` with status 400 that names the parameter.
    init(_ fields: RequestFields, recommended: Sampler.Options?, vocabulary: Int, mostChoices: Int) throws {
        try fields.requireKnown(.chat)
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
        schema = try Self.schema(fields)
        tools = try ToolFields(fields)
        if schema != nil, let tools, tools.choice != .never {
            throw APIError.unsupported(
                "tools", "'tools' are supported without a 'response_format', or with a 'tool_choice' of 'none'.")
        }
        if let modalities = try fields.array("modalities"), modalities != ["text"] {
            throw APIError.unsupported("modalities", "'modalities' other than [\"text\"] are not supported.")
        }
        if try fields.bool("store") == true { throw APIError.unsupported("store") }
        sampling = try SamplingFields(
            fields, recommended: recommended, vocabulary: vocabulary, mostChoices: mostChoices)
    }

    private static func schema(_ fields: RequestFields) throws -> JSONSchema? {
        guard let format = try fields.fields("response_format") else { return nil }
        guard let type = try format.string("type") else { throw format.missing("type") }
        switch type {
        case "text":
            try format.requireKnown(.plainFormat)
            return nil
        case "json_object":
            try format.requireKnown(.plainFormat)
            return .anyObject
        case "json_schema":
            try format.requireKnown(.schemaFormat)
            guard let named = try format.fields("json_schema") else { throw format.missing("json_schema") }
            // Whether it is strict or not, the answer is held to it.
            try named.requireKnown(.namedSchema)
            guard try named.string("name") != nil else { throw named.missing("name") }
            _ = (try named.string("description"), try named.bool("strict"))
            guard let schema = named["schema"] else { throw named.missing("schema") }
            return try JSONSchema.object(schema, location: named.name("schema"))
        default:
            throw APIError.invalid(
                "response_format.type", "'response_format.type' is none of text, json_object, json_schema.")
        }
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
            try message.requireKnown(.message)
            guard let role = try message.string("role") else { throw message.missing("role") }
            let roles: [String: ChatTemplate.Role] = [
                "system": .system, "developer": .system, "user": .user, "assistant": .assistant, "tool": .tool,
            ]
            guard let known = roles[role] else {
                throw APIError.invalid(
                    message.name("role"),
                    "'\(message.name("role"))' is '\(role)'; system, developer, user, assistant and tool are supported."
                )
            }
            var others = JSONObject()
            if let name = try message.string("name") { others["name"] = .string(name) }
            let calls = try message.array("tool_calls").map { try Self.calls($0, message.name("tool_calls")) } ?? []
            if known != .assistant, message.contains("tool_calls") {
                throw APIError.invalid(
                    message.name("tool_calls"), "'\(message.name("tool_calls"))' is for the role 'assistant'.")
            }
            if !calls.isEmpty { others["tool_calls"] = .array(calls) }
            if let id = try message.string("tool_call_id") { others["tool_call_id"] = .string(id) }
            if message.contains("tool_call_id") != (known == .tool) {
                let place = message.name("tool_call_id")
                throw known == .tool
                    ? message.missing("tool_call_id") : APIError.invalid(place, "'\(place)' is for the role 'tool'.")
            }
            // Who calls need not say anything.
            let text = calls.isEmpty || message.contains("content") ? try content(message) : ""
            return ChatTemplate.Message(known, text, fields: others)
        }
    }

    /// Calls as templates take them: with arguments that are no longer text.
    private static func calls(_ values: [JSONValue], _ location: String) throws -> [JSONValue] {
        try values.enumerated().map { index, value in
            let call = try RequestFields(value, location: "\(location)[\(index)]")
            try call.requireKnown(.toolCall)
            // The order says it.
            _ = try call.integer("index", in: 0...Int.max)
            guard try call.string("type") ?? "function" == "function", let function = try call.fields("function") else {
                throw call.missing("function")
            }
            try function.requireKnown(.calledFunction)
            guard let name = try function.string("name") else { throw function.missing("name") }
            guard let text = try function.string("arguments") else { throw function.missing("arguments") }
            guard let arguments = try? JSONValue(parsing: text), arguments.objectValue != nil else {
                throw APIError.invalid(
                    function.name("arguments"), "'\(function.name("arguments"))' has to be a JSON object, as text.")
            }
            var object = JSONObject()
            if let id = try call.string("id") { object["id"] = .string(id) }
            object["type"] = "function"
            object["function"] = ["name": .string(name), "arguments": arguments]
            return .object(object)
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
            try part.requireKnown(.textPart)
            guard let text = try part.string("text") else { throw part.missing("text") }
            return text
        }.joined()
    }
}
