import LacunaRegress
import LacunaTensor
import Testing

/// Coefficients equal those of scikit-learn, celer and skglm.
@Suite struct PeerTests {
    private static let peers = Peers.shared

    private func expectEqual(_ solution: Solution, _ expected: Peers.Case, within limit: Double = 1e-6) {
        #expect(solution.converged, "\(solution.certificate)")
        #expect(largestDifference(solution.coefficients, expected.coefficients) < limit, "\(solution.certificate)")
        let shift = expected.number("shift")
        if expected.hasIntercept {
            #expect(largestDifference(solution.intercepts, expected.intercepts) < limit + abs(shift))
        }
    }

    private func squared(_ expected: Peers.Case) throws -> SquaredLoss {
        let peers = Self.peers
        if expected.design == "orthogonal" { return try SquaredLoss(peers["orthogonalTarget"]) }
        return try SquaredLoss(
            peers["target"], weights: expected.settings["weighted"]?.boolValue == true ? peers["weights"] : nil)
    }

    private func solve<F: Datafit, P: SeparablePenalty>(
        _ expected: Peers.Case, _ datafit: F, _ penalty: P, _ solvers: [any SeparableSolver]? = nil
    ) throws {
        let solvers: [any SeparableSolver] =
            solvers ?? [
                ProximalNewton(tolerance: 1e-14), CoordinateDescent(tolerance: 1e-14), FISTA(tolerance: 1e-13),
            ]
        let problem = try Problem(
            try Self.peers.design(expected.design), datafit, penalty, hasIntercept: expected.hasIntercept)
        for solver in solvers {
            let solution = try solver.solve(problem)
            expectEqual(solution, expected, within: solver is FISTA ? 1e-5 : 1e-6)
            #expect(abs(problem.objective(solution) - solution.objective) < 1e-12 * (1 + abs(solution.objective)))
        }
    }

    @Test(arguments: peers.cases) func coefficients(_ expected: Peers.Case) throws {
        let peers = Self.peers
        switch expected.kind {
        case "lasso":
            try solve(expected, squared(expected), L1(expected.strength))
            try solve(
                expected, squared(expected),
                WeightedL1(expected.strength, factors: [Double](repeating: 1, count: peers.columns)))
        case "elastic-net":
            try solve(
                expected, squared(expected), ElasticNet(expected.strength, mixing: expected.number("mixing")))
        case "non-negative": try solve(expected, squared(expected), NonNegativeL1(expected.strength))
        case "mcp":
            try solve(
                expected, squared(expected), MCP(expected.strength, shape: 3),
                [ProximalNewton(tolerance: 1e-10), CoordinateDescent(tolerance: 1e-10)])
        case "scad":
            try solve(
                expected, squared(expected), SCAD(expected.strength),
                [ProximalNewton(tolerance: 1e-10), CoordinateDescent(tolerance: 1e-10)])
        case "logistic":
            try solve(expected, LogisticLoss(peers["labels"]), L1(expected.strength))
        case "huber":
            try solve(
                expected, HuberLoss(peers["target"].map { $0 - 3 }, delta: expected.number("delta")),
                L1(expected.strength))
        case "poisson":
            try solve(
                expected, PoissonLoss(peers["counts"]), L1(expected.strength),
                [ProximalNewton(tolerance: 1e-13), FISTA(tolerance: 1e-12)])
        case "multinomial":
            let loss = try MultinomialLoss(classes: peers["classes"].map { Int($0) }, count: 3)
            let problem = try Problem(peers.dense, loss, L1(expected.strength))
            for solver in [FISTA(tolerance: 1e-12), CoordinateDescent(tolerance: 1e-12)] as [any SeparableSolver] {
                let solution = try solver.solve(problem)
                #expect(solution.converged)
                #expect(largestDifference(solution.coefficients, expected.coefficients) < 1e-5)
                // Intercepts are determined up to a common constant.
                let mean = { (v: [Double]) in v.map { $0 - v.reduce(0, +) / Double(v.count) } }
                #expect(largestDifference(mean(solution.intercepts), mean(expected.intercepts)) < 1e-5)
            }
        case "group-lasso":
            let groups = Groups.runs(of: Int(expected.number("size")), columns: peers.columns)
            let factors = [Double](repeating: 1, count: groups.count)
            let penalty = GroupLasso(expected.strength, groups: groups, factors: factors)
            let problem = try Problem(peers.dense, squared(expected), penalty, hasIntercept: false)
            expectEqual(try BlockCoordinateDescent(tolerance: 1e-13).solve(problem, from: nil), expected)
            expectEqual(try FISTA(tolerance: 1e-13).solve(problem, from: nil), expected)
        case "multi-task":
            let loss = try SquaredLoss(tasks: (0..<2).map { Array(peers["tasks"][($0 * 40)..<(($0 + 1) * 40)]) })
            let penalty = GroupLasso(
                expected.strength, groups: .singletons(peers.columns),
                factors: [Double](repeating: 1, count: peers.columns))
            let problem = try Problem(peers.dense, loss, penalty)
            expectEqual(try BlockCoordinateDescent(tolerance: 1e-13).solve(problem, from: nil), expected)
            expectEqual(try FISTA(tolerance: 1e-13).solve(problem, from: nil), expected)
        default: Issue.record("no such kind: \(expected.kind)")
        }
    }
}
