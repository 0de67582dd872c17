import HTTPTypes
import Hummingbird
import HummingbirdCore
import LacunaServing
import Logging
import NIOCore

/// A ``LacunaServing/WebService`` behind sockets: bodies within their limits, streams, and clients that leave.
public struct HTTPService: Sendable {
    /// What the sockets allow.
    public struct Settings: Sendable {
        /// Where to listen: a name or an address of this machine.
        public var host: String
        /// 0 for any that is free.
        public var port: Int
        /// Connections at once; others wait.
        public var connections: Int
        /// Seconds that a body may take to arrive, and that a connection may stay without a request.
        public var idleSeconds: Double

        /// Loopback unless it is said.
        public init(host: String = "127.0.0.1", port: Int = 8080, connections: Int = 256, idleSeconds: Double = 30) {
            (self.host, self.port, self.connections, self.idleSeconds) = (host, port, connections, idleSeconds)
        }
    }

    private let service: any WebService
    private let settings: Settings
    private let logger: Logger

    /// A service at a place.
    public init(_ service: any WebService, _ settings: Settings = .init(), logger: Logger) {
        (self.service, self.settings, self.logger) = (service, settings, logger)
    }

    /// What to run; it ends when its service group says so.
    ///
    /// - Parameter ready: Told the port once it is listened to.
    public func application(ready: @escaping @Sendable (Int) async -> Void = { _ in }) -> some ApplicationProtocol {
        Application(
            responder: CallbackResponder<Context> { request, context in
                let response = try await respond(request, context)
                // What would follow the head would be taken for the next response.
                return request.method == .head ? response.createHeadResponse() : response
            },
            server: .http1(
                configuration: .init(
                    idleTimeout: .milliseconds(Int64(settings.idleSeconds * 1000)),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: 16 << 10, maxHeaderListSize: 32 << 10, maxHeaderFieldCount: 100))),
            configuration: .init(
                address: .hostname(settings.host, port: settings.port), serverName: "lacuna",
                availableConnectionsDelegate: MaximumAvailableConnections(settings.connections, logger: logger)),
            onServerRunning: { channel in await ready(channel.localAddress?.port ?? 0) },
            logger: logger)
    }

    /// What is known of a request beside itself.
    struct Context: InitializableFromSource {
        let channel: any Channel
        init(source: ApplicationRequestContextSource) { channel = source.channel }
    }

    private func respond(_ request: Request, _ context: Context) async throws -> Response {
        var request = request
        let body: ByteBuffer
        do {
            body = try await read(&request)
        } catch let error as APIError {
            // What is still to come of the body is not waited for.
            return Self.response(service.refusal(error), thenCloses: context.channel)
        }
        let reply = service.reply(
            to: ServiceRequest(
                request.method.rawValue, request.uri.path + (request.uri.query.map { "?" + $0 } ?? ""),
                authorization: request.headers[.authorization],
                body: Array(body.readableBytesView)))
        switch reply {
        case .response(let response): return Self.response(response)
        case .deferred(let work):
            let response = try await request.body.consumeWithCancellationOnInboundClose { _ in await work() }
            // Whether the client leaves can be seen once on a connection.
            var answer = Self.response(response)
            answer.headers[.connection] = "close"
            return answer
        case .stream(let work):
            let body = request.body
            let channel = context.channel
            return Response(
                status: .ok,
                headers: [.contentType: "text/event-stream", .cacheControl: "no-cache", .connection: "close"],
                body: ResponseBody { writer in
                    let output = Output(writer)
                    do {
                        try await body.consumeWithCancellationOnInboundClose { _ in
                            try await work { try await output.write($0) }
                        }
                        try await output.finish()
                    } catch {
                        // The client has left.
                        channel.close(promise: nil)
                        throw error
                    }
                })
        }
    }

    /// The body, unless it is too long or too slow.
    private func read(_ request: inout Request) async throws -> ByteBuffer {
        let limit = service.limits.bodyBytes
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw APIError.tooLarge(limit)
        }
        let body = request.body
        let seconds = settings.idleSeconds
        let buffer = try await withThrowingTaskGroup(of: ByteBuffer?.self) { group in
            group.addTask {
                var collected = ByteBuffer()
                for try await var part in body {
                    guard collected.readableBytes + part.readableBytes <= limit else { throw APIError.tooLarge(limit) }
                    collected.writeBuffer(&part)
                }
                return collected
            }
            group.addTask {
                try await Task.sleep(for: .seconds(seconds))
                return nil
            }
            defer { group.cancelAll() }
            guard let first = try await group.next(), let buffer = first else { throw APIError.tooSlow }
            return buffer
        }
        request.body = RequestBody(buffer: buffer)
        return buffer
    }

    /// Writes pieces of a stream.
    private final class Output: @unchecked Sendable {
        private var writer: (any ResponseBodyWriter)?
        init(_ writer: any ResponseBodyWriter) { self.writer = writer }
        func write(_ text: String) async throws { try await writer?.write(ByteBuffer(string: text)) }
        func finish() async throws {
            try await writer?.finish(nil)
            writer = nil
        }
    }

    /// - Parameter channel: Closed when the response has been written.
    private static func response(_ response: ServiceResponse, thenCloses channel: (any Channel)? = nil) -> Response {
        var headers: HTTPFields = [.contentType: response.contentType]
        for (name, value) in response.headers {
            if let name = HTTPField.Name(name) { headers[name] = value }
        }
        let buffer = ByteBuffer(string: response.body)
        let status = HTTPResponse.Status(code: response.status)
        guard let channel else { return Response(status: status, headers: headers, body: .init(byteBuffer: buffer)) }
        headers[.connection] = "close"
        return Response(
            status: status, headers: headers,
            body: ResponseBody(contentLength: buffer.readableBytes) { writer in
                try await writer.write(buffer)
                try await writer.finish(nil)
                channel.close(mode: .all, promise: nil)
            })
    }
}
