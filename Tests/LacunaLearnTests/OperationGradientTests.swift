import LacunaLearn
import LacunaTensor
import Testing

@Suite struct OperationGradientTests {
    @Test(arguments: Activation.allCases) func activations(activation: Activation) {
        let positive = activation == .logarithm || activation == .squareRoot || activation == .reciprocal
        checkGradients([randomTensor([3, 7], seed: 1, positive: positive)]) { $0[0].map(activation) }
    }

    @Test func elementwise() {
        let (a, b) = (randomTensor([4, 5], seed: 1), randomTensor([4, 5], seed: 2))
        checkGradients([a, b]) { $0[0] + $0[1] }
        checkGradients([a, b]) { $0[0] - $0[1] }
        checkGradients([a, b]) { $0[0] * $0[1] }
        checkGradients([a, b]) { $0[0] / $0[1] }
        checkGradients([a]) { -$0[0] }
        checkGradients([a]) { $0[0].affine(-0.7, 0.3) }
        checkGradients([a]) { $0[0] * $0[0] }
        checkGradients([a]) { $0[0].clamped(to: -0.55...0.75) }
        checkGradients([a, b]) { $0[0].swiglu($0[1]) }
        let constant = randomTensor([4, 5], seed: 3)
        checkGradients([a]) { $0[0].swiglu($0[0].tape.constant(constant)) }
        checkGradients([a]) { $0[0].tape.constant(constant).swiglu($0[0]) }
    }

    @Test(arguments: [(1, 1, 1), (3, 4, 5), (7, 2, 9)]) func matrixProducts(m: Int, n: Int, k: Int) {
        let x = randomTensor([m, k], seed: 1)
        checkGradients([x, randomTensor([k, n], seed: 2)]) { $0[0].multiplied(by: $0[1]) }
        checkGradients([x, randomTensor([n, k], seed: 2)]) { $0[0].multiplied(by: $0[1], otherTransposed: true) }
        checkGradients([x, randomTensor([n, k], seed: 2), randomTensor([n], seed: 3)]) {
            $0[0].linear($0[1], bias: $0[2])
        }
        checkGradients([randomTensor([2, m, k], seed: 4), randomTensor([n, k], seed: 2)]) { $0[0].linear($0[1]) }
        checkGradients([randomTensor([3, m, k], seed: 5), randomTensor([3, k, n], seed: 6)]) {
            $0[0].batchMultiplied(by: $0[1])
        }
        checkGradients([randomTensor([3, m, k], seed: 5), randomTensor([3, n, k], seed: 6)]) {
            $0[0].batchMultiplied(by: $0[1], otherTransposed: true)
        }
    }

    /// Forward through one weight, backward through another: the rule of training with two sparse copies.
    @Test func linearWithABackwardWeight() {
        let (x, w, v) = (randomTensor([3, 4], seed: 1), randomTensor([5, 4], seed: 2), randomTensor([5, 4], seed: 3))
        let tape = Tape<Double>()
        let (a, b) = (tape.variable(x), tape.variable(w))
        let dy = randomTensor([3, 5], seed: 4)
        let y = a.linear(b, backward: tape.constant(v))
        #expect(y.value == x.multiplied(by: w, otherTransposed: true))
        tape.backward(from: (y * tape.constant(dy)).sum())
        #expect(close(a.gradient!, dy.multiplied(by: v)))
        #expect(close(b.gradient!, dy.multiplied(by: x, transposed: true)))
    }

    @Test func rowsAndColumns() {
        let x = randomTensor([4, 6], seed: 1)
        checkGradients([x, randomTensor([6], seed: 2)]) { $0[0].addingRow($0[1]) }
        checkGradients([x, randomTensor([6], seed: 2)]) { $0[0].multipliedByRow($0[1]) }
        checkGradients([x, randomTensor([4], seed: 2)]) { $0[0].multipliedByColumn($0[1]) }
        checkGradients([x]) { $0[0].sum() }
        checkGradients([x]) { $0[0].mean() }
        checkGradients([x]) { $0[0].rowSums() }
        checkGradients([x]) { $0[0].rowMeans() }
        checkGradients([x]) { $0[0].columnSums() }
        checkGradients([x]) { $0[0].rowMaxima() }
        checkGradients([x]) { $0[0].rowNormalized() }
        checkGradients([x]) { $0[0].softmax() }
        checkGradients([x]) { $0[0].logSoftmax() }
    }

    @Test func normalization() {
        let (gain, bias) = (randomTensor([6], seed: 2), randomTensor([6], seed: 3))
        checkGradients([randomTensor([4, 6], seed: 1), gain, bias]) { $0[0].layerNormalized(gain: $0[1], bias: $0[2]) }
        checkGradients([randomTensor([4, 6], seed: 1), gain]) { $0[0].rmsNormalized(gain: $0[1]) }
        for shape in [[5, 6], [3, 6, 2, 2]] {
            let x = randomTensor(shape, seed: 4)
            checkGradients([x, gain, bias]) { $0[0].batchNormalized(gain: $0[1], bias: $0[2]).output }
            checkGradients([x, gain, bias]) {
                $0[0].batchNormalized(
                    gain: $0[1], bias: $0[2],
                    statistics: ([0.1, 0.2, -0.3, 0, 0.4, 1], [1, 2, 0.5, 1, 1.5, 0.7])
                ).output
            }
        }
    }

    @Test(arguments: [
        (1, Sliding()), (2, Sliding(stride: 2, padding: 1)), (1, Sliding(stride: 1, padding: 2, dilation: 2)),
        (4, Sliding(stride: 1, padding: 1)), (4, Sliding(stride: 2, padding: 1)),
    ])
    func convolution(groups: Int, sliding: Sliding) {
        let x = randomTensor([3, 4, 6, 5], seed: 1)
        for outputs in groups == 4 ? [4, 8] : [6] {
            let kernel = randomTensor([outputs, 4 / groups, 3, 2], seed: 2)
            checkGradients([x, kernel, randomTensor([outputs], seed: 3)]) {
                $0[0].convolved($0[1], bias: $0[2], sliding: sliding, groups: groups)
            }
        }
    }

    @Test func pointwiseConvolutionAndPooling() {
        let x = randomTensor([2, 4, 4, 5], seed: 1)
        checkGradients([x, randomTensor([3, 4, 1, 1], seed: 2)]) { $0[0].convolved($0[1]) }
        checkGradients([x, randomTensor([6, 2, 1, 1], seed: 2)]) { $0[0].convolved($0[1], groups: 2) }
        checkGradients([x]) { $0[0].maxPooled(2) }
        checkGradients([x]) { $0[0].maxPooled(3, stride: 1, padding: 1) }
        checkGradients([x]) { $0[0].averagePooled(2) }
        checkGradients([x]) { $0[0].averagePooled(3, stride: 2, padding: 1) }
        checkGradients([x]) { $0[0].globalAveragePooled() }
    }

    @Test func moving() {
        let x = randomTensor([4, 3, 2, 5], seed: 1)
        checkGradients([x]) { $0[0].reshaped([6, 20]) }
        checkGradients([x]) { $0[0].flattened() }
        checkGradients([x]) { $0[0].permuted([2, 0, 3, 1]) }
        checkGradients([x]) { $0[0].sliced(columns: 1..<4) }
        checkGradients([x]) { $0[0].sliced(rows: 1..<3) }
        let m = randomTensor([5, 4], seed: 2)
        checkGradients([m]) { $0[0].transposed() }
        checkGradients([m, randomTensor([5, 2], seed: 3)]) { Variable.concatenated(columns: [$0[0], $0[1], $0[0]]) }
        checkGradients([m, randomTensor([3, 4], seed: 3)]) { Variable.concatenated(rows: [$0[1], $0[0]]) }
        checkGradients([m]) { $0[0].gathered([3, 0, 3, 3, 4, 1, 2]) }
        checkGradients([m]) { $0[0].scattered([1, 0, 1, 3, 3], into: 4) }
        checkGradients([m]) { $0[0].topK(2) }
        checkGradients([m]) { $0[0].topK(2, byMagnitude: true) }
    }

    @Test func permutationsMoveTheRightNumbers() {
        let tape = Tape<Double>()
        let x = Tensor<Double>((0..<24).map(Double.init), shape: [2, 3, 4])
        let y = tape.constant(x).permuted([2, 0, 1]).value
        for i in 0..<2 { for j in 0..<3 { for k in 0..<4 { #expect(y[k, i, j] == x[i, j, k]) } } }
        #expect(tape.constant(x).sliced(rows: 1..<2).value.scalars == (12..<24).map(Double.init))
        #expect(tape.constant(x).sliced(columns: 3..<4).value.scalars == [3, 7, 11, 15, 19, 23])
    }

    @Test func straightThroughAndTopKGradients() {
        let x = Tensor<Double>([3, -5, 1, 2, 0.5, -4], shape: [2, 3])
        let ones = Tensor<Double>(repeating: 1, shape: [2, 3])
        for (gradient, expected) in [
            (SelectionGradient.selected, [1.0, 0, 0, 1, 0, 0]), (.straightThrough, [1, 1, 1, 1, 1, 1]),
        ] {
            let tape = Tape<Double>()
            let v = tape.variable(x)
            let y = v.topK(1, gradient: gradient)
            #expect(y.value.scalars == [3, 0, 0, 2, 0, 0])
            tape.backward(from: y.sum())
            #expect(v.gradient!.scalars == expected)
        }
        let tape = Tape<Double>()
        let v = tape.variable(x)
        #expect(v.topK(1, byMagnitude: true).value.scalars == [0, -5, 0, 0, 0, -4])
        let y = v.straightThrough(ones)
        #expect(y.value == ones)
        tape.backward(from: (y * y).sum())
        #expect(v.gradient!.scalars == [2, 2, 2, 2, 2, 2])
    }

    @Test func rotation() {
        let x = randomTensor([5, 14], seed: 1)
        checkGradients([x]) { $0[0].rotated(positions: [0, 1, 2, 0, 7], heads: 3, dimensions: 4) }
        let tape = Tape<Double>()
        let y = tape.constant(x).rotated(positions: [0, 1, 2, 0, 7], heads: 3, dimensions: 4).value
        // Position 0 changes nothing, columns behind the heads never change, and lengths of pairs are kept.
        #expect(close(y.rows(0..<1), x.rows(0..<1)) && close(y.rows(3..<4), x.rows(3..<4)))
        #expect(y[4, 12] == x[4, 12] && y[4, 13] == x[4, 13])
        #expect(abs(y[4, 0] * y[4, 0] + y[4, 2] * y[4, 2] - x[4, 0] * x[4, 0] - x[4, 2] * x[4, 2]) < 1e-12)
        #expect(abs(y[2, 5] - (x[2, 5] * cosine(2 * 0.01) - x[2, 7] * sine(2 * 0.01))) < 1e-12)
    }

    @Test func losses() {
        let logits = randomTensor([5, 4], seed: 1)
        checkGradients([logits]) { Loss.crossEntropy($0[0], labels: [0, 3, -1, 2, 2]) }
        checkGradients([logits, randomTensor([5, 4], seed: 2)]) { Loss.meanSquaredError($0[0], $0[1]) }
        let teacher = randomTensor([5, 4], seed: 3)
        checkGradients([logits]) {
            Loss.distillation(student: $0[0], teacher: $0[0].tape.constant(teacher), temperature: 2)
        }
        var generator = SeededGenerator(seed: 4)
        let targets = Tensor<Double>(uniform: [5, 4], using: &generator)
        checkGradients([logits]) { Loss.binaryCrossEntropy($0[0], $0[0].tape.constant(targets)) }
        checkGradients([logits, randomTensor([5, 4], seed: 5)]) {
            Loss.infoNCE(queries: $0[0], keys: $0[1], temperature: 0.5)
        }
        checkGradients([logits, randomTensor([5, 4], seed: 6), randomTensor([5, 4], seed: 7)]) {
            Loss.tripletLoss(anchors: $0[0], positives: $0[1], negatives: $0[2], margin: 0.9)
        }
    }

    @Test func lossValues() {
        let tape = Tape<Double>()
        let logits = tape.variable(Tensor<Double>([0, 0, 2, 0], shape: [2, 2]))
        #expect(abs(Loss.crossEntropy(logits, labels: [1, -1]).item - logarithm(2)) < 1e-12)
        #expect(abs(Loss.crossEntropy(logits, labels: [-1, 0]).item - logarithm(1 + exponential(-2))) < 1e-12)
        #expect(Loss.crossEntropy(logits, labels: [-1, -1]).item == 0)
        #expect(abs(Loss.distillation(student: logits, teacher: logits, temperature: 3).item) < 1e-12)
        // p = (3/4, 1/4) of the teacher at temperature 2, q = (1/2, 1/2): T² KL(p | q), the mean over the two rows.
        let taught = tape.constant(Tensor<Double>([2 * logarithm(3), 0, 0, 0], shape: [2, 2]))
        let flat = tape.variable(Tensor<Double>([1, 1, 0, 0], shape: [2, 2]))
        let divergence = 0.75 * logarithm(1.5) - 0.25 * logarithm(2)
        let distilled = Loss.distillation(student: flat, teacher: taught, temperature: 2).item
        #expect(abs(distilled - 4 * divergence / 2) < 1e-12)
        let zero = tape.constant(Tensor<Double>(zeros: [3, 2]))
        #expect(Loss.tripletLoss(anchors: zero, positives: zero, negatives: zero, margin: 0.4).item == 0.4)
        #expect(abs(Loss.binaryCrossEntropy(zero, zero).item - logarithm(2)) < 1e-12)
    }

    /// Small numbers by hand, of both signs and of several rows.
    @Test func lossesOfPairs() {
        let tape = Tape<Double>()
        func rows(_ values: [Double], _ columns: Int = 2) -> Variable<Double> {
            tape.constant(Tensor(values, shape: [values.count / columns, columns]))
        }
        // (2² + 3²) / 2
        #expect(Loss.meanSquaredError(rows([1, 2]), rows([3, 5])).item == 6.5)
        // Squared distances 1 and 9, then 4 and 1: 1 - 9 + 9 and 4 - 1 + 9, of which the mean is taken.
        let (anchors, near, far) = (rows([0, 0, 1, 1]), rows([1, 0, 1, 3]), rows([0, 3, 2, 1]))
        let triplets = Loss.tripletLoss(anchors: anchors, positives: near, negatives: far, margin: 9)
        #expect(abs(triplets.item - 6.5) < 1e-12)
        // By a margin of 1 the first is far enough: 0 and 4 - 1 + 1.
        #expect(abs(Loss.tripletLoss(anchors: anchors, positives: near, negatives: far).item - 2) < 1e-12)
        // softplus(1) - 1 and softplus(-2) + 2 · 0.25
        let binary = Loss.binaryCrossEntropy(rows([1, -2]), rows([1, 0.25])).item
        let (sure, unsure) = (logarithm(1 + exponential(-1)), logarithm(1 + exponential(-2)) + 0.5)
        #expect(abs(binary - (sure + unsure) / 2) < 1e-12)
        // Orthogonal pairs, whatever their lengths: cosines 1 and 0.
        let pairs = rows([3, 0, 0, 5])
        let contrast = Loss.infoNCE(queries: pairs, keys: pairs, temperature: 0.5).item
        #expect(abs(contrast - logarithm(1 + exponential(-2))) < 1e-9)
        let crossed = Loss.infoNCE(queries: pairs, keys: rows([0, 2, 7, 0])).item
        #expect(abs(crossed - logarithm(1 + exponential(1 / 0.07))) < 1e-7)
        // (4 + 16) / 25, and of the second row alone 1 / 4.
        let (student, teacher) = (rows([1, 0, 1, 0]), rows([3, 4, 2, 0]))
        let distance = Loss.featureDistance(student: rows([1, 0]), teacher: rows([3, 4])).item
        #expect(abs(distance - 0.8) < 1e-12)
        let second = Loss.featureDistance(student: student, teacher: teacher, rows: [1]).item
        #expect(abs(second - 0.25) < 1e-12)
    }
}

func close(_ a: Tensor<Double>, _ b: Tensor<Double>, _ tolerance: Double = 1e-10) -> Bool {
    a.shape == b.shape && zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) <= tolerance * max(1, abs($0)) }
}

func close(_ a: Tensor<Float>, _ b: Tensor<Float>, _ tolerance: Float = 1e-5) -> Bool {
    a.shape == b.shape && zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) <= tolerance * max(1, abs($0)) }
}
