import ArgumentParser
import LacunaIO
import LacunaTensor

/// A directory that a command writes, whole or not at all.
struct OutputDirectory: ExpressibleByArgument, Sendable, CustomStringConvertible {
    let path: String

    init(path: String) { self.path = path }

    init?(argument: String) {
        if argument.isEmpty { return nil }
        path = argument
    }

    var description: String { path }
    static var defaultCompletionKind: CompletionKind { .directory }

    /// Checks that the directory can be written when the work is done, and keeps other processes from it until then.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)``.
    func claim(overwriting: Bool) throws -> DirectoryLock {
        do {
            try AtomicDirectory.check(path, overwrite: overwriting)
        } catch LacunaError.file(path, let reason) where reason.hasPrefix("exists already") {
            throw LacunaError.file(path: path, reason: "\(reason); give --force to replace what Lacuna wrote there")
        }
        try FileSystem.createDirectory(FileSystem.directory(of: path))
        return try DirectoryLock(path)
    }
}
