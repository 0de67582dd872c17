import Lacuna

/// Trains the network of the ``BlobTask`` checks, 64-256-256-10, with a method on its two hidden layers.
struct NMTraining {
    let task: BlobTask
    let seed: UInt64

    init(seed: UInt64) {
        task = BlobTask(seed: seed)
        self.seed = seed
    }

    func fresh(widths: [Int] = [BlobTask.features, 256, 256, BlobTask.classes]) -> MLP {
        var generator = SeededGenerator(seed: seed, stream: 3)
        return MLP(widths: widths, using: &generator)
    }

    /// Test accuracy after training with a hook.
    func accuracy(_ hook: (any TrainingHook)?) throws -> Double {
        let model = fresh()
        try ClassifierTraining().train(model, task.train, hooks: hook.map { [$0] } ?? [], seed: seed)
        return ClassifierTraining.accuracy(model, try task.test)
    }
}

/// A mask that is chosen from the magnitudes at the start and never again.
final class FixedMask: TrainingHook {
    let pattern: Pattern
    init(_ pattern: Pattern) { self.pattern = pattern }
    func begin(_ run: TrainingRun) throws {
        for (_, layer) in try LayerChoice.allButOutput.layers(of: run.model) {
            try layer.sparsify(.masked, mask: StraightThroughView.mask(layer.weight.densified(), pattern))
        }
    }
}
