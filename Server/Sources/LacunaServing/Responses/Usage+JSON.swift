import LacunaIO

extension Usage {
    /// The `usage` of a response. `lacuna` is an extension: bytes of weights that were read for the request, and seconds.
    var json: JSONValue {
        [
            "prompt_tokens": JSONValue(promptTokens), "completion_tokens": JSONValue(completionTokens),
            "total_tokens": JSONValue(promptTokens + completionTokens),
            "prompt_tokens_details": ["cached_tokens": JSONValue(cachedTokens)],
            "lacuna": [
                "weight_bytes": JSONValue(weightBytes), "queue_seconds": .number(queueSeconds),
                "first_token_seconds": firstTokenSeconds.map { .number($0) } ?? .null,
                "text_seconds": .number(textSeconds),
            ],
        ]
    }
}

/// Server-sent events: what the field's clients read a stream as.
enum ServerSentEvent {
    /// One event with a JSON value.
    static func data(_ value: JSONValue) -> String { "data: \(value.serialized())\n\n" }
    /// The last event.
    static let done = "data: [DONE]\n\n"
}

/// Names of responses.
enum ResponseName {
    /// A name that no other response has.
    static func random(_ prefix: String) -> String {
        prefix + String(UInt64.random(in: 0 ... .max), radix: 36) + String(UInt64.random(in: 0 ... .max), radix: 36)
    }
}
