import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Sparse iso-FLOP transformations: a larger sparse network at the cost of the dense one.
///
/// - Wide multiplies the widths of hidden layers by `k = √(1 / (1 - s))`. A layer of which both sides widen keeps `1/k²` of its
///   weights, one of which one side widens `1/k`, so every product costs what it did.
/// - Parallel puts `1 / (1 - s)` sparse layers, each with a norm of its own, in the place of one, and adds what they give.
/// - Factorized puts two sparse layers with a norm and a rectifier between them in the place of one.
/// - Doped keeps a sparse layer and spends what it saves on a low-rank product beside it.
///
/// All but Wide replace the weight of a layer, of a convolution's patches too: a factorised convolution is one of the kernel's size
/// and one of 1 × 1.
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

    /// The inner width of Sparse-Factorized: `⌈in · out / ((1 - s) (in + out))⌉`.
    public func factorizedWidth(inputs: Int, outputs: Int) -> Int {
        let sum = Double(inputs + outputs)
        return sum == 0 ? 1 : max(1, Int((Double(inputs * outputs) / ((1 - sparsity) * sum) - 1e-9).rounded(.up)))
    }

    /// How many branches Sparse-Parallel has: `1 / (1 - s)`, rounded.
    public var branchCount: Int { Int((1 / (1 - sparsity)).rounded()) }

    /// Sparse-Parallel: ``branchCount`` layers, the first with the weights of `layer`, each before a norm. They are dense yet: their
    /// density is to become 1 - s.
    public func parallel(_ layer: Linear, using generator: inout SeededGenerator) -> SummedWeight {
        let (rows, columns) = (layer.outputDimensions, layer.inputDimensions)
        let branches = (0..<branchCount).map { index in
            index == 0
                ? Linear(weight: DenseWeight(layer.weight.densified()))
                : Linear(inputDimensions: columns, outputDimensions: rows, bias: false, using: &generator)
        }
        return SummedWeight(branches, norms: branches.map { _ in BatchNorm(channels: rows) })
    }

    /// Sparse-Factorized: two layers of ``factorizedWidth(inputs:outputs:)`` between them, dense yet: their density is to become 1 - s.
    public func factorized(_ layer: Linear, using generator: inout SeededGenerator) -> ComposedWeight {
        let (rows, columns) = (layer.outputDimensions, layer.inputDimensions)
        let width = factorizedWidth(inputs: columns, outputs: rows)
        return ComposedWeight(
            Linear(inputDimensions: columns, outputDimensions: width, bias: false, using: &generator),
            norm: BatchNorm(channels: width), activation: .relu,
            Linear(inputDimensions: width, outputDimensions: rows, bias: false, using: &generator))
    }

    /// Sparse-Doped: the layer's weights, dense yet, whose density is to become 1 - s, and a low-rank product of equal cost to the
    /// rest. The factors start as two layers of their own would. Without a rank there is no such product.
    public func doped(_ layer: Linear, using generator: inout SeededGenerator) -> SummedWeight {
        let (rows, columns) = (layer.outputDimensions, layer.inputDimensions)
        var branches = [Linear(weight: DenseWeight(layer.weight.densified()))]
        let rank = dopedRank(inputs: columns, outputs: rows)
        if rank > 0 {
            let start = Initialization.uniform
            branches.append(
                Linear(
                    weight: FactoredWeight(
                        a: start.tensor([rank, columns], fanIn: columns, using: &generator),
                        b: start.tensor([rows, rank], fanIn: rank, using: &generator), scale: 1)))
        }
        return SummedWeight(branches)
    }
}
