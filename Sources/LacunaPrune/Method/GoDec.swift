import LacunaSparse
import LacunaTensor

/// A matrix as a part of low rank and a few large entries beside it, found in turns: the best matrix of rank r for what the
/// entries leave, then the largest entries of what that leaves.
///
/// Tianyi Zhou, Dacheng Tao, "GoDec: Randomized Low-rank & Sparse Matrix Decomposition in Noisy Case", ICML 2011. With a rank
/// above that of the low-rank part, it takes up the entries too, and which ones are found becomes arbitrary.
public enum GoDec {
    /// - Parameters:
    ///   - matrix: `W`.
    ///   - rank: r, 0 or more.
    ///   - entries: How many entries are taken out, 0...count.
    ///   - iterations: Turns, 1 or more.
    /// - Returns: The part of low rank, and where the entries are.
    /// - Throws: `LacunaError.invalidArgument` for numbers out of range; `.numerical` for numbers that are not finite.
    /// - Complexity: A singular value decomposition in each turn.
    public static func decompose(
        _ matrix: Tensor<Float>, rank: Int, entries: Int, iterations: Int = 20
    ) throws -> (lowRank: Tensor<Float>, support: SparsePattern) {
        guard rank >= 0, (0...matrix.count).contains(entries), iterations >= 1 else {
            throw LacunaError.invalidArgument(
                "rank", reason: "\(rank), \(entries) entries or \(iterations) iterations are out of range")
        }
        var support = SparsePattern(rows: matrix.rows, columns: matrix.columns)
        var lowRank = Tensor<Float>(zeros: matrix.shape)
        for _ in 0..<iterations {
            // What stands at the entries is theirs: the low-rank part sees its own numbers there.
            var rest = matrix
            for row in 0..<matrix.rows {
                support.forEachKeptColumn(row: row) { rest[row, $0] = lowRank[row, $0] }
            }
            lowRank = try truncated(rest, rank)
            let found = try Selection.mask(
                scores: MagnitudeScore().scores(weight: matrix - lowRank), pattern: .unstructured(.layer),
                amount: .count(entries))
            if found == support, rank == 0 { break }
            support = found
        }
        return (lowRank, support)
    }

    /// The nearest matrix of rank `rank`.
    static func truncated(_ matrix: Tensor<Float>, _ rank: Int) throws -> Tensor<Float> {
        let (u, s, vTransposed) = try matrix.svd()
        let count = min(rank, s.count)
        if count == 0 { return Tensor(zeros: matrix.shape) }
        var left = Tensor<Float>(uninitialized: [matrix.rows, count])
        for row in 0..<matrix.rows { for r in 0..<count { left[row, r] = u[row, r] * s[r] } }
        return left.multiplied(by: vTransposed.rows(0..<count))
    }
}
