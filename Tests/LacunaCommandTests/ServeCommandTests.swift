import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

struct ServeCommandTests {
    @Test func serverIsBesideTheProgramOrInThePath() throws {
        let root = "/tmp/lacuna-serve-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
        defer { try? FileSystem.remove(root) }
        for name in ["a", "b", "c", "d/lacuna-server"] { try FileSystem.createDirectory("\(root)/\(name)") }
        for name in ["b", "c"] { try AtomicFile.write("#!/bin/sh\n", to: "\(root)/\(name)/lacuna-server") }
        func find(_ program: String?, _ path: [String]) -> String? {
            ServeCommand.server(
                beside: program.map { "\(root)/\($0)/lacuna" },
                path: path.map { "\(root)/\($0)" }.joined(separator: ":"))
        }
        // What cannot be run does not count, nor does a directory of that name.
        #expect(find("b", ["c", "d"]) == nil)
        for name in ["b", "c"] { chmod("\(root)/\(name)/lacuna-server", 0o755) }
        #expect(find("b", ["c"]) == "\(root)/b/lacuna-server")
        #expect(find("a", ["d", "c", "b"]) == "\(root)/c/lacuna-server")
        #expect(find(nil, ["a", "b"]) == "\(root)/b/lacuna-server")
        #expect(find("a", []) == nil)
    }

    /// Without a server the program says how to get one; with one it becomes it, arguments and all.
    @Test func becomesTheServer() throws {
        let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
        let root = "/tmp/lacuna-serve-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
        defer { try? FileSystem.remove(root) }
        try FileSystem.createDirectory(root)
        guard ServeCommand.server(beside: executable, path: "") == nil else { return }
        let without = try ChildProcess(
            executable: "/usr/bin/env", arguments: ["PATH=\(root)", executable, "serve", "smollm2"]
        ).run()
        #expect(without.status == 1 && without.errorOutput.contains("make server"))
        try AtomicFile.write("#!/bin/sh\nprintf '%s|' \"$@\"\n", to: "\(root)/lacuna-server")
        chmod("\(root)/lacuna-server", 0o755)
        let with = try ChildProcess(
            executable: "/usr/bin/env",
            arguments: ["PATH=\(root):/bin", executable, "serve", "a model", "--port", "0", "--help"]
        ).run()
        #expect(with.status == 0 && with.output == "a model|--port|0|--help|")
    }
}
