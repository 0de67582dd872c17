import LacunaTensor

/// Learns which variables act on which from observations of linear effects with normal noise, by a score: from no edges, the edge that
/// raises the score most is inserted until none does, then the one whose removal does is removed. Each step is one between classes of
/// graphs that observations cannot tell apart (``EquivalenceClass``), so that directions which the data do not decide stay open.
///
/// The score is the Bayesian information criterion, `Σ_j (-n/2 log σ²_j - penalty/2 · log n · parents of j)`, with `σ²_j` what least
/// squares leaves of variable `j` given its parents. It does not depend on units, and noise may differ from variable to variable:
/// what ``CoLiDE`` reads from scales is not used.
///
/// David Maxwell Chickering, "Optimal Structure Identification With Greedy Search", JMLR 2002.
public struct GreedyEquivalenceSearch: Sendable {
    /// What an edge costs, in units of half the logarithm of the number of rows: 1 for BIC.
    public var penalty: Double
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// - Parameter penalty: Above 0.
    public init(penalty: Double = 1, progress: (any ProgressReporter)? = nil) {
        require(penalty > 0)
        (self.penalty, self.progress) = (penalty, progress)
    }

    /// What was found.
    public struct Result: Sendable {
        /// Edges, with the directions that the data decide.
        public var structure: EquivalenceClass
        /// One member of the class, with the weights of least squares.
        public var graph: DirectedGraph
        /// The score beyond that of no edges at all.
        public var score: Double
        /// Edges inserted and removed.
        public var steps: Int
    }

    /// - Parameter data: Observations [rows, variables], more rows than variables; they are centred.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer rows or variables, numbers that are not finite, and variables that
    ///   never vary; ``LacunaError/numerical(operation:reason:)`` for variables that are functions of others; ``LacunaError/cancelled``.
    /// - Complexity: O(variables²) scores a step, each O(parents³) where it is new, as many tests of paths at most, each O(variables²), and
    ///   exponential in how many neighbours without a direction that are joined to each other a variable has.
    public func fit(_ data: Tensor<Double>) throws -> Result {
        guard data.rows > data.columns else {
            throw LacunaError.invalidArgument(
                "data", reason: "\(data.rows) rows for \(data.columns) variables; more rows than variables are needed")
        }
        let scores = LocalScores(
            covariance: try Observations.covariance(data), count: data.columns, rows: data.rows, penalty: penalty)
        var structure = EquivalenceClass(count: data.columns)
        var (steps, total) = (0, 0.0)
        for isForward in [true, false] {
            while true {
                try progress.report(
                    isForward ? "inserting edges" : "removing edges", structure.edgeCount,
                    of: data.columns * (data.columns - 1) / 2)
                let best =
                    isForward
                    ? try bestInsertion(structure, scores) : try bestRemoval(structure, scores)
                guard let best, best.gain > 1e-9, let member = best.structure.member else { break }
                structure = EquivalenceClass(of: member)
                total += best.gain
                steps += 1
            }
        }
        return Result(
            structure: structure, graph: try scores.weighted(structure.member ?? DirectedGraph(count: data.columns)),
            score: total, steps: steps)
    }

    /// A step and what it adds to the score; the structure has the directions that the step asks for, and not yet all that follow.
    private typealias Step = (gain: Double, structure: EquivalenceClass)

    /// Inserts an edge from `x` to `y`, and directs undirected edges from a set `t` of neighbours of `y` to it.
    private func bestInsertion(_ structure: EquivalenceClass, _ scores: LocalScores) throws -> Step? {
        let d = structure.count
        var best: (gain: Double, x: Int, y: Int, t: [Int])?
        for y in 0..<d {
            if progress?.isCancelled == true { throw LacunaError.cancelled }
            let parents = (0..<d).filter { structure.isDirected($0, y) }
            let neighbours = (0..<d).filter { structure.isUndirected($0, y) }
            for x in 0..<d where x != y && !structure.isAdjacent(x, y) {
                let common = neighbours.filter { structure.isAdjacent($0, x) }
                guard structure.isClique(common) else { continue }
                let open = neighbours.filter { !structure.isAdjacent($0, x) }
                for t in structure.subsets(of: open, cliquesWith: common) {
                    let held = common + t
                    let gain = try scores[y, parents + held + [x]] - scores[y, parents + held]
                    // Scores are known from the steps before: paths, which are not, are looked for where they decide.
                    guard gain > best?.gain ?? 0, structure.isBlocked(from: y, to: x, by: held) else { continue }
                    best = (gain, x, y, t)
                }
            }
        }
        guard let best else { return nil }
        var next = structure
        next[best.x, best.y] = true
        for t in best.t { next[best.y, t] = false }
        return (best.gain, next)
    }

    /// Removes the edge between `x` and `y`, and directs undirected edges from both to a set `h` of their common neighbours.
    private func bestRemoval(_ structure: EquivalenceClass, _ scores: LocalScores) throws -> Step? {
        let d = structure.count
        var best: (gain: Double, x: Int, y: Int, h: [Int])?
        for y in 0..<d {
            if progress?.isCancelled == true { throw LacunaError.cancelled }
            let parents = (0..<d).filter { structure.isDirected($0, y) }
            for x in 0..<d where structure[x, y] {
                let common = (0..<d).filter {
                    $0 != x && structure.isUndirected($0, y) && structure.isAdjacent($0, x)
                }
                // Sets that stay, rather than those that are directed: a subset of a clique is one.
                for kept in structure.subsets(of: common, cliquesWith: []) {
                    let without = parents.filter { $0 != x } + kept
                    let gain = try scores[y, without] - scores[y, without + [x]]
                    if gain > best?.gain ?? 0 { best = (gain, x, y, common.filter { !kept.contains($0) }) }
                }
            }
        }
        guard let best else { return nil }
        var next = structure
        (next[best.x, best.y], next[best.y, best.x]) = (false, false)
        for h in best.h {
            next[h, best.y] = false
            if structure.isUndirected(best.x, h) { next[h, best.x] = false }
        }
        return (best.gain, next)
    }
}

extension EquivalenceClass {
    /// Whether all pairs are joined.
    fileprivate func isClique(_ members: [Int]) -> Bool {
        members.indices.allSatisfy { a in (0..<a).allSatisfy { isAdjacent(members[a], members[$0]) } }
    }

    /// Every subset that is a clique together with `others`.
    fileprivate func subsets(of all: [Int], cliquesWith others: [Int]) -> [[Int]] {
        var found: [[Int]] = [[]]
        for next in all {
            found += found.filter { isClique(others + $0 + [next]) }.map { $0 + [next] }
        }
        return found
    }

    /// Whether every path from one variable to another along edges, none against its direction, meets one of `held`.
    fileprivate func isBlocked(from start: Int, to end: Int, by held: [Int]) -> Bool {
        var seen = Set(held + [start])
        var stack = [start]
        while let i = stack.popLast() {
            for j in 0..<count where self[i, j] && !seen.contains(j) {
                if j == end { return false }
                seen.insert(j)
                stack.append(j)
            }
        }
        return true
    }
}

/// Scores of variables given their parents, each computed once.
private final class LocalScores {
    private let covariance: [Double]
    private let count: Int
    private let rows: Double
    private let price: Double
    private var known: [[Int]: Double] = [:]

    init(covariance: [Double], count: Int, rows: Int, penalty: Double) {
        (self.covariance, self.count, self.rows) = (covariance, count, Double(rows))
        price = penalty / 2 * logarithm(Double(rows))
    }

    /// `-n/2 log(σ²_j / variance of j) - price · parents`.
    subscript(_ j: Int, _ parents: [Int]) -> Double {
        get throws {
            let parents = parents.sorted()
            let key = [j] + parents
            if let score = known[key] { return score }
            let (rest, _) = try regression(of: j, on: parents)
            let score = -rows / 2 * logarithm(rest) - price * Double(parents.count)
            known[key] = score
            return score
        }
    }

    /// What share of the variance is left, and the coefficients, of least squares.
    private func regression(of j: Int, on parents: [Int]) throws -> (rest: Double, weights: [Double]) {
        let (m, d) = (parents.count, count)
        if m == 0 { return (1, []) }
        // Correlations, so that units do not matter.
        let scales = parents.map { covariance[$0 * d + $0].squareRoot() }
        let own = covariance[j * d + j].squareRoot()
        var gram = Tensor<Double>(zeros: [m, m])
        for a in 0..<m {
            for b in 0..<m { gram[a, b] = covariance[parents[a] * d + parents[b]] / scales[a] / scales[b] }
        }
        let cross = (0..<m).map { covariance[parents[$0] * d + j] / scales[$0] / own }
        let solved = try gram.solvePositiveDefinite(Tensor(cross, shape: [m, 1])).scalars
        let rest = 1 - zip(solved, cross).reduce(0) { $0 + $1.0 * $1.1 }
        guard rest > 1e-12 else {
            throw LacunaError.numerical(
                operation: "greedy equivalence search", reason: "variable \(j + 1) is a function of others")
        }
        return (rest, zip(solved, scales).map { $0 * own / $1 })
    }

    /// A graph with the weights of least squares in the place of its own.
    func weighted(_ graph: DirectedGraph) throws -> DirectedGraph {
        var result = graph
        for j in 0..<count {
            let parents = (0..<count).filter { graph[$0, j] != 0 }
            for (i, weight) in zip(parents, try regression(of: j, on: parents).weights) { result[i, j] = weight }
        }
        return result
    }
}
