import Lacuna

/// Checks that a growing, selective decay leaves nothing to lose in the final pruning.
struct CASTReproduction: Reproduction {
    let shortName = "CAST"
    let paper = 16
    let title =
        "CAST: Continuous and Differentiable Semi-Structured Sparsity-Aware Training for Large Language Models"
    let arXiv: String? = "2509.25996"
    let claim =
        "Training with a dense forward pass and a decay of the weights that a 2:4 mask would remove ends with weights "
        + "that can be pruned at no cost, in quality close to dense."

    /// The straight-through estimator, with the ratio of masked to kept magnitudes read at the end.
    private final class Control: TrainingHook {
        let base: SRSTE
        var residual = 0.0
        let pattern: Pattern
        init(_ pattern: Pattern) throws {
            self.pattern = pattern
            base = try SRSTE(pattern: pattern, decay: 0)
        }
        func attach(_ run: TrainingRun) throws { try base.attach(run) }
        func gradientsReady(_ run: TrainingRun) throws { try base.gradientsReady(run) }
        func end(_ run: TrainingRun) throws {
            var (masked, kept) = ((0.0, 0), (0.0, 0))
            for (_, layer) in try LayerChoice.allButOutput.layers(of: run.model) {
                let value = layer.dense!.parameter.value
                let mask = try StraightThroughView.mask(value, pattern)
                for r in 0..<mask.rows {
                    for c in 0..<mask.columns {
                        let size = Double(abs(value[r, c]))
                        if mask[r, c] {
                            kept = (kept.0 + size, kept.1 + 1)
                        } else {
                            masked = (masked.0 + size, masked.1 + 1)
                        }
                    }
                }
            }
            residual = masked.0 / Double(masked.1) / (kept.0 / Double(kept.1))
            try base.end(run)
        }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = context.quick ? 5 : 8
        let pattern = Pattern.nm(n: 2, m: 4)
        var (oneShot, through, cast, weak, unscaled) = ([Double](), [Double](), [Double](), [Double](), [Double]())
        var (ratio, throughRatio, weakRatio, change) = ([Double](), [Double](), [Double](), [Double]())
        for index in 0..<count {
            try context.progress.report("continuous sparsity", index, of: count)
            let bed = NMTraining(seed: context.seed &* 1000 &+ UInt64(index))
            let start = bed.fresh()
            try ClassifierTraining().train(start, bed.task.train, seed: bed.seed)
            func copy() -> MLP {
                let model = bed.fresh()
                for (to, from) in zip(model.layers, start.layers) {
                    to.weight = DenseWeight(from.weight.densified())
                    to.bias!.value = from.bias!.value
                }
                return model
            }
            var recipe = ClassifierTraining()
            (recipe.usesAdam, recipe.learningRate, recipe.steps) = (true, 1e-3, 1500)
            /// Test accuracy and loss, and what the final pruning did to the loss.
            func run(_ hook: any TrainingHook) throws -> (accuracy: Double, change: Double) {
                let model = copy()
                var before = Double.nan
                (hook as? CAST)?.beforePruning = {
                    before = (try? ClassifierTraining.evaluate(model, bed.task.test).loss) ?? .nan
                }
                try recipe.train(model, bed.task.train, hooks: [hook], seed: bed.seed)
                let found = ClassifierTraining.evaluate(model, try bed.task.test)
                return (found.accuracy, abs(found.loss - before))
            }
            let pruned = copy()
            for layer in pruned.layers.dropLast() {
                try layer.sparsify(.masked, mask: StraightThroughView.mask(layer.weight.densified(), pattern))
            }
            oneShot.append(ClassifierTraining.accuracy(pruned, try bed.task.test))
            let control = try Control(pattern)
            through.append(try run(control).accuracy)
            throughRatio.append(control.residual)
            let method = try CAST(pattern: pattern, lambda: 1e-3)
            let found = try run(method)
            cast.append(found.accuracy)
            change.append(found.change)
            ratio.append(method.residual)
            let plain = try CAST(pattern: pattern, lambda: 1e-3, scales: 0)
            unscaled.append(try run(plain).accuracy)
            let weaker = try CAST(pattern: pattern, lambda: 1e-4)
            weak.append(try run(weaker).accuracy)
            weakRatio.append(weaker.residual)
        }
        return Outcome(
            setting:
                "mean of \(count) trained networks 64-256-256-10, then 1500 steps of Adam, the rate falling linearly to 0",
            measurements: [
                Measurement(
                    "accuracy at 2:4, CAST", Sample(cast), baseline: Sample(oneShot), baselineName: "pruned at once"),
                Measurement(
                    "accuracy at 2:4, CAST, λ a tenth", Sample(weak), baseline: Sample(through),
                    baselineName: "straight-through"),
                Measurement(
                    "accuracy at 2:4, CAST without scales of rows", Sample(unscaled), baseline: Sample(cast),
                    baselineName: "with them"),
                Measurement(
                    "masked over kept magnitude, CAST", Sample(ratio), baseline: Sample(throughRatio),
                    baselineName: "straight-through"),
                Measurement("masked over kept magnitude, λ a tenth", Sample(weakRatio)),
                Measurement("change of the loss by the final pruning", Sample(change)),
            ],
            checks: [
                Check("masked weights end below 1 % of the kept ones", Sample(ratio), staysBelow: 0.01),
                Check("with the straight-through estimator they do not", Sample(throughRatio), exceeds: 0.1),
                Check("the final pruning changes the loss by less than 0.001", Sample(change), staysBelow: 1e-3),
                Check(
                    "accuracy is within 0.01 of straight-through", Sample(cast) - Sample(through), exceeds: -0.01),
                Check("and over 0.02 above pruning at once", Sample(cast) - Sample(oneShot), exceeds: 0.02),
                Check("a tenth of λ leaves over twice as much", Sample(weakRatio) / Sample(ratio), exceeds: 2),
            ],
            notes: ["Without the authors' distillation, which goes with every method."])
    }
}
