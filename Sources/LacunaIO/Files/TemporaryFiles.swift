import LacunaTensor

/// The unfinished files and directories of this process, so that an interrupted program can remove them, and those that
/// dead processes left behind.
public enum TemporaryFiles {
    private struct State {
        var paths: Set<String> = []
        var serial = 0
    }

    private static let state = Locked(State())

    /// A path beside `target` that nobody else uses, remembered until ``forget(_:)``. What dead processes left beside the
    /// same target is removed.
    static func reserve(beside target: String) -> String {
        reserve(in: FileSystem.directory(of: target), for: FileSystem.name(of: target))
    }

    /// The same in a directory of the caller's choice.
    static func reserve(in directory: String, for name: String) -> String {
        let prefix = prefix(name)
        removeLeftovers(in: directory, prefix)
        return state.withLock { state in
            state.serial += 1
            let path = FileSystem.join(directory, "\(prefix)\(SystemCall.processIdentifier)-\(state.serial)")
            state.paths.insert(path)
            return path
        }
    }

    private static func prefix(_ name: String) -> String { ".\(FileSystem.shortened(name)).unfinished-" }

    /// Whether an entry of a directory is somebody's unfinished work.
    static func isUnfinished(_ name: String) -> Bool { name.hasPrefix(".") && name.contains(".unfinished-") }

    /// Whether it is that of `target`.
    static func isUnfinished(_ name: String, of target: String) -> Bool {
        name.hasPrefix(prefix(FileSystem.name(of: target)))
    }

    /// Whether the process whose number is in the name of something unfinished is there.
    static func writerIsAlive(_ name: String) -> Bool {
        let number = name.split(separator: ".unfinished-").last?.split(separator: "-").first.flatMap { Int($0) }
        return SystemCall.isAlive(process: number ?? 0)
    }

    /// A writer holds a lock on what it writes for as long as it lives, so a lock that can be had shows a dead one. A number
    /// alone does not: it may have been given to another process, or be that of a process in another container. Between
    /// making a file and locking it a writer is recognised by its number and the file's age.
    private static func removeLeftovers(in directory: String, _ prefix: String) {
        for name in (try? FileSystem.list(directory.isEmpty ? "." : directory)) ?? [] where name.hasPrefix(prefix) {
            let path = FileSystem.join(directory, name)
            let process = name.dropFirst(prefix.count).split(separator: "-").first.flatMap { Int($0) } ?? 0
            guard process != SystemCall.processIdentifier, let descriptor = SystemCall.openForLocking(path) else {
                continue
            }
            defer { SystemCall.closeFile(descriptor) }
            let isDead = !SystemCall.isAlive(process: process)
            switch SystemCall.lock(descriptor) {
            case .held: continue
            case .taken where isDead || SystemCall.age(path) ?? 0 > 60, .unsupported where isDead:
                try? FileSystem.remove(path)
            default: continue
            }
        }
    }

    /// Remembers a path that the process has to remove before it ends.
    static func remember(_ path: String) { state.withLock { _ = $0.paths.insert(path) } }

    static func forget(_ path: String) { state.withLock { _ = $0.paths.remove(path) } }

    /// Calls `body`, several steps of which an interruption must not see only some.
    static func uninterrupted<R>(_ body: () throws -> R) rethrows -> R { try state.withLock { _ in try body() } }

    /// Removes everything unfinished, once nobody is between two steps that belong together. For a program that is about to
    /// end.
    public static func removeAll() {
        state.withLock { state in
            // Other threads may still be adding files to a directory while it is emptied.
            for path in state.paths {
                for _ in 0..<3 where FileSystem.isSomething(path) { try? FileSystem.remove(path) }
            }
            state.paths = []
        }
    }
}
