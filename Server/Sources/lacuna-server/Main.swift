import ArgumentParser
import LacunaHTTP
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaRetrieve
import LacunaServing
import LacunaTensor
import Logging
import ServiceLifecycle

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

@main
struct LacunaServer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lacuna serve",
        abstract: "Serves a model to clients of OpenAI's interface, with log-probabilities of prompts; or an index.",
        discussion: """
            Examples:
              lacuna serve smollm2
              lacuna serve sparse-model --port 9000 --slots 16 --context 8192
              lacuna serve smollm2 --activation smollm2.wina.json --weights bf16
              LACUNA_API_KEY=… lacuna serve smollm2 --host 0.0.0.0
              lacuna serve --embeddings minilm
              lacuna serve --index abstracts            the same as lacuna search abstracts --serve 8080

            Listens on this machine alone unless --host says otherwise. Without a key everybody who reaches it may ask: give one \
            by --api-key-file or in LACUNA_API_KEY. SIGTERM and Ctrl-C let what has begun come to its end.

            The page at / holds a conversation, or searches the index. docs/Serving.md says what of the interface is there; what is not is refused, \
            with the name of the parameter.
            """)

    @Argument(
        help:
            "A model file or directory, or a catalogue name, of texts; needed unless --embeddings or --index is given.")
    var model: String?

    @Option(help: ArgumentHelp("A directory of sentence-transformers, for /v1/embeddings.", valueName: "directory"))
    var embeddings: String?

    @Option(
        help: ArgumentHelp(
            "A directory that 'lacuna index build' wrote, for /search; without models.", valueName: "directory"))
    var index: String?

    @Option(help: ArgumentHelp("With --index: the folder of its encoder, if it has moved.", valueName: "directory"))
    var encoder: String?

    @Option(help: ArgumentHelp("What clients call the model; as it is called here by default.", valueName: "name"))
    var name: String?

    @Option(help: ArgumentHelp("Where to listen: a name or address of this machine.", valueName: "host"))
    var host = "127.0.0.1"

    @Option(help: ArgumentHelp("The port; 0 for any that is free.", valueName: "n"))
    var port = 8080

    @Option(help: ArgumentHelp("A file whose first line is the key that clients have to give.", valueName: "file"))
    var apiKeyFile: String?

    @Option(help: ArgumentHelp("Texts that are read or written at once, or searches.", valueName: "n"))
    var slots = 8

    @Option(help: ArgumentHelp("Texts that may wait; more are refused with 429.", valueName: "n"))
    var queue = 256

    @Option(
        help: ArgumentHelp(
            "Positions of a text, prompt and answer; 4096, or what the model has, by default.", valueName: "n"))
    var context: Int?

    @Option(help: ArgumentHelp("Tokens of prompts that are read between two tokens of answers.", valueName: "n"))
    var promptRows = 128

    @Option(
        help: ArgumentHelp("MiB of keys and values kept for prompts that begin like earlier ones.", valueName: "n"))
    var keep = 256

    @Flag(help: "Say exactly what a text says alone, whoever else asks; busy servers are slower.")
    var exact = false

    @Option(help: ArgumentHelp("MiB of a request's body.", valueName: "n"))
    var body = 4

    @Option(help: ArgumentHelp("Seconds that a request may take.", valueName: "s"))
    var timeout = 600.0

    @Option(help: ArgumentHelp("Seconds that a body may take to arrive, and a connection may be idle.", valueName: "s"))
    var idle = 30.0

    @Option(help: ArgumentHelp("Connections at once.", valueName: "n"))
    var connections = 256

    @Option(
        help: ArgumentHelp("Weights of the layers: stored, f32, bf16, f16, int8 or int4.", valueName: "type"),
        transform: LacunaServer.precision)
    var weights: WeightPrecision = .stored

    @Option(
        help: ArgumentHelp(
            "Weights of embedding and output head; as the layers' by default, int8 for int4.", valueName: "type"),
        transform: LacunaServer.precision)
    var head: WeightPrecision?

    @Option(
        help: ArgumentHelp("Leave out inputs of products, by a file that 'lacuna calibrate' wrote.", valueName: "file"))
    var activation: String?

    @Option(help: "Keys that attention reads: quest:SHARE, alisa:SHARE or window:POSITIONS.")
    var attention: String?

    @Option(help: "How keys and values are kept: int8, int4, or mustafar:SPARSITY.")
    var kv: String?

    @Option(help: "Keys that prompts read: block-sparse:SHARE, vertical-slash:SHARE or flexprefill:MASS.")
    var prefill: String?

    @Option(help: "What is kept of a prompt once it has been read: snapkv:SHARE or ada-snapkv:SHARE.")
    var evict: String?

    @Option(help: ArgumentHelp("Threads to use; all cores by default.", valueName: "n"))
    var threads: Int?

    @Option(
        help: ArgumentHelp(
            "What is written to the error stream: trace, debug, info, notice, warning, error or critical.",
            valueName: "level"), transform: LacunaServer.level)
    var log: Logger.Level = .notice

    static func precision(_ text: String) throws -> WeightPrecision {
        guard let precision = WeightPrecision(rawValue: text) else {
            throw ValidationError(
                "'\(text)' is none of \(WeightPrecision.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return precision
    }

    static func level(_ text: String) throws -> Logger.Level {
        guard let level = Logger.Level(rawValue: text) else {
            throw ValidationError(
                "'\(text)' is none of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return level
    }

    func validate() throws {
        if index != nil {
            if model != nil || embeddings != nil { throw ValidationError("an --index is served without models") }
        } else if model == nil && embeddings == nil {
            throw ValidationError("give a model, or --embeddings, or --index")
        }
        if encoder != nil && index == nil { throw ValidationError("--encoder is for --index") }
        // What would be ignored is refused.
        let ofTexts: [(name: String, isGiven: Bool)] = [
            ("--slots", slots != 8 && index == nil), ("--queue", queue != 256), ("--context", context != nil),
            ("--prompt-rows", promptRows != 128), ("--keep", keep != 256), ("--exact", exact),
            ("--weights", weights != .stored), ("--head", head != nil), ("--activation", activation != nil),
            ("--attention", attention != nil), ("--kv", kv != nil), ("--prefill", prefill != nil),
            ("--evict", evict != nil),
        ]
        if model == nil, let given = ofTexts.first(where: \.isGiven) {
            throw ValidationError("\(given.name) is for a model of texts, and none is served")
        }
        let positive: [(String, Int)] = [
            ("slots", slots), ("queue", queue), ("prompt-rows", promptRows), ("body", body),
            ("connections", connections), ("threads", threads ?? 1), ("context", context ?? 1),
        ]
        for (name, value) in positive where !(1...1 << 30).contains(value) {
            throw ValidationError("--\(name) is \(value), and has to be at least 1")
        }
        if !(0...65535).contains(port) { throw ValidationError("--port is \(port), which is no port") }
        if !(0...1 << 20).contains(keep) { throw ValidationError("--keep is \(keep), and has to be at least 0") }
        if !(timeout > 0 && timeout < 1e6 && idle > 0 && idle < 1e6) {
            throw ValidationError("--timeout and --idle have to be above 0 and below 1000000")
        }
        if body > 1024 { throw ValidationError("--body is at most 1024 MiB") }
    }

    func run() async throws {
        do {
            try await serve()
        } catch let error as LacunaError {
            let text = "lacuna serve: error: \(error.description)\n"
            _ = text.withCString { write(2, $0, strlen($0)) }
            throw ExitCode(2)
        }
    }

    private func serve() async throws {
        if let threads { Parallel.threads = threads }
        let key = try apiKey()
        let service = try service(key)

        let level = log
        var logger = Logger(label: "lacuna") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = level
        if key == nil && !["127.0.0.1", "::1", "localhost"].contains(host) {
            logger.warning("listening beyond this machine without a key: whoever reaches it may ask")
        }
        let host = host
        let application = HTTPService(
            service, .init(host: host, port: port, connections: connections, idleSeconds: idle), logger: logger
        ).application { port in
            print("lacuna serve: http://\(host.contains(":") ? "[\(host)]" : host):\(port)")
            fflush(nil)
        }
        let group = ServiceGroup(
            configuration: {
                var configuration = ServiceGroupConfiguration(
                    services: [application, Drain(service: service)],
                    gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
                configuration.maximumGracefulShutdownDuration = .seconds(timeout + idle)
                return configuration
            }())
        try await group.run()
    }

    /// Tells the service that the end has come, before sockets are closed: services are stopped from the last to the first.
    private struct Drain: ServiceLifecycle.Service {
        let service: any WebService
        func run() async throws {
            try? await gracefulShutdown()
            service.drain()
        }
    }

    private func service(_ key: String?) throws -> any WebService {
        let limits = LacunaServing.Service.Limits(bodyBytes: body << 20, requestSeconds: timeout)
        if let index {
            return try SearchService(
                index, model: encoder, name: name, slots: slots, limits: limits, apiKey: key)
        }
        let embedder = try embeddings.map {
            ServedEmbedder(
                try DenseEncoder.load($0),
                name: model == nil ? name ?? FileSystem.name(of: $0) : FileSystem.name(of: $0))
        }
        if let model { return try texts(model, embedder, limits, key) }
        return LacunaServing.Service(embedder!, limits: limits, apiKey: key)
    }

    private func texts(
        _ name: String, _ embedder: ServedEmbedder?, _ limits: LacunaServing.Service.Limits, _ key: String?
    ) throws -> LacunaServing.Service {
        var loaded = try LanguageModel.load(name, weights: weights, head: head, checksNumbers: true)
        let meter = SkippingMeter()
        if let activation {
            guard FileSystem.isPlainFile(activation) else {
                throw LacunaError.invalidArgument(
                    "activation", reason: "'\(activation)' is no file; 'lacuna calibrate' writes one")
            }
            try loaded.skipActivations(loaded.activationPlan(activation), meter: meter)
        }
        let cache = try CacheRequest(attention: attention, keeping: kv, prompts: prefill, eviction: evict) {
            throw LacunaError.invalidArgument("attention", reason: "double is not served")
        }
        let isPlain = attention == nil && kv == nil && prefill == nil && evict == nil
        if !isPlain {
            try cache.apply(to: &loaded.skipping)
            loaded.skipping.meter = meter
        }
        let positions = loaded.decoder.configuration.maximumPositions
        return try LacunaServing.Service(
            ServedModel(loaded, name: self.name),
            scheduling: .init(
                slots: slots, queue: queue, context: context ?? min(4096, positions), promptRows: promptRows,
                keptBytes: keep << 20, isExact: exact),
            limits: limits, apiKey: key, embedder: embedder, sharesPrefixes: isPlain)
    }

    private func apiKey() throws -> String? {
        if let apiKeyFile {
            let key = try FileSystem.readText(apiKeyFile).prefix { !$0.isNewline }
            guard !key.isEmpty else {
                throw LacunaError.invalidArgument("api-key-file", reason: "the first line of \(apiKeyFile) is empty")
            }
            return String(key)
        }
        guard let key = getenv("LACUNA_API_KEY").map({ String(cString: $0) }), !key.isEmpty else { return nil }
        return key
    }
}
