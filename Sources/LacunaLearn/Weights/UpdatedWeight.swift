import LacunaSparse
import LacunaTensor

/// A weight that stays as it is, in any storage, and a change to it that is trained: fine-tuning in little memory.
///
/// `W = base + update`. A ``FactoredWeight`` as update is LoRA (Edward Hu and others, "LoRA: Low-Rank Adaptation of Large
/// Language Models", arXiv 2106.09685), a ``CSRWeight`` is sparse fine-tuning on a fixed support, and both together are
/// DSEE (Xuxi Chen and others, arXiv 2111.00160). With a ``FrozenWeight`` as base, the base may be quantised or sparse.
public final class UpdatedWeight: TrainableWeight {
    /// What is updated; usually frozen.
    public let base: any TrainableWeight
    /// Summed.
    public let updates: [any TrainableWeight]

    /// The base's parameters, if it has any, are frozen from now on.
    public init(base: any TrainableWeight, updates: [any TrainableWeight]) {
        require(
            updates.allSatisfy { $0.outputs == base.outputs && $0.inputs == base.inputs },
            "an update of another shape than [\(base.outputs), \(base.inputs)]")
        self.base = base
        self.updates = updates
        for parameter in base.parameters { parameter.isTrainable = false }
    }

    /// A low-rank update that starts at 0. See ``FactoredWeight``.
    public static func lowRank(
        of base: any TrainableWeight, rank: Int, alpha: Float, using generator: inout SeededGenerator
    ) -> UpdatedWeight {
        UpdatedWeight(
            base: base,
            updates: [
                FactoredWeight(
                    outputs: base.outputs, inputs: base.inputs, rank: rank, alpha: alpha, using: &generator)
            ])
    }

    /// An update of the entries of `mask` alone, which starts at 0.
    public static func sparse(of base: any TrainableWeight, mask: SparsePattern) -> UpdatedWeight {
        UpdatedWeight(
            base: base, updates: [CSRWeight(Tensor(zeros: [base.outputs, base.inputs]), mask: mask)])
    }

    public var parts: [(name: String, part: Any)] { [("base", base)] + updates.enumerated().map { ("\($0)", $1) } }
    public var outputs: Int { base.outputs }
    public var inputs: Int { base.inputs }
    public var activeCount: Int { min(outputs * inputs, updates.reduce(base.activeCount) { $0 + $1.activeCount }) }
    public var multiplyAdds: Int { updates.reduce(base.multiplyAdds) { $0 + $1.multiplyAdds } }
    public var byteCount: Int { updates.reduce(base.byteCount) { $0 + $1.byteCount } }
    public var storage: String { ([base] + updates).map(\.storage).joined(separator: " + ") }
    public var isLinear: Bool { base.isLinear && updates.allSatisfy(\.isLinear) }

    public func densified() -> Tensor<Float> {
        var result = base.densified()
        let n = result.count
        for update in updates {
            let change = update.densified()
            result.withMutablePointer { w in change.withPointer { d in for i in 0..<n { w[i] += d[i] } } }
        }
        return result
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        updates.reduce(base.apply(x, bias: bias)) { $0 + $1.apply(x, bias: nil) }
    }
}
