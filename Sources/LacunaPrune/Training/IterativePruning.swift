import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Iterative pruning of a trained network: prune the smallest weights of all layers together, train again, repeat.
public struct IterativePruning: Sendable {
    /// Removes a share of the weights that are still in use, over all `layers` together, by magnitude.
    ///
    /// - Throws: `LacunaError.unsupported` for layers whose weights are not dense, `.invalidArgument` for a share outside
    ///   0...1.
    public static func prune(_ layers: [Linear], share: Double) throws {
        guard (0...1).contains(share) else {
            throw LacunaError.invalidArgument("share", reason: "\(share) is not in 0...1")
        }
        var scores: [String: Tensor<Float>] = [:]
        var (active, total) = (0, 0)
        for (index, layer) in layers.enumerated() {
            guard let weight = layer.dense else {
                throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights")
            }
            var values = weight.parameter.value
            let mask = weight.mask
            let n = values.count
            values.withMutablePointer { p in
                for i in 0..<n { p[i] = abs(p[i]) }
                if let mask {
                    let removed = mask.inverted()
                    for r in 0..<mask.rows { removed.forEachKeptColumn(row: r) { p[r * mask.columns + $0] = -1 } }
                }
            }
            active += weight.activeCount
            total += n
            // Padded, so that names sort as indices do.
            scores[String(10_000 + index)] = values
        }
        let kept = active - Selection.removedCount(sparsity: share, of: active)
        let masks = try Selection.selectGlobally(scores, sparsity: 1 - Double(kept) / Double(max(total, 1)))
        for (index, layer) in layers.enumerated() { layer.dense!.mask = masks[String(10_000 + index)]! }
    }

    /// The values still in use of all layers.
    public static func activeValues(_ layers: [Linear]) -> [Float] {
        layers.flatMap { layer -> [Float] in
            let values = layer.weight.densified()
            guard let mask = layer.dense?.mask else { return values.scalars }
            var kept: [Float] = []
            for r in 0..<mask.rows { mask.forEachKeptColumn(row: r) { kept.append(values[r, $0]) } }
            return kept
        }
    }

    /// Share of the weights in use.
    public static func density(_ layers: [Linear]) -> Double {
        let total = layers.reduce(0) { $0 + $1.inputDimensions * $1.outputDimensions }
        return Double(layers.reduce(0) { $0 + $1.weight.activeCount }) / Double(max(total, 1))
    }
}
