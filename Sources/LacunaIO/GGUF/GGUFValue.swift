/// A metadata value of a GGUF file. The format's many integer types become one.
public enum GGUFValue: Hashable, Sendable {
    /// An integer of any width that 64 bits hold.
    case integer(Int64)
    /// Only for numbers that are too large for `integer`.
    case unsigned(UInt64)
    /// A floating-point number.
    case number(Double)
    /// True or false.
    case bool(Bool)
    /// A text.
    case string(String)
    /// Values of one type.
    case array([GGUFValue])

    /// The integer, nil if it is none.
    public var intValue: Int? { if case .integer(let value) = self { Int(exactly: value) } else { nil } }
    /// The number, nil if it is none.
    public var doubleValue: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .unsigned(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
    /// The boolean, nil if it is none.
    public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The text, nil if it is none.
    public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
    /// The values of an array, nil if it is none.
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
