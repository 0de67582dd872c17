import LacunaSparse
import LacunaTensor
import Testing

@Suite struct ScoreTests {
    private func statistics(_ x: Tensor<Float>) -> InputStatistics {
        var result = InputStatistics(columns: x.columns, gram: true)
        result.accumulate(x)
        return result
    }

    /// The order in which a score would remove the entries.
    private func ranking(_ score: any ImportanceScore, _ weight: Tensor<Float>, _ x: Tensor<Float>) throws -> [Int] {
        let values = try score.scores(weight: weight, statistics: statistics(x)).scalars
        return values.indices.sorted { values[$0] != values[$1] ? values[$0] < values[$1] : $0 < $1 }
    }

    private let weight = normalTensor(6, 10, seed: 1)
    private let inputs = normalTensor(50, 10, seed: 2)

    @Test func closedForms() throws {
        let w = Tensor<Float>([3, -1, 0, -2, 0.5, 4], shape: [2, 3])
        let x = Tensor<Float>([3, 0, 1, 4, 0, -1], shape: [2, 3])  // norms 5, 0, √2
        #expect(try MagnitudeScore().scores(weight: w, statistics: nil).scalars == [3, 1, 0, 2, 0.5, 4])
        let weighted = try ActivationWeightedScore().scores(weight: w, statistics: statistics(x))
        #expect(weighted.scalars == [15, 0, 0, 10, 0, 4 * Float(2).squareRoot()])
        #expect(weighted.shape == [2, 3])
    }

    @Test func weightsDecide() throws {
        for score: any ImportanceScore in [MagnitudeScore(), ActivationWeightedScore(), OptimalBrainSurgeonScore()] {
            let before = try ranking(score, weight, inputs)
            var changed = weight
            changed[3, 4] = 100
            let after = try ranking(score, changed, inputs)
            #expect(after.last == 34 && before.last != 34, "\(score.name)")
            changed[3, 4] = 0
            #expect(try ranking(score, changed, inputs).first == 34)
        }
    }

    @Test func inputsDecideWhereClaimed() throws {
        var changed = inputs
        for token in 0..<50 { changed[token, 4] *= 1000 }
        // Damping is a share of the mean diagonal, which the loud input alone would decide.
        for score: any ImportanceScore in [ActivationWeightedScore(), OptimalBrainSurgeonScore(damping: 0)] {
            #expect(score.requirement.contains(.moments))
            let before = try ranking(score, weight, inputs)
            let after = try ranking(score, weight, changed)
            #expect(before != after)
            #expect(Set(after.suffix(6)) == Set((0..<6).map { $0 * 10 + 4 }), "\(score.name)")
        }
        #expect(try ranking(MagnitudeScore(), weight, inputs) == ranking(MagnitudeScore(), weight, changed))
    }

    @Test func correlationDecidesForBrainSurgeonOnly() throws {
        // Column 7 becomes nearly a copy of column 2, with its norm unchanged: each can stand in for the other.
        var changed = inputs
        var norm: Float = 0
        var other: Float = 0
        for token in 0..<50 {
            norm += inputs[token, 7] * inputs[token, 7]
            other += inputs[token, 2] * inputs[token, 2]
        }
        for token in 0..<50 { changed[token, 7] = inputs[token, 2] * (norm / other).squareRoot() }
        let score = OptimalBrainSurgeonScore()
        let before = try score.scores(weight: weight, statistics: statistics(inputs))
        let after = try score.scores(weight: weight, statistics: statistics(changed))
        #expect(try ranking(score, weight, inputs) != ranking(score, weight, changed))
        for row in 0..<6 {
            for column in 0..<10 {
                let ratio = after[row, column] / before[row, column]
                #expect(column == 2 || column == 7 ? ratio < 0.1 : ratio > 0.5)
            }
        }
        let weighted = ActivationWeightedScore()
        #expect(try ranking(weighted, weight, inputs) == ranking(weighted, weight, changed))
    }

    /// The definition: the least squared output error over all rows that lack one weight.
    @Test func brainSurgeonEqualsTheLeastError() throws {
        let statistics = statistics(inputs)
        let hessian: Tensor<Double> = try statistics.hessian(damping: 0.01)
        let scores = try OptimalBrainSurgeonScore(damping: 0.01).scores(weight: weight, statistics: statistics)
        let following = try OptimalBrainSurgeonScore(damping: 0.01, compensation: .following)
            .scores(weight: weight, statistics: statistics)
        for row in 0..<6 {
            for column in 0..<10 {
                let w = Double(weight[row, column])
                for (score, free) in [
                    (scores[row, column], (0..<10).filter { $0 != column }),
                    (following[row, column], Array(column + 1..<10)),
                ] {
                    // Minimise δᵀHδ with δ = -w at the removed weight: the others solve H_ff δ_f = w H_fj.
                    var rest = w * w * hessian[column, column]
                    if !free.isEmpty {
                        let block = Tensor<Double>(
                            free.flatMap { i in free.map { hessian[i, $0] } }, shape: [free.count, free.count])
                        let side = Tensor<Double>(free.map { w * hessian[$0, column] }, shape: [free.count, 1])
                        let factor = try block.cholesky()
                        let delta = factor.solveTriangular(factor.solveTriangular(side), transposed: true)
                        for (k, i) in free.enumerated() { rest -= delta[k, 0] * w * hessian[i, column] }
                    }
                    #expect(abs(Double(score) - rest) <= 1e-5 * max(rest, 1e-3))
                }
            }
        }
    }

    @Test func dampingMovesBrainSurgeonTowardsMagnitude() throws {
        let score = OptimalBrainSurgeonScore(damping: 1e6)
        #expect(try ranking(score, weight, inputs) == ranking(MagnitudeScore(), weight, inputs))
        #expect(try ranking(OptimalBrainSurgeonScore(damping: 0), weight, inputs) != ranking(score, weight, inputs))
    }

    @Test(arguments: [OptimalBrainSurgeonScore.Compensation.all, .following])
    func deadInputsScoreZero(compensation: OptimalBrainSurgeonScore.Compensation) throws {
        var x = inputs
        for token in 0..<50 { x[token, 0] = 0 }
        let score = OptimalBrainSurgeonScore(compensation: compensation)
        let values = try score.scores(weight: weight, statistics: statistics(x))
        for row in 0..<6 { for column in 0..<10 { #expect((values[row, column] == 0) == (column == 0)) } }
        let nothing = try score.scores(weight: weight, statistics: statistics(Tensor(zeros: [5, 10])))
        #expect(nothing.scalars.allSatisfy { $0 == 0 })
    }

    @Test func randomDependsOnSeedAndStreamAlone() throws {
        let a = try RandomScore(seed: 1).scores(weight: weight, statistics: nil)
        #expect(try RandomScore(seed: 1).scores(weight: Tensor(zeros: [6, 10]), statistics: nil) == a)
        #expect(try RandomScore(seed: 2).scores(weight: weight, statistics: nil) != a)
        #expect(try RandomScore(seed: 1, stream: 1).scores(weight: weight, statistics: nil) != a)
        #expect(a.scalars.allSatisfy { $0 >= 0 && $0 < 1 } && Set(a.scalars).count > 50)
    }

    @Test func badStatistics() throws {
        let narrow = statistics(normalTensor(5, 9, seed: 1))
        var momentsOnly = InputStatistics(columns: 10)
        momentsOnly.accumulate(inputs)
        for score: any ImportanceScore in [ActivationWeightedScore(), OptimalBrainSurgeonScore()] {
            for bad in [nil, narrow, InputStatistics(columns: 10, gram: true)] {
                #expect(throws: LacunaError.self) { try score.scores(weight: weight, statistics: bad) }
            }
            #expect(throws: LacunaError.self) { try score.scores(weight: Tensor([1]), statistics: momentsOnly) }
        }
        _ = try ActivationWeightedScore().scores(weight: weight, statistics: momentsOnly)
        #expect(throws: LacunaError.self) {
            try OptimalBrainSurgeonScore().scores(weight: weight, statistics: momentsOnly)
        }
        #expect(throws: LacunaError.self) { try MagnitudeScore().scores(weight: Tensor([1]), statistics: nil) }
        // Undamped and with fewer tokens than inputs: no inverse.
        #expect(throws: LacunaError.self) {
            try OptimalBrainSurgeonScore(damping: 0).scores(
                weight: weight, statistics: statistics(normalTensor(3, 10, seed: 4)))
        }
    }

    @Test func emptyWeights() throws {
        for score: any ImportanceScore in [
            MagnitudeScore(), ActivationWeightedScore(), OptimalBrainSurgeonScore(), RandomScore(seed: 1),
        ] {
            #expect(try score.scores(weight: Tensor(zeros: [0, 10]), statistics: statistics(inputs)).shape == [0, 10])
            #expect(
                try score.scores(weight: Tensor(zeros: [4, 0]), statistics: statistics(Tensor(zeros: [3, 0]))).shape
                    == [4, 0])
        }
    }
}
