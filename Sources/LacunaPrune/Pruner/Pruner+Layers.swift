import LacunaModels
import LacunaSparse
import LacunaTensor

extension Pruner {
    /// Replaces layers of one input.
    typealias Replacement = (
        _ decoder: inout Transformer, _ names: [String], _ statistics: InputStatistics?
    ) throws -> [PruningReport.Layer]

    /// Trains a block whose layers have been replaced, given their names.
    typealias Recovery = (
        _ decoder: inout Transformer, _ layer: Int, _ names: [String], _ states: () throws -> BlockStates
    ) throws -> Void

    /// Calls `replace` for layer after layer, with calibration in groups that read one input, each seeing what the layers
    /// before it have become; after the layers of a block, `recover`.
    func inTurn(
        _ decoder: inout Transformer, _ calibration: CalibrationSet?, _ progress: (any ProgressReporter)?,
        recover: Recovery? = nil, _ replace: Replacement
    ) throws -> [PruningReport.Layer] {
        let dense = decoder
        guard let calibration else {
            var layers: [PruningReport.Layer] = []
            let names = names(decoder)
            for (index, name) in names.enumerated() {
                try progress.report("pruning", index, of: names.count, name)
                layers += try replace(&decoder, [name], nil)
            }
            return layers
        }
        let chosen = Set(names(decoder))
        var stream = try CalibrationStream(decoder, calibration, batchTokens: batchTokens)
        let blocks = decoder.blocks.count
        // A block costs two passes, and its pruning about as much again; the last need not move on.
        let unitsPerBlock = 2 * stream.batchCount + 1
        var done = 0
        func step(_ layer: Int) throws {
            done += 1
            try progress.report("pruning", done, of: blocks * unitsPerBlock, "block \(layer + 1) of \(blocks)")
        }
        var layers: [PruningReport.Layer] = []
        for layer in 0..<blocks {
            var statistics = try observe(decoder, layer, stream) { try step(layer) }
            for (index, roles) in decoder.blocks[layer].roleGroups.enumerated() {
                let names = roles.map { decoder.configuration.weightName($0, layer: layer) }.filter(chosen.contains)
                if !names.isEmpty { layers += try replace(&decoder, names, statistics[index]) }
                statistics[index] = InputStatistics(columns: 0)
            }
            if let recover {
                let names = decoder.blocks[layer].roleGroups.joined().map {
                    decoder.configuration.weightName($0, layer: layer)
                }.filter(chosen.contains)
                if !names.isEmpty { try recover(&decoder, layer, names) { try stream.states(dense, layer: layer) } }
            }
            try step(layer)
            if layer + 1 < blocks { try stream.advance(decoder, layer: layer) { _, _ in try step(layer) } }
        }
        return layers
    }

    /// Statistics of the inputs of a block's layers, one for each of its ``TransformerBlock/roleGroups``.
    private func observe(
        _ decoder: Transformer, _ layer: Int, _ stream: CalibrationStream, step: () throws -> Void
    ) throws -> [InputStatistics] {
        let groups = decoder.blocks[layer].roleGroups.map {
            $0.map { decoder.configuration.weightName($0, layer: layer) }
        }
        var statistics = groups.map { names in
            InputStatistics(
                columns: decoder[linear: names[0]].columns,
                gram: method.requirement.contains(.gram) || measuresError)
        }
        var places: [String: Int] = [:]
        for (index, names) in groups.enumerated() { places[names[0]] = index }
        try stream.observe(decoder, layer: layer, step: step) { names, inputs, count in
            if let place = places[names[0]] { statistics[place].accumulate(inputs, count: count) }
        }
        return statistics
    }

    /// Scores of all layers in the dense model: what a budget that compares layers has to see before a method that looks at
    /// inputs prunes the first of them. The method's own, or those by inputs for a method without scores.
    func surveyedScores(
        _ decoder: Transformer, _ method: any LayerwisePruning, _ calibration: CalibrationSet,
        _ progress: (any ProgressReporter)?
    ) throws -> [String: Tensor<Float>] {
        let names = names(decoder)
        let indices = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
        var stream = try CalibrationStream(decoder, calibration, batchTokens: batchTokens)
        let (blocks, batches) = (decoder.blocks.count, stream.batchCount)
        var scores: [String: Tensor<Float>] = [:]
        for layer in 0..<blocks {
            var seen: [String: InputStatistics] = [:]
            var done = 0
            try stream.advance(
                decoder, layer: layer,
                observer: { names, inputs, count in
                    // Layers of one input are named together.
                    let columns = decoder[linear: names[0]].columns
                    seen[names[0], default: InputStatistics(columns: columns)].accumulate(inputs, count: count)
                },
                step: { _, _ in
                    done += 1
                    try progress.report("surveying", layer * batches + done, of: blocks * batches)
                })
            for roles in decoder.blocks[layer].roleGroups {
                let group = roles.map { decoder.configuration.weightName($0, layer: layer) }
                guard let statistics = group.lazy.compactMap({ seen[$0] }).first else { continue }
                for name in group {
                    guard let index = indices[name] else { continue }
                    let score = (method as? any ScoredPruning)?.score(layer: index) ?? ActivationWeightedScore()
                    scores[name] = try score.scores(
                        weight: decoder[linear: name].densified(), statistics: statistics)
                }
            }
        }
        return scores
    }

    /// Prunes and stores layers that read the same input.
    func prune(
        _ decoder: inout Transformer, _ names: [String], _ method: any LayerwisePruning, _ statistics: InputStatistics?,
        _ requests: [String: PruningRequest]
    ) throws -> [PruningReport.Layer] {
        let begin = monotonicSeconds()
        var weights = names.map { decoder[linear: $0].densified() }
        let usesGram = statistics?.hasGram ?? false
        let originals = usesGram ? weights : []
        let masks = try method.prune(group: &weights, statistics: statistics, requests: names.map { requests[$0]! })
        let gram = usesGram ? try statistics?.gram() : nil
        var layers: [PruningReport.Layer] = []
        for (index, name) in names.enumerated() {
            var layer = try store(&decoder, name, weights[index], masks[index], requests[name]!.pattern)
            if let gram {
                layer.outputError = OutputError.relative(
                    original: originals[index], pruned: decoder[linear: name].densified(), gram: gram)
            }
            layers.append(layer)
        }
        let seconds = (monotonicSeconds() - begin) / Double(names.count)
        for index in layers.indices { layers[index].seconds = seconds }
        return layers
    }

    /// Replaces a layer's matrix.
    private func store(
        _ decoder: inout Transformer, _ name: String, _ weight: Tensor<Float>, _ mask: SparsePattern,
        _ pattern: Pattern
    ) throws -> PruningReport.Layer {
        let before = decoder[linear: name].byteCount
        let matrix = try WeightStore.make(
            weight, mask: mask, layout: storage.layout(for: pattern, mask), values: storage.values)
        decoder[linear: name] = matrix
        return PruningReport.Layer(
            name: name, rows: mask.rows, columns: mask.columns, sparsity: mask.sparsity, format: matrix.format,
            bytesBefore: before, bytesAfter: matrix.byteCount, outputError: nil, seconds: 0)
    }

    /// Prunes all layers under one threshold. Needs the scores of all at once, so only methods without calibration can.
    func pruneGlobally(
        _ decoder: inout Transformer, _ method: any LayerwisePruning, _ pattern: Pattern,
        _ progress: (any ProgressReporter)?
    ) throws -> [PruningReport.Layer] {
        guard let method = method as? any ScoredPruning, method.requirement == .none else {
            throw LacunaError.unsupported(
                file: nil,
                what: "one threshold over all layers with the method \(method.card.name), which sees them in turn")
        }
        let shared: any SparsityBudget
        switch budget {
        case let budget? where budget.needsScores: shared = budget
        case let uniform as UniformBudget: shared = GlobalBudget(uniform.value)
        default: throw LacunaError.invalidArgument("budget", reason: "\(pattern) takes one sparsity for all layers")
        }
        let names = names(decoder)
        var scores: [String: Tensor<Float>] = [:]
        for (index, name) in names.enumerated() {
            try progress.report("scoring", index, of: names.count, name)
            scores[name] = try method.score(layer: index).scores(
                weight: decoder[linear: name].densified(), statistics: nil)
        }
        let masks = try shared.masks(scores: scores, pattern: pattern)
        scores = [:]
        var layers: [PruningReport.Layer] = []
        for (index, name) in names.enumerated() {
            try progress.report("pruning", index, of: names.count, name)
            let begin = monotonicSeconds()
            let weight = masks[name]!.applied(to: decoder[linear: name].densified())
            var layer = try store(&decoder, name, weight, masks[name]!, pattern)
            layer.seconds = monotonicSeconds() - begin
            layers.append(layer)
        }
        return layers
    }
}
