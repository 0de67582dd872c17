import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Sparse iso-FLOP transformations: a larger sparse network at the cost of the dense one.
///
/// Sparse-Wide multiplies the widths of hidden layers by `k = √(1 / (1 - s))`. A layer of which both sides widen keeps
/// `1/k²` of its weights, one of which one side widens `1/k`, so every product costs what it did. Sparse-Doped keeps the
/// widths and spends what sparse weights save on a low-rank product.
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
    public func wide(_ widths: [Int]) -> (widths: [Int], budget: LayerBudget) {
        var wider = widths
        for i in widths.indices.dropFirst().dropLast() { wider[i] = Int((Double(widths[i]) * widening).rounded()) }
        var sparsities: [String: Double] = [:]
        for layer in 0..<widths.count - 1 {
            let (before, after) = (widths[layer] * widths[layer + 1], wider[layer] * wider[layer + 1])
            sparsities["layers.\(layer)"] = 1 - Double(before) / Double(after)
        }
        return (wider, LayerBudget(sparsities))
    }

    /// The rank of Sparse-Doped that, beside a sparse matrix of density 1 - s, costs what the dense one does:
    /// `⌊s · in · out / (in + out)⌋`.
    public func dopedRank(inputs: Int, outputs: Int) -> Int {
        let sum = Double(inputs + outputs)
        return sum == 0 ? 0 : Int(sparsity * Double(inputs * outputs) / sum + 1e-9)
    }

    /// Sparse-Doped: a random part of a layer's weights, enlarged by `1/√(1 - s)`, beside a low-rank product of equal
    /// cost to the rest. The factors start as two layers of their own would.
    public func doped(_ layer: Linear, using generator: inout SeededGenerator) -> LowRankSparseWeight {
        let (rows, columns) = (layer.outputDimensions, layer.inputDimensions)
        let kept = rows * columns - Selection.removedCount(sparsity: sparsity, of: rows * columns)
        let support = sampledPlaces(kept, of: rows * columns, using: &generator)
        let dense = layer.weight.densified().scalars
        let scale = Float((1 / (1 - sparsity)).squareRoot())
        let rank = dopedRank(inputs: columns, outputs: rows)
        let start = Initialization.uniform
        return LowRankSparseWeight(
            a: start.tensor([rank, columns], fanIn: columns, using: &generator),
            b: start.tensor([rows, rank], fanIn: max(rank, 1), using: &generator), scale: 1,
            values: support.map { scale * dense[Int($0)] }, support: support)
    }
}
