import Lacuna

/// An architecture of one's own: two hidden layers whose activations have learned slopes, the second added to the first.
///
/// Layers and parameters are found by their properties' names; everything that works on a `Module` (optimisers, methods
/// that make layers sparse, files, ledgers) works on this one.
final class SnakeNetwork: UnaryLayer {
    let first, second, output: Linear
    let firstSlopes, secondSlopes: Parameter<Float>

    init(inputs: Int, hidden: Int, classes: Int, using generator: inout SeededGenerator) {
        first = Linear(inputDimensions: inputs, outputDimensions: hidden, using: &generator)
        second = Linear(inputDimensions: hidden, outputDimensions: hidden, using: &generator)
        output = Linear(inputDimensions: hidden, outputDimensions: classes, using: &generator)
        firstSlopes = Parameter(Tensor(repeating: 1, shape: [hidden]))
        secondSlopes = Parameter(Tensor(repeating: 1, shape: [hidden]))
    }

    func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let y = first(x).snake(firstSlopes.on(x.tape))
        return output(y + second(y).snake(secondSlopes.on(x.tape)))
    }
}
