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
        case random
        case cyclic
        /// At random, in proportion to `L_i`.
        case lipschitz
        /// The largest `|g_i|`: Gauss-Southwell.
        case gaussSouthwell = "GS"
        /// The largest `|g_i| / √D_i`, with `D_i = Σ_j |H_ij|` a diagonal that dominates the Hessian.
        case gaussSouthwellDiagonal = "GSD"
        /// The largest `|g_i| / √L_i`.
        case gaussSouthwellLipschitz = "GSL"
        /// The block of largest decrease of the quadratic, approximately: iterative hard thresholding from the choice of
        /// `GSL`.
        case gaussSouthwellQuadratic = "GSQ"
        /// As `GSL`, but only coordinates that keep the Hessian of the block a forest, so that it is solved in linear time.
        case forest
    }

    public enum Update: String, Sendable, CaseIterable {
        /// `-g_B / λ_max(H_BB)`.
        case gradient = "Lb"
        /// `-H_BB⁻¹ g_B`.
        case matrix = "Hb"
    }

    public var rule: Rule
    public var update: Update
    public var blockSize: Int
    public var seed: UInt64

    public init(rule: Rule, update: Update, blockSize: Int, seed: UInt64 = 0) {
        precondition(blockSize > 0)
        self.rule = rule
        self.update = update
        self.blockSize = blockSize
        self.seed = seed
    }

    /// Runs `iterations` from 0.
    ///
    /// - Parameters:
    ///   - hessian: `AᵀA` [p, p], symmetric and positive semidefinite.
    ///   - linear: `Aᵀb` [p].
    /// - Returns: The point, and `½xᵀHx - cᵀx` after each iteration.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for shapes that do not match.
    public func minimize(
        hessian: Tensor<Double>, linear: [Double], iterations: Int
    ) throws -> (point: [Double], values: [Double]) {
        let p = linear.count
        guard hessian.shape == [p, p] else {
            throw LacunaError.invalidArgument("hessian", reason: "has shape \(hessian.shape), not [\(p), \(p)]")
        }
        var x = [Double](repeating: 0, count: p)
        var g = linear.map { -$0 }
        var values: [Double] = []
        hessian.withPointer { h in
            var chooser = BlockChooser(self, h, p)
            for iteration in 0..<iterations {
                let block = chooser.block(iteration, g)
                let step = direction(block, h, p, g)
                for (i, d) in zip(block, step) where d != 0 {
                    x[i] += d
                    kernels.axpy_f64(d, h + i * p, &g, p)
                }
                // ½xᵀHx - cᵀx = ½xᵀ(g - c).
                values.append((0..<p).reduce(0) { $0 + x[$1] * (g[$1] - linear[$1]) } / 2)
            }
        }
        return (x, values)
    }

    private func direction(_ block: [Int], _ h: UnsafePointer<Double>, _ p: Int, _ g: [Double]) -> [Double] {
        let m = block.count
        if m == 0 { return [] }
        if rule == .forest && update == .matrix {
            return ForestSolver.solve(block.map { a in block.map { h[a * p + $0] } }, block.map { -g[$0] })
        }
        var sub = Tensor<Double>(zeros: [m, m])
        for (a, i) in block.enumerated() { for (b, j) in block.enumerated() { sub[a, b] = h[i * p + j] } }
        let trace = (0..<m).reduce(0) { $0 + sub[$1, $1] }
        if trace <= 0 { return [Double](repeating: 0, count: m) }
        if update == .matrix {
            // Dependent columns: a little of the diagonal makes the block definite, and the step still descends.
            for ridge in [0, 1e-10, 1e-6] {
                var regular = sub
                for a in 0..<m { regular[a, a] += ridge * trace / Double(m) }
                let right = Tensor(block.map { -g[$0] }, shape: [m, 1])
                if let solved = try? regular.solvePositiveDefinite(right) { return solved.scalars }
            }
        }
        let curvature = (try? sub.symmetricEigen().values.last) ?? trace
        return block.map { -g[$0] / max(curvature, .leastNormalMagnitude) }
    }
}

/// Chooses the blocks of one run.
private struct BlockChooser {
    let settings: GreedyBlockDescent
    let h: UnsafePointer<Double>
    let p: Int
    let lipschitz: [Double]
    private var dominating: [Double] = []
    private var largest = 0.0
    private var cumulative: [Double] = []
    private var generator: SeededGenerator

    init(_ settings: GreedyBlockDescent, _ h: UnsafePointer<Double>, _ p: Int) {
        self.settings = settings
        self.h = h
        self.p = p
        generator = SeededGenerator(seed: settings.seed, stream: 117)
        lipschitz = (0..<p).map { h[$0 * p + $0] }
        switch settings.rule {
        case .gaussSouthwellDiagonal:
            dominating = (0..<p).map { i in (0..<p).reduce(0) { $0 + abs(h[i * p + $1]) } }
        case .gaussSouthwellQuadratic:
            // The largest eigenvalue, scaled coordinates, by the power method.
            let scales = lipschitz.map { $0 > 0 ? 1 / $0.squareRoot() : 0 }
            var v = (0..<p).map { _ in generator.normal() }
            for _ in 0..<50 {
                let norm = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
                let unit = v.map { $0 / max(norm, .leastNormalMagnitude) }
                v = (0..<p).map { i in
                    scales[i] * kernels.dot_f64(h + i * p, zip(unit, scales).map { $0 * $1 }, p)
                }
                largest = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
            }
        case .lipschitz:
            var sum = 0.0
            cumulative = lipschitz.map {
                sum += $0
                return sum
            }
        default: break
        }
    }

    private func top(_ scores: [Double]) -> [Int] {
        Array((0..<p).sorted { (scores[$0], $1) > (scores[$1], $0) }.prefix(settings.blockSize))
    }

    private func scaled(_ g: [Double], _ by: [Double]) -> [Double] {
        (0..<p).map { by[$0] > 0 ? abs(g[$0]) / by[$0].squareRoot() : 0 }
    }

    mutating func block(_ iteration: Int, _ g: [Double]) -> [Int] {
        let size = min(settings.blockSize, p)
        switch settings.rule {
        case .random:
            var chosen: Set<Int> = []
            while chosen.count < size { chosen.insert(Int.random(in: 0..<p, using: &generator)) }
            return chosen.sorted()
        case .cyclic: return (0..<size).map { (iteration * size + $0) % p }
        case .lipschitz:
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
        case .gaussSouthwell: return top(g.map(abs))
        case .gaussSouthwellDiagonal: return top(scaled(g, dominating))
        case .gaussSouthwellLipschitz: return top(scaled(g, lipschitz))
        case .gaussSouthwellQuadratic: return quadratic(g)
        case .forest: return forest(scaled(g, lipschitz))
        }
    }

    /// Iterative hard thresholding on `g·d + ½dᵀHd` in scaled coordinates.
    private func quadratic(_ g: [Double]) -> [Int] {
        let scales = lipschitz.map { $0 > 0 ? 1 / $0.squareRoot() : 0 }
        var chosen = top(scaled(g, lipschitz))
        var d = [Double](repeating: 0, count: p)  // scaled
        for i in chosen { d[i] = -scales[i] * g[i] }
        for _ in 0..<10 {
            var slope = g
            for i in chosen where d[i] != 0 { kernels.axpy_f64(scales[i] * d[i], h + i * p, &slope, p) }
            let moved = (0..<p).map { d[$0] - scales[$0] * slope[$0] / largest }
            chosen = top(moved.map(abs))
            d = [Double](repeating: 0, count: p)
            for i in chosen { d[i] = moved[i] }
        }
        return chosen
    }

    /// Greedily by score: a coordinate joins if it touches every tree of the forest at most once.
    private func forest(_ scores: [Double]) -> [Int] {
        var chosen: [Int] = []
        var tree: [Int] = []
        for i in (0..<p).sorted(by: { (scores[$0], $1) > (scores[$1], $0) }) {
            if chosen.count == settings.blockSize || scores[i] == 0 { break }
            var touched: Set<Int> = []
            var isForest = true
            for (k, j) in chosen.enumerated() where h[i * p + j] != 0 {
                if !touched.insert(tree[k]).inserted {
                    isForest = false
                    break
                }
            }
            guard isForest else { continue }
            for k in tree.indices where touched.contains(tree[k]) { tree[k] = chosen.count }
            tree.append(chosen.count)
            chosen.append(i)
        }
        return chosen
    }
}

/// Solves symmetric systems whose off-diagonal pattern is a forest, by elimination from the leaves: linear time.
public enum ForestSolver {
    /// - Parameters:
    ///   - matrix: Symmetric, positive definite, without cycles.
    ///   - right: As long.
    public static func solve(_ matrix: [[Double]], _ right: [Double]) -> [Double] {
        let n = right.count
        var (diagonal, x) = ((0..<n).map { matrix[$0][$0] }, right)
        var parent = [Int](repeating: -1, count: n)
        var order: [Int] = []
        var seen = [Bool](repeating: false, count: n)
        for root in 0..<n where !seen[root] {
            seen[root] = true
            var stack = [root]
            while let i = stack.popLast() {
                order.append(i)
                for j in 0..<n where !seen[j] && matrix[i][j] != 0 {
                    seen[j] = true
                    parent[j] = i
                    stack.append(j)
                }
            }
        }
        for i in order.reversed() where parent[i] >= 0 {
            let factor = matrix[parent[i]][i] / diagonal[i]
            diagonal[parent[i]] -= factor * matrix[parent[i]][i]
            x[parent[i]] -= factor * x[i]
        }
        for i in order {
            if parent[i] >= 0 { x[i] -= matrix[parent[i]][i] * x[parent[i]] }
            x[i] /= diagonal[i]
        }
        return x
    }
}
