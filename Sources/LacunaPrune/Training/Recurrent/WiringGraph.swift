import LacunaTensor

/// An undirected graph without loops from which a network is wired: every edge goes from the lower to the higher number, so
/// that what is wired has no cycles.
public struct WiringGraph: Sendable, Hashable {
    /// An edge between two different nodes.
    public struct Edge: Sendable, Hashable, Comparable {
        /// The lower number, where the edge begins when it is directed.
        public let low: Int
        /// The higher number.
        public let high: Int

        /// An edge between two nodes, given in any order.
        public init(_ a: Int, _ b: Int) { (low, high) = (min(a, b), max(a, b)) }

        public static func < (a: Edge, b: Edge) -> Bool { (a.low, a.high) < (b.low, b.high) }
    }

    /// Nodes are numbered from 0.
    public let nodeCount: Int
    /// Each once, in order.
    public let edges: [Edge]
    /// The nodes next to each, ascending.
    public let neighbours: [[Int]]

    /// - Throws: `LacunaError.invalidArgument` for no nodes, an edge from a node to itself, and one to a node that is none.
    public init(nodeCount: Int, edges: some Sequence<Edge>) throws {
        guard nodeCount > 0 else { throw LacunaError.invalidArgument("nodes", reason: "\(nodeCount) make no graph") }
        let sorted = Set(edges).sorted()
        if let bad = sorted.first(where: { $0.low < 0 || $0.high >= nodeCount || $0.low == $0.high }) {
            throw LacunaError.invalidArgument("edges", reason: "\(bad.low)-\(bad.high) among \(nodeCount) nodes")
        }
        self.nodeCount = nodeCount
        self.edges = sorted
        var neighbours = [[Int]](repeating: [], count: nodeCount)
        for edge in sorted {
            neighbours[edge.low].append(edge.high)
            neighbours[edge.high].append(edge.low)
        }
        self.neighbours = neighbours.map { $0.sorted() }
    }

    /// A small world: a ring in which every node is joined to the `degree / 2` next on either side, and every edge gets
    /// another end with a probability. Drawn again, at most `tries` times, until it hangs together.
    ///
    /// Duncan J. Watts, Steven H. Strogatz, "Collective dynamics of 'small-world' networks", Nature 393 (1998).
    ///
    /// - Parameters:
    ///   - degree: Of the ring, 2 or more and below `nodeCount`; an odd one counts as the even one below it.
    ///   - rewiring: The probability, 0...1.
    /// - Throws: `LacunaError.invalidArgument` for numbers out of range; `.numerical` if no draw hangs together.
    public static func smallWorld(
        nodeCount: Int, degree: Int, rewiring: Double, tries: Int = 100, using generator: inout SeededGenerator
    ) throws -> WiringGraph {
        guard degree >= 2, degree < nodeCount else {
            throw LacunaError.invalidArgument("degree", reason: "\(degree) is not in 2..<\(nodeCount)")
        }
        guard (0...1).contains(rewiring) else {
            throw LacunaError.invalidArgument("rewiring", reason: "\(rewiring) is not in 0...1")
        }
        for _ in 0..<max(tries, 1) {
            var next = [Set<Int>](repeating: [], count: nodeCount)
            func join(_ a: Int, _ b: Int) {
                next[a].insert(b)
                next[b].insert(a)
            }
            for distance in 1...degree / 2 { for node in 0..<nodeCount { join(node, (node + distance) % nodeCount) } }
            for distance in 1...degree / 2 {
                for node in 0..<nodeCount where Double.random(in: 0..<1, using: &generator) < rewiring {
                    let old = (node + distance) % nodeCount
                    guard next[node].contains(old), next[node].count < nodeCount - 1 else { continue }
                    var other = node
                    while other == node || next[node].contains(other) {
                        other = Int.random(in: 0..<nodeCount, using: &generator)
                    }
                    next[node].remove(old)
                    next[old].remove(node)
                    join(node, other)
                }
            }
            let graph = try WiringGraph(
                nodeCount: nodeCount, edges: next.indices.flatMap { node in next[node].map { Edge(node, $0) } })
            if graph.isConnected { return graph }
        }
        throw LacunaError.numerical(operation: "smallWorld", reason: "\(tries) graphs fell into pieces")
    }

    /// A scale-free graph: from a star of `attachments + 1` nodes on, each new node is joined to as many old ones, drawn by
    /// how many edges they have.
    ///
    /// Albert-László Barabási, Réka Albert, "Emergence of Scaling in Random Networks", Science 286 (1999).
    ///
    /// - Parameter attachments: 1 or more and below `nodeCount`.
    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public static func scaleFree(
        nodeCount: Int, attachments: Int, using generator: inout SeededGenerator
    ) throws -> WiringGraph {
        guard attachments >= 1, attachments < nodeCount else {
            throw LacunaError.invalidArgument("attachments", reason: "\(attachments) is not in 1..<\(nodeCount)")
        }
        var edges = (1...attachments).map { Edge(0, $0) }
        // Each node as often as it has edges.
        var ends = edges.flatMap { [$0.low, $0.high] }
        for node in attachments + 1..<max(nodeCount, attachments + 1) {
            var chosen: [Int] = []
            while chosen.count < attachments {
                let end = ends[Int.random(in: 0..<ends.count, using: &generator)]
                if !chosen.contains(end) { chosen.append(end) }
            }
            for end in chosen {
                edges.append(Edge(end, node))
                ends += [end, node]
            }
        }
        return try WiringGraph(nodeCount: nodeCount, edges: edges)
    }

    /// Whether every node is reached from every other.
    public var isConnected: Bool { !distances(from: 0).contains(-1) }

    /// Edges on the shortest way to every node; -1 where there is none.
    public func distances(from source: Int) -> [Int] {
        var distance = [Int](repeating: -1, count: nodeCount)
        distance[source] = 0
        var queue = [source]
        var place = 0
        while place < queue.count {
            let node = queue[place]
            place += 1
            for next in neighbours[node] where distance[next] < 0 {
                distance[next] = distance[node] + 1
                queue.append(next)
            }
        }
        return distance
    }

    /// The layer of every node: 0 without edges from lower numbers, else one above the highest of those that they come from.
    public var layers: [Int] {
        var layers = [Int](repeating: 0, count: nodeCount)
        // In order of the lower end, so that a node's layer is final before its edges are looked at.
        for edge in edges { layers[edge.high] = max(layers[edge.high], layers[edge.low] + 1) }
        return layers
    }

    /// Nodes to which no edge comes from a lower number.
    public var sourceCount: Int { layers.count { $0 == 0 } }
}
