extension JSONValue {
    /// How a value is laid out as text.
    public enum Style: Sendable {
        /// No white space at all.
        case compact
        /// One member or element a line, two spaces a level.
        case pretty
    }

    /// The document as text. Numbers that JSON cannot express (infinities, NaN) become `null`, as in JavaScript.
    public func serialized(_ style: Style = .compact) -> String {
        var output: [UInt8] = []
        write(to: &output, style: style, depth: 0)
        if style == .pretty { output.append(UInt8(ascii: "\n")) }
        return String(decoding: output, as: UTF8.self)
    }

    fileprivate func write(to output: inout [UInt8], style: Style, depth: Int) {
        switch self {
        case .null: output.append(contentsOf: "null".utf8)
        case .bool(let value): output.append(contentsOf: (value ? "true" : "false").utf8)
        case .integer(let value): output.append(contentsOf: String(value).utf8)
        case .number(let value): output.append(contentsOf: (value.isFinite ? "\(value)" : "null").utf8)
        case .string(let text): Self.write(text, to: &output)
        case .array(let elements):
            Self.write(elements, between: "[", "]", to: &output, style: style, depth: depth) { element, output in
                element.write(to: &output, style: style, depth: depth + 1)
            }
        case .object(let object):
            Self.write(object.members, between: "{", "}", to: &output, style: style, depth: depth) { member, output in
                Self.write(member.key, to: &output)
                output.append(contentsOf: (style == .pretty ? ": " : ":").utf8)
                member.value.write(to: &output, style: style, depth: depth + 1)
            }
        }
    }

    private static func write<Item>(
        _ items: [Item], between opening: String, _ closing: String, to output: inout [UInt8], style: Style,
        depth: Int, _ writeItem: (Item, inout [UInt8]) -> Void
    ) {
        output.append(contentsOf: opening.utf8)
        for (index, item) in items.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            breakLine(&output, style, depth: depth + 1)
            writeItem(item, &output)
        }
        if !items.isEmpty { breakLine(&output, style, depth: depth) }
        output.append(contentsOf: closing.utf8)
    }

    fileprivate static func breakLine(_ output: inout [UInt8], _ style: Style, depth: Int) {
        guard style == .pretty else { return }
        output.append(UInt8(ascii: "\n"))
        output.append(contentsOf: repeatElement(UInt8(ascii: " "), count: 2 * depth))
    }

    private static func write(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): output.append(contentsOf: "\\\"".utf8)
            case UInt8(ascii: "\\"): output.append(contentsOf: "\\\\".utf8)
            case 0x0A: output.append(contentsOf: "\\n".utf8)
            case 0x0D: output.append(contentsOf: "\\r".utf8)
            case 0x09: output.append(contentsOf: "\\t".utf8)
            case 0..<0x20:
                let digits = String(byte, radix: 16)
                output.append(contentsOf: "\\u00\(digits.utf8.count == 1 ? "0" : "")\(digits)".utf8)
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}

/// A JSON object whose last member is a list that need not be in memory.
public enum JSONStream {
    /// Writes the object a piece at a time: the same text as that of ``JSONValue/serialized(_:)``.
    ///
    /// - Parameters:
    ///   - object: The members before the list.
    ///   - key: The name of the list.
    ///   - elements: Made as they are needed.
    ///   - sink: Takes the next bytes, which end between two values.
    public static func write(
        _ object: JSONObject, endingWith key: String, _ elements: some Sequence<JSONValue>,
        style: JSONValue.Style = .compact, to sink: ([UInt8]) throws -> Void
    ) rethrows {
        var output: [UInt8] = []
        var whole = object
        whole[key] = .array([])
        JSONValue.object(whole).write(to: &output, style: style, depth: 0)
        // What is behind the bracket that opens the list comes last: the one that closes it, and that of the object.
        let end = Array(output.suffix(style == .pretty ? 3 : 2))
        output.removeLast(end.count)
        var isFirst = true
        for element in elements {
            if !isFirst { output.append(UInt8(ascii: ",")) }
            isFirst = false
            JSONValue.breakLine(&output, style, depth: 2)
            element.write(to: &output, style: style, depth: 2)
            if output.count > 1 << 16 {
                try sink(output)
                output.removeAll(keepingCapacity: true)
            }
        }
        if !isFirst { JSONValue.breakLine(&output, style, depth: 1) }
        output += end
        if style == .pretty { output.append(UInt8(ascii: "\n")) }
        try sink(output)
    }
}
