import LacunaIO
import LacunaInfer
import LacunaTensor

/// Texts and vectors of models, in the form of OpenAI's interface. No path or name in a request reaches the file system.
public final class Service: WebService {
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
    private let gate: RequestGate

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
        let metrics = ServerMetrics()
        (self.model, self.limits, self.embedder, self.metrics) = (model, limits, embedder, metrics)
        gate = RequestGate(limits, apiKey: apiKey) { metrics.noteResponse(path: $0, status: $1) }
        scheduler = try Scheduler(
            model.model.decoder, skipping: model.model.skipping, limits: scheduling, sharesPrefixes: sharesPrefixes,
            metrics: metrics)
    }

    /// A server of vectors alone.
    public init(_ embedder: ServedEmbedder, limits: Limits = .init(), apiKey: String? = nil) {
        let metrics = ServerMetrics()
        (self.limits, self.embedder, self.metrics) = (limits, embedder, metrics)
        (model, scheduler) = (nil, nil)
        gate = RequestGate(limits, apiKey: apiKey) { metrics.noteResponse(path: $0, status: $1) }
    }

    /// Refuses new requests; those that are there go on to their end.
    public func drain() {
        gate.drain()
        scheduler?.drain()
    }

    /// Whether requests are being computed.
    public var isBusy: Bool { scheduler?.isBusy ?? false }

    // MARK: Routes

    /// Answers a request. What is wrong with it is in the reply.
    public func reply(to request: ServiceRequest) -> ServiceReply { gate.reply(to: request, route(request.path)) }

    /// What answers each path but that of a single model.
    static let routes: [(path: String, route: @Sendable (Service) -> RequestGate.Route)] = [
        ("/", { _ in .get { .page(ChatPage.html) } }), ("/openapi.json", { _ in .get { InterfaceDescription.texts } }),
        ("/health", { service in .get { service.health() } }),
        ("/metrics", { service in .get { .metrics(service.metrics.text) } }),
        ("/v1/models", { service in .get { .json(["object": "list", "data": .array(service.models)]) } }),
        ("/tokenizer_info", { service in .get { try service.tokenizerInfo() } }),
        ("/v1/completions", { service in .post { try service.completions($0) } }),
        ("/v1/chat/completions", { service in .post { try service.chat($0) } }),
        ("/v1/embeddings", { service in .post { try service.embeddings($0) } }),
        ("/tokenize", { service in .post { .response(try service.tokenize($0)) } }),
        ("/detokenize", { service in .post { .response(try service.detokenize($0)) } }),
    ]

    /// What a client is told whose request the server could not read, counted.
    public func refusal(_ error: APIError) -> ServiceResponse { gate.refusal(error) }

    private func route(_ path: String) -> (name: String, route: RequestGate.Route)? {
        if let found = Self.routes.first(where: { $0.path == path }) { return (path, found.route(self)) }
        return path.dropping("/v1/models/").map { name in
            (
                "/v1/models/",
                .get {
                    guard let found = self.models.first(where: { $0["id"]?.stringValue == name }) else {
                        throw Self.noModel(name)
                    }
                    return .json(found)
                }
            )
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

    private func health() -> ServiceResponse {
        let (load, isDraining) = (metrics.load, gate.isDraining)
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
