/// A class of acyclic graphs that no table of observations can tell apart under normal noise of any levels: those with the same edges, if
/// directions are left out, and the same pairs of causes without an edge between them. An edge has a direction if all members agree on it.
public struct EquivalenceClass: Sendable, Equatable {
    /// How many variables there are.
    public let count: Int
    /// Row-major [count, count]: whether there is an edge from `i` to `j`, both ways for one without a direction.
    private var marks: [Bool]

    /// Without edges.
    public init(count: Int) {
        self.count = count
        marks = [Bool](repeating: false, count: count * count)
    }

    /// The class of an acyclic graph, whatever its weights.
    ///
    /// - Precondition: The graph has no cycle.
    ///
    /// David Maxwell Chickering, "A Transformational Characterization of Equivalent Bayesian Network Structures", UAI 1995.
    ///
    /// - Complexity: O(edges · count).
    public init(of graph: DirectedGraph) {
        self.init(count: graph.count)
        let order = graph.topologicalOrder ?? []
        require(order.count == graph.count, "the graph has a cycle")
        var rank = [Int](repeating: 0, count: count)
        for (place, i) in order.enumerated() { rank[i] = place }
        let parents = (0..<count).map { j in
            (0..<count).filter { graph[$0, j] != 0 }.sorted { rank[$0] > rank[$1] }
        }
        /// Whether all members agree on the direction; nil while that is not known.
        var compelled = [Bool?](repeating: nil, count: count * count)
        for y in order {
            for x in parents[y] where compelled[x * count + y] == nil {
                var isForced = false
                for w in parents[x] where compelled[w * count + x] == true {
                    if graph[w, y] == 0 {
                        isForced = true
                        break
                    }
                    compelled[w * count + y] = true
                }
                if isForced {
                    for z in parents[y] { compelled[z * count + y] = true }
                    break
                }
                let meets = parents[y].contains { $0 != x && graph[$0, x] == 0 }
                for z in parents[y] where compelled[z * count + y] == nil { compelled[z * count + y] = meets }
            }
        }
        for edge in graph.edges {
            self[edge.source, edge.target] = true
            if compelled[edge.source * count + edge.target] != true { self[edge.target, edge.source] = true }
        }
    }

    subscript(i: Int, j: Int) -> Bool {
        get { marks[i * count + j] }
        set { marks[i * count + j] = newValue }
    }

    /// Whether an edge leads from `i` to `j` in every member.
    public func isDirected(_ i: Int, _ j: Int) -> Bool { self[i, j] && !self[j, i] }
    /// Whether an edge joins `i` and `j` whose direction is not known.
    public func isUndirected(_ i: Int, _ j: Int) -> Bool { self[i, j] && self[j, i] }
    /// Whether an edge joins `i` and `j`.
    public func isAdjacent(_ i: Int, _ j: Int) -> Bool { self[i, j] || self[j, i] }

    /// Pairs with an edge.
    public var edgeCount: Int {
        (0..<count).reduce(0) { sum, i in sum + (0..<i).count { isAdjacent(i, $0) } }
    }

    /// A member, with weights of 1; nil for edges that are those of no class.
    ///
    /// Dorit Dor, Michael Tarsi, "A Simple Algorithm to Construct a Consistent Extension of a Partially Oriented Graph", 1992.
    ///
    /// - Complexity: O(count² · edges).
    public var member: DirectedGraph? {
        var graph = DirectedGraph(count: count)
        var rest = self
        var open = Set(0..<count)
        while !open.isEmpty {
            let sink = open.sorted().first { x in
                let near = open.filter { $0 != x && rest.isAdjacent(x, $0) }
                return near.allSatisfy { y in
                    if rest.isDirected(x, y) { return false }
                    return rest.isDirected(y, x) || near.allSatisfy { $0 == y || rest.isAdjacent(y, $0) }
                }
            }
            guard let sink else { return nil }
            open.remove(sink)
            for y in open where rest.isAdjacent(sink, y) {
                graph[y, sink] = 1
                (rest[sink, y], rest[y, sink]) = (false, false)
            }
        }
        return graph
    }

    /// Edges to add, remove or turn round to get to a graph; one without a direction has that of the graph's, if there is one.
    public func distance(to graph: DirectedGraph) -> Int {
        require(count == graph.count)
        var distance = 0
        for i in 0..<count {
            for j in 0..<i {
                let theirs = (graph[i, j] != 0, graph[j, i] != 0)
                let fits = isUndirected(i, j) ? theirs.0 || theirs.1 : (self[i, j], self[j, i]) == theirs
                if !fits { distance += 1 }
            }
        }
        return distance
    }
}
