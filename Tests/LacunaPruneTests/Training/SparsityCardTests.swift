import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// What a run is said to have been is what it was.
@Suite struct SparsityCardTests {
    private func pattern(_ rows: Int, _ columns: Int, _ keep: (Int, Int) -> Bool) -> SparsePattern {
        SparsePattern(rows: rows, columns: columns) { keep($0, $1) }
    }

    @Test func structures() throws {
        func structure(_ pattern: SparsePattern) -> SparsityCard.Structure { SparsityCard.Structure(pattern) }
        #expect(structure(pattern(6, 10) { _, _ in true }) == .dense)
        #expect(structure(pattern(6, 10) { r, _ in r != 2 }) == .rows)
        #expect(structure(pattern(6, 10) { _, c in c % 3 == 0 }) == .columns)
        #expect(structure(pattern(16, 16) { r, c in (r / 8 + c / 8) % 2 == 0 }) == .blocks(8))
        #expect(structure(pattern(16, 16) { r, c in (r / 4 + c / 4) % 2 == 0 }) == .blocks(4))
        #expect(structure(pattern(4, 16) { r, c in (c + r) % 4 < 2 }) == .groups(n: 2, m: 4))
        #expect(structure(pattern(4, 16) { r, c in (c + r) % 8 == 3 }) == .groups(n: 1, m: 8))
        // One entry more or less in one group is no such pattern.
        var almost = pattern(4, 16) { r, c in (c + r) % 4 < 2 }
        almost[1, 0] = !almost[1, 0]
        #expect(structure(almost) == .unstructured)
        var generator = SeededGenerator(seed: 1)
        #expect(
            structure(try SparsePattern(rows: 16, columns: 16, keepingRandom: 128, using: &generator)) == .unstructured)
    }

    private func card(_ hooks: [any TrainingHook], prunedAfter: Bool = false) throws -> SparsityCard {
        let model = network([16, 24, 16, 2])
        let audit = SparsityAudit()
        try train(model, hooks: hooks + [audit], steps: 60)
        if prunedAfter {
            try OneShotPruning(budget: UniformBudget(0.75)).prune(model)
            try audit.observe(model)
        }
        return audit.card
    }

    @Test func histories() throws {
        let dense = try card([])
        #expect(dense.time == .never && dense.origin == .dense && !dense.isDynamic && dense.exploration == 1)
        // Three products of 20 rows a step, but the gradient of the first input, which nobody needs.
        let products = 20 * (2 * 16 * 24 + 3 * 24 * 16 + 3 * 16 * 2)
        #expect(dense.trainingMultiplyAdds == 60 * products)
        // Values and gradients, and one momentum, of all weights and biases; the output is not among the audited.
        #expect(dense.trainingBytes == 3 * 4 * (16 * 24 + 24 * 16 + 16 * 2 + 24 + 16 + 2))
        #expect(dense.storedBytes == 4 * (16 * 24 + 24 * 16) && dense.inferenceMultiplyAdds == 768)
        let after = try card([], prunedAfter: true)
        #expect(after.time == .after && after.origin == .denseToSparse && !after.isDynamic && after.kept == 192)
        let gradual = try card([GradualPruning(sparsity: 0.75, interval: 5)])
        #expect(gradual.time == .during && gradual.origin == .denseToSparse && gradual.isDynamic && gradual.kept == 192)
        let fixed = try card([StaticRandomSparsity(budget: UniformBudget(0.75), layers: .allButOutput)])
        #expect(fixed.time == .before && fixed.origin == .sparseToSparse && !fixed.isDynamic)
        #expect(fixed.exploration == 0.25 && fixed.density == 0.25)
        var settings = DropAndGrow.Settings(budget: UniformBudget(0.75))
        (settings.layers, settings.interval, settings.storage) = (.allButOutput, 5, .csr)
        let moving = try card([DropAndGrow(settings)])
        #expect(moving.time == .before && moving.origin == .sparseToSparse && moving.isDynamic)
        #expect(moving.exploration > 0.25 && moving.density == 0.25)
        #expect(moving.storedBytes < dense.storedBytes && moving.trainingMultiplyAdds < dense.trainingMultiplyAdds)
        let groups = try card([SRSTE(pattern: .nm(n: 2, m: 4))])
        #expect(groups.time == .during && groups.origin == .denseToSparse && groups.density == 0.5)
        #expect(groups.structures.allSatisfy { $0.structure == .groups(n: 2, m: 4) })
        #expect(groups.description.contains("2:4") && groups.description.contains("384 of 768"))
    }
}
