import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaModels

@Suite struct MobileNetTests {
    private func network(_ seed: UInt64) throws -> (MobileNetV1, Tensor<Float>) {
        var generator = SeededGenerator(seed: seed)
        let network = try MobileNetV1(randomOfWidth: 0.25, classes: 10, using: &generator)
        return (network, Tensor<Float>(normal: [3, 47, 53], using: &generator))
    }

    private func outputs(_ network: MobileNetV1, _ engine: MobileNetRunner.Engine, _ image: Tensor<Float>) throws
        -> [Float]
    {
        try MobileNetRunner(network, engine: engine, size: (47, 53))(image)
    }

    @Test func sparseAndDenseEnginesAgree() throws {
        let (network, image) = try network(1)
        for (sparsity, group) in [(0.0, 1), (0.5, 4), (0.9, 1), (0.8, 8), (1.0, 2)] {
            let pruned = try network.sparsified(sparsity, group: group)
            let expected = try outputs(pruned, .dense, image)
            for engine in [MobileNetRunner.Engine.sparse(group: nil), .sparse(group: 1), .sparse(group: group)] {
                let found = try outputs(pruned, engine, image)
                #expect(zip(found, expected).allSatisfy { abs($0 - $1) <= 1e-4 * (1 + abs($1)) })
            }
            #expect(expected.contains { abs($0) > 1e-3 })
        }
    }

    @Test func rearrangedNetworksComputeTheSame() throws {
        let (network, image) = try network(2)
        var generator = SeededGenerator(seed: 5)
        let orders = network.blocks.map { Array(0..<$0.pointwise.rows).shuffled(using: &generator) }
        let expected = try outputs(network, .dense, image)
        let found = try outputs(network.rearranged(orders), .dense, image)
        #expect(zip(found, expected).allSatisfy { abs($0 - $1) <= 1e-4 * (1 + abs($1)) })
        // An order that is not undone would show.
        var wrong = network.rearranged(orders)
        wrong.classifier = network.classifier
        #expect(zip(try outputs(wrong, .dense, image), expected).contains { abs($0 - $1) > 1e-3 })
    }

    @Test func sparsityIsWhatWasAskedFor() throws {
        let (network, _) = try network(3)
        for block in try network.sparsified(0.75, group: 4).blocks {
            #expect(abs(SparsePattern(nonzerosOf: block.pointwise).sparsity - 0.75) < 0.02)
        }
        // What is left of a layer is scaled to the energy that all of it had.
        for (block, whole) in zip(try network.sparsified(0.5).blocks, network.blocks) {
            let (after, before) = (block.pointwise.scalars, whole.pointwise.scalars)
            func energy(_ values: [Float]) -> Double { values.reduce(0) { $0 + Double($1) * Double($1) } }
            #expect(abs(energy(after) / energy(before) - 1) < 1e-4)
            let left = zip(after, before).filter { $0.0 != 0 }.map { $0 / $1 }
            #expect(left.allSatisfy { abs($0 / left[0] - 1) < 1e-5 } && left[0] > 1)
        }
        #expect(throws: LacunaError.self) { try network.sparsified(1.5) }
        var generator = SeededGenerator(seed: 1)
        for width in [0, 1e300, .infinity, .nan] {
            #expect(throws: LacunaError.self) { try MobileNetV1(randomOfWidth: width, using: &generator) }
        }
    }
}
