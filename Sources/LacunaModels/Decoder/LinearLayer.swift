import LacunaSparse
import LacunaTensor

/// A stored weight matrix [outputs, inputs] and an optional bias [outputs].
public struct LinearLayer: Sendable {
    public var weight: any StoredMatrix
    public var bias: Tensor<Float>?

    /// - Precondition: A bias has one entry for each row of the weight.
    public init(_ weight: any StoredMatrix, bias: Tensor<Float>? = nil) {
        precondition(bias == nil || bias!.count == weight.rows)
        self.weight = weight
        self.bias = bias
    }

    public var outputs: Int { weight.rows }
    public var inputs: Int { weight.columns }

    /// `y[i] = W x[i] + b` for `count` rows of `x`, which all the layers read.
    static func multiply(
        _ layers: [(LinearLayer, UnsafeMutablePointer<Float>)], _ x: UnsafePointer<Float>, count: Int
    ) {
        Product.gemm(layers.map { ($0.weight, $1) }, x: x, count: count)
        for (layer, y) in layers where layer.bias != nil {
            for i in 0..<count { layer.addBias(y + i * layer.outputs) }
        }
    }

    /// Adds the bias, if there is one, to one output vector.
    @inline(__always)
    func addBias(_ y: UnsafeMutablePointer<Float>) {
        guard let bias else { return }
        bias.withPointer { VectorMath.add($0, to: y, count: bias.count) }
    }
}
