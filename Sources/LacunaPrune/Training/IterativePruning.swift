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
        var inUse: [String: SparsePattern] = [:]
        var active = 0
        for (index, layer) in layers.enumerated() {
            guard let weight = layer.dense else {
                throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights")
            }
            active += weight.activeCount
            // Padded, so that names sort as indices do.
            let name = String(10_000 + index)
            scores[name] = try MagnitudeScore().scores(weight: weight.parameter.value)
            inUse[name] = weight.mask
        }
        let kept = active - Selection.removedCount(sparsity: share, of: active)
        let masks = try Selection.masks(scores: scores, amount: .count(kept), within: inUse)
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
