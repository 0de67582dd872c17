import LacunaTensor

/// SHA-256 of files, through the program that every system has for it.
struct Checksum {
    /// As in `PATH`.
    var searchPath: String

    /// Throws ``LacunaError/malformed(file:location:reason:)`` unless the file has this SHA-256 (lower-case hexadecimal).
    func verify(_ path: String, is expected: String, whileRunning: () throws -> Void = {}) throws {
        let found = try sha256(of: path, whileRunning: whileRunning)
        guard found == expected else {
            throw LacunaError.malformed(
                file: path, location: "checksum", reason: "SHA-256 should be \(expected), but is \(found)")
        }
    }

    func sha256(of path: String, whileRunning: () throws -> Void = {}) throws -> String {
        let process: ChildProcess
        if let program = ChildProcess.find("sha256sum", in: searchPath) {
            process = ChildProcess(executable: program, arguments: ["--", path])
        } else if let program = ChildProcess.find("shasum", in: searchPath) {
            process = ChildProcess(executable: program, arguments: ["-a", "256", "--", path])
        } else {
            throw FetchFailure("neither sha256sum nor shasum is installed, so \(path) cannot be verified")
        }
        let outcome = try process.run(whileRunning: whileRunning)
        // A line begins with a backslash when the file's name needed escaping.
        let digest = outcome.output.drop { $0 == "\\" }.prefix(64)
        guard outcome.status == 0, digest.count == 64, digest.allSatisfy(\.isHexDigit) else {
            throw LacunaError.file(path: path, reason: "cannot be hashed: \(outcome.errorOutput)")
        }
        return String(digest)
    }
}
