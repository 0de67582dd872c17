import LacunaSparse
import LacunaTensor
import Testing

@Suite struct BudgetTests {
    private let layers: [SparsityBudget.Layer] = [
        ("q", [64, 64]), ("k", [16, 64]), ("up", [170, 64]), ("tiny", [3, 5]), ("down", [64, 170]), ("none", [0, 9]),
    ]

    private func size(_ layer: SparsityBudget.Layer) -> Int { layer.shape.reduce(1, *) }

    @Test func uniform() throws {
        #expect(try SparsityBudget.uniform(0.7).allocate(layers: layers).values.allSatisfy { $0 == 0.7 })
    }

    @Test func perLayer() throws {
        let given = ["a": 0.1, "b": 1]
        #expect(try SparsityBudget.perLayer(given).allocate(layers: [("b", [2, 2]), ("a", [3, 3])]) == given)
        for bad in [["a": 0.1], ["a": 0.1, "b": 0.2, "c": 0.3], ["a": 0.1, "b": 1.5], ["a": .nan, "b": 0]] {
            #expect(throws: LacunaError.self) {
                try SparsityBudget.perLayer(bad).allocate(layers: [("b", [2, 2]), ("a", [3, 3])])
            }
        }
    }

    @Test(arguments: [0, 0.01, 0.3, 0.5, 0.77, 0.9, 0.99, 1]) func erdosRenyiIsExactAndProportional(sparsity: Double)
        throws
    {
        let shares = try SparsityBudget.erdosRenyiKernel(sparsity).allocate(layers: layers)
        let total = layers.reduce(0) { $0 + size($1) }
        let removed = layers.reduce(0) { $0 + Selection.removedCount(sparsity: shares[$1.name]!, of: size($1)) }
        #expect(removed == Selection.removedCount(sparsity: sparsity, of: total))

        // Density over (n_in + n_out) / (n_in n_out) is one number for all layers that are not dense, and the dense ones
        // would exceed 1 with it.
        var scales: [Double] = []
        for layer in layers where size(layer) > 0 && shares[layer.name]! > 0 {
            let kept = (1 - shares[layer.name]!) * Double(size(layer))
            scales.append(kept / Double(layer.shape.reduce(0, +)))
        }
        if let low = scales.min(), let high = scales.max() {
            #expect(high - low < 1.0 / 8 + 1e-9)  // one entry among the 8 rows and columns of the smallest
            for layer in layers where size(layer) > 0 && shares[layer.name]! == 0 {
                #expect(high * Double(layer.shape.reduce(0, +)) >= Double(size(layer)) - 1)
            }
        }
    }

    @Test func erdosRenyiByHand() throws {
        // Squares of 10 and 40: sides 20 and 80. Of 1,700 entries 340 stay; 68 and 272 in proportion.
        let shares = try SparsityBudget.erdosRenyiKernel(0.8).allocate(layers: [("a", [10, 10]), ("b", [40, 40])])
        #expect(shares["a"] == 0.32 && shares["b"] == 1328.0 / 1600)
        // At 60 % the share of a is 136 > 100: it stays dense and b gets 580.
        let clamped = try SparsityBudget.erdosRenyiKernel(0.6).allocate(layers: [("a", [10, 10]), ("b", [40, 40])])
        #expect(clamped["a"] == 0 && clamped["b"] == 1020.0 / 1600)
    }

    /// The last layer has the density given, the others share what is left as the plain budget would.
    @Test func lastLayerApart() throws {
        let layers: [SparsityBudget.Layer] = [("a", [256, 64]), ("b", [256, 256]), ("c", [10, 256])]
        let total = 256 * 64 + 256 * 256 + 2560
        for density in [1, 0.5, 0] {
            let shares = try SparsityBudget.erdosRenyiKernelPlus(0.9, lastDensity: density).allocate(layers: layers)
            let kept = layers.map { Int(((1 - shares[$0.name]!) * Double($0.shape.reduce(1, *))).rounded()) }
            #expect(kept.reduce(0, +) == total - Selection.removedCount(sparsity: 0.9, of: total))
            #expect(kept[2] == Int(density * 2560))
            let (a, b) = (1 - shares["a"]!, 1 - shares["b"]!)
            #expect(abs(a / b - (320.0 / (256 * 64)) / (512.0 / (256 * 256))) < 1e-2)
        }
        #expect(throws: LacunaError.self) {
            try SparsityBudget.erdosRenyiKernelPlus(0.99, lastDensity: 1).allocate(layers: layers)
        }
        #expect(throws: LacunaError.self) {
            try SparsityBudget.erdosRenyiKernelPlus(0.5, lastDensity: 2).allocate(layers: layers)
        }
    }

    @Test func randomModelsConserveTheTotal() throws {
        for seed in 0..<50 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let layers = (0..<Int.random(in: 1...12, using: &generator)).map { i -> SparsityBudget.Layer in
                ("l\(i)", [Int.random(in: 1...90, using: &generator), Int.random(in: 1...90, using: &generator)])
            }
            let sparsity = generator.uniform()
            let total = layers.reduce(0) { $0 + size($1) }
            let shares = try SparsityBudget.erdosRenyiKernel(sparsity).allocate(layers: layers)
            let removed = layers.reduce(0) { $0 + Selection.removedCount(sparsity: shares[$1.name]!, of: size($1)) }
            #expect(removed == Selection.removedCount(sparsity: sparsity, of: total))
            #expect(shares.values.allSatisfy { $0 >= 0 && $0 <= 1 })
        }
    }

    @Test func badArguments() {
        for sparsity in [-0.1, 1.1, .nan] {
            #expect(throws: LacunaError.self) { try SparsityBudget.uniform(sparsity).allocate(layers: layers) }
            #expect(throws: LacunaError.self) { try SparsityBudget.erdosRenyiKernel(sparsity).allocate(layers: layers) }
        }
        #expect(throws: LacunaError.self) {
            try SparsityBudget.uniform(0.5).allocate(layers: [("a", [1]), ("a", [2])])
        }
        #expect(throws: LacunaError.self) { try SparsityBudget.global(0.5).allocate(layers: layers) }
    }

    /// Every score under every pattern under every budget: the number of units removed is what was asked for.
    @Test(arguments: [
        "unstructured", "unstructured:row", "unstructured:global", "block:4x4", "block:16x1", "rows", "columns", "2:4",
        "1:8:output",
    ])
    func scoreByPatternByBudget(text: String) throws {
        let pattern = try Pattern(text)
        let weights = ["a": normalTensor(32, 48, seed: 1), "b": normalTensor(16, 48, seed: 2)]
        var statistics = InputStatistics(columns: 48, gram: true)
        statistics.accumulate(normalTensor(100, 48, seed: 3))
        let sparsity = pattern.impliedSparsity ?? 0.5
        var budgets: [SparsityBudget] = [.uniform(sparsity), .perLayer(["a": sparsity, "b": sparsity])]
        if pattern.impliedSparsity == nil { budgets += [.erdosRenyiKernel(sparsity), .global(sparsity)] }
        let scores: [any ImportanceScore] = [
            MagnitudeScore(), ActivationWeightedScore(), OptimalBrainSurgeonScore(),
            OptimalBrainSurgeonScore(compensation: .following), RandomScore(seed: 5),
        ]
        var distinct = Set<[[UInt64]]>()
        for score in scores {
            let values = try weights.mapValues { try score.scores(weight: $0, statistics: statistics) }
            for budget in budgets {
                let masks = try budget.masks(scores: values, pattern: pattern)
                #expect(masks.values.allSatisfy { $0.satisfies(pattern) })
                let kept = masks.values.reduce(0) { $0 + $1.keptCount }
                let total = 48 * 48
                let expected = Double(total) * (1 - sparsity)
                // Exact where one unit size divides everything; per row, columns and ERK round down in each layer.
                let slack: Double =
                    switch (pattern, budget) {
                    case (.unstructured(.row), .erdosRenyiKernel): 48
                    case (.columns, .erdosRenyiKernel): 48
                    case (.rows, .erdosRenyiKernel): 96
                    case (.block, .erdosRenyiKernel): 32
                    case (.columns, .global): 16
                    default: 0
                    }
                if case (.columns, .global) = (pattern, budget) {
                    let columns = masks.values.reduce(0) { $0 + $1.keptCount / $1.rows }
                    #expect(columns == 48)
                } else {
                    #expect(abs(Double(kept) - expected) <= slack, "\(score.name) \(pattern) \(budget): \(kept)")
                }
            }
            distinct.insert(
                try budgets[0].masks(scores: values, pattern: pattern).sorted { $0.key < $1.key }.map(\.value.packedWords))
        }
        // Within a column all scores but the random one order by |w|. The two forms of brain surgeon may agree by chance.
        if case .nm(_, _, .output) = pattern {
            #expect(distinct.count == 2)
        } else {
            #expect(distinct.count >= 4)
        }
    }

    @Test func perLayerBudgetOnAnNMPatternMustAgree() {
        let scores = ["a": normalTensor(4, 8, seed: 1)]
        #expect(throws: LacunaError.self) {
            try SparsityBudget.uniform(0.6).masks(scores: scores, pattern: .nm(n: 2, m: 4))
        }
        #expect(throws: LacunaError.self) {
            try SparsityBudget.global(0.5).masks(scores: scores, pattern: .nm(n: 2, m: 4))
        }
    }
}
