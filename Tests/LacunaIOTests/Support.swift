import Foundation
import LacunaIO
import LacunaTensor
import Testing

/// A directory for one test's files, removed with the object.
final class Scratch {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/lacuna-io-\(UUID().uuidString)"
        try FileSystem.createDirectory(path)
    }

    deinit { try? FileSystem.remove(path) }

    func file(_ name: String) -> String { FileSystem.join(path, name) }

    /// Writes a file and returns its path. Does not wait for the disk, as `AtomicFile` would.
    func write(_ bytes: some Collection<UInt8>, to name: String) throws -> String {
        // Some file systems flush a file that is cut to nothing and written again; a new one is left in memory.
        try FileSystem.remove(file(name))
        try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }
    /// Replaces the content of a file that is there, in place: thousands of times faster than new files on a busy disk.
    func overwrite(_ bytes: [UInt8], in name: String) throws {
        let handle = try #require(FileHandle(forUpdatingAtPath: file(name)))
        try handle.write(contentsOf: Data(bytes))
        try handle.truncate(atOffset: UInt64(bytes.count))
        try handle.close()
    }
}

func fixture(_ name: String) throws -> String {
    let path = try #require(Bundle.module.path(forResource: "Fixtures", ofType: nil))
    return path + "/" + name
}

/// A file from the library's own data folder, found from this source file.
func repositoryFile(_ name: String, from source: String = #filePath) -> String {
    URL(fileURLWithPath: source).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent(name).path
}

/// Calls `body` and returns the error it throws, which has to be a `LacunaError`.
func failure<T>(
    _ body: () throws -> T, sourceLocation: SourceLocation = #_sourceLocation
) -> LacunaError? {
    do {
        _ = try body()
        Issue.record("no error was thrown", sourceLocation: sourceLocation)
    } catch let error as LacunaError {
        return error
    } catch {
        Issue.record("an untyped error: \(error)", sourceLocation: sourceLocation)
    }
    return nil
}

/// True if `body` throws a `LacunaError` or returns; records everything else.
func survives(_ context: @autoclosure () -> String, _ body: () throws -> Void) {
    do {
        try body()
    } catch is LacunaError {
    } catch {
        Issue.record("an untyped error: \(error) (\(context()))")
    }
}

func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }

/// The model that the larger checks need, if this machine has it: in `$LACUNA_SMOLLM2`, or where `lacuna data` keeps it.
func smolLM2Path() -> String? {
    let environment = ProcessInfo.processInfo.environment
    if let path = environment["LACUNA_SMOLLM2"] { return path }
    let root =
        environment["LACUNA_CACHE"] ?? environment["XDG_CACHE_HOME"].map { $0 + "/lacuna" }
        ?? environment["HOME"].map { $0 + "/.cache/lacuna" }
    guard let root, let entries = try? FileSystem.list(root) else { return nil }
    for entry in entries {
        let path = "\(root)/\(entry)/SmolLM2-135M-Instruct.Q4_1.gguf"
        if FileSystem.exists(path) { return path }
    }
    return nil
}
