import LacunaLearn
import LacunaTensor

/// A network of cells for images: each cell reads the two before it and gives the outputs of its nodes side by side.
///
/// During a search all candidates stand on all edges; a ``Genotype`` says which are left. Every convolution and the classifier are
/// linear layers on patches, so that masks, scores and sparse storage apply to them (``SparseConv2d``, ``DepthwiseConv2d``).
/// Hanxiao Liu, Karen Simonyan, Yiming Yang, "DARTS: Differentiable Architecture Search", arXiv 1806.09055.
public final class CellNetwork: SearchableNetwork {
    /// The sizes of a network.
    public struct Shape: Sendable, Hashable {
        /// Of the images.
        public var inputChannels: Int
        /// Of a node in the first cells; twice as many behind each cell that halves the image.
        public var channels: Int
        /// At least 1. Those a third and two thirds of the way halve the image.
        public var cells: Int
        /// Of a cell, at least 1.
        public var nodes: Int
        /// Of the logits.
        public var classes: Int
        /// The stem's channels in those of a node.
        public var stem = 3
        /// Sizes of a search: 16 channels, 8 cells of 4 nodes.
        public init(inputChannels: Int, channels: Int = 16, cells: Int = 8, nodes: Int = 4, classes: Int) {
            (self.inputChannels, self.channels, self.cells) = (inputChannels, channels, cells)
            (self.nodes, self.classes) = (nodes, classes)
        }

        func validate() throws {
            let numbers = [inputChannels, cells, nodes, classes, stem]
            guard numbers.allSatisfy({ $0 >= 1 }), channels >= 2 else {
                throw LacunaError.invalidArgument("shape", reason: "\(self)")
            }
        }

        /// Whether a cell halves the image.
        public func halves(_ cell: Int) -> Bool { cells >= 3 && (cell == cells / 3 || cell == 2 * cells / 3) }
    }

    /// The sizes.
    public let shape: Shape
    /// The candidates of a search.
    public let operations: [CellOperation]
    /// `α` [edges, candidates] of cells that keep the size and of those that halve it; nil for a network that was chosen.
    public let normal, reduce: Parameter<Float>?
    private let stem: Sequential
    private let cells: [Cell]
    /// On the means of the channels.
    public let classifier: Linear

    /// A network to search in, `α` near 0.
    ///
    /// - Throws: `LacunaError.invalidArgument` for sizes out of range and for candidates of which none is an operation.
    public convenience init(
        searching shape: Shape, operations: [CellOperation] = CellOperation.allCases,
        using generator: inout SeededGenerator
    ) throws {
        guard operations.contains(where: { $0 != .none }) else {
            throw LacunaError.invalidArgument("operations", reason: "are \(operations.map(\.rawValue))")
        }
        try self.init(shape, operations, nil, &generator)
    }

    /// A network of given cells with fresh weights.
    ///
    /// - Throws: `LacunaError.invalidArgument` for sizes out of range; the genotype says how many nodes there are.
    public convenience init(_ genotype: Genotype, shape: Shape, using generator: inout SeededGenerator) throws {
        var shape = shape
        shape.nodes = genotype.normal.count
        try self.init(shape, [], genotype, &generator)
    }

    private init(
        _ shape: Shape, _ operations: [CellOperation], _ genotype: Genotype?, _ generator: inout SeededGenerator
    ) throws {
        try shape.validate()
        (self.shape, self.operations) = (shape, operations)
        let first = shape.stem * shape.channels
        stem = Sequential([
            SparseConv2d(
                inputChannels: shape.inputChannels, outputChannels: first, kernelSize: 3, sliding: Sliding(padding: 1),
                bias: false, using: &generator), BatchNorm(channels: first),
        ])
        var (widths, width, halved) = ((first, first), shape.channels, false)
        var cells: [Cell] = []
        for index in 0..<shape.cells {
            let halves = shape.halves(index)
            if halves { width *= 2 }
            let edges = genotype.map { halves ? $0.reduce : $0.normal }
            cells.append(
                Cell(
                    inputs: widths, channels: width, halves: halves, followsHalving: halved, nodes: shape.nodes,
                    operations: operations, chosen: edges, using: &generator))
            widths = (widths.1, width * shape.nodes)
            halved = halves
        }
        self.cells = cells
        classifier = Linear(inputDimensions: widths.1, outputDimensions: shape.classes, using: &generator)
        func alpha() -> Parameter<Float>? {
            if genotype != nil { return nil }
            let size = [Genotype.edges(nodes: shape.nodes).count, operations.count]
            return Parameter(Tensor(normal: size, standardDeviation: 1e-3, using: &generator), isTrainable: false)
        }
        (normal, reduce) = (alpha(), alpha())
    }

    public var parts: [(name: String, part: Any)] {
        var parts: [(String, Any)] = [("stem", stem), ("cells", cells)]
        if let normal, let reduce { parts += [("alpha.normal", normal), ("alpha.reduce", reduce)] }
        return parts + [("classifier", classifier)]
    }

    public var architecture: [Parameter<Float>] { [normal, reduce].compactMap(\.self) }

    /// The cells that `α` decides for now; nil for a network that was chosen. See ``Genotype/cell(_:operations:nodes:)``.
    public var genotype: Genotype? {
        guard let normal, let reduce else { return nil }
        func cell(_ alpha: Parameter<Float>) -> [[Genotype.Edge]] {
            let tape = Tape<Float>()
            let weights = tape.evaluating { alpha.on(tape).softmax().value }
            return Genotype.cell(weights, operations: operations, nodes: shape.nodes)
        }
        return try? Genotype(normal: cell(normal), reduce: cell(reduce))
    }

    /// Logits [n, classes] for images [n, channels, height, width], whose sides halve as often as the cells ask.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let weights = (normal?.on(x.tape).softmax(), reduce?.on(x.tape).softmax())
        let start = stem(x)
        var states = (start, start)
        for cell in cells { states = (states.1, cell(states.0, states.1, cell.halves ? weights.1 : weights.0)) }
        return classifier(states.1.globalAveragePooled())
    }
}

/// Some nodes, each the sum of what its edges make of earlier ones.
private final class Cell: Module {
    private enum Way {
        case chosen(any UnaryLayer)
        case mixed(MixedOperation, row: Int)
    }

    let halves: Bool
    private let inputs: [any UnaryLayer]
    /// The ways into each node, and where they come from.
    private let nodes: [[(from: Int, way: Way)]]

    init(
        inputs: (Int, Int), channels: Int, halves: Bool, followsHalving: Bool, nodes: Int,
        operations: [CellOperation], chosen: [[Genotype.Edge]]?, using generator: inout SeededGenerator
    ) {
        self.halves = halves
        let learns = chosen != nil
        func fitted(_ width: Int) -> any UnaryLayer {
            Sequential([
                Lambda(.relu),
                SparseConv2d(
                    inputChannels: width, outputChannels: channels, kernelSize: 1, bias: false, using: &generator),
                BatchNorm(channels: channels, learns: learns),
            ])
        }
        // The cell before the last one is twice as large if the last halved.
        let early: any UnaryLayer =
            followsHalving
            ? HalvingConvolution(inputs.0, to: channels, learnsNorms: learns, using: &generator) : fitted(inputs.0)
        self.inputs = [early, fitted(inputs.1)]
        func layer(_ operation: CellOperation, from: Int) -> (any UnaryLayer)? {
            operation.layer(
                channels: channels, stride: halves && from < 2 ? 2 : 1, learnsNorms: learns, using: &generator)
        }
        if let chosen {
            self.nodes = chosen.map { edges in
                edges.map { ($0.from, .chosen(layer($0.operation, from: $0.from)!)) }
            }
        } else {
            var row = 0
            self.nodes = (0..<nodes).map { node in
                (0..<node + 2).map { from in
                    defer { row += 1 }
                    return (from, .mixed(MixedOperation(operations.map { layer($0, from: from) }), row: row))
                }
            }
        }
    }

    var parts: [(name: String, part: Any)] {
        var parts: [(String, Any)] = [("inputs.0", inputs[0]), ("inputs.1", inputs[1])]
        for (node, ways) in nodes.enumerated() {
            for (from, way) in ways {
                switch way {
                case .chosen(let layer): parts.append(("nodes.\(node).\(from)", layer))
                case .mixed(let layer, _): parts.append(("nodes.\(node).\(from)", layer))
                }
            }
        }
        return parts
    }

    func callAsFunction(_ a: Variable<Float>, _ b: Variable<Float>, _ weights: Variable<Float>?) -> Variable<Float> {
        var states = [inputs[0](a), inputs[1](b)]
        for ways in nodes {
            let terms = ways.map { from, way -> Variable<Float> in
                switch way {
                case .chosen(let layer): layer(states[from])
                case .mixed(let layer, let row): layer(states[from], weights: weights!.sliced(rows: row..<row + 1))
                }
            }
            states.append(terms.dropFirst().reduce(terms[0], +))
        }
        return Variable.besides(Array(states.dropFirst(2)))
    }
}
