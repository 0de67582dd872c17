import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct ConceptTests {
    @Test func theProbeIsTheMinimum() throws {
        var generator = SeededGenerator(seed: 3)
        var x = Tensor<Float>(normal: [200, 3], using: &generator)
        for t in 0..<200 { x[t, 1] = 5 + 3 * x[t, 1] }
        let labels = (0..<200).map { t in Double(x[t, 0]) - 0.5 * Double(x[t, 1] - 5) + generator.normal() > 0.2 }
        let probe = try LogisticProbe(x, labels: labels, ridge: 0.01)
        // Central differences of the objective around what was found, column by column.
        func statistics(_ i: Int) -> (mean: Double, deviation: Double) {
            let mean = (0..<200).reduce(0.0) { $0 + Double(x[$1, i]) } / 200
            let square = (0..<200).reduce(0.0) { $0 + (Double(x[$1, i]) - mean) * (Double(x[$1, i]) - mean) }
            return (mean, (square / 200).squareRoot())
        }
        func objective(_ w: [Double], _ b: Double) -> Double {
            let losses = (0..<200).map { t -> Double in
                let margin = (0..<3).reduce(b) { $0 + w[$1] * Double(x[t, $1]) }
                return logarithm(1 + exponential(labels[t] ? -margin : margin))
            }
            let square = (0..<3).reduce(0.0) { sum, i in
                let scaled = w[i] * statistics(i).deviation
                return sum + scaled * scaled
            }
            return losses.reduce(0, +) / 200 + 0.005 * square
        }
        for i in 0..<3 {
            var (up, down) = (probe.direction, probe.direction)
            up[i] += 1e-4
            down[i] -= 1e-4
            #expect(abs(objective(up, probe.offset) - objective(down, probe.offset)) / 2e-4 < 1e-5)
        }
        let ends = (objective(probe.direction, probe.offset + 1e-4), objective(probe.direction, probe.offset - 1e-4))
        #expect(abs(ends.0 - ends.1) / 2e-4 < 1e-5)
        #expect(LogisticProbe.f1(probe.predictions(x), labels) > 0.75)
        // Classes that can be told apart have a probe as well, and columns that do not vary count nothing.
        var easy = Tensor<Float>(zeros: [40, 2])
        for t in 0..<40 { easy[t, 0] = t < 20 ? 1 : -1 }
        let apart = try LogisticProbe(easy, labels: (0..<40).map { $0 < 20 })
        #expect(LogisticProbe.f1(apart.predictions(easy), (0..<40).map { $0 < 20 }) == 1 && apart.direction[1] == 0)
        #expect(throws: LacunaError.self) { _ = try LogisticProbe(x, labels: [Bool](repeating: true, count: 200)) }
        #expect(throws: LacunaError.self) { _ = try LogisticProbe(x, labels: [true, false]) }
        #expect(throws: LacunaError.self) { _ = try LogisticProbe(x, labels: labels, ridge: 0) }
        x[3, 1] = .nan
        #expect(throws: LacunaError.self) { _ = try LogisticProbe(x, labels: labels) }
    }

    @Test func scores() {
        #expect(LogisticProbe.f1([true, true, false], [true, false, true]) == 0.5)
        #expect(LogisticProbe.f1([false, false], [false, false]) == 0 && LogisticProbe.f1([true], [true]) == 1)
    }

    /// A dictionary whose directions are the rows, with an encoder that finds them: feature `j` is active with the strength of
    /// direction `j`.
    private func dictionary(encoder: [[Float]], decoder: [[Float]]) throws -> SparseAutoencoder {
        let a = try SparseAutoencoder(
            .init(inputDimensions: encoder[0].count, width: encoder.count, rule: .relu), seed: 1)
        a.encoderWeight!.value = Tensor(encoder.flatMap(\.self), shape: [encoder.count, encoder[0].count])
        a.decoderWeight.value = Tensor(decoder.flatMap(\.self), shape: [decoder.count, decoder[0].count])
        return a
    }

    /// Examples with a concept (column 0) and, of those, some with a special case of it (column 1); the others have column 2.
    private func examples(seed: UInt64, special: Double = 0.3) -> ConceptProbe.Examples {
        var generator = SeededGenerator(seed: seed)
        var x = Tensor<Float>(zeros: [400, 4])
        var labels: [Bool] = []
        for t in 0..<400 {
            let holds = t % 2 == 0
            labels.append(holds)
            if holds {
                x[t, 0] = 1
                if generator.uniform() < special { x[t, 1] = 1 }
            } else {
                x[t, 2] = 1
            }
            x[t, 3] = Float(generator.uniform())
        }
        return ConceptProbe.Examples(activations: x, labels: labels)
    }

    @Test func oneFeatureHoldsAConcept() throws {
        let identity: [[Float]] = (0..<4).map { i in (0..<4).map { $0 == i ? 1 : 0 } }
        let a = try dictionary(encoder: identity, decoder: identity)
        let probe = try ConceptProbe(of: a, fit: examples(seed: 1), judge: examples(seed: 2))
        #expect(probe.positives == 200 && probe.activations == 1 && probe.single == 1 && probe.together == 1)
        #expect(probe.features == [0] && probe.absorbed == 0 && probe.absorbers.isEmpty)
    }

    /// The general feature is silent where the special one is active, whose direction is the sum of both: absorption, in as many
    /// examples as have the special case.
    @Test func absorptionIsFound() throws {
        let encoder: [[Float]] = [[1, -1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        let decoder: [[Float]] = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        let a = try dictionary(encoder: encoder, decoder: decoder)
        let judge = examples(seed: 2, special: 0.1)
        expectClose(try a.reconstruct(judge.activations), judge.activations, 1e-6)
        let special = (0..<400).count { judge.activations[$0, 1] == 1 }
        // As each feature has to add 0.03 to F₁, a rare special case is absorbed,
        let probe = try ConceptProbe(of: a, fit: examples(seed: 1, special: 0.04), judge: judge)
        #expect(probe.features == [0] && probe.activations == 1)
        #expect(abs(probe.absorbed - Double(special) / 200) < 1e-12)
        #expect(probe.absorbers.map(\.feature) == [1] && probe.absorbers[0].examples == special)
        // and a frequent one is what the concept is split among.
        let split = try ConceptProbe(of: a, fit: examples(seed: 1, special: 0.5), judge: judge)
        #expect(Set(split.features) == [0, 1] && split.absorbed == 0)
        #expect(split.single < 0.96 && split.together == 1)
        #expect(throws: LacunaError.self) { _ = try ConceptProbe(of: a, fit: judge, judge: judge, limit: 0) }
    }

    @Test func concepts() {
        func held(_ token: String) -> [String] {
            (TokenConcept.letters + TokenConcept.kinds).filter { $0.holds(token) == true }.map(\.name)
        }
        #expect(held(" Stone") == ["begins with s", "begins a word", "capital"])
        #expect(held(" a") == ["begins a word"] && held("stone") == [] && held(" été") == ["begins a word"])
        #expect(held("42") == ["number"] && held(",") == ["punctuation"] && held(" (x") == ["begins a word"])
        #expect(TokenConcept.letters[0].holds("stone") == nil && TokenConcept.kinds[1].holds("42") == nil)
        #expect(TokenConcept.letters.count == 26)
    }

    /// On a model: examples come from the halves of the text they are said to, at the sites of their tokens.
    @Test func aModelIsAsked() throws {
        let model = try Transformer(
            random: TransformerConfiguration(
                vocabularySize: 20, hiddenSize: 24, intermediateSizes: [16, 16], headCount: 3, keyValueHeadCount: 3,
                headSize: 8, maximumPositions: 16, tiedEmbeddings: true), seed: 1)
        var generator = SeededGenerator(seed: 8)
        let tokens = (0..<1600).map { _ in [3, 6, 11, 16][Int(generator.uniform() * 4)] }
        let a = try SparseAutoencoder(.init(inputDimensions: 24, width: 30, rule: .topK(5)), seed: 1)
        let concepts = [
            TokenConcept("even") { Int($0)! % 2 == 0 }, TokenConcept("never") { _ in false },
            TokenConcept("small, of the smallest") { Int($0)! < 8 ? Int($0)! < 4 : nil },
        ]
        func report(_ more: Int = 0) throws -> ConceptReport {
            try ConceptReport(
                of: a, in: model, at: ActivationSite(layer: 0, .residual), concepts: concepts, tokens: tokens,
                text: { "\($0)" }, context: 8, skipping: 2, examples: 120 + more)
        }
        let found = try report()
        #expect(found.rows.map(\.name) == ["even", "small, of the smallest"] && found.skipped == ["never"])
        #expect(found.rows[0].probe.positives == 120)
        // 600 tokens of a half, of which half can be asked and half of those have it.
        #expect((100...200).contains(try report(2000).rows[1].probe.positives))
        // What token was read can be told from the stream.
        #expect(found.rows.allSatisfy { $0.probe.activations > 0.95 }, "\(found.rows)")
        #expect(try report().rows.map(\.probe.single) == found.rows.map(\.probe.single))
        #expect(throws: LacunaError.self) {
            _ = try ConceptReport(
                of: a, in: model, at: ActivationSite(layer: 0, .residual), concepts: concepts,
                tokens: Array(tokens[..<15]),
                text: { "\($0)" }, context: 8)
        }
    }
}
