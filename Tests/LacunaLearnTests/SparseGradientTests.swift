import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@Suite struct SparseGradientTests {
    private func mask(_ rows: Int, _ columns: Int, keep: Double, seed: UInt64) -> SparsePattern {
        var generator = SeededGenerator(seed: seed)
        return SparsePattern(rows: rows, columns: columns) { _, _ in generator.uniform() < keep }
    }

    @Test(arguments: [(3, 5, 7, 0.4), (2, 70, 9, 0.1), (1, 4, 66, 0.5), (5, 6, 4, 1.0)])
    func compressedRowsAndGroups(m: Int, n: Int, k: Int, keep: Double) {
        let mask = mask(n, k, keep: keep, seed: 3)
        let pattern = mask
        let x = randomTensor([m, k], seed: 1)
        let values = randomTensor([mask.count], seed: 2)
        let bias = randomTensor([n], seed: 4)
        checkGradients([x, values, bias]) { $0[0].linear(csr: pattern, values: $0[1], bias: $0[2]) }
        let groups = mask
        checkGradients([x, values, bias]) { $0[0].linear(groups: groups, values: $0[1], bias: $0[2]) }
    }

    @Test func blocks() throws {
        let small = mask(3, 4, keep: 0.4, seed: 5)
        let mask = SparsePattern(rows: 6, columns: 12) { small[$0 / 2, $1 / 3] }
        let dense = randomTensor([6, 12], seed: 4)
        let blocks = try CompressedBlocks(dense, mask: mask, blockRows: 2, blockColumns: 3)
        checkGradients([
            randomTensor([5, 12], seed: 1), randomTensor([blocks.count], seed: 2), randomTensor([6], seed: 3),
        ]) { $0[0].linear(blocks: blocks, values: $0[1], bias: $0[2]) }
        // Blocks that do not divide the matrix, and a mask that cuts blocks.
        let weight = Tensor<Float>(zeros: [6, 12])
        #expect(throws: LacunaError.self) { try BlockWeight(weight, mask: mask, blockRows: 4, blockColumns: 3) }
        #expect(throws: LacunaError.self) { try BlockWeight(weight, mask: mask, blockRows: 3, blockColumns: 3) }
    }

    @Test(arguments: [Sliding(), Sliding(padding: 1), Sliding(stride: 2, padding: 1, dilation: 2)])
    func patches(sliding: Sliding) {
        checkGradients([randomTensor([3, 2, 6, 5], seed: 1)]) { $0[0].patches(3, sliding: sliding) }
        // A convolution is a product with patches, and under a mask the product of what the mask keeps.
        let mask = mask(4, 18, keep: 0.5, seed: 3)
        let (csr, groups) = (mask, mask)
        let (x, values) = (randomTensor([2, 2, 6, 5], seed: 1), randomTensor([mask.count], seed: 2))
        checkGradients([x, values]) { $0[0].patches(3, sliding: sliding).linear(csr: csr, values: $0[1]) }
        checkGradients([x, values]) { $0[0].patches(3, sliding: sliding).linear(groups: groups, values: $0[1]) }
    }

    /// A convolution in every storage computes what the dense one with the same zeros computes, gradients included.
    @Test(arguments: ["masked", "csr", "bitmask", "bsr4x6"]) func sparseConvolutions(storage: String) throws {
        var generator = SeededGenerator(seed: 5)
        let sliding = Sliding(stride: 2, padding: 1)
        let sparse = SparseConv2d(
            inputChannels: 2, outputChannels: 8, kernelSize: 3, sliding: sliding, using: &generator)
        let dense = Conv2d(inputChannels: 2, outputChannels: 8, kernelSize: 3, sliding: sliding, using: &generator)
        let small = mask(2, 3, keep: 0.6, seed: 6)
        let mask = SparsePattern(rows: 8, columns: 18) { small[$0 / 4, $1 / 6] }
        dense.weight.value = mask.applied(to: sparse.product.weight.densified()).reshaped([8, 2, 3, 3])
        try sparse.product.sparsify(.trainable(storage), mask: mask)
        #expect(sparse.linears.map(\.name) == [""] && sparse.inputChannels == 2)
        let x = Tensor<Float>(normal: [3, 2, 7, 6], using: &generator)
        let dy = Tensor<Float>(normal: [3, 8, 4, 3], using: &generator)
        func run(_ layer: any UnaryLayer) -> (Tensor<Float>, Tensor<Float>) {
            let tape = Tape<Float>()
            let input = tape.variable(x)
            let y = layer(input)
            tape.backward(from: (y * tape.constant(dy)).sum())
            return (y.value, input.gradient!)
        }
        let (a, b) = (run(sparse), run(dense))
        #expect(a.0.shape == [3, 8, 4, 3] && close(a.0, b.0, 1e-5) && close(a.1, b.1, 1e-5))
        #expect(close(sparse.product.bias!.gradient!, dense.bias!.gradient!, 1e-4))
        SGD(learningRate: 0.1).step(sparse.parameters + dense.parameters)
        let kept = mask.applied(to: dense.weight.value.reshaped([8, 18]))
        #expect(close(sparse.product.weight.densified(), kept, 1e-4))
    }

    @Test(arguments: [0, 2]) func lowRankAndSparse(rank: Int) {
        let (inputs, outputs) = (7, 5)
        var generator = SeededGenerator(seed: 1)
        let support = sampledPlaces(9, of: inputs * outputs, using: &generator)
        var tensors = [
            randomTensor([4, inputs], seed: 1), randomTensor([9], seed: 4), randomTensor([outputs], seed: 5),
        ]
        if rank > 0 {
            tensors += [randomTensor([rank, inputs], seed: 2), randomTensor([outputs, rank], seed: 3)]
        }
        checkGradients(tensors) { v in
            let tape = v[0].tape
            return v[0].linear(
                lowRank: rank > 0 ? v[3] : tape.constant(Tensor(zeros: [0, inputs])),
                rank > 0 ? v[4] : tape.constant(Tensor(zeros: [outputs, 0])), scale: 0.7, values: v[1],
                support: support, bias: v[2])
        }
    }

    /// Every storage computes what the dense layer with the same zeros computes, and its gradient is the dense one's.
    @Test(arguments: ["masked", "csr", "bitmask", "bsr4x8"]) func storagesAgreeWithDense(storage: String) throws {
        var generator = SeededGenerator(seed: 8)
        let layer = Linear(inputDimensions: 64, outputDimensions: 48, using: &generator)
        let small = mask(12, 8, keep: 0.4, seed: 6)
        let mask = SparsePattern(rows: 48, columns: 64) { small[$0 / 4, $1 / 8] }
        let reference = Linear(weight: DenseWeight(mask.applied(to: layer.weight.densified())), bias: layer.bias!.value)
        let sparse = try layer.sparsified(.trainable(storage), mask: mask)
        #expect(sparse.weight.densified() == reference.weight.densified())
        #expect(sparse.weight.activeCount == mask.count && sparse.weight.multiplyAdds == mask.count)
        let x = Tensor<Float>(normal: [19, 64], using: &generator)
        let dy = Tensor<Float>(normal: [19, 48], using: &generator)
        func run(_ layer: Linear) -> (Tensor<Float>, Tensor<Float>) {
            let tape = Tape<Float>()
            let input = tape.variable(x)
            let y = layer(input)
            tape.backward(from: (y * tape.constant(dy)).sum())
            return (y.value, input.gradient!)
        }
        let (y, dx) = run(sparse)
        let (expected, expectedInput) = run(reference)
        #expect(close(y, expected) && close(dx, expectedInput))
        #expect(close(sparse.bias!.gradient!, reference.bias!.gradient!))
        // One step of plain descent: the dense matrices must agree again where entries are kept.
        let parameters = sparse.parameters + reference.parameters
        SGD(learningRate: 0.1).step(parameters)
        #expect(close(sparse.weight.densified(), mask.applied(to: reference.weight.densified())))
        #expect(throws: LacunaError.self) {
            try layer.sparsify(.trainable(storage), mask: SparsePattern(rows: 2, columns: 2))
        }
    }

    @Test func lowRankSparseLayerIsItsMatrix() {
        var generator = SeededGenerator(seed: 2)
        let weight = LowRankSparseWeight(
            outputs: 20, inputs: 30, rank: 3, alpha: 6, density: 0.05, using: &generator)
        #expect(weight.support.count == 30 && Set(weight.support).count == 30 && weight.scale == 2)
        for i in 0..<weight.b.count { weight.b.buffer.pointer[i] = Float(generator.normal()) }
        let layer = Linear(weight: weight)
        let tape = Tape<Float>()
        let x = Tensor<Float>(normal: [7, 30], using: &generator)
        let y = layer(tape.constant(x))
        #expect(close(y.value, x.multiplied(by: weight.densified(), otherTransposed: true), 1e-4))
        #expect(weight.byteCount == 4 * (3 * 30 + 20 * 3 + 30 + 30))
    }

    /// Both ways to multiply give the same, forward and backward; one does what the stored numbers need.
    @Test(arguments: [(3, 0.05), (0, 0.2), (4, 0)]) func lowRankSparseProductsAgree(rank: Int, density: Double) {
        func run(_ product: LowRankSparseWeight.Product) -> (values: [Tensor<Float>], work: Int) {
            var generator = SeededGenerator(seed: 6)
            let weight = LowRankSparseWeight(
                outputs: 20, inputs: 30, rank: rank, alpha: 6, density: density, product: product, using: &generator)
            for i in 0..<weight.b.count { weight.b.buffer.pointer[i] = Float(generator.normal()) }
            let tape = Tape<Float>()
            let x = tape.variable(Tensor(normal: [7, 30], using: &generator))
            let bias = tape.variable(Tensor(normal: [20], using: &generator))
            let y = weight.apply(x, bias: bias)
            tape.backward(from: y.map(.square).sum())
            let gradients = [weight.a, weight.b, weight.values].map { $0.gradient ?? Tensor(zeros: $0.shape) }
            return ([y.value, x.gradient!, bias.gradient!] + gradients, tape.multiplyAdds)
        }
        let (factored, whole) = (run(.factored), run(.materialized))
        for (a, b) in zip(factored.values, whole.values) { #expect(close(a, b, 1e-2)) }
        #expect(factored.work == 3 * 7 * (rank * 50 + Int(density * 600)))
    }

    /// Memory of a layer at 90 %: values, gradient and both moments of Adam, and the pattern, against the dense layer's.
    @Test func memoryFollowsWhatIsStored() throws {
        var generator = SeededGenerator(seed: 4)
        let dense = Linear(inputDimensions: 512, outputDimensions: 512, bias: false, using: &generator)
        let sparse = try dense.sparsified(.csr, mask: mask(512, 512, keep: 0.1, seed: 1))
        func bytes(_ layer: Linear) -> Int {
            let tape = Tape<Float>()
            let x = tape.constant(Tensor(normal: [8, 512], using: &generator))
            tape.backward(from: layer(x).sum())
            Adam().step(layer.parameters)
            return layer.parameters.reduce(0) { $0 + $1.byteCount } + layer.weight.byteCount
                - layer.parameters.reduce(0) { $0 + $1.buffer.byteCount }
        }
        let ratio = Double(bytes(sparse)) / Double(bytes(dense))
        #expect(ratio > 0.1 && ratio < 0.13)
    }

    @Test func movedPatternsKeepStateAligned() throws {
        var generator = SeededGenerator(seed: 4)
        let first = mask(13, 70, keep: 0.3, seed: 1)
        let second = mask(13, 70, keep: 0.3, seed: 2)
        let dense = Tensor<Float>(normal: [13, 70], using: &generator)
        let csr = CSRWeight(dense, mask: first)
        let bits = BitmaskWeight(dense, mask: first)
        // State that tells where it belongs: the moments are functions of the value.
        for parameter in [csr.values, bits.values] {
            let (m, v) = (parameter.slot("first"), parameter.slot("second"))
            for i in 0..<parameter.count {
                (m[i], v[i]) = (2 * parameter.buffer.pointer[i], 3 * parameter.buffer.pointer[i])
            }
        }
        csr.move(to: second) { Float($0 * 100 + $1) }
        bits.move(to: second)
        let both = first.intersection(second)
        for (weight, values) in [(csr as any TrainableWeight, csr.values), (bits, bits.values)] {
            let now = weight.densified()
            #expect(values.count == second.count)
            var places: [(r: Int, c: Int)] = []
            if weight is CSRWeight {
                for r in 0..<13 { for c in 0..<70 where second[r, c] { places.append((r, c)) } }
            } else {
                CompressedGroups<Float>.forEachEntry(of: bits.pattern) { places.append(($1, $2)) }
            }
            for (place, (r, c)) in places.enumerated() {
                let isOld = both[r, c]
                let start: Float = weight is CSRWeight ? Float(r * 100 + c) : 0
                #expect(now[r, c] == (isOld ? dense[r, c] : start))
                #expect(values.slots["first"]!.pointer[place] == (isOld ? 2 * dense[r, c] : 0))
                #expect(values.slots["second"]!.pointer[place] == (isOld ? 3 * dense[r, c] : 0))
            }
        }
        csr.move(to: second)
        #expect(csr.densified()[0, 0] == csr.densified()[0, 0] && csr.pattern == second)
    }

    /// A graph that stays: products with a rectangular matrix that is not its own transpose, rows without entries among them.
    @Test func matricesThatStay() throws {
        let mask = mask(7, 5, keep: 0.3, seed: 2)
        let a = try SparseMatrix(randomTensor([7, 5], seed: 12), at: mask)
        let x = randomTensor([5, 3], seed: 8)
        checkGradients([x]) { $0[0].multiplied(fromLeft: a) }
        let tape = Tape<Double>()
        let expected = a.densified().multiplied(by: x)
        let found = tape.constant(x).multiplied(fromLeft: a)
        #expect(found.shape == [7, 3])
        #expect(zip(found.value.scalars, expected.scalars).allSatisfy { abs($0 - $1) < 1e-12 })
        #expect(tape.multiplyAdds == a.count * 3)
    }

    @Test func denseGradientOfASparseWeight() {
        var generator = SeededGenerator(seed: 4)
        let mask = mask(6, 5, keep: 0.3, seed: 1)
        let weight = CSRWeight(Tensor(normal: [6, 5], using: &generator), mask: mask)
        weight.wantsDenseGradient = true
        let x = Tensor<Float>(normal: [4, 5], using: &generator)
        let tape = Tape<Float>()
        for _ in 0..<2 { tape.backward(from: weight.apply(tape.constant(x), bias: nil).sum()) }
        let ones = Tensor<Float>(repeating: 2, shape: [4, 6])
        #expect(close(weight.denseGradient!, ones.multiplied(by: x, transposed: true)))
        let stored = SparseMatrix<Float>(weight.pattern, buffer: Buffer(weight.values.gradient!.scalars)).densified()
        #expect(close(stored, mask.applied(to: weight.denseGradient!)))
        weight.clearDenseGradient()
        #expect(weight.denseGradient == nil)
    }

    @Test func sampledPlacesAreASet() {
        var generator = SeededGenerator(seed: 4)
        #expect(
            sampledPlaces(0, of: 5, using: &generator) == []
                && sampledPlaces(5, of: 5, using: &generator) == [0, 1, 2, 3, 4])
        var hits = [Int](repeating: 0, count: 10)
        for _ in 0..<4000 { for place in sampledPlaces(3, of: 10, using: &generator) { hits[Int(place)] += 1 } }
        #expect(hits.allSatisfy { abs($0 - 1200) < 150 })
    }
}
