import LacunaTensor

/// The lines of a file, a pipe or standard input, one after another; a file may be larger than memory.
///
/// A name that ends in `.gz` is unpacked, in memory. Line ends are `\n` or `\r\n`.
public final class TextLines {
    /// As it was given; `/dev/stdin` for `-`.
    public let path: String
    /// The number of the line that ``next()`` gave last, from 1.
    public private(set) var line = 0
    private let descriptor: Int32
    private var pending: [UInt8] = []
    private var position = 0
    private var isAtEnd = false

    /// Longer lines are an error: no document is as long, and one without an end would take all memory.
    public static let longestLine = 1 << 28

    /// - Parameter path: A file; `-` is standard input.
    /// - Throws: `LacunaError.file` if it cannot be read, `LacunaError.malformed` for a damaged `.gz`.
    public init(_ path: String) throws {
        self.path = path == "-" ? "/dev/stdin" : path
        if FileSystem.isDirectory(self.path) { throw LacunaError.file(path: path, reason: "is a directory") }
        if path.hasSuffix(".gz") {
            pending = try Gzip.decompressed(FileSystem.readBytes(path), file: path, limit: 1 << 32)
            (isAtEnd, descriptor) = (true, -1)
            return
        }
        descriptor = try SystemCall.openForReading(self.path)
    }

    deinit { if descriptor >= 0 { SystemCall.closeFile(descriptor) } }

    /// The bytes of the next line without its end; nil after the last.
    ///
    /// - Throws: `LacunaError.file` where reading fails, `LacunaError.malformed` for a line that is too long.
    public func next() throws -> ArraySlice<UInt8>? {
        var searched = position
        while true {
            if let end = pending[searched...].firstIndex(of: 0x0A) {
                defer { position = end + 1 }
                return finish(pending[position..<end])
            }
            searched = pending.count
            if isAtEnd {
                guard position < pending.count else { return nil }
                defer { position = pending.count }
                return finish(pending[position...])
            }
            guard pending.count - position <= Self.longestLine else {
                line += 1
                throw failure("is longer than \(Self.longestLine) bytes")
            }
            if position > 0 {
                pending.removeSubrange(..<position)
                (searched, position) = (searched - position, 0)
            }
            try fill()
        }
    }

    private func finish(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        line += 1
        return bytes.last == 0x0D ? bytes.dropLast() : bytes
    }

    private func fill() throws {
        let old = pending.count
        let piece = 1 << 18
        pending.append(contentsOf: repeatElement(0, count: piece))
        let count = try pending.withUnsafeMutableBytes {
            try SystemCall.readSome(descriptor, into: UnsafeMutableRawBufferPointer(rebasing: $0[old...]), path: path)
        }
        pending.removeLast(piece - count)
        isAtEnd = count == 0
    }

    /// The error for the line that was given last.
    public func failure(_ reason: String) -> LacunaError {
        .malformed(file: path, location: "line \(line)", reason: reason)
    }

    /// The next line as text; nil after the last.
    ///
    /// - Throws: As ``next()``, and `LacunaError.malformed` for bytes that are not UTF-8.
    public func nextText() throws -> String? {
        guard let bytes = try next() else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.utf8.count == bytes.count, text.utf8.elementsEqual(bytes) else {
            throw failure("is not UTF-8 text")
        }
        return text
    }
}
