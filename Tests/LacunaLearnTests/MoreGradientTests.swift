import LacunaLearn
import LacunaTensor
import Testing

/// Gradients of operations against central differences, and their values against formulas written out.
@Suite struct MoreGradientTests {
    private let tape = Tape<Double>()
    private func constant(_ values: [Double], _ shape: [Int]? = nil) -> Variable<Double> {
        tape.constant(Tensor(values, shape: shape ?? [values.count]))
    }

    // MARK: Broadcasting

    @Test func shapesExpand() {
        let x = randomTensor([2, 3, 4], seed: 1)
        for shape in [[], [1], [4], [3, 1], [3, 4], [2, 1, 1], [1, 3, 4], [2, 1, 4]] as [[Int]] {
            let y = randomTensor(shape, seed: 2)
            checkGradients([x, y]) { $0[0] * $0[1] }
            checkGradients([x, y]) { $0[1] / $0[0] }
            checkGradients([x, y]) { $0[1] - $0[0] }
        }
        checkGradients([randomTensor([2, 1, 4], seed: 3), randomTensor([3, 1], seed: 4)]) { $0[0] + $0[1] }
        checkGradients([randomTensor([3], seed: 3)]) { $0[0].expanded(to: [2, 3]) }
        checkGradients([randomTensor([], seed: 3)]) { $0[0].expanded(to: []) * $0[0].expanded(to: [1, 2]) }
        let sum = constant([1, 2], [2, 1]) + constant([10, 20, 30])
        #expect(sum.value == Tensor([11, 21, 31, 12, 22, 32], shape: [2, 3]))
        #expect(constant([1, 2], [2, 1]).expanded(to: [2, 2, 2]).value.scalars == [1, 1, 2, 2, 1, 1, 2, 2])
        #expect(constant([1, 2], [1, 2]).repeated(3).value == Tensor([1, 2, 1, 2, 1, 2], shape: [3, 2]))
        checkGradients([randomTensor([2, 3], seed: 5)]) { $0[0].repeated(2) }
        #expect(constant([]).expanded(to: [2, 0]).value.shape == [2, 0])
        // A learnable number.
        let factor = Parameter(Tensor<Float>([2], shape: []))
        let floats = Tape<Float>()
        floats.backward(from: (floats.constant(Tensor([1, 2, 3])) * factor.on(floats)).sum())
        #expect(factor.gradient!.scalars == [6])
    }

    @Test func choosing() {
        let (a, b) = (randomTensor([3, 4], seed: 1), randomTensor([3, 4], seed: 2))
        checkGradients([a, b]) { Variable.maximum($0[0], $0[1]) }
        checkGradients([a, b]) { Variable.minimum($0[0], $0[1]) }
        checkGradients([a, randomTensor([4], seed: 3)]) { Variable.maximum($0[0], $0[1]) }
        let condition = (0..<12).map { $0 % 3 == 0 }
        checkGradients([a, b]) { Variable.choosing(condition, $0[0], $0[1]) }
        let (x, y) = (tape.variable(Tensor([1, 5, 2])), tape.variable(Tensor([1, 4, 3])))
        let larger = Variable.maximum(x, y)
        #expect(larger.value.scalars == [1, 5, 3] && Variable.minimum(x, y).value.scalars == [1, 4, 2])
        tape.backward(from: larger.sum())
        // Of equal entries the first has the gradient.
        #expect(x.gradient!.scalars == [1, 1, 0] && y.gradient!.scalars == [0, 0, 1])
    }

    @Test func powers() {
        let x = randomTensor([2, 5], seed: 1, positive: true)
        for exponent in [0.5, 2, -1.5, 1, 0] { checkGradients([x]) { $0[0].raised(to: exponent) } }
        checkGradients([randomTensor([2, 5], seed: 2)]) { $0[0].raised(to: 3) }
        checkGradients([x, randomTensor([2, 5], seed: 3)]) { $0[0].raised(to: $0[1]) }
        let zero = tape.variable(Tensor([0]))
        tape.backward(from: zero.raised(to: 0).sum())
        #expect(zero.gradient!.scalars == [0])
        #expect(constant([4, 9]).raised(to: -0.5).value.scalars == [0.5, 1.0 / 3])
    }

    // MARK: Rows

    @Test func sumsAndSelections() {
        let x = randomTensor([3, 5], seed: 4)
        checkGradients([x]) { $0[0].cumulativeSums() }
        checkGradients([x]) { $0[0].logSumExp() }
        checkGradients([x]) { $0[0].taking([0, 0, 4, 2, 1, 1], 2) }
        checkGradients([x]) { v in v[0].taking(v[0].topIndices(3), 3) }
        #expect(constant([1, 2, 4, -1], [2, 2]).cumulativeSums().value.scalars == [1, 3, 4, 3])
        let extreme = constant([1000, 1000, -1000, -.infinity], [2, 2]).logSumExp().value.scalars
        #expect(abs(extreme[0] - 1000 - 0.6931471805599453) < 1e-12 && extreme[1] == -1000)
        let ranked = constant([3, 1, 3, 2, -1, 0, 5, 5], [2, 4])
        #expect(ranked.topIndices(3) == [0, 2, 3, 2, 3, 1])
        #expect(ranked.topIndices(4, ascending: true) == [1, 3, 0, 2, 0, 1, 2, 3])
        #expect(ranked.topIndices(0).isEmpty)
        #expect(ranked.taking([3, 1], 1).value == Tensor([2, 0], shape: [2, 1]))
    }

    @Test func sparsemax() {
        checkGradients([randomTensor([4, 6], seed: 5)]) { $0[0].sparsemax() }
        let p = constant([0.5, 0.1, -3, 7, 7, 2, 0, 0, 0], [3, 3]).sparsemax().value.scalars
        // By hand: (0.5, 0.1) shifted to sum 1; equal winners share; equal entries share.
        for (found, expected) in zip(p, [0.7, 0.3, 0, 0.5, 0.5, 0, 1 / 3.0, 1 / 3.0, 1 / 3.0]) {
            #expect(abs(found - expected) < 1e-12)
        }
        #expect(constant([4], [1, 1]).sparsemax().value.scalars == [1])
    }

    @Test(arguments: [0.7, 1, 2.5, 5.5]) func softTopK(k: Double) {
        let x = randomTensor([3, 6], seed: 6)
        checkGradients([x]) { $0[0].softTopK(k, temperature: 0.4) }
        let p = tape.constant(x).softTopK(k, temperature: 0.4)
        for sum in p.rowSums().value.scalars { #expect(abs(sum - k) < 1e-9) }
        if k == 1 {
            let cold = constant([3, 1, 2, 2.9]).softTopK(2, temperature: 1e-3).value.scalars
            for (found, expected) in zip(cold, [1, 0, 0, 1.0]) { #expect(abs(found - expected) < 1e-9) }
            let far = constant([1e6, 0, -1e6]).softTopK(1, temperature: 1).value.scalars
            #expect(far[0] > 0.999 && far[2] == 0)
        }
    }

    @Test func sinkhorn() {
        let x = randomTensor([4, 4], seed: 7)
        checkGradients([x]) { $0[0].sinkhorn(iterations: 3, temperature: 0.7) }
        let s = tape.constant(x).sinkhorn(iterations: 200)
        for sum in s.rowSums().value.scalars + s.columnSums().value.scalars { #expect(abs(sum - 1) < 1e-9) }
        // A cold assignment is the best permutation: here the anti-diagonal.
        let cold = constant([0, 1, 1, 0.5], [2, 2]).sinkhorn(iterations: 50, temperature: 0.01).value.scalars
        #expect(cold[1] > 0.99 && cold[2] > 0.99 && cold[0] < 0.01)
    }

    @Test func gumbelSoftmax() {
        let logits = constant([0, 1, 2], [1, 3]).expanded(to: [4000, 3])
        let hard = logits.gumbelSoftmax(temperature: 0.5, isHard: true)
        let shares = hard.columnSums().value.scalars.map { $0 / 4000 }
        // Hard samples follow the softmax: e^j / (1 + e + e²).
        for (found, expected) in zip(shares, [0.0900, 0.2447, 0.6652]) { #expect(abs(found - expected) < 0.025) }
        #expect(hard.value.scalars.allSatisfy { $0 == 0 || $0 == 1 })
        checkGradients([randomTensor([3, 4], seed: 8)]) { v in
            v[0].tape.generator = SeededGenerator(seed: 3)
            return v[0].gumbelSoftmax(temperature: 0.8)
        }
        // Hot samples are uniform, cold ones choose.
        #expect(logits.gumbelSoftmax(temperature: 1e6).value.scalars.allSatisfy { abs($0 - 1 / 3.0) < 1e-3 })
        let cold = logits.gumbelSoftmax(temperature: 1e-6).value.scalars
        #expect(cold.count { $0 > 0.999 } > 3990 && cold.count { $0 < 0.001 } > 7990)
        // Noise is drawn anew every time.
        #expect(logits.gumbelSoftmax(temperature: 0.5, isHard: true).value != hard.value)
        // The gradient of a hard sample is that of the soft one.
        func gradient(_ isHard: Bool) -> Tensor<Double> {
            let tape = Tape<Double>(seed: 2)
            let x = tape.variable(randomTensor([2, 3], seed: 9))
            let weights = tape.constant(randomTensor([2, 3], seed: 10))
            tape.backward(from: (x.gumbelSoftmax(temperature: 1.5, isHard: isHard) * weights).sum())
            return x.gradient!
        }
        #expect(gradient(true) == gradient(false))
    }

    // MARK: Moving

    @Test func stackingAndPadding() {
        let (a, b) = (randomTensor([2, 3], seed: 1), randomTensor([2, 3], seed: 2))
        checkGradients([a, b]) { Variable.stacked([$0[0], $0[1], $0[0]]) }
        checkGradients([a]) { $0[0].paddedColumns(before: 2, after: 1, with: 0.5) }
        checkGradients([a]) { $0[0].paddedRows(before: 1, after: 2) }
        #expect(
            Variable.stacked([constant([1, 2]), constant([3, 4])]).value == Tensor([1, 2, 3, 4], shape: [2, 2]))
        let x = constant([1, 2], [1, 2])
        #expect(x.paddedColumns(before: 1, after: 2, with: 9).value.scalars == [9, 1, 2, 9, 9])
        #expect(x.paddedRows(before: 1, with: 7).value == Tensor([7, 7, 1, 2], shape: [2, 2]))
        #expect(x.paddedRows() === x && x.paddedColumns() === x)
    }

    // MARK: Segments

    @Test func segments() {
        let x = randomTensor([6, 2], seed: 3)
        let segments: [Int32] = [2, 0, 2, 2, 0, 3]
        checkGradients([x]) { $0[0].segmentMaxima(segments, count: 5) }
        checkGradients([x]) { $0[0].segmentSoftmax(segments, count: 5) }
        let y = constant([1, 5, 3, 2, 5, 4], [6, 1])
        #expect(y.segmentMaxima(segments, count: 5, empty: -1).value.scalars == [5, -1, 3, 4, -1])
        let soft = y.segmentSoftmax(segments, count: 5).value.scalars
        #expect(abs(soft[0] + soft[2] + soft[3] - 1) < 1e-12 && abs(soft[1] - 0.5) < 1e-12 && soft[5] == 1)
        #expect(abs(soft[2] / soft[0] - 7.38905609893065) < 1e-9)
        // Large scores do not overflow; of equal ones the first has the gradient.
        #expect(constant([1e4, 0], [2, 1]).segmentSoftmax([0, 0], count: 1).value.scalars == [1, 0])
        let tied = tape.variable(Tensor([2, 2, 1], shape: [3, 1]))
        tape.backward(from: tied.segmentMaxima([0, 0, 0], count: 1).sum())
        #expect(tied.gradient!.scalars == [1, 0, 0])
        #expect(constant([], [0, 2]).segmentMaxima([], count: 2, empty: 4).value.scalars == [4, 4, 4, 4])
    }

    @Test func embeddingBags() {
        let table = randomTensor([5, 3], seed: 4)
        let (items, starts): ([Int32], [Int]) = ([4, 0, 4, 1, 2], [0, 2, 2, 5])
        checkGradients([table]) { $0[0].embeddingBags(items, starts: starts) }
        checkGradients([table]) { $0[0].embeddingBags(items, starts: starts, isMean: true) }
        checkGradients([table, randomTensor([5], seed: 5)]) {
            $0[0].embeddingBags(items, starts: starts, weights: $0[1])
        }
        let bags = constant([1, 2, 3, 4, 5], [5, 1])
        #expect(bags.embeddingBags(items, starts: starts).value.scalars == [6, 0, 10, 0])
        #expect(bags.embeddingBags(items, starts: starts, isMean: true).value.scalars[0] == 3)
        #expect(bags.embeddingBags([], starts: [0, 0]).value.scalars == [0, 0])
    }

    // MARK: Losses and norms

    @Test func losses() {
        let (a, b) = (randomTensor([3, 4], seed: 1), randomTensor([3, 4], seed: 2))
        for beta in [0.3, 1, 5] { checkGradients([a, b]) { Loss.smoothL1($0[0], $0[1], beta: beta) } }
        // d = 0.5 below β: 0.125; d = 3 above: 2.5.
        #expect(Loss.smoothL1(constant([0.5, 3]), constant([0, 0])).item == (0.125 + 2.5) / 2)
        #expect(abs(Loss.smoothL1(constant([1]), constant([0]), beta: 2).item - 0.25) < 1e-12)
        let positives = [true, false, true, false, false, false, false, false, false, true, false, false]
        checkGradients([a]) { Loss.multiPositiveContrast($0[0], positives: positives, temperature: 0.6) }
        // One positive a row is the usual cross-entropy of these rows.
        let x = tape.constant(a)
        let single = [0, 1, 2].flatMap { row in (0..<4).map { $0 == (row + 1) % 4 } }
        let expected = Loss.crossEntropy(x.affine(1 / 0.07), labels: [1, 2, 3]).item
        #expect(abs(Loss.multiPositiveContrast(x, positives: single).item - expected) < 1e-12)
        #expect(Loss.multiPositiveContrast(x, positives: Array(repeating: false, count: 12)).item == 0)
        // Rows without a positive say nothing: the first row alone has the same loss.
        let alone = tape.constant(Tensor(Array(a.scalars[..<4]), shape: [1, 4]))
        let first = [true, false, true, false]
        let among = Loss.multiPositiveContrast(x, positives: first + Array(repeating: false, count: 8)).item
        #expect(abs(among - Loss.multiPositiveContrast(alone, positives: first).item) < 1e-12 && among > 0)
    }

    @Test(arguments: [1, 3, 7, 100]) func crossEntropyByRows(rows: Int) {
        let (x, w) = (randomTensor([7, 3], seed: 1), randomTensor([5, 3], seed: 2))
        let labels: [Int32] = [0, -1, 4, 2, -1, -1, 3]
        checkGradients([x, w]) { v in Loss.crossEntropy(of: v[0], labels: labels, rows: rows) { $0.linear(v[1]) } }
        let (hidden, weight) = (tape.constant(x), tape.constant(w))
        let whole = Loss.crossEntropy(hidden.linear(weight), labels: labels).item
        #expect(
            abs(Loss.crossEntropy(of: hidden, labels: labels, rows: rows) { $0.linear(weight) }.item - whole) < 1e-12)
        #expect(Loss.crossEntropy(of: hidden, labels: Array(repeating: -1, count: 7)) { $0 }.item == 0)
    }

    @Test func logitsOfAllRowsAreNeverThere() {
        var generator = SeededGenerator(seed: 2)
        let (x, w) = (Tensor<Float>(normal: [256, 8], using: &generator), Parameter(Tensor<Float>(zeros: [1000, 8])))
        let tape = Tape<Float>()
        let hidden = tape.variable(x)
        let loss = Loss.crossEntropy(of: hidden, labels: (0..<256).map { $0 }, rows: 16) { $0.linear(w.on(tape)) }
        tape.backward(from: loss)
        #expect(abs(loss.item - 6.9077554) < 1e-4)
        #expect(tape.pool.peakBytes < 256 * 1000 * 4 / 3, "\(tape.pool.peakBytes) bytes")
    }

    @Test(arguments: [1, 2, 6]) func groupNorm(groups: Int) {
        let (gain, bias) = (randomTensor([6], seed: 2), randomTensor([6], seed: 3))
        checkGradients([randomTensor([2, 6, 2, 2], seed: 1), gain, bias]) {
            $0[0].groupNormalized(groups: groups, gain: $0[1], bias: $0[2])
        }
        // Against the definition.
        let x = randomTensor([2, 6, 3], seed: 4)
        let y = tape.constant(x).groupNormalized(
            groups: groups, gain: tape.constant(gain), bias: tape.constant(bias), epsilon: 1e-3
        ).value
        let width = 6 / groups
        for n in 0..<2 {
            for group in 0..<groups {
                let places = (group * width..<(group + 1) * width).flatMap { c in (0..<3).map { (c, $0) } }
                let values = places.map { x[n, $0.0, $0.1] }
                let mean = values.reduce(0, +) / Double(values.count)
                let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
                for (c, i) in places {
                    let expected = (x[n, c, i] - mean) / (variance + 1e-3).squareRoot() * gain[c] + bias[c]
                    #expect(abs(y[n, c, i] - expected) < 1e-10)
                }
            }
        }
    }

    /// Boxes that overlap along one axis only, along both, and along none.
    @Test func overlapsOfBoxesApart() {
        let a = Tensor<Double>([0, 0, 2, 2, 0, 0, 2, 2, 0, 0, 2, 2, 5, 1, 7, 2], shape: [4, 4])
        let b = Tensor<Double>([3, 1, 5, 4, 1, 1, 3, 4, 1, 3, 2.5, 5, 1, 4, 2, 6], shape: [4, 4])
        checkGradients([a, b]) { $0[0].generalizedOverlap(with: $0[1]) }
    }
}
