import LacunaTensor

/// Which entries stay: the second of the four verbs. Turns scores into a ``SparsePattern`` under a ``Pattern`` and an ``Amount``.
///
/// A pattern says what is kept or removed as a whole and what competes, the amount how much of each set of competitors is
/// kept; one algorithm does all of it: units get one score each, every set of competitors is cut by a ``RankThreshold``, and
/// what lies below goes.
///
/// - Counts are exact. Of `n` units that compete, a sparsity removes ``removedCount(sparsity:of:)``: those with the smallest
///   scores, and among equal scores those that come first in row-major order.
/// - Of a last, incomplete group of `t` of M units, ``keptCount(n:m:size:)`` are kept, so that its density is not below that
///   of the others.
/// - A unit of several entries has their mean as its score (for units of the same size, the order of their sums; a smaller
///   block at the edge competes on equal terms), unless ``UnitScore`` says otherwise.
///
/// Results do not depend on the number of threads.
public enum Selection {
    /// How the scores of a unit's entries become its own. Summed in double precision.
    public enum UnitScore: String, Sendable, Hashable, CaseIterable {
        /// Their mean.
        case mean
        /// Their sum.
        case sum
        /// The Euclidean norm.
        case norm
    }

    /// `⌊sparsity · n⌋`, where a product that is an integer but for rounding counts as that integer (0.3 · 10 is 3).
    ///
    /// - Parameter sparsity: Fraction removed, 0...1.
    public static func removedCount(sparsity: Double, of n: Int) -> Int {
        require(sparsity >= 0 && sparsity <= 1 && n >= 0)
        return min(n, Int((sparsity + 1e-9) * Double(n)))
    }

    /// How many of a group of `size` consecutive units the pattern n:m keeps: `n` of a whole group of `m`, and
    /// `ceil(n · size / m)` of an incomplete one.
    public static func keptCount(n: Int, m: Int, size: Int) -> Int { (n * size + m - 1) / m }

    /// The mask that keeps the units with the largest scores.
    ///
    /// - Parameters:
    ///   - scores: Importance of every entry [rows, columns]; infinite ones are allowed.
    ///   - pattern: The sets of entries that may be kept. With one matrix, scope global means scope layer.
    ///   - amount: How much is kept. For a pattern that says so itself, use ``mask(scores:pattern:sparsity:within:)``.
    ///   - within: What may be kept: entries that it does not keep rank below all others and are never kept. Sparsities
    ///     count them. Nil for all.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for scores that are no matrix, a bad pattern or amount, one that
    ///   contradicts the pattern, a count above what competes, or a `within` of another shape;
    ///   ``LacunaError/numerical(operation:reason:)`` if a score is NaN, or negative where masses are summed.
    /// - Complexity: O(rows · columns), times m for n:m; with a factor of its logarithm for masses.
    public static func mask(
        scores: Tensor<Float>, pattern: Pattern, amount: Amount, unitScore: UnitScore = .mean,
        within: SparsePattern? = nil
    ) throws -> SparsePattern {
        var pattern = pattern
        if pattern.isGlobal { pattern.competition = .scope(.layer) }
        return try SelectionRun(pattern, amount, unitScore).masks(of: [("scores", scores, within)])[0]
    }

    /// The mask that keeps all but a fraction of the units, those with the largest scores.
    ///
    /// - Parameter sparsity: Fraction removed, 0...1. For n:m it may be nil or 1 - n/m.
    /// - Throws: As ``mask(scores:pattern:amount:unitScore:within:)``.
    public static func mask(
        scores: Tensor<Float>, pattern: Pattern, sparsity: Double? = nil, within: SparsePattern? = nil
    ) throws -> SparsePattern {
        try mask(scores: scores, pattern: pattern, amount: amount(sparsity, for: pattern), within: within)
    }

    /// The masks that keep the units with the largest scores of several matrices, all competing with each other.
    ///
    /// Of equal scores those of the matrix whose name comes first are removed first. For units of several entries the
    /// sparsity is a fraction of the units of all matrices, whatever their sizes.
    ///
    /// - Parameters:
    ///   - scores: Importance of every entry of every matrix, by name.
    ///   - pattern: Any whose units may compete over a matrix: all scopes mean global here.
    ///   - within: What may be kept, by name; all of the matrices that are not named.
    /// - Throws: As ``mask(scores:pattern:amount:unitScore:within:)``, and ``LacunaError/invalidArgument(_:reason:)`` for
    ///   groups of M, which never compete with each other, and for names in `within` that are not in `scores`.
    public static func masks(
        scores: [String: Tensor<Float>], pattern: Pattern = .unstructured(.global), amount: Amount,
        unitScore: UnitScore = .mean, within: [String: SparsePattern] = [:]
    ) throws -> [String: SparsePattern] {
        guard case .scope = pattern.competition else {
            throw LacunaError.invalidArgument("pattern", reason: "\(pattern) cannot be selected globally")
        }
        if let unknown = within.keys.sorted().first(where: { scores[$0] == nil }) {
            throw LacunaError.invalidArgument("within", reason: "there is no matrix '\(unknown)'")
        }
        let names = scores.keys.sorted()
        let run = try SelectionRun(Pattern(pattern.unit, .scope(.global)), amount, unitScore)
        let masks = try run.masks(of: names.map { ($0, scores[$0]!, within[$0]) })
        return Dictionary(uniqueKeysWithValues: zip(names, masks))
    }

    /// The same for a sparsity over all matrices.
    public static func selectGlobally(
        _ scores: [String: Tensor<Float>], pattern: Pattern = .unstructured(.global), sparsity: Double,
        within: [String: SparsePattern] = [:]
    ) throws -> [String: SparsePattern] {
        try masks(scores: scores, pattern: pattern, amount: .sparsity(sparsity), within: within)
    }

    /// The places of the largest numbers of a list, ascending: neurons, heads, tokens, features. Of equals the later ones
    /// are kept.
    ///
    /// - Throws: As ``mask(scores:pattern:amount:unitScore:within:)``.
    public static func indices(_ amount: Amount, of scores: [Float]) throws -> [Int] {
        let mask = try mask(
            scores: Tensor(scores, shape: [1, scores.count]), pattern: .unstructured(.layer), amount: amount)
        return Array(mask.keptColumns(row: 0))
    }

    // MARK: Checks

    /// What a pattern keeps, by itself or by a sparsity that agrees with it.
    static func amount(_ sparsity: Double?, for pattern: Pattern) throws -> Amount {
        try pattern.validate()
        if let (n, _, _) = pattern.group, let implied = pattern.impliedSparsity {
            if let sparsity, !((sparsity - implied).magnitude < 1e-9) {
                throw LacunaError.invalidArgument(
                    "sparsity", reason: "the pattern \(pattern) fixes it to \(implied), not \(sparsity)")
            }
            return .count(n)
        }
        guard let sparsity else {
            throw LacunaError.invalidArgument("sparsity", reason: "the pattern \(pattern) needs one")
        }
        return .sparsity(sparsity)
    }

    static func requireFraction(_ fraction: Double, _ argument: String) throws {
        if !(fraction >= 0 && fraction <= 1) {
            throw LacunaError.invalidArgument(argument, reason: "must lie between 0 and 1, not \(fraction)")
        }
    }
}
