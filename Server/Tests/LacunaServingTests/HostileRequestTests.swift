import LacunaIO
import LacunaTensor
import ServingFixtures
import Testing

@testable import LacunaServing

/// Requests that no client should send: each is answered, none by "internal error", and the server says afterwards what it said before.
struct HostileRequestTests {
    private static let bodies: [(String, String)] = [
        (
            "/v1/completions",
            #"{"model":"tiny","prompt":"the gap","max_tokens":3,"temperature":0.5,"seed":1,"logprobs":1,"echo":true}"#
        ),
        (
            "/v1/completions",
            #"{"prompt":[[1,2,3],[4,5]],"max_tokens":2,"stop":["a","b"],"n":2,"stream":true,"stream_options":{"include_usage":true}}"#
        ),
        (
            "/v1/chat/completions",
            #"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"max_tokens":2,"top_p":0.9,"logit_bias":{"5":1},"logprobs":true,"top_logprobs":1}"#
        ),
        ("/tokenize", #"{"prompt":"the gap","add_special_tokens":false}"#), ("/detokenize", #"{"tokens":[1,2,300]}"#),
        ("/v1/embeddings", #"{"input":["a","b"],"encoding_format":"base64"}"#),
    ]

    @Test func mutatedRequests() async throws {
        let service = try TinyModel().service(limits: .init(bodyBytes: 1 << 16))
        let check: JSONValue = ["prompt": "the gap", "max_tokens": 8, "temperature": 0]
        let before = try await service.post("/v1/completions", check).json["choices"]
        var generator = SeededGenerator(seed: 11)
        let values = [
            "null", "true", "-1", "1e308", "1e-400", "99999999999999999999", "\"\"", "\"\\u0000\"",
            "\"\\ud83d\\ude00\"", "[]", "{}",
            "[[]]", "[null]", "{\"a\":{}}", "-0", "0.1", "9223372036854775807", "-9223372036854775808", "\"a\\nb\"",
            "[1,\"a\"]",
            "1e999", "01", "NaN", "\"\\ud800\"", "'a'", "[1,]",
        ]
        var counts: [Int: Int] = [:]
        for round in 0..<800 {
            var (path, body) = Self.bodies[round % Self.bodies.count]
            var bytes = Array(body.utf8)
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                switch Int.random(in: 0..<7, using: &generator) {
                case 0:
                    // Another value in the place of one.
                    let colons = bytes.indices.filter { bytes[$0] == UInt8(ascii: ":") }
                    guard let colon = colons.randomElement(using: &generator) else { break }
                    let end =
                        bytes[(colon + 1)...].firstIndex { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "}") }
                        ?? bytes.count
                    bytes.replaceSubrange(colon + 1..<end, with: Array(values.randomElement(using: &generator)!.utf8))
                case 1:
                    if !bytes.isEmpty {
                        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
                            in: 0...255, using: &generator)
                    }
                case 2: bytes.removeLast(Int.random(in: 0...bytes.count, using: &generator))
                case 3:
                    let depth = Int.random(in: 20...20000, using: &generator)
                    bytes = Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
                    if Bool.random(using: &generator) { bytes = Array("{\"prompt\":".utf8) + bytes + Array("}".utf8) }
                case 4: bytes += bytes
                case 5:
                    // A member twice, or one that nobody knows.
                    if bytes.first == UInt8(ascii: "{") {
                        bytes.replaceSubrange(0..<1, with: Array("{\"prompt\":1,\"x\\u0000\":2,".utf8))
                    }
                default:
                    let size = Int.random(in: 0...70000, using: &generator)
                    bytes =
                        Array("{\"prompt\":\"".utf8) + [UInt8](repeating: UInt8(ascii: "a"), count: size)
                        + Array("\"}".utf8)
                }
            }
            if Int.random(in: 0..<10, using: &generator) == 0 { path = Self.bodies.randomElement(using: &generator)!.0 }
            let found = try await service.outcome(ServiceRequest("POST", path, body: bytes))
            counts[found.status, default: 0] += 1
            let shown = String(decoding: bytes.prefix(200), as: UTF8.self)
            #expect([200, 400, 404, 413].contains(found.status), "\(path) \(shown): \(found.text.prefix(300))")
            if found.status != 200 {
                #expect(found.json["error"]?["message"]?.stringValue?.isEmpty == false, "\(shown)")
            }
        }
        #expect(
            counts[400, default: 0] > 300 && counts[200, default: 0] > 10 && counts[413, default: 0] > 0, "\(counts)")
        #expect(try await service.post("/v1/completions", check).json["choices"] == before)
        #expect(!service.isBusy || service.metrics.load.queued == 0)
    }

    /// Wrong types everywhere, by the names of what is right.
    @Test func everyMemberOfEveryType() async throws {
        let service = try TinyModel().service()
        let names = RequestMembers.sampling.union([
            "prompt", "messages", "max_tokens", "max_completion_tokens", "echo", "logprobs", "top_logprobs", "best_of",
            "suffix",
            "response_format", "tools", "tool_choice", "parallel_tool_calls", "input", "tokens", "encoding_format",
        ]).sorted()
        let values: [JSONValue] = [
            .null, true, 0, -1, 7, 1.5, .integer(.max), .integer(.min), 1e300, "", "x", [], [[]], [1], ["x"], [:],
            ["x": 1], [.null], [[:]],
        ]
        var refused = 0
        for path in ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"] {
            for name in names {
                for value in values {
                    var object = JSONObject()
                    if path == "/v1/completions" { object["prompt"] = "a" }
                    if path.hasPrefix("/v1") { object["max_tokens"] = 1 }
                    if path == "/v1/chat/completions" { object["messages"] = [["role": "user", "content": "a"]] }
                    object[name] = value
                    let found = try await service.post(path, .object(object))
                    #expect(
                        [200, 400, 404].contains(found.status),
                        "\(path) \(JSONValue.object(object).serialized()): \(found.text)")
                    if found.status == 400 { refused += 1 }
                }
            }
        }
        #expect(refused > 300)
    }
}
