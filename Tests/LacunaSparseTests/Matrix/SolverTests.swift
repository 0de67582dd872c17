import LacunaSparse
import LacunaTensor
import Testing

/// Solutions against dense factorisations and closed forms.
@Suite struct SolverTests {
    /// The five-point Laplacian of a grid [side, side]: eigenvalues 4 sin²(iπ/2(side+1)) + 4 sin²(jπ/2(side+1)).
    private func laplacian(_ side: Int) throws -> SparseMatrix<Double> {
        let line = try SparseMatrix<Double>(
            rows: side, columns: side,
            diagonals: [(0, [Double](repeating: 2, count: side))]
                + [-1, 1].map { ($0, [Double](repeating: -1, count: side - 1)) })
        let one = SparseMatrix<Double>.identity(side)
        return try line.kronecker(one) + one.kronecker(line)
    }

    private func random(_ count: Int, seed: UInt64) -> [Double] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in generator.normal() }
    }

    private func distance(_ x: [Double], _ y: [Double]) -> Double {
        zip(x, y).reduce(0) { max($0, abs($1.0 - $1.1)) }
    }

    private func residual(_ a: SparseMatrix<Double>, _ x: [Double], _ b: [Double]) -> Double {
        zip(a * x, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
    }

    @Test func definiteSystems() throws {
        let a = try laplacian(12)
        let b = random(144, seed: 1)
        let exact = try a.densified().solvePositiveDefinite(Tensor(b, shape: [144, 1])).scalars
        let options = SolverOptions(tolerance: 1e-12)
        let plain = try a.conjugateGradients(b, options: options)
        let jacobi = try a.conjugateGradients(b, preconditioner: a.jacobiPreconditioner(), options: options)
        let minimal = try a.minimalResiduals(b, options: options)
        let general = try a.generalizedMinimalResiduals(b, restart: 20, options: options)
        let norm = b.reduce(0) { $0 + $1 * $1 }.squareRoot()
        for result in [plain, jacobi, minimal, general] {
            #expect(result.reason == .converged && distance(result.solution, exact) < 1e-9)
            #expect(abs(result.residualNorm - residual(a, result.solution, b)) < 1e-14 * norm)
            #expect(result.residualNorm <= 2e-12 * norm && result.iterations > 10)
        }
        // The matrix has far fewer different eigenvalues than rows, and steps are bounded by them.
        #expect(plain.iterations < 78 && minimal.iterations < 78)
        // A start at the solution needs no step.
        let again = try a.conjugateGradients(b, startingAt: plain.solution, options: SolverOptions(tolerance: 1e-11))
        #expect(again.iterations == 0 && again.isConverged)
        let dense = try a.densified().conjugateGradients(b, options: options)
        #expect(distance(dense.solution, exact) < 1e-9)
        let function = FunctionOperator<Double>(rows: 144, columns: 144, apply: { a * $0 })
        #expect(try distance(function.conjugateGradients(b, options: options).solution, exact) < 1e-9)
        // What needs the transpose says so, and does not end the program.
        for attempt in [
            { _ = try function.leastSquares(b) }, { _ = try function.leastSquaresMinimalResiduals(b) },
            { _ = try function.truncatedSVD(rank: 1) },
            { _ = try function.truncatedSVD(rank: 1, method: .randomized()) },
        ] as [() throws -> Void] {
            #expect { try attempt() } throws: { "\($0)".contains("the transpose") }
        }
        let both = FunctionOperator<Double>(rows: 144, columns: 144, apply: { a * $0 }, transpose: { a * $0 })
        #expect(try distance(both.leastSquares(b, options: options).solution, exact) < 1e-8)
    }

    @Test func scaledSystemsNeedTheirPreconditioner() throws {
        let a = try laplacian(10)
        let scale = (0..<100).map { Double(1 + $0 * $0) }
        let scaled = a.scaled(rows: scale).scaled(columns: scale)
        let b = random(100, seed: 2)
        let without = try scaled.conjugateGradients(b, options: SolverOptions(tolerance: 1e-10))
        let with = try scaled.conjugateGradients(
            b, preconditioner: scaled.jacobiPreconditioner(), options: SolverOptions(tolerance: 1e-10))
        #expect(with.isConverged && with.iterations < 60 && without.iterations > 2 * with.iterations)
    }

    @Test func indefiniteSystems() throws {
        // Eigenvalues of both signs, none near 0.
        let a = try laplacian(7) - 3.7 * SparseMatrix<Double>.identity(49)
        let b = random(49, seed: 3)
        let minimal = try a.minimalResiduals(b, options: SolverOptions(tolerance: 1e-12))
        #expect(minimal.reason == .converged && residual(a, minimal.solution, b) < 1e-10)
        #expect(try a.conjugateGradients(b).reason == .indefinite)
        let negative = SparseMatrix(diagonal: [Double](repeating: -1, count: 49))
        #expect(try (-1 * laplacian(7)).conjugateGradients(b).reason == .indefinite)
        #expect(try laplacian(7).conjugateGradients(b, preconditioner: negative).reason == .indefinite)
        let start = random(49, seed: 30)
        let moved = try a.minimalResiduals(b, startingAt: start, options: SolverOptions(tolerance: 1e-12))
        #expect(distance(moved.solution, minimal.solution) < 1e-8)
    }

    @Test func unsymmetricSystems() throws {
        var generator = SeededGenerator(seed: 4)
        let a =
            try SparseMatrix<Double>.random(rows: 60, columns: 60, density: 0.1, using: &generator)
            + 6 * SparseMatrix<Double>.identity(60)
        let b = random(60, seed: 5)
        for restart in [5, 30, 200] {
            let result = try a.generalizedMinimalResiduals(
                b, restart: restart, options: SolverOptions(tolerance: 1e-11))
            #expect(result.reason == .converged && residual(a, result.solution, b) < 1e-9)
        }
        // With the inverse as preconditioner one step is enough.
        let (q, r) = try a.densified().qr()
        let inverse = r.solveTriangular(q.transposed(), lower: false)
        let exact = try a.generalizedMinimalResiduals(
            b, preconditioner: inverse, options: SolverOptions(tolerance: 1e-10))
        #expect(exact.iterations <= 2 && exact.isConverged)
        // Least squares by both methods agree with it, and with damping with each other.
        for result in [
            try a.leastSquares(b, options: SolverOptions(tolerance: 1e-11)),
            try a.leastSquaresMinimalResiduals(b, options: SolverOptions(tolerance: 1e-11)),
        ] {
            #expect(result.isConverged && distance(result.solution, exact.solution) < 1e-8)
        }
    }

    @Test(arguments: [0.0, 0.5]) func overdeterminedSystems(damping: Double) throws {
        var generator = SeededGenerator(seed: 6)
        let a = try SparseMatrix<Double>.random(rows: 80, columns: 25, density: 0.2, using: &generator)
        let b = random(80, seed: 7)
        let dense = a.densified()
        var gram = dense.multiplied(by: dense, transposed: true)
        for i in 0..<25 { gram[i, i] += damping * damping }
        let right = dense.multiplied(by: Tensor(b, shape: [80, 1]), transposed: true)
        let exact = try gram.solvePositiveDefinite(right).scalars
        let options = SolverOptions(tolerance: 1e-12)
        let (first, second) = (
            try a.leastSquares(b, damping: damping, options: options),
            try a.leastSquaresMinimalResiduals(b, damping: damping, options: options)
        )
        for result in [first, second] {
            #expect(result.reason == .leastSquares && distance(result.solution, exact) < 1e-8)
            #expect(abs(result.residualNorm - residual(a, result.solution, b)) < 1e-12)
            #expect(result.iterations < 80)
        }
    }

    @Test func shortestOfManySolutions() throws {
        var generator = SeededGenerator(seed: 8)
        let a = try SparseMatrix<Double>.random(rows: 10, columns: 40, density: 0.4, using: &generator)
        let b = random(10, seed: 9)
        let dense = a.densified()
        let middle = try dense.multiplied(by: dense, otherTransposed: true)
            .solvePositiveDefinite(Tensor(b, shape: [10, 1]))
        let shortest = dense.multiplied(by: middle, transposed: true).scalars
        for result in [
            try a.leastSquares(b, options: SolverOptions(tolerance: 1e-12)),
            try a.leastSquaresMinimalResiduals(b, options: SolverOptions(tolerance: 1e-12)),
        ] {
            #expect(result.reason == .converged && distance(result.solution, shortest) < 1e-9)
        }
        // Nothing to find: b is orthogonal to every column, or 0.
        let column = try SparseMatrix<Double>(rows: 3, columns: 1, entries: [(row: 0, column: 0, value: 1.0)])
        #expect(try column.leastSquares([0, 1, 0]).reason == .leastSquares)
        #expect(try column.leastSquaresMinimalResiduals([0, 1, 0]).solution == [0])
        #expect(try column.leastSquares([0, 0, 0]).reason == .converged)
    }

    @Test func reasonsAreHonest() throws {
        let a = try laplacian(12)
        let b = random(144, seed: 1)
        let few = SolverOptions(tolerance: 1e-12, maximumIterations: 5)
        for result in [
            try a.conjugateGradients(b, options: few), try a.minimalResiduals(b, options: few),
            try a.generalizedMinimalResiduals(b, restart: 3, options: few), try a.leastSquares(b, options: few),
            try a.leastSquaresMinimalResiduals(b, options: few),
        ] {
            #expect(result.reason == .iterationLimit && result.iterations == 5 && !result.isConverged)
            #expect(abs(result.residualNorm - residual(a, result.solution, b)) < 1e-12)
        }
        // No rounding can meet a tolerance of 0; nobody may say that it was met, or go on for ever.
        let never = SolverOptions(tolerance: 0, maximumIterations: 4000)
        for result in [
            try a.conjugateGradients(b, options: never), try a.minimalResiduals(b, options: never),
            try a.generalizedMinimalResiduals(b, options: never),
        ] {
            #expect(!result.isConverged || result.residualNorm == 0)
        }
        #expect(try a.conjugateGradients([Double](repeating: 0, count: 144)).iterations == 0)
        let large = try a.conjugateGradients(b, options: SolverOptions(tolerance: 0, absoluteTolerance: 100))
        #expect(large.iterations == 0 && large.isConverged)
        #expect(throws: LacunaError.self) { try a.conjugateGradients([1]) }
        #expect(throws: LacunaError.self) { try a.conjugateGradients(b, startingAt: [1]) }
        #expect(throws: LacunaError.self) { try a.conjugateGradients(b, options: SolverOptions(tolerance: -1)) }
        #expect(throws: LacunaError.self) { try a.conjugateGradients(b, options: SolverOptions(maximumIterations: -1)) }
        #expect(throws: LacunaError.self) { try a.minimalResiduals([Double](repeating: .nan, count: 144)) }
        #expect(throws: LacunaError.self) { try a.generalizedMinimalResiduals(b, restart: 0) }
        #expect(throws: LacunaError.self) { try a[rows: 0..<3].minimalResiduals([1, 2, 3]) }
        #expect(throws: LacunaError.self) { try a.leastSquares(b, damping: -1) }
        #expect(throws: LacunaError.self) { try a.leastSquares([1]) }
        #expect(throws: LacunaError.self) {
            try a.conjugateGradients(b, preconditioner: SparseMatrix<Double>.identity(3))
        }
    }

    // MARK: Triangles

    @Test func triangles() throws {
        var generator = SeededGenerator(seed: 10)
        let full =
            try SparseMatrix<Double>.random(rows: 40, columns: 40, density: 0.2, using: &generator)
            + 5 * SparseMatrix<Double>.identity(40)
        let (lower, upper) = (full.lowerTriangle(), full.upperTriangle())
        let x = random(40, seed: 11)
        #expect(try distance(lower.solveTriangular(lower * x, .lower), x) < 1e-9)
        #expect(try distance(upper.solveTriangular(upper * x, .upper), x) < 1e-9)
        #expect(try distance(lower.solveTriangular(lower.transposed() * x, .lower, transposed: true), x) < 1e-9)
        #expect(try distance(upper.solveTriangular(upper.transposed() * x, .upper, transposed: true), x) < 1e-9)
        let strict = 0.1 * full.lowerTriangle(diagonal: -1)
        let unit = strict + SparseMatrix<Double>.identity(40)
        #expect(try distance(strict.solveTriangular(unit * x, .lower, unitDiagonal: true), x) < 1e-9)
        #expect(throws: LacunaError.self) { try full.solveTriangular(x, .lower) }
        #expect(throws: LacunaError.self) { try full.solveTriangular(x, .upper) }
        #expect(throws: LacunaError.self) { try strict.solveTriangular(x, .lower) }
        #expect(throws: LacunaError.self) { try lower.solveTriangular(x, .lower, unitDiagonal: true) }
        #expect(throws: LacunaError.self) { try lower.solveTriangular([1], .lower) }
        #expect(throws: LacunaError.self) { try strict.jacobiPreconditioner() }
    }

    // MARK: Spectra

    @Test(arguments: [SpectrumEnd.largest, .smallest]) func eigenvaluesOfAGrid(end: SpectrumEnd) throws {
        let side = 15
        let a = try laplacian(side)
        let sines = (1...side).map { i -> Double in
            let s = sine(Double(i) * .pi / Double(2 * (side + 1)))
            return 4 * s * s
        }
        var exact = sines.flatMap { x in sines.map { x + $0 } }.sorted()
        if end == .largest { exact.reverse() }
        let pairs = try a.eigenpairs(3, end, space: 30, options: SolverOptions(tolerance: 1e-11))
        #expect(pairs.reason == .converged && abs(pairs.values[0] - exact[0]) < 1e-9)
        #expect(
            pairs.residualNorms.allSatisfy { $0 < 1e-9 }
                && pairs.values == (end == .largest ? pairs.values.sorted(by: >) : pairs.values.sorted()))
        for (value, norm) in zip(pairs.values, pairs.residualNorms) {
            #expect(exact.contains { abs($0 - value) <= norm + 1e-12 })
        }
        let gram = pairs.vectors.multiplied(by: pairs.vectors, otherTransposed: true)
        for i in 0..<3 { for j in 0..<3 { #expect(abs(gram[i, j] - (i == j ? 1 : 0)) < 1e-10) } }
    }

    @Test func eigenvaluesOfSmallMatrices() throws {
        let diagonal = SparseMatrix(diagonal: [3.0, -7, 1, 5, 0.5])
        #expect(try distance(diagonal.eigenpairs(5).values, [5, 3, 1, 0.5, -7]) < 1e-12)
        #expect(try distance(diagonal.eigenpairs(2, .smallest).values, [-7, 0.5]) < 1e-12)
        #expect(try diagonal.eigenpairs(1).vectors.scalars.map { abs($0) }.max()! > 0.999999)
        #expect(throws: LacunaError.self) { try diagonal.eigenpairs(6) }
        #expect(throws: LacunaError.self) { try diagonal.eigenpairs(0) }
        #expect(throws: LacunaError.self) { try SparseMatrix<Double>(zeros: 3, 4).eigenpairs(1) }
        let grid = try laplacian(15)
        #expect(throws: LacunaError.self) { try grid.eigenpairs(4, space: 4) }
        let early = try grid.eigenpairs(4, space: 10, options: SolverOptions(tolerance: 1e-14, maximumIterations: 12))
        #expect(early.reason == .iterationLimit)
        let dense = grid.densified()
        let (values, _) = try dense.symmetricEigen()
        let pairs = try grid.eigenpairs(1, space: 12, options: SolverOptions(tolerance: 1e-10))
        #expect(abs(pairs.values[0] - values[224]) < 1e-9)
        #expect(try SparseMatrix<Double>(zeros: 4, 4).eigenpairs(2).values.allSatisfy { abs($0) < 1e-15 })
    }

    @Test(arguments: [SVDMethod.lanczos, .randomized(oversampling: 8, passes: 6)]) func singularValues(
        method: SVDMethod
    ) throws {
        var generator = SeededGenerator(seed: 12)
        // Values that fall by a half from one to the next, turned about.
        let (u, _) = try Tensor<Double>(normal: [50, 20], using: &generator).qr()
        let (v, _) = try Tensor<Double>(normal: [30, 20], using: &generator).qr()
        var scaled = u
        for i in 0..<50 { for j in 0..<20 { scaled[i, j] *= power(0.5, Double(j)) } }
        let a = try SparseMatrix(scaled.multiplied(by: v, otherTransposed: true))
        let found = try a.truncatedSVD(rank: 4, method: method, options: SolverOptions(tolerance: 1e-10))
        #expect(distance(found.s, [1, 0.5, 0.25, 0.125]) < 1e-8 && found.residualNorms.allSatisfy { $0 < 1e-7 })
        #expect(found.u.shape == [50, 4] && found.vTransposed.shape == [4, 30])
        var product = found.u
        for i in 0..<50 { for j in 0..<4 { product[i, j] *= found.s[j] } }
        let error = zip(product.multiplied(by: found.vTransposed).scalars, a.densified().scalars)
            .reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
        // What is left are the values from the fifth on: 0.0625 √(1 + 1/4 + …).
        #expect(abs(error - 0.0625 * (4.0 / 3).squareRoot()) < 1e-4)
        #expect(throws: LacunaError.self) { try a.truncatedSVD(rank: 31, method: method) }
        #expect(throws: LacunaError.self) { try a.truncatedSVD(rank: 0, method: method) }
    }

    @Test func singleApproximations() throws {
        var generator = SeededGenerator(seed: 13)
        let a = try SparseMatrix<Float>.random(rows: 200, columns: 120, density: 0.05, using: &generator)
        let (_, s, _) = try a.densified().svd()
        let found = try a.truncatedSVD(rank: 2, options: SolverOptions(tolerance: 1e-5))
        #expect(abs(found.s[0] - s[0]) < 1e-4 && abs(found.s[1] - s[1]) < 1e-4)
        let b = (0..<200).map { _ in Float(generator.normal()) }
        let gram = a.transposed() * a + 5 * SparseMatrix<Float>.identity(120)
        let right = a.multiplied(by: b, transposed: true)
        let result = try gram.conjugateGradients(right, options: SolverOptions(tolerance: 1e-5))
        #expect(result.isConverged)
        let damped = try a.leastSquares(b, damping: Float(5).squareRoot(), options: SolverOptions(tolerance: 1e-6))
        #expect(zip(damped.solution, result.solution).allSatisfy { abs($0 - $1) < 1e-4 })
    }
}
