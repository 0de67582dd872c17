import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// Graphs, networks wired from them, and the pruning of recurrent layers.
@Suite struct RecurrentNetworkTests {
    private func graph(_ nodes: Int, _ edges: [(Int, Int)]) throws -> WiringGraph {
        try WiringGraph(nodeCount: nodes, edges: edges.map { .init($0.0, $0.1) })
    }

    @Test func layersOfAGraph() throws {
        let example = try graph(5, [(0, 2), (2, 1), (1, 3), (2, 3), (2, 4), (3, 4)])
        #expect(example.layers == [0, 0, 1, 2, 3] && example.sourceCount == 2)
        // Numbers decide, not the order in which edges are given.
        #expect(try graph(4, [(2, 3), (1, 2), (0, 1)]).layers == [0, 1, 2, 3])
        for (nodes, edges) in [(0, [(Int, Int)]()), (3, [(1, 1)]), (3, [(0, 3)]), (3, [(-1, 2)])] {
            #expect(throws: LacunaError.self) { try graph(nodes, edges) }
        }
    }

    /// A path, a star and a ring, whose numbers are known.
    @Test func statisticsOfGraphs() throws {
        func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) < 1e-12 }
        let path = try GraphStatistics(graph(4, [(0, 1), (1, 2), (2, 3)]))
        #expect(path.diameter == 3 && path.sources == 1 && path.edges == 3 && near(path.density, 0.5))
        // Distances 1, 2, 3, 1, 2, 1 over six pairs.
        #expect(near(path.meanDistance, 10.0 / 6))
        #expect(near(path.eccentricity.mean, 2.5) && near(path.eccentricity.variance, 0.25))
        #expect(near(path.degree.mean, 1.5) && near(path.degree.variance, 0.25))
        #expect(near(path.closeness.mean, (3.0 / 6 + 3.0 / 4) / 2))
        // Of three pairs of others, two go through each of the inner nodes; of all six, 3, 4 and 3 go along the edges.
        #expect(near(path.nodeBetweenness.mean, (2.0 / 3) / 2) && near(path.nodeBetweenness.variance, 1.0 / 9))
        #expect(near(path.edgeBetweenness.mean, 10.0 / 18))
        let star = try GraphStatistics(graph(5, (1...4).map { (0, $0) }))
        #expect(near(star.nodeBetweenness.mean, 1.0 / 5) && star.diameter == 2 && star.sources == 1)
        // In a ring of four, two shortest ways lead to the other side: each carries a half.
        let ring = try GraphStatistics(graph(4, [(0, 1), (1, 2), (2, 3), (0, 3)]))
        #expect(near(ring.nodeBetweenness.mean, 0.5 / 3) && near(ring.nodeBetweenness.variance, 0))
        #expect(near(ring.edgeBetweenness.mean, 2.0 / 6))
        #expect(throws: LacunaError.self) { try GraphStatistics(graph(4, [(0, 1), (2, 3)])) }
        #expect(throws: LacunaError.self) { try GraphStatistics(graph(1, [])) }
    }

    @Test func randomGraphs() throws {
        var generator = SeededGenerator(seed: 3)
        // Without rewiring, the ring itself.
        let ring = try WiringGraph.smallWorld(nodeCount: 9, degree: 5, rewiring: 0, using: &generator)
        #expect(ring.neighbours.allSatisfy { $0.count == 4 } && ring.neighbours[0] == [1, 2, 7, 8])
        for rewiring in [0.3, 1] {
            let graph = try WiringGraph.smallWorld(nodeCount: 30, degree: 4, rewiring: rewiring, using: &generator)
            #expect(graph.edges.count == 60 && graph.isConnected)
            #expect(graph.neighbours != ring.neighbours)
        }
        let tree = try WiringGraph.scaleFree(nodeCount: 200, attachments: 1, using: &generator)
        #expect(tree.edges.count == 199 && tree.isConnected)
        let graph = try WiringGraph.scaleFree(nodeCount: 200, attachments: 3, using: &generator)
        #expect(graph.edges.count == 3 + 196 * 3 && graph.isConnected)
        // Who has edges gets more of them: with ends drawn evenly the largest degree is about 15.
        #expect(graph.neighbours.map(\.count).max()! > 25)
        #expect(graph.neighbours[100...].allSatisfy { $0.count >= 3 })
        for (degree, rewiring) in [(1, 0.1), (9, 0.1), (2, 1.1), (2, -.ulpOfOne)] {
            #expect(throws: LacunaError.self) {
                try WiringGraph.smallWorld(nodeCount: 9, degree: degree, rewiring: rewiring, using: &generator)
            }
        }
        for attachments in [0, 9] {
            #expect(throws: LacunaError.self) {
                try WiringGraph.scaleFree(nodeCount: 9, attachments: attachments, using: &generator)
            }
        }
    }

    /// The layer is its cell, step after step, from a state of zeros.
    @Test(arguments: RecurrentCell.allCases) func layersRunTheirCells(kind: RecurrentCell) throws {
        var generator = SeededGenerator(seed: 5)
        let layer = RecurrentLayer(kind, inputDimensions: 3, hiddenDimensions: 4, using: &generator)
        let x = Tensor<Float>(normal: [6, 3], using: &generator)
        let tape = Tape<Float>()
        let states = layer(tape.constant(x), batch: 2).value
        let (w, u) = (layer.input.weight.densified(), layer.hidden.weight.densified())
        let (b, c) = (layer.input.bias!.value.scalars, layer.hidden.bias?.value.scalars)
        #expect(w.shape == [kind.gates * 4, 3] && u.shape == [kind.gates * 4, 4])
        #expect((w.scalars + u.scalars + b).allSatisfy { abs($0) <= 0.5 } && w.scalars.contains { abs($0) > 0.4 })
        func sigma(_ v: Float) -> Float { 1 / (1 + exponential(-v)) }
        func tanh(_ v: Float) -> Float { 2 * sigma(2 * v) - 1 }
        for sequence in 0..<2 {
            var (h, memory) = ([Float](repeating: 0, count: 4), [Float](repeating: 0, count: 4))
            for step in 0..<3 {
                let row = step * 2 + sequence
                func fromInput(_ i: Int) -> Float { (0..<3).reduce(b[i]) { $0 + w[i, $1] * x[row, $1] } }
                func fromState(_ i: Int) -> Float { (0..<4).reduce(c?[i] ?? 0) { $0 + u[i, $1] * h[$1] } }
                var next = h
                for j in 0..<4 {
                    switch kind {
                    case .tanh: next[j] = tanh(fromInput(j) + fromState(j))
                    case .relu: next[j] = max(0, fromInput(j) + fromState(j))
                    case .gru:
                        let (r, z) = (
                            sigma(fromInput(j) + fromState(j)), sigma(fromInput(4 + j) + fromState(4 + j))
                        )
                        let n = tanh(fromInput(8 + j) + r * fromState(8 + j))
                        next[j] = n + z * (h[j] - n)
                    case .lstm:
                        func gate(_ g: Int) -> Float { fromInput(4 * g + j) + fromState(4 * g + j) }
                        memory[j] = sigma(gate(1)) * memory[j] + sigma(gate(0)) * tanh(gate(2))
                        next[j] = sigma(gate(3)) * tanh(memory[j])
                    }
                }
                h = next
                for j in 0..<4 { #expect(abs(states[row, j] - h[j]) < 1e-5) }
            }
        }
        // All connections are no mask.
        try layer.connect(SparsePattern(rows: 4, columns: 3, keepingAll: true))
        #expect(layer(tape.constant(x), batch: 2).value == states)
        #expect(throws: LacunaError.self) { try layer.connect(SparsePattern(rows: 3, columns: 4, keepingAll: true)) }
    }

    private func exponential(_ x: Float) -> Float {
        let tape = Tape<Float>()
        return tape.constant(Tensor([x], shape: [1, 1])).map(.exponential).item
    }

    /// What a unit gives depends on those units that a way of edges leads from, and on those beside and below them.
    @Test(arguments: [StorageLayout.masked, .csr]) func networksAreWiredAsTheGraph(storage: StorageLayout) throws {
        var generator = SeededGenerator(seed: 7)
        let example = try graph(5, [(0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)])
        let network = try WiredNetwork(
            example, cell: .gru, inputDimensions: 3, storage: storage, using: &generator)
        #expect(network.layers.map(\.hiddenDimensions) == [2, 1, 1, 1] && network.outputDimensions == 1)
        // 1-3 goes from the first layer to the third, 2-4 from the second to the fourth.
        #expect(network.skips.map(\.input.inputDimensions) == [2, 1])
        // Node 3 hears of node 1 but not of node 0 by its own edges: one of two columns, in all three gates.
        let mask = SparsePattern(nonzerosOf: network.skips[0].input.weight.densified())
        #expect((0..<3).allSatisfy { mask.keptColumns(row: $0) == [1] })
        #expect(network.layers[1].input.weight.activeCount == 6)
        let tape = Tape<Float>()
        let x = Tensor<Float>(normal: [8, 3], using: &generator)
        #expect(network(tape.constant(x), batch: 2).shape == [8, 1])
        // By hand, from the layers.
        let first = network.layers[0](tape.constant(x), batch: 2)
        let second = network.layers[1](first, batch: 2)
        let third = network.layers[2](second, batch: 2) + network.skips[0](first, batch: 2)
        let fourth = network.layers[3](third, batch: 2) + network.skips[1](second, batch: 2)
        #expect(network(tape.constant(x), batch: 2).value == fourth.value)
        #expect(network.parameters.allSatisfy { $0.count > 0 } && network.linears.count == 12)
    }

    private func examples() throws -> SequenceExamples {
        try SequenceExamples(
            sequences: [[1, 2, 3], [2], [3, 1], [1, 1, 1, 2]], labels: [0, 1, 1, 0], vocabulary: 4, classes: 2)
    }

    @Test func batchesOfSequences() throws {
        let batch = try examples().batch([2, 1, 0])
        #expect(
            batch.tokens == [3, 2, 1, 1, 0, 2, 0, 0, 3] && batch.lengths == [2, 1, 3] && batch.labels == [1, 1, 0])
        #expect(try examples().batch([1], padding: 3).tokens == [2, 0, 0])
        for (sequences, labels): ([[Int32]], [Int32]) in [
            ([[1], []], [0, 1]), ([[4]], [0]), ([[-1]], [0]), ([[1]], [2]), ([[1]], []),
        ] {
            #expect(throws: LacunaError.self) {
                try SequenceExamples(sequences: sequences, labels: labels, vocabulary: 4, classes: 2)
            }
        }
    }

    /// At its own last token, a sequence gives the same alone and beside a longer one; behind the padding it does not.
    @Test(arguments: SequenceClassifier.Reading.allCases) func whatIsRead(reading: SequenceClassifier.Reading) throws {
        var generator = SeededGenerator(seed: 9)
        let model = SequenceClassifier(
            vocabulary: 4, width: 5, body: RecurrentStack(.gru, inputDimensions: 5, hidden: [6], using: &generator),
            classes: 2, reading: reading, using: &generator)
        let tape = Tape<Float>()
        let together = model(try examples().batch([1, 3]), on: tape).value
        let alone = model(try examples().batch([1]), on: tape).value
        let longest = model(try examples().batch([3]), on: tape).value
        #expect((0..<2).allSatisfy { abs(together[1, $0] - longest[0, $0]) < 1e-6 })
        #expect((0..<2).allSatisfy { abs(together[0, $0] - alone[0, $0]) < 1e-6 } == (reading == .lastToken))
    }

    @Test(arguments: OneShotPruning.RecurrentMatrices.allCases)
    func weightsOfAllLayersCompete(matrices: OneShotPruning.RecurrentMatrices) throws {
        var generator = SeededGenerator(seed: 11)
        let model = SequenceClassifier(
            vocabulary: 4, width: 5,
            body: RecurrentStack(.lstm, inputDimensions: 5, hidden: [6, 8], using: &generator),
            classes: 2, using: &generator)
        let before = model.linears.map { ($0.name, $0.layer.weight.densified()) }
        let pruning = try OneShotPruning.recurrent(matrices, sparsity: 0.7)
        let steps = 6
        var plan = TrainingPlan(steps: steps, learningRate: .constant(0.01))
        plan.seed = 2
        try model.train(
            on: examples(), optimizer: Adam(weightDecay: 0.1, isDecoupled: true), plan: plan, batch: 4, hooks: [pruning]
        )
        func isChosen(_ name: String) -> Bool {
            switch matrices {
            case .inputs: name.hasSuffix(".input")
            case .states: name.hasSuffix(".hidden")
            case .both: name.hasSuffix(".input") || name.hasSuffix(".hidden")
            }
        }
        let pool = before.filter { isChosen($0.0) }.flatMap { $0.1.scalars.map(abs) }.sorted()
        let removed = Selection.removedCount(sparsity: 0.7, of: pool.count)
        var kept = 0
        for ((name, old), (_, layer)) in zip(before, model.linears) {
            let new = layer.weight.densified()
            for (a, b) in zip(old.scalars, new.scalars) {
                // One threshold for all; what is below stays 0 through training and decay.
                let stays = !isChosen(name) || abs(a) >= pool[removed]
                #expect((b != 0) == stays)
                if isChosen(name) && b != 0 { kept += 1 }
            }
        }
        #expect(kept == pool.count - removed)
        for sparsity in [-0.1, 1.1, .nan] {
            #expect(throws: LacunaError.self) { try OneShotPruning.recurrent(matrices, sparsity: sparsity) }
        }
    }

    /// The budget `global` of a configuration file is one competition, too.
    @Test func oneThresholdForAllLayers() throws {
        let model = network([20, 24, 2])
        // A layer of small weights loses all of them before the other one loses any.
        var small = model.layers[0].weight.densified()
        small.withMutablePointer { w in for i in 0..<480 { w[i] *= 1e-9 } }
        model.layers[0].weight = DenseWeight(small)
        try OneShotPruning(budget: GlobalBudget(0.9), layers: .all).prune(model)
        #expect(model.layers[1].weight.activeCount == 48)
        #expect(model.layers[0].weight.activeCount == 528 - Selection.removedCount(sparsity: 0.9, of: 528) - 48)
    }
}
