import LacunaRegress
import LacunaTensor
import Testing

/// What holds for every solver whatever the numbers.
@Suite struct SolverTests {
    private static let solvers: [any SeparableSolver] = [
        ProximalNewton(tolerance: 1e-10), CoordinateDescent(tolerance: 1e-10), FISTA(tolerance: 1e-10),
    ]

    @Test func solversAgreeOnCorrelatedColumns() throws {
        let design = correlatedDesign(rows: 60, columns: 150, correlation: 0.9)
        let y = target(design, nonzeros: 6, noise: 0.5)
        let problem = try Problem(design, SquaredLoss(y), L1(0.05))
        let solutions = try Self.solvers.map { try $0.solve(problem) }
        for solution in solutions {
            #expect(solution.converged)
            guard case .dualityGap(_, let relative) = solution.certificate else {
                Issue.record("no gap")
                continue
            }
            #expect(relative <= 1e-10)
            #expect(largestDifference(solution.coefficients, solutions[0].coefficients) < 1e-4)
            #expect(abs(solution.objective - solutions[0].objective) < 1e-9 * (1 + solutions[0].objective))
        }
    }

    @Test func certificatesBoundTheError() throws {
        let design = correlatedDesign(rows: 50, columns: 80)
        let y = target(design, nonzeros: 5, noise: 1)
        let labels = y.map { $0 > 0 ? 1.0 : 0 }
        func check<F: Datafit, P: SeparablePenalty>(_ datafit: F, _ penalty: P) throws {
            let problem = try Problem(design, datafit, penalty)
            let exact = try ProximalNewton(tolerance: 1e-13).solve(problem)
            #expect(exact.converged)
            for tolerance in [1e-1, 1e-2, 1e-4] {
                let rough = try CoordinateDescent(tolerance: tolerance).solve(problem)
                guard case .dualityGap(let gap, _) = rough.certificate else {
                    Issue.record("no gap")
                    return
                }
                #expect(problem.objective(rough) - exact.objective <= gap + 1e-12)
            }
        }
        try check(SquaredLoss(y), L1(0.1))
        try check(SquaredLoss(y), ElasticNet(0.2, mixing: 0.5))
        try check(LogisticLoss(labels), L1(0.03))
        try check(HuberLoss(y, delta: 1), L1(0.05))
    }

    @Test func stationarityOfFoldedPenalties() throws {
        let design = correlatedDesign(rows: 80, columns: 120)
        let y = target(design, nonzeros: 6, noise: 0.3)
        var norms = [Double](repeating: 0, count: 120)
        design.squaredNorms(weights: [Double](repeating: 1.0 / 80, count: 80), into: &norms)
        func check<P: SeparablePenalty>(_ penalty: P) throws {
            let problem = try Problem(design, SquaredLoss(y), penalty, hasIntercept: false)
            for solver in [ProximalNewton(tolerance: 1e-9), CoordinateDescent(tolerance: 1e-9)]
                as [any SeparableSolver]
            {
                let solution = try solver.solve(problem)
                #expect(solution.converged)
                guard case .stationarity(let distance, _) = solution.certificate else {
                    Issue.record("a gap for \(penalty)")
                    return
                }
                // Computed afresh, from the definition.
                let eta = solution.predictors(design)
                var correlations = norms
                design.correlations(nil, with: zip(eta, y).map { ($0 - $1) / 80 }, into: &correlations)
                let beta = solution.coefficients
                let largest = (0..<120).reduce(0) {
                    max($0, penalty.distance(beta[$1], gradient: correlations[$1], lipschitz: norms[$1], $1))
                }
                #expect(abs(largest - distance) < 1e-8)
                // The six columns and little else.
                #expect((0..<6).allSatisfy { beta[$0 * 20] != 0 })
                #expect(solution.support.count < 30)
            }
        }
        try check(SCAD(0.2))
        try check(MCP(0.2))
        try check(LogSum(0.02))
        try check(L0(0.05))
        try check(CEL0(0.05, squaredNorms: norms))
    }

    @Test func zeroAtTheMaximumStrengthAndNotBelow() throws {
        let design = correlatedDesign(rows: 40, columns: 60)
        let y = target(design, nonzeros: 4, noise: 1)
        func check<F: Datafit, P: SeparablePenalty & ScalablePenalty>(_ datafit: F, _ penalty: P) throws {
            for intercept in [true, false] {
                let problem = try Problem(design, datafit, penalty, hasIntercept: intercept)
                let strength = RegularizationPath.maximumStrength(problem)
                let above = try ProximalNewton().solve(
                    problem.with(penalty: penalty.with(strength: strength * 1.0001)))
                let below = try ProximalNewton().solve(
                    problem.with(penalty: penalty.with(strength: strength * 0.98)))
                #expect(above.support.isEmpty && above.converged)
                #expect(
                    !below.support.isEmpty && below.converged,
                    "\(type(of: datafit)) \(penalty) \(intercept) \(below.certificate)")
            }
        }
        try check(SquaredLoss(y), L1(1))
        try check(SquaredLoss(y), ElasticNet(1, mixing: 0.3))
        try check(SquaredLoss(y), MCP(1))
        try check(SquaredLoss(y), SCAD(1))
        try check(SquaredLoss(y), L0(1))
        try check(SquaredLoss(y), LogSum(1, width: 2))
        try check(LogisticLoss(y.map { $0 > 0 ? 1 : 0 }), L1(1))
        try check(PoissonLoss(y.map { $0.magnitude.rounded() }), L1(1))
    }

    @Test func pathsEqualSingleSolutions() throws {
        let design = correlatedDesign(rows: 60, columns: 200)
        let y = target(design, nonzeros: 8, noise: 0.5)
        let problem = try Problem(design, SquaredLoss(y), L1(1))
        let path = try RegularizationPath(
            problem,
            strengths: RegularizationPath.strengths(from: RegularizationPath.maximumStrength(problem), count: 20),
            solver: ProximalNewton(tolerance: 1e-11))
        #expect(path.solutions.count == 20 && path.solutions[0].support.isEmpty)
        for (strength, solution) in zip(path.strengths, path.solutions) {
            #expect(solution.converged)
            let single = try CoordinateDescent(tolerance: 1e-11).solve(
                problem.with(penalty: L1(strength)))
            #expect(abs(single.objective - solution.objective) < 1e-9 * single.objective)
            #expect(largestDifference(single.coefficients, solution.coefficients) < 1e-4)
        }
        #expect(zip(path.explained, path.explained.dropFirst()).allSatisfy { $0 <= $1 + 1e-9 })
        let short = try RegularizationPath(problem, strengths: path.strengths, maximumSupport: 5)
        #expect(short.solutions.last!.support.count > 5 && short.solutions.dropLast().last!.support.count <= 5)
    }

    /// Few rows and long paths: solutions at the rank of the design, where what an earlier strength left in the model must not
    /// move by gradients that are out of date.
    @Test(arguments: [UInt64(1), 2, 3, 4]) func pathsOfFewRows(seed: UInt64) throws {
        let design = correlatedDesign(rows: 12, columns: 300, correlation: 0, seed: seed)
        var y = [Double](repeating: 0, count: 12)
        design.add(1, column: 0, to: &y)
        for i in 0..<12 { y[i] = i % 2 == 0 ? abs(y[i]) : -abs(y[i]) }
        let standardized = design.standardized(weights: [Double](repeating: 1.0 / 12, count: 12))
        let problem = try Problem(standardized, SquaredLoss(y), L1(1))
        let path = try RegularizationPath(problem, solver: ProximalNewton(maximumPasses: 30))
        #expect(path.solutions.allSatisfy { $0.converged && $0.support.count <= 11 })
        for index in [20, 50, 99] {
            let single = try CoordinateDescent(tolerance: 1e-8).solve(
                problem.with(penalty: L1(path.strengths[index])))
            #expect(abs(single.objective - path.solutions[index].objective) < 1e-6)
        }
    }

    @Test func theDefaultPathOfGroups() throws {
        let design = correlatedDesign(rows: 50, columns: 40)
        let y = target(design, nonzeros: 4, noise: 0.5)
        let problem = try Problem(
            design, SquaredLoss(y), GroupLasso(1, groups: .runs(of: 5, columns: 40), mixing: 0.2))
        let maximum = RegularizationPath.maximumStrength(problem)
        let path = try RegularizationPath(
            groups: problem, strengths: RegularizationPath.strengths(from: maximum * 1.0001, ratio: 0.1, count: 6))
        #expect(path.solutions[0].support.isEmpty && path.solutions.last!.support.count > 4)
        #expect(path.solutions.allSatisfy { $0.converged })
    }

    @Test func noPenaltyIsLeastSquares() throws {
        let design = correlatedDesign(rows: 40, columns: 6)
        let y = target(design, nonzeros: 6, noise: 1)
        let weights = (0..<40).map { Double($0 % 4) }
        for intercept in [true, false] {
            let problem = try Problem(
                design, SquaredLoss(y, weights: weights), L1(0), hasIntercept: intercept)
            for solver in Self.solvers {
                let solution = try solver.solve(problem)
                #expect(solution.converged)
                let eta = solution.predictors(design)
                var correlations = [Double](repeating: 0, count: 6)
                let residuals = (0..<40).map { weights[$0] * (eta[$0] - y[$0]) }
                design.correlations(nil, with: residuals, into: &correlations)
                #expect(correlations.allSatisfy { abs($0) < 1e-5 })
                if intercept { #expect(abs(residuals.reduce(0, +)) < 1e-5) }
            }
        }
    }

    @Test func standardisingIsAChangeOfScale() throws {
        let plain = correlatedDesign(rows: 50, columns: 20)
        let y = target(plain, nonzeros: 4, noise: 0.5)
        let uniform = [Double](repeating: 1.0 / 50, count: 50)
        let standardized = plain.standardized(weights: uniform)
        let scales = try #require(standardized.inverseScales)
        let problem = try Problem(standardized, SquaredLoss(y), L1(0.1))
        let solution = try ProximalNewton(tolerance: 1e-12).solve(problem)
        let back = solution.unscaled(standardized)
        #expect(largestDifference(back.predictors(plain), solution.predictors(standardized)) < 1e-10)
        // The same as penalising each column by its scale.
        let weighted = try ProximalNewton(tolerance: 1e-12).solve(
            Problem(plain, SquaredLoss(y), WeightedL1(0.1, factors: scales.map { 1 / $0 })))
        #expect(largestDifference(back.coefficients, weighted.coefficients) < 1e-6)
    }

    @Test func aGramMatrixIsEnough() throws {
        let design = correlatedDesign(rows: 50, columns: 30)
        let y = target(design, nonzeros: 5, noise: 0.5)
        let weights = [Double](repeating: 1.0 / 50, count: 50)
        let all = (0..<30).map { UInt32($0) }
        var gram = Tensor<Double>(zeros: [30, 30])
        gram.withMutablePointer {
            design.gram(all, all, weights: weights, totalWeight: 1, means: nil, into: $0, leading: 30)
        }
        var linear = [Double](repeating: 0, count: 30)
        design.correlations(nil, with: y.map { $0 / 50 }, into: &linear)
        let model = try QuadraticModel(gram: gram)
        let found = model.minimize(linear: linear, L1(0.1), tolerance: 1e-12)
        let expected = try ProximalNewton(tolerance: 1e-13).solve(
            Problem(design, SquaredLoss(y), L1(0.1), hasIntercept: false))
        #expect(found.converged && largestDifference(found.coefficients, expected.coefficients) < 1e-7)
        let again = model.minimize(linear: linear, L1(0.1), from: found.coefficients, tolerance: 1e-10)
        #expect(largestDifference(again.coefficients, found.coefficients) < 1e-9)
        #expect(throws: LacunaError.self) { try QuadraticModel(gram: Tensor([1, 2, 3, 4], shape: [2, 2])) }
        #expect(throws: LacunaError.self) { try QuadraticModel(gram: Tensor([-1], shape: [1, 1])) }
        #expect(throws: LacunaError.self) { try QuadraticModel(gram: Tensor(zeros: [1, 2])) }
    }

    @Test func threadsChangeNothing() throws {
        let design = correlatedDesign(rows: 100, columns: 3000)
        let y = target(design, nonzeros: 10, noise: 0.5)
        let problem = try Problem(design, SquaredLoss(y), L1(0.1))
        let before = Parallel.threads
        defer { Parallel.threads = before }
        let results = try [1, 2, 3].map { threads in
            Parallel.threads = threads
            return try ProximalNewton().solve(problem)
        }
        #expect(results[0] == results[1] && results[0] == results[2])
    }

    @Test func unsupportedCombinationsSaySo() throws {
        let design = correlatedDesign(rows: 10, columns: 3)
        let poisson = try Problem(design, PoissonLoss([Double](repeating: 1, count: 10)), L1(1))
        #expect(throws: LacunaError.self) { try CoordinateDescent().solve(poisson) }
        let classes = try MultinomialLoss(classes: (0..<10).map { $0 % 3 }, count: 3)
        #expect(throws: LacunaError.self) { try ProximalNewton().solve(Problem(design, classes, L1(1))) }
        #expect(throws: LacunaError.self) { try Problem(design, SquaredLoss([1, 2]), L1(1)) }
        #expect(throws: LacunaError.self) {
            try Problem(design, SquaredLoss((0..<10).map { Double($0) }), GroupLasso(1, groups: .singletons(4)))
        }
    }
}
