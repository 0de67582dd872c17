import LacunaSparse
import LacunaTensor

/// The sum of what several layers of the same sides give, each with a weight in storage of its own and, if norms are given, with a
/// norm of its own: `Σ norm_i(W_i x)`.
///
/// Without norms this is a matrix. With them there is none, so that such a layer can be trained, used on the tape and kept in a
/// network's file, but not stored as a matrix (``TrainableWeight/isLinear``).
public final class SummedWeight: TrainableWeight {
    /// Layers without biases, of the same sides. As layers, they are among a model's ``Module/linears``, where methods find them.
    public let branches: [Linear]
    /// As many as there are branches, or none.
    public let norms: [BatchNorm]

    /// - Precondition: There is a branch; all have the same sides and no bias, and there is a norm for each of them or for none.
    public init(_ branches: [Linear], norms: [BatchNorm] = []) {
        let sides = branches.first.map { [$0.outputDimensions, $0.inputDimensions] }
        require(
            !branches.isEmpty
                && branches.allSatisfy { [$0.outputDimensions, $0.inputDimensions] == sides && $0.bias == nil },
            "branches of different sides, or with biases")
        require(norms.isEmpty || norms.count == branches.count, "\(norms.count) norms of \(branches.count) branches")
        (self.branches, self.norms) = (branches, norms)
    }

    public var outputs: Int { branches[0].outputDimensions }
    public var inputs: Int { branches[0].inputDimensions }
    public var activeCount: Int { min(outputs * inputs, branches.reduce(0) { $0 + $1.weight.activeCount }) }
    public var multiplyAdds: Int { branches.reduce(0) { $0 + $1.weight.multiplyAdds } }
    public var byteCount: Int {
        norms.reduce(branches.reduce(0) { $0 + $1.weight.byteCount }) { sum, norm in
            norm.parameters.reduce(sum) { $0 + $1.buffer.byteCount }
        }
    }
    public var storage: String { "sum" }
    public var isLinear: Bool { norms.isEmpty && branches.allSatisfy { $0.weight.isLinear } }

    /// - Precondition: There are no norms.
    public func densified() -> Tensor<Float> {
        require(isLinear, "a sum of layers with norms has no matrix")
        return branches.dropFirst().reduce(branches[0].weight.densified()) { $0 + $1.weight.densified() }
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        func output(_ index: Int) -> Variable<Float> {
            let y = branches[index].weight.apply(x, bias: nil)
            return norms.isEmpty ? y : norms[index](y)
        }
        let y = branches.indices.dropFirst().reduce(output(0)) { $0 + output($1) }
        return bias.map { y.addingRow($0) } ?? y
    }
}
