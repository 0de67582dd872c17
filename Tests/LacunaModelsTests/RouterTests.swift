import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

struct RouterTests {
    private static func linear(_ rows: Int, _ columns: Int, _ values: ValueType, _ random: inout SeededGenerator) throws
        -> LinearLayer
    {
        let weight = Tensor((0..<rows * columns).map { _ in Float(random.normal()) * 0.3 }, shape: [rows, columns])
        return LinearLayer(try WeightStore.make(weight, layout: .dense, values: values))
    }

    private static func make(
        experts: Int, count: Int, values: ValueType = .f32, normalizes: Bool = false
    ) throws -> ExpertFeedForward {
        var random = SeededGenerator(seed: 21)
        let router = try TopRouter(linear(experts, 12, .f32, &random), count: count, normalizes: normalizes)
        let parts = try (0..<experts).map { _ in
            FeedForward(
                gate: try linear(20, 12, values, &random), up: try linear(20, 12, values, &random),
                down: try linear(12, 20, values, &random))
        }
        return try ExpertFeedForward(router: router, experts: parts)
    }

    private static func inputs(_ n: Int) -> Tensor<Float> {
        var random = SeededGenerator(seed: 22)
        return Tensor((0..<n * 12).map { _ in Float(random.normal()) }, shape: [n, 12])
    }

    /// One expert's output for one vector, by hand.
    private static func output(_ part: FeedForward, _ x: [Float]) -> [Double] {
        func product(_ layer: LinearLayer, _ x: [Double]) -> [Double] {
            let weight = layer.weight.densified()
            return (0..<weight.rows).map { r in x.indices.reduce(0) { $0 + Double(weight[r, $1]) * x[$1] } }
        }
        let x = x.map(Double.init)
        let hidden = zip(product(part.gate!, x), product(part.up, x)).map { $0 / (1 + exponential(-$0)) * $1 }
        return product(part.down, hidden)
    }

    /// The sum over experts written by hand: all of them, two, one; weights of all or of the chosen.
    @Test(arguments: [(4, false), (2, false), (2, true), (1, false), (1, true)])
    func equalsTheSumOverExperts(count: Int, normalizes: Bool) throws {
        let layer = try Self.make(experts: 4, count: count, normalizes: normalizes)
        let x = Self.inputs(9)
        let (y, report) = try layer(x)
        let scores = (layer.router as! TopRouter).scores.weight.densified()
        var rows = [0, 0, 0, 0]
        for t in 0..<9 {
            let input = x.rows(t..<t + 1).scalars
            let logits = (0..<4).map { e in (0..<12).reduce(0.0) { $0 + Double(scores[e, $1]) * Double(input[$1]) } }
            let total = logits.reduce(0) { $0 + exponential($1) }
            let chosen = (0..<4).sorted { logits[$0] > logits[$1] }.prefix(count)
            let share = normalizes ? chosen.reduce(0) { $0 + exponential(logits[$1]) } : total
            var expected = [Double](repeating: 0, count: 12)
            for e in chosen {
                rows[e] += 1
                for (c, value) in Self.output(layer.experts[e], input).enumerated() {
                    expected[c] += exponential(logits[e]) / share * value
                }
            }
            for c in 0..<12 { #expect(abs(Double(y[t, c]) - expected[c]) < 1e-4) }
        }
        #expect(report.rows == rows && rows.reduce(0, +) == 9 * count)
    }

    /// The matrices of an expert are read once a step, those that nobody chose not at all.
    @Test func bytesFollowTheExpertsChosen() throws {
        let layer = try Self.make(experts: 4, count: 1)
        let one = try layer(Self.inputs(1)).report
        let each = 3 * 20 * 12 * 4
        #expect(one.rows.reduce(0, +) == 1 && one.bytesTouched == each)
        let many = try layer(Self.inputs(50)).report
        #expect(many.bytesTouched == many.rows.count { $0 > 0 } * each)
        let none = try layer(Tensor<Float>(zeros: [0, 12]))
        #expect(none.outputs.shape == [0, 12] && none.report.bytesTouched == 0)
    }

    /// Rounded experts are near; a gate that leaves nothing out changes nothing, one that leaves out all gives zeros.
    @Test func expertsRoundAndGate() throws {
        let x = Self.inputs(6)
        let exact = try Self.make(experts: 3, count: 2)
        let expected = try exact(x).outputs
        #expect(relativeError(try Self.make(experts: 3, count: 2, values: .int8)(x).outputs, expected) < 0.03)
        #expect(relativeError(try exact(x, gate: ThresholdGate([.down: 1e-30])).outputs, expected) < 1e-5)
        #expect(try exact(x, gate: ThresholdGate([.down: 1e9])).outputs.scalars.allSatisfy { $0 == 0 })
    }

    @Test func equalScoresChooseTheFirst() throws {
        let router = try TopRouter(
            LinearLayer(try WeightStore.make(Tensor<Float>(zeros: [3, 2]), layout: .dense, values: .f32)), count: 2)
        #expect(router.route([1, 2], count: 1, layer: 0).map { $0.map(\.expert) } == [[0, 1]])
        #expect(router.route([.nan, 2], count: 1, layer: 0)[0].count == 2)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        var random = SeededGenerator(seed: 1)
        let scores = try Self.linear(2, 12, .f32, &random)
        #expect(throws: LacunaError.self) { try TopRouter(scores, count: 0) }
        #expect(throws: LacunaError.self) { try TopRouter(scores, count: 3) }
        let layer = try Self.make(experts: 3, count: 1)
        #expect(throws: LacunaError.self) { try ExpertFeedForward(router: TopRouter(scores), experts: layer.experts) }
        let narrow = FeedForward(
            gate: try Self.linear(20, 11, .f32, &random), up: try Self.linear(20, 11, .f32, &random),
            down: try Self.linear(12, 20, .f32, &random))
        #expect(throws: LacunaError.self) {
            try ExpertFeedForward(router: TopRouter(scores), experts: [layer.experts[0], narrow])
        }
        #expect(throws: LacunaError.self) { try layer(Tensor<Float>(zeros: [2, 11])) }
    }
}
