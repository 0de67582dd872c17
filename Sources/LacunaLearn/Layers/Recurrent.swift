import LacunaTensor

/// `h' = tanh(W x + U h + b)`.
public final class RNNCell: Module {
    /// [hidden, inputs], with the bias.
    public let input: Linear
    /// [hidden, hidden].
    public let hidden: Linear
    /// Of the sum.
    public let activation: Activation

    /// Weights and bias uniform in ±1/√inputs of each, as ``Linear``'s.
    public init(
        inputDimensions: Int, hiddenDimensions: Int, activation: Activation = .tanh,
        using generator: inout SeededGenerator
    ) {
        input = Linear(inputDimensions: inputDimensions, outputDimensions: hiddenDimensions, using: &generator)
        hidden = Linear(
            inputDimensions: hiddenDimensions, outputDimensions: hiddenDimensions, bias: false, using: &generator)
        self.activation = activation
    }

    /// The next state [n, hidden] for inputs [n, inputs] and a state [n, hidden].
    public func callAsFunction(_ x: Variable<Float>, _ state: Variable<Float>) -> Variable<Float> {
        (input(x) + hidden(state)).map(activation)
    }
}

/// The gated recurrent unit: `r = σ(·)`, `z = σ(·)`, `n = tanh(W x + r (U h + b))`, `h' = (1 - z) n + z h`.
///
/// Kyunghyun Cho and others, "Learning Phrase Representations using RNN Encoder-Decoder", arXiv 1406.1078, with the
/// reset gate behind the product as in common libraries.
public final class GRUCell: Module {
    /// Reset, update and new gates, one below the other: [3 hidden, inputs].
    public let input: Linear
    /// As ``input``, of the state: [3 hidden, hidden].
    public let hidden: Linear

    /// A unit with a state of `hiddenDimensions` numbers.
    public init(inputDimensions: Int, hiddenDimensions: Int, using generator: inout SeededGenerator) {
        input = Linear(inputDimensions: inputDimensions, outputDimensions: 3 * hiddenDimensions, using: &generator)
        hidden = Linear(inputDimensions: hiddenDimensions, outputDimensions: 3 * hiddenDimensions, using: &generator)
    }

    /// The next state [n, hidden] for inputs [n, inputs] and a state [n, hidden].
    public func callAsFunction(_ x: Variable<Float>, _ state: Variable<Float>) -> Variable<Float> {
        let size = state.columns
        let (a, b) = (input(x), hidden(state))
        let gates = (a.sliced(columns: 0..<2 * size) + b.sliced(columns: 0..<2 * size)).sigmoid()
        let (reset, update) = (gates.sliced(columns: 0..<size), gates.sliced(columns: size..<2 * size))
        let new = (a.sliced(columns: 2 * size..<3 * size) + reset * b.sliced(columns: 2 * size..<3 * size)).tanh()
        return new + update * (state - new)
    }
}

/// Long short-term memory: `c' = f c + i g`, `h' = o tanh(c')`.
///
/// Sepp Hochreiter, Jürgen Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997), with forget gates.
public final class LSTMCell: Module {
    /// Input, forget, cell and output gates, one below the other: [4 hidden, inputs].
    public let input: Linear
    /// As ``input``, of the state: [4 hidden, hidden].
    public let hidden: Linear

    /// A unit with a state of `hiddenDimensions` numbers, twice.
    public init(inputDimensions: Int, hiddenDimensions: Int, using generator: inout SeededGenerator) {
        input = Linear(inputDimensions: inputDimensions, outputDimensions: 4 * hiddenDimensions, using: &generator)
        hidden = Linear(
            inputDimensions: hiddenDimensions, outputDimensions: 4 * hiddenDimensions, bias: false, using: &generator)
    }

    /// What is handed on, [n, hidden] each.
    public typealias State = (hidden: Variable<Float>, cell: Variable<Float>)

    /// The next state for inputs [n, inputs]; its `hidden` is the output.
    public func callAsFunction(_ x: Variable<Float>, _ state: State) -> State {
        let size = state.hidden.columns
        let gates = input(x) + hidden(state.hidden)
        func gate(_ i: Int, _ f: Activation) -> Variable<Float> {
            gates.sliced(columns: i * size..<(i + 1) * size).map(f)
        }
        let cell = gate(1, .sigmoid) * state.cell + gate(0, .sigmoid) * gate(2, .tanh)
        return (gate(3, .sigmoid) * cell.tanh(), cell)
    }
}
