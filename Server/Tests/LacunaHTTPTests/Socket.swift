import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A connection to the server on this machine, of bytes alone: what no client library would send can be sent.
final class Socket {
    private let descriptor: Int32

    init(port: Int, timeout: Int = 20) throws {
        #if os(Linux)
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
            descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var limit = timeval(tv_sec: timeout, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
        }
        guard status == 0 else { throw LacunaError.file(path: "socket", reason: "no connection: \(errno)") }
    }

    deinit { close(descriptor) }

    /// Sends what the other side takes; false if it has closed.
    @discardableResult func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { pointer in
                #if os(Linux)
                    Glibc.send(
                        descriptor, pointer.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
                #else
                    Darwin.send(descriptor, pointer.baseAddress! + sent, bytes.count - sent, 0)
                #endif
            }
            if count <= 0 { return false }
            sent += count
        }
        return true
    }

    @discardableResult func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    /// What comes next; nil at the end, or after the time limit.
    func receive() -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress!, $0.count, 0) }
        return count > 0 ? Array(buffer[..<count]) : nil
    }

    /// Everything until the other side closes.
    func receiveAll() -> String {
        var bytes: [UInt8] = []
        while let more = receive() { bytes += more }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Until `text` has come, or the end.
    func receive(until text: String) -> String {
        var bytes: [UInt8] = []
        while !String(decoding: bytes, as: UTF8.self).contains(text), let more = receive() { bytes += more }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// One request on a connection of its own, and the whole response.
    static func exchange(port: Int, _ method: String, _ path: String, body: String = "", headers: String = "") throws
        -> String
    {
        let socket = try Socket(port: port)
        socket.send(request(method, path, body: body, headers: headers + "Connection: close\r\n"))
        return socket.receiveAll()
    }

    static func request(_ method: String, _ path: String, body: String = "", headers: String = "") -> String {
        "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(body.utf8.count)\r\n\(headers)\r\n\(body)"
    }
}
