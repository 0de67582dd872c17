/// A metadata value of a GGUF file. The format's many integer types become one.
public enum GGUFValue: Hashable, Sendable {
    case integer(Int64)
    /// Only for numbers that are too large for `integer`.
    case unsigned(UInt64)
    case number(Double)
    case bool(Bool)
    case string(String)
    case array([GGUFValue])

    public var intValue: Int? { if case .integer(let value) = self { Int(exactly: value) } else { nil } }
    public var doubleValue: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .unsigned(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
    public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
    public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
    public var arrayValue: [GGUFValue]? { if case .array(let value) = self { value } else { nil } }

    var kind: String {
        switch self {
        case .integer, .unsigned: "an integer"
        case .number: "a number"
        case .bool: "a boolean"
        case .string: "a string"
        case .array: "an array"
        }
    }
}
