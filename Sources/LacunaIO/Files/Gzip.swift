import CZlib
import LacunaTensor

/// Gzip files (RFC 1952) and bare DEFLATE streams (RFC 1951), through zlib.
public enum Gzip {
    /// The content of a gzip file, or the bytes themselves if they do not begin as one.
    ///
    /// - Parameter limit: More bytes than this are an error, as a small file may unpack to a very large one.
    /// - Throws: `LacunaError.malformed` with the byte offset if the data is damaged.
    public static func decompressed(_ bytes: [UInt8], file: String, limit: Int = 1 << 30) throws -> [UInt8] {
        guard bytes.count >= 2, bytes[0] == 0x1F, bytes[1] == 0x8B else { return bytes }
        // 16 beside the window's 15 bits: with a gzip header and trailer, which zlib checks.
        return try Inflater(bytes, file: file, limit: limit, windowBits: 15 + 16).content(members: .max)
    }

    /// The content of a bare DEFLATE stream, as ZIP archives hold it.
    ///
    /// - Parameters:
    ///   - count: The bytes that it must unpack to.
    ///   - checksum: Their CRC-32.
    /// - Throws: `LacunaError.malformed` with the byte offset if the data is damaged.
    static func inflated(_ bytes: [UInt8], count: Int, checksum: UInt32, file: String) throws -> [UInt8] {
        let content = try inflated(bytes, count: count, windowBits: -15, file: file)
        guard Self.checksum(content[...]) == checksum else {
            throw LacunaError.malformed(
                file: file, location: "byte \(bytes.count)", reason: "the checksum does not agree")
        }
        return content
    }

    /// The content of a zlib stream (RFC 1950), as PNG pictures hold it; its own checksum is checked.
    ///
    /// - Parameter count: The bytes that it must unpack to.
    /// - Throws: `LacunaError.malformed` with the byte offset in the stream if the data is damaged.
    package static func inflated(zlib bytes: [UInt8], count: Int, file: String) throws -> [UInt8] {
        try inflated(bytes, count: count, windowBits: 15, file: file)
    }

    private static func inflated(_ bytes: [UInt8], count: Int, windowBits: Int32, file: String) throws -> [UInt8] {
        let inflater = Inflater(bytes, file: file, limit: count, windowBits: windowBits)
        // No stream unpacks to more than 1032 times its size: a larger claim need not be tried.
        guard count / 1032 <= bytes.count else {
            throw inflater.failure(bytes.count, "\(count) bytes are not in \(bytes.count) packed ones")
        }
        try MachineMemory.require(count, for: "the content of \(file)")
        let content = try inflater.content(members: 1, reserving: count)
        guard content.count == count else {
            throw inflater.failure(bytes.count, "unpacks to \(content.count) bytes instead of \(count)")
        }
        return content
    }

    /// The CRC-32 of bytes.
    package static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        UInt32(truncatingIfNeeded: bytes.withUnsafeBufferPointer { crc32_z(0, $0.baseAddress, $0.count) })
    }
}

/// zlib on bytes in memory, one piece of output at a time.
private struct Inflater {
    let bytes: [UInt8]
    let file: String
    let limit: Int
    let windowBits: Int32

    init(_ bytes: [UInt8], file: String, limit: Int, windowBits: Int32) {
        (self.bytes, self.file, self.limit, self.windowBits) = (bytes, file, limit, windowBits)
    }

    func failure(_ offset: Int, _ reason: String) -> LacunaError {
        .malformed(file: file, location: "byte \(offset)", reason: reason)
    }

    /// - Parameters:
    ///   - members: How many streams may follow each other; those of a gzip file are one content.
    ///   - expected: Bytes to make room for at once: a list that grows takes up to three times as many.
    func content(members: Int, reserving expected: Int = 0) throws -> [UInt8] {
        var stream = z_stream()
        let version = inflateInit2_(&stream, windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard version == Z_OK else {
            throw LacunaError.resource("memory to unpack \(file)", needed: 1 << 16, available: MachineMemory.available)
        }
        defer { inflateEnd(&stream) }
        guard !bytes.isEmpty else { throw failure(0, "there is nothing to unpack") }
        var output: [UInt8] = []
        output.reserveCapacity(expected)
        var piece = [UInt8](repeating: 0, count: 1 << 18)
        var position = 0
        var left = members
        return try bytes.withUnsafeBufferPointer { input in
            while true {
                let available = min(input.count - position, 1 << 30)
                stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress! + position)
                stream.avail_in = UInt32(available)
                let (code, made) = piece.withUnsafeMutableBufferPointer { target in
                    stream.next_out = target.baseAddress
                    stream.avail_out = UInt32(target.count)
                    let code = inflate(&stream, Z_NO_FLUSH)
                    return (code, target.count - Int(stream.avail_out))
                }
                position += available - Int(stream.avail_in)
                guard output.count + made <= limit else {
                    throw failure(position, "unpacks to more than \(limit) bytes")
                }
                output.append(contentsOf: piece[..<made])
                switch code {
                case Z_OK: continue
                case Z_STREAM_END:
                    left -= 1
                    if position == input.count || left == 0 { return output }
                    inflateReset(&stream)
                // No progress, though there is room for output: the input has ended.
                case Z_BUF_ERROR: throw failure(position, "the file ends inside its data")
                default: throw failure(position, stream.msg.map { String(cString: $0) } ?? "cannot be unpacked")
                }
            }
        }
    }
}
