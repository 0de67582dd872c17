import LacunaIO
import LacunaTensor

/// Where a command will write a directory.
enum OutputPlace {
    /// Says no before hours of work rather than after them.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` if something is there that must not be replaced: anything without
    ///   `overwriting`, and even then what is no model, because a mistyped path must not cost a home directory.
    static func check(_ path: String, overwriting: Bool) throws {
        guard FileSystem.exists(path) else { return }
        guard FileSystem.isDirectory(path) else {
            throw LacunaError.file(path: path, reason: "is a file; a directory is to be written there")
        }
        let content = try FileSystem.list(path)
        if content.isEmpty { return }
        guard content.contains("config.json") else {
            throw LacunaError.file(path: path, reason: "holds something that is not a model; it is not replaced")
        }
        guard overwriting else {
            throw LacunaError.file(path: path, reason: "exists already; give --force to replace it")
        }
    }

    /// The same for a single file.
    static func check(file path: String, overwriting: Bool) throws {
        if FileSystem.isDirectory(path) { throw LacunaError.file(path: path, reason: "is a directory") }
        if FileSystem.exists(path) && !overwriting {
            throw LacunaError.file(path: path, reason: "exists already; give --force to replace it")
        }
    }
}
