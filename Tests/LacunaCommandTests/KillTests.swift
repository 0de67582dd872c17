import Foundation
import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// Whatever ends a command at whatever moment: nothing that was there is lost, nothing half-written appears, and the next
/// run leaves nothing of the interrupted one behind.
@Suite(.serialized) struct KillTests {
    static let signals = [SIGKILL, SIGTERM, SIGHUP, SIGINT]
    /// Moments a signal: more of them with `make fuzz`.
    static let moments = ProcessInfo.processInfo.environment["LACUNA_FUZZ"] == nil ? 2 : 8

    /// Runs a command and sends a signal after a while, unless it has ended by then.
    ///
    /// - Returns: The status, 128 + signal for one that was ended.
    private func interrupted(
        _ arguments: [String], by signal: Int32, after seconds: Double, environment: [String: String] = [:]
    ) throws -> Int32 {
        var process = ChildProcess(executable: try #require(CommandLineTests.executable), arguments: arguments)
        process.environment = environment
        let running = Locked<pid_t?>(nil)
        let outcome = try process.run(started: { child in
            running.withLock { $0 = child }
            Thread.after(seconds) { running.withLock { if let child = $0 { kill(child, signal) } } }
        })
        running.withLock { $0 = nil }
        #expect([0, 128 + signal].contains(outcome.status), "\(arguments): \(outcome)")
        return outcome.status
    }

    /// Moments spread over a command's time by a seed, so that a failure can be repeated.
    private func trials(_ seconds: Double, seed: UInt64) -> [(signal: Int32, seconds: Double)] {
        var generator = SeededGenerator(seed: seed)
        return Self.signals.flatMap { signal in
            (0..<Self.moments).map { _ in (signal, Double.random(in: 0...1.1, using: &generator) * seconds) }
        }
    }

    private func timed(_ arguments: [String], environment: [String: String] = [:]) throws -> Double {
        let begin = monotonicSeconds()
        var process = ChildProcess(executable: try #require(CommandLineTests.executable), arguments: arguments)
        process.environment = environment
        let outcome = try process.run()
        #expect(outcome.status == 0, "\(arguments): \(outcome)")
        return monotonicSeconds() - begin
    }

    private func bytes(_ directory: String) throws -> [String: [UInt8]] {
        try FileSystem.list(directory).reduce(into: [:]) {
            $0[$1] = try FileSystem.readBytes(FileSystem.join(directory, $1))
        }
    }

    @Test func prune() throws {
        let tiny = try TinyModel()
        func command(_ sparsity: String, _ output: String) -> [String] {
            [
                "prune", tiny.path, "--calibration", tiny.text, "--sequences", "16", "--sequence-length", "128",
                "--sparsity", sparsity, "--output", output, "--force", "--quiet",
            ]
        }
        let output = tiny.root + "/out"
        _ = try timed(command("0.25", tiny.root + "/first"))
        let seconds = try timed(command("0.5", tiny.root + "/second"))
        let (first, second) = (try bytes(tiny.root + "/first"), try bytes(tiny.root + "/second"))
        #expect(first != second)
        for replaces in [false, true] {
            for trial in trials(seconds, seed: replaces ? 1 : 2) {
                if replaces { _ = try timed(command("0.25", output)) } else { try FileSystem.remove(output) }
                _ = try interrupted(command("0.5", output), by: trial.signal, after: trial.seconds)
                guard FileSystem.exists(output) else {
                    #expect(!replaces, "the old model is gone after signal \(trial.signal)")
                    continue
                }
                let now = try bytes(output)
                #expect(now == second || (replaces && now == first), "half a model after signal \(trial.signal)")
            }
        }
        _ = try timed(command("0.5", output))
        #expect(try bytes(output) == second)
        #expect(try FileSystem.list(tiny.root) == ["first", "model", "out", "second", "text.txt"])
    }

    @Test func fit() throws {
        let folder = try Folder()
        var generator = SeededGenerator(seed: 5)
        let names = (0..<60).map { "x\($0)" }.joined(separator: ",")
        let rows = (0..<200).map { _ in (0..<61).map { _ in "\(generator.normal())" }.joined(separator: ",") + "\n" }
        let table = try folder.write(names + ",y\n" + rows.joined(), to: "t.csv")
        let (model, page) = (folder.file("m.json"), folder.file("r.html"))
        let command = [
            "fit", "lasso", table, "--target", "y", "--model", model, "--report", page, "--force", "--quiet",
        ]
        let seconds = try timed(command)
        let whole = (try FileSystem.readBytes(model), try FileSystem.readBytes(page))
        for trial in trials(seconds, seed: 3) {
            try folder.write("old", to: "m.json")
            try FileSystem.remove(page)
            _ = try interrupted(command, by: trial.signal, after: trial.seconds)
            let now = try FileSystem.readBytes(model)
            #expect(now == whole.0 || now == Array("old".utf8), "half a model after signal \(trial.signal)")
            if FileSystem.exists(page) { #expect(try FileSystem.readBytes(page) == whole.1) }
        }
        _ = try timed(command)
        #expect(try FileSystem.list(folder.path) == ["m.json", "r.html", "t.csv"])
    }

    /// A run that is interrupted again and again comes to the same files as one that never was.
    @Test func train() throws {
        let folder = try Folder()
        var generator = SeededGenerator(seed: 6)
        let rows = (0..<200).map { _ -> String in
            let (a, b) = (generator.normal(), generator.normal())
            return "\(a),\(b),\(a * b > 0 ? 1 : 0)\n"
        }
        try folder.write("a,b,class\n" + rows.joined(), to: "t.csv")
        let config = try folder.write(
            """
            seed = 3
            [data]
            kind = "csv"
            path = "\(folder.file("t.csv"))"
            batch = 20
            [model]
            kind = "mlp"
            hidden = [32, 32]
            [method]
            name = "rigl"
            sparsity = 0.5
            interval = 50
            [optimizer]
            learning_rate = 0.01
            [training]
            steps = 3000
            log_every = 7
            evaluate_every = 400
            checkpoint_every = 250
            """, to: "run.toml")
        let (straight, output) = (folder.file("straight"), folder.file("out"))
        let seconds = try timed(["train", config, "--output", straight, "--quiet"])
        var unfinished = 0
        for trial in trials(seconds, seed: 4) {
            let hasBegun = FileSystem.exists(output + "/checkpoint.safetensors")
            let command = hasBegun ? ["train", "--resume", output] : ["train", config, "--output", output]
            if try interrupted(command + ["--quiet"], by: trial.signal, after: trial.seconds / 4) != 0 {
                unfinished += 1
            }
        }
        #expect(unfinished > 4)
        let hasBegun = FileSystem.exists(output + "/checkpoint.safetensors")
        // The second of these has nothing left to do, and changes nothing.
        _ = try timed(["train"] + (hasBegun ? ["--resume", output] : [config, "--output", output]) + ["--quiet"])
        _ = try timed(["train", "--resume", output, "--quiet"])
        for name in ["metrics.jsonl", "model.safetensors", "checkpoint.safetensors", "config.toml"] {
            #expect(
                try FileSystem.readBytes("\(output)/\(name)") == FileSystem.readBytes("\(straight)/\(name)"), "\(name)")
        }
        #expect(try FileSystem.list(output) == FileSystem.list(straight))
        #expect(try FileSystem.list(folder.path) == ["out", "run.toml", "straight", "t.csv"])
    }

    /// A loaded model that is tuned, all of it or the half that is left, and killed on the way comes to the same model, which the
    /// other verbs take.
    @Test(arguments: ["dense", "masked"]) func fineTune(form: String) throws {
        let tiny = try TinyModel()
        let method = """
            [method]
            name = "prune"
            sparsity = 0.5
            layers = "model.layers"
            [teacher]
            from = "\(tiny.path)"
            """
        let config = tiny.root + "/run.toml"
        let text = """
            seed = 1
            [data]
            kind = "text"
            path = "\(tiny.text)"
            window = 32
            batch = 2
            [model]
            from = "\(tiny.path)"
            \(form == "masked" ? method : "")
            [optimizer]
            name = "adamw"
            learning_rate = 2e-3
            [training]
            steps = 80
            checkpoint_every = 7
            evaluate_windows = 2
            """
        try AtomicFile.write(text, to: config)
        let (straight, output) = (tiny.root + "/straight", tiny.root + "/out")
        let seconds = try timed(["train", config, "--output", straight, "--quiet"])
        var unfinished = 0
        for trial in trials(seconds, seed: 8) {
            let hasBegun = FileSystem.exists(output + "/checkpoint.safetensors")
            let command = hasBegun ? ["train", "--resume", output] : ["train", config, "--output", output]
            if try interrupted(command + ["--quiet"], by: trial.signal, after: trial.seconds / 3) != 0 {
                unfinished += 1
            }
        }
        #expect(unfinished > 3)
        let hasBegun = FileSystem.exists(output + "/checkpoint.safetensors")
        _ = try timed(["train"] + (hasBegun ? ["--resume", output] : [config, "--output", output]) + ["--quiet"])
        for name in ["metrics.jsonl", "checkpoint.safetensors", "model/model.safetensors", "model/config.json"] {
            #expect(
                try FileSystem.readBytes("\(output)/\(name)") == FileSystem.readBytes("\(straight)/\(name)"), "\(name)")
        }
        #expect(try FileSystem.list(output + "/model") == FileSystem.list(straight + "/model"))

        func perplexity(_ model: String) throws -> Double {
            let result = try tiny.json("eval", model, "--text", "TEXT", "--tokens", "300", "--window", "64")
            return try #require(result.arrayValue?.first?["perplexity"]?.doubleValue)
        }
        func sparsity(_ model: String) throws -> Double {
            let listing = try tiny.json("inspect", model, "--filter", "proj")
            let shares = try #require(listing["tensors"]?.arrayValue).compactMap { $0["sparsity"]?.doubleValue }
            #expect(shares.count == 14)
            return shares.reduce(0, +) / 14
        }
        let tuned = try perplexity("OUT/out")
        #expect(tuned < 0.5 * (try perplexity("MODEL")))
        #expect(abs(try sparsity("OUT/out") - (form == "masked" ? 0.5 : 0)) < 1e-6)
        let written = try tiny.json("run", "OUT/out", "--prompt", "the gap", "--max-tokens", "8")
        #expect((1...8).contains(try #require(written["tokens"]?.arrayValue).count))
        let forms: [(name: String, options: [String])] = [("pruned", []), ("pruned.gguf", ["--format", "gguf"])]
        for (name, options) in forms {
            _ = try tiny.json(
                arguments: [
                    "prune", "OUT/out", "--method", "magnitude", "--sparsity", "0.75", "--output", "OUT/" + name,
                ] + options)
        }
        #expect(abs(try sparsity("OUT/pruned") - 0.75) < 1e-6)
        // The same numbers, stored sparse and as zeros.
        let (sparse, zeros) = (try perplexity("OUT/pruned"), try perplexity("OUT/pruned.gguf"))
        #expect(abs(sparse / zeros - 1) < 1e-3 && sparse > tuned)
    }

    /// One file, by a verb that reads lines and writes lines; and one that other programs read.
    @Test func encodeAndExport() throws {
        let tiny = try TinyModel()
        try TinyModel.writeEncoder(to: tiny.root + "/encoder")
        let lines = (0..<2000).map { #"{"_id": "\#($0)", "text": "left out on purpose, \#($0 * 7919) times"}"# + "\n" }
        try AtomicFile.write(lines.joined(), to: tiny.root + "/corpus.jsonl")
        for command in [
            ["encode", tiny.root + "/corpus.jsonl", "--model", tiny.root + "/encoder", "--quiet", "--force"],
            ["prune", tiny.path, "--method", "magnitude", "--format", "gguf", "--quiet", "--force"],
        ] {
            let output = tiny.root + "/result"
            try FileSystem.remove(output)
            let seconds = try timed(command + ["--output", output])
            let whole = try FileSystem.readBytes(output)
            for trial in trials(seconds, seed: 8) {
                try AtomicFile.write("old", to: output)
                _ = try interrupted(command + ["--output", output], by: trial.signal, after: trial.seconds)
                let now = try FileSystem.readBytes(output)
                #expect(now == whole || now == Array("old".utf8), "\(command[0]): half a file after \(trial.signal)")
            }
            _ = try timed(command + ["--output", output])
            #expect(
                try FileSystem.list(tiny.root) == ["corpus.jsonl", "encoder", "model", "result", "text.txt"])
        }
    }

    /// An index that replaces another: it has the documents of one of them.
    @Test func index() throws {
        let folder = try Folder()
        for (name, count) in [("few", 40), ("many", 3000)] {
            let lines = (0..<count).map { #"{"_id": "\#(name)\#($0)", "text": "wing \#($0 % 97) lift \#($0)"}"# + "\n" }
            try folder.write(lines.joined(), to: name + ".jsonl")
        }
        func build(_ name: String) -> [String] {
            ["index", "build", folder.file("index"), folder.file(name + ".jsonl"), "--bm25", "--force", "--quiet"]
        }
        let seconds = try timed(build("many"))
        for trial in trials(seconds, seed: 9) {
            _ = try timed(build("few"))
            _ = try interrupted(build("many"), by: trial.signal, after: trial.seconds)
            let stats = try Program().run("index", "stats", folder.file("index"), "--json")
            #expect(
                [40, 3000].contains(try JSONValue(parsing: stats.output)["documents"]?.intValue),
                "after signal \(trial.signal): \(stats)")
        }
        _ = try timed(build("many"))
        #expect(try FileSystem.list(folder.path) == ["few.jsonl", "index", "many.jsonl"])
        #expect(try FileSystem.list(folder.file("index")).filter { !$0.hasPrefix(".") }.count == 3)
    }

    /// A run of `explain train` that is interrupted again and again comes to the same files as one that never was.
    @Test func explain() throws {
        let tiny = try TinyModel()
        func command(_ output: String, _ more: [String] = []) -> [String] {
            [
                "explain", "train", tiny.path, "--layer", "1", "--text", tiny.text, "--context", "16", "--width", "64",
                "--k",
                "4", "--batch", "32", "--steps", "300", "--checkpoint-every", "40", "--quiet", "--output", output,
            ] + more
        }
        let (straight, output) = (tiny.root + "/straight", tiny.root + "/out")
        let seconds = try timed(command(straight))
        func hasBegun() -> Bool { FileSystem.exists(output + "/checkpoint.safetensors") }
        for trial in trials(seconds, seed: 10) {
            _ = try interrupted(
                command(output, hasBegun() ? ["--resume"] : []), by: trial.signal, after: trial.seconds / 3)
        }
        _ = try timed(command(output, hasBegun() ? ["--resume"] : []))
        for name in ["metrics.jsonl", "checkpoint.safetensors", "topk/sae_weights.safetensors", "topk/cfg.json"] {
            #expect(
                try FileSystem.readBytes("\(output)/\(name)") == FileSystem.readBytes("\(straight)/\(name)"), "\(name)")
        }
        #expect(try FileSystem.list(output) == FileSystem.list(straight))
        #expect(try FileSystem.list(tiny.root) == ["model", "out", "straight", "text.txt"])
    }

    /// A compression that is interrupted again and again comes to the same model, and every step of it to the same numbers, as one
    /// that never was.
    @Test func compress() throws {
        let tiny = try TinyModel()
        let words = ["a ", "test ", "measures; ", "it ", "never ", "teaches. "]
        var generator = SeededGenerator(seed: 5)
        let text = (0..<200).map { _ in words.randomElement(using: &generator)! }.joined()
        try AtomicFile.write(text, to: tiny.root + "/test.txt")
        func command(_ output: String, resumes: Bool = false) -> [String] {
            [
                "compress", tiny.path, "--target", "50%", "--weights", "int4", "--heal", "60steps", "--text", tiny.text,
                "--evaluate", tiny.root + "/test.txt", "--tokens", "200", "--sequences", "4", "--sequence-length", "64",
                "--block-steps", "2", "--window", "32", "--batch", "2", "--methods", "magnitude,wanda", "--quiet",
                "--output", output,
            ] + (resumes ? ["--resume"] : [])
        }
        func numbers(_ output: String) throws -> JSONValue {
            untimed(try JSONValue(parsing: FileSystem.readText(output + "/compression.json")))
        }
        let (straight, output) = (tiny.root + "/straight", tiny.root + "/out")
        let seconds = try timed(command(straight))
        func hasBegun() -> Bool { FileSystem.exists(output + "/compression.json") }
        var unfinished = 0
        for trial in trials(seconds, seed: 11) {
            let arguments = command(output, resumes: hasBegun())
            if try interrupted(arguments, by: trial.signal, after: trial.seconds / 3) != 0 { unfinished += 1 }
        }
        #expect(unfinished > 1)
        // The second of these has nothing left to do.
        for _ in 0..<2 { _ = try timed(command(output, resumes: hasBegun())) }
        #expect(try bytes(output + "/model") == bytes(straight + "/model"))
        let (found, expected) = (try numbers(output), try numbers(straight))
        #expect(found == expected)
        #expect((expected["steps"]?.arrayValue ?? []).count > 4)
        #expect(expected["finished"]?.boolValue == true)
        #expect(try FileSystem.list(output) == FileSystem.list(straight))
        #expect(try FileSystem.list(tiny.root) == ["model", "out", "straight", "test.txt", "text.txt"])
    }

    /// A report without what another run of the same may differ in: times and memory.
    private func untimed(_ value: JSONValue) -> JSONValue {
        switch value {
        case .object(let object):
            var kept = JSONObject()
            for member in object where !["seconds", "tokens_per_second", "peak_bytes"].contains(member.key) {
                kept[member.key] = untimed(member.value)
            }
            return .object(kept)
        case .array(let values): return .array(values.map { untimed($0) })
        default: return value
        }
    }

    @Test func data() throws {
        // A client that takes its time over a package that will not verify.
        let bench = try DataFetcherTests.Bench(
            script: "while [ \"$1\" != -d ]; do shift; done; echo part > \"$2/part\"; exec sleep 0.4")
        let environment = ["LACUNA_CACHE": bench.root + "/cache", "PATH": bench.root + "/bin:/usr/bin:/bin"]
        for trial in trials(0.4, seed: 7) where trial.seconds < 0.35 {
            let status = try interrupted(
                ["data", "smollm2", "--quiet"], by: trial.signal, after: trial.seconds, environment: environment)
            #expect(status == 128 + trial.signal)
            #expect(!bench.cacheContent.contains { !$0.hasPrefix(".") })
        }
        var process = ChildProcess(
            executable: try #require(CommandLineTests.executable), arguments: ["data", "smollm2"])
        process.environment = environment
        #expect(try process.run().status == 1)
        #expect(bench.cacheContent == [])
    }
}

extension Thread {
    /// Calls `body` on a thread of its own once some time has passed.
    fileprivate static func after(_ seconds: Double, _ body: @escaping @Sendable () -> Void) {
        let thread = Thread {
            usleep(useconds_t(seconds * 1e6))
            body()
        }
        thread.start()
    }
}
