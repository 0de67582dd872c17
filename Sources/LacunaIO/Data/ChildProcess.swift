import LacunaTensor

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif
#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Runs another program to its end.
public struct ChildProcess {
    /// The variables of this process.
    public static var environment: [String: String] { ProcessInfo.processInfo.environment }
    /// Where programs are looked for.
    public static var searchPath: String { environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin" }

    /// What a program wrote, and how it ended.
    public struct Outcome {
        /// The exit code, or 128 + the number of the signal that ended it.
        public let status: Int32
        /// What it wrote to its standard output; bytes that are no UTF-8 are replaced.
        public let output: String
        /// What it wrote to its standard error, in the same way.
        public let errorOutput: String
    }

    /// The program: a path, or a name that is looked for in ``searchPath``.
    public var executable: String
    /// What it is called with, its own name not among it. No shell comes between.
    public var arguments: [String]
    /// Variables in addition to those of this process.
    public var environment: [String: String]
    /// Where it runs; nil for where this process does.
    public var directory: String?

    /// A program that is not started yet.
    public init(
        executable: String, arguments: [String] = [], environment: [String: String] = [:], directory: String? = nil
    ) {
        (self.executable, self.arguments) = (executable, arguments)
        (self.environment, self.directory) = (environment, directory)
    }

    /// The first file called `name` that may be executed in the directories of `searchPath` (as in `PATH`).
    public static func find(_ name: String, in searchPath: String) -> String? {
        if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
        for folder in searchPath.split(separator: ":") {
            let candidate = "\(folder)/\(name)"
            if access(candidate, X_OK) == 0 { return candidate }
        }
        return nil
    }

    /// - Parameters:
    ///   - started: Called once with the child's number.
    ///   - whileRunning: Called about ten times a second; what it throws ends the child and is passed on.
    /// - Returns: What it wrote, and how it ended.
    /// - Throws: ``LacunaError/file(path:reason:)`` if it cannot be started, and what `whileRunning` throws.
    public func run(started: (pid_t) -> Void = { _ in }, whileRunning: () throws -> Void = {}) throws -> Outcome {
        let output = try Capture()
        let errorOutput = try Capture()
        let child = try spawn(output: output.descriptor, error: errorOutput.descriptor)
        started(child)
        var status: Int32 = 0
        while true {
            let result = waitpid(child, &status, WNOHANG)
            if result == child { break }
            if result < 0 && errno != EINTR {
                throw LacunaError.file(path: executable, reason: "lost track of the process")
            }
            do {
                try whileRunning()
            } catch {
                kill(child, SIGTERM)
                waitpid(child, &status, 0)
                throw error
            }
            usleep(100_000)
        }
        let signal = status & 0x7F
        return Outcome(
            status: signal == 0 ? (status >> 8) & 0xFF : 128 + signal,
            output: output.text(), errorOutput: errorOutput.text())
    }

    /// A nameless file that collects what a child writes; unlike a pipe it never fills up.
    private final class Capture {
        let descriptor: Int32

        init() throws {
            let folder = ChildProcess.environment["TMPDIR"] ?? "/tmp"
            var template = Array("\(folder)/lacuna-capture.\(String(repeating: "X", count: 6))".utf8CString)
            descriptor = mkstemp(&template)
            guard descriptor >= 0 else {
                throw LacunaError.file(path: folder, reason: String(cString: strerror(errno)))
            }
            unlink(template)
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        }

        deinit { close(descriptor) }

        func text() -> String {
            var bytes = [UInt8](repeating: 0, count: max(0, Int(lseek(descriptor, 0, SEEK_END))))
            let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
            return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        }
    }

    private func spawn(output: Int32, error: Int32) throws -> pid_t {
        #if canImport(Darwin)
            var actions: posix_spawn_file_actions_t?
            var attributes: posix_spawnattr_t?
        #else
            var actions = posix_spawn_file_actions_t()
            var attributes = posix_spawnattr_t()
        #endif
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, error, 2)
        // A child inherits the blocked signals of the thread that starts it, and some threads block all of them.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

        let variables = Self.environment.merging(environment) { _, new in new }
        var line = [executable] + arguments
        // glibc hides its spawn action for this from Swift; the shell is a portable detour.
        if let directory { line = ["/bin/sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh", directory] + line }
        var argv = line.map { strdup($0) } + [nil]
        var envp = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var child = pid_t()
        let code = posix_spawn(&child, line[0], &actions, &attributes, &argv, &envp)
        guard code == 0 else {
            throw LacunaError.file(path: executable, reason: String(cString: strerror(code)))
        }
        return child
    }
}
