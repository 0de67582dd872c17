import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// Lottery tickets, and how frozen networks are adapted to other tasks.
@Suite struct TransferTests {
    private func normal(_ shape: [Int], _ seed: UInt64) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        return Tensor(normal: shape, using: &generator)
    }

    // MARK: Tickets

    /// Three rounds of ten steps: a fifth of what is left goes, the smallest of all layers, and the rest is what it was after four steps.
    @Test func ticketsReturnToWhereTheyWere() throws {
        let model = network()
        let method = try RewoundPruning(rounds: 3, share: 0.2, rewind: 4)
        var (early, trained): ([[Float]], [[Float]]) = ([], [])
        method.ticket = { _ in
            trained.append(
                model.layers[0].dense!.parameter.value.scalars + model.layers[1].dense!.parameter.value.scalars)
        }
        func values() -> [[Float]] { model.parameters.map(\.value.scalars) }
        let all = 20 * 24 + 24 * 16
        var kept = all
        try train(model, hooks: [method], steps: 30) { step in
            if step == 3 { early = values() }
            guard step == 9 || step == 19 else { return }
            kept -= Selection.removedCount(sparsity: 0.2, of: kept)
            #expect(model.layers.prefix(2).reduce(0) { $0 + $1.weight.activeCount } == kept)
            for (parameter, old) in zip(model.parameters, early) {
                let mask = parameter.mask?.elements.map { $0 } ?? old.map { _ in 1 }
                #expect(parameter.value.scalars == zip(old, mask).map { $0 * $1 })
                #expect(parameter.slots["velocity"] == nil)
            }
            // The smallest of those that were in use.
            let masks = model.layers.prefix(2).flatMap { Array($0.dense!.parameter.mask!.elements) }
            let sizes = trained.last!.map { abs($0) }
            let least = zip(sizes, masks).filter { $0.1 != 0 }.map(\.0).min()!
            #expect(zip(sizes, masks).allSatisfy { $0.1 != 0 || $0.0 <= least })
        }
        #expect(trained.count == 3 && model.layers[2].dense!.mask == nil)
        #expect(model.parameters.allSatisfy { $0.slots["imp.start"] == nil })
        for (rounds, share, rewind) in [(0, 0.2, 0), (2, 1, 0), (2, -0.1, 0), (2, 0.2, -1)] {
            #expect(throws: LacunaError.self) { try RewoundPruning(rounds: rounds, share: share, rewind: rewind) }
        }
        #expect(throws: LacunaError.self, "the first round is over by then") {
            try train(network(), hooks: [RewoundPruning(rounds: 3, rewind: 10)], steps: 30)
        }
        #expect(throws: LacunaError.self) { try train(network(), hooks: [RewoundPruning(rounds: 3)], steps: 2) }
    }

    /// A share of nothing is training from the start, again and again.
    @Test func aTicketOfAllWeightsIsTheDenseNetwork() throws {
        let (ticket, dense) = (network(), network())
        try train(ticket, hooks: [RewoundPruning(rounds: 1)], steps: 10)
        try train(dense, hooks: [], steps: 10)
        #expect(ticket.parameters.map(\.value) == dense.parameters.map(\.value))
    }

    // MARK: Mappings

    @Test func theMostFrequentPairIsFirst() throws {
        // Class 0 is predicted as 2 three times; class 1 as 2 five times, and as 0 once.
        let predictions = [2, 2, 2, 1, 2, 2, 2, 2, 2, 0]
        let labels: [Int32] = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
        #expect(try LabelMapping.frequent(predictions: predictions, labels: labels, sources: 3, targets: 2) == [1, 2])
        #expect(try LabelMapping.frequent(predictions: [], labels: [], sources: 4, targets: 3) == [0, 1, 2])
        #expect(throws: LacunaError.self) {
            try LabelMapping.frequent(predictions: [0], labels: [0], sources: 2, targets: 3)
        }
        #expect(throws: LacunaError.self) {
            try LabelMapping.frequent(predictions: [3], labels: [0], sources: 3, targets: 3)
        }
        #expect(throws: LacunaError.self) {
            try LabelMapping.frequent(predictions: [0], labels: [], sources: 3, targets: 3)
        }
    }

    @Test func mappingsNeverShareAClass() throws {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<20 {
            let predictions = (0..<50).map { _ in Int.random(in: 0..<6, using: &generator) / 2 }
            let labels = (0..<50).map { _ in Int32.random(in: 0..<5, using: &generator) }
            let mapping = try LabelMapping.frequent(predictions: predictions, labels: labels, sources: 6, targets: 5)
            #expect(Set(mapping).count == 5 && mapping.allSatisfy { (0..<6).contains($0) })
        }
    }

    // MARK: Probes

    @Test func featuresAreWhatTheHeadReads() throws {
        var generator = SeededGenerator(seed: 1)
        let net = ConvNet(inputChannels: 1, channels: [3, 4], classes: 5, using: &generator)
        let x = normal([7, 1, 6, 6], 2)
        let tape = Tape<Float>()
        let before = net.parameters.map(\.value)
        let features = try LinearProbe.features(net, x)
        #expect(features.shape == [7, 4])
        let logits = tape.evaluating { net(tape.constant(x)).value }
        let made = tape.evaluating { net.classifier(tape.constant(features)).value }
        #expect(zip(made.scalars, logits.scalars).allSatisfy { abs($0 - $1) < 1e-5 })
        #expect(net.parameters.map(\.value) == before && net.classifier.dense != nil)
        #expect(throws: LacunaError.self) { try LinearProbe.features(Lambda(.relu), x) }
    }

    /// A task that the features tell linearly is learned, and nothing of the network, running statistics included, moves.
    @Test func probesLeaveTheNetwork() throws {
        var generator = SeededGenerator(seed: 1)
        let model = network([8, 16, 3])
        let x = normal([300, 8], 5)
        let features = try LinearProbe.features(model, x)
        let weight = Tensor<Float>(normal: [4, 16], using: &generator)
        let logits = features.multiplied(by: weight.transposed())
        let examples = try LabelledExamples(
            inputs: x, labels: logits.argmax(axis: 1).map { Int32($0) }, classes: 4)
        let before = model.parameters.map(\.value)
        var audit = TransferAudit()
        (audit.probe.epochs, audit.probe.rate) = (200, 0.05)
        let found = try audit.probe(model, train: examples, test: examples, seed: 3)
        #expect(found.accuracy > 0.95 && found.calibrationError < 0.2)
        #expect(model.parameters.map(\.value) == before)
        var probe = LinearProbe()
        probe.epochs = 0
        let head = try probe.head(model, examples, seed: 3)
        var start = SeededGenerator(seed: 3, stream: 0x9208E)
        #expect(
            head.weight.densified()
                == Linear(inputDimensions: 16, outputDimensions: 4, using: &start).weight.densified())
        probe.batch = 0
        #expect(throws: LacunaError.self) { try probe.head(model, examples, seed: 3) }
    }

    @Test func auditsTakeAsManyOfEachClass() throws {
        let examples = try LabelledExamples(
            inputs: Tensor((0..<8).map { Float($0) }, shape: [8, 1]), labels: [0, 0, 1, 0, 1, 1, 0, 1], classes: 2)
        let chosen = try TransferAudit(examplesPerClass: 2).chosen(examples)
        #expect(chosen.inputs.scalars == [0, 1, 2, 4] && chosen.labels == [0, 0, 1, 1])
        #expect(try TransferAudit().chosen(examples).count == 8)
        #expect(throws: LacunaError.self) { try TransferAudit(examplesPerClass: 5).chosen(examples) }
        // Logits far apart: sure of all, right in three of eight.
        let network = Lambda { x in
            x.tape.constant(Tensor((0..<8).flatMap { _ in [50, 0] as [Float] }, shape: [8, 2]))
        }
        let found = try TransferAudit.result(network, on: examples)
        #expect(found.accuracy == 0.5 && abs(found.calibrationError - 0.5) < 1e-6)
    }

    // MARK: Prompts

    @Test func promptsStandAroundExamples() throws {
        let places = try InputPrompt.middle(channels: 2, side: 2, of: 4)
        #expect(places == [5, 6, 9, 10, 21, 22, 25, 26])
        #expect(throws: LacunaError.self) { try InputPrompt.middle(channels: 1, side: 4, of: 4) }
        let passing = Lambda { $0.flattened() }
        let prompt = try InputPrompt(
            passing, shape: [2, 4, 4], places: places, normalization: (mean: 0.1, deviation: 0.5))
        let x = normal([3, 2, 2, 2], 1)
        let tape = Tape<Float>()
        let full = prompt.sourceLogits(tape.constant(x)).value
        #expect(full.shape == [3, 32] && prompt.program.count == 24)
        for row in 0..<3 {
            for place in 0..<32 {
                // sigmoid(0), normalised.
                let expected = places.firstIndex(of: place).map { x.scalars[row * 8 + $0] } ?? 0.8
                #expect(abs(full[row, place] - expected) < 1e-6)
            }
        }
        // Without: p itself, in the order of the places that are free.
        let vector = try InputPrompt(passing, shape: [4], places: [2, 0])
        vector.program.value = Tensor([7, 9])
        #expect(vector.sourceLogits(tape.constant(Tensor([1, 2], shape: [1, 2]))).value.scalars == [2, 7, 1, 9])
        for bad in [[0, 0], [4], [-1], [0, 1, 2, 3]] {
            #expect(throws: LacunaError.self) { try InputPrompt(passing, shape: [4], places: bad) }
        }
        #expect(throws: LacunaError.self) {
            try InputPrompt(passing, shape: [4], places: [0], normalization: (0, 0))
        }
    }

    /// A network that looks at one of two inputs as a third one says: the prompt finds which, and the mapping that its answers are turned.
    @Test func promptsReprogram() throws {
        // Logits: |a| steep lines; with s > 0 they tell a's sign, else b's.
        let network = Lambda { x in
            let (a, b, s) = (x.sliced(columns: 0..<1), x.sliced(columns: 1..<2), x.sliced(columns: 2..<3))
            let gate = s.affine(4).sigmoid()
            let seen = (gate * a + gate.affine(-1, 1) * b).affine(5)
            return Variable.concatenated(columns: [seen, seen.affine(-1), seen.affine(0, -20)])
        }
        let x = normal([200, 2], 3)
        let labels = (0..<200).map { Int32(x[$0, 1] > 0 ? 1 : 0) }
        let examples = try LabelledExamples(inputs: x, labels: labels, classes: 2)
        let prompt = try InputPrompt(network, shape: [3], places: [0, 1])
        var audit = TransferAudit()
        audit.promptEpochs = 60
        prompt.program.value = Tensor([0.05])
        let found = try audit.reprogram(prompt, train: examples, test: examples, seed: 1)
        #expect(prompt.program.value.scalars[0] < -0.2)
        #expect(prompt.mapping == [1, 0] && found.accuracy > 0.9)
        // Read the wrong way round.
        let fixed = try InputPrompt(network, shape: [3], places: [0, 1])
        let wrong = try audit.reprogram(fixed, train: examples, test: examples, mapping: [0, 1], seed: 1)
        #expect(fixed.mapping == [0, 1] && wrong.accuracy < found.accuracy)
        #expect(throws: LacunaError.self) { try fixed.train(on: examples, mapping: [0, 0], seed: 1) }
        #expect(throws: LacunaError.self) { try fixed.train(on: examples, epochs: 0, seed: 1) }
        let other = try LabelledExamples(inputs: normal([2, 3], 1), labels: [0, 1], classes: 2)
        #expect(throws: LacunaError.self) { try fixed.train(on: other, seed: 1) }
    }

    /// The network stays as it is, batch norms too.
    @Test func promptsLeaveTheNetwork() throws {
        var generator = SeededGenerator(seed: 1)
        let net = ConvNet(inputChannels: 1, channels: [2], classes: 3, using: &generator)
        let before = net.parameters.map(\.value)
        let examples = try LabelledExamples(
            inputs: normal([20, 1, 2, 2], 1), labels: (0..<20).map { $0 % 2 }, classes: 2)
        let prompt = try InputPrompt(net, shape: [1, 4, 4], places: InputPrompt.middle(channels: 1, side: 2, of: 4))
        try prompt.train(on: examples, epochs: 3, seed: 1)
        #expect(net.parameters.map(\.value) == before)
        #expect(net.classifier.parameters.allSatisfy { $0.isTrainable })
        #expect(prompt.program.value.scalars.contains { $0 != 0 })
    }
}
