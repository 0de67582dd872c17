import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct SensitivityBudgetTests {
    private typealias Cost = SensitivityBudget.Cost

    private func layers(_ sizes: [Int]) -> [SparsityBudget.Layer] {
        sizes.enumerated().map { (name: "model.layers.\($0).w", shape: [$1, 10]) }
    }

    @Test func equalBlocksGetTheSame() throws {
        let costs = Dictionary(uniqueKeysWithValues: (0..<3).map { ("model.layers.\($0)", Cost(low: 0.1, high: 0.3)) })
        let shares = try SensitivityBudget(0.5, spread: 0.1, costs: costs).allocate(layers: layers([10, 10, 10]))
        for share in shares.values { #expect(abs(share - 0.5) < 1e-9) }
    }

    /// Two blocks of one growth: `s_1 - s_2 = ln(c_2 / c_1) / k`.
    @Test func theClosedFormOfTwoBlocks() throws {
        // k = ln 4 / 0.4, costs apart by 1.2.
        let costs = ["model.layers.0": Cost(low: 0.1, high: 0.4), "model.layers.1": Cost(low: 0.12, high: 0.48)]
        let shares = try SensitivityBudget(0.5, spread: 0.2, costs: costs).allocate(layers: layers([10, 10]))
        let apart = logarithm(1.2) / (logarithm(4) / 0.4)
        #expect(abs(shares["model.layers.0.w"]! - (0.5 + apart / 2)) < 1e-9)
        #expect(abs(shares["model.layers.1.w"]! - (0.5 - apart / 2)) < 1e-9)
    }

    /// Against all allocations on a grid that keep the mean.
    @Test func noOtherAllocationCostsLess() throws {
        let costs = [
            "model.layers.0": Cost(low: 0.02, high: 0.05), "model.layers.1": Cost(low: 0.05, high: 0.2),
            "model.layers.2": Cost(low: 0.01, high: 0.06),
        ]
        let (sizes, spread) = ([10.0, 20.0, 30.0], 0.1)
        let budget = SensitivityBudget(0.5, spread: spread, costs: costs)
        let found = try budget.allocate(layers: layers([10, 20, 30]))
        func cost(_ block: Int, _ shift: Double) -> Double {
            let cost = costs["model.layers.\(block)"]!
            let growth = logarithm(cost.high / cost.low) / (2 * spread)
            return (cost.low * cost.high).squareRoot() * exponential(growth * shift)
        }
        let shifts = (0..<3).map { found["model.layers.\($0).w"]! - 0.5 }
        #expect(abs(zip(shifts, sizes).reduce(0) { $0 + $1.0 * $1.1 }) < 1e-9)
        #expect(shifts.allSatisfy { abs($0) <= spread + 1e-9 })
        let best = (0..<3).reduce(0.0) { $0 + cost($1, shifts[$1]) }
        for i in -20...20 {
            for j in -20...20 {
                let (a, b) = (Double(i) / 200, Double(j) / 200)
                let c = -(a * sizes[0] + b * sizes[1]) / sizes[2]
                if abs(c) > spread { continue }
                #expect(cost(0, a) + cost(1, b) + cost(2, c) >= best - 1e-9)
            }
        }
        // Where the minimum is at a bound the mean is kept all the same.
        var steep = costs
        steep["model.layers.1"] = Cost(low: 50, high: 200)
        let bounded = try SensitivityBudget(0.5, spread: spread, costs: steep).allocate(layers: layers([10, 20, 30]))
        #expect(abs(bounded["model.layers.1.w"]! - 0.4) < 1e-9)
        let total = zip(0..<3, sizes).reduce(0) { $0 + bounded["model.layers.\($1.0).w"]! * $1.1 }
        #expect(abs(total - 30) < 1e-9)
    }

    @Test func freeBlocksAndBadNumbers() throws {
        // Costs that do not grow, and none at all.
        let costs = ["model.layers.0": Cost(low: 0.2, high: 0.1), "model.layers.1": Cost(low: 0, high: 0)]
        let shares = try SensitivityBudget(0.5, spread: 0.1, costs: costs).allocate(layers: layers([10, 10]))
        #expect(shares["model.layers.0.w"]! < shares["model.layers.1.w"]!)
        #expect(abs(shares.values.reduce(0, +) - 1) < 1e-9)
        func refused(_ budget: SensitivityBudget) {
            #expect(throws: LacunaError.self) { try budget.allocate(layers: layers([10, 10])) }
        }
        refused(SensitivityBudget(0.5, spread: 0.1, costs: ["model.layers.0": Cost(low: 1, high: 2)]))
        refused(SensitivityBudget(0.05, spread: 0.1, costs: costs))
        refused(SensitivityBudget(0.5, spread: 0, costs: costs))
        refused(SensitivityBudget(0.5, spread: 0.1, costs: costs.mapValues { _ in Cost(low: -1, high: 1) }))
        refused(SensitivityBudget(0.5, spread: 0.1, costs: costs.mapValues { _ in Cost(low: 1, high: .nan) }))
    }

    /// A block whose outputs are small costs less than another, which is measured.
    @Test func costsAreMeasured() throws {
        var model = try Transformer(
            random: TransformerConfiguration(
                vocabularySize: 50, hiddenSize: 16, intermediateSizes: [24, 24], headCount: 2, keyValueHeadCount: 1,
                headSize: 8, maximumPositions: 64, tiedEmbeddings: true), seed: 3)
        for name in model.linearNames
        where name.contains("layers.1.") && (name.contains("o_proj") || name.contains("down")) {
            model[linear: name] = try WeightStore.make(
                model[linear: name].densified().map { $0 * 0.01 }, layout: .dense, values: .f32)
        }
        let text = (0..<600).map { ($0 * 31 + $0 / 5) % 50 }
        let calibration = try CalibrationSet(text: text, sequences: 4, length: 16)
        let budget = try SensitivityBudget.measure(
            0.5, method: Wanda(), pattern: .unstructured(.row),
            reference: PredictionReference(model, tokens: Array(text.prefix(64)), window: 16), calibration: calibration)
        #expect(abs(budget.spread - 0.1) < 1e-12)
        let (first, second) = (budget.costs["model.layers.0"]!, budget.costs["model.layers.1"]!)
        #expect(second.high < 0.01 * first.high && second.low < 0.01 * first.low && first.low < first.high)
        let names = model.linearNames.map { ($0, [model[linear: $0].rows, model[linear: $0].columns]) }
        let shares = try budget.allocate(layers: names)
        #expect(shares["model.layers.1.mlp.up_proj.weight"]! > shares["model.layers.0.mlp.up_proj.weight"]!)
    }
}
