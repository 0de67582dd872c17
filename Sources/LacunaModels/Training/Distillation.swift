import LacunaLearn
import LacunaTensor

/// Learning from a teacher beside the text: its predictions, the hidden states of its blocks, or both.
///
/// `loss = (1 - w) · cross-entropy + w · T² KL(teacher ‖ student) + f · Σ ‖h - h'‖² / ‖h'‖²`, with logits divided by the
/// temperature `T` and the sum over the blocks. The first two terms are Geoffrey Hinton, Oriol Vinyals, Jeff Dean, "Distilling the Knowledge in a
/// Neural Network", arXiv:1503.02531; the last, over what each block gives, is SquareHead of Eldar Kurtic, Denis Kuznedelev,
/// Elias Frantar, Michael Goin, Dan Alistarh, "Sparse Fine-tuning for Inference Acceleration of Large Language Models",
/// arXiv:2310.06927, in which the size of a block's states does not decide its weight (``Loss/featureDistance(student:teacher:rows:)``).
/// They fine-tune a pruned model beside the dense one with w = 0 and f = 1.
///
/// It is a loss, so every training method, which is a hook, can be combined with it:
///
/// ```swift
/// import LacunaLearn
/// import LacunaModels
///
/// let teacher = try Distillation(from: Transformer.load("dense"), weight: 0.5, features: 1)
/// let trainer = try Trainer(model: student, optimizer: optimizer, source: examples, plan: plan) { batch, tape in
///     try teacher.loss(student, batch.ids, next: batch.next, batch: batch.count, on: tape)
/// }
/// ```
public struct Distillation {
    /// The model that teaches, frozen.
    public let teacher: TrainableTransformer
    /// Share of the teacher's predictions in the loss, 0...1.
    public let weight: Double
    /// What logits of both are divided by; positive.
    public let temperature: Double
    /// Factor of the distance of hidden states; 0 leaves it out.
    public let features: Double

    /// - Parameter model: Stays as it is stored; nothing of it is trained.
    /// - Throws: `LacunaError.invalidArgument` for numbers out of range; as ``TrainableTransformer/init(_:weight:)``.
    public init(
        from model: Transformer, weight: Double = 0.5, temperature: Double = 1, features: Double = 0
    ) throws {
        guard (0...1).contains(weight) else {
            throw LacunaError.invalidArgument("weight", reason: "\(weight) is not in 0...1")
        }
        guard temperature > 0, temperature.isFinite else {
            throw LacunaError.invalidArgument("temperature", reason: "\(temperature) is not positive")
        }
        guard features >= 0, features.isFinite else {
            throw LacunaError.invalidArgument("features", reason: "\(features) is negative or not finite")
        }
        teacher = try TrainableTransformer(model, weight: TrainableTransformer.frozen)
        (self.weight, self.temperature, self.features) = (weight, temperature, features)
    }

    /// - Throws: `LacunaError.invalidArgument` unless the teacher has the student's vocabulary and, for features, as many
    ///   blocks of the same width.
    public func requireFit(_ student: TrainableTransformer) throws {
        let (a, b) = (student.configuration, teacher.configuration)
        guard a.vocabularySize == b.vocabularySize else {
            throw LacunaError.invalidArgument(
                "teacher", reason: "has a vocabulary of \(b.vocabularySize), the model one of \(a.vocabularySize)")
        }
        if features > 0, a.layerCount != b.layerCount || a.hiddenSize != b.hiddenSize {
            throw LacunaError.invalidArgument(
                "features",
                reason: "need blocks like the teacher's: \(b.layerCount) of width \(b.hiddenSize), not "
                    + "\(a.layerCount) of \(a.hiddenSize)")
        }
    }

    /// The loss of a batch; as ``TrainableTransformer/loss(_:next:batch:on:)`` with weight and features 0. Rows whose next
    /// token does not count are left out of all terms but the last, which leaves out those behind the last that counts in each
    /// sequence: padding.
    ///
    /// - Throws: As ``requireFit(_:)``.
    public func loss(
        _ student: TrainableTransformer, _ ids: [Int32], next: [Int32], batch: Int, on tape: Tape<Float>
    ) throws -> Variable<Float> {
        try requireFit(student)
        let states = student.blockStates(ids, batch: batch, on: tape)
        let taught = tape.evaluating { teacher.blockStates(ids, batch: batch, on: tape) }
        var total = predictions(student, states.last!, taught.last!, next)
        if features > 0 {
            let read = Self.rowsRead(next, batch: batch)
            for (own, other) in zip(states.dropFirst(), taught.dropFirst()) {
                let distance = Loss.featureDistance(
                    student: own, teacher: other, rows: read.count == next.count ? nil : read)
                total = total + distance.affine(Float(features))
            }
        }
        return total
    }

    /// The rows up to the last that counts of each sequence.
    private static func rowsRead(_ next: [Int32], batch: Int) -> [Int32] {
        let length = next.count / max(batch, 1)
        return (0..<batch).flatMap { sequence in
            let start = sequence * length
            let end = (start..<start + length).last { next[$0] >= 0 }.map { $0 + 1 } ?? start
            return (start..<end).map { Int32($0) }
        }
    }

    /// The mean over counted rows of what concerns predictions, a few rows of logits at a time.
    private func predictions(
        _ student: TrainableTransformer, _ states: Variable<Float>, _ taught: Variable<Float>, _ next: [Int32]
    ) -> Variable<Float> {
        let (tape, rows) = (states.tape, next.indices.filter { next[$0] >= 0 })
        let (own, other) = (student.norm(states), tape.evaluating { teacher.norm(taught) })
        var total = tape.constant(Tensor([0], shape: []))
        for start in stride(from: 0, to: rows.count, by: 256) {
            let part = rows[start..<min(start + 256, rows.count)]
            let (places, labels) = (part.map { Int32($0) }, part.map { next[$0] })
            let term = tape.reducing(own.gathered(places)) { [self] in
                let logits = student.headLogits($0)
                let text = weight < 1 ? Loss.crossEntropy(logits, labels: labels).affine(Float(1 - weight)) : nil
                if weight == 0 { return text! }
                let aim = tape.evaluating { teacher.headLogits(other.gathered(places)) }
                let divergence = Loss.distillation(student: logits, teacher: aim, temperature: Float(temperature))
                    .affine(Float(weight))
                return text.map { $0 + divergence } ?? divergence
            }
            total = total + term.affine(Float(part.count) / Float(rows.count))
        }
        return total
    }
}
