import LacunaIO
import LacunaSparse
import LacunaTensor

/// What a model's file says about a layer whose weight is not dense, so that a dense model takes the same storage when the
/// file is read. Positions and values are tensors of the file; here is what they do not say.
enum StorageRecord {
    /// The record of a weight; nil for dense and masked ones, which need none, and for those that only the model knows
    /// (frozen and updated weights, and weights from outside).
    static func record(of weight: any TrainableWeight) -> JSONValue? {
        switch weight {
        case is CSRWeight, is BitmaskWeight: .string(weight.storage)
        case let weight as BlockWeight:
            ["kind": "bsr", "block": [JSONValue(weight.blockRows), JSONValue(weight.blockColumns)]]
        case let weight as LowRankSparseWeight:
            ["kind": .string(weight.storage), "rank": JSONValue(weight.rank), "scale": .number(Double(weight.scale))]
        case let weight as FactoredWeight:
            ["kind": .string(weight.storage), "rank": JSONValue(weight.rank), "scale": .number(Double(weight.scale))]
        case let weight as ChannelLowRankWeight:
            [
                "kind": .string(weight.storage), "rank": JSONValue(weight.rank),
                "channels": JSONValue(weight.channels.count), "mix": .number(Double(weight.mix)),
                "activation": weight.activation.map { .string($0.rawValue) } ?? .null,
            ]
        // What stands inside has records of its own.
        case let weight as SummedWeight:
            [
                "kind": .string(weight.storage), "branches": JSONValue(weight.branches.count),
                "norms": .bool(!weight.norms.isEmpty),
            ]
        case let weight as ComposedWeight:
            [
                "kind": .string(weight.storage), "width": JSONValue(weight.first.outputDimensions),
                "norm": .bool(weight.norm != nil),
                "activation": weight.activation.map { .string($0.rawValue) } ?? .null,
            ]
        default: nil
        }
    }

    /// An empty weight of a record's storage; its positions and values are read afterwards.
    ///
    /// - Throws: `LacunaError.malformed` for a record that is none.
    static func weight(
        _ record: JSONValue, outputs: Int, inputs: Int, layer: String, file: String
    ) throws -> any TrainableWeight {
        let none = SparsePattern(rows: outputs, columns: inputs)
        let zeros = Tensor<Float>(zeros: [outputs, inputs])
        if let kind = record.stringValue {
            switch kind {
            case "csr": return CSRWeight(zeros, mask: none)
            case "bitmask": return BitmaskWeight(zeros, mask: none)
            default:
                throw LacunaError.malformed(file: file, location: layer, reason: "'\(kind)' is no storage of a layer")
            }
        }
        let fields = try JSONFields(record, file: file, location: layer)
        func factors() throws -> (a: Tensor<Float>, b: Tensor<Float>, scale: Float) {
            let rank = try fields.integer("rank")
            let scale = Float(try fields.number("scale"))
            guard rank >= 0, rank <= max(outputs, inputs), scale.isFinite else {
                throw fields.failure("rank", "\(rank) is no rank of [\(outputs), \(inputs)]")
            }
            return (Tensor(zeros: [rank, inputs]), Tensor(zeros: [outputs, rank]), scale)
        }
        func activation() throws -> Activation? {
            guard let name = try fields.optionalString("activation") else { return nil }
            guard let found = Activation(rawValue: name) else {
                throw fields.failure("activation", "'\(name)' is unknown")
            }
            return found
        }
        switch try fields.string("kind") {
        case "bsr":
            let block = try fields.integers("block")
            guard block.count == 2, block.allSatisfy({ 1...256 ~= $0 }) else {
                throw fields.failure("block", "is no pair of sides")
            }
            do {
                return try BlockWeight(zeros, mask: none, blockRows: block[0], blockColumns: block[1])
            } catch let LacunaError.invalidArgument(_, reason) {
                throw fields.failure("block", reason)
            }
        case "low-rank + sparse":
            let (a, b, scale) = try factors()
            return LowRankSparseWeight(a: a, b: b, scale: scale, values: [], support: [])
        case "low-rank":
            let (a, b, scale) = try factors()
            guard a.rows > 0 else { throw fields.failure("rank", "is 0") }
            return FactoredWeight(a: a, b: b, scale: scale)
        case "low-rank + channels":
            let (rank, count) = (try fields.integer("rank"), try fields.integer("channels"))
            let mix = Float(try fields.number("mix"))
            guard rank >= 0, rank <= max(outputs, inputs), count >= 0, count <= inputs, mix.isFinite else {
                throw fields.failure("rank", "\(rank) and \(count) channels are none of [\(outputs), \(inputs)]")
            }
            return ChannelLowRankWeight(
                a: Tensor(zeros: [rank, inputs]), b: Tensor(zeros: [outputs, rank]),
                values: Tensor(zeros: [outputs, count]), channels: (0..<count).map { Int32($0) }, mix: mix,
                activation: try activation())
        case "sum":
            let count = try fields.integer("branches")
            guard 1...1000 ~= count else { throw fields.failure("branches", "\(count) are not 1...1000") }
            try MachineMemory.require(
                shape: [count, outputs, inputs], of: Float.self, for: "\(layer) of \(file)")
            let branches = (0..<count).map { _ in Linear(weight: DenseWeight(zeros)) }
            let norms =
                try fields.bool("norms", default: false) ? branches.map { _ in BatchNorm(channels: outputs) } : []
            return SummedWeight(branches, norms: norms)
        case "composed":
            let width = try fields.integer("width")
            guard 1...(1 << 24) ~= width else { throw fields.failure("width", "\(width) is none of a layer") }
            try MachineMemory.require(shape: [width, outputs + inputs], of: Float.self, for: "\(layer) of \(file)")
            return ComposedWeight(
                Linear(weight: DenseWeight(Tensor(zeros: [width, inputs]))),
                norm: try fields.bool("norm", default: false) ? BatchNorm(channels: width) : nil,
                activation: try activation(),
                Linear(weight: DenseWeight(Tensor(zeros: [outputs, width]))))
        case let kind: throw fields.failure("kind", "'\(kind)' is no storage of a layer")
        }
    }
}
