import LacunaTensor

/// A file that appears under its name whole or not at all.
///
/// Bytes go to a hidden file beside the target; ``commit()`` flushes it to disk and renames it. An object that goes away
/// before that takes its bytes with it, so an error thrown half-way leaves no trace.
///
/// A symbolic link stays one: what it leads to is replaced. A file that is replaced hands its permissions on. A terminal,
/// another character device or a pipe is written through, as its bytes come; disks and sockets are refused.
public final class AtomicFile {
    /// Where the file will appear.
    public let path: String
    /// Bytes written so far.
    public private(set) var count = 0
    /// The hidden file, and what it will be renamed to; nil for what is written through.
    private let replacement: (temporary: String, target: String)?
    private var descriptor: Int32
    private var pending: [UInt8] = []

    /// - Throws: ``LacunaError/file(path:reason:)`` if the directory is missing or may not be written to, or `path` is a
    ///   directory, a disk or a socket.
    public init(_ path: String) throws {
        self.path = path
        guard let target = try Self.replaceable(path) else {
            replacement = nil
            descriptor = try SystemCall.openForWriting(path)
            return
        }
        let temporary = TemporaryFiles.reserve(beside: target)
        replacement = (temporary, target)
        do {
            descriptor = try SystemCall.create(temporary)
        } catch {
            TemporaryFiles.forget(temporary)
            throw LacunaError.file(path: path, reason: "cannot be created: \(SystemCall.lastReason)")
        }
        _ = SystemCall.lock(descriptor)  // shows others that its writer lives
        SystemCall.copyAccess(from: target, to: descriptor)
    }

    deinit { discard() }

    /// Says whether a file could be written at `path`, as far as that can be said without making one.
    ///
    /// - Throws: As ``init(_:)``.
    public static func check(_ path: String) throws {
        guard let target = try replaceable(path) else {
            guard SystemCall.isWritable(path) else { throw SystemCall.failure(path) }
            return
        }
        let directory = FileSystem.directory(of: target)
        guard SystemCall.isWritable(directory.isEmpty ? "." : directory) else {
            throw LacunaError.file(path: path, reason: "cannot be created: \(SystemCall.lastReason)")
        }
    }

    /// What will be replaced: the end of a chain of links; nil for what is written through.
    private static func replaceable(_ path: String) throws -> String? {
        switch SystemCall.kind(path) {
        case .directory: throw LacunaError.file(path: path, reason: "is a directory, a file is needed")
        case .blockDevice: throw LacunaError.file(path: path, reason: "is a disk, which is not written to")
        case .socket: throw LacunaError.file(path: path, reason: "is a socket, which is not written to")
        case .characterDevice, .pipe: return nil
        case .file, .missing: return try FileSystem.followingLinks(path)
        }
    }

    /// Writes a whole file.
    public static func write(_ bytes: some Collection<UInt8>, to path: String) throws {
        let file = try AtomicFile(path)
        try file.write(bytes)
        try file.commit()
    }

    /// Writes a text, whole or not at all; see ``write(_:to:)``.
    public static func write(_ text: String, to path: String) throws { try write(text.utf8, to: path) }

    /// Appends bytes.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        require(descriptor >= 0, "the file is already committed")
        count += bytes.count
        if bytes.count < 1 << 16 {
            pending.append(contentsOf: bytes)
            if pending.count >= 1 << 18 { try flush() }
        } else {
            try flush()
            try SystemCall.writeAll(descriptor, bytes, path: path)
        }
    }

    /// Appends bytes.
    public func write(_ bytes: some Collection<UInt8>) throws {
        let done: Void? = try bytes.withContiguousStorageIfAvailable { try write(UnsafeRawBufferPointer($0)) }
        if done == nil { try Array(bytes).withUnsafeBytes { try write($0) } }
    }

    private func flush() throws {
        try pending.withUnsafeBytes { try SystemCall.writeAll(descriptor, $0, path: path) }
        pending.removeAll(keepingCapacity: true)
    }

    /// Whether bytes may be read back and written out of order.
    var isPlainFile: Bool { replacement != nil }

    /// Moves ranges of bytes behind those of another file, in the order given. The last bytes move first and this file
    /// shrinks as the other grows, so that the disk never holds two copies.
    func move(_ ranges: [Range<Int>], to other: AtomicFile) throws {
        require(isPlainFile && other.isPlainFile)
        try flush()
        try other.flush()
        var pieces: [(range: Range<Int>, position: Int)] = []
        for range in ranges {
            pieces.append((range, other.count))
            other.count += range.count
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 22, alignment: 64)
        defer { buffer.deallocate() }
        for (range, position) in pieces.sorted(by: { $0.range.lowerBound > $1.range.lowerBound }) {
            var end = range.upperBound
            while end > range.lowerBound {
                let start = max(range.lowerBound, end - buffer.count)
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(end - start)])
                try SystemCall.readWhole(descriptor, at: start, into: part, path: path)
                try SystemCall.writeAll(
                    other.descriptor, UnsafeRawBufferPointer(part), at: position + start - range.lowerBound, path: path)
                end = start
                try SystemCall.truncate(descriptor, to: end, path: path)
            }
        }
    }

    /// Puts the file under its name, in place of whatever was there.
    public func commit() throws {
        require(descriptor >= 0, "the file is already committed")
        try flush()
        guard let replacement else {
            SystemCall.closeFile(descriptor)
            descriptor = -1
            return
        }
        try SystemCall.synchronize(descriptor, path: path)
        do {
            try TemporaryFiles.uninterrupted { try SystemCall.move(replacement.temporary, to: replacement.target) }
        } catch {
            discard()
            throw error
        }
        // Only now, lest somebody should take a file without a lock for a dead process's.
        SystemCall.closeFile(descriptor)
        descriptor = -1
        TemporaryFiles.forget(replacement.temporary)
        let directory = FileSystem.directory(of: replacement.target)
        SystemCall.synchronizeDirectory(directory.isEmpty ? "." : directory)
    }

    /// Gives up what was written. Does nothing after ``commit()``.
    public func discard() {
        guard descriptor >= 0 else { return }
        if let replacement {
            try? SystemCall.removeFile(replacement.temporary)
            TemporaryFiles.forget(replacement.temporary)
        }
        SystemCall.closeFile(descriptor)
        descriptor = -1
    }
}
