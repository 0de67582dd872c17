import LacunaTensor

/// A file that appears under its name whole or not at all.
///
/// Bytes go to a hidden file beside the target; ``commit()`` flushes it to disk and renames it. An object that goes away
/// before that takes its bytes with it, so an error thrown half-way leaves no trace.
public final class AtomicFile {
    /// Where the file will appear.
    public let path: String
    /// Bytes written so far.
    public private(set) var count = 0
    private let temporary: String
    private var descriptor: Int32
    private var pending: [UInt8] = []

    /// - Throws: ``LacunaError/file(path:reason:)`` if the directory is missing or may not be written to, or `path` is a
    ///   directory.
    public init(_ path: String) throws {
        guard !FileSystem.isDirectory(path) else {
            throw LacunaError.file(path: path, reason: "is a directory, a file is needed")
        }
        self.path = path
        temporary = TemporaryFiles.reserve(beside: path)
        do {
            descriptor = try SystemCall.create(temporary)
        } catch {
            TemporaryFiles.forget(temporary)
            throw LacunaError.file(path: path, reason: "cannot be created: \(SystemCall.lastReason)")
        }
    }

    deinit { discard() }

    /// Writes a whole file.
    public static func write(_ bytes: some Collection<UInt8>, to path: String) throws {
        let file = try AtomicFile(path)
        try file.write(bytes)
        try file.commit()
    }

    public static func write(_ text: String, to path: String) throws { try write(text.utf8, to: path) }

    /// Appends bytes.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        precondition(descriptor >= 0, "the file is already committed")
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

    /// Calls `body` with everything written so far. The bytes are mapped, not copied.
    func readBack<R>(_ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        try flush()
        guard count > 0 else { return try body(UnsafeRawBufferPointer(start: nil, count: 0)) }
        let address = try SystemCall.map(descriptor, count: count, path: path)
        defer { SystemCall.unmap(address, count: count) }
        return try body(UnsafeRawBufferPointer(start: address, count: count))
    }

    /// Puts the file under its name, in place of whatever was there.
    public func commit() throws {
        precondition(descriptor >= 0, "the file is already committed")
        try flush()
        try SystemCall.synchronize(descriptor, path: path)
        SystemCall.closeFile(descriptor)
        descriptor = -1
        do {
            try SystemCall.move(temporary, to: path)
        } catch {
            discard()
            throw error
        }
        TemporaryFiles.forget(temporary)
        SystemCall.synchronizeDirectory(directoryOrDot)
    }

    /// Gives up what was written. Does nothing after ``commit()``.
    public func discard() {
        if descriptor >= 0 {
            SystemCall.closeFile(descriptor)
            descriptor = -1
        } else if !FileSystem.exists(temporary) {
            return
        }
        try? SystemCall.removeFile(temporary)
        TemporaryFiles.forget(temporary)
    }

    private var directoryOrDot: String {
        let directory = FileSystem.directory(of: path)
        return directory.isEmpty ? "." : directory
    }
}
