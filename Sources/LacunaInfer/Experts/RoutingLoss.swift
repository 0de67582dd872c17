import LacunaLearn
import LacunaTensor

/// Terms that training adds to its loss so that experts are chosen as it suits: alike by neighbours, by all equally often, sharply.
public enum RoutingLoss {
    // MARK: Neighbours

    /// How unlike each other consecutive rows choose: the mean binary cross-entropy between `σ(α a_t)`, taken as the target, and
    /// `σ(α a_{t+1})`, over neighbours of one sequence and experts. The gradient goes to both. 0 for sequences of one row.
    ///
    /// Chenyang Song and others, "BlockFFN", arXiv 2507.08771, α = 100.
    ///
    /// - Parameters:
    ///   - scores: `a`, [n, experts], before the ReLU; sequences one after the other.
    ///   - length: Rows of a sequence; the last sequence may be shorter.
    ///   - sharpness: α.
    public static func locality<Scalar: LearningScalar>(
        _ scores: Variable<Scalar>, length: Int, sharpness: Scalar = 100
    ) -> Variable<Scalar> {
        require(length >= 1, "sequences of \(length) rows")
        let first = (0..<max(scores.rows - 1, 0)).filter { $0 % length != length - 1 }.map { Int32($0) }
        if first.isEmpty { return scores.tape.constant(Tensor([0], shape: [])) }
        let sharp = scores.affine(sharpness)
        return Loss.binaryCrossEntropy(sharp.gathered(first.map { $0 + 1 }), sharp.gathered(first).map(.sigmoid))
    }

    /// The share of experts that a chunk of consecutive rows can be expected to choose if each row chose one of them with the
    /// probabilities `p`: the mean over chunks and experts of `1 - Π_t (1 - p_te)`. With all of a chunk on one expert it is 1/experts.
    ///
    /// As ``locality(_:length:sharpness:)``; products are sums of `ln(1 - p + 10⁻⁵)`. Chunks do not cross sequences; the last one of a
    /// sequence may be shorter.
    ///
    /// - Parameters:
    ///   - shares: p, [n, experts], rows of sum 1 (or of zeros, which choose no one).
    ///   - length: Rows of a sequence.
    ///   - chunk: Rows of a chunk.
    public static func chunk<Scalar: LearningScalar>(
        _ shares: Variable<Scalar>, length: Int, chunk: Int = 64
    ) -> Variable<Scalar> {
        require(length >= 1 && chunk >= 1, "chunks of \(chunk) rows in sequences of \(length)")
        let perSequence = (length + chunk - 1) / chunk
        let places = (0..<shares.rows).map { Int32($0 / length * perSequence + $0 % length / chunk) }
        guard let last = places.last else { return shares.tape.constant(Tensor([0], shape: [])) }
        let logarithms = shares.affine(-1, 1 + 1e-5).map(.logarithm)
        return logarithms.scattered(places, into: Int(last) + 1).map(.exponential).affine(-1, 1).mean()
    }

    /// What ``chunk(_:length:chunk:)`` reads of rectified scores [n, experts]: divided by their root mean square, then by their sum plus
    /// 10⁻⁵.
    public static func shares<Scalar: LearningScalar>(_ rectified: Variable<Scalar>) -> Variable<Scalar> {
        let ones = rectified.tape.constant(Tensor<Scalar>(repeating: 1, shape: [rectified.columns]))
        let normalized = rectified.rmsNormalized(gain: ones)
        return normalized.multipliedByColumn((normalized.rowSums() + 1e-5).map(.reciprocal))
    }

    // MARK: Balance

    /// How unevenly rows are spread over experts: `E Σ_e f_e P_e`, f the share of all choices that fell on an expert, a constant, and P
    /// the mean of its softmax, through which the gradient goes. 1 where either is even.
    ///
    /// William Fedus, Barret Zoph, Noam Shazeer, "Switch Transformers", arXiv 2101.03961.
    ///
    /// - Parameters:
    ///   - shares: Softmax of the scores, [n, experts].
    ///   - chosen: The experts of each row.
    public static func balance<Scalar: LearningScalar>(
        _ shares: Variable<Scalar>, chosen: [[Int]]
    ) -> Variable<Scalar> {
        let experts = shares.columns
        var counts = [Double](repeating: 0, count: experts)
        for row in chosen { for expert in row { counts[expert] += 1 } }
        let total = max(counts.reduce(0, +), 1)
        let weights = counts.map { Scalar(Double(experts) * $0 / total / Double(max(shares.rows, 1))) }
        return shares.multipliedByRow(shares.tape.constant(Tensor(weights))).sum()
    }

    /// The mean square of `log Σ_e exp(logit_e)`: keeps logits small.
    ///
    /// Barret Zoph and others, "ST-MoE: Designing Stable and Transferable Sparse Expert Models", arXiv 2202.08906.
    public static func size<Scalar: LearningScalar>(_ logits: Variable<Scalar>) -> Variable<Scalar> {
        logits.logSumExp().map(.square).mean()
    }

    // MARK: Heads

    /// How unevenly heads spread over experts: `-1/(heads · experts) Σ log(mean over rows of g)`, the least, `log experts`, where all
    /// experts have equal parts of every head.
    ///
    /// Jungwoo Park, Young Jin Ahn, Kee-Eung Kim, Jaewoo Kang, "Monet: Mixture of Monosemantic Experts for Transformers", arXiv
    /// 2412.04139.
    ///
    /// - Parameter gates: g, [n, heads, experts], sums over experts being 1.
    public static func uniformity<Scalar: LearningScalar>(_ gates: Variable<Scalar>) -> Variable<Scalar> {
        let (n, heads, experts) = (gates.shape[0], gates.shape[1], gates.shape[2])
        let means = gates.reshaped([n, heads * experts]).columnSums().affine(1 / Scalar(max(n, 1)))
        // An expert that no row chose has no finite logarithm.
        return -(means + 1e-10).map(.logarithm).mean()
    }

    /// How undecided heads are: the mean over rows and heads of 1 less the largest g. As ``uniformity(_:)``.
    public static func ambiguity<Scalar: LearningScalar>(_ gates: Variable<Scalar>) -> Variable<Scalar> {
        gates.rowMaxima().affine(-1, 1).mean()
    }
}
