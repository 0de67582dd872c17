import LacunaSparse
import LacunaTensor

/// A dense weight of which parts of rows are multiplied by numbers that are trained too: entry (r, c) of `W` by `A` (r, ⌊c n / columns⌋).
///
/// Weiyu Huang, Yuezhou Hu, Jun Zhu, Jianfei Chen, "CAST: Continuous and Differentiable Semi-Structured Sparsity-Aware Training for
/// Large Language Models", arXiv 2509.25996.
public final class GroupScaledWeight: TrainableWeight {
    /// `W`.
    public let base: DenseWeight
    /// `A` [outputs, n], 1 at first. Weight decay leaves it alone.
    public let scales: Parameter<Float>

    /// - Parameters:
    ///   - base: Without a view.
    ///   - groups: n, at least 1: runs of consecutive inputs, of a number of columns that differs by at most one.
    public init(_ base: DenseWeight, groups: Int) {
        require(groups >= 1 && base.view == nil, "\(groups) groups, or a weight with a view")
        self.base = base
        scales = Parameter(Tensor(repeating: 1, shape: [base.outputs, groups]), decays: false)
    }

    public var outputs: Int { base.outputs }
    public var inputs: Int { base.inputs }
    public var activeCount: Int { base.activeCount }
    public var multiplyAdds: Int { base.multiplyAdds }
    public var byteCount: Int { base.byteCount + scales.buffer.byteCount }
    public var storage: String { "scaled" }

    /// The run of each column.
    private var groupOfColumn: [Int32] {
        let groups = scales.shape[1]
        return (0..<inputs).map { Int32($0 * groups / inputs) }
    }

    public func matrix(on tape: Tape<Float>) -> Variable<Float>? {
        base.parameter.on(tape) * scales.on(tape).gathered(columns: groupOfColumn)
    }

    public func densified() -> Tensor<Float> {
        let tape = Tape<Float>()
        return tape.evaluating { matrix(on: tape)!.value }
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(matrix(on: x.tape)!, bias: bias)
    }
}
