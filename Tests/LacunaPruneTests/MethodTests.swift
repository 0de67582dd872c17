import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct MethodTests {
    static let patterns: [Pattern] = [
        .unstructured(.row), .unstructured(.layer), .unstructured(.global), .nm(n: 2, m: 4), .nm(n: 4, m: 8),
        .nm(n: 2, m: 4, axis: .output), .block(rows: 4, columns: 4), .block(rows: 8, columns: 1), .rows, .columns,
    ]
    static var layerwise: [any LayerwisePruning] { PruningMethods.all.compactMap { $0 as? any LayerwisePruning } }

    /// Every method with every pattern: either it is done exactly, or it is refused before anything changes.
    @Test(arguments: patterns)
    func everyMethodDoesAPatternOrRefusesIt(pattern: Pattern) throws {
        let layer = LayerFixture(outputs: 32, inputs: 64)
        let sparsity: Double? = pattern.impliedSparsity == nil ? 0.5 : nil
        for method in Self.layerwise {
            var weight = layer.weight
            let request = PruningRequest(pattern, sparsity: sparsity)
            guard method.supports(pattern) else {
                #expect(throws: LacunaError.self) {
                    try method.prune(&weight, statistics: layer.statistics, request: request)
                }
                #expect(weight == layer.weight)
                continue
            }
            let mask = try method.prune(&weight, statistics: layer.statistics, request: request)
            #expect(mask.satisfies(pattern), "\(method.card.name) \(pattern)")
            #expect(mask.count == 1024, "\(method.card.name) \(pattern)")
            #expect(mask.applied(to: weight) == weight)
            if method.card.family != .compensating { #expect(weight == mask.applied(to: layer.weight)) }
        }
    }

    @Test func sparsityZeroIsTheIdentity() throws {
        let layer = LayerFixture()
        for method in Self.layerwise {
            var weight = layer.weight
            let mask = try method.prune(
                &weight, statistics: layer.statistics,
                request: PruningRequest(.unstructured(method.defaultScope), sparsity: 0))
            #expect(weight == layer.weight, "\(method.card.name)")
            #expect(mask.sparsity == 0)
        }
    }

    @Test func wandaWeighsByInputNorms() throws {
        // Weights all alike: what goes is what meets the smallest inputs.
        var statistics = InputStatistics(columns: 4)
        statistics.accumulate(Tensor<Float>([3, 1, 4, 2], shape: [1, 4]))
        var weight = Tensor<Float>(repeating: 1, shape: [2, 4])
        let mask = try Wanda().prune(
            &weight, statistics: statistics, request: PruningRequest(.unstructured(.row), sparsity: 0.5))
        #expect(weight.scalars == [1, 0, 1, 0, 1, 0, 1, 0])
        #expect(Array(mask.keptColumns(row: 1)) == [0, 2])
        #expect(Wanda().defaultScope == .row)
        #expect(try Wanda().pattern("unstructured") == .unstructured(.row))
        #expect(try Magnitude().pattern("unstructured") == .unstructured(.layer))
        #expect(try Wanda().pattern("2:4") == .nm(n: 2, m: 4))
    }

    @Test func randomChoicesFollowSeedAndLayer() throws {
        func mask(_ seed: UInt64, _ layer: Int) throws -> SparsePattern {
            var weight = Tensor<Float>(repeating: 1, shape: [8, 8])
            return try RandomPruning(seed: seed).prune(
                &weight, statistics: nil,
                request: PruningRequest(.unstructured(.layer), sparsity: 0.5, layer: layer))
        }
        #expect(try mask(1, 0) == mask(1, 0))
        #expect(try mask(1, 0) != mask(2, 0))
        #expect(try mask(1, 0) != mask(1, 1))
    }

    @Test func methodsAreFoundByName() throws {
        #expect(
            PruningMethods.all.map(\.card.name)
                == [
                    "random", "magnitude", "wanda", "sparsegpt", "dsnot", "cfsp", "lowrank", "welore", "cospadi",
                    "armor", "gqsa",
                ])
        for method in PruningMethods.all {
            #expect(try PruningMethods.named(method.card.name.uppercased()).card == method.card)
            #expect(!method.card.composition.isEmpty)
        }
        #expect(try PruningMethods.named("magnitude+dsnot").card.name == "magnitude+dsnot")
        #expect(try (PruningMethods.named("random", seed: 7) as? RandomPruning)?.seed == 7)
        for name in ["", "wand", "wanda+", "+dsnot", "wanda+wanda", "cfsp+dsnot", "sparsegpt+dsnot"] {
            #expect(throws: LacunaError.self) { try PruningMethods.named(name) }
        }
    }

    @Test func outputErrorFromTheGramMatrixIsThatOfTheInputs() throws {
        let layer = LayerFixture()
        let pruned = try layer.pruned(Magnitude(), .unstructured(.layer), 0.4).weight
        let gram = try layer.statistics.gram()
        let found = OutputError.relative(original: layer.weight, pruned: pruned, gram: gram)
        #expect(abs(found - layer.error(pruned)) < 1e-4 * found + 1e-6)
        #expect(OutputError.relative(original: layer.weight, pruned: layer.weight, gram: gram) == 0)
        let nothing = Tensor<Float>(zeros: layer.weight.shape)
        #expect(abs(OutputError.relative(original: layer.weight, pruned: nothing, gram: gram) - 1) < 1e-6)
    }
}
