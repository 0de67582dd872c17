import LacunaLearn
import LacunaSparse
import LacunaTensor

/// What a recurrent layer computes in each step.
public enum RecurrentCell: String, Sendable, Hashable, CaseIterable {
    /// `h' = tanh(W x + U h + b)`.
    case tanh
    /// The same with a rectifier.
    case relu
    /// ``GRUCell``.
    case gru
    /// ``LSTMCell``.
    case lstm

    /// Blocks of rows, one below the other, that the two matrices have.
    public var gates: Int {
        switch self {
        case .tanh, .relu: 1
        case .gru: 3
        case .lstm: 4
        }
    }
}

/// A cell run over whole sequences. Its matrices are `input` [gates · hidden, inputs] and `hidden` [gates · hidden, hidden],
/// linear layers that any method makes sparse.
public final class RecurrentLayer: Module {
    /// What each step computes.
    public let kind: RecurrentCell
    /// Numbers of the state.
    public let hiddenDimensions: Int
    /// What is multiplied with the input, and with the state.
    public let input, hidden: Linear
    private let step: (_ x: Variable<Float>, _ state: Variable<Float>, _ cell: Variable<Float>) -> LSTMCell.State

    /// Weights and biases uniform in ±1/√hidden, as recurrent layers of common libraries have them.
    public init(
        _ kind: RecurrentCell, inputDimensions: Int, hiddenDimensions: Int, using generator: inout SeededGenerator
    ) {
        self.kind = kind
        self.hiddenDimensions = hiddenDimensions
        switch kind {
        case .tanh, .relu:
            let cell = RNNCell(
                inputDimensions: inputDimensions, hiddenDimensions: hiddenDimensions,
                activation: kind == .relu ? .relu : .tanh, using: &generator)
            (input, hidden) = (cell.input, cell.hidden)
            step = { x, state, memory in (cell(x, state), memory) }
        case .gru:
            let cell = GRUCell(
                inputDimensions: inputDimensions, hiddenDimensions: hiddenDimensions, using: &generator)
            (input, hidden) = (cell.input, cell.hidden)
            step = { x, state, memory in (cell(x, state), memory) }
        case .lstm:
            let cell = LSTMCell(
                inputDimensions: inputDimensions, hiddenDimensions: hiddenDimensions, using: &generator)
            (input, hidden) = (cell.input, cell.hidden)
            step = { x, state, memory in cell(x, (state, memory)) }
        }
        for layer in [input, hidden] {
            layer.weight = DenseWeight(
                Initialization.uniform.tensor(
                    [layer.outputDimensions, layer.inputDimensions], fanIn: hiddenDimensions, using: &generator))
            layer.bias?.value = Initialization.uniform.tensor(
                [layer.outputDimensions], fanIn: hiddenDimensions, using: &generator)
        }
    }

    /// The two matrices.
    public var parts: [(name: String, part: Any)] { [("input", input), ("hidden", hidden)] }

    /// The states after every step, [steps · batch, hidden], for inputs [steps · batch, inputs]: all sequences' first entries,
    /// then their second, and so on. States begin at 0.
    public func callAsFunction(_ x: Variable<Float>, batch: Int) -> Variable<Float> {
        require(batch > 0 && x.rows % batch == 0, "\(x.rows) rows of \(batch) sequences")
        let zeros = x.tape.constant(Tensor(zeros: [batch, hiddenDimensions]))
        var state: LSTMCell.State = (zeros, zeros)
        var outputs: [Variable<Float>] = []
        for start in stride(from: 0, to: x.rows, by: batch) {
            state = step(x.sliced(rows: start..<start + batch), state.hidden, state.cell)
            outputs.append(state.hidden)
        }
        return Variable.concatenated(rows: outputs)
    }

    /// Keeps only some connections from inputs to units, the same ones for all gates of a unit.
    ///
    /// - Parameter connections: [hidden, inputs].
    /// - Throws: As ``Linear/sparsify(_:mask:)``.
    public func connect(_ connections: SparsePattern, storage: StorageLayout = .masked) throws {
        guard connections.rows == hiddenDimensions, connections.columns == input.inputDimensions else {
            throw LacunaError.invalidArgument(
                "connections",
                reason: "\(connections.rows)x\(connections.columns) for \(hiddenDimensions) units of "
                    + "\(input.inputDimensions) inputs")
        }
        let repeated = SparsePattern(rows: kind.gates * hiddenDimensions, columns: connections.columns) { row, column in
            connections[row % hiddenDimensions, column]
        }
        try input.sparsify(storage, mask: repeated)
    }
}

/// Several layers that read sequences.
public protocol SequenceNetwork: Module {
    /// Numbers a step gives.
    var outputDimensions: Int { get }
    /// [steps · batch, outputs] for [steps · batch, inputs], step by step.
    func callAsFunction(_ x: Variable<Float>, batch: Int) -> Variable<Float>
}

/// Recurrent layers, each of which reads what the one before gives.
public final class RecurrentStack: SequenceNetwork {
    /// From the input on.
    public let layers: [RecurrentLayer]

    /// - Precondition: There is a layer.
    public init(
        _ kind: RecurrentCell, inputDimensions: Int, hidden: [Int], using generator: inout SeededGenerator
    ) {
        require(!hidden.isEmpty, "a stack of no layers")
        var (layers, width) = ([RecurrentLayer](), inputDimensions)
        for size in hidden {
            layers.append(
                RecurrentLayer(kind, inputDimensions: width, hiddenDimensions: size, using: &generator))
            width = size
        }
        self.layers = layers
    }

    public var outputDimensions: Int { layers.last!.hiddenDimensions }

    public func callAsFunction(_ x: Variable<Float>, batch: Int) -> Variable<Float> {
        layers.reduce(x) { $1($0, batch: batch) }
    }
}
