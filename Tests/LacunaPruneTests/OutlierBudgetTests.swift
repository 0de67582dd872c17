import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct OutlierBudgetTests {
    /// Scores of 1, some of them 100.
    private func scores(_ rows: Int, _ columns: Int, outliers: Int) -> Tensor<Float> {
        Tensor((0..<rows * columns).map { $0 < outliers ? 100 : 1 }, shape: [rows, columns])
    }

    @Test func blocksWithMoreOutliersKeepMore() throws {
        let layers: [SparsityBudget.Layer] = [
            ("model.layers.0.a", [10, 10]), ("model.layers.0.b", [10, 10]), ("model.layers.1.a", [20, 10]),
            ("model.layers.2.a", [10, 20]),
        ]
        // Outlier ratios 2 %, 0 and 4 %: between -λ and λ they stand in the middle, at the bottom and at the top.
        let shares = try OutlierBudget(0.6, spread: 0.1).allocate(
            layers: layers,
            scores: [
                "model.layers.0.a": scores(10, 10, outliers: 4), "model.layers.0.b": scores(10, 10, outliers: 0),
                "model.layers.1.a": scores(20, 10, outliers: 0), "model.layers.2.a": scores(10, 20, outliers: 8),
            ])
        let expected = [0.6, 0.6, 0.7, 0.5]
        for (layer, share) in zip(layers, expected) {
            #expect(abs(shares[layer.name]! - share) < 1e-12, "\(layer.name)")
        }
        let kept = layers.reduce(0.0) { $0 + (1 - shares[$1.name]!) * Double($1.shape[0] * $1.shape[1]) }
        #expect(abs(kept - 0.4 * 600) < 1e-9)
    }

    @Test func meansAreWeightedBySize() throws {
        let layers: [SparsityBudget.Layer] = [("l.0", [10, 10]), ("l.1", [10, 30])]
        let shares = try OutlierBudget(0.5, spread: 0.05).allocate(
            layers: layers, scores: ["l.0": scores(10, 10, outliers: 3), "l.1": scores(10, 30, outliers: 0)])
        #expect(abs(shares["l.0"]! - 0.425) < 1e-12 && abs(shares["l.1"]! - 0.525) < 1e-12)
    }

    @Test func equalBlocksGetTheSame() throws {
        let budget = OutlierBudget(0.3)
        #expect(
            try budget.allocate(
                layers: [("a", [4, 4]), ("b", [4, 4])],
                scores: ["a": scores(4, 4, outliers: 1), "b": scores(4, 4, outliers: 1)]) == ["a": 0.3, "b": 0.3])
        // How far an outlier is from the mean is the multiple's to say.
        let scores = [
            "a": Tensor<Float>([1, 1, 1, 1, 1, 4], shape: [1, 6]),
            "b": Tensor<Float>([1, 1, 1, 1, 1, 1], shape: [1, 6]),
        ]
        func shares(_ multiple: Double) throws -> [String: Double] {
            try OutlierBudget(0.5, multiple: multiple).allocate(
                layers: [("a", [1, 6]), ("b", [1, 6])], scores: scores)
        }
        #expect(try shares(2)["a"]! < 0.5)
        #expect(try shares(3)["a"] == 0.5)
    }

    @Test func namesSayWhatABlockIs() {
        #expect(OutlierBudget.block(of: "model.layers.12.mlp.up_proj.weight") == "model.layers.12")
        #expect(OutlierBudget.block(of: "lm_head.weight") == "lm_head.weight")
    }

    @Test func numbersOutOfRangeAreRefused() {
        let layers: [SparsityBudget.Layer] = [("a", [2, 2])]
        let scores = ["a": scores(2, 2, outliers: 0)]
        #expect(throws: LacunaError.self) { try OutlierBudget(1.5).allocate(layers: layers, scores: scores) }
        #expect(throws: LacunaError.self) {
            try OutlierBudget(0.1, spread: 0.06).allocate(layers: layers, scores: scores)
        }
        #expect(throws: LacunaError.self) {
            try OutlierBudget(0.5, multiple: 0).allocate(layers: layers, scores: scores)
        }
        #expect(throws: LacunaError.self) { try OutlierBudget(0.5).allocate(layers: layers, scores: nil) }
        #expect(throws: LacunaError.self) { try OutlierBudget(0.5).allocate(layers: layers, scores: [:]) }
    }

    @Test func exceptionsComeBeforeTheBudget() throws {
        let layers: [SparsityBudget.Layer] = [("x.0.q", [4, 4]), ("x.0.k", [4, 4]), ("x.1.q", [4, 4])]
        let budget = OverriddenBudget(UniformBudget(0.5), overrides: [("*.k", 0.1), ("x.0.*", 0.9)])
        #expect(try budget.allocate(layers: layers) == ["x.0.k": 0.1, "x.0.q": 0.9, "x.1.q": 0.5])
        #expect(budget.sparsity == nil && budget.variesByLayer)
        #expect(OverriddenBudget(UniformBudget(0.5), overrides: []).sparsity == 0.5)
        for (pattern, sparsity) in [("y", 0.5), ("x.*", 1.5)] as [(String, Double)] {
            #expect(throws: LacunaError.self) {
                try OverriddenBudget(UniformBudget(0.5), overrides: [(.init(pattern), sparsity)]).allocate(
                    layers: layers)
            }
        }
    }
}
