import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Sparse iso-FLOP transformations: a larger sparse network at the cost of the dense one.
///
/// Sparse-Wide multiplies the widths of hidden layers by `k = √(1 / (1 - s))`. A layer of which both sides widen keeps
/// `1/k²` of its weights, one of which one side widens `1/k`, so every product costs what it did.
///
/// Vithursan Thangarasa, Shreyas Saxena, Abhay Gupta, Sean Lie, "Sparse-IFT: Sparse Iso-FLOP Transformations for Maximizing
/// Training Efficiency", arXiv 2303.11525. Train the result with ``DropAndGrow``, as the authors do.
public struct SparseIFT: Sendable, Hashable {
    /// s, in 0..<1.
    public let sparsity: Double

    /// - Throws: `LacunaError.invalidArgument` unless s is in 0..<1.
    public init(sparsity: Double) throws {
        guard (0..<1).contains(sparsity) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) is not in 0..<1")
        }
        self.sparsity = sparsity
    }

    /// k.
    public var widening: Double { (1 / (1 - sparsity)).squareRoot() }

    /// The widths of a fully connected network whose hidden layers are wider by k, and the sparsities, by the paths of
    /// ``MLP``, that make every layer cost what it did.
    public func wide(_ widths: [Int]) -> (widths: [Int], budget: SparsityBudget) {
        var wider = widths
        for i in widths.indices.dropFirst().dropLast() { wider[i] = Int((Double(widths[i]) * widening).rounded()) }
        var sparsities: [String: Double] = [:]
        for layer in 0..<widths.count - 1 {
            let (before, after) = (widths[layer] * widths[layer + 1], wider[layer] * wider[layer + 1])
            sparsities["layers.\(layer)"] = 1 - Double(before) / Double(after)
        }
        return (wider, .perLayer(sparsities))
    }
}
