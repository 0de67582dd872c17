import LacunaRegress
import LacunaTensor
import Testing

/// Input at the edge of sense: a correct answer or a clear error, never a hang.
@Suite struct DegenerateTests {
    private static let solvers: [any SeparableSolver] = [
        ProximalNewton(), CoordinateDescent(), FISTA(maximumIterations: 3000),
    ]

    @Test func constantColumns() throws {
        var values = [Double](repeating: 1, count: 30)
        for i in 0..<10 { values[10 + i] = Double(i) }
        for i in 0..<10 { values[20 + i] = 0 }
        let design = DenseDesign(columnMajor: values, rows: 10)
        let y = (0..<10).map { 3 + 2 * Double($0) }
        for design in [design, try SparseDesign(design)] as [any Design] {
            for solver in Self.solvers {
                let solution = try solver.solve(Problem(design, SquaredLoss(y), L1(0.1)))
                #expect(solution.converged, "\(solver)")
                #expect(solution.support == [1], "a constant column has nothing to add to an intercept")
                let alone = try solver.solve(Problem(design, SquaredLoss(y), L1(0.1), hasIntercept: false))
                #expect(alone.converged && alone.coefficients[0] > 0 && alone.coefficients[2] == 0)
            }
        }
    }

    @Test func duplicateColumns() throws {
        let single = correlatedDesign(rows: 30, columns: 5)
        let y = target(single, nonzeros: 2, noise: 0.3)
        let matrix = Tensor<Double>(
            (0..<30).flatMap { i in
                (0..<10).map { j in
                    var column = [Double](repeating: 0, count: 30)
                    single.add(1, column: j / 2, to: &column)
                    return column[i]
                }
            }, shape: [30, 10])
        let double = DenseDesign(matrix)
        for strength in [0.5, 0.01, 0] {
            let expected = try ProximalNewton(tolerance: 1e-10).solve(Problem(single, SquaredLoss(y), L1(strength)))
            for solver in Self.solvers {
                let solution = try solver.solve(Problem(double, SquaredLoss(y), L1(strength)))
                #expect(solution.converged)
                #expect(abs(solution.objective - expected.objective) < 1e-5 * (1 + expected.objective))
            }
        }
    }

    @Test func farMoreColumnsThanRows() throws {
        let design = correlatedDesign(rows: 5, columns: 2000)
        let y = target(design, nonzeros: 3, noise: 0.1)
        for strength in [0.1, 1e-3] {
            for solver in Self.solvers.prefix(2) {
                let solution = try solver.solve(Problem(design, SquaredLoss(y), L1(strength)))
                #expect(
                    solution.converged && solution.support.count <= 5, "\(solver) \(strength) \(solution.certificate)")
            }
        }
        // Without a penalty there are many solutions; all interpolate.
        let interpolating = try ProximalNewton(tolerance: 1e-9).solve(Problem(design, SquaredLoss(y), L1(0)))
        #expect(interpolating.converged && interpolating.objective < 1e-9)
    }

    @Test func oneRowAndOneColumn() throws {
        let design = DenseDesign(columnMajor: [2, -1, 0], rows: 1)
        for solver in Self.solvers {
            let with = try solver.solve(Problem(design, SquaredLoss([3]), L1(0.1)))
            #expect(with.converged && with.support.isEmpty && with.intercept == 3)
            let without = try solver.solve(Problem(design, SquaredLoss([3]), L1(0.1), hasIntercept: false))
            // ½(3 - 2b)² + 0.1|b|: b = (6 - 0.1)/4.
            #expect(without.converged && abs(without.coefficients[0] - 1.475) < 1e-3)
        }
        let column = DenseDesign(columnMajor: [1, 2, 3], rows: 3)
        let line = try ProximalNewton(tolerance: 1e-12).solve(Problem(column, SquaredLoss([2, 4, 6]), L1(0)))
        #expect(abs(line.coefficients[0] - 2) < 1e-8 && abs(line.intercept) < 1e-8)
    }

    @Test func noColumnsAndNoRows() throws {
        let none = DenseDesign(columnMajor: [], rows: 3)
        for solver in Self.solvers {
            let solution = try solver.solve(Problem(none, SquaredLoss([1, 2, 6]), L1(1)))
            #expect(solution.converged && solution.support.isEmpty && solution.intercept == 3)
        }
        #expect(throws: LacunaError.self) { try SquaredLoss([]) }
    }

    @Test func aTargetThatNeverVaries() throws {
        let design = correlatedDesign(rows: 20, columns: 5)
        let y = [Double](repeating: 4, count: 20)
        for solver in Self.solvers {
            let solution = try solver.solve(Problem(design, SquaredLoss(y), L1(0.1)))
            #expect(solution.support.isEmpty && abs(solution.intercept - 4) < 1e-12 && solution.converged)
        }
        #expect(throws: LacunaError.self) {
            try RegularizationPath.strengths(from: 0)
        }
    }

    @Test func separableClasses() throws {
        let design = DenseDesign(columnMajor: [-2, -1, 1, 2], rows: 4)
        let labels = [0.0, 0, 1, 1]
        // With a penalty there is a solution.
        for solver in Self.solvers {
            let solution = try solver.solve(Problem(design, LogisticLoss(labels), L1(0.01)))
            #expect(solution.converged && solution.coefficients[0] > 1)
        }
        // Without one it is at infinity: a bounded number of steps, and finite numbers.
        for solver in [
            ProximalNewton(tolerance: 1e-14, maximumPasses: 20), CoordinateDescent(tolerance: 1e-14, maximumPasses: 5),
            FISTA(tolerance: 1e-14, maximumIterations: 200),
        ] as [any SeparableSolver] {
            let solution = try solver.solve(Problem(design, LogisticLoss(labels), L1(0)))
            #expect(solution.coefficients[0].isFinite && solution.coefficients[0] > 2)
        }
        // One class only.
        for solver in Self.solvers {
            let solution = try solver.solve(Problem(design, LogisticLoss([1, 1, 1, 1]), L1(0.1)))
            #expect(solution.intercept.isFinite && solution.support.isEmpty)
        }
    }

    @Test func rowsOfWeightZeroDoNotCount() throws {
        let design = correlatedDesign(rows: 30, columns: 8)
        var y = target(design, nonzeros: 3, noise: 0.5)
        var weights = [Double](repeating: 1, count: 30)
        for i in 20..<30 {
            weights[i] = 0
            y[i] = 1e6
        }
        var kept: [Double] = []
        for j in 0..<8 {
            var column = [Double](repeating: 0, count: 30)
            design.add(1, column: j, to: &column)
            kept += column.prefix(20)
        }
        let small = try Problem(
            DenseDesign(columnMajor: kept, rows: 20), SquaredLoss(Array(y.prefix(20))), L1(0.05))
        let expected = try ProximalNewton(tolerance: 1e-12).solve(small)
        for solver in [ProximalNewton(tolerance: 1e-12), CoordinateDescent(tolerance: 1e-12)] as [any SeparableSolver] {
            let solution = try solver.solve(Problem(design, SquaredLoss(y, weights: weights), L1(0.05)))
            #expect(largestDifference(solution.coefficients, expected.coefficients) < 1e-6)
        }
    }

    @Test func iterationBoundsAreReported() throws {
        let design = correlatedDesign(rows: 50, columns: 100, correlation: 0.95)
        let y = target(design, nonzeros: 10, noise: 0.5)
        let problem = try Problem(design, SquaredLoss(y), L1(1e-4))
        for solver in [
            ProximalNewton(tolerance: 1e-300, maximumPasses: 2),
            CoordinateDescent(tolerance: 1e-14, maximumPasses: 1, maximumSweeps: 2),
            FISTA(tolerance: 1e-14, maximumIterations: 3),
        ] as [any SeparableSolver] {
            let solution = try solver.solve(problem)
            #expect(!solution.converged && solution.coefficients.allSatisfy { $0.isFinite })
        }
    }

    @Test func hugeAndTinyScales() throws {
        let plain = correlatedDesign(rows: 40, columns: 6, correlation: 0)
        let y = target(plain, nonzeros: 3, noise: 0.2)
        let scales = [1e-9, 1e9, 1, 1e-4, 1e4, 1e6]
        let scaled = plain.scaled(by: scales)
        // Standardised, the scales do not matter.
        let uniform = [Double](repeating: 1.0 / 40, count: 40)
        var values: [Double] = []
        for j in 0..<6 {
            var column = [Double](repeating: 0, count: 40)
            scaled.add(1, column: j, to: &column)
            values += column
        }
        let awkward = DenseDesign(columnMajor: values, rows: 40).standardized(weights: uniform)
        let expected = try ProximalNewton().solve(
            Problem(plain.standardized(weights: uniform), SquaredLoss(y), L1(0.1)))
        for solver in Self.solvers {
            let solution = try solver.solve(Problem(awkward, SquaredLoss(y), L1(0.1)))
            #expect(solution.converged && largestDifference(solution.coefficients, expected.coefficients) < 1e-3)
        }
    }
}
