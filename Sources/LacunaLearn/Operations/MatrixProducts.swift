import CLacuna
import LacunaTensor

extension Variable {
    /// The matrix product of `self` [m, k] and `other` [k, n], or [n, k] if `otherTransposed`.
    public func multiplied(by other: Variable, otherTransposed: Bool = false) -> Variable {
        require(shape.count == 2 && other.shape.count == 2, "matrices have two dimensions")
        let (m, k) = (shape[0], shape[1])
        let (n, inner) = otherTransposed ? (other.shape[0], other.shape[1]) : (other.shape[1], other.shape[0])
        require(k == inner, "cannot multiply \(shape) by \(other.shape)")
        let y = tape.output([m, n], self, other)
        LinearAlgebra.parallelGemm(
            m: m, n: n, k: k, UnsafePointer(pointer), leadingA: k, UnsafePointer(other.pointer),
            leadingB: other.shape[1], transposedB: otherTransposed, precision: tape.precision, into: y.pointer,
            leadingC: n)
        tape.multiplyAdds += m * n * k
        tape.record(y) { [self] dy in
            accumulate { da, add in
                tape.multiplyAdds += m * n * k
                LinearAlgebra.parallelGemm(
                    m: m, n: k, k: n, dy, leadingA: n, UnsafePointer(other.pointer), leadingB: other.shape[1],
                    transposedB: !otherTransposed, beta: Scalar(add), precision: tape.precision, into: da, leadingC: k)
            }
            other.accumulate { db, add in
                tape.multiplyAdds += m * n * k
                if otherTransposed {
                    LinearAlgebra.parallelGemm(
                        m: n, n: k, k: m, dy, leadingA: n, transposedA: true, UnsafePointer(pointer), leadingB: k,
                        beta: Scalar(add), precision: tape.precision, into: db, leadingC: k)
                } else {
                    LinearAlgebra.parallelGemm(
                        m: k, n: n, k: m, UnsafePointer(pointer), leadingA: k, transposedA: true, dy, leadingB: n,
                        beta: Scalar(add), precision: tape.precision, into: db, leadingC: n)
                }
            }
        }
        return y
    }

    /// The products of matrices `self` [b, m, k] and `other` [b, k, n], or [b, n, k] if `otherTransposed`, one by one.
    public func batchMultiplied(by other: Variable, otherTransposed: Bool = false) -> Variable {
        require(
            shape.count == 3 && other.shape.count == 3 && shape[0] == other.shape[0], "not batches of matrices")
        let (b, m, k) = (shape[0], shape[1], shape[2])
        let (n, inner) = otherTransposed ? (other.shape[1], other.shape[2]) : (other.shape[2], other.shape[1])
        require(k == inner, "cannot multiply \(shape) by \(other.shape)")
        let y = tape.output([b, m, n], self, other)
        let (p, q, r) = (UnsafePointer(pointer), UnsafePointer(other.pointer), y.pointer)
        let leading = otherTransposed ? k : n
        Parallel.forEach(b) {
            LinearAlgebra.gemm(
                m: m, n: n, k: k, p + $0 * m * k, leadingA: k, q + $0 * k * n, leadingB: leading,
                transposedB: otherTransposed, into: r + $0 * m * n, leadingC: n)
        }
        tape.multiplyAdds += b * m * n * k
        tape.record(y) { [self] dy in
            accumulate { da, add in
                tape.multiplyAdds += b * m * n * k
                Parallel.forEach(b) {
                    LinearAlgebra.gemm(
                        m: m, n: k, k: n, dy + $0 * m * n, leadingA: n, q + $0 * k * n, leadingB: leading,
                        transposedB: !otherTransposed, beta: Scalar(add), into: da + $0 * m * k, leadingC: k)
                }
            }
            other.accumulate { db, add in
                tape.multiplyAdds += b * m * n * k
                Parallel.forEach(b) {
                    if otherTransposed {
                        LinearAlgebra.gemm(
                            m: n, n: k, k: m, dy + $0 * m * n, leadingA: n, transposedA: true, p + $0 * m * k,
                            leadingB: k, beta: Scalar(add), into: db + $0 * k * n, leadingC: k)
                    } else {
                        LinearAlgebra.gemm(
                            m: k, n: n, k: m, p + $0 * m * k, leadingA: k, transposedA: true, dy + $0 * m * n,
                            leadingB: n, beta: Scalar(add), into: db + $0 * k * n, leadingC: n)
                    }
                }
            }
        }
        return y
    }

    /// `self Wᵀ + b`: the rows of `self` [..., inputs] through a linear layer with `weight` [outputs, inputs] and `bias`
    /// [outputs]. Returns [..., outputs].
    ///
    /// - Parameter backward: Another weight of the same shape, through which the gradient flows back to the input
    ///   instead. The weight's own gradient is not affected.
    public func linear(_ weight: Variable, bias: Variable? = nil, backward: Variable? = nil) -> Variable {
        require(weight.shape.count == 2 && columns == weight.shape[1], "a weight \(weight.shape) for \(shape)")
        require(
            bias == nil || bias!.count == weight.shape[0], "a bias \(bias!.shape) for a weight \(weight.shape)")
        require(backward == nil || backward!.shape == weight.shape, "weights of different shapes")
        let (m, n, k) = (rows, weight.shape[0], weight.shape[1])
        let y = tape.output(shape.dropLast() + [n], self, weight, bias)
        LinearAlgebra.parallelGemm(
            m: m, n: n, k: k, UnsafePointer(pointer), leadingA: k, UnsafePointer(weight.pointer), leadingB: k,
            transposedB: true, precision: tape.precision, into: y.pointer, leadingC: n)
        if let bias { y.addRowInPlace(bias) }
        tape.multiplyAdds += m * n * k
        let through = backward ?? weight
        tape.record(y) { [self] dy in
            bias?.accumulate { db, add in Scalar.kernels.pointee.column_sums(dy, db, m, n, add) }
            weight.accumulate { dw, add in
                tape.multiplyAdds += m * n * k
                LinearAlgebra.parallelGemm(
                    m: n, n: k, k: m, dy, leadingA: n, transposedA: true, UnsafePointer(pointer), leadingB: k,
                    beta: Scalar(add), precision: tape.precision, into: dw, leadingC: k)
            }
            accumulate { dx, add in
                tape.multiplyAdds += m * n * k
                LinearAlgebra.parallelGemm(
                    m: m, n: k, k: n, dy, leadingA: n, UnsafePointer(through.pointer), leadingB: k,
                    beta: Scalar(add), precision: tape.precision, into: dx, leadingC: k)
            }
        }
        return y
    }

    /// Adds a row to every row of an output that no one has read yet.
    func addRowInPlace(_ row: Variable) {
        let (target, r, c) = (pointer, rows, columns)
        spreadRows(r, c) { first, count in
            Scalar.kernels.pointee.add_row(
                target + first * c, row.pointer, target + first * c, count, c, 0)
        }
    }
}
