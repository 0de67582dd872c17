import LacunaIO
import LacunaRetrieve
import LacunaSparse
import LacunaTensor

/// An index directory behind a plain JSON interface and a page to search it by. Every search sees the index as it was last
/// committed, whoever writes to it meanwhile. No path or name in a request reaches the file system.
public final class SearchService: WebService {
    /// Results that a search may ask for.
    public static let mostHits = 1000

    public let limits: Service.Limits
    /// What clients call the index.
    public let name: String
    private let index: LiveIndex
    /// What turns a text into a query; nil for an index of vectors that says nothing of it.
    private let weighting: TextWeighting?
    private let slots: Int
    private let gate: RequestGate
    private let state = Locked(State())

    private struct State {
        var responses = ResponseCounts()
        var active = 0
        var searches = 0
        var documentsScored = 0
        /// In seconds.
        var times = Histogram([0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1])
    }

    /// - Parameters:
    ///   - model: The folder of the index's encoder, if it is not where the index says.
    ///   - name: What clients call it; the directory's by default.
    ///   - slots: Searches at once; further ones are told to come again.
    ///   - apiKey: What clients have to know; nil if everybody may ask.
    /// - Throws: As ``LacunaRetrieve/LiveIndex/init(_:checking:)`` and
    ///   ``LacunaRetrieve/TextWeighting/init(_:path:)``.
    public init(
        _ path: String, model: String? = nil, name: String? = nil, slots: Int = 64, limits: Service.Limits = .init(),
        apiKey: String? = nil
    ) throws {
        index = try LiveIndex(path)
        weighting = try TextWeighting(index.snapshot().settings, path: model)
        (self.name, self.slots, self.limits) = (name ?? FileSystem.name(of: path), slots, limits)
        let state = state
        gate = RequestGate(limits, apiKey: apiKey) { path, status in
            state.withLock { $0.responses.note(path: path, status: status) }
        }
    }

    public func drain() { gate.drain() }
    public func refusal(_ error: APIError) -> ServiceResponse { gate.refusal(error) }

    public func reply(to request: ServiceRequest) -> ServiceReply {
        let path = request.path
        let found = Self.routes.first { $0.path == path }
        return gate.reply(to: request, found.map { (path, $0.route(self)) })
    }

    /// What answers each path.
    static let routes: [(path: String, route: @Sendable (SearchService) -> RequestGate.Route)] = [
        ("/", { _ in .get { .page(SearchPage.html) } }),
        ("/openapi.json", { _ in .get { InterfaceDescription.search } }),
        ("/health", { service in .get { service.health() } }),
        ("/metrics", { service in .get { .metrics(try service.metrics()) } }),
        ("/index", { service in .get { .json(try service.description()) } }),
        ("/search", { service in .post { try service.search($0) } }),
    ]

    // MARK: What is served

    private func health() -> ServiceResponse {
        .json(["status": gate.isDraining ? "draining" : "ok"], status: gate.isDraining ? 503 : 200)
    }

    private func description() throws -> JSONValue {
        let snapshot = try index.snapshot()
        return [
            "name": .string(name), "documents": JSONValue(snapshot.documentCount),
            "terms": JSONValue(snapshot.terms.count),
            "generation": JSONValue(snapshot.generation), "takes_text": .bool(weighting != nil),
            "fields": .array(snapshot.fields.map { .string($0) }),
        ]
    }

    private func metrics() throws -> String {
        let (state, documents) = (state.withLock { $0 }, try index.snapshot().documentCount)
        var text = PrometheusText()
        state.responses.write(to: &text)
        text.counter("searches_total", "Searches answered.", state.searches)
        text.counter("documents_scored_total", "Documents whose score was computed by them.", state.documentsScored)
        text.gauge("active_searches", "Searches being answered.", state.active)
        text.gauge("documents", "Documents that can be found.", documents)
        text.histogram("search_seconds", "Of a search, its text encoded.", state.times)
        return text.text
    }

    // MARK: Searching

    private func search(_ fields: RequestFields) throws -> ServiceReply {
        let request = try SearchRequest(fields, takesText: weighting != nil)
        let isFree = state.withLock { state in
            if state.active >= slots { return false }
            state.active += 1
            return true
        }
        guard isFree else { throw APIError.busy("\(slots) searches are being answered; try again.") }
        return .deferred { [self] in
            defer { state.withLock { $0.active -= 1 } }
            do { return .json(try answer(request)) } catch { return ServiceResponse(APIError(error)) }
        }
    }

    private func answer(_ request: SearchRequest) throws -> JSONValue {
        let start = monotonicSeconds()
        let snapshot = try index.snapshot()
        for (name, isGiven) in [("query_cut", request.queryCut != nil), ("heap_factor", request.heapFactor != nil)]
        where isGiven {
            guard case .seismic = snapshot.settings.kind, !request.isExact else {
                throw APIError.invalid(name, "'\(name)' is for approximate searches; this one is exact.")
            }
        }
        let weights: [(term: String, weight: Float)]
        switch request.query {
        case .text(let text): weights = try weighting?.queries([text])[0] ?? []
        case .weights(let given): weights = given
        }
        var search: SeismicSearch?
        if request.queryCut != nil || request.heapFactor != nil {
            var changed = snapshot.settings.search
            if let cut = request.queryCut { changed.queryCut = cut }
            if let factor = request.heapFactor { changed.heapFactor = Float(factor) }
            search = changed
        }
        let found: (hits: [SearchHit], work: SearchWork)
        do {
            found = try snapshot.search(
                snapshot.query(weights), count: request.count, filter: request.filter, search: search,
                exactly: request.isExact)
        } catch {
            throw APIError(error, parameter: request.filter == nil ? nil : "filter")
        }
        let seconds = monotonicSeconds() - start
        state.withLock {
            $0.searches += 1
            $0.documentsScored += found.work.documentsScored
            $0.times.note(seconds)
        }
        return [
            "hits": .array(
                found.hits.enumerated().map { rank, hit in
                    [
                        "rank": JSONValue(rank + 1), "id": .string(hit.id), "score": .number(Double(hit.score)),
                        "text": .string(hit.text),
                        "terms": .array(
                            hit.contributions.map { ["term": .string($0.term), "score": .number(Double($0.score))] }),
                    ]
                }),
            "documents": JSONValue(snapshot.documentCount), "documents_scored": JSONValue(found.work.documentsScored),
            "generation": JSONValue(snapshot.generation), "seconds": .number(seconds),
        ]
    }
}
