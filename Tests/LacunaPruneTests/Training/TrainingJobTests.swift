import LacunaIO
import LacunaLearn
import LacunaPrune
import LacunaTensor
import Testing

@Suite struct TrainingJobTests {
    static let table: String = {
        var generator = SeededGenerator(seed: 3)
        var text = "a,b,c,d,class\n"
        for _ in 0..<200 {
            let x = (0..<4).map { _ in generator.normal() }
            text += x.map { "\($0)" }.joined(separator: ",") + ",\(x[0] * x[1] > 0 ? 1 : 0)\n"
        }
        // Always the same content, so that one file serves every run and no more than one is left behind.
        let path = "/tmp/lacuna-training-table.csv"
        try! AtomicFile.write(text, to: path)
        return path
    }()

    /// Options that every method needs or that make it act within 40 steps.
    private static let options: [String: String] = [
        "static": "sparsity = 0.8", "set": "sparsity = 0.8\ninterval = 4", "rigl": "sparsity = 0.8\ninterval = 4",
        "sltrain": "rank = 2", "prune": "sparsity = 0.8", "gradual": "sparsity = 0.8",
        "granet": "sparsity = 0.8\ninterval = 4", "pq-index": "rounds = 3", "imp": "rounds = 3\nrewind = 5",
        "popup": "sparsity = 0.5",
        "soup": "sparsity = 0.8\nrounds = 2\ncopies = 2", "random-search": "trials = 5",
        "sparse-ift": "sparsity = 0.75\ninterval = 4", "quick-selection": "hidden = 20\ndensity = 1.5",
        "sequential": "tasks = 2", "cl-dst": "tasks = 2\nsparsity = 0.8\ninterval = 4",
        "sharp": "tasks = 2\nphases = 4\nreplay = 8", "lost": "rank = 3\ndensity = 0.3\nactivation = \"silu\"",
        "s2ft": "down = 0.3\nup = 0.2", "dsee": "rank = 2\ndecomposition_rank = 1\nentries = 3",
    ]

    private func job(
        _ name: String, extra: String = "", only: String? = nil, schedule: String = ""
    ) throws -> TrainingJob {
        let model = name == "quick-selection" ? "" : "[model]\nkind = \"mlp\"\nhidden = [16, 16]"
        return try TrainingJob(
            ConfigurationFile(
                text: """
                    [data]
                    kind = "csv"
                    path = "\(Self.table)"
                    batch = 16
                    \(name == "unlearn" ? "forget = 0.2" : "")
                    \(model)
                    [method]
                    name = "\(name)"
                    \(only ?? Self.options[name] ?? "")
                    \(extra)
                    [optimizer]
                    learning_rate = 0.01
                    [schedule]
                    \(schedule)
                    [training]
                    steps = 40
                    checkpoint_every = 17
                    """, file: "t.toml"), fetch: { _ in "" })
    }

    private func inFolder<R>(_ name: String, _ body: (String) throws -> R) throws -> R {
        let folder = "/tmp/lacuna-train-\(name)-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(folder) }
        return try body(folder)
    }

    /// Every method's runs resume exactly, whatever the storage.
    @Test(arguments: TrainingMethods.names) func resumes(name: String) throws {
        for storage in ["csr", "masked"] {
            let takesStorage = ["static", "set", "rigl", "sparse-ift"].contains(name)
            if storage == "masked" && !takesStorage { continue }
            func fresh() throws -> TrainingJob {
                try job(name, extra: takesStorage ? "storage = \"\(storage)\"" : "", schedule: "restarts = 1")
            }
            try inFolder(name) { whole in
                try inFolder(name) { stopped in
                    _ = try fresh().run(directory: whole)
                    final class Stop: ProgressReporter, @unchecked Sendable {
                        var step = 0
                        func update(task: String, completed: Int, total: Int, detail: String) { step = completed }
                        var isCancelled: Bool { step == 23 }
                    }
                    #expect(throws: LacunaError.cancelled) {
                        try fresh().run(directory: stopped, progress: Stop())
                    }
                    _ = try fresh().run(directory: stopped, resumes: true)
                    #expect(
                        try FileSystem.readBytes(whole + "/model.safetensors")
                            == FileSystem.readBytes(stopped + "/model.safetensors"))
                }
            }
        }
    }

    /// The methods of one training path each give the same bits with one thread and with four.
    @Test(arguments: ["rigl", "sr-ste", "sltrain", "bdwp"]) func threadsDoNotChangeResults(name: String) throws {
        // Layers large enough to be spread.
        var generator = SeededGenerator(seed: 4)
        let x = Tensor<Float>(normal: [96, 64], using: &generator)
        let examples = try LabelledExamples(inputs: x, labels: (0..<96).map { $0 % 3 }, classes: 3)
        struct Options: MethodOptions {
            let seed: UInt64 = 0
            func number(_ name: String) -> Double? { name == "sparsity" ? 0.8 : nil }
            func integer(_ name: String) -> Int? { name == "interval" ? 2 : nil }
            func text(_ name: String) -> String? { nil }
            func truth(_ name: String) -> Bool? { nil }
        }
        func trained() throws -> [[Float]] {
            var generator = SeededGenerator(seed: 1)
            let model = MLP(widths: [64, 640, 512, 3], using: &generator)
            let trainer = try Trainer(
                model: model, optimizer: Adam(), source: ShuffledBatches(examples, batchSize: 48, seed: 1),
                plan: TrainingPlan(steps: 6, learningRate: .constant(1e-2)),
                hooks: [try TrainingMethods.make(name, options: Options())],
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
            try trainer.train()
            return model.parameters.map { $0.value.scalars }
        }
        let before = Parallel.threads
        defer { Parallel.threads = before }
        Parallel.threads = 1
        let one = try trained()
        Parallel.threads = 4
        #expect(try trained() == one)
    }

    /// `training.precision` reaches the steps: other weights come out.
    @Test func precisionIsASetting() throws {
        func trained(_ line: String) throws -> [UInt8] {
            let job = try TrainingJob(
                ConfigurationFile(
                    text: """
                        data.kind = "csv"
                        data.path = "\(Self.table)"
                        data.batch = 16
                        model.kind = "mlp"
                        model.hidden = [16]
                        optimizer.learning_rate = 0.01
                        [training]
                        steps = 5
                        \(line)
                        """, file: "t.toml"), fetch: { _ in "" })
            var bytes: [UInt8] = []
            try inFolder("precision") { folder in
                _ = try job.run(directory: folder)
                bytes = try FileSystem.readBytes("\(folder)/model.safetensors")
            }
            return bytes
        }
        let exact = try trained("")
        #expect(try trained("precision = \"f32\"") == exact)
        #expect(try trained("precision = \"bf16\"") != exact)
        #expect(throws: LacunaError.self) { try trained("precision = \"f16\"") }
    }

    /// What a run ends with.
    private static let endings = [
        // To the last step, early (nothing improves at this rate), and with a hook that acts at the end.
        "", "patience = 2\nevaluate_every = 3\n[schedule]\nname = \"constant\"",
    ]

    /// Lines of metrics, model and checkpoint do not tell where a run was interrupted, or that it was.
    @Test(arguments: ["dense", "rigl", "gradual", "granet"], endings) func interruptionsLeaveNoTrace(
        name: String, ending: String
    )
        throws
    {
        func job() throws -> TrainingJob {
            try TrainingJob(
                ConfigurationFile(
                    text: """
                        data.kind = "csv"
                        data.path = "\(Self.table)"
                        data.batch = 16
                        model.kind = "mlp"
                        model.hidden = [16, 16]
                        method.name = "\(name)"
                        \(name == "dense" ? "" : "method.sparsity = 0.5")
                        optimizer.learning_rate = \(ending.isEmpty ? 0.01 : 0)
                        [training]
                        steps = 41
                        log_every = 5
                        checkpoint_every = 8
                        \(ending)
                        """, file: "t.toml"), fetch: { _ in "" })
        }
        func files(_ folder: String) throws -> [[UInt8]] {
            try ["metrics.jsonl", "model.safetensors", "checkpoint.safetensors"].map {
                try FileSystem.readBytes("\(folder)/\($0)")
            }
        }
        try inFolder("straight") { straight in
            let report = try job().run(directory: straight)
            #expect((report.stoppedEarly != nil) == !ending.isEmpty)
            let whole = try files(straight)
            // Before the first line, at one, between two, at a checkpoint, one step before the end.
            for steps in [1, 5, 7, 8, report.steps - 1] where steps > 0 && steps < report.steps {
                try inFolder("interrupted") { folder in
                    do {
                        _ = try job().run(directory: folder, progress: Cancelling(after: steps))
                        Issue.record("not cancelled after \(steps)")
                    } catch LacunaError.cancelled {}
                    let resumed = try job().run(directory: folder, resumes: true)
                    #expect(resumed.stoppedEarly == report.stoppedEarly && resumed.steps == report.steps)
                    #expect(try files(folder) == whole, "interrupted after \(steps)")
                    // Nothing is left to do, and nothing changes.
                    _ = try job().run(directory: folder, resumes: true)
                    #expect(try files(folder) == whole, "taken up again after the end")
                }
            }
        }
    }

    @Test func aRunGoesOnWithItsOwnSettingsOnly() throws {
        try inFolder("settings") { folder in
            _ = try job("rigl").run(directory: folder)
            do {
                _ = try job("rigl", extra: "fraction = 0.1").run(directory: folder, resumes: true)
                Issue.record("other settings are accepted")
            } catch LacunaError.malformed(_, let place, let reason) {
                #expect(place.contains("method.fraction"))
                #expect(reason == "is 0.1, but the run's checkpoint has no such setting")
            }
        }
    }

    @Test func adaptivePruningFollowsTheIndex() throws {
        let folder = "/tmp/lacuna-pq-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(folder) }
        let job = try job("pq-index", schedule: "restarts = 2")
        let report = try job.run(directory: folder)
        let rounds = report.metrics.compactMap { line in line["pq_index"].map { ($0, line["density"]!) } }
        // 40 steps in three rounds: pruned after 13 and 26.
        #expect(report.metrics.filter { $0["pq_index"] != nil }.map(\.step) == [13, 26])
        var density = 1.0
        let total = Double(4 * 16 + 16 * 16 + 16 * 2)
        for (index, found) in rounds {
            let kept = (density * total).rounded()
            density = (kept - (try PQIndex().pruneShare(index: index) * kept + 1e-9).rounded(.down)) / total
            #expect(abs(found - density) < 1e-9)
        }
        #expect(density < 0.6)
    }

    @Test func soupsAreSparseMeans() throws {
        let folder = "/tmp/lacuna-soup-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(folder) }
        let job = try job("soup", schedule: "restarts = 4")
        let report = try job.run(directory: folder)
        let total = Double(4 * 16 + 16 * 16 + 16 * 2)
        let densities = report.metrics.compactMap { line in line["density"].map { (line.step, $0) } }
        #expect(densities.map(\.0) == [8, 24, 40])
        for (found, expected) in zip(densities.map(\.1), [Double(0.2).squareRoot(), 0.2, 0.2]) {
            #expect(abs(found - expected) <= 1.01 / total)
        }
        // Dense training, then two copies in each of two rounds.
        #expect((job.method as? SoupPruning)?.phases == 5)
        let used = job.model.linears.reduce(0) { $0 + $1.layer.weight.activeCount }
        #expect(abs(Double(used) / total - 0.2) <= 1.01 / total)
    }

    @Test func shapedNetworks() throws {
        let search = try job("random-search", extra: "keep = 0.5")
        #expect(search.model.linears.map(\.layer.outputDimensions) == [8, 8, 2])
        let wide = try job("sparse-ift")
        #expect(wide.model.linears.map(\.layer.outputDimensions) == [32, 32, 2])
        _ = try wide.run(directory: nil)
        let active = wide.model.linears.map(\.layer.weight.activeCount)
        #expect(active == [4 * 16, 16 * 16, 16 * 2])
        let doped = try job("sparse-ift", extra: "variant = \"doped\"")
        _ = try doped.run(directory: nil)
        let parts = ["sum", "csr", "low-rank"]
        #expect(doped.model.linears.map(\.layer.weight.storage) == parts + parts + ["dense"])
        #expect(throws: LacunaError.self) { try job("random-search", extra: "keep = 0") }
    }

    /// The file has the network without the neurons that were removed, and says the same as the one in memory.
    @Test func removedNeuronsAreCutOut() throws {
        try inFolder("cut") { folder in
            let job = try job("wgsef", extra: "keep = 0.5\nlambda = 1.0")
            #expect(job.model.linears.map(\.layer.outputDimensions) == [16, 16, 2])
            let report = try job.run(directory: folder)
            #expect(report.metrics.last?["neurons"] == 0.5)
            #expect(job.model.linears.map(\.layer.outputDimensions) == [8, 8, 2])
            #expect(job.ledger.denseMultiplyAdds == 4 * 8 + 8 * 8 + 8 * 2)
            let network = try TrainedNetwork.load(folder)
            #expect(network.architecture == .mlp(widths: [4, 8, 8, 2], activation: .relu))
            #expect(network.model.parameters.map(\.value) == job.model.parameters.map(\.value))
        }
    }

    /// Each task gets a network of its own, which answers with the task's classes, and the accuracies are kept.
    @Test func tasksAreWritten() throws {
        try inFolder("tasks") { folder in
            var generator = SeededGenerator(seed: 5)
            var text = "a,b,kind\n"
            for i in 0..<160 {
                let (x, y) = [(2.0, 2.0), (-2, 2), (2, -2), (-2, -2)][i % 4]
                text += "\(x + 0.4 * generator.normal()),\(y + 0.4 * generator.normal()),k\(i % 4)\n"
            }
            let table = folder + ".csv"
            try AtomicFile.write(text, to: table)
            defer { try? FileSystem.remove(table) }
            func job(_ method: String, _ more: String = "") throws -> TrainingJob {
                try TrainingJob(
                    ConfigurationFile(
                        text: """
                            data.kind = "csv"
                            data.path = "\(table)"
                            data.batch = 16
                            \(more.contains("model.kind") ? "" : "model.kind = \"mlp\"")
                            model.hidden = [16, 16]
                            optimizer.learning_rate = 0.02
                            training.steps = 60
                            \(more.contains("method.tasks") ? "" : "method.tasks = 2")
                            method.name = "\(method)"
                            \(more)
                            """, file: "t.toml"), fetch: { _ in "" })
            }
            let report = try job("cl-dst", "method.sparsity = 0.5\nmethod.budget = \"uniform\"").run(
                directory: folder)
            #expect(report.steps == 120 && report.evaluation?["backward_transfer"] == 0)
            let found = try JSONValue(parsing: FileSystem.readText(folder + "/continual.json"))
            #expect(found["tasks"] == [["k0", "k1"], ["k2", "k3"]])
            #expect(found["accuracy"]?.arrayValue?.map { $0.arrayValue?.count } == [1, 2])
            #expect(try #require(found["final_average"]?.doubleValue) > 0.9)
            for (task, names) in [["k0", "k1"], ["k2", "k3"]].enumerated() {
                let network = try TrainedNetwork.load("\(folder)/task-\(task + 1)")
                #expect(network.outputs == .classes(names))
                #expect(network.model.linears.allSatisfy { $0.layer.weight is CSRWeight })
                let rows = try network.predictions(contentsOf: table).map(\.prediction.text).enumerated()
                let right = rows.count { $0.offset % 4 / 2 == task && $0.element == "k\($0.offset % 4)" }
                #expect(right > 70)
            }
            let again = try job("sharp", "method.phases = 5")
            #expect(again.methods.count == 1 && again.totalSteps == 120)
            let sharp = try again.run(directory: nil)
            #expect(try #require(sharp.evaluation?["mean_accuracy"]) > 0.6)
            // What does not go together is said where it stands.
            for (method, more) in [
                ("cl-dst", "method.sparsity = 0.5\nmethod.tasks = 9"), ("sharp", "model.kind = \"cnn\""),
                ("sharp", "method.early = 2"), ("sequential", "method.scenario = \"none\""),
            ] {
                do {
                    _ = try job(method, more)
                    Issue.record("\(method) with \(more) is accepted")
                } catch LacunaError.malformed(_, let place, _) { #expect(place.contains("line")) }
            }
        }
    }

    @Test func featuresAreWritten() throws {
        try inFolder("features") { folder in
            let job = try job("quick-selection")
            let report = try job.run(directory: folder)
            // All five columns of the table, as no target is named: ⌊1.5 · 25⌋ connections on each side.
            #expect(report.evaluation?["connections"] == 74)
            let found = try JSONValue(parsing: FileSystem.readText(folder + "/features.json"))
            let ranking = found["ranking"]?.arrayValue?.compactMap(\.intValue) ?? []
            let strengths = found["strengths"]?.arrayValue?.compactMap(\.doubleValue) ?? []
            #expect(ranking.sorted() == [0, 1, 2, 3, 4] && strengths.count == 5)
            #expect(found["names"]?.arrayValue?.compactMap(\.stringValue) == ["a", "b", "c", "d", "class"])
            #expect(zip(ranking, ranking.dropFirst()).allSatisfy { strengths[$0] >= strengths[$1] })
        }
    }

    // MARK: Damaged configurations

    /// The examples with data that is there, and small enough to be read many times.
    private static let small: [(name: String, text: String)] = {
        let text = "/tmp/lacuna-training-text.txt"
        try! AtomicFile.write(String(repeating: "It is a truth universally acknowledged. ", count: 60), to: text)
        return TrainingJob.examples.map { name, example in
            let kinds = ["fashion-mnist", "digits"]
            let lines = example.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
                if kinds.contains(where: { line.hasPrefix("kind = \"\($0)\"") }) {
                    return "kind = \"csv\"\npath = \"\(table)\""
                }
                if line.hasPrefix("path = ") { return "path = \"\(text)\"" }
                if line.hasPrefix("valid = ") { return "valid = \"\(text)\"" }
                if line.hasPrefix("trials = ") { return "trials = 2" }
                if line.hasPrefix("tasks = ") { return "tasks = 2" }
                return String(line)
            }
            return (name, lines.joined(separator: "\n"))
        }
    }()

    /// Widths and the like that damage makes enormous would take their time, not fail.
    private static func isModest(_ text: String) -> Bool {
        text.split(separator: "\n").allSatisfy { line in
            !["hidden", "dimensions", "layers", "context", "trials", "channels"].contains { line.hasPrefix($0) }
                || line.prefix { $0 != "#" }.filter(\.isNumber).count <= 6
        }
    }

    /// A job, or an error with a place in the file; never a crash.
    private func attempt(_ text: String) {
        do {
            guard Self.isModest(text) else {
                _ = try ConfigurationFile(text: text, file: "f.toml")
                return
            }
            _ = try TrainingJob(ConfigurationFile(text: text, file: "f.toml"), fetch: { _ in "/nowhere" })
        } catch let error as LacunaError {
            switch error {
            case .malformed(let file, let location, _):
                #expect(file != "f.toml" || location.hasPrefix("line") || location.contains("."), "\(error)")
            case .file: break
            default: Issue.record("\(error) for\n\(text)")
            }
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test func damagedCharacters() {
        var generator = SeededGenerator(seed: 5)
        let alphabet = Array("=[]\"#.,-09azAZ_ \n'\\e")
        for (_, good) in Self.small {
            for _ in 0..<60 {
                var characters = Array(good)
                for _ in 0..<Int.random(in: 1...4, using: &generator) {
                    let at = Int.random(in: 0..<characters.count, using: &generator)
                    switch Int.random(in: 0..<3, using: &generator) {
                    case 0: characters.remove(at: at)
                    case 1: characters.insert(alphabet.randomElement(using: &generator)!, at: at)
                    default: characters[at] = alphabet.randomElement(using: &generator)!
                    }
                }
                attempt(String(characters))
            }
        }
    }

    /// Every line of every example with another value, another key, twice, or gone.
    @Test func damagedLines() {
        let values = ["-1", "0", "1.5", "1e30", "true", "\"none\"", "[]", "[1, \"a\"]", "[0]", "nan", "\"\""]
        for (_, good) in Self.small {
            let lines = good.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            for (index, line) in lines.enumerated() {
                func with(_ replacement: [String]) {
                    var changed = lines
                    changed.replaceSubrange(index...index, with: replacement)
                    attempt(changed.joined(separator: "\n"))
                }
                guard let equals = line.firstIndex(of: "="), !line.hasPrefix("#") else {
                    with([])
                    continue
                }
                for value in values { with([line[..<equals] + "= " + value]) }
                with([line, line])
                with([])
                with(["x" + line])
            }
        }
    }

    @Test func mistakesAreNamed() throws {
        func message(_ name: String, _ extra: String) -> String {
            do {
                _ = try job(name, extra: extra)
                return "none"
            } catch { return "\(error)" }
        }
        #expect(message("rigl", "interval = 0").contains("line"))
        #expect(message("rigl", "intervall = 3").contains("intervall"))
        #expect(message("sr-ste", "pattern = \"4:2\"").contains("pattern"))
        #expect(message("pq-index", "p = 3.0").contains("line"))
        #expect(message("soup", "copies = 0").contains("line"))
        #expect(message("quick-selection", "exchange = 1.5").contains("line"))
        #expect(message("random-search", "trials = 0").contains("line"))
    }

    /// A run too short for its phases would end half pruned, or with the mean of copies that were never trained.
    @Test func phasesNeedSteps() throws {
        for (name, options) in [("soup", "sparsity = 0.8\nrounds = 20\ncopies = 2"), ("pq-index", "rounds = 41")] {
            let short = try job(name, only: options)
            #expect(throws: LacunaError.self) { try short.run(directory: nil) }
        }
        _ = try job("pq-index", only: "rounds = 40").run(directory: nil)
    }

    @Test func examplesAreReadable() throws {
        #expect(Set(TrainingJob.examples.map(\.name)).count == TrainingJob.examples.count)
        for (name, text) in Self.small where !name.hasPrefix("cnn") && !name.hasPrefix("smollm2") {
            #expect(try TrainingJob(ConfigurationFile(text: text, file: name), fetch: { _ in "" }).totalSteps > 0)
        }
    }
}

/// Cancels a run after some reports.
final class Cancelling: ProgressReporter {
    private let left: Locked<Int>
    init(after steps: Int) { left = Locked(steps) }
    func update(task: String, completed: Int, total: Int, detail: String) { left.withLock { $0 -= 1 } }
    var isCancelled: Bool { left.withLock { $0 <= 0 } }
}
