/// Makes statements and expressions of tokens, by Jinja's grammar. Tags that are not known here are refused by name.
struct JinjaParser {
    private let tokens: [JinjaToken]
    private var position = 0
    private var depth = 0
    private var loops = 0

    static func parse(_ source: String) throws -> [JinjaStatement] {
        var parser = JinjaParser(tokens: try JinjaLexer.tokens(of: source))
        return try parser.statements(until: [])
    }

    private init(tokens: [JinjaToken]) { self.tokens = tokens }

    private var token: JinjaToken { tokens[position] }
    private var line: Int { token.line }

    private func failure(_ reason: String) -> JinjaFailure { .wrong(reason, line) }

    private mutating func take(_ symbol: String) -> Bool {
        guard token.kind == .symbol(symbol) else { return false }
        position += 1
        return true
    }

    private mutating func takeName(_ name: String) -> Bool {
        guard token.kind == .name(name) else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ symbol: String) throws {
        guard take(symbol) else { throw failure("'\(symbol)' is expected") }
    }

    private mutating func name() throws -> String {
        guard case .name(let name) = token.kind else { throw failure("a name is expected") }
        position += 1
        return name
    }

    private mutating func endBlock() throws {
        guard token.kind == .blockEnd else { throw failure("the end of the tag is expected") }
        position += 1
    }

    private mutating func nested<T>(_ body: (inout Self) throws -> T) throws -> T {
        depth += 1
        defer { depth -= 1 }
        guard depth < 200 else { throw failure("a template nested 200 deep") }
        return try body(&self)
    }

    // MARK: Statements

    /// Statements up to a tag of one of the given names, which is passed up to its name.
    private mutating func statements(until ends: [String]) throws -> [JinjaStatement] {
        try nested { parser in
            var result: [JinjaStatement] = []
            while true {
                switch parser.token.kind {
                case .data(let text):
                    result.append(.data(text))
                    parser.position += 1
                case .variableBegin:
                    parser.position += 1
                    result.append(.output(try parser.tuple()))
                    guard parser.token.kind == .variableEnd else { throw parser.failure("'}}' is expected") }
                    parser.position += 1
                case .blockBegin:
                    parser.position += 1
                    let line = parser.line
                    let name = try parser.name()
                    if ends.contains(name) { return result }
                    if let statement = try parser.statement(name, line, into: &result) { result.append(statement) }
                case .end:
                    guard ends.isEmpty else { throw parser.failure("'\(ends.last!)' is missing") }
                    return result
                default: throw parser.failure("text is expected")
                }
            }
        }
    }

    /// The statement of a tag, behind its name; nil if it has been appended.
    private mutating func statement(
        _ name: String, _ line: Int, into result: inout [JinjaStatement]
    ) throws -> JinjaStatement? {
        switch name {
        case "if": return try branch()
        case "for": return try loop(line)
        case "set": return try assignment(line)
        case "macro": return try macro(line)
        case "with": return try scope(line)
        case "filter": return try filterBlock(line)
        case "generation":
            // It marks what a model wrote, for training; it prints its content.
            try endBlock()
            result += try statements(until: ["endgeneration"])
            try endBlock()
            return nil
        case "break", "continue":
            guard loops > 0 else { throw JinjaFailure.wrong("'\(name)' outside of a loop", line) }
            try endBlock()
            return name == "break" ? .breakLoop(line: line) : .continueLoop(line: line)
        case "elif", "else", "endif", "endfor", "endmacro", "endset", "endwith", "endfilter", "endgeneration",
            "endraw":
            throw JinjaFailure.wrong("'\(name)' that ends nothing", line)
        default: throw JinjaFailure.unsupported("the tag '\(name)'", line)
        }
    }

    private mutating func branch() throws -> JinjaStatement {
        var parts: [(condition: JinjaExpression, body: [JinjaStatement])] = []
        while true {
            let condition = try tuple()
            try endBlock()
            parts.append((condition, try statements(until: ["elif", "else", "endif"])))
            switch tokens[position - 1].kind {
            case .name("elif"): continue
            case .name("else"):
                try endBlock()
                let otherwise = try statements(until: ["endif"])
                try endBlock()
                return .branch(parts, otherwise: otherwise)
            default:
                try endBlock()
                return .branch(parts, otherwise: [])
            }
        }
    }

    private mutating func loop(_ line: Int) throws -> JinjaStatement {
        let target = try targetNames()
        guard takeName("in") else { throw failure("'in' is expected") }
        let collection = try tuple(allowsCondition: false)
        let filter = takeName("if") ? try expression() : nil
        if takeName("recursive") { throw JinjaFailure.unsupported("a recursive loop", line) }
        try endBlock()
        loops += 1
        let start = position
        let body = try statements(until: ["else", "endfor"])
        loops -= 1
        let usesVariable = tokens[start..<position].contains { $0.kind == .name("loop") }
        var otherwise: [JinjaStatement] = []
        if tokens[position - 1].kind == .name("else") {
            try endBlock()
            otherwise = try statements(until: ["endfor"])
        }
        try endBlock()
        return .loop(
            JinjaLoop(
                target: target, collection: collection, filter: filter, body: body, otherwise: otherwise,
                usesVariable: usesVariable, line: line))
    }

    private mutating func targetNames() throws -> JinjaTarget {
        let isEnclosed = take("(")
        var names = [try name()]
        var isTuple = isEnclosed
        while take(",") {
            isTuple = true
            if case .name(let next) = token.kind, next != "in" { names.append(try name()) }
        }
        if isEnclosed { try expect(")") }
        return isTuple ? .names(names) : .name(names[0])
    }

    private mutating func assignment(_ line: Int) throws -> JinjaStatement {
        let first = try name()
        let target: JinjaTarget
        if take(".") {
            target = .member(first, try name())
        } else if token.kind == .symbol(",") {
            position -= 1
            target = try targetNames()
        } else {
            target = .name(first)
        }
        if take("=") {
            let value = try tuple()
            try endBlock()
            return .assignment(target, value, line: line)
        }
        let filters = try self.filters(first: take("|"))
        try endBlock()
        let body = try statements(until: ["endset"])
        try endBlock()
        return .capture(target, body, filters: filters, line: line)
    }

    /// `name(…)|name(…)`, up to the end of a tag; none if `first` is false.
    private mutating func filters(first: Bool) throws -> [(name: String, call: JinjaCall)] {
        guard first else { return [] }
        var result: [(name: String, call: JinjaCall)] = []
        repeat {
            let name = try name()
            result.append((name, take("(") ? try arguments() : JinjaCall()))
        } while take("|")
        return result
    }

    private mutating func filterBlock(_ line: Int) throws -> JinjaStatement {
        let filters = try self.filters(first: true)
        try endBlock()
        let body = try statements(until: ["endfilter"])
        try endBlock()
        return .filtered(body, filters: filters, line: line)
    }

    private mutating func macro(_ line: Int) throws -> JinjaStatement {
        let name = try name()
        try expect("(")
        var parameters: [(name: String, standard: JinjaExpression?)] = []
        while !take(")") {
            if !parameters.isEmpty { try expect(",") }
            let parameter = try self.name()
            parameters.append((parameter, take("=") ? try expression() : nil))
        }
        try endBlock()
        let outer = loops
        loops = 0
        let body = try statements(until: ["endmacro"])
        loops = outer
        try endBlock()
        return .macro(JinjaMacro(name: name, parameters: parameters, body: body, line: line))
    }

    private mutating func scope(_ line: Int) throws -> JinjaStatement {
        var values: [(JinjaTarget, JinjaExpression)] = []
        while token.kind != .blockEnd {
            if !values.isEmpty { try expect(",") }
            let target = try targetNames()
            try expect("=")
            values.append((target, try expression()))
        }
        try endBlock()
        let body = try statements(until: ["endwith"])
        try endBlock()
        return .scope(values, body, line: line)
    }

    // MARK: Expressions

    private func make(_ kind: JinjaExpression.Kind, _ line: Int) -> JinjaExpression {
        JinjaExpression(kind: kind, line: line)
    }

    /// One expression, or several with commas between.
    private mutating func tuple(allowsCondition: Bool = true) throws -> JinjaExpression {
        let line = line
        let first = try allowsCondition ? expression() : disjunction()
        guard token.kind == .symbol(",") else { return first }
        var members = [first]
        while take(",") {
            if endsTuple { break }
            members.append(try allowsCondition ? expression() : disjunction())
        }
        return make(.tuple(members), line)
    }

    private var endsTuple: Bool {
        switch token.kind {
        case .variableEnd, .blockEnd, .symbol(")"), .name("in"), .name("if"), .name("recursive"): true
        default: false
        }
    }

    private mutating func expression() throws -> JinjaExpression {
        try nested { parser in
            let line = parser.line
            var result = try parser.disjunction()
            while parser.takeName("if") {
                let condition = try parser.disjunction()
                let otherwise = parser.takeName("else") ? try parser.expression() : nil
                result = parser.make(.condition(condition, then: result, otherwise: otherwise), line)
            }
            return result
        }
    }

    private mutating func disjunction() throws -> JinjaExpression {
        let line = line
        var left = try conjunction()
        while takeName("or") { left = make(.or(left, try conjunction()), line) }
        return left
    }

    private mutating func conjunction() throws -> JinjaExpression {
        let line = line
        var left = try negation()
        while takeName("and") { left = make(.and(left, try negation()), line) }
        return left
    }

    private mutating func negation() throws -> JinjaExpression {
        let line = line
        guard takeName("not") else { return try comparison() }
        return try nested { parser in parser.make(.not(try parser.negation()), line) }
    }

    private mutating func comparison() throws -> JinjaExpression {
        let line = line
        let left = try sum()
        var operations: [(operation: String, operand: JinjaExpression)] = []
        while true {
            if case .symbol(let symbol) = token.kind, ["==", "!=", "<", "<=", ">", ">="].contains(symbol) {
                position += 1
                operations.append((symbol, try sum()))
            } else if takeName("in") {
                operations.append(("in", try sum()))
            } else if token.kind == .name("not"), tokens[position + 1].kind == .name("in") {
                position += 2
                operations.append(("not in", try sum()))
            } else {
                return operations.isEmpty ? left : make(.comparison(left, operations), line)
            }
        }
    }

    private mutating func sum() throws -> JinjaExpression {
        let line = line
        var left = try joined()
        while case .symbol(let symbol) = token.kind, symbol == "+" || symbol == "-" {
            position += 1
            left = make(.arithmetic(symbol, left, try joined()), line)
        }
        return left
    }

    private mutating func joined() throws -> JinjaExpression {
        let line = line
        var parts = [try product()]
        while take("~") { parts.append(try product()) }
        return parts.count == 1 ? parts[0] : make(.joined(parts), line)
    }

    private mutating func product() throws -> JinjaExpression {
        let line = line
        var left = try power()
        while case .symbol(let symbol) = token.kind, ["*", "/", "//", "%"].contains(symbol) {
            position += 1
            left = make(.arithmetic(symbol, left, try power()), line)
        }
        return left
    }

    private mutating func power() throws -> JinjaExpression {
        let line = line
        var left = try unary(withFilters: true)
        while take("**") { left = make(.arithmetic("**", left, try unary(withFilters: true)), line) }
        return left
    }

    private mutating func unary(withFilters: Bool) throws -> JinjaExpression {
        try nested { parser in
            let line = parser.line
            var result: JinjaExpression
            if parser.take("-") {
                result = parser.make(.sign(try parser.unary(withFilters: false), isNegative: true), line)
            } else if parser.take("+") {
                result = parser.make(.sign(try parser.unary(withFilters: false), isNegative: false), line)
            } else {
                result = try parser.primary()
            }
            result = try parser.postfix(result)
            return withFilters ? try parser.filtersAndTests(result) : result
        }
    }

    private mutating func primary() throws -> JinjaExpression {
        let line = line
        switch token.kind {
        case .name(let name):
            position += 1
            switch name {
            case "true", "True": return make(.constant(.bool(true)), line)
            case "false", "False": return make(.constant(.bool(false)), line)
            case "none", "None": return make(.constant(.none), line)
            default: return make(.name(name), line)
            }
        case .string:
            var text = ""
            while case .string(let part) = token.kind {
                text += part
                position += 1
            }
            return make(.constant(.text(text)), line)
        case .integer(let value):
            position += 1
            return make(.constant(.integer(value)), line)
        case .number(let value):
            position += 1
            return make(.constant(.number(value)), line)
        case .symbol("("):
            position += 1
            if take(")") { return make(.tuple([]), line) }
            let inner = try tuple()
            try expect(")")
            return inner
        case .symbol("["):
            position += 1
            var members: [JinjaExpression] = []
            while !take("]") {
                if !members.isEmpty {
                    try expect(",")
                    if take("]") { break }
                }
                members.append(try expression())
            }
            return make(.list(members), line)
        case .symbol("{"):
            position += 1
            var members: [(key: JinjaExpression, value: JinjaExpression)] = []
            while !take("}") {
                if !members.isEmpty {
                    try expect(",")
                    if take("}") { break }
                }
                let key = try expression()
                try expect(":")
                members.append((key, try expression()))
            }
            return make(.dictionary(members), line)
        default: throw failure("a value is expected")
        }
    }

    private mutating func postfix(_ value: JinjaExpression) throws -> JinjaExpression {
        var result = value
        while true {
            let line = line
            if take(".") {
                if case .integer(let index) = token.kind {
                    position += 1
                    result = make(.item(result, make(.constant(.integer(index)), line)), line)
                } else {
                    result = make(.attribute(result, try name()), line)
                }
            } else if take("[") {
                result = try subscripted(result, line)
            } else if take("(") {
                result = make(.call(result, try arguments()), line)
            } else {
                return result
            }
        }
    }

    private mutating func subscripted(_ value: JinjaExpression, _ line: Int) throws -> JinjaExpression {
        var parts: [JinjaExpression?] = []
        var current: JinjaExpression?
        var isSlice = false
        while true {
            if take(":") {
                isSlice = true
                parts.append(current)
                current = nil
            } else if take("]") {
                parts.append(current)
                break
            } else {
                guard current == nil else { throw failure("']' is expected") }
                current = try expression()
            }
        }
        guard isSlice else {
            guard let index = parts[0] else { throw failure("a subscript is expected") }
            return make(.item(value, index), line)
        }
        guard parts.count <= 3 else { throw failure("a slice of more than three parts") }
        return make(.slice(value, parts[0], parts[1], parts.count > 2 ? parts[2] : nil), line)
    }

    /// Behind the parenthesis, up to the one that ends them.
    private mutating func arguments() throws -> JinjaCall {
        var call = JinjaCall()
        var isFirst = true
        while !take(")") {
            if !isFirst {
                try expect(",")
                if take(")") { break }
            }
            isFirst = false
            if token.kind == .symbol("*") || token.kind == .symbol("**") {
                throw JinjaFailure.unsupported("arguments from a collection", line)
            }
            if case .name(let name) = token.kind, tokens[position + 1].kind == .symbol("=") {
                position += 2
                call.named.append((name, try expression()))
            } else {
                guard call.named.isEmpty else { throw failure("an argument without name after one with") }
                call.positional.append(try expression())
            }
        }
        return call
    }

    private mutating func filtersAndTests(_ value: JinjaExpression) throws -> JinjaExpression {
        var result = value
        while true {
            let line = line
            if take("|") {
                let name = try name()
                result = make(.filter(result, name, take("(") ? try arguments() : JinjaCall()), line)
            } else if takeName("is") {
                let isNegated = takeName("not")
                let name = try name()
                var call = JinjaCall()
                if take("(") {
                    call = try arguments()
                } else if beginsArgument {
                    call.positional = [try postfix(primary())]
                }
                result = make(.test(result, name, call), line)
                if isNegated { result = make(.not(result), line) }
            } else if token.kind == .symbol("(") {
                position += 1
                result = make(.call(result, try arguments()), line)
            } else {
                return result
            }
        }
    }

    /// Whether a test's one argument follows without parentheses.
    private var beginsArgument: Bool {
        switch token.kind {
        case .name(let name): !["else", "or", "and", "is", "not", "if", "in"].contains(name)
        case .string, .integer, .number, .symbol("["), .symbol("{"): true
        default: false
        }
    }
}
