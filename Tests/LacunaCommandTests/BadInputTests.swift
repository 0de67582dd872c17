import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// Whatever is wrong with the input: exit code 2, one message that names it, nothing written.
@Suite struct BadInputTests {
    private func expectRefused(
        _ outcome: ChildProcess.Outcome, naming words: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(outcome.status == 2, "\(outcome.errorOutput)", sourceLocation: sourceLocation)
        #expect(outcome.output.isEmpty, sourceLocation: sourceLocation)
        #expect(outcome.errorOutput.contains("lacuna: error: "), sourceLocation: sourceLocation)
        for word in words {
            #expect(outcome.errorOutput.contains(word), "\(outcome.errorOutput)", sourceLocation: sourceLocation)
        }
    }

    @Test func absentModel() throws {
        expectRefused(
            try TinyModel().lacuna("run", "OUT/none", "--prompt", "x"), naming: "/none", "no such file or directory")
    }

    @Test(arguments: [4, 24, 200, 4000])
    func truncatedGGUF(_ length: Int) throws {
        let tiny = try TinyModel()
        // Magic, version 3, counts of tensors and of metadata, then one key that the file is too short for.
        var bytes = Array("GGUF".utf8) + [3, 0, 0, 0]
        for count: UInt64 in [1, 1, 20] { bytes += (0..<8).map { UInt8(truncatingIfNeeded: count >> UInt64($0 * 8)) } }
        bytes += Array("general.architecture".utf8)
        bytes = Array(bytes.prefix(length))
        try AtomicFile.write(bytes, to: tiny.root + "/cut.gguf")
        for verb in ["inspect", "eval", "run"] {
            let more = verb == "eval" ? ["--text", "TEXT"] : verb == "run" ? ["--prompt", "x"] : []
            let arguments = [verb, "OUT/cut.gguf"] + more
            let outcome = try ChildProcess(
                executable: try #require(CommandLineTests.executable),
                arguments: arguments.map { $0.replacing("OUT", with: tiny.root).replacing("TEXT", with: tiny.text) }
            ).run()
            expectRefused(outcome, naming: "cut.gguf")
        }
    }

    @Test func truncatedSafetensors() throws {
        let tiny = try TinyModel()
        let file = tiny.path + "/model.safetensors"
        let whole = try FileSystem.readBytes(file)
        for length in [0, 7, 100, whole.count - 1] {
            try AtomicFile.write(whole.prefix(length), to: file)
            expectRefused(try tiny.lacuna("inspect", "MODEL"), naming: "model.safetensors")
            expectRefused(try tiny.lacuna("run", "MODEL", "--prompt", "x"), naming: "model.safetensors")
        }
    }

    @Test func brokenConfiguration() throws {
        let tiny = try TinyModel()
        try AtomicFile.write("{\"hidden_size\": ", to: tiny.path + "/config.json")
        expectRefused(try tiny.lacuna("eval", "MODEL", "--text", "TEXT"), naming: "config.json")
        try FileSystem.remove(tiny.path + "/tokenizer.json")
        expectRefused(try tiny.lacuna("eval", "MODEL", "--text", "TEXT"), naming: "tokenizer.json")
    }

    @Test func unusableText() throws {
        let tiny = try TinyModel()
        try AtomicFile.write([0xFF, 0xFE, 0x41], to: tiny.root + "/bad.txt")
        expectRefused(
            try tiny.lacuna("eval", "MODEL", "--text", "OUT/bad.txt"), naming: "bad.txt", "UTF-8")
        try AtomicFile.write("", to: tiny.root + "/empty.txt")
        expectRefused(try tiny.lacuna("eval", "MODEL", "--text", "OUT/empty.txt"), naming: "empty.txt")
        expectRefused(try tiny.lacuna("eval", "MODEL", "--text", "OUT/none.txt"), naming: "none.txt")
    }

    @Test func wordsThatMeanNothing() throws {
        let tiny = try TinyModel()
        let prune = ["prune", tiny.path, "--output", tiny.root + "/out"]
        func refused(_ arguments: [String], naming word: String) throws {
            let outcome = try ChildProcess(
                executable: try #require(CommandLineTests.executable), arguments: arguments
            ).run()
            expectRefused(outcome, naming: word)
        }
        try refused(prune + ["--method", "wandering"], naming: "wandering")
        try refused(prune + ["--method", "magnitude", "--pattern", "4:2"], naming: "4:2")
        try refused(prune + ["--method", "magnitude", "--sparsity", "1.5"], naming: "--sparsity")
        try refused(prune + ["--method", "magnitude", "--weights", "int3"], naming: "int3")
        try refused(prune + ["--method", "wanda"], naming: "--calibration")
        try refused(prune + ["--method", "magnitude", "--layout", "quilt"], naming: "quilt")
        try refused(prune + ["--method", "cfsp", "--pattern", "2:4", "--calibration", tiny.text], naming: "cfsp")
        try refused(["run", tiny.path], naming: "--prompt")
        try refused(["run", tiny.path, "--prompt", "x", "--top-p", "2"], naming: "top-p")
        try refused(["run", tiny.path, "--prompt", "x", "--threads", "0"], naming: "--threads")
        try refused(["eval", tiny.path, "--text", tiny.text, "--window", "9999"], naming: "window")
        try refused(["sweep", tiny.path, "--text", tiny.text, "--sparsities", "0.5,1"], naming: "--sparsities")
        try refused(["reproduce", "nothing"], naming: "nothing")
        try refused(["reproduce"], naming: "--all")
        #expect(!FileSystem.exists(tiny.root + "/out"))
    }
}
