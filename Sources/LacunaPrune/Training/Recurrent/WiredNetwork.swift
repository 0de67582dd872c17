import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A recurrent network wired as a graph says: a node is a unit, an edge a connection.
///
/// Units of one layer of the graph (``WiringGraph/layers``) make a recurrent layer. It reads the layer below through the edges
/// from there and no others; edges that skip layers make recurrent layers of their own, whose states are added to those of
/// the layer that they lead to. The first layer reads the whole input, and the last one is the output. Units of one layer
/// hear of each other's last states without a mask, as the edges say nothing about these.
///
/// Harshil Jagadishbhai Darji, "Investigating Sparsity in Recurrent Neural Networks", arXiv 2407.20601.
public final class WiredNetwork: SequenceNetwork {
    /// What the network is wired from.
    public let graph: WiringGraph
    /// One for each layer of the graph.
    public let layers: [RecurrentLayer]
    /// One for each pair of layers between which edges skip others, ordered by where they lead.
    public let skips: [RecurrentLayer]
    private let ends: [(from: Int, to: Int)]

    /// - Parameters:
    ///   - storage: How the matrices of connections are kept: masked, or without what is not connected.
    /// - Throws: As ``Linear/sparsify(_:mask:)`` for storage that does not hold single entries.
    public init(
        _ graph: WiringGraph, cell: RecurrentCell, inputDimensions: Int, storage: StorageLayout = .masked,
        using generator: inout SeededGenerator
    ) throws {
        self.graph = graph
        let layerOf = graph.layers
        let count = layerOf.max()! + 1
        let members = (0..<count).map { layer in (0..<graph.nodeCount).filter { layerOf[$0] == layer } }
        let edges = Set(graph.edges)
        func layer(from: Int, to: Int) throws -> RecurrentLayer {
            let result = RecurrentLayer(
                cell, inputDimensions: members[from].count, hiddenDimensions: members[to].count, using: &generator)
            let connections = SparsePattern(rows: members[to].count, columns: members[from].count) { row, column in
                let (low, high) = (members[from][column], members[to][row])
                return low < high && edges.contains(.init(low, high))
            }
            try result.connect(connections, storage: storage)
            return result
        }
        var layers = [
            RecurrentLayer(
                cell, inputDimensions: inputDimensions, hiddenDimensions: members[0].count, using: &generator)
        ]
        var (skips, ends) = ([RecurrentLayer](), [(from: Int, to: Int)]())
        for to in 1..<max(count, 1) {
            layers.append(try layer(from: to - 1, to: to))
            for from in 0..<max(to - 1, 0)
            where edges.contains(where: { layerOf[$0.low] == from && layerOf[$0.high] == to }) {
                skips.append(try layer(from: from, to: to))
                ends.append((from, to))
            }
        }
        (self.layers, self.skips, self.ends) = (layers, skips, ends)
    }

    /// The recurrent layers.
    public var parts: [(name: String, part: Any)] { [("layers", layers), ("skips", skips)] }
    public var outputDimensions: Int { layers.last!.hiddenDimensions }

    public func callAsFunction(_ x: Variable<Float>, batch: Int) -> Variable<Float> {
        var states: [Variable<Float>] = []
        for (index, layer) in layers.enumerated() {
            var y = layer(index == 0 ? x : states[index - 1], batch: batch)
            for (skip, end) in zip(skips, ends) where end.to == index { y = y + skip(states[end.from], batch: batch) }
            states.append(y)
        }
        return states.last!
    }
}
