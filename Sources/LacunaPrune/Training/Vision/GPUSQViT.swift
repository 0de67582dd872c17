import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// GPUSQ-ViT: a vision transformer becomes 2:4 sparse, then 8- or 4-bit, each time learning from what it was before.
///
/// 1. Of every 4 weights along the inputs the 2 largest stay (all matrices of the blocks); those are trained by `hard ·
///    cross-entropy + soft · T² KL + features · Σ mean((fᵢ - f'ᵢ)²)` with the dense network as the teacher.
/// 2. Weights and inputs are rounded while training (``FakeQuantizedWeight``), with the sparse network as the teacher. Layers whose
///    features were still far from the dense network's at the end of the first stage count for more.
///
/// Features are what the feed-forward parts of the later half of the blocks give. `hard` 0 needs no labels.
///
/// Chong Yu, Tao Chen, Zhongxue Gan, Jiayuan Fan, "Boost Vision Transformer with GPU-Friendly Sparsity and Quantization",
/// arXiv 2305.10727. The weights of the layers in the second stage are `wᵢ = Lᵢ / mean L`, fixed; the paper leaves the form open.
///
/// ```swift
/// let method = try GPUSQViT(bits: 4)
/// let distances = try method.sparsify(vit, teacher: denseViT, on: pictures, optimizer: Adam(), plan: plan, batch: 64)
/// // A copy of what vit is now teaches in the second stage.
/// try method.quantize(
///     vit, teacher: sparseViT, distances: distances, on: pictures, optimizer: Adam(), plan: plan, batch: 64)
/// for (name, matrix) in try method.stored(vit) { print(name, matrix.byteCount) }      // 2:4 with whole numbers
/// ```
public struct GPUSQViT: Sendable {
    /// Of weights and inputs in the second stage: 8 or 4.
    public let bits: Int
    /// Factors of the terms of the loss, 0 or more.
    public let hard, soft, features: Double
    /// Of the divergence; positive.
    public let temperature: Double

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(
        bits: Int = 8, hard: Double = 1, soft: Double = 10, features: Double = 5, temperature: Double = 2
    ) throws {
        guard bits == 8 || bits == 4 else {
            throw LacunaError.invalidArgument("bits", reason: "\(bits) is neither 8 nor 4")
        }
        guard hard >= 0, soft >= 0, features >= 0, hard + soft + features > 0, temperature > 0 else {
            throw LacunaError.invalidArgument("loss", reason: "factors \(hard), \(soft), \(features)")
        }
        (self.bits, self.hard, self.soft, self.features) = (bits, hard, soft, features)
        self.temperature = temperature
    }

    /// What the method is, for listings.
    public static let card = MethodCard(
        name: "gpusq-vit", family: .sparseTraining,
        paper: .init(
            authors: "Chong Yu, Tao Chen, Zhongxue Gan, Jiayuan Fan",
            title: "Boost Vision Transformer with GPU-Friendly Sparsity and Quantization", arXiv: "2305.10727"),
        composition: ["|w|", "2:4", "distillation, rounding while training"],
        implements: [
            "2:4 with distillation, then 8- or 4-bit with distillation",
            "layers weighted by their distance",
            "2:4 stores of whole numbers",
        ],
        leavesOut: ["weights of layers taken anew in the second stage"])

    private static let pattern = Pattern.nm(n: 2, m: 4)

    /// The matrices of the blocks.
    private func matrices(of model: TrainableViT) -> [(name: String, layer: Linear)] {
        model.linears.filter { $0.name.contains(".layer.") }
    }

    /// The layers whose outputs are features.
    func featureLayers(of model: TrainableViT) -> [String] {
        let count = model.blocks.count
        return (count / 2..<count).map {
            "\(model.configuration.architecture.rawValue).encoder.layer.\($0).output.dense"
        }
    }

    /// The first stage.
    ///
    /// - Parameter plan: Of the training under the mask.
    /// - Returns: For each layer of features the mean distance from the teacher's in the last quarter of the run.
    /// - Throws: As ``Trainer`` and ``FeatureDistillation``; `LacunaError.unsupported` for weights that are not dense.
    @discardableResult
    public func sparsify(
        _ student: TrainableViT, teacher: TrainableViT, on examples: LabelledExamples, optimizer: any Optimizer,
        plan: TrainingPlan, batch: Int
    ) throws -> [Double] {
        for (name, layer) in matrices(of: student) {
            guard let weight = layer.dense else {
                throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights ('\(name)')")
            }
            try layer.sparsify(
                .masked, mask: Selection.mask(magnitudesOf: weight.parameter.value, pattern: Self.pattern))
        }
        return try train(student, teacher, nil, examples, optimizer, plan, batch)
    }

    /// The second stage, for a network that the first has made sparse.
    ///
    /// - Parameters:
    ///   - teacher: The sparse network.
    ///   - distances: What the first stage returned; nil for layers that count alike.
    /// - Throws: As ``sparsify(_:teacher:on:optimizer:plan:batch:)``.
    public func quantize(
        _ student: TrainableViT, teacher: TrainableViT, distances: [Double]? = nil, on examples: LabelledExamples,
        optimizer: any Optimizer, plan: TrainingPlan, batch: Int
    ) throws {
        for (name, layer) in matrices(of: student) {
            guard let weight = layer.dense else {
                throw LacunaError.unsupported(file: nil, what: "rounding \(layer.weight.storage) weights ('\(name)')")
            }
            layer.weight = try FakeQuantizedWeight(weight, bits: bits)
        }
        try train(student, teacher, distances, examples, optimizer, plan, batch)
    }

    @discardableResult
    private func train(
        _ student: TrainableViT, _ teacher: TrainableViT, _ weights: [Double]?, _ examples: LabelledExamples,
        _ optimizer: any Optimizer, _ plan: TrainingPlan, _ batch: Int
    ) throws -> [Double] {
        let distillation = try FeatureDistillation(
            student: student, teacher: teacher, layers: featureLayers(of: student), soft: soft, features: features,
            temperature: temperature, weights: weights)
        defer { distillation.finish() }
        let counter = StepCounter { step in
            // What is left at the end counts, not what it began with.
            if step == 3 * plan.steps / 4 { _ = distillation.takeDistances() }
        }
        try Trainer(
            model: student, optimizer: optimizer,
            source: ShuffledBatches(examples, batchSize: batch, seed: plan.seed), plan: plan, hooks: [counter],
            loss: { batch, tape in
                let logits = student(tape.constant(batch.inputs))
                let taught = distillation.term(batch.inputs, logits: logits)
                return hard == 0 ? taught : taught + Loss.crossEntropy(logits, labels: batch.labels).affine(Float(hard))
            }
        ).train()
        return distillation.takeDistances()
    }

    /// The matrices of the blocks as they are to be kept: 2 of 4 values as whole numbers of ``bits`` bits.
    ///
    /// - Throws: What ``WeightStore`` throws.
    public func stored(_ model: TrainableViT) throws -> [(name: String, matrix: any StoredMatrix)] {
        try matrices(of: model).map { name, layer in
            let dense = (layer.weight as? FakeQuantizedWeight)?.base ?? layer.dense
            guard let dense, let mask = dense.mask else {
                throw LacunaError.unsupported(
                    file: nil, what: "storing \(layer.weight.storage) weights ('\(name)') as 2:4")
            }
            return (
                name,
                try WeightStore.make(
                    dense.parameter.value, mask: mask, layout: .nm(n: 2, m: 4), values: bits == 8 ? .int8 : .int4)
            )
        }
    }
}

/// Calls a function before every step.
private final class StepCounter: TrainingHook {
    private let body: (Int) -> Void
    init(_ body: @escaping (Int) -> Void) { self.body = body }
    func beforeStep(_ run: TrainingRun) { body(run.step) }
}
