import LacunaLearn
import LacunaModels
import LacunaTensor
import Testing

@testable import LacunaPrune

/// Once for both: terms of the loss, multipliers, what is dropped, surgery, cost and fusion.
@Suite struct WidthSearchTests {
    private func normal(_ shape: [Int], _ seed: UInt64) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        return Tensor(normal: shape, using: &generator)
    }

    private func mask(_ present: BiMask.Width, _ candidates: [BiMask.Width]) throws -> BiMask {
        var generator = SeededGenerator(seed: 1)
        return try BiMask(present, candidates: candidates, using: &generator)
    }

    private func set(_ mask: BiMask, score: [Float], shares: [Double]) {
        mask.score.value = Tensor(score)
        mask.logits.value = Tensor(shares.map { Float(logarithm($0)) })
    }

    /// Entropy, variance and tangent of four shares, to six digits; the loss on the tape is half of nothing else.
    @Test(arguments: [
        ([0.4, 0.3, 0.2, 0.1], 1.279854, 0.066667, 1.176158), ([0.7, 0.1, 0.1, 0.1], 0.940448, 0.36, 0.117641),
        ([0.85, 0.05, 0.05, 0.05], 0.587500, 0.64, -0.117641),
    ]) func oneHotTerms(shares: [Double], entropy: Double, variance: Double, tangent: Double) throws {
        let terms = BiMask.oneHotTerms(shares)
        #expect(abs(terms.entropy - entropy) < 1e-6 && abs(terms.variance - variance) < 1e-6)
        #expect(abs(terms.tangent - tangent) < 1e-6)
        let mask = try mask(.init(size: 8), [2, 4, 6, 8].map { .init(size: $0) })
        set(mask, score: [Float](repeating: 0, count: 8), shares: shares)
        let tape = Tape<Float>()
        // Eight scores of 0 are four sigmoids of 1.
        let loss = try #require(mask.oneHotLoss(price: 0.01, on: tape))
        #expect(abs(Double(loss.item) - (entropy + tangent + 0.04)) < 1e-4)
        tape.backward(from: loss)
        #expect(mask.score.gradient!.scalars.allSatisfy { abs($0 - 0.0025) < 1e-6 })
        let gradient = mask.logits.gradient!.scalars
        let start = mask.logits.value
        for place in 0..<4 {
            func moved(_ step: Float) -> Double {
                var value = start
                value[place] += step
                mask.logits.value = value
                let terms = BiMask.oneHotTerms(mask.shares)
                return terms.entropy + terms.tangent
            }
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2
            #expect(abs(slope - Double(gradient[place])) < 2e-3 * (1 + abs(slope)))
        }
    }

    @Test func theTangentIsHeldWithinItsEnds() {
        let equal = BiMask.oneHotTerms([0.25, 0.25, 0.25, 0.25])
        #expect(equal.variance < 1e-12 && abs(equal.tangent - 31.8205 / 4) < 1e-3)  // cot(0.01 π)
        let single = BiMask.oneHotTerms([1, 0, 0, 0])
        #expect(single.entropy == 0 && abs(single.variance - 1) < 1e-12 && abs(single.tangent + 31.8205 / 4) < 1e-3)
    }

    /// Scores put the units in order 3, 0, 2, 1; widths 1, 2, 4 have shares 0.2, 0.3, 0.5.
    @Test func multipliersFollowRanks() throws {
        let mask = try mask(.init(size: 4), [1, 2, 4].map { .init(size: $0) })
        set(mask, score: [1, -2, 0.5, 3], shares: [0.2, 0.3, 0.5])
        mask.mix = 0.25
        let profile: [Float] = [0.8, 0.5, 0.5, 1]
        let tape = Tape<Float>()
        let multiplier = mask.multiplier(on: tape)
        for (place, value) in multiplier.value.scalars.enumerated() {
            let sigmoid = Float(1 / (1 + exponential(-Double(mask.score.value.scalars[place]))))
            #expect(abs(value - (0.25 * sigmoid + 0.75 * profile[place])) < 1e-5)
        }
        #expect(abs(mask.expectedCount - 2.8) < 1e-6 && abs(Double(mask.expectedCount(on: tape).item) - 2.8) < 1e-5)
        tape.backward(from: (multiplier * tape.constant(Tensor([1, 10, 100, 1000]))).sum())
        for (place, weight) in [1, 10, 100, 1000].enumerated() {
            let sigmoid = 1 / (1 + exponential(-Double(mask.score.value.scalars[place])))
            #expect(
                abs(Double(mask.score.gradient!.scalars[place]) - 0.25 * sigmoid * (1 - sigmoid) * Double(weight))
                    < 1e-3)
        }
    }

    /// Two of three heads, and one or two of three entries of each: heads rank by the sums of their sigmoids.
    @Test func headsAndTheirEntriesRankTogether() throws {
        let mask = try mask(.init(groups: 3, size: 3), [.init(groups: 2, size: 1), .init(groups: 3, size: 3)])
        set(mask, score: [0, 1, -1, 5, -5, 0.1, 3, 2, 1], shares: [0.6, 0.4])
        mask.mix = 0
        let tape = Tape<Float>()
        // Sums of sigmoids: 1.5, 1.53 and 2.56.
        let expected: [Float] = [0.4, 0.4, 0.4, 1, 0.4, 0.4, 1, 0.4, 0.4]
        #expect(zip(mask.multiplier(on: tape).value.scalars, expected).allSatisfy { abs($0 - $1) < 1e-6 })
        #expect(abs(mask.expectedCount - (0.6 * 2 + 0.4 * 9)) < 1e-6)
        let kept = try #require(mask.decide())
        #expect(kept.map(\.group) == [1, 2] && kept.map(\.units) == [[0], [0]])
        #expect(mask.present == .init(groups: 2, size: 1) && mask.score.value.scalars == [5, 3])
        #expect(mask.decided == [1, 1] && mask.oneHotLoss(price: 1, on: tape) == nil && mask.decide() == nil)
    }

    @Test func smallSharesAreDropped() throws {
        let mask = try mask(.init(size: 6), [2, 4, 6].map { .init(size: $0) })
        set(mask, score: [0.1, 0.6, 0.2, 0.5, 0.3, 0.4], shares: [0.3, 0.64, 0.06])
        mask.logits.slot("first").update(from: [1, 2, 3], count: 3)
        mask.score.slot("first").update(from: [1, 2, 3, 4, 5, 6], count: 6)
        // 0.2 / 3 is above 0.06: the largest goes, and with it the two units of least score.
        let kept = try #require(mask.dropCandidates(threshold: 0.2))
        #expect(kept[0].units == [1, 3, 4, 5] && mask.candidates.map(\.size) == [2, 4])
        #expect(mask.score.value.scalars == [0.6, 0.5, 0.3, 0.4])
        #expect(Array(mask.score.slots["first"]!.elements) == [2, 4, 5, 6])
        #expect(Array(mask.logits.slots["first"]!.elements) == [1, 2])
        #expect(mask.dropCandidates(threshold: 0.2) == nil && mask.decided == nil)
        #expect(mask.dropCandidates(threshold: 5) == nil && mask.candidates.count == 2, "none would be left")
        // The smaller one goes: nothing leaves the network, and the width is chosen, with what multipliers are then.
        set(mask, score: [0.6, 0.5, 0.3, 0.4], shares: [0.02, 0.98])
        mask.mix = 0.5
        #expect(mask.dropCandidates(threshold: 0.2) == nil)
        let decided = try #require(mask.decided)
        for (factor, score) in zip(decided, [0.6, 0.5, 0.3, 0.4]) {
            #expect(abs(Double(factor) - (0.5 / (1 + exponential(-score)) + 0.5)) < 1e-6)
        }
        #expect(!mask.score.isTrainable && !mask.logits.isTrainable)
        for bad in [[], [7], [2, 2], [0]] {
            #expect(throws: LacunaError.self) { try self.mask(.init(size: 6), bad.map { .init(size: $0) }) }
        }
    }

    // MARK: Networks

    private func perceptron(_ seed: UInt64 = 1) -> MLP {
        var generator = SeededGenerator(seed: seed)
        let model = MLP(widths: [6, 16, 16, 3], activation: .gelu, using: &generator)
        for layer in model.layers { layer.bias!.value = Tensor(normal: [layer.outputDimensions], using: &generator) }
        return model
    }

    private func transformer() throws -> TrainableViT {
        var generator = SeededGenerator(seed: 3)
        let model = try TrainableViT(
            ViT(
                random: ViTConfiguration(
                    imageSize: 4, patchSize: 2, channels: 1, hiddenSize: 16, intermediateSize: 16, layerCount: 2,
                    headCount: 4, classes: ["a", "b", "c"]), using: &generator))
        // A fresh network has no biases and plain norms, so that errors in them would not show.
        for parameter in model.parameters where parameter.shape.count == 1 {
            parameter.value =
                parameter.value + Tensor(normal: parameter.shape, standardDeviation: 0.3, using: &generator)
        }
        return model
    }

    private func near(_ a: Tensor<Float>, _ b: Tensor<Float>, _ tolerance: Float = 2e-4) -> Bool {
        a.shape == b.shape && zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) < tolerance }
    }

    /// Steps from the least width may pass the whole one by, which has to stay possible.
    @Test func theWholeIsACandidate() throws {
        var generator = SeededGenerator(seed: 4)
        let model = MLP(widths: [6, 20, 3], using: &generator)
        let elastic = try ElasticNetwork(model, using: &generator)
        #expect(elastic.axes[0].mask.candidates.map(\.size) == [5, 7, 9, 11, 13, 15, 17, 19, 20])
        let vit = try TrainableViT(
            ViT(
                random: ViTConfiguration(
                    imageSize: 4, patchSize: 2, channels: 1, hiddenSize: 12, intermediateSize: 16, layerCount: 1,
                    headCount: 3, classes: ["a", "b", "c"]), using: &generator))
        let heads = try ElasticNetwork(vit, kinds: [.heads], using: &generator)
        #expect(Set(heads.axes[0].mask.candidates.map(\.groups)) == [2, 3])
    }

    /// What is removed had the multiplier λ sigmoid(s) before: with λ 0 and only the largest share it was 0, so nothing changes; and fusion
    /// changes nothing.
    @Test(arguments: [false, true]) func removalAndFusionKeepTheFunction(isVision: Bool) throws {
        var generator = SeededGenerator(seed: 5)
        let x = normal(isVision ? [5, 1, 4, 4] : [5, 6], 6)
        let elastic =
            isVision
            ? try ElasticNetwork(transformer(), kinds: [.heads, .neurons], using: &generator)
            : try ElasticNetwork(perceptron(), using: &generator)
        func output() -> Tensor<Float> {
            let tape = Tape<Float>()
            return tape.evaluating { elastic(tape.constant(x)).value }
        }
        for axis in elastic.axes {
            // A middle candidate, as good as alone.
            let n = axis.mask.candidates.count
            var logits = [Float](repeating: -60, count: n)
            logits[n / 2] = 0
            axis.mask.logits.value = Tensor(logits)
            axis.mask.mix = 0
        }
        let before = output()
        let dense = elastic.network.parameterCount
        #expect(try elastic.shrink { $0.dropCandidates(threshold: 0.2) } == elastic.axes.count)
        #expect(elastic.isDecided && elastic.network.parameterCount < dense)
        #expect(near(output(), before))
        // With multipliers other than 1.
        let again =
            isVision
            ? try ElasticNetwork(transformer(), using: &generator) : try ElasticNetwork(perceptron(), using: &generator)
        for axis in again.axes { axis.mask.mix = 0.7 }
        try again.shrink { $0.decide() }
        let tape = Tape<Float>()
        let masked = tape.evaluating { again(tape.constant(x)).value }
        try again.fuse()
        #expect(near(tape.evaluating { again(tape.constant(x)).value }, masked))
        #expect(again.network.linears.allSatisfy { $0.layer.dense != nil })
        if let vit = again.network as? TrainableViT {
            let run = try vit.stored()
            #expect(near(try run.logits(x), masked), "the form that is run has the same sizes")
            #expect(throws: LacunaError.self) { try run.save(to: "/tmp/lacuna-irregular") }
        }
    }

    /// The ledger counts what the tape's layers note: before, and with the widths that were chosen.
    @Test(arguments: [false, true]) func costsAreThoseOfTheNetwork(isVision: Bool) throws {
        var generator = SeededGenerator(seed: 7)
        let elastic =
            isVision
            ? try ElasticNetwork(transformer(), using: &generator) : try ElasticNetwork(perceptron(), using: &generator)
        let x = normal(isVision ? [1, 1, 4, 4] : [1, 6], 6)
        func counted() -> Double {
            let tape = Tape<Float>()
            return Double(Ledger(elastic.network, on: tape) { _ = elastic(tape.constant(x)) }.denseMultiplyAdds)
        }
        /// The patches' kernel is a convolution of the network's own, which is not noted.
        func patches() -> Double {
            guard let vit = elastic.network as? TrainableViT else { return 0 }
            return Double(4 * vit.kernel.count)
        }
        #expect(elastic.denseMultiplyAdds == counted() + patches())
        let tape = Tape<Float>()
        let expected = elastic.expectedMultiplyAdds
        #expect(abs(Double(elastic.expectedCost(on: tape).item) - expected / elastic.denseMultiplyAdds) < 1e-5)
        #expect(expected < elastic.denseMultiplyAdds)
        try elastic.shrink { $0.decide() }
        #expect(abs(elastic.expectedMultiplyAdds - counted() - patches()) < 1e-6)
        #expect(elastic.denseMultiplyAdds > elastic.expectedMultiplyAdds)
    }

    /// The classifier on a teacher's token is one more.
    @Test func classifiersOfTeachersCost() throws {
        var generator = SeededGenerator(seed: 3)
        var vit = try ViT(
            random: ViTConfiguration(
                imageSize: 4, patchSize: 2, channels: 1, hiddenSize: 16, intermediateSize: 16, layerCount: 1,
                headCount: 4, classes: ["a", "b", "c"]), using: &generator)
        let plain = try ElasticNetwork(TrainableViT(vit), using: &generator).denseMultiplyAdds
        vit.teacherClassifier = vit.classifier
        let taught = try ElasticNetwork(TrainableViT(vit), using: &generator).denseMultiplyAdds
        #expect(taught == plain + 48)
    }

    /// Training goes on through removals: a target, a run, a network that is smaller and needs about that.
    @Test func searchesWhileItTrains() throws {
        var generator = SeededGenerator(seed: 9)
        let model = perceptron()
        let elastic = try ElasticNetwork(model, using: &generator)
        let x = normal([120, 6], 10)
        let examples = try LabelledExamples(
            inputs: x, labels: (0..<120).map { x[$0, 0] > 0.3 ? 0 : x[$0, 1] > 0 ? 1 : 2 }, classes: 3)
        var plan = TrainingPlan(steps: 400, learningRate: .constant(2e-2))
        plan.seed = 1
        try Trainer(
            model: elastic, optimizer: Adam(), source: ShuffledBatches(examples, batchSize: 40, seed: 1), plan: plan,
            hooks: [OnceForBoth(target: 0.3, interval: 10)], loss: { elastic.loss($0, on: $1) }
        ).train()
        #expect(elastic.isDecided)
        #expect(abs(elastic.expectedMultiplyAdds / elastic.denseMultiplyAdds - 0.3) < 0.1)
        try elastic.fuse()
        #expect(
            model.layers[0].outputDimensions < 16 && model.layers[1].inputDimensions == model.layers[0].outputDimensions
        )
        #expect(throws: LacunaError.self) { try ElasticNetwork(self.perceptron(), using: &generator).fuse() }
        #expect(throws: LacunaError.self, "the model is no elastic network") {
            try train(network(), hooks: [OnceForBoth(target: 0.5, interval: 5)], steps: 1)
        }
        for (target, interval, warmUp) in [(0, 1, 0.2), (1.1, 1, 0.2), (0.5, 0, 0.2), (0.5, 1, 1.2)] {
            #expect(throws: LacunaError.self) { try OnceForBoth(target: target, interval: interval, warmUp: warmUp) }
        }
        #expect(throws: LacunaError.self) { try ElasticNetwork(self.perceptron(), least: 0, using: &generator) }
    }

    /// Hidden patches are one token each; the error is of their pixels alone and as large as the task's loss.
    @Test func patchesAreHiddenAndSaid() throws {
        var generator = SeededGenerator(seed: 11)
        let vit = try transformer()
        let part = try PatchReconstruction(vit, kept: (0.5, 0.5), using: &generator)
        let elastic = try ElasticNetwork(vit, kinds: [.stream], reconstruction: part, using: &generator)
        let (tape, c) = (Tape<Float>(seed: 2), vit.configuration)
        let images = normal([3, 1, 4, 4], 12)
        let x = tape.constant(normal([3 * 5, 16], 13))
        let hidden = part.hide(x, c).value
        for picture in 0..<3 {
            let gone = (0..<5).filter { hidden.row(picture * 5 + $0) == part.token.value.scalars }
            #expect(gone.count == 2 && !gone.contains(0))
            for token in 0..<5 where !gone.contains(token) {
                #expect(hidden.row(picture * 5 + token) == x.value.row(picture * 5 + token))
            }
        }
        #expect(tape.evaluating { part.hide(x, c).value } == x.value)
        // A decoder of zeros: the mean size of normalised pixels of what was hidden.
        _ = part.hide(x, c)
        part.decoder.dense!.parameter.value = Tensor(zeros: [4, 16])
        part.decoder.bias!.value = Tensor(zeros: [4])
        part.keptNow = 0
        _ = part.hide(x, c)
        let all = try #require(part.error(x, images, c))
        let sizes = (0..<3).flatMap { picture -> [Double] in
            let row = (0..<16).map { Double(images.scalars[picture * 16 + $0]) }
            let mean = row.reduce(0, +) / 16
            let deviation = (row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 16 + 1e-6).squareRoot()
            return row.map { abs($0 - mean) / deviation }
        }
        #expect(abs(Double(all.item) - sizes.reduce(0, +) / 48) < 1e-4)
        part.keptNow = 0.5
        let loss = elastic.loss((images, [0, 1, 2]), on: tape)
        tape.backward(from: loss)
        #expect(part.token.gradient != nil && part.decoder.dense!.parameter.gradient != nil)
        // Twice the task's, which is what is left without hidden patches up to what they change.
        let again = elastic.loss((images, [0, 1, 2]), on: Tape<Float>(seed: 5)).item
        part.keptNow = 1
        let task = elastic.loss((images, [0, 1, 2]), on: tape).item
        #expect(again > 1.2 * task)
        // The stream shrinks, and what reads it follows.
        try elastic.shrink { $0.decide() }
        #expect(part.token.count == vit.configuration.hiddenSize && part.decoder.inputDimensions == part.token.count)
        part.keptNow = 0.5
        #expect(elastic.loss((images, [0, 1, 2]), on: tape).item.isFinite)
        #expect(throws: LacunaError.self) { try PatchReconstruction(vit, kept: (1.2, 0.5), using: &generator) }
    }

    /// A teacher's part in the loss: all of it is the divergence from its predictions, none the cross-entropy.
    @Test func teachersShareTheLoss() throws {
        var generator = SeededGenerator(seed: 15)
        let (elastic, teacher) = (try ElasticNetwork(perceptron(), using: &generator), perceptron(2))
        let (x, labels): (Tensor<Float>, [Int32]) = (normal([4, 6], 1), [0, 1, 2, 0])
        let tape = Tape<Float>()
        let logits = elastic(tape.constant(x))
        let taught = Loss.distillation(student: logits, teacher: teacher(tape.constant(x)), temperature: 2).item
        let plain = Loss.crossEntropy(logits, labels: labels).item
        for share in [0, 0.3, 1] {
            let loss = elastic.loss((x, labels), on: tape, teacher: teacher, share: share, temperature: 2).item
            #expect(abs(loss - (Float(1 - share) * plain + Float(share) * taught)) < 1e-5)
        }
    }
}
