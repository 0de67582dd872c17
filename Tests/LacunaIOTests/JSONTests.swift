import LacunaIO
import LacunaTensor
import Testing

@Suite struct JSONTests {
    @Test func valuesOfEveryKind() throws {
        let text = #" {"a": [1, -2.5e3, true, false, null], "b": {"c": "d"}, "e": [], "f": {}} "#
        let value = try JSONValue(parsing: text)
        #expect(value["a"] == [1, -2500.0, true, false, nil])
        #expect(value["b"]?["c"]?.stringValue == "d")
        #expect(value["e"] == [])
        #expect(value.objectValue?.keys == ["a", "b", "e", "f"])
        #expect(value["z"] == nil)
        #expect(value.serialized() == #"{"a":[1,-2500.0,true,false,null],"b":{"c":"d"},"e":[],"f":{}}"#)
        #expect(try JSONValue(parsing: value.serialized(.pretty)) == value)
    }

    /// A piece at a time it is the same text.
    @Test func longArraysArePiecedTogether() throws {
        let long: [JSONValue] = (0..<5000).map { ["n": JSONValue($0), "all": [.number(0.5), "ä"], "none": [:]] }
        for elements in [[], ["one"], Array(long.prefix(2)), long] {
            for head: JSONValue in [[:], ["a": 1, "b": ["c": nil]]] {
                let head = try #require(head.objectValue)
                for style in [JSONValue.Style.compact, .pretty] {
                    var (text, pieces): ([UInt8], Int) = ([], 0)
                    JSONStream.write(head, endingWith: "list", elements.lazy.map { $0 }, style: style) {
                        text += $0
                        pieces += 1
                        #expect(String(validating: $0, as: UTF8.self) != nil)
                    }
                    var whole = head
                    whole["list"] = .array(elements)
                    #expect(String(decoding: text, as: UTF8.self) == JSONValue.object(whole).serialized(style))
                    #expect(elements.count < 1000 || pieces > 1)
                }
            }
        }
    }

    @Test func prettyText() throws {
        let value: JSONValue = ["a": [1, 2], "b": [], "c": ["d": "e"]]
        #expect(
            value.serialized(.pretty) == """
                {
                  "a": [
                    1,
                    2
                  ],
                  "b": [],
                  "c": {
                    "d": "e"
                  }
                }

                """)
    }

    @Test(arguments: [
        ("9223372036854775807", JSONValue.integer(.max)), ("-9223372036854775808", .integer(.min)),
        ("9223372036854775808", .number(0x1p63)), ("0", .integer(0)), ("-0", .number(-0.0)), ("0.1", .number(0.1)),
        ("1e-5", .number(1e-5)), ("5e-324", .number(.leastNonzeroMagnitude)),
        ("1.7976931348623157E+308", .number(.greatestFiniteMagnitude)),
    ])
    func numbersAreExact(text: String, expected: JSONValue) throws {
        let value = try JSONValue(parsing: text)
        #expect(value == expected)
        #expect(value.doubleValue?.sign == expected.doubleValue?.sign)
        #expect(try JSONValue(parsing: value.serialized()) == value)
    }

    @Test func wholeNumbersAreNotRounded() throws {
        for (text, value) in [
            ("1e3", 1000), ("-2.0", -2), ("9007199254740992.0", 1 << 53), ("-9223372036854775808", Int.min),
        ] {
            #expect(try JSONValue(parsing: text, file: "t").intValue == value)
        }
        for text in ["0.5", "-9223372036854775809", "9223372036854775808", "1e18", "9007199254740994.0"] {
            #expect(try JSONValue(parsing: text, file: "t").intValue == nil, "\(text)")
        }
    }

    @Test func escapes() throws {
        let value = try JSONValue(parsing: #""\"\\\/\b\f\n\r\tA\u00e9\u4e16\ud83c\udf0d é世🌍""#)
        #expect(value.stringValue == "\"\\/\u{8}\u{c}\n\r\tAé世🌍 é世🌍")
        #expect(try JSONValue(parsing: value.serialized()) == value)
        let controls = JSONValue.string(String(String.UnicodeScalarView((0..<0x20).map { Unicode.Scalar($0)! })))
        #expect(try JSONValue(parsing: controls.serialized()) == controls)
    }

    @Test(arguments: [
        "", " ", "{", "[", "[1,]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:2}", "tru", "nulll", "01",
        "1.", ".5", "-", "+1", "1e", "1e+", "1e999", "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"",
        "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\n\"", "[1]]", "1 2", "NaN", "Infinity", "'a'", "{\"a\":1,\"a\":2}",
        "\u{feff}1",
    ])
    func malformedTextIsRefused(text: String) {
        guard case .malformed("x.json", let location, _) = failure({ try JSONValue(parsing: text, file: "x.json") })
        else {
            Issue.record("accepted or mistyped: \(text)")
            return
        }
        #expect(location.hasPrefix("byte "))
    }

    @Test func errorsSayWhere() {
        #expect(
            failure { try JSONValue(parsing: "{\n\"a\": 1,\n\"b\": x}", file: "x.json") }
                == .malformed(file: "x.json", location: "byte 15, line 3", reason: "a value is expected"))
    }

    @Test func invalidUTF8IsRefused() {
        for bytes: [UInt8] in [
            [0x80], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE4, 0xB8], [0xFF],
        ] {
            let text = [UInt8(ascii: "\"")] + bytes + [UInt8(ascii: "\"")]
            text.withUnsafeBytes { text in
                #expect(
                    failure { try JSONValue(parsing: text, file: "x") }
                        == .malformed(file: "x", location: "byte 1, line 1", reason: "invalid UTF-8"))
            }
        }
    }

    @Test func depthIsLimited() throws {
        let deep = String(repeating: "[", count: 100_000)
        #expect(failure { try JSONValue(parsing: deep) } != nil)
        let allowed = String(repeating: "[", count: 128) + String(repeating: "]", count: 128)
        _ = try JSONValue(parsing: allowed)
        #expect(failure { try JSONValue(parsing: "[" + allowed + "]") } != nil)
        #expect(failure { try JSONValue(parsing: String(repeating: "{\"a\":", count: 100_000)) } != nil)
    }

    @Test func largeObjectsFindTheirKeysAndRefuseDuplicates() throws {
        let members = (0..<1000).map { "\"k\($0)\":\($0)" }
        let value = try JSONValue(parsing: "{" + members.joined(separator: ",") + "}")
        for i in 0..<1000 { #expect(value["k\(i)"]?.intValue == i) }
        #expect(failure { try JSONValue(parsing: "{" + (members + ["\"k7\":1"]).joined(separator: ",") + "}") } != nil)
        var object = value.objectValue!
        object["k500"] = nil
        object["new"] = 1
        #expect(object["k500"] == nil && object["k999"] == 999 && object["new"] == 1 && object.count == 1000)
    }

    /// Objects and arrays that are counted before they are read, with everything in their texts that looks like a border.
    @Test func longDocumentsAreReadAsTheyWereMade() throws {
        var generator = SeededGenerator(seed: 8)
        func text() -> String {
            let pieces = ["a", "[", "]", "{", "}", ",", ":", "\"", "\\", "\\\"", "é", "\u{1}", "0123456789abcdef"]
            return (0..<Int.random(in: 0..<6, using: &generator)).map { _ in pieces.randomElement(using: &generator)! }
                .joined()
        }
        func value(_ depth: Int) -> JSONValue {
            switch Int.random(in: 0..<(depth > 1 ? 3 : 6), using: &generator) {
            case 0: return JSONValue(Int.random(in: -9...9, using: &generator))
            case 1: return .string(text())
            case 2: return nil
            case 3:
                let count = [0, 1, 2, 31, 32, 33].randomElement(using: &generator)!
                return .array((0..<count).map { _ in value(depth + 1) })
            default:
                let count = [0, 1, 16, 17, 31, 32, 100].randomElement(using: &generator)!
                var object = JSONObject()
                for k in 0..<count { object["\(k)\(text())"] = value(depth + 1) }
                return .object(object)
            }
        }
        for round in 0..<3 {
            let document = JSONValue.array(
                (0..<10).map { _ in value(0) } + [.string(String(repeating: "x", count: 70_000))])
            let compact = document.serialized()
            #expect(compact.utf8.count > 1 << 16)
            #expect(try JSONValue(parsing: compact) == document, "round \(round)")
            #expect(try JSONValue(parsing: document.serialized(.pretty)) == document, "round \(round)")
            for end in [1, compact.utf8.count / 3, compact.utf8.count - 1] {
                #expect(
                    failure { try JSONValue(parsing: String(decoding: compact.utf8.prefix(end), as: UTF8.self)) } != nil
                )
            }
        }
    }

    /// Objects of all sizes around those where another way of finding keys begins, changed in every way.
    @Test func objectsAreDictionariesWithAnOrder() throws {
        var generator = SeededGenerator(seed: 9)
        for limit in [3, 15, 16, 17, 18, 40, 300] {
            var (object, keys, values) = (JSONObject(), [String](), [String: Int]())
            for step in 0..<6 * limit {
                let key = "k\(Int.random(in: 0..<limit, using: &generator))"
                if Int.random(in: 0..<3, using: &generator) == 0 {
                    object[key] = nil
                    keys.removeAll { $0 == key }
                    values[key] = nil
                } else {
                    if values[key] == nil { keys.append(key) }
                    object[key] = JSONValue(step)
                    values[key] = step
                }
                #expect(object.keys == keys && object.count == keys.count)
                let other = "k\(Int.random(in: 0..<limit, using: &generator))"
                #expect(object[other]?.intValue == values[other])
            }
            // Letters with accents, of one scalar and of two, are different keys.
            object["\u{e9}"] = 1
            object["e\u{301}"] = 2
            #expect(object["\u{e9}"] == 1 && object["e\u{301}"] == 2)
        }
    }

    /// A few bytes of text may be a hundred in memory; a file of many such is refused, and before much of it is made.
    @Test func documentsOfTinyValuesAreRefused() throws {
        for (piece, count) in [("[1],", 1_400_000), (#"{"":1},"#, 1_800_000), (",", 5_000_000)] {
            let text = "[" + String(repeating: piece, count: count) + "0]"
            guard case .malformed("x.json", _, let reason)? = failure({ try JSONValue(parsing: text, file: "x.json") })
            else { continue }
            #expect(reason.contains("8 times the memory"), "\(piece): \(reason)")
        }
        // What people write is far from that.
        let usual = "[" + String(repeating: "0.12345,", count: 300_000) + "0]"
        #expect(try JSONValue(parsing: usual).arrayValue?.count == 300_001)
    }

    @Test func fieldsNameWhatIsWrong() throws {
        let text = #"{"n": 3, "x": 1.5, "s": "t", "l": [1, 2], "o": {"b": true, "z": null}, "mixed": [1, "2"]}"#
        let fields = try JSONFields(JSONValue(parsing: text), file: "c.json")
        #expect(try fields.integer("n") == 3 && fields.number("x") == 1.5 && fields.string("s") == "t")
        #expect(try fields.integers("l") == [1, 2] && fields.integer("absent", default: 9) == 9)
        #expect(try fields.fields("o").bool("b", default: false) && fields.fields("o").optionalInteger("z") == nil)
        #expect(
            failure { try fields.integer("x") }
                == .malformed(file: "c.json", location: "x", reason: "expected an integer, found a number"))
        #expect(
            failure { try fields.fields("o").integer("q") }
                == .malformed(file: "c.json", location: "o.q", reason: "is missing"))
        #expect(failure { try fields.integers("mixed") } != nil)
        #expect(failure { try JSONFields(JSONValue.array([]), file: "c.json") } != nil)
    }
}
