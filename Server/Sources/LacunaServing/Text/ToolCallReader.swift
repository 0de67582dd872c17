import LacunaIO

/// A function that the model calls.
struct ToolCall: Sendable, Equatable {
    let id: String
    let name: String
    /// JSON.
    let arguments: String

    /// As responses have it.
    var json: JSONValue {
        ["id": .string(id), "type": "function", "function": ["name": .string(name), "arguments": .string(arguments)]]
    }

    init(name: String, arguments: String) {
        id = ResponseName.random("call_")
        (self.name, self.arguments) = (name, arguments)
    }

    /// Nil unless the text is an object with a name and arguments.
    init?(_ text: Substring) {
        guard let value = try? JSONValue(parsing: String(text)), let name = value["name"]?.stringValue,
            let arguments = value["arguments"], arguments.objectValue != nil
        else { return nil }
        self.init(name: name, arguments: arguments.serialized(.compact))
    }
}

/// Takes the calls of functions out of a text, as it comes: ``ToolCallForm``. What is no call stays text.
struct ToolCallReader: Sendable {
    private var held = ""

    /// Text and calls that are certain after another piece. White space before a call is left out.
    mutating func append(_ piece: String) -> (text: String, calls: [ToolCall]) {
        held += piece
        var (text, calls): (String, [ToolCall]) = ("", [])
        while let start = held.firstRange(of: ToolCallForm.opening) {
            guard let end = held[start.upperBound...].firstRange(of: ToolCallForm.closing) else {
                // White space before what may be a call waits with it.
                let certain = Self.trimmed(String(held[..<start.lowerBound]))
                text += certain
                held.removeFirst(certain.count)
                return (text, calls)
            }
            if let call = ToolCall(held[start.upperBound..<end.lowerBound]) {
                text += Self.trimmed(String(held[..<start.lowerBound]))
                calls.append(call)
            } else {
                text += held[..<end.upperBound]
            }
            held.removeSubrange(..<end.upperBound)
        }
        // The end may be the beginning of a call, or the white space before one.
        var waiting = held.endIndex
        for length in (1..<ToolCallForm.opening.count).reversed()
        where held.hasSuffix(ToolCallForm.opening.prefix(length)) {
            waiting = held.index(held.endIndex, offsetBy: -length)
            break
        }
        while waiting > held.startIndex, held[held.index(before: waiting)].isWhitespace {
            waiting = held.index(before: waiting)
        }
        text += held[..<waiting]
        held.removeSubrange(..<waiting)
        return (text, calls)
    }

    /// What is left, which is text; white space after a call is none.
    mutating func finish(hasCalls: Bool) -> String {
        defer { held = "" }
        return hasCalls && held.allSatisfy(\.isWhitespace) ? "" : held
    }

    private static func trimmed(_ text: String) -> String {
        String(text.reversed().drop(while: \.isWhitespace).reversed())
    }
}
