import CLacuna
import LacunaTensor

/// N:M of magnitudes by kernels that compare all members of a group with each other: what training chooses at every step.
///
/// For numbers that are not negative this is what ``Selection`` does with a line through every group.
enum GroupKernels {
    /// Whether there is a kernel for groups of this size.
    static func exist(m: Int, alongRows: Bool) -> Bool { m <= 64 && (!alongRows || m.nonzeroBitCount == 1) }

    /// The `n` largest magnitudes of every `m`; NaN counts as 0.
    static func mask(_ values: Tensor<Float>, n: Int, m: Int, alongRows: Bool) -> SparsePattern {
        let (rows, columns) = (values.rows, values.columns)
        let kernels = lk_training_f32()!.pointee
        return values.withPointer { p in
            SparsePattern(
                rows: rows, columns: columns,
                words: { words, wordsPerRow in
                    // Pieces of whole groups.
                    let unit = alongRows ? 1 : m
                    Parallel.forRanges((rows + unit - 1) / unit, grain: max(1, (1 << 14) / max(unit * columns, 1))) {
                        range in
                        let (first, last) = (range.lowerBound * unit, min(range.upperBound * unit, rows))
                        if alongRows {
                            for r in first..<last {
                                kernels.keep_along_rows(p + r * columns, columns, n, m, words + r * wordsPerRow)
                            }
                        } else {
                            kernels.keep_along_columns(
                                p + first * columns, last - first, columns, n, m, words + first * wordsPerRow,
                                wordsPerRow)
                        }
                    }
                })
        }
    }
}

extension Selection {
    /// The mask that a pattern gives for the magnitudes of `weight` [rows, columns]; what is not a number counts as 0.
    ///
    /// The same as ``mask(scores:pattern:sparsity:within:)`` of ``MagnitudeScore``, without a copy of the weights where the
    /// pattern is N:M.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a tensor that is no matrix, a bad pattern, or one that needs a sparsity
    ///   that is not given.
    public static func mask(
        magnitudesOf weight: Tensor<Float>, pattern: Pattern, sparsity: Double? = nil
    ) throws -> SparsePattern {
        let amount = try amount(sparsity, for: pattern)
        if weight.rank == 2, pattern.unit == .entry, case .count(let n) = amount,
            case .every(let m, let axis) = pattern.competition,
            GroupKernels.exist(m: m, alongRows: axis == .input)
        {
            return GroupKernels.mask(weight, n: n, m: m, alongRows: axis == .input)
        }
        var scores = weight
        let count = scores.count
        scores.withMutablePointer { p in for i in 0..<count { p[i] = p[i].isNaN ? 0 : abs(p[i]) } }
        return try mask(scores: scores, pattern: pattern, amount: amount)
    }
}
