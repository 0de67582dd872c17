import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct EvaluationTests {
    private let x: Tensor<Float> = normal([60, 5], seed: 2)

    private func dictionary() throws -> SparseAutoencoder {
        let a = try SparseAutoencoder(.init(inputDimensions: 5, width: 7, rule: .topK(2)), seed: 1)
        a.decoderBias.value = normal([5], seed: 3)
        return a
    }

    @Test func qualityByItsDefinitions() throws {
        let a = try dictionary()
        let batches = [0..<25, 25..<60].enumerated().map { ActivationBatch(step: $0, inputs: x.rows($1)) }
        let found = try DictionaryQuality(of: a, on: batches)
        let (code, y) = (try a.encode(x).densified(), try a.reconstruct(x))
        var (error, spread, cosine) = (0.0, 0.0, 0.0)
        let mean = (0..<5).map { j in (0..<60).reduce(0.0) { $0 + Double(x[$1, j]) } / 60 }
        for t in 0..<60 {
            var (xy, xx, yy) = (0.0, 0.0, 0.0)
            for j in 0..<5 {
                let (p, q) = (Double(x[t, j]), Double(y[t, j]))
                error += (p - q) * (p - q)
                spread += (p - mean[j]) * (p - mean[j])
                (xy, xx, yy) = (xy + p * q, xx + p * p, yy + q * q)
            }
            cosine += xy / (xx * yy).squareRoot() / 60
        }
        #expect(found.tokens == 60)
        #expect(abs(found.unexplained - error / spread) < 1e-6 && abs(found.explained + found.unexplained - 1) < 1e-12)
        #expect(abs(found.cosine - cosine) < 1e-6)
        let active = (0..<7).map { j in (0..<60).count { code[$0, j] != 0 } }
        #expect(found.density == active.map { Double($0) / 60 })
        #expect(abs(found.active - Double(active.reduce(0, +)) / 60) < 1e-12)
        for j in 0..<7 where active[j] > 0 {
            let mean = (0..<60).reduce(0.0) { $0 + Double(abs(code[$1, j])) } / Double(active[j])
            #expect(abs(found.strength[j] - mean) < 1e-6)
        }
        #expect(throws: LacunaError.self) { try DictionaryQuality(of: a, on: []) }
    }

    @Test func densitiesByDecades() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 1, width: 4, rule: .relu), seed: 1)
        a.encoderWeight!.value = Tensor([1, -1, 0, 0], shape: [4, 1])
        a.encoderBias!.value = Tensor([0, -0.9, -1, 1])
        // Active in 90 %, in 10 %, never, always.
        let x = Tensor<Float>((0..<100).map { $0 < 10 ? -1 : 1 }, shape: [100, 1])
        let found = try DictionaryQuality(of: a, on: [ActivationBatch(step: 0, inputs: x)])
        #expect(found.density == [0.9, 0.1, 0, 1])
        #expect(found.dead == 0.25 && found.dense() == 0.5 && found.dense(above: 0.95) == 0.25)
        #expect(found.densityHistogram.map(\.features) == [2, 1, 0, 0, 0, 0, 0])
    }

    @Test func leastSquaresIsExactAndOfSmallestNorm() throws {
        let a: Tensor<Float> = normal([5, 3], seed: 4)
        let y = x.multiplied(by: a)
        var fit = StreamingLeastSquares(inputs: 5, outputs: 3, intercept: false)
        fit.add(x.rows(0..<20), y.rows(0..<20))
        fit.add(x.rows(20..<60), y.rows(20..<60))
        let found = try fit.solve()
        for (p, q) in zip(found.scalars, a.scalars) { #expect(abs(p - Double(q)) < 1e-5) }
        #expect(fit.count == 60)
        expectClose(fit.predict(x, found), y, 1e-4)
        // y = 2 + 3 x.
        var line = StreamingLeastSquares(inputs: 1, outputs: 1, intercept: true)
        line.add(Tensor([0, 1, 2], shape: [3, 1]), Tensor([2, 5, 8], shape: [3, 1]))
        let coefficients = try line.solve().scalars
        #expect(abs(coefficients[0] - 3) < 1e-9 && abs(coefficients[1] - 2) < 1e-9)
        // A column twice: half of the coefficient each.
        let twice = Tensor<Float>((0..<60).flatMap { [x[$0, 0], x[$0, 0]] }, shape: [60, 2])
        var degenerate = StreamingLeastSquares(inputs: 2, outputs: 1, intercept: false)
        degenerate.add(twice, Tensor((0..<60).map { x[$0, 0] }, shape: [60, 1]))
        for value in try degenerate.solve().scalars { #expect(abs(value - 0.5) < 1e-9) }
    }

    /// A dictionary of nothing misses everything, linearly; one with Gaussian parts b of a + b misses their share.
    @Test func darkMatterInClosedForm() throws {
        let silent = try SparseAutoencoder(.init(inputDimensions: 5, width: 7, rule: .topK(2)), seed: 1)
        silent.encoderBias!.value = Tensor(repeating: -1e6, shape: [7])
        let all = try DarkMatter(of: silent, fit: [x.rows(0..<40)], judge: [x.rows(40..<60)])
        #expect(abs(all.linearShare - 1) < 1e-6 && all.unexplainedNonlinear < 1e-6)
        #expect((all.fitted, all.judged) == (40, 20))
        #expect(throws: LacunaError.self) { try DarkMatter(of: silent, fit: [x.rows(0..<5)], judge: [x]) }

        // x = s + n; the dictionary gives s exactly: its one direction is the axis of s, and n is its own error. Here
        // s lies on the first axis, which is reconstructed as 0.6 of itself, so that 0.4 of it is missed linearly.
        let half = try SparseAutoencoder(.init(inputDimensions: 2, width: 2, rule: .absTopK(2)), seed: 1)
        half.encoderWeight!.value = Tensor([1, 0, 0, 0], shape: [2, 2])
        half.decoderWeight.value = Tensor([0.6, 0, 0, 1], shape: [2, 2])
        let y: Tensor<Float> = normal([4000, 2], seed: 9)
        let found = try DarkMatter(of: half, fit: [y.rows(0..<2000)], judge: [y.rows(2000..<4000)])
        #expect(abs(found.linearShare - 1) < 1e-5)
        // 0.16 of one dimension and all of the other are missed: 1.16 / 2.
        #expect(abs(found.unexplained - 0.58) < 0.03 && found.unexplainedNonlinear < 1e-5)
    }

    /// Of a sum of two Gaussians of variances 4 and 1, least squares guess a fifth of the second.
    @Test func linearShareOfNoise() throws {
        let n = 6000
        let (s, noise): (Tensor<Float>, Tensor<Float>) = (normal([n, 1], seed: 1), normal([n, 1], seed: 2))
        let x = Tensor<Float>(zip(s.scalars, noise.scalars).map { 2 * $0 + $1 }, shape: [n, 1])
        var fit = StreamingLeastSquares(inputs: 1, outputs: 1, intercept: false)
        fit.add(x, noise)
        let residual = noise.subtracting(fit.predict(x, try fit.solve()))
        #expect(abs(1 - residual.sumOfSquares / noise.sumOfSquares - 1.0 / 5) < 0.02)
    }

    @Test func scalesInClosedForm() throws {
        let d: Tensor<Float> = normal([3, 4], seed: 5)
        let code = try SparseMatrix(Tensor<Float>([1, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0], shape: [4, 3]))
        // y = 0.7 f d_0 where feature 0 is active, -2 f d_1 where feature 1 is, and something orthogonal.
        var y = Tensor<Float>(zeros: [4, 4])
        for i in 0..<4 {
            (y[0, i], y[1, i], y[2, i]) = (0.7 * d[0, i], 1.4 * d[0, i], -6 * d[1, i])
        }
        let orthogonal = [d[0, 1], -d[0, 0], 0, 0]
        for i in 0..<4 { y[0, i] += orthogonal[i] }
        var scaling = LatentScaling(directions: d)
        scaling.add(code.selecting(rows: [0, 1]), y.rows(0..<2))
        scaling.add(code.selecting(rows: [2, 3]), y.rows(2..<4))
        let scales = scaling.scales
        #expect(abs(scales[0]! - 0.7) < 1e-5 && abs(scales[1]! + 2) < 1e-5 && scales[2] == nil)
        // With the feature's own part added back, that of the whole target.
        var back = LatentScaling(directions: d)
        back.add(code, y, addingBack: d)
        #expect(abs(back.scales[0]! - 1.7) < 1e-5 && abs(back.scales[1]! + 1) < 1e-5)
    }

    @Test func splicedLosses() throws {
        let configuration = TransformerConfiguration(
            vocabularySize: 20, hiddenSize: 12, intermediateSizes: [16, 16], headCount: 3, keyValueHeadCount: 3,
            headSize: 4, maximumPositions: 16, tiedEmbeddings: true)
        let model = try Transformer(random: configuration, seed: 1)
        let tokens = (0..<50).map { ($0 * $0 + 3) % 20 }
        let site = ActivationSite(layer: 0, .residual)
        // An orthonormal dictionary with signs that keeps everything.
        let whole = try SparseAutoencoder(.init(inputDimensions: 12, width: 12, rule: .absTopK(12)), seed: 1)
        var identity = Tensor<Float>(zeros: [12, 12])
        for i in 0..<12 { identity[i, i] = 1 }
        (whole.encoderWeight!.value, whole.decoderWeight.value) = (identity, identity)
        let same = try SplicedLoss(model, whole, at: site, tokens: tokens, context: 10, skipping: 2)
        #expect(same.tokens == 45 && abs(same.recovered - 1) < 1e-4)
        // The clean loss is that of perplexity over the same windows.
        let reference = try Perplexity.measure(model, tokens: tokens, window: 10)
        #expect(abs(same.clean - reference.negativeLogLikelihood / 45) < 1e-4)
        // One that gives zeros recovers nothing.
        let nothing = try SparseAutoencoder(.init(inputDimensions: 12, width: 12, rule: .topK(1)), seed: 1)
        nothing.encoderBias!.value = Tensor(repeating: -1e6, shape: [12])
        let zero = try SplicedLoss(model, nothing, at: site, tokens: tokens, context: 10, skipping: 2)
        #expect(abs(zero.recovered) < 1e-6 && zero.reconstructed == zero.ablated && zero.clean == same.clean)
        let narrow = try SparseAutoencoder(.init(inputDimensions: 11, width: 12, rule: .topK(1)), seed: 1)
        #expect(throws: LacunaError.self) { try SplicedLoss(model, narrow, at: site, tokens: tokens, context: 10) }
        #expect(throws: LacunaError.self) { try SplicedLoss(model, whole, at: site, tokens: [1, 2], context: 10) }
    }

    @Test func atomsAreDrawnAsTheyShould() throws {
        var bed = try SuperposedAtoms(dimensions: 6, atoms: 5, activity: .exactly(2), seed: 3)
        bed.amplitudes = (0..<5).map { Double($0 + 1)...Double($0 + 1) }
        bed.isSigned = true
        bed.frequencies = [8, 1, 1, 1, 0]
        var generator = SeededGenerator(seed: 1)
        let (x, f) = bed.draw(2000, using: &generator)
        expectClose(x, f.multiplied(by: bed.directions), 1e-4)
        let counts = (0..<5).map { j in (0..<2000).count { f[$0, j] != 0 } }
        #expect(counts.reduce(0, +) == 4000 && counts[4] == 0 && counts[0] > 1800)
        #expect((0..<2000).allSatisfy { [0, 1, -1].contains(f[$0, 0]) && [0, 3, -3].contains(f[$0, 2]) })
        let positive = (0..<2000).count { f[$0, 0] > 0 }
        #expect(abs(Double(positive) / Double(counts[0]) - 0.5) < 0.05)
        let many = try SuperposedAtoms(dimensions: 6, atoms: 40, activity: .geometric(mean: 4, limit: 30), seed: 3)
        let g = many.draw(4000, using: &generator).strengths
        let active = (0..<4000).map { t in (0..<40).count { g[t, $0] != 0 } }
        #expect(active.min() == 1 && abs(Double(active.reduce(0, +)) / 4000 - 4) < 0.2)
        #expect(throws: LacunaError.self) {
            try SuperposedAtoms(dimensions: 6, atoms: 5, activity: .exactly(6), seed: 3)
        }
    }

    @Test func recoveryIsByTheBestCosine() {
        let truth = Tensor<Float>([1, 0, 0, 1], shape: [2, 2])
        let learned = Tensor<Float>([2, 0, 0, -3, 1, 1], shape: [3, 2])
        let plain = DictionaryRecovery(of: truth, by: learned, signed: false)
        #expect(abs(plain.cosines[0] - 1) < 1e-6 && abs(plain.cosines[1] - 0.5.squareRoot()) < 1e-6)
        let signed = DictionaryRecovery(of: truth, by: learned, signed: true)
        #expect(abs(signed.mean - 1) < 1e-6 && signed.share(above: 0.9) == 1 && plain.share(above: 0.9) == 0.5)
    }

    /// Every rule finds the atoms of an easy bed.
    @Test(arguments: [
        SelectionRule.relu, .topK(2), .absTopK(2), .batchTopK(2), .featureChoice(2, profile: .uniform),
        .jumpReLU(2, bandwidth: 0.5), .gated, .matchingPursuit(2),
    ]) func rulesFindTheAtoms(rule: SelectionRule) throws {
        var bed = try SuperposedAtoms(dimensions: 10, atoms: 12, activity: .exactly(2), seed: 6)
        bed.noise = 0.01
        let a = try SparseAutoencoder(.init(inputDimensions: 10, width: 18, rule: rule), seed: 2)
        var settings = DictionaryTraining()
        settings.learningRate = 5e-3
        settings.warmUp = 50
        settings.auxiliary = rule == .matchingPursuit(2) ? nil : AuxiliaryLoss(.dead(afterTokens: 128 * 20))
        switch rule {
        case .relu, .gated: settings.sparsity = SparsityPenalty(1)
        case .jumpReLU: settings.sparsity = SparsityPenalty(1)
        default: break
        }
        try a.train(on: bed.batches(of: 128, seed: 1), steps: 800, settings)
        let recovery = DictionaryRecovery(of: bed.directions, by: a.decoderWeight.value, signed: rule.isSigned)
        let quality = try DictionaryQuality(of: a, on: [bed.batches(of: 500, seed: 9).batch(step: 0)])
        #expect(recovery.mean > 0.88, "\(rule): mean cosine \(recovery.mean), \(quality.unexplained) \(quality.active)")
    }

    /// Only what is not skipped is replaced: of 5 sequences of 10, the last 8 of each.
    @Test func skippedPositionsStay() throws {
        let configuration = TransformerConfiguration(
            vocabularySize: 20, hiddenSize: 12, intermediateSizes: [16, 16], headCount: 3, keyValueHeadCount: 3,
            headSize: 4, maximumPositions: 16, tiedEmbeddings: true)
        let model = try Transformer(random: configuration, seed: 1)
        let tokens = (0..<50).map { ($0 * $0 + 3) % 20 }
        func loss(_ replacement: SplicedLoss.Replacement) throws -> Double {
            try SplicedLoss.loss(
                model, at: ActivationSite(layer: 0, .residual), tokens: tokens, context: 10, skipping: 2, replacement
            ).sum
        }
        var seen = 0
        let same = try loss(
            .function {
                seen += $0.rows
                return $0
            })
        let plain = try loss(.nothing)
        #expect(seen == 40 && abs(plain - same) < 1e-4)
        // Zeros, too, are put there alone.
        let zeros = try loss(.function { Tensor(zeros: $0.shape) })
        #expect(try loss(.zeros) == zeros && abs(zeros - same) > 1e-3)
    }
}
