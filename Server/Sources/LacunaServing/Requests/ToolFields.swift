import LacunaIO
import LacunaTensor

/// The functions that a request lets the model call: `tools`, `tool_choice` and `parallel_tool_calls`.
public struct ToolFields: Sendable {
    /// When a function is called.
    public enum Choice: Sendable, Equatable {
        /// Never; the model is not told of any.
        case never
        /// When the model does.
        case auto
        /// The answer is one call, of any of the functions.
        case required
    }

    /// A function.
    struct Function: Sendable {
        let name: String
        /// What its arguments have to be, and where that stands; nil for any object.
        let arguments: JSONValue?
        let location: String
    }

    /// When a function is called.
    public let choice: Choice
    /// As the request describes them, for the model's template.
    public let described: [JSONValue]
    /// What a call has to be.
    let schema: JSONSchema

    /// Functions of a request, at most.
    static let mostTools = 128

    /// Nil if the request has none.
    ///
    /// - Throws: ``APIError`` with status 400 that names the parameter.
    init?(_ fields: RequestFields) throws {
        let values = try fields.array("tools") ?? []
        let chosen = try Self.chosen(fields)
        let isParallel = try fields.bool("parallel_tool_calls")
        if values.isEmpty {
            guard chosen.map({ $0.choice == .never }) ?? true else {
                throw APIError.invalid("tool_choice", "'tool_choice' is for requests with 'tools'.")
            }
            return nil
        }
        guard values.count <= Self.mostTools else {
            throw APIError.invalid("tools", "'tools' has \(values.count) functions; \(Self.mostTools) are taken.")
        }
        choice = chosen?.choice ?? .auto
        if isParallel == false && choice == .auto {
            throw APIError.unsupported(
                "parallel_tool_calls",
                "'parallel_tool_calls': false is supported with a 'tool_choice' other than 'auto'.")
        }
        var functions = try values.enumerated().map { try Self.function($1, "tools[\($0)]") }
        if let duplicate = Dictionary(grouping: functions, by: \.name).first(where: { $0.value.count > 1 }) {
            throw APIError.invalid("tools", "'tools' has more than one function '\(duplicate.key)'.")
        }
        if let name = chosen?.name {
            functions = functions.filter { $0.name == name }
            guard !functions.isEmpty else {
                throw APIError.invalid(
                    "tool_choice.function.name",
                    "'tool_choice.function.name': there is no function '\(name)' in 'tools'.")
            }
        }
        described = choice == .never ? [] : values
        schema = try JSONSchema.call(of: functions.map { ($0.name, $0.arguments, $0.location) })
    }

    private static func chosen(_ fields: RequestFields) throws -> (choice: Choice, name: String?)? {
        guard let value = fields["tool_choice"] else { return nil }
        if let word = value.stringValue {
            guard let choice = ["none": Choice.never, "auto": .auto, "required": .required][word] else {
                throw APIError.invalid("tool_choice", "'tool_choice' is none of none, auto, required and a function.")
            }
            return (choice, nil)
        }
        let choice = try RequestFields(value, location: "tool_choice")
        try choice.requireKnown(.toolChoice)
        guard try choice.string("type") == "function", let function = try choice.fields("function") else {
            throw APIError.invalid("tool_choice", "'tool_choice' is none of none, auto, required and a function.")
        }
        try function.requireKnown(.chosenFunction)
        guard let name = try function.string("name") else { throw function.missing("name") }
        return (.required, name)
    }

    private static let letters = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-".utf8)

    private static func function(_ value: JSONValue, _ location: String) throws -> Function {
        let tool = try RequestFields(value, location: location)
        try tool.requireKnown(.tool)
        guard try tool.string("type") == "function" else {
            throw APIError.unsupported(
                tool.name("type"), "'\(tool.name("type"))': tools of type 'function' are supported.")
        }
        guard let function = try tool.fields("function") else { throw tool.missing("function") }
        try function.requireKnown(.function)
        guard let name = try function.string("name") else { throw function.missing("name") }
        guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy(letters.contains) else {
            throw APIError.invalid(
                function.name("name"),
                "'\(function.name("name"))' has to be 1 to 64 letters, digits, underscores and hyphens.")
        }
        _ = try function.string("description")
        let parameters = try function.fields("parameters").map { JSONValue.object($0.object) }
        let isStrict = try function.bool("strict") ?? false
        // Without parameters there is nothing to give.
        let none: JSONValue = ["type": "object", "additionalProperties": false]
        // A bare nil could be JSON's null too.
        let arguments: JSONValue? = isStrict ? .some(parameters ?? none) : Optional.none
        return Function(name: name, arguments: arguments, location: function.name("parameters"))
    }
}
