import CLacuna
import LacunaSparse
import LacunaTensor

extension SparsePattern {
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
    public func masked(_ mask: SparsePattern, factor: Double = 0, passesGradients: Bool = false) -> Variable {
        require(shape == [mask.rows, mask.columns], "a mask [\(mask.rows), \(mask.columns)] for \(shape)")
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
