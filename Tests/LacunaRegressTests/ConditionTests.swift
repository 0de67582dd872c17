import LacunaRegress
import LacunaTensor
import Testing

/// Conditions of optimality written out from the definitions, apart from the penalties' own code.
@Suite struct ConditionTests {
    /// For groups of different sizes: `‖soft(x_gᵀ r/n, αλ)‖ ≤ (1 - α) λ √n_g`, with equality and direction where a group
    /// is not 0.
    @Test(arguments: [0.0, 0.3, 0.8]) func sparseGroupLasso(mixing: Double) throws {
        let design = correlatedDesign(rows: 50, columns: 10, seed: 12)
        let y = target(design, nonzeros: 4, noise: 0.5)
        let groups = try Groups([[0], [1, 2], [3, 4, 5, 6, 7], [8, 9]], columns: 10)
        let strength = 0.25
        let problem = try Problem(
            design, SquaredLoss(y), GroupLasso(strength, groups: groups, mixing: mixing), hasIntercept: false)
        for solver in [BlockCoordinateDescent(tolerance: 1e-13), FISTA(tolerance: 1e-13)] as [any GroupSolver] {
            let solution = try solver.solve(problem, from: nil)
            let beta = solution.coefficients
            let residuals = zip(y, solution.predictors(design)).map { $0 - $1 }
            var correlation = [Double](repeating: 0, count: 10)
            design.correlations(nil, with: residuals.map { $0 / 50 }, into: &correlation)
            var (active, idle) = (0, 0)
            for members in groups.members {
                let size = Double(members.count).squareRoot()
                let length = members.reduce(0) { $0 + beta[$1] * beta[$1] }.squareRoot()
                if length == 0 {
                    idle += 1
                    let left = members.reduce(0) {
                        let rest = max(0, abs(correlation[$1]) - mixing * strength)
                        return $0 + rest * rest
                    }
                    #expect(left.squareRoot() <= (1 - mixing) * strength * size + 1e-6)
                    continue
                }
                active += 1
                for j in members {
                    if beta[j] == 0 {
                        #expect(abs(correlation[j]) <= mixing * strength + 1e-6)
                    } else {
                        let pull =
                            mixing * strength * (beta[j] > 0 ? 1 : -1)
                            + (1 - mixing) * strength * size * beta[j] / length
                        #expect(abs(correlation[j] - pull) < 1e-5, "\(solver) \(j)")
                    }
                }
            }
            #expect(active >= 1 && idle >= 1, "\(active) \(idle)")
        }
    }
}
