import LacunaSparse
import LacunaTensor

/// How far a pruned layer's outputs are from the original's on the calibration data.
public enum OutputError {
    /// `‖X(W - V)ᵀ‖² / ‖XWᵀ‖²`, computed from the Gram matrix as `tr((W-V) G (W-V)ᵀ) / tr(W G Wᵀ)`.
    ///
    /// - Parameters:
    ///   - original: `W` [outputs, inputs].
    ///   - pruned: `V`, of the same shape.
    ///   - gram: `G = XᵀX` [inputs, inputs], both triangles.
    /// - Returns: 0 for equal matrices; 1 if nothing is left; 0 if the original's outputs are all 0.
    /// - Complexity: O(outputs · inputs²).
    public static func relative(original: Tensor<Float>, pruned: Tensor<Float>, gram: Tensor<Float>) -> Double {
        require(original.shape == pruned.shape && gram.shape == [original.columns, original.columns])
        var difference = original
        let n = original.count
        pruned.withPointer { v in difference.withMutablePointer { d in for i in 0..<n { d[i] -= v[i] } } }
        let whole = energy(original, gram)
        return whole > 0 ? max(0, energy(difference, gram)) / whole : 0
    }

    /// `tr(W G Wᵀ)`, the sum of the squared outputs.
    static func energy(_ weight: Tensor<Float>, _ gram: Tensor<Float>) -> Double {
        let product = weight.multiplied(by: gram)
        let n = weight.count
        return product.withPointer { p in
            weight.withPointer { w in
                var sum = 0.0
                for i in 0..<n { sum += Double(p[i]) * Double(w[i]) }
                return sum
            }
        }
    }
}
