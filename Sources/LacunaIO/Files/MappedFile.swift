import LacunaTensor

/// A file's bytes, read from disk when they are first touched and shared between processes.
///
/// What cannot be mapped, a pipe or a socket, is read to its end instead: whatever takes a file takes standard input.
///
/// The mapping lasts as long as the object. A file that another program shortens while it is mapped makes reads fail
/// with a bus error, as with every memory-mapped file: replace files by renaming, as ``AtomicFile`` does.
public final class MappedFile: @unchecked Sendable {
    /// The file's name, as it was given.
    public let path: String
    /// The whole content. Valid while this object lives.
    public let bytes: UnsafeRawBufferPointer

    private let isMapped: Bool

    /// - Throws: ``LacunaError/file(path:reason:)`` if `path` is missing, unreadable, a directory or a device, or a pipe of more
    ///   than 2 GiB.
    public init(_ path: String) throws {
        self.path = path
        let descriptor = try SystemCall.openForReading(path)
        defer { SystemCall.closeFile(descriptor) }
        let status = try SystemCall.status(descriptor, path: path)
        switch status.kind {
        case .file: break
        case .pipe, .socket:
            isMapped = false
            let content = try FileSystem.readBytes(descriptor, expecting: 0, path: path)
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: content.count, alignment: 64)
            copy.copyBytes(from: content)
            bytes = UnsafeRawBufferPointer(copy)
            return
        case .directory: throw LacunaError.file(path: path, reason: "is a directory, a file is needed")
        default: throw LacunaError.file(path: path, reason: "is not a plain file, and cannot be memory-mapped")
        }
        isMapped = true
        // An empty mapping is an error to the system, but an empty file is none to us: parsers say what is missing.
        bytes =
            status.size == 0
            ? UnsafeRawBufferPointer(start: nil, count: 0)
            : UnsafeRawBufferPointer(
                start: try SystemCall.map(descriptor, count: status.size, path: path), count: status.size)
    }

    deinit {
        if !isMapped {
            bytes.deallocate()
        } else if let address = bytes.baseAddress {
            SystemCall.unmap(address, count: bytes.count)
        }
    }

    /// Says that a part has been read and will hardly be read again, so that its memory can be had for something else. It stays
    /// readable.
    package func forget(_ part: UnsafeRawBufferPointer) {
        // Memory that is no file's would lose its content.
        guard isMapped, let start = part.baseAddress else { return }
        SystemCall.forget(start, count: part.count)
    }

    /// Bytes of the file.
    public var count: Int { bytes.count }
}
