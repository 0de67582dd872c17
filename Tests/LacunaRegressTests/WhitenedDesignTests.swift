import LacunaTensor
import Testing

@testable import LacunaRegress

/// A whitened design equals the matrix it stands for.
@Suite struct WhitenedDesignTests {
    @Test(arguments: [true, false], [0.0, 0.7]) func equalsItsMatrix(hasIntercept: Bool, ratio: Double) throws {
        let (n, p) = (14, 5)
        let base = correlatedDesign(rows: n, columns: p).scaled(by: [1, 2, 0.5, 1, 3])
        let groups = RowGroups((0..<n).map { ($0 * 5) % 4 })
        let weights = [0.5, 2, 0, 1.3]
        // Column 3 counts as 0.
        let isVoid = [false, false, false, true, false]
        // Dense: √w (I + t 1 1ᵀ)^{-1/2} by the symmetric root of its inverse, applied group by group.
        func apply(_ x: [Double]) -> [Double] {
            var result = x
            for g in 0..<4 {
                let rows = (0..<n).filter { groups.indices[$0] == g }
                let k = Double(rows.count)
                let sum = rows.reduce(0) { $0 + x[$1] }
                for i in rows {
                    // Eigenvalue 1 across the mean, 1/(1 + t n) along it.
                    let mean = sum / k
                    result[i] = weights[g].squareRoot() * ((x[i] - mean) + mean / (1 + ratio * k).squareRoot())
                }
            }
            return result
        }
        let constant = apply([Double](repeating: 1, count: n))
        func centred(_ x: [Double]) -> [Double] {
            let image = apply(x)
            guard hasIntercept else { return image }
            let share =
                zip(image, constant).reduce(0) { $0 + $1.0 * $1.1 } / constant.reduce(0) { $0 + $1 * $1 }
            return zip(image, constant).map { $0 - share * $1 }
        }
        let columns: [[Double]] = (0..<p).map { j in
            var column = [Double](repeating: 0, count: n)
            if !isVoid[j] { base.add(1, column: j, to: &column) }
            return centred(column)
        }
        for sums in [WhitenedDesign.sums(of: base, groups: groups), nil] {
            let design = WhitenedDesign(
                base, groups: groups, ratio: ratio, weights: weights, hasIntercept: hasIntercept, isVoid: isVoid,
                groupSums: sums)
            var generator = SeededGenerator(seed: 3)
            let v = (0..<n).map { _ in generator.normal() }
            var all = [Double](repeating: 0, count: p)
            design.correlations(nil, with: v, into: &all)
            var some = [0.0, 0]
            design.correlations([4, 3], with: v, into: &some)
            let beta = (0..<p).map { _ in generator.normal() }
            var eta = [Double](repeating: 0, count: n)
            design.product(beta, into: &eta)
            var expected = [Double](repeating: 0, count: n)
            for j in 0..<p {
                let dot = zip(columns[j], v).reduce(0) { $0 + $1.0 * $1.1 }
                #expect(abs(all[j] - dot) < 1e-12 && abs(design.correlation(j, with: v) - dot) < 1e-12)
                if j > 2 { #expect(abs(some[4 - j] - dot) < 1e-12) }
                var added = v
                design.add(1.5, column: j, to: &added)
                #expect(largestDifference(added, zip(v, columns[j]).map { $0 + 1.5 * $1 }) < 1e-12)
                for i in 0..<n { expected[i] += beta[j] * columns[j][i] }
            }
            #expect(largestDifference(eta, expected) < 1e-12)
            for rowWeights in [[Double](repeating: 0.3, count: n), (0..<n).map { Double($0 % 3) }] {
                var norms = [Double](repeating: 0, count: p)
                design.squaredNorms(weights: rowWeights, into: &norms)
                let chosen: [UInt32] = [1, 3, 0]
                let means = [0.2, 0, -0.4, 0.1, 1]
                var gram = [Double](repeating: 0, count: 15)
                design.gram(
                    chosen, [0, 1, 2, 3, 4], weights: rowWeights, totalWeight: rowWeights.reduce(0, +),
                    means: (chosen.map { means[Int($0)] }, means), into: &gram, leading: 5)
                for j in 0..<p {
                    let square = (0..<n).reduce(0) { $0 + rowWeights[$1] * columns[j][$1] * columns[j][$1] }
                    #expect(abs(norms[j] - square) < 1e-11)
                    for (a, i) in chosen.enumerated() {
                        let product = (0..<n).reduce(0) {
                            $0 + rowWeights[$1] * (columns[Int(i)][$1] - means[Int(i)]) * (columns[j][$1] - means[j])
                        }
                        #expect(abs(gram[a * 5 + j] - product) < 1e-11)
                    }
                }
            }
            let target = (0..<n).map { _ in generator.normal() }
            #expect(largestDifference(design.whitened(target).values, centred(target)) < 1e-12)
        }
    }
}
