import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaInfer

struct SparkTests {
    private static let settings = SparkSettings(width: 12, neurons: 40, predicted: 5, density: 0.2)

    private static func part(_ settings: SparkSettings = settings, seed: UInt64 = 1) throws -> SparkFeedForward {
        var random = SeededGenerator(seed: seed)
        return try SparkFeedForward(settings, initialization: .normal(0.5), using: &random)
    }

    private static func run(_ part: SparkFeedForward) throws -> SparkLayer {
        guard case .custom(let mixer) = try part.stored(.f32), let layer = mixer as? SparkLayer else {
            throw LacunaError.invalidArgument("part", reason: "is stored as something else")
        }
        return layer
    }

    /// The definition, row by row in double precision: θ of the predictor's outputs, survivors moved by it, GELU, times the rest's product.
    private static func reference(_ part: SparkFeedForward, _ x: [Float]) -> (y: [Double], active: [Int]) {
        let (r, n) = (part.settings.predicted, part.settings.neurons)
        func product(_ linear: Linear, _ x: [Double]) -> [Double] {
            let w = linear.weight.densified()
            return (0..<w.rows).map { row in x.indices.reduce(0) { $0 + Double(w[row, $1]) * x[$1] } }
        }
        let x = x.map(Double.init)
        let (u, v) = (product(part.predictor, Array(x[..<r])), product(part.up, Array(x[r...])))
        let mean = u.reduce(0, +) / Double(n)
        let deviation = (u.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)).squareRoot()
        // The quantile of 0.8 of the normal distribution.
        let limit = mean + deviation * 0.8416212335729143
        let hidden = (0..<n).map { i -> Double in
            let z = max(u[i] - limit, 0)
            let inner = (2 / Double.pi).squareRoot() * (z + 0.044715 * z * z * z)
            return 0.5 * z * (1 + (1 - 2 / (exponential(2 * inner) + 1))) * v[i]
        }
        return (product(part.down, hidden), (0..<n).filter { u[$0] > limit })
    }

    /// What is learned and what is run, one row at a time or many, are the definition; one row reads its active neurons.
    @Test func learnedRunAndWrittenOut() throws {
        let part = try Self.part()
        let layer = try Self.run(part)
        let x = Skip.gaussian([9, 12], seed: 3)
        let tape = Tape<Float>()
        var seen: Tensor<Float>?
        part.watch = { seen = $0.value }
        let learned = tape.evaluating { part(tape.constant(x)).value }
        let hidden = try #require(seen)
        func run(_ rows: Tensor<Float>) throws -> Tensor<Float> {
            var y = Tensor<Float>(repeating: 7, shape: rows.shape)
            try rows.withPointer { x in
                try y.withMutablePointer { try layer.apply(x, count: rows.rows, layer: 0, into: $0) }
            }
            return y
        }
        let (many, few) = (try run(x), try run(x.rows(0..<3)))
        var counts: Set<Int> = []
        for t in 0..<9 {
            let row = x.rows(t..<t + 1)
            let expected = Self.reference(part, row.scalars)
            let alone = try run(row)
            for c in 0..<12 {
                let bar = 1e-5 * (1 + abs(expected.y[c]))
                #expect(abs(Double(learned[t, c]) - expected.y[c]) < bar)
                #expect(abs(Double(many[t, c]) - expected.y[c]) < bar)
                #expect(abs(Double(alone[0, c]) - expected.y[c]) < bar)
                if t < 3 { #expect(few[t, c] == alone[0, c]) }
            }
            #expect(layer.active(row.scalars) == expected.active)
            #expect((0..<40).filter { hidden[t, $0] != 0 } == expected.active)
            counts.insert(expected.active.count)
        }
        #expect(counts.count > 1 && counts.max()! < 20)
        // 5 · 40 weights of the predictor; (7 + 12) of each active neuron.
        #expect(layer.byteCount == 4 * 24 * 40 && layer.weightCount == 24 * 40)
        #expect(layer.bytesRead(active: 6) == 4 * (5 * 40 + 19 * 6))
    }

    /// With a density of 1 every neuron is active, whatever its sign, and none is moved.
    @Test func allNeurons() throws {
        var settings = Self.settings
        (settings.density, settings.activation) = (1, .silu)
        let part = try Self.part(settings)
        let layer = try Self.run(part)
        let x = Skip.gaussian([2, 12], seed: 4)
        #expect(layer.active(x.rows(0..<1).scalars) == Array(0..<40))
        var y = Tensor<Float>(zeros: [2, 12])
        try x.withPointer { x in try y.withMutablePointer { try layer.apply(x, count: 2, layer: 0, into: $0) } }
        let tape = Tape<Float>()
        let plain = tape.evaluating { () -> Tensor<Float> in
            let v = tape.constant(x)
            let gates = part.predictor(v.sliced(columns: 0..<5)).map(.silu)
            return part.down(gates * part.up(v.sliced(columns: 5..<12))).value
        }
        #expect(Skip.error(y, plain) < 1e-6)
        #expect(Skip.error(tape.evaluating { part(tape.constant(x)).value }, plain) == 0)
    }

    /// The gradient of what exceeds θ, through survivors, mean and deviation, by differences; a constant added to a row changes nothing.
    @Test func gradientsOfTheSelection() throws {
        let selection = try StatisticalTopK(density: 0.3)
        var random = SeededGenerator(seed: 6)
        let x = Tensor<Double>(normal: [3, 20], using: &random)
        let slopes = Tensor<Double>(normal: [3, 20], using: &random)
        let tape = Tape<Double>()
        func value(_ x: Variable<Double>) -> Variable<Double> {
            let y = x.softTopK(selection)
            return (y * y * tape.constant(slopes)).sum()
        }
        let leaf = tape.variable(x)
        tape.backward(from: value(leaf))
        let gradient = try #require(leaf.gradient).scalars
        for place in 0..<60 {
            func at(_ change: Double) -> Double {
                var moved = x.scalars
                moved[place] += change
                return tape.withoutRecording { value(tape.constant(Tensor(moved, shape: [3, 20]))).item }
            }
            let found = (at(1e-6) - at(-1e-6)) / 2e-6
            #expect(abs(found - gradient[place]) < 1e-6 * (1 + abs(found)), "\(place) \(found) \(gradient[place])")
        }
        for row in 0..<3 { #expect(abs(gradient[row * 20..<(row + 1) * 20].reduce(0, +)) < 1e-9) }
        // It is what is run.
        let single = x.map { Float($0) }.rows(1..<2).scalars
        let floats = Tape<Float>()
        let taped = floats.withoutRecording {
            floats.constant(Tensor(single, shape: [1, 20])).softTopK(selection).value.scalars
        }
        for (a, b) in zip(taped, selection.soft(single)) { #expect(abs(a - b) < 1e-6) }
        // Equal numbers have no deviation to follow.
        let equal = tape.variable(Tensor(repeating: 2, shape: [1, 4]))
        tape.backward(from: equal.softTopK(selection).sum())
        #expect(equal.gradient?.scalars.allSatisfy { $0 == 0 } == true)
    }

    /// In a transformer it learns, and writes token by token what it was trained to be.
    @Test func insideOfATransformer() throws {
        let model = try TrainableTransformer(Skip.decoder())
        var random = SeededGenerator(seed: 4)
        for block in model.blocks {
            block.mixer = .custom(
                try SparkFeedForward(SparkSettings(width: 32, neurons: 64, density: 0.15), using: &random))
        }
        #expect(model.namedParameters.contains { $0.name == "model.layers.1.mlp.predictor.weight" })
        let tokens = Skip.tokens(24, seed: 2)
        let ids = tokens.map { Int32($0) }
        func loss() -> Float {
            let tape = Tape<Float>()
            return tape.evaluating { model.loss(Array(ids[..<23]), next: Array(ids[1...]), batch: 1, on: tape).item }
        }
        let before = loss()
        var plan = TrainingPlan(steps: 20, learningRate: .constant(1e-2))
        plan.logEvery = 20
        try Trainer(
            model: model, optimizer: Adam(learningRate: 1e-2),
            source: TokenWindows(ids, length: 12, batchSize: 2, seed: 1), plan: plan,
            loss: { batch, tape in model.loss(batch.ids, next: batch.next, batch: 2, on: tape) }
        ).train()
        #expect(loss() < before)
        let decoder = try model.stored()
        let tape = Tape<Float>()
        let learned = tape.evaluating { model(Array(ids[..<12]), batch: 1, on: tape).value }
        let session = try DecodingSession(decoder, context: 12)
        for (place, token) in tokens[..<12].enumerated() {
            try session.decode(token)
            let row = Tensor(Array(session.logits), shape: [1, 60])
            #expect(Skip.error(row, learned.rows(place..<place + 1)) < 1e-4)
        }
    }

    @Test func sizes() throws {
        // 2304 · 13,824 weights twice, of which a token of the authors' part meets 18.1 million, a dense part of as many 63.7.
        let published = SparkSettings(width: 2304, neurons: 13_824)
        #expect(published.predicted == 1024)
        #expect(published.multiplyAdds(active: 1106) == 1024 * 13_824 + 1280 * 1106 + 2304 * 1106)
        for bad in [
            SparkSettings(width: 1, neurons: 4, predicted: 1), SparkSettings(width: 4, neurons: 0),
            SparkSettings(width: 4, neurons: 4, predicted: 4), SparkSettings(width: 4, neurons: 4, predicted: 0),
            SparkSettings(width: 4, neurons: 4, density: 0), SparkSettings(width: 4, neurons: 4, density: 1.1),
            SparkSettings(width: 4, neurons: 4, activation: .sigmoid),
        ] {
            #expect(throws: LacunaError.self, "\(bad)") { try bad.validate() }
        }
    }
}
