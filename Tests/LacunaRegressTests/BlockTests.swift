import LacunaTensor
import Testing

@testable import LacunaRegress

@Suite struct BlockTests {
    private static func problem(_ p: Int, seed: UInt64 = 1) -> (hessian: Tensor<Double>, linear: [Double], best: Double)
    {
        var random = SeededGenerator(seed: seed)
        let a = Tensor<Double>(normal: [2 * p, p], using: &random)
        let hessian = a.multiplied(by: a, transposed: true)
        let linear = (0..<p).map { _ in random.normal() }
        let solved = (try? hessian.solvePositiveDefinite(Tensor(linear, shape: [p, 1])).scalars) ?? []
        return (hessian, linear, -zip(solved, linear).reduce(0) { $0 + $1.0 * $1.1 } / 2)
    }

    @Test(arguments: GreedyBlockDescent.Rule.allCases, GreedyBlockDescent.Update.allCases)
    func descendsToTheMinimum(rule: GreedyBlockDescent.Rule, update: GreedyBlockDescent.Update) throws {
        let (hessian, linear, best) = Self.problem(12)
        let run = try GreedyBlockDescent(rule: rule, update: update, blockSize: 3).minimize(
            hessian: hessian, linear: linear, iterations: 3000)
        #expect(zip(run.values, run.values.dropFirst()).allSatisfy { $1 <= $0 + 1e-12 }, "never uphill")
        #expect(abs(run.values.last! - best) < 1e-8 * abs(best))
    }

    @Test func oneBlockOfAllIsOneStep() throws {
        let (hessian, linear, best) = Self.problem(9)
        let run = try GreedyBlockDescent(rule: .gaussSouthwell, update: .matrix, blockSize: 9).minimize(
            hessian: hessian, linear: linear, iterations: 1)
        #expect(abs(run.values[0] - best) < 1e-10 * abs(best))
    }

    @Test func equalCurvaturesMakeTheRulesOne() throws {
        var (hessian, linear, _) = Self.problem(10)
        let scales = (0..<10).map { 1 / hessian[$0, $0].squareRoot() }
        for i in 0..<10 { for j in 0..<10 { hessian[i, j] *= scales[i] * scales[j] } }
        for i in 0..<10 { hessian[i, i] = 1 }
        let runs = try [GreedyBlockDescent.Rule.gaussSouthwell, .gaussSouthwellLipschitz].map {
            try GreedyBlockDescent(rule: $0, update: .matrix, blockSize: 2).minimize(
                hessian: hessian, linear: linear, iterations: 30)
        }
        #expect(runs[0].values == runs[1].values)
    }

    @Test func forestsAreSolvedExactly() throws {
        var random = SeededGenerator(seed: 4)
        for n in [1, 2, 7, 30] {
            var matrix = [[Double]](repeating: [Double](repeating: 0, count: n), count: n)
            for i in 1..<max(n, 1) where i % 5 != 0 {
                let parent = Int(random.next() % UInt64(i))
                matrix[i][parent] = random.normal()
                matrix[parent][i] = matrix[i][parent]
            }
            for i in 0..<n { matrix[i][i] = 0.5 + matrix[i].reduce(0) { $0 + abs($1) } }
            let right = (0..<n).map { _ in random.normal() }
            let exact = try Tensor(matrix.flatMap { $0 }, shape: [n, n]).solvePositiveDefinite(
                Tensor(right, shape: [n, 1]))
            #expect(largestDifference(try ForestSolver.solve(matrix, right), exact.scalars) < 1e-10)
        }
    }

    /// The rule's block against all 220 of them: its minimum is nearly the lowest, and never above that of `GSL`.
    @Test func theQuadraticRuleSearchesBlocks() throws {
        var better = 0
        for seed in 0..<20 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            // Columns with a direction in common: what is best alone is not best together.
            var a = Tensor<Double>(normal: [24, 12], using: &random)
            for i in 0..<24 {
                let common = 2 * random.normal()
                for j in 0..<12 { a[i, j] += common }
            }
            let hessian = a.multiplied(by: a, transposed: true)
            let linear = (0..<12).map { _ in random.normal() }
            func step(_ rule: GreedyBlockDescent.Rule) throws -> Double {
                try GreedyBlockDescent(rule: rule, update: .matrix, blockSize: 3).minimize(
                    hessian: hessian, linear: linear, iterations: 1
                ).values[0]
            }
            var best = 0.0
            for i in 0..<12 {
                for j in i + 1..<12 {
                    for k in j + 1..<12 {
                        let block = [i, j, k]
                        let sub = Tensor(block.flatMap { r in block.map { hessian[r, $0] } }, shape: [3, 3])
                        let right = Tensor(block.map { linear[$0] }, shape: [3, 1])
                        let x = try sub.solvePositiveDefinite(right).scalars
                        best = min(best, -zip(x, right.scalars).reduce(0) { $0 + $1.0 * $1.1 } / 2)
                    }
                }
            }
            let (quadratic, plain) = (try step(.gaussSouthwellQuadratic), try step(.gaussSouthwellLipschitz))
            #expect(quadratic <= plain + 1e-12 * abs(plain) && quadratic >= best * (1 + 1e-9))
            #expect(quadratic <= 0.6 * best, "\(seed): \(quadratic) of \(best)")
            if quadratic < 1.01 * plain { better += 1 }
        }
        #expect(better >= 8, "\(better)")
    }

    /// Far moves leave rounding errors in the gradient; every thousand iterations it is computed afresh.
    @Test func gradientsDoNotDrift() throws {
        let (hessian, linear, _) = Self.problem(12)
        var descent = try QuadraticDescent(hessian: hessian, linear: linear)
        for step in [1e16, -1e16, 1] { descent.move(3, by: step) }
        func error() -> Double {
            largestDifference(descent.gradient, (0..<12).map { hessian[$0, 3] - linear[$0] })
        }
        #expect(error() > 0.01)
        for _ in 0..<1000 { descent.record() }
        #expect(error() < 1e-12)
    }

    /// Newton's direction where no bound is in the way: a block of everything ends in a few steps.
    @Test func twoMetricProjectionIsNewtonLike() throws {
        for seed in 0..<5 as Range<UInt64> {
            let (hessian, linear, _) = Self.problem(30, seed: seed)
            let run = try BoundedBlockDescent(rule: .cyclic, update: .twoMetric, blockSize: 30).minimize(
                hessian: hessian, linear: linear, upper: 0.02, iterations: 15)
            #expect(run.stationarity < 1e-9 && run.identification <= 12, "\(run.stationarity) \(run.identification)")
            #expect(run.point.contains(0) && run.point.contains(0.02) && run.point.contains { $0 > 0 && $0 < 0.02 })
        }
    }

    /// What counts as near a bound follows the units of the coordinates.
    @Test func unitsOfCoordinatesDoNotMatter() throws {
        let (hessian, linear, _) = Self.problem(30, seed: 7)
        for update in BoundedBlockDescent.Update.allCases {
            let descent = BoundedBlockDescent(rule: .gaussSouthwellQuadratic, update: update, blockSize: 6)
            let plain = try descent.minimize(hessian: hessian, linear: linear, upper: 0.02, iterations: 40)
            for unit in [0x1p-30, 0x1p30] {
                let moved = try descent.minimize(
                    hessian: hessian, linear: linear.map { $0 * unit }, upper: 0.02 * unit, iterations: 40)
                #expect(moved.point == plain.point.map { $0 * unit }, "\(update)")
                #expect(moved.identification == plain.identification)
            }
        }
    }

    @Test func coordinatesWithoutCurvature() throws {
        let hessian = Tensor([2.0, 0, 0, 0, 0, 0, 0, 0, 4], shape: [3, 3])
        for update in BoundedBlockDescent.Update.allCases {
            let up = try BoundedBlockDescent(rule: .gaussSouthwellQuadratic, update: update, blockSize: 2).minimize(
                hessian: hessian, linear: [2, 1, -4], lower: -3, upper: 5, iterations: 20)
            #expect(largestDifference(up.point, [1, 5, -1]) < 1e-9 && up.stationarity < 1e-8)
            let down = try BoundedBlockDescent(rule: .cyclic, update: update, blockSize: 3).minimize(
                hessian: hessian, linear: [2, -1, 4], iterations: 40)
            #expect(largestDifference(down.point, [1, 0, 1]) < 1e-9)
        }
        // A slope that nothing ends.
        #expect(throws: LacunaError.self) {
            try BoundedBlockDescent(rule: .cyclic, update: .exact, blockSize: 1).minimize(
                hessian: hessian, linear: [2, 1, 4], iterations: 1)
        }
        #expect(throws: LacunaError.self) {
            try GreedyBlockDescent(rule: .gaussSouthwell, update: .matrix, blockSize: 1).minimize(
                hessian: hessian, linear: [2, 1, 4], iterations: 1)
        }
        for rule in GreedyBlockDescent.Rule.allCases {
            let run = try GreedyBlockDescent(rule: rule, update: .matrix, blockSize: 2).minimize(
                hessian: hessian, linear: [2, 0, 4], iterations: 40)
            #expect(largestDifference(run.point, [1, 0, 1]) < 1e-9)
        }
    }

    @Test func unusableProblems() throws {
        func fails(_ hessian: [Double], _ linear: [Double]) {
            let hessian = Tensor(hessian, shape: [2, 2])
            #expect(throws: LacunaError.self) {
                try GreedyBlockDescent(rule: .cyclic, update: .matrix, blockSize: 2).minimize(
                    hessian: hessian, linear: linear, iterations: 1)
            }
            #expect(throws: LacunaError.self) {
                try FixedBlockDescent(partition: .order, rule: .cyclic, update: .gradient, blockSize: 2).minimize(
                    hessian: hessian, linear: linear, iterations: 1)
            }
            #expect(throws: LacunaError.self) {
                try BoundedBlockDescent(rule: .cyclic, update: .exact, blockSize: 2).minimize(
                    hessian: hessian, linear: linear, upper: 1, iterations: 1)
            }
        }
        fails([1, 0, 0, 1], [.nan, 0])
        fails([1, .nan, .nan, 1], [1, 0])
        fails([1, 0, 0, .infinity], [1, 0])
        fails([1, 0.5, 0, 1], [1, 0])
        fails([1, 0, 0, -1], [1, 0])
        fails([1, 3, 3, 1], [1, 0])
        #expect(throws: LacunaError.self) {
            try BoundedBlockDescent(rule: .cyclic, update: .exact, blockSize: 1).minimize(
                hessian: Tensor([1.0], shape: [1, 1]), linear: [1], lower: .infinity, iterations: 1)
        }
        #expect(throws: LacunaError.self) { try ForestSolver.solve([[1, 1], [1]], [1, 1]) }
        #expect(throws: LacunaError.self) { try ForestSolver.solve([[2, 1, 1], [1, 2, 1], [1, 1, 2]], [1, 1, 1]) }
        #expect(throws: LacunaError.self) { try ForestSolver.solve([[1, 0], [0, 0]], [1, 1]) }
        #expect(throws: LacunaError.self, "not symmetric") { try ForestSolver.solve([[2, 1], [0.5, 2]], [1, 1]) }
    }

    @Test func shapesMustMatch() {
        #expect(throws: LacunaError.self) {
            try GreedyBlockDescent(rule: .cyclic, update: .matrix, blockSize: 2).minimize(
                hessian: Tensor(zeros: [2, 3]), linear: [1, 2], iterations: 1)
        }
    }

    @Test func partitionsHoldEverythingOnce() {
        let curvatures = [5.0, 1, 4, 2, 3, 9, 7, 8, 6, 0]
        for partition in BlockPartition.allCases {
            let blocks = partition.blocks(curvatures: curvatures, size: 4)
            #expect(blocks.flatMap { $0 }.sorted() == Array(0..<10) && blocks.allSatisfy { $0.count <= 4 })
        }
        #expect(BlockPartition.order.blocks(curvatures: curvatures, size: 4)[1] == [4, 5, 6, 7])
        #expect(
            BlockPartition.sort.blocks(curvatures: curvatures, size: 5)[0].map { curvatures[$0] } == [9, 8, 7, 6, 5])
        let sums = BlockPartition.average.blocks(curvatures: curvatures, size: 5).map {
            $0.reduce(0) { $0 + curvatures[$1] }
        }
        #expect(abs(sums[0] - sums[1]) <= 1)
    }

    @Test(arguments: FixedBlockDescent.Rule.allCases, GreedyBlockDescent.Update.allCases)
    func fixedBlocksDescendToTheMinimum(rule: FixedBlockDescent.Rule, update: GreedyBlockDescent.Update) throws {
        let (hessian, linear, best) = Self.problem(12)
        for partition in BlockPartition.allCases {
            let run = try FixedBlockDescent(partition: partition, rule: rule, update: update, blockSize: 3).minimize(
                hessian: hessian, linear: linear, iterations: 3000)
            #expect(zip(run.values, run.values.dropFirst()).allSatisfy { $1 <= $0 + 1e-12 }, "never uphill")
            #expect(abs(run.values.last! - best) < 1e-8 * abs(best))
        }
    }

    /// What a rule promises, by trying all blocks: the matrix update of GSQ lowers the objective most.
    @Test func theQuadraticRuleIsTheBestStep() throws {
        let (hessian, linear, _) = Self.problem(12, seed: 6)
        let greedy = try FixedBlockDescent(
            partition: .order, rule: .gaussSouthwellQuadratic, update: .matrix, blockSize: 3
        )
        .minimize(hessian: hessian, linear: linear, iterations: 1)
        var best = Double.infinity
        for start in stride(from: 0, to: 12, by: 3) {
            var sub = Tensor<Double>(zeros: [3, 3])
            for a in 0..<3 { for b in 0..<3 { sub[a, b] = hessian[start + a, start + b] } }
            let right = Tensor(Array(linear[start..<start + 3]), shape: [3, 1])
            let x = try sub.solvePositiveDefinite(right).scalars
            best = min(best, -zip(x, right.scalars).reduce(0) { $0 + $1.0 * $1.1 } / 2)
        }
        #expect(abs(greedy.values[0] - best) < 1e-12 * abs(best))
    }

    @Test(arguments: BoundedBlockDescent.Rule.allCases, BoundedBlockDescent.Update.allCases)
    func boundedDescentReachesTheMinimum(rule: BoundedBlockDescent.Rule, update: BoundedBlockDescent.Update) throws {
        let (hessian, linear, _) = Self.problem(15, seed: 3)
        let reference = try QuadraticModel(gram: hessian).minimize(linear: linear, NonNegativeL1(0), tolerance: 1e-13)
        let run = try BoundedBlockDescent(rule: rule, update: update, blockSize: 4).minimize(
            hessian: hessian, linear: linear, iterations: 3000)
        #expect(zip(run.values, run.values.dropFirst()).allSatisfy { $1 <= $0 + 1e-12 }, "never uphill")
        #expect(largestDifference(run.point, reference.coefficients) < 1e-7)
        #expect(run.stationarity < 1e-6 && run.identification < 3000)
        #expect(run.point.contains(0) && run.point.contains { $0 > 0 })
        // Two bounds: between them, and the conditions hold at both.
        let boxed = try BoundedBlockDescent(rule: rule, update: update, blockSize: 4).minimize(
            hessian: hessian, linear: linear, lower: -0.005, upper: 0.01, iterations: 3000)
        #expect(boxed.point.allSatisfy { $0 >= -0.005 && $0 <= 0.01 } && boxed.stationarity < 1e-6)
        #expect(boxed.point.contains(0.01) || boxed.point.contains(-0.005))
        // No bounds that matter: the plain minimum.
        let loose = try BoundedBlockDescent(rule: rule, update: update, blockSize: 4).minimize(
            hessian: hessian, linear: linear, lower: -1e9, upper: 1e9, iterations: 3000)
        let plain = try hessian.solvePositiveDefinite(Tensor(linear, shape: [15, 1])).scalars
        #expect(largestDifference(loose.point, plain) < 1e-7)
    }

    @Test func boundedEdges() throws {
        let zero = try BoundedBlockDescent(rule: .cyclic, update: .twoMetric, blockSize: 2).minimize(
            hessian: Tensor(zeros: [3, 3]), linear: [0, 0, 0], iterations: 5)
        #expect(zero.point == [0, 0, 0] && zero.identification == 0)
        let none = try FixedBlockDescent(partition: .sort, rule: .cyclic, update: .matrix, blockSize: 2).minimize(
            hessian: Tensor(zeros: [0, 0]), linear: [], iterations: 3)
        #expect(none.point.isEmpty && none.values.isEmpty)
        // Starts at the bound nearest 0.
        let above = try BoundedBlockDescent(rule: .cyclic, update: .exact, blockSize: 1).minimize(
            hessian: Tensor([2.0], shape: [1, 1]), linear: [1], lower: 3, upper: 4, iterations: 1)
        #expect(above.point == [3])
        #expect(throws: LacunaError.self) {
            try BoundedBlockDescent(rule: .cyclic, update: .exact, blockSize: 1).minimize(
                hessian: Tensor([2.0], shape: [1, 1]), linear: [1], lower: 3, upper: 2, iterations: 1)
        }
        #expect(throws: LacunaError.self) {
            try FixedBlockDescent(partition: .sort, rule: .cyclic, update: .matrix, blockSize: 2).minimize(
                hessian: Tensor(zeros: [2, 3]), linear: [1, 2], iterations: 1)
        }
    }
}
