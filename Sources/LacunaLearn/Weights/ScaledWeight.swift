import LacunaSparse
import LacunaTensor

/// A weight times a constant: `factor · W`, with `W` trained.
public final class ScaledWeight: TrainableWeight {
    /// `W`.
    public let base: any TrainableWeight
    /// What it is multiplied by.
    public let factor: Float

    /// A weight in any form, times `factor`.
    public init(_ base: any TrainableWeight, by factor: Float) { (self.base, self.factor) = (base, factor) }

    public var parts: [(name: String, part: Any)] { [("", base)] }
    public var outputs: Int { base.outputs }
    public var inputs: Int { base.inputs }
    public var activeCount: Int { base.activeCount }
    public var multiplyAdds: Int { base.multiplyAdds }
    public var byteCount: Int { base.byteCount }
    public var storage: String { base.storage }
    public var isLinear: Bool { base.isLinear }
    public func densified() -> Tensor<Float> { factor * base.densified() }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let y = base.apply(x, bias: nil).affine(factor)
        return bias.map { y.addingRow($0) } ?? y
    }
}
