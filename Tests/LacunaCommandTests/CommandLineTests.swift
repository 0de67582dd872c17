import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// The built program, run as a user runs it.
@Suite struct CommandLineTests {
    static let executable: String? = {
        // The test bundle and the program are built into the same directory.
        for argument in CommandLine.arguments {
            var folder = FileSystem.directory(of: argument)
            while folder.count > 1 {
                let candidate = FileSystem.join(folder, "lacuna")
                if access(candidate, X_OK) == 0 && !FileSystem.isDirectory(candidate) { return candidate }
                folder = FileSystem.directory(of: folder)
            }
        }
        return nil
    }()

    private func lacuna(_ arguments: String..., environment: [String: String] = [:]) throws -> ChildProcess.Outcome {
        let executable = try #require(Self.executable, "the program is not beside the tests")
        var process = ChildProcess(executable: executable, arguments: arguments)
        process.environment = environment
        return try process.run()
    }

    @Test func helpGoesToOutputAndSucceeds() throws {
        let outcome = try lacuna("--help")
        #expect(outcome.status == 0 && outcome.errorOutput.isEmpty)
        for verb in [
            "compress", "prune", "eval", "run", "inspect", "sweep", "train", "fit", "data", "methods", "reproduce",
            "bench",
            "demo",
        ] {
            #expect(outcome.output.contains("  \(verb) "))
        }
        #expect(outcome.output.split(separator: "\n").allSatisfy { $0.count <= 100 })
    }

    @Test(arguments: [["frobnicate"], ["data", "--frobnicate"], ["data"], ["data", "--list", "smollm2"]])
    func badUsageIsTwo(_ arguments: [String]) throws {
        let executable = try #require(Self.executable)
        let outcome = try ChildProcess(executable: executable, arguments: arguments).run()
        #expect(outcome.status == 2 && outcome.output.isEmpty)
        #expect(outcome.errorOutput.hasPrefix("lacuna: error: "))
        #expect(outcome.errorOutput.contains("Usage: lacuna"))
    }

    @Test(arguments: [
        "compress", "prune", "eval", "run", "inspect", "sweep", "train", "data", "methods", "fit", "reproduce", "demo",
    ])
    func everyVerbExplainsItself(_ verb: String) throws {
        let outcome = try lacuna(verb, "--help")
        #expect(outcome.status == 0)
        #expect(outcome.output.contains("Example") && outcome.output.contains("  lacuna \(verb)"))
    }

    @Test func storesAreExplained() throws {
        let outcome = try lacuna(
            "bench", "explain", "--rows", "128", "--columns", "256", "--pattern", "2:4", "--vectors", "64", "--json")
        #expect(outcome.status == 0)
        let json = try JSONValue(parsing: outcome.output)
        let stores = json["candidates"]?.arrayValue?.compactMap { $0["store"]?.stringValue } ?? []
        #expect(stores.contains("2:4-f32") && stores.contains("csr-f32") && stores.first == json["best"]?.stringValue)
        for arguments in [["--pattern", "dots"], ["--values", "f7"], ["--sparsity", "2"], ["--vectors", "0"]] {
            let executable = try #require(Self.executable)
            let refused = try ChildProcess(
                executable: executable, arguments: ["bench", "explain", "--rows", "8", "--columns", "8"] + arguments
            ).run()
            #expect(refused.status == 2 && refused.output.isEmpty && refused.errorOutput.hasPrefix("lacuna: error: "))
        }
    }

    @Test func kernelsAreMeasuredAndDrawn() throws {
        let tiny = try TinyModel()
        defer { withExtendedLifetime(tiny) {} }
        let plot = FileSystem.join(tiny.root, "kernels.svg")
        let outcome = try lacuna(
            "bench", "kernels", "--rows", "64", "--columns", "64", "--vectors", "16", "--rounds", "1", "--quiet",
            "--plot",
            plot)
        #expect(outcome.status == 0 && outcome.output.contains("csr-f32") && outcome.output.contains("dense"))
        #expect(try FileSystem.readText(plot).contains("<svg"))
        let chosen = try lacuna(
            "bench", "kernels", "--rows", "64", "--columns", "64", "--rounds", "1", "--quiet", "--json", "--values",
            "bf16", "--sparsities", "0.75, 0.5,0.5")
        let points = try #require(try JSONValue(parsing: chosen.output)["points"]?.arrayValue)
        #expect(points.compactMap { $0["sparsity"]?.doubleValue } == [0.5, 0.5, 0.5, 0.75, 0.75, 0.75])
        #expect(points.first?["store"]?.stringValue == "csr-bf16")
        for list in ["0.5,x", "1", "", "-0.5"] {
            let refused = try lacuna("bench", "kernels", "--sparsities=\(list)", "--quiet")
            #expect(refused.status == 2 && refused.errorOutput.contains("--sparsities"), "\(list): \(refused)")
        }
    }

    @Test func methodsAreListed() throws {
        let outcome = try lacuna("methods", "--json")
        let names = try #require(try JSONValue(parsing: outcome.output).arrayValue).compactMap {
            $0["name"]?.stringValue
        }
        for name in ["magnitude", "wanda", "sparsegpt", "dsnot", "cfsp", "random"] { #expect(names.contains(name)) }
    }

    @Test func reproductionsAreListedAndRun() throws {
        let list = try #require(try JSONValue(parsing: lacuna("reproduce", "--list", "--json").output).arrayValue)
        #expect(list.allSatisfy { $0["paper"]?.intValue != nil && $0["claim"]?.stringValue?.isEmpty == false })
        let outcome = try lacuna("reproduce", "23", "--quick", "--quiet")
        #expect(outcome.status == 0)
        #expect(outcome.output.split(separator: "\n").count == 1)
        #expect(outcome.output.hasPrefix("[23] DSnoT: reproduced in "))
        let page = FileSystem.join(
            ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp",
            "lacuna-page-\(String(UInt64.random(in: 0 ... .max), radix: 36)).md")
        defer { try? FileSystem.remove(page) }
        #expect(try lacuna("reproduce", "23", "--quick", "--quiet", "--markdown", page).status == 0)
        let text = try FileSystem.readText(page)
        #expect(text.contains("[23](#23-dsnot)") && text.contains("## 23. DSnoT") && text.contains("- ✓ "))
        #expect(try lacuna("reproduce", "23", "--quick", "--quiet", "--markdown", page).status == 2)

        // What was kept is shown again without running; what was not is named.
        let kept = page + ".results"
        defer { try? FileSystem.remove(kept) }
        #expect(try lacuna("reproduce", "23", "--quick", "--quiet", "--results", kept, "--kept").status == 2)
        let first = try lacuna("reproduce", "23", "--quick", "--quiet", "--results", kept)
        let again = try lacuna(
            "reproduce", "23", "108", "--quick", "--quiet", "--results", kept, "--kept", "--markdown", page, "--force")
        #expect(first.status == 0 && again.status == 1 && again.output == first.output)
        #expect(again.errorOutput.contains("no results of [108] CFSP"))
        let partial = try FileSystem.readText(page)
        #expect(partial.contains("## 23. DSnoT") && partial.contains("Not measured in this form yet: [108] CFSP."))
        #expect(partial.contains("--results \(kept)"))
        #expect(try lacuna("reproduce", "23", "--kept").status == 2)
    }

    @Test func unknownNameOfTheCatalogue() throws {
        let outcome = try lacuna("data", "nope")
        #expect(outcome.status == 2)
        #expect(outcome.errorOutput.contains("lacuna: error: nope: is not in the catalogue, which has smollm2"))
    }

    @Test func catalogueAsJSON() throws {
        let outcome = try lacuna("data", "--list", "--json", environment: ["LACUNA_CACHE": "/nowhere"])
        #expect(outcome.status == 0)
        let entries = try #require(try JSONValue(parsing: outcome.output).arrayValue)
        #expect(entries.count == Catalogue.entries.count)
        #expect(entries.allSatisfy { $0["cached"]?.boolValue == false })
    }

    @Test func interruptionEndsWith130AndLeavesNothing() throws {
        let bench = try DataFetcherTests.Bench(script: "exec sleep 30")
        let executable = try #require(Self.executable)
        let process = ChildProcess(
            executable: executable, arguments: ["data", "smollm2"],
            environment: ["LACUNA_CACHE": bench.root + "/cache", "PATH": bench.root + "/bin:/usr/bin:/bin"])
        var child = pid_t()
        var ticks = 0
        let outcome = try process.run(
            started: { child = $0 },
            whileRunning: {
                ticks += 1
                if ticks == 8 { kill(child, SIGINT) }
            })
        #expect(outcome.status == 130)
        #expect(outcome.errorOutput.contains("lacuna: cancelled"))
        #expect(bench.cacheContent == [])
    }
}
