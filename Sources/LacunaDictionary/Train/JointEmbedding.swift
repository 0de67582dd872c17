import LacunaLearn
import LacunaTensor

/// Learns to encode images by predicting, from what is visible, how a slowly following copy of the encoder encodes
/// what is not.
///
/// A context, some patches of an image, is encoded by the encoder; a target, other patches, by the teacher, whose
/// parameters are an exponential moving average of the encoder's and which no gradient reaches. A predictor that
/// knows where the target is guesses the target's embedding from the context's; the loss is the squared error in the
/// embedding space, and with a ``GroupSparseHead`` on the context's embedding that of its terms. Mahmoud Assran and
/// others, "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture", arXiv 2301.08243;
/// Max Hartman, Lav Varshney, arXiv 2504.16140.
public final class JointEmbedding: Module {
    /// What reads visible patches, and what guesses the target's embedding from theirs and the target's places.
    public let encoder, predictor: MLP
    /// Follows the encoder; is not trained.
    public let teacher: MLP
    /// What makes embeddings group-sparse; nil for plain joint embedding.
    public let head: GroupSparseHead?
    /// Patches of an image.
    public let patches: Int
    /// Numbers of a patch.
    public let patchSize: Int

    /// What the terms of the head weigh.
    public struct Weights: Sendable, Hashable {
        /// Of the mean squared error of the reconstructed embedding.
        public var reconstruction = 1.0
        /// Of the divergence from the normal prior, a latent on average.
        public var divergence = 0.01
        /// 1 and 0.01.
        public init() {}
    }
    /// What the terms of the head weigh; the prediction weighs 1.
    public var weights = Weights()

    public var parts: [(name: String, part: Any)] {
        [("encoder", encoder), ("predictor", predictor), ("teacher", teacher)] + (head.map { [("head", $0)] } ?? [])
    }

    /// - Parameters:
    ///   - patches: Of an image; the encoder reads all of them, those that are hidden as zeros, with a bit each that
    ///     says which.
    ///   - patchSize: Numbers of a patch.
    ///   - groups: Of the head's features; 0 for no head.
    /// - Throws: `LacunaError.invalidArgument` for sizes that are not positive, and as ``GroupSparseHead``.
    public init(
        patches: Int, patchSize: Int, hidden: Int = 128, embedding: Int = 64, groups: Int = 8, latents: Int = 32,
        seed: UInt64
    ) throws {
        guard patches >= 2, patchSize >= 1, hidden >= 1, embedding >= 1, groups >= 0 else {
            throw LacunaError.invalidArgument("patches", reason: "\(patches) of \(patchSize)")
        }
        var generator = SeededGenerator(seed: seed, stream: 0x7E9A)
        let inputs = patches * (patchSize + 1)
        encoder = MLP(widths: [inputs, hidden, embedding], using: &generator)
        teacher = MLP(widths: [inputs, hidden, embedding], using: &generator)
        predictor = MLP(widths: [embedding + patches, hidden, embedding], using: &generator)
        head =
            groups > 0
            ? try GroupSparseHead(
                embedding: embedding, latents: latents, outputs: embedding, groups: groups, using: &generator) : nil
        (self.patches, self.patchSize) = (patches, patchSize)
        for (copy, original) in zip(teacher.parameters, encoder.parameters) {
            copy.value = original.value
            copy.isTrainable = false
        }
    }

    /// Images with only some patches visible, as the encoder reads them.
    ///
    /// - Parameters:
    ///   - images: [rows, patches · patchSize], patch by patch.
    ///   - visible: For every row and patch whether it is.
    func inputs(_ images: Tensor<Float>, _ visible: [Bool]) -> Tensor<Float> {
        require(
            images.columns == patches * patchSize && visible.count == images.rows * patches,
            "images or masks of another shape")
        let width = patches * (patchSize + 1)
        var result = Tensor<Float>(zeros: [images.rows, width])
        result.withMutablePointer { r in
            images.withPointer { x in
                for t in 0..<images.rows {
                    for p in 0..<patches where visible[t * patches + p] {
                        (r + t * width + p * patchSize).update(
                            from: x + (t * patches + p) * patchSize, count: patchSize)
                        r[t * width + patches * patchSize + p] = 1
                    }
                }
            }
        }
        return result
    }

    /// The loss of a batch, with contexts and targets drawn from the tape's generator: half of the patches are the
    /// context, a quarter, of the others, the target.
    public func loss(_ images: Tensor<Float>, on tape: Tape<Float>) -> Variable<Float> {
        let n = images.rows
        var (context, target) = (
            [Bool](repeating: false, count: n * patches), [Bool](repeating: false, count: n * patches)
        )
        var places = Tensor<Float>(zeros: [n, patches])
        for t in 0..<n {
            let order = (0..<patches).shuffled(using: &tape.generator)
            for p in order.prefix(max(1, patches / 2)) { context[t * patches + p] = true }
            for p in order.suffix(max(1, patches / 4)) {
                target[t * patches + p] = true
                places[t, p] = 1
            }
        }
        let goal = tape.withoutRecording { teacher(tape.constant(inputs(images, target))).value }
        let embedding = encoder(tape.constant(inputs(images, context)))
        let guess = predictor(.concatenated(columns: [embedding, tape.constant(places)]))
        let error = guess - tape.constant(goal)
        var loss = (error * error).mean()
        if let head {
            let noise = Tensor<Float>(normal: [n, head.latents], using: &tape.generator)
            let out = head(embedding, noise: noise)
            let rest = out.features - embedding.detached()
            loss =
                loss + (rest * rest).mean().affine(Float(weights.reconstruction))
                + out.divergence.affine(Float(weights.divergence / Double(head.latents)))
        }
        return loss
    }

    /// The teacher's embeddings of whole images, [rows, embedding]: what probes read.
    public func embeddings(_ images: Tensor<Float>) -> Tensor<Float> {
        let tape = Tape<Float>()
        return tape.evaluating {
            teacher(tape.constant(inputs(images, [Bool](repeating: true, count: images.rows * patches)))).value
        }
    }

    /// Moves the teacher after every step: `teacher = momentum · teacher + (1 - momentum) · encoder`.
    public final class Following: TrainingHook {
        private let model: JointEmbedding
        /// Of every step; 1 keeps the teacher as it is.
        private let momentum: Schedule

        /// - Parameter momentum: From 0 to 1; 0.996 rising to 1 in the authors' runs.
        public init(_ model: JointEmbedding, momentum: Schedule) { (self.model, self.momentum) = (model, momentum) }

        public func afterStep(_ run: TrainingRun) throws {
            let m = Float(momentum(run.step))
            for (copy, original) in zip(model.teacher.parameters, model.encoder.parameters) {
                let (a, b) = (copy.buffer.pointer, original.buffer.pointer)
                for i in 0..<copy.count { a[i] = m * a[i] + (1 - m) * b[i] }
                copy.noteChange()
            }
        }
    }
}
