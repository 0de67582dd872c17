import LacunaDictionary
import Testing

/// Compares gradients in double precision with central differences, for a fixed random weighting of the result.
func checkGradients(
    _ inputs: [Tensor<Double>], step: Double = 1e-5, tolerance: Double = 1e-6,
    sourceLocation: SourceLocation = #_sourceLocation, _ body: ([Variable<Double>]) -> Variable<Double>
) {
    func total(_ inputs: [Variable<Double>]) -> Variable<Double> {
        let y = body(inputs)
        var generator = SeededGenerator(seed: 9)
        return (y * y.tape.constant(Tensor(uniform: y.shape, in: 0.5..<1.5, using: &generator))).sum()
    }
    let tape = Tape<Double>()
    let variables = inputs.map { tape.variable($0) }
    tape.backward(from: total(variables))
    for (place, input) in inputs.enumerated() {
        let gradient = variables[place].gradient ?? Tensor(zeros: input.shape)
        for i in 0..<input.count {
            var values: [Double] = []
            for sign in [1.0, -1.0] {
                var moved = inputs
                moved[place].withMutablePointer { $0[i] += sign * step }
                let tape = Tape<Double>()
                values.append(total(moved.map { tape.constant($0) }).item)
            }
            let difference = (values[0] - values[1]) / (2 * step)
            let found = gradient.scalars[i]
            #expect(
                abs(found - difference) <= tolerance * max(1, abs(difference)),
                "input \(place), entry \(i): \(found), by differences \(difference)", sourceLocation: sourceLocation)
        }
    }
}

/// Random numbers of a shape.
func normal<Scalar: TensorScalar>(_ shape: [Int], seed: UInt64, _: Scalar.Type = Scalar.self) -> Tensor<Scalar> {
    var generator = SeededGenerator(seed: seed)
    return Tensor(normal: shape, using: &generator)
}

func expectClose(
    _ a: Tensor<Float>, _ b: Tensor<Float>, _ tolerance: Float, sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(a.shape == b.shape, sourceLocation: sourceLocation)
    let worst = zip(a.scalars, b.scalars).map { abs($0 - $1) }.max() ?? 0
    #expect(worst <= tolerance, "differ by \(worst)", sourceLocation: sourceLocation)
}
