import CLacuna
import LacunaTensor

// Rows of scores become weights: exactly sparse ones, soft selections, doubly stochastic matrices.
extension Variable {
    /// The point of the probability simplex nearest to every row: a softmax with exact zeros.
    ///
    /// `p_i = max(0, x_i - τ)` with `τ` such that the row sums to 1. André Martins, Ramón Astudillo, "From Softmax to
    /// Sparsemax", arXiv 1602.02068.
    @_specialize(where Scalar == Float)
    public func sparsemax() -> Variable {
        let (r, c) = (rows, columns)
        require(c > 0, "a row without entries has no distribution")
        let y = tape.output(shape, self)
        let (x, out) = (pointer, y.pointer)
        spreadRows(r, c, grain: 1 << 12) { first, count in
            for i in first..<first + count {
                let sorted = (0..<c).map { x[i * c + $0] }.sorted(by: >)
                var (sum, threshold): (Scalar, Scalar) = (0, sorted[0] - 1)
                for (j, value) in sorted.enumerated() {
                    sum += value
                    let t = (sum - 1) / Scalar(j + 1)
                    if value <= t { break }
                    threshold = t
                }
                for j in i * c..<(i + 1) * c { out[j] = Swift.max(0, x[j] - threshold) }
            }
        }
        tape.record(y) { [self, unowned y] dy in
            let p = y.pointer
            accumulateAdding { dx in
                spreadRows(r, c) { first, count in
                    for i in first..<first + count {
                        var (sum, kept): (Scalar, Scalar) = (0, 0)
                        for j in i * c..<(i + 1) * c where p[j] > 0 {
                            sum += dy[j]
                            kept += 1
                        }
                        for j in i * c..<(i + 1) * c where p[j] > 0 { dx[j] += dy[j] - sum / kept }
                    }
                }
            }
        }
        return y
    }

    /// A soft choice of `k` entries of every row: `p_i = σ((x_i - τ) / temperature)` with `τ` such that the row sums to
    /// `k`. As the temperature falls it becomes the indicator of the `k` largest.
    ///
    /// The threshold is found by bisection, the gradient by the implicit function theorem: with `s_i = p_i (1 - p_i)`,
    /// `dx_i = s_i / temperature · (dy_i - Σ s dy / Σ s)`.
    ///
    /// - Parameter k: Above 0 and below the number of columns; it need not be whole.
    @_specialize(where Scalar == Float)
    public func softTopK(_ k: Double, temperature: Double) -> Variable {
        let (r, c) = (rows, columns)
        require(k > 0 && k < Double(c) && temperature > 0, "\(k) of \(c) entries at temperature \(temperature)")
        let y = tape.output(shape, self)
        let (x, out) = (pointer, y.pointer)
        func sigmoid(_ z: Double) -> Double {
            z >= 0 ? 1 / (1 + exponential(-z)) : exponential(z) / (1 + exponential(z))
        }
        spreadRows(r, c, grain: 1 << 9) { first, count in
            for i in first..<first + count {
                let row = (0..<c).map { Double(x[i * c + $0]) / temperature }
                // All of the row within `reach` of the threshold gives sums on both sides of k.
                let reach = logarithm(Double(c)) + 40
                var (low, high) = (row.min()! - reach, row.max()! + reach)
                for _ in 0..<200 {
                    let middle = 0.5 * (low + high)
                    if middle <= low || middle >= high { break }
                    if row.reduce(0, { $0 + sigmoid($1 - middle) }) > k { low = middle } else { high = middle }
                }
                for j in 0..<c { out[i * c + j] = Scalar(sigmoid(row[j] - 0.5 * (low + high))) }
            }
        }
        tape.record(y) { [self, unowned y] dy in
            let p = y.pointer
            accumulateAdding { dx in
                for i in 0..<r {
                    var (weighted, total) = (0.0, 0.0)
                    for j in i * c..<(i + 1) * c {
                        let slope = Double(p[j]) * (1 - Double(p[j]))
                        weighted += slope * Double(dy[j])
                        total += slope
                    }
                    if total == 0 { continue }
                    for j in i * c..<(i + 1) * c {
                        let slope = Double(p[j]) * (1 - Double(p[j]))
                        dx[j] += Scalar(slope / temperature * (Double(dy[j]) - weighted / total))
                    }
                }
            }
        }
        return y
    }

    /// The matrix exp(x / temperature) with its rows and columns scaled in turn to sums of 1: nearly doubly stochastic,
    /// a soft assignment. The last scaling is that of the rows. Gradients go through all iterations.
    ///
    /// Richard Sinkhorn, Paul Knopp (1967); Gonzalo Mena and others, "Learning Latent Permutations with Gumbel-Sinkhorn
    /// Networks", arXiv 1802.08665.
    ///
    /// - Precondition: A square matrix.
    public func sinkhorn(iterations: Int, temperature: Scalar = 1) -> Variable {
        require(shape.count == 2 && shape[0] == shape[1] && iterations > 0, "not a square matrix: \(shape)")
        var x = affine(1 / temperature)
        for _ in 0..<iterations { x = x.transposed().logSoftmax().transposed().logSoftmax() }
        return x.map(.exponential)
    }

    /// Samples of one entry of every row in proportion to the softmax of its scores, relaxed:
    /// `softmax((x + Gumbel noise) / temperature)`, drawn from the tape's generator.
    ///
    /// Eric Jang, Shixiang Gu, Ben Poole, "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
    ///
    /// - Parameter isHard: Gives the sampled entry 1 and the others 0; the gradient is that of the relaxed sample.
    @_specialize(where Scalar == Float)
    public func gumbelSoftmax(temperature: Scalar, isHard: Bool = false) -> Variable {
        require(temperature > 0 && columns > 0, "a temperature of \(temperature) for \(columns) columns")
        let noise = tape.pool.take(count)
        var generator = tape.generator
        for i in 0..<count {
            // In (0, 1): neither logarithm meets a 0.
            let uniform = (Double(generator.next() >> 11) + 0.5) * 0x1p-53
            noise.pointer[i] = Scalar(-logarithm(-logarithm(uniform)))
        }
        tape.generator = generator
        let noisy = self + Variable(shape: shape, tape: tape, storage: noise, needsGradient: false)
        let soft = noisy.affine(1 / temperature).softmax()
        if !isHard { return soft }
        var hard = Tensor<Scalar>(zeros: shape)
        let (chosen, c) = (soft.topIndices(1), columns)
        hard.withMutablePointer { for (row, place) in chosen.enumerated() { $0[row * c + Int(place)] = 1 } }
        return soft.straightThrough(hard)
    }
}
