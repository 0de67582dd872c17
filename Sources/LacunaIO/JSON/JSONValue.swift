/// A JSON document in memory. Objects keep the order of their keys; integers that fit `Int64` stay integers.
public enum JSONValue: Hashable, Sendable {
    /// Nothing.
    case null
    /// True or false.
    case bool(Bool)
    /// A number written without a point or exponent that 64 bits hold.
    case integer(Int64)
    /// Any other number.
    case number(Double)
    /// A text.
    case string(String)
    /// Values in order.
    case array([JSONValue])
    /// Values by name, in the order of the text.
    case object(JSONObject)

    /// The member of an object; nil for an absent key and for everything that is not an object.
    public subscript(key: String) -> JSONValue? {
        if case .object(let object) = self { object[key] } else { nil }
    }

    /// Whether it is null.
    public var isNull: Bool { self == .null }
    /// The boolean, nil if it is none.
    public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The text, nil if it is none.
    public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
    /// The values of an array, nil if it is none.
    public var arrayValue: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    /// The object, nil if it is none.
    public var objectValue: JSONObject? { if case .object(let value) = self { value } else { nil } }

    /// A whole number, also when it is written with a fraction of zero, such as `1e3`; nil for one that ``number(_:)`` may have
    /// rounded, beyond 2⁵³.
    public var intValue: Int? {
        switch self {
        case .integer(let value): Int(exactly: value)
        case .number(let value): abs(value) <= 0x1p53 ? Int(exactly: value) : nil
        default: nil
        }
    }

    /// The number, nil if it is none.
    public var doubleValue: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// What kind of value this is, for error messages.
    public var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer, .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByNilLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(nilLiteral: ()) { self = .null }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        var object = JSONObject()
        for (key, value) in elements { object[key] = value }
        self = .object(object)
    }
    /// An integer.
    public init(_ value: Int) { self = .integer(Int64(value)) }
}
