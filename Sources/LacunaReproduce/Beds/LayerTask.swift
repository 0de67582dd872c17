import Lacuna

/// One linear layer with heavy-tailed weights and inputs as language models have them: correlated, of very different
/// size, and with means other than 0.
///
/// Input `j` of a token is `s_j (√ρ a_j + √(1 - ρ) z_j + m_j)` with a shared part `a = F f`, `f ~ N(0, I)` of few
/// factors, `z ~ N(0, I)`, mean `m_j ~ N(0, 0.5²)` and scale `s_j = exp(N(0, 0.5²))`. Weights are Student-t with 4
/// degrees of freedom, divided by the square root of the number of inputs. Half of the tokens calibrate, half judge.
struct LayerTask {
    let weight: Tensor<Float>
    let statistics: InputStatistics
    private let testInputs: Tensor<Float>
    private let testOutputs: Tensor<Float>

    init(seed: UInt64, outputs: Int = 128, inputs: Int = 256, tokens: Int = 2048) {
        var generator = SeededGenerator(seed: seed, stream: 0x1A7E)
        let factors = max(1, inputs / 16)
        let shared: Float = 0.3
        let loading = Tensor<Float>(
            normal: [factors, inputs], standardDeviation: (shared / Float(factors)).squareRoot(), using: &generator)
        let means = (0..<inputs).map { _ in Float(0.5 * generator.normal()) }
        let scales = (0..<inputs).map { _ in Float(exponential(0.5 * generator.normal())) }

        func sample() -> Tensor<Float> {
            var x = Tensor<Float>(normal: [tokens, factors], using: &generator).multiplied(by: loading)
            x.withMutablePointer { p in
                for i in 0..<tokens {
                    for j in 0..<inputs {
                        let own = (1 - shared).squareRoot() * Float(generator.normal())
                        p[i * inputs + j] = scales[j] * (p[i * inputs + j] + own + means[j])
                    }
                }
            }
            return x
        }
        let calibration = sample()
        var statistics = InputStatistics(columns: inputs, gram: true)
        statistics.accumulate(calibration)
        self.statistics = statistics
        testInputs = sample()

        var weight = Tensor<Float>(uninitialized: [outputs, inputs])
        let count = outputs * inputs
        weight.withMutablePointer { w in
            for i in 0..<count {
                let chiSquared = (0..<4).reduce(0.0) { sum, _ in
                    let z = generator.normal()
                    return sum + z * z
                }
                w[i] = Float(generator.normal() / (chiSquared / 4).squareRoot() / Double(inputs).squareRoot())
            }
        }
        self.weight = weight
        testOutputs = testInputs.multiplied(by: weight, otherTransposed: true)
    }

    /// Squared error of the outputs on unseen tokens, relative to the outputs' energy.
    func outputError(_ pruned: Tensor<Float>) -> Double {
        let outputs = testInputs.multiplied(by: pruned, otherTransposed: true)
        let n = outputs.count
        return outputs.withPointer { a in
            testOutputs.withPointer { b in
                var (difference, whole) = (0.0, 0.0)
                for i in 0..<n {
                    let d = Double(b[i]) - Double(a[i])
                    difference += d * d
                    whole += Double(b[i]) * Double(b[i])
                }
                return difference / whole
            }
        }
    }

    /// Mean over the outputs of `|mean over the calibration tokens of (dense - pruned)|`.
    func expectedError(_ mask: SparsePattern) -> Double {
        let errors = DSnoT.expectedErrors(mask, weight: weight, statistics: statistics)
        return errors.reduce(0) { $0 + abs($1) } / Double(errors.count)
    }
}
