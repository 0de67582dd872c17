import LacunaTensor

/// How coordinates are divided into blocks that stay the same throughout.
public enum BlockPartition: String, Sendable, CaseIterable {
    /// Neighbours.
    case order
    /// By curvature: a block holds coordinates of about the same `L_i`.
    case sort
    /// Large and small curvatures mixed, so that the blocks' means are about the same.
    case average

    /// - Parameters:
    ///   - curvatures: `L_i` [coordinates].
    ///   - size: Coordinates of a block; the last may have fewer.
    /// - Returns: Every coordinate in exactly one block.
    public func blocks(curvatures: [Double], size: Int) -> [[Int]] {
        require(size > 0)
        let p = curvatures.count
        let sorted = (0..<p).sorted { (curvatures[$0], $1) > (curvatures[$1], $0) }
        switch self {
        case .order, .sort:
            let order = self == .order ? Array(0..<p) : sorted
            return stride(from: 0, to: p, by: size).map { Array(order[$0..<min($0 + size, p)]) }
        case .average:
            // Dealt out like cards, to and fro.
            let count = (p + size - 1) / size
            var blocks = [[Int]](repeating: [], count: count)
            for (rank, i) in sorted.enumerated() {
                let (round, place) = (rank / count, rank % count)
                blocks[round % 2 == 0 ? place : count - 1 - place].append(i)
            }
            return blocks
        }
    }
}

/// Block coordinate descent on `½xᵀHx - cᵀx` with blocks that are fixed beforehand, so that all that is needed of a block's
/// matrix is computed once.
///
/// Julie Nutini, Issam Laradji, Mark Schmidt, "Let's Make Block Coordinate Descent Converge Faster: Faster Greedy Rules,
/// Message-Passing, Active-Set Complexity, and Superlinear Convergence", arXiv 1712.08859.
public struct FixedBlockDescent: Sendable {
    /// Which block is next; `g` is the gradient, `L_B` the largest eigenvalue of a block's matrix.
    public enum Rule: String, Sendable, CaseIterable {
        /// A block drawn at random.
        case random
        /// One block after another.
        case cyclic
        /// The largest `Σ|g_i|`.
        case gaussSouthwell = "GS"
        /// The largest `Σ|g_i| / √L_B`.
        case gaussSouthwellLipschitz = "GSL"
        /// The largest `Σ|g_i| / √D_i`, with `D_i = Σ_j |H_ij|`.
        case gaussSouthwellDiagonal = "GSD"
        /// The largest `g_Bᵀ H_BB⁻¹ g_B`: the decrease of the matrix update.
        case gaussSouthwellQuadratic = "GSQ"
    }

    /// How coordinates are divided beforehand.
    public var partition: BlockPartition
    /// Which block moves next.
    public var rule: Rule
    /// How a block moves.
    public var update: GreedyBlockDescent.Update
    /// Coordinates of a block, at least 1.
    public var blockSize: Int
    /// Of the random rule.
    public var seed: UInt64

    /// Settings as their properties say.
    public init(
        partition: BlockPartition, rule: Rule, update: GreedyBlockDescent.Update, blockSize: Int, seed: UInt64 = 0
    ) {
        require(blockSize > 0)
        self.partition = partition
        self.rule = rule
        self.update = update
        self.blockSize = blockSize
        self.seed = seed
    }

    /// Runs `iterations` (0 or more) from 0.
    ///
    /// - Parameters:
    ///   - hessian: [p, p], symmetric and positive semidefinite.
    ///   - linear: [p].
    /// - Returns: The point [p], and the objective after each iteration; no iterations for p = 0.
    /// - Throws: As ``GreedyBlockDescent/minimize(hessian:linear:iterations:)``.
    public func minimize(
        hessian: Tensor<Double>, linear: [Double], iterations: Int
    ) throws -> (point: [Double], values: [Double]) {
        require(iterations >= 0)
        var descent = try QuadraticDescent(hessian: hessian, linear: linear)
        try descent.requireMinimum()
        let parts = partition.blocks(curvatures: descent.curvatures, size: blockSize).map { BlockMatrix($0, hessian) }
        let usesFactors = update == .matrix || rule == .gaussSouthwellQuadratic
        let factors = usesFactors ? parts.map { $0.factor() } : []
        let usesEigenvalues = update == .gradient || rule == .gaussSouthwellLipschitz
        let curvatures = usesEigenvalues ? parts.map { $0.largestEigenvalue() } : []
        let dominating = rule == .gaussSouthwellDiagonal ? rowSums(hessian).map { $0.squareRoot() } : []
        var generator = SeededGenerator(seed: seed, stream: 118)
        for iteration in 0..<iterations where !parts.isEmpty {
            let g = descent.gradient
            func best(_ score: (Int) -> Double) -> Int { BlockChoice.top(1, of: parts.indices.map(score))[0] }
            func sum(_ k: Int) -> Double { parts[k].members.reduce(0) { $0 + abs(g[$1]) } }
            func slope(_ k: Int) -> [Double] { parts[k].members.map { g[$0] } }
            let chosen: Int
            switch rule {
            case .random: chosen = Int.random(in: 0..<parts.count, using: &generator)
            case .cyclic: chosen = iteration % parts.count
            case .gaussSouthwell: chosen = best(sum)
            case .gaussSouthwellLipschitz:
                chosen = best { curvatures[$0] > 0 ? sum($0) / curvatures[$0].squareRoot() : 0 }
            case .gaussSouthwellDiagonal:
                chosen = best { k in
                    parts[k].members.reduce(0) { dominating[$1] > 0 ? $0 + abs(g[$1]) / dominating[$1] : $0 }
                }
            case .gaussSouthwellQuadratic:
                chosen = best { k in
                    zip(slope(k), BlockMatrix.solve(factors[k], slope(k))).reduce(0) { $0 + $1.0 * $1.1 }
                }
            }
            let step =
                update == .matrix
                ? BlockMatrix.solve(factors[chosen], slope(chosen))
                : BlockMatrix.scaled(slope(chosen), by: curvatures[chosen])
            for (i, d) in zip(parts[chosen].members, step) { descent.move(i, by: -d) }
            descent.record()
        }
        return (descent.point, descent.values)
    }
}
