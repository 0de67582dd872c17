import LacunaIO
import LacunaLearn
import LacunaTensor
import Testing

@testable import LacunaPrune

/// What the sections of a configuration become: optimisers, schedules and plans, and what they are by default.
@Suite struct JobReaderTests {
    private func reader(_ text: String, phase: Int? = nil) throws -> JobReader {
        JobReader(try ConfigurationFile(text: text, file: "t.toml"), phase: phase)
    }

    private func plan(_ lines: String..., batches: Int = 8) throws -> TrainingPlan {
        let text = (["optimizer.learning_rate = 0.1"] + lines).joined(separator: "\n")
        return try reader(text).plan(seed: 3, batchesPerEpoch: batches)
    }

    private func rates(_ plan: TrainingPlan, _ steps: [Int], _ expected: [Double]) -> Bool {
        zip(steps, expected).allSatisfy { abs(plan.learningRate($0) - $1) < 1e-12 }
    }

    @Test func lengths() throws {
        #expect(try plan("training.steps = 40").steps == 40)
        // Two and a half times 8 batches, of which a step takes 2.
        #expect(try plan("training.epochs = 2.5").steps == 20)
        #expect(try plan("training.epochs = 2.5", "training.accumulation = 2").steps == 10)
        #expect(try plan("training.epochs = 0.2").steps == 2)
        #expect(try plan("training.epochs = 0.01").steps == 1)
        #expect(throws: LacunaError.self) { try plan("training.epochs = 2", "training.steps = 40") }
        #expect(throws: LacunaError.self) { try plan() }
    }

    @Test func schedules() throws {
        let cosine = try plan("training.steps = 10")
        #expect(rates(cosine, [0, 5, 10], [0.1, 0.05, 0]))
        let warm = try plan("training.steps = 10", "schedule.warm_up = 2")
        #expect(rates(warm, [0, 1, 2, 6, 10], [0.05, 0.1, 0.1, 0.05, 0]))
        let linear = try plan("training.steps = 10", "schedule.name = \"linear\"", "schedule.final = 0.02")
        #expect(rates(linear, [0, 5, 10], [0.1, 0.06, 0.02]))
        let geometric = try plan("training.steps = 10", "schedule.name = \"exponential\"", "schedule.final = 0.001")
        #expect(rates(geometric, [0, 5, 10], [0.1, 0.01, 0.001]))
        #expect(throws: LacunaError.self) { try plan("training.steps = 10", "schedule.name = \"exponential\"") }
        let constant = try plan("training.steps = 10", "schedule.name = \"constant\"")
        #expect(rates(constant, [0, 9], [0.1, 0.1]))
        // The course of five steps, twice.
        let again = try plan("training.steps = 10", "schedule.name = \"linear\"", "schedule.restarts = 1")
        #expect(rates(again, [0, 4, 5, 9], [0.1, 0.02, 0.1, 0.02]))
    }

    @Test func whatIsNotSaid() throws {
        let plan = try plan("training.steps = 400")
        #expect(plan.accumulation == 1 && plan.clipNorm == nil && plan.patience == nil && plan.averageDecay == nil)
        #expect(plan.evaluateEvery == 40 && plan.checkpointEvery == 40 && plan.logEvery == 4)
        #expect(!plan.rowSparse && plan.groups.isEmpty && plan.seed == 3)
        let short = try self.plan("training.steps = 5")
        #expect(short.evaluateEvery == 1 && short.checkpointEvery == 1 && short.logEvery == 1)
    }

    @Test func whatIsSaid() throws {
        let plan = try plan(
            "training.steps = 400", "training.accumulation = 3", "training.clip = 2.5", "training.patience = 4",
            "training.average = 0.9", "training.evaluate_every = 7", "training.checkpoint_every = 11",
            "training.log_every = 13", "training.row_sparse = true", "[[group]]", "match = \"*.bias\"", "rate = 0.5",
            "decay = 0.25", "[[group]]", "match = \"layers.0.*\"", "frozen = true")
        #expect(plan.accumulation == 3 && plan.clipNorm == 2.5 && plan.patience == 4 && plan.averageDecay == 0.9)
        #expect(plan.evaluateEvery == 7 && plan.checkpointEvery == 11 && plan.logEvery == 13 && plan.rowSparse)
        let (biases, first) = (plan.groups[0], plan.groups[1])
        #expect(plan.groups.count == 2 && biases.rate == 0.5 && biases.decay == 0.25 && !biases.isFrozen)
        #expect(first.rate == 1 && first.decay == nil && first.isFrozen && first.match.matches("layers.0.weight"))
    }

    @Test func optimizers() throws {
        func make(_ text: String) throws -> any Optimizer { try reader(text).optimizer(for: nil) }
        let adam = try #require(try make("") as? Adam)
        #expect(adam.beta1 == 0.9 && adam.beta2 == 0.999 && adam.weightDecay == 0 && !adam.isDecoupled)
        let decoupled = try #require(try make("optimizer.name = \"adamw\"") as? Adam)
        #expect(decoupled.weightDecay == 0.01 && decoupled.isDecoupled)
        let own = """
            optimizer.name = "adamw"
            optimizer.beta1 = 0.8
            optimizer.beta2 = 0.95
            optimizer.weight_decay = 0.2
            """
        let said = try #require(try make(own) as? Adam)
        #expect(said.beta1 == 0.8 && said.beta2 == 0.95 && said.weightDecay == 0.2)
        let sgd = try #require(try make("optimizer.name = \"sgd\"") as? SGD)
        #expect(sgd.momentum == 0.9 && sgd.weightDecay == 0 && !sgd.nesterov)
        let ahead = """
            optimizer.name = "sgd"
            optimizer.momentum = 0.5
            optimizer.weight_decay = 0.1
            optimizer.nesterov = true
            """
        let nesterov = try #require(try make(ahead) as? SGD)
        #expect(nesterov.momentum == 0.5 && nesterov.weightDecay == 0.1 && nesterov.nesterov)
        let adagrad = try #require(try make("optimizer.name = \"adagrad\"\noptimizer.weight_decay = 0.3") as? Adagrad)
        #expect(adagrad.weightDecay == 0.3)
    }

    /// A phase comes before its section, the number of its epochs before the steps of the section.
    @Test func phases() throws {
        let text = """
            optimizer.learning_rate = 0.1
            training.steps = 40
            [[phase]]
            training.epochs = 2
            [[phase]]
            training.steps = 7
            optimizer.learning_rate = 0.2
            """
        let first = try reader(text, phase: 0).plan(seed: 0, batchesPerEpoch: 8)
        let second = try reader(text, phase: 1).plan(seed: 0, batchesPerEpoch: 8)
        #expect(first.steps == 16 && first.learningRate(0) == 0.1)
        #expect(second.steps == 7 && second.learningRate(0) == 0.2)
    }

    /// What is missing is named, and so is what a user can do about pictures of two sizes and a target of fractions.
    @Test func mistakesAreNamed() throws {
        let folder = "/tmp/lacuna-mistakes-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(folder) }
        for (name, side) in [("a/one", 4), ("a/two", 4), ("b/one", 4), ("b/two", 3)] {
            try FileSystem.createDirectory(folder + "/" + name.prefix(1))
            let pixels = String(repeating: "7 ", count: side * side)
            try AtomicFile.write("P2\n\(side) \(side)\n255\n\(pixels)\n", to: "\(folder)/\(name).pgm")
        }
        let rows = (0..<40).map { "\($0),\(Double($0) / 8)" }.joined(separator: "\n")
        try AtomicFile.write("x,y\n" + rows, to: folder + "/t.csv")
        func message(_ text: String) -> String {
            do {
                _ = try TrainingJob(
                    ConfigurationFile(
                        text: text + "\n[model]\nkind = \"mlp\"\nhidden = [4]\n[optimizer]\nlearning_rate = 0.1\n"
                            + "[training]\nsteps = 2", file: "t.toml"),
                    fetch: { _ in "" })
                return ""
            } catch { return "\(error)" }
        }
        let table = "[data]\nkind = \"csv\"\npath = \"\(folder)/t.csv\"\n"
        let missing = message(table + "task = \"regression\"\n[method]\nname = \"static\"\nsparsty = 0.5")
        #expect(missing.contains("method.sparsity") && missing.contains("is missing"))
        #expect(message(table).contains("regression"))
        #expect(
            message(table + "task = \"regression\"").isEmpty && message(table + "task = \"classification\"").isEmpty)
        #expect(message(table + "target = \"x\"").isEmpty)
        let pictures = "[data]\nkind = \"images\"\npath = \"\(folder)\"\n"
        try FileSystem.remove(folder + "/t.csv")
        #expect(message(pictures).contains("size = [height, width]"))
        #expect(message(pictures + "size = [4, 4]").isEmpty)
    }
}
