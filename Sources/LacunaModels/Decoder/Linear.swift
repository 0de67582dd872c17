import LacunaSparse
import LacunaTensor

/// A stored weight matrix [outputs, inputs] and an optional bias [outputs].
public struct Linear: Sendable {
    public var weight: any WeightMatrix
    public var bias: Tensor<Float>?

    /// - Precondition: A bias has one entry for each row of the weight.
    public init(_ weight: any WeightMatrix, bias: Tensor<Float>? = nil) {
        precondition(bias == nil || bias!.count == weight.rows)
        self.weight = weight
        self.bias = bias
    }

    public var outputs: Int { weight.rows }
    public var inputs: Int { weight.columns }

    /// `y[i] = W x[i] + b` for `count` rows of `x`.
    func callAsFunction(_ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>) {
        Product.gemm(weight, x, count: count, into: y)
        for i in 0..<(bias == nil ? 0 : count) { addBias(y + i * outputs) }
    }

    /// Adds the bias, if there is one, to one output vector.
    @inline(__always)
    func addBias(_ y: UnsafeMutablePointer<Float>) {
        guard let bias else { return }
        bias.withPointer { VectorMath.add($0, to: y, count: bias.count) }
    }
}
