import CLacuna
import LacunaTensor

/// Shape and visibility of attention.
public struct AttentionShape: Sendable, Hashable {
    /// Sequences in the batch.
    public var batch: Int
    public var heads: Int
    /// Heads of keys and values; each serves `heads / keyValueHeads` heads of queries.
    public var keyValueHeads: Int
    /// Entries of a head's query, key and value.
    public var dimensions: Int
    /// Whether a query sees only keys at its position and before. The last query is at the last key's position.
    public var isCausal: Bool
    /// What scores are multiplied by; nil for 1 / √dimensions.
    public var scale: Double?

    public init(
        batch: Int, heads: Int, keyValueHeads: Int? = nil, dimensions: Int, isCausal: Bool, scale: Double? = nil
    ) {
        self.batch = batch
        self.heads = heads
        self.keyValueHeads = keyValueHeads ?? heads
        self.dimensions = dimensions
        self.isCausal = isCausal
        self.scale = scale
        precondition(heads % self.keyValueHeads == 0, "\(heads) heads cannot share \(self.keyValueHeads)")
    }
}

extension Variable {
    /// Attention `softmax(scale Q Kᵀ) V` of every head.
    ///
    /// - Parameters:
    ///   - queries: [batch · T, heads · dimensions].
    ///   - keys: [batch · S, keyValueHeads · dimensions]; so are the values.
    ///   - visible: [batch, S] bytes, 0 for keys that no query may see, such as padding. Nil shows all.
    /// - Returns: [batch · T, heads · dimensions]. A query that sees no key gets zeros.
    public static func attention(
        queries: Variable, keys: Variable, values: Variable, shape: AttentionShape, visible: [UInt8]? = nil
    ) -> Variable {
        attention(
            AttentionOperand(queries, 0), AttentionOperand(keys, 0), AttentionOperand(values, 0), shape, visible)
    }

    /// The same with queries, keys and values side by side in the rows of one variable: the output of one linear layer.
    public static func attention(packed: Variable, shape: AttentionShape, visible: [UInt8]? = nil) -> Variable {
        let (q, kv) = (shape.heads * shape.dimensions, shape.keyValueHeads * shape.dimensions)
        precondition(packed.columns == q + 2 * kv, "rows of \(packed.columns) for \(q) + 2 x \(kv)")
        return attention(
            AttentionOperand(packed, 0), AttentionOperand(packed, q), AttentionOperand(packed, q + kv), shape, visible)
    }

    private static func attention(
        _ q: AttentionOperand<Scalar>, _ k: AttentionOperand<Scalar>, _ v: AttentionOperand<Scalar>,
        _ s: AttentionShape, _ visible: [UInt8]?
    ) -> Variable {
        let tape = q.variable.tape
        let d = s.dimensions
        let (t, u) = (q.variable.rows / s.batch, k.variable.rows / s.batch)
        precondition(t * s.batch == q.variable.rows && u * s.batch == k.variable.rows, "rows are not whole sequences")
        precondition(v.variable.rows == k.variable.rows, "as many values as keys")
        precondition(
            q.leading >= s.heads * d && k.leading >= s.keyValueHeads * d && v.leading >= s.keyValueHeads * d,
            "rows too short for \(s)")
        precondition(visible == nil || visible!.count == s.batch * u, "one byte a key")
        let scale = s.scale ?? 1 / Double(d).squareRoot()
        let width = s.heads * d
        let shared = s.heads / s.keyValueHeads
        let y = tape.output([q.variable.rows, width], q.variable, k.variable, v.variable)
        let probabilities = tape.pool.take(s.batch * s.heads * t * u)
        let (kernels, p, out) = (Scalar.kernels, probabilities.pointer, y.pointer)
        Parallel.forEach(s.batch * s.heads) { item in
            let (b, h) = (item / s.heads, item % s.heads)
            let scores = p + item * t * u
            LinearAlgebra.gemm(
                m: t, n: u, k: d, q.at(b * t, h * d), leadingA: q.leading, k.at(b * u, h / shared * d),
                leadingB: k.leading, transposedB: true, into: scores, leadingC: u)
            if let visible {
                visible.withUnsafeBufferPointer {
                    kernels.pointee.masked_softmax(
                        scores, scale, t, u, s.isCausal ? 1 : 0, u - t, $0.baseAddress! + b * u)
                }
            } else {
                kernels.pointee.masked_softmax(scores, scale, t, u, s.isCausal ? 1 : 0, u - t, nil)
            }
            LinearAlgebra.gemm(
                m: t, n: d, k: u, UnsafePointer(scores), leadingA: u, v.at(b * u, h / shared * d),
                leadingB: v.leading, into: out + b * t * width + h * d, leadingC: width)
        }
        let products = s.batch * s.heads * t * u * d
        tape.multiplyAdds += 2 * products
        tape.record(y) { dy in
            tape.multiplyAdds += 4 * products
            q.withGradient(tape.pool, k, v) { dq, dk, dv in
                // Heads that share keys are one piece of work, so that no two pieces write to one place.
                Parallel.forEach(s.batch * s.keyValueHeads) { item in
                    let (b, g) = (item / s.keyValueHeads, item % s.keyValueHeads)
                    withUnsafeTemporaryAllocation(of: Scalar.self, capacity: t * u) { space in
                        let ds = space.baseAddress!
                        for h in g * shared..<(g + 1) * shared {
                            let weights = p + (b * s.heads + h) * t * u
                            let later: Scalar = h > g * shared ? 1 : 0
                            let dout = dy + b * t * width + h * d
                            LinearAlgebra.gemm(
                                m: u, n: d, k: t, UnsafePointer(weights), leadingA: u, transposedA: true, dout,
                                leadingB: width, beta: max(later, dv.beta), into: dv.at(b * u, g * d),
                                leadingC: dv.leading)
                            LinearAlgebra.gemm(
                                m: t, n: u, k: d, dout, leadingA: width, v.at(b * u, g * d), leadingB: v.leading,
                                transposedB: true, into: ds, leadingC: u)
                            kernels.pointee.softmax_backward(weights, ds, ds, t, u, 0)
                            LinearAlgebra.gemm(
                                m: t, n: d, k: u, alpha: Scalar(scale), UnsafePointer(ds), leadingA: u,
                                k.at(b * u, g * d), leadingB: k.leading, beta: dq.beta, into: dq.at(b * t, h * d),
                                leadingC: dq.leading)
                            LinearAlgebra.gemm(
                                m: u, n: d, k: t, alpha: Scalar(scale), UnsafePointer(ds), leadingA: u,
                                transposedA: true, q.at(b * t, h * d), leadingB: q.leading,
                                beta: max(later, dk.beta), into: dk.at(b * u, g * d), leadingC: dk.leading)
                        }
                    }
                }
            }
            withExtendedLifetime(probabilities) {}
        }
        return y
    }

    /// Rotates pairs of the first `heads` heads of every row by angles that grow with the row's position; the columns
    /// behind them stay as they are. Pair `i` of a head is its entries `i` and `i + dimensions / 2`.
    ///
    /// Jianlin Su and others, "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv 2104.09864.
    ///
    /// - Parameters:
    ///   - positions: One for each row, from 0.
    ///   - base: The angle of pair `i` is `position · base^(-2 i / dimensions)`.
    public func rotated(positions: [Int32], heads: Int, dimensions: Int, base: Double = 10_000) -> Variable {
        let (r, c) = (rows, columns)
        precondition(positions.count == r && heads * dimensions <= c && dimensions % 2 == 0, "bad shape for rotation")
        let half = dimensions / 2
        let length = Int(positions.max() ?? 0) + 1
        let cosines = tape.pool.take(length * half)
        let sines = tape.pool.take(length * half)
        for i in 0..<half {
            let frequency = power(base, -2 * Double(i) / Double(dimensions))
            for position in 0..<length {
                cosines.pointer[position * half + i] = Scalar(cosine(Double(position) * frequency))
                sines.pointer[position * half + i] = Scalar(sine(Double(position) * frequency))
            }
        }
        let (k, rest) = (Scalar.kernels, c - heads * dimensions)
        func run(_ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>, _ sign: Double, _ add: Int32) {
            positions.withUnsafeBufferPointer { positions in
                spreadRows(r, c) { first, rows in
                    for head in 0..<heads {
                        k.pointee.rotate(
                            x + first * c + head * dimensions, positions.baseAddress! + first, cosines.pointer,
                            sines.pointer, sign, y + first * c + head * dimensions, rows, c, dimensions, add)
                    }
                    if rest > 0 {
                        for row in first..<first + rows {
                            k.pointee.affine(1, x + (row + 1) * c - rest, 0, y + (row + 1) * c - rest, rest, add)
                        }
                    }
                }
            }
        }
        let y = tape.output(shape, self)
        run(UnsafePointer(pointer), y.pointer, 1, 0)
        tape.record(y) { [self] dy in accumulate { dx, add in run(dy, dx, -1, add) } }
        return y
    }
}

/// One of queries, keys and values: columns of a variable from an offset on.
private struct AttentionOperand<Scalar: LearningScalar> {
    let variable: Variable<Scalar>
    let offset: Int
    var leading: Int { variable.columns }

    init(_ variable: Variable<Scalar>, _ offset: Int) {
        self.variable = variable
        self.offset = offset
    }

    func at(_ row: Int, _ column: Int) -> UnsafePointer<Scalar> {
        UnsafePointer(variable.pointer) + row * leading + offset + column
    }

    struct Gradient {
        let pointer: UnsafeMutablePointer<Scalar>
        let leading: Int
        /// 1 if there is something to add to.
        let beta: Scalar

        func at(_ row: Int, _ column: Int) -> UnsafeMutablePointer<Scalar> { pointer + row * leading + column }
    }

    /// Where the gradients of the three go. Operands of one variable share its gradient; one that needs none gets memory
    /// that is thrown away.
    func withGradient(
        _ pool: BufferPool<Scalar>, _ k: AttentionOperand, _ v: AttentionOperand,
        _ body: (Gradient, Gradient, Gradient) -> Void
    ) {
        if variable === k.variable && variable === v.variable {
            variable.accumulate { d, add in
                func part(_ o: AttentionOperand) -> Gradient {
                    Gradient(pointer: d + o.offset, leading: o.leading, beta: Scalar(add))
                }
                body(part(self), part(k), part(v))
            }
            return
        }
        precondition(
            variable !== k.variable && k.variable !== v.variable && variable !== v.variable,
            "queries, keys and values must be three variables, or packed into one")
        func gradient(_ o: AttentionOperand, _ body: (Gradient) -> Void) {
            if o.variable.needsGradient {
                o.variable.accumulate { d, add in body(Gradient(pointer: d, leading: o.leading, beta: Scalar(add))) }
            } else {
                let unused = pool.take(o.variable.count)
                body(Gradient(pointer: unused.pointer, leading: o.leading, beta: 0))
            }
        }
        gradient(self) { dq in gradient(k) { dk in gradient(v) { dv in body(dq, dk, dv) } } }
    }
}
