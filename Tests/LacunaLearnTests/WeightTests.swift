import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

/// Weights that are not trained, and what is trained beside them.
@Suite struct WeightTests {
    static let formats: [(StorageLayout, ValueType)] = [
        (.dense, .f32), (.dense, .bf16), (.dense, .int8), (.dense, .int4), (.bitmask, .f32), (.bitmask, .int8),
        (.csr, .f32), (.nm(n: 2, m: 4), .f32), (.bsr(rows: 16, columns: 16), .f32),
    ]

    private func stored(
        _ layout: StorageLayout, _ values: ValueType, rows: Int = 48, columns: Int = 64
    ) throws -> any StoredMatrix {
        var generator = SeededGenerator(seed: 1)
        let weight = Tensor<Float>(normal: [rows, columns], using: &generator)
        let mask: SparsePattern? =
            switch layout.base {
            case is DenseLayout: nil
            case is NMLayout: SparsePattern(rows: rows, columns: columns) { ($1 + $0) % 4 < 2 }
            case is BSRLayout: SparsePattern(rows: rows, columns: columns) { ($0 / 16 + $1 / 16) % 2 == 0 }
            default: SparsePattern(rows: rows, columns: columns) { ($0 * 7 + $1 * 3) % 5 < 2 }
            }
        return try WeightStore.make(weight, mask: mask, layout: layout, values: values)
    }

    /// On a tape that rounds to bf16, results and gradients of products are those of rounded operands, and accumulate as others do.
    @Test func productsOfATapeInBF16() throws {
        func rounded(_ tensor: Tensor<Float>) -> Tensor<Float> {
            Tensor(tensor.scalars.map { BFloat16($0).float }, shape: tensor.shape)
        }
        func isNear(_ a: Tensor<Float>?, _ b: Tensor<Float>) -> Bool {
            zip(a!.scalars, b.scalars).allSatisfy { abs($0 - $1) < 1e-3 }
        }
        var generator = SeededGenerator(seed: 9)
        let x = Tensor<Float>(normal: [21, 40], using: &generator)
        let weight = Tensor<Float>(normal: [33, 40], using: &generator)
        let dy = Tensor<Float>(normal: [21, 33], using: &generator)
        let y = rounded(x).multiplied(by: rounded(weight), otherTransposed: true)
        let dx = rounded(dy).multiplied(by: rounded(weight))
        let dw = rounded(dy).multiplied(by: rounded(x), transposed: true)
        #expect(!isNear(x.multiplied(by: weight, otherTransposed: true), y))
        for form in 0..<3 {
            let tape = Tape<Float>()
            tape.precision = .bf16
            let (input, parameter) = (tape.variable(x), DenseWeight(weight))
            let frozen = FrozenWeight(try WeightStore.make(weight, layout: .dense, values: .f32))
            func product() -> Variable<Float> {
                switch form {
                case 0: parameter.apply(input, bias: nil)
                case 1: input.multiplied(by: parameter.parameter.on(tape), otherTransposed: true)
                default: frozen.apply(input, bias: nil)
                }
            }
            let (first, second) = (product(), product())
            #expect(isNear(first.value, y))
            tape.backward(from: (first * tape.constant(dy)).sum() + (second * tape.constant(dy)).sum())
            #expect(isNear(input.gradient, dx * 2))
            if form < 2 { #expect(isNear(parameter.parameter.gradient, dw * 2)) }
        }
    }

    /// Forward by the store's product, backward by the decoded matrix.
    @Test(arguments: formats) func frozenWeights(layout: StorageLayout, values: ValueType) throws {
        let matrix = try stored(layout, values)
        let frozen = FrozenWeight(matrix)
        let dense = matrix.densified()
        var generator = SeededGenerator(seed: 2)
        for rows in [1, 7] {
            let x = Tensor<Float>(normal: [rows, 64], using: &generator)
            let dy = Tensor<Float>(normal: [rows, 48], using: &generator)
            let bias = Parameter(Tensor<Float>(normal: [48], using: &generator))
            let tape = Tape<Float>()
            let input = tape.variable(x)
            // Twice, so that the second gradient is added.
            let y = frozen.apply(input, bias: bias.on(tape))
            tape.backward(
                from: (y * tape.constant(dy)).sum() + (frozen.apply(input, bias: nil) * tape.constant(dy)).sum())
            // Products with few vectors may round their inputs.
            let tolerance: Float = values == .f32 ? 1e-4 : 0.25
            let expected = x.multiplied(by: dense, otherTransposed: true)
            for i in 0..<rows {
                for j in 0..<48 { #expect(abs(y.value[i, j] - expected[i, j] - bias.value[j]) < tolerance) }
            }
            let gradient = dy.multiplied(by: dense)
            #expect(zip(input.gradient!.scalars, gradient.scalars).allSatisfy { abs($0 - 2 * $1) < 1e-3 })
            #expect(
                zip(bias.gradient!.scalars, (0..<48).map { j in (0..<rows).reduce(Float(0)) { $0 + dy[$1, j] } })
                    .allSatisfy { abs($0 - $1) < 1e-4 })
        }
        #expect(frozen.parameters.isEmpty && frozen.byteCount == matrix.byteCount)
        #expect(frozen.activeCount == matrix.storedCount && frozen.storage.hasPrefix("frozen"))
        #expect(frozen.densified() == dense)
    }

    /// More rows than a tile of the backward pass, and a 4-bit weight that is never decoded whole.
    @Test func largeFrozenWeightsStaySmall() throws {
        let (n, k) = (5000, 512)
        let matrix = try stored(.dense, .int4, rows: n, columns: k)
        let frozen = FrozenWeight(matrix)
        var generator = SeededGenerator(seed: 3)
        let (x, dy) = (
            Tensor<Float>(normal: [2, k], using: &generator), Tensor<Float>(normal: [2, n], using: &generator)
        )
        let tape = Tape<Float>()
        let input = tape.variable(x)
        tape.backward(from: (frozen.apply(input, bias: nil) * tape.constant(dy)).sum())
        let expected = dy.multiplied(by: matrix.densified())
        #expect(zip(input.gradient!.scalars, expected.scalars).allSatisfy { abs($0 - $1) < 1e-2 })
        #expect(tape.pool.peakBytes < n * k * 3, "\(tape.pool.peakBytes) bytes beside a weight of \(matrix.byteCount)")
    }

    @Test func updatesStartAtNothingAndLearn() throws {
        var generator = SeededGenerator(seed: 4)
        let base = FrozenWeight(try stored(.dense, .int8))
        let lowRank = UpdatedWeight.lowRank(of: base, rank: 3, alpha: 6, using: &generator)
        let sparse = UpdatedWeight.sparse(of: base, mask: SparsePattern(rows: 48, columns: 64) { ($0 + $1) % 9 == 0 })
        let both = UpdatedWeight(base: base, updates: lowRank.updates + sparse.updates)
        let x = Tensor<Float>(normal: [8, 64], using: &generator)
        let target = Tensor<Float>(normal: [8, 48], using: &generator)
        for weight in [lowRank, sparse, both] {
            #expect(close(weight.densified(), base.densified()))
            let layer = Linear(weight: weight)
            let tape = Tape<Float>()
            func loss() -> Variable<Float> { Loss.meanSquaredError(layer(tape.constant(x)), tape.constant(target)) }
            let before = tape.evaluating { loss().item }
            let optimizer = Adam(learningRate: 0.02)
            for _ in 0..<60 {
                layer.clearGradients()
                tape.backward(from: loss())
                optimizer.step(layer.parameters)
            }
            let after = tape.evaluating { loss().item }
            #expect(after < 0.7 * before, "\(weight.storage): \(before) to \(after)")
            // What is computed is what it would be with the sum as one matrix.
            let merged = Linear(weight: DenseWeight(weight.densified()))
            // The frozen integers meet inputs rounded to bytes, which is half a per cent.
            let (found, expected) = (layer(tape.constant(x)).value, merged(tape.constant(x)).value)
            #expect((found - expected).norm() < 0.015 * expected.norm())
            tape.reset()
            for parameter in weight.parameters { parameter.value = Tensor(zeros: parameter.shape) }
        }
        #expect(lowRank.parameterCount == 3 * (48 + 64) && both.multiplyAdds > sparse.multiplyAdds)
        #expect(both.storage.contains("low-rank") && both.storage.contains("csr") && both.storage.contains("frozen"))
        #expect(both.namedParameters.map(\.name) == ["0.a", "0.b", "1.values"])
    }

    /// The factors' product by hand, and its gradients by differences of the dense weight.
    @Test func factoredWeights() {
        let a = Tensor<Float>([1, 2, 3, 4, 5, 6], shape: [2, 3])
        let b = Tensor<Float>([1, 0, -1, 2], shape: [2, 2])
        let weight = FactoredWeight(a: a, b: b, scale: 0.5)
        // 0.5 [[1, 2, 3], [-1 + 8, -2 + 10, -3 + 12]]
        #expect(weight.densified() == Tensor([0.5, 1, 1.5, 3.5, 4, 4.5], shape: [2, 3]))
        #expect(weight.rank == 2 && weight.multiplyAdds == 10 && weight.activeCount == 6 && weight.byteCount == 40)
        let tape = Tape<Float>()
        let bias = Parameter(Tensor<Float>([10, 20]))
        let y = weight.apply(tape.constant(Tensor([1, 1, 1], shape: [1, 3])), bias: bias.on(tape))
        #expect(y.value.scalars == [13, 32])
        tape.backward(from: y.sum())
        // dB = 0.5 (x Aᵀ) for both outputs; dA = 0.5 (sum of the rows of B) xᵀ.
        #expect(weight.b.gradient!.scalars == [3, 7.5, 3, 7.5] && weight.a.gradient!.scalars == [0, 0, 0, 1, 1, 1])
    }

    @Test func basesAreFrozenAndReplacedByName() throws {
        var generator = SeededGenerator(seed: 5)
        let model = MLP(widths: [6, 5, 4], using: &generator)
        try model.replaceWeights(matching: "layers.0") { _, weight in
            UpdatedWeight.lowRank(of: weight, rank: 1, alpha: 1, using: &generator)
        }
        #expect(
            model.trainableParameters.count == 2 + 1 + 2
                && model.namedParameters.map(\.name).contains("layers.0.weight.base"))
        let base = (model.layers[0].weight as! UpdatedWeight).base.densified()
        let tape = Tape<Float>()
        let optimizer = SGD(learningRate: 0.1, weightDecay: 0.1)
        for _ in 0..<2 {
            tape.backward(from: model(tape.constant(Tensor(repeating: 1, shape: [2, 6]))).map(.square).sum())
            optimizer.step(model.parameters)
        }
        #expect((model.layers[0].weight as! UpdatedWeight).base.densified() == base)
        #expect(throws: LacunaError.self) { try model.replaceWeights(matching: "nothing.*") { $1 } }
    }
}
