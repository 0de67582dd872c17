import LacunaLearn
import LacunaTensor

/// A weight that computes what another one does and remembers what its layer gave in the last forward pass, so that a term of the
/// loss can be made of it.
public final class ObservedWeight: TrainableWeight {
    /// What computes.
    public let base: any TrainableWeight
    /// [..., outputs], on the tape of that pass; nil before there was one.
    public private(set) var output: Variable<Float>?

    /// Watches a weight.
    public init(_ base: any TrainableWeight) { self.base = base }

    /// Those of the weight, under their own names.
    public var parts: [(name: String, part: Any)] { [("", base)] }
    public var outputs: Int { base.outputs }
    public var inputs: Int { base.inputs }
    public var activeCount: Int { base.activeCount }
    public var multiplyAdds: Int { base.multiplyAdds }
    public var byteCount: Int { base.byteCount }
    public var storage: String { base.storage }
    public func densified() -> Tensor<Float> { base.densified() }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let y = base.apply(x, bias: bias)
        output = y
        return y
    }

    /// Forgets what was seen, and with it the memory of a pass.
    public func forget() { output = nil }
}
