import LacunaTensor

/// Block coordinate descent on a smooth quadratic `½‖Ax - b‖²` with a choice of rules: which coordinates make a block, and how
/// far they move.
///
/// Blocks are any `blockSize` coordinates, chosen anew at each iteration from the gradient, which is kept up to date.
/// Greedy rules that take the curvature of the coordinates into account, and updates that solve for the whole block, make
/// several times the progress of the usual ones.
///
/// Julie Nutini, Issam Laradji, Mark Schmidt, "Let's Make Block Coordinate Descent Converge Faster: Faster Greedy Rules,
/// Message-Passing, Active-Set Complexity, and Superlinear Convergence", arXiv 1712.08859.
public struct GreedyBlockDescent: Sendable {
    /// How a block is chosen. `g` is the gradient, `L_i` the curvature of a coordinate.
    public enum Rule: String, Sendable, CaseIterable {
        /// Coordinates drawn at random.
        case random
        /// One coordinate after another.
        case cyclic
        /// At random, in proportion to `L_i`.
        case lipschitz
        /// The largest `|g_i|`: Gauss-Southwell.
        case gaussSouthwell = "GS"
        /// The largest `|g_i| / √D_i`, with `D_i = Σ_j |H_ij|` a diagonal that dominates the Hessian.
        case gaussSouthwellDiagonal = "GSD"
        /// The largest `|g_i| / √L_i`.
        case gaussSouthwellLipschitz = "GSL"
        /// The block of largest decrease of the quadratic, approximately: by matching pursuit, or the choice of `GSL` if the
        /// update then takes more off. (The authors' iterative hard thresholding with steps of `1 / λ_max(H)` hardly ever leaves the choice
        /// of `GSL` where columns have a direction in common.)
        case gaussSouthwellQuadratic = "GSQ"
        /// As `GSL`, but only coordinates that keep the Hessian of the block a forest, so that it is solved in linear time.
        case forest
    }

    /// How a block moves.
    public enum Update: String, Sendable, CaseIterable {
        /// `-g_B / λ_max(H_BB)`.
        case gradient = "Lb"
        /// `-H_BB⁻¹ g_B`.
        case matrix = "Hb"
    }

    /// Which coordinates move next.
    public var rule: Rule
    /// How a block moves.
    public var update: Update
    /// Coordinates of a block, at least 1.
    public var blockSize: Int
    /// Of the random rule.
    public var seed: UInt64

    /// Settings as their properties say.
    public init(rule: Rule, update: Update, blockSize: Int, seed: UInt64 = 0) {
        require(blockSize > 0)
        self.rule = rule
        self.update = update
        self.blockSize = blockSize
        self.seed = seed
    }

    /// Runs `iterations` (0 or more) from 0.
    ///
    /// - Parameters:
    ///   - hessian: `AᵀA` [p, p], symmetric and positive semidefinite.
    ///   - linear: `Aᵀb` [p].
    /// - Returns: The point [p], and `½xᵀHx - cᵀx` after each iteration.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for shapes that do not match, numbers that are not finite, a matrix
    ///   that is not symmetric or has a diagonal below 0, and a coordinate with a slope but no curvature.
    public func minimize(
        hessian: Tensor<Double>, linear: [Double], iterations: Int
    ) throws -> (point: [Double], values: [Double]) {
        require(iterations >= 0)
        var descent = try QuadraticDescent(hessian: hessian, linear: linear)
        try descent.requireMinimum()
        var chooser = BlockChooser(self, descent)
        for iteration in 0..<iterations {
            let block = chooser.block(iteration, descent.gradient)
            for (i, d) in zip(block, step(block, descent)) { descent.move(i, by: -d) }
            descent.record()
        }
        return (descent.point, descent.values)
    }

    /// What is taken from a block's coordinates.
    private func step(_ block: [Int], _ descent: QuadraticDescent) -> [Double] {
        let slope = block.map { descent.gradient[$0] }
        let part = BlockMatrix(block, descent.hessian)
        if update == .matrix {
            if rule == .forest {
                let rows = block.indices.map { i in block.indices.map { part.matrix[i, $0] } }
                if let solved = try? ForestSolver.solve(rows, slope) { return solved }
            }
            if let factor = part.factor() { return BlockMatrix.solve(factor, slope) }
        }
        return BlockMatrix.scaled(slope, by: part.largestEigenvalue())
    }
}

/// Chooses the blocks of one run.
private struct BlockChooser {
    let settings: GreedyBlockDescent
    private let hessian: Tensor<Double>
    private let lipschitz: [Double]
    private var dominating: [Double] = []
    private var cumulative: [Double] = []
    private var generator: SeededGenerator

    init(_ settings: GreedyBlockDescent, _ descent: QuadraticDescent) {
        self.settings = settings
        hessian = descent.hessian
        generator = SeededGenerator(seed: settings.seed, stream: 117)
        lipschitz = descent.curvatures
        switch settings.rule {
        case .gaussSouthwellDiagonal: dominating = rowSums(descent.hessian)
        case .lipschitz:
            var sum = 0.0
            cumulative = lipschitz.map {
                sum += $0
                return sum
            }
        default: break
        }
    }

    private var p: Int { lipschitz.count }

    private func top(_ scores: [Double]) -> [Int] { BlockChoice.top(settings.blockSize, of: scores) }

    private func scaled(_ g: [Double], _ by: [Double]) -> [Double] {
        (0..<p).map { by[$0] > 0 ? abs(g[$0]) / by[$0].squareRoot() : 0 }
    }

    mutating func block(_ iteration: Int, _ g: [Double]) -> [Int] {
        switch settings.rule {
        case .random: return BlockChoice.random(settings.blockSize, of: p, using: &generator)
        case .cyclic: return BlockChoice.cyclic(settings.blockSize, of: p, iteration: iteration)
        case .lipschitz: return proportional()
        case .gaussSouthwell: return top(g.map(abs))
        case .gaussSouthwellDiagonal: return top(scaled(g, dominating))
        case .gaussSouthwellLipschitz: return top(scaled(g, lipschitz))
        case .gaussSouthwellQuadratic: return quadratic(g)
        case .forest: return forest(scaled(g, lipschitz))
        }
    }

    /// Different coordinates, drawn in proportion to their curvature; fewer than a block if a few have nearly all of it.
    private mutating func proportional() -> [Int] {
        let size = min(settings.blockSize, p)
        var chosen: Set<Int> = []
        for _ in 0..<100 * size where chosen.count < size {
            let wanted = generator.uniform() * (cumulative.last ?? 0)
            var (low, high) = (0, p - 1)
            while low < high {
                let middle = (low + high) / 2
                if cumulative[middle] > wanted { high = middle } else { low = middle + 1 }
            }
            chosen.insert(low)
        }
        return chosen.sorted()
    }

    /// Matching pursuit on `g·d + ½dᵀHd`: a coordinate at a time, by the slope that the best move of those before leaves.
    private func quadratic(_ g: [Double]) -> [Int] {
        /// The minimum on a block: twice the decrease, and the move.
        func minimum(_ block: [Int]) -> (gain: Double, d: [Double]) {
            let slope = block.map { g[$0] }
            let d = BlockMatrix.solve(BlockMatrix(block, hessian).factor(), slope)
            return (zip(slope, d).reduce(0) { $0 + $1.0 * $1.1 }, d.map { -$0 })
        }
        let plain = top(scaled(g, lipschitz))
        var (block, gain, slope) = ([Int](), 0.0, g)
        while block.count < plain.count {
            let scores = scaled(slope, lipschitz)
            // Those that are in have no slope left.
            guard let next = BlockChoice.top(block.count + 1, of: scores).first(where: { !block.contains($0) }) else {
                break
            }
            block.append(next)
            let found = minimum(block)
            (gain, slope) = (found.gain, g)
            hessian.withPointer { h in
                for (i, value) in zip(block, found.d) where value != 0 { kernels.axpy_f64(value, h + i * p, &slope, p) }
            }
        }
        if settings.update == .matrix { return gain > minimum(plain).gain ? block : plain }
        /// Twice what the other update takes off.
        func taken(_ block: [Int]) -> Double {
            let slope = block.map { g[$0] }
            let step = BlockMatrix.scaled(slope, by: BlockMatrix(block, hessian).largestEigenvalue())
            return zip(slope, step).reduce(0) { $0 + $1.0 * $1.1 }
        }
        return taken(block) > taken(plain) ? block : plain
    }

    /// Greedily by score: a coordinate joins if it touches every tree of the forest at most once.
    private func forest(_ scores: [Double]) -> [Int] {
        var chosen: [Int] = []
        var tree: [Int] = []
        hessian.withPointer { h in
            for i in (0..<p).sorted(by: { (scores[$0], $1) > (scores[$1], $0) }) {
                if chosen.count == settings.blockSize || scores[i] == 0 { break }
                var touched: Set<Int> = []
                let isForest = chosen.indices.allSatisfy { k in
                    h[i * p + chosen[k]] == 0 || touched.insert(tree[k]).inserted
                }
                guard isForest else { continue }
                for k in tree.indices where touched.contains(tree[k]) { tree[k] = chosen.count }
                tree.append(chosen.count)
                chosen.append(i)
            }
        }
        return chosen
    }
}

/// `D_i = Σ_j |H_ij|`.
func rowSums(_ hessian: Tensor<Double>) -> [Double] {
    let p = hessian.rows
    return hessian.withPointer { h in (0..<p).map { i in (0..<p).reduce(0) { $0 + abs(h[i * p + $1]) } } }
}
