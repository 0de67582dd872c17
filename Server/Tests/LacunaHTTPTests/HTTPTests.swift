import LacunaServing
import LacunaTensor
import Logging
import ServiceLifecycle
import ServingFixtures
import Testing

@testable import LacunaHTTP

/// The server on a port of this machine, and clients that know no manners. Their calls block, so that they run on threads apart from
/// the server's.
@Suite(.serialized)
struct HTTPTests {
    /// Runs a server while `body` asks it.
    private func serving(
        slots: Int = 4, bodyBytes: Int = 1 << 16, idle: Double = 20, connections: Int = 64,
        _ body: @escaping @Sendable (_ port: Int, LacunaServing.Service, ServiceGroup) async throws -> Void
    ) async throws {
        let service = try TinyModel().service(slots: slots, limits: .init(bodyBytes: bodyBytes))
        let logger = Logger(label: "tests") { _ in SwiftLogNoOpLogHandler() }
        let (ports, found) = AsyncStream<Int>.makeStream()
        let application = HTTPService(
            service, .init(port: 0, connections: connections, idleSeconds: idle), logger: logger
        ).application { found.yield($0) }
        let group = ServiceGroup(configuration: .init(services: [application], logger: logger))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            var iterator = ports.makeAsyncIterator()
            let port = await iterator.next()!
            do { try await body(port, service, group) } catch {
                await group.triggerGracefulShutdown()
                throw error
            }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }

    /// What was found not to hold on a thread of its own, where the test is not known.
    private final class Checks: Sendable {
        let failures = Locked<[(String, Int)]>([])
        func callAsFunction(_ holds: Bool, _ message: @autoclosure () -> String = "", line: Int = #line) {
            if !holds {
                let text = message()
                failures.withLock { $0.append((text, line)) }
            }
        }
    }

    /// Runs what blocks.
    private func blocking(_ body: @escaping @Sendable (_ check: Checks) throws -> Void) async throws {
        let checks = Checks()
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Threads.start { continuation.resume(with: Result { try body(checks) }) }
        }
        for (message, line) in checks.failures.withLock({ $0 }) { Issue.record("line \(line): \(message)") }
    }

    @Test func wholeAndStreamedResponses() async throws {
        try await serving { port, _, _ in
            try await blocking { check in
                let health = try Socket.exchange(port: port, "GET", "/health")
                check(health.hasPrefix("HTTP/1.1 200 OK\r\n") && health.hasSuffix(#""queued":0}"#))
                let whole = try Socket.exchange(
                    port: port, "POST", "/v1/completions", body: #"{"prompt":"abc","max_tokens":4,"temperature":0}"#)
                check(whole.hasPrefix("HTTP/1.1 200") && whole.contains(#""object":"text_completion""#))
                let stream = try Socket.exchange(
                    port: port, "POST", "/v1/completions",
                    body: #"{"prompt":"abc","max_tokens":4,"temperature":0,"stream":true}"#)
                check(stream.contains("text/event-stream") && stream.contains("data: [DONE]"))
                check(
                    try Socket.exchange(port: port, "GET", "/").contains("Content-Security-Policy: default-src 'none'"))
                check(try Socket.exchange(port: port, "GET", "/../../../etc/passwd").hasPrefix("HTTP/1.1 404"))
                check(try Socket.exchange(port: port, "GET", "/%2e%2e/etc/passwd").hasPrefix("HTTP/1.1 404"))
                // What asks for something in the address, which nothing reads.
                let asked = try Socket.exchange(port: port, "POST", "/tokenize?stream=true", body: #"{"prompt":"ab"}"#)
                check(asked.hasPrefix("HTTP/1.1 400") && asked.contains(#""param":"stream""#), asked)
                // A HEAD has the length of a body, and none, so that the next response is seen where it begins.
                let probe = try Socket(port: port)
                probe.send(Socket.request("HEAD", "/health") + Socket.request("HEAD", "/tokenize"))
                probe.send(Socket.request("POST", "/tokenize", body: #"{"prompt":"ab"}"#))
                let heads = probe.receive(until: #"[97,98]}"#).split(separator: "\r\n\r\n")
                check(heads.count == 4, "\(heads)")
                check(
                    heads[0].hasPrefix("HTTP/1.1 200") && !heads[0].lowercased().contains("content-length: 0"),
                    "\(heads)")
                check(heads[1].hasPrefix("HTTP/1.1 405") && heads[1].contains("POST"), "\(heads)")
                check(heads[2].hasPrefix("HTTP/1.1 200"), "\(heads)")
                // Several requests on a connection that stays.
                let socket = try Socket(port: port)
                for _ in 0..<3 {
                    socket.send(Socket.request("POST", "/tokenize", body: #"{"prompt":"ab"}"#))
                    check(socket.receive(until: #"[97,98]}"#).hasPrefix("HTTP/1.1 200"))
                }
                // Sent at once, answered in order.
                socket.send(
                    Socket.request("POST", "/tokenize", body: #"{"prompt":"a"}"#) + Socket.request("GET", "/health")
                        + Socket.request(
                            "POST", "/tokenize", body: #"{"prompt":"b"}"#, headers: "Connection: close\r\n"))
                let answers = socket.receiveAll()
                check(answers.contains("[97]") && answers.contains("queued") && answers.contains("[98]"))
            }
        }
    }

    @Test func bodiesAreLimited() async throws {
        try await serving(idle: 0.5) { port, service, _ in
            try await blocking { check in
                // Said to be too long; too long without saying so; said to be endless.
                let said = try Socket(port: port)
                said.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n{")
                check(said.receiveAll().hasPrefix("HTTP/1.1 413"))
                let chunked = try Socket(port: port)
                chunked.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                var chunks = 0
                while chunks < 1000, chunked.send("1000\r\n" + String(repeating: "a", count: 4096) + "\r\n") {
                    chunks += 1
                }
                check(chunks < 1000 || chunked.receive(until: "\r\n\r\n").hasPrefix("HTTP/1.1 413"))
                // Slower than it may be: a byte now and then, and nothing at all.
                let slow = try Socket(port: port)
                slow.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
                for _ in 0..<20 where slow.send(" ") { pause(milliseconds: 50) }
                let answer = slow.receiveAll()
                check(answer.hasPrefix("HTTP/1.1 408") && answer.contains("body_timeout"))
                let silent = try Socket(port: port)
                check(silent.receiveAll() == "")
                let half = try Socket(port: port)
                half.send("POST /v1/comple")
                check(half.receiveAll().isEmpty)
                check(try Socket.exchange(port: port, "GET", "/health").hasPrefix("HTTP/1.1 200"))
            }
        }
    }

    /// A client that leaves ends its text, whole or streamed, written or waiting.
    @Test func clientsThatLeave() async throws {
        try await serving(slots: 1) { port, service, _ in
            try await blocking { check in
                for body in [
                    #"{"prompt":"a","max_tokens":250,"ignore_eos":true,"stream":true}"#,
                    #"{"prompt":"a","max_tokens":250,"ignore_eos":true}"#,
                ] {
                    var sockets = try (0..<6).map { _ in try Socket(port: port) }
                    for socket in sockets { socket.send(Socket.request("POST", "/v1/completions", body: body)) }
                    if body.contains("stream") {
                        _ = sockets[0].receive(until: "data: ")
                    } else {
                        pause(milliseconds: 2)
                    }
                    sockets = []
                    let next = try Socket.exchange(
                        port: port, "POST", "/v1/completions", body: #"{"prompt":"b","max_tokens":2}"#)
                    check(next.hasPrefix("HTTP/1.1 200"))
                }
                for _ in 0..<2000 where service.isBusy { pause(milliseconds: 1) }
                check(!service.isBusy)
                let metrics = service.metrics.text
                let line = metrics.split(separator: "\n").first { $0.hasPrefix("lacuna_cancelled_requests_total") }!
                // Some may be complete before their clients have left; not all of twelve.
                check(Int(line.split(separator: " ")[1])! >= 1, "\(line)")
            }
        }
    }

    /// Bytes that are no HTTP, and HTTP that is no request: 400 of them, and it goes on serving.
    @Test func junk() async throws {
        try await serving(connections: 16) { port, _, _ in
            try await blocking { check in
                let ask = {
                    try Socket.exchange(
                        port: port, "POST", "/v1/completions", body: #"{"prompt":"abc","max_tokens":5,"temperature":0}"#
                    )
                }
                func text(_ response: String) -> Substring {
                    response.split(separator: #""text":"#)[1].prefix { $0 != "," }
                }
                let before = text(try ask())
                var generator = SeededGenerator(seed: 5)
                let template = Array(
                    Socket.request("POST", "/v1/completions", body: #"{"prompt":"abc","max_tokens":2}"#).utf8)
                for round in 0..<400 {
                    var bytes = template
                    switch round % 4 {
                    case 0:
                        bytes = (0..<Int.random(in: 1...300, using: &generator)).map { _ in
                            UInt8.random(in: 0...255, using: &generator)
                        }
                    case 1:
                        for _ in 0..<3 {
                            bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
                                in: 0...255, using: &generator)
                        }
                    case 2: bytes.removeLast(Int.random(in: 1..<bytes.count, using: &generator))
                    default:
                        bytes =
                            Array(
                                "GET /\(String(repeating: "a", count: Int.random(in: 0...40000, using: &generator))) HTTP/1.1\r\n"
                                    .utf8)
                            + Array(
                                String(repeating: "x: y\r\n", count: Int.random(in: 0...200, using: &generator)).utf8)
                            + Array("\r\n".utf8)
                    }
                    let socket = try Socket(port: port)
                    socket.send(bytes)
                    if round % 2 == 1 && round % 4 != 2 { pause(milliseconds: 1) }
                }
                check(text(try ask()) == before)
            }
        }
    }

    /// More connections than are taken: the others wait.
    @Test func connectionsWait() async throws {
        try await serving(idle: 0.4, connections: 4) { port, _, _ in
            try await blocking { check in
                let idle = try (0..<4).map { _ in try Socket(port: port) }
                // Those are closed when they have been idle for long enough.
                check(try Socket.exchange(port: port, "GET", "/health").hasPrefix("HTTP/1.1 200"))
                withExtendedLifetime(idle) {}
            }
        }
    }

    /// What has begun is finished, and nothing new is taken.
    @Test func shutdownDrains() async throws {
        try await serving { port, service, group in
            let socket = try Socket(port: port)
            socket.send(
                Socket.request(
                    "POST", "/v1/completions", body: #"{"prompt":"a","max_tokens":200,"ignore_eos":true,"stream":true}"#
                ))
            let begun = socket.receive(until: "data: ")
            service.drain()
            await group.triggerGracefulShutdown()
            let rest = begun + socket.receiveAll()
            #expect(rest.contains("data: [DONE]"))
            #expect(rest.contains(#""finish_reason":"length""#))
            // The port may still be open for a moment, but no text is begun.
            let late = (try? Socket.exchange(port: port, "POST", "/v1/completions", body: #"{"prompt":"a"}"#)) ?? ""
            #expect(late.isEmpty || late.hasPrefix("HTTP/1.1 503"))
        }
    }
}
