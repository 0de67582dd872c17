import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct CodeProductsTests {
    private let pattern = SparsePattern(rows: 3, columns: 5) { ($0 + 2 * $1) % 3 == 0 }

    @Test func sampledPreActivationsAreThoseOfTheFullProduct() {
        let (x, w, b, c) = (
            normal([3, 4], seed: 1, Double.self), normal([5, 4], seed: 2, Double.self),
            normal([5], seed: 3, Double.self),
            normal([4], seed: 4, Double.self)
        )
        let tape = Tape<Double>()
        let sampled = tape.constant(x).sampledLinear(
            center: tape.constant(c), tape.constant(w), bias: tape.constant(b), at: pattern
        ).value
        var i = 0
        pattern.forEachEntry { _, t, j in
            let expected = (0..<4).reduce(b[j]) { $0 + (x[t, $1] - c[$1]) * w[j, $1] }
            #expect(abs(sampled[i] - expected) < 1e-12)
            i += 1
        }
    }

    @Test func gradientsOfSampledPreActivations() {
        checkGradients([
            normal([3, 4], seed: 1), normal([5, 4], seed: 2), normal([5], seed: 3), normal([4], seed: 4),
        ]) { $0[0].sampledLinear(center: $0[3], $0[1], bias: $0[2], at: pattern) }
        checkGradients([normal([3, 4], seed: 1), normal([5, 4], seed: 2), normal([5], seed: 3)]) {
            $0[0].sampledLinear($0[1], bias: $0[2], at: pattern)
        }
        checkGradients([normal([3, 4], seed: 1), normal([5, 4], seed: 2)]) { $0[0].sampledLinear($0[1], at: pattern) }
    }

    @Test func decodingReadsTheNamedDirections() {
        let (f, d, b) = (
            normal([pattern.count], seed: 5, Double.self), normal([5, 4], seed: 6, Double.self),
            normal([4], seed: 7, Double.self)
        )
        let tape = Tape<Double>()
        let y = tape.constant(f).decoded(tape.constant(d), bias: tape.constant(b), at: pattern).value
        var expected = Tensor<Double>(zeros: [3, 4])
        for t in 0..<3 { for i in 0..<4 { expected[t, i] = b[i] } }
        pattern.forEachEntry { e, t, j in for i in 0..<4 { expected[t, i] += f[e] * d[j, i] } }
        for (a, b) in zip(y.scalars, expected.scalars) { #expect(abs(a - b) < 1e-12) }
    }

    @Test func gradientsOfDecoding() {
        checkGradients([normal([pattern.count], seed: 5), normal([5, 4], seed: 6), normal([4], seed: 7)]) {
            $0[0].decoded($0[1], bias: $0[2], at: pattern)
        }
        checkGradients([normal([pattern.count], seed: 5), normal([5, 4], seed: 6)]) {
            $0[0].decoded($0[1], at: pattern)
        }
    }

    @Test func gradientsOfColumnsAndEntries() {
        checkGradients([normal([5], seed: 8)]) { $0[0].atColumns(of: pattern) }
        checkGradients([normal([6], seed: 8)]) { $0[0].entries([0, 3, 5]) }
    }

    @Test func emptyCodes() {
        let none = SparsePattern(rows: 2, columns: 5)
        let tape = Tape<Double>()
        let d = tape.variable(normal([5, 4], seed: 6))
        let b = tape.variable(Tensor<Double>([1, 2, 3, 4]))
        let y = tape.constant(Tensor<Double>([])).decoded(d, bias: b, at: none)
        #expect(y.value == Tensor([1, 2, 3, 4, 1, 2, 3, 4], shape: [2, 4]))
        tape.backward(from: y.sum())
        #expect(b.gradient == Tensor([2, 2, 2, 2]))
    }

    @Test func columnsInARange() {
        let (part, places) = pattern.entries(inColumns: 1..<3)
        #expect(part.columns == 5)
        var expected: [Int32] = []
        pattern.forEachEntry { e, _, j in if j == 1 || j == 2 { expected.append(Int32(e)) } }
        #expect(places == expected)
        #expect(part.count == expected.count)
        part.forEachEntry { e, t, j in #expect(pattern.index(row: t, column: j) == Int(places[e])) }
    }

    /// θ-derivatives are the rectangle's, not those of a step.
    @Test func thresholdDerivatives() {
        let one = SparsePattern(rows: 4, columns: 1, keepingAll: true)
        let theta = 0.5
        let tape = Tape<Double>()
        // Below, just below, just above, far above a threshold of 0.5 with a rectangle of width 0.2.
        let u = tape.variable(Tensor<Double>([0.3, 0.45, 0.55, 0.7]))
        let t = tape.variable(Tensor<Double>([logarithm(theta)]))
        let f = u.jumped(above: t, at: one, bandwidth: 0.2)
        for (a, b) in zip(f.value.scalars, [0, 0, 0.55, 0.7]) { #expect(a == b) }
        let weights = tape.constant(Tensor<Double>([1, 10, 100, 1000]))
        tape.backward(from: (f * weights).sum())
        #expect(u.gradient == Tensor([0, 0, 100, 1000]))
        // -θ²/ε times the weights of the two inside.
        #expect(abs(t.gradient!.scalars[0] + theta * theta / 0.2 * 110) < 1e-9)

        let tape2 = Tape<Double>()
        let u2 = tape2.variable(Tensor<Double>([0.3, 0.45, 0.55, 0.7]))
        let t2 = tape2.variable(Tensor<Double>([logarithm(theta)]))
        let count = u2.countAbove(t2, at: one, bandwidth: 0.2)
        #expect(count.item == 2)
        tape2.backward(from: count.sum().affine(3))
        #expect(abs(t2.gradient!.scalars[0] + 3 * 2 * theta / 0.2) < 1e-9)
        #expect((u2.gradient?.scalars ?? []).allSatisfy { $0 == 0 })
    }
}
