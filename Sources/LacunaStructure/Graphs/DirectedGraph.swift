import LacunaTensor

/// Weighted directed edges between `count` variables: entry `(i, j)` is the effect of `i` on `j`, 0 for no edge.
public struct DirectedGraph: Sendable, Equatable {
    /// How many variables there are.
    public let count: Int
    /// Row-major [count, count].
    public var weights: [Double]

    /// - Parameter weights: [count, count], of `i` on `j` in row `i`; no edge for nil.
    public init(count: Int, weights: [Double]? = nil) {
        require((weights?.count ?? count * count) == count * count)
        self.count = count
        self.weights = weights ?? [Double](repeating: 0, count: count * count)
    }

    /// The weight of the edge from `i` to `j`; 0 for none.
    public subscript(i: Int, j: Int) -> Double {
        get { weights[i * count + j] }
        set { weights[i * count + j] = newValue }
    }

    /// Edges that are not 0, by source and target.
    public var edges: [(source: Int, target: Int, weight: Double)] {
        (0..<count * count).filter { weights[$0] != 0 }.map { ($0 / count, $0 % count, weights[$0]) }
    }

    /// Every variable after all that it depends on; nil if there is a cycle.
    public var topologicalOrder: [Int]? {
        var incoming = [Int](repeating: 0, count: count)
        for edge in edges { incoming[edge.target] += 1 }
        var ready = (0..<count).filter { incoming[$0] == 0 }
        var order: [Int] = []
        while let next = ready.popLast() {
            order.append(next)
            for j in 0..<count where self[next, j] != 0 {
                incoming[j] -= 1
                if incoming[j] == 0 { ready.append(j) }
            }
        }
        return order.count == count ? order : nil
    }

    /// Without the edges of magnitude `threshold` or less, and without the smallest ones that are left until no cycle is.
    public func pruned(threshold: Double) -> DirectedGraph { thresholded(threshold).withoutCycles() }

    /// Without the edges of magnitude `threshold` or less, and without effects of a variable on itself.
    public func thresholded(_ threshold: Double) -> DirectedGraph {
        var result = self
        for i in result.weights.indices where abs(result.weights[i]) <= threshold { result.weights[i] = 0 }
        for i in 0..<count { result[i, i] = 0 }
        return result
    }

    /// Without the smallest edges, until no cycle is left.
    ///
    /// - Complexity: O(count²) for each halving of the edges.
    public func withoutCycles() -> DirectedGraph {
        let ranked = weights.indices.filter { weights[$0] != 0 }
            .sorted { (abs(weights[$0]), $0) < (abs(weights[$1]), $1) }
        func without(_ removed: Int) -> DirectedGraph {
            var result = self
            for i in ranked.prefix(removed) { result.weights[i] = 0 }
            return result
        }
        // Fewer edges have no more cycles.
        var (low, high) = (0, ranked.count)
        while low < high {
            let middle = (low + high) / 2
            if without(middle).topologicalOrder != nil { high = middle } else { low = middle + 1 }
        }
        return without(low)
    }

    /// The least threshold that leaves no cycle; 0 for a graph that is acyclic as it is. Where a method has found an acyclic graph,
    /// it is far below the effects that matter.
    ///
    /// - Complexity: O(count²) for each halving of the magnitudes there are.
    public var acyclicThreshold: Double {
        let magnitudes = [0] + Set(thresholded(0).weights.map { abs($0) }).filter { $0 > 0 }.sorted()
        var (low, high) = (0, magnitudes.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if thresholded(magnitudes[middle]).topologicalOrder != nil { high = middle } else { low = middle + 1 }
        }
        return magnitudes[low]
    }

    /// Structural Hamming distance: edges to add, remove or turn round to get from one graph to the other.
    public func distance(to other: DirectedGraph) -> Int {
        require(count == other.count)
        var distance = 0
        for i in 0..<count {
            for j in 0..<i {
                let mine = (self[i, j] != 0, self[j, i] != 0)
                let theirs = (other[i, j] != 0, other[j, i] != 0)
                if mine != theirs { distance += 1 }
            }
        }
        return distance
    }
}
