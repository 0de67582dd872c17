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

        let structured = try product.posterior(gamma, s2, y)
        #expect(largestDifference(structured.mean, mean) < 1e-10)
        #expect(largestDifference(structured.variances, diagonal) < 1e-10)
        #expect(abs(structured.objective - objective) < 1e-9)
        let wide = try SparseBayesianLearning.Posterior(a, all, s2, y)  // m < n: covariance form
        #expect(largestDifference(wide.mean, mean) < 1e-10 && largestDifference(wide.variances, diagonal) < 1e-10)
        #expect(abs(wide.objective - objective) < 1e-9 && abs(wide.degrees - structured.degrees) < 1e-9)
        #expect(abs(wide.residual - product.residual(structured.mean, y)) < 1e-10)

        // The precision form, where rows outnumber columns, against the covariance form of the same numbers.
        let tall = Tensor<Double>(normal: [9, 4], using: &random)
        let z = Array(y[..<9])
        let narrow = try SparseBayesianLearning.Posterior(tall, gamma[0], s2, z)
        let same = try KroneckerProduct([tall]).posterior([gamma[0]], s2, z)
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

    /// Neither the unit of the measurements nor that of a factor changes what is found.
    @Test func unitsDoNotMatter() throws {
        let bed = try Self.signal([6, 6, 6], [5, 5, 5], nonzeros: 2, ratio: 30, seed: 9)
        let whole = bed.a.dense()
        let plain = try SparseBayesianLearning(noise: .known(bed.noise)).fit(whole, bed.y)
        for unit in [0x1p-40, 0x1p40] {
            let (y, noise) = (bed.y.map { $0 * unit }, bed.noise * unit * unit)
            let found = try SparseBayesianLearning(noise: .known(noise)).fit(whole, y)
            #expect(largestDifference(found.mean.map { $0 / unit }, plain.mean) < 1e-9)
            #expect(found.iterations == plain.iterations)
            let other = try SparseBayesianLearning(noise: .known(bed.noise)).fit(whole * unit, bed.y)
            #expect(largestDifference(other.mean.map { $0 * unit }, plain.mean) < 1e-9)
            for update in KroneckerSparseBayesianLearning.Update.allCases {
                let first = try KroneckerSparseBayesianLearning(update: update, noise: .known(bed.noise)).fit(
                    bed.a, bed.y)
                let second = try KroneckerSparseBayesianLearning(update: update, noise: .known(noise)).fit(bed.a, y)
                #expect(largestDifference(second.mean.map { $0 / unit }, first.mean) < 1e-9, "\(update)")
                #expect(second.iterations == first.iterations && second.supports == first.supports)
            }
        }
    }

    /// Columns of very different lengths are not taken for dependent ones.
    @Test func shortColumnsAreColumnsToo() throws {
        let factor = Tensor<Double>([1, 0, 0, 1e-14, 1, 1e-14], shape: [3, 2])
        let found = try KroneckerMatchingPursuit(counts: [2]).fit(KroneckerProduct([factor]), [3, 2e-14, 3 + 2e-14])
        #expect(largestDifference(found.coefficients, [3, 2]) < 0.1, "\(found.coefficients)")
        let twice = Tensor<Double>([1, 1, 2, 2], shape: [2, 2])
        #expect(throws: LacunaError.self) {
            _ = try KroneckerProduct([twice]).leastSquares([1, 2])
        }
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

    // MARK: Complex numbers

    private static func complexFactors(_ shapes: [(Int, Int)], seed: UInt64) throws -> ComplexKroneckerProduct {
        var random = SeededGenerator(seed: seed)
        return try ComplexKroneckerProduct(
            shapes.map {
                try .init(
                    real: Tensor<Double>(normal: [$0.0, $0.1], using: &random),
                    imaginary: Tensor<Double>(normal: [$0.0, $0.1], using: &random))
            })
    }

    /// `[[P, -Q], [Q, P]]` of the whole matrix, from the definition of the Kronecker product, entry by entry.
    private static func embedded(_ a: ComplexKroneckerProduct) -> Tensor<Double> {
        var (real, imaginary) = (Tensor<Double>([1], shape: [1, 1]), Tensor<Double>([0], shape: [1, 1]))
        for factor in a.factors {
            let (m, n, p, q) = (real.rows, real.columns, factor.rows, factor.columns)
            var next = (Tensor<Double>(zeros: [m * p, n * q]), Tensor<Double>(zeros: [m * p, n * q]))
            for i in 0..<m * p {
                for j in 0..<n * q {
                    let (a, b) = (real[i / p, j / q], imaginary[i / p, j / q])
                    let (c, d) = (factor.real[i % p, j % q], factor.imaginary[i % p, j % q])
                    (next.0[i, j], next.1[i, j]) = (a * c - b * d, a * d + b * c)
                }
            }
            (real, imaginary) = next
        }
        let (m, n) = (real.rows, real.columns)
        var whole = Tensor<Double>(zeros: [2 * m, 2 * n])
        for i in 0..<m {
            for j in 0..<n {
                (whole[i, j], whole[m + i, n + j]) = (real[i, j], real[i, j])
                (whole[i, n + j], whole[m + i, j]) = (-imaginary[i, j], imaginary[i, j])
            }
        }
        return whole
    }

    @Test func complexProductsEqualTheWholeMatrix() throws {
        let a = try Self.complexFactors([(2, 3), (3, 2), (2, 2)], seed: 1)
        let whole = Self.embedded(a)
        #expect(whole.shape == [24, 24] && a.rows == 12 && a.columns == 12)
        var random = SeededGenerator(seed: 2)
        for adjoint in [false, true] {
            let x = (0..<24).map { _ in random.normal() }
            let found = a.multiplied(
                ComplexVector(real: Array(x[..<12]), imaginary: Array(x[12...])), adjoint: adjoint)
            let expected = whole.multiplied(by: Tensor(x, shape: [24, 1]), transposed: adjoint).scalars
            #expect(largestDifference(found.real + found.imaginary, expected) < 1e-12)
        }
        let one = ComplexVector(real: [1, 0], imaginary: [2, -1])
        let two = ComplexVector(real: [3], imaginary: [1])
        // (1 + 2i)(3 + i) = 1 + 7i, -i(3 + i) = 1 - 3i.
        #expect(ComplexVector.product([one, two]) == ComplexVector(real: [1, 1], imaginary: [7, -3]))
        #expect(one.squaredMagnitudes == [5, 1])
    }

    /// Values that differ, that are equal, and that are 0.
    @Test func hermitianMatrices() throws {
        var random = SeededGenerator(seed: 12)
        for (m, rank) in [(1, 1), (4, 4), (5, 2), (6, 0), (30, 30)] {
            // H = B Bᴴ with B [m, rank], and a matrix whose values are 1 and 2, many times each.
            var (p, q) = (Tensor<Double>(zeros: [m, m]), Tensor<Double>(zeros: [m, m]))
            if rank > 0 {
                let (x, y) = (
                    Tensor<Double>(normal: [m, rank], using: &random),
                    Tensor<Double>(normal: [m, rank], using: &random)
                )
                for i in 0..<m {
                    for j in 0..<m {
                        for k in 0..<rank {
                            p[i, j] += x[i, k] * x[j, k] + y[i, k] * y[j, k]
                            q[i, j] += y[i, k] * x[j, k] - x[i, k] * y[j, k]
                        }
                    }
                }
            }
            let (values, a, b) = try HermitianEigen.decompose(real: p, imaginary: q)
            #expect(values == values.sorted() && values.count == m)
            let scale = max(values.last ?? 0, 1)
            for k in 0..<m {
                for l in 0..<m {
                    // Orthonormal: Σ conj(z_k) z_l.
                    var (re, im) = (0.0, 0.0)
                    for j in 0..<m {
                        re += a[k, j] * a[l, j] + b[k, j] * b[l, j]
                        im += a[k, j] * b[l, j] - b[k, j] * a[l, j]
                    }
                    #expect(abs(re - (k == l ? 1 : 0)) < 1e-10 && abs(im) < 1e-10)
                }
                for i in 0..<m {
                    var (re, im) = (-values[k] * a[k, i], -values[k] * b[k, i])
                    for j in 0..<m {
                        re += p[i, j] * a[k, j] - q[i, j] * b[k, j]
                        im += p[i, j] * b[k, j] + q[i, j] * a[k, j]
                    }
                    #expect(abs(re) < 1e-10 * scale && abs(im) < 1e-10 * scale)
                }
            }
        }
    }

    /// The textbook form of the posterior by real numbers of twice the size: Σ = (AᴴA / s² + Γ⁻¹)⁻¹.
    @Test func complexPosteriorsAgreeWithTheExplicitInverse() throws {
        var random = SeededGenerator(seed: 13)
        let product = try Self.complexFactors([(3, 4), (2, 3)], seed: 4)
        let gamma = [4, 3].map { n in (0..<n).map { _ in 0.1 + random.uniform() } }
        let (all, s2) = (KroneckerProduct.vector(gamma), 0.03)
        let y = (0..<12).map { _ in random.normal() }
        let a = Self.embedded(product)
        var precision = a.multiplied(by: a, transposed: true)
        for i in 0..<24 {
            for j in 0..<24 { precision[i, j] /= s2 }
            precision[i, i] += 1 / all[i % 12]
        }
        let sigma = try precision.cholesky().inverseFromCholesky()
        let mean = sigma.multiplied(
            by: a.multiplied(by: Tensor(y.map { $0 / s2 }, shape: [12, 1]), transposed: true)
        ).scalars
        var scaled = a
        for i in 0..<12 { for j in 0..<24 { scaled[i, j] *= all[j % 12] } }
        var covariance = scaled.multiplied(by: a, otherTransposed: true)
        for i in 0..<12 { covariance[i, i] += s2 }
        let factor = try covariance.cholesky()
        let inner = factor.solveTriangular(Tensor(y, shape: [12, 1])).scalars
        // The determinant of the real matrix is the square of the complex one's.
        let objective = (0..<12).reduce(0) { $0 + logarithm(factor[$1, $1]) } + inner.reduce(0) { $0 + $1 * $1 }
        let target = ComplexVector(real: Array(y[..<6]), imaginary: Array(y[6...]))
        let found = try product.posterior(gamma, s2, target)
        #expect(largestDifference(found.mean.real + found.mean.imaginary, mean) < 1e-10)
        #expect(largestDifference(found.variances, (0..<12).map { sigma[$0, $0] }) < 1e-10)
        #expect(abs(found.objective - objective) < 1e-9)
        let degrees = (0..<12).reduce(0) { $0 + 1 - sigma[$1, $1] / all[$1] }
        #expect(abs(found.degrees - degrees) < 1e-9)
        let fitted = a.multiplied(by: Tensor(mean, shape: [24, 1])).scalars
        let rest = zip(y, fitted).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        #expect(abs(product.residual(found.mean, target) - rest) < 1e-9)
    }

    @Test(arguments: KroneckerSparseBayesianLearning.Update.allCases)
    func complexNumbersWithoutImaginaryPartsAreReal(update: KroneckerSparseBayesianLearning.Update) throws {
        let bed = try Self.signal([5, 6], [4, 5], nonzeros: 2, ratio: 25, seed: 3)
        let complex = try ComplexKroneckerProduct(
            bed.a.factors.map { try .init(real: $0, imaginary: Tensor(zeros: $0.shape)) })
        let learner = KroneckerSparseBayesianLearning(update: update, noise: .known(bed.noise), iterations: 30)
        let (real, found) = (try learner.fit(bed.a, bed.y), try learner.fit(complex, ComplexVector(real: bed.y)))
        #expect(largestDifference(found.mean.real, real.mean) < 1e-7)
        #expect(found.mean.imaginary.allSatisfy { abs($0) < 1e-9 } && found.iterations == real.iterations)
        let pursuit = KroneckerMatchingPursuit(counts: [2, 2])
        let (one, two) = (try pursuit.fit(bed.a, bed.y), try pursuit.fit(complex, ComplexVector(real: bed.y)))
        #expect(one.supports == two.supports && largestDifference(one.coefficients, two.coefficients.real) < 1e-9)
    }

    @Test func recoversComplexProducts() throws {
        let a = try Self.complexFactors([(6, 8), (6, 8)], seed: 21)
        var random = SeededGenerator(seed: 22)
        let x = ComplexVector.product(
            [[1, 5], [0, 6]].map { support in
                var part = ComplexVector(real: [Double](repeating: 0, count: 8))
                for j in support { (part.real[j], part.imaginary[j]) = (1 + random.uniform(), random.normal()) }
                return part
            })
        let clean = a.multiplied(x)
        let y = ComplexVector(
            real: clean.real.map { $0 + 0.05 * random.normal() },
            imaginary: clean.imaginary.map { $0 + 0.05 * random.normal() }
        )
        func error(_ found: ComplexVector) -> Double {
            ComplexVector.difference(found, x).squaredMagnitudes.reduce(0, +) / x.squaredMagnitudes.reduce(0, +)
        }
        for update in KroneckerSparseBayesianLearning.Update.allCases {
            let found = try KroneckerSparseBayesianLearning(update: update, noise: .estimated(from: 0.1)).fit(a, y)
            #expect(error(found.mean) < 1e-3, "\(update)")
            // Real and imaginary parts have half the variance each.
            #expect(abs(logarithm(found.noise / 0.005)) < logarithm(2), "\(found.noise)")
        }
        let greedy = try KroneckerMatchingPursuit(counts: [2, 2]).fit(a, y)
        #expect(greedy.supports == [[1, 5], [0, 6]] && error(greedy.coefficients) < 1e-3)
        // What is left is orthogonal to everything taken.
        let rest = ComplexVector.difference(y, a.multiplied(greedy.coefficients))
        let left = a.multiplied(rest, adjoint: true).squaredMagnitudes
        for place in greedy.coefficients.squaredMagnitudes.indices
        where greedy.coefficients.squaredMagnitudes[place] > 0 { #expect(left[place] < 1e-18) }
    }

    @Test func unusableComplexInput() throws {
        #expect(throws: LacunaError.self) { try ComplexKroneckerProduct([]) }
        let (one, two) = (Tensor<Double>(zeros: [2, 2]), Tensor<Double>(zeros: [2, 3]))
        #expect(throws: LacunaError.self) { try ComplexKroneckerProduct.Factor(real: one, imaginary: two) }
        #expect(throws: LacunaError.self) {
            try ComplexKroneckerProduct.Factor(real: one, imaginary: Tensor(repeating: .infinity, shape: [2, 2]))
        }
        let a = try Self.complexFactors([(3, 4)], seed: 1)
        let learner = KroneckerSparseBayesianLearning(noise: .known(1))
        #expect(throws: LacunaError.self) { try learner.fit(a, ComplexVector(real: [1, 2])) }
        #expect(throws: LacunaError.self) { try learner.fit(a, ComplexVector(real: [1, 2, .nan])) }
    }
}
