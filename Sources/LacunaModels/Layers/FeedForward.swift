import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The feed-forward part of a block, to be run: gated, `down(f(gate x) · up x)` (Shazeer, "GLU Variants Improve Transformer",
/// arXiv:2002.05202), or plain, `down(f(up x))`.
public struct FeedForward: Sendable {
    /// nil for a plain one.
    public var gate: LinearLayer?
    /// [intermediateSize, width].
    public var up: LinearLayer
    /// [width, intermediateSize].
    public var down: LinearLayer
    /// Of the gate; without one, of what ``up`` gives.
    public var activation: Activation

    /// Assembles the part; without a gate it is plain.
    public init(gate: LinearLayer?, up: LinearLayer, down: LinearLayer, activation: Activation = .silu) {
        self.gate = gate
        self.up = up
        self.down = down
        self.activation = activation
    }

    /// Width of the part between the projections.
    public var intermediateSize: Int { up.outputs }

    /// Bytes of the matrices.
    public var byteCount: Int { [gate, up, down].reduce(0) { $0 + ($1?.weight.byteCount ?? 0) } }

    /// The outputs for a step's rows `x`.
    func step(
        _ x: UnsafePointer<Float>, context: StepContext, layer: Int, into output: UnsafeMutablePointer<Float>,
        observe: BlockObserver?
    ) throws {
        let (count, size) = (context.count, context.count * intermediateSize)
        let upper = context.pointer(.up, size)
        let inner = gate == nil ? upper : context.pointer(.gate, size)
        if let gate {
            try observe?([.gate, .up], x, count)
            if let chooser = context.gate, chooser.choosesNeurons(layer: layer) {
                chooseNeurons(x, context: context, chooser, layer: layer, gate, inner, upper)
                try observe?([.down], inner, count)
                return LinearLayer.multiply(
                    [(down, output)], inner, context: context, layer: layer, roles: [.down])
            }
            LinearLayer.multiply(
                [(gate, inner), (up, upper)], x, context: context, layer: layer, roles: [.gate, .up])
            VectorMath.gated(activation, inner, upper, into: inner, count: size)
        } else {
            try observe?([.up], x, count)
            LinearLayer.multiply([(up, inner)], x, context: context, layer: layer, roles: [.up])
            Parallel.forRanges(size, grain: 32_768) {
                activation.apply(inner + $0.lowerBound, into: inner + $0.lowerBound, count: $0.count)
            }
        }
        try observe?([.down], inner, count)
        LinearLayer.multiply([(down, output)], inner, context: context, layer: layer, roles: [.down])
    }
}

extension FeedForward {
    /// `f(gate x) · up x` of the neurons that a gate chooses by `gate x`, for a step's rows; 0 for the others, of which few rows
    /// at a time read no weights of `up`.
    private func chooseNeurons(
        _ x: UnsafePointer<Float>, context: StepContext, _ chooser: any InputGate, layer: Int, _ gate: LinearLayer,
        _ inner: UnsafeMutablePointer<Float>, _ upper: UnsafeMutablePointer<Float>
    ) {
        let (count, width) = (context.count, intermediateSize)
        LinearLayer.multiply([(gate, inner)], x, context: context, layer: layer, roles: [.gate])
        let activated = context.pointer(.activated, count * width)
        Parallel.forRanges(count * width, grain: 32_768) {
            activation.apply(inner + $0.lowerBound, into: activated + $0.lowerBound, count: $0.count)
        }
        let isSkipping = LinearLayer.goesRowByRow(count)
        if !isSkipping { Product.gemm(up.weight, x, count: count, into: upper) }
        for row in 0..<count {
            let (gates, values, ups) = (inner + row * width, activated + row * width, upper + row * width)
            let active = chooser.neurons(preactivations: gates, activations: values, count: width, layer: layer)
            var read: Int?
            if isSkipping {
                let input = x + row * up.inputs
                if let active {
                    read = active.withUnsafeBufferPointer {
                        Product.gemv(up.weight, x: input, activeRows: $0, into: ups)
                    }
                } else {
                    Product.gemv([(up.weight, ups)], x: input)
                    read = up.weight.byteCount
                }
            }
            context.meter?.note(
                layer: layer, role: .up, weights: up.inputs * up.outputs, inputs: width,
                active: active?.count ?? width, compared: active == nil ? 0 : width, bytes: up.weight.byteCount,
                read: read)
            up.addBias(ups)
            guard let active else {
                for i in 0..<width { gates[i] = values[i] * ups[i] }
                continue
            }
            gates.update(repeating: 0, count: width)
            for i in active { gates[Int(i)] = values[Int(i)] * ups[Int(i)] }
        }
    }
}

// MARK: - On the tape

/// ``FeedForward`` to be learned.
public final class TrainableFeedForward: UnaryLayer {
    /// [intermediateSize, width]; nil for a plain part.
    public let gate: Linear?
    /// [intermediateSize, width] and [width, intermediateSize].
    public let up, down: Linear
    /// Of the gate; without one, of what ``up`` gives.
    public let activation: Activation
    /// What becomes of `f(gate x)`, without a gate of `f(up x)`, before it goes on; nil for nothing. Methods that make activations
    /// sparser set it for a training run; it is no part of the form that is run.
    public var sparsifier: ((Variable<Float>) -> Variable<Float>)?
    /// Sees what ``down`` is about to read, [n, intermediateSize]; nil for no one.
    public var watch: ((Variable<Float>) -> Void)?

    /// - Parameter weight: Makes the trained form of a stored matrix, given its role.
    public init(
        _ part: FeedForward, weight: (LinearRole, any StoredMatrix) throws -> any TrainableWeight
    ) rethrows {
        gate = try part.gate.map { try $0.trainable(.gate, weight) }
        up = try part.up.trainable(.up, weight)
        down = try part.down.trainable(.down, weight)
        activation = part.activation
    }

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let hidden: Variable<Float>
        if let gate {
            if activation == .silu && sparsifier == nil {
                hidden = gate(x).swiglu(up(x))
            } else {
                hidden = sparsified(gate(x).map(activation)) * up(x)
            }
        } else {
            hidden = sparsified(up(x).map(activation))
        }
        watch?(hidden)
        return down(hidden)
    }

    private func sparsified(_ x: Variable<Float>) -> Variable<Float> { sparsifier.map { $0(x) } ?? x }

    /// The form to be run, with matrices as they are stored now.
    public func stored(_ values: ValueType) throws -> FeedForward {
        FeedForward(
            gate: try gate.map { try LinearLayer($0, values) }, up: try LinearLayer(up, values),
            down: try LinearLayer(down, values), activation: activation)
    }
}
