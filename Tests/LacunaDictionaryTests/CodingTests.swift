import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct CodingTests {
    /// Each operator against a search of its own objective.
    @Test(arguments: CodingPenalty.allCases) func shrinkageMinimises(penalty: CodingPenalty) {
        let (weight, step) = (0.3, 0.7)
        for v in stride(from: -3.0, through: 3.0, by: 0.137) {
            func objective(_ u: Double) -> Double {
                0.5 * (u - v) * (u - v) + step * penalty.value(u, weight: weight)
            }
            let found = penalty.shrink(v, weight: weight, step: step)
            let best = stride(from: -4.0, through: 4.0, by: 1e-3).min { objective($0) < objective($1) }!
            #expect(objective(found) <= objective(best) + 1e-9, "\(penalty) at \(v): \(found), better \(best)")
            #expect(penalty.shrink(-v, weight: weight, step: step) == -found)
            #expect(abs(penalty.shrink(v, weight: 0, step: step) - v) < 1e-12)
        }
        // The relaxation equals l0 beyond the edge.
        #expect(abs(CodingPenalty.cel0.value(2, weight: 0.3) - 0.3) < 1e-12)
        #expect(abs(CodingPenalty.cel0.value(0, weight: 0.3)) < 1e-12)
        #expect(CodingPenalty.cel0.shrink(2, weight: 0.3, step: 0.7) == 2)
    }

    private let x: Tensor<Float> = normal([40, 8], seed: 1)

    @Test func l1CodesAreOptimal() throws {
        var coding = try SparseCoding(penalty: .l1, weight: 0.4, dimensions: 8, atoms: 14, seed: 2)
        coding.tolerance = 1e-6
        let codes = try coding.encode(x)
        let rest = x.subtracting(coding.decode(codes))
        let slopes = rest.multiplied(by: coding.atoms, otherTransposed: true)
        let dense = codes.densified()
        for i in 0..<slopes.count {
            let (slope, r) = (slopes.scalars[i], dense.scalars[i])
            #expect(abs(slope) <= 0.4 + 1e-3)
            if r != 0 { #expect(abs(slope - (r > 0 ? 0.4 : -0.4)) < 1e-3) }
        }
        // The objective by its definition.
        var expected = 0.0
        for i in 0..<x.count { expected += 0.5 * Double(rest.scalars[i]) * Double(rest.scalars[i]) }
        for r in dense.scalars { expected += 0.4 * Double(abs(r)) }
        #expect(abs(coding.objective(x, codes) - expected) < 1e-3)
        let quality = CodingQuality(of: coding, x, codes)
        #expect(abs(quality.active - Double(codes.count) / 40) < 1e-12)
        #expect(abs(quality.unexplained - rest.sumOfSquares / x.sumOfSquares) < 1e-9)
        #expect(abs(quality.objective - expected / 40) < 1e-4)
    }

    @Test func learningLowersTheObjective() throws {
        let bed = try SuperposedAtoms(dimensions: 8, atoms: 10, activity: .exactly(2), seed: 4)
        var generator = SeededGenerator(seed: 5)
        let data = bed.draw(400, using: &generator).x
        var coding = try SparseCoding(penalty: .cel0, weight: 0.05, dimensions: 8, atoms: 16, seed: 2)
        let before = coding.objective(data, try coding.encode(data))
        try coding.learn(data, batch: 100, steps: 60, seed: 1)
        let after = coding.objective(data, try coding.encode(data))
        #expect(after < 0.8 * before, "\(before) to \(after)")
        let norms = coding.atoms.withPointer { Directions.norms($0, rows: 16, columns: 8) }
        #expect(norms.allSatisfy { abs($0 - 1) < 1e-5 })
        var again = try SparseCoding(penalty: .cel0, weight: 0.05, dimensions: 8, atoms: 16, seed: 2)
        try again.learn(data, batch: 100, steps: 60, seed: 1)
        #expect(again.atoms == coding.atoms)
    }

    @Test func refusals() throws {
        #expect(throws: LacunaError.self) {
            try SparseCoding(penalty: .l1, weight: 0, dimensions: 2, atoms: 2, seed: 1)
        }
        #expect(throws: LacunaError.self) {
            try SparseCoding(penalty: .l1, weight: 1, dimensions: 2, atoms: 0, seed: 1)
        }
        #expect(throws: LacunaError.self) {
            try SparseCoding(penalty: .l1, weight: 1, atoms: Tensor([1, 0, 0, 0], shape: [2, 2]))
        }
        let coding = try SparseCoding(penalty: .l1, weight: 1, dimensions: 2, atoms: 2, seed: 1)
        #expect(throws: LacunaError.self) { try coding.encode(x) }
        #expect(throws: LacunaError.self) { try coding.encode(Tensor([.nan, 0], shape: [1, 2])) }
    }

    // MARK: Pursuit

    @Test func orthonormalDirectionsGiveTheLargestProducts() throws {
        var identity = Tensor<Float>(zeros: [8, 8])
        for i in 0..<8 { identity[i, i] = 1 }
        let center: Tensor<Float> = normal([8], seed: 3)
        let codes = try Pursuit.codes(
            of: x, directions: identity, center: center, counts: [Int](repeating: 3, count: 40)
        ).densified()
        for t in 0..<40 {
            let u = (0..<8).map { x[t, $0] - center[$0] }
            let kept = Set((0..<8).sorted { u[$0] > u[$1] }.prefix(3).filter { u[$0] > 0 })
            for j in 0..<8 { #expect(abs(codes[t, j] - (kept.contains(j) ? u[j] : 0)) < 1e-4) }
        }
    }

    @Test func orthogonalPursuitIsLeastSquaresOnWhatItChose() throws {
        var directions: Tensor<Float> = normal([14, 8], seed: 4)
        directions.withMutablePointer { Directions.normalize($0, rows: 14, columns: 8) }
        let counts = (0..<40).map { $0 % 5 }
        let codes = try Pursuit.codes(of: x, directions: directions, counts: counts, update: .orthogonal)
        let rest = x.subtracting(codes.multiplied(by: directions))
        for t in 0..<40 {
            #expect(codes.pattern.entries(row: t).count == counts[t])
            for j in codes.pattern.columnIndices[codes.pattern.entries(row: t)] {
                let slope = (0..<8).reduce(Float(0)) { $0 + rest[t, $1] * directions[j, $1] }
                #expect(abs(slope) < 1e-4)
            }
        }
    }

    /// A step by hand: two directions, two rounds.
    @Test func gradientSteps() throws {
        let directions = Tensor<Float>([1, 0, 0.6, 0.8], shape: [2, 2])
        let codes = try Pursuit.codes(of: Tensor([2, 1], shape: [1, 2]), directions: directions, counts: [2])
            .densified()
        // Products 2 and 2: the later of equals is first taken, fully: rest (0.8, -0.6). Then direction 0: slopes 0.8
        // and 0. The step moves along (0.8, 0) d_0: length 1: f = (0.8, 2).
        #expect(abs(codes[0, 0] - 0.8) < 1e-5 && abs(codes[0, 1] - 2) < 1e-5)
        #expect(throws: LacunaError.self) { try Pursuit.codes(of: x, directions: directions, counts: []) }
    }

    // MARK: Crosscoders

    @Test func crosscodersOfOneModelTwiceAreShared() throws {
        let bed = try SuperposedAtoms(dimensions: 6, atoms: 8, activity: .exactly(2), seed: 4)
        let source = GeneratedBatches { step in
            let x = bed.batches(of: 64, seed: 3).batch(step: step).inputs
            return ActivationBatch(step: step, inputs: Crosscoder.beside(x, x))
        }
        let crosscoder = try Crosscoder(dimensions: (6, 6), width: 12, rule: .batchTopK(2), seed: 2)
        var settings = DictionaryTraining()
        settings.learningRate = 3e-3
        settings.scalesInputs = false
        try crosscoder.dictionary.train(on: source, steps: 60, settings)
        #expect(crosscoder.relativeNorms.allSatisfy { abs($0 - 0.5) < 1e-3 })
        let scaling = try crosscoder.scaling(on: [source.batch(step: 99).inputs])
        for ratio in scaling.errorRatio + scaling.reconstructionRatio where ratio != nil {
            #expect(abs(ratio! - 1) < 1e-3)
        }
        let compared = try ModelComparisonByFeatures(crosscoder, on: [source.batch(step: 99).inputs])
        #expect(compared.first.candidates.isEmpty && compared.second.candidates.isEmpty)
        #expect(compared.shared == compared.active && compared.active > 0)
        #expect(abs(compared.explained[0] - compared.explained[1]) < 1e-4)
        // Of two features that are alike one is never active, and does not count.
        let pair = try Crosscoder(dimensions: (1, 1), width: 2, rule: .topK(1), seed: 2)
        pair.dictionary.encoderWeight!.value = Tensor([1, 1, -1, -1], shape: [2, 2])
        pair.dictionary.decoderWeight.value = Tensor([1, 1, 1, 1], shape: [2, 2])
        let few = try ModelComparisonByFeatures(pair, on: [Tensor([1, 1, 2, 2], shape: [2, 2])])
        #expect(few.active == 1 && few.shared == 1)
    }

    @Test func relativeNormsAndExchange() throws {
        let crosscoder = try Crosscoder(dimensions: (1, 2), width: 3, rule: .topK(1), seed: 2)
        crosscoder.dictionary.decoderWeight.value = Tensor([0, 3, 4, 2, 0, 0, 1, 0, 2], shape: [3, 3])
        let norms = crosscoder.relativeNorms
        #expect(norms[0] == 1 && norms[1] == 0 && abs(norms[2] - 0.75) < 1e-6)
        #expect(crosscoder.dictionary.partNorms == [5, 2, 3])
        let other = try Crosscoder(crosscoder.exchanged())
        for (a, b) in zip(norms, other.relativeNorms) { #expect(abs(a + b - 1) < 1e-6) }
        #expect(other.directions(ofModel: 0) == crosscoder.directions(ofModel: 1))
        let batched = try Crosscoder(dimensions: (1, 2), width: 3, rule: .batchTopK(2), seed: 2)
        batched.dictionary.threshold!.value = Tensor([0.3])
        #expect(try batched.exchanged().threshold!.value == Tensor([0.3]))
        #expect(throws: LacunaError.self) { try Crosscoder(dimensions: (2, 2), width: 3, rule: .gated, seed: 1) }
        #expect(throws: LacunaError.self) {
            try Crosscoder(SparseAutoencoder(.init(inputDimensions: 2, width: 3, rule: .relu), seed: 1))
        }
    }

    /// Strengths compete times the norms of their directions.
    @Test func normsTakePartInSelection() throws {
        let crosscoder = try Crosscoder(dimensions: (1, 1), width: 2, rule: .topK(1), seed: 2)
        let a = crosscoder.dictionary
        a.encoderWeight!.value = Tensor([2, 0, 1, 0], shape: [2, 2])
        a.decoderWeight.value = Tensor([1, 0, 1, 2], shape: [2, 2])
        let x = Tensor<Float>([1, 0], shape: [1, 2])
        // 2 · 1 against 1 · 3.
        #expect(try a.encode(x).densified() == Tensor([0, 1], shape: [1, 2]))
    }

    /// Strengths that a step would make negative become 0.
    @Test func gradientPursuitStaysPositive() throws {
        var directions: Tensor<Float> = normal([14, 5], seed: 4)
        directions.withMutablePointer { Directions.normalize($0, rows: 14, columns: 5) }
        let y: Tensor<Float> = normal([200, 5], seed: 6)
        let codes = try Pursuit.codes(of: y, directions: directions, counts: [Int](repeating: 10, count: 200))
        #expect(codes.values.allSatisfy { $0 > 0 } && codes.count > 600)
    }
}
