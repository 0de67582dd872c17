import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// The main job from end to end, on a model small enough for a test.
@Suite struct WorkflowTests {
    @Test func pruneInspectEvaluateRun() throws {
        let tiny = try TinyModel()
        let report = try tiny.json(
            "prune", "MODEL", "--calibration", "TEXT", "--sequences", "4", "--sequence-length", "64", "--weights",
            "f32", "--output", "OUT/sparse")
        #expect(report["method"]?.stringValue == "wanda")
        #expect(abs((report["sparsity"]?.doubleValue ?? 0) - 0.5) < 1e-9)
        #expect(report["layers"]?.arrayValue?.count == 14)

        let listing = try tiny.json("inspect", "OUT/sparse")
        let tensors = try #require(listing["tensors"]?.arrayValue)
        let pruned = tensors.filter { $0["type"]?.stringValue == "bitmask-f32" }
        #expect(pruned.count == 14)
        for tensor in pruned {
            #expect(abs((tensor["sparsity"]?.doubleValue ?? 0) - 0.5) < 1e-9)
            #expect(tensor["pattern"]?.stringValue == "unstructured:row")
        }
        let inspected = tensors.reduce(0) { $0 + ($1["bytes"]?.intValue ?? 0) }
        #expect(listing["bytes"]?.intValue == inspected)

        let results = try #require(
            try tiny.json(
                "eval", "OUT/sparse", "--text", "TEXT", "--tokens", "512", "--window", "128", "--compare", "MODEL"
            ).arrayValue)
        #expect(results.count == 2)
        #expect(results[0]["tokensScored"]?.intValue == 508)
        let sparse = try #require(results[0]["perplexity"]?.doubleValue)
        let dense = try #require(results[1]["perplexity"]?.doubleValue)
        // Random weights predict nothing; what they get wrong differs.
        #expect(sparse > 50 && dense > 50 && sparse != dense)
        #expect(
            try #require(results[0]["bytesPerToken"]?.intValue) < (try #require(results[1]["bytesPerToken"]?.intValue)))

        let first = try tiny.json("run", "OUT/sparse", "--prompt", "the gap", "--max-tokens", "5")
        let second = try tiny.json("run", "OUT/sparse", "--prompt", "the gap", "--max-tokens", "5", "--threads", "1")
        #expect(first["promptTokens"]?.arrayValue?.count == 7)
        #expect(first["tokens"] == second["tokens"])
        #expect((1...5).contains(first["tokens"]?.arrayValue?.count ?? 0))
    }

    @Test(arguments: [
        (["--method", "magnitude", "--pattern", "2:4", "--weights", "bf16"], "2:4-bf16", "2:4"),
        (["--method", "random", "--pattern", "block:8x8", "--weights", "int8"], "bsr8x8-int8", "block:8x8"),
        (["--method", "magnitude", "--sparsity", "0.75", "--layout", "csr"], "csr-f32", "unstructured"),
        (["--method", "magnitude", "--weights", "int4", "--budget", "global"], "bitmask-int4", "unstructured"),
    ])
    func everyOptionReachesTheFile(_ options: [String], _ type: String, _ pattern: String) throws {
        let tiny = try TinyModel()
        let executable = try #require(CommandLineTests.executable)
        let outcome = try ChildProcess(
            executable: executable, arguments: ["prune", tiny.path, "--output", tiny.root + "/out"] + options
        ).run()
        #expect(outcome.status == 0, "\(outcome.errorOutput)")
        let tensors = try #require(try tiny.json("inspect", "OUT/out", "--filter", "mlp")["tensors"]?.arrayValue)
        #expect(tensors.count == 6)
        #expect(tensors.allSatisfy { $0["type"]?.stringValue == type })
        #expect(tensors.allSatisfy { $0["pattern"]?.stringValue?.hasPrefix(pattern) == true })
    }

    @Test func structuredPruningMakesSmallerMatrices() throws {
        let tiny = try TinyModel()
        _ = try tiny.json(
            "prune", "MODEL", "--method", "cfsp", "--sparsity", "0.25", "--calibration", "TEXT", "--sequences", "4",
            "--sequence-length", "64", "--output", "OUT/narrow")
        let shapes = try #require(try tiny.json("inspect", "OUT/narrow", "--filter", "up_proj")["tensors"]?.arrayValue)
            .compactMap { $0["shape"]?.arrayValue?.first?.intValue }
        #expect(shapes.count == 2 && shapes.reduce(0, +) == 192)
    }

    @Test func outputIsNotOverwrittenUnasked() throws {
        let tiny = try TinyModel()
        let arguments = ["prune", tiny.path, "--method", "magnitude", "--output", tiny.root + "/out"]
        func prune(_ more: String...) throws -> ChildProcess.Outcome {
            try ChildProcess(executable: try #require(CommandLineTests.executable), arguments: arguments + more).run()
        }
        #expect(try prune().status == 0)
        let refused = try prune("--sparsity", "0.9")
        #expect(refused.status == 2 && refused.errorOutput.contains("--force"))
        #expect(try prune("--sparsity", "0.9", "--force").status == 0)
        #expect(try FileSystem.list(tiny.root).allSatisfy { !$0.hasPrefix(".") })
        // What is no model is not replaced, whatever the user says.
        try FileSystem.createDirectory(tiny.root + "/home")
        try AtomicFile.write("diary", to: tiny.root + "/home/diary.txt")
        let spared = try tiny.lacuna("prune", "MODEL", "--method", "magnitude", "--output", "OUT/home", "--force")
        #expect(spared.status == 2 && spared.errorOutput.contains("was not written by Lacuna"))
    }

    @Test func sweepWritesPageAndPlot() throws {
        let tiny = try TinyModel()
        let outcome = try tiny.lacuna(
            "sweep", "MODEL", "--methods", "magnitude,random", "--sparsities", "0.5,0.25", "--text", "TEXT", "--tokens",
            "256", "--window", "64", "--report", "OUT/sweep.html", "--svg", "OUT/sweep.svg")
        #expect(outcome.status == 0, "\(outcome.errorOutput)")
        let rows = outcome.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(rows.contains { $0.prefix(2) == ["0", "%"] && $0[2] == $0[3] })
        #expect(rows.contains { $0.first == "25" } && rows.contains { $0.first == "knee" })
        try expectWellFormed(try FileSystem.readText(tiny.root + "/sweep.svg"))
        #expect(try FileSystem.readText(tiny.root + "/sweep.html").contains("<svg"))
        let again = try tiny.lacuna("sweep", "MODEL", "--text", "TEXT", "--svg", "OUT/sweep.svg")
        #expect(again.status == 2 && again.errorOutput.contains("--force"))
    }

    /// Combinations of what is left out while a model runs: each with each, none included.
    @Test func sweepLeavesOutWhileRunning() throws {
        let tiny = try TinyModel()
        let words = [
            "sweep", "MODEL", "--activation", "teal:0.5,cats:0.2", "--attention", "window:8", "--kv", "int8", "--text",
            "TEXT",
            "--tokens", "128", "--window", "64", "--calibration", "TEXT", "--sequences", "4", "--sequence-length", "64",
        ]
        let found = try tiny.json(arguments: words)
        let points = try #require(found["points"]?.arrayValue)
        #expect(points.count == 12 && points[0]["activation"]?.isNull == true && points[0]["cache"]?.isNull == true)
        func bytes(_ place: Int) -> Int { points[place]["bytesPerToken"]?.intValue ?? 0 }
        // The dense model reads most; half of the weights, then a window, then bytes, read less.
        #expect((1..<12).allSatisfy { bytes($0) < bytes(0) })
        #expect(points[4]["activation"]?.stringValue == "teal:0.5")
        #expect(abs((points[4]["sparsity"]?.doubleValue ?? 0) - 0.5) < 0.06)
        #expect(points[1]["cache"]?.stringValue == "all keys, int8")
        #expect(points[3]["cache"]?.stringValue == "window:8, int8")
        #expect((points[2]["keyShare"]?.doubleValue ?? 1) < 0.5 && points[1]["keyShare"]?.doubleValue == 1)
        #expect(points.contains { $0["onFront"]?.boolValue == true })
        let page = try tiny.lacuna(
            arguments: words + ["--report", "OUT/skipping.html", "--svg", "OUT/skipping.svg", "--quiet"])
        #expect(page.status == 0 && page.output.contains("window:8, int8"), "\(page.errorOutput)")
        try expectWellFormed(try FileSystem.readText(tiny.root + "/skipping.svg"))
        #expect(try FileSystem.readText(tiny.root + "/skipping.html").contains("teal:0.5"))
        for (more, name) in [(["--methods", "wanda"], "--methods"), (["--attention", "all:1"], "attention")] {
            let refused = try tiny.lacuna(arguments: ["sweep", "MODEL", "--text", "TEXT", "--kv", "int8"] + more)
            #expect(refused.status != 0 && refused.errorOutput.contains(name))
        }
    }

    @Test func chatReadsLinesUntilTheInputEnds() throws {
        let tiny = try TinyModel()
        let executable = try #require(CommandLineTests.executable)
        let outcome = try ChildProcess(
            executable: "/bin/sh",
            arguments: [
                "-c", "printf 'hello\\n\\nand again\\n' | \"$0\" run \"$1\" --chat --max-tokens 3 --system 'Be brief.'",
                executable, tiny.path,
            ]
        ).run()
        #expect(outcome.status == 0, "\(outcome.errorOutput)")
        // Two answers; the empty line is none.
        #expect(outcome.errorOutput.components(separatedBy: "a token]").count == 3)
    }

    @Test func qualityBarDecidesTheExitCode() throws {
        let tiny = try TinyModel()
        let failed = try tiny.lacuna("eval", "MODEL", "--text", "TEXT", "--tokens", "64", "--at-most", "2")
        #expect(failed.status == 1 && failed.errorOutput.contains("lacuna: error: perplexity"))
        #expect(try tiny.lacuna("eval", "MODEL", "--text", "TEXT", "--tokens", "64", "--at-most", "1e9").status == 0)
    }
}
