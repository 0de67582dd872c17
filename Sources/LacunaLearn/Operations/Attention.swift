import CLacuna
import LacunaTensor

/// Shape and visibility of attention.
public struct AttentionShape: Sendable, Hashable {
    /// Sequences in the batch.
    public var batch: Int
    /// Heads of queries.
    public var heads: Int
    /// Heads of keys and values; each serves `heads / keyValueHeads` heads of queries.
    public var keyValueHeads: Int
    /// Entries of a head's query, key and value.
    public var dimensions: Int
    /// Whether a query sees only keys at its position and before. The last query is at the last key's position.
    public var isCausal: Bool
    /// How far a query sees: keys fewer than this many positions away, its own position included. Nil for all.
    public var window: Int?
    /// What scores are multiplied by, above 0; nil for 1 / √dimensions.
    public var scale: Double?

    /// As many heads of keys as of queries, all keys and a scale of 1 / √dimensions unless it is said.
    ///
    /// - Precondition: Heads of keys divide those of queries; window and scale are positive.
    public init(
        batch: Int, heads: Int, keyValueHeads: Int? = nil, dimensions: Int, isCausal: Bool, window: Int? = nil,
        scale: Double? = nil
    ) {
        self.batch = batch
        self.heads = heads
        self.keyValueHeads = keyValueHeads ?? heads
        self.dimensions = dimensions
        self.isCausal = isCausal
        self.window = window
        self.scale = scale
        require(heads % self.keyValueHeads == 0, "\(heads) heads cannot share \(self.keyValueHeads)")
        require(window ?? 1 > 0 && scale ?? 1 > 0, "a window and a scale are positive")
    }
}

/// Which keys queries may see, beside what an ``AttentionShape`` says: bytes, 0 for what is hidden. With `T` queries and
/// `S` keys in each sequence:
public enum AttentionMask: Sendable, Hashable {
    /// [batch, S]: padding, for instance.
    case keys([UInt8])
    /// [T, S], the same in every sequence.
    case pairs([UInt8])
    /// [batch, T, S].
    case batchedPairs([UInt8])
}

extension Variable {
    /// Attention `softmax(scale Q Kᵀ + bias) V` of every head.
    ///
    /// Probabilities exist for some rows of queries at a time, in the forward and again in the backward pass; nothing of
    /// size T · S is kept. This is the idea of Tri Dao and others, "FlashAttention", arXiv 2205.14135, with whole rows of
    /// scores in a tile, which caches of processors hold.
    ///
    /// - Parameters:
    ///   - queries: [batch · T, heads · dimensions].
    ///   - keys: [batch · S, keyValueHeads · dimensions]; so are the values, which may be the same variable.
    ///   - bias: [heads, T, S], added to the scores of every sequence; -infinity hides a key.
    /// - Returns: [batch · T, heads · dimensions]. A query that sees no key gets zeros.
    /// - Complexity: O(batch · heads · T · S · dimensions) time, S times a few dozen numbers of memory for each thread
    ///   beside the result.
    public static func attention(
        queries: Variable, keys: Variable, values: Variable, shape: AttentionShape, mask: AttentionMask? = nil,
        bias: Variable? = nil
    ) -> Variable {
        attention(operands(queries, keys, values, shape), shape, mask, bias, nil)
    }

    private static func operands(
        _ queries: Variable, _ keys: Variable, _ values: Variable, _ shape: AttentionShape
    ) -> [AttentionOperand<Scalar>] {
        let (q, kv) = (shape.heads * shape.dimensions, shape.keyValueHeads * shape.dimensions)
        require(
            queries.columns == q && keys.columns == kv && values.columns == kv,
            "rows of \(queries.columns), \(keys.columns) and \(values.columns) for \(shape)")
        return [queries, keys, values].map { AttentionOperand($0, 0) }
    }

    /// The same with queries, keys and values side by side in the rows of one variable: the output of one linear layer.
    public static func attention(
        packed: Variable, shape: AttentionShape, mask: AttentionMask? = nil, bias: Variable? = nil
    ) -> Variable {
        let (q, kv) = (shape.heads * shape.dimensions, shape.keyValueHeads * shape.dimensions)
        require(packed.columns == q + 2 * kv, "rows of \(packed.columns) for \(q) + 2 x \(kv)")
        return attention([0, q, q + kv].map { AttentionOperand(packed, $0) }, shape, mask, bias, nil)
    }

    /// Attention together with its weights [batch, heads, T, S] as plain numbers, through which no gradient flows: for
    /// looking at, and for methods that score keys by the attention they get.
    public static func attentionWithWeights(
        queries: Variable, keys: Variable, values: Variable, shape: AttentionShape, mask: AttentionMask? = nil,
        bias: Variable? = nil
    ) -> (output: Variable, weights: Tensor<Scalar>) {
        var weights = Tensor<Scalar>(
            uninitialized: [shape.batch, shape.heads, queries.rows / shape.batch, keys.rows / shape.batch])
        let output = weights.withMutablePointer {
            attention(operands(queries, keys, values, shape), shape, mask, bias, $0)
        }
        return (output, weights)
    }

    private static func attention(
        _ operands: [AttentionOperand<Scalar>], _ s: AttentionShape, _ mask: AttentionMask?, _ bias: Variable?,
        _ weights: UnsafeMutablePointer<Scalar>?
    ) -> Variable {
        let (q, k, v) = (operands[0], operands[1], operands[2])
        let tape = q.variable.tape
        let d = s.dimensions
        let tiles = AttentionTiles(s, mask, bias, queries: q.variable.rows, keys: k.variable.rows)
        let (t, u, all) = (tiles.queries, tiles.keys, tiles.all)
        require(v.variable.rows == k.variable.rows, "as many values as keys")
        let width = s.heads * d
        let shared = s.heads / s.keyValueHeads
        let y = tape.output([q.variable.rows, width], of: [q.variable, k.variable, v.variable, bias])
        let out = y.pointer
        Parallel.forEach(s.batch * s.heads) { item in
            let (b, h) = (item / s.heads, item % s.heads)
            withUnsafeTemporaryAllocation(of: Scalar.self, capacity: tiles.height * u) { space in
                let p = space.baseAddress!
                for tile in all {
                    let target = out + (b * t + tile.first) * width + h * d
                    tiles.probabilities(
                        tile, b, h, q.at(b * t, h * d), q.leading, k.at(b * u, h / shared * d), k.leading, p)
                    LinearAlgebra.gemm(
                        m: tile.count, n: d, k: tile.keys.count, UnsafePointer(p), leadingA: max(tile.keys.count, 1),
                        v.at(b * u + tile.keys.lowerBound, h / shared * d), leadingB: v.leading, into: target,
                        leadingC: width)
                    guard let weights else { continue }
                    for i in 0..<tile.count {
                        let row = weights + ((b * s.heads + h) * t + tile.first + i) * u
                        row.update(repeating: 0, count: u)
                        (row + tile.keys.lowerBound).update(from: p + i * tile.keys.count, count: tile.keys.count)
                    }
                }
            }
        }
        let products = s.batch * s.heads * all.reduce(0) { $0 + $1.count * $1.keys.count } * d
        tape.multiplyAdds += 2 * products
        tape.record(y) { dy in
            tape.multiplyAdds += 5 * products
            AttentionOperand.withGradients(operands, tape.pool) { gradients in
                let (dq, dk, dv) = (gradients[0], gradients[1], gradients[2])
                func run(_ dbias: UnsafeMutablePointer<Scalar>?, _ b: Int, _ g: Int) {
                    withUnsafeTemporaryAllocation(of: Scalar.self, capacity: 2 * tiles.height * u) { space in
                        let (p, ds) = (space.baseAddress!, space.baseAddress! + tiles.height * u)
                        for row in b * u..<(b + 1) * u where dk.beta == 0 {
                            dk.at(row, g * d).update(repeating: 0, count: d)
                        }
                        for row in b * u..<(b + 1) * u where dv.beta == 0 {
                            dv.at(row, g * d).update(repeating: 0, count: d)
                        }
                        for h in g * shared..<(g + 1) * shared {
                            for tile in all {
                                let (n, m) = (tile.count, tile.keys.count)
                                let (row, key) = (b * t + tile.first, b * u + tile.keys.lowerBound)
                                let dout = dy + row * width + h * d
                                tiles.probabilities(
                                    tile, b, h, q.at(b * t, h * d), q.leading, k.at(b * u, g * d), k.leading, p)
                                LinearAlgebra.gemm(
                                    m: m, n: d, k: n, UnsafePointer(p), leadingA: max(m, 1), transposedA: true, dout,
                                    leadingB: width, beta: 1, into: dv.at(key, g * d), leadingC: dv.leading)
                                LinearAlgebra.gemm(
                                    m: n, n: m, k: d, dout, leadingA: width, v.at(key, g * d), leadingB: v.leading,
                                    transposedB: true, into: ds, leadingC: max(m, 1))
                                Scalar.kernels.pointee.softmax_backward(p, ds, ds, n, m, 0)
                                if let dbias {
                                    for i in 0..<n {
                                        let target = dbias + (h * t + tile.first + i) * u + tile.keys.lowerBound
                                        Scalar.kernels.pointee.affine(1, ds + i * m, 0, target, m, 1)
                                    }
                                }
                                LinearAlgebra.gemm(
                                    m: n, n: d, k: m, alpha: Scalar(tiles.scale), UnsafePointer(ds),
                                    leadingA: max(m, 1),
                                    k.at(key, g * d), leadingB: k.leading, beta: dq.beta, into: dq.at(row, h * d),
                                    leadingC: dq.leading)
                                LinearAlgebra.gemm(
                                    m: m, n: d, k: n, alpha: Scalar(tiles.scale), UnsafePointer(ds),
                                    leadingA: max(m, 1),
                                    transposedA: true, q.at(row, h * d), leadingB: q.leading, beta: 1,
                                    into: dk.at(key, g * d), leadingC: dk.leading)
                            }
                        }
                    }
                }
                // Heads that share keys are one piece of work, so that no two pieces write to one place; so are all
                // sequences if they share a bias.
                if let bias, bias.needsGradient {
                    bias.accumulateAdding { dbias in
                        Parallel.forEach(s.keyValueHeads) { g in for b in 0..<s.batch { run(dbias, b, g) } }
                    }
                } else {
                    Parallel.forEach(s.batch * s.keyValueHeads) { run(nil, $0 / s.keyValueHeads, $0 % s.keyValueHeads) }
                }
            }
        }
        return y
    }
}

/// Attention cut into rows of queries, each with the keys that at least one of them may see.
private struct AttentionTiles<Scalar: LearningScalar> {
    let shape: AttentionShape
    /// Queries and keys of a sequence.
    let queries: Int
    let keys: Int
    let scale: Double
    /// Queries of a tile at most.
    let height: Int
    private let bias: Variable<Scalar>?
    private let visible: [UInt8]?
    /// Bytes from one sequence's visibility to the next and from one query's to the next.
    private let visibleStrides: (batch: Int, query: Int)

    init(_ shape: AttentionShape, _ mask: AttentionMask?, _ bias: Variable<Scalar>?, queries: Int, keys: Int) {
        self.shape = shape
        let (t, u) = (queries / max(shape.batch, 1), keys / max(shape.batch, 1))
        require(t * shape.batch == queries && u * shape.batch == keys, "rows are not whole sequences")
        require(
            bias == nil || bias!.shape == [shape.heads, t, u],
            "a bias of shape \(bias!.shape) for \(shape), \(t) x \(u)")
        (self.queries, self.keys, self.bias) = (t, u, bias)
        scale = shape.scale ?? 1 / Double(shape.dimensions).squareRoot()
        // Scores of a tile stay in the second-level cache.
        height = max(8, min(64, 65_536 / max(u, 1)))
        switch mask {
        case nil: (visible, visibleStrides) = (nil, (0, 0))
        case .keys(let bytes):
            require(bytes.count == shape.batch * u, "\(bytes.count) bytes for \(shape.batch) x \(u) keys")
            (visible, visibleStrides) = (bytes, (u, 0))
        case .pairs(let bytes):
            require(bytes.count == t * u, "\(bytes.count) bytes for \(t) x \(u) pairs")
            (visible, visibleStrides) = (bytes, (0, u))
        case .batchedPairs(let bytes):
            require(
                bytes.count == shape.batch * t * u, "\(bytes.count) bytes for \(shape.batch) x \(t) x \(u) pairs")
            (visible, visibleStrides) = (bytes, (t * u, u))
        }
    }

    struct Tile {
        var first: Int
        var count: Int
        var keys: Range<Int>
    }

    /// The tiles of a sequence's queries, in order.
    var all: [Tile] {
        stride(from: 0, to: queries, by: height).map { first in
            let count = min(height, queries - first)
            let (low, high) = (seen(by: first).low, seen(by: first + count - 1).high)
            return Tile(first: first, count: count, keys: low..<max(low, high))
        }
    }

    /// The keys that the shape lets a query see.
    private func seen(by query: Int) -> (low: Int, high: Int) {
        let place = query + keys - queries
        let low = shape.window.map { place - $0 + 1 } ?? 0
        let high = shape.isCausal ? place + 1 : shape.window.map { place + $0 } ?? keys
        return (min(max(low, 0), keys), min(max(high, 0), keys))
    }

    /// Writes the attention of a tile's queries over its keys, [tile.count, tile.keys.count].
    ///
    /// - Parameters:
    ///   - q, k: The first query and key of this head in this sequence, rows `leadingQ` and `leadingK` apart.
    func probabilities(
        _ tile: Tile, _ b: Int, _ h: Int, _ q: UnsafePointer<Scalar>, _ leadingQ: Int, _ k: UnsafePointer<Scalar>,
        _ leadingK: Int, _ p: UnsafeMutablePointer<Scalar>
    ) {
        let (n, m, start) = (tile.count, tile.keys.count, tile.keys.lowerBound)
        if m == 0 { return }
        LinearAlgebra.gemm(
            m: n, n: m, k: shape.dimensions, q + tile.first * leadingQ, leadingA: leadingQ, k + start * leadingK,
            leadingB: leadingK, transposedB: true, into: p, leadingC: m)
        let place = tile.first + keys - queries - start
        let first = shape.window.map { place - $0 + 1 } ?? -keys - n
        let last = shape.isCausal ? place + 1 : shape.window.map { place + $0 } ?? keys + n
        let scores = bias.map { UnsafeRawPointer($0.pointer + (h * queries + tile.first) * keys + start) }
        if let visible {
            visible.withUnsafeBufferPointer {
                Scalar.kernels.pointee.masked_softmax(
                    p, scale, n, m, first, last, scores, keys,
                    $0.baseAddress! + b * visibleStrides.batch + tile.first * visibleStrides.query + start,
                    visibleStrides.query)
            }
        } else {
            Scalar.kernels.pointee.masked_softmax(p, scale, n, m, first, last, scores, keys, nil, 0)
        }
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

    /// Where the gradients of operands go. Those at different columns of one variable share its gradient; one that needs
    /// none gets memory that is thrown away, and one whose place is taken by an operand before it gets memory that is
    /// added afterwards.
    static func withGradients(
        _ operands: [AttentionOperand], _ pool: BufferPool<Scalar>, _ body: ([Gradient]) -> Void
    ) {
        var gradients: [Gradient] = []
        func next() {
            if gradients.count == operands.count { return body(gradients) }
            let o = operands[gradients.count]
            let earlier = operands.indices.prefix(gradients.count).filter { operands[$0].variable === o.variable }
            if let first = earlier.first, earlier.allSatisfy({ operands[$0].offset != o.offset }) {
                let known = gradients[first]
                gradients.append(
                    Gradient(
                        pointer: known.pointer - operands[first].offset + o.offset, leading: o.leading,
                        beta: known.beta))
                next()
            } else if !o.variable.needsGradient || !earlier.isEmpty {
                let own = pool.take(o.variable.count)
                gradients.append(Gradient(pointer: own.pointer + o.offset, leading: o.leading, beta: 0))
                next()
                o.variable.addToGradient(UnsafePointer(own.pointer), times: 1)
            } else {
                o.variable.accumulate { d, add in
                    gradients.append(Gradient(pointer: d + o.offset, leading: o.leading, beta: Scalar(add)))
                    next()
                }
            }
        }
        next()
    }
}
