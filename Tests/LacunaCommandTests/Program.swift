import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// The built program, run by a shell within limits, from any directory.
struct Program {
    /// Kilobytes of address space; nil for no limit.
    var memory: Int?
    /// Seconds.
    var time = 60
    var directory: String?
    var environment: [String: String] = ["OPENBLAS_NUM_THREADS": "1"]

    /// - Parameter input: What the program reads on its standard input.
    func run(_ arguments: [String], input: String? = nil) throws -> ChildProcess.Outcome {
        let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
        let limit = memory.map { "ulimit -v \($0); " } ?? ""
        let feed = input.map { "printf '%s' '\($0.replacing("'", with: "'\\''"))' | " } ?? ""
        var process = ChildProcess(
            executable: "/bin/sh",
            arguments: ["-c", "\(limit)\(feed)timeout -s KILL \(time) \"$0\" \"$@\"", executable] + arguments)
        process.directory = directory
        process.environment = environment
        return try process.run()
    }

    func run(_ arguments: String..., input: String? = nil) throws -> ChildProcess.Outcome {
        try run(arguments, input: input)
    }
}

/// A directory for one test, removed with the object.
final class Folder {
    let path: String

    init() throws {
        let root = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        path = FileSystem.join(root, "lacuna-test-\(String(UInt64.random(in: 0 ... .max), radix: 36))")
        try FileSystem.createDirectory(path)
    }

    deinit { try? FileSystem.remove(path) }

    func file(_ name: String) -> String { FileSystem.join(path, name) }

    @discardableResult
    func write(_ text: String, to name: String) throws -> String { try write(Array(text.utf8), to: name) }

    @discardableResult
    func write(_ bytes: [UInt8], to name: String) throws -> String {
        // Not atomically: thousands of hostile files need not reach the disk.
        guard let file = fopen(self.file(name), "w") else { throw LacunaError.file(path: name, reason: "no file") }
        defer { fclose(file) }
        #expect(fwrite(bytes, 1, bytes.count, file) == bytes.count)
        return self.file(name)
    }

    /// Names beginning with a dot: what unfinished work and locks are called.
    var hidden: [String] { ((try? FileSystem.list(path)) ?? []).filter { $0.hasPrefix(".") } }
}
