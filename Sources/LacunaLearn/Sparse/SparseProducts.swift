import CLacuna
import LacunaSparse
import LacunaTensor

/// Linear layers whose weight is a list of stored values: forward product, gradient of the input by the transposed
/// product, gradient of the values by sampling the outer product at the pattern. Nothing of the weight's full size is
/// kept.
extension Variable {
    /// `x Wᵀ + b` with `W` in compressed sparse rows.
    ///
    /// - Parameters:
    ///   - values: [pattern.count], in the order of the pattern.
    ///   - denseGradient: Called during the backward pass with the gradient of the whole matrix [rows, columns], stored
    ///     or not; what growing connections by gradient looks at. Nil saves the work.
    public func linear(
        csr pattern: SparsePattern, values: Variable, bias: Variable? = nil,
        denseGradient: ((Tensor<Scalar>) -> Void)? = nil
    ) -> Variable {
        require(
            columns == pattern.columns && values.count == pattern.count, "a pattern that does not fit \(shape)")
        let matrix = SparseMatrix(pattern, buffer: values.storage.buffer(of: pattern.count))
        return linear(matrix, values: values, bias: bias, denseGradient: denseGradient)
    }

    /// `A x` with a sparse matrix that stays as it is, such as the neighbours in a graph: sums of rows of `self`
    /// [matrix.columns, n].
    ///
    /// - Returns: [matrix.rows, n].
    public func multiplied(fromLeft matrix: SparseMatrix<Scalar>) -> Variable {
        require(
            shape.count == 2 && rows == matrix.columns,
            "a matrix of \(matrix.rows) x \(matrix.columns) for rows \(shape)")
        let (n, work, tape) = (columns, matrix.count * columns, self.tape)
        tape.multiplyAdds += work
        return tape.operation(inputs: [self], shape: [matrix.rows, n]) { x, y in
            matrix.multiply(dense: x[0].baseAddress!, leading: n, columns: n, into: y.baseAddress!, leading: n)
        } backward: { [unowned tape] pass in
            pass.accumulate(0) { dx in
                tape.multiplyAdds += work
                var part = Tensor<Scalar>(uninitialized: [matrix.columns, n])
                part.withMutablePointer {
                    matrix.multiply(
                        dense: pass.gradient.baseAddress!, leading: n, columns: n, transposed: true, into: $0,
                        leading: n)
                    for i in dx.indices { dx[i] += $0[i] }
                }
            }
        }
    }

    /// `dYᵀ X` [outputs, columns].
    private func outerProduct(_ dy: UnsafePointer<Scalar>, outputs n: Int) -> Tensor<Scalar> {
        let (m, k) = (rows, columns)
        var gradient = Tensor<Scalar>(uninitialized: [n, k])
        gradient.withMutablePointer {
            LinearAlgebra.parallelGemm(
                m: n, n: k, k: m, dy, leadingA: n, transposedA: true, UnsafePointer(pointer), leadingB: k, into: $0,
                leadingC: k)
        }
        return gradient
    }

    /// `x Wᵀ + b` with `W` under a mask of middling density, such as an N:M pattern.
    ///
    /// - Parameter values: [pattern.count], in the order of the pattern.
    public func linear(groups pattern: SparsePattern, values: Variable, bias: Variable? = nil) -> Variable {
        require(
            columns == pattern.columns && values.count == pattern.count, "a pattern that does not fit \(shape)")
        let matrix = CompressedGroups(pattern, buffer: values.storage.buffer(of: pattern.count))
        return linear(matrix, values: values, bias: bias, denseGradient: nil)
    }

    /// `x Wᵀ + b` with a part of a dense weight, the gradient of which is that of all its entries.
    ///
    /// - Parameters:
    ///   - weight: [outputs, inputs].
    ///   - forward: What the product reads of it; nil for all.
    ///   - backward: What the gradient reads on its way to the input; nil for what `forward` says.
    public func linear(
        _ weight: Variable, forward: CompressedGroups<Scalar>?, backward: CompressedGroups<Scalar>?,
        bias: Variable? = nil
    ) -> Variable {
        let (m, n, k) = (rows, weight.shape[0], weight.columns)
        require(weight.shape.count == 2 && columns == k, "a weight \(weight.shape) for \(shape)")
        for part in [forward, backward] {
            require(
                part.map { $0.rows == n && $0.columns == k } ?? true, "a part of another shape than \(weight.shape)")
        }
        let y = tape.output(shape.dropLast() + [n], self, weight, bias)
        if let forward {
            tape.multiplyAdds += m * forward.count
            forward.multiply(UnsafePointer(pointer), leadingX: k, batch: m, into: y.pointer, leadingY: n)
        } else {
            tape.multiplyAdds += m * n * k
            LinearAlgebra.parallelGemm(
                m: m, n: n, k: k, UnsafePointer(pointer), leadingA: k, UnsafePointer(weight.pointer), leadingB: k,
                transposedB: true, precision: tape.precision, into: y.pointer, leadingC: n)
        }
        if let bias { y.addRowInPlace(bias) }
        let through = backward ?? forward
        tape.record(y) { [self] dy in
            bias?.accumulate { db, add in Scalar.kernels.pointee.column_sums(dy, db, m, n, add) }
            weight.accumulate { dw, add in
                tape.multiplyAdds += m * n * k
                LinearAlgebra.parallelGemm(
                    m: n, n: k, k: m, dy, leadingA: n, transposedA: true, UnsafePointer(pointer), leadingB: k,
                    beta: Scalar(add), precision: tape.precision, into: dw, leadingC: k)
            }
            accumulate { dx, add in
                if let through {
                    tape.multiplyAdds += m * through.count
                    through.multiplyTransposed(dy, leadingY: n, batch: m, beta: Scalar(add), into: dx, leadingX: k)
                } else {
                    tape.multiplyAdds += m * n * k
                    LinearAlgebra.parallelGemm(
                        m: m, n: k, k: n, dy, leadingA: n, UnsafePointer(weight.pointer), leadingB: k,
                        beta: Scalar(add), precision: tape.precision, into: dx, leadingC: k)
                }
            }
        }
        return y
    }

    /// `x Wᵀ + b` with a matrix that has the products of training, whose values are `values`.
    private func linear(
        _ matrix: some PanelProducts<Scalar>, values: Variable, bias: Variable?,
        denseGradient: ((Tensor<Scalar>) -> Void)?
    ) -> Variable {
        let (m, n, k) = (rows, matrix.rows, matrix.columns)
        let y = tape.output(shape.dropLast() + [n], self, values, bias)
        matrix.multiply(UnsafePointer(pointer), leadingX: k, batch: m, into: y.pointer, leadingY: n)
        if let bias { y.addRowInPlace(bias) }
        tape.multiplyAdds += m * matrix.count
        tape.record(y) { [self] dy in
            bias?.accumulate { db, add in Scalar.kernels.pointee.column_sums(dy, db, m, n, add) }
            values.accumulate { dv, add in
                tape.multiplyAdds += m * matrix.count
                matrix.accumulateGradient(
                    output: dy, leadingY: n, input: UnsafePointer(pointer), leadingX: k, batch: m, into: dv,
                    adding: add != 0)
            }
            denseGradient?(outerProduct(dy, outputs: n))
            accumulate { dx, add in
                tape.multiplyAdds += m * matrix.count
                matrix.multiplyTransposed(dy, leadingY: n, batch: m, beta: Scalar(add), into: dx, leadingX: k)
            }
        }
        return y
    }

    /// `x Wᵀ + b` with `W` stored as dense blocks.
    ///
    /// - Parameters:
    ///   - blocks: Where the blocks stand; its values are not used.
    ///   - values: [blocks · block rows · block columns], each block row-major, in the order of the pattern.
    public func linear(
        blocks: CompressedBlocks<Scalar>, values: Variable, bias: Variable? = nil
    ) -> Variable {
        require(columns == blocks.columns && values.count == blocks.count, "blocks that do not fit \(shape)")
        let matrix = blocks.with(values.storage.buffer(of: blocks.count))
        return linear(matrix, values: values, bias: bias, denseGradient: nil)
    }

    /// `x Wᵀ + b` with `W = scale · B A + S`: `a` [rank, inputs], `b` [outputs, rank], and `values` at the flat places
    /// `support` (row · inputs + column, ascending) of `S`.
    ///
    /// The full matrix exists only during each product. Andi Han and others, "SLTrain: a sparse plus low-rank approach
    /// for parameter and memory efficient pretraining", arXiv 2406.02214.
    public func linear(
        lowRank a: Variable, _ b: Variable, scale: Scalar, values: Variable, support: [Int32], bias: Variable? = nil
    ) -> Variable {
        let (m, k, n, r) = (rows, a.shape[1], b.shape[0], a.shape[0])
        require(
            columns == k && b.shape == [n, r] && values.count == support.count, "factors that do not fit \(shape)")
        let (kernels, pool) = (Scalar.kernels, tape.pool)
        func materialized() -> Storage<Scalar> {
            let w = pool.take(n * k)
            LinearAlgebra.parallelGemm(
                m: n, n: k, k: r, alpha: scale, UnsafePointer(b.pointer), leadingA: r, UnsafePointer(a.pointer),
                leadingB: k, into: w.pointer, leadingC: k)
            kernels.pointee.scatter_add(values.pointer, support, support.count, w.pointer)
            return w
        }
        let y = tape.output(shape.dropLast() + [n], self, a, b, values, bias)
        do {
            let w = materialized()
            LinearAlgebra.parallelGemm(
                m: m, n: n, k: k, UnsafePointer(pointer), leadingA: k, UnsafePointer(w.pointer), leadingB: k,
                transposedB: true, into: y.pointer, leadingC: n)
        }
        if let bias { y.addRowInPlace(bias) }
        tape.multiplyAdds += m * n * k + n * k * r
        tape.record(y) { [self] dy in
            bias?.accumulate { db, add in kernels.pointee.column_sums(dy, db, m, n, add) }
            do {
                let g = pool.take(n * k)
                LinearAlgebra.parallelGemm(
                    m: n, n: k, k: m, dy, leadingA: n, transposedA: true, UnsafePointer(pointer), leadingB: k,
                    into: g.pointer, leadingC: k)
                tape.multiplyAdds += m * n * k + 2 * n * k * r
                values.accumulate { dv, add in kernels.pointee.gather(g.pointer, support, support.count, dv, add) }
                b.accumulate { db, add in
                    LinearAlgebra.parallelGemm(
                        m: n, n: r, k: k, alpha: scale, UnsafePointer(g.pointer), leadingA: k,
                        UnsafePointer(a.pointer), leadingB: k, transposedB: true, beta: Scalar(add), into: db,
                        leadingC: r)
                }
                a.accumulate { da, add in
                    LinearAlgebra.parallelGemm(
                        m: r, n: k, k: n, alpha: scale, UnsafePointer(b.pointer), leadingA: r, transposedA: true,
                        UnsafePointer(g.pointer), leadingB: k, beta: Scalar(add), into: da, leadingC: k)
                }
            }
            accumulate { dx, add in
                let w = materialized()
                tape.multiplyAdds += m * n * k + n * k * r
                LinearAlgebra.parallelGemm(
                    m: m, n: k, k: n, dy, leadingA: n, UnsafePointer(w.pointer), leadingB: k, beta: Scalar(add),
                    into: dx, leadingC: k)
            }
        }
        return y
    }
}
