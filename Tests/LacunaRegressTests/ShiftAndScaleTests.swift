import Foundation
import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRegress

/// Fits do not depend on where columns and targets lie, nor on their units.
@Suite struct ShiftAndScaleTests {
    /// Numbers of few bits, so that adding a power of two is exact.
    private static func coarse(_ values: [Double]) -> [Double] { values.map { ($0 * 1024).rounded() / 1024 } }

    private let rows = 40
    private let columns = 12
    private let values: [Double]
    private let target: [Double]

    init() {
        let design = correlatedDesign(rows: 40, columns: 12)
        var values: [Double] = []
        for j in 0..<12 {
            var column = [Double](repeating: 0, count: 40)
            design.add(1, column: j, to: &column)
            values += Self.coarse(column)
        }
        self.values = values
        target = Self.coarse(
            LacunaRegressTests.target(DenseDesign(columnMajor: values, rows: 40), nonzeros: 4, noise: 0.3))
    }

    /// Every other column lies 2³⁰ away, the third is constant.
    private var moved: [Double] {
        values.indices.map { i in
            let j = i / rows
            return j == 2 ? 0x1p30 : j % 2 == 0 ? values[i] + 0x1p30 : values[i]
        }
    }
    private var plain: [Double] { values.indices.map { $0 / rows == 2 ? 0 : values[$0] } }

    /// The same numbers in memory, sparse, and in a file.
    private func designs(_ values: [Double]) throws -> [any Design] {
        let dense = DenseDesign(columnMajor: values, rows: rows)
        let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        let path = folder + "/lacuna-shift-\(UInt64.random(in: 0 ... .max)).bin"
        try values.withUnsafeBytes { try AtomicFile.write(Array($0), to: path) }
        defer { try? FileSystem.remove(path) }
        let mapped = try DenseDesign(mapping: MappedFile(path), rows: rows, columns: columns)
        return [dense, try SparseDesign(dense), mapped]
    }

    private func expectSame(
        _ found: Solution, _ expected: Solution, _ values: [Double], shift: Double, _ what: String,
        limit: Double = 1e-7, objectiveLimit: Double = 1e-9, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(found.converged && expected.converged, "\(what)", sourceLocation: sourceLocation)
        #expect(
            largestDifference(found.coefficients, expected.coefficients) < limit,
            "\(what): \(found.coefficients) \(expected.coefficients)", sourceLocation: sourceLocation)
        #expect(found.support == expected.support, "\(what)", sourceLocation: sourceLocation)
        #expect(abs(found.objective - expected.objective) < objectiveLimit, "\(what)", sourceLocation: sourceLocation)
        // The intercept makes up for all shifts, to its own last bits.
        var intercept = expected.intercept + shift
        for (j, value) in zip(expected.support, expected.values) where j % 2 == 0 { intercept -= value * 0x1p30 }
        #expect(
            abs(found.intercept - intercept) < 1e-6 * max(1, abs(intercept)), "\(what)", sourceLocation: sourceLocation)
    }

    @Test func distantColumnsAndTargets() throws {
        let shifted = target.map { $0 + 0x1p31 }
        func check<P: SeparablePenalty>(_ penalty: P, _ solvers: [any SeparableSolver]) throws {
            for solver in solvers {
                for (design, reference) in zip(try designs(moved), try designs(plain)) {
                    let found = try solver.solve(Problem(design, SquaredLoss(shifted), penalty))
                    let expected = try solver.solve(Problem(reference, SquaredLoss(target), penalty))
                    #expect(!found.support.isEmpty && !found.support.contains(2))
                    expectSame(found, expected, values, shift: 0x1p31, "\(penalty) \(solver) \(type(of: design))")
                    if case .dualityGap(_, let relative) = found.certificate { #expect(relative < 1e-9) }
                }
            }
        }
        let solvers: [any SeparableSolver] = [
            ProximalNewton(tolerance: 1e-11), CoordinateDescent(tolerance: 1e-11), FISTA(tolerance: 1e-11),
            ProximalConjugateGradient(tolerance: 1e-11),
        ]
        try check(L1(0.1), solvers)
        try check(ElasticNet(0.1, mixing: 0.5), solvers)
        try check(WeightedL1(0.1, factors: (0..<12).map { 1 + Double($0 % 3) }), solvers)
        try check(MCP(0.2, shape: 4), [solvers[0], solvers[1]])
        try check(SCAD(0.2), [solvers[0], solvers[1]])
        try check(L0(0.05), [solvers[0], solvers[1]])
        for (design, reference) in zip(try designs(moved), try designs(plain)) {
            let groups = GroupLasso(0.1, groups: .runs(of: 3, columns: 12))
            let blocks = BlockCoordinateDescent(tolerance: 1e-11)
            expectSame(
                try blocks.solve(Problem(design, SquaredLoss(shifted), groups), from: nil),
                try blocks.solve(Problem(reference, SquaredLoss(target), groups), from: nil), values, shift: 0x1p31,
                "groups")
            let accelerated = AcceleratedGradient(tolerance: 1e-9)
            expectSame(
                try accelerated.solve(Problem(design, SquaredLoss(shifted), SCAD(0.2))),
                try accelerated.solve(Problem(reference, SquaredLoss(target), SCAD(0.2))), values, shift: 0x1p31,
                "accelerated", limit: 1e-6)
            let classes = target.map { $0 > 0 ? 1.0 : 0 }
            let newton = ProximalNewton(tolerance: 1e-11)
            expectSame(
                try newton.solve(Problem(design, LogisticLoss(classes), L1(0.02))),
                try newton.solve(Problem(reference, LogisticLoss(classes), L1(0.02))), values, shift: 0, "logistic",
                limit: 1e-5)
            let mixed = SparseMixedModel(tail: try Tail(q: 1.5), tolerance: 1e-9)
            let labels = RowGroups((0..<rows).map { $0 / 5 })
            expectSame(
                try mixed.fit(design, shifted, groups: labels, L1(0.1)).solution,
                try mixed.fit(reference, target, groups: labels, L1(0.1)).solution, values, shift: 0x1p31, "mixed",
                limit: 1e-6, objectiveLimit: 1e-7)
        }
    }

    /// A start is given in the terms of the problem, and taken in those of the solver.
    @Test func startsAreUnderstood() throws {
        let problem = try Problem(
            DenseDesign(columnMajor: moved, rows: rows), SquaredLoss(target.map { $0 + 0x1p31 }), L1(0.1))
        let solver = ProximalNewton(tolerance: 1e-11)
        let first = try solver.solve(problem)
        let again = try solver.solve(problem, from: first)
        #expect(again.passes == 1 && again.support == first.support)
        #expect(abs(again.intercept - first.intercept) <= 1e-12 * abs(first.intercept))
    }

    @Test func constantTargetsAreFittedExactly() throws {
        let design = DenseDesign(columnMajor: values, rows: rows)
        for constant in [0.1, 1e15, -3e-200] {
            let problem = try Problem(design, SquaredLoss([Double](repeating: constant, count: rows)), L1(1e-9))
            let solution = try ProximalNewton().solve(problem)
            #expect(solution.support.isEmpty && solution.intercept == constant && solution.converged)
            #expect(solution.certificate == .dualityGap(absolute: 0, relative: 0))
            #expect(RegularizationPath.maximumStrength(problem) == 0)
        }
    }

    /// Columns count as constant if their numbers are equal, and only then.
    @Test func momentsAreExact() throws {
        var columns = [
            [Double](repeating: 0.1, count: 7), [1e9, 1e9, 1e9, 1e9 + 1e-6, 1e9, 1e9, 1e9], [0, 0, 0, 0, 0, 0, 0],
            [3, 3, 3, 3, 3, 3, 5], [0, 0, 0, 0, 0, 0, 5],
        ]
        let weights = [0.25, 0.25, 0.25, 0.125, 0.125, 0, 0]
        let dense = DenseDesign(columnMajor: columns.flatMap { $0 }, rows: 7)
        let scales = [2.0, 1e3, 1, 0.5, 4]
        struct Opaque: Design {
            let base: DenseDesign
            var rows: Int { base.rows }
            var columns: Int { base.columns }
            var inverseScales: [Double]? { base.inverseScales }
            var byteCount: Int { 0 }
            func scaled(by scales: [Double]?) -> Opaque { Opaque(base: base.scaled(by: scales)) }
            func correlations(_ c: [UInt32]?, with v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
                base.correlations(c, with: v, into: out)
            }
            func correlation(_ j: Int, with v: UnsafePointer<Double>) -> Double { base.correlation(j, with: v) }
            func add(_ a: Double, column j: Int, to v: UnsafeMutablePointer<Double>) { base.add(a, column: j, to: v) }
            func squaredNorms(weights: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
                base.squaredNorms(weights: weights, into: out)
            }
            func gram(
                _ a: [UInt32], _ b: [UInt32], weights: UnsafePointer<Double>, totalWeight: Double,
                means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int
            ) {
                base.gram(a, b, weights: weights, totalWeight: totalWeight, means: means, into: out, leading: leading)
            }
            func firstNonFinite() -> (row: Int, column: Int)? { base.firstNonFinite() }
        }
        for design in [dense, try SparseDesign(dense), Opaque(base: dense)] as [any Design] {
            func scaled<D: Design>(_ design: D) -> any Design { design.scaled(by: scales) }
            let moments = scaled(design).moments(weights: weights)
            #expect(moments.isConstant == [true, false, true, true, true], "\(type(of: design))")
            #expect(moments.means[0] == 0.2 && moments.means[3] == 1.5 && moments.means[4] == 0)
            let spread = (1e9 + 1e-6 - 1e9) * 1e3
            // A design that is known by its products alone is spelt out as scaled, which rounds.
            let limit = design is Opaque ? 0.1 : 1e-9
            #expect(abs(moments.variances[1] - 0.125 * 0.875 * spread * spread) < limit * spread * spread)
            #expect(moments.variances[3] == 0 && moments.variances[0] == 0)
        }
        columns[3][0] = 4
        #expect(
            DenseDesign(columnMajor: columns.flatMap { $0 }, rows: 7).moments(weights: weights).variances[3] == 0.1875)
        // Weights need not sum to 1 here.
        let design = DenseDesign(columnMajor: values, rows: rows)
        let ones = design.standardized(weights: [Double](repeating: 1, count: rows))
        let even = design.standardized(weights: [Double](repeating: 1 / Double(rows), count: rows))
        #expect(largestDifference(ones.inverseScales ?? [], even.inverseScales ?? []) < 1e-12)
    }

    /// A shifted design equals the matrix it stands for, whichever way it keeps its shifts.
    @Test func shiftedDesigns() throws {
        let shifts = (0..<columns).map { $0 % 3 == 0 ? 0 : Double($0) - 4.5 }
        let scales = (0..<columns).map { 1 + Double($0 % 4) }
        let expected = DenseDesign(
            columnMajor: values.indices.map { (values[$0] - shifts[$0 / rows]) * scales[$0 / rows] }, rows: rows)
        var generator = SeededGenerator(seed: 4)
        let v = (0..<rows).map { _ in generator.normal() }
        let weights = (0..<rows).map { _ in generator.uniform() }
        for design in try designs(values) {
            func shifted<D: Design>(_ design: D) -> any Design { design.scaled(by: scales).shifted(by: shifts) }
            let moved = shifted(design)
            var (a, b) = ([Double](repeating: 0, count: columns), [Double](repeating: 0, count: columns))
            moved.correlations(nil, with: v, into: &a)
            expected.correlations(nil, with: v, into: &b)
            #expect(largestDifference(a, b) < 1e-11)
            moved.correlations([7, 2, 3], with: v, into: &a)
            #expect(largestDifference(Array(a.prefix(3)), [b[7], b[2], b[3]]) < 1e-11)
            #expect(abs(moved.correlation(5, with: v) - b[5]) < 1e-11)
            moved.squaredNorms(weights: weights, into: &a)
            expected.squaredNorms(weights: weights, into: &b)
            #expect(largestDifference(a, b) < 1e-11)
            let chosen: [UInt32] = [1, 4, 5]
            let means = chosen.map { Double($0) / 3 }
            var (c, d) = ([Double](repeating: 0, count: 9), [Double](repeating: 0, count: 9))
            // Sparse designs take means for what they are, the columns' own with these weights.
            let total = weights.reduce(0, +)
            let own = moved is SparseDesign || design is SparseDesign
            moved.gram(
                chosen, chosen, weights: weights, totalWeight: total, means: own ? nil : (means, means), into: &c,
                leading: 3)
            expected.gram(
                chosen, chosen, weights: weights, totalWeight: total, means: own ? nil : (means, means), into: &d,
                leading: 3)
            #expect(largestDifference(c, d) < 1e-10)
            var (e, f) = (v, v)
            moved.add(1.5, column: 7, to: &e)
            expected.add(1.5, column: 7, to: &f)
            #expect(largestDifference(e, f) < 1e-11)
            let (m, n) = (
                moved.moments(weights: v.map { _ in 1 / Double(rows) }),
                expected.moments(weights: v.map { _ in 1 / Double(rows) })
            )
            #expect(largestDifference(m.means, n.means) < 1e-12 && largestDifference(m.variances, n.variances) < 1e-11)
        }
    }

    /// Units of columns and of the target, from 1e-12 to 1e12: coefficients follow.
    @Test(arguments: [1e-12, 1e-5, 1e7, 1e12]) func units(factor: Double) throws {
        let plain = DenseDesign(columnMajor: values, rows: rows)
        let scaled = DenseDesign(
            columnMajor: values.indices.map { values[$0] * ($0 / rows % 2 == 0 ? factor : 1 / factor) }, rows: rows)
        let ones = [Double](repeating: 1, count: rows)
        func check<F: Datafit, P: SeparablePenalty, G: Datafit, Q: SeparablePenalty>(
            _ datafit: F, _ penalty: P, _ other: G, _ same: Q, unit: Double,
            _ solvers: [any SeparableSolver] = [ProximalNewton(tolerance: 1e-12), CoordinateDescent(tolerance: 1e-12)]
        ) throws {
            for solver in solvers {
                let design = plain.standardized(weights: ones)
                let expected = try solver.solve(Problem(design, datafit, penalty))
                let units = scaled.standardized(weights: ones)
                let found = try solver.solve(Problem(units, other, same))
                #expect(found.support == expected.support && found.converged, "\(penalty) \(solver)")
                #expect(
                    largestDifference(found.values.map { $0 / unit }, expected.values) < 1e-7,
                    "\(penalty) \(solver) \(factor)")
                let (a, b) = (found.unscaled(units).coefficients, expected.unscaled(design).coefficients)
                for j in a.indices {
                    let back = a[j] * (j % 2 == 0 ? factor : 1 / factor) / unit
                    #expect(abs(back - b[j]) < 1e-6 * max(1, abs(b[j])))
                }
            }
        }
        let y = target.map { $0 * factor }
        try check(SquaredLoss(target), L1(0.1), SquaredLoss(y), L1(0.1 * factor), unit: factor)
        try check(SquaredLoss(target), MCP(0.2), SquaredLoss(y), MCP(0.2 * factor), unit: factor)
        try check(SquaredLoss(target), SCAD(0.2), SquaredLoss(y), SCAD(0.2 * factor), unit: factor)
        try check(SquaredLoss(target), L0(0.05), SquaredLoss(y), L0(0.05 * factor * factor), unit: factor)
        try check(
            SquaredLoss(target), WeightedL1(0.1, factors: ones.prefix(12).map { $0 }), SquaredLoss(y),
            WeightedL1(0.1 * factor, factors: ones.prefix(12).map { $0 }), unit: factor)
        let classes = target.map { $0 > 0 ? 1.0 : 0 }
        try check(LogisticLoss(classes), L1(0.02), LogisticLoss(classes), L1(0.02), unit: 1)
        try check(
            HuberLoss(target, delta: 0.5), L1(0.05), HuberLoss(y, delta: 0.5 * factor), L1(0.05 * factor), unit: factor)
        // Groups.
        let groups = Groups.runs(of: 3, columns: columns)
        let solver = BlockCoordinateDescent(tolerance: 1e-12)
        let design = plain.standardized(weights: ones)
        let expected = try solver.solve(
            Problem(design, SquaredLoss(target), GroupLasso(0.1, groups: groups)), from: nil)
        let found = try solver.solve(
            Problem(scaled.standardized(weights: ones), SquaredLoss(y), GroupLasso(0.1 * factor, groups: groups)),
            from: nil)
        #expect(found.converged && found.support == expected.support)
        #expect(largestDifference(found.values.map { $0 / factor }, expected.values) < 1e-7)
        // A mixed model.
        let labels = RowGroups((0..<rows).map { $0 / 5 })
        let model = SparseMixedModel(tail: try Tail(q: 1.5), tolerance: 1e-8)
        let one = try model.fit(design, target, groups: labels, L1(0.1))
        let other = try model.fit(scaled.standardized(weights: ones), y, groups: labels, L1(0.1 * factor))
        #expect(other.solution.converged && other.solution.support == one.solution.support)
        #expect(largestDifference(other.solution.values.map { $0 / factor }, one.solution.values) < 1e-5)
        #expect(abs(other.scale.residual / factor / factor - one.scale.residual) < 1e-5)
    }

    #if arch(x86_64)
        /// The certificate holds in arithmetic of 64 bits of mantissa, also where double precision is not enough for a gap of 0.
        @Test func certificatesHoldUnderRounding() throws {
            for (mean, strength) in [(0.0, 0.1), (1e4, 0.1), (1e7, 1e-3), (1e7, 1e-6)] {
                // Without an intercept nothing may be shifted.
                let moved = values.map { $0 + mean }
                let design = DenseDesign(columnMajor: moved, rows: rows)
                let problem = try Problem(design, SquaredLoss(target), L1(strength), hasIntercept: false)
                let solution = try ProximalNewton(tolerance: 1e-9, maximumPasses: 3).solve(problem)
                guard case .dualityGap(let gap, _) = solution.certificate else {
                    Issue.record("the lasso has a gap")
                    return
                }
                let x = moved.map { Float80($0) }
                let y = target.map { Float80($0) }
                func objective(_ beta: [Float80]) -> Float80 {
                    var sum: Float80 = 0
                    for i in 0..<rows {
                        var r = y[i]
                        for j in 0..<columns { r -= x[j * rows + i] * beta[j] }
                        sum += r * r
                    }
                    return sum / Float80(2 * rows) + Float80(strength) * beta.reduce(0) { $0 + abs($1) }
                }
                let beta = solution.coefficients.map { Float80($0) }
                // Coordinate descent from there, in long numbers.
                var better = beta
                var r = y
                for j in 0..<columns { for i in 0..<rows { r[i] -= x[j * rows + i] * better[j] } }
                for _ in 0..<60 {
                    for j in 0..<columns {
                        var (dot, square): (Float80, Float80) = (0, 0)
                        for i in 0..<rows {
                            dot += x[j * rows + i] * r[i]
                            square += x[j * rows + i] * x[j * rows + i]
                        }
                        let (h, z) = (square / Float80(rows), dot / Float80(rows) + square / Float80(rows) * better[j])
                        let level = Float80(strength)
                        let next = z > level ? (z - level) / h : z < -level ? (z + level) / h : 0
                        for i in 0..<rows { r[i] -= x[j * rows + i] * (next - better[j]) }
                        better[j] = next
                    }
                }
                let excess = objective(beta) - objective(better)
                #expect(Float80(gap) >= excess, "mean \(mean): said \(gap), is \(excess)")
                if mean >= 1e7 { #expect(gap > 1e-13, "a gap of \(gap) is below its own rounding") }
            }
        }
    #endif

    /// Lengths of groups and weights are checked before a pointer is followed.
    @Test func penaltiesKnowTheirColumns() throws {
        let design = DenseDesign(columnMajor: values, rows: rows)
        let loss = try SquaredLoss(target)
        let groups = GroupLasso(1, groups: .runs(of: 2, columns: 14))
        #expect(throws: LacunaError.invalidArgument("groups", reason: "is made for 14 columns, the design has 12")) {
            try Problem(design, loss, groups)
        }
        #expect(throws: LacunaError.self) { try Problem(design, loss, WeightedL1(1, factors: [1, 2])) }
        #expect(throws: LacunaError.self) { try Problem(design, loss, CEL0(1, squaredNorms: [1])) }
        #expect(throws: LacunaError.self) {
            try SparseMixedModel().fit(design, target, WeightedL1(1, factors: [1, 2]))
        }
    }

    /// A penalty written from the documentation gets curvatures, for every solver, loss and kind of penalty.
    @Test func penaltiesGetCurvatures() throws {
        struct Watching: SeparablePenalty {
            let isConvex: Bool
            let expected: [Double]
            let wrong: Locked<Int>
            func value(_ x: Double, _ j: Int) -> Double { 0.05 * abs(x) }
            func proximal(_ x: Double, step: Double, _ j: Int) -> Double { Proximal.softThreshold(x, 0.05 * step) }
            func slope(_ x: Double, _ j: Int) -> Double { x > 0 ? 0.05 : -0.05 }
            func bend(_ x: Double, _ j: Int) -> Double { 0 }
            func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
                if abs(lipschitz - expected[j]) > 1e-9 * expected[j] { wrong.withLock { $0 += 1 } }
                return x == 0 ? max(0, abs(gradient) - 0.05) : abs(gradient + slope(x, j))
            }
        }
        let design = DenseDesign(columnMajor: values, rows: rows)
        let variances = design.moments(weights: [Double](repeating: 1 / Double(rows), count: rows)).variances
        for isConvex in [true, false] {
            let squared = Watching(isConvex: isConvex, expected: variances, wrong: Locked(0))
            _ = try ProximalNewton().solve(Problem(design, SquaredLoss(target), squared))
            #expect(squared.wrong.withLock { $0 } == 0)
            let logistic = Watching(isConvex: isConvex, expected: variances.map { $0 / 4 }, wrong: Locked(0))
            _ = try FISTA(maximumIterations: 50).solve(
                Problem(design, LogisticLoss(target.map { $0 > 0 ? 1 : 0 }), logistic))
            #expect(logistic.wrong.withLock { $0 } == 0)
        }
        // A price for a coefficient is worth paying for a class when the loss falls by it.
        let classes = try LogisticLoss(target.map { $0 > 0 ? 1 : 0 })
        let problem = try Problem(design, classes, L0(1))
        let maximum = RegularizationPath.maximumStrength(problem)
        let above = try ProximalNewton().solve(problem.with(penalty: L0(1.01 * maximum)))
        let below = try ProximalNewton().solve(problem.with(penalty: L0(0.99 * maximum)))
        #expect(above.support.isEmpty && !below.support.isEmpty)
    }
}
