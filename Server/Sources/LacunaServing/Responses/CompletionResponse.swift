import LacunaIO

/// The answers of `POST /v1/completions`, as one response or in chunks.
struct CompletionResponse: TextResponse {
    let id = ResponseName.random("cmpl-")
    let created = ServingClock.unixTime
    let model: String
    let tokenizer: Tokenizer
    /// The tokens of each prompt, and its text if answers begin with it.
    let prompts: [(tokens: [Int], echo: String?)]
    let choices: Int
    let hasScores: Bool

    /// Log-probabilities in the legacy shape. The lists are as long as each other.
    struct Scores {
        var tokens: [JSONValue] = []
        var logProbabilities: [JSONValue] = []
        var alternatives: [JSONValue] = []
        var offsets: [JSONValue] = []

        mutating func append(_ token: Int, _ score: TokenScore?, offset: Int, _ tokenizer: Tokenizer) {
            tokens.append(.string(tokenizer.spelling(token)))
            logProbabilities.append(score.map { .number($0.logProbability) } ?? .null)
            offsets.append(JSONValue(offset))
            guard let score else { return alternatives.append(.null) }
            var object = JSONObject()
            let own = TokenScore.Alternative(token: token, logProbability: score.logProbability)
            for alternative in score.alternatives + [own] {
                let name = tokenizer.spelling(alternative.token)
                // Tokens may be spelled alike: the more probable one comes first.
                if object[name] == nil { object[name] = .number(alternative.logProbability) }
            }
            alternatives.append(.object(object))
        }

        var json: JSONValue {
            [
                "tokens": .array(tokens), "token_logprobs": .array(logProbabilities),
                "top_logprobs": .array(alternatives), "text_offset": .array(offsets),
            ]
        }
    }

    /// Scores of an echoed prompt's tokens.
    func scores(ofPrompt index: Int, _ scores: [TokenScore]) -> Scores {
        var result = Scores()
        var offset = 0
        for (place, token) in prompts[index].tokens.enumerated() {
            let score = place > 0 && place <= scores.count ? scores[place - 1] : nil
            result.append(token, score, offset: offset, tokenizer)
            offset += tokenizer.bytes(of: token).count { $0 & 0xC0 != 0x80 }
        }
        return result
    }

    func body(_ choices: [JSONValue], usage: JSONValue? = nil) -> JSONValue {
        var object = JSONObject()
        object["id"] = .string(id)
        object["object"] = "text_completion"
        object["created"] = JSONValue(created)
        object["model"] = .string(model)
        object["choices"] = .array(choices)
        if let usage { object["usage"] = usage }
        return .object(object)
    }

    func choice(_ index: Int, text: String, _ scores: Scores?, _ reason: FinishReason?) -> JSONValue {
        [
            "text": .string(text), "index": JSONValue(index), "logprobs": scores?.json ?? .null,
            "finish_reason": reason.map { .string($0.rawValue) } ?? .null,
        ]
    }

    /// The whole response.
    ///
    /// - Throws: What the request has failed with.
    func whole(_ events: AsyncStream<RunEvent>) async throws -> JSONValue {
        var texts = [String](repeating: "", count: prompts.count * choices)
        var scores = [Scores](repeating: Scores(), count: prompts.count * choices)
        var promptScores = [[TokenScore]](repeating: [], count: prompts.count)
        var reasons = [FinishReason?](repeating: nil, count: texts.count)
        var usage: Usage?
        for await event in events {
            switch event {
            case .promptScores(let prompt, let more): promptScores[prompt] += more
            case .text(let choice, let piece):
                texts[choice] += piece.text
                for token in piece.tokens where hasScores {
                    scores[choice].append(token.token, token.score, offset: token.offset, tokenizer)
                }
            case .finished(let choice, let reason): reasons[choice] = reason
            case .done(let total): usage = total
            case .failed(let error): throw error
            }
        }
        guard let usage else { throw APIError.internalError("The request was ended.") }
        let list = texts.indices.map { index in
            let prompt = index / choices
            guard let echo = prompts[prompt].echo else {
                return choice(index, text: texts[index], hasScores ? scores[index] : nil, reasons[index])
            }
            guard hasScores else { return choice(index, text: echo + texts[index], nil, reasons[index]) }
            var all = self.scores(ofPrompt: prompt, promptScores[prompt])
            all.tokens += scores[index].tokens
            all.logProbabilities += scores[index].logProbabilities
            all.alternatives += scores[index].alternatives
            all.offsets += scores[index].offsets
            return choice(index, text: echo + texts[index], all, reasons[index])
        }
        return body(list, usage: usage.json)
    }

    /// The response in chunks, as server-sent events.
    func chunks(
        _ events: AsyncStream<RunEvent>, includesUsage: Bool, write: (String) async throws -> Void
    ) async throws {
        var promptScores = [[TokenScore]](repeating: [], count: prompts.count)
        var echoes = [Bool](repeating: prompts.contains { $0.echo != nil }, count: prompts.count * choices)
        func echo(_ index: Int) async throws {
            guard echoes[index], let text = prompts[index / choices].echo else { return }
            echoes[index] = false
            let scores = hasScores ? self.scores(ofPrompt: index / choices, promptScores[index / choices]) : nil
            try await write(ServerSentEvent.data(body([choice(index, text: text, scores, nil)])))
        }
        for await event in events {
            switch event {
            case .promptScores(let prompt, let more): promptScores[prompt] += more
            case .text(let index, let piece):
                try await echo(index)
                if piece.text.isEmpty && !hasScores { continue }
                var scores = Scores()
                for token in piece.tokens { scores.append(token.token, token.score, offset: token.offset, tokenizer) }
                try await write(
                    ServerSentEvent.data(body([choice(index, text: piece.text, hasScores ? scores : nil, nil)])))
            case .finished(let index, let reason):
                try await echo(index)
                try await write(ServerSentEvent.data(body([choice(index, text: "", nil, reason)])))
            case .done(let usage):
                if includesUsage { try await write(ServerSentEvent.data(body([], usage: usage.json))) }
                try await write(ServerSentEvent.done)
            case .failed(let error): try await write(ServerSentEvent.data(error.json))
            }
        }
    }
}
