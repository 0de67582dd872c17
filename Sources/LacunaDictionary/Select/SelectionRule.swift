import LacunaTensor

/// Which pre-activations of a dictionary become its code: the sparsity of a sparse autoencoder, as a value.
///
/// Pre-activations are `u = (x - b_dec) W_encᵀ + b_enc`, one number for each token and feature. Rules that look at a
/// whole batch in training are given thresholds for later, so that the code of a token never depends on its
/// neighbours.
public enum SelectionRule: Sendable, Hashable {
    /// `max(0, u)`; the number of active features follows from the penalty of ``DictionaryTraining/sparsity``.
    case relu
    /// The `k` largest positive ones of each token. Leo Gao and others, "Scaling and evaluating sparse autoencoders",
    /// arXiv 2406.04093.
    case topK(Int)
    /// The `k` largest magnitudes of each token, with their signs: the projection onto vectors of `k` entries. Xudong
    /// Zhu and others, "AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features", arXiv 2510.00404.
    case absTopK(Int)
    /// The `k · tokens` largest positive ones of a batch. Bart Bussmann, Patrick Leask, Neel Nanda, "BatchTopK Sparse
    /// Autoencoders", arXiv 2412.06410; the Mutual Choice of Kola Ayonrinde, "Adaptive Sparse Allocation with Mutual
    /// Choice & Feature Choice Sparse Autoencoders", arXiv 2411.02124.
    case batchTopK(Int)
    /// The `k · tokens` largest magnitudes of a batch, with their signs.
    case batchAbsTopK(Int)
    /// Every feature keeps its largest positive tokens of a batch, `k · tokens` in all, shared out by a profile over
    /// features ranked by how often they are active. Kola Ayonrinde, arXiv 2411.02124.
    case featureChoice(Int, profile: FeatureProfile)
    /// Those above a threshold of each feature, which is learned through rectangles of width `bandwidth`; the penalty
    /// `(L0 / k - 1)²` holds their mean number at `k`. Senthooran Rajamanoharan and others, "Jumping Ahead: Improving
    /// Reconstruction Fidelity with JumpReLU Sparse Autoencoders", arXiv 2407.14435.
    case jumpReLU(Int, bandwidth: Double)
    /// A gate decides which are active, a second scale and bias how strongly. Senthooran Rajamanoharan and others,
    /// "Improving Dictionary Learning with Gated Sparse Autoencoders", arXiv 2404.16014.
    case gated
    /// The `k` of each token with the largest `u (1 + β |g·d|)`, where `g` is the gradient of the model's loss, `d` the
    /// feature's direction, and `|g·d|` is divided by its root mean square over the batch and the features. Values
    /// stay `u`. Without gradients this is ``topK(_:)``. Jeffrey Olmo and others, "Features that Make a Difference:
    /// Leveraging Gradients for Improved Dictionary Learning", arXiv 2411.10397.
    case gradientAware(Int, strength: Double)
    /// `k` rounds, each of which adds the feature that fits what is left best. There is no encoder. Valérie Costa and
    /// others, "From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit", arXiv
    /// 2506.03093.
    case matchingPursuit(Int)

    /// The number of active features a token that the rule fixes, in each token or on average; nil if a penalty
    /// decides.
    public var activeFeatures: Int? {
        switch self {
        case .relu, .gated: nil
        case .topK(let k), .absTopK(let k), .batchTopK(let k), .batchAbsTopK(let k), .featureChoice(let k, _),
            .jumpReLU(let k, _), .gradientAware(let k, _), .matchingPursuit(let k):
            k
        }
    }

    /// Whether codes may be negative.
    public var isSigned: Bool {
        switch self {
        case .absTopK, .batchAbsTopK: true
        default: false
        }
    }

    /// Whether training keeps entries of a whole batch together, and later codes need thresholds.
    public var looksAtBatches: Bool {
        switch self {
        case .batchTopK, .batchAbsTopK, .featureChoice: true
        default: false
        }
    }

    /// - Parameter width: Features of the dictionary.
    /// - Throws: `LacunaError.invalidArgument` for a number of active features that is not in 1...width, and for a
    ///   strength, bandwidth or profile out of range.
    public func validate(width: Int) throws {
        if let k = activeFeatures, !(1...max(width, 1)).contains(k) {
            throw LacunaError.invalidArgument("k", reason: "\(k) active features of a dictionary of \(width)")
        }
        switch self {
        case .jumpReLU(_, let bandwidth):
            if !(bandwidth > 0 && bandwidth.isFinite) {
                throw LacunaError.invalidArgument("bandwidth", reason: "must be positive, not \(bandwidth)")
            }
        case .gradientAware(_, let strength):
            if !(strength >= 0 && strength.isFinite) {
                throw LacunaError.invalidArgument("strength", reason: "must be 0 or more, not \(strength)")
            }
        case .featureChoice(_, let profile): try profile.validate()
        default: break
        }
    }
}

/// How a budget of activations is shared out among features ranked by how often they are active.
public enum FeatureProfile: Sendable, Hashable {
    /// The same for all.
    case uniform
    /// Proportional to `(rank + shift)^-exponent`, ranks from 1: the law of Zipf and Mandelbrot.
    case zipf(exponent: Double, shift: Double)

    func validate() throws {
        if case .zipf(let exponent, let shift) = self,
            !(exponent >= 0 && exponent.isFinite && shift > -1 && shift.isFinite)
        {
            throw LacunaError.invalidArgument(
                "profile", reason: "needs an exponent of 0 or more and a shift above -1, not \(exponent) and \(shift)")
        }
    }

    /// The share of each rank, the first the largest, adding up to 1.
    public func shares(_ width: Int) -> [Double] {
        switch self {
        case .uniform: return [Double](repeating: 1 / Double(max(width, 1)), count: width)
        case .zipf(let exponent, let shift):
            let weights = (1...max(width, 1)).prefix(width).map { power(Double($0) + shift, -exponent) }
            let total = weights.reduce(0, +)
            return weights.map { $0 / total }
        }
    }

    /// Whole numbers that add up to `total`, at most `limit` each, as near to the shares as rounding allows: every
    /// feature has at least one as long as the total suffices, largest remainders come first, and what a full feature
    /// cannot take goes to the next in rank.
    public func counts(total: Int, width: Int, limit: Int) -> [Int] {
        let shares = shares(width)
        let wanted = min(total, width * limit)
        let floorCount = wanted >= width ? 1 : 0
        var counts = shares.map { min(limit, max(floorCount, Int($0 * Double(wanted)))) }
        var rest = wanted - counts.reduce(0, +)
        // The minimum of one may have given out too much: the largest give it back.
        var index = 0
        while rest < 0 {
            if counts[index] > floorCount {
                counts[index] -= 1
                rest += 1
            }
            index = (index + 1) % width
        }
        let order = (0..<width).sorted {
            let (a, b) = (
                shares[$0] * Double(wanted) - Double(counts[$0]), shares[$1] * Double(wanted) - Double(counts[$1])
            )
            return a != b ? a > b : $0 < $1
        }
        while rest > 0 {
            for j in order where rest > 0 && counts[j] < limit {
                counts[j] += 1
                rest -= 1
            }
        }
        return counts
    }
}
