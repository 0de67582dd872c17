import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

/// Depthwise convolutions whose kernels are a linear layer's weight, and parameters that lose slices.
@Suite struct DepthwiseAndSlicesTests {
    private func normal(_ shape: [Int], _ seed: UInt64) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        return Tensor(normal: shape, using: &generator)
    }

    /// As a grouped convolution computes it: output, gradients of kernels, biases and images; dense, masked, and stored as rows, which
    /// takes another way.
    @Test(arguments: ["dense", "masked", "csr"]) func isAConvolutionInGroups(storage: String) throws {
        var generator = SeededGenerator(seed: 1)
        let sliding = Sliding(stride: 2, padding: 2, dilation: 2)
        let layer = DepthwiseConv2d(channels: 3, kernelSize: 3, sliding: sliding, using: &generator)
        let grouped = Conv2d(
            inputChannels: 3, outputChannels: 3, kernelSize: 3, sliding: sliding, groups: 3, using: &generator)
        let mask = SparsePattern(rows: 3, columns: 9) { ($0 + $1) % 3 != 0 }
        if storage != "dense" {
            try layer.product.sparsify(storage == "csr" ? .csr : .masked, mask: mask)
        }
        layer.product.bias!.value = Tensor([0.5, -1, 2])
        grouped.weight.value = layer.product.weight.densified().reshaped([3, 1, 3, 3])
        grouped.bias!.value = layer.product.bias!.value
        let (x, c) = (normal([2, 3, 7, 6], 2), normal([2, 3, 4, 3], 3))
        let tape = Tape<Float>()
        func pass(_ layer: any UnaryLayer) -> (Tensor<Float>, Tensor<Float>) {
            let image = tape.variable(x)
            let y = layer(image)
            let value = y.value
            tape.backward(from: (y * tape.constant(c)).sum())
            return (value, image.gradient!)
        }
        func near(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Bool {
            a.shape == b.shape && zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) < 1e-4 }
        }
        let (a, b) = (pass(layer), pass(grouped))
        #expect(near(a.0, b.0) && near(a.1, b.1))
        #expect(near(layer.product.bias!.gradient!, grouped.bias!.gradient!))
        let whole = grouped.weight.gradient!.reshaped([3, 9])
        if let csr = layer.product.weight as? CSRWeight {
            let kept = (0..<3).flatMap { r in csr.pattern.keptColumns(row: r).map { whole[r, $0] } }
            #expect(near(csr.values.gradient!, Tensor(kept)))
        } else {
            #expect(near(layer.product.dense!.parameter.gradient!, whole))
        }
        let cost = tape.recordingCosts { _ = layer(tape.constant(x)) }
        #expect(cost.map(\.dense) == [24 * 27] && cost.map(\.active) == [24 * (storage == "dense" ? 27 : 18)])
    }

    /// Values, gradient, moments and mask of what stays go on as if the rest had never been.
    @Test func slicesTakeTheirStateAlong() {
        func trained(_ rows: [Int]?, _ columns: [Int]?) -> Parameter<Float> {
            func cut(_ x: Tensor<Float>) -> Tensor<Float> {
                let some = rows.map { x.selectingRows($0) } ?? x
                return columns.map { some.transposed().selectingRows($0).transposed() } ?? some
            }
            let whole = normal([4, 5], 1)
            let parameter = Parameter(cut(whole))
            parameter.setMask(cut(whole.map { $0 > -1 ? 1 : 0 }))
            let adam = Adam(learningRate: 0.1)
            let tape = Tape<Float>()
            for step in 0..<6 {
                let scale = cut(normal([4, 5], 10 + UInt64(step)))
                parameter.clearGradient()
                tape.backward(from: (parameter.on(tape).map(.square) * tape.constant(scale)).sum())
                adam.step([parameter])
            }
            return parameter
        }
        for (rows, columns): ([Int]?, [Int]?) in [([3, 1], nil), (nil, [0, 4, 2]), ([2, 0], [3, 1])] {
            let (whole, part) = (trained(nil, nil), trained(rows, columns))
            if let rows { whole.keep(rows, along: 0) }
            if let columns { whole.keep(columns, along: 1) }
            #expect(whole.value == part.value && whole.gradient == part.gradient)
            #expect(whole.shape == part.shape && whole.activeCount == part.activeCount)
            #expect(Set(whole.slots.keys) == ["first", "second"])
            for (name, slot) in part.slots { #expect(Array(whole.slots[name]!.elements) == Array(slot.elements)) }
        }
        let cube = Parameter(Tensor<Float>((0..<24).map { Float($0) }, shape: [2, 3, 4]))
        cube.keep([2, 0], along: 1)
        #expect(cube.value.scalars == [8, 9, 10, 11, 0, 1, 2, 3, 20, 21, 22, 23, 12, 13, 14, 15])
    }
}
