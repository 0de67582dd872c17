import LacunaLearn
import LacunaModels
import LacunaTensor

/// Makes a network's ReLU activations sparse by training: an L1 penalty on what the down projection reads, whose weight grows in stages
/// so that no step changes much, then a ReLU that begins later: `x` where it is above a threshold, 0 elsewhere.
///
/// Chenyang Song, Xu Han, Zhengyan Zhang, Shengding Hu, Xiyu Shi, Kuai Li, Chen Chen, Zhiyuan Liu, Guangli Li, Tao Yang, Maosong Sun,
/// "ProSparse: Introducing and Enhancing Intrinsic Activation Sparsity within Large Language Models", arXiv 2402.13516. The first of
/// their three steps, ReLU in the place of another function, is ``LacunaModels/Transformer/rectified()``. The penalty is the sum over layers of the mean
/// magnitude of an activation, over tokens and neurons.
///
/// ```swift
/// let network = try TrainableTransformer(decoder.rectified())
/// let hook = try ProSparse(weight: StagedWeight([.init(weight: 0, end: 500), .init(weight: 0.1, end: 2000)]))
/// // … trained by a Trainer with `hooks: [hook]`, then:
/// let result = try network.stored()
/// let gate = try ActivationGate(rectified: result, above: hook.threshold)
/// print(try Perplexity.measure(result, tokens: tokens, gate: gate).value)
/// ```
public final class ProSparse: TrainingHook {
    /// λ, of the penalty.
    public let weight: StagedWeight
    /// Where the ReLU begins in the end; 0 leaves it.
    public let threshold: Float
    /// The first step with the shifted ReLU; nil for none, so that the shift comes after training.
    public let shiftStep: Int?
    private var layers: [TrainableFeedForward] = []
    private var seen: [Variable<Float>] = []
    private var density = 0.0

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a threshold or step that is negative.
    public init(weight: StagedWeight, threshold: Float = 0.01, shiftStep: Int? = nil) throws {
        guard threshold >= 0, threshold.isFinite, shiftStep ?? 0 >= 0 else {
            throw LacunaError.invalidArgument(
                "threshold", reason: "\(threshold) from step \(shiftStep ?? 0): is negative or not finite")
        }
        (self.weight, self.threshold, self.shiftStep) = (weight, threshold, shiftStep)
    }

    /// Stages of the authors' 7-billion run, as parts of another number of steps: 0, 0.005, 0.05, 0.05, 0.2, 0.2.
    public static func stages(steps: Int, scale: Double = 1) throws -> StagedWeight {
        let ends = [5000, 6000, 10_000, 12_000, 16_000, 16_500]
        let weights = [0, 5e-3, 5e-2, 5e-2, 2e-1, 2e-1]
        return try StagedWeight(
            zip(ends, weights).map { end, weight in
                .init(weight: weight * scale, end: Int((Double(steps) * Double(end) / 16_500).rounded()))
            })
    }

    public func attach(_ run: TrainingRun) throws {
        layers = try run.model.watchableFeedForwards(rectified: true)
        for layer in layers {
            layer.watch = { [weak self] hidden in
                if hidden.tape.isRecording { self?.seen.append(hidden) }
            }
        }
    }

    public func beforeStep(_ run: TrainingRun) throws {
        seen = []
        guard let shiftStep, run.step >= shiftStep, threshold > 0 else { return }
        let threshold = threshold
        for layer in layers { layer.sparsifier = { $0.shifted(above: threshold) } }
    }

    public func penalty(_ run: TrainingRun) -> Variable<Float>? {
        defer { seen = [] }
        if seen.isEmpty { return nil }
        density =
            seen.reduce(0.0) { sum, hidden in
                sum
                    + hidden.withPointer { x in
                        Double((0..<hidden.count).count { x[$0] != 0 }) / Double(max(hidden.count, 1))
                    }
            } / Double(seen.count)
        let lambda = Float(weight(run.step))
        if lambda == 0 { return nil }
        let means = seen.map { $0.map(.absolute).mean().affine(lambda) }
        return means.dropFirst().reduce(means[0]) { $0 + $1 }
    }

    /// Adds `density`, the share of the last batch's activations that were not 0, to the metrics, and takes its hands off the network.
    public func end(_ run: TrainingRun) throws {
        for layer in layers { (layer.watch, layer.sparsifier) = (nil, nil) }
        run.metrics.append(("density", density))
    }
}

extension Variable {
    /// `x` where it is above a threshold, 0 elsewhere: a ReLU that begins later. What stays keeps its value.
    public func shifted(above threshold: Scalar) -> Variable {
        tape.operation(inputs: [self], shape: shape) { inputs, output in
            let x = inputs[0]
            for i in output.indices { output[i] = x[i] > threshold ? x[i] : 0 }
        } backward: { pass in
            pass.accumulate(0) { dx in
                for i in dx.indices where pass.inputs[0][i] > threshold { dx[i] += pass.gradient[i] }
            }
        }
    }
}
