#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// The unfinished files and directories of this process, so that an interrupted program can remove them.
public enum TemporaryFiles {
    private static let lock = Lock()
    nonisolated(unsafe) private static var paths: Set<String> = []
    nonisolated(unsafe) private static var serial = 0

    /// A path beside `target` that nobody else uses, remembered until ``forget(_:)``.
    static func reserve(beside target: String) -> String {
        lock.withLock {
            let path = unusedPath(beside: target)
            paths.insert(path)
            return path
        }
    }

    private static func unusedPath(beside target: String) -> String {
        serial += 1
        let name = ".\(FileSystem.name(of: target)).unfinished-\(SystemCall.processIdentifier)-\(serial)"
        return FileSystem.join(FileSystem.directory(of: target), name)
    }

    /// Moves `new` to `path`, where something stands already, and returns where that went. An interruption waits until
    /// both moves are done, so that one of the two always stands at `path` afterwards.
    static func exchange(_ new: String, with path: String) throws -> String {
        try lock.withLock {
            let old = unusedPath(beside: path)
            try SystemCall.move(path, to: old)
            do {
                try SystemCall.move(new, to: path)
            } catch {
                try SystemCall.move(old, to: path)
                throw error
            }
            paths.remove(new)
            paths.insert(old)
            return old
        }
    }

    static func forget(_ path: String) {
        lock.withLock { _ = paths.remove(path) }
    }

    /// Removes everything unfinished. For a program that is about to end.
    public static func removeAll() {
        lock.withLock {
            // Other threads may still be adding files to a directory while it is emptied.
            for path in paths {
                for _ in 0..<3 where FileSystem.exists(path) { try? FileSystem.remove(path) }
            }
            paths = []
        }
    }

    nonisolated(unsafe) private static var wakeUp: (read: Int32, write: Int32) = (-1, -1)

    /// From now on an interrupt (Ctrl-C), hang-up or termination signal removes everything unfinished and ends the
    /// process with status 128 + signal. Call once, at the start of a program; a library never should.
    public static func removeAllWhenInterrupted() {
        var ends: [Int32] = [-1, -1]
        guard wakeUp.read < 0, pipe(&ends) == 0 else { return }
        wakeUp = (ends[0], ends[1])
        let reader = ends[0]
        SystemCall.startThread {
            var signal: UInt8 = 0
            while read(reader, &signal, 1) != 1 {}
            removeAll()
            _exit(128 + Int32(signal))
        }
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // A handler may do next to nothing: it wakes the thread above.
            #if canImport(Darwin)
                Darwin.signal(signal) { TemporaryFiles.wake($0) }
            #elseif canImport(Musl)
                Musl.signal(signal) { TemporaryFiles.wake($0) }
            #else
                Glibc.signal(signal) { TemporaryFiles.wake($0) }
            #endif
        }
    }

    private static func wake(_ signal: Int32) {
        var byte = UInt8(truncatingIfNeeded: signal)
        _ = write(wakeUp.write, &byte, 1)
    }
}
