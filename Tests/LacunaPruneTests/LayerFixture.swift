import LacunaSparse
import LacunaTensor

@testable import LacunaPrune

/// A random layer and inputs that are correlated, have outlier channels and means other than 0.
struct LayerFixture {
    let weight: Tensor<Float>
    let inputs: Tensor<Float>
    let statistics: InputStatistics

    init(
        outputs: Int = 24, inputs columns: Int = 40, tokens: Int = 256, seed: UInt64 = 1, centred: Bool = false
    ) {
        var generator = SeededGenerator(seed: seed)
        let factors = Tensor<Float>(normal: [tokens, max(2, columns / 3)], using: &generator)
        let mixing = Tensor<Float>(normal: [max(2, columns / 3), columns], using: &generator)
        var x = factors.multiplied(by: mixing)
        let noise = Tensor<Float>(normal: [tokens, columns], standardDeviation: 0.5, using: &generator)
        let scales = (0..<columns).map { _ in Float(exponential(generator.normal())) }
        let means = (0..<columns).map { _ in centred ? 0 : Float(generator.normal()) }
        x.withMutablePointer { p in
            noise.withPointer { noise in
                for i in 0..<tokens {
                    for j in 0..<columns {
                        // Centred inputs come in pairs of opposite sign, so that every mean is exactly 0.
                        let source = centred && i % 2 == 1 ? (i - 1) * columns + j : i * columns + j
                        p[i * columns + j] =
                            centred && i % 2 == 1 ? -p[source] : (p[source] + noise[source]) * scales[j] + means[j]
                    }
                }
            }
        }
        weight = Tensor(normal: [outputs, columns], using: &generator)
        inputs = x
        var statistics = InputStatistics(columns: columns, gram: true)
        statistics.accumulate(x)
        self.statistics = statistics
    }

    /// `‖X(W - V)ᵀ‖² / ‖XWᵀ‖²`, from the inputs themselves.
    func error(_ pruned: Tensor<Float>) -> Double {
        func energy(_ y: [Float]) -> Double { y.reduce(0) { $0 + Double($1) * Double($1) } }
        let whole = inputs.multiplied(by: weight, otherTransposed: true).scalars
        let part = inputs.multiplied(by: pruned, otherTransposed: true).scalars
        return energy(zip(whole, part).map { $0 - $1 }) / energy(whole)
    }

    func pruned(_ method: some LayerwisePruning, _ pattern: Pattern, _ sparsity: Double?) throws -> (
        weight: Tensor<Float>, mask: SparsePattern
    ) {
        var result = weight
        let mask = try method.prune(
            &result, statistics: statistics, request: PruningRequest(pattern, sparsity: sparsity))
        return (result, mask)
    }
}

/// Statistics whose Gram matrix is the identity.
func whiteStatistics(columns: Int) -> InputStatistics {
    var inputs = Tensor<Float>(zeros: [columns, columns])
    for i in 0..<columns { inputs[i, i] = 1 }
    var statistics = InputStatistics(columns: columns, gram: true)
    statistics.accumulate(inputs)
    return statistics
}
