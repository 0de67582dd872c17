import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// Tasks one after the other: what is learned stays, to the bit.
@Suite struct ContinualTests {
    /// Six classes around centres of their own, in order, so that two or three of them make a task.
    private static func stream(tasks: Int, seed: UInt64 = 1, noise: Float = 0.4) throws -> TaskStream {
        var generator = SeededGenerator(seed: seed)
        let centres = Tensor<Float>(normal: [6, 10], using: &generator)
        func sample(_ count: Int) throws -> LabelledExamples {
            var x = Tensor<Float>(normal: [count, 10], standardDeviation: noise, using: &generator)
            let labels = (0..<count).map { Int32($0 % 6) }
            for i in 0..<count { for j in 0..<10 { x[i, j] += centres[i % 6, j] } }
            return try LabelledExamples(inputs: x, labels: labels, classes: 6)
        }
        return try TaskStream(train: sample(180), test: sample(90), tasks: tasks)
    }

    private func mlp(_ widths: [Int], seed: UInt64 = 2) -> MLP {
        var generator = SeededGenerator(seed: seed)
        return MLP(widths: widths, using: &generator)
    }

    private func plan(_ steps: Int, seed: UInt64) -> TrainingPlan {
        var plan = TrainingPlan(steps: steps, learningRate: .constant(0.01))
        plan.seed = seed
        return plan
    }

    @Test func streams() throws {
        let stream = try Self.stream(tasks: 4)
        #expect(stream.classes == [[0, 1], [2, 3], [4], [5]] && stream.count == 4)
        #expect(stream.train.map(\.count) == [60, 60, 30, 30] && stream.test.map(\.count) == [30, 30, 15, 15])
        #expect(stream.train[1].labels.allSatisfy { [2, 3].contains($0) } && stream.train[1].classes == 6)
        let (whole, test) = (stream.train[0], stream.test[0])
        for classes in [[[0], [0]], [[0]], [[0], [7]], [[0], [4]]] {
            #expect(throws: LacunaError.self) { try TaskStream(train: whole, test: test, classes: classes) }
        }
        #expect(throws: LacunaError.self) { try Self.stream(tasks: 7) }
        #expect(throws: LacunaError.self) { try Self.stream(tasks: 1) }
    }

    @Test func matrices() {
        let matrix = AccuracyMatrix([[0.9], [0.6, 0.8], [0.7, 0.5, 1]])
        #expect(abs(matrix.finalAverage - 2.2 / 3) < 1e-12)
        // (0.7 - 0.9 + 0.5 - 0.8) / 2, and the best before the end is what it was just after learning.
        #expect(abs(matrix.backwardTransfer + 0.25) < 1e-12 && abs(matrix.forgetting - 0.25) < 1e-12)
        #expect(abs(matrix.incrementalAccuracy - (0.9 + 0.7 + 2.2 / 3) / 3) < 1e-12)
        let better = AccuracyMatrix([[0.5], [0.9, 1], [0.6, 1, 1]])
        #expect(abs(better.backwardTransfer - 0.05) < 1e-12 && abs(better.forgetting - 0.15) < 1e-12)
        #expect(AccuracyMatrix([[0.5]]).backwardTransfer == 0 && AccuracyMatrix().finalAverage.isNaN)
    }

    /// With momentum and decay, by either growth, in a network with norms too: every output for a task is, to the bit, what it
    /// was when the task had been learned.
    @Test(arguments: DropAndGrow.Growth.allCases, [false, true])
    func earlierTasksDoNotChange(growth: DropAndGrow.Growth, isConvolutional: Bool) throws {
        var stream = try Self.stream(tasks: 3)
        var network: any UnaryLayer = mlp([10, 16, 12, 6])
        if isConvolutional {
            func images(_ examples: LabelledExamples) throws -> LabelledExamples {
                let n = examples.count
                let square = Tensor<Float>(
                    examples.inputs.scalars.enumerated().filter { $0.offset % 10 != 9 }.map(\.element),
                    shape: [n, 1, 3, 3])
                return try LabelledExamples(inputs: square, labels: examples.labels, classes: 6)
            }
            func joined(_ parts: [LabelledExamples]) throws -> LabelledExamples {
                try LabelledExamples(
                    inputs: Tensor(parts.flatMap(\.inputs.scalars), shape: [parts.reduce(0) { $0 + $1.count }, 10]),
                    labels: parts.flatMap(\.labels), classes: 6)
            }
            stream = try TaskStream(
                train: images(joined(stream.train)), test: images(joined(stream.test)), tasks: 3)
            var generator = SeededGenerator(seed: 4)
            network = ConvNet(inputChannels: 1, channels: [4, 6], classes: 6, using: &generator)
        }
        var settings = IsolatedSubnetworks.settings(budget: UniformBudget(0.6), growth: growth)
        settings.interval = 4
        let method = try IsolatedSubnetworks(settings)
        try method.prepare(network, stream: stream)
        func logits(_ task: Int) -> [Float] {
            let tape = Tape<Float>()
            return tape.evaluating { method.outputs(tape.constant(stream.test[task].inputs), task: task).value.scalars }
        }
        var learned: [[Float]] = []
        for task in 0..<3 {
            let trainer = try ContinualTraining(stream, batch: 20).trainer(
                task, method, method.network, Adam(weightDecay: 0.1, isDecoupled: true), plan(30, seed: UInt64(task)))
            try trainer.train()
            learned.append(logits(task))
            for earlier in 0...task { #expect(logits(earlier) == learned[earlier]) }
        }
        let bank = try #require(method.subnetworks)
        // Sub-networks share weights, each has its density, and the backbone is not exhausted.
        for task in bank.masks {
            for mask in task {
                #expect(
                    mask.count == mask.rows * mask.columns
                        - Selection.removedCount(sparsity: 0.6, of: mask.rows * mask.columns))
            }
        }
        let shared = zip(bank.masks[0], bank.masks[2]).reduce(0) { $0 + $1.0.intersection($1.1).count }
        #expect(shared > 0 && bank.usedShare > 0.4 && bank.usedShare < 0.95)
        // What goes out as a network of its own computes the same logits of the task's classes.
        for task in 0..<3 {
            let own = try #require(method.network(forTask: task))
            let tape = Tape<Float>()
            let found = tape.evaluating { own(tape.constant(stream.test[task].inputs)).value }
            let whole = Tensor<Float>(learned[task], shape: [stream.test[task].count, 6])
            for row in 0..<found.rows {
                for (place, label) in stream.classes[task].enumerated() {
                    #expect(abs(found[row, place] - whole[row, label]) < 1e-4)
                }
            }
            #expect(own.linears.allSatisfy { $0.layer.weight.storage == "csr" })
        }
    }

    /// Weights of earlier tasks stand still at every step, and those that are new move.
    @Test func frozenWeightsStandStill() throws {
        let stream = try Self.stream(tasks: 2)
        var settings = IsolatedSubnetworks.settings(budget: UniformBudget(0.5), growth: .gradient)
        settings.interval = 3
        let method = try IsolatedSubnetworks(settings)
        try method.prepare(mlp([10, 16, 6]), stream: stream)
        let training = ContinualTraining(stream, batch: 20)
        try training.trainer(0, method, method.network, SGD(learningRate: 0, momentum: 0.9), plan(20, seed: 1)).train()
        let bank = try #require(method.subnetworks)
        let first = bank.masks[0]
        var backbone: [Tensor<Float>] = []
        bank.withTask(0) { network in backbone = network.linears.map { $0.layer.weight.densified() } }
        final class Watch: TrainingHook {
            let body: (TrainingRun) -> Void
            init(_ body: @escaping (TrainingRun) -> Void) { self.body = body }
            func afterStep(_ run: TrainingRun) { body(run) }
        }
        var shared = 0
        var grownIntoUse = 0
        var last: SparsePattern?
        var moved = Set<Int>()
        var start: Tensor<Float>?
        let watch = Watch { run in
            for (index, entry) in run.model.linears.enumerated() {
                let (weight, mask) = (entry.layer.dense!.parameter.value, entry.layer.dense!.mask!)
                let both = mask.intersection(first[index])
                shared += both.count
                both.forEachEntry { _, r, c in #expect(weight[r, c] == backbone[index][r, c]) }
                if index == 0 {
                    if let last { grownIntoUse += both.subtracting(last).count }
                    last = both
                    if start == nil { start = weight }
                    mask.subtracting(first[0]).forEachEntry { _, r, c in
                        if weight[r, c] != start![r, c] { moved.insert(r * 100 + c) }
                    }
                }
            }
        }
        method.task = 1
        let trainer = try Trainer(
            model: method.network, optimizer: Adam(weightDecay: 0.2),
            source: ShuffledBatches(stream.train[1], batchSize: 20, seed: 1), plan: plan(20, seed: 2),
            hooks: [method, watch], loss: { method.loss($0, on: $1) })
        try trainer.train()
        // Weights in use are chosen by their gradients, which the gate must not have taken away before.
        #expect(shared > 0 && grownIntoUse > 0 && moved.count > 20)
    }

    /// Only the classes of a task compete: the others get no gradient.
    @Test func headsOfTasks() {
        let tape = Tape<Float>()
        let logits = tape.variable(Tensor([1, 2, 3, 4, 0, -1, 5, 1], shape: [2, 4]))
        let loss = Loss.crossEntropy(TaskHead.only([1, 3], of: logits), labels: [3, 1])
        let expected = (logarithm(1 + exponential(-2)) + logarithm(1 + exponential(2))) / 2
        #expect(abs(Double(loss.item) - expected) < 1e-5)
        tape.backward(from: loss)
        let gradient = logits.gradient!
        #expect([gradient[0, 0], gradient[0, 2], gradient[1, 0], gradient[1, 2]].allSatisfy { $0 == 0 })
        #expect(gradient[0, 1] > 0 && gradient[1, 1] < 0)
        #expect(TaskHead.classes(Tensor([1, 2, 3, 4, 0, -1, 5, 1], shape: [2, 4]), among: [0, 1]) == [1, 0])
    }

    @Test func banksAreRestored() throws {
        let stream = try Self.stream(tasks: 2)
        func made(_ seed: UInt64) throws -> IsolatedSubnetworks {
            let method = try IsolatedSubnetworks(IsolatedSubnetworks.settings(budget: UniformBudget(0.5)))
            try method.prepare(mlp([10, 8, 6], seed: seed), stream: stream)
            return method
        }
        let (method, other) = (try made(1), try made(7))
        _ = try ContinualTraining(stream, batch: 20).run(method) { (Adam(), plan(8, seed: UInt64($0))) }
        let path = "/tmp/lacuna-bank-\(UInt64.random(in: 0...UInt64.max)).safetensors"
        defer { try? FileSystem.remove(path) }
        try ModelFile.save(method.network, to: path)
        try ModelFile.load(other.network, from: path)
        for task in 0..<2 {
            let tape = Tape<Float>()
            let inputs = stream.test[task].inputs
            let pair = tape.evaluating {
                [method, other].map { $0.outputs(tape.constant(inputs), task: task).value }
            }
            #expect(pair[0] == pair[1])
        }
        let bank = try #require(other.subnetworks)
        for bad: [Int32] in [[1], Array(repeating: 1, count: 34), Array(repeating: 0, count: 2 * 14 * 3)] {
            #expect(throws: LacunaError.self) { try bank.restore(integerState: ["masks": bad], file: "f") }
        }
    }

    // MARK: SHARP

    /// Two pairs at right angles: of each row's three others one belongs to it, with a cosine of 1 against two of 0.
    @Test func contrastByHand() {
        let tape = Tape<Float>()
        let z = tape.variable(Tensor<Float>([2, 0, 3, 0, 0, 1, 0, 5], shape: [4, 2]))
        let loss = SHARP.contrast(z, [0, 0, 1, 1], temperature: 0.5)
        #expect(abs(Double(loss.item) - logarithm(1 + 2 * exponential(-2))) < 1e-5)
        // A class with one example is left out, and a single class has nothing to be told from.
        let more = tape.constant(Tensor<Float>([2, 0, 3, 0, 0, 1, 0, 5, 1, 1], shape: [5, 2]))
        #expect(abs(SHARP.contrast(more, [0, 0, 1, 1, 2], temperature: 0.5).item - loss.item) < 1e-6)
        #expect(SHARP.contrast(z, [0, 0, 0, 0], temperature: 0.5).item == 0)
        #expect(SHARP.contrast(z, [0, 1, 2, 3], temperature: 0.5).item == 0)
    }

    @Test func activationsComeBackWithinHalfAStep() {
        var generator = SeededGenerator(seed: 3)
        let x = Tensor<Float>(normal: [7, 5], using: &generator)
        var memory = ActivationMemory()
        memory.add(4, x)
        let range = x.scalars.max()! - x.scalars.min()!
        #expect(zip(memory[4]!.scalars, x.scalars).allSatisfy { abs($0 - $1) <= range / 510 * 1.001 })
        #expect(memory[3] == nil)
        memory.add(2, Tensor(repeating: 0.25, shape: [2, 5]))
        #expect(memory[2]!.scalars.allSatisfy { $0 == 0.25 })
        let (drawn, labels) = memory.sample(200, using: &generator)!
        #expect(drawn.shape == [200, 5])
        // Two of nine rows are of class 2.
        #expect(labels.count { $0 == 2 } > 20 && labels.count { $0 == 2 } < 75)
        let known = Set((0..<7).map { memory[4]!.selectingRows([$0]).scalars } + [[0.25, 0.25, 0.25, 0.25, 0.25]])
        for (row, label) in labels.enumerated() {
            let values = drawn.selectingRows([row]).scalars
            #expect(known.contains(values) && (values == [0.25, 0.25, 0.25, 0.25, 0.25]) == (label == 2))
        }
        memory.grow()
        memory.add(9, x)
        #expect(memory.ages.map(\.age) == [1, 1, 0])
        memory.forget(olderThan: 0)
        #expect(memory.ages.map(\.label) == [9])
    }

    /// Each class is compared on its own units: those that it does not know may hold anything.
    @Test func neighboursOnTheUnitsOfAClass() {
        var memory = ExemplarMemory()
        memory.set(3, Tensor([1, 0, 9, 1, 0.1, -9], shape: [2, 3]), units: [0, 1])
        memory.set(5, Tensor([7, 1, 0, 7, 0, 1], shape: [2, 3]), units: [1, 2])
        // On units 0 and 1 the first is along the exemplars of 3; the second is, on 1 and 2, along one of 5's.
        let queries = Tensor<Float>([5, 0, 0.2, 0, 0, 2], shape: [2, 3])
        #expect(memory.predictions(queries, neighbours: 1) == [3, 5])
        #expect(memory.predictions(queries, neighbours: 2)[0] == 3)
        #expect(ExemplarMemory().predictions(queries, neighbours: 3) == [0, 0])
        // On no unit everything is alike: that class is nobody's neighbour.
        memory.set(1, Tensor([1, 2, 3], shape: [1, 3]), units: [])
        #expect(memory.predictions(queries, neighbours: 1) == [3, 5])
    }

    @Test func activationsOfExamplesFromEverywhere() {
        #expect(SHARP.places(of: 3) == [0, 1, 2])
        let places = SHARP.places(of: 5000)
        #expect(places.count == 1024 && places.last! > 4990)
        #expect(zip(places, places.dropFirst()).allSatisfy { $0 < $1 })
    }

    private func episodes(
        _ settings: SHARP.Settings, tasks: Int = 3, steps: Int = 40,
        after: (_ task: Int, SHARP, TaskStream) throws -> Void
    ) throws {
        let stream = try Self.stream(tasks: tasks)
        let method = try SHARP(settings)
        try method.prepare(mlp([10, 24, 24, 20]), stream: stream)
        for task in 0..<tasks {
            let trainer = try ContinualTraining(stream, batch: 20).trainer(
                task, method, method.network, Adam(weightDecay: 0.05, isDecoupled: true),
                plan(steps, seed: UInt64(task)))
            try trainer.train()
            try after(task, method, stream)
        }
    }

    private var small: SHARP.Settings {
        var settings = SHARP.Settings()
        (settings.phases, settings.leastShare, settings.replay, settings.exemplars) = (4, 0.5, 10, 8)
        return settings
    }

    /// Once all units that a class is known by are frozen, its inputs' embeddings on them are what they were, to the bit.
    @Test func oldUnitsDoNotChange() throws {
        var frozen: [(task: Int, units: [Int], values: [[Float]])] = []
        try episodes(small, tasks: 3, steps: 60) { task, method, stream in
            let network = try #require(method.ageing)
            func seen(_ task: Int, _ units: [Int]) -> [[Float]] {
                let z = network.lateActivations(network.earlyActivations(stream.test[task].inputs))
                return (0..<z.rows).map { row in units.map { z[row, $0] } }
            }
            for (task, units, values) in frozen { #expect(seen(task, units) == values) }
            for earlier in 0..<task {
                let label = Int32(stream.classes[earlier][0])
                let units = try #require(network.exemplars[label]).units
                let limits = Set(network.frozenRows(2, memory: 1))
                // Recomputed once, after the next task: from then on the late part is frozen, too.
                #expect(units.allSatisfy { limits.contains($0) } && !units.isEmpty)
                frozen.append((earlier, units, seen(earlier, units)))
            }
            // Nothing free feeds what is in use, so that what is free may begin anew.
            for (index, layer) in network.layers.enumerated() {
                let (mask, below) = (layer.dense!.mask!, network.ages(below: index))
                for row in network.ages[index].indices where network.ages[index][row] > 0 {
                    #expect(mask.keptColumns(row: row).allSatisfy { below[$0] >= network.ages[index][row] })
                }
            }
        }
        #expect(frozen.count == 3)
    }

    /// Rewiring keeps the number of connections while there is room for it.
    @Test func rewiringKeepsTheDensity() throws {
        try episodes(small, tasks: 2) { task, method, _ in
            let network = try #require(method.ageing)
            for (layer, index) in zip(network.layers, 0...) {
                let (mask, ages) = (layer.dense!.mask!, network.ages[index])
                let all = mask.rows * mask.columns
                let free = ages.indices.filter { ages[$0] == 0 }.reduce(0) {
                    $0 + mask.columns - mask.keptCount(row: $1)
                }
                let wanted = all - Selection.removedCount(sparsity: 0.6, of: all)
                #expect(mask.count == wanted || (mask.count < wanted && free == 0))
            }
            #expect(network.ages.allSatisfy { $0.max() == task + 2 })
        }
    }

    @Test func classesAreToldApart() throws {
        var matrix: [Double] = []
        try episodes(small, tasks: 3, steps: 80) { task, method, stream in
            if task == 2 { matrix = (0..<3).map { method.accuracy(stream.test[$0], task: $0) } }
        }
        // Chance is a sixth; a dense network that is trained in sequence knows the last two classes alone.
        #expect(matrix.reduce(0, +) / 3 > 0.6)
        let stream = try Self.stream(tasks: 3)
        let naive = SequentialTraining(.class)
        try naive.prepare(mlp([10, 24, 24, 6]), stream: stream)
        let found = try ContinualTraining(stream, batch: 20).run(naive) { (Adam(), plan(80, seed: UInt64($0))) }
        #expect(found.rows[2][0] < 0.3 && found.rows[2][2] > 0.8)
        let told = SequentialTraining(.task)
        try told.prepare(mlp([10, 24, 24, 6]), stream: stream)
        let easier = try ContinualTraining(stream, batch: 20).run(told) { (Adam(), plan(80, seed: UInt64($0))) }
        #expect(easier.rows[2][0] > found.rows[2][0])
    }

    /// A class of which there is nothing to learn from stays unknown.
    @Test func classesWithoutExamples() throws {
        var generator = SeededGenerator(seed: 3)
        let x = Tensor<Float>(normal: [40, 10], using: &generator)
        let examples = try LabelledExamples(inputs: x, labels: (0..<40).map { Int32($0 % 3) }, classes: 4)
        let stream = try TaskStream(train: examples, test: examples, tasks: 2)
        let method = try SHARP(small)
        try method.prepare(mlp([10, 24, 24, 20]), stream: stream)
        _ = try ContinualTraining(stream, batch: 10).run(method) { (Adam(), plan(8, seed: UInt64($0))) }
        let known = try #require(method.ageing).exemplars.labels
        #expect(known == [0, 1, 2])
    }

    @Test func sharesFallToTheirLeast() throws {
        let method = try SHARP(small)
        #expect(abs(method.share(phase: 10) - 0.75) < 1e-12 && method.share(phase: 40) == 0.5)
        #expect(abs(method.share(phase: 1) - 0.5 * (1 + cosine(Double.pi / 30))) < 1e-12)
    }

    @Test func memoriesAreRestored() throws {
        try episodes(small, tasks: 2) { task, method, _ in
            guard task == 1, let network = method.ageing else { return }
            let copy = AgeingNetwork(mlp([10, 24, 24, 20]).layers, early: 1)
            let state = Dictionary(uniqueKeysWithValues: network.integerState.map { ($0.name, $0.values) })
            try copy.restore(integerState: state, file: "f")
            #expect(copy.ages == network.ages && copy.codes == network.codes && copy.exemplars == network.exemplars)
            for name in ["ages", "codes", "exemplars"] {
                var bad = state
                bad[name]!.removeLast()
                #expect(throws: LacunaError.self) { try copy.restore(integerState: bad, file: "f") }
            }
            // Ages that could not become a task older: of a unit, and of a class.
            for (name, place) in [("ages", 0), ("codes", 1)] {
                var bad = state
                bad[name]![place] = .max
                #expect(throws: LacunaError.self) { try copy.restore(integerState: bad, file: "f") }
            }
        }
    }

    @Test func badSettingsAreRefused() throws {
        let wrong: [(inout SHARP.Settings) -> Void] = [
            { $0.density = 0 }, { $0.earlyLayers = 0 }, { $0.phases = 0 }, { $0.leastShare = 1.5 },
            { $0.temperature = 0 },
            { $0.replay = -1 }, { $0.memory = 0 }, { $0.exemplars = 0 }, { $0.neighbours = 0 },
        ]
        for change in wrong {
            var settings = SHARP.Settings()
            change(&settings)
            #expect(throws: LacunaError.self) { try SHARP(settings) }
        }
        let stream = try Self.stream(tasks: 2)
        var settings = SHARP.Settings()
        settings.earlyLayers = 3
        #expect(throws: LacunaError.self) { try SHARP(settings).prepare(mlp([10, 8, 8, 8]), stream: stream) }
        var generator = SeededGenerator(seed: 1)
        let convolutional = ConvNet(inputChannels: 1, channels: [2], classes: 6, using: &generator)
        #expect(throws: LacunaError.self) { try SHARP().prepare(convolutional, stream: stream) }
    }

    /// Activations are kept of the last tasks, as many as the memory has.
    @Test(arguments: [1, 2]) func codesOfTheLastTasksStay(memory: Int) throws {
        var settings = small
        settings.memory = memory
        try episodes(settings, tasks: 3, steps: 8) { task, method, stream in
            let kept = stream.classes[max(0, task - memory + 1)...task].flatMap { $0 }.map { Int32($0) }
            let network = try #require(method.ageing)
            #expect(Set(network.codes.ages.map(\.label)) == Set(kept))
        }
    }

    /// Early layers are frozen once their task is over, late ones with their codes.
    @Test func frozenUnitsAreOldEnough() {
        let network = AgeingNetwork(mlp([4, 5, 5, 5]).layers, early: 1)
        network.ages = [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]
        #expect(network.frozenRows(0, memory: 2) == [2, 3, 4])
        #expect(network.frozenRows(1, memory: 2) == [4] && network.frozenRows(2, memory: 1) == [0, 1])
    }
}
