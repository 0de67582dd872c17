import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Units of a network that belong together across layers: a neuron is a row of the layers that make it and a column of those
/// that read it; a head of attention is some rows of the query, key and value projections and some columns of the output
/// projection. Such units can be put in any order, or taken out, together.
///
/// Where heads share keys and values, a unit is a group of heads with its key and value head.
public struct CoupledUnits {
    /// What the units are.
    public enum Kind: String, Sendable, Hashable {
        /// Neurons of a feed-forward part, or of a hidden layer.
        case neurons
        /// Heads of attention.
        case heads
    }

    /// Where they are, by the path of the block or the layer that makes them.
    public let name: String
    /// What they are.
    public let kind: Kind
    /// How many there are.
    public let count: Int
    /// The layers that make them, and rows of a unit.
    public let producers: [(layer: Linear, size: Int)]
    /// The layers that read them, and columns of a unit.
    public let consumers: [(layer: Linear, size: Int)]

    /// All units of a network: the neurons and heads of its transformer blocks, or the hidden neurons of a fully connected one.
    ///
    /// - Throws: `LacunaError.unsupported` for a network that is neither.
    public static func all(of model: any Module) throws -> [CoupledUnits] {
        if let mlp = model as? MLP {
            return zip(mlp.layers, mlp.layers.dropFirst()).enumerated().map { index, pair in
                CoupledUnits(
                    name: "layers.\(index)", kind: .neurons, count: pair.0.outputDimensions, producers: [(pair.0, 1)],
                    consumers: [(pair.1, 1)])
            }
        }
        var result: [CoupledUnits] = []
        model.forEachModule { path, module in
            guard let block = module as? TrainableBlock else { return }
            let (attention, geometry) = (block.attention, block.attention.geometry)
            let shared = geometry.headCount / geometry.keyValueHeadCount
            result.append(
                CoupledUnits(
                    name: path, kind: .heads, count: geometry.keyValueHeadCount,
                    producers: [
                        (attention.query, shared * geometry.headSize), (attention.key, geometry.headSize),
                        (attention.value, geometry.headSize),
                    ], consumers: [(attention.output, shared * geometry.headSize)]))
            guard case .dense(let part) = block.mixer else { return }
            var makers: [(layer: Linear, size: Int)] = [(part.up, 1)]
            if let gate = part.gate { makers.insert((gate, 1), at: 0) }
            result.append(
                CoupledUnits(
                    name: path, kind: .neurons, count: part.down.inputDimensions, producers: makers,
                    consumers: [(part.down, 1)]))
        }
        if result.isEmpty {
            throw LacunaError.unsupported(
                file: nil, what: "the units of a network without transformer blocks or hidden neurons")
        }
        return result
    }

    /// Puts the units in another order: the i-th becomes the former `order[i]`. What the network computes stays.
    ///
    /// - Parameter order: Every unit once.
    /// - Throws: `LacunaError.unsupported` for layers whose weights are not dense and without mask and view.
    public func permute(_ order: [Int]) throws {
        require(order.sorted() == Array(0..<count), "an order of \(count) units")
        for (layer, _) in producers + consumers where layer.dense.map({ $0.view != nil || $0.mask != nil }) ?? true {
            throw LacunaError.unsupported(
                file: nil, what: "another order of \(layer.weight.storage) weights ('\(name)')")
        }
        func places(_ size: Int) -> [Int] { order.flatMap { unit in (0..<size).map { unit * size + $0 } } }
        for (layer, size) in producers {
            let rows = places(size)
            layer.dense!.parameter.value = layer.dense!.parameter.value.selectingRows(rows)
            if let bias = layer.bias {
                let value = bias.value.scalars
                bias.value = Tensor(rows.map { value[$0] })
            }
        }
        for (layer, size) in consumers {
            let value = layer.dense!.parameter.value
            layer.dense!.parameter.value = value.transposed().selectingRows(places(size)).transposed()
        }
    }

    /// The order that undoes one.
    public static func inverse(_ order: [Int]) -> [Int] {
        var result = order
        for (place, unit) in order.enumerated() { result[unit] = place }
        return result
    }
}
