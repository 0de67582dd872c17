/// The filters that templates use. Others are refused by name.
enum JinjaFilters {
    static func apply(
        _ name: String, _ value: JinjaValue, _ arguments: JinjaArguments, _ evaluator: JinjaEvaluator
    ) throws -> JinjaValue {
        if let result = try text(name, value, arguments) ?? number(name, value, arguments)
            ?? collection(name, value, arguments) ?? order(name, value, arguments)
            ?? selection(name, value, arguments, evaluator)
        {
            try evaluator.step(arguments.line, count: result.elements?.count ?? 1)
            return result
        }
        throw JinjaFailure.unsupported("the filter '\(name)'", arguments.line)
    }

    private static func elements(_ value: JinjaValue, _ arguments: JinjaArguments) throws -> [JinjaValue] {
        guard let elements = value.elements else {
            throw JinjaFailure.wrong("\(arguments.callee) is applied to \(value.kind)", arguments.line)
        }
        return elements
    }

    // MARK: Strings

    private static func text(_ name: String, _ value: JinjaValue, _ arguments: JinjaArguments) throws -> JinjaValue? {
        let printed = value.printed
        switch name {
        case "trim":
            try arguments.check("chars")
            let characters = arguments[0, "chars"] == nil ? nil : try arguments.text(0, "chars")
            return .text(printed.stripped(characters))
        case "upper", "lower", "capitalize", "title", "string", "safe":
            try arguments.check()
            switch name {
            case "upper": return .text(printed.uppercased)
            case "lower": return .text(printed.lowercased)
            case "capitalize": return .text(printed.capitalized)
            case "title":
                return .text(JinjaMethods.titled(printed) { !$0.isPythonSpace && !"-({[<".contains(Character($0)) })
            default: return .text(printed)
            }
        case "replace":
            try arguments.check("old", "new", "count")
            return .text(try JinjaMethods.replaced(printed, arguments))
        case "escape", "e":
            try arguments.check()
            let entities = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ("\"", "&#34;")]
            return .text(entities.reduce(printed) { $0.replacing(JinjaText($1.0), with: JinjaText($1.1)) })
        case "indent": return .text(try indent(printed, arguments))
        case "tojson": return .text(try json(value, arguments))
        case "join": return .text(try join(value, arguments))
        default: return nil
        }
    }

    private static func indent(_ text: JinjaText, _ arguments: JinjaArguments) throws -> JinjaText {
        try arguments.check("width", "first", "blank")
        var indentation = JinjaText(String(repeating: " ", count: 4))
        if let width = arguments[0, "width"] {
            if case .text(let text) = width {
                indentation = text
            } else {
                let width = try arguments.integer(0, "width", default: 4)
                guard width <= 1000 else { throw JinjaFailure.wrong("an indentation by \(width)", arguments.line) }
                indentation = JinjaText(String(repeating: " ", count: max(width, 0)))
            }
        }
        let blank = arguments.bool(2, "blank", default: false)
        var result = JinjaText()
        // A line break at the end begins a last, empty line.
        let lines = (text + JinjaText("\n")).lines(keepingEnds: false)
        try JinjaMethods.requireRoom(lines.count, of: indentation, arguments.line)
        for (index, line) in lines.enumerated() {
            if index > 0 { result.append(JinjaText("\n")) }
            let isFirst = index == 0 && !arguments.bool(1, "first", default: false)
            if !isFirst, blank || !line.isEmpty { result.append(indentation) }
            result.append(line)
        }
        return result
    }

    private static func json(_ value: JinjaValue, _ arguments: JinjaArguments) throws -> JinjaText {
        try arguments.check("ensure_ascii", "indent", "separators", "sort_keys")
        var writer = JinjaJSON()
        writer.escapesNonASCII = arguments.bool(0, "ensure_ascii", default: false)
        writer.sortsKeys = arguments.bool(3, "sort_keys", default: false)
        if let indent = arguments[1, "indent"], indent != .none {
            if case .text(let text) = indent {
                writer.indent = text
            } else {
                let width = try arguments.integer(1, "indent", default: 0)
                guard width <= 100 else { throw JinjaFailure.wrong("an indentation by \(width)", arguments.line) }
                writer.indent = JinjaText(String(repeating: " ", count: max(width, 0)))
            }
            writer.itemSeparator = JinjaText(",")
        }
        if let separators = arguments[2, "separators"], separators != .none {
            guard let pair = separators.elements, pair.count == 2, case .text(let item) = pair[0],
                case .text(let key) = pair[1]
            else { throw JinjaFailure.wrong("separators that are not two strings", arguments.line) }
            (writer.itemSeparator, writer.keySeparator) = (item, key)
        }
        return try writer.write(value, line: arguments.line)
    }

    private static func join(_ value: JinjaValue, _ arguments: JinjaArguments) throws -> JinjaText {
        try arguments.check("d", "attribute")
        let separator = arguments[0, "d"]?.printed ?? JinjaText()
        var result = JinjaText()
        for (index, element) in try elements(value, arguments).enumerated() {
            if index > 0 { result.append(separator) }
            result.append(try attribute(element, arguments[1, "attribute"], arguments).printed)
        }
        return result
    }

    /// A member of a value, also of a member: `function.name`. Numbers are positions.
    private static func attribute(
        _ value: JinjaValue, _ path: JinjaValue?, _ arguments: JinjaArguments
    ) throws -> JinjaValue {
        guard let path, path != .none else { return value }
        guard case .text(let text) = path else { return try JinjaMembers.item(path, of: value, arguments.line) }
        return try text.split(JinjaText("."), atMost: .max).reduce(value) { value, part in
            let name = part.string
            return try JinjaMembers.item(
                Int(name).map { .integer($0) } ?? .text(part), of: value, arguments.line)
        }
    }

    // MARK: Numbers

    private static func number(_ name: String, _ value: JinjaValue, _ arguments: JinjaArguments) throws -> JinjaValue? {
        switch name {
        case "int":
            try arguments.check("default")
            let standard = JinjaValue.integer(try arguments.integer(0, "default", default: 0))
            if let integer = value.asInteger { return .integer(integer) }
            if case .text(let text) = value {
                let stripped = text.stripped().string
                return Int(stripped).map { .integer($0) } ?? Double(stripped).flatMap { whole($0) } ?? standard
            }
            return value.asNumber.flatMap { whole($0) } ?? standard
        case "float":
            try arguments.check("default")
            let standard = arguments[0, "default"]?.asNumber ?? 0
            if case .text(let text) = value { return .number(Double(text.stripped().string) ?? standard) }
            return .number(value.asNumber ?? standard)
        case "abs":
            try arguments.check()
            if let integer = value.asInteger, integer != .min { return .integer(abs(integer)) }
            guard let number = value.asNumber else { throw wrongValue(value, arguments) }
            return .number(abs(number))
        case "round":
            try arguments.check("precision", "method")
            guard let number = value.asNumber else { throw wrongValue(value, arguments) }
            let precision = try arguments.integer(0, "precision", default: 0)
            let method = arguments[1, "method"]?.printed.string ?? "common"
            guard precision >= 0, precision <= 15,
                let rule = ["ceil": FloatingPointRoundingRule.up, "floor": .down][method]
                    ?? (method == "common" && precision == 0 ? .toNearestOrEven : nil)
            else {
                throw JinjaFailure.unsupported("rounding by '\(method)' to \(precision) digits", arguments.line)
            }
            let scale = (0..<precision).reduce(1.0) { product, _ in product * 10 }
            return .number((number * scale).rounded(rule) / scale)
        default: return nil
        }
    }

    private static func whole(_ value: Double) -> JinjaValue? {
        Int(exactly: value.rounded(.towardZero)).map { .integer($0) }
    }

    private static func wrongValue(_ value: JinjaValue, _ arguments: JinjaArguments) -> JinjaFailure {
        .wrong("\(arguments.callee) is applied to \(value.kind)", arguments.line)
    }

    // MARK: Collections

    private static func collection(
        _ name: String, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws -> JinjaValue? {
        switch name {
        case "default", "d":
            try arguments.check("default_value", "boolean")
            let isMissing = arguments.bool(1, "boolean", default: false) ? !value.isTrue : value.isUndefined
            return isMissing ? arguments[0, "default_value"] ?? .text(JinjaText()) : value
        case "length", "count":
            try arguments.check()
            return .integer(try elements(value, arguments).count)
        case "list":
            try arguments.check()
            return .list(try elements(value, arguments))
        case "first", "last":
            try arguments.check()
            let elements = try elements(value, arguments)
            return (name == "first" ? elements.first : elements.last) ?? .undefined("the \(name) of nothing")
        case "items":
            try arguments.check()
            if value.isUndefined { return .list([]) }
            guard case .dictionary(let dictionary) = value else { throw wrongValue(value, arguments) }
            return .list(dictionary.pairs)
        case "attr":
            try arguments.check("name")
            let name = try arguments.text(0, "name").string
            // Other than a dot, it does not look for keys.
            if case .dictionary = value, !JinjaMethods.names(of: value).contains(name) { return .undefined(name) }
            return try JinjaMembers.attribute(name, of: value, arguments.line)
        case "batch":
            try arguments.check("linecount", "fill_with")
            let size = try arguments.integer(0, "linecount", default: 0)
            guard size > 0 else { throw JinjaFailure.wrong("batches of \(size)", arguments.line) }
            let elements = try elements(value, arguments)
            return .list(
                stride(from: 0, to: elements.count, by: size).map { start in
                    var batch = Array(elements[start..<min(start + size, elements.count)])
                    if let filler = arguments[1, "fill_with"], filler != .none {
                        batch += repeatElement(filler, count: size - batch.count)
                    }
                    return .list(batch)
                })
        case "sum":
            try arguments.check("attribute", "start")
            return try elements(value, arguments).reduce(arguments[1, "start"] ?? .integer(0)) {
                try JinjaArithmetic.apply(
                    "+", $0, attribute($1, arguments[0, "attribute"], arguments), arguments.line)
            }
        default: return nil
        }
    }

    // MARK: Order

    /// Without regard to case, unless asked for.
    private static func key(_ value: JinjaValue, _ isCaseSensitive: Bool) -> JinjaValue {
        if case .text(let text) = value, !isCaseSensitive { .text(text.lowercased) } else { value }
    }

    private static func sorted<T>(
        _ values: [T], reversed: Bool, _ arguments: JinjaArguments, by key: (T) throws -> JinjaValue
    ) throws -> [T] {
        let keyed = try values.enumerated().map { (index: $0, key: try key($1), value: $1) }
        // Equal ones keep their order, also when all is turned round.
        return try keyed.sorted { a, b in
            guard let isLess = a.key.isLess(than: b.key), let isGreater = b.key.isLess(than: a.key) else {
                throw JinjaFailure.wrong("\(a.key.kind) and \(b.key.kind) have no order", arguments.line)
            }
            return isLess == isGreater ? a.index < b.index : reversed ? isGreater : isLess
        }.map(\.value)
    }

    private static func order(_ name: String, _ value: JinjaValue, _ arguments: JinjaArguments) throws -> JinjaValue? {
        switch name {
        case "reverse":
            try arguments.check()
            if case .text(let text) = value { return .text(text.picking((0..<text.count).reversed())) }
            return .list(try elements(value, arguments).reversed())
        case "sort":
            try arguments.check("reverse", "case_sensitive", "attribute")
            let isSensitive = arguments.bool(1, "case_sensitive", default: false)
            return .list(
                try sorted(
                    elements(value, arguments), reversed: arguments.bool(0, "reverse", default: false), arguments
                ) { key(try attribute($0, arguments[2, "attribute"], arguments), isSensitive) })
        case "dictsort":
            try arguments.check("case_sensitive", "by", "reverse")
            guard case .dictionary(let dictionary) = value else { throw wrongValue(value, arguments) }
            let by = arguments[1, "by"]?.printed.string ?? "key"
            guard by == "key" || by == "value" else {
                throw JinjaFailure.wrong("'dictsort' by '\(by)'", arguments.line)
            }
            let isSensitive = arguments.bool(0, "case_sensitive", default: false)
            let members = try sorted(
                dictionary.members, reversed: arguments.bool(2, "reverse", default: false), arguments
            ) { key(by == "key" ? $0.key : $0.value, isSensitive) }
            return .list(members.map { .tuple([$0.key, $0.value]) })
        case "unique":
            try arguments.check("case_sensitive", "attribute")
            let isSensitive = arguments.bool(0, "case_sensitive", default: false)
            var seen = Set<JinjaValue>()
            return .list(
                try elements(value, arguments).filter {
                    seen.insert(key(try attribute($0, arguments[1, "attribute"], arguments), isSensitive)).inserted
                })
        case "min", "max":
            try arguments.check("case_sensitive", "attribute")
            let isSensitive = arguments.bool(0, "case_sensitive", default: false)
            let all = try sorted(elements(value, arguments), reversed: name == "max", arguments) {
                key(try attribute($0, arguments[1, "attribute"], arguments), isSensitive)
            }
            return all.first ?? .undefined("the \(name) of nothing")
        default: return nil
        }
    }

    // MARK: Selection

    private static func selection(
        _ name: String, _ value: JinjaValue, _ arguments: JinjaArguments, _ evaluator: JinjaEvaluator
    ) throws -> JinjaValue? {
        switch name {
        case "map": return try map(value, arguments, evaluator)
        case "select", "reject", "selectattr", "rejectattr": break
        default: return nil
        }
        var rest = arguments
        var path: JinjaValue?
        if name.hasSuffix("attr") {
            path = try arguments.needed(0, "attribute")
            rest.positional.removeFirst()
        }
        var test: String?
        if let first = rest.positional.first {
            guard case .text(let text) = first else {
                throw JinjaFailure.wrong("\(arguments.callee) by \(first.kind)", arguments.line)
            }
            test = text.string
            rest.positional.removeFirst()
        }
        let keeps = name.hasPrefix("select")
        return .list(
            try elements(value, arguments).filter { element in
                let value = try attribute(element, path, arguments)
                return try (test.map { try JinjaTests.apply($0, value, rest) } ?? value.isTrue) == keeps
            })
    }

    private static func map(
        _ value: JinjaValue, _ arguments: JinjaArguments, _ evaluator: JinjaEvaluator
    ) throws -> JinjaValue {
        let elements = try elements(value, arguments)
        if arguments.positional.isEmpty {
            try arguments.check("filter", "attribute", "default")
            let path = try arguments.needed(1, "attribute")
            return .list(
                try elements.map {
                    let found = try attribute($0, path, arguments)
                    return found.isUndefined ? arguments[2, "default"] ?? found : found
                })
        }
        let name = try arguments.text(0, "filter").string
        var rest = arguments
        rest.positional.removeFirst()
        rest.callee = "the filter '\(name)'"
        return .list(try elements.map { try apply(name, $0, rest, evaluator) })
    }
}
