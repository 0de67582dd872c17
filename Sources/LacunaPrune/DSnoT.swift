import LacunaSparse
import LacunaTensor

/// Exchanges kept and removed weights, without training, until each output's expected error is nearly 0.
///
/// With `μ_j`, `σ_j²` mean and variance of input `j` over the calibration tokens, the contribution of a weight is
/// `C_ij = W_ij μ_j`, and output `i` of the pruned layer is off by `e_i = Σ_{removed j} C_ij` on average. While
/// `|e_i| > threshold`, the removed weight of the same sign as `e_i` with the largest `|C_ij| / σ_j^(2 p)` comes back, and
/// the kept one of the opposite sign with the smallest `|W_ij| ‖x_j‖₂` goes. Every entry moves at most once and every row
/// keeps its budget. Under n:m the entry that goes is the one with the smallest score among those that share the
/// group of the one that comes back, whatever its sign, if the exchange makes the error smaller.
///
/// The authors' release differs in three ways. It sums over a calibration sequence where this averages over tokens,
/// so its threshold of 0.1 depends on the sequence's length. Its sign test is off unless asked for; without it a row
/// goes on after its error has changed sign, which for small thresholds ruins the squared error, so it is on here. And
/// it skips the feed-forward projections by default; here every layer is refined that is given.
///
/// Yuxin Zhang, Lirui Zhao, Mingbao Lin and others, "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse
/// LLMs", arXiv 2310.08915.
public struct DSnoT: MaskRefiner {
    /// Largest number of exchanges in a row of the matrix.
    public var cycles: Int
    /// Expected error, in the units of the layer's outputs, at which a row is left alone; 0 or more.
    public var threshold: Double
    /// `p`: how much varying inputs are avoided when choosing what comes back. 0 looks at the contribution alone.
    public var varianceExponent: Double
    /// Whether a row stops before an exchange that would change the sign of its error.
    public var signTest: Bool

    /// The authors' release leaves the sign test off, and takes a threshold of 0.1 on errors summed over a sequence.
    public init(cycles: Int = 50, threshold: Double = 1e-3, varianceExponent: Double = 1, signTest: Bool = true) {
        self.cycles = cycles
        self.threshold = threshold
        self.varianceExponent = varianceExponent
        self.signTest = signTest
    }

    public var card: MethodCard {
        MethodCard(
            name: "dsnot", family: .refining,
            paper: .init(
                authors: "Yuxin Zhang, Lirui Zhao, Mingbao Lin and others",
                title: "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs", arXiv: "2310.08915"),
            composition: ["signed expected contribution w · mean(x)", "exchange within rows or groups"])
    }
    public var requirement: ScoreRequirement { .moments }

    public func supports(_ pattern: Pattern) -> Bool {
        switch (pattern.unit, pattern.competition) {
        case (.entry, .scope), (.entry, .every(_, along: .input)): true
        default: false
        }
    }

    public func refine(
        _ mask: SparsePattern, weight: Tensor<Float>, statistics: InputStatistics?, pattern: Pattern
    ) throws -> SparsePattern {
        try refineTracking(mask, weight: weight, statistics: statistics, pattern: pattern).mask
    }

    /// The expected error of every output: `Σ_{removed j} W_ij μ_j`.
    public static func expectedErrors(_ mask: SparsePattern, weight: Tensor<Float>, statistics: InputStatistics)
        -> [Double]
    {
        require(weight.shape == [mask.rows, mask.columns] && statistics.columns == mask.columns)
        let means = statistics.means
        let removed = mask.inverted()
        return weight.withPointer { w in
            (0..<mask.rows).map { row in
                removed.keptColumns(row: row).reduce(0.0) {
                    $0 + Double(w[row * mask.columns + $1] * means[$1])
                }
            }
        }
    }

    /// As ``refine(_:weight:statistics:pattern:)``, with every output's expected error as the exchanges left it.
    func refineTracking(
        _ mask: SparsePattern, weight: Tensor<Float>, statistics: InputStatistics?, pattern: Pattern
    ) throws -> (mask: SparsePattern, errors: [Double]) {
        if !supports(pattern) {
            throw LacunaError.unsupported(file: nil, what: "the pattern \(pattern) with the method \(card.name)")
        }
        if cycles < 0 { throw LacunaError.invalidArgument("cycles", reason: "must not be negative") }
        if !(threshold >= 0) { throw LacunaError.invalidArgument("threshold", reason: "must be 0 or more") }
        guard let statistics, statistics.tokens > 0 else {
            throw LacunaError.invalidArgument("statistics", reason: "\(card.name) needs calibration")
        }
        let columns = mask.columns
        if weight.shape != [mask.rows, columns] || statistics.columns != columns {
            throw LacunaError.invalidArgument(
                "weight",
                reason: "a mask of \(mask.rows) x \(columns) and \(statistics.columns) inputs for shape \(weight.shape)"
            )
        }
        let preference = statistics.variances.map { Float(power(Double($0), -varianceExponent)) }
        let row = RowRefinement(
            method: self, means: statistics.means, preference: preference, norms: statistics.norms, pattern: pattern)
        var result = mask
        var errors = Self.expectedErrors(mask, weight: weight, statistics: statistics)
        weight.withPointer { w in
            errors.withUnsafeMutableBufferPointer { errors in
                let errors = errors.baseAddress!
                result.withMutableWords { words, wordsPerRow in
                    Parallel.forRanges(mask.rows, grain: max(1, 8192 / max(columns, 1))) { range in
                        for i in range {
                            row.refine(words + i * wordsPerRow, weights: w + i * columns, error: &errors[i])
                        }
                    }
                }
            }
        }
        return (result, errors)
    }
}

/// What the refinement of every row needs.
private struct RowRefinement {
    let method: DSnoT
    let means: [Float]
    /// By what a contribution is multiplied to find the entry that comes back: `σ^(-2 p)`.
    let preference: [Float]
    let norms: [Float]
    let pattern: Pattern

    /// Exchanges entries of one row until its error is small.
    func refine(_ words: UnsafeMutablePointer<UInt64>, weights: UnsafePointer<Float>, error: inout Double) {
        if error.magnitude <= method.threshold { return }
        var candidates = Candidates(row: self, words: words, weights: weights)
        let wasPositive = error > 0
        for _ in 0..<method.cycles {
            if error.magnitude <= method.threshold { return }
            guard let (grown, removed) = exchange(&candidates, error) else { return }
            let after = error + contribution(weights, removed) - contribution(weights, grown)
            if method.signTest && after != 0 && (after > 0) != wasPositive { return }
            words[grown / 64] |= 1 << UInt64(grown % 64)
            words[removed / 64] &= ~(1 << UInt64(removed % 64))
            error = after
        }
    }

    /// The next pair for an error of the given sign, or nil if none is left.
    private func exchange(_ candidates: inout Candidates, _ error: Double) -> (grown: Int, removed: Int)? {
        guard case .every(let group, _) = pattern.competition else {
            guard let grown = candidates.nextToGrow(positive: error > 0),
                let removed = candidates.nextToRemove(positive: error < 0)
            else { return nil }
            return (grown, removed)
        }
        while let grown = candidates.nextToGrow(positive: error > 0) {
            guard let removed = candidates.leastKept(inGroup: grown / group, of: group) else { continue }
            let change = contribution(candidates.weights, removed) - contribution(candidates.weights, grown)
            if (error + change).magnitude < error.magnitude {
                candidates.markUsed(removed)
                return (grown, removed)
            }
        }
        return nil
    }

    func contribution(_ weights: UnsafePointer<Float>, _ column: Int) -> Double {
        Double(weights[column] * means[column])
    }
}

/// The entries of one row that may move, best first. Lists are made when first asked for: most rows need two of four.
private struct Candidates {
    private let row: RowRefinement
    /// Kept entries before any exchange.
    private var untouched: [UInt64]
    let weights: UnsafePointer<Float>
    private let count: Int
    private var growing: [Bool: ArraySlice<Int>] = [:]
    private var removing: [Bool: ArraySlice<Int>] = [:]

    init(row: RowRefinement, words: UnsafePointer<UInt64>, weights: UnsafePointer<Float>) {
        self.row = row
        self.weights = weights
        count = row.means.count
        untouched = Array(UnsafeBufferPointer(start: words, count: (count + 63) / 64))
    }

    private func score(_ column: Int) -> Float { weights[column].magnitude * row.norms[column] }

    private func entries(kept: Bool, positive: Bool) -> [Int] {
        (0..<count).filter { column in
            let contribution = row.contribution(weights, column)
            return (untouched[column / 64] >> UInt64(column % 64) & 1 == 1) == kept
                && (positive ? contribution > 0 : contribution < 0)
        }
    }

    /// The removed entry of the given sign with the largest contribution for its variance.
    mutating func nextToGrow(positive: Bool) -> Int? {
        if growing[positive] == nil {
            let keyed = entries(kept: false, positive: positive).map {
                ($0, (weights[$0] * row.means[$0]).magnitude * row.preference[$0])
            }
            growing[positive] = keyed.sorted { $0.1 != $1.1 ? $0.1 > $1.1 : $0.0 < $1.0 }.map(\.0)[...]
        }
        return growing[positive]!.popFirst()
    }

    /// The kept entry of the given sign with the smallest score.
    mutating func nextToRemove(positive: Bool) -> Int? {
        if removing[positive] == nil {
            let keyed = entries(kept: true, positive: positive).map { ($0, score($0)) }
            removing[positive] = keyed.sorted { $0.1 != $1.1 ? $0.1 < $1.1 : $0.0 < $1.0 }.map(\.0)[...]
        }
        return removing[positive]!.popFirst()
    }

    /// The entry of a group with the smallest score among those kept from the start.
    func leastKept(inGroup group: Int, of size: Int) -> Int? {
        (group * size..<min((group + 1) * size, count))
            .filter { untouched[$0 / 64] >> UInt64($0 % 64) & 1 == 1 }
            .min { score($0) < score($1) }
    }

    mutating func markUsed(_ column: Int) { untouched[column / 64] &= ~(1 << UInt64(column % 64)) }
}
