import LacunaIO
import LacunaInfer
import LacunaTensor
import ServingFixtures
import Testing

@testable import LacunaServing

struct JSONConstraintTests {
    /// Whether all bytes can be, and whether they are a whole object.
    private func read(_ bytes: some Sequence<UInt8>) -> (accepted: Bool, complete: Bool) {
        var prefix = JSONPrefix()
        for byte in bytes where !prefix.accept(byte) { return (false, false) }
        return (true, prefix.isComplete)
    }

    @Test func whatIsAndIsNotJSON() {
        for text in [
            "{}", " { } \n", #"{"a":1}"#, #"{"a":-0.5e+10,"b":[1,[],{}],"c":"\u00e9\ud83d\ude00\\\"é😀","d":null}"#,
            #"{"":true,"x":[false,0,10,1E5,0e-1]}"#,
        ] {
            #expect(read(text.utf8) == (true, true), "\(text)")
            #expect((try? JSONValue(parsing: text)) != nil)
        }
        for text in [
            "[", "1", "\"", "{,", #"{"a""# + "}", #"{"a":1,}"#, #"{"a":01"#, #"{"a":1."# + "}", #"{"a":.5"#,
            #"{"a":+1"#,
            #"{"a":truf"#, #"{"a":[1 2"#, #"{"a":1]"#, #"{"a":[1}"#, #"{"a":"\x"#, #"{"a":"\u12g"#, #"{"a":"\ud800x"#,
            #"{"a":"\ud800\n"#, #"{"a":"\ud800\u0041"#, #"{"a":"\udc00"#, "{\"a\":\"\n", "{}x", "{}{", #"{1"#,
            #"{"a":--"#,
            #"{"a":1e}"#, #"{"a" 1"#, "{" + String(repeating: " ", count: JSONPrefix.mostSpace + 1),
            "{\"a\":" + String(repeating: "[", count: JSONSchema.mostDepth),
        ] { #expect(!read(text.utf8).accepted, "\(text)") }
        for bytes: [UInt8] in [
            [0xC0, 0x80], [0xE0, 0x80], [0xED, 0xA0], [0xF0, 0x80], [0xF4, 0x90], [0xFF], [0x80], [0xE2, 0x41],
        ] {
            #expect(!read(Array(#"{"a":""#.utf8) + bytes).accepted)
        }
    }

    /// Objects and damaged objects, against the parser of files.
    @Test func agreesWithTheParser() {
        var generator = SeededGenerator(seed: 8)
        func value(_ depth: Int) -> JSONValue {
            switch Int.random(in: 0..<(depth > 3 ? 5 : 7), using: &generator) {
            case 0: return .null
            case 1: return .bool(.random(using: &generator))
            case 2: return .integer(.random(in: -1000...1000, using: &generator))
            case 3: return .number(Double.random(in: -1e6...1e-6, using: &generator))
            case 4: return .string(["", "a\"b", "é\n", "😀\\", "\u{1}"].randomElement(using: &generator)!)
            case 5: return .array((0..<Int.random(in: 0...3, using: &generator)).map { _ in value(depth + 1) })
            default:
                var object = JSONObject()
                for i in 0..<Int.random(in: 0...3, using: &generator) { object["k\(i)"] = value(depth + 1) }
                return .object(object)
            }
        }
        let pieces = Array("{}[],:\"\\u0a1-+.eE tfn\n".utf8) + [0xC3, 0xA9, 0xF0, 0x9F]
        var (right, wrong) = (0, 0)
        for _ in 0..<3000 {
            var object = JSONObject()
            object["a"] = value(0)
            object["b"] = value(0)
            let text = JSONValue.object(object).serialized(.random(using: &generator) ? .pretty : .compact)
            var bytes = Array(text.utf8)
            #expect(read(bytes) == (true, true), "\(text)")
            for _ in 0..<Int.random(in: 1...2, using: &generator) {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[place] = pieces.randomElement(using: &generator)!
                case 1: bytes.remove(at: place)
                default: bytes.insert(pieces.randomElement(using: &generator)!, at: place)
                }
            }
            var isObject = false
            do {
                let parsed = try bytes.withUnsafeBytes { try JSONValue(parsing: $0, file: "text") }
                isObject = parsed.objectValue != nil
            } catch LacunaError.malformed(_, _, let reason) {
                // What is no matter of grammar.
                if reason.contains("twice") || reason.contains("out of range") { continue }
            } catch {}
            let found = read(bytes)
            #expect((found.accepted && found.complete) == isObject, "\(String(decoding: bytes, as: UTF8.self))")
            if isObject { right += 1 } else { wrong += 1 }
        }
        #expect(right > 300 && wrong > 1000, "\(right) \(wrong)")
    }

    /// A model of random weights writes JSON at any temperature, in company of texts that are not restricted.
    @Test func answersAreJSON() async throws {
        let tiny = try TinyModel()
        let spellings = TokenSpellings(tiny.model.tokenizer)
        let scheduler = try Scheduler(tiny.model.decoder, limits: .init(slots: 8, context: 256, promptRows: 16))
        let requests = (0..<12).map { i in
            GenerationRequest(
                prompt: [1 + i, 2], maximumTokens: 200,
                sampling: .init(temperature: Double(i % 4) / 2, seed: UInt64(i)),
                edits: .init(bias: [34: 6, 125: 6]), endTokens: [257],
                constraint: i % 3 == 2 ? nil : JSONConstraint(spellings))
        }
        var whole = 0
        for (request, found) in zip(requests, try await scheduler.results(of: requests)) {
            #expect(found.error == nil)
            guard request.constraint != nil else { continue }
            let text = tiny.model.tokenizer.decode(found.tokens[0])
            let result = read(text.utf8)
            #expect(result.accepted && result.complete == (found.reasons[0] == .stop), "\(text)")
            if result.complete {
                whole += 1
                #expect(try JSONValue(parsing: text).objectValue != nil)
            }
        }
        #expect(whole > 0)
        let service = try tiny.service()
        let answer = try await service.post(
            "/v1/chat/completions",
            [
                "messages": [["role": "user", "content": "x"]], "response_format": ["type": "json_object"],
                "temperature": 1,
                "seed": 1, "max_tokens": 200,
            ]
        ).json["choices"]![0]
        let text = try #require(answer["message"]?["content"]?.stringValue)
        #expect(text.hasPrefix("{") || text.first!.isWhitespace)
    }
}
