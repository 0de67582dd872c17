import Foundation
import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaInfer

/// Against what jinja2 makes of the same templates and values (Scripts/fixtures_chat.py).
@Suite struct JinjaTests {
    static let clock = ChatClock(year: 2025, month: 3, day: 9, hour: 16, minute: 5, second: 7)

    private static func folder() throws -> String {
        try #require(Bundle.module.path(forResource: "Fixtures", ofType: nil)) + "/chat"
    }

    private static let expected: Result<JSONFields, any Error> = Result {
        try JSONFields(contentsOf: folder() + "/expected.json")
    }

    private func render(_ source: String, _ values: JSONObject) throws -> String {
        try JinjaTemplate(source).render(values, time: { try Self.clock.formatted($0) }).text
    }

    /// Compares with the reference, which either has a text or refuses.
    private func check(_ expected: JSONFields, _ context: String, _ body: () throws -> String) throws {
        let text = try expected.optionalString("text")
        do {
            let found = try body()
            #expect(text.map { Array($0.utf8) } == Array(found.utf8), "\(context): \(found.debugDescription)")
        } catch let error as LacunaError {
            #expect(text == nil, "\(context): \(error)")
        }
    }

    /// Hands every stored conversation of a folder to `body`, with what jinja2 made of it and what is made of it here.
    private static func conversations(
        in folder: String, _ expected: JSONFields,
        _ body: (_ template: String, _ context: String, _ expected: JSONFields, _ render: () throws -> String) throws ->
            Void
    ) throws {
        let conversations = try expected.fields("conversations")
        var sources: [String: Result<ChatTemplate, any Error>] = [:]
        for value in try expected.array("cases") {
            let fields = try JSONFields(value, file: "expected.json")
            let name = try fields.string("template")
            if sources[name] == nil {
                let source = try FileSystem.readText(folder + "/" + name)
                sources[name] = Result {
                    try ChatTemplate(source, namedTokens: ["bos_token": "<s>", "eos_token": "</s>"])
                }
            }
            let conversation = try fields.string("conversation")
            let setting = try fields.fields("setting")
            var options = ChatTemplate.Options(
                tools: try setting.optionalArray("tools") ?? [],
                addsGenerationPrompt: try setting.bool("add_generation_prompt", default: false), clock: clock)
            options.variables["enable_thinking"] = setting.object["enable_thinking"]
            let messages = try conversations.array(conversation).map { try message($0) }
            try body(name, "\(name), \(conversation), \(setting.object.keys)", fields) {
                try sources[name]!.get().render(messages, options).text
            }
        }
    }

    @Test func conversationsEqualTheReference() throws {
        let expected = try Self.expected.get()
        #expect(try expected.array("cases").count >= 15 * 9 * 3)
        try Self.conversations(in: Self.folder(), expected) { try check($2, $1, $3) }
    }

    /// Templates as models are published with them, where `--check` of the script has written what to expect beside them: each
    /// text is jinja2's, or the template is refused by name.
    @Test func publishedTemplatesEqualTheReference() throws {
        guard let folder = ProcessInfo.processInfo.environment["LACUNA_TEMPLATES"] else {
            print("skipped: LACUNA_TEMPLATES names no folder of templates")
            return
        }
        let expected = try JSONFields(contentsOf: folder + "/expected.json")
        var (equal, refused) = (0, [String: String]())
        try Self.conversations(in: folder, expected) { template, context, expected, render in
            let text = try expected.optionalString("text")
            do {
                let found = try render()
                #expect(text.map { Array($0.utf8) } == Array(found.utf8), "\(context): \(found.debugDescription)")
                equal += 1
            } catch LacunaError.unsupported(_, let what) {
                refused[template] = what
            } catch let error as LacunaError {
                #expect(text == nil, "\(context): \(error)")
                equal += 1
            }
        }
        print("\(equal) conversations as jinja2 has them; \(refused.count) templates refused")
        for (template, what) in refused.sorted(by: { $0.key < $1.key }) { print("\(template): \(what)") }
    }

    /// Members in the order of the fixture.
    private static func message(_ value: JSONValue) throws -> ChatTemplate.Message {
        let fields = try JSONFields(value, file: "expected.json")
        var rest = JSONObject()
        for member in fields.object where member.key != "role" { rest[member.key] = member.value }
        let role = try #require(ChatTemplate.Role(rawValue: try fields.string("role")))
        return ChatTemplate.Message(role, fields.object["content"]?.stringValue ?? "", fields: rest)
    }

    @Test func constructsEqualTheReference() throws {
        let expected = try Self.expected.get()
        let values = try expected.fields("values").object
        let constructs = try expected.array("constructs")
        #expect(constructs.count > 60)
        for value in constructs {
            let fields = try JSONFields(value, file: "expected.json")
            let source = try fields.string("source")
            try check(fields, source.debugDescription) { try render(source, values) }
        }
    }

    @Test(arguments: [
        ("a\n{% include 'x' %}", "the tag 'include', on line 2"),
        ("{% call f() %}{% endcall %}", "the tag 'call', on line 1"),
        ("{% for a in b recursive %}{% endfor %}", "a recursive loop, on line 1"),
        ("{{ 'a' | center }}", "the filter 'center', on line 1"),
        ("{{ 1 is escaped }}", "the test 'escaped', on line 1"),
        ("{{ 'a'.zfill(3) }}", "the method 'zfill' of a string, on line 1"),
        ("\n\n{{ a.append(1) }}", "the method 'append' of a list, on line 3"),
        ("{{ '%s' % 1 }}", "formatting by '%', on line 1"), ("{{ f(*a) }}", "arguments from a collection, on line 1"),
        ("{{ strftime('%') }}", "the function 'strftime', which is not defined, on line 1"),
        ("{{ d.update(a=1) }}", "the method 'update', which would change a dictionary, on line 1"),
        ("{% do a %}", "the tag 'do', on line 1"), ("{{ '\\N{DASH}' }}", "the escape '\\N' in a string, on line 1"),
        ("{{ 'a' | tojson(default=1) }}", "the filter 'tojson' with the argument 'default', on line 1"),
    ]) func whatIsNotKnownIsRefused(source: String, what: String) throws {
        var values = JSONObject()
        values["a"] = [1]
        values["d"] = ["a": 1]
        do {
            _ = try render(source, values)
            Issue.record("\(source) was accepted")
        } catch {
            #expect(error as? LacunaError == .unsupported(file: "chat template", what: what))
        }
    }

    @Test(arguments: [
        "{{ a", "{% if a %}", "{% for a in b %}", "{% endif %}", "{{ ) }}", "{{ 'a }}", "{{ a b }}", "{# a", "{{ }}",
        "{% raw %}", "{% set a %}", "{{ a[ }}", "{{ {1: } }}", "{% macro f( %}", "{{ a | }}", "{{ a is }}", "{% %}",
        "{% break %}", "{{ f(a=1, 2) }}", "{{ ? }}", "{% if a %}{% elif %}{% endif %}", "{{ a if }}",
    ]) func mistakesAreFound(source: String) {
        #expect {
            try JinjaTemplate(source)
        } throws: {
            if case .malformed(_, let location, _) = $0 as? LacunaError { location == "line 1" } else { false }
        }
    }

    @Test func hostileTemplatesEnd() throws {
        for source in [
            "{% for i in range(99999) %}{% for i in range(99999) %}{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ range(1000000000) }}", "{{ 'a' * 999999999999 }}",
            "{{ 9223372036854775807 + 1 }}", "{{ 2 ** 64 }}", "{{ -9223372036854775807 - 2 }}",
            String(repeating: "{{ (", count: 1) + String(repeating: "(", count: 5000),
            String(repeating: "{% if a %}", count: 5000), "{{ " + String(repeating: "not ", count: 5000) + "a }}",
            "{{ " + String(repeating: "-", count: 5000) + "1 }}", "{{ 'a' | indent(1000000) }}",
            "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
            "{% set n = namespace(a='ab') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
            "{% set n = namespace(a='a') %}{% for i in range(60) %}{% set n.a = n.a.replace('a', 'aaaa') %}{% endfor %}",
            "{% set a = 'a' * 999999 %}{{ a.replace('a', a) }}", "{% set a = 'a' * 999999 %}{{ a | replace('', a) }}",
            "{% set a = 'a' * 999999 %}{{ a.join(range(99999) | map('string')) }}",
            "{% set a = 'a' * 999999 %}{{ ('\\n' * 999999) | indent(a, true, true) }}",
            "{{ range(0, 9223372036854775807, -9223372036854775807 - 1) | length + 'a' }}",
        ] {
            #expect(throws: LacunaError.self, "\(source.prefix(40))") { try render(source, JSONObject()) }
        }
    }

    @Test func whatCameInIsKnown() throws {
        var values = JSONObject()
        values["u"] = "<e>ü"
        values["d"] = ["k<e>": "v"]
        let template = try JinjaTemplate(
            "é{{ '<e>' + u.strip()[0:2] ~ u | upper | replace('E', bos) }}{{ d | tojson }}<e>")
        let rendering = try template.render(values, own: ["bos": "B"])
        #expect(rendering.text == "é<e><E<B>Ü".replacingOccurrences(of: "<E", with: "<e") + "{\"k<e>\": \"v\"}<e>")
        let own = rendering.ownRanges.map { range in
            String(decoding: Array(rendering.text.utf8)[range], as: UTF8.self)
        }
        #expect(own == ["é<e>", "B", "{\"", "\": \"", "\"}<e>"])
    }

    @Test func datesAreThoseOfTheCalendar() throws {
        for (year, month, day, expected) in [
            (2000, 1, 1, "Sat 001"), (2024, 2, 29, "Thu 060"), (2024, 12, 31, "Tue 366"), (1999, 12, 31, "Fri 365"),
            (2100, 3, 1, "Mon 060"),
        ] {
            let clock = ChatClock(year: year, month: month, day: day)
            #expect(try clock.formatted("%a %j") == expected)
        }
        #expect(throws: LacunaError.self) { try Self.clock.formatted("%Z") }
        #expect(throws: LacunaError.self) { try JinjaTemplate("{{ strftime_now('%Y') }}").render(JSONObject()) }
    }
}
