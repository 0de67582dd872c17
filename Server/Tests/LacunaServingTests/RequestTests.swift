import LacunaIO
import ServingFixtures
import Testing

@testable import LacunaServing

struct RequestTests {
    private static func change(_ body: JSONValue, _ key: String, _ value: JSONValue?) -> JSONValue {
        guard case .object(var object) = body else { return body }
        object[key] = value
        return .object(object)
    }

    /// What is wrong with each parameter is said with its name.
    @Test func completionParameters() async throws {
        let service = try TinyModel().service()
        let good: JSONValue = ["model": "tiny", "prompt": "ab", "max_tokens": 1]
        #expect(try await service.post("/v1/completions", good).status == 200)
        let bad: [(String, JSONValue?, String?)] = [
            ("prompt", nil, nil), ("prompt", 7, nil), ("prompt", [], nil), ("prompt", [1, "a"], nil),
            ("prompt", ["a", [1, 300]], "prompt[1]"), ("prompt", [[1], [-1]], "prompt[1]"),
            ("prompt", [1.5], "prompt[0]"),
            ("prompt", .array([[]]), "prompt"),
            ("max_tokens", -1, nil), ("max_tokens", "3", nil), ("max_tokens", 1.5, nil), ("max_tokens", 300, "prompt"),
            ("max_tokens", .integer(.max), "prompt"), ("max_tokens", true, nil),
            ("temperature", -0.1, nil), ("temperature", 2.1, nil), ("temperature", "hot", nil), ("top_p", 0, nil),
            ("top_p", 1.1, nil), ("top_k", -2, nil), ("frequency_penalty", 3, nil), ("presence_penalty", -2.5, nil),
            ("logit_bias", ["x": 1], nil), ("logit_bias", ["259": 1], nil), ("logit_bias", ["1": 101], nil),
            ("logit_bias", ["05": 1], nil), ("logit_bias", ["+5": 1], nil),
            ("logit_bias", [1], nil), ("logit_bias", ["1": "a"], nil),
            ("stop", "", nil), ("stop", [1], nil), ("stop", .array([JSONValue](repeating: "a", count: 17)), nil),
            ("stop", ["a": 1], nil), ("seed", 1.5, nil), ("seed", "a", nil), ("n", 0, nil), ("n", 9, nil),
            ("stream", 1, nil), ("stream_options", ["include_usage": true], nil), ("echo", "yes", nil),
            ("logprobs", 21, nil), ("logprobs", true, nil), ("logprobs", -1, nil), ("best_of", 2, nil),
            ("suffix", "x", nil), ("user", 1, nil), ("tools", [], nil), ("response_format", ["type": "text"], nil),
            ("min_p", 0.1, nil), ("maxtokens", 1, nil), ("", 1, nil), ("ignore_eos", 1, nil),
        ]
        for (key, value, parameter) in bad {
            let found = try await service.post("/v1/completions", Self.change(good, key, value))
            #expect(found.status == 400, "\(key): \(value?.serialized() ?? "absent") -> \(found.text)")
            #expect(
                found.errorParameter == parameter ?? key, "\(key): \(value?.serialized() ?? "absent") -> \(found.text)")
            #expect(found.json["error"]?["type"] == "invalid_request_error")
        }
        #expect(
            try await service.post("/v1/completions", Self.change(good, "maxtokens", 1)).text.contains("'max_tokens'"))
        #expect(
            try await service.post("/v1/completions", Self.change(good, "tools", [])).errorCode
                == "unsupported_parameter")
        // Null is absence, also for what is not supported.
        for key in ["tools", "stop", "seed", "logprobs", "suffix", "stream_options", "user", "logit_bias", "best_of"] {
            #expect(try await service.post("/v1/completions", Self.change(good, key, .null)).status == 200, "\(key)")
        }
        for (key, value): (String, JSONValue) in [
            ("best_of", 1), ("suffix", ""), ("top_k", 0), ("top_k", -1), ("temperature", 0), ("max_tokens", 0),
            ("seed", -5), ("logit_bias", ["5": -100]), ("stop", ["x"]), ("user", "me"), ("model", .null),
        ] {
            #expect(try await service.post("/v1/completions", Self.change(good, key, value)).status == 200, "\(key)")
        }
        let missing = try await service.post("/v1/completions", Self.change(good, "model", "gpt-4o"))
        #expect(missing.status == 404 && missing.errorCode == "model_not_found" && missing.errorParameter == "model")
    }

    @Test func chatParameters() async throws {
        let service = try TinyModel().service()
        let good: JSONValue = ["messages": [["role": "user", "content": "hi"]], "max_tokens": 2]
        #expect(try await service.post("/v1/chat/completions", good).status == 200)
        let message: (JSONValue) -> JSONValue = { [$0] }
        let bad: [(String, JSONValue?, String?)] = [
            ("messages", nil, nil), ("messages", [], nil), ("messages", "hi", nil), ("messages", [1], "messages[0]"),
            ("messages", message(["content": "x"]), "messages[0].role"),
            ("messages", message(["role": "pope", "content": "x"]), "messages[0].role"),
            ("messages", message(["role": "tool", "content": "x"]), "messages[0].tool_call_id"),
            ("messages", message(["role": "user", "content": "x", "tool_call_id": "a"]), "messages[0].tool_call_id"),
            ("messages", message(["role": "user", "content": "x", "tool_calls": []]), "messages[0].tool_calls"),
            (
                "messages", message(["role": "assistant", "tool_calls": [["function": ["name": "f"]]]]),
                "messages[0].tool_calls[0].function.arguments"
            ),
            (
                "messages",
                message(["role": "assistant", "tool_calls": [["function": ["name": "f", "arguments": "[1"]]]]),
                "messages[0].tool_calls[0].function.arguments"
            ),
            (
                "messages",
                message([
                    "role": "assistant",
                    "tool_calls": [["index": "first", "function": ["name": "f", "arguments": "{}"]]],
                ]), "messages[0].tool_calls[0].index"
            ),
            ("messages", message(["role": "user"]), "messages[0].content"),
            ("messages", message(["role": "user", "content": 5]), "messages[0].content"),
            (
                "messages",
                message([
                    "role": "user", "content": [["type": "image_url", "image_url": ["url": "file:///etc/passwd"]]],
                ]),
                "messages[0].content[0].type"
            ),
            ("messages", message(["role": "user", "content": [["type": "text"]]]), "messages[0].content[0].text"),
            ("messages", message(["role": "user", "content": "x", "colour": 1]), "messages[0].colour"),
            ("messages", message(["role": "assistant", "tool_calls": []]), "messages[0].content"),
            ("max_tokens", 0, nil), ("max_completion_tokens", 5, nil), ("max_tokens", 400, "messages"),
            ("top_logprobs", 2, nil), ("logprobs", 2, nil), ("tools", 1, nil), ("tool_choice", "auto", nil),
            ("tools", [["type": "retrieval"]], "tools[0].type"), ("functions", [], nil),
            ("response_format", ["type": "xml"], "response_format.type"),
            ("response_format", [:], "response_format.type"), ("response_format", "text", nil),
            ("response_format", ["type": "json_schema"], "response_format.json_schema"),
            ("response_format", ["type": "json_schema", "json_schema": [:]], "response_format.json_schema.name"),
            (
                "response_format", ["type": "json_schema", "json_schema": ["name": "a"]],
                "response_format.json_schema.schema"
            ),
            (
                "response_format",
                [
                    "type": "json_schema",
                    "json_schema": ["name": "a", "schema": ["type": "string", "format": "date"]],
                ],
                "response_format.json_schema.schema.format"
            ),
            ("modalities", ["audio"], nil), ("store", true, nil), ("service_tier", "auto", nil),
            ("reasoning_effort", "low", nil), ("prompt", "x", nil),
        ]
        for (key, value, parameter) in bad {
            let found = try await service.post("/v1/chat/completions", Self.change(good, key, value))
            #expect(found.status == 400, "\(key): \(value?.serialized() ?? "absent") -> \(found.text)")
            #expect(
                found.errorParameter == parameter ?? key, "\(key): \(value?.serialized() ?? "absent") -> \(found.text)")
        }
        for (key, value): (String, JSONValue) in [
            ("max_completion_tokens", 2), ("response_format", ["type": "text"]),
            ("response_format", ["type": "json_object"]), ("modalities", ["text"]),
            ("store", false),
            ("tool_choice", "none"), ("tools", []), ("logprobs", false), ("parallel_tool_calls", .null),
            ("messages", message(["role": "developer", "content": [["type": "text", "text": "x"]], "name": "a"])),
            (
                "messages",
                message([
                    "role": "assistant", "content": .null,
                    "tool_calls": [["id": "1", "type": "function", "function": ["name": "f", "arguments": "{}"]]],
                ])
            ),
            ("messages", message(["role": "tool", "content": "x", "tool_call_id": "1"])),
            (
                "response_format",
                ["type": "json_schema", "json_schema": ["name": "a", "strict": true, "schema": ["type": "object"]]]
            ),
        ] {
            #expect(
                try await service.post("/v1/chat/completions", Self.change(good, key, value)).status == 200, "\(key)")
        }
        let plain = try TinyModel(hasTemplate: false).service()
        let refused = try await plain.post("/v1/chat/completions", good)
        #expect(refused.status == 400 && refused.errorParameter == "messages")
    }
}
