import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct RelativesTests {
    // MARK: Sparsey

    @Test func anEmptyFieldKnowsNothing() throws {
        let field = try SparseyField(modules: 6, cells: 4, inputs: 70)
        var generator = SeededGenerator(seed: 1)
        var counts = [Int](repeating: 0, count: 4)
        for _ in 0..<500 {
            let found = field.response(to: [0, 65], using: &generator)
            #expect(found.familiarity == 0 && found.code?.count == 6)
            for winner in found.code! { counts[winner] += 1 }
        }
        // Uniform: 750 each.
        #expect(counts.allSatisfy { abs($0 - 750) < 120 })
        #expect(field.response(to: [], using: &generator).code == nil)
        #expect(field.saturation == 0)
    }

    @Test func whatIsStoredIsFamiliar() throws {
        var field = try SparseyField(modules: 6, cells: 4, inputs: 70)
        var generator = SeededGenerator(seed: 1)
        let code = [0, 1, 2, 3, 0, 1]
        field.store([3, 64, 69], as: code)
        let found = field.response(to: [3, 64, 69], using: &generator)
        #expect(found.familiarity == 1)
        #expect(field.response(to: [69, 3, 64], recognises: true, using: &generator).code == code)
        #expect(abs(field.saturation - 6 * 3.0 / (6 * 4 * 70)) < 1e-12)
        // Two of three inputs: support 2/3 in every module.
        #expect(abs(field.response(to: [3, 64, 5], using: &generator).familiarity - 2.0 / 3) < 1e-12)
        // With η of 1 + 1 · 100 · 4 the old winner has (η - 1) σ + 1 against 1 + (η - 1) σ(0) each of the others.
        let high = 400 / (1 + exponential(-14 * 0.2)) + 1
        let low = 400 / (1 + exponential(14 * 0.8)) + 1
        var same = 0
        for _ in 0..<400 {
            same += zip(field.response(to: [3, 64, 69], using: &generator).code!, code).count { $0 == $1 }
        }
        let share = high / (high + 3 * low)
        #expect(abs(Double(same) / 2400 - share) < 0.02)
    }

    @Test func theCodeBeforeTellsSequencesApart() throws {
        var field = try SparseyField(modules: 4, cells: 3, inputs: 10)
        var generator = SeededGenerator(seed: 2)
        let (a, b) = ([0, 0, 0, 0], [1, 1, 1, 1])
        field.store([5], as: a, after: b)
        #expect(field.response(to: [5], after: b, using: &generator).familiarity == 1)
        #expect(field.response(to: [5], after: a, using: &generator).familiarity == 0)
        #expect(field.response(to: [5], using: &generator).familiarity == 1)
        #expect(field.response(to: [5], after: b, recognises: true, using: &generator).code == a)
        // Half of the code before, and one of two inputs: each counts by its own exponent.
        let half = [1, 1, 0, 0]
        #expect(field.response(to: [5, 6], after: half, using: &generator).familiarity == 0.25)
        field.settings.exponents = (input: 2, context: 3)
        #expect(field.response(to: [5, 6], after: half, using: &generator).familiarity == 1.0 / 32)
        #expect(field.response(to: [5, 6], using: &generator).familiarity == 0.25)
    }

    @Test func gatesAndRefusals() throws {
        var settings = SparseyField.Settings()
        settings.activeInputs = 2...3
        let field = try SparseyField(modules: 2, cells: 2, inputs: 10, settings: settings)
        var generator = SeededGenerator(seed: 2)
        #expect(field.response(to: [1], using: &generator).code == nil)
        #expect(field.response(to: [1, 2], using: &generator).code != nil)
        #expect(field.response(to: [1, 2, 3, 4], using: &generator).code == nil)
        settings.floor = 1
        #expect(throws: LacunaError.self) { try SparseyField(modules: 2, cells: 2, inputs: 10, settings: settings) }
        #expect(throws: LacunaError.self) { try SparseyField(modules: 0, cells: 2, inputs: 10) }
        // Each size is in range, all together are more than any memory.
        #expect(throws: LacunaError.self) { try SparseyField(modules: 1 << 20, cells: 1 << 20, inputs: 10) }
    }

    // MARK: Codebooks

    @Test func outputsAreMeansOfTheNearestCodes() throws {
        let book = try Codebook(dimensions: 4, codes: 6, k: 2, seed: 1)
        book.codes.value = Tensor(book.codes.value.scalars.enumerated().map { Float($0 / 4 + 1) * $1 }, shape: [6, 4])
        let x: Tensor<Float> = normal([5, 4], seed: 2)
        let tape = Tape<Float>()
        let out = book(tape.constant(x))
        let table = book.codes.value
        for t in 0..<5 {
            let mean = (0..<4).reduce(0.0) { $0 + Double(x[t, $1]) } / 4
            let variance = (0..<4).reduce(0.0) { $0 + (Double(x[t, $1]) - mean) * (Double(x[t, $1]) - mean) } / 4
            let a = (0..<4).map { (Double(x[t, $0]) - mean) / (variance + 1e-5).squareRoot() }
            let score = (0..<6).map { c -> Double in
                let norm = (0..<4).reduce(0.0) { $0 + Double(table[c, $1]) * Double(table[c, $1]) }.squareRoot()
                return (0..<4).reduce(0.0) { $0 + a[$1] * Double(table[c, $1]) } / norm
            }
            let best = (0..<6).sorted { score[$0] > score[$1] }.prefix(2)
            #expect(out.ids[2 * t..<2 * t + 2].map { Int($0) } == Array(best))
            for i in 0..<4 {
                let mean = (table[best[0], i] + table[best[1], i]) / 2
                #expect(abs(out.values.value[t, i] - mean) < 1e-5)
            }
        }
        // Blocking takes the next best; forcing takes what is given.
        book.blocked = [Int(out.ids[0])]
        #expect(book(tape.constant(x)).ids[0] == out.ids[1])
        let forced = book(tape.constant(x), forced: [Int32](repeating: 3, count: 10)).values.value
        for t in 0..<5 { for i in 0..<4 { #expect(abs(forced[t, i] - table[3, i]) < 1e-5) } }
        #expect(throws: LacunaError.self) { try Codebook(dimensions: 4, codes: 6, k: 7, seed: 1) }
        // Near is who points the same way, however long.
        let two = try Codebook(dimensions: 2, codes: 2, k: 1, seed: 1)
        two.codes.value = Tensor([9, 0, 0.1, 0.1], shape: [2, 2])
        #expect(two.nearest(Tensor([1, 0.8, 1, 0.1], shape: [2, 2])) == [1, 0])
    }

    @Test func gradientsPassToTheInputAndToTheChosenCodes() throws {
        let book = try Codebook(dimensions: 3, codes: 4, k: 2, seed: 1)
        let tape = Tape<Float>()
        let x = tape.variable(normal([2, 3], seed: 2))
        let weights: Tensor<Float> = normal([2, 3], seed: 3)
        let out = book(x)
        tape.backward(from: (out.values * tape.constant(weights)).sum())
        // As through the normalisation alone.
        let other = tape.variable(normal([2, 3], seed: 2))
        let plain = other.layerNormalized(gain: book.gain.on(tape), bias: book.bias.on(tape))
        var expected = Tensor<Float>(zeros: [4, 3])
        for t in 0..<2 {
            for c in out.ids[2 * t..<2 * t + 2] { for i in 0..<3 { expected[Int(c), i] += weights[t, i] / 2 } }
        }
        expectClose(book.codes.gradient!, expected, 1e-5)
        book.clearGradients()
        tape.backward(from: (plain * tape.constant(weights)).sum())
        expectClose(x.gradient!, other.gradient!, 1e-5)
        // The reconstruction term moves codes alone.
        book.clearGradients()
        let again = tape.variable(normal([2, 3], seed: 2))
        tape.backward(from: book(again).reconstructionLoss)
        #expect(book.codes.hasGradient && !book.gain.hasGradient && again.gradient == nil)
    }

    // MARK: Supervised dictionaries

    @Test func directionsOfKnownAttributes() throws {
        let parts: Tensor<Float> = normal([5, 3], seed: 4)
        // Two attributes of 2 and 3 values, unbalanced.
        let attributes = (0..<40).map { [$0 % 2, ($0 / 3 + $0 % 2) % 3] }
        var x = Tensor<Float>(zeros: [40, 3])
        for (t, row) in attributes.enumerated() {
            for i in 0..<3 { x[t, i] = parts[row[0], i] + parts[2 + row[1], i] + 1 }
        }
        let fitted = try SupervisedDictionary(x, attributes: attributes, values: [2, 3])
        expectClose(fitted.reconstruct(attributes), x, 1e-4)
        let edited = fitted.edited(
            x, attribute: 1, from: attributes.map { $0[1] }, to: attributes.map { ($0[1] + 1) % 3 })
        for (t, row) in attributes.enumerated() {
            for i in 0..<3 {
                #expect(abs(edited[t, i] - (parts[row[0], i] + parts[2 + (row[1] + 1) % 3, i] + 1)) < 1e-4)
            }
        }
        let means = try SupervisedDictionary(x, attributes: attributes, values: [2, 3], fit: .means)
        let overall = (0..<40).reduce(Float(0)) { $0 + x[$1, 0] } / 40
        let first = (0..<40).filter { attributes[$0][0] == 1 }
        #expect(
            abs(means.directions[1, 0] - (first.reduce(Float(0)) { $0 + x[$1, 0] } / Float(first.count) - overall))
                < 1e-4)
        #expect(throws: LacunaError.self) { try SupervisedDictionary(x, attributes: [[0, 0]], values: [2, 3]) }
        #expect(throws: LacunaError.self) {
            try SupervisedDictionary(x, attributes: attributes.map { [$0[0], 3] }, values: [2, 3])
        }
    }

    @Test func scoresAndWeightsOfFeatures() throws {
        let code = try SparseMatrix(Tensor<Float>([1, 0, 2, 0, 0, 3, 0, 0], shape: [4, 2]))
        // Feature 0 active in rows 0 and 1, feature 1 in row 2.
        let scores = AttributeProbe.scores(code, attribute: [0, 0, 1, 0], values: 3)
        #expect(abs(scores[0][0] - 2 * 2.0 / 5) < 1e-12 && scores[0][1] == 0 && scores[1][1] == 1 && scores[1][2] == 0)
        let a = try SparseAutoencoder(.init(inputDimensions: 5, width: 9, rule: .topK(3)), seed: 1)
        a.decoderBias.value = normal([5], seed: 2)
        let weights = AttributeProbe.weights(a, try a.encode(normal([20, 5], seed: 3)))
        for sum in weights.rowSums() { #expect(abs(sum - 1) < 1e-4 || sum == 0) }
    }

    @Test func editsReachTheCounterfactualsReconstruction() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 5, width: 9, rule: .topK(3)), seed: 1)
        let (x, y): (Tensor<Float>, Tensor<Float>) = (normal([10, 5], seed: 3), normal([10, 5], seed: 4))
        // With every feature changed, the whole difference of the reconstructions.
        let whole = try AttributeProbe.edited(x, towards: y, by: a, budget: 9)
        let (p, q) = (try a.reconstruct(x), try a.reconstruct(y))
        for i in 0..<50 {
            #expect(abs(whole.scalars[i] - (x.scalars[i] + q.scalars[i] - p.scalars[i])) < 1e-4)
        }
        #expect(try AttributeProbe.edited(x, towards: y, by: a, budget: 0) == x)
        // One change is the best of all single ones.
        let one = try AttributeProbe.edited(x, towards: y, by: a, budget: 1)
        let (f, g, d) = (try a.encode(x).densified(), try a.encode(y).densified(), a.decoderWeight.value)
        for t in 0..<10 {
            func distance(_ z: (Int) -> Float) -> Float {
                (0..<5).reduce(Float(0)) { $0 + (z($1) - y[t, $1]) * (z($1) - y[t, $1]) }
            }
            let best = (0..<9).map { j in distance { x[t, $0] + (g[t, j] - f[t, j]) * d[j, $0] } }.min()!
            #expect(abs(distance { one[t, $0] } - best) < 1e-4)
        }
    }

    // MARK: Group-sparse heads

    @Test func headsByTheirFormulas() throws {
        var generator = SeededGenerator(seed: 1)
        let head = try GroupSparseHead(embedding: 3, latents: 4, outputs: 6, groups: 2, using: &generator)
        head.mean.bias!.value = normal([4], seed: 2)
        let tape = Tape<Float>()
        let s: Tensor<Float> = normal([5, 3], seed: 3)
        let out = head(tape.constant(s))
        let (mu, logs) = (out.means.value, head.logVariance(tape.constant(s)).value)
        var expected: Float = 0
        for i in 0..<20 {
            let (m, l) = (mu.scalars[i], logs.scalars[i])
            expected += 0.5 * (m * m + Float(exponential(Double(l))) - l - 1) / 5
        }
        #expect(abs(out.divergence.item - expected) < 1e-4)
        expectClose(out.features.value, mu.multiplied(by: head.decoder.value, otherTransposed: true), 1e-5)
        // Noise of ones moves latents by their standard deviations.
        let noisy = head(tape.constant(s), noise: Tensor(repeating: 1, shape: [5, 4])).features.value
        let z = Tensor(zip(mu.scalars, logs.scalars).map { $0 + Float(exponential(Double($1) / 2)) }, shape: [5, 4])
        expectClose(noisy, z.multiplied(by: head.decoder.value, otherTransposed: true), 1e-4)
        #expect(head.groups == [0..<3, 3..<6] && head.connections.live == 4 && head.connections.groupsEach == 2)
        let before = head.columnNorms
        let old = head.decoder.value
        head.shrink(by: 0.4)
        for g in 0..<2 {
            for k in 0..<4 {
                #expect(abs(head.columnNorms[g][k] - max(0, before[g][k] - 0.4)) < 1e-5)
                let factor = Float(max(0, 1 - 0.4 / before[g][k]))
                for r in head.groups[g] { #expect(abs(head.decoder.value[r, k] - factor * old[r, k]) < 1e-5) }
            }
        }
        head.shrink(by: 100)
        #expect(head.connections.live == 0 && head.decoder.value == Tensor(zeros: [6, 4]))
        #expect(throws: LacunaError.self) {
            try GroupSparseHead(embedding: 3, latents: 4, outputs: 7, groups: 2, using: &generator)
        }
    }

    @Test func teachersFollow() throws {
        let model = try JointEmbedding(patches: 4, patchSize: 2, hidden: 6, embedding: 5, groups: 0, seed: 1)
        let images: Tensor<Float> = normal([20, 8], seed: 2)
        let masked = model.inputs(images.rows(0..<1), [true, false, true, false])
        #expect(masked.shape == [1, 12])
        #expect(Array(masked.scalars[0..<2]) == Array(images.scalars[0..<2]) && Array(masked.scalars[2..<4]) == [0, 0])
        #expect(Array(masked.scalars[8..<12]) == [1, 0, 1, 0])
        #expect(zip(model.teacher.parameters, model.encoder.parameters).allSatisfy { $0.value == $1.value })
        func train(_ momentum: Double) throws -> JointEmbedding {
            let model = try JointEmbedding(patches: 4, patchSize: 2, hidden: 6, embedding: 5, groups: 0, seed: 1)
            try Trainer(
                model: model, optimizer: SGD(learningRate: 0.1), source: ActivationRows(images, batchSize: 10, seed: 1),
                plan: TrainingPlan(steps: 1, learningRate: .constant(0.1)),
                hooks: [JointEmbedding.Following(model, momentum: .constant(momentum))],
                loss: { batch, tape in model.loss(batch.inputs, on: tape) }
            ).train()
            return model
        }
        let still = try train(1)
        #expect(zip(still.teacher.parameters, model.encoder.parameters).allSatisfy { $0.value == $1.value })
        #expect(zip(still.encoder.parameters, model.encoder.parameters).contains { $0.value != $1.value })
        let copying = try train(0)
        #expect(zip(copying.teacher.parameters, copying.encoder.parameters).allSatisfy { $0.value == $1.value })
        let half = try train(0.5)
        for (t, (old, new)) in zip(half.teacher.parameters, zip(model.encoder.parameters, half.encoder.parameters)) {
            for i in 0..<t.count {
                #expect(abs(t.value.scalars[i] - (old.value.scalars[i] + new.value.scalars[i]) / 2) < 1e-6)
            }
        }
    }

    // MARK: Heads of attention

    @Test func attributionsAddUp() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 5, rule: .relu), seed: 1)
        a.decoderBias.value = normal([8], seed: 2)
        a.encoderBias!.value = normal([5], seed: 3)
        // Four heads of two, which share two heads of values; six positions.
        let attribution = try HeadAttribution(a, heads: 4, valueHeads: 2)
        let values: Tensor<Float> = normal([6, 4], seed: 4)
        var pattern = Tensor<Float>(zeros: [4, 6])
        for k in 0..<4 { for s in 0..<6 { pattern[k, s] = s == k ? 0 : 0.1 * Float(s + k) } }
        var z = [Float](repeating: 0, count: 8)
        for k in 0..<4 {
            for i in 0..<2 { for s in 0..<6 { z[2 * k + i] += pattern[k, s] * values[s, k / 2 * 2 + i] } }
        }
        for j in 0..<5 {
            let heads = attribution.byHead(z, feature: j)
            let sources = attribution.bySource(pattern, values: values, feature: j)
            let expected = (0..<8).reduce(Double(a.encoderBias!.value[j])) {
                $0 + Double(z[$1] - a.decoderBias.value[$1]) * Double(a.encoderWeight!.value[j, $1])
            }
            #expect(abs(heads.reduce(0, +) + attribution.offset(ofFeature: j) - expected) < 1e-5)
            for k in 0..<4 {
                #expect(abs(sources[k].reduce(0, +) - heads[k]) < 1e-5 && sources[k][k] == 0)
                let norm = (0..<2).reduce(Float(0)) {
                    $0 + a.decoderWeight.value[j, 2 * k + $1] * a.decoderWeight.value[j, 2 * k + $1]
                }.squareRoot()
                let total = (0..<4).reduce(Float(0)) { sum, h in
                    sum
                        + (0..<2).reduce(Float(0)) {
                            $0 + a.decoderWeight.value[j, 2 * h + $1] * a.decoderWeight.value[j, 2 * h + $1]
                        }.squareRoot()
                }
                #expect(abs(attribution.shares(ofFeature: j)[k] - Double(norm / total)) < 1e-5)
            }
            let (output, head): (Tensor<Float>, Tensor<Float>) = (normal([3, 8], seed: 5), normal([7, 3], seed: 6))
            let effects = attribution.logitEffects(ofFeature: j, output: output, head: head)
            let stream = (0..<3).map { r in
                (0..<8).reduce(Float(0)) { $0 + output[r, $1] * a.decoderWeight.value[j, $1] }
            }
            for v in 0..<7 {
                #expect(abs(effects[v] - (0..<3).reduce(Float(0)) { $0 + head[v, $1] * stream[$1] }) < 1e-5)
            }
        }
        #expect(throws: LacunaError.self) { try HeadAttribution(a, heads: 3) }
        #expect(throws: LacunaError.self) { try HeadAttribution(a, heads: 4, valueHeads: 3) }
    }

    /// The loss and its slope by hand: half of the patches are seen, a quarter is to be guessed, and what the head
    /// reconstructs is a goal that it does not move.
    @Test func jointLossByHand() throws {
        let model = try JointEmbedding(
            patches: 8, patchSize: 2, hidden: 6, embedding: 4, groups: 2, latents: 3, seed: 1)
        model.weights.reconstruction = 0.7
        model.weights.divergence = 0.9
        let images: Tensor<Float> = normal([5, 16], seed: 2)
        let tape = Tape<Float>(seed: 11)
        var generator = tape.generator
        var (context, target) = ([Bool](repeating: false, count: 40), [Bool](repeating: false, count: 40))
        var places = Tensor<Float>(zeros: [5, 8])
        for t in 0..<5 {
            let order = (0..<8).shuffled(using: &generator)
            for p in order.prefix(4) { context[8 * t + p] = true }
            for p in order.suffix(2) { (target[8 * t + p], places[t, p]) = (true, 1) }
        }
        let noise = Tensor<Float>(normal: [5, 3], using: &generator)
        let found = model.loss(images, on: tape)
        tape.backward(from: found)
        let slopes = model.encoder.parameters.map { $0.gradient! }
        model.clearGradients()
        let other = Tape<Float>()
        let goal = other.evaluating { model.teacher(other.constant(model.inputs(images, target))).value }
        let embedding = model.encoder(other.constant(model.inputs(images, context)))
        let guess = model.predictor(.concatenated(columns: [embedding, other.constant(places)]))
        let head = try #require(model.head)
        let out = head(embedding, noise: noise)
        let (error, rest) = (guess - other.constant(goal), out.features - other.constant(embedding.value))
        let expected =
            (error * error).mean() + (rest * rest).mean().affine(0.7) + out.divergence.affine(0.9 / 3)
        #expect(abs(found.item - expected.item) < 1e-5)
        other.backward(from: expected)
        for (slope, parameter) in zip(slopes, model.encoder.parameters) {
            #expect(zip(slope.scalars, parameter.gradient!.scalars).allSatisfy { abs($0 - $1) < 1e-5 })
        }
    }
}
