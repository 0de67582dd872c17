import Lacuna

/// A training method of one's own, as a hook: after every step all weights of linear layers move towards 0 by
/// `rate · strength`, and those that would cross it stay there (proximal gradient descent on an L1 penalty). At the end what
/// is 0 becomes a mask.
final class ProximalSparsity: TrainingHook {
    let strength: Float
    init(strength: Float) { self.strength = strength }

    func afterStep(_ run: TrainingRun) {
        let threshold = Float(run.optimizer.learningRate) * strength
        for (_, layer) in run.model.linears {
            guard let weight = layer.dense?.parameter else { continue }
            weight.value = Tensor(
                weight.value.scalars.map { $0 > threshold ? $0 - threshold : $0 < -threshold ? $0 + threshold : 0 },
                shape: weight.shape)
        }
    }

    func end(_ run: TrainingRun) {
        var (kept, all) = (0, 0)
        for (_, layer) in run.model.linears {
            guard let dense = layer.dense else { continue }
            dense.mask = SparsePattern(nonzerosOf: dense.parameter.value)
            (kept, all) = (kept + dense.activeCount, all + dense.parameter.count)
        }
        run.metrics.append(("sparsity", 1 - Double(kept) / Double(max(all, 1))))
    }
}
