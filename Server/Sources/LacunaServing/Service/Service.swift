import LacunaIO
import LacunaInfer
import LacunaTensor

/// The server without its sockets: a request goes in, a reply comes out. No path or name in a request reaches the file system.
public final class Service: Sendable {
    /// What requests may ask for.
    public struct Limits: Sendable, Equatable {
        /// Bytes of a body.
        public var bodyBytes: Int
        /// Seconds that a request may take from its arrival to its last token.
        public var requestSeconds: Double

        /// 4 MiB and ten minutes, unless it is said.
        public init(bodyBytes: Int = 4 << 20, requestSeconds: Double = 600) {
            (self.bodyBytes, self.requestSeconds) = (bodyBytes, requestSeconds)
        }
    }

    /// What requests may ask for.
    public let limits: Limits
    /// What has been counted.
    public let metrics: ServerMetrics
    let model: ServedModel?
    let scheduler: Scheduler?
    let embedder: ServedEmbedder?
    private let apiKey: [UInt8]?
    private let draining = Locked(false)

    /// A server of texts.
    ///
    /// - Parameters:
    ///   - apiKey: What clients have to know; nil if everybody may ask.
    ///   - embedder: Answers `/v1/embeddings`.
    ///   - sharesPrefixes: As for ``Scheduler``.
    /// - Throws: As ``Scheduler/init(_:skipping:limits:sharesPrefixes:metrics:)``.
    public init(
        _ model: ServedModel, scheduling: Scheduler.Limits, limits: Limits = .init(), apiKey: String? = nil,
        embedder: ServedEmbedder? = nil, sharesPrefixes: Bool = true
    ) throws {
        metrics = ServerMetrics()
        (self.model, self.limits, self.embedder) = (model, limits, embedder)
        self.apiKey = apiKey.map { Array($0.utf8) }
        scheduler = try Scheduler(
            model.model.decoder, skipping: model.model.skipping, limits: scheduling, sharesPrefixes: sharesPrefixes,
            metrics: metrics)
    }

    /// A server of vectors alone.
    public init(_ embedder: ServedEmbedder, limits: Limits = .init(), apiKey: String? = nil) {
        metrics = ServerMetrics()
        (self.limits, self.embedder) = (limits, embedder)
        (model, scheduler) = (nil, nil)
        self.apiKey = apiKey.map { Array($0.utf8) }
    }

    /// Refuses new requests; those that are there go on to their end.
    public func drain() {
        draining.withLock { $0 = true }
        scheduler?.drain()
    }

    /// Whether requests are being computed.
    public var isBusy: Bool { scheduler?.isBusy ?? false }

    // MARK: Routes

    private typealias Handler = @Sendable (Service, RequestFields) throws -> ServiceReply
    private enum Route {
        case get(@Sendable (Service) throws -> ServiceResponse)
        case post(Handler)
    }
    private static let routes: [String: Route] = [
        "/": .get { _ in
            ServiceResponse(
                status: 200, contentType: "text/html; charset=utf-8", body: ChatPage.html,
                headers: ["Content-Security-Policy": ChatPage.securityPolicy])
        },
        "/health": .get { try $0.health() },
        "/metrics": .get {
            ServiceResponse(status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: $0.metrics.text)
        },
        "/v1/models": .get { .json(["object": "list", "data": .array($0.models)]) },
        "/tokenizer_info": .get { try $0.tokenizerInfo() },
        "/v1/completions": .post { try $0.completions($1) },
        "/v1/chat/completions": .post { try $0.chat($1) },
        "/v1/embeddings": .post { try $0.embeddings($1) },
        "/tokenize": .post { .response(try $0.tokenize($1)) },
        "/detokenize": .post { .response(try $0.detokenize($1)) },
    ]
    /// What needs no key: there is nothing of the model in it.
    private static let open: Set<String> = ["/", "/health"]

    /// Answers a request. What is wrong with it is in the reply.
    public func reply(to request: ServiceRequest) -> ServiceReply {
        // Paths of clients are not counted one by one: there may be any number of them.
        let known =
            Self.routes[request.path] != nil
            ? request.path : request.path.hasPrefix("/v1/models/") ? "/v1/models/" : "other"
        let metrics = metrics
        func counted(_ response: ServiceResponse) -> ServiceResponse {
            metrics.noteResponse(path: known, status: response.status)
            return response
        }
        do {
            switch try route(request) {
            case .response(let response): return .response(counted(response))
            case .deferred(let work):
                return .deferred {
                    let response = await work()
                    metrics.noteResponse(path: known, status: response.status)
                    return response
                }
            case .stream(let work):
                metrics.noteResponse(path: known, status: 200)
                return .stream(work)
            }
        } catch {
            return .response(counted(ServiceResponse(APIError(error))))
        }
    }

    /// What a client is told whose request the server could not read, counted.
    public func refusal(_ error: APIError) -> ServiceResponse {
        metrics.noteResponse(path: "unread", status: error.status)
        return ServiceResponse(error)
    }

    private func route(_ request: ServiceRequest) throws -> ServiceReply {
        if !Self.open.contains(request.path) { try authorize(request) }
        if request.method == "GET", let name = request.path.dropping("/v1/models/") {
            guard let found = models.first(where: { $0["id"]?.stringValue == name }) else { throw Self.noModel(name) }
            return .response(.json(found))
        }
        guard let route = Self.routes[request.path] else {
            throw APIError(
                status: 404, message: "There is no \(request.method) \(request.path.prefix(200)).",
                type: "invalid_request_error", code: "not_found")
        }
        switch (route, request.method) {
        case (.get(let handler), "GET"): return .response(try handler(self))
        case (.post(let handler), "POST"):
            if draining.withLock({ $0 }) { throw APIError.draining }
            guard request.body.count <= limits.bodyBytes else { throw APIError.tooLarge(limits.bodyBytes) }
            return try handler(self, RequestFields(body: request.body))
        default:
            throw APIError(
                status: 405, message: "\(request.path) does not take \(request.method).", type: "invalid_request_error",
                code: "method_not_allowed")
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

    // MARK: What is served

    var models: [JSONValue] {
        [model?.json(context: scheduler?.limits.context ?? 0), embedder?.json].compactMap { $0 }
    }

    private static func noModel(_ name: String) -> APIError {
        APIError(
            status: 404, message: "The model '\(name.prefix(200))' is not served here.", type: "invalid_request_error",
            code: "model_not_found", parameter: "model")
    }

    /// The model of texts.
    ///
    /// - Throws: ``APIError`` with status 404 if there is none, or the request names another one.
    func textModel(_ fields: RequestFields) throws -> (ServedModel, Scheduler) {
        let name = try fields.string("model")
        guard let model, let scheduler else { throw Self.noModel(name ?? "text") }
        if let name, name != model.name { throw Self.noModel(name) }
        return (model, scheduler)
    }

    private func health() throws -> ServiceResponse {
        let load = metrics.load
        let isDraining = draining.withLock { $0 }
        return .json(
            [
                "status": isDraining ? "draining" : "ok", "active": JSONValue(load.active),
                "queued": JSONValue(load.queued),
            ], status: isDraining ? 503 : 200)
    }

    func requireModel(_ fields: RequestFields, named name: String) throws {
        if let given = try fields.string("model"), given != name { throw Self.noModel(given) }
    }
}

extension String {
    /// What follows a prefix; nil if the text does not begin with it.
    func dropping(_ prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}
