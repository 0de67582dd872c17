import LacunaIO
import LacunaTensor

/// A template in the subset of Jinja that published chat templates use: control of white space, `for` with `else`,
/// filters and `loop`, `if`, `set`, `macro`, `with`, `filter`, `raw`, `break` and `continue`, namespaces, slices, tests,
/// filters, and the methods of Python's strings and dictionaries that change nothing.
///
/// What is beyond that is refused, with its name and line, when the template is read or when it comes to it; nothing is
/// left out or approximated. White space is treated as the libraries treat it that templates are published for
/// (`trim_blocks` and `lstrip_blocks`).
public struct JinjaTemplate: Sendable {
    private let statements: [JinjaStatement]
    private let file: String

    /// Text that a template made, and which of it is the template's own rather than what it was given.
    public struct Rendering: Sendable, Equatable {
        /// The rendered text.
        public let text: String
        /// The template's own parts, as offsets of UTF-8 bytes, in order.
        public let ownRanges: [Range<Int>]
    }

    /// - Parameter file: The name for error messages.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for constructs that are not known here, and
    ///   ``LacunaError/malformed(file:location:reason:)`` for mistakes, with the line.
    public init(_ source: String, file: String = "chat template") throws {
        self.file = file
        do {
            statements = try JinjaParser.parse(source)
        } catch let failure as JinjaFailure {
            throw failure.error(file)
        }
    }

    /// The text that the template makes of values.
    ///
    /// - Parameters:
    ///   - input: Values by name, from outside.
    ///   - own: Strings by name that count as the template's own, such as the spelling of the end token.
    ///   - time: What `strftime_now` makes of a format; nil if the template is not to know the time, and such a call is
    ///     refused.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the template objects to the values by `raise_exception`;
    ///   ``LacunaError/unsupported(file:what:)`` for constructs that are not known here, and
    ///   ``LacunaError/malformed(file:location:reason:)`` for mistakes and for values that do not fit.
    public func render(
        _ input: JSONObject, own: [String: String] = [:], time: (@Sendable (String) throws -> String)? = nil
    ) throws -> Rendering {
        var globals = Self.functions
        if let time { globals["strftime_now"] = Self.clock(time) }
        for (name, text) in own { globals[name] = .text(text) }
        for member in input { globals[member.key] = JinjaValue(input: member.value) }
        do {
            let (text, ranges) = try JinjaEvaluator(globals).render(statements).rendered
            return Rendering(text: text, ownRanges: ranges)
        } catch let failure as JinjaFailure {
            throw failure.error(file)
        }
    }

    private static func clock(_ time: @escaping @Sendable (String) throws -> String) -> JinjaValue {
        .function(
            JinjaFunction(name: "strftime_now") { _, arguments in
                try arguments.check("format")
                return .text(try time(try arguments.text(0, "format").string))
            })
    }

    private static let functions: [String: JinjaValue] = [
        "namespace": .function(
            JinjaFunction(name: "namespace") { _, arguments in
                let namespace = JinjaNamespace()
                for value in arguments.positional {
                    guard case .dictionary(let dictionary) = value else {
                        throw JinjaFailure.wrong("a namespace of \(value.kind)", arguments.line)
                    }
                    for member in dictionary.members { namespace.members[member.key] = member.value }
                }
                for (name, value) in arguments.named { namespace.members[.text(name)] = value }
                return .namespace(namespace)
            }),
        "dict": .function(
            JinjaFunction(name: "dict") { _, arguments in
                guard arguments.positional.isEmpty else {
                    throw JinjaFailure.unsupported("'dict' of a value", arguments.line)
                }
                var dictionary = JinjaDictionary()
                for (name, value) in arguments.named { dictionary[.text(name)] = value }
                return .dictionary(dictionary)
            }),
        "range": .function(
            JinjaFunction(name: "range") { evaluator, arguments in
                try arguments.check("start", "stop", "step")
                let first = try arguments.integer(0, "start", default: 0)
                let (start, stop) =
                    arguments.positional.count > 1 ? (first, try arguments.integer(1, "stop", default: 0)) : (0, first)
                let step = try arguments.integer(2, "step", default: 1)
                guard step != 0, (stop / 2 - start / 2).magnitude / step.magnitude < 50_000 else {
                    throw JinjaFailure.wrong("a range from \(start) to \(stop) in steps of \(step)", arguments.line)
                }
                return .list(stride(from: start, to: stop, by: step).map { .integer($0) })
            }),
        "raise_exception": .function(
            JinjaFunction(name: "raise_exception") { _, arguments in
                try arguments.check("message")
                throw JinjaFailure.raised(try arguments.needed(0, "message").printed.string)
            }),
    ]
}
