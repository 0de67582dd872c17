import LacunaSparse
import LacunaTensor
import Testing

@Suite struct BudgetTests {
    private typealias Layer = (name: String, shape: [Int])
    private let layers: [Layer] = [
        ("q", [64, 64]), ("k", [16, 64]), ("up", [170, 64]), ("tiny", [3, 5]), ("down", [64, 170]), ("none", [0, 9]),
    ]

    private func size(_ layer: Layer) -> Int { layer.shape.reduce(1, *) }

    @Test func uniform() throws {
        #expect(try UniformBudget(0.7).allocate(layers: layers).values.allSatisfy { $0 == 0.7 })
    }

    @Test func perLayer() throws {
        let given = ["a": 0.1, "b": 1]
        #expect(try LayerBudget(given).allocate(layers: [("b", [2, 2]), ("a", [3, 3])]) == given)
        for bad in [["a": 0.1], ["a": 0.1, "b": 0.2, "c": 0.3], ["a": 0.1, "b": 1.5], ["a": .nan, "b": 0]] {
            #expect(throws: LacunaError.self) {
                try LayerBudget(bad).allocate(layers: [("b", [2, 2]), ("a", [3, 3])])
            }
        }
    }

    @Test(arguments: [0, 0.01, 0.3, 0.5, 0.77, 0.9, 0.99, 1]) func erdosRenyiIsExactAndProportional(sparsity: Double)
        throws
    {
        let shares = try ErdosRenyiBudget(sparsity).allocate(layers: layers)
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
        let shares = try ErdosRenyiBudget(0.8).allocate(layers: [("a", [10, 10]), ("b", [40, 40])])
        #expect(shares["a"] == 0.32 && shares["b"] == 1328.0 / 1600)
        // At 60 % the share of a is 136 > 100: it stays dense and b gets 580.
        let clamped = try ErdosRenyiBudget(0.6).allocate(layers: [("a", [10, 10]), ("b", [40, 40])])
        #expect(clamped["a"] == 0 && clamped["b"] == 1020.0 / 1600)
    }

    /// The last layer has the density given, the others share what is left as the plain budget would.
    @Test func lastLayerApart() throws {
        let layers: [Layer] = [("a", [256, 64]), ("b", [256, 256]), ("c", [10, 256])]
        let total = 256 * 64 + 256 * 256 + 2560
        for density in [1, 0.5, 0] {
            let shares = try ErdosRenyiBudget(0.9, lastDensity: density).allocate(layers: layers)
            let kept = layers.map { Int(((1 - shares[$0.name]!) * Double($0.shape.reduce(1, *))).rounded()) }
            #expect(kept.reduce(0, +) == total - Selection.removedCount(sparsity: 0.9, of: total))
            #expect(kept[2] == Int(density * 2560))
            let (a, b) = (1 - shares["a"]!, 1 - shares["b"]!)
            #expect(abs(a / b - (320.0 / (256 * 64)) / (512.0 / (256 * 256))) < 1e-2)
        }
        #expect(throws: LacunaError.self) {
            try ErdosRenyiBudget(0.99, lastDensity: 1).allocate(layers: layers)
        }
        #expect(throws: LacunaError.self) {
            try ErdosRenyiBudget(0.5, lastDensity: 2).allocate(layers: layers)
        }
    }

    /// What the last layer keeps, and leaves to the others, has to be possible to the last entry and no further.
    @Test func lastLayersAtTheirLimits() throws {
        let layers: [Layer] = [("a", [2, 2]), ("b", [2, 2])]
        // Of 8 entries 6 stay, all 4 of the first and 2 of the last; then 2 stay, both of the last.
        let most = try ErdosRenyiBudget(0.25, lastDensity: 0.5).allocate(layers: layers)
        #expect(most == ["a": 0, "b": 0.5])
        let least = try ErdosRenyiBudget(0.75, lastDensity: 0.5).allocate(layers: layers)
        #expect(least == ["a": 1, "b": 0.5])
        for sparsity in [0.125, 0.875] {
            #expect(throws: LacunaError.self) {
                try ErdosRenyiBudget(sparsity, lastDensity: 0.5).allocate(layers: layers)
            }
        }
    }

    @Test func randomModelsConserveTheTotal() throws {
        for seed in 0..<50 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let layers = (0..<Int.random(in: 1...12, using: &generator)).map { i -> Layer in
                ("l\(i)", [Int.random(in: 1...90, using: &generator), Int.random(in: 1...90, using: &generator)])
            }
            let sparsity = generator.uniform()
            let total = layers.reduce(0) { $0 + size($1) }
            let shares = try ErdosRenyiBudget(sparsity).allocate(layers: layers)
            let removed = layers.reduce(0) { $0 + Selection.removedCount(sparsity: shares[$1.name]!, of: size($1)) }
            #expect(removed == Selection.removedCount(sparsity: sparsity, of: total))
            #expect(shares.values.allSatisfy { $0 >= 0 && $0 <= 1 })
        }
    }

    @Test func badArguments() {
        for sparsity in [-0.1, 1.1, .nan] {
            #expect(throws: LacunaError.self) { try UniformBudget(sparsity).allocate(layers: layers) }
            #expect(throws: LacunaError.self) { try ErdosRenyiBudget(sparsity).allocate(layers: layers) }
        }
        #expect(throws: LacunaError.self) {
            try UniformBudget(0.5).allocate(layers: [("a", [1]), ("a", [2])])
        }
        #expect(throws: LacunaError.self) { try GlobalBudget(0.5).allocate(layers: layers) }
        #expect(throws: LacunaError.self) { try GlobalBudget(0.5).allocate(layers: layers, scores: [:]) }
    }

    /// The densities of kernels by hand: [64, 32, 3, 3] has 18,432 entries and sides of 102, [10, 64] has 640 and 74. Of
    /// 19,072 entries 1,908 stay (90 %): in proportion 1,105.77 and 802.23, which is more than 640, so the classifier is
    /// dense and the convolution keeps 1,268.
    @Test func kernelsHaveFourSides() throws {
        let conv: [Layer] = [("conv", [64, 32, 3, 3]), ("head", [10, 64])]
        let shares = try ErdosRenyiBudget(0.9).allocate(layers: conv)
        let dense: Double = 17_164.0 / 18_432
        #expect(shares["head"] == 0 && shares["conv"] == dense)
        // At 97 % nothing is dense: 573 in proportion to 102 and 74 are 332.08 and 240.92.
        let sparse = try ErdosRenyiBudget(0.97).allocate(layers: conv)
        let (conv97, head97): (Double, Double) = (18_100.0 / 18_432, 399.0 / 640)
        #expect(sparse["conv"] == conv97 && sparse["head"] == head97)
        // Flattened, the convolution would count 64 + 288 sides and get another share.
        let flat = try ErdosRenyiBudget(0.97).allocate(layers: [("conv", [64, 288]), ("head", [10, 64])])
        #expect(flat["conv"] != sparse["conv"])
    }

    /// A budget from outside: everything from the first layer.
    private struct FirstOnly: SparsityBudget {
        var sparsity: Double? { nil }
        func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
            Dictionary(uniqueKeysWithValues: layers.enumerated().map { ($1.name, $0 == 0 ? 0.75 : 0) })
        }
    }

    @Test func budgetsAreOpen() throws {
        let scores = ["a": normalTensor(8, 16, seed: 1), "b": normalTensor(8, 16, seed: 2)]
        let masks = try FirstOnly().masks(scores: scores, pattern: .unstructured(.row))
        #expect(masks["a"]!.keptCounts == [Int](repeating: 4, count: 8) && masks["b"]!.count == 128)
        let groups = try FirstOnly().masks(scores: scores, pattern: .anyOf(8))
        #expect(groups["a"]! == (try Selection.mask(scores: scores["a"]!, pattern: .nm(n: 2, m: 8))))
        #expect(groups["b"]!.count == 128)
        #expect(throws: LacunaError.self) { try FirstOnly().masks(scores: scores, pattern: .nm(n: 2, m: 8)) }
    }

    /// Groups under budgets that treat layers differently: a whole n for every layer, no more than the budget in all.
    @Test func groupsGetAnNForEveryLayer() throws {
        let shapes: [Layer] = [("a", [8, 16]), ("b", [64, 64]), ("c", [16, 64])]
        // 5,248 entries, 80 %: 1,050 stay. Sides 24, 128, 80: scale 1050 / 232; kept 108.6, 579.3, 362.1; of every 8
        // 6.79, 1.13 and 2.83. Rounded down 6, 1, 2 = 96 + 512 + 256 = 864; c (128 more) and a (16 more) still fit, b not.
        let shares = try ErdosRenyiBudget(0.8).sparsities(for: .anyOf(8), layers: shapes)
        #expect(shares == ["a": 0.125, "b": 0.875, "c": 0.625])
        // Less than one of a group: one stays all the same.
        #expect(try UniformBudget(0.95).sparsities(for: .anyOf(4), layers: [("a", [4, 8])]) == ["a": 0.75])
        let scores = try ["x": tiedScores(16, 64, seed: 3), "y": tiedScores(16, 64, seed: 4, levels: 90)].mapValues {
            try MagnitudeScore().scores(weight: $0)
        }
        let whole = try GlobalBudget(0.5).masks(scores: scores, pattern: .unstructured(.global))
        let masks = try GlobalBudget(0.5).masks(scores: scores, pattern: .anyOf(4))
        #expect(masks["x"]!.count < masks["y"]!.count)
        #expect(masks.values.reduce(0) { $0 + $1.count } <= whole.values.reduce(0) { $0 + $1.count })
        for (name, mask) in masks {
            let n = mask.count * 4 / 1024
            #expect(mask == (try Selection.mask(scores: scores[name]!, pattern: .nm(n: n, m: 4))))
        }
    }

    /// What does not go together is refused where it is chosen.
    @Test func fixedGroupsTakeTheirOwnSparsityOnly() throws {
        let half = Pattern.nm(n: 2, m: 4)
        try UniformBudget(0.5).requireAgreement(with: half)
        try LayerBudget(["a": 0.5, "b": 0.5]).requireAgreement(with: half)
        try ErdosRenyiBudget(0.6).requireAgreement(with: .anyOf(4))
        try ErdosRenyiBudget(0.6).requireAgreement(with: .rows)
        let bad: [any SparsityBudget] = [
            UniformBudget(0.6), LayerBudget(["a": 0.5, "b": 0.6]), LayerBudget(["a": 0.6]), ErdosRenyiBudget(0.5),
            GlobalBudget(0.5),
        ]
        for budget in bad { #expect(throws: LacunaError.self) { try budget.requireAgreement(with: half) } }
    }

    /// Every score under every pattern under every budget: the number of units removed is what was asked for.
    @Test(arguments: [
        "unstructured", "unstructured:row", "unstructured:global", "block:4x4", "block:16x1", "rows", "columns", "2:4",
        "1:8:output", "block:4x4:row", "block:2x2:2:4", "heads:8", "heads:16:input", "rows:1:2", "columns:2:3",
        "any:4", "any:8:output", "block:4x4:global",
    ])
    func scoreByPatternByBudget(text: String) throws {
        let pattern = try Pattern(text)
        let weights = ["a": normalTensor(32, 48, seed: 1), "b": normalTensor(16, 48, seed: 2)]
        let sparsity = pattern.impliedSparsity ?? 0.5
        var budgets: [any SparsityBudget] = [UniformBudget(sparsity), LayerBudget(["a": sparsity, "b": sparsity])]
        if pattern.impliedSparsity == nil { budgets += [ErdosRenyiBudget(sparsity), GlobalBudget(sparsity)] }
        let scores: [any ImportanceScore] = [
            MagnitudeScore(), ActivationWeightedScore(), OptimalBrainSurgeonScore(),
            OptimalBrainSurgeonScore(compensation: .following), RandomScore(seed: 5), GradientScore(),
            SensitivityScore(), ActivationNormScore(.inputs), ActivationNormScore(.outputs),
        ]
        var inputs = InputStatistics(columns: 48, gram: true)
        inputs.accumulate(normalTensor(100, 48, seed: 3))
        for score in scores {
            let values = try weights.mapValues { weight in
                var outputs = InputStatistics(columns: weight.rows)
                outputs.accumulate(normalTensor(100, weight.rows, seed: 4))
                return try score.scores(
                    ScoreInputs(
                        weight: weight, inputs: inputs, outputs: outputs,
                        gradient: normalTensor(weight.rows, 48, seed: 6)))
            }
            for budget in budgets {
                let masks = try budget.masks(scores: values, pattern: pattern)
                #expect(masks.values.allSatisfy { $0.satisfies(pattern) })
                let expected = try expectedCounts(budget, pattern, values)
                let kept = masks.mapValues(\.count)
                if let expected {
                    #expect(kept == expected, "\(score.name) \(pattern) \(budget): \(kept)")
                } else {
                    // Units of one size: as many of them as the sparsity leaves of all.
                    var (units, all) = (0.0, 0.0)
                    for mask in masks.values {
                        let size = unitSize(pattern, rows: mask.rows)
                        units += Double(mask.count) / size
                        all += Double(mask.rows * 48) / size
                    }
                    let half = all / 2
                    #expect(units == half, "\(score.name) \(pattern)")
                }
            }
        }
    }

    private func unitSize(_ pattern: Pattern, rows: Int) -> Double {
        switch pattern.unit {
        case .entry: 1
        case .block(let height, let width): Double(height * width)
        case .rows(let size): Double(size * 48)
        case .columns(let size): Double(size * rows)
        }
    }

    /// Entries that are kept of every matrix; nil where units of all compete. All sizes divide the matrices.
    private func expectedCounts(
        _ budget: any SparsityBudget, _ pattern: Pattern, _ scores: [String: Tensor<Float>]
    ) throws -> [String: Int]? {
        if budget is GlobalBudget, case .scope = pattern.competition { return nil }
        let layers = scores.keys.sorted().map { ($0, scores[$0]!.shape) }
        let shares = try budget.sparsities(for: pattern, layers: layers, scores: scores)
        return Dictionary(
            uniqueKeysWithValues: scores.map { name, scores in
                let size = unitSize(pattern, rows: scores.rows)
                let units = Int(Double(scores.count) / size)
                let across =
                    switch pattern.unit {
                    case .entry: 48
                    case .block(_, let width): 48 / width
                    case .rows, .columns: units
                    }
                let competing =
                    switch pattern.competition {
                    case .scope(.row): across
                    case .scope: units
                    case .every(let m, _): m
                    }
                let kept = competing - Selection.removedCount(sparsity: shares[name]!, of: competing)
                return (name, Int(Double(units / competing * kept) * size))
            })
    }

    @Test func scoresThatAreMissingAreRefused() throws {
        let weight = normalTensor(4, 8, seed: 1)
        for score: any ImportanceScore in [
            GradientScore(), SensitivityScore(), ActivationNormScore(.outputs), ActivationNormScore(.inputs),
        ] {
            #expect(throws: LacunaError.self) { try score.scores(weight: weight) }
            #expect(throws: LacunaError.self) {
                try score.scores(
                    ScoreInputs(
                        weight: weight, inputs: InputStatistics(columns: 8), outputs: InputStatistics(columns: 4),
                        gradient: normalTensor(8, 4, seed: 1)))
            }
        }
    }

    @Test func closedFormsOfTheNewScores() throws {
        let weight = Tensor<Float>([1, -2, 3, -4, 5, 0], shape: [2, 3])
        let gradient = Tensor<Float>([-1, 1, 0, 2, -2, 9], shape: [2, 3])
        var seen = InputStatistics(columns: 3)
        seen.accumulate(Tensor<Float>([3, 0, 1, 4, 0, -1], shape: [2, 3]))
        var made = InputStatistics(columns: 2)
        made.accumulate(Tensor<Float>([5, 0, 12, 2], shape: [2, 2]))
        let inputs = ScoreInputs(weight: weight, inputs: seen, outputs: made, gradient: gradient)
        #expect(try GradientScore().scores(inputs).scalars == [1, 1, 0, 2, 2, 9])
        #expect(try SensitivityScore().scores(inputs).scalars == [1, 2, 0, 8, 10, 0])
        let root = Float(2).squareRoot()
        #expect(try ActivationNormScore(.inputs).scores(inputs).scalars == [5, 0, root, 5, 0, root])
        #expect(try ActivationNormScore(.outputs).scores(inputs).scalars == [13, 13, 13, 2, 2, 2])
    }
}
