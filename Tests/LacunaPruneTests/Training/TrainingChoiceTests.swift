import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// Choices that methods leave open: where counts come from, what is averaged, what is pruned.
@Suite struct TrainingChoiceTests {
    // MARK: Ratios

    @Test func uniformPlusSparesBothEnds() throws {
        let layers: [SparsityBudget.Layer] = [("a", [8, 4]), ("b", [8, 8]), ("c", [8, 8]), ("d", [2, 8])]
        #expect(try UniformPlusBudget(0.9).allocate(layers: layers) == ["a": 0, "b": 0.9, "c": 0.9, "d": 0.8])
        #expect(try UniformPlusBudget(0.5).allocate(layers: layers)["d"] == 0.5)
        #expect(try UniformPlusBudget(0.9).allocate(layers: [("a", [8, 4])]) == ["a": 0])
        #expect(throws: LacunaError.self) { try UniformPlusBudget(1.5).allocate(layers: layers) }
        #expect(throws: LacunaError.self) { try UniformPlusBudget(0.5).allocate(layers: [("a", [2]), ("a", [2])]) }
    }

    /// For a squared error the gradient is G = 2/n (X Wᵀ - Y)ᵀ X and the Hessian times it 2/n G Xᵀ X.
    @Test func saliencyByHand() throws {
        var generator = SeededGenerator(seed: 5)
        let layer = Linear(inputDimensions: 4, outputDimensions: 3, bias: false, using: &generator)
        let (x, y) = (
            Tensor<Float>(normal: [12, 4], using: &generator), Tensor<Float>(normal: [12, 3], using: &generator)
        )
        let start = layer.weight.densified()
        func loss(_ tape: Tape<Float>) -> Variable<Float> {
            Loss.meanSquaredError(layer(tape.constant(x)), tape.constant(y))
        }
        let difference = Tensor<Float>(
            zip(x.multiplied(by: start, otherTransposed: true).scalars, y.scalars).map { $0 - $1 }, shape: [12, 3])
        let scale = Float(2) / 36
        let gradient = difference.transposed().multiplied(by: x).scalars.map { scale * $0 }
        let product = Tensor<Float>(gradient, shape: [3, 4]).multiplied(by: x.transposed().multiplied(by: x)).scalars
            .map { scale * $0 }
        let layers = [("only", layer)]
        let snip = try #require(try SaliencyRatios.snip.scores(of: layers, loss: loss)["only"]).scalars
        let grasp = try #require(try SaliencyRatios.grasp.scores(of: layers, loss: loss)["only"]).scalars
        let size = zip(start.scalars, product).map { abs($0 * $1) }.max()!
        for (i, w) in start.scalars.enumerated() {
            #expect(abs(snip[i] - abs(w * gradient[i])) < 1e-5)
            #expect(abs(grasp[i] - w * product[i]) < 0.02 * size)
        }
        // Nothing of it stays behind.
        #expect(layer.weight.densified() == start && !layer.dense!.parameter.hasGradient)
    }

    /// The counts are those of the largest scores of all layers together; which entries stay is chance.
    @Test(arguments: SaliencyRatios.allCases) func countsComeFromScores(ratios: SaliencyRatios) throws {
        var generator = SeededGenerator(seed: 6)
        let x = Tensor<Float>(normal: [30, 20], using: &generator)
        let labels = (0..<30).map { Int32($0 % 2) }
        func loss(_ model: MLP) -> (Tape<Float>) -> Variable<Float> {
            { tape in Loss.crossEntropy(model(tape.constant(x)), labels: labels) }
        }
        let other = network()
        let scores = try ratios.scores(of: other.linears, loss: loss(other))
        let all = scores.values.flatMap(\.scalars).sorted(by: >)
        let kept = all.count - Selection.removedCount(sparsity: 0.8, of: all.count)
        let expected = Dictionary(
            uniqueKeysWithValues: scores.map { ($0, $1.scalars.count { $0 > all[kept] }) })
        let model = network()
        let method = try StaticRandomSparsity(budget: UniformBudget(0.8), ratios: ratios)
        #expect(throws: LacunaError.self) { try train(model, hooks: [method], steps: 1) }
        method.exampleLoss = loss(model)
        try train(model, hooks: [method], steps: 1)
        for (name, layer) in model.linears { #expect(abs(layer.weight.activeCount - expected[name]!) <= 1) }
        #expect(model.linears.reduce(0) { $0 + $1.layer.weight.activeCount } == kept)
        let best = try Selection.mask(
            scores: scores["layers.0"]!, pattern: .unstructured(.layer), amount: .count(expected["layers.0"]!))
        #expect(best.intersection(model.layers[0].dense!.mask!).count < best.count)
        #expect(throws: LacunaError.self) {
            try StaticRandomSparsity(budget: UniformPlusBudget(0.5), ratios: ratios)
        }
    }

    @Test func ratiosInConfigurations() throws {
        for budget in ["snip", "grasp", "uniform+", "erk+"] {
            let job = try job("static", "method.sparsity = 0.5\nmethod.budget = \"\(budget)\"")
            _ = try job.run(directory: nil)
            let layers = job.model.linears.map(\.layer)
            let (used, all) = (
                layers.map(\.weight.activeCount), layers.map { $0.inputDimensions * $0.outputDimensions }
            )
            if budget == "uniform+" {
                #expect(used[0] == all[0])
            } else {
                #expect(used.reduce(0, +) == all.reduce(0, +) / 2)
            }
        }
    }

    // MARK: SR-STE

    /// Decoupled, the pull of masked weights is rate · λ · w whatever Adam divides by; kept ones do not feel it.
    @Test func decoupledPullsBypassAdam() throws {
        func step(_ decay: Double) throws -> (before: Tensor<Float>, after: Tensor<Float>) {
            let model = network([8, 2])
            let before = model.layers[0].weight.densified()
            var after = before
            try train(
                model,
                hooks: [SRSTE(pattern: .nm(n: 2, m: 4), decay: decay, isDecoupled: true, layers: .all)], steps: 1,
                optimizer: Adam(), rate: 0.1
            ) { _ in after = model.layers[0].dense!.parameter.value }
            return (before, after)
        }
        let (plain, pulled) = (try step(0), try step(0.5))
        let mask = try StraightThroughView.mask(plain.before, .nm(n: 2, m: 4))
        for r in 0..<2 {
            for c in 0..<8 {
                let moved = plain.after[r, c]
                let expected = mask[r, c] ? moved : moved * (1 - 0.1 * 0.5)
                #expect(abs(pulled.after[r, c] - expected) < 1e-6)
            }
        }
    }

    // MARK: Soups

    /// Answers from a list.
    private final class Script {
        var answers: [Double]
        var asked = 0
        init(_ answers: [Double]) { self.answers = answers }
        func next() -> Double {
            defer { asked += 1 }
            return asked < answers.count ? answers[asked] : 0
        }
    }

    private func copies(_ script: Script, _ greedy: Bool) throws -> (last: [Tensor<Float>], result: [Tensor<Float>]) {
        let model = network()
        let method = try SoupPruning(sparsity: 0.5, rounds: 1, copies: 2, isGreedy: greedy)
        method.judge = TrainingJudge { script.next() }
        var last: [Tensor<Float>] = []
        try train(model, hooks: [method], steps: 30) { step in
            if step == 29 { last = model.parameters.map(\.value) }
        }
        return (last, model.parameters.map(\.value))
    }

    @Test func greedySoupsLeaveOutWhatHarms() throws {
        // The second copy is better alone, and the pair worse than it.
        let alone = Script([1, 2, 0])
        let (last, chosen) = try copies(alone, true)
        #expect(chosen == last && alone.asked == 3)
        let (_, mean) = try copies(Script([]), false)
        let (_, pair) = try copies(Script([1, 2, 2]), true)
        #expect(pair == mean && mean != last)
        #expect(throws: LacunaError.self) {
            try train(network(), hooks: [SoupPruning(sparsity: 0.5, isGreedy: true)], steps: 30)
        }
    }

    @Test(arguments: [true, false]) func statisticsOfSoups(recalibrates: Bool) throws {
        var generator = SeededGenerator(seed: 8)
        let examples = try LabelledExamples(
            inputs: Tensor(normal: [40, 1, 4, 4], using: &generator), labels: (0..<40).map { $0 % 2 }, classes: 2)
        let model = ConvNet(inputChannels: 1, channels: [3, 4], classes: 2, using: &generator)
        let batches = [0, 20].map { examples.selecting($0..<$0 + 20).inputs }
        let method = try SoupPruning(sparsity: 0.5, rounds: 1, copies: 2, recalibrates: recalibrates)
        method.judge = TrainingJudge(batches: batches) { 0 }
        try Trainer(
            model: model, optimizer: SGD(learningRate: 0, momentum: 0.9),
            source: ShuffledBatches(examples, batchSize: 8, seed: 1),
            plan: TrainingPlan(steps: 30, learningRate: .constant(0.05)), hooks: [method],
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
        let found = model.norms.map(\.runningVariance.value)
        SparseModelSoup.recalibrate(model, batches: batches)
        let anew = model.norms.map(\.runningVariance.value)
        let agree = zip(found, anew).allSatisfy { zip($0.scalars, $1.scalars).allSatisfy { abs($0 - $1) < 1e-5 } }
        #expect(agree == recalibrates)
    }

    private func job(_ name: String, _ more: String, schedule: String = "") throws -> TrainingJob {
        try TrainingJob(
            ConfigurationFile(
                text: """
                    data.kind = "csv"
                    data.path = "\(TrainingJobTests.table)"
                    data.batch = 16
                    model.kind = "mlp"
                    model.hidden = [16, 16]
                    method.name = "\(name)"
                    \(more)
                    optimizer.learning_rate = 0.01
                    training.steps = 40
                    \(schedule)
                    """, file: "t.toml"), fetch: { _ in "" })
    }

    @Test func choicesInConfigurations() throws {
        let soup = try job("soup", "method.sparsity = 0.5\nmethod.rounds = 2\nmethod.copies = 3\nmethod.greedy = true")
        let report = try soup.run(directory: nil)
        let taken = report.metrics.compactMap { $0["copies"] }
        #expect(taken.count == 2 && taken.allSatisfy { (1...3).contains($0) })
        let index = try job("pq-index", "method.rounds = 3\nmethod.looks = 4\nmethod.scope = \"layer\"")
        #expect(try index.run(directory: nil).metrics.compactMap { $0["best_quality"] }.count == 3)
        #expect(throws: LacunaError.self) { try job("pq-index", "method.scope = \"neuron\"") }
    }

    // MARK: PQ index

    /// Each layer loses what its own index says.
    @Test func layersHaveTheirOwnIndices() throws {
        let model = network()
        // One layer of equal weights, which none can be spared of, beside layers of normal ones.
        let equal = Tensor<Float>(repeating: 0.1, shape: [16, 24])
        final class Equal: TrainingHook {
            let value: Tensor<Float>
            init(_ value: Tensor<Float>) { self.value = value }
            func beforeStep(_ run: TrainingRun) {
                for parameter in run.model.parameters { parameter.rateFactor = 0 }
                run.model.linears[1].layer.dense!.parameter.value = value
            }
        }
        let method = try AdaptivePruning(index: PQIndex(), rounds: 2, rewinds: false, scope: .layer)
        let before = model.layers.map { $0.weight.densified().scalars }
        try train(model, hooks: [Equal(equal), method], steps: 10)
        #expect(model.layers[1].weight.activeCount == 16 * 24)
        for index in [0, 2] {
            let count = before[index].count
            let share = try PQIndex().pruneShare(index: PQIndex().value(before[index]))
            #expect(
                model.layers[index].weight.activeCount == count - Selection.removedCount(sparsity: share, of: count))
        }
    }

    /// The network of the best look of a round is the one that is pruned, and that of the last round the result.
    @Test func theBestOfARoundStays() throws {
        let model = network()
        // Looks after 5, 10, 15 and 20 steps of each of two rounds.
        let script = Script([0.1, 0.9, 0.3, 0.2, 0.5, 0.4, 0.8, 0.1])
        let method = try AdaptivePruning(index: PQIndex(), rounds: 2, rewinds: false, looks: 4)
        method.judge = TrainingJudge { script.next() }
        var seen: [Int: Tensor<Float>] = [:]
        try train(model, hooks: [method], steps: 40) { seen[$0 + 1] = model.layers[0].dense!.parameter.value }
        #expect(script.asked == 8)
        // Behind the first round: the weights after 10 steps, pruned.
        let pruned = try #require(seen[20]).scalars
        #expect(zip(pruned, try #require(seen[10]).scalars).allSatisfy { $0 == $1 || $0 == 0 } && pruned.contains(0))
        #expect(model.layers[0].dense!.parameter.value == seen[35])
        #expect(throws: LacunaError.self) {
            try train(network(), hooks: [AdaptivePruning(index: PQIndex(), looks: 2)], steps: 40)
        }
    }

    /// Behind a round the optimizer has seen nothing yet.
    @Test func optimizersStartAnew() throws {
        final class Probe: TrainingHook {
            var steps: [Int] = []
            func afterStep(_ run: TrainingRun) { steps.append(run.optimizer.steps) }
        }
        let probe = Probe()
        try train(network(), hooks: [AdaptivePruning(index: PQIndex(), rounds: 2), probe], steps: 10)
        #expect(probe.steps == [1, 2, 3, 4, 0, 1, 2, 3, 4, 5])
    }
}
