import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct ProbabilisticCodingTests {
    private let atoms: Tensor<Double> = normal([4, 5], seed: 1)
    private let x: Tensor<Double> = normal([30, 5], seed: 2)

    private func exact(_ model: ProbabilisticCoding.Model) throws -> ProbabilisticCoding {
        try ProbabilisticCoding(model, atoms: atoms, activity: 0.3, noise: 0.8, candidates: 4, active: 4)
    }

    @Test func statesAreAllCombinations() throws {
        #expect(ProbabilisticCoding.subsets(8, 5).count == 28 + 56 + 70 + 56)
        let binary = try exact(.binary)
        let states = binary.states([2, 0, 1, 3], ProbabilisticCoding.subsets(4, 4))
        #expect(states.count == 16)
        #expect(Set(states.map { Set($0.map(\.atom)) }).count == 16)
        #expect(try exact(.ternary).states([0, 1, 2, 3], ProbabilisticCoding.subsets(4, 4)).count == 81)
    }

    /// With all states the likelihood is that of the model, by enumeration.
    @Test(arguments: [
        ProbabilisticCoding.Model.binary, .ternary, .discrete([0.5, 2]), .maximum, .maximumMagnitude,
    ]) func likelihoodsByEnumeration(model: ProbabilisticCoding.Model) throws {
        var coding = try exact(model)
        if model == .maximum { coding.atoms = Tensor(atoms.scalars.map(abs), shape: [4, 5]) }
        let values = [0] + model.values
        var expected = 0.0
        for t in 0..<30 {
            var sum = 0.0
            for code in 0..<Int(power(Double(values.count), 4)) {
                var (rest, picks) = (code, [Int]())
                for _ in 0..<4 {
                    picks.append(rest % values.count)
                    rest /= values.count
                }
                var density = 1.0
                for pick in picks { density *= pick == 0 ? 0.7 : 0.3 / Double(model.values.count) }
                for i in 0..<5 {
                    let parts = (0..<4).filter { picks[$0] > 0 }.map { values[picks[$0]] * coding.atoms[$0, i] }
                    let mean: Double
                    let rho = coding.exponent(1)
                    switch model {
                    case .maximum: mean = power(parts.reduce(0.0) { $0 + power($1, rho) }, 1 / rho)
                    case .maximumMagnitude:
                        let t = parts.reduce(0.0) { $0 + ($1 < 0 ? -1 : 1) * power(abs($1), rho) }
                        mean = (t < 0 ? -1 : 1) * power(abs(t), 1 / rho)
                    default: mean = parts.reduce(0, +)
                    }
                    let e = (x[t, i] - mean) / 0.8
                    density *= exponential(-0.5 * e * e) / (0.8 * (2 * Double.pi).squareRoot())
                }
                sum += density
            }
            expected += logarithm(sum) / 30
        }
        #expect(abs(coding.logLikelihood(x) - expected) < 1e-9)
    }

    /// Spike and slab with every state: the evidence of Gaussians, by their covariances.
    @Test func slabsAreGaussians() throws {
        var coding = try exact(.spikeAndSlab)
        coding.slabMeans = [0.5, -1, 2, 0]
        coding.slabVariances = [0.3, 1, 2, 0.5]
        let state: ProbabilisticCoding.State = [(0, 0), (2, 0)]
        let y = (0..<5).map { x[3, $0] }
        let found = coding.slabs(state, y)
        // N(y; W μ, σ² I + W Ψ Wᵀ) by its own factor.
        var covariance = Tensor<Double>(zeros: [5, 5])
        var mean = [Double](repeating: 0, count: 5)
        for (h, _) in state {
            for i in 0..<5 {
                mean[i] += coding.slabMeans[h] * atoms[h, i]
                for j in 0..<5 { covariance[i, j] += coding.slabVariances[h] * atoms[h, i] * atoms[h, j] }
            }
        }
        for i in 0..<5 { covariance[i, i] += 0.64 }
        let rest = Tensor<Double>((0..<5).map { y[$0] - mean[$0] }, shape: [5, 1])
        let factor = try covariance.cholesky()
        let solved = try covariance.solvePositiveDefinite(rest)
        let quadratic = (0..<5).reduce(0.0) { $0 + rest[$1, 0] * solved[$1, 0] }
        let logDeterminant = (0..<5).reduce(0.0) { $0 + 2 * logarithm(factor[$1, $1]) }
        let expected = -0.5 * (quadratic + logDeterminant)
        #expect(abs(found.evidence - 2.5 * logarithm(0.64) - expected) < 1e-9)
        // The posterior mean is where the derivative of the log joint is 0: Ψ⁻¹ (μ - z) + W (y - Wᵀ z) / σ² = 0.
        for (p, (h, _)) in state.enumerated() {
            var slope = (coding.slabMeans[h] - found.mean[p]) / coding.slabVariances[h]
            for i in 0..<5 {
                let fitted = state.enumerated().reduce(0.0) { $0 + found.mean[$1.offset] * atoms[$1.element.atom, i] }
                slope += atoms[h, i] * (y[i] - fitted) / 0.64
            }
            #expect(abs(slope) < 1e-9)
        }
    }

    /// Exact expectation maximisation never makes vectors less likely.
    @Test(arguments: [ProbabilisticCoding.Model.binary, .ternary, .discrete([1, 2]), .spikeAndSlab])
    func likelihoodRises(model: ProbabilisticCoding.Model) throws {
        var coding = try exact(model)
        var last = coding.logLikelihood(x)
        for _ in 0..<6 {
            coding.update(x, temperature: 1, leavingOut: 0)
            let next = coding.logLikelihood(x)
            #expect(next >= last - 1e-9, "\(last) to \(next)")
            last = next
        }
    }

    @Test func barsAreFound() throws {
        // 4 x 4 images of 8 bars.
        var bars = Tensor<Double>(zeros: [8, 16])
        for b in 0..<4 {
            for i in 0..<4 {
                bars[b, 4 * b + i] = 10
                bars[4 + b, 4 * i + b] = 10
            }
        }
        var generator = SeededGenerator(seed: 3)
        var data = Tensor<Double>(normal: [200, 16], standardDeviation: 1, using: &generator)
        for t in 0..<200 {
            for b in 0..<8 where generator.uniform() < 0.2 { for i in 0..<16 { data[t, i] += bars[b, i] } }
        }
        // The most likely of a few starts.
        let coding = try (0..<4).map { start -> ProbabilisticCoding in
            var coding = try ProbabilisticCoding(
                .binary, for: data, atoms: 8, candidates: 5, active: 4, seed: UInt64(start))
            try coding.learn(data, .init(for: .binary, steps: 50))
            return coding
        }.max { $0.logLikelihood(data) < $1.logLikelihood(data) }!
        for b in 0..<8 {
            let nearest = (0..<8).map { h in (0..<16).reduce(0.0) { $0 + abs(coding.atoms[h, $1] - bars[b, $1]) / 16 } }
                .min()!
            #expect(nearest < 1, "bar \(b): \(nearest)")
        }
        #expect(abs(coding.activity - 0.2) < 0.03 && abs(coding.noise - 1) < 0.1)
        // A clean image of bars 1 and 6.
        let image = (0..<16).map { bars[1, $0] + bars[6, $0] }
        let best = try coding.infer(image, count: 2)
        let own = best[0].active.map { entry in
            (0..<8).min { a, b in
                (0..<16).reduce(0.0) { $0 + abs(coding.atoms[entry.atom, $1] - bars[a, $1]) }
                    < (0..<16).reduce(0.0) { $0 + abs(coding.atoms[entry.atom, $1] - bars[b, $1]) }
            }!
        }
        #expect(Set(own) == [1, 6] && best[0].probability > 0.99 && best[1].probability < 0.01)
    }

    @Test func refusals() throws {
        func refuses(
            _ model: ProbabilisticCoding.Model, _ activity: Double, _ noise: Double, _ candidates: Int, _ active: Int
        ) {
            #expect(throws: LacunaError.self) {
                try ProbabilisticCoding(
                    model, atoms: atoms, activity: activity, noise: noise, candidates: candidates, active: active)
            }
        }
        refuses(.binary, 0, 1, 2, 2)
        refuses(.binary, 0.2, 0, 2, 2)
        refuses(.binary, 0.2, 1, 5, 2)
        refuses(.binary, 0.2, 1, 2, 3)
        refuses(.discrete([0, 1]), 0.2, 1, 2, 2)
        refuses(.discrete([]), 0.2, 1, 2, 2)
        var coding = try exact(.binary)
        #expect(throws: LacunaError.self) { try coding.learn(Tensor(zeros: [2, 3]), .init(for: .binary)) }
        #expect(throws: LacunaError.self) { try coding.infer([1]) }
        var maxima = try exact(.maximum)
        #expect(throws: LacunaError.self) {
            try maxima.learn(Tensor(repeating: -1, shape: [3, 5]), .init(for: .maximum, steps: 1))
        }
    }

    /// Of three atoms that are active in half of all vectors, vectors of at most one show none in a quarter: an activity
    /// of a half stays, as those left out are accounted for.
    @Test func truncationIsCorrected() throws {
        var axes = Tensor<Double>(zeros: [3, 3])
        for h in 0..<3 { axes[h, h] = 10 }
        var coding = try ProbabilisticCoding(.binary, atoms: axes, activity: 0.5, noise: 0.5, candidates: 3, active: 1)
        var data = Tensor<Double>(zeros: [40, 3])
        for t in 0..<30 { data[t, t % 3] = 10 }
        coding.update(data, temperature: 1, leavingOut: 0)
        #expect(abs(coding.activity - 0.5) < 1e-6)
    }
}
