import LacunaTensor

/// Reads members of a JSON object by type and says precisely what is wrong with the file when they are not as needed.
///
/// Every method throws ``LacunaError/malformed(file:location:reason:)`` for an absent member without default, for one of
/// another type, and for a number that is no integer where one is needed. A member that is `null` counts as absent.
public struct JSONFields: Sendable {
    public let object: JSONObject
    /// The file, for error messages.
    public let file: String
    /// Where in the file the object stands, such as `rope_scaling`; empty for the document itself.
    public let location: String

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

    public func contains(_ key: String) -> Bool { object[key].map { $0 != .null } ?? false }

    public func optionalInteger(_ key: String) throws -> Int? { try field(key, "an integer", \.intValue) }
    public func optionalNumber(_ key: String) throws -> Double? { try field(key, "a number", \.doubleValue) }
    public func optionalString(_ key: String) throws -> String? { try field(key, "a string", \.stringValue) }
    public func optionalBool(_ key: String) throws -> Bool? { try field(key, "true or false", \.boolValue) }
    public func optionalArray(_ key: String) throws -> [JSONValue]? { try field(key, "an array", \.arrayValue) }
    public func optionalFields(_ key: String) throws -> JSONFields? {
        guard let value = object[key], value != .null else { return nil }
        return try JSONFields(value, file: file, location: location.isEmpty ? key : "\(location).\(key)")
    }

    public func integer(_ key: String) throws -> Int { try needed(key, optionalInteger(key)) }
    public func integer(_ key: String, default value: Int) throws -> Int { try optionalInteger(key) ?? value }
    public func number(_ key: String) throws -> Double { try needed(key, optionalNumber(key)) }
    public func number(_ key: String, default value: Double) throws -> Double { try optionalNumber(key) ?? value }
    public func string(_ key: String) throws -> String { try needed(key, optionalString(key)) }
    public func bool(_ key: String, default value: Bool) throws -> Bool { try optionalBool(key) ?? value }
    public func array(_ key: String) throws -> [JSONValue] { try needed(key, optionalArray(key)) }
    public func fields(_ key: String) throws -> JSONFields { try needed(key, optionalFields(key)) }

    /// An array of integers.
    public func integers(_ key: String) throws -> [Int] {
        try array(key).map {
            guard let value = $0.intValue else { throw failure(key, "expected integers, found \($0.kind)") }
            return value
        }
    }
}
