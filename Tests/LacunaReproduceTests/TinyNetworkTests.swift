import Lacuna
import Testing

@testable import LacunaReproduce

@Suite struct TinyNetworkTests {
    /// Mean cross-entropy, computed directly.
    private func loss(_ network: TinyNetwork, _ inputs: Tensor<Float>, _ labels: [Int]) -> Double {
        let logits = network.logits(inputs)
        return labels.indices.reduce(0.0) { sum, i in
            let row = (0..<logits.columns).map { Double(logits[i, $0]) }
            return sum + logarithm(row.reduce(0) { $0 + exponential($1) }) - row[labels[i]]
        } / Double(labels.count)
    }

    @Test func gradientsAreThoseOfFiniteDifferences() {
        var generator = SeededGenerator(seed: 5)
        let network = TinyNetwork(widths: [6, 9, 7, 4], using: &generator)
        let inputs = Tensor<Float>(normal: [8, 6], using: &generator)
        let labels = (0..<8).map { $0 % 4 }
        let found = network.gradients(inputs, labels)
        for layer in 0..<3 {
            for _ in 0..<6 {
                let (i, j) = (
                    Int.random(in: 0..<network.weights[layer].rows, using: &generator),
                    Int.random(in: 0..<network.weights[layer].columns, using: &generator)
                )
                var (above, below) = (network, network)
                above.weights[layer][i, j] += 2e-3
                below.weights[layer][i, j] -= 2e-3
                let slope = (loss(above, inputs, labels) - loss(below, inputs, labels)) / 4e-3
                #expect(abs(slope - Double(found.weights[layer][i, j])) < 2e-3)
            }
            var (above, below) = (network, network)
            above.biases[layer][1] += 2e-3
            below.biases[layer][1] -= 2e-3
            let slope = (loss(above, inputs, labels) - loss(below, inputs, labels)) / 4e-3
            #expect(abs(slope - Double(found.biases[layer][1])) < 2e-3)
        }
    }

    @Test func trainingLearnsTheBlobs() {
        let task = BlobTask(seed: 3, trainCount: 1000, testCount: 500)
        var generator = SeededGenerator(seed: 3)
        var network = TinyNetwork(widths: [64, 64, 10], using: &generator)
        #expect(network.accuracy(task.testInputs, task.testLabels) < 0.3)
        network.train(task.trainInputs, task.trainLabels, recipe: .init(epochs: 10), using: &generator)
        #expect(network.accuracy(task.testInputs, task.testLabels) > 0.6)
    }
}
