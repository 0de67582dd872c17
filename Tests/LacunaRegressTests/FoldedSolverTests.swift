import LacunaRegress
import LacunaTensor
import Testing

/// Accelerated gradients for folded penalties, and conjugate gradients on the proximal mapping.
@Suite struct FoldedSolverTests {
    private static let design = correlatedDesign(rows: 80, columns: 120, correlation: 0.7)
    private static let y = target(design, nonzeros: 6, noise: 0.3)

    @Test(arguments: [true, false]) func reachStationaryPoints(intercept: Bool) throws {
        func check<P: FoldedConcavePenalty>(_ penalty: P) throws {
            let problem = try Problem(Self.design, SquaredLoss(Self.y.map { $0 + 3 }), penalty, hasIntercept: intercept)
            let solutions = try [
                AcceleratedGradient(tolerance: 1e-9).solve(problem),
                AcceleratedGradient(tolerance: 1e-9, accelerates: false).solve(problem),
                ProximalConjugateGradient(tolerance: 1e-9).solve(problem),
            ]
            for solution in solutions {
                #expect(solution.converged && solution.certificate.relative <= 1e-9)
                #expect(abs(solution.objective - problem.objective(solution)) < 1e-12)
            }
            // Any of them is a point that Newton's method does not leave.
            for solution in solutions {
                let after = try ProximalNewton(tolerance: 1e-8).solve(problem, from: solution)
                #expect(largestDifference(after.coefficients, solution.coefficients) < 1e-6)
            }
        }
        try check(SCAD(0.2))
        try check(MCP(0.2, shape: 3))
    }

    @Test func anInfiniteShapeIsTheLasso() throws {
        let problem = try Problem(Self.design, SquaredLoss(Self.y), L1(0.1))
        let expected = try ProximalNewton(tolerance: 1e-12).solve(problem)
        for solution in [
            try AcceleratedGradient(tolerance: 1e-9).solve(problem.with(penalty: SCAD(0.1, shape: .infinity))),
            try AcceleratedGradient(tolerance: 1e-9).solve(problem.with(penalty: MCP(0.1, shape: .infinity))),
            try ProximalConjugateGradient(tolerance: 1e-12).solve(problem),
        ] {
            #expect(solution.converged)
            #expect(largestDifference(solution.coefficients, expected.coefficients) < 1e-6)
            #expect(abs(solution.intercept - expected.intercept) < 1e-6)
        }
    }

    @Test func momentumSavesSteps() throws {
        let problem = try Problem(Self.design, SquaredLoss(Self.y), SCAD(0.1), hasIntercept: false)
        let best = try ProximalConjugateGradient(tolerance: 1e-9).solve(problem).objective
        func steps(_ accelerates: Bool) throws -> Int {
            var count = 0
            _ = try AcceleratedGradient(tolerance: 1e-12, accelerates: accelerates).solve(problem) { step, value in
                count = step
                return value > best * (1 + 1e-4)
            }
            return count
        }
        #expect(try steps(true) * 2 < steps(false))
    }

    /// The strong rule leaves columns out; whatever it leaves out wrongly comes back.
    @Test func pathsEqualSingleSolutions() throws {
        let problem = try Problem(Self.design, SquaredLoss(Self.y), MCP(1))
        let strengths = try RegularizationPath.strengths(
            from: RegularizationPath.maximumStrength(problem), ratio: 0.05, count: 8)
        let solver = AcceleratedGradient(tolerance: 1e-9)
        let path = try solver.path(problem, strengths: strengths)
        var previous: Solution?
        for (strength, solution) in zip(strengths, path) {
            #expect(solution.converged)
            let single = try solver.solve(problem.with(penalty: MCP(strength)), from: previous)
            #expect(abs(single.objective - solution.objective) < 1e-9)
            previous = solution
        }
        #expect(path[0].support.isEmpty && path[7].support.count > 5)
    }

    @Test func otherDatafits() throws {
        let labels = Self.y.map { $0 > 0 ? 1.0 : 0 }
        let logistic = try Problem(Self.design, LogisticLoss(labels), L1(0.02))
        let expected = try ProximalNewton(tolerance: 1e-11).solve(logistic)
        let found = try ProximalConjugateGradient(tolerance: 1e-9).solve(logistic)
        #expect(found.converged && largestDifference(found.coefficients, expected.coefficients) < 1e-4)
        // Unbounded curvature: steps are shortened as needed.
        let poisson = try Problem(Self.design, PoissonLoss(Self.y.map { abs($0).rounded() }), L1(0.2))
        let counts = try ProximalConjugateGradient(tolerance: 1e-8).solve(poisson)
        let reference = try ProximalNewton(tolerance: 1e-10).solve(poisson)
        #expect(counts.converged && largestDifference(counts.coefficients, reference.coefficients) < 1e-4)
        // Several outputs, and a weighted row.
        let tasks = try SquaredLoss(tasks: [Self.y, Self.y.map { -$0 }], weights: (0..<80).map { Double($0 % 3) })
        let both = try ProximalConjugateGradient(tolerance: 1e-10).solve(Problem(Self.design, tasks, L1(0.1)))
        let fista = try FISTA(tolerance: 1e-10).solve(Problem(Self.design, tasks, L1(0.1)))
        #expect(both.converged && largestDifference(both.coefficients, fista.coefficients) < 1e-5)
        #expect(throws: LacunaError.self) {
            try AcceleratedGradient().solve(
                Problem(Self.design, PoissonLoss([Double](repeating: 1, count: 80)), SCAD(1)))
        }
        #expect(throws: LacunaError.self) {
            try AcceleratedGradient().solve(Problem(Self.design, SquaredLoss(tasks: [Self.y, Self.y]), SCAD(1)))
        }
    }

    @Test func boundsAndEdges() throws {
        let problem = try Problem(Self.design, SquaredLoss(Self.y), SCAD(0.01), hasIntercept: false)
        let short = try AcceleratedGradient(tolerance: 1e-12, maximumIterations: 3).solve(problem)
        #expect(!short.converged && short.coefficients.allSatisfy { $0.isFinite })
        let other = try ProximalConjugateGradient(tolerance: 1e-14, maximumIterations: 2).solve(problem)
        #expect(!other.converged && other.passes == 3)
        let none = DenseDesign(columnMajor: [], rows: 3)
        #expect(try AcceleratedGradient().solve(Problem(none, SquaredLoss([1, 2, 6]), MCP(1))).intercept == 3)
        #expect(try ProximalConjugateGradient().solve(Problem(none, SquaredLoss([1, 2, 6]), MCP(1))).intercept == 3)
        let constant = DenseDesign(columnMajor: [1, 1, 1, 0, 1, 2], rows: 3)
        let line = try AcceleratedGradient(tolerance: 1e-10).solve(Problem(constant, SquaredLoss([0, 2, 4]), MCP(0.1)))
        #expect(line.converged && line.coefficients[0] == 0 && abs(line.coefficients[1] - 2) < 1e-6)
    }
}
