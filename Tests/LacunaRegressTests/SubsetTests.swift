import Foundation
import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaRegress

/// SLOPE and best subsets, against definitions, brute force and skglm.
@Suite struct SubsetTests {
    // MARK: SLOPE

    @Test func proximalPoints() throws {
        var random = SeededGenerator(seed: 5)
        for round in 0..<30 {
            let count = 2 + round % 6
            let factors = (0..<count).map { _ in random.uniform() }.sorted(by: >).map { $0 + 0.01 }
            let penalty = try SortedL1(0.7, factors: factors)
            // Ties too.
            let v = (0..<count).map { _ in (4 * random.normal()).rounded() / 2 }
            var z = v
            penalty.proximal(&z, step: 1.3, columns: count, outputs: 1)
            func cost(_ z: [Double]) -> Double {
                // By the definition: the dearest pairing of factors with sizes.
                let sizes = z.map { abs($0) }.sorted(by: >)
                let paid = zip(sizes, factors).reduce(0) { $0 + 0.7 * $1.0 * $1.1 }
                return zip(z, v).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) / 2 } + 1.3 * paid
            }
            for _ in 0..<200 {
                let other = z.map { $0 + 0.1 * random.normal() }
                #expect(cost(other) >= cost(z) - 1e-12)
            }
            // What is left of the way pulls exactly as hard as the penalty.
            let pull = zip(z, v).map { ($0 - $1) / 1.3 }
            let ones = z.map { _ in 1.0 }
            #expect(penalty.distance(z, gradient: pull, lipschitz: ones, columns: count, outputs: 1) < 1e-12)
            #expect(
                penalty.distance(z, gradient: pull.map { $0 - 0.5 }, lipschitz: ones, columns: count, outputs: 1) > 0)
            #expect(
                abs(
                    penalty.value(z, columns: count, outputs: 1) * 1.3
                        + zip(z, v).reduce(0) {
                            $0 + ($1.0 - $1.1) * ($1.0 - $1.1) / 2
                        } - cost(z)) < 1e-12)
        }
        #expect(Isotonic.falling([3, 1, 2, 2, 5, 0]) == [3, 2.5, 2.5, 2.5, 2.5, 0])
    }

    @Test func sortedFitsOfSkglm() throws {
        let data = try CoxTests.Survival()
        let loss = try SquaredLoss(Peers.numbers(data.document["target"]))
        for item in try #require(data.document["slopes"]?.arrayValue) {
            let penalty = try SortedL1(
                item["strength"]?.doubleValue ?? 0, factors: Peers.numbers(item["factors"]))
            let solution = try SortedDescent(tolerance: 1e-12).solve(Problem(data.design, loss, penalty))
            #expect(solution.converged)
            #expect(largestDifference(solution.coefficients, Peers.numbers(item["coefficients"])) < 1e-5)
        }
    }

    /// With equal factors it is the lasso, also through working sets; the gap bounds what is missing.
    @Test func sortedIsTheLassoForEqualFactors() throws {
        for columns in [30, 250] {
            let design = correlatedDesign(rows: 60, columns: columns)
            let y = target(design, nonzeros: 5, noise: 0.5)
            let loss = try SquaredLoss(y)
            let ones = [Double](repeating: 1, count: columns)
            let lasso = try ProximalNewton(tolerance: 1e-12).solve(Problem(design, loss, L1(0.2)))
            let same = try SortedDescent(tolerance: 1e-11).solve(
                Problem(design, loss, SortedL1(0.2, factors: ones)))
            #expect(same.converged && largestDifference(same.coefficients, lasso.coefficients) < 1e-5)
            // Falling factors: through working sets as without.
            let penalty = try SortedL1(
                0.4, factors: SortedL1.Sequence.falseDiscoveries(rate: 0.2).factors(columns: columns))
            let problem = try Problem(design, loss, penalty)
            let whole = try FISTA(tolerance: 1e-11).minimize(problem, from: nil)
            let parts = try SortedDescent(tolerance: 1e-11).solve(problem)
            #expect(parts.converged && largestDifference(parts.coefficients, whole.coefficients) < 1e-5)
            for tolerance in [1e-1, 1e-3] {
                let rough = try SortedDescent(tolerance: tolerance).solve(problem)
                guard case .dualityGap(let gap, let relative) = rough.certificate else {
                    Issue.record("no gap")
                    return
                }
                #expect(relative <= tolerance && problem.objective(rough) - whole.objective <= gap + 1e-13)
            }
            let maximum = RegularizationPath.maximumStrength(problem)
            let above = try SortedDescent().solve(problem.with(penalty: penalty.with(strength: 1.0001 * maximum)))
            let below = try SortedDescent().solve(problem.with(penalty: penalty.with(strength: 0.999 * maximum)))
            #expect(above.support.isEmpty && !below.support.isEmpty)
        }
    }

    /// Two columns that tell the same get the same, which the lasso does not promise.
    @Test func sortedTreatsAlikeColumnsAlike() throws {
        let base = correlatedDesign(rows: 50, columns: 6, correlation: 0)
        var values: [Double] = []
        for j in [0, 1, 2, 3, 4, 5] {
            var column = [Double](repeating: 0, count: 50)
            base.add(1, column: j, to: &column)
            values += column
        }
        var random = SeededGenerator(seed: 2)
        values += values[0..<50].map { $0 + 0.1 * random.normal() }
        let design = DenseDesign(columnMajor: values, rows: 50)
        let y = (0..<50).map { values[$0] + values[300 + $0] + 0.3 * random.normal() }
        let penalty = try SortedL1(0.5, factors: SortedL1.Sequence.line(to: 0).factors(columns: 7))
        let solution = try SortedDescent(tolerance: 1e-11).solve(Problem(design, SquaredLoss(y), penalty))
        #expect(solution.coefficients[0] > 0.1 && solution.coefficients[0] == solution.coefficients[6])
    }

    @Test func sequences() throws {
        let factors = try SortedL1.Sequence.falseDiscoveries(rate: 0.1).factors(columns: 5)
        // Normal quantiles of 0.99, 0.98 … from tables.
        let expected = [2.326347874, 2.053748911, 1.880793608, 1.750686071, 1.644853627]
        #expect(largestDifference(factors, expected.map { $0 / expected[0] }) < 1e-9)
        #expect(abs(NormalDistribution.quantile(1e-12) + 7.034483825) < 1e-8)
        #expect(try largestDifference(SortedL1.Sequence.line(to: 0.2).factors(columns: 3), [1, 0.6, 0.2]) < 1e-15)
        #expect(throws: LacunaError.self) { try SortedL1(1, factors: [1, 2]) }
        #expect(throws: LacunaError.self) { try SortedL1(1, factors: [0, 0]) }
        #expect(throws: LacunaError.self) { try SortedL1(-1, factors: [1]) }
        #expect(throws: LacunaError.self) { try SortedL1.Sequence.falseDiscoveries(rate: 1).factors(columns: 3) }
        #expect(throws: LacunaError.self) { try Estimator(.slope(.line(to: 2))).validate() }
    }

    // MARK: Best subsets

    private static func sets(of count: Int, size: Int) -> [[Int]] {
        if size == 0 { return [[]] }
        return (0..<count).flatMap { first in
            sets(of: count - first - 1, size: size - 1).map { [first] + $0.map { $0 + first + 1 } }
        }
    }

    /// Every set by itself, least squares by the normal equations.
    private static func squares(
        _ design: DenseDesign, _ y: [Double], _ weights: [Double], _ set: [Int], hasIntercept: Bool
    ) throws -> Double {
        let n = y.count
        var columns = set.map { j in
            var column = [Double](repeating: 0, count: n)
            design.add(1, column: j, to: &column)
            return column
        }
        if hasIntercept { columns.append([Double](repeating: 1, count: n)) }
        let m = columns.count
        var (gram, right) = (Tensor<Double>(zeros: [m, m]), Tensor<Double>(zeros: [m, 1]))
        for a in 0..<m {
            for b in 0..<m { gram[a, b] = (0..<n).reduce(0) { $0 + weights[$1] * columns[a][$1] * columns[b][$1] } }
            right[a, 0] = (0..<n).reduce(0) { $0 + weights[$1] * columns[a][$1] * y[$1] }
        }
        let beta = try gram.solvePositiveDefinite(right)
        let total = weights.reduce(0, +)
        return (0..<n).reduce(0) { sum, i in
            let r = y[i] - (0..<m).reduce(0) { $0 + beta[$1, 0] * columns[$1][i] }
            return sum + weights[i] / total * r * r / 2
        }
    }

    @Test(arguments: [true, false]) func bestOfAllSets(hasIntercept: Bool) throws {
        let design = correlatedDesign(rows: 25, columns: 9, correlation: 0.8, seed: 4)
        var random = SeededGenerator(seed: 8)
        let y = target(design, nonzeros: 4, noise: 1.5).map { $0 + 3 }
        let weights = y.map { _ in 0.2 + random.uniform() }
        let problem = try Problem(design, SquaredLoss(y, weights: weights), L1(0), hasIntercept: hasIntercept)
        let found = try BestSubset().solve(problem, sizes: 1...5)
        for size in 1...5 {
            let all = try Self.sets(of: 9, size: size).map {
                ($0, try Self.squares(design, y, weights, $0, hasIntercept: hasIntercept))
            }
            let best = try #require(all.min { $0.1 < $1.1 })
            #expect(found[size - 1].solution.support == best.0 && found[size - 1].standing == .best)
            #expect(abs(problem.objective(found[size - 1].solution) - best.1) < 1e-10)
            // The proof itself finds the best set from the worst.
            let worst = try #require(all.max { $0.1 < $1.1 })
            let search = QuadraticSubsets(problem)
            #expect(abs(search.loss(worst.0) - worst.1) < 1e-10)
            #expect(try search.proven(worst.0, maximumBounds: 10_000)?.sorted() == best.0)
            #expect(try search.proven(worst.0, maximumBounds: 1) == nil)
        }
    }

    @Test func bestOfAllSetsOfClasses() throws {
        let design = correlatedDesign(rows: 60, columns: 7, correlation: 0.7, seed: 6)
        let signal = target(design, nonzeros: 3, noise: 1)
        let loss = try LogisticLoss(signal.map { $0 > 0 ? 1 : 0 })
        let problem = try Problem(design, loss, L1(0))
        for (place, found) in try BestSubset().solve(problem, sizes: 1...3).enumerated() {
            let losses = try Self.sets(of: 7, size: place + 1).map { set in
                try ProximalNewton(tolerance: 1e-10).solve(Problem(ColumnSubset(design, set), loss, L1(0))).objective
            }
            let best = try #require(losses.min())
            #expect(abs(problem.objective(found.solution) - best) < 1e-7, "\(place) \(losses.sorted().prefix(3))")
            #expect(found.standing == .spliced && found.solution.support.count == place + 1)
        }
    }

    @Test func moreColumnsThanRows() throws {
        let design = correlatedDesign(rows: 40, columns: 120, correlation: 0.3)
        let y = target(design, nonzeros: 3, noise: 0.2)
        let table = try Table(design, target: y)
        let fit = try Estimator(.subset(size: 3)).fit(table)
        #expect(fit.model.selected == ["1", "41", "81"] && fit.standing == .exchanged && fit.strength == 3)
        #expect(fit.validation == nil && fit.remarks.count == 1)
        let chosen = try Estimator(.subset(size: nil)).fit(table)
        #expect(chosen.model.selected == ["1", "41", "81"] && chosen.validation != nil)
        // The same columns whatever the units.
        let far = try Table(design.scaled(by: (0..<120).map { $0 % 2 == 0 ? 1e8 : 1e-8 }), target: y.map { $0 * 1e6 })
        #expect(try Estimator(.subset(size: 3)).fit(far).model.selected == ["1", "41", "81"])
    }

    @Test func whatDoesNotCombine() throws {
        let design = correlatedDesign(rows: 20, columns: 4)
        let table = try Table(design, target: target(design, nonzeros: 2, noise: 0.1))
        #expect(throws: LacunaError.self) { try Estimator(.subset(size: 5)).fit(table) }
        #expect(throws: LacunaError.self) { try Estimator(.subset(size: 0)).fit(table) }
        #expect(throws: LacunaError.self) { try Estimator(.subset(size: 2), strength: 0.1).fit(table) }
        #expect(throws: LacunaError.self) { try Estimator(.subset(size: 2), family: .multinomial).validate() }
        var relaxed = Estimator(.subset(size: 2))
        relaxed.isRelaxed = true
        #expect(throws: LacunaError.self) { try relaxed.validate() }
        // A column that is the sum of others is never one too many.
        var values: [Double] = []
        for j in 0..<3 {
            var column = [Double](repeating: 0, count: 20)
            design.add(1, column: j, to: &column)
            values += column
        }
        values += (0..<20).map { values[$0] + values[20 + $0] }
        let dependent = try Problem(
            DenseDesign(columnMajor: values, rows: 20), SquaredLoss((0..<20).map { values[60 + $0] + values[40 + $0] }),
            L1(0))
        let found = try BestSubset().solve(dependent, sizes: 1...4)
        #expect(found[1].solution.support == [2, 3] && found.allSatisfy { $0.solution.converged })
        #expect(found[3].solution.support.count <= 3)
    }
}
