import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Trains what pruning has left of a language model, end to end, to predict what the dense model predicts: Adam on windows of general
/// text, a teacher beside it (``Distillation``), masks as they are.
///
/// Only the linear layers and norms of the blocks are trained; embedding and head stay as they are stored.
///
/// ```swift
/// let healed = try Healing().run(decoder, teacher: Transformer.load("dense"), tokens: tokens, steps: 400)
/// ```
public struct Healing: Sendable, Hashable {
    /// Tokens of a window.
    public var window: Int
    /// Windows of a step.
    public var batch: Int
    /// Of Adam, relative to the mean magnitude of what a parameter holds; after a rise over the first twentieth of the steps it falls
    /// to a tenth along a cosine.
    public var learningRate: Double
    /// Share of the teacher's predictions in the loss, 0...1; the rest is the text's next tokens. With 1 a model learns nothing from
    /// itself, so that the dense model is its own control.
    public var teacherWeight: Double
    /// Largest norm of all gradients together.
    public var clipNorm: Double
    /// What products of a step read of weights, activations and gradients; the weights that are trained stay floats.
    public var precision = ProductPrecision.bf16

    /// The rate is the best of 1.5e-4, 3e-4, 1e-3 and 4e-3 in runs of 12 to 40 steps on SmolLM2-135M, half of whose weights were gone, with
    /// floats and through int4. Of 20,480 tokens 40 steps of two windows made more than 20 of four, in the same time.
    public init(
        window: Int = 256, batch: Int = 2, learningRate: Double = 3e-4, teacherWeight: Double = 1, clipNorm: Double = 1
    ) {
        (self.window, self.batch, self.learningRate) = (window, batch, learningRate)
        (self.teacherWeight, self.clipNorm) = (teacherWeight, clipNorm)
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range.
    public func validate() throws {
        guard window >= 2, batch >= 1, learningRate > 0, learningRate.isFinite, clipNorm > 0 else {
            throw LacunaError.invalidArgument(
                "healing",
                reason: "\(batch) windows of \(window) at a rate of \(learningRate), gradients up to \(clipNorm)")
        }
        guard (0...1).contains(teacherWeight) else {
            throw LacunaError.invalidArgument("teacher weight", reason: "\(teacherWeight) is not in 0...1")
        }
    }

    /// Tokens that a step reads.
    public var tokensPerStep: Int { window * batch }

    var json: JSONValue {
        [
            "window": JSONValue(window), "batch": JSONValue(batch), "learning_rate": .number(learningRate),
            "teacher_weight": .number(teacherWeight), "clip": .number(clipNorm),
            "precision": .string(precision.rawValue),
        ]
    }

    init(_ fields: JSONFields) throws {
        self.init(
            window: try fields.integer("window"), batch: try fields.integer("batch"),
            learningRate: try fields.number("learning_rate"), teacherWeight: try fields.number("teacher_weight"),
            clipNorm: try fields.number("clip"))
        // Runs that were begun before there was a choice.
        precision = try ProductPrecision(fields, "precision", default: .f32)
    }

    // MARK: Running

    /// Where a run stands, and how it may be taken up.
    public struct Place: Sendable, Hashable {
        /// Where checkpoints and metrics go; nil for nowhere.
        public var directory: String?
        /// Whether a checkpoint that is there is gone on from.
        public var resumes: Bool
        /// Step after which to return as if interrupted; for tests.
        var stopAfter: Int?

        /// Nowhere, unless it is said.
        public init(directory: String? = nil, resumes: Bool = false) {
            (self.directory, self.resumes) = (directory, resumes)
        }
    }

    /// Trains a model.
    ///
    /// - Parameters:
    ///   - decoder: Entries of its linear layers that are not stored, or are 0 in a sparse store, stay 0.
    ///   - teacher: The dense model.
    ///   - tokens: Of the text, more than a window.
    ///   - steps: 0 gives the model back.
    ///   - values: Integers for training through the rounding of that type (``RoundedView``).
    ///   - seed: Decides the windows.
    /// - Returns: The trained model, its linear layers in f32.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a text without a window and a teacher of another vocabulary;
    ///   ``LacunaError/numerical(operation:reason:)``; ``LacunaError/cancelled`` after a checkpoint.
    public func run(
        _ decoder: Transformer, teacher: Transformer, tokens: [Int], steps: Int, values: ValueType? = nil,
        seed: UInt64 = 0, place: Place = Place(), progress: (any ProgressReporter)? = nil
    ) throws -> Transformer {
        if steps == 0 { return decoder }
        let network = try MaskedNetwork(decoder, layers: Set(decoder.linearNames), values: values)
        let trainer = try trainer(network, teacher, tokens, steps, seed)
        if place.resumes, let directory = place.directory, Trainer<TokenWindows>.hasCheckpoint(directory) {
            try trainer.resume(from: directory)
        }
        try trainer.train(directory: place.directory, progress: progress, stopAfter: place.stopAfter)
        return try network.stored()
    }

    private func trainer(
        _ network: MaskedNetwork, _ teacher: Transformer, _ tokens: [Int], _ steps: Int, _ seed: UInt64
    ) throws -> Trainer<TokenWindows> {
        try validate()
        let source = try TokenWindows(
            tokens.map { Int32($0) }, length: min(window, teacher.configuration.maximumPositions), batchSize: batch,
            seed: seed)
        let distillation = try Distillation(from: teacher, weight: teacherWeight)
        let rise = steps / 20
        var plan = TrainingPlan(
            steps: steps,
            learningRate: .warmUp(
                steps: rise,
                then: .cosine(from: learningRate, to: learningRate / 10, steps: max(steps - rise, 1))))
        (plan.clipNorm, plan.precision, plan.seed, plan.savesModel) = (clipNorm, precision, seed, false)
        (plan.logEvery, plan.checkpointEvery) = (10, max(10, steps / 10))
        let student = network.network
        student.recomputesBlocks = recomputes(student.configuration)
        return try Trainer(
            model: student, optimizer: Adam(learningRate: 0, beta2: 0.98), source: source, plan: plan,
            loss: { batch, tape in
                try distillation.loss(student, batch.ids, next: batch.next, batch: source.batchSize, on: tape)
            })
    }

    /// Whether what a step keeps for its backward pass would take more than a quarter of the memory that is free. The numbers are the
    /// same either way.
    private func recomputes(_ configuration: TransformerConfiguration) -> Bool {
        let wide = configuration.intermediateSizes.reduce(0, +)
        let narrow = configuration.layerCount * (configuration.hiddenSize + configuration.queryWidth)
        return (4 * wide + 10 * narrow) * tokensPerStep * MemoryLayout<Float>.size > MachineMemory.available / 4
    }

    /// Seconds of a step on this machine: the mean of two after one that is not counted. Nothing is changed by them.
    ///
    /// - Throws: As ``run(_:teacher:tokens:steps:values:seed:place:progress:)``.
    func secondsPerStep(
        _ decoder: Transformer, teacher: Transformer, tokens: [Int], values: ValueType?
    ) throws -> Double {
        let network = try MaskedNetwork(decoder, layers: Set(decoder.linearNames), values: values)
        let trainer = try trainer(network, teacher, tokens, 4, 0)
        try trainer.train(stopAfter: 1)
        let begin = monotonicSeconds()
        try trainer.train(stopAfter: 3)
        return (monotonicSeconds() - begin) / 2
    }
}

extension ProductPrecision {
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a word that is none.
    init(_ fields: JSONFields, _ key: String, default standard: ProductPrecision) throws {
        guard let word = try fields.optionalString(key) else {
            self = standard
            return
        }
        guard let precision = ProductPrecision(rawValue: word) else {
            throw fields.failure(key, "'\(word)' is no precision of products")
        }
        self = precision
    }
}

/// A decoder of which some linear layers are trained under the masks that they have, and all else but the norms stays.
struct MaskedNetwork {
    let network: TrainableTransformer
    private let trained: [DenseWeight]
    private let settings: JSONObject?

    /// - Parameters:
    ///   - layers: The weights that are trained, by names of ``Transformer/linearNames``.
    ///   - values: Integers for weights that are rounded in every product.
    init(_ decoder: Transformer, layers: Set<String>, values: ValueType?) throws {
        var trained: [DenseWeight] = []
        network = try TrainableTransformer(decoder) { name, matrix in
            guard layers.contains(name) else { return FrozenWeight(matrix) }
            let form = TrainableTransformer.masked(name, matrix)
            guard let weight = form as? DenseWeight else { return form }
            if let values, values.isInteger { weight.view = RoundedView(values) }
            trained.append(weight)
            return weight
        }
        self.trained = trained
        settings = decoder.generationSettings
        // One rate serves all: relative to the size of what it changes.
        for parameter in network.parameters { parameter.rateFactor = max(parameter.meanMagnitude, 1e-12) }
    }

    /// The decoder that the network is now, its trained layers in f32: what is behind the rounding, which they get when they are
    /// stored.
    func stored() throws -> Transformer {
        let views = trained.map(\.view)
        for weight in trained { weight.view = nil }
        defer { for (weight, view) in zip(trained, views) { weight.view = view } }
        var decoder = try network.stored(.f32)
        decoder.generationSettings = settings
        return decoder
    }
}

extension Parameter where Scalar == Float {
    /// The mean of the magnitudes of entries that are not masked.
    var meanMagnitude: Double {
        guard activeCount > 0 else { return 0 }
        return buffer.elements.reduce(0.0) { $0 + Double(abs($1)) } / Double(activeCount)
    }
}
