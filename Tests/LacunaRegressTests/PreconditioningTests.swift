import LacunaRegress
import LacunaTensor
import Testing

@Suite struct PreconditioningTests {
    /// Half of the columns share a direction up to `spread`; the others are independent.
    private static func family(rows n: Int, columns d: Int, spread: Double, seed: UInt64 = 3) -> DenseDesign {
        var generator = SeededGenerator(seed: seed)
        let shared = (0..<n).map { _ in generator.normal() }
        var values: [Double] = []
        for j in 0..<d {
            for i in 0..<n {
                let fresh = generator.normal()
                values.append(j < d / 2 ? shared[i] + spread * fresh : fresh)
            }
        }
        return DenseDesign(columnMajor: values, rows: n)
    }

    /// Six coefficients, those in the family so large that they matter only by their differences.
    private static func target(_ design: DenseDesign, spread: Double, seed: UInt64) -> (y: [Double], mean: [Double]) {
        var generator = SeededGenerator(seed: seed)
        var mean = [Double](repeating: 0, count: design.rows)
        for j in (0..<design.columns).shuffled(using: &generator).prefix(6) {
            let size = j < design.columns / 2 ? 3 / spread : 3
            design.add(generator.next() % 2 == 0 ? size : -size, column: j, to: &mean)
        }
        return (mean.map { $0 + generator.normal() }, mean)
    }

    @Test func withoutFreeColumnsItIsTheLasso() throws {
        let design = correlatedDesign(rows: 50, columns: 30)
        let y = LacunaRegressTests.target(design, nonzeros: 4, noise: 0.5)
        let uniform = [Double](repeating: 1.0 / 50, count: 50)
        for intercept in [true, false] {
            // No column of an ordinary design is nearly spanned by three others.
            let found = try PeeledLasso(
                peeling: SpanPeeling(sparsity: 3), strength: .fixed(0.1), hasIntercept: intercept, tolerance: 1e-12
            ).fit(design, target: y)
            #expect(found.free.isEmpty && found.converged && found.noise == nil)
            let scaled = design.standardized(weights: uniform, centered: intercept)
            let expected = try ProximalNewton(tolerance: 1e-12).solve(
                Problem(scaled, SquaredLoss(y), L1(0.1), hasIntercept: intercept)
            ).unscaled(scaled)
            #expect(largestDifference(found.coefficients, expected.coefficients) < 1e-6)
            #expect(abs(found.intercept - expected.intercept) < 1e-6)
            #expect(found.selected == expected.support)
        }
    }

    @Test(arguments: [true, false]) func coefficientsPredictWhatItSays(intercept: Bool) throws {
        let design = Self.family(rows: 80, columns: 120, spread: 1e-3)
        let (y, mean) = Self.target(design, spread: 1e-3, seed: 5)
        let found = try PeeledLasso(
            peeling: SpanPeeling(sparsity: 6), hasIntercept: intercept, refits: true
        ).fit(design, target: y)
        #expect(!found.free.isEmpty && found.free.allSatisfy { $0 < 60 }, "one of the family, and no other")
        var fitted = [Double](repeating: found.intercept, count: 80)
        for (j, value) in found.coefficients.enumerated() where value != 0 { design.add(value, column: j, to: &fitted) }
        #expect(largestDifference(fitted, found.prediction) < 1e-8)
        // Far nearer to the truth than the target is.
        func error(_ v: [Double]) -> Double { zip(v, mean).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / 80 }
        #expect(error(found.prediction) < error(y) / 2)
        #expect(abs((found.noise ?? 0) - 1) < 0.3)
    }

    @Test func permutedColumnsPermuteTheResult() throws {
        let design = Self.family(rows: 60, columns: 40, spread: 1e-3)
        let (y, _) = Self.target(design, spread: 1e-3, seed: 9)
        var generator = SeededGenerator(seed: 1)
        let order = (0..<40).shuffled(using: &generator)
        var values: [Double] = []
        for j in order {
            var column = [Double](repeating: 0, count: 60)
            design.add(1, column: j, to: &column)
            values += column
        }
        let settings = PeeledLasso(peeling: SpanPeeling(sparsity: 4), strength: .noise(1), tolerance: 1e-12)
        let plain = try settings.fit(design, target: y)
        let permuted = try settings.fit(DenseDesign(columnMajor: values, rows: 60), target: y)
        #expect(Set(permuted.free.map { order[$0] }) == Set(plain.free))
        let size = plain.coefficients.reduce(0) { max($0, abs($1)) }
        #expect(largestDifference(permuted.coefficients, order.map { plain.coefficients[$0] }) < 1e-6 * size)
    }

    @Test func whatIsLeftIsOrthogonalAndOfUnitSize() throws {
        let design = Self.family(rows: 50, columns: 60, spread: 1e-4)
        let peeled = try SpanPeeling(sparsity: 5).peel(design)
        let r = peeled.basis.rows
        #expect(r == peeled.free.count + 1)
        let gram = peeled.basis.multiplied(by: peeled.basis, otherTransposed: true)
        for a in 0..<r { for b in 0..<r { #expect(abs(gram[a, b] - (a == b ? 1 : 0)) < 1e-12) } }
        for j in 0..<60 {
            var column = [Double](repeating: 0, count: 50)
            peeled.design.add(1, column: j, to: &column)
            let square = column.reduce(0) { $0 + $1 * $1 } / 50
            #expect(peeled.free.contains(j) ? square == 0 : abs(square - 1) < 1e-12)
            #expect(largestDifference(peeled.split(column).outside, column) < 1e-9)
        }
        // Outside and inside add up, and outside is what least squares on the free columns leaves.
        let y = (0..<50).map { sine(Double($0)) }
        let parts = peeled.split(y)
        #expect(largestDifference(zip(parts.inside, parts.outside).map { $0 + $1 }, y) < 1e-12)
        for j in peeled.free {
            var column = [Double](repeating: 0, count: 50)
            design.add(1, column: j, to: &column)
            #expect(abs(zip(column, parts.outside).reduce(0) { $0 + $1.0 * $1.1 }) < 1e-9)
        }
    }

    @Test func degenerateDesigns() throws {
        // Copies of one column: one is free at most, the rest lie in its span.
        let column = (0..<20).map { cosine(Double($0)) }
        let copies = DenseDesign(columnMajor: Array(repeating: column, count: 30).flatMap { $0 }, rows: 20)
        let found = try PeeledLasso(peeling: SpanPeeling(sparsity: 3)).fit(copies, target: column.map { 2 * $0 + 1 })
        #expect(found.free.count == 1 && found.prediction.allSatisfy { $0.isFinite })
        #expect(largestDifference(found.prediction, column.map { 2 * $0 + 1 }) < 1e-9)
        // Constant and empty columns, one row, no columns.
        let constants = DenseDesign(columnMajor: [Double](repeating: 3, count: 40), rows: 20)
        let none = try PeeledLasso(peeling: SpanPeeling(sparsity: 2)).fit(constants, target: column)
        #expect(none.coefficients.allSatisfy { $0 == 0 })
        let single = try PeeledLasso(peeling: SpanPeeling(sparsity: 2)).fit(
            DenseDesign(columnMajor: [1, 2, 3], rows: 1), target: [5])
        #expect(abs(single.prediction[0] - 5) < 1e-12)
        let empty = try PeeledLasso(peeling: SpanPeeling(sparsity: 2)).fit(
            DenseDesign(columnMajor: [], rows: 20), target: column)
        #expect(empty.coefficients.isEmpty && empty.converged)
        #expect(throws: LacunaError.self) {
            try SpanPeeling(sparsity: 2).peel(DenseDesign(columnMajor: [1, .nan], rows: 2))
        }
        #expect(throws: LacunaError.self) {
            try PeeledLasso(peeling: SpanPeeling(sparsity: 2)).fit(constants, target: [1, 2])
        }
    }
}
