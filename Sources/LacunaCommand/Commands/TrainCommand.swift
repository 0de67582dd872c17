import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaLearn
import LacunaMPI
import LacunaPrune
import LacunaRetrieve
import LacunaTensor

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Trains a network, new or loaded, dense or sparse, as a configuration file says.",
        discussion: """
            Examples:
              lacuna train --example mlp-fashion > run.toml     # a file to start from
              lacuna train run.toml --output runs/first
              lacuna train --resume runs/first                  # after Ctrl-C, which writes a checkpoint, or a crash
              lacuna train runs/first --predict new.csv         # what a trained network says about a table, or pictures
              lacuna train runs/answers --predict new.jsonl     # what a language model says to further lines
              lacuna train runs/first --export net.safetensors  # whole matrices for other programs
              mpirun -n 2 lacuna train run.toml --output runs/first --mpi

            The output directory gets metrics.jsonl, checkpoint.safetensors, the model, report.html and the \
            configuration. A resumed run ends, bit for bit, as one that was never interrupted. A language model is in \
            the folder model, and `run`, `eval`, `prune` and `inspect` take the output directory as MODEL; any other \
            network is network.json and model.safetensors, which --predict reads, and a sparse encoder for search is the folder encoder: \
            `encode` and `index build` take the output directory as --model. Of a language model that was trained on lines \
            --predict reads lines of the same form, and prints what it answers, or how it continues a text, greedily and \
            256 tokens at most. --export writes the other networks' numbers as PyTorch names and shapes them.

            With --mpi the processes that mpirun has started, on one machine or several, share the batches of a step \
            (accumulation in [training], at least as many as there are processes). The first writes the files, in a directory that all see.

            Special tokens such as <|im_end|> that a text file spells are read as plain text, unless [data] has \
            special_tokens = true; those around messages of conversations are the chat template's own.
            """)

    @Argument(
        help: ArgumentHelp(
            "The configuration, a TOML file; with --predict and --export, the output directory of a run.",
            valueName: "config"),
        completion: .file(extensions: ["toml"]))
    var config: String?

    @Option(
        help: ArgumentHelp(
            """
            Print the network's predictions, as CSV: of the rows of a table, a picture, the pictures of a folder, or the lines of \
            a JSONL file.
            """,
            valueName: "file"), completion: .file())
    var predict: String?

    @Option(
        help: ArgumentHelp(
            "Write the network's whole matrices to this safetensors file; not for language models.", valueName: "file"),
        completion: .file(extensions: ["safetensors"]))
    var export: String?

    @Option(
        help: ArgumentHelp("Where results go; runs/NAME by default.", valueName: "directory"), completion: .directory)
    var output: String?

    @Option(
        help: ArgumentHelp("Go on with the run in this directory.", valueName: "directory"), completion: .directory)
    var resume: String?

    @Option(
        help: ArgumentHelp(
            "Print this example configuration: \(Self.examples.map(\.name).joined(separator: ", ")).",
            valueName: "name"), completion: NameCompletion.examples)
    var example: String?

    @Flag(help: "Share the batches of a step among the processes of mpirun; needs a program that was built with MPI.")
    var mpi = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    /// Configurations that work as they are, of all rooms.
    static var examples: [(name: String, text: String)] { TrainingJob.examples + RetrievalTraining.examples }

    func validate() throws {
        guard [config, resume, example].count(where: { $0 != nil }) == 1 else {
            throw ValidationError("give a configuration, or --resume DIRECTORY, or --example NAME")
        }
        if output != nil && config == nil { throw ValidationError("--output goes with a configuration") }
        if predict != nil && (config == nil || output != nil) {
            throw ValidationError("--predict goes with the directory of a run, and with nothing else")
        }
        if mpi && (predict != nil || export != nil || example != nil) {
            throw ValidationError("--mpi is for training")
        }
        if export != nil && (config == nil || output != nil || predict != nil) {
            throw ValidationError("--export goes with the directory of a run, and with nothing else")
        }
    }

    func run() throws {
        if let example {
            guard let found = Self.examples.first(where: { $0.name == example }) else {
                let names = Self.examples.map(\.name).joined(separator: ", ")
                throw LacunaError.invalidArgument(
                    "--example",
                    reason: "there is no '\(example)'; there are \(names)"
                        + Suggestion.phrase(example, among: Self.examples.map(\.name)))
            }
            return Console.output.print(found.text)
        }
        let processes: MPIProcesses? = try mpi ? MPIProcesses.join() : nil
        let writes = (processes?.rank ?? 0) == 0
        let progress = options.begin(speaks: writes)
        defer { progress.clear() }
        if let predict { return try printPredictions(of: predict, directory: config!, progress) }
        if let export { return try write(config!, to: export) }
        let directory = resume ?? output ?? Self.defaultOutput(config!)
        let path = resume.map { FileSystem.join($0, TrainingJob.configurationName) } ?? config!
        if let resume { try Self.requireRun(resume) }
        let text = try FileSystem.readText(path, limit: 1 << 22)
        let own = FileSystem.join(directory, TrainingJob.configurationName)
        // A configuration that somebody has put there is this one, or is not written over.
        let isSame = (try? FileSystem.readText(own, limit: 1 << 22)) == text
        let accepted: Set<String> = isSame ? [TrainingJob.configurationName] : []
        if resume == nil && writes {
            try Self.requireNoRun(directory)
            try RunDirectory.check(directory, accepting: accepted)
        }
        let environment = TrainingJob.Environment(
            fetch: { name in
                guard let argument = ModelArgument(argument: name) else { return name }
                return try argument.path(progress: progress)
            }, conversations: { try ChatTemplate($0) }, kinds: [RetrievalTraining.kind: RetrievalTraining.task])
        let job = try TrainingJob(ConfigurationFile(text: text, file: path), environment: environment)
        // Two runs in one directory would mix their files.
        var lock: DirectoryLock?
        if writes {
            lock = try resume == nil ? RunDirectory.claim(directory, accepting: accepted) : DirectoryLock(directory)
        }
        defer { lock?.release() }
        if resume == nil && writes {
            try Self.requireNoRun(directory)
            try AtomicFile.write(text, to: own)
        }
        let report: TrainingReport
        do {
            report = try Interruption.whileSaving {
                try job.run(directory: directory, resumes: resume != nil, collective: processes, progress: progress)
            }
        } catch LacunaError.cancelled where writes {
            progress.clear()
            Console.error.print("lacuna: go on with: lacuna train --resume \(directory)")
            throw LacunaError.cancelled
        }
        progress.clear()
        if writes { try tell(job, report, directory) }
        // After an error mpirun ends the others, which would wait here for ever.
        try processes?.leave()
    }

    /// The page of a run that has ended, and its result.
    private func tell(_ job: TrainingJob, _ report: TrainingReport, _ directory: String) throws {
        let story = TrainingStory(
            directory: directory, summary: job.summary,
            method: job.methods.map { $0?.card.name ?? "dense" }.joined(separator: ", then "), report: report,
            metrics: try job.metrics(in: directory), ledger: job.ledger)
        try AtomicFile.write(story.page().html(), to: FileSystem.join(directory, "report.html"))
        printResult(json: form.json, story.json, text: story.text(console: .output))
    }

    /// What is missing is said before any data are read.
    private static func requireRun(_ directory: String) throws {
        let name = TrainingJob.configurationName
        try RunDirectory.require(
            name, in: directory, otherwise: "start one with a configuration and --output \(directory)")
        try TrainingJob.requireCheckpoint(
            in: directory,
            otherwise: "start it again with: lacuna train \(FileSystem.join(directory, name)) --output \(directory)")
    }

    private static func requireNoRun(_ directory: String) throws {
        guard TrainingJob.hasRun(directory) else { return }
        throw LacunaError.file(
            path: directory, reason: "holds a run already: go on with --resume, or give another --output")
    }

    /// The network of a run for other programs.
    private func write(_ directory: String, to path: String) throws {
        if !TrainedNetwork.isIn(directory), let model = TrainingJob.modelDirectory(of: directory) {
            throw LacunaError.unsupported(
                file: directory,
                what:
                    "exporting a language model: other programs read \(model) as it is, and `lacuna prune --format gguf` writes GGUF"
            )
        }
        guard !FileSystem.exists(path) else {
            throw LacunaError.file(path: path, reason: "is there already: give another name")
        }
        try TrainedNetwork.load(directory).export(to: path)
        printResult(json: form.json, ["written": .string(path)], text: "written: \(path)")
    }

    /// One line of CSV, or one member of a JSON array, for each row or picture.
    private func printPredictions(of path: String, directory: String, _ progress: ProgressDisplay) throws {
        if SparseEncoder.isRun(directory) {
            throw LacunaError.invalidArgument(
                "--predict",
                reason: "\(directory) holds an encoder of texts: use lacuna encode \(path) --model \(directory)")
        }
        if !TrainedNetwork.isIn(directory), let model = TrainingJob.modelDirectory(of: directory) {
            return try printAnswers(to: path, directory: directory, modelDirectory: model, progress)
        }
        let network = try TrainedNetwork.load(directory)
        let found = try network.predictions(contentsOf: path)
        var isClassifier = false
        if case .classes = network.outputs { isClassifier = true }
        let objects = found.map { name, prediction -> JSONValue in
            var object = JSONObject()
            object["input"] = .string(name)
            switch prediction {
            case .label(let label, let probability):
                object["prediction"] = .string(label)
                object["probability"] = .number(probability)
            case .number(let value): object["prediction"] = .number(value)
            }
            return .object(object)
        }
        let lines = found.map { name, prediction in
            switch prediction {
            case .label(let label, let probability):
                "\(CSVTable.field(name)),\(CSVTable.field(label)),\(Quantities.fixed(probability, 4))"
            case .number(let value): "\(CSVTable.field(name)),\(value)"
            }
        }
        let header = "input,prediction" + (isClassifier ? ",probability" : "")
        printResult(json: form.json, .array(objects), text: ([header] + lines).joined(separator: "\n"))
    }

    /// What a language model answers to the lines of a file, in the same form.
    private func printAnswers(
        to path: String, directory: String, modelDirectory: String, _ progress: ProgressDisplay
    ) throws {
        let model = try LanguageModel.load(modelDirectory, progress: progress)
        let prompts = try LinePrompts(
            ofRun: directory, tokenizer: model.tokenizer, environment: .init(conversations: { try ChatTemplate($0) }))
        var options = Generator.Options()
        if let end = try? model.chatTemplate().endOfTurn(model.tokenizer) { options.stopTokens.insert(end) }
        let lines = try prompts.read(path)
        let reporter: (any ProgressReporter)? = progress
        let found = try lines.enumerated().map { index, prompt in
            try reporter.report("answering", index, of: lines.count)
            return ("line \(prompt.line)", try model.generate(after: prompt.tokens, options))
        }
        progress.clear()
        let objects = found.map { name, text -> JSONValue in ["input": .string(name), "prediction": .string(text)] }
        let rows = found.map { "\(CSVTable.field($0)),\(CSVTable.field($1))" }
        printResult(json: form.json, .array(objects), text: (["input,prediction"] + rows).joined(separator: "\n"))
    }

    /// `runs/NAME` for `…/NAME.toml`.
    private static func defaultOutput(_ config: String) -> String {
        let name = FileSystem.name(of: config)
        return FileSystem.join("runs", name.hasSuffix(".toml") ? String(name.dropLast(5)) : name)
    }
}

/// A run's result, told on the terminal, on a page and as JSON.
struct TrainingStory {
    let directory: String
    let summary: String
    let method: String
    let report: TrainingReport
    /// The lines of the whole run, so that a resumed run shows its beginning too.
    let metrics: [JSONValue]
    let ledger: Ledger

    private var evaluation: [(name: String, value: Double)] { report.evaluation?.values ?? [] }

    /// What an evaluation before the first step found.
    private func initial(_ name: String) -> Double? {
        metrics.first { $0["step"]?.intValue == 0 }?[name]?.doubleValue
    }

    private var facts: [(name: String, value: String)] {
        var facts = [("data", summary), ("method", method)]
        facts += evaluation.map { name, value in
            let start = initial(name).map { ", \(Quantities.fixed($0, 4)) before the first step" } ?? ""
            return (name.replacing("_", with: " "), Quantities.fixed(value, 4) + start)
        }
        facts += [
            ("trained numbers", Quantities.grouped(ledger.parameters)),
            (
                "multiply-adds forward",
                "\(Quantities.grouped(ledger.activeMultiplyAdds)), "
                    + "\(Quantities.percent(ledger.computeRatio, 1)) of the dense network's"
            ),
            ("bytes of the weights", Quantities.bytes(ledger.weightBytes)),
            ("bytes kept for training", Quantities.bytes(ledger.trainingBytes)),
            ("steps", Quantities.grouped(report.steps)), ("took", Quantities.duration(report.seconds)),
        ]
        if report.multiplyAddsPerStep > 0 {
            facts.append(
                ("multiply-adds of a training step, as computed", Quantities.grouped(report.multiplyAddsPerStep)))
        }
        if report.hadNothingToDo { facts.append(("nothing to do", "no step was left")) }
        if let step = report.stoppedEarly { facts.append(("stopped early at step", Quantities.grouped(step))) }
        return facts
    }

    func text(console: Console) -> String {
        facts.map { "\(console.styled($0.name + ":", .bold)) \($0.value)" }.joined(separator: "\n")
            + "\n\nwritten: \(directory)/"
    }

    /// The facts and the curves of the whole run.
    func page() -> HTMLReport {
        var page = HTMLReport(title: "Training: \(method)", lead: summary)
        page.facts(facts)
        func series(_ name: String) -> LineChart.Series {
            LineChart.Series(
                name: name.replacing("_", with: " "),
                points: metrics.compactMap { line in
                    guard let step = line["step"]?.doubleValue, let value = line[name]?.doubleValue else { return nil }
                    return LineChart.Point(step, value)
                })
        }
        func chart(_ title: String, _ names: [String]) -> LineChart {
            LineChart(title: title, x: .init(title: "step"), y: .init(title: title), series: names.map(series))
        }
        let losses = evaluation.map(\.name).filter { $0.hasSuffix("loss") }
        page.chart(chart("loss", ["loss"] + losses))
        for other in evaluation.map(\.name) where !other.hasSuffix("loss") {
            page.chart(chart(other.replacing("_", with: " "), [other]))
        }
        return page
    }

    var json: JSONValue {
        var object = JSONObject()
        object["directory"] = .string(directory)
        object["method"] = .string(method)
        object["steps"] = JSONValue(report.steps)
        object["seconds"] = .number(report.seconds)
        for (name, value) in evaluation { object[name] = .number(value) }
        object["parameters"] = JSONValue(ledger.parameters)
        object["dense_multiply_adds"] = JSONValue(ledger.denseMultiplyAdds)
        object["active_multiply_adds"] = JSONValue(ledger.activeMultiplyAdds)
        object["step_multiply_adds"] = JSONValue(report.multiplyAddsPerStep)
        object["weight_bytes"] = JSONValue(ledger.weightBytes)
        object["training_bytes"] = JSONValue(ledger.trainingBytes)
        return .object(object)
    }
}
