import LacunaTensor

/// The right to write a directory, which one process has at a time.
///
/// It is a lock on a hidden file beside the directory (inside it where the directory above may not be written to), which
/// holds the process's number. The system takes the lock back from a process that dies; the next one takes over its file.
/// Within a process the right may be asked for again: ``AtomicDirectory`` does so under a lock that its caller holds.
public final class DirectoryLock {
    private struct Held {
        var descriptor: Int32
        var holders: Int
    }

    private static let held = Locked<[String: Held]>([:])
    /// The lock's file; nil where the file system has no locks, and after ``release()``.
    private var file: String?

    /// - Parameter directory: A directory that is there or will be.
    /// - Throws: ``LacunaError/file(path:reason:)`` with the number of the process that writes there now.
    public init(_ directory: String) throws {
        let place = try FileSystem.resolved(directory)
        let name = FileSystem.name(of: place)
        let beside = FileSystem.join(FileSystem.directory(of: place), ".\(FileSystem.shortened(name)).lock")
        file = try Self.held.withLock { held in
            for file in [beside, FileSystem.join(place, ".lock")] {
                if held[file] != nil {
                    held[file]!.holders += 1
                    return file
                }
                guard let descriptor = try Self.take(file, for: directory) else { continue }
                guard descriptor >= 0 else { return nil }
                held[file] = Held(descriptor: descriptor, holders: 1)
                TemporaryFiles.remember(file)
                return file
            }
            return nil
        }
    }

    deinit { release() }

    /// Gives the right back. Does nothing the second time.
    public func release() {
        guard let file else { return }
        self.file = nil
        Self.held.withLock { held in
            guard var lock = held[file] else { return }
            lock.holders -= 1
            held[file] = lock.holders > 0 ? lock : nil
            guard lock.holders == 0 else { return }
            // The name goes first: whoever opens it from now on makes a file, and a lock, of their own.
            try? SystemCall.removeFile(file)
            TemporaryFiles.forget(file)
            SystemCall.closeFile(lock.descriptor)
        }
    }

    /// The locked file's descriptor; nil if there can be no such file, -1 if it cannot be locked.
    private static func take(_ file: String, for directory: String) throws -> Int32? {
        while let descriptor = SystemCall.openLock(file) {
            switch SystemCall.lock(descriptor) {
            case .taken:
                // The last holder may have removed the name between opening and locking.
                guard SystemCall.identity(descriptor) == SystemCall.identity(file) else { break }
                let number = Array("\(SystemCall.processIdentifier)\n".utf8)
                try? SystemCall.truncate(descriptor, to: 0, path: file)
                number.withUnsafeBytes { try? SystemCall.writeAll(descriptor, $0, at: 0, path: file) }
                return descriptor
            case .held:
                SystemCall.closeFile(descriptor)
                let holder = (try? FileSystem.readText(file, limit: 64))?.split(separator: "\n").first
                throw LacunaError.file(
                    path: directory,
                    reason: "is being written by \(holder.map { "process \($0)" } ?? "another process")")
            case .unsupported:
                SystemCall.closeFile(descriptor)
                return -1
            }
            SystemCall.closeFile(descriptor)
        }
        return nil
    }

    /// Whether an entry of a directory is a lock's file.
    static func isLock(_ name: String) -> Bool { name == ".lock" }
}
