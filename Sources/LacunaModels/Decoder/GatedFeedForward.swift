import LacunaSparse
import LacunaTensor

/// The gated feed-forward part of a block, `down(silu(gate(x)) · up(x))` (Shazeer, "GLU Variants Improve Transformer",
/// arXiv:2002.05202).
public struct GatedFeedForward: Sendable {
    public var gate: LinearLayer
    public var up: LinearLayer
    public var down: LinearLayer

    public init(gate: LinearLayer, up: LinearLayer, down: LinearLayer) {
        self.gate = gate
        self.up = up
        self.down = down
    }

    /// Width of the part between the projections.
    public var intermediateSize: Int { gate.outputs }

    /// The outputs for `count` rows of `x`.
    func forward(
        _ x: UnsafePointer<Float>, count: Int, into output: UnsafeMutablePointer<Float>, observe: BlockObserver?
    ) throws {
        let width = intermediateSize
        let gated = Buffer<Float>(uninitialized: count * width)
        let upper = Buffer<Float>(uninitialized: count * width)
        try observe?([.gate, .up], x, count)
        LinearLayer.multiply([(gate, gated.pointer), (up, upper.pointer)], x, count: count)
        VectorMath.gatedSiluParallel(gated.pointer, upper.pointer, into: gated.pointer, count: count * width)
        try observe?([.down], gated.pointer, count)
        LinearLayer.multiply([(down, output)], gated.pointer, count: count)
    }

    /// The output for one vector.
    func decode(_ workspace: DecodingWorkspace) {
        let (gated, upper) = (workspace.gate.pointer, workspace.up.pointer)
        Product.gemv([(gate.weight, gated), (up.weight, upper)], x: workspace.normalized.pointer)
        gate.addBias(gated)
        up.addBias(upper)
        VectorMath.gatedSilu(gated, upper, into: gated, count: intermediateSize)
        Product.gemv([(down.weight, workspace.projected.pointer)], x: gated)
        down.addBias(workspace.projected.pointer)
    }
}
