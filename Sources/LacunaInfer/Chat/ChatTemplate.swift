import LacunaIO
import LacunaModels
import LacunaTensor

/// How a conversation becomes the text that a chat model was trained on: the Jinja template that comes with the model,
/// run as ``JinjaTemplate`` does.
///
///     let template = try ChatTemplate(tokenizer)
///     let prompt = try template.encode([.init(.user, "Why is the sky blue?")], with: tokenizer)
public struct ChatTemplate: Sendable {
    /// Who speaks.
    public enum Role: String, Sendable {
        /// Who says what the model is to be.
        case system
        /// Who asks.
        case user
        /// The model.
        case assistant
        /// What the model has called, with its result.
        case tool
    }

    /// What somebody says.
    public struct Message: Sendable, Equatable {
        /// Who speaks.
        public var role: Role
        /// The text, without marks of any template.
        public var content: String
        /// Further members that templates ask for, such as `tool_calls`, `name` or `reasoning_content`.
        public var fields: JSONObject

        /// A message, with whatever members a template asks for besides.
        public init(_ role: Role, _ content: String, fields: JSONObject = JSONObject()) {
            self.role = role
            self.content = content
            self.fields = fields
        }

        var json: JSONValue {
            var object = JSONObject()
            object["role"] = .string(role.rawValue)
            object["content"] = .string(content)
            for member in fields { object[member.key] = member.value }
            return .object(object)
        }
    }

    /// What a template is told besides the messages.
    public struct Options: Sendable {
        /// Functions that the model may call, as the field describes them: `{"type": "function", "function": {…}}`.
        public var tools: [JSONValue]
        /// Whether the text ends where the assistant begins to answer.
        public var addsGenerationPrompt: Bool
        /// Settings of the template's own, such as `enable_thinking`.
        public var variables: JSONObject
        /// The moment for templates that write the date; nil if they are not to know it.
        public var clock: ChatClock?

        /// What a template is told by default: no tools, an open answer, no date.
        public init(
            tools: [JSONValue] = [], addsGenerationPrompt: Bool = true, variables: JSONObject = JSONObject(),
            clock: ChatClock? = nil
        ) {
            self.tools = tools
            self.addsGenerationPrompt = addsGenerationPrompt
            self.variables = variables
            self.clock = clock
        }
    }

    private let template: JinjaTemplate
    private let namedTokens: [String: String]

    /// The template of a tokenizer's files.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` if there is none, or one with constructs that are not known here;
    ///   ``LacunaError/malformed(file:location:reason:)`` for one with mistakes.
    public init(_ tokenizer: Tokenizer) throws {
        guard let source = tokenizer.chatTemplate else {
            throw LacunaError.unsupported(
                file: nil, what: "a conversation with a model that has no chat template: use --prompt")
        }
        try self.init(source, namedTokens: tokenizer.namedTokens)
    }

    /// - Parameter namedTokens: The spelling of tokens by the names that templates know, such as `bos_token`.
    public init(_ source: String, namedTokens: [String: String] = [:]) throws {
        template = try JinjaTemplate(source)
        self.namedTokens = namedTokens
    }

    /// The text of a conversation.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the template objects to the messages; otherwise as
    ///   ``JinjaTemplate/render(_:own:time:)``.
    public func render(_ messages: [Message], _ options: Options = .init()) throws -> JinjaTemplate.Rendering {
        var input = options.variables
        input["messages"] = .array(messages.map(\.json))
        input["tools"] = options.tools.isEmpty ? .null : .array(options.tools)
        if input["documents"] == nil { input["documents"] = .null }
        input["add_generation_prompt"] = .bool(options.addsGenerationPrompt)
        var time: (@Sendable (String) throws -> String)?
        if let clock = options.clock { time = { try clock.formatted($0) } }
        return try template.render(input, own: namedTokens, time: time)
    }

    /// The tokens of a conversation, ready for the model to answer. Messages that spell special tokens are read as plain
    /// text.
    public func encode(
        _ messages: [Message], with tokenizer: Tokenizer, _ options: Options = .init()
    ) throws -> [Int] {
        let rendering = try render(messages, options)
        // The template writes the beginning itself.
        return tokenizer.encode(rendering.text, specialRanges: rendering.ownRanges, addsBeginning: false)
    }

    /// The special token that the template puts behind an assistant's answer, which ends the model's turn; nil if it puts
    /// none.
    public func endOfTurn(_ tokenizer: Tokenizer) -> Int? {
        // An answer that can be found again, whatever the template does with white space.
        let answer = "0a1b2c3d4e5f"
        let messages = [Message(.user, "?"), Message(.assistant, answer)]
        guard let rendering = try? render(messages, .init(addsGenerationPrompt: false)),
            let found = rendering.text.firstRange(of: answer)
        else { return nil }
        let first = tokenizer.encode(String(rendering.text[found.upperBound...]), addsBeginning: false).first
        return first.flatMap { tokenizer.isSpecial($0) ? $0 : nil }
    }
}

extension ChatTemplate: ConversationForm {
    public func rendered(
        _ messages: [JSONValue], addsGenerationPrompt: Bool
    ) throws -> (text: String, specialRanges: [Range<Int>]) {
        let known = try messages.map { value -> Message in
            let fields = try JSONFields(value, file: "conversation", location: "message")
            let name = try fields.string("role")
            guard let role = Role(rawValue: name) else {
                throw fields.failure("role", "'\(name)' is none of system, user, assistant, tool")
            }
            var others = JSONObject()
            for member in fields.object where member.key != "role" && member.key != "content" {
                others[member.key] = member.value
            }
            return Message(role, try fields.optionalString("content") ?? "", fields: others)
        }
        let rendering = try render(known, .init(addsGenerationPrompt: addsGenerationPrompt))
        return (rendering.text, rendering.ownRanges)
    }
}
