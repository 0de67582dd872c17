import LacunaLearn
import LacunaTensor
import Testing

@Suite struct AttentionTests {
    /// Attention by its definition, one number at a time.
    private func reference(
        _ q: Tensor<Double>, _ k: Tensor<Double>, _ v: Tensor<Double>, _ s: AttentionShape,
        bias: Tensor<Double>? = nil, sees: (_ b: Int, _ i: Int, _ j: Int) -> Bool
    ) -> (output: Tensor<Double>, weights: [Double]) {
        let (t, u, d) = (q.rows / s.batch, k.rows / s.batch, s.dimensions)
        var result = Tensor<Double>(zeros: [q.rows, s.heads * d])
        var all: [Double] = []
        for b in 0..<s.batch {
            for h in 0..<s.heads {
                let g = h / (s.heads / s.keyValueHeads)
                for i in 0..<t {
                    var weights = [Double](repeating: 0, count: u)
                    for j in 0..<u where sees(b, i, j) {
                        var score = 0.0
                        for e in 0..<d { score += q[b * t + i, h * d + e] * k[b * u + j, g * d + e] }
                        score *= s.scale ?? 1 / Double(d).squareRoot()
                        weights[j] = exponential(score + (bias?[h, i, j] ?? 0))
                    }
                    let total = weights.reduce(0, +)
                    for j in 0..<u {
                        weights[j] = total > 0 ? weights[j] / total : 0
                        for e in 0..<d { result[b * t + i, h * d + e] += weights[j] * v[b * u + j, g * d + e] }
                    }
                    all += weights
                }
            }
        }
        return (result, all)
    }

    struct Case: Sendable, CustomStringConvertible {
        var (queries, keys): (Int, Int)
        var (heads, shared): (Int, Int)
        var isCausal: Bool
        var window: Int?
        var mask = 0
        var hasBias = false
        var scale: Double?
        var description: String {
            "\(queries) x \(keys), \(heads)/\(shared), causal \(isCausal), window \(window ?? 0), mask \(mask), bias \(hasBias)"
        }
    }

    static let cases = [
        Case(queries: 5, keys: 5, heads: 4, shared: 2, isCausal: true),
        Case(queries: 5, keys: 5, heads: 2, shared: 2, isCausal: true, window: 2),
        Case(queries: 4, keys: 6, heads: 2, shared: 1, isCausal: false, window: 2, scale: 0.3),
        Case(queries: 3, keys: 6, heads: 2, shared: 1, isCausal: true, mask: 1),
        Case(queries: 6, keys: 3, heads: 1, shared: 1, isCausal: true),
        Case(queries: 4, keys: 5, heads: 2, shared: 2, isCausal: false, mask: 2, hasBias: true),
        Case(queries: 3, keys: 4, heads: 2, shared: 1, isCausal: false, mask: 3),
        Case(queries: 5, keys: 5, heads: 2, shared: 1, isCausal: true, window: 3, mask: 1, hasBias: true),
        Case(queries: 1, keys: 1, heads: 1, shared: 1, isCausal: true),
    ]

    @Test(arguments: cases) func attends(_ c: Case) {
        let (batch, d) = (2, 4)
        let shape = AttentionShape(
            batch: batch, heads: c.heads, keyValueHeads: c.shared, dimensions: d, isCausal: c.isCausal,
            window: c.window,
            scale: c.scale)
        let q = randomTensor([batch * c.queries, c.heads * d], seed: 1)
        let k = randomTensor([batch * c.keys, c.shared * d], seed: 2)
        let v = randomTensor([batch * c.keys, c.shared * d], seed: 3)
        let bias = randomTensor([c.heads, c.queries, c.keys], seed: 4)
        func bytes(_ n: Int) -> [UInt8] { (0..<n).map { $0 % 3 == 1 ? 0 : 1 } }
        let mask: AttentionMask? =
            switch c.mask {
            case 1: .keys(bytes(batch * c.keys))
            case 2: .pairs(bytes(c.queries * c.keys))
            case 3: .batchedPairs(bytes(batch * c.queries * c.keys))
            default: nil
            }
        func sees(_ b: Int, _ i: Int, _ j: Int) -> Bool {
            let place = i + c.keys - c.queries
            if c.isCausal && j > place { return false }
            if let window = c.window, abs(place - j) >= window { return false }
            switch mask {
            case nil: return true
            case .keys(let m): return m[b * c.keys + j] != 0
            case .pairs(let m): return m[i * c.keys + j] != 0
            case .batchedPairs(let m): return m[(b * c.queries + i) * c.keys + j] != 0
            }
        }
        let tape = Tape<Double>()
        let (output, weights) = Variable.attentionWithWeights(
            queries: tape.constant(q), keys: tape.constant(k), values: tape.constant(v), shape: shape, mask: mask,
            bias: c.hasBias ? tape.constant(bias) : nil)
        let expected = reference(q, k, v, shape, bias: c.hasBias ? bias : nil, sees: sees)
        #expect(close(output.value, expected.output, 1e-9))
        #expect(weights.shape == [batch, c.heads, c.queries, c.keys])
        #expect(zip(weights.scalars, expected.weights).allSatisfy { abs($0 - $1) < 1e-9 })
        checkGradients([q, k, v] + (c.hasBias ? [bias] : [])) {
            Variable.attention(
                queries: $0[0], keys: $0[1], values: $0[2], shape: shape, mask: mask, bias: c.hasBias ? $0[3] : nil)
        }
    }

    @Test func operandsMayBeOneVariable() {
        let shape = AttentionShape(batch: 2, heads: 2, dimensions: 2, isCausal: true)
        let (x, z) = (randomTensor([6, 4], seed: 1), randomTensor([6, 4], seed: 2))
        checkGradients([x, z]) { Variable.attention(queries: $0[0], keys: $0[1], values: $0[1], shape: shape) }
        checkGradients([x, z]) { Variable.attention(queries: $0[0], keys: $0[0], values: $0[1], shape: shape) }
        checkGradients([x, z]) { Variable.attention(queries: $0[1], keys: $0[0], values: $0[1], shape: shape) }
        checkGradients([x]) { Variable.attention(queries: $0[0], keys: $0[0], values: $0[0], shape: shape) }
        checkGradients([randomTensor([6, 12], seed: 3)]) { Variable.attention(packed: $0[0], shape: shape) }
        checkGradients([x]) { v in
            let constant = v[0].tape.constant(z)
            return Variable.attention(queries: constant, keys: v[0], values: constant, shape: shape)
        }
        let grouped = AttentionShape(batch: 1, heads: 2, keyValueHeads: 1, dimensions: 3, isCausal: false)
        checkGradients([randomTensor([4, 12], seed: 4)]) {
            Variable.attention(packed: $0[0], shape: grouped, mask: .keys([1, 0, 1, 1]))
        }
    }

    /// Queries that see nothing get zeros and pass no gradient; a bias of -infinity hides.
    @Test func hiddenKeys() {
        let tape = Tape<Float>()
        let shape = AttentionShape(batch: 1, heads: 1, dimensions: 2, isCausal: false)
        let x = tape.variable(Tensor([1, 2, 3, 4], shape: [2, 2]))
        let blind = Variable.attention(queries: x, keys: x, values: x, shape: shape, mask: .keys([0, 0]))
        tape.backward(from: blind.sum())
        #expect(blind.value.scalars == [0, 0, 0, 0] && x.gradient!.scalars == [0, 0, 0, 0])
        let bias = tape.constant(Tensor([0, -.infinity, -.infinity, -.infinity], shape: [1, 2, 2]))
        let partly = Variable.attention(queries: x, keys: x, values: x, shape: shape, bias: bias)
        #expect(partly.value.scalars == [1, 2, 0, 0])
    }

    /// Several tiles of queries, in Float, against Double with the definition; and no memory of T² numbers.
    @Test func longSequences() {
        var generator = SeededGenerator(seed: 5)
        let (t, d) = (700, 4)
        let shape = AttentionShape(batch: 1, heads: 2, keyValueHeads: 1, dimensions: d, isCausal: true, window: 333)
        let x = Tensor<Float>(normal: [t, 4 * d], using: &generator)
        let tape = Tape<Float>()
        let packed = tape.variable(x)
        let y = Variable.attention(packed: packed, shape: shape)
        func part(_ range: Range<Int>) -> Tensor<Double> {
            Tensor((0..<t).flatMap { i in range.map { Double(x[i, $0]) } }, shape: [t, range.count])
        }
        let expected = reference(part(0..<2 * d), part(2 * d..<3 * d), part(3 * d..<4 * d), shape) { _, i, j in
            j <= i && i - j < 333
        }.output
        #expect(zip(y.value.scalars, expected.scalars).allSatisfy { abs(Double($0) - $1) < 1e-4 })
        tape.backward(from: y.map(.square).sum())
        #expect(tape.pool.peakBytes < t * t, "\(tape.pool.peakBytes) bytes")
        // The gradient of the same computation in Double.
        let wide = Tape<Double>()
        let input = wide.variable(Tensor(x.scalars.map(Double.init), shape: x.shape))
        wide.backward(from: Variable.attention(packed: input, shape: shape).map(.square).sum())
        let gradient = packed.gradient!.scalars
        #expect(zip(gradient, input.gradient!.scalars).allSatisfy { abs(Double($0) - $1) < 1e-3 * max(1, abs($1)) })
    }

    @Test func rotationByFrequencies() {
        let x = randomTensor([4, 6], seed: 6)
        let positions: [Int32] = [0, 3, 1, 7]
        checkGradients([x]) { $0[0].rotated(positions: positions, heads: 1, dimensions: 4, frequencies: [0.7, 0.01]) }
        let tape = Tape<Double>()
        let y = tape.constant(x).rotated(positions: positions, heads: 1, dimensions: 4, frequencies: [0.7, 0.01]).value
        for (i, position) in positions.enumerated() {
            for (pair, frequency) in [0.7, 0.01].enumerated() {
                let angle = Double(position) * frequency
                let (a, b) = (x[i, pair], x[i, pair + 2])
                #expect(abs(y[i, pair] - (a * cosine(angle) - b * sine(angle))) < 1e-12)
                #expect(abs(y[i, pair + 2] - (a * sine(angle) + b * cosine(angle))) < 1e-12)
            }
            #expect(y[i, 4] == x[i, 4] && y[i, 5] == x[i, 5])
        }
        #expect(
            tape.constant(x).rotated(positions: positions, heads: 1, dimensions: 4, base: 100).value
                == tape.constant(x).rotated(
                    positions: positions, heads: 1, dimensions: 4, frequencies: [1, power(100, -0.5)]
                ).value)
    }
}
