import LacunaSparse
import LacunaTensor

/// A weight of low rank, `scale · B A`, trained as its factors; the full matrix is never made in training.
public final class FactoredWeight: TrainableWeight {
    /// [rank, inputs].
    public let a: Parameter<Float>
    /// [outputs, rank].
    public let b: Parameter<Float>
    /// What the product is multiplied by.
    public let scale: Float

    /// A weight of given factors.
    ///
    /// - Precondition: Both of one rank.
    public init(a: Tensor<Float>, b: Tensor<Float>, scale: Float) {
        require(a.rank == 2 && b.rank == 2 && a.shape[0] == b.shape[1], "factors of different rank")
        self.a = Parameter(a)
        self.b = Parameter(b)
        self.scale = scale
    }

    /// A start at 0: A uniform in ±1/√inputs, B zero; the scale is `alpha / rank`.
    public convenience init(
        outputs: Int, inputs: Int, rank: Int, alpha: Float, using generator: inout SeededGenerator
    ) {
        require(rank > 0, "a rank of \(rank)")
        self.init(
            a: Initialization.uniform.tensor([rank, inputs], fanIn: inputs, using: &generator),
            b: Tensor(zeros: [outputs, rank]), scale: alpha / Float(rank))
    }

    public var outputs: Int { b.shape[0] }
    public var inputs: Int { a.shape[1] }
    /// Rows of A, columns of B.
    public var rank: Int { a.shape[0] }
    public var activeCount: Int { outputs * inputs }
    public var multiplyAdds: Int { a.count + b.count }
    public var byteCount: Int { a.buffer.byteCount + b.buffer.byteCount }
    public var storage: String { "low-rank" }

    public func densified() -> Tensor<Float> {
        var result = b.value.multiplied(by: a.value)
        let n = result.count
        result.withMutablePointer { for i in 0..<n { $0[i] *= scale } }
        return result
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(a.on(x.tape)).affine(scale).linear(b.on(x.tape), bias: bias)
    }
}
