import LacunaIO
import LacunaInfer
import LacunaTensor
import ServingFixtures
import Testing

@testable import LacunaServing

struct ToolTests {
    private let tools: JSONValue = [
        [
            "type": "function",
            "function": [
                "name": "add", "strict": true,
                "parameters": [
                    "type": "object", "properties": ["x": ["type": "integer"], "y": ["enum": [1, 2]]],
                    "required": ["x", "y"], "additionalProperties": false,
                ],
            ],
        ],
        ["type": "function", "function": ["name": "now", "description": "The time."]],
    ]

    @Test func callsAreTakenOutOfTexts() {
        func read(_ text: String, by length: Int) -> (String, [String]) {
            var (reader, text, calls, rest) = (ToolCallReader(), "", [ToolCall](), Substring(text))
            while !rest.isEmpty {
                let (more, found) = reader.append(String(rest.prefix(length)))
                text += more
                calls += found
                rest = rest.dropFirst(length)
            }
            text += reader.finish(hasCalls: !calls.isEmpty)
            return (text, calls.map { "\($0.name) \($0.arguments)" })
        }
        let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1]}}\n</tool_call>"
        for (text, expected, calls): (String, String, [String]) in [
            ("plain < text", "plain < text", []), (call, "", ["f {\"a\":[1]}"]),
            ("So:\n\n" + call + "\n" + call + "\n", "So:", ["f {\"a\":[1]}", "f {\"a\":[1]}"]),
            ("a " + call + " b", "a b", ["f {\"a\":[1]}"]), ("x <tool_cal", "x <tool_cal", []),
            ("x <tool_call>{\"name\": 1}</tool_call> y", "x <tool_call>{\"name\": 1}</tool_call> y", []),
            ("x <tool_call>\n{\"na", "x <tool_call>\n{\"na", []), ("end \n", "end \n", []),
        ] {
            for length in [1, 2, 3, 7, 1000] {
                let found = read(text, by: length)
                #expect(found.0 == expected && found.1 == calls, "\(text) by \(length): \(found)")
            }
        }
        #expect(ToolCall(name: "f", arguments: "{}").id != ToolCall(name: "f", arguments: "{}").id)
    }

    /// What is free, and what is not, of the answer's bytes.
    @Test func whereCallsAreHeldToTheirForm() throws {
        let spellings = TokenSpellings(try TinyModelTokens.tokenizer())
        let fields = try RequestFields(["tools": tools])
        let auto = try #require(try ToolFields(fields))
        #expect(auto.choice == .auto && auto.described.count == 2)
        func accepts(
            _ text: String, isOneCall: Bool, _ schema: JSONSchema? = nil
        ) -> (all: Bool, complete: Bool) {
            var constraint = ToolConstraint(spellings, schema ?? auto.schema, isOneCall: isOneCall)
            for byte in text.utf8 {
                var logits = [Float](repeating: 0, count: 259)
                logits.withUnsafeMutableBufferPointer { constraint.restrict($0) }
                if logits[Int(byte)] != 0 { return (false, false) }
                constraint.accept(Int(byte))
            }
            return (true, constraint.isComplete)
        }
        let call = "<tool_call>\n{\"name\":\"add\",\"arguments\":{\"x\":7,\"y\":2}}\n</tool_call>"
        let other = "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"any\": [null]}}\n</tool_call>"
        #expect(accepts(call, isOneCall: true) == (true, true) && accepts(other, isOneCall: true) == (true, true))
        #expect(!accepts(" " + call, isOneCall: true).all && !accepts(call + "x", isOneCall: true).all)
        #expect(accepts("a <tool_<tool_call " + call + " b " + other, isOneCall: false) == (true, false))
        for bad in [
            call.replacing("7", with: "\"7\""), call.replacing("add", with: "sub"), call.replacing("2", with: "3"),
            call.replacing("\n<", with: " <"), call.replacing("<tool_call>\n", with: "<tool_call>x"),
            other.replacing("{\"any\": [null]}", with: "[]"),
        ] {
            #expect(!accepts("a " + bad, isOneCall: false).all && !accepts(bad, isOneCall: true).all, "\(bad)")
        }
        // A strict function without parameters takes no arguments.
        let bare = try #require(
            try ToolFields(
                RequestFields(["tools": [["type": "function", "function": ["name": "now", "strict": true]]]])))
        let none = other.replacing("\"any\": [null]", with: "")
        #expect(accepts(none, isOneCall: true, bare.schema) == (true, true) && accepts(none, isOneCall: true).all)
        #expect(!accepts(other, isOneCall: true, bare.schema).all)
        let named = try #require(
            try ToolFields(
                RequestFields(["tools": tools, "tool_choice": ["type": "function", "function": ["name": "now"]]])))
        var constraint = ToolConstraint(spellings, named.schema, isOneCall: true)
        for byte in "<tool_call>\n{\"name\":\"".utf8 { constraint.accept(Int(byte)) }
        var logits = [Float](repeating: 0, count: 259)
        logits.withUnsafeMutableBufferPointer { constraint.restrict($0) }
        #expect(logits.indices.filter { logits[$0] == 0 } == [Int(UInt8(ascii: "n"))])
    }

    @Test func requestsForCalls() async throws {
        let tiny = try TinyModel(template: TinyModel.toolTemplate)
        let service = try tiny.service()
        func body(_ choice: JSONValue, streams: Bool = false, seed: Int = 1) -> JSONValue {
            [
                "messages": [["role": "user", "content": "x"]], "tools": tools, "tool_choice": choice, "temperature": 1,
                "seed": JSONValue(seed), "max_tokens": 150, "stream": .bool(streams),
                "logit_bias": ["34": 5, "125": 5, "44": 3],
            ]
        }
        var whole = 0
        for seed in 0..<6 {
            let choice = try await service.post("/v1/chat/completions", body("required", seed: seed)).json["choices"]![
                0]
            // A random model may fill its tokens with digits.
            guard choice["finish_reason"] == "tool_calls" else {
                #expect(choice["finish_reason"] == "length")
                continue
            }
            whole += 1
            #expect(choice["message"]?["content"] == .null)
            let call = choice["message"]!["tool_calls"]![0]
            let function = call["function"]!
            #expect(call["type"] == "function" && call["id"]!.stringValue!.hasPrefix("call_"))
            #expect(["add", "now"].contains(function["name"]!.stringValue!))
            let arguments = try JSONValue(parsing: function["arguments"]!.stringValue!)
            if function["name"] == "add" { #expect(arguments["x"]?.intValue != nil && arguments["y"]?.intValue != nil) }
            let events = try await service.post("/v1/chat/completions", body("required", streams: true, seed: seed))
                .events
            let deltas = events.compactMap { $0["choices"]?[0]["delta"]?["tool_calls"]?[0] }
            #expect(deltas.count == 1 && deltas[0]["index"] == 0 && deltas[0]["function"] == function)
            #expect(events.allSatisfy { ($0["choices"]?[0]["delta"]?["content"]?.stringValue ?? "").isEmpty })
            #expect(events.last?["choices"]?[0]["finish_reason"] == "tool_calls")
        }
        #expect(whole > 0)
        // Templates are told of the functions, unless none may be called.
        let free = try await service.post("/v1/chat/completions", body("none")).json
        let told = try await service.post("/v1/chat/completions", body("auto")).json
        #expect(free["usage"]!["prompt_tokens"]!.intValue! < told["usage"]!["prompt_tokens"]!.intValue!)
        #expect(free["choices"]![0]["message"]!["tool_calls"] == nil)

        for (key, value, parameter): (String, JSONValue, String) in [
            ("tool_choice", "sometimes", "tool_choice"), ("parallel_tool_calls", false, "parallel_tool_calls"),
            ("tool_choice", ["type": "function", "function": ["name": "f"]], "tool_choice.function.name"),
            ("response_format", ["type": "json_object"], "tools"),
            ("tools", [["type": "function", "function": ["name": "a b"]]], "tools[0].function.name"),
            ("tools", [tools[1], tools[1]], "tools"),
            (
                "tools",
                [
                    [
                        "type": "function",
                        "function": ["name": "a", "strict": true, "parameters": ["type": "object", "not": true]],
                    ]
                ],
                "tools[0].function.parameters.not"
            ),
        ] {
            var object = body("auto").objectValue!
            object[key] = value
            let found = try await service.post("/v1/chat/completions", .object(object))
            #expect(found.status == 400 && found.errorParameter == parameter, "\(key): \(found.text)")
        }
        let refused = try await TinyModel().service().post("/v1/chat/completions", body("auto"))
        #expect(refused.status == 400 && refused.errorParameter == "tools")
    }
}

/// The tokenizer of the model of the tests.
enum TinyModelTokens {
    static func tokenizer() throws -> Tokenizer { try TinyModel().model.tokenizer }
}
