import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// Convolutional networks under methods for linear layers.
@Suite struct MobileNetworkPruningTests {
    @Test func layersKeepTheirMeansAndTheirOutputs() throws {
        var generator = SeededGenerator(seed: 3)
        let network = try MobileNetV1(randomOfWidth: 0.25, classes: 10, using: &generator).layered
        let images = (0..<3).map { _ in Tensor<Float>(normal: [3, 32, 32], using: &generator) }
        let inputs = try network.pointwiseInputs(images)
        let pattern = Pattern.block(rows: 4, columns: 1)
        let (simple, careful) = (
            try network.pruned(by: Magnitude(), pattern, sparsity: 0.5, inputs: inputs),
            try network.pruned(by: SparseGPT(), pattern, sparsity: 0.5, inputs: inputs)
        )
        // What meets inputs that are always 0 goes as well.
        #expect(abs(simple.pointwiseSparsity - 0.5) < 0.01)
        #expect(careful.pointwiseSparsity > 0.49 && careful.pointwiseSparsity < 0.9, "\(careful.pointwiseSparsity)")
        /// `‖(W - W′) X‖²` of a layer.
        func change(_ pruned: MobileNetwork, _ place: Int) throws -> Double {
            let difference = network.layers[place].weight - pruned.layers[place].weight
            let seen = try #require(inputs[place])
            let product = difference.multiplied(by: try seen.gram())
            return zip(product.scalars, difference.scalars).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        var (total, best) = (0.0, 0.0)
        for place in network.pointwise {
            let seen = try #require(inputs[place])
            for pruned in [simple, careful] {
                let (before, after) = (network.layers[place], pruned.layers[place])
                for o in 0..<before.outputs {
                    func mean(_ layer: MobileNetwork.Layer) -> Float {
                        (0..<layer.inputs).reduce(layer.bias[o]) { $0 + layer.weight[o, $1] * seen.means[$1] }
                    }
                    #expect(abs(mean(before) - mean(after)) < 1e-3 * (1 + abs(mean(before))))
                    // The four of a group read the same channels.
                    let first = o / 4 * 4
                    for i in 0..<after.inputs {
                        #expect((after.weight[o, i] == 0) == (after.weight[first, i] == 0))
                    }
                }
            }
            total += try change(simple, place)
            best += try change(careful, place)
        }
        #expect(best < 0.8 * total, "\(best) of \(total)")
        // Everything but pointwise layers stays.
        #expect(careful.layers[0].weight == network.layers[0].weight && careful.classifier == network.classifier)
    }

    @Test func withoutInputsBiasesStay() throws {
        var generator = SeededGenerator(seed: 4)
        let network = try MobileNetV1(randomOfWidth: 0.25, classes: 10, using: &generator).layered
        let pruned = try network.pruned(by: Magnitude(), .unstructured(.layer), sparsity: 0.75)
        #expect(zip(pruned.layers, network.layers).allSatisfy { $0.bias == $1.bias })
        #expect(abs(pruned.pointwiseSparsity - 0.75) < 1e-3)
        #expect(throws: LacunaError.self) {
            try network.pruned(by: SparseGPT(), .unstructured(.layer), sparsity: 0.5)
        }
    }
}
