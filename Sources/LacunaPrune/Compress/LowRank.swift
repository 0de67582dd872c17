import LacunaSparse
import LacunaTensor

/// Replaces a matrix by two thin ones: the truncated singular value decomposition of the weight, or, with calibration, of the
/// weight as its inputs see it.
///
/// With the Gram matrix `XᵀX = C Cᵀ`, the rank-r matrix that changes the outputs least is `U_r S_r V_rᵀ C⁻¹` for the
/// decomposition `W C = U S Vᵀ`. The factors are balanced: `U √S` [outputs, r] and `√S Vᵀ C⁻¹` [r, inputs]. The rank is the
/// largest that saves the fraction of numbers asked for: `r = ⌊(1 - s) outputs · inputs / (outputs + inputs)⌋`.
///
/// Whitening by the Cholesky factor: Xin Wang, Yu Zheng, Zhongwei Wan, Mi Zhang, "SVD-LLM: Truncation-aware Singular Value
/// Decomposition for Large Language Model Compression", arXiv 2403.07378.
public struct LowRank: MatrixCompression {
    /// Whether the inputs count; without, the weight's own error is the least.
    public var isWhitened: Bool
    /// Share of the mean diagonal of `XᵀX` that is added to its diagonal, 0 or more.
    public var damping: Double

    /// Whitened, it needs calibration with Gram matrices; otherwise none.
    public init(isWhitened: Bool = true, damping: Double = 1e-6) {
        self.isWhitened = isWhitened
        self.damping = damping
    }

    public var card: MethodCard {
        MethodCard(
            name: "lowrank", family: .factorizing,
            paper: .init(
                authors: "Xin Wang, Yu Zheng, Zhongwei Wan, Mi Zhang",
                title: "SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model Compression",
                arXiv: "2403.07378"),
            composition: ["singular values of W C, XᵀX = C Cᵀ", "the largest, as many as save what is asked for"])
    }
    public var requirement: ScoreRequirement { isWhitened ? .gram : .none }

    public func compress(
        _ weight: Tensor<Float>, statistics: InputStatistics?, request: CompressionRequest
    ) throws -> any StoredMatrix {
        let rank = Self.rank(saving: request.sparsity ?? 0, rows: weight.rows, columns: weight.columns)
        if rank < 1 {
            throw LacunaError.invalidArgument(
                "sparsity",
                reason: "\(request.sparsity ?? 0) leaves no rank of '\(request.name)' of shape \(weight.shape)")
        }
        return try factored(weight, rank: rank, statistics: statistics, values: request.values)
    }

    /// The largest rank whose factors have at most `1 - sparsity` of the matrix's numbers; 0 if there is none, and for a
    /// sparsity outside 0...1.
    public static func rank(saving sparsity: Double, rows: Int, columns: Int) -> Int {
        guard (0...1).contains(sparsity), rows + columns > 0 else { return 0 }
        let kept = (1 - sparsity) * Double(rows) * Double(columns)
        // A sparsity that was worked out from a rank gives that rank again.
        return min(Int(kept / Double(rows + columns) + 1e-9), min(rows, columns))
    }

    func factored(_ weight: Tensor<Float>, rank: Int, statistics: InputStatistics?, values: ValueType) throws
        -> ProductMatrix
    {
        let space = isWhitened ? try WhitenedSpace(requireSeen(weight, statistics), damping: damping) : nil
        let matrix = Tensor<Double>(weight)
        let (u, s, vTransposed) = try (space?.whitened(matrix) ?? matrix).svd()
        var left = Tensor<Float>(uninitialized: [weight.rows, rank])
        let k = s.count
        u.withPointer { u in
            left.withMutablePointer { left in
                for i in 0..<weight.rows {
                    for r in 0..<rank { left[i * rank + r] = Float(u[i * k + r] * s[r].squareRoot()) }
                }
            }
        }
        var right = vTransposed.rows(0..<rank)
        right.withMutablePointer { p in
            let width = weight.columns
            for r in 0..<rank { for c in 0..<width { p[r * width + c] *= s[r].squareRoot() } }
        }
        if let space { right = space.restored(right) }
        return try ProductMatrix(
            WeightStore.make(left, layout: .dense, values: values),
            WeightStore.make(Tensor<Float>(right), layout: .dense, values: values))
    }
}

extension Tensor where Scalar == Double {
    init(_ other: Tensor<Float>) { self.init(other.scalars.map(Double.init), shape: other.shape) }
}

extension Tensor where Scalar == Float {
    init(_ other: Tensor<Double>) { self.init(other.scalars.map { Float($0) }, shape: other.shape) }
}
