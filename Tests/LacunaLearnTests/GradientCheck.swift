import LacunaLearn
import LacunaTensor
import Testing

/// Compares the gradients of a computation in double precision with central differences, entry by entry.
///
/// The result of `body`, of any shape, is reduced to one number by a fixed random weighting, so that errors in
/// different outputs cannot cancel. Every input is given twice: once to a graph that uses it once, once to one whose
/// gradient is accumulated from two uses.
func checkGradients(
    _ inputs: [Tensor<Double>], step: Double = 1e-5, tolerance: Double = 2e-6, seed: UInt64 = 9,
    sourceLocation: SourceLocation = #_sourceLocation, _ body: ([Variable<Double>]) -> Variable<Double>
) {
    func weighted(_ y: Variable<Double>) -> Variable<Double> {
        var generator = SeededGenerator(seed: seed)
        let weights = Tensor<Double>(uniform: y.shape, in: 0.5..<1.5, using: &generator)
        return (y * y.tape.constant(weights)).sum()
    }
    func evaluate(_ inputs: [Tensor<Double>], twice: Bool) -> Double {
        let tape = Tape<Double>(seed: 5)
        let variables = inputs.map { tape.variable($0) }
        let loss = weighted(body(variables))
        return (twice ? loss + weighted(body(variables)) : loss).item
    }
    for twice in [false, true] {
        let tape = Tape<Double>(seed: 5)
        let variables = inputs.map { tape.variable($0) }
        var loss = weighted(body(variables))
        if twice { loss = loss + weighted(body(variables)) }
        #expect(loss.item.isFinite, sourceLocation: sourceLocation)
        tape.backward(from: loss)
        #expect(tape.count == 0, sourceLocation: sourceLocation)
        for (index, input) in inputs.enumerated() {
            guard let gradient = variables[index].gradient else {
                Issue.record("no gradient reached input \(index)", sourceLocation: sourceLocation)
                continue
            }
            let values = input.scalars
            for i in values.indices {
                func shifted(_ by: Double) -> Double {
                    var changed = inputs
                    var scalars = values
                    scalars[i] += by
                    changed[index] = Tensor(scalars, shape: input.shape)
                    return evaluate(changed, twice: twice)
                }
                let numerical = (shifted(step) - shifted(-step)) / (2 * step)
                let analytic = gradient.scalars[i]
                if abs(numerical - analytic) > tolerance * max(1, abs(numerical), abs(analytic)) {
                    Issue.record(
                        "input \(index), entry \(i), twice \(twice): \(analytic), by differences \(numerical)",
                        sourceLocation: sourceLocation)
                    return
                }
            }
        }
    }
}

/// Numbers of both signs, none so close to 0 that a difference could cross a kink there.
func randomTensor(_ shape: [Int], seed: UInt64, positive: Bool = false) -> Tensor<Double> {
    var generator = SeededGenerator(seed: seed, stream: 77)
    var result = Tensor<Double>(uniform: shape, in: 0.1..<1.5, using: &generator)
    if !positive {
        let n = result.count
        result.withMutablePointer { p in for i in 0..<n where generator.next() & 1 == 0 { p[i] = -p[i] } }
    }
    return result
}
