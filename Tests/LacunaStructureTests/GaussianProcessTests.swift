import LacunaTensor
import Testing

@testable import LacunaStructure

@Suite struct GaussianProcessTests {
    private static func series(_ count: Int, seed: UInt64) -> (x: Tensor<Double>, y: [Double]) {
        var random = SeededGenerator(seed: seed)
        let pi = 3.141592653589793
        return (
            Tensor((0..<count).map { Double($0 + 1) }, shape: [count, 1]),
            (0..<count).map { i in
                let t = Double(i + 1)
                return sine(2 * pi * 0.05 * t) + 0.5 * sine(2 * pi * 0.12 * t) + 0.1 * random.normal()
            }
        )
    }

    /// `C` entry by entry, and everything from its inverse.
    private static func direct(
        _ grid: SpectralGrid, _ x: Tensor<Double>, _ y: [Double], _ weights: [Double], noise: Double
    ) throws -> (value: Double, q: [Double], g: [Double]) {
        let n = y.count
        var parts: [Tensor<Double>] = []
        var c = Tensor<Double>(zeros: [n, n])
        for i in weights.indices {
            var unit = [Double](repeating: 0, count: weights.count)
            unit[i] = 1
            let part = grid.matrix(x, x, weights: unit)
            parts.append(part)
            for a in 0..<n { for b in 0..<n { c[a, b] += weights[i] * part[a, b] } }
        }
        for a in 0..<n { c[a, a] += noise }
        let l = try c.cholesky()
        let inverse = try l.inverseFromCholesky()
        let alpha = inverse.multiplied(by: Tensor(y, shape: [n, 1])).scalars
        var value = 0.0
        for a in 0..<n { value += alpha[a] * y[a] + 2 * logarithm(l[a, a]) }
        var (q, g): ([Double], [Double]) = ([], [])
        for part in parts {
            var (fit, trace) = (0.0, 0.0)
            for a in 0..<n {
                for b in 0..<n {
                    fit += alpha[a] * part[a, b] * alpha[b]
                    trace += inverse[a, b] * part[b, a]
                }
            }
            q.append(fit)
            g.append(trace)
        }
        return (value, q, g)
    }

    @Test func componentsFollowTheirFormula() throws {
        let grid = try SpectralGrid(frequencies: Tensor([0.1, 0.3, 0.25, 0.05], shape: [2, 2]), bandwidth: 0.02)
        let (a, b) = (Tensor<Double>([1, 2], shape: [1, 2]), Tensor<Double>([3.5, -1], shape: [1, 2]))
        let pi = 3.141592653589793
        func component(_ mu: [Double]) -> Double {
            exponential(-2 * pi * pi * 0.0004 * (6.25 + 9)) * cosine(2 * pi * mu[0] * -2.5)
                * cosine(2 * pi * mu[1] * 3)
        }
        let expected = 0.7 * component([0.1, 0.3]) + 2 * component([0.25, 0.05])
        #expect(abs(grid.matrix(a, b, weights: [0.7, 2])[0, 0] - expected) < 1e-14)
        let line = try SpectralGrid(count: 5)
        #expect(largestDifference(line.frequencies.scalars, [0, 0.125, 0.25, 0.375, 0.5]) < 1e-15)
    }

    @Test func factorsReproduceTheirKernel() throws {
        let grid = try SpectralGrid(count: 12, bandwidth: 1e-3)
        let (x, _) = Self.series(60, seed: 1)
        for i in 0..<12 {
            var unit = [Double](repeating: 0, count: 12)
            unit[i] = 1
            let kernel = grid.matrix(x, x, weights: unit)
            let columns = grid.factor(i, x)
            #expect(columns.count <= 14, "of 60: low rank")
            for a in 0..<60 {
                for b in 0..<60 {
                    let product = columns.reduce(0) { $0 + $1[a] * $1[b] }
                    #expect(abs(product - kernel[a, b]) < 1e-9)
                }
            }
        }
    }

    @Test func likelihoodTermsAgreeWithTheInverse() throws {
        let grid = try SpectralGrid(count: 6, bandwidth: 0.01)
        let (x, y) = Self.series(25, seed: 2)
        let weights = [0.3, 0, 0.5, 0.1, 0.2, 0.05]
        let expected = try Self.direct(grid, x, y, weights, noise: 0.1)
        let likelihood = try KernelLikelihood(grid, x, y, noise: 0.1)
        let found = try likelihood.terms(weights)
        #expect(abs(found.value - expected.value) < 1e-8)
        for i in [0, 2, 3, 4, 5] {
            #expect(abs(found.q[i] - expected.q[i]) < 1e-7 && abs(found.g[i] - expected.g[i]) < 1e-7)
            // The gradient g - q, by differences.
            var (above, below) = (weights, weights)
            above[i] += 1e-5
            below[i] -= 1e-5
            let slope = try (likelihood.terms(above).value - likelihood.terms(below).value) / 2e-5
            #expect(abs(slope - (found.g[i] - found.q[i])) < 1e-4 * max(1, abs(slope)))
        }
        #expect(found.q[1] == 0 && found.g[1] == 0)
    }

    @Test func learningIsMonotoneSparseAndStationary() throws {
        let grid = try SpectralGrid(count: 60)
        let (x, y) = Self.series(80, seed: 3)
        let found = try SparseKernelLearner(iterations: 300, tolerance: 0).fit(grid, x, y, noise: 0.01)
        for (next, last) in zip(found.objectives.dropFirst(), found.objectives) {
            #expect(next <= last + 1e-7 * abs(last))
        }
        #expect(found.weights.allSatisfy { $0 >= 0 })
        #expect(found.active().count <= 10 && !found.active().isEmpty)
        // Where a weight is large, fit and complexity balance; where it vanished, complexity outweighs.
        let terms = try KernelLikelihood(grid, x, y, noise: 0.01).terms(found.weights)
        for i in found.active(above: 1e-2) { #expect(abs(terms.q[i] / terms.g[i] - 1) < 0.02) }
    }

    @Test func scalarProblems() {
        var random = SeededGenerator(seed: 4)
        for _ in 0..<300 {
            let (a, b) = (exponential(4 * random.normal()), 10 * random.normal())
            let rho = exponential(6 * random.normal())
            let z = ConsensusKernelLearner.minimizer(a: a, b: b, rho: rho)
            let scale = rho * z * z * z + abs(b) * z * z + a
            #expect(z > 0 && abs(rho * z * z * z + b * z * z - a) < 1e-10 * scale)
        }
        #expect(ConsensusKernelLearner.minimizer(a: 0, b: 1, rho: 2) == 0)
        #expect(ConsensusKernelLearner.minimizer(a: 0, b: -1, rho: 2) == 0.5)
    }

    @Test func oneAgentFindsTheCentralOptimum() throws {
        let grid = try SpectralGrid(count: 30)
        let (x, y) = Self.series(60, seed: 5)
        let central = try SparseKernelLearner(iterations: 2000, tolerance: 1e-12).fit(grid, x, y, noise: 0.01)
        let best = central.objectives[central.objectives.count - 1]
        for penalty in [1e-10, 10] {
            let found = try ConsensusKernelLearner(
                rounds: 200, updates: 20, penalty: penalty, balances: penalty < 1, tolerance: 1e-6
            ).fit(grid, [.init(x: x, y: y)], noise: 0.01)
            #expect(abs(found.objective - best) < 2e-3 * abs(best), "\(penalty): \(found.objective), \(best)")
        }
    }

    @Test func agentsAgree() throws {
        let grid = try SpectralGrid(count: 60)
        let (x, y) = Self.series(120, seed: 6)
        let agents = (0..<3).map { j in
            ConsensusKernelLearner.Agent(x: x.rows(40 * j..<40 * j + 40), y: Array(y[40 * j..<40 * j + 40]))
        }
        let found = try ConsensusKernelLearner(rounds: 100, updates: 10).fit(grid, agents, noise: 0.01)
        #expect(found.residuals[found.rounds - 1].primal < 0.1)
        #expect(found.active().count <= 20 && found.messages <= found.rounds * 3 * 60)
        let weight = found.weights.reduce(0, +)
        // Grid places of 0.05 and 0.12 (spacing 0.5 / 59), and two to either side.
        let near = (4...8).reduce(0) { $0 + found.weights[$1] } + (12...16).reduce(0) { $0 + found.weights[$1] }
        #expect(near > 0.7 * weight)
        let rounded = try ConsensusKernelLearner(rounds: 60, updates: 10, resolution: 1e-3, seed: 1).fit(
            grid, agents, noise: 0.01)
        #expect(rounded.objective < found.objective + 0.1 * abs(found.objective))
        #expect(rounded.messages < rounded.rounds * 3 * 60)
    }

    /// Several agents end at a minimum of the sum of their likelihoods: updates of its own majoriser, which has the sums of `q`
    /// and `g`, find little to lower. The multipliers, which vanish for one agent, decide that.
    @Test func consensusIsAMinimumOfTheSum() throws {
        let grid = try SpectralGrid(count: 20)
        let agents = (0..<3).map { j -> ConsensusKernelLearner.Agent in
            let (x, y) = Self.series(40, seed: UInt64(20 + j))
            return .init(x: x, y: y.map { $0 * [0.5, 1, 2][j] })
        }
        let likelihoods = try agents.map { try KernelLikelihood(grid, $0.x, $0.y, noise: 0.05) }
        func lowered(_ start: [Double], _ updates: Int) throws -> Double {
            var (weights, value) = (start, Double.infinity)
            for _ in 0...updates {
                let terms = try likelihoods.map { try $0.terms(weights) }
                value = terms.reduce(0) { $0 + $1.value }
                for i in weights.indices where weights[i] > 0 {
                    weights[i] *= (terms.reduce(0) { $0 + $1.q[i] } / terms.reduce(0) { $0 + $1.g[i] }).squareRoot()
                }
            }
            return value
        }
        for balances in [true, false] {
            let found = try ConsensusKernelLearner(
                rounds: 400, updates: 20, penalty: balances ? 1e-3 : 20, balances: balances, tolerance: 1e-5
            ).fit(grid, agents, noise: 0.05)
            #expect(abs(try lowered(found.weights, 0) - found.objective) < 1e-9 * abs(found.objective))
            // One ρ for weights of all sizes converges slowly: 1.4 % are left after 400 rounds.
            #expect(try lowered(found.weights, 200) > found.objective - 0.02 * abs(found.objective))
            #expect(found.residuals[found.rounds - 1].primal < 0.05 * found.weights.reduce(0, +))
            #expect(balances ? found.penalty > 0.01 : found.penalty == 20)
        }
    }

    @Test func roundingIsUnbiased() {
        var random = SeededGenerator(seed: 7)
        let quantizer = MessageQuantizer(resolution: 0.25)
        for x in [0.3, -1.1, 0.5, 0] {
            var mean = 0.0
            for _ in 0..<40_000 {
                let rounded = quantizer.rounded(x, using: &random)
                #expect((rounded / 0.25).rounded() == rounded / 0.25 && abs(rounded - x) < 0.25)
                mean += rounded / 40_000
            }
            #expect(abs(mean - x) < 4 * 0.125 / 200)
        }
        #expect(MessageQuantizer(resolution: 0).rounded(0.3, using: &random) == 0.3)
    }

    @Test func predictions() throws {
        let grid = try SpectralGrid(count: 8, bandwidth: 0.01)
        let (x, y) = Self.series(30, seed: 8)
        let weights = [0.1, 0.4, 0.2, 0, 0.1, 0, 0.3, 0]
        let model = try SparseKernelModel(grid, weights: weights, x: x.rows(0..<25), y: Array(y[..<25]), noise: 0.05)
        let found = try model.predict(x.rows(25..<30))
        // The textbook formulas with an explicit inverse.
        var c = grid.matrix(x.rows(0..<25), x.rows(0..<25), weights: weights)
        for a in 0..<25 { c[a, a] += 0.05 }
        let inverse = try c.cholesky().inverseFromCholesky()
        let cross = grid.matrix(x.rows(25..<30), x.rows(0..<25), weights: weights)
        let map = cross.multiplied(by: inverse)
        for i in 0..<5 {
            var (mean, variance) = (0.0, weights.reduce(0, +) + 0.05)
            for a in 0..<25 {
                mean += map[i, a] * y[a]
                variance -= map[i, a] * cross[i, a]
            }
            #expect(abs(found.means[i] - mean) < 1e-10 && abs(found.variances[i] - variance) < 1e-10)
        }
        let other = SparseKernelModel.Prediction(means: [1, 1, 1, 1, 1], variances: [1, 1, 1, 1, 1])
        let fused = SparseKernelModel.Prediction.fused([found, other])
        let v = found.variances[2]
        #expect(abs(fused.variances[2] - v / (1 + v)) < 1e-12)
        #expect(abs(fused.means[2] - (found.means[2] + v) / (1 + v)) < 1e-12)
    }

    @Test func noiseOfASmoothSeries() throws {
        var random = SeededGenerator(seed: 9)
        for deviation in [0.05, 0.3] {
            let y = (0..<300).map { sine(0.05 * Double($0)) + deviation * random.normal() }
            let found = try SmootherNoise.variance(of: y).squareRoot()
            #expect(abs(found / deviation - 1) < 0.15)
        }
    }

    @Test func unusableInput() throws {
        #expect(throws: LacunaError.self) { try SpectralGrid(count: 1) }
        #expect(throws: LacunaError.self) { try SpectralGrid(frequencies: Tensor([.nan], shape: [1, 1])) }
        #expect(throws: LacunaError.self) { try SpectralGrid(count: 3, bandwidth: -1) }
        let grid = try SpectralGrid(count: 4)
        let x = Tensor<Double>([1, 2, 3], shape: [3, 1])
        let learner = SparseKernelLearner()
        #expect(throws: LacunaError.self) { try learner.fit(grid, x, [1, 2], noise: 1) }
        #expect(throws: LacunaError.self) { try learner.fit(grid, x, [1, 2, .nan], noise: 1) }
        #expect(throws: LacunaError.self) { try learner.fit(grid, x, [1, 2, 3], noise: 0) }
        #expect(throws: LacunaError.self) { try ConsensusKernelLearner().fit(grid, [], noise: 1) }
        #expect(throws: LacunaError.self) {
            try SparseKernelModel(grid, weights: [1, -1, 0, 0], x: x, y: [1, 2, 3], noise: 1)
        }
        let model = try SparseKernelModel(grid, weights: [1, 0, 0, 0], x: x, y: [1, 2, 3], noise: 1)
        #expect(throws: LacunaError.self) { try model.predict(Tensor([1, 2], shape: [1, 2])) }
        #expect(throws: LacunaError.self) { try model.predict(Tensor([.infinity], shape: [1, 1])) }
        #expect(throws: LacunaError.self) { try SmootherNoise.variance(of: [1, 2, 3]) }
        #expect(throws: LacunaError.self) { try SmootherNoise.variance(of: [1e200, -1e200, 1e200, 3e200, 2]) }
    }

    /// With `log det C` linearised once, many updates solve a convex problem: where weights are left their fit is their complexity, and
    /// elsewhere it is less.
    @Test func linearizedProblemsAreSolved() throws {
        let grid = try SpectralGrid(count: 15, bandwidth: 0.01)
        let (x, y) = Self.series(40, seed: 3)
        let found = try SparseKernelLearner(iterations: 1, pruning: 0, linearizedUpdates: 4000).fit(
            grid, x, y, noise: 0.05)
        // Where learning starts: the targets' variance, shared evenly.
        let mean = y.reduce(0, +) / 40
        let even = y.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 40 / 15
        #expect(found.objectives.count == 1)
        let before = try Self.direct(grid, x, y, [Double](repeating: even, count: 15), noise: 0.05)
        #expect(abs(before.value - found.objectives[0]) < 1e-8 * abs(before.value))
        let after = try Self.direct(grid, x, y, found.weights, noise: 0.05)
        let largest = found.weights.max() ?? 0
        var kept = 0
        for i in 0..<15 {
            #expect(after.q[i] <= before.g[i] * 1.02)
            if found.weights[i] > 1e-3 * largest {
                kept += 1
                #expect(abs(after.q[i] / before.g[i] - 1) < 1e-2, "\(i)")
            }
        }
        #expect(kept >= 2 && kept < 12, "\(kept)")
        // Either way of linearising ends as low.
        let often = try SparseKernelLearner(iterations: 2000, tolerance: 1e-12).fit(grid, x, y, noise: 0.05)
        let seldom = try SparseKernelLearner(iterations: 100, tolerance: 1e-12, linearizedUpdates: 100).fit(
            grid, x, y, noise: 0.05)
        #expect(abs(often.objectives.last! - seldom.objectives.last!) < 1e-3 * abs(often.objectives.last!))
        for (next, last) in zip(seldom.objectives.dropFirst(), seldom.objectives) {
            #expect(next <= last + 1e-9 * abs(last))
        }
    }

    @Test func slopesOfSpectralMixtures() throws {
        let (_, y) = Self.series(25, seed: 5)
        let model = SpectralMixture(
            weights: [0.7, 0.3], frequencies: [0.06, 0.2], bandwidths: [0.01, 0.03], noise: 0.1, objective: .nan)
        let found = try model.evaluate(y)
        let h = 1e-5
        func value(_ change: (inout SpectralMixture, Double) -> Void) throws -> Double {
            var (up, down) = (model, model)
            change(&up, h)
            change(&down, -h)
            return try (up.evaluate(y).value - down.evaluate(y).value) / (2 * h)
        }
        for i in 0..<2 {
            let (w, v) = (found.weights[i], found.bandwidths[i])
            #expect(abs(try value { $0.weights[i] *= exponential($1) } - w) < 1e-5 * max(1, abs(w)))
            #expect(abs(try value { $0.bandwidths[i] *= exponential($1) } - v) < 1e-5 * max(1, abs(v)))
            let mu = found.frequencies[i]
            #expect(abs(try value { $0.frequencies[i] += $1 } - mu) < 1e-4 * max(1, abs(mu)))
        }
        // The covariance is that of a grid of the same components.
        let grid = try SpectralGrid(frequencies: Tensor([0.06], shape: [1, 1]), bandwidth: 0.01)
        let one = SpectralMixture(
            weights: [0.7], frequencies: [0.06], bandwidths: [0.01], noise: 0.1, objective: .nan)
        let x = Tensor((0..<30).map { Double($0) }, shape: [30, 1])
        let rows = grid.matrix(x, x, weights: [0.7])
        for lag in 0..<25 { #expect(abs(rows[0, lag] - one.covariance(Double(lag))) < 1e-14) }
        let expected = try SparseKernelModel(grid, weights: [0.7], x: x.rows(0..<25), y: y, noise: 0.1).predict(
            x.rows(25..<30))
        let predicted = try one.predict(after: y, steps: 5)
        #expect(largestDifference(predicted.means, expected.means) < 1e-10)
        #expect(largestDifference(predicted.variances, expected.variances) < 1e-10)
    }

    @Test func spectralMixturesFindFrequencies() throws {
        let (_, y) = Self.series(110, seed: 6)
        let learner = SpectralMixtureLearner(components: 3, restarts: 3, iterations: 100)
        let model = try learner.fit(Array(y[..<100]), noise: 0.01)
        #expect(model == (try learner.fit(Array(y[..<100]), noise: 0.01)), "seeded")
        let strongest = model.weights.indices.max { model.weights[$0] < model.weights[$1] }!
        #expect(abs(model.frequencies[strongest] - 0.05) < 0.01 || abs(model.frequencies[strongest] - 0.12) < 0.01)
        let predicted = try model.predict(after: Array(y[..<100]), steps: 10)
        let error = zip(predicted.means, y[100...]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / 10
        #expect(error.squareRoot() < 0.4, "\(error.squareRoot())")
        #expect(throws: LacunaError.self) { try learner.fit([1, 2, .nan, 4], noise: 1) }
        #expect(throws: LacunaError.self) { try learner.fit([0, 0, 0, 0], noise: 1) }
        #expect(throws: LacunaError.self) { try learner.fit([1, 2, 3, 4], noise: 0) }
        #expect(throws: LacunaError.self) { try model.predict(after: [], steps: 1) }
        let impatient = SpectralMixtureLearner(restarts: 1, progress: Impatience(after: 1))
        #expect(throws: LacunaError.self) { try impatient.fit(Array(y[..<100]), noise: 0.01) }
    }

    /// The highest frequency is that of signs that alternate: beginnings around it are no higher.
    @Test func mixturesBeginAtFrequenciesThatThereAre() throws {
        let y = (0..<8).map { $0 % 2 == 0 ? 1.0 : -1 }
        for seed in 0..<5 as Range<UInt64> {
            let model = try SpectralMixtureLearner(restarts: 1, iterations: 1, seed: seed).fit(y, noise: 0.1)
            #expect(model.frequencies.allSatisfy { $0 <= 0.5 })
        }
    }
}
