import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaServing

struct JSONSchemaTests {
    private func schema(_ text: String) throws -> JSONSchema {
        try JSONSchema.object(JSONValue(parsing: text), location: "s")
    }

    private func read(_ text: String, _ schema: JSONSchema) -> Bool {
        var prefix = JSONPrefix(schema)
        for byte in text.utf8 where !prefix.accept(byte) { return false }
        return prefix.isComplete
    }

    @Test(arguments: [
        (
            #"{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]}"#,
            [#"{"a":1}"#, #"{ "a" : -20 , "b" : "x\u00e9" }"#, #"{"a":0,"b":""}"#],
            [#"{}"#, #"{"b":"x"}"#, #"{"a":1.5}"#, #"{"a":1,"c":2}"#, #"{"b":"x","a":1}"#, #"{"a":"1"}"#, #"{"a":1,}"#]
        ),
        (
            #"{"properties": {"k": {"enum": ["a", "ab", 1, 12, null]}}, "required": ["k"]}"#,
            [#"{"k":"a"}"#, #"{"k":"ab"}"#, #"{"k":1}"#, #"{"k":12}"#, #"{"k":null}"#],
            [#"{"k":"b"}"#, #"{"k":2}"#, #"{"k":123}"#, #"{"k":true}"#, #"{"k":"abc"}"#]
        ),
        (
            #"{"type": "object", "properties": {"l": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}}}"#,
            [#"{}"#, #"{"l":[true]}"#, #"{"l":[true, false]}"#],
            [#"{"l":[]}"#, #"{"l":[true,true,true]}"#, #"{"l":[1]}"#, #"{"l":[true,]}"#]
        ),
        (
            #"{"type": "object", "properties": {"s": {"type": "string", "minLength": 2, "maxLength": 3}}, "required": ["s"]}"#,
            [#"{"s":"ab"}"#, #"{"s":"é😀x"}"#, #"{"s":"\n\ud83d\ude00"}"#],
            [#"{"s":"a"}"#, #"{"s":"abcd"}"#, #"{"s":"\ud83d\ude00"}"#]
        ),
        (
            #"{"type": "object", "additionalProperties": {"type": ["number", "null"]}}"#,
            [#"{}"#, #"{"x":1.5e3}"#, #"{"x":null,"y":0}"#], [#"{"x":"a"}"#, #"{"x":[]}"#]
        ),
        (#"{"type": "object", "additionalProperties": false}"#, ["{}", "{ }"], [#"{"x":1}"#]),
        (
            #"{"type": "object", "required": ["x"]}"#, [#"{"x":[1,{}]}"#], ["{}", #"{"y":1}"#]
        ),
        (
            ##"{"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["v", "next"], "additionalProperties": false}}}"##,
            [#"{"v":1,"next":null}"#, #"{"v":1,"next":{"v":2,"next":null}}"#],
            [#"{"v":1}"#, #"{"v":1,"next":1}"#, #"{"v":1,"next":{"v":2}}"#]
        ),
        (
            #"{"anyOf": [{"type": "object", "properties": {"t": {"const": "a"}, "x": {"type": "integer"}}, "required": ["t", "x"]}, {"type": "object", "properties": {"t": {"const": "b"}, "x": {"type": "string"}}, "required": ["t", "x"]}]}"#,
            [#"{"t":"a","x":1}"#, #"{"t":"b","x":"y"}"#], [#"{"t":"a","x":"y"}"#, #"{"t":"b","x":1}"#, #"{"t":"c"}"#]
        ),
        (
            #"{"type": "object", "properties": {"n": {"allOf": [{"const": null}], "title": "N", "default": null}}, "required": ["n"]}"#,
            [#"{"n":null}"#], [#"{"n":0}"#]
        ),
    ])
    func whatIsAndIsNotDescribed(_ text: String, _ good: [String], _ bad: [String]) throws {
        let schema = try schema(text)
        for text in good { #expect(read(text, schema), "\(text)") }
        for text in bad { #expect(!read(text, schema), "\(text)") }
    }

    @Test(arguments: [
        (#"{"type": "string"}"#, "s"), (#"[]"#, "s"),
        (#"{"type": "object", "properties": {"a": false}}"#, "s.properties.a"),
        (#"{"type": "thing"}"#, "s.type"), (#"{"type": "object", "minProperties": 1}"#, "s.minProperties"),
        (#"{"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}"#, "s.properties.a.pattern"),
        (#"{"type": "object", "properties": {"a": {"oneOf": [true]}}}"#, "s.properties.a.oneOf"),
        (#"{"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}"#, "s.properties.a.minimum"),
        (#"{"type": "object", "properties": {"a": {"anyOf": []}}}"#, "s.properties.a.anyOf"),
        (#"{"type": "object", "properties": {"a": {"enum": []}}}"#, "s.properties.a"),
        (
            #"{"type": "object", "properties": {"a": {"type": "array", "minItems": 2, "maxItems": 1}}}"#,
            "s.properties.a.maxItems"
        ),
        (#"{"type": "object", "required": ["a"], "additionalProperties": false}"#, "s.required"),
        (##"{"type": "object", "properties": {"a": {"$ref": "#/b"}}}"##, "s.properties.a.$ref"),
        (#"{"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}"#, "s.properties.a.$ref"),
        (##"{"$ref": "#"}"##, "s"),
        (##"{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}"##, "s"),
    ])
    func whatIsNotUnderstoodIsRefused(_ text: String, _ place: String) throws {
        do {
            _ = try schema(text)
            Issue.record("\(text) is taken")
        } catch let error as APIError {
            #expect(error.status == 400 && error.parameter == place, "\(text): \(error)")
        }
    }

    /// Whether a value obeys a schema: the words' definitions, without regard to order or to what can be written.
    private func obeys(_ value: JSONValue, _ schema: JSONValue, in document: JSONValue) -> Bool {
        if let isAny = schema.boolValue { return isAny }
        if let pointer = schema["$ref"]?.stringValue {
            let name = String(pointer.split(separator: "/").last!)
            return obeys(value, pointer == "#" ? document : document["$defs"]![name]!, in: document)
        }
        if let options = schema["anyOf"]?.arrayValue { return options.contains { obeys(value, $0, in: document) } }
        if let values = schema["enum"]?.arrayValue { return values.contains(value) }
        if let types = schema["type"]?.arrayValue ?? schema["type"].map({ [$0] }) {
            let own: Set<JSONValue> =
                switch value {
                case .null: ["null"]
                case .bool: ["boolean"]
                case .integer: ["integer", "number"]
                case .number(let number): number == number.rounded() ? ["integer", "number"] : ["number"]
                case .string: ["string"]
                case .array: ["array"]
                case .object: ["object"]
                }
            if own.isDisjoint(with: types) { return false }
        }
        if let text = value.stringValue {
            let count = text.unicodeScalars.count
            return count >= schema["minLength"]?.intValue ?? 0 && count <= schema["maxLength"]?.intValue ?? .max
        }
        if let values = value.arrayValue {
            return values.count >= schema["minItems"]?.intValue ?? 0
                && values.count <= schema["maxItems"]?.intValue ?? .max
                && values.allSatisfy { obeys($0, schema["items"] ?? true, in: document) }
        }
        guard let object = value.objectValue else { return true }
        for name in schema["required"]?.arrayValue ?? [] where object[name.stringValue!] == nil { return false }
        return object.allSatisfy { member in
            obeys(
                member.value, schema["properties"]?[member.key] ?? schema["additionalProperties"] ?? true, in: document)
        }
    }

    /// Whatever the automaton allows, byte by byte at random, obeys the schema when it is complete, and never comes to a place
    /// from which nothing goes on.
    @Test func randomWalksObey() throws {
        var generator = SeededGenerator(seed: 3)
        let texts = [
            ##"{"type": "object", "properties": {"a": {"type": ["integer", "string"], "maxLength": 4}, "b": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}, "c": {"enum": [true, "tr", {"x": 1}, 2.5]}}, "required": ["c"], "additionalProperties": false}"##,
            ##"{"type": "object", "properties": {"t": {"$ref": "#/$defs/tree"}}, "required": ["t"], "$defs": {"tree": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "number"}]}, "minItems": 1, "maxItems": 3}}}"##,
            #"{"type": "object", "additionalProperties": {"type": "object", "properties": {"q": {"type": "boolean"}}, "required": ["z"]}}"#,
            #"{"type": "object"}"#,
        ]
        let likely = Array("{}[]\",:0123456789etrufalsnqcab. ".utf8)
        for text in texts {
            let document = try JSONValue(parsing: text)
            let schema = try schema(text)
            var whole = 0
            for _ in 0..<150 {
                var (prefix, written): (JSONPrefix, [UInt8]) = (JSONPrefix(schema), [])
                while !prefix.isComplete && written.count < 400 {
                    func allowed(_ bytes: [UInt8]) -> [UInt8] {
                        bytes.filter { byte in
                            var next = prefix
                            return next.accept(byte)
                        }
                    }
                    // Ends come sooner than a fair choice would have them.
                    let ends = written.count > 60 ? allowed(Array("}]\"".utf8)) : []
                    var choices = ends.isEmpty || Int.random(in: 0..<4, using: &generator) == 0 ? allowed(likely) : ends
                    if choices.isEmpty { choices = allowed((0...255).map { $0 }) }
                    let byte = try #require(
                        choices.randomElement(using: &generator), "\(String(decoding: written, as: UTF8.self))")
                    let isAccepted = prefix.accept(byte)
                    #expect(isAccepted)
                    written.append(byte)
                }
                guard prefix.isComplete else { continue }
                let found = String(decoding: written, as: UTF8.self)
                do {
                    #expect(obeys(try JSONValue(parsing: found), document, in: document), "\(found)")
                    whole += 1
                } catch LacunaError.malformed(_, _, let reason) {
                    #expect(reason.contains("twice") || reason.contains("out of range"), "\(found): \(reason)")
                }
            }
            #expect(whole > 20, "\(text): \(whole)")
        }
    }

    /// A required chain that fits is written to its end, however deep choices could go.
    @Test func nestingComesToAnEnd() throws {
        let schema = try schema(
            ##"{"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1, "maxItems": 1}, {"type": "null"}]}}, "required": ["a"]}"##
        )
        var prefix = JSONPrefix(schema)
        var depth = 0
        while true {
            for byte in "{\"a\":".utf8 where !prefix.accept(byte) { Issue.record("at depth \(depth)") }
            depth += 1
            var deeper = prefix
            if !deeper.accept(UInt8(ascii: "{")) { break }
            if depth == 40 { break }
        }
        #expect(depth == JSONSchema.mostDepth)
        let isAccepted = "null".utf8.allSatisfy { prefix.accept($0) }
        #expect(isAccepted)
    }

    /// What may be skipped without a look, and what is tried, is what the automaton says of every token.
    @Test func restrictionsAreThoseOfTheAutomaton() throws {
        let spellings = TokenSpellings(try TinyModelTokens.tokenizer())
        let schema = try schema(
            #"{"type": "object", "properties": {"s": {"type": "string", "maxLength": 3}, "th": {"type": "integer"}}, "required": ["s", "th"]}"#
        )
        var constraint = JSONConstraint(spellings, schema)
        for byte in #"{"s":"ath","th":10}"#.utf8 {
            var logits = [Float](repeating: 0, count: 259)
            let expected = logits.indices.map { constraint.allows($0) }
            logits.withUnsafeMutableBufferPointer { constraint.restrict($0) }
            #expect(logits.map { $0 == 0 } == expected)
            #expect(expected[Int(byte)])
            constraint.accept(Int(byte))
        }
        #expect(constraint.isComplete)
    }
}
