import LacunaIO

/// The answers of `POST /v1/chat/completions`, as one response or in chunks.
struct ChatResponse: TextResponse {
    let id = ResponseName.random("chatcmpl-")
    let created = ServingClock.unixTime
    let model: String
    let tokenizer: Tokenizer
    let choices: Int
    let hasScores: Bool
    /// Whether texts may have calls of functions in them.
    let hasTools: Bool

    private func scores(_ tokens: [TextWriter.WrittenToken]) -> JSONValue {
        func entry(_ token: Int, _ logProbability: Double) -> JSONObject {
            var object = JSONObject()
            object["token"] = .string(tokenizer.spelling(token))
            object["logprob"] = .number(logProbability)
            object["bytes"] = .array(tokenizer.bytes(of: token).map { JSONValue(Int($0)) })
            return object
        }
        return .array(
            tokens.map { token in
                var object = entry(token.token, token.score?.logProbability ?? -.infinity)
                object["top_logprobs"] = .array(
                    (token.score?.alternatives ?? []).map { .object(entry($0.token, $0.logProbability)) })
                return .object(object)
            })
    }

    private func logprobs(_ tokens: [TextWriter.WrittenToken]) -> JSONValue {
        hasScores ? ["content": scores(tokens), "refusal": .null] : .null
    }

    private func body(_ kind: String, _ choices: [JSONValue], usage: JSONValue? = nil) -> JSONValue {
        var object = JSONObject()
        object["id"] = .string(id)
        object["object"] = .string(kind)
        object["created"] = JSONValue(created)
        object["model"] = .string(model)
        object["choices"] = .array(choices)
        if let usage { object["usage"] = usage }
        return .object(object)
    }

    /// The whole response.
    ///
    /// - Throws: What the request has failed with.
    func whole(_ events: AsyncStream<RunEvent>) async throws -> JSONValue {
        var texts = [String](repeating: "", count: choices)
        var tokens = [[TextWriter.WrittenToken]](repeating: [], count: choices)
        var reasons = [FinishReason?](repeating: nil, count: choices)
        var usage: Usage?
        for await event in events {
            switch event {
            case .promptScores: break
            case .text(let choice, let piece):
                texts[choice] += piece.text
                if hasScores { tokens[choice] += piece.tokens }
            case .finished(let choice, let reason): reasons[choice] = reason
            case .done(let total): usage = total
            case .failed(let error): throw error
            }
        }
        guard let usage else { throw APIError.internalError("The request was ended.") }
        return body(
            "chat.completion",
            (0..<choices).map { index in
                let (text, calls) = read(texts[index])
                var message = JSONObject()
                message["role"] = "assistant"
                message["content"] = text.isEmpty && !calls.isEmpty ? .null : .string(text)
                message["refusal"] = .null
                if !calls.isEmpty { message["tool_calls"] = .array(calls.map(\.json)) }
                return [
                    "index": JSONValue(index), "message": .object(message), "logprobs": logprobs(tokens[index]),
                    "finish_reason": finishReason(reasons[index], hasCalls: !calls.isEmpty),
                ]
            }, usage: usage.json)
    }

    private func read(_ text: String) -> (text: String, calls: [ToolCall]) {
        if !hasTools { return (text, []) }
        var reader = ToolCallReader()
        let (start, calls) = reader.append(text)
        return (start + reader.finish(hasCalls: !calls.isEmpty), calls)
    }

    private func finishReason(_ reason: FinishReason?, hasCalls: Bool) -> JSONValue {
        hasCalls && reason == .stop ? "tool_calls" : reason.map { .string($0.rawValue) } ?? .null
    }

    /// The response in chunks, as server-sent events.
    func chunks(
        _ events: AsyncStream<RunEvent>, includesUsage: Bool, write: (String) async throws -> Void
    ) async throws {
        func send(
            _ index: Int, _ delta: JSONValue, _ tokens: [TextWriter.WrittenToken]? = nil, reason: JSONValue = .null
        ) async throws {
            let choice: JSONValue = [
                "index": JSONValue(index), "delta": delta, "logprobs": tokens.map(logprobs) ?? .null,
                "finish_reason": reason,
            ]
            try await write(ServerSentEvent.data(body("chat.completion.chunk", [choice])))
        }
        for index in 0..<choices { try await send(index, ["role": "assistant", "content": ""]) }
        var readers = [ToolCallReader](repeating: ToolCallReader(), count: choices)
        var called = [Int](repeating: 0, count: choices)
        for await event in events {
            switch event {
            case .promptScores: break
            case .text(let index, let piece):
                let (text, calls) = hasTools ? readers[index].append(piece.text) : (piece.text, [])
                if !text.isEmpty || hasScores { try await send(index, ["content": .string(text)], piece.tokens) }
                for call in calls {
                    var object = call.json.objectValue!
                    object["index"] = JSONValue(called[index])
                    called[index] += 1
                    try await send(index, ["tool_calls": [.object(object)]])
                }
            case .finished(let index, let reason):
                let rest = readers[index].finish(hasCalls: called[index] > 0)
                if !rest.isEmpty { try await send(index, ["content": .string(rest)]) }
                try await send(
                    index, .object(JSONObject()), reason: finishReason(reason, hasCalls: called[index] > 0))
            case .done(let usage):
                if includesUsage {
                    try await write(ServerSentEvent.data(body("chat.completion.chunk", [], usage: usage.json)))
                }
                try await write(ServerSentEvent.done)
            case .failed(let error): try await write(ServerSentEvent.data(error.json))
            }
        }
    }
}
