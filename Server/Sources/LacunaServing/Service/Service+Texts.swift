import LacunaIO
import LacunaInfer

extension Service {
    func completions(_ fields: RequestFields) throws -> ServiceReply {
        let (model, scheduler) = try textModel(fields)
        let request = try CompletionRequest(
            fields, recommended: model.recommended, vocabulary: model.vocabularySize,
            mostChoices: scheduler.limits.slots)
        let tokenizer = model.tokenizer
        let prompts = request.prompts.map { prompt -> (tokens: [Int], echo: String?) in
            switch prompt {
            case .text(let text): (model.tokens(of: text), request.echoes ? text : nil)
            case .tokens(let tokens): (tokens, request.echoes ? tokenizer.decode(tokens) : nil)
            }
        }
        let sampling = request.sampling
        let run = try GenerationRun.start(
            prompts.map { prompt in
                GenerationRequest(
                    prompt: prompt.tokens, maximumTokens: request.maximumTokens, choices: sampling.choices,
                    sampling: sampling.sampling, edits: sampling.edits,
                    endTokens: sampling.ignoresEnd ? [] : model.endTokens, alternatives: request.alternatives,
                    scoresPrompt: request.echoes && request.alternatives != nil)
            }, offsets: prompts.map { $0.echo?.unicodeScalars.count ?? 0 }, stops: sampling.stops, tokenizer: tokenizer,
            scheduler: scheduler, within: limits.requestSeconds)
        let response = CompletionResponse(
            model: model.name, tokenizer: tokenizer, prompts: prompts, choices: sampling.choices,
            hasScores: request.alternatives != nil)
        return reply(response, run, sampling)
    }

    func chat(_ fields: RequestFields) throws -> ServiceReply {
        let (model, scheduler) = try textModel(fields)
        let request = try ChatRequest(
            fields, recommended: model.recommended, vocabulary: model.vocabularySize,
            mostChoices: scheduler.limits.slots)
        let tools = request.tools.flatMap { $0.choice == .never ? nil : $0 }
        if tools != nil && !model.callsTools {
            throw APIError.unsupported(
                "tools",
                "The chat template of '\(model.name)' knows no tools, or calls them in a form that is not known here.")
        }
        let tokens = try model.tokens(of: request.messages, tools: tools?.described ?? [])
        let room = scheduler.limits.context - tokens.count
        guard room > 0, request.maximumTokens ?? 1 <= room else {
            throw APIError.invalid(
                "messages",
                "The messages have \(tokens.count) tokens, and \(request.maximumTokens ?? 1) are to be written: more than the "
                    + "context of \(scheduler.limits.context).",
                code: "context_length_exceeded")
        }
        let sampling = request.sampling
        let run = try GenerationRun.start(
            [
                GenerationRequest(
                    prompt: tokens, maximumTokens: request.maximumTokens ?? room, choices: sampling.choices,
                    sampling: sampling.sampling, edits: sampling.edits,
                    endTokens: sampling.ignoresEnd ? [] : model.turnEnds, alternatives: request.alternatives,
                    constraint: constraint(request.schema, tools, model.spellings))
            ], offsets: [0], stops: sampling.stops, tokenizer: model.tokenizer, scheduler: scheduler,
            within: limits.requestSeconds)
        let response = ChatResponse(
            model: model.name, tokenizer: model.tokenizer, choices: sampling.choices,
            hasScores: request.alternatives != nil, hasTools: tools != nil)
        return reply(response, run, sampling)
    }

    private func constraint(
        _ schema: JSONSchema?, _ tools: ToolFields?, _ spellings: TokenSpellings
    ) -> (any TokenConstraint)? {
        if let schema { return JSONConstraint(spellings, schema) }
        return tools.map { ToolConstraint(spellings, $0.schema, isOneCall: $0.choice == .required) }
    }

    /// What a run becomes, at once or piece by piece. However the reply ends, so does the run.
    private func reply(_ response: some TextResponse, _ run: RunningRequest, _ sampling: SamplingFields) -> ServiceReply
    {
        if sampling.streams {
            return .stream { write in
                defer { run.cancel() }
                try await response.chunks(run.events, includesUsage: sampling.includesUsage, write: write)
            }
        }
        return .deferred {
            defer { run.cancel() }
            return await Self.whole { try await response.whole(run.events) }
        }
    }

    private static func whole(_ body: () async throws -> JSONValue) async -> ServiceResponse {
        do { return .json(try await body()) } catch { return ServiceResponse(APIError(error)) }
    }

    // MARK: Tokens

    func tokenize(_ fields: RequestFields) throws -> ServiceResponse {
        let (model, scheduler) = try textModel(fields)
        if fields.contains("messages") && fields.contains("prompt") {
            throw APIError.invalid("messages", "'prompt' and 'messages' are given; one of them is read.")
        }
        let isChat = fields.contains("messages")
        // What is for the other of the two is refused, unless it is null.
        let other: [(name: String, kind: String)] =
            isChat ? [("add_special_tokens", "prompt")] : [("add_generation_prompt", "messages")]
        for (name, kind) in other where fields.contains(name) {
            throw APIError.invalid(name, "'\(name)' is for requests with '\(kind)'.")
        }
        try fields.requireKnown(
            RequestMembers(known: RequestMembers.textTokens.known.union(RequestMembers.chatTokens.known)))
        let tokens: [Int]
        if isChat {
            tokens = try model.tokens(
                of: ChatRequest.messages(fields),
                addsGenerationPrompt: fields.bool("add_generation_prompt") ?? true)
        } else {
            guard let text = try fields.string("prompt") else { throw fields.missing("prompt") }
            let adds = try fields.bool("add_special_tokens") ?? true
            tokens = model.tokenizer.encode(text, addsBeginning: adds ? nil : false)
        }
        var object = JSONObject()
        object["count"] = JSONValue(tokens.count)
        object["max_model_len"] = JSONValue(scheduler.limits.context)
        object["tokens"] = .array(tokens.map { JSONValue($0) })
        if try fields.bool("return_token_strs") ?? false {
            object["token_strs"] = .array(tokens.map { .string(model.tokenizer.spelling($0)) })
        }
        return .json(.object(object))
    }

    func detokenize(_ fields: RequestFields) throws -> ServiceResponse {
        let (model, _) = try textModel(fields)
        try fields.requireKnown(.detokenization)
        guard let value = fields["tokens"] else { throw fields.missing("tokens") }
        let tokens = try CompletionRequest.tokens(value, "tokens", vocabulary: model.vocabularySize)
        return .json(["prompt": .string(model.tokenizer.decode(tokens))])
    }

    /// What lm-evaluation-harness asks to cut texts as the model does, without files of its own.
    func tokenizerInfo() throws -> ServiceResponse {
        guard let model else {
            throw APIError(
                status: 404, message: "No model of texts is served here.", type: "invalid_request_error",
                code: "not_found")
        }
        var object = JSONObject()
        object["tokenizer_class"] = "lacuna"
        for (key, value) in model.tokenizer.namedTokens.sorted(by: { $0.key < $1.key }) { object[key] = .string(value) }
        if object["eos_token"] == nil { object["eos_token"] = .null }
        object["chat_template"] = model.tokenizer.chatTemplate.map { .string($0) } ?? .null
        object["vocab_size"] = JSONValue(model.tokenizer.vocabularySize)
        return .json(.object(object))
    }
}
