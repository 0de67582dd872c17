import LacunaTensor
import Testing

@testable import LacunaRegress

/// Blocks of any loss and any separable penalty, against the solver that works otherwise.
@Suite struct ProximalBlockTests {
    private static func logistic(seed: UInt64 = 3, columns: Int = 24) throws -> Problem<LogisticLoss, L1> {
        let design = correlatedDesign(rows: 60, columns: columns, seed: seed)
        let y = target(design, nonzeros: 4, noise: 0.5).map { $0 > 0 ? 1.0 : 0 }
        return try Problem(design, LogisticLoss(y), L1(0.02))
    }

    @Test(arguments: ProximalBlockDescent.Rule.allCases, ProximalBlockDescent.Update.allCases)
    func reachesTheMinimum(rule: ProximalBlockDescent.Rule, update: ProximalBlockDescent.Update) throws {
        let solver = ProximalBlockDescent(rule: rule, update: update, blockSize: 4, tolerance: 1e-9)
        let problem = try Self.logistic()
        let exact = try ProximalNewton(tolerance: 1e-13).solve(problem)
        let found = try solver.solve(problem)
        #expect(found.converged && largestDifference(found.coefficients, exact.coefficients) < 1e-3)
        #expect(abs(found.objective - exact.objective) < 1e-8 && abs(found.intercept - exact.intercept) < 1e-3)
        let trace = try solver.trace(problem, iterations: 200)
        #expect(zip(trace.values, trace.values.dropFirst()).allSatisfy { $1 <= $0 + 1e-13 }, "never uphill")
        #expect(trace.values.last! >= exact.objective - 1e-13 && trace.values.count == 200)
        // A squared loss, whose slopes are kept up to date otherwise, on a sparse design without intercept.
        let design = try SparseDesign(correlatedDesign(rows: 40, columns: 15, seed: 5))
        let squared = try Problem(
            design, SquaredLoss((0..<40).map { Double($0 % 7) - 3 }), L1(0.1), hasIntercept: false)
        let other = try ProximalNewton(tolerance: 1e-13).solve(squared)
        let own = try solver.solve(squared)
        #expect(own.converged && abs(own.objective - other.objective) < 1e-7)
    }

    /// What each rule promises, written out: the score of every coordinate at 0.
    @Test func rulesChooseByTheirScores() throws {
        let problem = try Self.logistic(columns: 9)
        let design = problem.design
        let y = target(correlatedDesign(rows: 60, columns: 9, seed: 3), nonzeros: 4, noise: 0.5).map {
            $0 > 0 ? 1.0 : 0
        }
        // Widths that differ, so that curvatures do.
        let wide = design.scaled(by: (0..<9).map { 0.2 + Double(($0 * 5) % 9) })
        let scaled = try Problem(wide, LogisticLoss(y), L1(0.01))
        let mean = y.reduce(0, +) / 60
        var (g, l) = ([Double](repeating: 0, count: 9), [Double](repeating: 0, count: 9))
        wide.correlations(nil, with: y.map { (mean - $0) / 60 }, into: &g)
        wide.squaredNorms(weights: [Double](repeating: 0.25 / 60, count: 60), into: &l)
        let excess = g.map { max(0, abs($0) - 0.01) }
        let scores: [(ProximalBlockDescent.Rule, [Double])] = [
            (.gaussSouthwell, excess), (.gaussSouthwellLipschitz, zip(excess, l).map { $0 / $1.squareRoot() }),
            (.gaussSouthwellQuadratic, zip(excess, l).map { $0 * $0 / (2 * $1) }),
        ]
        for (rule, expected) in scores {
            let best = expected.indices.max { expected[$0] < expected[$1] }
            let trace = try ProximalBlockDescent(rule: rule, update: .gradient, blockSize: 1).trace(
                scaled, iterations: 1)
            #expect(trace.solution.support == [best!], "\(rule)")
            #expect(trace.identification == 1)
        }
        let cyclic = try ProximalBlockDescent(rule: .cyclic, update: .gradient, blockSize: 2).trace(
            scaled, iterations: 3)
        #expect(Set(cyclic.solution.support).isSubset(of: 0..<6))
    }

    /// One proximal step of one block, by hand.
    @Test func stepsByABound() throws {
        let design = DenseDesign(columnMajor: [1, 2, -1, 3, 0, 2, 1, -2], rows: 4)
        let y = [1.0, -1, 2, 0.5]
        let problem = try Problem(design, SquaredLoss(y), L1(0.2), hasIntercept: false)
        let found = try ProximalBlockDescent(rule: .cyclic, update: .gradient, blockSize: 2).trace(
            problem, iterations: 1)
        // Gram [[15, -3], [-3, 9]] / 4: its largest eigenvalue is (24 + √72) / 8.
        let l = (24 + 72.0.squareRoot()) / 8
        let slope = [-(1.0 - 2 - 2 + 1.5) / 4, -(-2.0 + 2 - 1) / 4]
        let expected = slope.map { g in
            let v = -g / l
            return v > 0 ? max(0, v - 0.2 / l) : min(0, v + 0.2 / l)
        }
        #expect(largestDifference(found.solution.coefficients, expected) < 1e-12)
        // A block of everything is solved by one Newton step where the loss is quadratic.
        let all = try ProximalBlockDescent(rule: .cyclic, update: .newton, blockSize: 2).trace(problem, iterations: 1)
        let exact = try ProximalNewton(tolerance: 1e-14).solve(problem)
        #expect(largestDifference(all.solution.coefficients, exact.coefficients) < 1e-8)
    }

    @Test func otherLossesAndPenalties() throws {
        let design = correlatedDesign(rows: 50, columns: 12, seed: 8)
        let counts = target(design, nonzeros: 3, noise: 0.2).map { Double(Int(exponential(min($0 / 2, 3)))) }
        let poisson = try Problem(design, PoissonLoss(counts), L1(0.05))
        let exact = try ProximalNewton(tolerance: 1e-12).solve(poisson)
        for update in [ProximalBlockDescent.Update.lineSearched, .newton] {
            let found = try ProximalBlockDescent(update: update, blockSize: 3, tolerance: 1e-9).solve(poisson)
            #expect(found.converged && abs(found.objective - exact.objective) < 1e-7 * abs(exact.objective) + 1e-8)
        }
        #expect(throws: LacunaError.self) { try ProximalBlockDescent(update: .gradient).solve(poisson) }

        let classes = (0..<50).map { $0 % 3 }
        let multinomial = try Problem(design, MultinomialLoss(classes: classes, count: 3), L1(0.02))
        let reference = try CoordinateDescent(tolerance: 1e-12).solve(multinomial)
        for update in ProximalBlockDescent.Update.allCases {
            let found = try ProximalBlockDescent(update: update, blockSize: 5, tolerance: 1e-8).solve(multinomial)
            #expect(found.converged && abs(found.objective - reference.objective) < 1e-7, "\(update)")
        }
        // Not convex: stationary, and zeros are exact.
        let y = target(design, nonzeros: 3, noise: 0.3)
        for update in ProximalBlockDescent.Update.allCases {
            let folded = try ProximalBlockDescent(update: update, blockSize: 3, tolerance: 1e-7).solve(
                Problem(design, SquaredLoss(y), MCP(0.3, shape: 3)))
            #expect(folded.converged && folded.support.count < 12, "\(update)")
        }
        let bounded = try ProximalBlockDescent(blockSize: 3, tolerance: 1e-9).solve(
            Problem(design, SquaredLoss(y), NonNegativeL1(0.05)))
        #expect(bounded.converged && bounded.values.allSatisfy { $0 > 0 })
    }

    /// Once the zeros are identified, Newton steps on a block that holds the others leave nothing within a few steps.
    @Test func superlinearAfterIdentification() throws {
        let problem = try Self.logistic(seed: 4, columns: 30)
        let exact = try ProximalNewton(tolerance: 1e-14).solve(problem)
        let size = exact.support.count + 2
        let newton = try ProximalBlockDescent(update: .newton, blockSize: size).trace(problem, iterations: 40)
        let gradient = try ProximalBlockDescent(update: .gradient, blockSize: size).trace(problem, iterations: 40)
        #expect(newton.solution.support == exact.support && newton.identification < 30)
        #expect(abs(newton.values[39] - exact.objective) < 1e-12)
        #expect(gradient.values[39] > newton.values[39] + 1e-6)
    }

    @Test func columnsThatSayNothing() throws {
        var columns = [Double](repeating: 0, count: 60)
        for k in 0..<60 where k / 20 != 1 { columns[k] = Double((k * 7) % 11) }
        let values = DenseDesign(columnMajor: columns, rows: 20)
        let problem = try Problem(values, SquaredLoss((0..<20).map { Double($0 % 5) }), L1(0.01))
        for update in ProximalBlockDescent.Update.allCases {
            let found = try ProximalBlockDescent(rule: .cyclic, update: update, blockSize: 2).solve(problem)
            #expect(found.converged && found.coefficients[1] == 0)
        }
        // Nothing to do at a strength that leaves nothing.
        let none = try ProximalBlockDescent().trace(problem.with(penalty: L1(1e3)), iterations: 5)
        #expect(none.solution.support.isEmpty && none.identification == 0)
    }
}
