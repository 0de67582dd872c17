/// Methods of strings, dictionaries and lists, as Python has them, as far as they change nothing.
enum JinjaMethods {
    private static let text: Set<String> = [
        "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "upper", "lower",
        "capitalize", "title", "replace", "find", "rfind", "index", "count", "join", "isdigit", "isalpha", "isalnum",
        "isspace", "isupper", "islower", "removeprefix", "removesuffix", "partition", "rpartition",
    ]
    private static let dictionary: Set<String> = ["get", "items", "keys", "values", "copy"]
    private static let list: Set<String> = ["index", "count", "copy"]

    static func names(of value: JinjaValue) -> Set<String> {
        switch value {
        case .text: text
        case .dictionary: dictionary
        case .list, .tuple: list
        default: []
        }
    }

    /// What the method returns; nil if the value has none of this name, and may have a member.
    ///
    /// - Throws: ``JinjaFailure/unsupported(_:_:)`` for methods of Python that are not here.
    static func call(_ name: String, of value: JinjaValue, _ arguments: JinjaArguments) throws -> JinjaValue? {
        switch value {
        case .text(let text):
            guard let result = try call(name, text, arguments) else {
                throw JinjaFailure.unsupported("the method '\(name)' of a string", arguments.line)
            }
            return result
        case .dictionary(let dictionary): return try call(name, dictionary, arguments)
        case .list(let values), .tuple(let values):
            guard let result = try call(name, values, value, arguments) else {
                throw JinjaFailure.unsupported("the method '\(name)' of a list", arguments.line)
            }
            return result
        default: return nil
        }
    }

    private static func call(
        _ name: String, _ dictionary: JinjaDictionary, _ arguments: JinjaArguments
    ) throws -> JinjaValue? {
        switch name {
        case "get":
            try arguments.check("key", "default")
            return dictionary[try arguments.needed(0, "key")] ?? arguments[1, "default"] ?? JinjaValue.none
        case "items":
            try arguments.check()
            return .list(dictionary.pairs)
        case "keys":
            try arguments.check()
            return .list(dictionary.members.map(\.key))
        case "values":
            try arguments.check()
            return .list(dictionary.members.map(\.value))
        case "copy":
            try arguments.check()
            return .dictionary(dictionary)
        case "clear", "fromkeys", "pop", "popitem", "setdefault", "update":
            throw JinjaFailure.unsupported("the method '\(name)', which would change a dictionary", arguments.line)
        default: return nil
        }
    }

    private static func call(
        _ name: String, _ values: [JinjaValue], _ whole: JinjaValue, _ arguments: JinjaArguments
    ) throws -> JinjaValue? {
        switch name {
        case "count":
            try arguments.check("value")
            let value = try arguments.needed(0, "value")
            return .integer(values.count { $0 == value })
        case "index":
            try arguments.check("value")
            let value = try arguments.needed(0, "value")
            guard let index = values.firstIndex(of: value) else {
                throw JinjaFailure.wrong("'index' of what is not in the list", arguments.line)
            }
            return .integer(index)
        case "copy":
            try arguments.check()
            return whole
        default: return nil
        }
    }

    private static func call(_ name: String, _ text: JinjaText, _ arguments: JinjaArguments) throws -> JinjaValue? {
        switch name {
        case "strip": return .text(text.stripped(try characters(arguments)))
        case "lstrip": return .text(text.stripped(try characters(arguments), right: false))
        case "rstrip": return .text(text.stripped(try characters(arguments), left: false))
        case "split", "rsplit": return .list(try split(text, arguments, fromEnd: name == "rsplit").map { .text($0) })
        case "splitlines":
            try arguments.check("keepends")
            return .list(text.lines(keepingEnds: arguments.bool(0, "keepends", default: false)).map { .text($0) })
        case "startswith": return .bool(try affixes(arguments).contains { text.hasPrefix($0) })
        case "endswith": return .bool(try affixes(arguments).contains { text.hasSuffix($0) })
        case "replace":
            try arguments.check("old", "new", "count")
            return .text(try replaced(text, arguments))
        case "find", "rfind", "index", "count": return try search(name, text, arguments)
        case "join":
            try arguments.check("iterable")
            return .text(try join(try arguments.needed(0, "iterable"), text, arguments.line))
        case "removeprefix":
            let part = try arguments.text(0, "prefix")
            return .text(text.hasPrefix(part) ? text[part.count..<text.count] : text)
        case "removesuffix":
            let part = try arguments.text(0, "suffix")
            return .text(text.hasSuffix(part) ? text[0..<text.count - part.count] : text)
        case "partition", "rpartition": return try partition(text, arguments, fromEnd: name == "rpartition")
        default: return try letters(name, text, arguments)
        }
    }

    /// `text` with `old` replaced by `new`.
    static func replaced(_ text: JinjaText, _ arguments: JinjaArguments) throws -> JinjaText {
        let limit = try arguments.integer(2, "count", default: -1)
        let (old, new) = (try arguments.text(0, "old"), try arguments.text(1, "new"))
        // Counting costs as much as replacing, so the most there can be is asked first.
        let most = old.isEmpty ? text.count + 1 : text.count / old.count
        if !hasRoom(most, of: new) {
            let found = old.isEmpty ? most : text.split(old, atMost: .max).count - 1
            try requireRoom(min(found, limit < 0 ? .max : limit), of: new, arguments.line)
        }
        return text.replacing(old, with: new, atMost: limit < 0 ? .max : limit)
    }

    private static func hasRoom(_ count: Int, of text: JinjaText) -> Bool {
        text.isEmpty || count <= JinjaEvaluator.mostOutput / text.count
    }

    /// - Throws: ``JinjaFailure/wrong(_:_:)`` if so many copies of a text are longer than anything that may be printed.
    static func requireRoom(_ count: Int, of text: JinjaText, _ line: Int) throws {
        guard hasRoom(count, of: text) else { throw JinjaFailure.wrong("a string repeated too often", line) }
    }

    private static func letters(_ name: String, _ text: JinjaText, _ arguments: JinjaArguments) throws -> JinjaValue? {
        func all(_ isOne: (Unicode.Scalar) -> Bool) -> JinjaValue {
            .bool(!text.isEmpty && (0..<text.count).allSatisfy { isOne(text.scalar($0)) })
        }
        func cased(_ wanted: (Unicode.Scalar.Properties) -> Bool, _ other: (Unicode.Scalar.Properties) -> Bool)
            -> JinjaValue
        {
            let properties = (0..<text.count).map { text.scalar($0).properties }
            return .bool(properties.contains(where: wanted) && !properties.contains(where: other))
        }
        func isTitle(_ scalar: Unicode.Scalar.Properties) -> Bool { scalar.generalCategory == .titlecaseLetter }
        let result: JinjaValue
        switch name {
        case "upper": result = .text(text.uppercased)
        case "lower": result = .text(text.lowercased)
        case "capitalize": result = .text(text.capitalized)
        case "title": result = .text(titled(text) { $0.properties.isCased })
        case "isdigit": result = all { $0.properties.numericType == .decimal || $0.properties.numericType == .digit }
        case "isalpha": result = all { $0.isLetter }
        case "isalnum": result = all { $0.isLetter || $0.properties.numericType != nil }
        case "isspace": result = all { $0.isPythonSpace }
        case "isupper": result = cased(\.isUppercase) { $0.isLowercase || isTitle($0) }
        case "islower": result = cased(\.isLowercase) { $0.isUppercase || isTitle($0) }
        default: return nil
        }
        try arguments.check()
        return result
    }

    /// Every run of letters with a capital first one.
    static func titled(_ text: JinjaText, isLetter: (Unicode.Scalar) -> Bool) -> JinjaText {
        var (result, i) = (JinjaText(), 0)
        while i < text.count {
            var end = i
            while end < text.count, isLetter(text.scalar(end)) { end += 1 }
            if end > i { result.append(text[i..<end].capitalized) }
            if end < text.count { result.append(text[end..<end + 1]) }
            i = end + 1
        }
        return result
    }

    private static func characters(_ arguments: JinjaArguments) throws -> JinjaText? {
        try arguments.check("chars")
        guard let value = arguments[0, "chars"] else { return nil }
        if case .none = value { return nil }
        return try arguments.text(0, "chars")
    }

    private static func split(_ text: JinjaText, _ arguments: JinjaArguments, fromEnd: Bool) throws -> [JinjaText] {
        try arguments.check("sep", "maxsplit")
        let most = try arguments.integer(1, "maxsplit", default: -1)
        let limit = most < 0 ? Int.max : most
        if let separator = arguments[0, "sep"], separator != .none {
            let separator = try arguments.text(0, "sep")
            guard !separator.isEmpty else { throw JinjaFailure.wrong("a split at nothing", arguments.line) }
            return fromEnd
                ? text.splitFromEnd(separator, atMost: limit) : text.split(separator, atMost: limit)
        }
        guard !fromEnd || most < 0 else {
            throw JinjaFailure.unsupported("'rsplit' at white space with a limit", arguments.line)
        }
        return text.splitAtSpace(atMost: limit)
    }

    private static func affixes(_ arguments: JinjaArguments) throws -> [JinjaText] {
        try arguments.check("part")
        if case .tuple(let values) = try arguments.needed(0, "part") {
            return try values.map {
                guard case .text(let text) = $0 else {
                    throw JinjaFailure.wrong("\(arguments.callee) is given \($0.kind)", arguments.line)
                }
                return text
            }
        }
        return [try arguments.text(0, "part")]
    }

    private static func search(_ name: String, _ text: JinjaText, _ arguments: JinjaArguments) throws -> JinjaValue {
        try arguments.check("sub")
        let part = try arguments.text(0, "sub")
        switch name {
        case "find": return .integer(text.firstIndex(of: part) ?? -1)
        case "rfind": return .integer(text.lastIndex(of: part) ?? -1)
        case "count":
            return .integer(part.isEmpty ? text.count + 1 : text.split(part, atMost: .max).count - 1)
        default:
            guard let index = text.firstIndex(of: part) else {
                throw JinjaFailure.wrong("'index' of what is not in the string", arguments.line)
            }
            return .integer(index)
        }
    }

    private static func partition(_ text: JinjaText, _ arguments: JinjaArguments, fromEnd: Bool) throws -> JinjaValue {
        try arguments.check("sep")
        let separator = try arguments.text(0, "sep")
        guard !separator.isEmpty else { throw JinjaFailure.wrong("a partition at nothing", arguments.line) }
        let found = fromEnd ? text.lastIndex(of: separator) : text.firstIndex(of: separator)
        guard let found else {
            let empty = JinjaValue.text(JinjaText())
            return .tuple(fromEnd ? [empty, empty, .text(text)] : [.text(text), empty, empty])
        }
        let end = found + separator.count
        return .tuple([.text(text[0..<found]), .text(text[found..<end]), .text(text[end..<text.count])])
    }

    static func join(_ values: JinjaValue, _ separator: JinjaText, _ line: Int) throws -> JinjaText {
        guard let elements = values.elements else { throw JinjaFailure.wrong("'join' of \(values.kind)", line) }
        try requireRoom(elements.count, of: separator, line)
        var result = JinjaText()
        for (index, element) in elements.enumerated() {
            guard case .text(let text) = element else { throw JinjaFailure.wrong("'join' of \(element.kind)", line) }
            if index > 0 { result.append(separator) }
            result.append(text)
        }
        return result
    }
}

extension Unicode.Scalar {
    fileprivate var isLetter: Bool {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: false
        }
    }
}
