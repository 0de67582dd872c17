import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Fine-tunes a few whole heads and neurons, brought side by side, and nothing else: a dense slice of each matrix is trained, its
/// gradient and moments take the slice's room, and what is learned goes into the weights, so that nothing is added to the model.
///
/// Units are chosen over all layers together; those of a layer are brought to the front, which changes nothing that is computed
/// (``CoupledUnits``): first those whose rows alone are trained, then those of both sides, then those whose columns alone are. At
/// the end the slices are added and the units go back to where they were.
///
/// Xinyu Yang, Jixuan Leng, Geyang Guo, Jiawei Zhao, Ryumei Nakada, Linjun Zhang, Huaxiu Yao, Beidi Chen, "S2FT: Efficient, Scalable
/// and Generalizable LLM Fine-tuning by Structured Sparsity", arXiv 2412.06289. The default, 3 % of the columns behind the
/// feed-forward neurons chosen at random, is theirs; they found columns (what reads the units) to matter more than rows.
public final class S2FT: TrainingMethod {
    /// How units are chosen.
    public enum Choice: String, Sendable, Hashable, CaseIterable {
        /// At random.
        case random
        /// Those whose columns, or rows, are longest.
        case magnitude
    }

    /// Which shares of the units are trained, 0...1 each.
    public struct Shares: Sendable, Hashable {
        /// Columns that read feed-forward neurons (`down_proj`), or hidden neurons of a fully connected network.
        public var down = 0.03
        /// Rows that make them (`up_proj`, `gate_proj`).
        public var up = 0.0
        /// Columns that read heads (`o_proj`).
        public var output = 0.0
        /// Rows that make their values (`v_proj`).
        public var value = 0.0
        /// The authors' shares.
        public init() {}
    }

    /// What was learned of a slice, to be stored, added to other weights and combined with others: adapters of different
    /// units never meet.
    public struct Adapter: Sendable, Equatable {
        /// The path of the layer.
        public var layer: String
        /// Whether the places are columns or rows.
        public var side: SliceWeight.Side
        /// Columns or rows of the layer's weight.
        public var places: [Int]
        /// [outputs, places.count], or [places.count, inputs].
        public var values: Tensor<Float>

        /// Adds what was learned to a weight [outputs, inputs], `factor` times.
        public func add(to weight: inout Tensor<Float>, times factor: Float = 1) {
            for (index, place) in places.enumerated() {
                if side == .inputs {
                    for row in 0..<weight.rows { weight[row, place] += factor * values[row, index] }
                } else {
                    for column in 0..<weight.columns { weight[place, column] += factor * values[index, column] }
                }
            }
        }
    }

    /// Which shares of the units are trained.
    public let shares: Shares
    /// How units are chosen.
    public let choice: Choice
    /// What was learned, when a run has ended.
    public private(set) var adapters: [Adapter] = []
    private var slices: [Slice] = []
    private var orders: [(units: CoupledUnits, order: [Int])] = []
    private var frozen: [Parameter<Float>] = []

    private struct Slice {
        let name: String
        let layer: Linear
        let weight: SliceWeight
        /// Places in the original order.
        let places: [Int]
    }

    /// - Throws: `LacunaError.invalidArgument` for shares outside 0...1, or if all are 0.
    public init(shares: Shares = Shares(), choice: Choice = .random) throws {
        let all = [("down", shares.down), ("up", shares.up), ("output", shares.output), ("value", shares.value)]
        for (name, share) in all where !(0...1).contains(share) {
            throw LacunaError.invalidArgument(name, reason: "\(share) is not in 0...1")
        }
        guard all.contains(where: { $0.1 > 0 }) else {
            throw LacunaError.invalidArgument("down", reason: "no share of any units is trained")
        }
        (self.shares, self.choice) = (shares, choice)
    }

    public var card: MethodCard {
        MethodCard(
            name: "s2ft", family: .sparseTraining,
            paper: .init(
                authors:
                    "Xinyu Yang, Jixuan Leng, Geyang Guo, Jiawei Zhao, Ryumei Nakada, Linjun Zhang, Huaxiu Yao, Beidi Chen",
                title: "S2FT: Efficient, Scalable and Generalizable LLM Fine-tuning by Structured Sparsity",
                arXiv: "2412.06289"),
            composition: ["random", "heads and neurons over all layers", "dense slices of coupled layers"],
            implements: [
                "heads and neurons over all layers, at random or by norms",
                "co-permutation, slices trained in place, adapters to add, fuse and switch",
            ],
            leavesOut: ["choices by activations and gradients"])
    }

    /// Brings the chosen units side by side and lays trained slices beside frozen weights.
    ///
    /// - Throws: `LacunaError.unsupported` for networks without such units and weights that are not whole; `.invalidArgument`
    ///   for shares of units that the network has not, or that come to no unit.
    public func begin(_ run: TrainingRun) throws {
        (slices, orders, adapters) = ([], [], [])
        let all = try CoupledUnits.all(of: run.model)
        for kind in [CoupledUnits.Kind.neurons, .heads] {
            let units = all.filter { $0.kind == kind }
            let (readers, makers) = kind == .neurons ? (shares.down, shares.up) : (shares.output, shares.value)
            guard readers > 0 || makers > 0 else { continue }
            guard !units.isEmpty else {
                throw LacunaError.invalidArgument(
                    kind == .heads ? "output" : "down", reason: "the network has no \(kind.rawValue)")
            }
            let columns = try chosen(units, readers, of: { $0.consumers }, side: .inputs, &run.generator)
            let rows = try chosen(units, makers, of: { Self.makers($0) }, side: .outputs, &run.generator)
            for (index, own) in units.enumerated() {
                try lay(own, rows: rows[index], columns: columns[index], run.model)
            }
        }
        if slices.isEmpty {
            throw LacunaError.invalidArgument("down", reason: "the shares come to no unit of the network")
        }
        for slice in slices where slice.layer.dense != nil {
            // A layer may have one of each side.
            let own = slices.filter { $0.layer === slice.layer }.map(\.weight)
            slice.layer.weight = UpdatedWeight(base: slice.layer.weight, updates: own)
        }
    }

    /// The layers whose rows are trained: of attention the values alone.
    private static func makers(_ units: CoupledUnits) -> [(layer: Linear, size: Int)] {
        units.kind == .heads ? [units.producers[2]] : units.producers
    }

    /// Chosen units of every member of a family, ascending.
    private func chosen(
        _ units: [CoupledUnits], _ share: Double, of layers: (CoupledUnits) -> [(layer: Linear, size: Int)],
        side: SliceWeight.Side, _ generator: inout SeededGenerator
    ) throws -> [[Int]] {
        let total = units.reduce(0) { $0 + $1.count }
        let count = Int(share * Double(total) + 1e-9)
        var scores: [Float] = []
        for own in units {
            if choice == .random {
                scores += (0..<own.count).map { _ in Float(generator.uniform()) }
                continue
            }
            var lengths = [Double](repeating: 0, count: own.count)
            for (layer, size) in layers(own) {
                let weight = layer.weight.densified()
                for row in 0..<weight.rows {
                    for column in 0..<weight.columns {
                        let unit = (side == .inputs ? column : row) / size
                        lengths[unit] += Double(weight[row, column]) * Double(weight[row, column])
                    }
                }
            }
            scores += lengths.map { Float($0) }
        }
        var places = Array(try Selection.indices(.count(count), of: scores))[...]
        var start = 0
        return units.map { own in
            let part = places.prefix { $0 < start + own.count }
            places = places.dropFirst(part.count)
            defer { start += own.count }
            return part.map { $0 - start }
        }
    }

    /// Brings the chosen units of one kind to the front, and notes the slices that they are then.
    private func lay(_ units: CoupledUnits, rows: [Int], columns: [Int], _ model: any Module) throws {
        guard !rows.isEmpty || !columns.isEmpty else { return }
        let (up, down) = (Set(rows), Set(columns))
        let rest = (0..<units.count).filter { !up.contains($0) && !down.contains($0) }
        let onlyUp = rows.filter { !down.contains($0) }
        let order = onlyUp + rows.filter(down.contains) + columns.filter { !up.contains($0) } + rest
        for (layer, _) in units.producers + units.consumers {
            guard layer.isWhole else {
                throw LacunaError.unsupported(
                    file: nil, what: "slices of \(layer.weight.storage) weights ('\(units.name)')")
            }
            if layer.dense == nil { layer.weight = DenseWeight(layer.weight.densified()) }
        }
        try units.permute(order)
        orders.append((units, order))
        let names = Dictionary(model.linears.map { (ObjectIdentifier($0.layer), $0.name) }) { first, _ in first }
        func slice(_ layers: [(layer: Linear, size: Int)], _ side: SliceWeight.Side, _ range: Range<Int>) {
            for (layer, size) in layers where !range.isEmpty {
                let weight = SliceWeight(
                    outputs: layer.outputDimensions, inputs: layer.inputDimensions, side: side,
                    range: range.lowerBound * size..<range.upperBound * size)
                let places = Self.places(Array(order[range]), size)
                slices.append(
                    Slice(
                        name: names[ObjectIdentifier(layer)] ?? units.name, layer: layer, weight: weight, places: places
                    ))
            }
        }
        slice(Self.makers(units), .outputs, 0..<rows.count)
        slice(units.consumers, .inputs, onlyUp.count..<onlyUp.count + columns.count)
    }

    private static func places(_ units: [Int], _ size: Int) -> [Int] {
        units.flatMap { unit in (0..<size).map { unit * size + $0 } }
    }

    /// What a slice has learned, its other dimension in the original order too: that of the layer's outputs, or inputs, which
    /// may be units of their own.
    private func adapter(_ slice: Slice) -> Adapter {
        var values = slice.weight.values.value
        for (units, order) in orders {
            let sides = slice.weight.side == .inputs ? units.producers : units.consumers
            guard let size = sides.first(where: { $0.layer === slice.layer })?.size else { continue }
            let back = CoupledUnits.inverse(Self.places(order, size))
            values =
                slice.weight.side == .inputs
                ? values.selectingRows(back) : values.transposed().selectingRows(back).transposed()
        }
        return Adapter(layer: slice.name, side: slice.weight.side, places: slice.places, values: values)
    }

    public func attach(_ run: TrainingRun) throws {
        frozen = run.model.freeze(
            allBut: slices.map(\.weight.values), chosen: slices.map(\.layer), trainsOutput: false)
    }

    /// Adds what was learned and restores the order of units.
    public func end(_ run: TrainingRun) throws {
        adapters = slices.map { adapter($0) }
        for slice in slices where slice.layer.dense == nil {
            slice.layer.weight = DenseWeight(slice.layer.weight.densified())
        }
        for (units, order) in orders.reversed() { try units.permute(CoupledUnits.inverse(order)) }
        for parameter in frozen { parameter.isTrainable = true }
    }
}
