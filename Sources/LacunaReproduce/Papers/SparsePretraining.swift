import Lacuna

/// Checks sparse pre-training followed by dense fine-tuning on related regression tasks.
struct SparsePretrainingReproduction: Reproduction {
    let shortName = "SPDF"
    let paper = 98
    let title = "SPDF: Sparse Pre-training and Dense Fine-tuning for Large Language Models"
    let arXiv: String? = "2303.10464"
    let claim =
        "Pre-training with up to 75 % of the weights removed at random, then fine-tuning all weights, costs little quality "
        + "downstream and saves most of the pre-training."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 2 : 4
        var sums = [String: Double]()
        var (leaks, jump) = (0, 0.0)
        for index in 0..<seeds {
            try context.progress.report("pre-training", index, of: seeds)
            let seed = context.seed &* 100 &+ UInt64(index)
            let tasks = RelatedTasks(seed: seed)
            let (trainA, testA, trainB, testB) = (tasks.trainA, tasks.testA, tasks.trainB, tasks.testB)
            let (network, train, error) = (tasks.network, tasks.train, RelatedTasks.error)
            func add(_ name: String, _ value: Double) { sums[name, default: 0] += value / Double(seeds) }
            for arm in ["dense", "sparse, then dense", "sparse, then sparse", "scratch"] {
                let model = network()
                if arm != "scratch" {
                    let hooks: [any TrainingHook] =
                        arm == "dense"
                        ? []
                        : [
                            try StaticRandomSparsity(
                                budget: UniformBudget(0.75), layers: .allButOutput, rescalesWeights: false)
                        ]
                    try train(model, trainA, 3000, 1e-3, hooks)
                    if arm != "sparse, then sparse" { add("A " + arm, error(model, testA)) }
                    if arm == "sparse, then dense" {
                        for layer in model.layers.dropLast() {
                            let parameter = layer.dense!.parameter
                            for i in 0..<parameter.count where parameter.mask!.pointer[i] == 0 {
                                if parameter.buffer.pointer[i] != 0 || parameter.slot("first")[i] != 0
                                    || parameter.slot("second")[i] != 0
                                {
                                    leaks += 1
                                }
                            }
                        }
                        let before = error(model, testA)
                        model.densify()
                        jump = max(jump, abs(error(model, testA) - before))
                    }
                }
                try train(model, trainB, 800, 5e-4, [])
                add("B " + arm, error(model, testB))
            }
        }
        let (dense, sparse) = (sums["B dense"]!, sums["B sparse, then dense"]!)
        return Outcome(
            setting:
                "mean of \(seeds) pairs of related tasks on shared features; 20-192-192-4, 8000 samples to pre-train, 300 to fine-tune",
            measurements: [
                Measurement(
                    "error after pre-training, 75 % sparse", measured: sums["A sparse, then dense"]!,
                    baseline: sums["A dense"]!, baselineName: "dense"),
                Measurement(
                    "error after fine-tuning, sparse then dense", measured: sparse, baseline: dense,
                    baselineName: "dense throughout"),
                Measurement(
                    "error after fine-tuning, sparse throughout", measured: sums["B sparse, then sparse"]!,
                    baseline: dense, baselineName: "dense throughout"),
                Measurement("error without pre-training", measured: sums["B scratch"]!),
            ],
            checks: [
                Check("sparse pre-training costs at most 10 % downstream", sparse, .atMost, 1.1 * dense),
                Check("pre-training matters: below 0.6 of the error without", sparse, .less, 0.6 * sums["B scratch"]!),
                Check(
                    "dense fine-tuning is no worse than sparse fine-tuning by over 5 %", sparse, .atMost,
                    1.05 * sums["B sparse, then sparse"]!),
                Check("masked weights or moments that are not 0", Double(leaks), .atMost, 0),
                Check("removing the mask does not change the function", jump, .atMost, 1e-6),
            ])
    }
}
