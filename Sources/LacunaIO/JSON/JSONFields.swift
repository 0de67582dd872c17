import LacunaTensor

/// Reads members of a JSON object by type and says precisely what is wrong with the file when they are not as needed.
///
/// Every method throws ``LacunaError/malformed(file:location:reason:)`` for an absent member without default, for one of
/// another type, and for a number that is no integer where one is needed. A member that is `null` counts as absent.
public struct JSONFields: Sendable {
    /// The object whose fields are read.
    public let object: JSONObject
    /// The file, for error messages.
    public let file: String
    /// Where in the file the object stands, such as `rope_scaling`; empty for the document itself.
    public let location: String

    /// The fields of an object. Throws `LacunaError.malformed` if the value is none; `file` and `location` are for
    /// errors.
    public init(_ value: JSONValue, file: String, location: String = "") throws {
        guard case .object(let object) = value else {
            throw LacunaError.malformed(
                file: file, location: location.isEmpty ? "document" : location,
                reason: "expected an object, found \(value.kind)")
        }
        self.object = object
        self.file = file
        self.location = location
    }

    /// Reads a file whose document is an object.
    public init(contentsOf path: String) throws {
        try self.init(JSONValue(contentsOf: path), file: path)
    }

    /// The error for member `key`.
    public func failure(_ key: String, _ reason: String) -> LacunaError {
        .malformed(file: file, location: location.isEmpty ? key : "\(location).\(key)", reason: reason)
    }

    private func field<T>(_ key: String, _ kind: String, _ convert: (JSONValue) -> T?) throws -> T? {
        guard let value = object[key], value != .null else { return nil }
        guard let result = convert(value) else { throw failure(key, "expected \(kind), found \(value.kind)") }
        return result
    }

    private func needed<T>(_ key: String, _ value: T?) throws -> T {
        guard let value else { throw failure(key, "is missing") }
        return value
    }

    /// Whether there is a field of this name that is not null.
    public func contains(_ key: String) -> Bool { object[key].map { $0 != .null } ?? false }

    /// A field's integer, nil if it is absent or null. Throws `LacunaError.malformed` if it is something else.
    public func optionalInteger(_ key: String) throws -> Int? { try field(key, "an integer", \.intValue) }
    /// A field's number, nil if it is absent or null. Throws `LacunaError.malformed` if it is something else.
    public func optionalNumber(_ key: String) throws -> Double? { try field(key, "a number", \.doubleValue) }
    /// A field's string, nil if it is absent or null. Throws `LacunaError.malformed` if it is something else.
    public func optionalString(_ key: String) throws -> String? { try field(key, "a string", \.stringValue) }
    /// A field's boolean, nil if it is absent or null. Throws `LacunaError.malformed` if it is something else.
    public func optionalBool(_ key: String) throws -> Bool? { try field(key, "true or false", \.boolValue) }
    /// A field's array, nil if it is absent or null. Throws `LacunaError.malformed` if it is something else.
    public func optionalArray(_ key: String) throws -> [JSONValue]? { try field(key, "an array", \.arrayValue) }
    /// A field's object, nil if it is absent or null. Throws `LacunaError.malformed` if it is something else.
    public func optionalFields(_ key: String) throws -> JSONFields? {
        guard let value = object[key], value != .null else { return nil }
        return try JSONFields(value, file: file, location: location.isEmpty ? key : "\(location).\(key)")
    }

    /// A field's integer. Throws `LacunaError.malformed` if it is absent or something else.
    public func integer(_ key: String) throws -> Int { try needed(key, optionalInteger(key)) }
    /// A field's integer, or a default where it is absent or null. Throws as ``optionalInteger(_:)``.
    public func integer(_ key: String, default value: Int) throws -> Int { try optionalInteger(key) ?? value }
    /// A field's number. Throws `LacunaError.malformed` if it is absent or something else.
    public func number(_ key: String) throws -> Double { try needed(key, optionalNumber(key)) }
    /// A field's number, or a default where it is absent or null. Throws as ``optionalNumber(_:)``.
    public func number(_ key: String, default value: Double) throws -> Double { try optionalNumber(key) ?? value }
    /// A field's string. Throws `LacunaError.malformed` if it is absent or something else.
    public func string(_ key: String) throws -> String { try needed(key, optionalString(key)) }
    /// A field's boolean, or a default where it is absent or null. Throws as ``optionalBool(_:)``.
    public func bool(_ key: String, default value: Bool) throws -> Bool { try optionalBool(key) ?? value }
    /// A field's array. Throws `LacunaError.malformed` if it is absent or something else.
    public func array(_ key: String) throws -> [JSONValue] { try needed(key, optionalArray(key)) }
    /// A field's object. Throws `LacunaError.malformed` if it is absent or something else.
    public func fields(_ key: String) throws -> JSONFields { try needed(key, optionalFields(key)) }

    /// An array of integers.
    public func integers(_ key: String) throws -> [Int] {
        try array(key).map {
            guard let value = $0.intValue else { throw failure(key, "expected integers, found \($0.kind)") }
            return value
        }
    }
}
