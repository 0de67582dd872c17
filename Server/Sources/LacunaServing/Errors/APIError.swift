import LacunaIO
import LacunaTensor

/// What a client is told when a request cannot be answered: the field's error object and a status of HTTP.
public struct APIError: Error, Sendable, Equatable {
    /// The status of the response.
    public var status: Int
    /// A sentence for people.
    public var message: String
    /// The kind of error, as clients know them: `invalid_request_error` and so on.
    public var type: String
    /// A word for programs; nil if there is none.
    public var code: String?
    /// The parameter of the request that is at fault, such as `messages[0].role`; nil if it is none.
    public var parameter: String?

    /// An error of any kind.
    public init(status: Int, message: String, type: String, code: String? = nil, parameter: String? = nil) {
        (self.status, self.message, self.type, self.code, self.parameter) = (status, message, type, code, parameter)
    }

    /// 400: something is wrong with a parameter, or with the whole body if that is nil.
    public static func invalid(_ parameter: String?, _ message: String, code: String? = "invalid_value") -> APIError {
        APIError(
            status: 400, message: message, type: "invalid_request_error", code: code, parameter: parameter)
    }

    /// 400: the parameter is known, and what it asks for cannot be had here.
    public static func unsupported(_ parameter: String, _ what: String? = nil) -> APIError {
        .invalid(
            parameter, what ?? "'\(parameter)' is not supported by this server.", code: "unsupported_parameter")
    }

    /// 429: there is no room for more requests now.
    public static func busy(_ message: String) -> APIError {
        APIError(status: 429, message: message, type: "rate_limit_error", code: "queue_full")
    }

    /// 503: the server is about to stop.
    public static let draining = APIError(
        status: 503, message: "The server is shutting down.", type: "server_error", code: "shutting_down")

    /// 504: the request took longer than the server allows.
    public static func tooLong(_ seconds: Double) -> APIError {
        APIError(
            status: 504, message: "The request took longer than the \(NumberForm.short(seconds)) seconds it may take.",
            type: "server_error", code: "request_timeout")
    }

    /// 413: the body is larger than the server takes.
    public static func tooLarge(_ limit: Int) -> APIError {
        APIError(
            status: 413, message: "The body is larger than the \(limit) bytes that this server takes.",
            type: "invalid_request_error", code: "body_too_large")
    }

    /// 408: the body did not arrive in time.
    public static let tooSlow = APIError(
        status: 408, message: "The body of the request did not arrive in time.", type: "invalid_request_error",
        code: "body_timeout")

    /// What an error of the libraries means to a client: a mistake in `parameter`, or the server's own.
    public init(_ error: any Error, parameter: String? = nil) {
        switch error {
        case let error as APIError: self = error
        case let error as LacunaError:
            switch error {
            case .invalidArgument, .malformed, .unsupported:
                self = .invalid(parameter, error.description)
            default: self = .internalError(error.description)
            }
        default: self = .internalError("\(error)")
        }
    }

    /// 500: the server's own mistake.
    public static func internalError(_ message: String) -> APIError {
        APIError(status: 500, message: message, type: "server_error", code: "internal_error")
    }

    /// `{"error": {"message", "type", "param", "code"}}`.
    public var json: JSONValue {
        [
            "error": [
                "message": .string(message), "type": .string(type),
                "param": parameter.map { .string($0) } ?? .null, "code": code.map { .string($0) } ?? .null,
            ]
        ]
    }
}

/// Numbers for sentences.
enum NumberForm {
    /// Without a fraction where there is none.
    static func short(_ value: Double) -> String {
        Int(exactly: value).map { "\($0)" } ?? "\(value)"
    }
}
