import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Adam whose moving mean is mixed, where a weight is to be pruned, with a pull to nothing that grows during the run.
///
/// At step t of T with α = t/T: `μ <- β₁ μ + (1-β₁) g`; `μ~ = μ` for weights that stay, else `(1-α) μ + α λ sign(w)`;
/// `v <- β₂ v + (1-β₂) μ~²`; `w <- w - rate μ~ / (1-β₁^{t+1}) / (√(v / (1-β₂^{t+1})) + ε)`. β, ε, weight decay and its kind
/// are those of ``base``, which updates the parameters that no mask was given for. ``CAST`` gives the masks and α.
///
/// Weiyu Huang, Yuezhou Hu, Jun Zhu, Jianfei Chen, "CAST: Continuous and Differentiable Semi-Structured Sparsity-Aware
/// Training for Large Language Models", arXiv 2509.25996.
public final class AdamS: Optimizer {
    /// What the other parameters are updated by, and where β, ε and the weight decay come from.
    public let base: Adam
    /// λ, 0 or more, of the size of the gradients.
    public var lambda = 0.0
    /// α, in 0...1: how much of the pull masked weights feel.
    public var alpha = 0.0
    private var kept: [ObjectIdentifier: SparsePattern] = [:]

    /// - Parameter base: Gives β, ε and the weight decay.
    public init(_ base: Adam = Adam()) { self.base = base }

    public var learningRate: Double {
        get { base.learningRate }
        set { base.learningRate = newValue }
    }
    public var steps: Int {
        get { base.steps }
        set { base.steps = newValue }
    }
    public var name: String { base.isDecoupled ? "adams with decoupled decay" : "adams" }
    public var slotNames: [String] { base.slotNames }

    /// Says which entries of a matrix stay: the others are pulled to nothing from now on.
    ///
    /// - Precondition: The mask has the parameter's shape.
    public func keep(_ mask: SparsePattern, of parameter: Parameter<Float>) {
        require(parameter.shape == [mask.rows, mask.columns], "a mask of another shape than \(parameter.shape)")
        kept[ObjectIdentifier(parameter)] = mask
    }

    public func update(_ parameter: Parameter<Float>, offset: Int, count: Int) {
        guard let mask = kept[ObjectIdentifier(parameter)] else {
            return base.update(parameter, offset: offset, count: count)
        }
        let (b1, b2) = (base.beta1, base.beta2)
        let (c1, c2) = (1 - power(b1, Double(steps)), 1 - power(b2, Double(steps)))
        let decay = parameter.decay(base.weightDecay)
        let (shrinkage, coupled) = base.isDecoupled ? (1 - learningRate * decay, 0) : (1, decay)
        let (w, g) = (parameter.buffer.pointer, parameter.gradientPointer)
        let (first, second) = (parameter.slot("first"), parameter.slot("second"))
        for i in offset..<offset + count {
            let weight = Double(w[i])
            let mean = b1 * Double(first[i]) + (1 - b1) * (Double(g[i]) + coupled * weight)
            first[i] = Float(mean)
            var moved = mean
            if !mask[i / mask.columns, i % mask.columns] {
                moved = (1 - alpha) * mean + alpha * lambda * (weight > 0 ? 1 : weight < 0 ? -1 : 0)
            }
            let square = b2 * Double(second[i]) + (1 - b2) * moved * moved
            second[i] = Float(square)
            w[i] = Float(shrinkage * weight - learningRate * (moved / c1) / ((square / c2).squareRoot() + base.epsilon))
        }
    }
}
