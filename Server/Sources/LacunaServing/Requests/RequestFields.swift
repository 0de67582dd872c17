import LacunaIO
import LacunaTensor

/// Reads the members of a request by type; what is wrong is an ``APIError`` that names the parameter. A member that is `null`
/// counts as absent, as clients expect.
///
/// Every member is either read, or one of ``RequestMembers`` that is not supported; what no one knows is refused too, so that
/// nothing a client asks for is passed over in silence.
public struct RequestFields: Sendable {
    /// The members.
    public let object: JSONObject
    /// Where the object stands in the request, such as `stream_options`; empty for the body.
    public let location: String

    /// - Throws: ``APIError`` with status 400 unless the value is an object.
    public init(_ value: JSONValue, location: String = "") throws {
        guard case .object(let object) = value else {
            throw APIError.invalid(
                location.isEmpty ? nil : location,
                (location.isEmpty ? "The body" : "'\(location)'") + " has to be an object, not \(value.kind).",
                code: "invalid_type")
        }
        (self.object, self.location) = (object, location)
    }

    /// Nesting in a request that no client needs, and that costs stack to read.
    static let depthLimit = 32

    /// Reads the body of a request.
    ///
    /// - Throws: ``APIError`` with status 400 if it is no JSON, or no object.
    public init(body: [UInt8]) throws {
        let value: JSONValue
        do {
            value = try body.withUnsafeBytes {
                try JSONValue(parsing: $0, file: "body", depthLimit: Self.depthLimit)
            }
        } catch LacunaError.malformed(_, let location, let reason) {
            throw APIError.invalid(nil, "The body is not valid JSON: \(location): \(reason).", code: "invalid_json")
        }
        try self.init(value)
    }

    /// The name of a member from the top of the request.
    public func name(_ key: String) -> String { location.isEmpty ? key : "\(location).\(key)" }

    /// The member, nil if it is absent or null.
    public subscript(key: String) -> JSONValue? {
        // A bare nil could be JSON's null too.
        guard let value = object[key], !value.isNull else { return Optional.none }
        return value
    }

    /// Whether there is such a member that is not null.
    public func contains(_ key: String) -> Bool { self[key] != nil }

    private func typed<T>(_ key: String, _ kind: String, _ convert: (JSONValue) -> T?) throws -> T? {
        guard let value = self[key] else { return nil }
        guard let result = convert(value) else {
            throw APIError.invalid(
                name(key), "'\(name(key))' has to be \(kind), not \(value.kind).", code: "invalid_type")
        }
        return result
    }

    /// A text.
    public func string(_ key: String) throws -> String? { try typed(key, "a string", \.stringValue) }
    /// True or false.
    public func bool(_ key: String) throws -> Bool? { try typed(key, "true or false", \.boolValue) }
    /// Values.
    public func array(_ key: String) throws -> [JSONValue]? { try typed(key, "an array", \.arrayValue) }
    /// An object.
    public func fields(_ key: String) throws -> RequestFields? {
        try self[key].map { try RequestFields($0, location: name(key)) }
    }

    /// A whole number within bounds.
    public func integer(_ key: String, in range: ClosedRange<Int>) throws -> Int? {
        guard let value = try typed(key, "a whole number", \.intValue) else { return nil }
        guard range.contains(value) else {
            let most = range.upperBound == .max ? "" : " and at most \(range.upperBound)"
            throw APIError.invalid(
                name(key), "'\(name(key))' is \(value); it has to be at least \(range.lowerBound)\(most).")
        }
        return value
    }

    /// A number within bounds.
    public func number(_ key: String, in range: ClosedRange<Double>) throws -> Double? {
        guard let value = try typed(key, "a number", \.doubleValue) else { return nil }
        guard range.contains(value) else {
            throw APIError.invalid(
                name(key),
                "'\(name(key))' is \(value); it has to be from \(NumberForm.short(range.lowerBound)) to "
                    + "\(NumberForm.short(range.upperBound)).")
        }
        return value
    }

    /// The error for a member that has to be there.
    public func missing(_ key: String) -> APIError {
        .invalid(name(key), "'\(name(key))' is missing.", code: "missing_required_parameter")
    }

    /// Refuses members that nobody reads.
    ///
    /// - Throws: ``APIError`` with status 400 that names the first one.
    func requireKnown(_ members: RequestMembers) throws {
        for member in object where !members.known.contains(member.key) {
            if members.unsupported.contains(member.key) {
                if member.value.isNull { continue }
                throw APIError.unsupported(name(member.key))
            }
            throw APIError.invalid(
                name(member.key),
                "There is no parameter '\(name(member.key))'."
                    + (Suggestion.nearest(to: member.key, among: members.known).map { " Is '\($0)' meant?" } ?? ""),
                code: "unknown_parameter")
        }
    }
}
