import LacunaTensor

/// A directory that appears under its name with all its files or not at all.
///
/// Write files below ``workingPath``, then ``commit()``. An object that goes away before that removes everything.
public final class AtomicDirectory {
    /// Where the directory will appear.
    public let path: String
    /// Where its files are written meanwhile: a hidden directory beside `path`.
    public let workingPath: String
    private let overwrite: Bool
    private var isOpen = true

    /// - Parameter overwrite: Replace an existing directory. Otherwise one that exists and is not empty is an error.
    /// - Throws: ``LacunaError/file(path:reason:)`` if `path` is taken or cannot be made.
    public init(_ path: String, overwrite: Bool = false) throws {
        let trimmed = FileSystem.trimmingTrailingSlashes(path)
        self.path = trimmed
        self.overwrite = overwrite
        if FileSystem.exists(trimmed) {
            guard FileSystem.isDirectory(trimmed) else {
                throw LacunaError.file(path: trimmed, reason: "is a file, a directory is needed")
            }
            guard try overwrite || FileSystem.list(trimmed).isEmpty else {
                throw LacunaError.file(path: trimmed, reason: "exists already and is not empty")
            }
        }
        try FileSystem.createDirectory(FileSystem.directory(of: trimmed))
        workingPath = TemporaryFiles.reserve(beside: trimmed)
        do {
            try SystemCall.makeDirectory(workingPath)
        } catch {
            TemporaryFiles.forget(workingPath)
            throw LacunaError.file(path: trimmed, reason: "cannot be created: \(SystemCall.lastReason)")
        }
    }

    deinit { discard() }

    /// The path to write file `name` of the directory to.
    public func file(_ name: String) -> String { FileSystem.join(workingPath, name) }

    /// Puts the directory under its name. An old one is removed once the new one stands in its place.
    public func commit() throws {
        precondition(isOpen, "the directory is already committed")
        SystemCall.synchronizeDirectory(workingPath)
        if try FileSystem.exists(path) && (overwrite || FileSystem.list(path).isEmpty) {
            let old = try TemporaryFiles.exchange(workingPath, with: path)
            isOpen = false
            try FileSystem.remove(old)
            TemporaryFiles.forget(old)
        } else {
            try SystemCall.move(workingPath, to: path)
        }
        isOpen = false
        TemporaryFiles.forget(workingPath)
        let parent = FileSystem.directory(of: path)
        SystemCall.synchronizeDirectory(parent.isEmpty ? "." : parent)
    }

    /// Gives up what was written. Does nothing after ``commit()``.
    public func discard() {
        guard isOpen else { return }
        isOpen = false
        try? FileSystem.remove(workingPath)
        TemporaryFiles.forget(workingPath)
    }
}
