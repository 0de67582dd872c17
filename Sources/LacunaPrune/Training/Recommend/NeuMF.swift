import LacunaLearn
import LacunaTensor

/// How well a user and an item go together, by a network: products of two of their vectors, and layers on two others.
///
/// Xiangnan He, Lizi Liao, Hanwang Zhang, Liqiang Nie, Xia Hu, Tat-Seng Chua, "Neural Collaborative Filtering", arXiv 1708.05031.
/// Trained to tell interactions from as many pairs that are none.
public final class NeuMF: Recommender {
    /// [users, dimensions] and [items, dimensions]: for products, and for the layers.
    public let productUsers, productItems, layerUsers, layerItems: Linear
    /// From both vectors on, each half as wide as the one before.
    public let hidden: [Linear]
    /// One score.
    public let output: Linear

    /// - Parameters:
    ///   - dimensions: Of every vector.
    ///   - layers: Hidden layers.
    /// - Throws: `LacunaError.invalidArgument` for layers that would have no unit.
    public init(_ data: Interactions, dimensions: Int = 32, layers: Int = 2, using generator: inout SeededGenerator)
        throws
    {
        guard dimensions > 0, layers >= 0, 2 * dimensions >> layers > 0 else {
            throw LacunaError.invalidArgument("recommender", reason: "\(dimensions) dimensions for \(layers) layers")
        }
        func table(_ count: Int) -> Linear {
            .table(count: count, dimensions: dimensions, deviation: 0.1, using: &generator)
        }
        (productUsers, productItems) = (table(data.users), table(data.itemCount))
        (layerUsers, layerItems) = (table(data.users), table(data.itemCount))
        hidden = (0..<layers).map { layer in
            Linear(
                inputDimensions: 2 * dimensions >> layer, outputDimensions: 2 * dimensions >> (layer + 1),
                initialization: .he, using: &generator)
        }
        output = Linear(
            inputDimensions: dimensions + 2 * dimensions >> layers, outputDimensions: 1, using: &generator)
    }

    public var tables: LayerChoice { LayerChoice("productUsers,productItems,layerUsers,layerItems") }

    /// [n] for pairs.
    private func score(_ users: [Int32], _ items: [Int32], on tape: Tape<Float>) -> Variable<Float> {
        let product = productUsers.rows(on: tape).gathered(users) * productItems.rows(on: tape).gathered(items)
        let both = Variable.concatenated(columns: [
            layerUsers.rows(on: tape).gathered(users), layerItems.rows(on: tape).gathered(items),
        ])
        let deep = hidden.reduce(both) { $1($0).relu() }
        return output(Variable.concatenated(columns: [product, deep])).reshaped([users.count])
    }

    public func loss(
        _ data: Interactions, batch: Int, step: Int, seed: UInt64, on tape: Tape<Float>
    ) -> Variable<Float> {
        let triples = data.triples(batch, step: step, seed: seed)
        let logits = score(triples.users + triples.users, triples.items + triples.others, on: tape)
        let targets = (0..<2 * batch).map { Float($0 < batch ? 1 : 0) }
        // softplus(x) - target x
        return (logits.map(.softplus) - logits * tape.constant(Tensor(targets, shape: [2 * batch]))).mean()
    }

    public func scores(of chosen: [Int32], _ data: Interactions, on tape: Tape<Float>) -> Variable<Float> {
        let items = (0..<data.itemCount).map { Int32($0) }
        return score(
            chosen.flatMap { user in [Int32](repeating: user, count: items.count) },
            [[Int32]](repeating: items, count: chosen.count).flatMap(\.self), on: tape
        ).reshaped([chosen.count, items.count])
    }
}
