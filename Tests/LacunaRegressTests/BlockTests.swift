import LacunaRegress
import LacunaTensor
import Testing

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
            #expect(largestDifference(ForestSolver.solve(matrix, right), exact.scalars) < 1e-10)
        }
    }

    @Test func shapesMustMatch() {
        #expect(throws: LacunaError.self) {
            try GreedyBlockDescent(rule: .cyclic, update: .matrix, blockSize: 2).minimize(
                hessian: Tensor(zeros: [2, 3]), linear: [1, 2], iterations: 1)
        }
    }
}
