import LacunaIO
import LacunaTensor

/// How a conversation becomes the text that a chat model was trained on.
///
/// The two forms that the supported models use are written here; a tokenizer's Jinja template decides which of them it
/// is, and is not run.
public enum ChatTemplate: Sendable, Equatable {
    /// `<|im_start|>role\ncontent<|im_end|>\n` (SmolLM2, Qwen). A conversation without a system message begins with
    /// `defaultSystem`, if the model has one.
    case chatML(defaultSystem: String?)
    /// `<|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>` (Llama 3).
    case llama3

    public enum Role: String, Sendable { case system, user, assistant }

    public struct Message: Sendable, Equatable {
        public var role: Role
        public var content: String

        public init(_ role: Role, _ content: String) {
            self.role = role
            self.content = content
        }
    }

    /// The form that a tokenizer's template follows.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` if there is none, or one of another form.
    public init(_ tokenizer: Tokenizer) throws {
        guard let template = tokenizer.chatTemplate else {
            throw LacunaError.unsupported(
                file: nil, what: "a conversation with a model that has no chat template: use --prompt")
        }
        if template.contains("<|im_start|>") {
            self = .chatML(defaultSystem: Self.defaultSystem(in: template))
        } else if template.contains("<|start_header_id|>") {
            self = .llama3
        } else {
            throw LacunaError.unsupported(
                file: nil,
                what:
                    "a chat template that is neither ChatML nor Llama 3's: use --prompt, with text in the model's form")
        }
        for marker in markers where tokenizer.id(of: marker) == nil {
            throw LacunaError.unsupported(
                file: nil, what: "a chat template whose token '\(marker)' is not in the vocabulary: use --prompt")
        }
    }

    /// The system message that a ChatML template writes by itself: literal text between the markers.
    static func defaultSystem(in template: String) -> String? {
        // The line break stands in a Jinja string, escaped, or in the template's own text.
        for opening in ["<|im_start|>system\\n", "<|im_start|>system\n"] {
            var rest = template[...]
            while let start = rest.firstRange(of: opening) {
                rest = rest[start.upperBound...]
                guard let end = rest.firstRange(of: "<|im_end|>") else { break }
                let text = rest[..<end.lowerBound]
                // Quotes and braces mean that the text ends in an expression, such as the user's own message.
                if !text.isEmpty && !text.contains(where: { "'{}\"".contains($0) }) {
                    return text.split(separator: "\\n", omittingEmptySubsequences: false).joined(separator: "\n")
                }
            }
        }
        return nil
    }

    private var markers: [String] {
        switch self {
        case .chatML: ["<|im_start|>", "<|im_end|>"]
        case .llama3: ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
        }
    }

    /// The token after which the model's turn is over.
    public func endOfTurn(_ tokenizer: Tokenizer) -> Int? {
        switch self {
        case .chatML: tokenizer.id(of: "<|im_end|>")
        case .llama3: tokenizer.id(of: "<|eot_id|>")
        }
    }

    /// A stretch of text and whether it is a marker of the template or somebody's words.
    enum Piece: Equatable {
        case marker(String)
        case text(String)
    }

    /// The conversation followed by the beginning of the assistant's turn.
    func pieces(_ messages: [Message], continuing: Bool = false) -> [Piece] {
        var result: [Piece] = []
        switch self {
        case .chatML(let defaultSystem):
            var messages = messages
            if !continuing, messages.first?.role != .system, let defaultSystem {
                messages.insert(Message(.system, defaultSystem), at: 0)
            }
            // The assistant's own end marker was generated; its line break was not.
            if continuing { result.append(.text("\n")) }
            for message in messages {
                result += [.marker("<|im_start|>"), .text("\(message.role.rawValue)\n\(message.content)")]
                result += [.marker("<|im_end|>"), .text("\n")]
            }
            result += [.marker("<|im_start|>"), .text("assistant\n")]
        case .llama3:
            if !continuing { result.append(.marker("<|begin_of_text|>")) }
            func header(_ role: Role, _ content: String) -> [Piece] {
                [
                    .marker("<|start_header_id|>"), .text(role.rawValue), .marker("<|end_header_id|>"),
                    .text("\n\n\(content)"),
                ]
            }
            for message in messages {
                result += header(message.role, message.content.trimmingWhitespace()) + [.marker("<|eot_id|>")]
            }
            result += header(.assistant, "")
        }
        return result
    }

    /// The tokens of a conversation, ready for the model to answer. Messages that spell a marker are read as plain text.
    ///
    /// - Parameter continuing: The messages follow an answer that the model ended with ``endOfTurn(_:)``, of which
    ///   everything is in its cache.
    public func encode(_ messages: [Message], with tokenizer: Tokenizer, continuing: Bool = false) -> [Int] {
        pieces(messages, continuing: continuing).flatMap { piece in
            switch piece {
            case .marker(let marker): tokenizer.id(of: marker).map { [$0] } ?? []
            case .text(let text): tokenizer.encode(text, recognizesSpecials: false, addsBeginning: false)
            }
        }
    }
}

extension String {
    fileprivate func trimmingWhitespace() -> String {
        guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(self[first...last])
    }
}
