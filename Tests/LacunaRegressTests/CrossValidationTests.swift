import LacunaTensor
import Testing

@testable import LacunaRegress

@Suite struct CrossValidationTests {
    @Test func foldsAreEvenSeededAndStratified() {
        let folds = CrossValidation.folds(rows: 23, count: 5, seed: 1)
        let sizes = (0..<5).map { fold in folds.count { $0 == fold } }
        #expect(sizes.sorted() == [4, 4, 5, 5, 5])
        #expect(folds == CrossValidation.folds(rows: 23, count: 5, seed: 1))
        #expect(folds != CrossValidation.folds(rows: 23, count: 5, seed: 2))
        let strata = (0..<40).map { $0 % 4 == 0 ? 1 : 0 }
        let stratified = CrossValidation.folds(rows: 40, count: 5, seed: 3, strata: strata)
        for fold in 0..<5 { #expect((0..<40).count { stratified[$0] == fold && strata[$0] == 1 } == 2) }
    }

    /// Tells what it is told, and wants to stop when it is asked for the fifth time.
    private final class Impatient: ProgressReporter {
        let told = Locked<[String]>([])
        private let asked = Locked(0)

        func update(task: String, completed: Int, total: Int, detail: String) {
            told.withLock { $0.append("\(task) \(completed)") }
        }
        var isCancelled: Bool {
            asked.withLock {
                $0 += 1
                return $0 >= 5
            }
        }
    }

    /// Whoever cancels does not wait for a fold's whole path, whose steps are not told.
    @Test func workStopsInsideAFold() throws {
        let design = correlatedDesign(rows: 60, columns: 20)
        var estimator = Estimator(.lasso)
        let impatient = Impatient()
        estimator.progress = impatient
        let table = try Table(design, target: target(design, nonzeros: 3, noise: 0.5))
        #expect(throws: LacunaError.cancelled) { _ = try estimator.fit(table) }
        #expect(impatient.told.withLock { $0 } == ["cross-validation 0"])
    }

    @Test func tablesMayBringTheirFolds() throws {
        let design = correlatedDesign(rows: 40, columns: 6)
        let y = target(design, nonzeros: 2, noise: 0.5)
        let folds = CrossValidation.folds(rows: 40, count: 5, seed: 0)
        let own = try Estimator(.lasso).fit(Table(design, target: y, folds: folds)).validation
        #expect(try own?.losses == Estimator(.lasso).fit(Table(design, target: y)).validation?.losses)
        let other = try Estimator(.lasso).fit(Table(design, target: y, folds: (0..<40).map { $0 % 4 })).validation
        #expect(other?.losses != own?.losses)
        for bad in [[Int](repeating: 0, count: 40), (0..<40).map { $0 % 2 * 2 }, (0..<40).map { $0 % 2 - 1 }, [0, 1]] {
            #expect(throws: LacunaError.self) { _ = try Table(design, target: y, folds: bad) }
        }
    }

    /// Against fits of copied rows.
    @Test func lossesAreThoseOfRowsLeftOut() throws {
        let design = correlatedDesign(rows: 30, columns: 12)
        let y = target(design, nonzeros: 3, noise: 0.5)
        let folds = CrossValidation.folds(rows: 30, count: 3, seed: 5)
        let strengths = [0.5, 0.1, 0.02]
        let validation = try CrossValidation(
            Problem(design, SquaredLoss(y), L1(1)), strengths: strengths, folds: folds,
            solver: ProximalNewton(tolerance: 1e-12))
        func rows(_ keep: (Int) -> Bool) -> (DenseDesign, [Double]) {
            let chosen = (0..<30).filter { keep(folds[$0]) }
            var values: [Double] = []
            for j in 0..<12 {
                var column = [Double](repeating: 0, count: 30)
                design.add(1, column: j, to: &column)
                values += chosen.map { column[$0] }
            }
            return (DenseDesign(columnMajor: values, rows: chosen.count), chosen.map { y[$0] })
        }
        for (index, strength) in strengths.enumerated() {
            let losses = try (0..<3).map { fold in
                let (train, trainTarget) = rows { $0 != fold }
                let (test, testTarget) = rows { $0 == fold }
                let solution = try ProximalNewton(tolerance: 1e-12).solve(
                    Problem(train, SquaredLoss(trainTarget), L1(strength)))
                return try SquaredLoss(testTarget).value(solution.predictors(test))
            }
            let mean = losses.reduce(0, +) / 3
            #expect(abs(validation.losses[index] - mean) < 1e-6)
            let variance = losses.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 2
            #expect(abs(validation.standardErrors[index] - (variance / 3).squareRoot()) < 1e-6)
        }
        #expect(validation.converged)
    }

    @Test func theSimplestIsWithinOneError() throws {
        let design = correlatedDesign(rows: 100, columns: 60)
        let y = target(design, nonzeros: 4, noise: 1)
        let problem = try Problem(design, SquaredLoss(y), L1(1))
        let strengths = try RegularizationPath.strengths(
            from: RegularizationPath.maximumStrength(problem), ratio: 1e-2, count: 25)
        let validation = try CrossValidation(
            problem, strengths: strengths, folds: CrossValidation.folds(rows: 100, count: 5, seed: 1))
        let (best, simplest) = (validation.best, validation.simplest)
        #expect(simplest <= best && best > 0)
        #expect(validation.losses[simplest] <= validation.losses[best] + validation.standardErrors[best])
        #expect(
            simplest == 0
                || validation.losses[simplest - 1] > validation.losses[best] + validation.standardErrors[best])
        let path = try RegularizationPath(problem, strengths: strengths)
        let chosen = path.solutions[simplest]
        #expect((0..<4).allSatisfy { chosen.support.contains($0 * 15) }, "the true columns are found")
        #expect(throws: LacunaError.self) {
            try CrossValidation(problem, strengths: strengths, folds: [Int](repeating: 0, count: 100))
        }
    }

    /// Losses 2.5, 2.4, 2 and 2.1 of four folds. The best has a standard error of √(2/3 / 4) = 0.408, which 2.4 is within.
    @Test func theRuleOfOneError() {
        let losses = [[2.5, 2.5, 2.5, 2.5], [2.4, 2.4, 2.4, 2.4], [1, 2, 2, 3], [0.1, 0.1, 4.1, 4.1]]
        let validation = CrossValidation(strengths: [8, 4, 2, 1], losses: losses, converged: true)
        #expect(largestDifference(validation.losses, [2.5, 2.4, 2, 2.1]) < 1e-12)
        let errors = [0, 0, (2.0 / 12).squareRoot(), (16.0 / 12).squareRoot()]
        #expect(largestDifference(validation.standardErrors, errors) < 1e-12)
        #expect(validation.best == 2 && validation.simplest == 1)
        // In other units, and for a path that ended early.
        let scaled = validation.scaled(strengths: [80, 40, 20, 10, 5], losses: 3)
        #expect(scaled.strengths == [80, 40, 20, 10] && scaled.best == 2 && scaled.simplest == 1 && scaled.converged)
        #expect(largestDifference(scaled.losses, [7.5, 7.2, 6, 6.3]) < 1e-12)
        #expect(largestDifference(scaled.standardErrors, errors.map { 3 * $0 }) < 1e-12)
    }

    /// Strengths fall by one factor from step to step, a hundred of them to a hundredth unless it is said.
    @Test func strengthsFallEvenly() throws {
        let four = try RegularizationPath.strengths(from: 8, ratio: 0.125, count: 4)
        #expect(largestDifference(four, [8, 4, 2, 1]) < 1e-12)
        #expect(try RegularizationPath.strengths(from: 8, count: 1) == [8])
        let usual = try RegularizationPath.strengths(from: 8)
        #expect(usual.count == 100 && usual[0] == 8 && abs(usual[99] - 0.08) < 1e-12)
        for bad in [0, -1, Double.infinity, .nan] {
            #expect(throws: LacunaError.self) { try RegularizationPath.strengths(from: bad) }
        }
    }

    /// For least squares what is explained is R², by the weights of the rows.
    @Test func explainedIsTheShareOfTheVariance() throws {
        let design = correlatedDesign(rows: 30, columns: 4)
        let y = target(design, nonzeros: 2, noise: 0.7)
        let weights = (0..<30).map { Double(1 + $0 % 3) }
        let problem = try Problem(design, SquaredLoss(y, weights: weights), L1(1))
        let path = try RegularizationPath(problem, strengths: [10, 0.3, 0.01])
        let total = weights.reduce(0, +)
        let mean = zip(weights, y).reduce(0) { $0 + $1.0 * $1.1 } / total
        let spread = zip(weights, y).reduce(0) { $0 + $1.0 * ($1.1 - mean) * ($1.1 - mean) }
        for (solution, explained) in zip(path.solutions, path.explained) {
            let predicted = solution.predictors(design)
            var left = 0.0
            for i in 0..<30 { left += weights[i] * (y[i] - predicted[i]) * (y[i] - predicted[i]) }
            #expect(abs(explained - (1 - left / spread)) < 1e-9)
        }
        #expect(abs(path.explained[0]) < 1e-9 && path.explained[2] > 0.5)
    }

    @Test func groupsAndClasses() throws {
        let design = correlatedDesign(rows: 60, columns: 20)
        let y = target(design, nonzeros: 2, noise: 0.5)
        let folds = CrossValidation.folds(rows: 60, count: 4, seed: 2)
        let grouped = try Problem(design, SquaredLoss(y), GroupLasso(1, groups: .runs(of: 4, columns: 20)))
        let strengths = try RegularizationPath.strengths(
            from: RegularizationPath.maximumStrength(grouped), ratio: 0.05, count: 8)
        #expect(try CrossValidation(groups: grouped, strengths: strengths, folds: folds).best > 0)
        let logistic = try Problem(design, LogisticLoss(y.map { $0 > 0 ? 1 : 0 }), L1(1))
        let path = try RegularizationPath.strengths(
            from: RegularizationPath.maximumStrength(logistic), ratio: 0.05, count: 8)
        let validation = try CrossValidation(logistic, strengths: path, folds: folds)
        #expect(validation.best > 0 && validation.losses[0] > validation.losses[validation.best])
    }

    /// Rows of folds weigh 0, others unlike each other; short sparse columns are walked without a Gram matrix.
    @Test func sparseColumnsAreTheSameAsDenseOnes() throws {
        let (rows, columns) = (60, 90)
        var generator = SeededGenerator(seed: 4, stream: 0)
        var values = [Double](repeating: 0, count: rows * columns)
        for k in values.indices where Double.random(in: 0..<1, using: &generator) < 0.15 {
            values[k] = Double.random(in: -1..<2, using: &generator)
        }
        let dense = DenseDesign(columnMajor: values, rows: rows)
        let sparse = try SparseDesign(dense)
        let y = target(dense, nonzeros: 5, noise: 0.5)
        let weights = (0..<rows).map { _ in Double.random(in: 0.2..<2, using: &generator) }
        let folds = CrossValidation.folds(rows: rows, count: 4, seed: 6)
        let strengths = [0.2, 0.05, 0.01]
        for hasIntercept in [true, false] {
            func validate(_ design: any Design) throws -> CrossValidation {
                try CrossValidation(
                    Problem(
                        design, SquaredLoss(y, weights: weights), ElasticNet(1, mixing: 0.9), hasIntercept: hasIntercept
                    ),
                    strengths: strengths, folds: folds, solver: ProximalNewton(tolerance: 1e-11))
            }
            let (a, b) = (try validate(dense), try validate(sparse))
            #expect(a.converged && b.converged)
            for k in strengths.indices { #expect(abs(a.losses[k] - b.losses[k]) < 1e-6 * a.losses[k]) }
        }
    }
}
