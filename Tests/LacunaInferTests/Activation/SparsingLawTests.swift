import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaInfer

struct SparsingLawTests {
    private static func store(_ matrix: Tensor<Float>) throws -> any StoredMatrix {
        try WeightStore.make(matrix, layout: .dense, values: .f32)
    }

    /// By hand: the norm of the sum of what is cut off, and not the sum of norms; the threshold itself is cut off.
    @Test func energyOfTails() throws {
        let down = Tensor<Float>([3, 0, 0, 0, 4, -4], shape: [2, 3])
        // Contributions: 3, 4, 8 and 6, 2, 2.
        let hidden = Tensor<Float>([1, -1, 2, 2, 0.5, 0.5], shape: [2, 3])
        let tail = try TailEnergy(hidden, down: Self.store(down))
        #expect(tail.norms == [3, 4, 4])
        // Outputs (3, -12) and (6, 0): of the second, neurons 1 and 2 cancel.
        let first = (9.0 + 16).squareRoot() / (9.0 + 144).squareRoot()
        #expect(abs(tail(4) - first / 2) < 1e-6)
        #expect(abs(tail(3.99) - 3 / 153.0.squareRoot() / 2) < 1e-6)
        #expect(tail(1) == 0 && abs(tail(8) - 1) < 1e-6)
        #expect(abs(tail.activationRatio(2) - 4.0 / 6) < 1e-12 && tail.activationRatio(0) == 1)
        #expect(throws: LacunaError.self) { try TailEnergy(Tensor(zeros: [0, 3]), down: Self.store(down)) }
        #expect(throws: LacunaError.self) { try TailEnergy(Tensor(zeros: [2, 2]), down: Self.store(down)) }
    }

    /// Where columns have unlike lengths, contributions cut off less than magnitudes do of as many neurons; where they are alike, as much.
    @Test(arguments: [0.0, 1.0]) func contributionsBeatMagnitudes(spread: Double) throws {
        var random = SeededGenerator(seed: 4)
        let scales = (0..<128).map { _ in Float(exponential(spread * random.normal())) }
        let down = Tensor<Float>((0..<16 * 128).map { Float(random.normal()) * scales[$0 % 128] }, shape: [16, 128])
        let hidden = Tensor<Float>((0..<60 * 128).map { _ in Float(max(random.normal(), 0)) }, shape: [60, 128])
        let tail = try TailEnergy(hidden, down: Self.store(down))
        let contributions = hidden.scalars.enumerated().map { $1 * tail.norms[$0 % 128] }.sorted()
        let found = tail(contributions[contributions.count * 3 / 4])
        // The same by magnitudes: columns of one length.
        let magnitudes = hidden.scalars.sorted()
        let line = magnitudes[magnitudes.count * 3 / 4]
        var energy = 0.0
        for t in 0..<60 {
            func norm(_ isIn: (Float) -> Bool) -> Double {
                (0..<16).reduce(0.0) { sum, r in
                    let y = (0..<128).reduce(0.0) {
                        isIn(hidden[t, $1]) ? $0 + Double(down[r, $1] * hidden[t, $1]) : $0
                    }
                    return sum + y * y
                }.squareRoot()
            }
            energy += norm { $0 <= line } / norm { _ in true } / 60
        }
        if spread == 0 {
            #expect(abs(found / energy - 1) < 0.08, "\(found) \(energy)")
        } else {
            #expect(found < 0.5 * energy, "\(found) \(energy)")
        }
        // The threshold that a search finds has the energy that was wanted, and the next grid point more.
        for target in [0.05, 0.3] {
            let threshold = tail.threshold(target)
            #expect(tail(threshold) <= target && tail(threshold) > target - 0.01)
        }
        #expect(abs(tail(tail.threshold(1)) - 1) < 1e-6)
        // Energies grow with the threshold.
        let grid = (0..<20).map { tail(contributions[$0 * (contributions.count - 1) / 19]) }
        for (a, b) in zip(grid, grid.dropFirst()) { #expect(b > a - 1e-3) }
    }

    /// Tokens drawn from what a decoder expects, each sequence from a beginning of its own.
    private static func written(by decoder: Transformer, sequences: Int, length: Int) throws -> [Int] {
        var random = SeededGenerator(seed: 17)
        return try (0..<sequences).flatMap { _ -> [Int] in
            var text = [Int(random.next() % 60)]
            let session = try DecodingSession(decoder, context: length)
            while text.count < length {
                try session.decode(text[text.count - 1])
                let logits = session.logits.map { Double($0) }
                let largest = logits.max() ?? 0
                let shares = logits.map { exponential($0 - largest) }
                var place = random.uniform() * shares.reduce(0, +)
                text.append(
                    shares.firstIndex { share in
                        place -= share
                        return place <= 0
                    } ?? 0)
            }
            return text
        }
    }

    /// The perplexity asked for is met; of the criteria contributions need the fewest neurons.
    @Test func ratiosAtEqualPerplexity() throws {
        // A decoder's own text, which no other predicts better, so that leaving out costs.
        let decoder = try Skip.decoder(seed: 3).rectified()
        let tokens = try Self.written(by: decoder, sequences: 2, length: 64)
        let search = try ActivationRatioSearch(decoder, tokens: tokens, length: 64, percent: 2)
        let found = try search.find(.tailEnergy)
        #expect(abs(found.perplexityRatio - 1.02) < 0.002, "\(found.perplexityRatio)")
        #expect(found.activationRatio > 0 && found.activationRatio < 0.6 && found.thresholds.count == 2)
        // The gate is what was measured.
        let again = try Perplexity.measure(decoder, tokens: tokens, window: 64, gate: found.gate)
        #expect(abs(exponential(again.loss - search.denseLoss) - found.perplexityRatio) < 1e-9)
        // Nothing left out is the whole model; ReLU's zeros are not active.
        for criterion in ActivationRatioSearch.Criterion.allCases {
            let whole = try search.evaluate(criterion, 0)
            #expect(abs(whole.perplexityRatio - 1) < 1e-5, "\(criterion)")
            #expect(
                abs(whole.activationRatio - (try ActivationStatistics(decoder, tokens: tokens, length: 64)).density)
                    < 1e-6)
        }
        #expect(throws: LacunaError.self) { try ActivationRatioSearch(decoder, tokens: [1, 2], length: 64) }
        #expect(throws: LacunaError.self) { try ActivationRatioSearch(decoder, tokens: tokens, length: 64, percent: 0) }
    }

    /// Constants that made the points are found again from noisy ones.
    @Test func lawsAreFitted() throws {
        var random = SeededGenerator(seed: 2)
        let tokens = (0..<15).map { 1e6 * power(100, Double($0) / 14) }
        let relu = ActivationLaw(.relu, limit: 0.07, factor: 0.02, exponent: 0.3, offset: 0.5)
        let points = tokens.map { ($0, relu($0) * (1 + 0.01 * random.normal())) }
        let found = try ActivationLaw.fit(.relu, points)
        #expect(found.error < 0.01 && abs(found.law(1e8) - relu(1e8)) < 0.02)
        let exact = try ActivationLaw.fit(.relu, tokens.map { ($0, relu($0)) })
        #expect(exact.error < 1e-4 && abs(exact.law.limit - 0.07) < 0.02, "\(exact)")
        // The error is the root of the mean square of what the law leaves.
        let left = points.reduce(0) { $0 + ($1.1 - found.law($1.0)) * ($1.1 - found.law($1.0)) } / 15
        #expect(abs(found.error / left.squareRoot() - 1) < 1e-6)
        let silu = ActivationLaw(.silu, limit: 0.4, factor: 8, exponent: 0.3)
        let rising = try ActivationLaw.fit(.silu, tokens.map { ($0, silu($0) * (1 + 0.0005 * random.normal())) })
        #expect(abs(rising.law.limit - 0.4) < 0.02 && rising.law.factor > 0, "\(rising)")
        let same = try ActivationLaw.fit(.silu, tokens.map { ($0, silu($0)) })
        #expect(
            abs(same.law.limit - 0.4) < 1e-3 && abs(same.law.exponent - 0.3) < 0.01
                && abs(same.law.factor / 8 - 1) < 0.1)
        #expect(throws: LacunaError.self) { try ActivationLaw.fit(.relu, [(1, 1), (2, 1), (3, 1)]) }
        #expect(throws: LacunaError.self) { try ActivationLaw.fit(.silu, [(0, 1), (2, 1), (3, 1)]) }
    }

    /// Counts by neuron, those that nothing activates, and the error of confidences by hand.
    @Test func statistics() throws {
        var decoder = try Skip.decoder().rectified()
        // A neuron without weights is never active.
        var part = decoder.blocks[1].feedForward
        var up = part.up.weight.densified()
        for c in 0..<32 { up[5, c] = 0 }
        part.up.weight = try Self.store(up)
        try decoder.replaceFeedForward(layer: 1, with: part)
        let tokens = Skip.tokens(64, seed: 1)
        let found = try ActivationStatistics(decoder, tokens: tokens, length: 32)
        #expect(found.layers.count == 2 && found.layers[1].tokens == 64 && found.layers[1].counts[5] == 0)
        #expect(found.layers[1].never >= 1.0 / 64 && (0.3...0.7).contains(found.density))
        let mean = found.layers[0].frequencies.reduce(0, +) / 64
        #expect(abs(mean - found.layers[0].density) < 1e-12)
        #expect(try ActivationStatistics(decoder, tokens: tokens, length: 32, above: 1e9).density == 0)
        // Of smooth activations nearly all are active, on either side of 0.
        #expect(try ActivationStatistics(Skip.decoder(), tokens: tokens, length: 32).density > 0.99)
        #expect(throws: LacunaError.self) { try ActivationStatistics(decoder, tokens: tokens, length: 7) }
        #expect(throws: LacunaError.self) { try ActivationStatistics(decoder, tokens: tokens, length: 32, above: -1) }
        // Bins of a half: (0.2, wrong), (0.4, right) and (0.6, right), (1, right): |1 - 0.6| / 4 + |2 - 1.6| / 4.
        let error = try CalibrationError.expected([0.2, 0.4, 0.6, 1], isRight: [false, true, true, true], bins: 2)
        #expect(abs(error - 0.2) < 1e-12)
        #expect(throws: LacunaError.self) { try CalibrationError.expected([1.1], isRight: [true]) }
        #expect(throws: LacunaError.self) { try CalibrationError.expected([], isRight: []) }
    }
}
