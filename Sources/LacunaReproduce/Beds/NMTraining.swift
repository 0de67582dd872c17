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

    /// A network trained with a hook, its test accuracy, and what its training took.
    func trained(_ hook: (any TrainingHook)?) throws -> (model: MLP, accuracy: Double, report: TrainingReport) {
        let model = fresh()
        let report = try ClassifierTraining().train(model, task.train, hooks: hook.map { [$0] } ?? [], seed: seed)
        return (model, ClassifierTraining.accuracy(model, try task.test), report)
    }

    /// Test accuracy after training with a hook.
    func accuracy(_ hook: (any TrainingHook)?) throws -> Double { try trained(hook).accuracy }
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

/// Looks at a network whenever a training of some steps is over, before the hooks that stand behind it in the list act on it.
final class RoundWatch: TrainingHook {
    private let from: Int
    private let length: Int
    private let look: () throws -> Void

    /// - Parameter from: Steps after which looking begins.
    init(from: Int = 0, length: Int, look: @escaping () throws -> Void) {
        (self.from, self.length, self.look) = (from, length, look)
    }

    func afterStep(_ run: TrainingRun) throws {
        if run.step + 1 > from, (run.step + 1) % length == 0 { try look() }
    }
}
