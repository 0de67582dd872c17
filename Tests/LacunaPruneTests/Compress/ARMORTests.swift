import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct ARMORTests {
    private let weight: Tensor<Float>
    private let statistics: InputStatistics
    private let energy: [Float]

    init() {
        var generator = SeededGenerator(seed: 17)
        weight = Tensor(normal: [32, 64], using: &generator)
        var inputs = Tensor<Float>(normal: [200, 64], using: &generator)
        let scales = (0..<64).map { _ in Float(exponential(generator.normal())) }
        inputs.withMutablePointer { p in for i in 0..<200 { for j in 0..<64 { p[i * 64 + j] *= scales[j] } } }
        var statistics = InputStatistics(columns: 64)
        statistics.accumulate(inputs)
        self.statistics = statistics
        energy = statistics.squares.map { Float($0 / 200) }
    }

    private func descent(_ method: ARMOR, n: Int = 2, m: Int = 4) throws -> ARMORDescent {
        try method.descent(weight, energy, n: n, m: m)
    }

    /// `Σ h (Ŵ - W̄)² / Σ h W̄²` of a state, from the factors that it stores.
    private func loss(_ run: ARMORDescent) -> Double {
        let (a, core, b) = run.best.unscaled(run.scales)
        let product = a.multiplied(by: core.values).multiplied(by: b)
        var (lost, whole) = (0.0, 0.0)
        for i in 0..<32 {
            for j in 0..<64 {
                let scale = run.scales.rows[i] * run.scales.columns[j]
                let (found, wanted) = (product[i, j] / scale, weight[i, j] / scale)
                lost += Double(energy[j] * (found - wanted) * (found - wanted))
                whole += Double(energy[j] * wanted * wanted)
            }
        }
        return lost / whole
    }

    @Test func itStartsAtTheLargestNormalisedWeights() throws {
        let run = try descent(ARMOR(blockSize: 8, iterations: 0))
        // W̄² h by hand: columns, then rows, of length 1.
        var unit = [[Double]](repeating: [Double](repeating: 0, count: 64), count: 32)
        for j in 0..<64 {
            let length = (0..<32).reduce(0.0) { $0 + Double(weight[$1, j] * weight[$1, j]) }.squareRoot() + 1e-5
            for i in 0..<32 { unit[i][j] = Double(weight[i, j]) / length }
        }
        for i in 0..<32 {
            let length = unit[i].reduce(0) { $0 + $1 * $1 }.squareRoot() + 1e-5
            for j in 0..<64 { unit[i][j] /= length }
            for group in stride(from: 0, to: 64, by: 4) {
                func score(_ j: Int) -> Double { unit[i][j] * unit[i][j] * Double(energy[j]) }
                let order = (group..<group + 4).sorted { score($0) > score($1) }
                for j in group..<group + 4 {
                    #expect(run.best.mask[i, j] == order.prefix(2).contains(j))
                }
            }
        }
        #expect(abs(run.loss - loss(run)) < 1e-4 * run.loss)
    }

    @Test func stepsOnGroupsNeverRaiseTheLoss() throws {
        var run = try descent(ARMOR(blockSize: 8, iterations: 40))
        let start = run.loss
        try run.descend()
        #expect(run.steps.count == 40)
        #expect(run.steps.allSatisfy { $0.after <= $0.before * (1 + 1e-5) })
        #expect(run.steps.contains { $0.after < $0.before * (1 - 1e-4) })
        #expect(run.loss < 0.9 * start)
        #expect(abs(run.loss - loss(run)) < 1e-3 * run.loss)
        #expect(run.best.mask.satisfies(.nm(n: 2, m: 4)))
        #expect(
            run.best.core.scalars.enumerated().allSatisfy {
                $1 == 0 || run.best.mask[$0 / 64, $0 % 64]
            })
    }

    @Test func wrappersHelpAndMovingTheCoreHelpsMore() throws {
        func end(_ movesCore: Bool, _ iterations: Int) throws -> Double {
            var run = try descent(ARMOR(blockSize: 8, iterations: iterations, movesCore: movesCore))
            try run.descend()
            return run.loss
        }
        let (start, fixed, full) = (try end(true, 0), try end(false, 200), try end(true, 200))
        #expect(fixed < 0.85 * start, "\(fixed) of \(start)")
        #expect(full < 0.85 * fixed, "\(full) of \(fixed)")
    }

    @Test func behindIdentitiesTheCoreIsTheBestAlready() throws {
        // A learning rate of next to nothing leaves the wrappers as they are: nothing is to be gained in any group.
        var run = try descent(ARMOR(blockSize: 8, iterations: 5, learningRate: 1e-12))
        let (start, mask) = (run.loss, run.best.mask)
        try run.descend()
        #expect(run.steps.allSatisfy { abs($0.after - start) < 1e-5 * start })
        #expect(run.best.mask == mask)
    }

    @Test(arguments: [(1, 4), (2, 4), (3, 8)]) func theStoredProductIsTheMatrixFound(n: Int, m: Int) throws {
        let method = ARMOR(blockSize: 8, iterations: 10)
        let stored = try method.compress(
            weight, statistics: statistics, request: CompressionRequest(name: "w", pattern: .nm(n: n, m: m)))
        let product = try #require(stored as? ProductMatrix)
        #expect(product.factors.map(\.format.description) == ["bsr8x8-f32", "\(n):\(m)-f32", "bsr8x8-f32"])
        #expect(product.storedCount == 32 * 8 + 32 * 64 * n / m + 64 * 8)
        var run = try descent(method, n: n, m: m)
        try run.descend()
        let (a, core, b) = run.best.unscaled(run.scales)
        let expected = a.multiplied(by: core.values).multiplied(by: b)
        #expect(zip(product.densified().scalars, expected.scalars).allSatisfy { abs($0 - $1) < 1e-4 })
    }

    @Test func raggedSizesWork() throws {
        var generator = SeededGenerator(seed: 1)
        let odd = Tensor<Float>(normal: [19, 30], using: &generator)
        var run = try ARMOR(blockSize: 8, iterations: 20).descent(
            odd, [Float](repeating: 1, count: 30), n: 2, m: 4)
        let start = run.loss
        try run.descend()
        #expect(run.loss < start)
        #expect(run.steps.allSatisfy { $0.after <= $0.before * (1 + 1e-5) })
    }

    @Test func whatCannotWorkIsRefused() throws {
        #expect(throws: LacunaError.self) { try ARMOR().pattern("unstructured") }
        #expect(throws: LacunaError.self) { try ARMOR().pattern("block:4x4") }
        #expect(try ARMOR().pattern(nil) == .nm(n: 2, m: 4))
        #expect(throws: LacunaError.self) { try descent(ARMOR(blockSize: 6)) }
        #expect(throws: LacunaError.self) { try descent(ARMOR(learningRate: 0)) }
        #expect(throws: LacunaError.self) {
            try ARMOR().compress(
                weight, statistics: nil, request: CompressionRequest(name: "w", pattern: .nm(n: 2, m: 4)))
        }
    }
}
