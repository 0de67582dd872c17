/// Runs the statements of a template.
///
/// A template comes with a model's files and is not trusted: how much it may do and print is bounded.
final class JinjaEvaluator: @unchecked Sendable {
    // One thread renders a template, from begin to end.
    private var output = JinjaText()
    private var scope: Scope
    private var steps = 0
    private var calls = 0
    private var loopDepth = 0

    private static let mostSteps = 5_000_000
    /// Characters.
    static let mostOutput = 64 << 20
    private static let mostCalls = 100

    /// Names and their values, within others.
    private final class Scope {
        let parent: Scope?
        var values: [String: JinjaValue] = [:]

        init(_ parent: Scope?) { self.parent = parent }

        func find(_ name: String) -> JinjaValue? { values[name] ?? parent?.find(name) }
    }

    private enum Flow { case next, breakLoop, continueLoop }

    init(_ globals: [String: JinjaValue]) {
        let outermost = Scope(nil)
        outermost.values = globals
        scope = Scope(outermost)
    }

    func render(_ statements: [JinjaStatement]) throws -> JinjaText {
        _ = try run(statements)
        return output
    }

    /// Counts work.
    func step(_ line: Int, count: Int = 1) throws {
        steps += count
        guard steps <= Self.mostSteps else { throw JinjaFailure.wrong("a template that takes too long", line) }
    }

    private func print(_ text: JinjaText, _ line: Int) throws {
        guard output.count + text.count <= Self.mostOutput else {
            throw JinjaFailure.wrong("a template that prints too much", line)
        }
        output.append(text)
    }

    /// What `body` prints.
    private func captured(_ body: () throws -> Void) throws -> JinjaText {
        let outer = output
        output = JinjaText()
        defer { output = outer }
        try body()
        return output
    }

    private func within<T>(_ inner: Scope, _ body: () throws -> T) rethrows -> T {
        let outer = scope
        scope = inner
        defer { scope = outer }
        return try body()
    }

    // MARK: Statements

    private func run(_ statements: [JinjaStatement]) throws -> Flow {
        for statement in statements {
            let flow = try run(statement)
            if flow != .next { return flow }
        }
        return .next
    }

    private func run(_ statement: JinjaStatement) throws -> Flow {
        switch statement {
        case .data(let text): try print(JinjaText(text), 0)
        case .output(let expression): try print(evaluate(expression).printed, expression.line)
        case .branch(let parts, let otherwise):
            for part in parts where try evaluate(part.condition).isTrue { return try run(part.body) }
            return try run(otherwise)
        case .loop(let loop): return try run(loop)
        case .assignment(let target, let expression, let line): try assign(target, evaluate(expression), line)
        case .capture(let target, let body, let filters, let line):
            let text = try captured { _ = try within(Scope(scope)) { try run(body) } }
            try assign(target, filtered(.text(text), filters, line), line)
        case .filtered(let body, let filters, let line):
            let text = try captured { _ = try within(Scope(scope)) { try run(body) } }
            try print(filtered(.text(text), filters, line).printed, line)
        case .macro(let macro): scope.values[macro.name] = .function(function(macro))
        case .scope(let values, let body, let line):
            let inner = Scope(scope)
            for (target, expression) in values {
                let value = try evaluate(expression)
                try within(inner) { try assign(target, value, line) }
            }
            return try within(inner) { try run(body) }
        case .breakLoop: return .breakLoop
        case .continueLoop: return .continueLoop
        }
        return .next
    }

    private func filtered(
        _ value: JinjaValue, _ filters: [(name: String, call: JinjaCall)], _ line: Int
    ) throws -> JinjaValue {
        try filters.reduce(value) { value, filter in
            try JinjaFilters.apply(
                filter.name, value, arguments(filter.call, "the filter '\(filter.name)'", line), self)
        }
    }

    private func assign(_ target: JinjaTarget, _ value: JinjaValue, _ line: Int) throws {
        switch target {
        case .name(let name): scope.values[name] = value
        case .names(let names):
            guard let values = value.elements, !value.isUndefined else {
                throw JinjaFailure.wrong("\(value.kind) cannot be given to \(names.count) names", line)
            }
            guard values.count == names.count else {
                throw JinjaFailure.wrong("\(values.count) values for \(names.count) names", line)
            }
            for (name, value) in zip(names, values) { scope.values[name] = value }
        case .member(let name, let member):
            guard case .namespace(let namespace) = scope.find(name) else {
                throw JinjaFailure.wrong("'\(name)' is no namespace", line)
            }
            namespace.members[.text(member)] = value
        }
    }

    private func run(_ loop: JinjaLoop) throws -> Flow {
        let collection = try evaluate(loop.collection)
        guard var values = collection.elements else {
            throw JinjaFailure.wrong("\(collection.kind) cannot be looped over", loop.line)
        }
        if let filter = loop.filter {
            values = try values.filter { value in
                let inner = Scope(scope)
                return try within(inner) {
                    try assign(loop.target, value, loop.line)
                    return try evaluate(filter).isTrue
                }
            }
        }
        if values.isEmpty { return try within(Scope(scope)) { try run(loop.otherwise) } }
        loopDepth += 1
        defer { loopDepth -= 1 }
        let changes = JinjaNamespace()
        for (index, value) in values.enumerated() {
            try step(loop.line)
            let inner = Scope(scope)
            let flow = try within(inner) {
                try assign(loop.target, value, loop.line)
                if loop.usesVariable { inner.values["loop"] = loopVariable(values, index, changes) }
                return try run(loop.body)
            }
            if flow == .breakLoop { break }
        }
        return .next
    }

    private func loopVariable(_ values: [JinjaValue], _ index: Int, _ changes: JinjaNamespace) -> JinjaValue {
        let namespace = JinjaNamespace()
        func set(_ name: String, _ value: JinjaValue) { namespace.members[.text(name)] = value }
        set("index", .integer(index + 1))
        set("index0", .integer(index))
        set("revindex", .integer(values.count - index))
        set("revindex0", .integer(values.count - index - 1))
        set("first", .bool(index == 0))
        set("last", .bool(index == values.count - 1))
        set("length", .integer(values.count))
        set("depth", .integer(loopDepth))
        set("depth0", .integer(loopDepth - 1))
        set("previtem", index > 0 ? values[index - 1] : .undefined("previtem"))
        set("nextitem", index + 1 < values.count ? values[index + 1] : .undefined("nextitem"))
        let cycle = JinjaFunction(name: "loop.cycle") { _, arguments in
            guard !arguments.positional.isEmpty, arguments.named.isEmpty else {
                throw JinjaFailure.wrong("loop.cycle of nothing", arguments.line)
            }
            return arguments.positional[index % arguments.positional.count]
        }
        set("cycle", .function(cycle))
        let changed = JinjaFunction(name: "loop.changed") { _, arguments in
            let (key, value) = (JinjaValue.text("value"), JinjaValue.tuple(arguments.positional))
            defer { changes.members[key] = value }
            return .bool(changes.members[key] != value)
        }
        set("changed", .function(changed))
        return .namespace(namespace)
    }

    private func function(_ macro: JinjaMacro) -> JinjaFunction {
        let defining = UncheckedScope(scope: scope)
        return JinjaFunction(name: macro.name) { evaluator, arguments in
            try evaluator.call(macro, arguments, in: defining.scope)
        }
    }

    private struct UncheckedScope: @unchecked Sendable { let scope: Scope }

    private func call(_ macro: JinjaMacro, _ arguments: JinjaArguments, in defining: Scope) throws -> JinjaValue {
        calls += 1
        defer { calls -= 1 }
        guard calls <= Self.mostCalls else { throw JinjaFailure.wrong("macros called 100 deep", arguments.line) }
        let names = macro.parameters.map(\.name)
        guard arguments.positional.count <= names.count else {
            throw JinjaFailure.wrong(
                "macro '\(macro.name)' takes \(names.count) arguments, not \(arguments.positional.count)",
                arguments.line)
        }
        for (name, _) in arguments.named where !names.contains(name) {
            throw JinjaFailure.wrong("macro '\(macro.name)' takes no argument '\(name)'", arguments.line)
        }
        let inner = Scope(defining)
        return try within(inner) {
            for (index, parameter) in macro.parameters.enumerated() {
                let value = arguments[index, parameter.name]
                inner.values[parameter.name] =
                    try value ?? parameter.standard.map(evaluate) ?? .undefined(parameter.name)
            }
            return .text(try captured { _ = try run(macro.body) })
        }
    }

    // MARK: Expressions

    func evaluate(_ expression: JinjaExpression) throws -> JinjaValue {
        try step(expression.line)
        let value = try computed(expression)
        switch expression.kind {
        // What is made anew counts by its size: doubling a list sixty times is short to write.
        case .arithmetic, .joined, .filter, .call: try step(expression.line, count: value.weight)
        default: break
        }
        return value
    }

    private func computed(_ expression: JinjaExpression) throws -> JinjaValue {
        let line = expression.line
        switch expression.kind {
        case .constant(let value): return value
        case .name(let name): return scope.find(name) ?? .undefined(name)
        case .list(let members): return .list(try members.map(evaluate))
        case .tuple(let members): return .tuple(try members.map(evaluate))
        case .dictionary(let members):
            var dictionary = JinjaDictionary()
            for member in members { dictionary[try evaluate(member.key)] = try evaluate(member.value) }
            return .dictionary(dictionary)
        case .attribute(let value, let name): return try JinjaMembers.attribute(name, of: evaluate(value), line)
        case .item(let value, let index): return try JinjaMembers.item(evaluate(index), of: evaluate(value), line)
        case .slice(let value, let start, let stop, let stride):
            return try JinjaMembers.slice(
                evaluate(value), start.map(evaluate), stop.map(evaluate), stride.map(evaluate), line)
        case .call(let callee, let call): return try self.call(callee, call, line)
        case .filter(let value, let name, let call):
            return try JinjaFilters.apply(
                name, evaluate(value), arguments(call, "the filter '\(name)'", line), self)
        case .test(let value, let name, let call):
            return .bool(
                try JinjaTests.apply(name, evaluate(value), arguments(call, "the test '\(name)'", line)))
        case .not(let value): return .bool(try !evaluate(value).isTrue)
        case .and(let left, let right):
            let value = try evaluate(left)
            return try value.isTrue ? evaluate(right) : value
        case .or(let left, let right):
            let value = try evaluate(left)
            return try value.isTrue ? value : evaluate(right)
        case .sign(let value, let isNegative):
            return try JinjaArithmetic.sign(evaluate(value), isNegative: isNegative, line)
        case .arithmetic(let operation, let left, let right):
            return try JinjaArithmetic.apply(operation, evaluate(left), evaluate(right), line)
        case .joined(let parts):
            return .text(try parts.reduce(into: JinjaText()) { $0.append(try evaluate($1).printed) })
        case .comparison(let first, let operations):
            var left = try evaluate(first)
            for (operation, operand) in operations {
                let right = try evaluate(operand)
                guard try JinjaArithmetic.compare(operation, left, right, line) else { return .bool(false) }
                left = right
            }
            return .bool(true)
        case .condition(let condition, let then, let otherwise):
            if try evaluate(condition).isTrue { return try evaluate(then) }
            return try otherwise.map(evaluate) ?? .undefined("the value of an 'if' without 'else'")
        }
    }

    private func arguments(_ call: JinjaCall, _ callee: String, _ line: Int) throws -> JinjaArguments {
        JinjaArguments(
            positional: try call.positional.map(evaluate),
            named: try call.named.map { ($0.name, try evaluate($0.value)) }, callee: callee, line: line)
    }

    private func call(_ callee: JinjaExpression, _ call: JinjaCall, _ line: Int) throws -> JinjaValue {
        // Methods are looked up and called at once.
        if case .attribute(let value, let name) = callee.kind {
            let object = try evaluate(value)
            let arguments = try arguments(call, "the method '\(name)'", line)
            if let result = try JinjaMethods.call(name, of: object, arguments) { return result }
            return try invoke(JinjaMembers.attribute(name, of: object, line), arguments, name)
        }
        let name = if case .name(let name) = callee.kind { name } else { "the value" }
        return try invoke(evaluate(callee), arguments(call, "'\(name)'", line), name)
    }

    private func invoke(_ function: JinjaValue, _ arguments: JinjaArguments, _ name: String) throws -> JinjaValue {
        switch function {
        case .function(let function): return try function.body(self, arguments)
        case .undefined:
            throw JinjaFailure.unsupported("the function '\(name)', which is not defined", arguments.line)
        default: throw JinjaFailure.wrong("\(function.kind) is called: '\(name)'", arguments.line)
        }
    }
}
