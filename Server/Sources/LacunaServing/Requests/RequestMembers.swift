/// The members that an object of a request may have. The description of the interface has the same (``InterfaceDescription``).
struct RequestMembers: Sendable, Equatable {
    /// Those that are read.
    let known: Set<String>
    /// Those that the field knows and that are not supported here; null is no request for them.
    var unsupported: Set<String> = []

    static let completion = RequestMembers(
        known: sampling.union(["prompt", "max_tokens", "echo", "logprobs", "best_of", "suffix"]),
        unsupported: ["response_format", "tools", "guided_json", "guided_regex", "min_p", "repetition_penalty"])
    static let chat = RequestMembers(
        known: sampling.union([
            "messages", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "response_format", "tools",
            "tool_choice", "parallel_tool_calls", "modalities", "store",
        ]),
        unsupported: [
            "functions", "function_call", "audio", "prediction", "metadata", "reasoning_effort", "service_tier",
            "web_search_options", "verbosity", "prompt_cache_key", "safety_identifier", "min_p", "repetition_penalty",
            "guided_json", "guided_regex", "chat_template_kwargs", "moderation",
        ])
    /// What completions and chats have in common.
    static let sampling: Set<String> = [
        "model", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "logit_bias", "stop", "seed",
        "n", "stream", "stream_options", "user", "ignore_eos",
    ]
    static let streamOptions = RequestMembers(known: ["include_usage", "include_obfuscation"])

    static let message = RequestMembers(
        known: ["role", "content", "name", "tool_calls", "tool_call_id"],
        unsupported: ["function_call", "audio", "refusal", "annotations"])
    static let textPart = RequestMembers(known: ["type", "text"])
    static let toolCall = RequestMembers(known: ["id", "type", "function", "index"])
    static let calledFunction = RequestMembers(known: ["name", "arguments"])

    static let plainFormat = RequestMembers(known: ["type"])
    static let schemaFormat = RequestMembers(known: ["type", "json_schema"])
    static let namedSchema = RequestMembers(known: ["name", "description", "schema", "strict"])

    static let tool = RequestMembers(known: ["type", "function"])
    static let function = RequestMembers(known: ["name", "description", "parameters", "strict"])
    static let toolChoice = RequestMembers(known: ["type", "function"], unsupported: ["allowed_tools"])
    static let chosenFunction = RequestMembers(known: ["name"])

    static let embedding = RequestMembers(
        known: ["model", "input", "encoding_format", "user"], unsupported: ["dimensions"])
    /// With a `prompt`, or with `messages`.
    static let textTokens = RequestMembers(known: ["model", "prompt", "add_special_tokens", "return_token_strs"])
    static let chatTokens = RequestMembers(known: ["model", "messages", "add_generation_prompt", "return_token_strs"])
    static let detokenization = RequestMembers(known: ["model", "tokens"])
    static let search = RequestMembers(
        known: ["query", "vector", "k", "filter", "exact", "query_cut", "heap_factor"])
}
