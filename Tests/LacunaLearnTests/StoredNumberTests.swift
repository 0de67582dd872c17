import LacunaIO
import LacunaLearn
import LacunaTensor
import Testing

/// Operations beside PyTorch's numbers (`Scripts/fixtures_learning.py`) and, where PyTorch is the only other witness,
/// beside central differences.
@Suite struct StoredNumberTests {
    private let fields: JSONFields

    init() throws {
        let place = #filePath
        let name = "StoredNumberTests.swift"
        fields = try JSONFields(contentsOf: place.dropLast(name.count) + "Fixtures/operations.json")
    }

    private func tensor(_ value: JSONValue) throws -> Tensor<Double> {
        let stored = try JSONFields(value, file: "operations.json")
        return Tensor(try stored.array("values").map { $0.doubleValue ?? .nan }, shape: try stored.integers("shape"))
    }

    private func near(_ a: Tensor<Double>, _ b: Tensor<Double>, _ tolerance: Double = 1e-7) -> Bool {
        a.shape == b.shape && zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) <= tolerance * max(1, abs($1)) }
    }

    /// The result and the gradients of a case, in which the result is weighted by its places.
    private func check(_ name: String, _ body: ([Variable<Double>]) -> Variable<Double>) throws {
        let stored = try fields.fields(name)
        let inputs = try stored.array("inputs").map(tensor)
        let tape = Tape<Double>()
        let variables = inputs.map { tape.variable($0) }
        let y = body(variables)
        #expect(near(y.value, try tensor(stored.object["output"]!)), "\(name)")
        let weights = Tensor((0..<y.count).map { 1 + Double($0) / Double(y.count) }, shape: y.shape)
        tape.backward(from: (y * tape.constant(weights)).sum())
        for (variable, expected) in zip(variables, try stored.array("gradients")) {
            #expect(near(try #require(variable.gradient), try tensor(expected)), "gradient of \(name)")
        }
        checkGradients(inputs.map { $0.count > 60 ? Tensor($0.scalars.map { $0 / 2 }, shape: $0.shape) : $0 }, body)
    }

    @Test func sequences() throws {
        try check("convolution_1d") {
            $0[0].convolved1d($0[1], bias: $0[2], sliding: Sliding(stride: 2, padding: 1, dilation: 2), groups: 2)
        }
        try check("convolution_1d_depthwise") {
            $0[0].convolved1d($0[1], sliding: Sliding(padding: 2), groups: 3)
        }
    }

    @Test func volumes() throws {
        try check("convolution_3d") {
            $0[0].convolved3d($0[1], bias: $0[2], sliding: Sliding(stride: 2, padding: 1))
        }
        try check("convolution_3d_groups") { $0[0].convolved3d($0[1], sliding: Sliding(dilation: 2), groups: 2) }
    }

    @Test func transposedConvolutions() throws {
        try check("transposed") {
            $0[0].transposedConvolved(
                $0[1], bias: $0[2], sliding: Sliding(stride: 2, padding: 1), outputPadding: 1, groups: 2)
        }
        try check("transposed_dilated") { $0[0].transposedConvolved($0[1], sliding: Sliding(dilation: 2)) }
    }

    @Test(arguments: Resizing.allCases) func otherSizes(kind: Resizing) throws {
        for (height, width) in [(7, 8), (3, 2), (1, 1)] {
            try check("resized_\(kind.rawValue)_\(height)x\(width)") {
                $0[0].resized(height: height, width: width, by: kind)
            }
        }
        // Nothing changes at the same size, and a constant image has no other size's numbers.
        let tape = Tape<Double>()
        let image = tape.constant(randomTensor([2, 3, 4, 5], seed: 3))
        #expect(near(image.resized(height: 4, width: 5, by: kind).value, image.value, 1e-12))
        let one = tape.constant(Tensor<Double>(repeating: 1, shape: [1, 1, 4, 5]))
        #expect(one.resized(height: 9, width: 2, by: kind).value.scalars.allSatisfy { abs($0 - 1) < 1e-12 })
    }

    @Test func boxOverlaps() throws {
        try check("overlap") { $0[0].generalizedOverlap(with: $0[1]) }
        // The same box, a box inside, boxes apart, and boxes without area.
        func overlap(_ a: [Double], _ b: [Double]) -> Double {
            let tape = Tape<Double>()
            return tape.constant(Tensor(a, shape: [1, 4])).generalizedOverlap(
                with: tape.constant(Tensor(b, shape: [1, 4]))
            ).value.scalars[0]
        }
        #expect(overlap([0, 0, 2, 2], [0, 0, 2, 2]) == 1 && overlap([0, 0, 2, 2], [0, 0, 1, 1]) == 0.25)
        #expect(abs(overlap([0, 0, 1, 1], [3, 0, 4, 1]) + 0.5) < 1e-15)
        #expect(overlap([1, 1, 1, 1], [1, 1, 1, 1]) == 0)
    }

    @Test func runningStatisticsOfBatchNorm() throws {
        let stored = try fields.fields("batch_norm")
        let norm = BatchNorm(channels: 2, momentum: 0.3)
        let tape = Tape<Float>()
        func single(_ value: JSONValue) throws -> Tensor<Float> {
            let x = try tensor(value)
            return Tensor(x.scalars.map { Float($0) }, shape: x.shape)
        }
        let batches = try stored.array("batches").map(single)
        var last: Tensor<Float>?
        for batch in batches { last = tape.withoutRecording { norm(tape.constant(batch)) }.value }
        func close(_ a: Tensor<Float>?, _ key: String) throws -> Bool {
            let b = try single(stored.object[key]!)
            return zip(try #require(a).scalars, b.scalars).allSatisfy { abs($0 - $1) < 1e-5 * max(1, abs($1)) }
        }
        #expect(try close(last, "output"))
        #expect(try close(norm.runningMean.value, "mean") && close(norm.runningVariance.value, "variance"))
        #expect(try close(tape.evaluating { norm(tape.constant(batches[0])) }.value, "evaluated"))
    }

    // MARK: The loop

    /// A linear model of two weights, whose gradients are known: the loss of a batch is the mean of `w · x`.
    private func trained(
        _ batches: [[Double]], accumulation: Int = 1, clip: Double? = nil, rate: Double = 0.5
    ) throws -> [Float] {
        struct Source: BatchSource {
            let batches: [[Double]]
            var batchesPerEpoch: Int? { batches.count }
            func batch(step: Int) -> [Double] { batches[step % batches.count] }
        }
        final class Weights: Module {
            let w = Parameter<Float>(Tensor([0, 0]))
        }
        let model = Weights()
        var plan = TrainingPlan(steps: batches.count / accumulation, learningRate: .constant(rate))
        (plan.accumulation, plan.clipNorm) = (accumulation, clip)
        try Trainer(
            model: model, optimizer: SGD(learningRate: 0), source: Source(batches: batches), plan: plan
        ) { batch, tape in
            let rows = tape.constant(Tensor(batch.map { Float($0) }, shape: [batch.count / 2, 2]))
            return rows.linear(model.w.on(tape).reshaped([1, 2])).mean()
        }.train()
        return model.w.value.scalars
    }

    @Test func limitsOfGradientsOtherThanOne() throws {
        // A gradient of norm 5, limited to 2, and one of norm 1 that stays.
        let limited = try trained([[3, 4]], clip: 2)
        #expect(abs(limited[0] + 0.5 * 2 * 0.6) < 1e-6 && abs(limited[1] + 0.5 * 2 * 0.8) < 1e-6)
        let free = try trained([[0.6, 0.8]], clip: 2)
        #expect(abs(free[0] + 0.3) < 1e-6 && abs(free[1] + 0.4) < 1e-6)
    }

    @Test func accumulationAverages() throws {
        // Two batches of one row as one step are one batch of both rows.
        let parts = try trained([[3, 4], [1, -2]], accumulation: 2)
        let whole = try trained([[3, 4, 1, -2]])
        #expect(zip(parts, whole).allSatisfy { abs($0 - $1) < 1e-6 } && abs(parts[0] + 1) < 1e-6)
    }
}
