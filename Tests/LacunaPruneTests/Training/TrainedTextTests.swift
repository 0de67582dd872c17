import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaPrune
import LacunaTensor
import Testing

/// What is trained on text is a model like any other: loaded by its path, it is what was evaluated.
@Suite struct TrainedTextTests {
    @Test(arguments: ["dense", "sr-ste"]) func trainedModelsLoadAndRun(method: String) throws {
        let folder = "/tmp/lacuna-trained-text-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.createDirectory(folder)
        defer { try? FileSystem.remove(folder) }
        // Letters of two bytes, and in the second text a byte that the first lacks.
        let text = String(repeating: "Ein Häuschen, zwei Häuschen, drei Häuschen. ", count: 60)
        try AtomicFile.write(text, to: folder + "/train.txt")
        let held = String(text.prefix(700)) + "?"
        try AtomicFile.write(held, to: folder + "/valid.txt")
        let job = try TrainingJob(
            ConfigurationFile(
                text: """
                    [data]
                    kind = "text"
                    path = "\(folder)/train.txt"
                    valid = "\(folder)/valid.txt"
                    batch = 4
                    [model]
                    kind = "transformer"
                    dimensions = 32
                    layers = 2
                    heads = 4
                    key_value_heads = 2
                    context = 16
                    [method]
                    name = "\(method)"
                    \(method == "dense" ? "" : "pattern = \"2:4\"")
                    [optimizer]
                    name = "adamw"
                    learning_rate = 5e-3
                    [training]
                    steps = 60
                    """, file: "job.toml"), fetch: { _ in "/nowhere" })
        let report = try job.run(directory: folder + "/run")
        let loss = try #require(report.evaluation?["valid_loss"])
        #expect(loss < 2)
        let model = try Transformer.load(folder + "/run/model")
        let tokenizer = try Tokenizer(directory: folder + "/run/model")
        let tokens = tokenizer.encode(held, recognizesSpecials: false, addsBeginning: false)
        let bytes = ByteVocabulary(Array(text.utf8))
        #expect(tokens.map { Int32($0) } == bytes.encode(Array(held.utf8)))
        #expect(tokenizer.decode(Array(tokens[..<40])) == String(decoding: Array(held.utf8)[..<40], as: UTF8.self))
        // The windows of the evaluation, scored by the loaded model.
        let windows = (tokens.count - 1) / 16
        var sum = 0.0
        for window in 0..<windows {
            let range = window * 16..<window * 16 + 16
            let tape = Tape<Float>()
            let logits = tape.constant(try model.logits(Array(tokens[range])))
            sum += Double(
                Loss.crossEntropy(logits, labels: tokens[range.lowerBound + 1...range.upperBound].map { Int32($0) })
                    .item)
        }
        #expect(abs(sum / Double(windows) - loss) < 1e-3 * loss)
        #expect(abs(model.linearSparsity - (method == "dense" ? 0 : 0.5)) < 1e-9)
    }

    /// Lines of texts make a model of bytes, without a tokenizer of somebody else's; further lines are continued.
    @Test func linesOfTextsNeedNoTokenizer() throws {
        let folder = "/tmp/lacuna-trained-lines-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.createDirectory(folder)
        defer { try? FileSystem.remove(folder) }
        // A letter that the file spells by its number.
        let lines = (0..<80).map { #"{"words": "H\u00e4uschen \#($0 % 7), und noch eins."}"# }
        try AtomicFile.write(lines.joined(separator: "\n"), to: folder + "/lines.jsonl")
        func text(_ data: String) -> String {
            """
            [data]
            kind = "jsonl"
            path = "\(folder)/lines.jsonl"
            batch = 4
            \(data)
            [model]
            dimensions = 32
            layers = 1
            heads = 4
            context = 16
            [method]
            name = "static"
            sparsity = 0.5
            [optimizer]
            learning_rate = 0.01
            [training]
            steps = 5
            """
        }
        func job(_ data: String) throws -> TrainingJob {
            try TrainingJob(ConfigurationFile(text: text(data), file: "job.toml"), fetch: { _ in "/nowhere" })
        }
        let data = "text = \"words\"\ntest_fraction = 0.2"
        let made = try job(data)
        _ = try made.run(directory: folder + "/run")
        let tokenizer = try Tokenizer(directory: folder + "/run/model")
        let line = "Häuschen 3, und noch eins.\n"
        let tokens = tokenizer.encode(line, recognizesSpecials: false, addsBeginning: false)
        // A byte each, all of them known, and the line break that ends a line.
        #expect(tokens.count == line.utf8.count && tokenizer.decode(tokens) == line)
        // 64 lines of 27 bytes to train, 16 to validate.
        #expect(made.summary.contains("\(64 * 28) tokens"), "\(made.summary)")
        try AtomicFile.write(text(data), to: folder + "/run/" + TrainingJob.configurationName)
        let prompts = try LinePrompts(ofRun: folder + "/run", tokenizer: tokenizer)
        try AtomicFile.write(#"{"words": "H\u00e4us"}"#, to: folder + "/new.jsonl")
        let found = try prompts.read(folder + "/new.jsonl")
        #expect(found.count == 1 && found[0].line == 1)
        #expect(found[0].tokens == tokenizer.encode("Häus", recognizesSpecials: false, addsBeginning: false))
        for wrong in ["form = \"answers\"", data + "\nspecial_tokens = true", "text = \"other\"", "form = \"poems\""] {
            #expect(throws: LacunaError.self) { try job(wrong) }
        }
    }
}
