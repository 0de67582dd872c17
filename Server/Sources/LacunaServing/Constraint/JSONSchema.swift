import LacunaIO

/// What a JSON value has to be: the part of JSON Schema (draft 2020-12) that answers can be held to.
///
/// `type`, `properties`, `required`, `additionalProperties`, `items`, `minItems`, `maxItems`, `minLength`, `maxLength`, `enum`,
/// `const`, `anyOf`, `allOf` of one schema, and `$ref` within the document. Annotations say nothing about values and are passed over;
/// every other word is refused.
///
/// What is written under a schema always obeys it, but not everything that obeys it can be written: objects with declared members
/// have these alone, in the order in which they are declared.
final class JSONSchema: Sendable {
    /// Objects and arrays within each other, at most.
    static let mostDepth = 32
    /// Kinds of values of a schema, and texts of an `enum`, at most.
    static let mostKinds = 2048

    /// A member of an object.
    struct Member: Sendable {
        /// As it is written, with its quotes.
        var key: [UInt8]
        /// The kind of its value.
        var value: Int
        /// Whether it has to be there.
        var isRequired: Bool
    }

    /// A kind of value; others are meant by their numbers.
    enum Kind: Sendable {
        case anyOf([Int])
        /// One of these, as it is written.
        case texts([[UInt8]])
        /// Of so many characters.
        case string(ClosedRange<Int>)
        case number(isInteger: Bool)
        case object([Member])
        /// An object of any members with values of one kind.
        case map(Int)
        /// So many values of one kind.
        case array(Int, ClosedRange<Int>)
    }

    private let kinds: [Kind]
    /// Kinds that a kind stands for, itself but for a choice.
    private let choices: [[Int]]
    /// Objects and arrays within each other that a value has at least, itself included.
    private let heights: [Int]
    /// The kind of the whole.
    let root: Int

    /// Any object.
    static let anyObject: JSONSchema = {
        var builder = Builder()
        let root = builder.anyObject()
        return JSONSchema(builder.kinds, root: root)!
    }()

    /// Nil if there is no value of the kind.
    private init?(_ kinds: [Kind], root: Int) {
        (self.kinds, self.root) = (kinds, root)
        // Heights come down from infinity until nothing changes.
        var heights = [Int](repeating: .max, count: kinds.count)
        var isChanging = true
        while isChanging {
            isChanging = false
            for (index, kind) in kinds.enumerated() {
                func within(_ inner: Int) -> Int { inner == .max ? .max : inner + 1 }
                let height =
                    switch kind {
                    case .anyOf(let others): others.map { heights[$0] }.min() ?? .max
                    case .texts, .string, .number: 0
                    case .object(let members): within(members.filter(\.isRequired).map { heights[$0.value] }.max() ?? 0)
                    case .map: 1
                    case .array(let item, let counts): counts.lowerBound == 0 ? 1 : within(heights[item])
                    }
                if height < heights[index] { (heights[index], isChanging) = (height, true) }
            }
        }
        self.heights = heights
        func flat(_ index: Int, _ seen: inout Set<Int>) -> [Int] {
            guard seen.insert(index).inserted else { return [] }
            guard case .anyOf(let others) = kinds[index] else { return [index] }
            return others.flatMap { flat($0, &seen) }
        }
        choices = kinds.indices.map {
            var seen: Set<Int> = []
            return flat($0, &seen)
        }
        if heights[root] > Self.mostDepth { return nil }
    }

    subscript(kind: Int) -> Kind { kinds[kind] }
    func alternatives(_ kind: Int) -> [Int] { choices[kind] }
    func height(_ kind: Int) -> Int { min(heights[kind], Self.mostDepth + 1) }

    func members(_ kind: Int) -> [Member] { if case .object(let members) = kinds[kind] { members } else { [] } }
    func texts(_ kind: Int) -> [[UInt8]] { if case .texts(let texts) = kinds[kind] { texts } else { [] } }
    func leastLength(_ kind: Int) -> Int { if case .string(let length) = kinds[kind] { length.lowerBound } else { 0 } }
    func mostLength(_ kind: Int) -> Int { if case .string(let length) = kinds[kind] { length.upperBound } else { 0 } }

    func counts(_ kind: Int) -> ClosedRange<Int> {
        if case .array(_, let counts) = kinds[kind] { counts } else { 0...0 }
    }

    /// The kind of an array's or a map's values.
    func content(_ kind: Int) -> Int {
        switch kinds[kind] {
        case .array(let item, _): item
        case .map(let value): value
        default: kind
        }
    }

    // MARK: Reading

    /// Reads the schema of an object.
    ///
    /// - Parameter location: Where it stands in the request.
    /// - Throws: ``APIError`` with status 400 that names the word that is wrong or not supported.
    static func object(_ value: JSONValue, location: String) throws -> JSONSchema {
        var builder = Builder()
        return try schema(builder.object(value, location), builder, location)
    }

    /// The schema of `{"name": …, "arguments": {…}}` of one of some functions.
    ///
    /// - Parameter functions: With the schema of their arguments, nil for any object, and where it stands in the request.
    /// - Throws: As ``object(_:location:)``.
    static func call(of functions: [(name: String, arguments: JSONValue?, location: String)]) throws -> JSONSchema {
        var builder = Builder()
        let calls = try functions.map { function in
            let arguments =
                try function.arguments.map { try builder.object($0, function.location) } ?? builder.anyObject()
            return builder.call(function.name, arguments)
        }
        return try schema(builder.choice(calls), builder, "tools")
    }

    private static func schema(_ root: Int, _ builder: Builder, _ location: String) throws -> JSONSchema {
        guard let schema = JSONSchema(builder.kinds, root: root) else {
            throw APIError.invalid(
                location, "'\(location)' describes no value of at most \(mostDepth) levels.", code: "invalid_schema")
        }
        return schema
    }
}

/// Makes the kinds of a schema.
private struct Builder {
    /// The whole that is read, for references, and where it stands.
    private var document: JSONValue = .null
    private var location = ""
    private(set) var kinds: [JSONSchema.Kind] = []
    /// Kinds by the references to them.
    private var referenced: [String: Int] = [:]
    private var anyValueKind: Int?

    /// The kind of objects that a document describes.
    mutating func object(_ document: JSONValue, _ location: String) throws -> Int {
        (self.document, self.location, referenced) = (document, location, [:])
        let root = try kind(document, location)
        var seen: Set<Int> = []
        func isObject(_ kind: Int) -> Bool {
            guard seen.insert(kind).inserted else { return false }
            switch kinds[kind] {
            case .object, .map: return true
            case .anyOf(let others): return !others.isEmpty && others.allSatisfy(isObject)
            default: return false
            }
        }
        guard isObject(root) else { throw invalid(location, "has to describe an object") }
        return root
    }

    /// The kind of calls of a function.
    mutating func call(_ name: String, _ arguments: Int) -> Int {
        let text = add(.texts([Array(JSONValue.string(name).serialized(.compact).utf8)]))
        return add(.object([member("name", text, isRequired: true), member("arguments", arguments, isRequired: true)]))
    }

    mutating func choice(_ kinds: [Int]) -> Int { add(.anyOf(kinds)) }

    private mutating func add(_ kind: JSONSchema.Kind) -> Int {
        kinds.append(kind)
        return kinds.count - 1
    }

    mutating func anyValue() -> Int {
        if let anyValueKind { return anyValueKind }
        let whole = add(.anyOf([]))
        anyValueKind = whole
        kinds[whole] = .anyOf([
            add(.map(whole)), add(.array(whole, 0...Int.max)), add(.string(0...Int.max)),
            add(.number(isInteger: false)),
            add(.texts(["true", "false", "null"].map { Array($0.utf8) })),
        ])
        return whole
    }

    mutating func anyObject() -> Int {
        let value = anyValue()
        return add(.map(value))
    }

    private static let annotations: Set<String> = [
        "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id",
        "$comment", "$defs", "definitions",
    ]
    private static let words: [String: Set<String>] = [
        "object": ["properties", "required", "additionalProperties"], "array": ["items", "minItems", "maxItems"],
        "string": ["minLength", "maxLength"], "number": [], "integer": [], "boolean": [], "null": [],
    ]

    private func invalid(_ location: String, _ reason: String) -> APIError {
        APIError.invalid(location, "'\(location)' \(reason).", code: "invalid_schema")
    }

    /// Refuses words that say something that is not read.
    private func requireWords(_ fields: RequestFields, _ words: Set<String>) throws {
        for member in fields.object where !words.contains(member.key) && !Self.annotations.contains(member.key) {
            throw APIError.unsupported(
                fields.name(member.key),
                "'\(fields.name(member.key))': the word '\(member.key)' of JSON Schema is not supported there.")
        }
    }

    /// The kind that a schema describes.
    mutating func kind(_ value: JSONValue, _ location: String) throws -> Int {
        if kinds.count > JSONSchema.mostKinds {
            throw invalid(self.location, "has more than \(JSONSchema.mostKinds) kinds of values")
        }
        if let isAny = value.boolValue {
            if isAny { return anyValue() }
            throw invalid(location, "describes no value")
        }
        let fields = try RequestFields(value, location: location)
        if let pointer = try fields.string("$ref") {
            try requireWords(fields, ["$ref"])
            return try reference(pointer, fields.name("$ref"))
        }
        if let options = try fields.array("anyOf") {
            try requireWords(fields, ["anyOf"])
            if options.isEmpty { throw invalid(fields.name("anyOf"), "is empty") }
            let all = try options.enumerated().map { try kind($1, fields.name("anyOf[\($0)]")) }
            return add(.anyOf(all))
        }
        if let parts = try fields.array("allOf") {
            try requireWords(fields, ["allOf"])
            guard parts.count == 1 else {
                throw APIError.unsupported(
                    fields.name("allOf"), "'\(fields.name("allOf"))' of more than one schema is not supported.")
            }
            return try kind(parts[0], fields.name("allOf[0]"))
        }
        let types = try types(fields)
        if fields.object["enum"] != nil || fields.object["const"] != nil { return try texts(fields, types) }
        guard let types else {
            try requireWords(fields, [])
            return anyValue()
        }
        try requireWords(fields, types.reduce(into: ["type"]) { $0.formUnion(Self.words[$1] ?? []) })
        let all = try types.map { try kind(ofType: $0, fields) }
        return all.count == 1 ? all[0] : add(.anyOf(all))
    }

    /// The types that are named, or else the one of which the schema speaks; nil if it speaks of none.
    private func types(_ fields: RequestFields) throws -> [String]? {
        guard let value = fields["type"] else {
            let meant = Self.words.filter { !$0.value.isDisjoint(with: fields.object.map(\.key)) }.keys
            if meant.count > 1 { throw fields.missing("type") }
            return meant.isEmpty ? nil : Array(meant)
        }
        let names = value.stringValue.map { [$0] } ?? (value.arrayValue ?? []).compactMap(\.stringValue)
        guard !names.isEmpty, names.count == value.arrayValue?.count ?? 1, Set(names).count == names.count,
            names.allSatisfy({ Self.words[$0] != nil })
        else {
            throw invalid(fields.name("type"), "is no type of JSON, or list of such")
        }
        return names
    }

    private mutating func texts(_ fields: RequestFields, _ types: [String]?) throws -> Int {
        try requireWords(fields, ["enum", "const", "type"])
        var values = try fields.array("enum")
        if let const = fields.object["const"] { values = values.map { $0.filter { $0 == const } } ?? [const] }
        let allowed = (values ?? []).filter { value in
            guard let types else { return true }
            return types.contains { Self.is(value, $0) }
        }
        if allowed.isEmpty { throw invalid(fields.location, "describes no value") }
        if allowed.count > JSONSchema.mostKinds {
            throw invalid(fields.name("enum"), "has more than \(JSONSchema.mostKinds) values")
        }
        return add(.texts(allowed.map { Array($0.serialized(.compact).utf8) }))
    }

    private static func `is`(_ value: JSONValue, _ type: String) -> Bool {
        switch value {
        case .null: type == "null"
        case .bool: type == "boolean"
        case .integer: type == "integer" || type == "number"
        case .number(let number): type == "number" || type == "integer" && number == number.rounded()
        case .string: type == "string"
        case .array: type == "array"
        case .object: type == "object"
        }
    }

    private mutating func kind(ofType type: String, _ fields: RequestFields) throws -> Int {
        func range(_ least: String, _ most: String) throws -> ClosedRange<Int> {
            let low = try fields.integer(least, in: 0...Int.max) ?? 0
            let high = try fields.integer(most, in: 0...Int.max) ?? Int.max
            if low > high { throw invalid(fields.name(most), "is less than '\(least)'") }
            return low...high
        }
        switch type {
        case "object": return try members(fields)
        case "array":
            let counts = try range("minItems", "maxItems")
            let item = try fields["items"].map { try kind($0, fields.name("items")) } ?? anyValue()
            return add(.array(item, counts))
        case "string": return add(.string(try range("minLength", "maxLength")))
        case "number", "integer": return add(.number(isInteger: type == "integer"))
        case "boolean": return add(.texts(["true", "false"].map { Array($0.utf8) }))
        default: return add(.texts([Array("null".utf8)]))
        }
    }

    private mutating func members(_ fields: RequestFields) throws -> Int {
        let required = try (fields.array("required") ?? []).map { value in
            guard let name = value.stringValue else { throw invalid(fields.name("required"), "has to hold texts") }
            return name
        }
        let others = fields["additionalProperties"]
        // Others may not be there at all; if they may, what they are has to be understood.
        let other: Int? =
            others?.boolValue == false
            ? nil : try others.map { try kind($0, fields.name("additionalProperties")) } ?? anyValue()
        let declared = try fields.fields("properties")
        var members = try (declared?.object.map { ($0.key, $0.value) } ?? []).map { name, value in
            member(name, try kind(value, declared!.name(name)), isRequired: required.contains(name))
        }
        for name in required where declared?.object[name] == nil {
            guard let other else {
                throw invalid(fields.name("required"), "asks for '\(name)', which may not be there")
            }
            members.append(member(name, other, isRequired: true))
        }
        guard members.isEmpty, let other else { return add(.object(members)) }
        return add(.map(other))
    }

    private func member(_ name: String, _ value: Int, isRequired: Bool) -> JSONSchema.Member {
        .init(key: Array(JSONValue.string(name).serialized(.compact).utf8), value: value, isRequired: isRequired)
    }

    /// The kind that a reference within the document means. It may mean a schema in which it stands itself.
    private mutating func reference(_ pointer: String, _ place: String) throws -> Int {
        if let known = referenced[pointer] { return known }
        guard pointer == "#" || pointer.hasPrefix("#/"), !pointer.contains("%") else {
            throw APIError.unsupported(
                place, "'\(place)': references within the schema are supported, such as '#/$defs/name'.")
        }
        var value = document
        for part in pointer.split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
            let name = part.replacing("~1", with: "/").replacing("~0", with: "~")
            guard let inner = value[String(name)] else { throw invalid(place, "refers to nothing in the schema") }
            value = inner
        }
        let own = add(.anyOf([]))
        referenced[pointer] = own
        kinds[own] = .anyOf([try kind(value, "\(location)\(pointer.dropFirst().replacing("/", with: "."))")])
        return own
    }
}
