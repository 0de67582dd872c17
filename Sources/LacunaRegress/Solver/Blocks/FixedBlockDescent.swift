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
        precondition(size > 0)
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
        case random
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

    public var partition: BlockPartition
    public var rule: Rule
    public var update: GreedyBlockDescent.Update
    public var blockSize: Int
    public var seed: UInt64

    public init(
        partition: BlockPartition, rule: Rule, update: GreedyBlockDescent.Update, blockSize: Int, seed: UInt64 = 0
    ) {
        precondition(blockSize > 0)
        self.partition = partition
        self.rule = rule
        self.update = update
        self.blockSize = blockSize
        self.seed = seed
    }

    /// Runs `iterations` from 0.
    ///
    /// - Parameters:
    ///   - hessian: [p, p], symmetric and positive semidefinite.
    ///   - linear: [p].
    /// - Returns: The point, and the objective after each iteration.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for shapes that do not match.
    public func minimize(
        hessian: Tensor<Double>, linear: [Double], iterations: Int
    ) throws -> (point: [Double], values: [Double]) {
        let p = linear.count
        guard hessian.shape == [p, p] else {
            throw LacunaError.invalidArgument("hessian", reason: "has shape \(hessian.shape), not [\(p), \(p)]")
        }
        let blocks = partition.blocks(curvatures: (0..<p).map { hessian[$0, $0] }, size: blockSize)
        let parts = blocks.map { BlockMatrix($0, hessian) }
        let dominating: [Double] = hessian.withPointer { h in
            rule != .gaussSouthwellDiagonal
                ? [] : (0..<p).map { i in (0..<p).reduce(0) { $0 + abs(h[i * p + $1]) }.squareRoot() }
        }
        var generator = SeededGenerator(seed: seed, stream: 118)
        var x = [Double](repeating: 0, count: p)
        var g = linear.map { -$0 }
        var values: [Double] = []
        hessian.withPointer { h in
            for iteration in 0..<iterations where !parts.isEmpty {
                func best(_ score: (BlockMatrix) -> Double) -> Int {
                    let scores = parts.map(score)
                    return scores.indices.reduce(0) { scores[$1] > scores[$0] ? $1 : $0 }
                }
                func sum(_ part: BlockMatrix) -> Double { part.members.reduce(0) { $0 + abs(g[$1]) } }
                let chosen: Int
                switch rule {
                case .random: chosen = Int.random(in: 0..<parts.count, using: &generator)
                case .cyclic: chosen = iteration % parts.count
                case .gaussSouthwell: chosen = best(sum)
                case .gaussSouthwellLipschitz:
                    chosen = best { $0.curvature > 0 ? sum($0) / $0.curvature.squareRoot() : 0 }
                case .gaussSouthwellDiagonal:
                    chosen = best {
                        $0.members.reduce(0) { dominating[$1] > 0 ? $0 + abs(g[$1]) / dominating[$1] : $0 }
                    }
                case .gaussSouthwellQuadratic:
                    chosen = best { part in
                        let slope = part.members.map { g[$0] }
                        return zip(slope, part.solve(slope)).reduce(0) { $0 + $1.0 * $1.1 }
                    }
                }
                let part = parts[chosen]
                let slope = part.members.map { g[$0] }
                let step =
                    update == .matrix
                    ? part.solve(slope) : slope.map { part.curvature > 0 ? $0 / part.curvature : 0 }
                for (i, d) in zip(part.members, step) where d != 0 {
                    x[i] -= d
                    kernels.axpy_f64(-d, h + i * p, &g, p)
                }
                values.append((0..<p).reduce(0) { $0 + x[$1] * (g[$1] - linear[$1]) } / 2)
            }
        }
        return (x, values)
    }
}

/// What is computed once for a block: the factor of its matrix and its largest eigenvalue.
struct BlockMatrix {
    let members: [Int]
    let curvature: Double
    private let factor: Tensor<Double>

    init(_ members: [Int], _ hessian: Tensor<Double>) {
        self.members = members
        let m = members.count
        var sub = Tensor<Double>(zeros: [m, m])
        for (a, i) in members.enumerated() { for (b, j) in members.enumerated() { sub[a, b] = hessian[i, j] } }
        let trace = (0..<m).reduce(0) { $0 + sub[$1, $1] }
        curvature = trace > 0 ? max(0, (try? sub.symmetricEigen().values.last) ?? trace) : 0
        // Dependent coordinates: a little of the diagonal makes the matrix definite, and steps still descend.
        var factor: Tensor<Double>?
        for ridge in [0, 1e-10, 1e-6] where factor == nil && trace > 0 {
            var regular = sub
            for a in 0..<m { regular[a, a] += ridge * trace / Double(m) }
            factor = try? regular.cholesky()
        }
        self.factor = factor ?? Tensor(zeros: [0, 0])
    }

    /// `H_BB⁻¹ g`; 0 for a block without curvature.
    func solve(_ g: [Double]) -> [Double] {
        let m = members.count
        guard factor.rows == m else { return [Double](repeating: 0, count: m) }
        var x = g
        factor.withPointer { l in LinearAlgebra.solveCholesky(l, n: m, &x) }
        return x
    }
}
