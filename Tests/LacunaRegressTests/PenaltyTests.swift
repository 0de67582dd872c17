import LacunaRegress
import LacunaTensor
import Testing

/// Proximal operators against a search over a grid; slopes by differences; distances at proximal points.
@Suite struct PenaltyTests {
    static let separable: [any SeparablePenalty] =
        [
            L1(0.7), L1(0), WeightedL1(0.5, factors: [1.7]), NonNegativeL1(0.4), NonNegativeL1(0),
            ElasticNet(0.8, mixing: 0.3), ElasticNet(0.8, mixing: 0), SCAD(0.6), SCAD(0.6, shape: 2.2),
            SCAD(0.6, shape: .infinity), MCP(0.6), MCP(0.6, shape: 0.8), MCP(0.6, shape: .infinity), LogSum(0.3),
            LogSum(0.2, width: 2), L0(0.4), CEL0(0.4, squaredNorms: [1.3]), CEL0(0.4, squaredNorms: [0.6]),
        ] + constrained

    /// Factors and limits of the elastic net.
    private static let constrained: [any SeparablePenalty] = [
        try? ConstrainedElasticNet(0.8, factors: [1.5]), try? ConstrainedElasticNet(0.8, mixing: 0.3, factors: [0.5]),
        try? ConstrainedElasticNet(0.6, mixing: 0, factors: [1]),
        try? ConstrainedElasticNet(0.6, factors: [1], lower: [0]),
        try? ConstrainedElasticNet(0.6, mixing: 0.5, factors: [1], lower: [-0.7], upper: [0.4]),
        try? ConstrainedElasticNet(0.3, factors: [0], lower: [-0.7], upper: [1.4]),
        try? ConstrainedElasticNet(0.3, factors: [2], upper: [0]),
    ].compactMap { $0 }

    @Test func limitsAreChecked() {
        #expect(Self.constrained.count == 7)
        for (factors, lower, upper) in [
            ([-1.0], nil, nil), ([1], [0.1], nil), ([1], nil, [-0.1]), ([1], [0, 0], nil), ([.infinity], nil, nil),
        ] as [([Double], [Double]?, [Double]?)] {
            #expect(throws: LacunaError.self) {
                try ConstrainedElasticNet(1, factors: factors, lower: lower, upper: upper)
            }
        }
    }

    @Test(arguments: separable.indices, [0.2, 1, 3]) func proximalPointsAreMinima(index: Int, step: Double) {
        let penalty = Self.separable[index]
        for i in -60...60 {
            let x = Double(i) / 15 + 0.003
            let z = penalty.proximal(x, step: step, 0)
            func objective(_ z: Double) -> Double { (z - x) * (z - x) / 2 + step * penalty.value(z, 0) }
            let own = objective(z)
            for k in -600...600 {
                let other = Double(k) / 100
                #expect(objective(other) >= own - 1e-12, "\(penalty) at \(x): \(z) but \(other)")
            }
            // The vector form does the same.
            var vector = [x, x]
            penalty.proximal(&vector, step: step, columns: 1, outputs: 2)
            #expect(vector == [z, z])
            // Stationary: -gradient of ½(z - x)²/step is a subgradient.
            let distance = penalty.distance(z, gradient: (z - x) / step, lipschitz: 1 / step, 0)
            #expect(distance < 1e-9, "\(penalty) at \(x): \(distance)")
        }
    }

    @Test(arguments: separable.indices) func slopesAndBends(index: Int) {
        let penalty = Self.separable[index]
        for x in [0.05, 0.3, 0.91, 1.7, 5, -0.05, -0.3, -0.91, -1.7, -5] {
            let h = 1e-5
            if !penalty.value(x + h, 0).isFinite || !penalty.value(x - h, 0).isFinite { continue }
            let slope = (penalty.value(x + h, 0) - penalty.value(x - h, 0)) / (2 * h)
            #expect(abs(slope - penalty.slope(x, 0)) < 1e-6)
            let bend = (penalty.slope(x + h, 0) - penalty.slope(x - h, 0)) / (2 * h)
            #expect(abs(bend - penalty.bend(x, 0)) < 1e-6)
        }
        #expect(penalty.value(0, 0) == 0)
    }

    /// Fenchel and Young for the convex ones.
    @Test(arguments: separable.indices) func conjugatesBound(index: Int) {
        let penalty = Self.separable[index]
        guard penalty.hasDual else { return }
        for v in [-3.0, -0.5, 0, 0.2, 1, 4] {
            let s = penalty.dualScale(v, 0)
            #expect(s > 0 && s <= 1)
            let conjugate = penalty.conjugate(s * v, 0)
            for k in -400...400 {
                let x = Double(k) / 50
                let value = penalty.value(x, 0)
                if value.isFinite { #expect(s * v * x - value <= conjugate + 1e-12) }
            }
            // A larger multiple has no finite conjugate.
            if s < 1 {
                let far = v > 0 ? 1e9 : -1e9
                #expect(1.01 * s * v * far - penalty.value(far, 0) > 1e6)
            }
        }
    }

    @Test func limitsAreTheLasso() {
        for x in [-3.0, -0.7, 0, 0.2, 1.9] {
            let lasso = L1(0.5).proximal(x, step: 0.8, 0)
            #expect(SCAD(0.5, shape: .infinity).proximal(x, step: 0.8, 0) == lasso)
            #expect(abs(SCAD(0.5, shape: 1e9).proximal(x, step: 0.8, 0) - lasso) < 1e-8)
            #expect(abs(MCP(0.5, shape: 1e9).proximal(x, step: 0.8, 0) - lasso) < 1e-8)
            #expect(ElasticNet(0.5, mixing: 1).proximal(x, step: 0.8, 0) == lasso)
        }
    }

    @Test(arguments: [0, 0.4, 1]) func groupProximalPointsAreMinima(mixing: Double) throws {
        var random = SeededGenerator(seed: 9)
        let groups = try Groups([[0, 2, 5], [1], [3, 4]], columns: 6)
        let penalty = GroupLasso(0.6, groups: groups, mixing: mixing)
        for trial in 0..<20 {
            let v = (0..<12).map { _ in (trial % 3 == 0 ? 0.4 : 1.5) * random.normal() }
            var z = v
            penalty.proximal(&z, step: 0.7, columns: 6, outputs: 2)
            func objective(_ z: [Double]) -> Double {
                zip(z, v).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) / 2 }
                    + 0.7 * penalty.value(z, columns: 6, outputs: 2)
            }
            let own = objective(z)
            for k in 0..<200 {
                let other = z.map { k % 4 == 0 && $0 == 0 ? 0 : $0 + 0.1 * random.normal() }
                #expect(objective(other) >= own - 1e-12)
            }
            let gradient = zip(z, v).map { ($0 - $1) / 0.7 }
            let ones = [Double](repeating: 1, count: 6)
            #expect(penalty.distance(z, gradient: gradient, lipschitz: ones, columns: 6, outputs: 2) < 1e-12)
            // At 0, the strength at which 0 is stationary.
            let strength = penalty.strengthAtZero(gradient: v, lipschitz: ones, columns: 6, outputs: 2)
            let zero = [Double](repeating: 0, count: 12)
            func distance(_ s: Double) -> Double {
                penalty.with(strength: s).distance(zero, gradient: v, lipschitz: ones, columns: 6, outputs: 2)
            }
            #expect(distance(strength) < 1e-9 && distance(strength * 0.999) > 0)
        }
    }

    /// What coefficients cost, by the definitions: on either side of every bend, and with the shapes that are not said.
    @Test func valuesByTheirDefinitions() throws {
        let edge = (0.8 / 1.3).squareRoot()
        let (bent, grown) = (0.4 - 0.65 * (edge - 0.5) * (edge - 0.5), 0.3 * logarithm(3))
        let constrained = try ConstrainedElasticNet(0.8, mixing: 0.25, factors: [3])
        let positive = try ConstrainedElasticNet(0.8, factors: [3])
        let cases: [(penalty: any SeparablePenalty, x: Double, value: Double)] = [
            (L1(0.7), 2, 1.4), (WeightedL1(0.5, factors: [1.5]), 2, 1.5), (NonNegativeL1(0.4), 2, 0.8),
            // λ (α|x| + (1 - α) x² / 2)
            (ElasticNet(0.8, mixing: 0.25), 2, 1.6), (ElasticNet(0.8, mixing: 0.25), 4, 5.6), (ElasticNet(0.8), 4, 4.8),
            (constrained, 2, 4.8), (positive, 2, 4.8),
            // λx; (2aλx - x² - λ²) / 2(a - 1); λ²(a + 1) / 2
            (SCAD(0.5, shape: 3), 0.4, 0.2), (SCAD(0.5, shape: 3), 1, 0.4375), (SCAD(0.5, shape: 3), 2, 0.5),
            (SCAD(0.5), 9, 0.5875),
            // λx - x² / 2γ; γλ² / 2
            (MCP(0.5, shape: 2), 0.6, 0.21), (MCP(0.5, shape: 2), 3, 0.25), (MCP(0.5), 9, 0.375),
            (LogSum(0.3, width: 0.2), 0.4, grown), (LogSum(0.3), 0.2, grown),
            (L0(0.4), 1e-9, 0.4), (L0(0.4), 7, 0.4),
            (CEL0(0.4, squaredNorms: [1.3]), 0.5, bent), (CEL0(0.4, squaredNorms: [1.3]), 1, 0.4),
        ]
        for (penalty, x, value) in cases {
            #expect(abs(penalty.value(x, 0) - value) < 1e-12, "\(penalty) at \(x)")
            let (mirrored, isOneSided) = (penalty.value(-x, 0), penalty is NonNegativeL1)
            #expect(isOneSided ? mirrored == .infinity : abs(mirrored - value) < 1e-12)
            #expect(penalty.value(0, 0) == 0)
        }
        // A large pilot is penalised little; one of next to nothing counts as the floor.
        let adaptive = WeightedL1.adaptive(1, pilot: [2, -0.5, 0])
        #expect(largestDifference(adaptive.factors, [0.5, 2, 1e6]) < 1e-6)
        let squared = WeightedL1.adaptive(1, pilot: [2, -0.5, 0], power: 2, floor: 0.1)
        #expect(largestDifference(squared.factors, [0.25, 4, 100]) < 1e-9)
    }

    /// The strength that keeps everything at 0, by the definitions, for the gradient (3, -4) and curvatures 1 and 2.
    @Test func strengthsAtZero() throws {
        let (gradient, lipschitz): ([Double], [Double]) = ([3, -4], [1, 2])
        let limited = try ConstrainedElasticNet(1, mixing: 0.5, factors: [1, 2], lower: [0, -1], upper: [9, 1])
        let free = try ConstrainedElasticNet(1, factors: [1, 2])
        let sorted = try SortedL1(1, factors: [1, 0.25])
        let cases: [(penalty: any ScalablePenalty, strength: Double)] = [
            (L1(1), 4), (WeightedL1(1, factors: [1, 4]), 3), (WeightedL1(1, factors: [1, 0]), 3), (NonNegativeL1(1), 4),
            (ElasticNet(1, mixing: 0.5), 8), (ElasticNet(1, mixing: 0), 4000), (SCAD(1), 4), (MCP(1), 4),
            // g ε; g² / 2L; g² / 2a²
            (LogSum(1, width: 0.5), 2), (L0(1), 4.5), (CEL0(1, squaredNorms: [1, 4]), 4.5),
            (CEL0(1, squaredNorms: [9, 1]), 8),
            // Downhill is beyond the first one's limit. 7 / 1.25 of sums.
            (limited, 4), (free, 3), (sorted, 5.6),
        ]
        for (penalty, strength) in cases {
            let found = penalty.strengthAtZero(gradient: gradient, lipschitz: lipschitz, columns: 2, outputs: 1)
            #expect(abs(found - strength) < 1e-9, "\(penalty): \(found)")
        }
    }

    /// Groups of one, two and four columns by hand: lengths 2, 5 and 2, factors 1, √2 and 2.
    @Test func groupsByHand() throws {
        let groups = try Groups([[0], [1, 2], [3, 4, 5, 6]], columns: 7)
        let beta: [Double] = [2, 3, -4, 1, -1, 1, -1]
        let ones = [Double](repeating: 1, count: 7)
        let root = 2.0.squareRoot()
        #expect(largestDifference(GroupLasso(1, groups: groups).factors, [1, root, 2]) < 1e-15)
        for mixing in [0, 0.3, 1] {
            let penalty = GroupLasso(0.5, groups: groups, mixing: mixing)
            let joint = (1 - mixing) * (2 + 5 * root + 4)
            #expect(abs(penalty.value(beta, columns: 7, outputs: 1) - 0.5 * (13 * mixing + joint)) < 1e-12)
        }
        // Each group becomes shorter by t λ √n.
        let plain = GroupLasso(0.5, groups: groups)
        var shrunk = beta
        plain.proximal(&shrunk, step: 0.4, columns: 7, outputs: 1)
        let shares = [1 - 0.2 / 2] + [Double](repeating: 1 - 0.2 * root / 5, count: 2)
        let all = shares + [Double](repeating: 1 - 0.4 / 2, count: 4)
        #expect(largestDifference(shrunk, zip(beta, all).map { $0 * $1 }) < 1e-12)
        // As a gradient: 5 / √2 is the largest length over its factor, 4 the largest entry.
        let joint = plain.strengthAtZero(gradient: beta, lipschitz: ones, columns: 7, outputs: 1)
        #expect(abs(joint - 5 / root) < 1e-9)
        let single = GroupLasso(1, groups: groups, mixing: 1)
        let largest = single.strengthAtZero(gradient: beta, lipschitz: ones, columns: 7, outputs: 1)
        #expect(abs(largest - 4) < 1e-9)
        // What scales the gradient into the balls of radius λ √n, or into the cube of λ.
        #expect(abs(plain.dualScale(beta, columns: 7, outputs: 1) - 0.5 * root / 5) < 1e-12)
        #expect(GroupLasso(9, groups: groups).dualScale(beta, columns: 7, outputs: 1) == 1)
        #expect(abs(single.with(strength: 0.5).dualScale(beta, columns: 7, outputs: 1) - 0.125) < 1e-12)
        // A group for nothing has no dual, unless its entries have a price.
        #expect(!GroupLasso(1, groups: groups, factors: [1, 0, 1]).hasDual && plain.hasDual)
        #expect(GroupLasso(1, groups: groups, factors: [1, 0, 1], mixing: 0.1).hasDual)
        #expect(!GroupLasso(0, groups: groups).hasDual)
    }

    @Test func groupsMustBeAPartition() throws {
        #expect(throws: LacunaError.self) { try Groups([[0, 1], [1, 2]], columns: 3) }
        #expect(throws: LacunaError.self) { try Groups([[0, 1]], columns: 3) }
        #expect(throws: LacunaError.self) { try Groups([[0, 1, 3]], columns: 3) }
        #expect(Groups.runs(of: 2, columns: 5).members == [[0, 1], [2, 3], [4]])
    }
}
