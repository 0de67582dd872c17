import LacunaTensor
import Testing

@testable import LacunaStructure

@Suite struct BanditTests {
    private static func unit(_ count: Int, _ random: inout SeededGenerator) -> [Double] {
        let v = (0..<count).map { _ in random.normal() }
        let norm = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return v.map { $0 / norm }
    }

    @Test(arguments: [(1, 0.5), (2, 0.3), (3, 0.2), (4, 0.5)])
    func netsCoverTheSphere(dimensions: Int, resolution: Double) {
        let net = SparseNetSearch.sphere(dimensions: dimensions, resolution: resolution)
        for point in net { #expect(abs(point.reduce(0) { $0 + $1 * $1 } - 1) < 1e-12) }
        var random = SeededGenerator(seed: UInt64(dimensions))
        for _ in 0..<2000 {
            let u = Self.unit(dimensions, &random)
            var nearest = Double.infinity
            for point in net {
                var square = 0.0
                for k in 0..<dimensions { square += (point[k] - u[k]) * (point[k] - u[k]) }
                nearest = min(nearest, square)
            }
            #expect(nearest.squareRoot() <= resolution + 1e-12)
        }
    }

    @Test func subsets() {
        #expect(SparseNetSearch.subsets(of: 4, size: 2) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
        #expect(SparseNetSearch.subsets(of: 7, size: 3).count == 35)
        #expect(SparseNetSearch.subsets(of: 3, size: 3) == [[0, 1, 2]])
    }

    /// Random sparse parameters, random errors of the full size: the theorem's bound, whatever they are.
    @Test(arguments: [1, 2, 3]) func neverFartherThanFourTimesTheError(sparsity: Int) throws {
        for trial in 0..<8 {
            var random = SeededGenerator(seed: UInt64(100 * sparsity + trial))
            let (d, actions, error) = (8, 300, 0.15)
            var features = Tensor<Double>(zeros: [actions, d])
            for a in 0..<actions {
                for (j, x) in Self.unit(d, &random).enumerated() { features[a, j] = x }
            }
            var theta = [Double](repeating: 0, count: d)
            let direction = Self.unit(sparsity, &random)
            for (k, j) in (0..<d).shuffled(using: &random).prefix(sparsity).enumerated() { theta[j] = direction[k] }
            let linear = features.multiplied(by: Tensor(theta, shape: [d, 1])).scalars
            // The worst error: it lifts bad actions and sinks good ones.
            let rewards = linear.map { $0 + ($0 > 0.4 ? -error : error) }
            let bandit = try LinearBandit(features: features, rewards: rewards)
            let found = try SparseNetSearch(sparsity: sparsity, resolution: error).decide(bandit, using: &random)
            #expect(bandit.gap(found.action) <= 4 * error)
            #expect((linear.max() ?? 0) - linear[found.action] <= 4 * error)
            #expect(found.queries == found.candidates && found.candidates <= actions)
            let quick = try SparseNetSearch(
                sparsity: sparsity, resolution: error, support: .pursuit(queries: 200)
            ).decide(bandit, using: &random)
            // Here pursuit sees through the errors, and what holds for all supports holds for the right one.
            #expect(quick.candidates <= found.candidates && bandit.gap(quick.action) <= 4 * error)
        }
    }

    @Test func withoutErrorTheBestIsFound() throws {
        var random = SeededGenerator(seed: 5)
        let (d, actions) = (5, 200)
        var features = Tensor<Double>(zeros: [actions, d])
        for a in 0..<actions { for (j, x) in Self.unit(d, &random).enumerated() { features[a, j] = x } }
        // The net of one dimension is {-1, 1}: exact for a parameter with one entry.
        for (place, sign) in [(3, 1.0), (0, -1.0)] {
            let rewards = (0..<actions).map { sign * 0.7 * features[$0, place] }
            let bandit = try LinearBandit(features: features, rewards: rewards)
            #expect(
                bandit.gap(try SparseNetSearch(sparsity: 1, resolution: 0.1).decide(bandit, using: &random).action)
                    == 0)
            let pursued = try SparseNetSearch(sparsity: 1, resolution: 0.1, support: .pursuit(queries: 50))
                .decide(bandit, using: &random)
            #expect(bandit.gap(pursued.action) == 0 && pursued.queries == 52)
            #expect(
                bandit.gap(try LeastSquaresBandit(queries: 60).decide(bandit, using: &random).action) < 1e-6)
        }
    }

    /// One action in a hundred shows what the second feature is worth, in whatever unit.
    @Test(arguments: [1e-8, 1, 1e8]) func unitsOfFeaturesDoNotMatter(unit: Double) throws {
        var random = SeededGenerator(seed: 7)
        var features = Tensor<Double>(zeros: [100, 2])
        for a in 0..<100 { features[a, a == 41 ? 1 : 0] = unit }
        let bandit = try LinearBandit(features: features, rewards: (0..<100).map { $0 == 41 ? 2 : 1 })
        #expect(try LeastSquaresBandit(queries: 100).decide(bandit, using: &random).action == 41)
    }

    @Test func noiseIsAveragedAway() throws {
        var random = SeededGenerator(seed: 6)
        let features = Tensor<Double>([1, 0, 0, 1, -1, 0, 0, -1], shape: [4, 2])
        let bandit = try LinearBandit(features: features, rewards: [0.6, 0, -0.6, 0], noise: 0.5)
        let search = SparseNetSearch(sparsity: 1, resolution: 0.2, failure: 0.01)
        let found = try search.decide(bandit, using: &random)
        #expect(found.action == 0)
        // 2 σ² log(2 · 4 / 0.01) / ε² = 83.6 answers for each of four candidates.
        #expect(found.candidates == 4 && found.queries == 4 * 84)
    }

    @Test func unusableInput() throws {
        var random = SeededGenerator(seed: 1)
        let features = Tensor<Double>([1, 0, 0, 1], shape: [2, 2])
        #expect(throws: LacunaError.self) { try LinearBandit(features: features, rewards: [1]) }
        #expect(throws: LacunaError.self) { try LinearBandit(features: features, rewards: [1, .nan]) }
        #expect(throws: LacunaError.self) { try LinearBandit(features: features, rewards: [1, 2], noise: -1) }
        let bandit = try LinearBandit(features: features, rewards: [1, 2])
        #expect(throws: LacunaError.self) {
            try SparseNetSearch(sparsity: 3, resolution: 0.1).decide(bandit, using: &random)
        }
        for noise in [1e6, 1e200] {
            let hopeless = try LinearBandit(features: features, rewards: [1, 2], noise: noise)
            #expect(throws: LacunaError.self) {
                try SparseNetSearch(sparsity: 1, resolution: 1e-3).decide(hopeless, using: &random)
            }
        }
        let wide = try LinearBandit(features: Tensor(zeros: [2, 400]), rewards: [1, 2])
        #expect(throws: LacunaError.self) {
            try SparseNetSearch(sparsity: 4, resolution: 0.1).decide(wide, using: &random)
        }
    }
}
