import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A weight under a mask of learned scores, one score for every entry: `W ∘ m`, `m` keeping the largest `|p|`.
///
/// Backwards the mask is taken for the identity of `|p|`: where the weight's gradient is `g`, the entry's is `m g` and the score's
/// `sign(p) W g`. Either can be frozen (`Parameter/isTrainable`): random weights under trained scores are the subnetworks of
/// Vivek Ramanujan, Mitchell Wortsman, Aniruddha Kembhavi, Ali Farhadi, Mohammad Rastegari, "What's Hidden in a Randomly Weighted
/// Neural Network?", arXiv 1911.13299.
public final class PopupWeight: TrainableWeight {
    /// `W` [outputs, inputs].
    public let base: Parameter<Float>
    /// `p` [outputs, inputs].
    public let scores: Parameter<Float>
    /// Which entries compete.
    public let pattern: Pattern
    /// What is removed, 0...1; nil where the pattern says it.
    public let sparsity: Double?
    /// The mask of some version of the scores: while they are frozen it is chosen once.
    private var last: (version: Int, mask: SparsePattern)?

    /// - Parameter scores: nil for ``scaledScores(_:)``.
    /// - Throws: `LacunaError.invalidArgument` for scores of another shape, and for a pattern or sparsity that cannot be selected of
    ///   such a weight.
    public init(
        _ base: Tensor<Float>, scores: Tensor<Float>? = nil, pattern: Pattern = .unstructured(.layer),
        sparsity: Double?
    ) throws {
        let scores = scores ?? Self.scaledScores(base)
        guard base.rank == 2, scores.shape == base.shape else {
            throw LacunaError.invalidArgument("scores", reason: "are \(scores.shape) for weights \(base.shape)")
        }
        let mask = try Selection.mask(magnitudesOf: scores, pattern: pattern, sparsity: sparsity)
        (self.base, self.scores) = (Parameter(base), Parameter(scores))
        (self.pattern, self.sparsity) = (pattern, sparsity)
        last = (self.scores.version, mask)
    }

    /// `√(6 / inputs) · W / max |W|`: the first mask is that of magnitudes, and scores are of the size of a fresh layer's weights.
    ///
    /// Vikash Sehwag, Shiqi Wang, Prateek Mittal, Suman Jana, "HYDRA: Pruning Adversarially Robust Neural Networks", arXiv 2002.10509.
    public static func scaledScores(_ weight: Tensor<Float>) -> Tensor<Float> {
        let largest = weight.scalars.reduce(Float(0)) { max($0, abs($1)) }
        if largest == 0 { return weight }
        return ((6 / Float(max(weight.columns, 1))).squareRoot() / largest) * weight
    }

    public var parts: [(name: String, part: Any)] { [("", base), ("scores", scores)] }
    public var outputs: Int { base.shape[0] }
    public var inputs: Int { base.shape[1] }
    public var activeCount: Int { mask.count }
    public var multiplyAdds: Int { mask.count }
    public var byteCount: Int { base.buffer.byteCount + scores.buffer.byteCount }
    public var storage: String { "popup" }
    public func densified() -> Tensor<Float> { mask.applied(to: base.value) }

    /// What the scores keep now.
    public var mask: SparsePattern {
        if let last, last.version == scores.version { return last.mask }
        // Scores that are no numbers are told apart by nothing: all entries stay.
        let mask =
            (try? Selection.mask(magnitudesOf: scores.value, pattern: pattern, sparsity: sparsity))
            ?? SparsePattern(rows: outputs, columns: inputs, keepingAll: true)
        last = (scores.version, mask)
        return mask
    }

    public func matrix(on tape: Tape<Float>) -> Variable<Float>? {
        base.on(tape).masked(mask, scores: scores.on(tape).map(.absolute))
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(matrix(on: x.tape)!, bias: bias)
    }
}
