import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// Graphs beside each other, and what is left out of transformers that read them.
@Suite struct GraphTransformerTests {
    /// A path of three, a single node and a triangle with a tail.
    private func examples(walks: Int = 3) throws -> GraphExamples {
        var generator = SeededGenerator(seed: 1)
        let table = try SparseMatrix<Float>(
            columns: 4,
            rows: (0..<9).map { _ in [(Int.random(in: 0..<4, using: &generator), Float(generator.normal()))] })
        return try GraphExamples(
            table: table,
            graphs: [
                .init(nodes: [0, 1, 2], edges: [.init(0, 1), .init(1, 2)]), .init(nodes: [5], edges: []),
                .init(nodes: [3, 4, 6, 8], edges: [.init(0, 1), .init(1, 2), .init(0, 2), .init(2, 3)]),
            ], labels: [0, 1, 1], classes: 2, walks: walks)
    }

    private func model(
        _ examples: GraphExamples, layers: Int = 2, pooling: GraphTransformer.Pooling = .sum, seed: UInt64 = 3
    ) -> GraphTransformer {
        var generator = SeededGenerator(seed: seed)
        return GraphTransformer(
            inputDimensions: examples.inputDimensions, width: 8, layers: layers, heads: 4, classes: 2, pooling: pooling,
            using: &generator)
    }

    @Test func batchesOfGraphs() throws {
        let batch = try examples().batch([2, 0])
        #expect(batch.counts == [4, 3] && batch.length == 4 && batch.labels == [1, 0])
        // Each edge in both directions; the second graph's rows begin at 4.
        let pairs = Set(zip(batch.from, batch.to).map { [$0, $1] })
        #expect(batch.from.count == 12 && pairs.count == 12)
        #expect(
            pairs.contains([4, 5]) && pairs.contains([6, 5]) && pairs.contains([3, 2]) && !pairs.contains([4, 6]))
        // Back after two steps: from an end of a path a half, from its middle surely, after odd ones never.
        #expect((0..<3).map { batch.inputs[4, 4 + $0] } == [0, 0.5, 0])
        #expect((0..<3).map { batch.inputs[5, 4 + $0] } == [0, 1, 0])
        // In the triangle with a tail, from its tip: 1/3 after two steps; around the triangle, 2 · 1/2 · 1/2 · 1/3 from node 0.
        #expect(abs(batch.inputs[3, 5] - 1.0 / 3) < 1e-6 && abs(batch.inputs[0, 6] - 1.0 / 6) < 1e-6)
        #expect((0..<7).allSatisfy { batch.inputs[7, $0] == 0 })
        let table = try examples().table
        for (nodes, edges, label): ([Int], [WiringGraph.Edge], Int32) in [
            ([], [], 0), ([9], [], 0), ([0], [.init(0, 1)], 0), ([0, 1], [], 2), ([-1], [], 0),
        ] {
            #expect(throws: LacunaError.self) {
                try GraphExamples(
                    table: table, graphs: [.init(nodes: nodes, edges: edges)], labels: [label], classes: 2)
            }
        }
    }

    /// A graph is classified alone as it is beside larger ones, whatever its rows are filled up with.
    @Test(arguments: GraphTransformer.Pooling.allCases, [1, 0.5]) func paddingIsNotSeen(
        pooling: GraphTransformer.Pooling, ratio: Double
    ) throws {
        let (data, tape) = (try examples(), Tape<Float>())
        let model = model(data, pooling: pooling)
        for layer in model.layers { layer.tokenRatio = ratio }
        let together = tape.evaluating { model(data.batch([0, 1, 2]), on: tape).value }
        for index in 0..<3 {
            let alone = tape.evaluating { model(data.batch([index]), on: tape).value }
            #expect((0..<2).allSatisfy { abs(alone[0, $0] - together[index, $0]) < 1e-5 })
        }
    }

    /// With chosen nodes alone beside each other, attention is what it is among all when keys of the others are hidden.
    @Test func leavingOutIsHiding() throws {
        let (data, tape) = (try examples(), Tape<Float>())
        let model = model(data, layers: 1)
        let layer = model.layers[0]
        layer.tokenRatio = 0.7
        let batch = data.batch([2, 0])
        _ = tape.evaluating { model(batch, on: tape) }
        let chosen = layer.chosenTokens!
        // ⌊2.8⌋ and ⌊2.1⌋, none of them padding.
        #expect((0..<4).count { chosen[$0] } == 2 && (4..<8).count { chosen[$0] } == 2 && !chosen[7])
        let expected = tape.evaluating { () -> Tensor<Float> in
            let x = model.embedding(tape.constant(batch.inputs))
            // By largest score.
            let scores = layer.tokenScore(x).value
            for graph in 0..<2 {
                let order = (0..<batch.counts[graph]).sorted { scores[graph * 4 + $0, 0] > scores[graph * 4 + $1, 0] }
                #expect(order.prefix(2).allSatisfy { chosen[graph * 4 + $0] })
            }
            let own = x + x.gathered(batch.from).scattered(batch.to, into: 8)
            let a = layer.neighbourNorm(layer.neighbours[1](layer.neighbours[0](own).relu()) + x)
            let heard = layer.output(
                Variable.attention(
                    queries: layer.query(x), keys: layer.key(x), values: layer.value(x),
                    shape: AttentionShape(batch: 2, heads: 4, dimensions: 2, isCausal: false),
                    mask: .keys(chosen.map { $0 ? 1 : 0 })))
            let kept = heard * tape.constant(Tensor(chosen.map { $0 ? 1 : 0 }, shape: [8, 1]))
            let sum = a + layer.attentionNorm(kept + x)
            let y = layer.outputNorm(sum + layer.mixing[1](layer.mixing[0](sum).relu()))
            let sums = y.gathered([0, 1, 2, 3, 4, 5, 6]).scattered([0, 0, 0, 0, 1, 1, 1], into: 2)
            return model.classifier(model.norm(sums)).value
        }
        let found = tape.evaluating { model(batch, on: tape).value }
        #expect(zip(found.scalars, expected.scalars).allSatisfy { abs($0 - $1) < 1e-5 })
        // The first node always takes part where the class is read from it; a single node always does.
        let first = self.model(data, layers: 1, pooling: .first)
        first.layers[0].tokenRatio = 0.3
        _ = tape.evaluating { first(data.batch([0, 1, 2]), on: tape) }
        #expect(first.layers[0].chosenTokens!.enumerated().filter(\.element).map(\.offset) == [0, 4, 8])
    }

    private func train(
        _ model: GraphTransformer, _ data: GraphExamples,
        _ change: (inout GraphTransformerSparsification.Settings) -> Void,
        steps: Int = 40, probe: (any TrainingHook)? = nil
    ) throws -> GraphTransformerSparsification {
        var settings = GraphTransformerSparsification.Settings()
        change(&settings)
        let method = try GraphTransformerSparsification(settings)
        var plan = TrainingPlan(steps: steps, learningRate: .constant(0.01))
        plan.seed = 5
        let hooks: [any TrainingHook] = [method] + (probe.map { [$0] } ?? [])
        try model.train(on: data, optimizer: Adam(), plan: plan, batch: 3, hooks: hooks)
        return method
    }

    @Test func nothingLeftOutIsPlainTraining() throws {
        let data = try examples()
        let (a, b) = (model(data), model(data))
        _ = try train(a, data) { _ in }
        var plan = TrainingPlan(steps: 40, learningRate: .constant(0.01))
        plan.seed = 5
        try b.train(on: data, optimizer: Adam(), plan: plan, batch: 3)
        #expect(a.parameters.map(\.value) == b.parameters.map(\.value))
    }

    /// Scores of nodes are learned, and sampled only while training.
    @Test func nodesAreSampledWhileTraining() throws {
        let data = try examples()
        let network = model(data)
        let before = network.layers.map { $0.tokenScore.weight.densified() }
        _ = try train(network, data) { $0.tokenRatio = 0.5 }
        #expect(network.layers.map { $0.tokenScore.weight.densified() } != before)
        let tape = Tape<Float>()
        let once = tape.evaluating { network(data.batch([0, 2]), on: tape).value }
        #expect(tape.evaluating { network(data.batch([0, 2]), on: tape).value } == once)
        let random = model(data)
        _ = try train(random, data) {
            $0.tokenRatio = 0.5
            $0.tokenChoice = .random
        }
        #expect(random.layers.map { $0.tokenScore.weight.densified() } == before, "nothing to learn")
    }

    /// As many heads are alive as are asked for; the others' queries, keys and values are 0, and others come in time.
    @Test func headsAreExchanged() throws {
        final class Probe: TrainingHook {
            var seen = Set<[Bool]>()
            func afterStep(_ run: TrainingRun) {
                for layer in (run.model as! GraphTransformer).layers {
                    let alive = (0..<4).map { head in
                        [layer.query, layer.key, layer.value].contains { part in
                            let w = part.weight.densified()
                            return (2 * head..<2 * head + 2).contains { row in
                                part.bias!.value.scalars[row] != 0 || (0..<8).contains { w[row, $0] != 0 }
                            }
                        }
                    }
                    #expect(alive.count { $0 } == 2)
                    seen.insert(alive)
                }
            }
        }
        let (data, probe) = (try examples(), Probe())
        let network = model(data)
        let method = try train(
            network, data,
            {
                ($0.heads, $0.headInterval, $0.headRate) = (2, 4, 0.5)
            }, steps: 60, probe: probe)
        #expect(probe.seen.count > 2, "heads were exchanged")
        #expect(method.liveHeads.allSatisfy { $0.count { $0 } == 2 })
        // A head that came back has a gradient to go by.
        for (layer, alive) in zip(network.layers, method.liveHeads) {
            let keys = layer.key.weight.densified()
            for head in 0..<4 where alive[head] {
                #expect((0..<8).contains { keys[2 * head, $0] != 0 })
            }
        }
        #expect(throws: LacunaError.self) { try self.train(self.model(data), data) { $0.heads = 5 } }
    }

    @Test func attentionInSomeLayers() throws {
        let data = try examples()
        let network = model(data, layers: 3)
        _ = try train(network, data) {
            ($0.attentionLayers, $0.attentionDrop, $0.headInterval) = (1, 0.5, 3)
        }
        #expect(network.layers.count(where: \.hasAttention) == 1)
        #expect(throws: LacunaError.self) { try self.train(self.model(data), data) { $0.attentionLayers = 3 } }
    }

    /// All matrices but the classifier lose weights, together as many as are asked for.
    @Test(arguments: [false, true]) func weightsGoGradually(limitsHeads: Bool) throws {
        let data = try examples()
        let network = model(data)
        _ = try train(network, data) {
            ($0.sparsity, $0.weightInterval) = (0.8, 5)
            if limitsHeads { $0.heads = 2 }
        }
        let dense = ["classifier", "tokenScore"] + (limitsHeads ? ["query", "key", "value"] : [])
        var (kept, all) = (0, 0)
        for (name, layer) in network.linears {
            if dense.contains(where: { name.hasSuffix($0) }) {
                if !limitsHeads { #expect(layer.dense!.mask == nil) }
                continue
            }
            kept += layer.weight.densified().scalars.count { $0 != 0 }
            all += layer.inputDimensions * layer.outputDimensions
        }
        #expect(all > 500 && abs(kept - (all - Selection.removedCount(sparsity: 0.8, of: all))) <= all / 50)
    }

    @Test func settingsOutOfRange() {
        for change: (inout GraphTransformerSparsification.Settings) -> Void in [
            { $0.tokenRatio = 0 }, { $0.tokenRatio = 1.1 }, { $0.heads = 0 }, { $0.headRate = -1 },
            { $0.headInterval = 0 },
            { $0.attentionDrop = 1 }, { $0.sparsity = 1 }, { $0.temperature = 0 }, { $0.attentionLayers = -1 },
        ] {
            var settings = GraphTransformerSparsification.Settings()
            change(&settings)
            #expect(throws: LacunaError.self) { try GraphTransformerSparsification(settings) }
        }
        #expect(throws: LacunaError.self) {
            try LacunaPruneTests.train(network(), hooks: [GraphTransformerSparsification(.init())], steps: 1)
        }
    }

    /// What attention is worth, against the loss where all that it reads is a little larger or smaller.
    @Test(arguments: [UInt64(3), 4, 5]) func attentionIsWorthItsSlope(seed: UInt64) throws {
        let data = try examples()
        let (model, batch) = (model(data, layers: 1, seed: seed), data.batch([2]))
        let layer = model.layers[0]
        layer.notesHeads = true
        let tape = Tape<Float>()
        tape.backward(from: Loss.crossEntropy(model(batch, on: tape), labels: batch.labels))
        let found = Double(try #require(layer.attentionImportance))
        let (weight, bias) = (layer.value.dense!.parameter, layer.value.bias!)
        let start = (weight.value, bias.value)
        func loss(_ factor: Float) -> Double {
            (weight.value, bias.value) = (factor * start.0, factor * start.1)
            return Double(tape.evaluating { Loss.crossEntropy(model(batch, on: tape), labels: batch.labels).item })
        }
        let slope = abs(loss(1.05) - loss(0.95)) / 0.1
        #expect(abs(found - slope) < 0.03 * slope + 1e-4)
    }
}

/// Pruning along a ramp with connections that come back.
@Suite struct NeuroRegenerationTests {
    @Test func rampAndExchange() throws {
        let method = try NeuroRegeneration(sparsity: 0.8, window: 0.2...0.6, regeneration: 0.4)
        #expect([0, 0.19, 0.6, 1].map { method.sparsity(at: $0) } == [0, 0, 0.8, 0.8])
        #expect(abs(method.sparsity(at: 0.4) - 0.8 * 0.875) < 1e-12)
        #expect(method.regeneration(at: 0) == 0.4 && abs(method.regeneration(at: 0.3) - 0.2) < 1e-12)
        #expect(method.regeneration(at: 0.6) == 0)
        for (sparsity, window, share, interval) in [
            (1.1, 0.1...0.8, 0.5, 1), (0.5, -0.1...0.8, 0.5, 1), (0.5, 0.1...1.1, 0.5, 1), (0.5, 0.1...0.8, 1.5, 1),
            (0.5, 0.1...0.8, 0.5, 0),
        ] {
            #expect(throws: LacunaError.self) {
                try NeuroRegeneration(sparsity: sparsity, window: window, regeneration: share, interval: interval)
            }
        }
    }

    /// Layers share one threshold; with an exchange connections come back, without they never do.
    @Test(arguments: [0, 0.5]) func connectionsComeBack(regeneration: Double) throws {
        let model = network([20, 24, 16, 2])
        var returned = 0
        var before: [SparsePattern]?
        let method = try NeuroRegeneration(
            sparsity: 0.75, window: 0.1...0.7, regeneration: regeneration, interval: 7, layers: .all)
        let total = 20 * 24 + 24 * 16 + 16 * 2
        try train(model, hooks: [method], steps: 100) { step in
            let masks = model.layers.map {
                $0.dense!.mask
                    ?? SparsePattern(rows: $0.outputDimensions, columns: $0.inputDimensions, keepingAll: true)
            }
            if let before { returned += zip(masks, before).reduce(0) { $0 + $1.0.subtracting($1.1).count } }
            before = masks
            let kept = masks.reduce(0) { $0 + $1.count }
            if step % 7 == 0 {
                let target = method.sparsity(at: Double(step) / 100)
                #expect(kept == total - Selection.removedCount(sparsity: target, of: total))
            }
            for (layer, mask) in zip(model.layers, masks) {
                // Outside the masks there is nothing.
                #expect(mask.applied(to: layer.weight.densified()) == layer.weight.densified())
            }
        }
        #expect(
            model.layers.reduce(0) { $0 + $1.weight.activeCount } == total
                - Selection.removedCount(sparsity: 0.75, of: total))
        #expect((returned > 0) == (regeneration > 0))
        let shares = model.layers.map {
            Double($0.weight.activeCount) / Double($0.inputDimensions * $0.outputDimensions)
        }
        #expect(Set(shares).count > 1, "one competition, not one a layer")
    }

    /// A window that ends between two updates ends with all of the sparsity.
    @Test func theWindowEndsWithTheWholeSparsity() throws {
        let model = network([20, 24, 16, 2])
        let method = try NeuroRegeneration(sparsity: 0.75, window: 0.1...0.64, interval: 9, layers: .all)
        let total = 20 * 24 + 24 * 16 + 16 * 2
        let last = total - Selection.removedCount(sparsity: 0.75, of: total)
        try train(model, hooks: [method], steps: 50) { step in
            let kept = model.layers.reduce(0) { $0 + $1.weight.activeCount }
            #expect((kept == last) == (step >= 32), "step \(step)")
        }
    }
}
