import LacunaSparse
import LacunaTensor

/// The weight [outputs, inputs] of a linear layer in some storage, trained as it is stored.
public protocol TrainableWeight: Module {
    /// Rows of the matrix.
    var outputs: Int { get }
    /// Columns of the matrix.
    var inputs: Int { get }
    /// `x Wᵀ + b` for rows `x` [..., inputs].
    func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float>
    /// The matrix in full.
    func densified() -> Tensor<Float>
    /// Entries that may be other than 0 in ``densified()``, as far as storage and masks say.
    var activeCount: Int { get }
    /// Multiply-adds that one row of input costs forward, if what is masked or not stored is skipped.
    var multiplyAdds: Int { get }
    /// Bytes of the trained values and of what says where they belong; no gradients or optimiser state.
    var byteCount: Int { get }
    /// What the storage is called, such as `dense` or `csr`.
    var storage: String { get }
    /// Whether the layer is that of a matrix. Where it is not, there is nothing for ``densified()`` to give. True by default.
    var isLinear: Bool { get }
    /// The matrix [outputs, inputs] that the layer computes with, on the tape: for products other than ``apply(_:bias:)``, of a
    /// depthwise convolution for instance. nil, the default, for storage of which there is none.
    func matrix(on tape: Tape<Float>) -> Variable<Float>?
}

extension TrainableWeight {
    public var isLinear: Bool { true }
    public func matrix(on tape: Tape<Float>) -> Variable<Float>? { nil }
}

/// A weight of which every entry is stored. Entries may be masked (``Parameter/setMask(_:)``).
public final class DenseWeight: TrainableWeight {
    /// [outputs, inputs].
    public let parameter: Parameter<Float>
    /// What the layer computes with instead of the parameter as it is, if anything.
    public var view: (any WeightView)?

    /// - Precondition: `weight` is a matrix.
    public init(_ weight: Tensor<Float>) {
        require(weight.rank == 2, "a weight is a matrix")
        parameter = Parameter(weight)
    }

    public var parts: [(name: String, part: Any)] { [("", parameter)] }
    public var outputs: Int { parameter.shape[0] }
    public var inputs: Int { parameter.shape[1] }
    public var activeCount: Int { parameter.activeCount }
    public var multiplyAdds: Int { view?.multiplyAdds(parameter) ?? parameter.activeCount }
    public var byteCount: Int { parameter.buffer.byteCount + (parameter.mask == nil ? 0 : (parameter.count + 7) / 8) }
    public var storage: String { parameter.mask == nil ? "dense" : "masked" }

    /// The matrix that evaluation uses.
    public func densified() -> Tensor<Float> {
        guard let view else { return parameter.value }
        let tape = Tape<Float>()
        return tape.evaluating { view.weights(parameter.on(tape)).forward.value }
    }

    public func matrix(on tape: Tape<Float>) -> Variable<Float>? {
        let weight = parameter.on(tape)
        return view.map { $0.weights(weight).forward } ?? weight
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let weight = parameter.on(x.tape)
        guard let view else { return x.linear(weight, bias: bias) }
        if let y = view.product(x, weight, bias: bias) { return y }
        let (forward, backward) = view.weights(weight)
        return x.linear(forward, bias: bias, backward: backward)
    }

    /// The mask, as bits.
    public var mask: SparsePattern? {
        get {
            guard let mask = parameter.mask else { return nil }
            return SparsePattern(nonzerosOf: Tensor(mask.elements, shape: parameter.shape))
        }
        set { parameter.setMask(newValue.map { $0.applied(to: Tensor(repeating: 1, shape: parameter.shape)) }) }
    }
}

/// A rule that turns a dense parameter into what a layer computes with: straight-through sparsity, for instance.
public protocol WeightView: AnyObject {
    /// The weight for the forward product, and another one for carrying the gradient to the input if that is not the
    /// same. When the tape is not training, the forward weight must be the one that would be shipped.
    func weights(_ weight: Variable<Float>) -> (forward: Variable<Float>, backward: Variable<Float>?)
    /// `x Wᵀ + b` with the weights of ``weights(_:)``, if the view has a product of its own; nil, the default, for that of dense ones.
    func product(_ x: Variable<Float>, _ weight: Variable<Float>, bias: Variable<Float>?) -> Variable<Float>?
    /// Multiply-adds that one row of input costs forward.
    func multiplyAdds(_ parameter: Parameter<Float>) -> Int
}

extension WeightView {
    public func product(
        _ x: Variable<Float>, _ weight: Variable<Float>, bias: Variable<Float>?
    ) -> Variable<Float>? { nil }
}
