import Foundation
import LacunaTensor
import Testing

@testable import LacunaSparse

/// Serialized, because the tuning in use belongs to the whole process.
@Suite(.serialized) struct KernelTuningTests {
    private func with<R>(_ tuning: KernelTuning?, _ body: () throws -> R) rethrows -> R {
        let before = KernelTuning.current
        defer { KernelTuning.use(before) }
        KernelTuning.use(tuning)
        return try body()
    }

    @Test func measuredNumbersAreUsable() throws {
        let tuning = try KernelTuning.measure(side: 128, rounds: 1)
        #expect(tuning.costs.isValid && tuning.processor == Processor.description)
        #expect(tuning.costs != .measured)
        let keys = ["f32", "bf16", "f16", "int8"].flatMap { ["csr \($0)", "bitmask \($0)"] }
        #expect(Set(tuning.densityLimits.keys) == Set(keys))
        #expect(tuning.densityLimits.values.allSatisfy { (0...1).contains($0) })
        #expect(throws: LacunaError.self) { try KernelTuning.measure(side: 100) }
        #expect(throws: LacunaError.self) { try KernelTuning.measure(rounds: 0) }
    }

    @Test func filesHoldWhatWasSaved() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("lacuna-tuning-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("deeper/tuning.json").path
        var costs = StorageCosts.measured
        costs[.csr].valueNanoseconds = 0.125
        let tuning = KernelTuning(costs: costs, densityLimits: ["csr f32": 0.5])
        try tuning.save(to: path)
        #expect(try KernelTuning.load(from: path) == tuning)
        var wrong = tuning
        wrong.densityLimits["csr f32"] = 1.5
        try wrong.save(to: path)
        #expect(throws: LacunaError.self) { try KernelTuning.load(from: path) }
        wrong = tuning
        wrong.costs.bandwidth = 0
        try wrong.save(to: path)
        #expect(throws: LacunaError.self) { try KernelTuning.load(from: path) }
        try Data("{}".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: LacunaError.self) { try KernelTuning.load(from: path) }
        #expect(throws: LacunaError.self) { try KernelTuning.load(from: path + ".missing") }
    }

    @Test func plansAndProductsReadIt() throws {
        var generator = SeededGenerator(seed: 2)
        let weight = Tensor<Float>(normal: [192, 256], using: &generator)
        let draws = (0..<192 * 256).map { _ in generator.uniform() }
        let mask = SparsePattern(rows: 192, columns: 256) { draws[$0 * 256 + $1] < 0.3 }
        let x = Tensor<Float>(normal: [20, 256], using: &generator)
        var results: [[Float]] = []
        for limit in [0.1, 0.9] {
            var costs = StorageCosts.measured
            // Either CSR is for nothing, or it is out of the question.
            let price = limit < 0.5 ? 1e6 : 1e-9
            costs[.csr].valueNanoseconds = price
            (costs[.csr].rate128, costs[.csr].rate16) = (1e12 / price, 1e12 / price)
            costs.bandwidth = 1e15
            let tuning = KernelTuning(costs: costs, densityLimits: ["csr f32": limit, "n:m bf16": 0.25])
            try with(tuning) {
                let csr = try CSRMatrix(DenseRows(weight, mask: mask), values: .f32)
                #expect(MatrixProduct.densityLimit(StorageFormat(.csr, .f32)) == limit)
                #expect(MatrixProduct.densityLimit(StorageFormat(.nm(n: 2, m: 4), .bf16)) == 0.25)
                #expect(MatrixProduct.densityLimit(StorageFormat(.bitmask, .f32)) == 0.75)
                #expect(MatrixProduct.isSparseFaster(csr) == (limit > 0.5))
                #expect(try (StoragePlan(mask: mask, vectors: 1).best.layout == .csr) == (limit > 0.5))
                let y = Buffer<Float>(repeating: 0, count: 20 * 192)
                x.withPointer { Product.gemm(csr, $0, count: 20, into: y.pointer) }
                results.append(y.array)
            }
        }
        let close = zip(results[0], results[1]).allSatisfy { abs($0 - $1) < 1e-4 * (1 + abs($1)) }
        #expect(close)
        with(nil) { #expect(StorageCosts.current == .measured) }
    }
}
