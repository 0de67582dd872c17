import LacunaTensor
import Testing

@testable import LacunaSparse

@Suite struct StoragePlanTests {
    private func mask(_ pattern: Pattern, _ sparsity: Double) throws -> SparsePattern {
        var generator = SeededGenerator(seed: 3)
        let weight = Tensor<Float>(normal: [256, 256], using: &generator)
        let scores = try MagnitudeScore().scores(weight: weight, statistics: nil)
        return try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
    }

    /// What a plan says a store takes is what it takes.
    @Test(arguments: ValueType.allCases) func bytesAreThoseOfTheStores(values: ValueType) throws {
        var generator = SeededGenerator(seed: 4)
        let weight = Tensor<Float>(normal: [256, 256], using: &generator)
        for mask in [try mask(.unstructured(.layer), 0.8), try mask(.nm(n: 2, m: 4), 0.5)] {
            for candidate in try StoragePlan(mask: mask, vectors: 1, values: values).candidates {
                let store = try WeightStore.make(weight, mask: mask, layout: candidate.layout, values: values)
                #expect(store.storedCount == candidate.storedCount, "\(candidate.layout)")
                // Nibbles are padded here and there.
                let slack = values == .int4 ? store.byteCount / 4 : 0
                #expect((store.byteCount - candidate.byteCount).magnitude <= slack, "\(candidate.layout)")
            }
        }
    }

    @Test func plansFollowTheirCosts() throws {
        let sparse = try mask(.unstructured(.layer), 0.98)
        #expect(try StoragePlan(mask: sparse, vectors: 1).best.layout == .csr)
        #expect(try StoragePlan(mask: sparse, vectors: 128).best.layout == .csr)
        let full = SparsePattern(rows: 64, columns: 64, keepingAll: true)
        #expect(try StoragePlan(mask: full, vectors: 128).best.layout == .dense)
        let blocks = try mask(.block(rows: 16, columns: 16), 0.75)
        #expect(try StoragePlan(mask: blocks, vectors: 128).best.layout == .bsr(rows: 16, columns: 16))
        #expect(
            try StoragePlan(mask: mask(.nm(n: 2, m: 4), 0.5), vectors: 1).candidates.contains {
                $0.layout == .nm(n: 2, m: 4)
            })
        // Whoever measures otherwise plans otherwise.
        var costs = StorageCosts.measured
        costs[.csr].rate128 = 1
        costs[.csr].rate16 = 1
        #expect(try StoragePlan(mask: sparse, vectors: 128, costs: costs).best.layout != .csr)
        let sorted = try StoragePlan(mask: sparse, vectors: 16).candidates.map(\.seconds)
        #expect(sorted == sorted.sorted())
        #expect(throws: LacunaError.self) { try StoragePlan(mask: sparse, vectors: 0) }
    }

    @Test func matricesAreStoredAsPlanned() throws {
        var generator = SeededGenerator(seed: 4)
        let weight = Tensor<Float>(normal: [256, 256], using: &generator)
        let mask = try mask(.unstructured(.layer), 0.95)
        let stored = try PlannedMatrix(weight, mask: mask, vectors: 64)
        #expect(stored.matrix.format.layout == stored.plan.best.layout)
        #expect(stored.matrix.densified() == (try SparseMatrix(weight, at: mask)).densified())
        #expect(throws: LacunaError.self) { try PlannedMatrix(Tensor<Float>(zeros: [3])) }
    }

    @Test func sweepsMeasureEveryPoint() throws {
        let sweep = KernelSweep(rows: 64, columns: 96, vectors: 20, sparsities: [0.5, 0.9], rounds: 2)
        let points = try sweep.run()
        #expect(points.count == 6 && points.allSatisfy { $0.seconds > 0 && $0.speed > 0 && $0.byteCount > 0 })
        #expect(throws: LacunaError.self) { try KernelSweep(rows: 4, columns: 4, sparsities: [1]).run() }
    }

    @Test func breakEvenIsInterpolated() {
        func points(_ speeds: [Double]) -> [KernelSweep.Point] {
            zip([0.5, 0.7, 0.9], speeds).map {
                KernelSweep.Point(layout: .csr, sparsity: $0, seconds: 1, speed: $1, byteCount: 1)
            }
        }
        #expect(KernelSweep.breakEven(points([0.5, 1.5, 3]), .csr).map { abs($0 - 0.6) < 1e-9 } == true)
        #expect(KernelSweep.breakEven(points([1.5, 2, 3]), .csr) == 0.5)
        #expect(KernelSweep.breakEven(points([0.1, 0.2, 0.3]), .csr) == nil)
        #expect(KernelSweep.breakEven(points([1.1, 0.5, 1.5]), .csr).map { abs($0 - 0.8) < 1e-9 } == true)
        #expect(KernelSweep.breakEven([], .csr) == nil)
    }

    /// The model of costs, by hand: rates between those of 16 and 128 vectors, the smallest panel, few vectors one at a
    /// time, and the memory's bandwidth where that is the bound.
    @Test func secondsFollowTheTable() throws {
        let mask = try mask(.unstructured(.layer), 0.75)
        let (entries, stored) = (65_536.0, Double(mask.count))
        var costs = StorageCosts(bandwidth: 1e30)
        costs[.csr] = StorageCosts.Layout(
            entryNanoseconds: 0.5, valueNanoseconds: 3, rate16: 1e9, rate128: 5e9, panelNanoseconds: 0.25)
        for (vectors, seconds) in [
            (2, 2 * (entries * 0.5e-9 + stored * 3e-9)), (4, 4 * (entries * 0.5e-9 + stored * 3e-9)),
            (5, 2 * stored * 16 / 1e9 + entries / 4 * 0.25e-9), (16, 2 * stored * 16 / 1e9 + entries / 4 * 0.25e-9),
            (72, 2 * stored * 72 / 3e9 + entries * 72 / 64 * 0.25e-9),
            (256, 2 * stored * 256 / 5e9 + entries * 4 * 0.25e-9),
        ] {
            let plan = try StoragePlan(mask: mask, vectors: vectors, costs: costs)
            let found = try #require(plan.candidates.first { $0.layout == .csr })
            #expect(abs(found.seconds / seconds - 1) < 1e-12 && found.bound == .arithmetic, "\(vectors)")
        }
        costs.bandwidth = 1e6
        let plan = try StoragePlan(mask: mask, vectors: 2, costs: costs)
        let found = try #require(plan.candidates.first { $0.layout == .csr })
        #expect(found.seconds == Double(found.byteCount) / 1e6 && found.bound == .memory)
    }
}
