import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

@Suite struct TrainCommandTests {
    private let executable: String? = CommandLineTests.executable

    private func folder() throws -> String {
        let path = "/tmp/lacuna-train-command-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.createDirectory(path)
        return path
    }

    private func lacuna(_ arguments: String...) throws -> ChildProcess.Outcome {
        let executable = try #require(executable)
        return try ChildProcess(executable: executable, arguments: arguments).run()
    }

    private func configuration(_ folder: String, hidden: String = "[12, 12]", method: String = "rigl") throws -> String
    {
        var table = "a,b,class\n"
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<120 {
            let (a, b) = (generator.normal(), generator.normal())
            table += "\(a),\(b),\(a > b ? 1 : 0)\n"
        }
        try AtomicFile.write(table, to: folder + "/table.csv")
        let text = """
            seed = 3
            [data]
            kind = "csv"
            path = "\(folder)/table.csv"
            batch = 20
            [model]
            kind = "mlp"
            hidden = \(hidden)
            [method]
            name = "\(method)"
            sparsity = 0.5
            [optimizer]
            learning_rate = 0.02
            [training]
            epochs = 20
            """
        try AtomicFile.write(text, to: folder + "/run.toml")
        return folder + "/run.toml"
    }

    @Test func trainsAndReports() throws {
        let folder = try folder()
        defer { try? FileSystem.remove(folder) }
        let config = try configuration(folder)
        let outcome = try lacuna("train", config, "--output", folder + "/out", "--json", "--quiet")
        #expect(outcome.status == 0 && outcome.errorOutput.isEmpty)
        let result = try JSONValue(parsing: outcome.output)
        #expect(result["test_accuracy"]!.doubleValue! > 0.8 && result["method"] == "rigl")
        #expect(result["steps"]!.intValue == 100)
        #expect(result["active_multiply_adds"]!.intValue! * 2 == result["dense_multiply_adds"]!.intValue!)
        for name in ["config.toml", "metrics.jsonl", "checkpoint.safetensors", "model.safetensors", "report.html"] {
            #expect(FileSystem.exists(folder + "/out/" + name))
        }
        // A run that is there is not overwritten, but may be taken up, even if nothing is left to do.
        let again = try lacuna("train", config, "--output", folder + "/out")
        #expect(again.status == 2 && again.errorOutput.contains("--resume"))
        #expect(try lacuna("train", "--resume", folder + "/out", "--quiet").status == 0)
    }

    /// A run that ended before its first checkpoint, and a directory that never had one: what is missing is named, and what is
    /// advised works.
    @Test func resumingSaysWhatIsMissing() throws {
        let folder = try folder()
        defer { try? FileSystem.remove(folder) }
        let config = try configuration(folder)
        let out = folder + "/out"
        let absent = try lacuna("train", "--resume", out)
        #expect(absent.status == 2)
        #expect(absent.errorOutput.contains("\(out)/config.toml: is not there"))
        #expect(absent.errorOutput.contains("--output \(out)"))
        #expect(!FileSystem.exists(out))
        try FileSystem.createDirectory(out)
        try AtomicFile.write(FileSystem.readText(config), to: out + "/config.toml")
        let early = try lacuna("train", "--resume", out)
        #expect(early.status == 2)
        #expect(early.errorOutput.contains("\(out)/checkpoint.safetensors: is not there"))
        #expect(early.errorOutput.contains("lacuna train \(out)/config.toml --output \(out)"))
        let again = try lacuna("train", out + "/config.toml", "--output", out, "--quiet")
        #expect(again.status == 0, "\(again)")
        // The first of several phases has a folder of its own.
        try FileSystem.remove(out + "/checkpoint.safetensors")
        try FileSystem.createDirectory(out + "/phase-1")
        let phases = try lacuna("train", "--resume", out)
        #expect(phases.errorOutput.contains("\(out)/phase-1/checkpoint.safetensors: is not there"))
    }

    @Test func mistakesNameLineAndKey() throws {
        let folder = try folder()
        defer { try? FileSystem.remove(folder) }
        let wrongWidth = try lacuna("train", configuration(folder, hidden: "[0]"))
        #expect(
            wrongWidth.status == 2 && wrongWidth.errorOutput.contains("run.toml: line 8: model.hidden: 0 is not in"))
        let wrongMethod = try lacuna("train", configuration(folder, method: "riggle"))
        #expect(
            wrongMethod.status == 2 && wrongMethod.errorOutput.contains("line 10: method.name: 'riggle' is none of"))
        #expect(try lacuna("train", folder + "/absent.toml").status == 2)
        #expect(try lacuna("train").status == 2)
        #expect(try lacuna("train", "--example", "nothing").status == 2)
    }

    @Test(arguments: ["mlp-fashion", "cnn-fashion", "transformer-austen"]) func examplesParse(name: String) throws {
        let outcome = try lacuna("train", "--example", name)
        #expect(outcome.status == 0)
        _ = try ConfigurationFile(text: outcome.output, file: name)
    }
}
