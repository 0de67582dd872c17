import LacunaIO

/// A request, free of what HTTP adds.
public struct ServiceRequest: Sendable {
    /// `GET` or `POST`, say.
    public var method: String
    /// The path, without what follows a question mark.
    public var path: String
    /// What follows it; empty if nothing does.
    public var query: String
    /// The value of the `Authorization` header.
    public var authorization: String?
    /// The body.
    public var body: [UInt8]

    /// - Parameter path: May have a query.
    public init(_ method: String, _ path: String, authorization: String? = nil, body: [UInt8] = []) {
        self.method = method
        self.path = String(path.prefix { $0 != "?" })
        query = String(path.dropFirst(self.path.count + 1))
        (self.authorization, self.body) = (authorization, body)
    }
}

/// A whole response.
public struct ServiceResponse: Sendable {
    /// Of HTTP.
    public var status: Int
    /// What the body is.
    public var contentType: String
    /// The text of it.
    public var body: String
    /// Further headers.
    public var headers: [String: String]

    /// A response of any kind.
    public init(status: Int, contentType: String, body: String, headers: [String: String] = [:]) {
        (self.status, self.contentType, self.body, self.headers) = (status, contentType, body, headers)
    }

    static func json(_ value: JSONValue, status: Int = 200) -> ServiceResponse {
        ServiceResponse(status: status, contentType: "application/json", body: value.serialized())
    }

    /// A page that loads nothing but what it holds itself, and asks nobody but this server.
    static func page(_ html: String) -> ServiceResponse {
        ServiceResponse(
            status: 200, contentType: "text/html; charset=utf-8", body: html,
            headers: [
                "Content-Security-Policy":
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                    + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ])
    }

    /// Counts, as Prometheus reads them.
    static func metrics(_ text: String) -> ServiceResponse {
        ServiceResponse(status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: text)
    }

    /// What a client is told of an error.
    public init(_ error: APIError) {
        self = .json(error.json, status: error.status)
        switch error.status {
        case 401: headers["WWW-Authenticate"] = "Bearer"
        case 429, 503: headers["Retry-After"] = "1"
        default: break
        }
    }
}

/// How a request is answered.
public enum ServiceReply: Sendable {
    /// At once.
    case response(ServiceResponse)
    /// When it has been computed. Ending the task ends the work.
    case deferred(@Sendable () async -> ServiceResponse)
    /// Piece by piece, as server-sent events. Ending the task, or throwing from `write`, ends the work.
    case stream(@Sendable (_ write: (String) async throws -> Void) async throws -> Void)
}
