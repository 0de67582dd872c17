import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct SelectionTests {
    /// Every pre-activation of a dictionary, one number at a time.
    private func pre(_ a: SparseAutoencoder, _ x: Tensor<Float>) -> Tensor<Float> {
        var u = Tensor<Float>(zeros: [x.rows, a.width])
        let (w, b, c) = (a.encoderWeight!.value, a.encoderBias!.value, a.decoderBias.value)
        for t in 0..<x.rows {
            for j in 0..<a.width {
                var sum = Double(b[j])
                for i in 0..<x.columns { sum += Double(x[t, i] - c[i]) * Double(w[j, i]) }
                u[t, j] = Float(sum)
            }
        }
        return u
    }

    private func dictionary(_ rule: SelectionRule, width: Int = 40, seed: UInt64 = 3) throws -> SparseAutoencoder {
        let a = try SparseAutoencoder(.init(inputDimensions: 6, width: width, rule: rule), seed: seed)
        a.encoderBias?.value = normal([width], seed: seed &+ 1).multiplied(byNumber: 0.1)
        a.decoderBias.value = normal([6], seed: seed &+ 2)
        return a
    }

    /// More than one tile, the last one ragged.
    private let x: Tensor<Float> = normal([530, 6], seed: 11)

    private func dense(_ code: SparseMatrix<Float>) -> Tensor<Float> { code.densified() }

    private func expectSame(_ code: SparseMatrix<Float>, _ expected: Tensor<Float>) {
        let found = dense(code)
        let (a, b) = (found.scalars, expected.scalars)
        #expect(a.count == b.count)
        let wrong = a.indices.first { (a[$0] == 0) != (b[$0] == 0) || abs(a[$0] - b[$0]) >= 1e-4 }
        #expect(wrong == nil, "entry \(wrong!): \(a[wrong!]), not \(b[wrong!])")
    }

    /// What stays if the `n` largest of some places stay, of these the positive ones (or all with signs).
    private func kept(_ values: [Float], _ places: [Int], _ n: Int, signed: Bool, into target: inout [Float]) {
        let score = { (i: Int) in signed ? abs(values[i]) : max(0, values[i]) }
        for i in places.sorted(by: { score($0) > score($1) }).prefix(n) where score(i) > 0 {
            target[i] = values[i]
        }
    }

    @Test(arguments: [false, true]) func tokensKeepTheirLargest(signed: Bool) throws {
        let a = try dictionary(signed ? .absTopK(5) : .topK(5))
        let u = pre(a, x)
        var expected = [Float](repeating: 0, count: u.count)
        let values = u.scalars
        for t in 0..<x.rows { kept(values, Array(t * 40..<(t + 1) * 40), 5, signed: signed, into: &expected) }
        expectSame(try a.encode(x), Tensor(expected, shape: u.shape))
    }

    @Test(arguments: [false, true]) func batchesKeepTheirLargest(signed: Bool) throws {
        let a = try dictionary(signed ? .batchAbsTopK(5) : .batchTopK(5))
        let u = pre(a, x)
        var expected = [Float](repeating: 0, count: u.count)
        kept(u.scalars, Array(0..<u.count), 5 * 530, signed: signed, into: &expected)
        let code = try a.encode(x, scope: .batch)
        #expect(code.count == 5 * 530)
        expectSame(code, Tensor(expected, shape: u.shape))
    }

    @Test func featuresKeepTheirLargest() throws {
        let profile = FeatureProfile.zipf(exponent: 1, shift: 3)
        let a = try dictionary(.featureChoice(5, profile: profile), width: 300)
        let u = pre(a, x)
        let counts = profile.counts(total: 5 * 530, width: 300, limit: 530)
        var expected = [Float](repeating: 0, count: u.count)
        let values = u.scalars
        for j in 0..<300 { kept(values, (0..<530).map { $0 * 300 + j }, counts[j], signed: false, into: &expected) }
        let code = try a.encode(x, scope: .batch)
        expectSame(code, Tensor(expected, shape: u.shape))
        let column = code.transposed()
        #expect((0..<300).allSatisfy { column.pattern.entries(row: $0).count <= counts[$0] })
    }

    @Test func thresholdsStandForBatches() throws {
        let a = try dictionary(.batchTopK(5))
        let u = pre(a, x)
        a.threshold!.value = Tensor([0.9])
        expectSame(try a.encode(x), Tensor(u.scalars.map { $0 > 0.9 ? $0 : 0 }, shape: u.shape))
        let signed = try dictionary(.batchAbsTopK(5))
        signed.threshold!.value = Tensor([0.9])
        expectSame(try signed.encode(x), Tensor(u.scalars.map { abs($0) > 0.9 ? $0 : 0 }, shape: u.shape))
        let each = try dictionary(.featureChoice(5, profile: .uniform))
        let limits = (0..<40).map { Float($0) / 20 }
        each.threshold!.value = Tensor(limits)
        expectSame(
            try each.encode(x),
            Tensor(u.scalars.enumerated().map { $1 > limits[$0 % 40] ? $1 : 0 }, shape: u.shape))
    }

    @Test func positiveOnesAndJumps() throws {
        let a = try dictionary(.relu)
        let u = pre(a, x)
        expectSame(try a.encode(x), Tensor(u.scalars.map { max(0, $0) }, shape: u.shape))
        let jump = try dictionary(.jumpReLU(5, bandwidth: 0.1))
        let limits = (0..<40).map { 0.02 * Float($0 + 1) }
        jump.logThreshold!.value = Tensor(limits.map { Float(logarithm(Double($0))) })
        expectSame(
            try jump.encode(x),
            Tensor(u.scalars.enumerated().map { $1 > jump.thresholds![$0 % 40] ? $1 : 0 }, shape: u.shape))
        #expect(zip(jump.thresholds!, limits).allSatisfy { abs($0 - $1) < 1e-5 })
    }

    @Test func gatesDecideAndMagnitudesMeasure() throws {
        let a = try dictionary(.gated)
        a.magnitudeScale!.value = normal([40], seed: 21).multiplied(byNumber: 0.3)
        a.magnitudeBias!.value = normal([40], seed: 22).multiplied(byNumber: 0.3)
        let (u, b) = (pre(a, x), a.encoderBias!.value)
        var expected = Tensor<Float>(zeros: u.shape)
        for t in 0..<530 {
            for j in 0..<40 where u[t, j] > 0 {
                let scale = Float(exponential(Double(a.magnitudeScale!.value[j])))
                expected[t, j] = max(0, (u[t, j] - b[j]) * scale + a.magnitudeBias!.value[j])
            }
        }
        expectSame(try a.encode(x), expected)
    }

    @Test func everythingKeptIsTheDenseEncoder() throws {
        let full = try dictionary(.relu).encode(x).densified()
        for rule in [SelectionRule.topK(40), .batchTopK(40), .featureChoice(40, profile: .uniform)] {
            #expect(try dictionary(rule).encode(x, scope: .batch).densified() == full)
        }
        let one = x.rows(7..<8)
        #expect(
            try dictionary(.batchTopK(5)).encode(one, scope: .batch).densified()
                == dictionary(.topK(5)).encode(one).densified())
    }

    @Test func signedTopKIsTheProjectionOntoSparseVectors() throws {
        // The identity as encoder, so that u = x.
        let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 8, rule: .absTopK(3)), seed: 1)
        var identity = Tensor<Float>(zeros: [8, 8])
        for i in 0..<8 { identity[i, i] = 1 }
        a.encoderWeight!.value = identity
        let y: Tensor<Float> = normal([20, 8], seed: 5)
        let code = try a.encode(y).densified()
        for t in 0..<20 {
            var best = Float.infinity
            for support in 0..<256 where support.nonzeroBitCount == 3 {
                best = min(best, (0..<8).reduce(0) { $0 + (support >> $1 & 1 == 1 ? 0 : y[t, $1] * y[t, $1]) })
            }
            let found = (0..<8).reduce(Float(0)) { $0 + (code[t, $1] - y[t, $1]) * (code[t, $1] - y[t, $1]) }
            #expect(abs(found - best) < 1e-6)
        }
        #expect(
            try a.encode(y.multiplied(byNumber: -1)).densified() == code.multiplied(byNumber: -1))
    }

    /// Signed top-k is top-k of [u, -u], folded back.
    @Test func signedTopKFolds() throws {
        let a = try dictionary(.absTopK(5))
        let double = try SparseAutoencoder(.init(inputDimensions: 6, width: 80, rule: .topK(5)), seed: 1)
        let (w, b) = (a.encoderWeight!.value, a.encoderBias!.value)
        double.encoderWeight!.value = Tensor(w.scalars + w.scalars.map { -$0 }, shape: [80, 6])
        double.encoderBias!.value = Tensor(b.scalars + b.scalars.map { -$0 })
        double.decoderBias.value = a.decoderBias.value
        let (one, two) = (try a.encode(x).densified(), try double.encode(x).densified())
        #expect(
            (0..<530).allSatisfy { t in (0..<40).allSatisfy { abs(one[t, $0] - (two[t, $0] - two[t, $0 + 40])) < 1e-5 }
            })
    }

    @Test func gradientsChangeTheChoiceAndNotTheValues() throws {
        let g: Tensor<Float> = normal([530, 6], seed: 31)
        let plain = try dictionary(.topK(5))
        let zero = try dictionary(.gradientAware(5, strength: 0))
        #expect(try zero.encode(x, gradients: g).densified() == plain.encode(x).densified())
        let none = try dictionary(.gradientAware(5, strength: 3))
        #expect(try none.encode(x).densified() == plain.encode(x).densified())
        #expect(
            try none.encode(x, gradients: Tensor(zeros: [530, 6])).densified() == plain.encode(x).densified())
        // Scores by their definition; the scale by all products.
        let (u, d) = (pre(none, x), none.decoderWeight.value)
        let slopes = g.multiplied(by: d, otherTransposed: true)
        let scale = (slopes.scalars.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(slopes.count)).squareRoot()
        var expected = Tensor<Float>(zeros: u.shape)
        for t in 0..<530 {
            let score = (0..<40).map { max(0, u[t, $0]) * (1 + 3 * abs(slopes[t, $0]) / Float(scale)) }
            for j in (0..<40).sorted(by: { score[$0] > score[$1] }).prefix(5) where score[j] > 0 {
                expected[t, j] = u[t, j]
            }
        }
        expectSame(try none.encode(x, gradients: g), expected)
        // Only the gradients' direction matters.
        #expect(
            try none.encode(x, gradients: g.multiplied(byNumber: 8)).pattern == none.encode(x, gradients: g).pattern)
    }

    @Test func resultsDoNotDependOnThreads() throws {
        let before = Parallel.threads
        defer { Parallel.threads = before }
        for rule in [SelectionRule.topK(5), .batchTopK(5), .featureChoice(5, profile: .zipf(exponent: 1, shift: 3))] {
            let a = try dictionary(rule)
            Parallel.threads = 1
            let one = try a.encode(x, scope: .batch)
            Parallel.threads = 3
            let three = try a.encode(x, scope: .batch)
            #expect(one.pattern == three.pattern && one.values == three.values)
        }
    }

    /// Of equal scores later ones are kept, as by every selection.
    @Test func ties() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 1, width: 4, rule: .topK(2)), seed: 1)
        a.encoderWeight!.value = Tensor([1, 1, 1, 1], shape: [4, 1])
        #expect(try a.encode(Tensor([2], shape: [1, 1])).pattern.columnIndices == [2, 3])
        let b = try SparseAutoencoder(.init(inputDimensions: 1, width: 4, rule: .batchTopK(3)), seed: 1)
        b.encoderWeight!.value = Tensor([1, 1, 1, 1], shape: [4, 1])
        let code = try b.encode(Tensor([2, 2], shape: [2, 1]), scope: .batch)
        #expect(code.densified() == Tensor([0, 0, 2, 2, 2, 2, 2, 2], shape: [2, 4]))
    }

    @Test func profiles() {
        #expect(FeatureProfile.uniform.counts(total: 12, width: 4, limit: 10) == [3, 3, 3, 3])
        #expect(FeatureProfile.uniform.counts(total: 14, width: 4, limit: 10) == [4, 4, 3, 3])
        // 12 shared out as 1/1 : 1/2 : 1/3, i.e. 6.5 : 3.3 : 2.2.
        #expect(FeatureProfile.zipf(exponent: 1, shift: 0).counts(total: 12, width: 3, limit: 12) == [7, 3, 2])
        // What the first cannot take goes on.
        #expect(FeatureProfile.zipf(exponent: 1, shift: 0).counts(total: 12, width: 3, limit: 5) == [5, 4, 3])
        // Everyone has one.
        let steep = FeatureProfile.zipf(exponent: 4, shift: 0).counts(total: 20, width: 8, limit: 20)
        #expect(steep.reduce(0, +) == 20 && steep.min() == 1 && steep == steep.sorted(by: >))
        #expect(FeatureProfile.uniform.counts(total: 100, width: 3, limit: 4) == [4, 4, 4])
        #expect(FeatureProfile.uniform.counts(total: 2, width: 4, limit: 4).reduce(0, +) == 2)
        let shares = FeatureProfile.zipf(exponent: 1, shift: 3).shares(10)
        #expect(abs(shares.reduce(0, +) - 1) < 1e-12 && abs(shares[0] / shares[1] - 5.0 / 4) < 1e-12)
    }

    @Test func matchingPursuitTakesTheBestOfWhatIsLeft() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 6, width: 20, rule: .matchingPursuit(4)), seed: 2)
        a.decoderBias.value = normal([6], seed: 9)
        let y = x.rows(0..<20)
        let (code, d, c) = (try a.encode(y).densified(), a.decoderWeight.value, a.decoderBias.value)
        for t in 0..<20 {
            var rest = (0..<6).map { y[t, $0] - c[$0] }
            var expected = [Float](repeating: 0, count: 20)
            for _ in 0..<4 {
                let products = (0..<20).map { j in (0..<6).reduce(Float(0)) { $0 + rest[$1] * d[j, $1] } }
                let best = (0..<20).max { products[$0] < products[$1] }!
                if products[best] <= 0 { break }
                expected[best] += products[best]
                for i in 0..<6 { rest[i] -= products[best] * d[best, i] }
            }
            for j in 0..<20 { #expect(abs(code[t, j] - expected[j]) < 1e-4) }
        }
        // Orthonormal directions: pursuit is the projection onto what is positive.
        let e = try SparseAutoencoder(.init(inputDimensions: 6, width: 6, rule: .matchingPursuit(6)), seed: 2)
        var identity = Tensor<Float>(zeros: [6, 6])
        for i in 0..<6 { identity[i, i] = 1 }
        e.decoderWeight.value = identity
        let positive = Tensor(y.scalars.map { max(0, $0) }, shape: y.shape)
        expectClose(try e.reconstruct(y), positive, 1e-5)
    }

    @Test func refusals() throws {
        func refuses(_ rule: SelectionRule, width: Int = 8) {
            #expect(throws: LacunaError.self) {
                try SparseAutoencoder(.init(inputDimensions: 4, width: width, rule: rule), seed: 1)
            }
        }
        for rule in [SelectionRule.topK(0), .topK(9), .batchTopK(-1), .absTopK(9), .jumpReLU(9, bandwidth: 0.1)] {
            refuses(rule)
        }
        refuses(.jumpReLU(2, bandwidth: 0))
        refuses(.gradientAware(2, strength: -1))
        refuses(.gradientAware(2, strength: .nan))
        refuses(.featureChoice(2, profile: .zipf(exponent: -1, shift: 0)))
        refuses(.featureChoice(2, profile: .zipf(exponent: 1, shift: -1)))
        refuses(.relu, width: 0)
        refuses(.relu, width: 1 << 40)
        let a = try dictionary(.topK(5))
        #expect(throws: LacunaError.self) { try a.encode(Tensor(zeros: [2, 5])) }
        #expect(throws: LacunaError.self) { try a.encode(x, gradients: Tensor(zeros: [2, 6])) }
        var bad = x
        bad[3, 2] = .nan
        #expect(throws: LacunaError.numerical(operation: "encode", reason: "activations are not all finite")) {
            try a.encode(bad)
        }
        bad[3, 2] = -.infinity
        #expect(throws: LacunaError.self) { try a.encode(bad) }
    }
}
