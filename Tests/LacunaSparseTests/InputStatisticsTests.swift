import LacunaSparse
import LacunaTensor
import Testing

@Suite struct InputStatisticsTests {
    @Test(arguments: [[0, 3], [3, 0], [1, 1], [7, 5], [40, 130], [3, 400]])
    func matchesDirectSums(shape: [Int]) throws {
        let (n, columns) = (shape[0], shape[1])
        let x = normalTensor(n, columns, seed: 1)
        var statistics = InputStatistics(columns: columns, gram: true)
        statistics.accumulate(x)
        #expect(statistics.tokens == n)
        let gram = try statistics.gram()
        #expect(gram.shape == [columns, columns])
        for j in 0..<columns {
            let column = (0..<n).map { Double(x[$0, j]) }
            let sum = column.reduce(0, +)
            let square = column.reduce(0) { $0 + $1 * $1 }
            #expect(abs(statistics.sums[j] - sum) < 1e-10 && abs(statistics.squares[j] - square) < 1e-10)
            #expect(statistics.norms[j] == Float(statistics.squares[j].squareRoot()))
            let mean = n == 0 ? 0 : sum / Double(n)
            let variance = n == 0 ? 0 : column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
            #expect(abs(Double(statistics.means[j]) - mean) < 1e-6)
            #expect(abs(Double(statistics.variances[j]) - variance) < 1e-6)
            let meanSquare = n == 0 ? 0 : square / Double(n)
            #expect(abs(Double(statistics.rootMeanSquares[j]) - meanSquare.squareRoot()) < 1e-6)
            for i in stride(from: 0, to: columns, by: 37) {
                let product = (0..<n).reduce(0.0) { $0 + Double(x[$1, i]) * Double(x[$1, j]) }
                #expect(abs(Double(gram[i, j]) - product) < 1e-4 && gram[i, j] == gram[j, i])
            }
        }
    }

    @Test func batchesAndMergesAddUp() throws {
        let x = normalTensor(60, 33, seed: 2)
        var whole = InputStatistics(columns: 33, gram: true)
        whole.accumulate(x)
        var first = InputStatistics(columns: 33, gram: true)
        first.accumulate(x.rows(0..<1))
        first.accumulate(x.rows(1..<25))
        var second = InputStatistics(columns: 33, gram: true)
        second.accumulate(x.rows(25..<60))
        let copy = first
        try first.merge(second)
        #expect(first.tokens == 60 && copy.tokens == 25)
        for j in 0..<33 {
            #expect(abs(first.sums[j] - whole.sums[j]) < 1e-9 && abs(first.squares[j] - whole.squares[j]) < 1e-9)
        }
        let difference = zip(try first.gram().scalars, try whole.gram().scalars).map { abs($0 - $1) }.max()!
        #expect(difference < 1e-4)
        #expect(try copy.gram() != first.gram())
        #expect(throws: LacunaError.self) { try first.merge(InputStatistics(columns: 32, gram: true)) }
        #expect(throws: LacunaError.self) { try first.merge(InputStatistics(columns: 33)) }
    }

    @Test func momentsKeepSmallVariancesBesideLargeMeans() {
        // In single precision Σx² would lose a variance of 1 beside a mean of 4,096 altogether.
        var statistics = InputStatistics(columns: 1)
        for _ in 0..<50 { statistics.accumulate(Tensor<Float>([4095, 4097], shape: [2, 1])) }
        #expect(statistics.means[0] == 4096 && abs(statistics.variances[0] - 1) < 1e-6)
    }

    @Test func variancesAreNeverNegative() {
        var statistics = InputStatistics(columns: 1)
        statistics.accumulate(Tensor<Float>(repeating: 0.1, shape: [1000, 1]))
        #expect(statistics.variances[0] >= 0 && statistics.variances[0] < 1e-9)
    }

    @Test func hessianIsDampedAndInvertible() throws {
        // Two identical inputs and a dead one: singular three times over.
        let x = Tensor<Float>([1, 1, 0, 2, 2, 0], shape: [2, 3])
        var statistics = InputStatistics(columns: 3, gram: true)
        statistics.accumulate(x)
        #expect(statistics.deadColumns == [2])
        let hessian: Tensor<Double> = try statistics.hessian(damping: 0.03)
        #expect(hessian[0, 1] == 5 && hessian[2, 0] == 0)
        #expect(abs(hessian[0, 0] - 5.1) < 1e-12 && abs(hessian[2, 2] - 1.1) < 1e-12)
        _ = try hessian.cholesky()
        #expect(throws: LacunaError.self) { try statistics.hessian(Double.self, damping: 0).cholesky() }
        #expect(throws: LacunaError.self) { try statistics.hessian(Double.self, damping: -1) }
        #expect(throws: LacunaError.self) { try statistics.hessian(Double.self, damping: .nan) }
        #expect(throws: LacunaError.self) { try InputStatistics(columns: 3).hessian(Double.self) }
        #expect(throws: LacunaError.self) { try InputStatistics(columns: 3).gram() }
    }

    @Test func infiniteInputsAreNoticed() {
        for bad in [Float.infinity, -.infinity, .nan] {
            var statistics = InputStatistics(columns: 2, gram: true)
            statistics.accumulate(Tensor<Float>([1, bad], shape: [1, 2]))
            #expect(!statistics.isFinite)
            #expect(throws: LacunaError.self) { try statistics.hessian(Float.self) }
            #expect(throws: LacunaError.self) {
                try ActivationWeightedScore().scores(weight: Tensor(zeros: [1, 2]), statistics: statistics)
            }
        }
        var large = InputStatistics(columns: 1)
        large.accumulate(Tensor<Float>([.greatestFiniteMagnitude], shape: [1, 1]))
        #expect(large.isFinite)
    }

    @Test func bytes() {
        #expect(InputStatistics(columns: 10).byteCount == 160)
        #expect(InputStatistics(columns: 10, gram: true).byteCount == 560)
    }
}
