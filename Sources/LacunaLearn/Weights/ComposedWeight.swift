import LacunaSparse
import LacunaTensor

/// Two layers in the place of one: `V φ(norm(U x))`, each with a weight in storage of its own.
///
/// Without norm and `φ` this is a matrix. With one of them there is none, so that such a layer can be trained, used on the tape and
/// kept in a network's file, but not stored as a matrix (``TrainableWeight/isLinear``).
public final class ComposedWeight: TrainableWeight {
    /// `U`, without a bias. As layers, both are among a model's ``Module/linears``, where methods find them.
    public let first: Linear
    /// Of what `U` gives; nil for none.
    public let norm: BatchNorm?
    /// `V`, without a bias.
    public let second: Linear
    /// `φ`; nil for none.
    public let activation: Activation?

    /// - Precondition: Layers that fit each other, without biases.
    public init(_ first: Linear, norm: BatchNorm? = nil, activation: Activation? = nil, _ second: Linear) {
        require(
            first.outputDimensions == second.inputDimensions && first.bias == nil && second.bias == nil,
            "layers that do not fit, or with biases")
        (self.first, self.norm, self.second, self.activation) = (first, norm, second, activation)
    }

    public var outputs: Int { second.outputDimensions }
    public var inputs: Int { first.inputDimensions }
    public var activeCount: Int { outputs * inputs }
    public var multiplyAdds: Int { first.weight.multiplyAdds + second.weight.multiplyAdds }
    public var byteCount: Int {
        first.weight.byteCount + second.weight.byteCount
            + (norm?.parameters.reduce(0) { $0 + $1.buffer.byteCount } ?? 0)
    }
    public var storage: String { "composed" }
    public var isLinear: Bool {
        norm == nil && activation == nil && first.weight.isLinear && second.weight.isLinear
    }

    /// - Precondition: There is neither norm nor `φ`.
    public func densified() -> Tensor<Float> {
        require(isLinear, "a layer with a norm or a nonlinearity inside has no matrix")
        return second.weight.densified().multiplied(by: first.weight.densified())
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        var inner = first.weight.apply(x, bias: nil)
        if let norm { inner = norm(inner) }
        if let activation { inner = inner.map(activation) }
        return second.weight.apply(inner, bias: bias)
    }
}
