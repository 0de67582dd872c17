import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Puts an n:m core between two block-diagonal wrappers, `W ≈ A (C ∘ M) B`: the wrappers turn the spaces of outputs and inputs
/// so that what n:m must remove matters less.
///
/// The matrix is brought to columns and then rows of length 1, `W = diag(r₂) W̄ diag(r₁)`, and with `h_j` the mean square of
/// input j the loss is `Σ h_j (Ŵ - W̄)²_ij / Σ h_j W̄²_ij`. It starts where keeping the n of m largest `W̄² h` does (NoWag),
/// with wrappers of identity blocks. Every iteration takes a step of Adam on wrappers and kept core values together, and then,
/// in every pair of blocks, chooses one group of m columns in one row, with a probability in proportion to the gradient there,
/// and sets it to the best of all its n:m supports with the best values: the exact minimum over that group. The best state
/// seen is what is stored; the lengths go into the wrappers.
///
/// Lawrence Liu, Alexander Liu, Mengdi Wang, Tuo Zhao, Lin F. Yang, "ARMOR: High-Performance Semi-Structured Pruning via
/// Adaptive Matrix Factorization", arXiv 2510.05528.
public struct ARMOR: MatrixCompression {
    /// Sides of the wrappers' blocks; a multiple of the pattern's group. The wrappers add `blockSize / inputs + blockSize /
    /// outputs` of the dense numbers. The authors take 128 where these are 4096 and more.
    public var blockSize: Int
    /// The authors take 3000 to 20,000, at a rate of 1e-4.
    public var iterations: Int
    /// Of Adam for wrappers and core values, between rows and columns of length 1; above 0.
    public var learningRate: Double
    /// Whether groups are chosen anew; without, the core keeps the support it starts with.
    public var movesCore: Bool
    /// Decides which groups are looked at.
    public var seed: UInt64

    /// The defaults are for matrices of a few hundred rows and columns; large ones want larger blocks, more iterations and
    /// a smaller rate, as the authors take.
    public init(
        blockSize: Int = 32, iterations: Int = 400, learningRate: Double = 3e-3, movesCore: Bool = true,
        seed: UInt64 = 0
    ) {
        self.blockSize = blockSize
        self.iterations = iterations
        self.learningRate = learningRate
        self.movesCore = movesCore
        self.seed = seed
    }

    public var card: MethodCard {
        MethodCard(
            name: "armor", family: .factorizing,
            paper: .init(
                authors: "Lawrence Liu, Alexander Liu, Mengdi Wang, Tuo Zhao, Lin F. Yang",
                title: "ARMOR: High-Performance Semi-Structured Pruning via Adaptive Matrix Factorization",
                arXiv: "2510.05528"),
            composition: ["w² · mean x² between unit rows and columns", "n of m", "block-diagonal wrappers by Adam"])
    }
    public var requirement: ScoreRequirement { .moments }

    public func pattern(_ words: String?) throws -> Pattern? {
        let pattern = try Pattern(words ?? "2:4")
        guard pattern.unit == .entry, let group = pattern.group, group.axis == .input, group.m <= 8 else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "\(card.name) keeps n of m along the inputs, m at most 8, not '\(words ?? "")'")
        }
        return pattern
    }

    public func compress(
        _ weight: Tensor<Float>, statistics: InputStatistics?, request: CompressionRequest
    ) throws -> any StoredMatrix {
        let seen = try requireSeen(weight, statistics)
        guard seen.isFinite, weight.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.numerical(
                operation: card.name, reason: "a weight or an input of '\(request.name)' is not finite")
        }
        guard let group = request.pattern?.group else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "\(card.name) needs n:m, not \(request.pattern?.description ?? "none")")
        }
        let energy = seen.squares.map { Float($0 / Double(seen.tokens)) }
        var run = try descent(weight, energy, n: group.n, m: group.m, stream: UInt64(request.layer))
        try run.descend()
        let (a, core, b) = run.best.unscaled(run.scales)
        func diagonal(_ blocks: Tensor<Float>) throws -> any StoredMatrix {
            try WeightStore.make(
                blocks, layout: .bsr(rows: blockSize, columns: blockSize),
                values: request.values == .int4 ? .int8 : request.values)
        }
        return try ProductMatrix(factors: [
            diagonal(a),
            WeightStore.make(core.values, mask: core.mask, layout: .nm(n: group.n, m: group.m), values: request.values),
            diagonal(b),
        ])
    }

    /// The descent for a matrix, at its start.
    ///
    /// - Parameter energy: `h`, the mean square of every input.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for settings out of range.
    func descent(_ weight: Tensor<Float>, _ energy: [Float], n: Int, m: Int, stream: UInt64 = 0) throws -> ARMORDescent
    {
        guard iterations >= 0, learningRate > 0, learningRate.isFinite, (1...256).contains(blockSize) else {
            throw LacunaError.invalidArgument(
                card.name, reason: "iterations \(iterations), rate \(learningRate) or block size \(blockSize)")
        }
        guard blockSize % m == 0 else {
            throw LacunaError.invalidArgument(
                "blockSize", reason: "\(blockSize) is not a multiple of the pattern's \(m)")
        }
        return try ARMORDescent(self, weight, energy, n: n, m: m, stream: stream)
    }
}
