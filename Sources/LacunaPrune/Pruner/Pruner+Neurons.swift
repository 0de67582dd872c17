import LacunaModels
import LacunaSparse
import LacunaTensor

extension Pruner {
    /// Removes feed-forward neurons after one pass of the dense model.
    func slice(
        _ decoder: inout Transformer, _ method: any FeedForwardPruning, _ calibration: CalibrationSet,
        _ progress: (any ProgressReporter)?
    ) throws -> [PruningReport.Layer] {
        guard let sparsity = (budget as? UniformBudget)?.value else {
            throw LacunaError.invalidArgument(
                "budget", reason: "the method \(method.card.name) shares out one sparsity among the blocks by itself")
        }
        // Nothing that was asked for is passed over.
        if !ignored.isEmpty {
            throw LacunaError.unsupported(
                file: nil, what: "layers left out by \(method.card.name), which shares neurons out among all")
        }
        if let layout = storage.layout, layout != .dense {
            throw LacunaError.invalidArgument(
                "layout", reason: "\(method.card.name) makes matrices smaller and stores them dense, not as \(layout)")
        }
        guard decoder.configuration.hasGates, !decoder.hasExperts else {
            throw LacunaError.unsupported(
                file: nil, what: "the method \(method.card.name) on feed-forward parts without gates, or of experts")
        }
        let blocks = decoder.blocks.count
        var stream = try CalibrationStream(decoder, calibration, batchTokens: batchTokens)
        let batches = stream.batchCount
        var importance: [Double] = []
        var seen: [InputStatistics] = []
        for layer in 0..<blocks {
            let down = decoder.configuration.weightName(.down, layer: layer)
            var activations = InputStatistics(columns: decoder[linear: down].columns)
            var angles = 0.0
            var done = 0
            try stream.advance(
                decoder, layer: layer,
                observer: { names, inputs, count in
                    if names.contains(down) { activations.accumulate(inputs, count: count) }
                },
                step: { input, output in
                    angles += Self.sumOfAngles(input, output)
                    done += 1
                    try progress.report(
                        "observing", layer * batches + done, of: blocks * batches,
                        "block \(layer + 1) of \(blocks)")
                })
            importance.append(angles / Double(max(activations.tokens, 1)))
            seen.append(activations)
        }
        let counts = try method.keptCounts(importance: importance, widths: seen.map(\.columns), sparsity: sparsity)
        var layers: [PruningReport.Layer] = []
        for layer in 0..<blocks {
            try progress.report("slicing", layer, of: blocks)
            layers += try slice(&decoder, layer, method, seen[layer], count: counts[layer])
        }
        return layers
    }

    private static func sumOfAngles(_ input: Tensor<Float>, _ output: Tensor<Float>) -> Double {
        let (n, width) = (input.rows, input.columns)
        return input.withPointer { a in
            output.withPointer { b in
                (0..<n).reduce(0.0) { $0 + AngularBudget.angle(a + $1 * width, b + $1 * width, count: width) }
            }
        }
    }

    private func slice(
        _ decoder: inout Transformer, _ layer: Int, _ method: any FeedForwardPruning, _ activations: InputStatistics,
        count: Int
    ) throws -> [PruningReport.Layer] {
        let begin = monotonicSeconds()
        let block = decoder.blocks[layer]
        let whole = try FeedForwardWeights(
            gate: block[.gate].weight.densified(), up: block[.up].weight.densified(),
            down: block[.down].weight.densified())
        let kept = try method.keptNeurons(whole, activations: activations, count: count)
        let part = whole.keeping(kept)
        var replacement = block
        var layers: [PruningReport.Layer] = []
        for (role, weight) in [(LinearRole.gate, part.gate), (.up, part.up), (.down, part.down)] {
            let before = block[role].weight
            let matrix = try WeightStore.make(weight, mask: nil, layout: .dense, values: storage.values)
            // Biases belong to outputs: those of gate and up go with their neurons.
            let bias = block[role].bias.map { role == .down ? $0 : Self.entries($0, kept) }
            replacement[role] = LinearLayer(matrix, bias: bias)
            layers.append(
                PruningReport.Layer(
                    name: decoder.configuration.weightName(role, layer: layer), rows: before.rows,
                    columns: before.columns,
                    sparsity: 1 - Double(kept.count) / Double(max(whole.neurons, 1)), format: matrix.format,
                    bytesBefore: before.byteCount, bytesAfter: matrix.byteCount, outputError: nil, seconds: 0))
        }
        try decoder.replaceFeedForward(layer: layer, with: replacement.feedForward)
        for index in layers.indices { layers[index].seconds = (monotonicSeconds() - begin) / 3 }
        return layers
    }

    private static func entries(_ vector: Tensor<Float>, _ kept: [Int]) -> Tensor<Float> {
        vector.withPointer { p in Tensor(kept.map { p[$0] }) }
    }
}
