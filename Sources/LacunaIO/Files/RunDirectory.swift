import LacunaTensor

/// A directory that a run fills as it goes, over minutes or days: metrics, checkpoints, results.
///
/// Unlike an ``AtomicDirectory`` it is there from the beginning. A run takes only a place where nothing of anybody else's can be
/// overwritten.
public enum RunDirectory {
    private static let marker: JSONValue = ["writer": "lacuna", "holds": "a run"]

    /// Says before the work whether a new run may take a directory: one that is not there, is empty, or was taken before by a run
    /// that did not get far. Makes nothing.
    ///
    /// - Parameter accepting: Names that may lie there already: the user's own, which the run leaves as they are.
    /// - Throws: ``LacunaError/file(path:reason:)`` for a file, and for a directory with anything else.
    public static func check(_ path: String, accepting: Set<String> = []) throws {
        guard FileSystem.exists(path) else { return }
        guard FileSystem.isDirectory(path) else {
            throw LacunaError.file(path: path, reason: "is a file, a directory is needed")
        }
        let text = try? FileSystem.readText(FileSystem.join(path, AtomicDirectory.markerName), limit: 1 << 16)
        if let text, let found = try? JSONValue(parsing: text), found == marker { return }
        let other = try FileSystem.list(path).first {
            !accepting.contains($0) && !TemporaryFiles.isUnfinished($0) && !DirectoryLock.isLock($0)
        }
        if let other {
            throw LacunaError.file(
                path: path, reason: "holds '\(other)', which is no part of a run: give a new or an empty directory")
        }
    }

    /// Says that a directory holds a run to go on with, by a file that every such run has.
    ///
    /// - Parameters:
    ///   - name: The file's.
    ///   - advice: What to do where it is missing.
    /// - Throws: ``LacunaError/file(path:reason:)`` that names the file and gives the advice.
    public static func require(_ name: String, in path: String, otherwise advice: String = "start it again") throws {
        let file = FileSystem.join(path, name)
        if FileSystem.exists(file) { return }
        throw LacunaError.file(
            path: file,
            reason: "is not there: \(path) holds no run to go on with, or one that stopped before this was written; "
                + advice)
    }

    /// Takes a directory for a new run. Makes it, and leaves ``AtomicDirectory/markerName`` in it, by which it is known from then
    /// on.
    ///
    /// - Returns: The lock that keeps other processes out.
    /// - Throws: As ``check(_:accepting:)``, and for a directory that may not be written to or that another process writes to.
    public static func claim(_ path: String, accepting: Set<String> = []) throws -> DirectoryLock {
        try check(path, accepting: accepting)
        try FileSystem.createDirectory(path)
        let lock = try DirectoryLock(path)
        try check(path, accepting: accepting)
        try AtomicFile.write(marker.serialized() + "\n", to: FileSystem.join(path, AtomicDirectory.markerName))
        return lock
    }
}
