import LacunaTensor
import Testing

@testable import LacunaRegress

/// What one row can do to a release, tried out: extreme rows, neighbouring tables, the amount of noise.
@Suite struct PrivacyAuditTests {
    private static let columns = 3
    private static let (featureBound, targetBound) = (1.5, 4.0)

    private func local(_ covariance: Tensor<Double>? = nil) throws -> LocalSparseRegression {
        try LocalSparseRegression(
            columns: Self.columns, budget: PrivacyBudget(epsilon: 1, delta: 1e-5), featureBound: Self.featureBound,
            targetBound: Self.targetBound, publicCovariance: covariance)
    }

    private func rows(_ first: [Double], _ count: Int = 20) -> DenseDesign {
        var generator = SeededGenerator(seed: 8)
        var matrix = (0..<count * Self.columns).map { _ in generator.normal() }
        for j in 0..<Self.columns { matrix[j * count] = first[j] }
        return DenseDesign(columnMajor: matrix, rows: count)
    }

    /// A row beyond the bounds counts as one at the bounds, whatever its numbers.
    @Test func rowsAreClipped() throws {
        let t = Self.featureBound
        let target = (0..<20).map { $0 == 0 ? Self.targetBound : Double($0 % 5) - 2 }
        var wild = target
        wild[0] = 1e9
        let model = try local()
        func aggregate(_ first: [Double], _ target: [Double]) throws -> LocalSparseRegression.Aggregate {
            var generator = SeededGenerator(seed: 3)
            return try model.aggregate(rows(first), target, using: &generator)
        }
        #expect(try aggregate([1e9, -1e12, t], wild) == aggregate([t, -t, t], target))
        var (a, b) = (SeededGenerator(seed: 1), SeededGenerator(seed: 1))
        #expect(
            model.message([1e9, -7, 0.3], -1e9, using: &a) == model.message([t, -t, 0.3], -Self.targetBound, using: &b))
        let subset = try PrivateSubsetRegression(
            epsilon: 1, size: 2, featureBound: t, targetBound: Self.targetBound, radius: 2)
        (a, b) = (SeededGenerator(seed: 2), SeededGenerator(seed: 2))
        #expect(
            try subset.fit(rows([1e9, -1e12, t]), wild, using: &a)
                == subset.fit(rows([t, -t, t]), target, using: &b))
    }

    /// The same in rounds, where gradients are long enough to be told apart.
    @Test func rowsOfRoundsAreClipped() throws {
        let (t, y) = (Self.featureBound, Self.targetBound)
        let model = try LocalHardThresholding(
            epsilon: 1, sparsity: 1, featureBound: t, targetBound: y, gradientBound: 100)
        let randomizer = try model.randomizer(columns: 3)
        let theta = [0.4, 0, -0.3]
        func answers(_ features: [Double], _ target: Double) -> [[Double]] {
            var generator = SeededGenerator(seed: 6)
            return (0..<200).map { _ in model.answer(features, target, at: theta, by: randomizer, using: &generator) }
        }
        #expect(answers([1e9, -1e12, 0.3], -1) == answers([t, -t, 0.3], -1))
        #expect(answers([0.5, -0.2, 0.3], -1e9) == answers([0.5, -0.2, 0.3], -y))
        // And no more than clipped.
        #expect(answers([0.5, -0.2, 0.3], 1) != answers([0.5, -0.2, 0.3], y))
        #expect(answers([0.5, -0.2, 0.3], 1) != answers([t, -0.2, 0.3], 1))
    }

    /// Tables that differ in one row differ by no more than the noise is made for; the worst pair by exactly that much.
    @Test func sensitivitiesAreReached() throws {
        let model = try local(Tensor([1, 0, 0, 0, 1, 0, 0, 0, 1], shape: [3, 3]))
        let t = Self.featureBound
        let target = [Double](repeating: 0.5, count: 20)
        var largest = 0.0
        for (x, y) in [([t, t, t], 1e9), ([t, t, t], -1e9), ([-t, t, -t], Self.targetBound), ([0, 0, 0], 3)] {
            for (other, z) in [([t, t, t], -1e9), ([t, t, t], 1e9), ([t, -t, t], Self.targetBound)] {
                var (a, b) = (SeededGenerator(seed: 5), SeededGenerator(seed: 5))
                var (first, second) = (target, target)
                (first[0], second[0]) = (y, z)
                let one = try model.aggregate(rows(x), first, using: &a)
                let two = try model.aggregate(rows(other), second, using: &b)
                let distance = zip(one.correlation, two.correlation).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
                largest = max(largest, distance.squareRoot())
            }
        }
        let bound = 2 * Double(Self.columns).squareRoot() * t * Self.targetBound
        #expect(largest <= bound * 1.001 && largest >= bound * 0.999, "\(largest) of \(bound)")
        let noise = try GaussianMechanism(sensitivity: bound, budget: PrivacyBudget(epsilon: 1, delta: 1e-5))
        #expect(abs(model.correlationNoise - noise.standardDeviation) < 1e-9)
        // The loss of the worst row, with coefficients at the end of their ball, is the sensitivity of a support.
        for size in [1, 2, 3] {
            let subset = try PrivateSubsetRegression(
                epsilon: 1, size: size, featureBound: t, targetBound: Self.targetBound, radius: 2)
            let task = HuberBallTask(
                huberThreshold: subset.huberThreshold, radius: 2, targets: [-Self.targetBound])
            let beta = [Double](repeating: 2 / Double(size).squareRoot(), count: size)
            let worst = task.loss([Double](repeating: t, count: size), beta)
            #expect(abs(worst - subset.sensitivity) < 1e-9 * worst, "\(size): \(worst) of \(subset.sensitivity)")
        }
    }

    /// The sum over users has the noise of all of them.
    @Test func noiseOfEveryUser() throws {
        let users = 50
        let zeros = DenseDesign(columnMajor: [Double](repeating: 0, count: users * Self.columns), rows: users)
        let target = [Double](repeating: 0, count: users)
        let model = try local()
        var generator = SeededGenerator(seed: 11)
        var (covariance, correlation, count) = (0.0, 0.0, 0.0)
        for _ in 0..<300 {
            let sums = try model.aggregate(zeros, target, using: &generator)
            covariance += sums.covariance.reduce(0) { $0 + $1 * $1 } / Double(sums.covariance.count)
            correlation += sums.correlation.reduce(0) { $0 + $1 * $1 } / Double(sums.correlation.count)
            count += 1
        }
        let n = Double(users)
        #expect(abs(covariance / count / (n * model.covarianceNoise * model.covarianceNoise) - 1) < 0.2)
        #expect(abs(correlation / count / (n * model.correlationNoise * model.correlationNoise) - 1) < 0.25)
        // One message has the noise of one.
        var one = 0.0
        for _ in 0..<600 {
            let message = model.message([0, 0, 0], 0, using: &generator)
            one += message.correlation.reduce(0) { $0 + $1 * $1 } / 3
        }
        #expect(abs(one / 600 / (model.correlationNoise * model.correlationNoise) - 1) < 0.25)
    }

    /// An attack that tells two neighbouring tables apart by the best threshold is right no more often than ε and δ allow.
    @Test func distinguishingAttack() throws {
        let (epsilon, delta) = (0.8, 1e-3)
        let model = try LocalSparseRegression(
            columns: 1, budget: PrivacyBudget(epsilon: epsilon, delta: delta), featureBound: 1, targetBound: 1,
            publicCovariance: Tensor([1], shape: [1, 1]))
        let draws = 4000
        func releases(_ x: Double, _ y: Double, _ seed: UInt64) -> [Double] {
            var generator = SeededGenerator(seed: seed)
            return (0..<draws).map { _ in model.message([x], y, using: &generator).correlation[0] }.sorted()
        }
        let (one, two) = (releases(1, 100, 1), releases(1, -100, 2))
        var strongest = 0.0
        for threshold in stride(from: -6.0, through: 6, by: 0.25) {
            let p = Double(one.count { $0 > threshold }) / Double(draws)
            let q = Double(two.count { $0 > threshold }) / Double(draws)
            let error = 4 * (max(p, q) * (1 - min(p, q)) / Double(draws)).squareRoot()
            #expect(p <= exponential(epsilon) * q + delta + error)
            #expect(1 - q <= exponential(epsilon) * (1 - p) + delta + error)
            strongest = max(strongest, p - q)
        }
        #expect(strongest > 0.1, "noise in excess would tell nothing at all")
    }

    /// Low bits of a release are those of a grid that no row decides.
    @Test func releasesLieOnAGrid() throws {
        let mechanism = try GaussianMechanism(sensitivity: 3, budget: PrivacyBudget(epsilon: 1, delta: 1e-5))
        var generator = SeededGenerator(seed: 4)
        var values = [0.1, 1e-9, 123.456, -7]
        mechanism.privatize(&values, using: &generator)
        let grid = mechanism.grid
        #expect(grid > 0 && grid <= mechanism.standardDeviation / 32768 && grid > mechanism.standardDeviation / 262_144)
        #expect(grid.significand == 1, "a power of two")
        for value in values { #expect((value / grid).rounded() == value / grid) }
        let sums = try local().aggregate(rows([1, 1, 1]), [Double](repeating: 1, count: 20), using: &generator)
        for value in sums.correlation {
            let unit = mechanism.grid(standardDeviation: try local().correlationNoise * 20.0.squareRoot())
            #expect((value / unit).rounded() == value / unit)
        }
        // A quantile is one of a fixed set of numbers, too.
        let quantile = try PrivateQuantile(range: -1...1, resolution: 0.01, epsilon: 1)
        for _ in 0..<50 {
            let t = try quantile([0.1, 0.123456789, -0.4, 0.9], using: &generator)
            #expect((t / quantile.grid).rounded() == t / quantile.grid && (-1...1).contains(t))
        }
    }
}
