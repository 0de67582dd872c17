import LacunaIO
import LacunaTensor

/// A value of a template, as Python would have it. Lists and dictionaries do not change: the environment that templates
/// are published for forbids it, too.
indirect enum JinjaValue: Sendable {
    /// What has no value, under the name by which it was asked for.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case text(JinjaText)
    case list([JinjaValue])
    case tuple([JinjaValue])
    case dictionary(JinjaDictionary)
    case namespace(JinjaNamespace)
    case function(JinjaFunction)

    static func text(_ string: String) -> JinjaValue { .text(JinjaText(string)) }

    /// A value from outside: its strings are marked as such.
    init(input value: JSONValue) {
        switch value {
        case .null: self = .none
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .integer(Int(value))
        case .number(let value): self = .number(value)
        case .string(let value): self = .text(JinjaText(value, isInput: true))
        case .array(let values): self = .list(values.map { JinjaValue(input: $0) })
        case .object(let object):
            var dictionary = JinjaDictionary()
            for member in object {
                dictionary[.text(JinjaText(member.key, isInput: true))] = JinjaValue(input: member.value)
            }
            self = .dictionary(dictionary)
        }
    }
}

/// Keys and values in order.
struct JinjaDictionary: Sendable {
    private(set) var members: [(key: JinjaValue, value: JinjaValue)] = []
    private var positions: [JinjaValue: Int] = [:]

    subscript(key: JinjaValue) -> JinjaValue? {
        get { positions[key].map { members[$0].value } }
        set {
            guard let newValue else { return }
            if let position = positions[key] {
                members[position].value = newValue
            } else {
                positions[key] = members.count
                members.append((key, newValue))
            }
        }
    }

    var pairs: [JinjaValue] { members.map { .tuple([$0.key, $0.value]) } }
}

/// The one thing that a template can change from within a loop.
final class JinjaNamespace: @unchecked Sendable {
    // A template is rendered by one thread, which alone has its namespaces.
    var members = JinjaDictionary()
}

/// Something that can be called: a macro, a method, a function of the environment.
struct JinjaFunction: Sendable {
    let name: String
    let body: @Sendable (JinjaEvaluator, JinjaArguments) throws -> JinjaValue
}

/// What a function, a filter or a test is called with.
struct JinjaArguments: Sendable {
    var positional: [JinjaValue] = []
    var named: [(name: String, value: JinjaValue)] = []
    /// What is called, and the line it is called on, for messages.
    var callee: String
    var line: Int

    /// The argument at a position or by its name.
    subscript(_ index: Int, _ name: String) -> JinjaValue? {
        index < positional.count ? positional[index] : named.first { $0.name == name }?.value
    }

    /// - Throws: If there are more than these, or others.
    func check(_ names: String...) throws {
        guard positional.count <= names.count, named.allSatisfy({ names.contains($0.name) }) else {
            let found = named.map(\.name).filter { !names.contains($0) }
            throw JinjaFailure.unsupported(
                "\(callee) with \(found.isEmpty ? "\(positional.count) arguments" : "the argument '\(found[0])'")", line
            )
        }
    }

    func needed(_ index: Int, _ name: String) throws -> JinjaValue {
        guard let value = self[index, name] else {
            throw JinjaFailure.wrong("\(callee) needs the argument '\(name)'", line)
        }
        return value
    }

    func text(_ index: Int, _ name: String) throws -> JinjaText {
        guard case .text(let text) = try needed(index, name) else {
            throw JinjaFailure.wrong("the argument '\(name)' of \(callee) is no string", line)
        }
        return text
    }

    func integer(_ index: Int, _ name: String, default value: Int) throws -> Int {
        guard let argument = self[index, name] else { return value }
        guard let integer = argument.asInteger else {
            throw JinjaFailure.wrong("the argument '\(name)' of \(callee) is no integer", line)
        }
        return integer
    }

    func bool(_ index: Int, _ name: String, default value: Bool) -> Bool { self[index, name]?.isTrue ?? value }
}

/// What goes wrong in a template, and on which line.
enum JinjaFailure: Error {
    /// A construct that is not known here.
    case unsupported(String, Int)
    /// A mistake of the template, or values that it does not fit.
    case wrong(String, Int)
    /// The template's own objection.
    case raised(String)

    func error(_ file: String) -> LacunaError {
        switch self {
        case .unsupported(let what, let line): .unsupported(file: file, what: "\(what), on line \(line)")
        case .wrong(let reason, let line): .malformed(file: file, location: "line \(line)", reason: reason)
        case .raised(let reason): .invalidArgument("messages", reason: reason)
        }
    }
}

// MARK: Properties

extension JinjaValue {
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .number(let value): value != 0
        case .text(let text): !text.isEmpty
        case .list(let values), .tuple(let values): !values.isEmpty
        case .dictionary(let dictionary): !dictionary.members.isEmpty
        case .namespace, .function: true
        }
    }

    /// What making the value costs, in steps.
    var weight: Int {
        switch self {
        case .text(let text): text.count / 16
        case .list(let values), .tuple(let values): values.count
        case .dictionary(let dictionary): dictionary.members.count
        default: 0
        }
    }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }

    /// Whole numbers, of which truth values are two.
    var asInteger: Int? {
        switch self {
        case .integer(let value): value
        case .bool(let value): value ? 1 : 0
        default: nil
        }
    }

    var asNumber: Double? {
        if case .number(let value) = self { value } else { asInteger.map { Double($0) } }
    }

    /// What a loop goes through; nil for what is no collection.
    var elements: [JinjaValue]? {
        switch self {
        case .undefined: []
        case .list(let values), .tuple(let values): values
        case .dictionary(let dictionary): dictionary.members.map(\.key)
        case .text(let text): (0..<text.count).map { .text(text[$0..<$0 + 1]) }
        default: nil
        }
    }

    /// Python's name of the kind, for messages.
    var kind: String {
        switch self {
        case .undefined(let name): "'\(name)', which is undefined"
        case .none: "none"
        case .bool: "a truth value"
        case .integer, .number: "a number"
        case .text: "a string"
        case .list: "a list"
        case .tuple: "a tuple"
        case .dictionary: "a dictionary"
        case .namespace: "a namespace"
        case .function: "a function"
        }
    }

    /// As printed.
    var printed: JinjaText {
        switch self {
        case .undefined: JinjaText()
        case .text(let text): text
        default: represented
        }
    }

    /// As Python represents it in source.
    var represented: JinjaText {
        func join(_ parts: [JinjaText], _ open: String, _ close: String) -> JinjaText {
            var result = JinjaText(open)
            for (index, part) in parts.enumerated() {
                if index > 0 { result.append(JinjaText(", ")) }
                result.append(part)
            }
            return result + JinjaText(close)
        }
        switch self {
        case .undefined: return JinjaText("Undefined")
        case .none: return JinjaText("None")
        case .bool(let value): return JinjaText(value ? "True" : "False")
        case .integer(let value): return JinjaText(String(value))
        case .number(let value): return JinjaText(Self.python(value))
        case .text(let text): return text.quoted
        case .list(let values): return join(values.map(\.represented), "[", "]")
        case .tuple(let values):
            return join(values.map(\.represented), "(", values.count == 1 ? ",)" : ")")
        case .dictionary(let dictionary):
            return join(
                dictionary.members.map { $0.key.represented + JinjaText(": ") + $0.value.represented }, "{", "}")
        case .namespace: return JinjaText("<Namespace>")
        case .function(let function): return JinjaText("<function \(function.name)>")
        }
    }

    static func python(_ value: Double) -> String {
        value.isNaN ? "nan" : value.isInfinite ? (value < 0 ? "-inf" : "inf") : value.description
    }
}

extension JinjaText {
    /// Between quotes, as Python writes it.
    fileprivate var quoted: JinjaText {
        let values = values
        let quote: UInt32 = values.contains(0x27) && !values.contains(0x22) ? 0x22 : 0x27
        var result = JinjaText(String(Unicode.Scalar(quote)!))
        for i in 0..<count {
            let scalar = scalar(i)
            switch scalar.value {
            case quote, 0x5C: result.append(JinjaText("\\") + self[i..<i + 1])
            case 0x0A: result.append(JinjaText("\\n"))
            case 0x0D: result.append(JinjaText("\\r"))
            case 0x09: result.append(JinjaText("\\t"))
            default:
                if scalar.isPythonPrintable {
                    result.append(self[i..<i + 1])
                } else {
                    let digits = String(scalar.value, radix: 16)
                    let (mark, width) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
                    result.append(JinjaText("\\\(mark)" + String(repeating: "0", count: width - digits.count) + digits))
                }
            }
        }
        return result + JinjaText(String(Unicode.Scalar(quote)!))
    }
}

extension Unicode.Scalar {
    fileprivate var isPythonPrintable: Bool {
        switch properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        case .spaceSeparator: value == 0x20
        default: true
        }
    }
}

// MARK: Comparing

extension JinjaValue: Hashable {
    static func == (a: JinjaValue, b: JinjaValue) -> Bool {
        switch (a, b) {
        case (.undefined, .undefined), (.none, .none): true
        case (.text(let a), .text(let b)): a == b
        case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)): a == b
        case (.dictionary(let a), .dictionary(let b)):
            a.members.count == b.members.count && a.members.allSatisfy { b[$0.key] == $0.value }
        case (.namespace(let a), .namespace(let b)): a === b
        default:
            if let x = a.asInteger, let y = b.asInteger {
                x == y
            } else if let x = a.asNumber, let y = b.asNumber {
                x == y
            } else {
                false
            }
        }
    }

    func hash(into hasher: inout Hasher) {
        switch self {
        case .text(let text): hasher.combine(text)
        case .list(let values), .tuple(let values): hasher.combine(values)
        case .bool, .integer, .number: hasher.combine(asNumber ?? 0)
        default: hasher.combine(0)
        }
    }

    /// Whether it comes before another; nil if the two have no order.
    func isLess(than other: JinjaValue) -> Bool? {
        switch (self, other) {
        case (.text(let a), .text(let b)): return a.values.lexicographicallyPrecedes(b.values)
        case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
            for (x, y) in zip(a, b) where x != y { return x.isLess(than: y) }
            return a.count < b.count
        default:
            if let x = asInteger, let y = other.asInteger { return x < y }
            guard let x = asNumber, let y = other.asNumber else { return nil }
            return x < y
        }
    }
}
