import LacunaModels
import LacunaSparse
import LacunaTensor

extension Pruner {
    /// Puts other forms in the place of matrices.
    func compress(
        _ decoder: inout Transformer, _ method: any MatrixCompression, _ calibration: CalibrationSet?,
        _ progress: (any ProgressReporter)?
    ) throws -> [PruningReport.Layer] {
        if let layout = storage.layout {
            throw LacunaError.invalidArgument("layout", reason: "\(method.card.name) has its own, so not \(layout)")
        }
        if let values = method.fixedValues, storage.values != values {
            throw LacunaError.invalidArgument(
                "weights", reason: "\(method.card.name) stores \(values), not \(storage.values)")
        }
        if budget == nil, pattern?.impliedSparsity == nil {
            throw LacunaError.invalidArgument("sparsity", reason: "\(method.card.name) needs one")
        }
        if method.sharesOutSparsity, !(budget is UniformBudget) {
            throw LacunaError.invalidArgument(
                "budget", reason: "\(method.card.name) shares out one sparsity among the layers by itself")
        }
        let layers = shapes(decoder)
        let sparsities = try pattern?.impliedSparsity == nil ? budget?.allocate(layers: layers) : nil
        let network = decoder
        let method = try method.prepared(for: layers, sparsity: budget?.sparsity) { name in
            try progress.report("surveying", layers.firstIndex { $0.name == name } ?? 0, of: layers.count, name)
            return network[linear: name].densified()
        }
        let indices = Dictionary(uniqueKeysWithValues: layers.enumerated().map { ($0.element.name, $0.offset) })
        let recovering = method as? any RecoveringCompression
        var recovery: Recovery?
        if let recovering {
            recovery = { decoder, layer, names, states in
                try recovering.recover(&decoder, layer: layer, names: names, states: states()) { step in
                    try progress.report("recovering block \(layer + 1)", step, of: step + 1)
                }
            }
        }
        var result = try inTurn(&decoder, calibration, progress, recover: recovery) { decoder, names, statistics in
            try names.map { name in
                let begin = monotonicSeconds()
                let before = decoder[linear: name]
                let weight = before.densified()
                let matrix = try method.compress(
                    weight, statistics: statistics,
                    request: CompressionRequest(
                        name: name, layer: indices[name]!, pattern: pattern, sparsity: sparsities?[name],
                        values: storage.values))
                decoder[linear: name] = matrix
                // A product that is read through its factors is larger than the matrix if the sparsity is small.
                let share = Double(matrix.storedCount) / Double(max(weight.count, 1))
                var layer = PruningReport.Layer(
                    name: name, rows: weight.rows, columns: weight.columns, sparsity: max(0, 1 - share),
                    format: matrix.format, bytesBefore: before.byteCount, bytesAfter: matrix.byteCount,
                    outputError: nil, seconds: 0)
                if let statistics, statistics.hasGram {
                    layer.outputError = try OutputError.relative(
                        original: weight, pruned: matrix.densified(), gram: statistics.gram())
                }
                layer.seconds = monotonicSeconds() - begin
                return layer
            }
        }
        guard let recovering, let calibration else { return result }
        try recovering.finish(&decoder, names: layers.map(\.name), calibration: calibration) { step in
            try progress.report("recovering the model", step, of: step + 1)
        }
        // What was trained since has another error than that of its layer by itself.
        for index in result.indices {
            let matrix = decoder[linear: result[index].name]
            (result[index].format, result[index].bytesAfter) = (matrix.format, matrix.byteCount)
            result[index].outputError = nil
        }
        return result
    }
}
