import CLacuna
import LacunaSparse
import LacunaTensor

extension Mask {
    /// The mask that `pattern` gives for the magnitudes of `weight` [rows, columns]; what is not a number counts as 0.
    ///
    /// N:M patterns take a kernel of their own, as some methods choose them at every step; the result is that of
    /// ``Selection/mask(scores:pattern:sparsity:)``, to which other patterns go.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a bad pattern, or one that needs a sparsity.
    public init(largestMagnitudesOf weight: Tensor<Float>, pattern: Pattern) throws {
        try pattern.validate()
        let (rows, columns) = (weight.rows, weight.columns)
        guard case .nm(let n, let m, let axis) = pattern, m <= 64, axis == .output || m.nonzeroBitCount == 1 else {
            var scores = weight
            scores.withMutablePointer { p in for i in 0..<rows * columns { p[i] = p[i].isNaN ? 0 : abs(p[i]) } }
            self = try Selection.mask(scores: scores, pattern: pattern)
            return
        }
        self.init(rows: rows, columns: columns)
        if rows == 0 || columns == 0 { return }
        let kernels = Float.kernels.pointee
        weight.withPointer { w in
            withMutableWords { words, wordsPerRow in
                // Pieces of whole groups.
                let unit = axis == .output ? m : 1
                let grain = max(1, (1 << 14) / (unit * columns))
                Parallel.forRanges((rows + unit - 1) / unit, grain: grain) { range in
                    let (first, last) = (range.lowerBound * unit, min(range.upperBound * unit, rows))
                    switch axis {
                    case .input:
                        for r in first..<last {
                            kernels.keep_along_rows(w + r * columns, columns, n, m, words + r * wordsPerRow)
                        }
                    case .output:
                        kernels.keep_along_columns(
                            w + first * columns, last - first, columns, n, m, words + first * wordsPerRow, wordsPerRow)
                    }
                }
            }
        }
    }

    /// Calls `body` with pieces of rows, on the thread pool if there is work for more than one.
    fileprivate func spreadOverRows(_ body: (_ row: Int, _ words: UnsafePointer<UInt64>) -> Void) {
        withWords { words, wordsPerRow in
            spreadRows(rows, columns) { first, count in
                for r in first..<first + count { body(r, words + r * wordsPerRow) }
            }
        }
    }

    /// `y += factor · x` for the entries that are not in the mask.
    public func addRemoved<Scalar: LearningScalar>(
        of x: UnsafePointer<Scalar>, times factor: Double, to y: UnsafeMutablePointer<Scalar>
    ) {
        spreadOverRows { r, words in
            Scalar.kernels.pointee.scale_masked(x + r * columns, words, columns, 0, factor, y + r * columns, 1)
        }
    }
}

extension Variable {
    /// This matrix with the entries that are not in `mask` multiplied by `factor`.
    ///
    /// - Parameter passesGradients: Gradients go to all entries unchanged (a straight-through estimator) instead of being
    ///   multiplied, too.
    public func masked(_ mask: Mask, factor: Double = 0, passesGradients: Bool = false) -> Variable {
        precondition(shape == [mask.rows, mask.columns], "a mask [\(mask.rows), \(mask.columns)] for \(shape)")
        let y = tape.output(shape, self)
        let (source, target, columns) = (pointer, y.pointer, mask.columns)
        mask.spreadOverRows { r, words in
            Scalar.kernels.pointee.scale_masked(
                source + r * columns, words, columns, 1, factor, target + r * columns, 0)
        }
        tape.record(y) { [self] dy in
            if passesGradients { return addToGradient(dy, times: 1) }
            accumulate { dx, add in
                mask.spreadOverRows { r, words in
                    Scalar.kernels.pointee.scale_masked(
                        dy + r * columns, words, columns, 1, factor, dx + r * columns, add)
                }
            }
        }
        return y
    }
}
