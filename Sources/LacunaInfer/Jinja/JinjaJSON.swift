/// JSON as Python's `json.dumps` writes it, which templates show tools by.
struct JinjaJSON {
    var indent: JinjaText?
    var escapesNonASCII = false
    var sortsKeys = false
    var itemSeparator = JinjaText(", ")
    var keySeparator = JinjaText(": ")

    func write(_ value: JinjaValue, line: Int) throws -> JinjaText {
        var result = JinjaText()
        try write(value, depth: 0, into: &result, line)
        return result
    }

    private func write(_ value: JinjaValue, depth: Int, into result: inout JinjaText, _ line: Int) throws {
        switch value {
        case .none: result.append(JinjaText("null"))
        case .bool(let value): result.append(JinjaText(value ? "true" : "false"))
        case .integer(let value): result.append(JinjaText(String(value)))
        case .number(let value):
            result.append(
                JinjaText(
                    value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Infinity" : "Infinity") : value.description)
            )
        case .text(let text): write(text, into: &result)
        case .list(let values), .tuple(let values):
            try writeAll(values.map { (nil, $0) }, "[", "]", depth, into: &result, line)
        case .dictionary(let dictionary):
            var members = try dictionary.members.map { (Optional(try key($0.key, line)), $0.value) }
            if sortsKeys { members.sort { $0.0!.values.lexicographicallyPrecedes($1.0!.values) } }
            try writeAll(members, "{", "}", depth, into: &result, line)
        case .undefined, .namespace, .function: throw JinjaFailure.wrong("tojson of \(value.kind)", line)
        }
    }

    private func key(_ value: JinjaValue, _ line: Int) throws -> JinjaText {
        switch value {
        case .text(let text): text
        case .none: JinjaText("null")
        case .bool(let value): JinjaText(value ? "true" : "false")
        case .integer, .number: value.printed
        default: throw JinjaFailure.wrong("tojson with \(value.kind) for a key", line)
        }
    }

    private func writeAll(
        _ members: [(key: JinjaText?, value: JinjaValue)], _ open: String, _ close: String, _ depth: Int,
        into result: inout JinjaText, _ line: Int
    ) throws {
        result.append(JinjaText(open))
        for (index, member) in members.enumerated() {
            if index > 0 { result.append(itemSeparator) }
            breakLine(depth + 1, into: &result)
            if let key = member.key {
                write(key, into: &result)
                result.append(keySeparator)
            }
            try write(member.value, depth: depth + 1, into: &result, line)
        }
        if !members.isEmpty { breakLine(depth, into: &result) }
        result.append(JinjaText(close))
    }

    private func breakLine(_ depth: Int, into result: inout JinjaText) {
        guard let indent else { return }
        result.append(JinjaText("\n") + indent.repeated(depth))
    }

    private func write(_ text: JinjaText, into result: inout JinjaText) {
        result.append(JinjaText("\""))
        for i in 0..<text.count {
            let scalar = text.scalar(i)
            switch scalar {
            case "\"", "\\": result.append(JinjaText("\\") + text[i..<i + 1])
            case "\n": result.append(JinjaText("\\n"))
            case "\r": result.append(JinjaText("\\r"))
            case "\t": result.append(JinjaText("\\t"))
            case "\u{8}": result.append(JinjaText("\\b"))
            case "\u{C}": result.append(JinjaText("\\f"))
            default:
                if scalar.value < 0x20 || escapesNonASCII && scalar.value > 0x7E {
                    for unit in String(scalar).utf16 { result.append(Self.escape(unit)) }
                } else {
                    result.append(text[i..<i + 1])
                }
            }
        }
        result.append(JinjaText("\""))
    }

    private static func escape(_ unit: UInt16) -> JinjaText {
        let digits = String(unit, radix: 16)
        return JinjaText("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
    }
}
