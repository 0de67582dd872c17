import LacunaIO
import LacunaTensor
import ServingFixtures
import Testing

@testable import LacunaServing

struct ServiceTests {
    private let tiny = try! TinyModel()

    @Test func modelsHealthAndMetrics() async throws {
        let service = try tiny.service()
        let models = try await service.get("/v1/models").json
        #expect(models["object"] == "list" && models["data"]?[0]["id"] == "tiny")
        #expect(models["data"]?[0]["lacuna"]?["linear_sparsity"]?.doubleValue == 0)
        #expect(models["data"]?[0]["max_model_len"] == 256)
        #expect(try await service.get("/v1/models/tiny").json["id"] == "tiny")
        #expect(try await service.get("/v1/models/other").status == 404)
        #expect(try await service.get("/health").json["status"] == "ok")
        _ = try await service.post("/v1/completions", ["prompt": "abc", "max_tokens": 4, "ignore_eos": true])
        let metrics = try await service.get("/metrics").text
        for line in [
            "lacuna_completion_tokens_total 4", "lacuna_prompt_tokens_total 3", "lacuna_steps_total 4",
            #"lacuna_responses_total{path="/v1/completions",status="200"} 1"#,
            #"lacuna_first_token_seconds_bucket{le="+Inf"} 1"#,
        ] { #expect(metrics.split(separator: "\n").contains { $0 == line }, "\(line) in\n\(metrics)") }
        #expect(try await service.get("/").text.contains("<title>Lacuna</title>"))
        service.drain()
        #expect(try await service.get("/health").status == 503)
        #expect(try await service.post("/v1/completions", ["prompt": "abc"]).status == 503)
    }

    @Test func routes() async throws {
        let service = try tiny.service(apiKey: "secret")
        for (key, status) in [
            (nil, 401), ("", 401), ("secre", 401), ("secrets", 401), ("Secret", 401), ("secret", 200),
        ] as [(String?, Int)] {
            #expect(try await service.get("/v1/models", key: key).status == status)
            #expect(try await service.post("/tokenize", ["prompt": "a"], key: key).status == status)
        }
        #expect(try await service.get("/health").status == 200)
        #expect(try await service.get("/").status == 200)
        #expect(try await service.get("/metrics").status == 401)
        #expect(try await service.get("/etc/passwd").status == 401)
        let open = try tiny.service()
        for path in [
            "/etc/passwd", "/../../etc/passwd", "/v1", "/v1/models/../../etc/passwd", "", "//", "/v1/completions/",
        ] {
            #expect(try await open.get(path).status == 404, "\(path)")
        }
        #expect(try await open.get("/v1/completions").status == 405)
        #expect(try await open.post("/health", [:]).status == 405)
        if case .response(let wrong) = open.reply(to: ServiceRequest("DELETE", "/tokenize")) {
            #expect(wrong.status == 405 && wrong.headers["Allow"] == "POST")
        } else {
            Issue.record("no response")
        }
        if case .response(let head) = open.reply(to: ServiceRequest("HEAD", "/v1/models")) {
            #expect(head.status == 200)
        } else {
            Issue.record("no response")
        }
        // What asks for something in the address is not passed over; probes and browsers may add what they like.
        for path in ["/health?x=/etc/passwd", "/metrics?a", "/?utm=1", "/openapi.json?", "/v1/models?"] {
            #expect(try await open.get(path).status == 200, "\(path)")
        }
        let asked = try await open.post("/v1/completions?stream=true", ["prompt": "a", "max_tokens": 1])
        #expect(asked.status == 400 && asked.errorParameter == "stream" && asked.errorCode == "unknown_parameter")
        #expect(try await open.get("/v1/models?limit=1").errorParameter == "limit")
    }

    @Test func tokens() async throws {
        let service = try tiny.service()
        let found = try await service.post("/tokenize", ["prompt": "the é<e>", "return_token_strs": true]).json
        #expect(found["tokens"] == [258, 101, 32, 0xC3, 0xA9, 257] && found["count"] == 6)
        #expect(found["token_strs"] == ["th", "e", " ", "bytes:\\xc3", "bytes:\\xa9", "<e>"])
        let back = try await service.post("/detokenize", ["tokens": [258, 101, 0xC3, 0xA9]])
        #expect(back.json["prompt"] == "theé")
        #expect(try await service.post("/detokenize", ["tokens": [400]]).errorParameter == "tokens")
        #expect(try await service.post("/detokenize", ["tokens": "a"]).status == 400)
        #expect(try await service.post("/tokenize", [:]).errorParameter == "prompt")
        let message: JSONValue = [["role": "user", "content": "x"]]
        for (body, parameter) in [
            (["prompt": "a", "add_generation_prompt": true], "add_generation_prompt"),
            (["messages": message, "add_special_tokens": true], "add_special_tokens"),
            (["messages": message, "prompt": "a"], "messages"), (["prompt": "a", "x": 1], "x"),
        ] as [(JSONValue, String)] {
            #expect(try await service.post("/tokenize", body).errorParameter == parameter)
        }
        #expect(
            try await service.post("/tokenize", ["messages": message, "prompt": .null, "add_special_tokens": .null])
                .status == 200)
        let chat = try await service.post(
            "/tokenize", ["messages": [["role": "user", "content": "x<e>"]], "add_generation_prompt": false]
        ).json
        // What is said cannot spell special tokens.
        #expect(chat["tokens"] == [256, 117, 120, 60, 101, 62, 257])
        let info = try await service.get("/tokenizer_info").json
        #expect(info["eos_token"] == "<e>" && info["chat_template"]?.stringValue == TinyModel.template)
    }

    /// What lm-evaluation-harness sends, and what it reads: several prompts of tokens, one token more, the legacy shape.
    @Test func scoresOfPrompts() async throws {
        let service = try tiny.service()
        let prompts: [[Int]] = [[97, 98, 0xC3, 0xA9, 100], Array(40..<80), [7, 8]]
        let body: JSONValue = [
            "model": "tiny", "prompt": .array(prompts.map { .array($0.map { JSONValue($0) }) }), "temperature": 0,
            "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": true,
        ]
        let found = try await service.post("/v1/completions", body).json
        try #require(found["choices"]?.arrayValue?.count == 3)
        for (index, prompt) in prompts.enumerated() {
            let choice = found["choices"]![index]
            let scores = choice["logprobs"]!
            let values = scores["token_logprobs"]!.arrayValue!
            #expect(choice["index"] == JSONValue(index) && choice["finish_reason"] == "length")
            #expect(values.count == prompt.count + 1 && values[0] == .null)
            #expect(scores["tokens"]?.arrayValue?.count == values.count)
            let alternatives = scores["top_logprobs"]!.arrayValue!
            #expect(alternatives.count == values.count && alternatives[0] == .null)
            let expected = try referenceScores(tiny.model.decoder, prompt)
            for i in 1..<values.count {
                let best = alternatives[i].objectValue!.members.map { $0.value.doubleValue! }.max()!
                #expect(abs(best - expected[i - 1].max()!) < 1e-4)
                if i < prompt.count {
                    #expect(abs(values[i].doubleValue! - expected[i - 1][prompt[i]]) < 1e-4)
                    // Greedy exactly where the harness thinks so.
                    let isGreedy = expected[i - 1].max()! == expected[i - 1][prompt[i]]
                    #expect((values[i].doubleValue! == best) == isGreedy)
                } else {
                    #expect(values[i].doubleValue! == best)
                }
            }
        }
        let first = found["choices"]![0]["logprobs"]!
        #expect(first["tokens"]!.arrayValue![..<5] == ["a", "b", "bytes:\\xc3", "bytes:\\xa9", "d"])
        #expect(first["text_offset"] == [0, 1, 2, 3, 3, 4])
        #expect(found["choices"]![0]["text"]!.stringValue!.hasPrefix("abéd"))
        // Alone and with no token more, the numbers are the same ones.
        let alone = try await service.post(
            "/v1/completions",
            ["prompt": .array(prompts[0].map { JSONValue($0) }), "max_tokens": 0, "logprobs": 0, "echo": true]
        ).json
        let numbers = alone["choices"]![0]["logprobs"]!["token_logprobs"]!.arrayValue!
        #expect(numbers.count == 5 && alone["choices"]![0]["text"] == "abéd")
        for i in 1..<5 { #expect(abs(numbers[i].doubleValue! - first["token_logprobs"]![i].doubleValue!) < 1e-5) }
        #expect(alone["usage"]?["completion_tokens"] == 0 && alone["usage"]?["prompt_tokens"] == 5)
    }

    /// A stream says what the whole response says, text and scores.
    @Test(arguments: [JSONValue.null, 2], [false, true])
    func streamsAreTheWholeInPieces(scores: JSONValue, echoes: Bool) async throws {
        let service = try tiny.service()
        func change(_ body: JSONValue, _ key: String, _ value: JSONValue) -> JSONValue {
            guard case .object(var object) = body else { return body }
            object[key] = value
            return .object(object)
        }
        let body: JSONValue = [
            "prompt": ["the gap", "é"], "max_tokens": 20, "temperature": 1, "seed": 9, "n": 2, "logprobs": scores,
            "echo": .bool(echoes), "logit_bias": ["257": -100],
        ]
        let whole = try await service.post("/v1/completions", body).json
        let stream = try await service.post(
            "/v1/completions", change(change(body, "stream", true), "stream_options", ["include_usage": true]))
        #expect(stream.isDone)
        try #require(whole["choices"]?.arrayValue?.count == 4, "\(whole.serialized())")
        for index in 0..<4 {
            let chunks = stream.events.filter { $0["choices"]?[0]["index"] == JSONValue(index) }
            let choice = whole["choices"]![index]
            #expect(
                chunks.map { $0["choices"]![0]["text"]!.stringValue! }.joined() == choice["text"]!.stringValue!)
            #expect(chunks.last!["choices"]![0]["finish_reason"] == choice["finish_reason"])
            #expect(chunks.dropLast().allSatisfy { $0["choices"]![0]["finish_reason"] == .null })
            if scores == .null { continue }
            for key in ["tokens", "token_logprobs", "text_offset"] {
                let pieces = chunks.flatMap { $0["choices"]![0]["logprobs"]?[key]?.arrayValue ?? [] }
                #expect(pieces == choice["logprobs"]![key]!.arrayValue!, "\(key)")
            }
        }
        let last = try #require(stream.events.last)
        #expect(last["choices"] == [] && last["usage"]?["completion_tokens"] == whole["usage"]?["completion_tokens"])
        #expect(stream.events.dropLast().allSatisfy { $0["usage"] == nil })
    }

    @Test func conversations() async throws {
        let service = try tiny.service()
        let body: JSONValue = [
            "messages": [["role": "system", "content": "be"], ["role": "user", "content": "say"]], "temperature": 0,
            "max_completion_tokens": 12, "max_tokens": 12, "logprobs": true, "top_logprobs": 2,
            "logit_bias": ["257": -100],
        ]
        let whole = try await service.post("/v1/chat/completions", body).json
        try #require(whole["choices"] != nil, "\(whole.serialized())")
        let choice = whole["choices"]![0]
        let prompt = [256, 115, 98, 101, 257, 256, 117, 115, 97, 121, 257, 256, 97]
        let expected = try reference(tiny.model.decoder, prompt, count: 12)
        #expect(whole["object"] == "chat.completion" && whole["usage"]?["prompt_tokens"] == 13)
        #expect(choice["message"]?["content"] == .string(tiny.model.tokenizer.decode(expected, skipsSpecials: true)))
        let entries = choice["logprobs"]!["content"]!.arrayValue!
        #expect(entries.count == 12)
        #expect(entries.map { $0["top_logprobs"]!.arrayValue!.count } == [Int](repeating: 2, count: 12))
        #expect(entries.allSatisfy { $0["logprob"] == $0["top_logprobs"]![0]["logprob"] })
        let bytes = entries.flatMap { $0["bytes"]!.arrayValue!.map { UInt8($0.intValue!) } }
        #expect(String(decoding: bytes, as: UTF8.self) == choice["message"]!["content"]!.stringValue!)
        guard case .object(var object) = body else { return }
        object["stream"] = true
        let stream = try await service.post("/v1/chat/completions", .object(object))
        #expect(stream.isDone && stream.events[0]["choices"]![0]["delta"] == ["role": "assistant", "content": ""])
        #expect(
            stream.events.map { $0["choices"]![0]["delta"]?["content"]?.stringValue ?? "" }.joined()
                == choice["message"]!["content"]!.stringValue!)
        #expect(stream.events.last!["choices"]![0]["finish_reason"] == "length")
    }

    @Test func stopsAndSeeds() async throws {
        let service = try tiny.service()
        let body: JSONValue = [
            "prompt": "abc", "max_tokens": 30, "temperature": 0, "logit_bias": ["257": -100, "256": -100],
        ]
        let whole = try await service.post("/v1/completions", body).json["choices"]![0]["text"]!.stringValue!
        let stop = String(whole.dropFirst(4).prefix(2))
        guard case .object(var object) = body else { return }
        object["stop"] = ["never there", .string(stop)]
        object["logprobs"] = 0
        let stopped = try await service.post("/v1/completions", .object(object)).json
        let choice = stopped["choices"]![0]
        #expect(choice["text"] == .string(String(whole[..<whole.firstRange(of: stop)!.lowerBound])))
        #expect(choice["finish_reason"] == "stop")
        // No more is computed than it takes to see the end.
        #expect(stopped["usage"]!["completion_tokens"]!.intValue! < 30)
        object = JSONObject()
        object["prompt"] = "abc"
        object["temperature"] = 1.5
        object["seed"] = 3
        let texts = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<6 {
                let object = object
                group.addTask {
                    try await service.post("/v1/completions", .object(object)).json["choices"]![0]["text"]!.stringValue!
                }
            }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(texts.count == 1)
        object["seed"] = 4
        #expect(
            try await service.post("/v1/completions", .object(object)).json["choices"]![0]["text"]!.stringValue!
                != texts.first)
    }

    /// A stream that nobody reads any more ends the work.
    @Test func streamsThatAreLeft() async throws {
        let service = try tiny.service(slots: 1)
        struct Gone: Error {}
        // A text may be complete before its reader turns away; not every one.
        for _ in 0..<50 where service.metrics.cancelled == 0 {
            guard
                case .stream(let work) = service.reply(
                    to: ServiceRequest(
                        "POST", "/v1/completions",
                        body: Array(#"{"prompt":"a","max_tokens":250,"stream":true,"ignore_eos":true}"#.utf8)))
            else {
                Issue.record("no stream")
                return
            }
            await #expect(throws: Gone.self) { try await work { _ in throw Gone() } }
            let next = try await service.post("/v1/completions", ["prompt": "a", "max_tokens": 3])
            #expect(next.status == 200)
            for _ in 0..<1000 where service.isBusy { try await Task.sleep(for: .milliseconds(1)) }
        }
        #expect(service.metrics.cancelled == 1 && service.metrics.load.active == 0)
    }

    @Test func timeIsLimited() async throws {
        let service = try tiny.service(limits: .init(bodyBytes: 100, requestSeconds: 0))
        let found = try await service.post("/v1/completions", ["prompt": "a"])
        #expect(found.status == 504 && found.errorCode == "request_timeout")
        let stream = try await service.post("/v1/completions", ["prompt": "a", "stream": true])
        #expect(!stream.isDone && stream.events.last?["error"]?["code"] == "request_timeout")
        let large = try await service.post("/tokenize", ["prompt": .string(String(repeating: "a", count: 100))])
        #expect(large.status == 413)
    }

    @Test func base64() {
        #expect(Base64.encode([]) == "" && Base64.encode([77]) == "TQ==" && Base64.encode([77, 97]) == "TWE=")
        #expect(Base64.encode(floats: [1, -2]) == "AACAPwAAAMA=")
        #expect(Base64.encode([77, 97, 110]) == "TWFu" && Base64.encode([255, 254, 253, 252]) == "//79/A==")
    }
}
