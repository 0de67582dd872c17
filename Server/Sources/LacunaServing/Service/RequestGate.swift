import LacunaIO
import LacunaTensor

/// A server without its sockets: a request goes in, a reply comes out.
public protocol WebService: Sendable {
    /// What requests may ask for.
    var limits: Service.Limits { get }
    /// Answers a request. What is wrong with it is in the reply.
    func reply(to request: ServiceRequest) -> ServiceReply
    /// What a client is told whose request could not be read, counted.
    func refusal(_ error: APIError) -> ServiceResponse
    /// Refuses new requests; those that are there go on to their end.
    func drain()
}

/// What every service does with a request before it is its own: the key, the method, the size, the end. And it counts replies.
final class RequestGate: Sendable {
    /// What answers a path.
    enum Route {
        case get(() throws -> ServiceResponse)
        case post((RequestFields) throws -> ServiceReply)

        /// The methods that the path takes. Of a HEAD, the body is not sent.
        var methods: [String] {
            switch self {
            case .get: ["GET", "HEAD"]
            case .post: ["POST"]
            }
        }
    }
    private let limits: Service.Limits
    private let apiKey: [UInt8]?
    /// Paths that need no key: there is nothing of what is served in them.
    private let open: Set<String>
    /// Paths that browsers, probes and scrapers may ask with a query; it says nothing to them.
    private let queried: Set<String>
    private let draining = Locked(false)
    private let note: @Sendable (_ path: String, _ status: Int) -> Void

    init(
        _ limits: Service.Limits, apiKey: String?, open: Set<String> = ["/", "/health", "/openapi.json"],
        note: @escaping @Sendable (_ path: String, _ status: Int) -> Void
    ) {
        (self.limits, self.open, self.note) = (limits, open, note)
        queried = open.union(["/metrics"])
        self.apiKey = apiKey.map { Array($0.utf8) }
    }

    func drain() { draining.withLock { $0 = true } }
    var isDraining: Bool { draining.withLock { $0 } }

    func refusal(_ error: APIError) -> ServiceResponse {
        note("unread", error.status)
        return ServiceResponse(error)
    }

    /// - Parameter found: What answers the path, and what it is counted as: paths of clients are not counted one by one, as there may
    ///   be any number of them.
    func reply(to request: ServiceRequest, _ found: (name: String, route: Route)?) -> ServiceReply {
        let (name, note) = (found?.name ?? "other", note)
        func counted(_ response: ServiceResponse) -> ServiceResponse {
            note(name, response.status)
            return response
        }
        do {
            switch try pass(request, found?.route) {
            case .response(let response): return .response(counted(response))
            case .deferred(let work):
                return .deferred {
                    let response = await work()
                    note(name, response.status)
                    return response
                }
            case .stream(let work):
                note(name, 200)
                return .stream(work)
            }
        } catch {
            return .response(counted(ServiceResponse(APIError(error))))
        }
    }

    private func pass(_ request: ServiceRequest, _ route: Route?) throws -> ServiceReply {
        if !open.contains(request.path) { try authorize(request) }
        guard let route else {
            throw APIError(
                status: 404, message: "There is no \(request.method) \(request.path.prefix(200)).",
                type: "invalid_request_error", code: "not_found")
        }
        guard route.methods.contains(request.method) else {
            var response = ServiceResponse(
                APIError(
                    status: 405,
                    message: "\(request.path.prefix(200)) does not take \(request.method), but \(route.methods[0]).",
                    type: "invalid_request_error", code: "method_not_allowed"))
            response.headers["Allow"] = route.methods.joined(separator: ", ")
            return .response(response)
        }
        guard request.query.isEmpty || queried.contains(request.path) else {
            let name = request.query.prefix { $0 != "=" && $0 != "&" }.prefix(200)
            throw APIError.invalid(
                String(name), "There is no parameter '\(name)' of the address; the body of a request has them.",
                code: "unknown_parameter")
        }
        switch route {
        case .get(let handler): return .response(try handler())
        case .post(let handler):
            if isDraining { throw APIError.draining }
            guard request.body.count <= limits.bodyBytes else { throw APIError.tooLarge(limits.bodyBytes) }
            return try handler(RequestFields(body: request.body))
        }
    }

    private func authorize(_ request: ServiceRequest) throws {
        guard let apiKey else { return }
        let given = Array((request.authorization?.dropping("Bearer ") ?? "").utf8)
        // Takes as long for a key that is nearly right as for any other.
        var difference = given.count ^ apiKey.count
        for (i, byte) in apiKey.enumerated() { difference |= Int(byte ^ (i < given.count ? given[i] : 0)) }
        guard difference == 0 else {
            throw APIError(
                status: 401, message: "The API key is missing or wrong.", type: "authentication_error",
                code: "invalid_api_key")
        }
    }
}
