import LacunaTensor

/// Which entries stay: the second of the four verbs. Turns scores into a ``Mask`` under a ``Pattern`` and a sparsity.
///
/// Counts are exact. Of `n` things that compete (entries, blocks, rows or columns), ``removedCount(sparsity:of:)`` are
/// removed: those with the smallest scores, and among equal scores those that come first in row-major order. Results do
/// not depend on the number of threads.
///
/// - unstructured: the entries of every row (scope row) or of the matrix (scope layer, and global with one matrix).
/// - n:m: of every `m` consecutive entries `n` are kept; of a last, incomplete group of `t` entries
///   `ceil(n · t / m)`, so that its density is not below that of the others. The pattern fixes the sparsity.
/// - block, rows, columns: units of which each has the mean score of its entries (for units of the same size, the order
///   of their sums; a smaller block at the edge competes on equal terms).
public enum Selection {
    /// `⌊sparsity · n⌋`, where a product that is an integer but for rounding counts as that integer (0.3 · 10 is 3).
    ///
    /// - Parameter sparsity: Fraction removed, 0...1.
    public static func removedCount(sparsity: Double, of n: Int) -> Int {
        precondition(sparsity >= 0 && sparsity <= 1 && n >= 0)
        return min(n, Int((sparsity + 1e-9) * Double(n)))
    }

    /// The mask that keeps the entries with the largest scores.
    ///
    /// - Parameters:
    ///   - scores: Importance of every entry [rows, columns]; infinite ones are allowed.
    ///   - pattern: The sets of entries that may be kept.
    ///   - sparsity: Fraction removed, 0...1. For n:m it may be nil or 1 - n/m.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for scores that are no matrix, a bad pattern or a bad sparsity;
    ///   ``LacunaError/numerical(operation:reason:)`` if a score is NaN.
    /// - Complexity: O(rows · columns), times m for n:m.
    public static func mask(scores: Tensor<Float>, pattern: Pattern, sparsity: Double? = nil) throws -> Mask {
        let sparsity = try validated(sparsity, for: pattern)
        try requireMatrix(scores, "scores")
        switch pattern {
        case .nm(let n, let m, let axis):
            return try groups(scores, n: n, m: m, axis: axis)
        case .unstructured(.row):
            return try rowwise(scores, sparsity: sparsity)
        case .unstructured, .block, .rows, .columns:
            let grid = UnitGrid(rows: scores.rows, columns: scores.columns, pattern: pattern)
            let units = grid.means(scores)
            let k = removedCount(sparsity: sparsity, of: units.count)
            return grid.expanded(try smallestRemoved(k, from: [("scores", units)])[0])
        }
    }

    /// The masks that keep the entries with the largest scores of several matrices, all competing with each other.
    ///
    /// Of equal scores those of the matrix whose name comes first are removed first. For blocks, rows and columns the
    /// sparsity is a fraction of the units of all matrices, whatever their sizes.
    ///
    /// - Parameters:
    ///   - scores: Importance of every entry of every matrix, by name.
    ///   - pattern: Unstructured (of any scope: all mean global here), block, rows or columns.
    ///   - sparsity: Fraction removed over all matrices, 0...1.
    /// - Throws: As ``mask(scores:pattern:sparsity:)``, and ``LacunaError/invalidArgument(_:reason:)`` for n:m, whose
    ///   groups never compete.
    public static func selectGlobally(
        _ scores: [String: Tensor<Float>], pattern: Pattern = .unstructured(.global), sparsity: Double
    ) throws -> [String: Mask] {
        if pattern.impliedSparsity != nil {
            throw LacunaError.invalidArgument("pattern", reason: "\(pattern) cannot be selected globally")
        }
        let sparsity = try validated(sparsity, for: pattern)
        let names = scores.keys.sorted()
        for name in names { try requireMatrix(scores[name]!, name) }
        let grids = names.map { name in
            UnitGrid(rows: scores[name]!.rows, columns: scores[name]!.columns, pattern: pattern)
        }
        let units = zip(names, grids).map { name, grid in (name: name, scores: grid.means(scores[name]!)) }
        let k = removedCount(sparsity: sparsity, of: units.reduce(0) { $0 + $1.scores.count })
        let masks = try smallestRemoved(k, from: units)
        return Dictionary(
            uniqueKeysWithValues: zip(names, zip(grids, masks).map { grid, mask in grid.expanded(mask) }))
    }

    // MARK: Checks

    private static func validated(_ sparsity: Double?, for pattern: Pattern) throws -> Double {
        try pattern.validate()
        if let implied = pattern.impliedSparsity {
            if let sparsity, !((sparsity - implied).magnitude < 1e-9) {
                throw LacunaError.invalidArgument(
                    "sparsity", reason: "the pattern \(pattern) fixes it to \(implied), not \(sparsity)")
            }
            return implied
        }
        guard let sparsity else {
            throw LacunaError.invalidArgument("sparsity", reason: "the pattern \(pattern) needs one")
        }
        try requireFraction(sparsity, "sparsity")
        return sparsity
    }

    static func requireFraction(_ sparsity: Double, _ argument: String) throws {
        if !(sparsity >= 0 && sparsity <= 1) {
            throw LacunaError.invalidArgument(argument, reason: "must lie between 0 and 1, not \(sparsity)")
        }
    }

    private static func requireMatrix(_ scores: Tensor<Float>, _ argument: String) throws {
        if scores.rank != 2 {
            throw LacunaError.invalidArgument(argument, reason: "must be a matrix, not of shape \(scores.shape)")
        }
    }

    /// The error for scores that contain NaN, with the place of the first.
    static func undefinedScore(_ scores: Tensor<Float>, _ name: String) -> LacunaError {
        let (count, width) = (scores.count, max(scores.columns, 1))
        let first = scores.withPointer { p in (0..<count).first { p[$0].isNaN } } ?? 0
        return .numerical(
            operation: "selection", reason: "\(name): the score at [\(first / width), \(first % width)] is not a number"
        )
    }

    // MARK: Unstructured

    private static func rowwise(_ scores: Tensor<Float>, sparsity: Double) throws -> Mask {
        let (rows, columns) = (scores.rows, scores.columns)
        let k = removedCount(sparsity: sparsity, of: columns)
        var mask = Mask(rows: rows, columns: columns)
        let wordsPerRow = mask.wordsPerRow
        let sawNaN = Buffer<Bool>(repeating: false, count: rows)
        scores.withPointer { p in
            mask.withMutableWords { words, _ in
                Parallel.forRanges(rows, grain: max(1, 32768 / max(columns, 1))) { range in
                    for row in range {
                        let start = p + row * columns
                        guard let threshold = RankThreshold(smallest: k, of: start, count: columns) else {
                            sawNaN.pointer[row] = true
                            continue
                        }
                        var ties = threshold.ties
                        keep(start, columns, above: threshold.value, ties: &ties, words + row * wordsPerRow)
                    }
                }
            }
        }
        if sawNaN.elements.contains(true) { throw undefinedScore(scores, "scores") }
        return mask
    }

    /// Removes the `k` smallest elements of all matrices together.
    private static func smallestRemoved(_ k: Int, from layers: [(name: String, scores: Tensor<Float>)]) throws -> [Mask]
    {
        guard let threshold = RankThreshold(smallest: k, of: layers.map(\.scores)) else {
            let layer = layers.first { layer in
                let count = layer.scores.count
                return layer.scores.withPointer { p in (0..<count).contains { p[$0].isNaN } }
            }
            throw undefinedScore(layer!.scores, layer!.name)
        }
        var ties = threshold.ties
        return layers.map { keep($0.scores, threshold, ties: &ties) }
    }

    /// The mask of one matrix under a threshold; takes its share from the `ties` still to be removed.
    private static func keep(_ scores: Tensor<Float>, _ threshold: RankThreshold, ties: inout Int) -> Mask {
        let (rows, columns) = (scores.rows, scores.columns)
        var mask = Mask(rows: rows, columns: columns)
        let wordsPerRow = mask.wordsPerRow
        let value = threshold.value
        let grain = max(1, 65536 / max(columns, 1))
        let pieces = (rows + grain - 1) / grain
        // The ties that each piece has to remove: what is left after the pieces before it. Only needed if some stay.
        let shares = Buffer<Int>(repeating: ties, count: pieces)
        scores.withPointer { p in
            if threshold.ties != threshold.equal {
                Parallel.forRanges(rows, grain: grain) { range in
                    var equal = 0
                    for i in range.lowerBound * columns..<range.upperBound * columns where p[i] == value { equal += 1 }
                    shares.pointer[range.lowerBound / grain] = equal
                }
                for piece in 0..<pieces {
                    let share = min(ties, shares.pointer[piece])
                    shares.pointer[piece] = share
                    ties -= share
                }
            }
            mask.withMutableWords { words, _ in
                Parallel.forRanges(rows, grain: grain) { range in
                    var ties = shares.pointer[range.lowerBound / grain]
                    for row in range {
                        keep(p + row * columns, columns, above: value, ties: &ties, words + row * wordsPerRow)
                    }
                }
            }
        }
        return mask
    }

    /// Writes the bits of one row: 1 above `value`, 0 below, and of the entries equal to it the first `ties` 0 and the
    /// others 1. Subtracts from `ties` what it removed.
    private static func keep(
        _ scores: UnsafePointer<Float>, _ count: Int, above value: Float, ties: inout Int,
        _ words: UnsafeMutablePointer<UInt64>
    ) {
        for start in stride(from: 0, to: count, by: 64) {
            let length = min(64, count - start)
            var above: UInt64 = 0
            var equal: UInt64 = 0
            for bit in 0..<length {
                let x = scores[start &+ bit]
                above |= (x > value ? 1 : 0) &<< UInt64(truncatingIfNeeded: bit)
                equal |= (x == value ? 1 : 0) &<< UInt64(truncatingIfNeeded: bit)
            }
            let count = equal.nonzeroBitCount
            if ties >= count {
                ties -= count
            } else {
                while ties > 0 {
                    equal &= equal - 1
                    ties -= 1
                }
                above |= equal
            }
            words[start / 64] = above
        }
    }
}
