import LacunaTensor

/// What a calibration pass remembers of the inputs `X` [tokens, columns] of one linear layer.
///
/// Batches are added as they come and need not be kept. First and second moments of every input are accumulated in
/// double precision. The Gram matrix `XᵀX`, which second-order methods need, is optional because it takes
/// `4 · columns²` bytes; it is accumulated in single precision, as the field does. Results do not depend on the number
/// of threads.
public struct InputStatistics: Sendable {
    /// Number of inputs of the layer.
    public let columns: Int
    /// Number of tokens (rows of `X`) seen so far.
    public private(set) var tokens = 0
    /// `Σ x_j` over the tokens, one number for every input.
    public private(set) var sums: [Double]
    /// `Σ x_j²` over the tokens, one number for every input.
    public private(set) var squares: [Double]
    /// `XᵀX` [columns, columns] with only its lower triangle meaningful.
    private var lowerGram: Tensor<Float>?

    /// Statistics of no tokens.
    ///
    /// - Parameters:
    ///   - columns: Number of inputs of the layer.
    ///   - gram: Whether to accumulate `XᵀX` too.
    public init(columns: Int, gram: Bool = false) {
        require(columns >= 0)
        self.columns = columns
        sums = [Double](repeating: 0, count: columns)
        squares = sums
        lowerGram = gram ? Tensor(zeros: [columns, columns]) : nil
    }

    /// Adds `n` tokens.
    ///
    /// - Parameters:
    ///   - x: Row-major inputs [n, columns].
    ///   - n: Number of tokens.
    /// - Complexity: O(n · columns), and O(n · columns²) with a Gram matrix.
    public mutating func accumulate(_ x: UnsafePointer<Float>, count n: Int) {
        require(n >= 0)
        if n == 0 || columns == 0 {
            tokens += n
            return
        }
        let width = columns
        sums.withUnsafeMutableBufferPointer { sums in
            squares.withUnsafeMutableBufferPointer { squares in
                let (sums, squares) = (sums.baseAddress!, squares.baseAddress!)
                Parallel.forRanges(width, grain: max(64, 1 << 16 / n)) { range in
                    let (first, count) = (range.lowerBound, range.count)
                    Kernels.best.accumulate_sums(x + first, n, count, width, sums + first)
                    Kernels.best.accumulate_squares(x + first, n, count, width, squares + first)
                }
            }
        }
        lowerGram?.withMutablePointer { LinearAlgebra.accumulateGram(x, rows: n, columns: width, into: $0) }
        tokens += n
    }

    /// Adds the rows of `x` [tokens, columns].
    public mutating func accumulate(_ x: Tensor<Float>) {
        require(x.rank == 2 && x.columns == columns, "inputs of shape \(x.shape) for \(columns) columns")
        x.withPointer { accumulate($0, count: x.rows) }
    }

    /// Adds what `other` has seen, as if its tokens had followed.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the two differ in columns or in having a Gram matrix.
    public mutating func merge(_ other: InputStatistics) throws {
        if other.columns != columns {
            throw LacunaError.invalidArgument(
                "statistics", reason: "cannot merge \(other.columns) columns into \(columns)")
        }
        if other.hasGram != hasGram {
            throw LacunaError.invalidArgument("statistics", reason: "only one of the two has a Gram matrix")
        }
        tokens += other.tokens
        for j in 0..<columns {
            sums[j] += other.sums[j]
            squares[j] += other.squares[j]
        }
        if let theirs = other.lowerGram {
            let count = theirs.count
            theirs.withPointer { source in
                lowerGram?.withMutablePointer { target in for i in 0..<count { target[i] += source[i] } }
            }
        }
    }

    /// Whether XᵀX is kept, rather than its diagonal alone.
    public var hasGram: Bool { lowerGram != nil }

    /// False once an infinite or undefined input was seen.
    public var isFinite: Bool { squares.allSatisfy(\.isFinite) }

    /// Bytes held.
    public var byteCount: Int { 16 * columns + 4 * (lowerGram?.count ?? 0) }

    /// `‖x_j‖₂`, the Euclidean norm of every input over all tokens.
    public var norms: [Float] { squares.map { Float($0.squareRoot()) } }

    /// `‖x_j‖₂ / √tokens`: norms that can be compared between runs of different length. 0 without tokens.
    public var rootMeanSquares: [Float] {
        tokens == 0 ? norms : squares.map { Float(($0 / Double(tokens)).squareRoot()) }
    }

    /// Mean of every input over the tokens. 0 without tokens.
    public var means: [Float] { sums.map { tokens == 0 ? 0 : Float($0 / Double(tokens)) } }

    /// Variance of every input over the tokens (divided by their number), never negative. 0 without tokens.
    public var variances: [Float] {
        if tokens == 0 { return [Float](repeating: 0, count: columns) }
        let n = Double(tokens)
        return zip(sums, squares).map { sum, square in Float(max(0, square / n - (sum / n) * (sum / n))) }
    }

    /// The inputs that were 0 for every token: whatever weight meets them has no effect.
    public var deadColumns: [Int] { squares.indices.filter { squares[$0] == 0 } }
}

extension InputStatistics {
    /// `XᵀX` [columns, columns], both triangles.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if no Gram matrix was accumulated.
    public func gram() throws -> Tensor<Float> { try symmetricGram() }

    /// The layer's Hessian up to a factor, ready for a Cholesky factorisation: `XᵀX + λI` with
    /// `λ = damping · mean(diag(XᵀX))`. A dead input, whose row and column are 0, gets 1 + λ on the diagonal, so that it
    /// neither makes the matrix singular nor touches other inputs.
    ///
    /// - Parameters:
    ///   - type: The precision of the result. Entries are rounded to single precision before either way.
    ///   - damping: Share of the mean diagonal that is added; 0 or more. 0.01 is customary.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without a Gram matrix or for a bad damping;
    ///   ``LacunaError/numerical(operation:reason:)`` if an input was not finite.
    public func hessian<Scalar: TensorScalar>(_ type: Scalar.Type = Scalar.self, damping: Double = 0.01) throws
        -> Tensor<Scalar>
    {
        if !(damping >= 0 && damping.isFinite) {
            throw LacunaError.invalidArgument("damping", reason: "must be 0 or more, not \(damping)")
        }
        if !isFinite {
            throw LacunaError.numerical(operation: "hessian", reason: "an input of the layer is not finite")
        }
        var result: Tensor<Scalar> = try symmetricGram()
        let n = columns
        result.withMutablePointer { h in
            var trace = 0.0
            for j in 0..<n { trace += Double(h[j * n + j]) }
            let added = Scalar(damping * trace / Double(max(n, 1)))
            for j in 0..<n { h[j * n + j] = (h[j * n + j] == 0 ? 1 : h[j * n + j]) + added }
        }
        return result
    }

    private func symmetricGram<Scalar: TensorScalar>() throws -> Tensor<Scalar> {
        guard let lowerGram else {
            throw LacunaError.invalidArgument("statistics", reason: "no Gram matrix was accumulated")
        }
        let n = columns
        var result = Tensor<Scalar>(uninitialized: [n, n])
        lowerGram.withPointer { source in
            result.withMutablePointer { target in
                for i in 0..<n {
                    for j in 0...i {
                        let value = Scalar(source[i * n + j])
                        target[i * n + j] = value
                        target[j * n + i] = value
                    }
                }
            }
        }
        return result
    }
}
