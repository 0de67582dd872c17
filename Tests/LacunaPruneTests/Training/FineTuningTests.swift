import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// Runs that begin with a loaded model, in one phase and in several.
@Suite struct FineTuningTests {
    private static let text = String(repeating: "the cat sat on the mat, and the dog sat on the log. ", count: 40)

    /// A folder with a text and a small model of random weights, its tokenizer that of the text's bytes.
    private func inFolder<R>(_ body: (String) throws -> R) throws -> R {
        let folder = "/tmp/lacuna-fine-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.createDirectory(folder)
        defer { try? FileSystem.remove(folder) }
        try AtomicFile.write(Self.text, to: folder + "/text.txt")
        try model(layers: 2, seed: 3, in: folder + "/start")
        return try body(folder)
    }

    private func model(layers: Int, seed: UInt64, in path: String) throws {
        let bytes = ByteVocabulary(Array(Self.text.utf8))
        let configuration = TransformerConfiguration(
            vocabularySize: bytes.count, hiddenSize: 32, intermediateSizes: Array(repeating: 48, count: layers),
            headCount: 4, keyValueHeadCount: 2, headSize: 8, maximumPositions: 64, tiedEmbeddings: true,
            endTokens: [bytes.count - 1])
        try Transformer(random: configuration, seed: seed).save(to: path)
        try AtomicFile.write(bytes.tokenizerJSON.serialized(), to: path + "/tokenizer.json")
    }

    private func job(
        _ folder: String, from: String = "start", model: String = "", data: String? = nil, rest: String = "",
        steps: Int = 12, rate: Double = 0.01
    ) throws -> TrainingJob {
        try TrainingJob(
            ConfigurationFile(
                text: """
                    [data]
                    \(data ?? "kind = \"text\"\npath = \"\(folder)/text.txt\"")
                    batch = 4
                    window = 16
                    [model]
                    from = "\(folder)/\(from)"
                    \(model)
                    [optimizer]
                    name = "adamw"
                    learning_rate = \(rate)
                    [training]
                    steps = \(steps)
                    checkpoint_every = 5
                    evaluate_windows = 4
                    \(rest)
                    """, file: "fine.toml"),
            environment: .init(fetch: { throw LacunaError.file(path: $0, reason: "is not in the catalogue") }))
    }

    private func loss(_ metrics: [JSONValue], step: Int) -> Double? {
        metrics.last { $0["step"]?.intValue == step }?["valid_loss"]?.doubleValue
    }

    @Test(arguments: ["dense", "masked", "sparse"]) func allWeightsAreTrained(form: String) throws {
        try inFolder { folder in
            // Half of the weights of a pruned model are trained, and they are the same half afterwards.
            let pruned = try Pruner(
                PruningMethods.named("magnitude"), pattern: .unstructured(.layer), budget: UniformBudget(0.5)
            ).prune(Transformer.load(folder + "/start")).decoder
            try pruned.save(to: folder + "/pruned", tokenizer: Tokenizer(directory: folder + "/start"))
            let job = try job(folder, from: "pruned", model: "weights = \"\(form)\"")
            let report = try job.run(directory: folder + "/run")
            let lines = try job.metrics(in: folder + "/run")
            let (before, after) = (try #require(loss(lines, step: 0)), try #require(report.evaluation?["valid_loss"]))
            #expect(after < before - 0.1)
            let result = try Transformer.load(try #require(TrainingJob.modelDirectory(of: folder + "/run")))
            for name in pruned.linearNames {
                let (old, new) = (pruned[linear: name].densified(), result[linear: name].densified())
                let moved = zip(old.scalars, new.scalars).count { $0 == 0 && $1 != 0 }
                #expect(form == "dense" ? moved > old.count / 3 : moved == 0, "\(name): \(moved)")
                #expect(old.scalars != new.scalars)
            }
            #expect(abs(result.linearSparsity - (form == "dense" ? 0 : 0.5)) < 1e-3)
            // What was measured is what was saved: the start is the pruned model's own loss.
            let tokens = try Tokenizer(directory: folder + "/run/model").encode(
                Self.text, recognizesSpecials: false, addsBeginning: false)
            let held = Array(tokens[(tokens.count - tokens.count / 10)...])
            var sum = 0.0
            for window in 0..<4 {
                let range = window * 16..<window * 16 + 16
                let tape = Tape<Float>()
                let logits = tape.constant(try pruned.logits(Array(held[range])))
                sum += Double(
                    Loss.crossEntropy(logits, labels: held[range.lowerBound + 1...range.upperBound].map { Int32($0) })
                        .item)
            }
            #expect(abs(sum / 4 - before) < 1e-3 * before)
        }
    }

    @Test(arguments: ["low-rank", "sparse"]) func frozenWeightsStayAsTheyAreStored(update: String) throws {
        try inFolder { folder in
            let job = try job(
                folder,
                model: "precision = \"int8\"\nupdate = \"\(update)\"\n"
                    + (update == "sparse" ? "density = 0.2" : "rank = 4") + "\nupdate_layers = \"*.q_proj,*.mlp.*\"",
                rest: "[[group]]\nmatch = \"*norm*\"\nfrozen = true")
            let report = try job.run(directory: folder + "/run")
            let before = try #require(loss(try job.metrics(in: folder + "/run"), step: 0))
            #expect(try #require(report.evaluation?["valid_loss"]) < before)
            let start = try Transformer.load(folder + "/start", weights: .int8)
            let result = try Transformer.load(folder + "/run/model")
            for name in start.linearNames {
                let (old, new) = (start[linear: name].densified(), result[linear: name].densified())
                let isChosen = name.contains("q_proj") || name.contains(".mlp.")
                #expect((old.scalars != new.scalars) == isChosen, "\(name)")
            }
            #expect(result.finalNorm.weight.scalars == start.finalNorm.weight.scalars)
            // What is frozen is in no checkpoint.
            let names = try SafetensorsFile(folder + "/run/checkpoint.safetensors").names
            #expect(!names.contains { $0.contains("embed_tokens") } && names.contains { $0.contains("q_proj") })
        }
    }

    /// Three phases, interrupted in each of them, end as a run that was not.
    @Test func phasesSurviveInterruptions() throws {
        let phases = """
            [[phase]]
            method.name = "prune"
            method.sparsity = 0.5
            method.layers = "model.layers.*.mlp.*"
            [[phase]]
            method.name = "densify"
            method.x = 1
            [[phase]]
            method.name = "prune"
            method.pattern = "2:4"
            optimizer.learning_rate = 0.002
            training.steps = 7
            """
        try inFolder { folder in
            #expect(throws: LacunaError.self) { try job(folder, rest: phases) }
            let good = phases.replacing("method.x = 1\n", with: "")
            #expect(throws: LacunaError.self) { try job(folder, rest: good + "\n[method]\nname = \"densify\"") }
            let straight = try job(folder, rest: good)
            #expect(
                straight.totalSteps == 31 && straight.methods.map { $0?.card.name } == ["prune", "densify", "prune"])
            let report = try straight.run(directory: folder + "/straight")
            #expect(report.steps == 31 && report.evaluation?.step == 31)
            let result = try Transformer.load(folder + "/straight/model")
            for name in result.linearNames {
                let mask = SparsePattern(nonzerosOf: result[linear: name].densified())
                #expect(mask.satisfies(.nm(n: 2, m: 4)), "\(name)")
            }
            func bytes(_ run: String) throws -> [UInt8] {
                try FileSystem.readBytes("\(folder)/\(run)/model/model.safetensors")
            }
            for steps in [3, 11, 14, 26, 30] {
                let run = "run\(steps)"
                do {
                    _ = try job(folder, rest: good).run(
                        directory: folder + "/" + run, progress: Cancelling(after: steps))
                    Issue.record("not cancelled after \(steps)")
                } catch LacunaError.cancelled {}
                let resumed = try job(folder, rest: good).run(directory: folder + "/" + run, resumes: true)
                #expect(resumed.steps == 31)
                #expect(try bytes(run) == bytes("straight"), "interrupted after \(steps)")
                #expect(try straight.metrics(in: folder + "/" + run) == straight.metrics(in: folder + "/straight"))
            }
            #expect(try job(folder, rest: good).run(directory: folder + "/straight", resumes: true).hadNothingToDo)
        }
    }

    /// Pruning as a phase is pruning as `lacuna prune` does it, on windows of the run's text.
    @Test(arguments: ["wanda", "sparsegpt"]) func phasesPruneByWhatLayersRead(by: String) throws {
        try inFolder { folder in
            let phase = """
                [[phase]]
                method.name = "prune"
                method.by = "\(by)"
                method.pattern = "2:4"
                method.sequences = 20
                """
            // A phase in which nothing is learned leaves what the pruner makes of the model.
            _ = try job(folder, rest: phase, steps: 1, rate: 0).run(directory: folder + "/still")
            let start = try Transformer.load(folder + "/start")
            let tokens = try Tokenizer(directory: folder + "/start").encode(
                Self.text, recognizesSpecials: false, addsBeginning: false)
            let calibration = try CalibrationSet(
                text: Array(tokens.dropLast(tokens.count / 10)), sequences: 20, length: 16)
            let expected = try Pruner(PruningMethods.named(by), pattern: .nm(n: 2, m: 4)).prune(
                start, calibration: calibration
            ).decoder
            let still = try Transformer.load(folder + "/still/model")
            for name in start.linearNames {
                #expect(
                    still[linear: name].densified().scalars == expected[linear: name].densified().scalars, "\(name)")
            }
            // Dense, pruned anew and trained: from one file, and the masks stay.
            let phases = "[[phase]]\nmethod.name = \"densify\"\n" + phase + "\n[[phase]]\nmethod.name = \"dense\""
            let job = try job(folder, from: "still/model", rest: phases)
            #expect(job.methods.map { $0?.card.name } == ["densify", "prune by \(by)", nil])
            let report = try job.run(directory: folder + "/whole")
            let lines = try job.metrics(in: folder + "/whole")
            #expect(try #require(report.evaluation?["valid_loss"]) < #require(loss(lines, step: 0)) - 0.1)
            let whole = try Transformer.load(folder + "/whole/model")
            for name in whole.linearNames {
                let mask = SparsePattern(nonzerosOf: whole[linear: name].densified())
                #expect(mask.satisfies(.nm(n: 2, m: 4)) && mask.count > mask.rows * mask.columns / 3, "\(name)")
            }
        }
    }

    @Test func pruningByNamesIsChecked() throws {
        try inFolder { folder in
            func message(_ lines: String, data: String? = nil) -> String {
                do {
                    _ = try job(folder, data: data, rest: "[method]\nname = \"prune\"\n" + lines)
                    return "none"
                } catch { return "\(error)" }
            }
            #expect(message("by = \"wanda\"\nsparsity = 0.5\nbudget = \"owl\"") == "none")
            #expect(message("by = \"wanda\"").contains("missing"))
            #expect(message("by = \"vanda\"\nsparsity = 0.5").contains("method.by"))
            #expect(message("by = \"cfsp\"\nsparsity = 0.5").contains("method.by"))
            #expect(message("by = \"wanda\"\nsparsity = 0.5\nbudget = \"thin\"").contains("method.budget"))
            #expect(message("by = \"wanda\"\nsparsity = 0.5\nsequences = 0").contains("method.sequences"))
        }
    }

    @Test func teachersGoWithAnyMethod() throws {
        try inFolder { folder in
            try model(layers: 1, seed: 8, in: folder + "/other")
            let teacher = "[teacher]\nfrom = \"\(folder)/start\"\nweight = 1.0\nfeatures = 1.0\n"
            let job = try job(
                folder, rest: teacher + "[method]\nname = \"prune\"\nsparsity = 0.5", steps: 30)
            _ = try job.run(directory: folder + "/run")
            let losses = try job.metrics(in: folder + "/run").compactMap { $0["loss"]?.doubleValue }
            #expect(losses.last! < 0.8 * losses.first!)
            let other = teacher.replacing("start", with: "other")
            #expect(throws: LacunaError.self) { try self.job(folder, rest: other) }
            _ = try self.job(folder, rest: other.replacing("features = 1.0", with: ""))
            #expect(throws: LacunaError.self) { try self.job(folder, rest: "[teacher]\nweight = 0.5") }
        }
    }

    @Test func mistakesAreNamed() throws {
        try inFolder { folder in
            func message(_ model: String = "", _ rest: String = "", from: String = "start") -> String {
                do {
                    _ = try job(folder, from: from, model: model, rest: rest)
                    return "none"
                } catch { return "\(error)" }
            }
            #expect(message() == "none")
            #expect(message(from: "nothing").contains("catalogue"))
            #expect(message("weights = \"dense\"\nupdate = \"low-rank\"").contains("model.update"))
            #expect(message("update = \"low-rank\"\nupdate_layers = \"*.x_proj\"").contains("model.update_layers"))
            #expect(message("weights = \"frozn\"").contains("did you mean 'frozen'"))
            #expect(message("", "[[phase]]").contains("phase"))
            #expect(message("", "[data.x]\ny = 1").contains("data.x.y"))
            #expect(throws: LacunaError.self) {
                try job(folder, rest: "[[group]]\nmatch = \"no.such\"").run(directory: nil)
            }
        }
    }

    // MARK: Lines of JSON

    /// Writes turns as `<role>text;`, the generation prompt as `<assistant>`.
    private struct Turns: ConversationForm {
        var forgetsThePast = false
        func rendered(
            _ messages: [JSONValue], addsGenerationPrompt: Bool
        ) throws -> (text: String, specialRanges: [Range<Int>]) {
            var text = ""
            for (index, message) in messages.enumerated() {
                let isPast = forgetsThePast && index < messages.count - 1 && message["role"] == "assistant"
                text += "<\(message["role"]!.stringValue!)>" + (isPast ? "..." : message["content"]!.stringValue!) + ";"
            }
            return (text + (addsGenerationPrompt ? "<assistant>" : ""), [])
        }
    }

    @Test func conversationsAndAnswers() throws {
        try inFolder { (folder: String) throws in
            func run(_ lines: [String], _ form: String, chat: Turns = Turns()) throws -> String {
                let path = folder + "/lines.jsonl"
                try AtomicFile.write(lines.map { $0 + "\n" }.joined(), to: path)
                return try TrainingJob(
                    ConfigurationFile(
                        text: """
                            [data]
                            kind = "jsonl"
                            path = ["\(path)"]
                            valid = "\(path)"
                            form = "\(form)"
                            window = 40
                            [model]
                            from = "\(folder)/start"
                            [optimizer]
                            learning_rate = 0.01
                            [training]
                            steps = 2
                            """, file: "lines.toml"), environment: .init(conversations: { _ in chat })
                ).summary
            }
            let answers = [
                "{\"prompt\": \"the cat\", \"answer\": \" sat\"}", "", "{\"prompt\": \"a\", \"answer\": \"b\"}",
            ]
            // Four letters and the end, one letter and the end.
            #expect(try run(answers, "answers").hasPrefix("2 examples with 7 tokens to learn"))
            let turns =
                "{\"messages\": [{\"role\": \"user\", \"content\": \"the\"}, {\"role\": \"assistant\", \"content\": \"cat\"}, "
                + "{\"role\": \"user\", \"content\": \"on\"}, {\"role\": \"assistant\", \"content\": \"mat\"}]}"
            // Both answers with what closes them, nothing else.
            #expect(try run([turns], "chat").hasPrefix("1 examples with 8 tokens to learn"))
            #expect(throws: LacunaError.self) { try run([turns], "chat", chat: Turns(forgetsThePast: true)) }
            #expect(throws: LacunaError.self) { try run(["{\"messages\": []}"], "chat") }
            #expect(throws: LacunaError.self) { try run(["{\"prompt\": \"\", \"answer\": \"b\"}"], "answers") }
            #expect(throws: LacunaError.self) { try run(["{\"prompt\": 3}"], "answers") }
            #expect(throws: LacunaError.self) { try run(["nothing"], "text") }
            let texts = Array(repeating: "{\"text\": \"the cat sat on the mat\"}", count: 5)
            // 22 letters and the end, five times.
            #expect(try run(texts, "text").hasPrefix("115 tokens"))
        }
    }

    @Test func examplesArePadded() throws {
        let long = TokenExamples.Example(tokens: [1, 2, 3, 4, 5], counts: [true, false, true, true, true])
        let short = TokenExamples.Example(tokens: [6, 7], counts: [false, true])
        let batch = TokenExamples.batch([long, short], 3)
        #expect(batch.ids == [1, 2, 3, 6, 0, 0] && batch.next == [-1, 3, 4, 7, -1, -1] && batch.count == 2)
        #expect(long.countedTokens == 3)
        #expect(throws: LacunaError.self) {
            try TokenExamples(
                [.init(tokens: [1, 2, 3], counts: [true, false, true])], length: 1, batchSize: 1, seed: 0)
        }
        // Every example once an epoch.
        let source = try TokenExamples(
            (0..<5).map { .init(tokens: [$0, $0], counts: [true, true]) }, length: 4, batchSize: 2, seed: 1)
        let seen = (0..<3).flatMap { source.batch(step: $0).ids }
        #expect(seen.sorted() == [0, 1, 2, 3, 4] && source.batchesPerEpoch == 3)
    }
}
