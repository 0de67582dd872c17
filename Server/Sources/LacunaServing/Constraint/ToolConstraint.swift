import LacunaIO

/// How a model writes that it calls a function: `<tool_call>`, a line with `{"name": …, "arguments": {…}}`, `</tool_call>`. Hermes,
/// Qwen 2.5 and 3 and others were trained on it, and their chat templates say so.
enum ToolCallForm {
    static let opening = "<tool_call>"
    static let closing = "</tool_call>"

    /// Whether a chat template knows tools and this form.
    static func isSpoken(by template: String) -> Bool { template.contains("tools") && template.contains(opening) }
}

/// Answers in which every call of a function is one: of a name that was declared, with arguments that are an object, or what a
/// strict function declares. Text around calls is free, unless the answer is to be one call and nothing else.
struct ToolConstraint: TokenConstraint {
    private enum State {
        /// Free text, of whose last bytes so many begin the opening.
        case text(Int)
        /// Bytes of a text that have to come.
        case literal([UInt8], Int)
        case call(JSONPrefix)
        case end
    }
    private static let opening = Array(ToolCallForm.opening.utf8)
    private let spellings: TokenSpellings
    private let schema: JSONSchema
    private let isOneCall: Bool
    private var state: State

    /// - Parameters:
    ///   - schema: Of a call.
    ///   - isOneCall: Whether the answer is one call.
    init(_ spellings: TokenSpellings, _ schema: JSONSchema, isOneCall: Bool) {
        (self.spellings, self.schema, self.isOneCall) = (spellings, schema, isOneCall)
        state = isOneCall ? .literal(Self.opening + [UInt8(ascii: "\n")], 0) : .text(0)
    }

    var isComplete: Bool { if case .end = state { true } else { false } }

    /// Takes the next byte, and says whether it can be.
    private mutating func take(_ byte: UInt8) -> Bool {
        switch state {
        case .text(let matched):
            // The opening begins like nothing within it, so that a byte that ends a match can only begin another.
            let next = byte == Self.opening[matched] ? matched + 1 : byte == Self.opening[0] ? 1 : 0
            state = next == Self.opening.count ? .literal([UInt8(ascii: "\n")], 0) : .text(next)
        case .literal(let text, let place):
            guard byte == text[place] else { return false }
            if place + 1 < text.count {
                state = .literal(text, place + 1)
            } else if byte == UInt8(ascii: ">") {
                state = isOneCall ? .end : .text(0)
            } else {
                state = .call(JSONPrefix(schema))
            }
        case .call(var json):
            guard json.accept(byte) else { return false }
            state = json.isComplete ? .literal(Array("\n\(ToolCallForm.closing)".utf8), 0) : .call(json)
        case .end: return false
        }
        return true
    }

    private func allows(_ bytes: ArraySlice<UInt8>) -> Bool {
        var next = self
        return bytes.allSatisfy { next.take($0) }
    }

    mutating func restrict(_ logits: UnsafeMutableBufferPointer<Float>) {
        if case .text = state {
            // Only what goes on beyond the end of the opening can go wrong.
            for token in logits.indices where spellings[token].contains(UInt8(ascii: ">")) && !allows(spellings[token])
            {
                logits[token] = -.infinity
            }
            return
        }
        var room: Int?
        if case .call(let json) = state { room = json.roomInString }
        for token in logits.indices {
            if let room, let length = spellings.plainLength(token), length <= room { continue }
            let bytes = spellings[token]
            if bytes.isEmpty || !allows(bytes) { logits[token] = -.infinity }
        }
    }

    mutating func accept(_ token: Int) { for byte in spellings[token] { _ = take(byte) } }
}
