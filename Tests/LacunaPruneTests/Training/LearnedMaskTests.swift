import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// MaskLLM: patterns, mixtures of them, priors, and masks that are found.
@Suite struct LearnedMaskTests {
    @Test func aTableHasEveryPatternOnce() {
        let table = PatternTable(n: 2, m: 4)
        #expect(
            table.rows.scalars == [
                1, 1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 1,
            ])
        #expect(PatternTable(n: 1, m: 4).count == 4 && PatternTable(n: 4, m: 8).count == 70)
        let mask = SparsePattern(rows: 1, columns: 8) { _, column in [0, 1, 5, 7].contains(column) }
        #expect(table.overlaps(mask).scalars == [2, 1, 1, 1, 1, 0, 1, 0, 1, 1, 2, 1])
    }

    private func weight(_ base: Tensor<Float>, deviation: Float = 1, seed: UInt64 = 1) -> PatternWeight {
        var generator = SeededGenerator(seed: seed)
        let table = PatternTable(n: 2, m: 4)
        return PatternWeight(
            base, table,
            logits: Tensor(normal: [base.count / 4, 6], standardDeviation: deviation, using: &generator))
    }

    @Test func mixturesKeepNOfMAndSharpenToOne() {
        let weight = weight(Tensor(repeating: 1, shape: [5, 12]))
        var generator = SeededGenerator(seed: 2)
        let tape = Tape<Float>()
        weight.redraw(scale: 2, temperature: 1, using: &generator)
        let soft = weight.relaxed(on: tape).value.reshaped([15, 4])
        for group in 0..<15 { #expect(abs(soft.row(group).reduce(0, +) - 2) < 1e-5) }
        #expect(soft.scalars.contains { $0 > 0.05 && $0 < 0.95 })
        weight.redraw(scale: 2, temperature: 1e-4, using: &generator)
        #expect(weight.relaxed(on: tape).value.scalars.allSatisfy { $0 < 1e-3 || $0 > 0.999 })
        // What is decided in the end does not depend on noise, nor on what is added to all scores of a group.
        let mask = weight.mask
        #expect(mask.satisfies(.nm(n: 2, m: 4)) && mask.count == 30)
        weight.logits.value = weight.logits.value + 3
        #expect(weight.mask == mask)
        #expect(weight.densified() == mask.applied(to: weight.base.value))
        #expect(
            tape.evaluating { weight.apply(tape.constant(Tensor(repeating: 1, shape: [1, 12])), bias: nil) }.value
                .scalars
                == (0..<5).map { _ in 6 })
    }

    /// Scores drawn without noise and without a prior, differentiated by differences.
    @Test func gradientsReachTheScores() {
        var generator = SeededGenerator(seed: 5)
        let weight = weight(Tensor(normal: [3, 8], using: &generator), deviation: 0.5)
        let x = Tensor<Float>(normal: [4, 8], using: &generator)
        weight.redraw(scale: 1.5, temperature: 0.7, using: &generator)
        func loss() -> Variable<Float> {
            let tape = Tape<Float>()
            return weight.apply(tape.constant(x), bias: nil).map(.square).sum()
        }
        let first = loss()
        first.tape.backward(from: first)
        let gradient = weight.logits.gradient!
        let start = weight.logits.value
        for place in [0, 7, 20, 35] {
            func moved(_ step: Float) -> Double {
                var value = start
                value.withMutablePointer { $0[place] += step }
                weight.logits.value = value
                return Double(loss().item)
            }
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2
            #expect(abs(slope - Double(gradient.scalars[place])) < 2e-2 * (1 + abs(slope)))
        }
    }

    /// A layer that is to reproduce its dense outputs: the squared error of all rows.
    private func search(
        _ method: MaskLLM, _ weight: Tensor<Float>, root: Tensor<Float>, steps: Int, rate: Double
    ) throws -> SparsePattern {
        struct Nothing: BatchSource {
            func batch(step: Int) -> Int { step }
            var batchesPerEpoch: Int? { nil }
        }
        let layer = Linear(weight: DenseWeight(weight))
        let model = Sequential([layer])
        let target = root.multiplied(by: weight, otherTransposed: true)
        let trainer = try Trainer(
            model: model, optimizer: Adam(learningRate: rate), source: Nothing(),
            plan: TrainingPlan(steps: steps, learningRate: .constant(rate)), hooks: [method],
            loss: { _, tape in (layer(tape.constant(root)) - tape.constant(target)).map(.square).sum() })
        try trainer.train()
        return try #require((layer.weight as? BitmaskWeight)?.mask)
    }

    private func error(_ row: [Float], _ mask: [Bool], root: Tensor<Float>) -> Double {
        let rest = Tensor(zip(row, mask).map { $1 ? 0 : $0 }, shape: [row.count, 1])
        return root.multiplied(by: rest).scalars.reduce(0) { $0 + Double($1 * $1) }
    }

    @Test func masksComeCloseToTheBestOfAll() throws {
        var generator = SeededGenerator(seed: 4)
        let (rows, columns) = (24, 8)
        // Correlated inputs of different size: what matters is not what is large.
        let factors = Tensor<Float>(normal: [40, 3], using: &generator).multiplied(
            by: Tensor(normal: [3, columns], using: &generator))
        let noise = Tensor<Float>(normal: [40, columns], standardDeviation: 0.5, using: &generator)
        let root = (1 / Float(40).squareRoot()) * (factors + noise)
        let weight = Tensor<Float>(normal: [rows, columns], using: &generator)
        let table = PatternTable(n: 2, m: 4)
        var best = 0.0
        for row in 0..<rows {
            var least = Double.infinity
            for a in 0..<6 {
                for b in 0..<6 {
                    let mask = (table.rows.row(a) + table.rows.row(b)).map { $0 != 0 }
                    least = min(least, error(weight.row(row), mask, root: root))
                }
            }
            best += least
        }
        func total(_ mask: SparsePattern) -> Double {
            (0..<rows).reduce(0) { sum, row in
                sum + error(weight.row(row), (0..<columns).map { mask[row, $0] }, root: root)
            }
        }
        let method = try MaskLLM(prior: .none, layers: .all)
        let found = try search(method, weight, root: root, steps: 600, rate: 5e-3)
        let magnitude = try StraightThroughView.mask(weight, .nm(n: 2, m: 4))
        #expect(found.satisfies(.nm(n: 2, m: 4)))
        #expect(total(found) < 1.35 * best, "\(total(found)) against \(best)")
        #expect(total(magnitude) > 1.5 * best)
        #expect(method.certainty > 0.99)
        // Without steps a strong prior is what comes out.
        let prior = try MaskLLM(
            prior: .masks(["0": magnitude.inverted()]),
            settings: {
                var settings = MaskLLM.Settings()
                settings.strength = 100
                return settings
            }(), layers: .all)
        #expect(try search(prior, weight, root: root, steps: 1, rate: 1e-9) == magnitude.inverted())
    }

    @Test func aPriorRaisesScoresByItsOverlap() throws {
        func logits(_ prior: MaskLLM.Prior) throws -> Tensor<Float> {
            var generator = SeededGenerator(seed: 6)
            let model = MLP(widths: [8, 4, 2], using: &generator)
            let method = try MaskLLM(prior: prior)
            let run = TrainingRun(model: model, optimizer: Adam(), tape: Tape(), totalSteps: 1, seed: 3)
            try method.begin(run)
            return try #require(model.layers[0].weight as? PatternWeight).logits.value
        }
        var generator = SeededGenerator(seed: 6)
        let first = MLP(widths: [8, 4, 2], using: &generator).layers[0].weight.densified()
        let mask = try StraightThroughView.mask(first, .nm(n: 2, m: 4))
        let (plain, moved) = (try logits(.none), try logits(.magnitude))
        let expected = PatternTable(n: 2, m: 4).overlaps(mask).scalars.map { 3 * 0.01 * ($0 - 1) }
        for (difference, wanted) in zip((moved - plain).scalars, expected) { #expect(abs(difference - wanted) < 1e-6) }
        let deviation = (plain.scalars.reduce(0) { $0 + $1 * $1 } / Float(plain.count)).squareRoot()
        #expect(deviation > 0.006 && deviation < 0.014)
    }

    @Test func whatCannotBeLearnedIsRefused() throws {
        for pattern in [Pattern.unstructured(.layer), .nm(n: 2, m: 4, axis: .output), .nm(n: 8, m: 16)] {
            #expect(throws: LacunaError.self) { try MaskLLM(pattern: pattern) }
        }
        #expect(throws: LacunaError.self) { try MaskLLM(prior: .method("wandaa")) }
        #expect(throws: LacunaError.self) { try MaskLLM(prior: .method("lowrank")) }
        var settings = MaskLLM.Settings()
        settings.temperature.to = 0
        #expect(throws: LacunaError.self) { try MaskLLM(settings: settings) }
        #expect(throws: LacunaError.self) { try train(network([18, 8, 2]), hooks: [MaskLLM()], steps: 1) }
        let masked = network([8, 8, 2])
        masked.layers[0].dense!.mask = SparsePattern(rows: 8, columns: 8) { $0 != $1 }
        #expect(throws: LacunaError.self) { try train(masked, hooks: [MaskLLM()], steps: 1) }
        // A prior by what layers read needs a language model.
        #expect(throws: LacunaError.self) {
            try train(network([8, 8, 2]), hooks: [MaskLLM(prior: .method("wanda"))], steps: 1)
        }
    }

    @Test func weightsStayAndOnlyScoresMove() throws {
        let model = network([20, 24, 16, 2])
        let before = model.layers.map { $0.weight.densified() }
        try train(model, hooks: [MaskLLM()], steps: 20, optimizer: Adam(), rate: 5e-3)
        for index in 0..<2 {
            let after = model.layers[index].weight.densified()
            #expect(SparsePattern(nonzerosOf: after).applied(to: before[index]) == after)
            #expect(try model.layers[index].weight.stored().format.layout == .nm(n: 2, m: 4))
        }
        #expect(model.layers[2].weight.densified() == before[2] && model.layers[2].dense!.parameter.isTrainable)
    }

    /// The scale grows and the temperature falls from end to end of a run, and the reward for what is kept fades with it.
    @Test func settingsRunFromEndToEnd() throws {
        final class Probe: TrainingHook {
            let method: MaskLLM
            init(_ method: MaskLLM) { self.method = method }
            func penalty(_ run: TrainingRun) -> Variable<Float>? {
                let weight = (run.model as! MLP).layers[0].weight as! PatternWeight
                let kept = Double(weight.relaxed(on: run.tape).map(.square).sum().item)
                let reward = Double(method.penalty(run)?.item ?? .nan)
                #expect(abs(reward + 0.5 * (1 - run.progress) * kept) < 1e-3 * kept)
                // Of the shares without noise the largest, by hand.
                let sharpness = (2 + 6 * run.progress) / (4 - 3 * run.progress)
                var mean = 0.0
                let logits = weight.logits.value
                for group in 0..<logits.rows {
                    let powers = logits.row(group).map { exponential(sharpness * Double($0)) }
                    mean += powers.max()! / powers.reduce(0, +) / Double(logits.rows)
                }
                #expect(abs(weight.certainty - mean) < 1e-5)
                return nil
            }
        }
        var settings = MaskLLM.Settings()
        (settings.scale, settings.temperature) = ((from: 2, to: 8), (from: 4, to: 1))
        (settings.deviation, settings.strength, settings.reward) = (1, 0, 0.5)
        let method = try MaskLLM(prior: .none, settings: settings)
        try train(network([8, 4, 2]), hooks: [method, Probe(method)], steps: 4, optimizer: Adam(), rate: 1e-2)
    }
}
