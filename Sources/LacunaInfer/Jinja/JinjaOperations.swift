/// Operators, as Python has them.
enum JinjaArithmetic {
    static func sign(_ value: JinjaValue, isNegative: Bool, _ line: Int) throws -> JinjaValue {
        if let integer = value.asInteger, integer != .min { return .integer(isNegative ? -integer : integer) }
        guard case .number(let number) = value else { throw JinjaFailure.wrong("a sign before \(value.kind)", line) }
        return .number(isNegative ? -number : number)
    }

    static func apply(_ operation: String, _ left: JinjaValue, _ right: JinjaValue, _ line: Int) throws -> JinjaValue {
        switch (operation, left, right) {
        case ("+", .text(let a), .text(let b)): return .text(a + b)
        case ("+", .list(let a), .list(let b)): return .list(a + b)
        case ("+", .tuple(let a), .tuple(let b)): return .tuple(a + b)
        case ("*", .text(let text), _) where right.asInteger != nil: return .text(try copies(text, right, line))
        case ("*", _, .text(let text)) where left.asInteger != nil: return .text(try copies(text, left, line))
        case ("%", .text, _): throw JinjaFailure.unsupported("formatting by '%'", line)
        default: break
        }
        if operation != "/", let a = left.asInteger, let b = right.asInteger {
            return try integers(operation, a, b, line)
        }
        guard let a = left.asNumber, let b = right.asNumber else {
            throw JinjaFailure.wrong("'\(operation)' between \(left.kind) and \(right.kind)", line)
        }
        guard b != 0 || !["/", "//", "%"].contains(operation) else { throw JinjaFailure.wrong("a division by 0", line) }
        switch operation {
        case "+": return .number(a + b)
        case "-": return .number(a - b)
        case "*": return .number(a * b)
        case "/": return .number(a / b)
        case "//": return .number((a / b).rounded(.down))
        case "%":
            let rest = a.truncatingRemainder(dividingBy: b)
            return .number(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest)
        default: throw JinjaFailure.unsupported("a power of fractions", line)
        }
    }

    private static func copies(_ text: JinjaText, _ count: JinjaValue, _ line: Int) throws -> JinjaText {
        let count = max(count.asInteger ?? 0, 0)
        try JinjaMethods.requireRoom(count, of: text, line)
        return text.repeated(count)
    }

    private static func integers(_ operation: String, _ a: Int, _ b: Int, _ line: Int) throws -> JinjaValue {
        let result: (partialValue: Int, overflow: Bool)
        switch operation {
        case "+": result = a.addingReportingOverflow(b)
        case "-": result = a.subtractingReportingOverflow(b)
        case "*": result = a.multipliedReportingOverflow(by: b)
        case "//", "%":
            guard b != 0 else { throw JinjaFailure.wrong("a division by 0", line) }
            let (quotient, overflow) = a.dividedReportingOverflow(by: b)
            if overflow { throw JinjaFailure.wrong("a number that is too large", line) }
            let rest = a - quotient * b
            let goesDown = rest != 0 && (rest < 0) != (b < 0)
            return .integer(operation == "//" ? (goesDown ? quotient - 1 : quotient) : (goesDown ? rest + b : rest))
        default:
            guard b >= 0, b <= 64 else { throw JinjaFailure.unsupported("a power with the exponent \(b)", line) }
            result = (0..<b).reduce((1, false)) { product, _ in
                let (next, overflow) = product.0.multipliedReportingOverflow(by: a)
                return (next, product.1 || overflow)
            }
        }
        if result.overflow { throw JinjaFailure.wrong("a number that is too large", line) }
        return .integer(result.partialValue)
    }

    static func compare(_ operation: String, _ left: JinjaValue, _ right: JinjaValue, _ line: Int) throws -> Bool {
        switch operation {
        case "==": return left == right
        case "!=": return left != right
        case "in": return try contains(right, left, line)
        case "not in": return try !contains(right, left, line)
        default: break
        }
        guard let isLess = left.isLess(than: right), let isGreater = right.isLess(than: left) else {
            throw JinjaFailure.wrong("'\(operation)' between \(left.kind) and \(right.kind)", line)
        }
        switch operation {
        case "<": return isLess
        case ">": return isGreater
        case "<=": return isLess || left == right
        default: return isGreater || left == right
        }
    }

    static func contains(_ collection: JinjaValue, _ value: JinjaValue, _ line: Int) throws -> Bool {
        switch collection {
        case .text(let text):
            guard case .text(let part) = value else {
                throw JinjaFailure.wrong("'in' a string is asked of \(value.kind)", line)
            }
            return text.firstIndex(of: part) != nil
        case .dictionary(let dictionary): return dictionary[value] != nil
        default:
            guard let elements = collection.elements else {
                throw JinjaFailure.wrong("'in' \(collection.kind)", line)
            }
            return elements.contains(value)
        }
    }
}

/// Attributes, items and slices.
enum JinjaMembers {
    /// What Python's dictionaries and strings have by themselves, and an attribute finds before a key of that name.
    private static let dictionaryMethods: Set<String> = [
        "clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values",
    ]

    static func attribute(_ name: String, of value: JinjaValue, _ line: Int) throws -> JinjaValue {
        switch value {
        case .undefined(let what): throw JinjaFailure.wrong("'.\(name)' of '\(what)', which is undefined", line)
        case .namespace(let namespace): return namespace.members[.text(name)] ?? .undefined(name)
        case .dictionary(let dictionary) where !dictionaryMethods.contains(name):
            return dictionary[.text(name)] ?? .undefined(name)
        default:
            guard JinjaMethods.names(of: value).contains(name) else { return .undefined(name) }
            return .function(
                JinjaFunction(name: name) { _, arguments in
                    try JinjaMethods.call(name, of: value, arguments) ?? .undefined(name)
                })
        }
    }

    static func item(_ index: JinjaValue, of value: JinjaValue, _ line: Int) throws -> JinjaValue {
        let missing = JinjaValue.undefined(index.printed.string)
        switch value {
        case .undefined(let what):
            throw JinjaFailure.wrong("an item of '\(what)', which is undefined", line)
        case .dictionary(let dictionary):
            if let found = dictionary[index] { return found }
        case .list(let values), .tuple(let values):
            if let position = index.asInteger {
                return Self.position(position, values.count).map { values[$0] } ?? missing
            }
        case .text(let text):
            if let position = index.asInteger {
                return Self.position(position, text.count).map { .text(text[$0..<$0 + 1]) } ?? missing
            }
        default: break
        }
        guard case .text(let name) = index else { return missing }
        return try attribute(name.string, of: value, line)
    }

    /// A position, counted from the end if it is negative; nil outside.
    private static func position(_ index: Int, _ count: Int) -> Int? {
        let position = index < 0 ? index + count : index
        return position >= 0 && position < count ? position : nil
    }

    static func slice(
        _ value: JinjaValue, _ start: JinjaValue?, _ stop: JinjaValue?, _ stride: JinjaValue?, _ line: Int
    ) throws -> JinjaValue {
        func bound(_ value: JinjaValue?) throws -> Int? {
            guard let value else { return nil }
            if case .none = value { return nil }
            guard let integer = value.asInteger else { throw JinjaFailure.wrong("a slice by \(value.kind)", line) }
            return integer
        }
        let step = try bound(stride) ?? 1
        guard step != 0 else { throw JinjaFailure.wrong("a slice in steps of 0", line) }
        let (start, stop) = (try bound(start), try bound(stop))
        func positions(_ count: Int) -> StrideTo<Int> {
            func clamp(_ index: Int?, _ standard: Int) -> Int {
                guard let index else { return standard }
                let position = index < 0 ? (index < -count ? -1 : index + count) : index
                return step > 0 ? min(max(position, 0), count) : min(max(position, -1), count - 1)
            }
            return Swift.stride(
                from: clamp(start, step > 0 ? 0 : count - 1), to: clamp(stop, step > 0 ? count : -1), by: step)
        }
        switch value {
        case .text(let text): return .text(text.picking(positions(text.count)))
        case .list(let values): return .list(positions(values.count).map { values[$0] })
        case .tuple(let values): return .tuple(positions(values.count).map { values[$0] })
        case .undefined(let what): throw JinjaFailure.wrong("a slice of '\(what)', which is undefined", line)
        default: throw JinjaFailure.wrong("a slice of \(value.kind)", line)
        }
    }
}
