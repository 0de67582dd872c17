import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The gated feed-forward part of a block, `down(f(gate(x)) · up(x))` (Shazeer, "GLU Variants Improve Transformer",
/// arXiv:2002.05202), to be run.
public struct GatedFeedForward: Sendable {
    public var gate: LinearLayer
    public var up: LinearLayer
    public var down: LinearLayer
    public var activation: Activation

    public init(gate: LinearLayer, up: LinearLayer, down: LinearLayer, activation: Activation = .silu) {
        self.gate = gate
        self.up = up
        self.down = down
        self.activation = activation
    }

    /// Width of the part between the projections.
    public var intermediateSize: Int { gate.outputs }

    /// The outputs for a step's rows `x`.
    func step(
        _ x: UnsafePointer<Float>, context: StepContext, layer: Int, into output: UnsafeMutablePointer<Float>,
        observe: BlockObserver?
    ) throws {
        let (count, size) = (context.count, context.count * intermediateSize)
        let (gated, upper) = (context.pointer(.gate, size), context.pointer(.up, size))
        try observe?([.gate, .up], x, count)
        LinearLayer.multiply(
            [(gate, gated), (up, upper)], x, context: context, layer: layer, roles: [.gate, .up])
        VectorMath.gated(activation, gated, upper, into: gated, count: size)
        try observe?([.down], gated, count)
        LinearLayer.multiply([(down, output)], gated, context: context, layer: layer, roles: [.down])
    }
}

// MARK: - On the tape

/// ``GatedFeedForward`` to be learned. Parts have the names that checkpoints give them.
public final class TrainableFeedForward: UnaryLayer {
    public let gate, up, down: Linear
    public let activation: Activation

    /// - Parameter weight: Makes the trained form of a stored matrix, given its role.
    public init(
        _ part: GatedFeedForward, weight: (LinearRole, any StoredMatrix) throws -> any TrainableWeight
    ) rethrows {
        gate = try part.gate.trainable(.gate, weight)
        up = try part.up.trainable(.up, weight)
        down = try part.down.trainable(.down, weight)
        activation = part.activation
    }

    public var parts: [(name: String, part: Any)] { [("gate_proj", gate), ("up_proj", up), ("down_proj", down)] }

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        activation == .silu ? down(gate(x).swiglu(up(x))) : down(gate(x).map(activation) * up(x))
    }

    /// The form to be run, with matrices as they are stored now.
    public func stored(_ values: ValueType) throws -> GatedFeedForward {
        GatedFeedForward(
            gate: try LinearLayer(gate, values), up: try LinearLayer(up, values), down: try LinearLayer(down, values),
            activation: activation)
    }
}
