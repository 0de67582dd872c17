import LacunaSparse
import LacunaTensor

/// How the variables of a lattice are divided into blocks within which no cycle is left.
public enum LatticePartition: String, Sendable, CaseIterable {
    /// The two colours of a chessboard: no two neighbours in a block.
    case redBlack
    /// Two combs, each a tree: the even rows with the first column as a spine, and the odd ones with the last.
    case trees

    /// - Parameters:
    ///   - rows: Of the lattice, at least 1.
    ///   - columns: At least 2.
    /// - Returns: Every place `row · columns + column` in one of two blocks; one block where there is but one row of trees.
    public func blocks(rows: Int, columns: Int) -> [[Int]] {
        require(rows > 0 && columns > 1)
        var blocks: [[Int]] = [[], []]
        for i in 0..<rows {
            for j in 0..<columns {
                let isFirst =
                    switch self {
                    case .redBlack: (i + j) % 2 == 0
                    case .trees: rows == 1 || j == 0 || (j < columns - 1 && i % 2 == 0)
                    }
                blocks[isFirst ? 0 : 1].append(i * columns + j)
            }
        }
        return blocks.filter { !$0.isEmpty }
    }
}

/// Block descent on `½xᵀHx - cᵀx` with a sparse `H`, whose blocks are forests: each is minimised exactly by passing messages
/// from the leaves to the roots and back, in time proportional to its size, however large it is.
///
/// Julie Nutini, Issam Laradji, Mark Schmidt, "Let's Make Block Coordinate Descent Converge Faster: Faster Greedy Rules,
/// Message-Passing, Active-Set Complexity, and Superlinear Convergence", arXiv 1712.08859.
public struct ForestDescent: Sendable {
    /// Coordinates of each block, in the order in which blocks move.
    public var blocks: [[Int]]

    /// - Parameter blocks: Forests of the problem that is to be solved.
    public init(blocks: [[Int]]) { self.blocks = blocks }

    /// Moves every block once in each of `sweeps` (0 or more), from 0.
    ///
    /// - Parameters:
    ///   - hessian: [p, p], symmetric and positive definite.
    ///   - linear: [p].
    /// - Returns: The point [p], and the objective after each sweep.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other shapes, numbers that are not finite, a block with a coordinate
    ///   twice, beyond p, or with a cycle, and a matrix that is not symmetric; ``LacunaError/numerical(operation:reason:)`` for a pivot
    ///   that is not above 0.
    /// - Complexity: O(entries of `H`) a sweep over blocks that hold every coordinate once.
    public func minimize(
        hessian: SparseMatrix<Double>, linear: [Double], sweeps: Int
    ) throws -> (point: [Double], values: [Double]) {
        require(sweeps >= 0)
        let p = linear.count
        guard hessian.rows == p, hessian.columns == p else {
            throw LacunaError.invalidArgument(
                "hessian", reason: "is \(hessian.rows) × \(hessian.columns), not \(p) × \(p)")
        }
        guard linear.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("linear", reason: "is not finite")
        }
        var neighbours = [[(place: Int, value: Double)]](repeating: [], count: p)
        var diagonal = [Double](repeating: 0, count: p)
        var isFinite = true
        hessian.forEachEntry { i, j, value in
            isFinite = isFinite && value.isFinite
            if i == j { diagonal[i] = value } else if value != 0 { neighbours[i].append((j, value)) }
        }
        guard isFinite else { throw LacunaError.invalidArgument("hessian", reason: "is not finite") }
        for i in 0..<p {
            for (j, value) in neighbours[i] where hessian[j, i] != value {
                throw LacunaError.invalidArgument("hessian", reason: "is not symmetric at (\(i), \(j))")
            }
        }
        let forests = try blocks.map { try Forest($0, neighbours, diagonal) }
        var (point, gradient, values) = (
            [Double](repeating: 0, count: p), linear.map { -$0 }, [Double]()
        )
        for _ in 0..<sweeps {
            for forest in forests {
                let step = forest.solve(forest.members.map { -gradient[$0] })
                for (i, move) in zip(forest.members, step) where move != 0 {
                    point[i] += move
                    gradient[i] += diagonal[i] * move
                    for (j, value) in neighbours[i] { gradient[j] += value * move }
                }
            }
            // ½xᵀHx - cᵀx = ½ xᵀ(g - c).
            values.append(point.indices.reduce(0) { $0 + point[$1] * (gradient[$1] - linear[$1]) } / 2)
        }
        return (point, values)
    }
}

/// A block's matrix, eliminated from the leaves once and for all.
struct Forest {
    let members: [Int]
    /// Places of `members`, every parent before its children.
    private let order: [Int]
    /// By places: the parent's place or -1, what links them over the own pivot, and the pivot.
    private let parents: [Int]
    private let factors, pivots: [Double]

    /// - Parameters:
    ///   - members: Coordinates of the block.
    ///   - neighbours: Of every coordinate, those that a symmetric matrix links it to.
    ///   - argument: What the block was given as, for messages.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a coordinate twice or beyond the matrix, and a cycle;
    ///   ``LacunaError/numerical(operation:reason:)`` for a pivot that is not above 0.
    init(
        _ members: [Int], _ neighbours: [[(place: Int, value: Double)]], _ diagonal: [Double],
        argument: String = "blocks"
    ) throws {
        let n = members.count
        var place: [Int: Int] = [:]
        for (k, i) in members.enumerated() {
            guard diagonal.indices.contains(i), place.updateValue(k, forKey: i) == nil else {
                throw LacunaError.invalidArgument(argument, reason: "\(i) is there twice, or beyond \(diagonal.count)")
            }
        }
        var parents = [Int](repeating: -1, count: n)
        var links = [Double](repeating: 0, count: n)
        var seen = [Bool](repeating: false, count: n)
        var (order, edges): ([Int], Int) = ([], 0)
        for root in 0..<n where !seen[root] {
            seen[root] = true
            var stack = [root]
            while let k = stack.popLast() {
                order.append(k)
                for (j, value) in neighbours[members[k]] {
                    guard let other = place[j] else { continue }
                    edges += 1
                    if seen[other] { continue }
                    seen[other] = true
                    (parents[other], links[other]) = (k, value)
                    stack.append(other)
                }
            }
        }
        // Each edge was met from both ends; one leads to each place that is no root.
        guard edges == 2 * parents.count(where: { $0 >= 0 }) else {
            throw LacunaError.invalidArgument(argument, reason: "there is a cycle")
        }
        var (pivots, factors) = (members.map { diagonal[$0] }, [Double](repeating: 0, count: n))
        for k in order.reversed() {
            guard pivots[k] > 0 else {
                throw LacunaError.numerical(
                    operation: "elimination", reason: "the pivot of \(members[k]) is \(pivots[k])")
            }
            if parents[k] < 0 { continue }
            factors[k] = links[k] / pivots[k]
            pivots[parents[k]] -= factors[k] * links[k]
        }
        (self.members, self.order, self.parents) = (members, order, parents)
        (self.factors, self.pivots) = (factors, pivots)
    }

    /// - Parameter right: [members].
    func solve(_ right: [Double]) -> [Double] {
        var x = right
        for k in order.reversed() where parents[k] >= 0 { x[parents[k]] -= factors[k] * x[k] }
        for k in order {
            x[k] /= pivots[k]
            if parents[k] >= 0 { x[k] -= factors[k] * x[parents[k]] }
        }
        return x
    }
}
