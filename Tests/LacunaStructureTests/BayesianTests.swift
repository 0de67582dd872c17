import LacunaTensor
import Testing

@testable import LacunaStructure

@Suite struct BayesianTests {
    private static func factors(_ shapes: [(Int, Int)], seed: UInt64) throws -> KroneckerProduct {
        var random = SeededGenerator(seed: seed)
        return try KroneckerProduct(shapes.map { Tensor<Double>(normal: [$0.0, $0.1], using: &random) })
    }

    @Test func kroneckerProductsEqualTheWholeMatrix() throws {
        let product = try Self.factors([(2, 3), (4, 2), (3, 5)], seed: 1)
        let whole = product.dense()
        #expect(whole.shape == [24, 30] && product.rows == 24 && product.columns == 30)
        // Entry (i, j) is the product of the factors' entries, the first factor slowest.
        let (f, place) = (product.factors, (row: (1 * 4 + 2) * 3 + 1, column: (2 * 2 + 1) * 5 + 3))
        #expect(abs(whole[place.row, place.column] - f[0][1, 2] * f[1][2, 1] * f[2][1, 3]) < 1e-14)
        var random = SeededGenerator(seed: 2)
        for transposed in [false, true] {
            let x = (0..<(transposed ? 24 : 30)).map { _ in random.normal() }
            let expected = whole.multiplied(by: Tensor(x, shape: [x.count, 1]), transposed: transposed).scalars
            #expect(largestDifference(product.multiplied(x, transposed: transposed), expected) < 1e-12)
        }
        let parts: [[Double]] = [[1, 2], [3, 5, 7]]
        #expect(KroneckerProduct.vector(parts) == [3, 5, 7, 6, 10, 14])
    }

    @Test func posteriorsAgreeWithTheExplicitInverse() throws {
        var random = SeededGenerator(seed: 3)
        let product = try Self.factors([(3, 4), (2, 3), (3, 2)], seed: 4)
        let gamma = [4, 3, 2].map { n in (0..<n).map { _ in 0.1 + random.uniform() } }
        let (all, s2) = (KroneckerProduct.vector(gamma), 0.03)
        let y = (0..<18).map { _ in random.normal() }
        let a = product.dense()
        // Σ = (A'A / s² + Γ⁻¹)⁻¹, the textbook form, which none of the three implementations uses.
        var precision = a.multiplied(by: a, transposed: true)
        precision.withMutablePointer { p in
            for i in 0..<24 {
                for j in 0..<24 { p[i * 24 + j] /= s2 }
                p[i * 24 + i] += 1 / all[i]
            }
        }
        let sigma = try precision.cholesky().inverseFromCholesky()
        let mean = sigma.multiplied(
            by: a.multiplied(by: Tensor(y.map { $0 / s2 }, shape: [18, 1]), transposed: true)
        ).scalars
        let diagonal = (0..<24).map { sigma[$0, $0] }
        var covariance = a
        covariance.withMutablePointer { p in for i in 0..<18 { for j in 0..<24 { p[i * 24 + j] *= all[j] } } }
        covariance = covariance.multiplied(by: a, otherTransposed: true)
        covariance.withMutablePointer { for i in 0..<18 { $0[i * 18 + i] += s2 } }
        let factor = try covariance.cholesky()
        let inner = factor.solveTriangular(Tensor(y, shape: [18, 1])).scalars
        let objective =
            (0..<18).reduce(0) { $0 + 2 * logarithm(factor[$1, $1]) } + inner.reduce(0) { $0 + $1 * $1 }

        let structured = try KroneckerSparseBayesianLearning.Posterior(product, gamma, s2, y)
        #expect(largestDifference(structured.mean, mean) < 1e-10)
        #expect(largestDifference(structured.variances, diagonal) < 1e-10)
        #expect(abs(structured.objective - objective) < 1e-9)
        let wide = try SparseBayesianLearning.Posterior(a, all, s2, y)  // m < n: covariance form
        #expect(largestDifference(wide.mean, mean) < 1e-10 && largestDifference(wide.variances, diagonal) < 1e-10)
        #expect(abs(wide.objective - objective) < 1e-9 && abs(wide.degrees - structured.degrees) < 1e-9)
        #expect(abs(wide.residual - structured.residual(product, y)) < 1e-10)

        // The precision form, where rows outnumber columns, against the covariance form of the same numbers.
        let tall = Tensor<Double>(normal: [9, 4], using: &random)
        let z = Array(y[..<9])
        let narrow = try SparseBayesianLearning.Posterior(tall, gamma[0], s2, z)
        let same = try KroneckerSparseBayesianLearning.Posterior(try KroneckerProduct([tall]), [gamma[0]], s2, z)
        #expect(largestDifference(narrow.mean, same.mean) < 1e-10)
        #expect(largestDifference(narrow.variances, same.variances) < 1e-10)
        #expect(abs(narrow.objective - same.objective) < 1e-8 && abs(narrow.degrees - same.degrees) < 1e-9)
    }

    @Test(arguments: KroneckerSparseBayesianLearning.Update.allCases)
    func oneFactorIsClassicalLearning(update: KroneckerSparseBayesianLearning.Update) throws {
        var random = SeededGenerator(seed: 5)
        let a = Tensor<Double>(normal: [10, 16], using: &random)
        let y = (0..<10).map { _ in random.normal() }
        let classical = try SparseBayesianLearning(noise: .known(0.01), iterations: 25, tolerance: 0).fit(a, y)
        // With scalars for the other factors, alternating scales as 1 and singular vectors of one row are exact.
        let one = Tensor<Double>(repeating: 1, shape: [1, 1])
        for structure in [[a], [one, a], [a, one], [one, a, one]] {
            let found = try KroneckerSparseBayesianLearning(
                update: update, noise: .known(0.01), iterations: 25, tolerance: 0, pruning: 1e-3
            ).fit(try KroneckerProduct(structure), y)
            #expect(largestDifference(found.mean, classical.mean) < 1e-8)
            #expect(largestDifference(KroneckerProduct.vector(found.variances), classical.variances) < 1e-8)
            #expect(largestDifference(found.objectives, classical.objectives) < 1e-7)
        }
    }

    private static func signal(
        _ sizes: [Int], _ rows: [Int], nonzeros: Int, ratio: Double, seed: UInt64
    ) throws -> (a: KroneckerProduct, x: [Double], y: [Double], noise: Double) {
        var random = SeededGenerator(seed: seed)
        let a = try KroneckerProduct(zip(rows, sizes).map { Tensor<Double>(normal: [$0, $1], using: &random) })
        let parts = sizes.map { n -> [Double] in
            var x = [Double](repeating: 0, count: n)
            for j in (0..<n).shuffled(using: &random).prefix(nonzeros) { x[j] = 1 + random.uniform() }
            return x
        }
        let x = KroneckerProduct.vector(parts)
        var y = a.multiplied(x)
        let noise = y.reduce(0) { $0 + $1 * $1 } / Double(y.count) * power(10, -ratio / 10)
        for i in y.indices { y[i] += noise.squareRoot() * random.normal() }
        return (a, x, y, noise)
    }

    @Test func objectivesNeverRise() throws {
        let bed = try Self.signal([5, 4, 4], [4, 3, 3], nonzeros: 2, ratio: 15, seed: 6)
        let classical = try SparseBayesianLearning(noise: .known(bed.noise), iterations: 60, tolerance: 0, pruning: 0)
            .fit(bed.a.dense(), bed.y)
        let alternating = try KroneckerSparseBayesianLearning(
            update: .alternating, noise: .known(bed.noise), iterations: 60, tolerance: 0, pruning: 0
        ).fit(bed.a, bed.y)
        for objectives in [classical.objectives, alternating.objectives] {
            #expect(objectives.count == 60)
            for (next, last) in zip(objectives.dropFirst(), objectives) { #expect(next <= last + 1e-9 * abs(last)) }
            #expect(objectives[59] < objectives[0] - 10)
        }
    }

    @Test func maximisationSteps() throws {
        // A Kronecker product is its own best approximation, by either update.
        let truth: [[Double]] = [[1, 2, 0.5], [0.3, 4], [2, 1, 0.1, 7]]
        let moments = KroneckerProduct.vector(truth)
        let learner = KroneckerSparseBayesianLearning(update: .alternating, noise: .known(1))
        for found in [
            learner.alternate(moments, from: [[1, 1, 1], [1, 1], [1, 1, 1, 1]]),
            try KroneckerSparseBayesianLearning.rankOne(moments, [3, 2, 4]),
        ] {
            #expect(largestDifference(KroneckerProduct.vector(found), moments) < 1e-9)
            for factor in found.dropLast() { #expect(abs(factor.reduce(0) { $0 + $1 * $1 } - 1) < 1e-12) }
        }
        // Alternating ends where no factor can be bettered: Σ log γ + Λ / γ grows in every direction.
        var random = SeededGenerator(seed: 7)
        let lambda = (0..<12).map { _ in 0.1 + random.uniform() }
        let found = learner.alternate(lambda, from: [[1, 1, 1], [1, 1, 1, 1]])
        func cost(_ gamma: [[Double]]) -> Double {
            zip(KroneckerProduct.vector(gamma), lambda).reduce(0) { $0 + logarithm($1.0) + $1.1 / $1.0 }
        }
        for i in 0..<2 {
            for j in found[i].indices {
                for factor in [0.99, 1.01] {
                    var other = found
                    other[i][j] *= factor
                    #expect(cost(other) > cost(found))
                }
            }
        }
    }

    @Test func recoversAProductSupport() throws {
        let bed = try Self.signal([8, 8, 8], [6, 6, 6], nonzeros: 2, ratio: 30, seed: 8)
        let support = Set(bed.x.indices.filter { bed.x[$0] != 0 })
        func error(_ x: [Double]) -> Double {
            zip(x, bed.x).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / bed.x.reduce(0) { $0 + $1 * $1 }
        }
        for update in KroneckerSparseBayesianLearning.Update.allCases {
            let found = try KroneckerSparseBayesianLearning(update: update, noise: .known(bed.noise)).fit(bed.a, bed.y)
            #expect(error(found.mean) < 5e-3, "\(update)")
            let largest = found.mean.reduce(0) { max($0, abs($1)) }
            #expect(support.isSubset(of: found.mean.indices.filter { abs(found.mean[$0]) > 0.1 * largest }))
        }
        let learnt = try KroneckerSparseBayesianLearning(noise: .estimated(from: 1)).fit(bed.a, bed.y)
        #expect(error(learnt.mean) < 5e-3)
        #expect(abs(logarithm(learnt.noise / bed.noise)) < logarithm(2))
        let greedy = try KroneckerMatchingPursuit(counts: [2, 2, 2]).fit(bed.a, bed.y)
        #expect(Set(greedy.coefficients.indices.filter { greedy.coefficients[$0] != 0 }).count == 8)
    }

    /// What is left, and the part of the old variance that the coefficients' own spread explains, a row.
    @Test func noiseIsReestimated() {
        typealias Noise = SparseBayesianLearning.Noise
        #expect(Noise.estimated(from: 9).updated(0.5, residual: 3, degrees: 4, rows: 10) == 0.5)
        #expect(Noise.known(9).updated(9, residual: 3, degrees: 4, rows: 10) == 9)
    }

    @Test func matchingPursuits() throws {
        var random = SeededGenerator(seed: 9)
        let a = Tensor<Double>(normal: [30, 60], using: &random)
        var x = [Double](repeating: 0, count: 60)
        (x[4], x[17], x[50]) = (2, -3, 1.5)
        let y = a.multiplied(by: Tensor(x, shape: [60, 1])).scalars
        let found = try OrthogonalMatchingPursuit(count: 3).fit(a, y)
        #expect(Set(found.support) == [4, 17, 50] && largestDifference(found.coefficients, x) < 1e-10)
        #expect(found.residual < 1e-10)
        #expect(try OrthogonalMatchingPursuit(count: 9, residual: 1e-6).fit(a, y).support.count == 3)
        // Numbers are taken from the largest, until what is left is as small as was asked for.
        let axes = Tensor<Double>([1, 0, 0, 0, 1, 0, 0, 0, 1], shape: [3, 3])
        for (residual, count) in [(0.1, 3), (0.5, 2), (1, 2), (2.1, 1), (4, 0)] {
            let found = try OrthogonalMatchingPursuit(count: 3, residual: residual).fit(axes, [2, 0.5, 3])
            #expect(found.support == Array([2, 0, 1].prefix(count)), "\(residual)")
        }
        // On any support the fit is that of least squares: residuals are orthogonal to what was taken.
        let noisy = y.map { $0 + random.normal() }
        let part = try OrthogonalMatchingPursuit(count: 7).fit(a, noisy)
        let fitted = a.multiplied(by: Tensor(part.coefficients, shape: [60, 1])).scalars
        let rest = zip(noisy, fitted).map { $0 - $1 }
        let correlations = a.multiplied(by: Tensor(rest, shape: [30, 1]), transposed: true).scalars
        for j in part.support { #expect(abs(correlations[j]) < 1e-10) }
        #expect(abs(rest.reduce(0) { $0 + $1 * $1 }.squareRoot() - part.residual) < 1e-10)
        // Twice the same column is taken once.
        let twin = Tensor<Double>([1, 1, 0, 2, 2, 0, 0, 0, 1], shape: [3, 3])
        #expect(try OrthogonalMatchingPursuit(count: 3).fit(twin, [1, 2, 5]).support.sorted() == [0, 2])

        // Enough rows for columns to be nearly orthogonal, without which a greedy choice may be wrong.
        let product = try Self.factors([(25, 7), (20, 6)], seed: 10)
        let parts: [[Double]] = [[0, 0, 1, 0, -2, 0, 0], [0, 3, 0, 0, 0, 1]]
        let truth = KroneckerProduct.vector(parts)
        let structured = try KroneckerMatchingPursuit(counts: [2, 2], residual: 1e-9).fit(
            product, product.multiplied(truth))
        #expect(structured.supports == [[2, 4], [1, 5]])
        #expect(largestDifference(structured.coefficients, truth) < 1e-9)
    }

    @Test func unusableInput() throws {
        #expect(throws: LacunaError.self) { try KroneckerProduct([]) }
        #expect(throws: LacunaError.self) { try KroneckerProduct([Tensor([.nan], shape: [1, 1])]) }
        let a = try Self.factors([(3, 4)], seed: 1)
        let learner = KroneckerSparseBayesianLearning(noise: .known(1))
        #expect(throws: LacunaError.self) { try learner.fit(a, [1, 2]) }
        #expect(throws: LacunaError.self) { try learner.fit(a, [1, 2, .infinity]) }
        #expect(throws: LacunaError.self) {
            try KroneckerSparseBayesianLearning(noise: .known(0)).fit(a, [1, 2, 3])
        }
        #expect(throws: LacunaError.self) { try SparseBayesianLearning(noise: .known(1)).fit(a.dense(), [1]) }
        #expect(throws: LacunaError.self) { try OrthogonalMatchingPursuit(count: 2).fit(a.dense(), [1]) }
        #expect(throws: LacunaError.self) { try KroneckerMatchingPursuit(counts: [1, 1]).fit(a, [1, 2, 3]) }
    }
}
