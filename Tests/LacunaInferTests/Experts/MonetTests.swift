import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaInfer

struct MonetTests {
    private static func layer(_ decomposition: MonetSettings.Decomposition, seed: UInt64 = 1) throws -> Monet {
        var random = SeededGenerator(seed: seed)
        let layer = try Monet(
            MonetSettings(width: 6, side: 8, size: 4, heads: 3, chosen: 2, decomposition: decomposition), using: &random
        )
        for (_, parameter) in layer.namedParameters where parameter.isTrainable {
            parameter.value = Tensor(normal: parameter.shape, standardDeviation: 0.6, using: &random)
        }
        return layer
    }

    /// All 64 experts written out, and summed over heads.
    private static func reference(_ layer: Monet, _ x: [Float], _ g1: [[Float]], _ g2: [[Float]]) -> [Double] {
        let (side, part, width) = (layer.settings.side, layer.settings.part, layer.settings.width)
        func hidden(_ up: Linear, _ which: Int) -> [Double] {
            let w = up.weight.densified()
            return (0..<part).map { e in
                let row = which * part + e
                let sum = (0..<width).reduce(Double(up.bias!.value[row])) { $0 + Double(w[row, $1]) * Double(x[$1]) }
                return max(sum, 0) * max(sum, 0)
            }
        }
        func product(_ v: Linear, _ which: Int, _ h: [Double]) -> [Double] {
            let w = v.weight.densified()
            return (0..<w.rows).map { r in (0..<part).reduce(0) { $0 + Double(w[r, which * part + $1]) * h[$1] } }
        }
        var y = [Double](repeating: 0, count: width)
        for i in 0..<side {
            for j in 0..<side {
                var output: [Double]
                switch layer.settings.decomposition {
                case .horizontal:
                    let c = layer.biases[0].value
                    output = product(layer.down[0], j, hidden(layer.up1, i)).enumerated().map { $1 + Double(c[j, $0]) }
                case .vertical:
                    let (h1, h2) = (hidden(layer.up1, i), hidden(layer.up2!, j))
                    func half(_ a: Int, _ b: Int, _ which: Int, _ bias: Int) -> [Double] {
                        let (p, q) = (product(layer.down[a], which, h1), product(layer.down[b], which, h2))
                        return p.indices.map { p[$0] + q[$0] + Double(layer.biases[bias].value[which, $0]) }
                    }
                    output = half(0, 1, i, 0) + half(2, 3, j, 1)
                }
                let weight = (0..<layer.settings.heads).reduce(0.0) { $0 + Double(g1[$1][i]) * Double(g2[$1][j]) }
                for c in 0..<width { y[c] += weight * output[c] }
            }
        }
        return y
    }

    /// The factored sum is the sum over all experts, on the tape and where only chosen parts are read; of gates that add up to less too.
    @Test(arguments: MonetSettings.Decomposition.allCases) func factorsExactly(_ kind: MonetSettings.Decomposition)
        throws
    {
        let layer = try Self.layer(kind)
        let x = Skip.gaussian([5, 6], seed: 7)
        let tape = Tape<Float>()
        // Statistics of a batch become the running ones.
        layer.momentum = 1
        _ = tape.withoutRecording { layer(tape.constant(x)) }
        let (y, g1, g2) = tape.evaluating { () -> (Tensor<Float>, Tensor<Float>, Tensor<Float>) in
            let v = tape.constant(x)
            let (a, b) = layer.gates(v)
            return (layer(v).value, a.value, b.value)
        }
        guard case .custom(let part) = try layer.stored(.f32), let run = part as? MonetLayer else {
            Issue.record("not a Monet layer")
            return
        }
        var found = Tensor<Float>(zeros: [5, 6])
        try x.withPointer { x in try found.withMutablePointer { try run.apply(x, count: 5, layer: 0, into: $0) } }
        var fewest = 8
        for t in 0..<5 {
            func rows(_ g: Tensor<Float>) -> [[Float]] { (0..<3).map { h in (0..<8).map { g[t, h, $0] } } }
            let expected = Self.reference(layer, x.rows(t..<t + 1).scalars, rows(g1), rows(g2))
            for c in 0..<6 {
                let scale = 1 + abs(expected[c])
                #expect(abs(Double(y[t, c]) - expected[c]) < 1e-4 * scale)
                #expect(abs(Double(found[t, c]) - expected[c]) < 1e-4 * scale)
            }
            let (gates, parts) = run.gates(x.rows(t..<t + 1).scalars, first: true)
            #expect(zip(gates.joined(), rows(g1).joined()).allSatisfy { abs($0 - $1) < 1e-5 })
            #expect(Set(parts) == Set((0..<8).filter { i in gates.contains { $0[i] > 0 } }))
            fewest = min(fewest, parts.count)
        }
        #expect(fewest < 8)
        // Gates of one's own, which do not add up to 1.
        let halved = tape.evaluating {
            layer.output(tape.constant(x), tape.constant(g1.map { $0 / 2 }), tape.constant(g2)).value
        }
        #expect(Skip.error(halved, y.map { $0 / 2 }) < 1e-4)
        #expect(run.weightCount == layer.parameterCount && run.byteCount >= 4 * run.weightCount)
    }

    /// Of normal scores a head chooses as many as wanted, on average; of any at least one; and its gates add up to 1.
    @Test func quantiles() throws {
        #expect(abs(MonetGates.quantile(MonetSettings(width: 2)) - 1.534) < 1e-3)
        var random = SeededGenerator(seed: 3)
        let settings = MonetSettings(width: 32, side: 64, size: 2, heads: 2, chosen: 8, decomposition: .horizontal)
        let layer = try Monet(settings, using: &random)
        let tape = Tape<Float>()
        let gates = tape.withoutRecording {
            layer.gates(tape.constant(Tensor(normal: [400, 32], using: &random))).first.value
        }
        let active = Double(gates.scalars.count { $0 > 0 }) / 800
        #expect(abs(active - 8) < 0.8, "\(active)")
        for row in 0..<800 {
            let own = gates.scalars[row * 64..<(row + 1) * 64]
            #expect(own.contains { $0 > 0 } && abs(own.reduce(0, +) - 1) < 1e-4)
        }
        // Equal scores are all the largest, and all as likely.
        layer.router1.dense!.parameter.value = Tensor(zeros: [128, 32])
        let equal = tape.withoutRecording { layer.gates(tape.constant(Tensor(zeros: [1, 32]))).first.value }
        #expect(equal.scalars.allSatisfy { abs($0 - 1.0 / 64) < 1e-6 })
    }

    /// Heads are normalised each by its own scores, on each side: whether its scores are large or small, all choose as
    /// many. Running statistics follow a batch by their momentum, each in its place; gates are the softmax of scores as they are.
    @Test func headsAreNormalizedApart() throws {
        var random = SeededGenerator(seed: 8)
        let (side, heads, n, width) = (32, 3, 300, 16)
        let layer = try Monet(
            MonetSettings(width: width, side: side, size: 2, heads: heads, chosen: 4, decomposition: .horizontal),
            using: &random)
        for (router, factors) in [(layer.router1, [1, 3, 0.1]), (layer.router2, [0.3, 1, 4])] {
            let weight = router.dense!.parameter
            weight.value = Tensor(
                (0..<heads * side * width).map { i in
                    Float(factors[i / (side * width)] * random.normal())
                }, shape: [heads * side, width])
        }
        let x = Tensor<Float>(normal: [n, width], using: &random).map { $0 + 0.2 }
        let tape = Tape<Float>()
        let batch = tape.withoutRecording { () -> [Tensor<Float>] in
            let (a, b) = layer.gates(tape.constant(x))
            return [a.value, b.value]
        }
        for (which, router) in [layer.router1, layer.router2].enumerated() {
            let scores = tape.withoutRecording { router(tape.constant(x)).value.scalars }
            for head in 0..<heads {
                let own = (0..<n).flatMap { row in
                    (0..<side).map { Double(scores[(row * heads + head) * side + $0]) }
                }
                let mean = own.reduce(0, +) / Double(own.count)
                let variance = own.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(own.count)
                let place = which * heads + head
                // A tenth of the way from 0 and from 1.
                #expect(abs(Double(layer.runningMean.value[place]) - 0.1 * mean) < 1e-4 * (1 + abs(mean)))
                let moved = Double(layer.runningVariance.value[place])
                #expect(abs(moved - (0.9 + 0.1 * variance)) < 1e-3 * (1 + variance))
                var chosen = 0
                for row in 0..<n {
                    let start = (row * heads + head) * side
                    let gates = (0..<side).map { batch[which].scalars[start + $0] }
                    let places = gates.indices.filter { gates[$0] > 0 }
                    chosen += places.count
                    guard let first = places.first, row < 20 else { continue }
                    for i in places.dropFirst() where gates[i] > 1e-20 && gates[first] > 1e-20 {
                        let ratio = logarithm(Double(gates[i]) / Double(gates[first]))
                        let difference = Double(scores[start + i] - scores[start + first])
                        #expect(abs(ratio - difference) < 1e-3 * (1 + abs(difference)))
                    }
                    let limit = mean + (variance + 1e-5).squareRoot() * MonetGates.quantile(layer.settings)
                    let above = (0..<side).filter { Double(scores[start + $0]) > limit + 1e-3 * (1 + abs(limit)) }
                    #expect(above.allSatisfy { places.contains($0) } && !places.isEmpty)
                }
                #expect(abs(Double(chosen) / Double(n) - 4) < 1.2, "side \(which), head \(head): \(chosen)")
            }
        }
        // Statistics that are the batch's give the batch's gates, side by side and where only what is chosen is read.
        layer.momentum = 1
        let gates = tape.withoutRecording { layer.gates(tape.constant(x)).second.value }
        let running = tape.evaluating { layer.gates(tape.constant(x)).second.value }
        #expect(Skip.error(running, gates) < 1e-4)
        guard case .custom(let mixer) = try layer.stored(.f32), let run = mixer as? MonetLayer else {
            Issue.record("not a Monet layer")
            return
        }
        for row in 0..<5 {
            let found = run.gates(x.rows(row..<row + 1).scalars, first: false).gates
            for (a, b) in zip(found.joined(), gates.scalars[row * heads * side..<(row + 1) * heads * side]) {
                #expect(abs(a - b) < 1e-3)
            }
        }
    }

    /// The term of the loss is the weight times the mean, over sides and layers, of both terms of their gates.
    @Test func regularizationIsAMean() throws {
        let model = try TrainableTransformer(Skip.decoder())
        var random = SeededGenerator(seed: 4)
        var layers: [Monet] = []
        for block in model.blocks {
            let layer = try Monet(MonetSettings(width: 32, side: 8, size: 4, heads: 2, chosen: 2), using: &random)
            layers.append(layer)
            block.mixer = .custom(layer)
        }
        let tape = Tape<Float>()
        let hook = try MonetRegularization(weight: 0.3)
        let run = TrainingRun(model: model, optimizer: SGD(learningRate: 1), tape: tape, totalSteps: 1, seed: 0)
        try hook.attach(run)
        try hook.beforeStep(run)
        let own = layers.map(\.watch)
        var expected = 0.0
        for (layer, watch) in zip(layers, own) {
            layer.watch = { first, second in
                for gates in [first, second] {
                    let terms = RoutingLoss.uniformity(gates).item + RoutingLoss.ambiguity(gates).item
                    expected += 0.3 * Double(terms) / 4
                }
                watch?(first, second)
            }
        }
        _ = model(Skip.tokens(12, seed: 1).map { Int32($0) }, batch: 1, on: tape)
        let found = try #require(hook.penalty(run))
        #expect(abs(Double(found.item) - expected) < 1e-5 && expected > 0)
        // It is asked for once.
        #expect(hook.penalty(run) == nil)
        try hook.end(run)
        #expect(layers.allSatisfy { $0.watch == nil })
    }

    @Test(arguments: MonetSettings.Decomposition.allCases) func gradients(_ kind: MonetSettings.Decomposition) throws {
        let layer = try Self.layer(kind, seed: 5)
        let x = Skip.gaussian([7, 6], seed: 1)
        let slopes = Skip.gaussian([7, 6], seed: 2)
        let tape = Tape<Float>()
        // Running statistics, which a changed weight does not move.
        _ = tape.withoutRecording { layer(tape.constant(x)) }
        tape.isTraining = false
        func value() -> Variable<Float> { (layer(tape.constant(x)) * tape.constant(slopes)).sum() }
        tape.backward(from: value())
        for (name, parameter) in layer.namedParameters where parameter.isTrainable {
            let gradient = parameter.gradient!.scalars
            for place in [0, parameter.count / 2, parameter.count - 1] {
                let old = parameter.value.scalars
                func at(_ change: Float) -> Double {
                    var moved = old
                    moved[place] += change
                    parameter.value = Tensor(moved, shape: parameter.shape)
                    defer { parameter.value = Tensor(old, shape: parameter.shape) }
                    return Double(tape.withoutRecording { value().item })
                }
                let found = (at(1e-3) - at(-1e-3)) / 2e-3
                #expect(
                    abs(found - Double(gradient[place])) < 0.05 + 0.03 * abs(found),
                    "\(name)[\(place)] \(found) \(gradient[place])")
            }
        }
    }

    /// Parts that serve one of two domains, whose removal touches that one alone.
    @Test func domainsArePurged() throws {
        let layer = try Self.layer(.horizontal)
        layer.momentum = 1
        // One domain in the first half of the inputs, the other in the second.
        var x = Tensor<Float>(zeros: [8, 6])
        for t in 0..<8 {
            for c in 0..<3 {
                if t % 2 == 0 { x[t, c] = 2 } else { x[t, c + 3] = -2 }
            }
        }
        let tape = Tape<Float>()
        _ = tape.withoutRecording { layer(tape.constant(x)) }
        let domains = try MonetDomains(layer, x, labels: (0..<8).map { $0 % 2 })
        for (side, chosen) in domains.parts(of: 0, skew: 2).enumerated() {
            let mass = domains.mass[side]
            let expected = (0..<8).filter { (part: Int) -> Bool in mass[part][0] > 2 * mass[part][1] }
            #expect(chosen == expected)
        }
        // All rows of a domain are alike, so that some parts serve one of them alone.
        let parts = domains.parts(of: 0, skew: 1e6)
        #expect(!parts[0].isEmpty || !parts[1].isEmpty)
        // Heads give a domain 1 each on every side.
        for side in 0..<2 { for d in 0..<2 { #expect(abs(domains.mass[side].reduce(0) { $0 + $1[d] } - 3) < 1e-4) } }
        let (whole, rest, none) = tape.evaluating {
            let v = tape.constant(x)
            return (
                layer(v).value, MonetDomains.purged(layer, v, parts: parts).value,
                MonetDomains.purged(layer, v, parts: [[], []]).value
            )
        }
        #expect(none == whole)
        func change(_ t: Int) -> Float { (0..<6).reduce(0) { $0 + abs(rest[t, $1] - whole[t, $1]) } }
        #expect(change(0) > 0.1 && change(1) < 1e-4, "\(change(0)) \(change(1))")
        #expect(throws: LacunaError.self) { try MonetDomains(layer, x, labels: [0, 1]) }
        for bad in [2, .max] {
            // Domain 1 has no row, or labels end beyond any number of domains.
            #expect(throws: LacunaError.self) { try MonetDomains(layer, x, labels: (0..<8).map { $0 % 2 * bad }) }
        }
        #expect(throws: LacunaError.self) { try MonetDomains(layer, x, labels: Array(repeating: 0, count: 8)) }
        #expect(throws: LacunaError.self) { try MonetSettings(width: 5, side: 4, chosen: 1).validate() }
        #expect(throws: LacunaError.self) { try MonetSettings(width: 4, side: 4, chosen: 4).validate() }
    }

    /// In a transformer, learned with its terms, it writes what it was trained to be.
    @Test func insideOfATransformer() throws {
        let model = try TrainableTransformer(Skip.decoder())
        var random = SeededGenerator(seed: 4)
        for block in model.blocks {
            block.mixer = .custom(
                try Monet(MonetSettings(width: 32, side: 8, size: 4, heads: 2, chosen: 2), using: &random))
        }
        let tokens = Skip.tokens(24, seed: 2)
        let ids = tokens.map { Int32($0) }
        var plan = TrainingPlan(steps: 10, learningRate: .constant(1e-2))
        plan.logEvery = 10
        let report = try Trainer(
            model: model, optimizer: Adam(learningRate: 1e-2),
            source: TokenWindows(ids, length: 12, batchSize: 2, seed: 1),
            plan: plan, hooks: [MonetRegularization(weight: 0.1)],
            loss: { batch, tape in model.loss(batch.ids, next: batch.next, batch: 2, on: tape) }
        ).train()
        #expect(report.steps == 10)
        let decoder = try model.stored()
        let tape = Tape<Float>()
        let learned = tape.evaluating { model(ids, batch: 2, on: tape).value }
        let hidden = try decoder.hiddenStates(tokens, sequenceLength: 12)
        #expect(Skip.error(decoder.logits(hidden, rows: 0..<24), learned) < 1e-3)
        #expect(decoder.parameterCount > 0 && decoder.weightBytes > 0)
        #expect(throws: LacunaError.self) { try TrainableTransformer(decoder) }
        #expect(throws: LacunaError.self) { try decoder.save(to: "/tmp/no-monet") }
        #expect(throws: LacunaError.self) { try MonetRegularization(weight: -1) }
    }
}
