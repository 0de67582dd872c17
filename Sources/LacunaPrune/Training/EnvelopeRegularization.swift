import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Removes whole neurons in training: after every step the rows of a layer go through the proximal map of
/// ``GroupEnvelope`` with the weight `rate · λ`.
public final class EnvelopeRegularization: TrainingMethod {
    /// Share of the rows to keep.
    public let keep: Double
    /// λ, 0 or more. It shortens survivors too: a moderate one and a selection at the end do better than a large one.
    public let lambda: Double
    /// The layers whose rows are groups. Their weights are dense.
    public let layers: LayerChoice
    private var parameters: [Parameter<Float>] = []

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(keep: Double, lambda: Double, layers: LayerChoice = .allButOutput) throws {
        guard keep > 0, keep <= 1 else { throw LacunaError.invalidArgument("keep", reason: "\(keep) is not in 0...1") }
        guard lambda >= 0, lambda.isFinite else {
            throw LacunaError.invalidArgument("lambda", reason: "\(lambda) is negative or not finite")
        }
        self.keep = keep
        self.lambda = lambda
        self.layers = layers
    }

    public var card: MethodCard {
        MethodCard(
            name: "wgsef", family: .structured,
            paper: .init(
                authors: "Yehonathan Refael, Iftach Arbel, Wasim Huleihel",
                title: "Learning k-Level Structured Sparse Neural Networks Using Group Envelope Regularization",
                arXiv: "2212.12921"),
            composition: ["row norm", "convex envelope of k groups", "proximal step"])
    }

    public func attach(_ run: TrainingRun) throws {
        parameters = try layers.layers(of: run.model).map { name, layer in
            guard let weight = layer.dense else {
                throw LacunaError.unsupported(
                    file: nil, what: "group envelopes on \(layer.weight.storage) weights ('\(name)')")
            }
            return weight.parameter
        }
    }

    public func afterStep(_ run: TrainingRun) throws {
        for parameter in parameters {
            let strength = run.optimizer.learningRate * parameter.rateFactor * lambda
            if strength == 0 { continue }
            let (rows, columns) = (parameter.shape[0], parameter.shape[1])
            let w = parameter.buffer.pointer
            let norms = (0..<rows).map { r in
                (0..<columns).reduce(0.0) { $0 + Double(w[r * columns + $1] * w[r * columns + $1]) }.squareRoot()
            }
            let envelope = try GroupEnvelope(k: max(1, (keep * Double(rows)).rounded()))
            for (r, u) in envelope.weights(norms: norms, lambda: strength).enumerated() {
                let factor = Float(u / (strength + u))
                for c in 0..<columns { w[r * columns + c] *= factor }
            }
        }
    }

    /// The rows of largest norm of each layer, `keep` of them, ascending.
    ///
    /// - Throws: `LacunaError.numerical` if weights are not numbers.
    public func strongestRows() throws -> [[Int]] {
        try parameters.map { parameter in
            let count = max(1, Int((keep * Double(parameter.shape[0])).rounded()))
            let mask = try Selection.mask(
                scores: parameter.value, pattern: .rows, amount: .count(count), unitScore: .norm)
            return (0..<mask.rows).filter { mask.keptCount(row: $0) > 0 }
        }
    }
}
