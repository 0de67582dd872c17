// A score and a pruning method that the library does not have, used wherever its own are: here on one layer whose inputs
// have different means and variances, in two patterns.
import Lacuna

let (outputs, inputs, tokens) = (256, 512, 4096)

/// Inputs of which every eighth hardly varies around a large mean; the others vary around zero.
func makeInputs(using generator: inout SeededGenerator) -> Tensor<Float> {
    let spreads = (0..<inputs).map { _ in Float(generator.uniform() * generator.uniform() * 2) }
    var x = Tensor<Float>(normal: [tokens, inputs], standardDeviation: 1, using: &generator)
    x.withMutablePointer { x in
        for i in 0..<tokens * inputs { x[i] = (i % inputs % 8 == 0 ? 3 : 0) + spreads[i % inputs] * x[i] }
    }
    return x
}

/// How much of the output's variance is lost: `‖(W - W') (X - mean X)‖² / ‖W (X - mean X)‖²`.
func lostVariance(_ weight: Tensor<Float>, _ pruned: Tensor<Float>, _ x: Tensor<Float>, means: [Double]) -> Double {
    var centred = x
    centred.withMutablePointer { x in
        for i in 0..<tokens * inputs { x[i] -= Float(means[i % inputs]) }
    }
    let whole = centred.multiplied(by: weight, otherTransposed: true).scalars
    let part = centred.multiplied(by: pruned, otherTransposed: true).scalars
    let lost = zip(whole, part).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
    return lost / whole.reduce(0.0) { $0 + Double($1 * $1) }
}

var generator = SeededGenerator(seed: 7)
let weight = Tensor<Float>(normal: [outputs, inputs], standardDeviation: 1, using: &generator)
let x = makeInputs(using: &generator)
var statistics = InputStatistics(columns: inputs)
statistics.accumulate(x)
let means = statistics.sums.map { $0 / Double(tokens) }

let methods: [any LayerwisePruning] = [RandomPruning(), Magnitude(), Wanda(), Fluctuation()]
for pattern in [Pattern.unstructured(.row), .nm(n: 2, m: 4, axis: .input)] {
    print("\(pattern), half of the weights removed")
    for method in methods {
        var pruned = weight
        let request = PruningRequest(pattern, sparsity: 0.5)
        _ = try method.prune(&pruned, statistics: statistics, request: request)
        let lost = lostVariance(weight, pruned, x, means: means)
        print("  \(method.card.name): \((lost * 1000).rounded() / 10) % of the output's variance lost")
    }
}
