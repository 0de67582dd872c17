import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A dense weight of which a layer computes with an N:M (or otherwise selected) part: gradients reach all of it.
///
/// The mask keeps the largest magnitudes under the pattern and is chosen anew whenever the weights may have changed.
/// While training, masked entries may take part with a factor; evaluation always uses the mask alone.
public final class StraightThroughView: WeightView {
    /// Nil computes forward with the dense weight. One that cannot be selected of the weight (``mask(_:_:)``) is a
    /// programmer's error.
    public var pattern: Pattern?
    /// What masked entries are multiplied by while training: 0 masks them, 1 is dense training.
    public var maskedFactor: Float = 0
    /// Whether the gradient is multiplied by the factors too, instead of passing to all entries unchanged.
    public var appliesChainRule = false
    /// A pattern for the weight through which gradients flow back to the input; nil for the forward one.
    public var backwardPattern: Pattern?
    /// Whether products skip what is masked, as far as masked entries take no part, instead of multiplying by zeros. Choosing
    /// and compressing the parts costs some passes over the weight, which products of many rows make up for.
    public let skipsMasked: Bool
    /// The mask of the last forward pass.
    public private(set) var mask: SparsePattern?

    /// - Parameters:
    ///   - pattern: Of the forward weight; nil for the dense one.
    ///   - backward: Of the weight through which gradients reach the input; nil for the forward one.
    ///   - skipsMasked: Whether products skip what is masked.
    public init(_ pattern: Pattern?, backward: Pattern? = nil, skipsMasked: Bool = false) {
        self.pattern = pattern
        backwardPattern = backward
        self.skipsMasked = skipsMasked
    }

    /// The mask that `pattern` gives for the magnitudes of `weight`.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a pattern that is none, or none for such a weight.
    public static func mask(_ weight: Tensor<Float>, _ pattern: Pattern) throws -> SparsePattern {
        try Selection.mask(magnitudesOf: weight, pattern: pattern)
    }

    /// The mask in a forward pass, in which there is no one left to tell of a pattern that cannot be.
    private static func chosen(_ weight: Tensor<Float>, _ pattern: Pattern) -> SparsePattern {
        do {
            return try mask(weight, pattern)
        } catch {
            require(false, "a view of the pattern \(pattern): \(error)")
            return SparsePattern(rows: weight.rows, columns: weight.columns, keepingAll: true)
        }
    }

    public func weights(_ weight: Variable<Float>) -> (forward: Variable<Float>, backward: Variable<Float>?) {
        let dense = weight.value
        let isTraining = weight.tape.isTraining
        var forward = weight
        if let pattern {
            let mask = Self.chosen(dense, pattern)
            self.mask = mask
            forward = weight.masked(
                mask, factor: isTraining ? Double(maskedFactor) : 0, passesGradients: !appliesChainRule)
        }
        guard let backwardPattern, isTraining else { return (forward, nil) }
        return (forward, weight.detached().masked(Self.chosen(dense, backwardPattern)))
    }

    public func product(
        _ x: Variable<Float>, _ weight: Variable<Float>, bias: Variable<Float>?
    ) -> Variable<Float>? {
        // What fades takes part, and the chain rule's gradient of what is masked is 0.
        guard skipsMasked, !x.tape.isTraining || (maskedFactor == 0 && !appliesChainRule) else { return nil }
        let dense = weight.value
        func part(_ pattern: Pattern) -> CompressedGroups<Float> {
            CompressedGroups(Self.chosen(dense, pattern), from: dense)
        }
        let forward = pattern.map(part)
        mask = forward?.pattern ?? mask
        return x.linear(
            weight, forward: forward, backward: x.tape.isTraining ? backwardPattern.map(part) : nil, bias: bias)
    }

    public func multiplyAdds(_ parameter: Parameter<Float>) -> Int {
        guard let fraction = pattern?.impliedSparsity else { return parameter.count }
        return parameter.count - Selection.removedCount(sparsity: fraction, of: parameter.count)
    }
}

/// Installs straight-through views on dense layers: shared by the methods that train N:M patterns from scratch.
final class StraightThroughLayers {
    private(set) var layers: [(name: String, weight: DenseWeight, view: StraightThroughView)] = []

    /// - Throws: `LacunaError.unsupported` for layers whose weights are not dense, `.invalidArgument` for patterns that
    ///   cannot be selected of them.
    func attach(
        _ choice: LayerChoice, of model: any Module, _ pattern: Pattern?, backward: Pattern? = nil,
        skipsMasked: Bool = false
    ) throws {
        layers = try choice.layers(of: model).map { name, layer in
            guard let weight = layer.dense, weight.parameter.mask == nil else {
                throw LacunaError.unsupported(
                    file: nil, what: "training N:M from scratch on \(layer.weight.storage) weights ('\(name)')")
            }
            // What cannot be selected is found out here.
            for pattern in [pattern, backward].compactMap(\.self) {
                _ = try StraightThroughView.mask(weight.parameter.value, pattern)
            }
            let view = StraightThroughView(pattern, backward: backward, skipsMasked: skipsMasked)
            weight.view = view
            return (name, weight, view)
        }
    }

    /// Adds `decay · w` to the gradients of the weights that the masks of the last forward pass leave out.
    func pull(_ decay: Double) {
        if decay == 0 { return }
        for (_, weight, view) in layers {
            view.mask?.addRemoved(
                of: UnsafePointer(weight.parameter.buffer.pointer), times: decay, to: weight.parameter.gradientPointer)
        }
    }

    /// Removes the views and keeps what the masks keep: everything where the forward weight was dense.
    func finish() throws {
        for (_, weight, view) in layers {
            weight.view = nil
            guard let pattern = view.pattern else { continue }
            weight.mask = try StraightThroughView.mask(weight.parameter.value, pattern)
        }
    }
}
