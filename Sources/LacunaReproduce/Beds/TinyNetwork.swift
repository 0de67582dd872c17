import Lacuna

/// A fully connected ReLU classifier with the least training code that a reproduction needs: cross-entropy, SGD with
/// momentum and weight decay, a learning rate falling linearly to 0.
///
/// Defaults train the network of the ``BlobTask`` checks (64-256-256-10) to about 80 % accuracy in under a second.
struct TinyNetwork: Sendable {
    struct Recipe {
        var epochs = 20
        var batch = 64
        var learningRate: Float = 0.05
        var momentum: Float = 0.9
        var weightDecay: Float = 1e-4
    }

    /// One matrix [outputs, inputs] for each layer.
    var weights: [Tensor<Float>]
    var biases: [Tensor<Float>]

    /// He initialisation: weights N(0, 2 / inputs), biases 0.
    init(widths: [Int], using generator: inout SeededGenerator) {
        weights = []
        biases = []
        for (inputs, outputs) in zip(widths, widths.dropFirst()) {
            weights.append(
                Tensor(
                    normal: [outputs, inputs], standardDeviation: (2 / Float(inputs)).squareRoot(), using: &generator))
            biases.append(Tensor(zeros: [outputs]))
        }
    }

    /// Inputs of every layer, followed by the logits [n, classes].
    private func activations(_ inputs: Tensor<Float>) -> [Tensor<Float>] {
        var result = [inputs]
        for (layer, weight) in weights.enumerated() {
            var y = result[layer].multiplied(by: weight, otherTransposed: true)
            let (n, width) = (y.rows, y.columns)
            let isHidden = layer + 1 < weights.count
            biases[layer].withPointer { b in
                y.withMutablePointer { y in
                    for i in 0..<n {
                        for j in 0..<width {
                            let value = y[i * width + j] + b[j]
                            y[i * width + j] = isHidden ? max(value, 0) : value
                        }
                    }
                }
            }
            result.append(y)
        }
        return result
    }

    /// Logits [n, classes] for inputs [n, features].
    func logits(_ inputs: Tensor<Float>) -> Tensor<Float> { activations(inputs).last! }

    /// Fraction of inputs whose largest logit is their label's.
    func accuracy(_ inputs: Tensor<Float>, _ labels: [Int]) -> Double {
        let logits = logits(inputs)
        let classes = logits.columns
        let right = logits.withPointer { p in
            labels.indices.count { i in
                let row = p + i * classes
                return (0..<classes).allSatisfy { $0 == labels[i] || row[$0] < row[labels[i]] }
            }
        }
        return Double(right) / Double(max(labels.count, 1))
    }

    /// Gradients of the mean cross-entropy over a batch, by back-propagation.
    func gradients(_ inputs: Tensor<Float>, _ labels: [Int]) -> (weights: [Tensor<Float>], biases: [Tensor<Float>]) {
        let values = activations(inputs)
        var delta = Self.softmaxMinusOneHot(values.last!, labels)
        var weightGradients: [Tensor<Float>] = []
        var biasGradients: [Tensor<Float>] = []
        for layer in weights.indices.reversed() {
            weightGradients.append(delta.multiplied(by: values[layer], transposed: true))
            biasGradients.append(Self.columnSums(delta))
            if layer == 0 { break }
            delta = delta.multiplied(by: weights[layer])
            let n = delta.count
            values[layer].withPointer { h in
                delta.withMutablePointer { d in for i in 0..<n where h[i] <= 0 { d[i] = 0 } }
            }
        }
        return (weightGradients.reversed(), biasGradients.reversed())
    }

    /// Trains in place, visiting the samples in an order drawn anew for every epoch.
    mutating func train(
        _ inputs: Tensor<Float>, _ labels: [Int], recipe: Recipe = Recipe(), using generator: inout SeededGenerator
    ) {
        var velocities = (weights + biases).map { Tensor<Float>(zeros: $0.shape) }
        let (n, width) = (inputs.rows, inputs.columns)
        let stepsPerEpoch = (n + recipe.batch - 1) / recipe.batch
        var order = Array(0..<n)
        var step = 0
        for _ in 0..<recipe.epochs {
            order.shuffle(using: &generator)
            for start in stride(from: 0, to: n, by: recipe.batch) {
                let chosen = order[start..<min(start + recipe.batch, n)]
                var batch = Tensor<Float>(uninitialized: [chosen.count, width])
                inputs.withPointer { x in
                    batch.withMutablePointer { b in
                        for (i, sample) in chosen.enumerated() {
                            (b + i * width).update(from: x + sample * width, count: width)
                        }
                    }
                }
                let (weightGradients, biasGradients) = gradients(batch, chosen.map { labels[$0] })
                let rate = recipe.learningRate * (1 - Float(step) / Float(recipe.epochs * stepsPerEpoch))
                for layer in weights.indices {
                    Self.descend(
                        &weights[layer], &velocities[layer], weightGradients[layer], rate: rate, recipe: recipe)
                    Self.descend(
                        &biases[layer], &velocities[weights.count + layer], biasGradients[layer], rate: rate,
                        recipe: recipe)
                }
                step += 1
            }
        }
    }

    private static func descend(
        _ parameter: inout Tensor<Float>, _ velocity: inout Tensor<Float>, _ gradient: Tensor<Float>, rate: Float,
        recipe: Recipe
    ) {
        let n = parameter.count
        gradient.withPointer { g in
            velocity.withMutablePointer { v in
                parameter.withMutablePointer { w in
                    for i in 0..<n {
                        v[i] = recipe.momentum * v[i] + g[i] + recipe.weightDecay * w[i]
                        w[i] -= rate * v[i]
                    }
                }
            }
        }
    }

    /// The gradient of the mean cross-entropy with respect to the logits.
    private static func softmaxMinusOneHot(_ logits: Tensor<Float>, _ labels: [Int]) -> Tensor<Float> {
        var result = logits
        let (n, classes) = (logits.rows, logits.columns)
        result.withMutablePointer { p in
            for i in 0..<n {
                let row = p + i * classes
                let largest = (0..<classes).reduce(-Float.infinity) { max($0, row[$1]) }
                var total: Float = 0
                for j in 0..<classes {
                    row[j] = Float(exponential(Double(row[j] - largest)))
                    total += row[j]
                }
                for j in 0..<classes {
                    row[j] = (row[j] / total - (j == labels[i] ? 1 : 0)) / Float(n)
                }
            }
        }
        return result
    }

    private static func columnSums(_ matrix: Tensor<Float>) -> Tensor<Float> {
        var result = Tensor<Float>(zeros: [matrix.columns])
        let (n, width) = (matrix.rows, matrix.columns)
        matrix.withPointer { p in
            result.withMutablePointer { sums in
                for i in 0..<n { for j in 0..<width { sums[j] += p[i * width + j] } }
            }
        }
        return result
    }
}
