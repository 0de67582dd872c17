/// The tests that templates use, behind `is`. Others are refused by name.
enum JinjaTests {
    static func apply(_ name: String, _ value: JinjaValue, _ arguments: JinjaArguments) throws -> Bool {
        if let result = simple(name, value) {
            try arguments.check()
            return result
        }
        switch name {
        case "odd", "even":
            try arguments.check()
            guard let integer = value.asInteger else {
                throw JinjaFailure.wrong("\(value.kind) is asked whether it is \(name)", arguments.line)
            }
            return (integer % 2 == 0) == (name == "even")
        case "divisibleby":
            try arguments.check("num")
            let divisor = try arguments.integer(0, "num", default: 0)
            guard let integer = value.asInteger, divisor != 0 else {
                throw JinjaFailure.wrong("a division of \(value.kind) by \(divisor)", arguments.line)
            }
            return integer % divisor == 0
        case "in":
            try arguments.check("seq")
            return try JinjaArithmetic.contains(try arguments.needed(0, "seq"), value, arguments.line)
        case "sameas":
            try arguments.check("other")
            return try isSame(value, try arguments.needed(0, "other"), arguments.line)
        default: break
        }
        let operations = [
            "eq": "==", "equalto": "==", "==": "==", "ne": "!=", "!=": "!=", "lt": "<", "lessthan": "<", "<": "<",
            "le": "<=", "<=": "<=", "gt": ">", "greaterthan": ">", ">": ">", "ge": ">=", ">=": ">=",
        ]
        guard let operation = operations[name] else {
            throw JinjaFailure.unsupported("the test '\(name)'", arguments.line)
        }
        try arguments.check("other")
        return try JinjaArithmetic.compare(operation, value, try arguments.needed(0, "other"), arguments.line)
    }

    private static func simple(_ name: String, _ value: JinjaValue) -> Bool? {
        switch name {
        case "defined": return !value.isUndefined
        case "undefined": return value.isUndefined
        case "none": if case .none = value { return true } else { return false }
        case "true": if case .bool(true) = value { return true } else { return false }
        case "false": if case .bool(false) = value { return true } else { return false }
        case "boolean": if case .bool = value { return true } else { return false }
        case "integer": if case .integer = value { return true } else { return false }
        case "float": if case .number = value { return true } else { return false }
        case "number": return value.asNumber != nil
        case "string": if case .text = value { return true } else { return false }
        case "mapping": if case .dictionary = value { return true } else { return false }
        case "iterable": return value.elements != nil
        case "sequence":
            // Everything with a length and items; what is undefined has a length of 0.
            return value.elements != nil
        case "callable": if case .function = value { return true } else { return false }
        case "upper": return isCased(value, \.isUppercase, \.isLowercase)
        case "lower": return isCased(value, \.isLowercase, \.isUppercase)
        default: return nil
        }
    }

    private static func isCased(
        _ value: JinjaValue, _ wanted: (Unicode.Scalar.Properties) -> Bool, _ other: (Unicode.Scalar.Properties) -> Bool
    ) -> Bool {
        let text = value.printed
        let properties = (0..<text.count).map { text.scalar($0).properties }
        return properties.contains(where: wanted) && !properties.contains(where: other)
    }

    /// Identity, as far as values without identity have one.
    private static func isSame(_ a: JinjaValue, _ b: JinjaValue, _ line: Int) throws -> Bool {
        switch (a, b) {
        case (.none, .none): return true
        case (.bool(let a), .bool(let b)): return a == b
        case (.namespace(let a), .namespace(let b)): return a === b
        case (.none, _), (_, .none), (.bool, _), (_, .bool): return false
        default: throw JinjaFailure.unsupported("'sameas' between \(a.kind) and \(b.kind)", line)
        }
    }
}
