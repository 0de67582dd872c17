import LacunaTensor

/// What a connected graph looks like, in numbers. Betweenness and closeness are normalised as in networkx.
public struct GraphStatistics: Sendable, Equatable {
    /// A quantity that every node or edge has.
    public struct Spread: Sendable, Equatable {
        /// Over all nodes or edges.
        public let mean: Double
        /// By the number of them, not one less.
        public let variance: Double

        init(_ values: [Double]) {
            let n = Double(max(values.count, 1))
            let mean = values.reduce(0, +) / n
            self.mean = mean
            variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / n
        }
    }

    /// How many nodes, edges, and nodes without an edge from a lower number there are.
    public let nodes, edges, sources: Int
    /// The longest of all shortest ways.
    public let diameter: Int
    /// Edges among all pairs of nodes, 0...1.
    public let density: Double
    /// The mean shortest way between two different nodes.
    public let meanDistance: Double
    /// The longest shortest way from a node.
    public let eccentricity: Spread
    /// Edges at a node.
    public let degree: Spread
    /// One over the mean distance of a node from the others.
    public let closeness: Spread
    /// The share of the shortest ways between two others that go through a node.
    public let nodeBetweenness: Spread
    /// The share of all shortest ways that go along an edge.
    public let edgeBetweenness: Spread

    /// Measures a graph.
    ///
    /// Betweenness by Ulrik Brandes, "A Faster Algorithm for Betweenness Centrality", Journal of Mathematical Sociology 25
    /// (2001).
    ///
    /// - Throws: `LacunaError.invalidArgument` for a graph in pieces or of one node.
    /// - Complexity: O(nodes · (nodes + edges)).
    public init(_ graph: WiringGraph) throws {
        let n = graph.nodeCount
        guard n > 1, graph.isConnected else {
            throw LacunaError.invalidArgument("graph", reason: "distances need two nodes or more that hang together")
        }
        let edgeIndex = Dictionary(uniqueKeysWithValues: graph.edges.enumerated().map { ($1, $0) })
        var eccentricity = [Double]()
        var closeness = [Double]()
        var through = [Double](repeating: 0, count: n)
        var along = [Double](repeating: 0, count: graph.edges.count)
        var (total, longest) = (0, 0)
        for source in 0..<n {
            let distance = graph.distances(from: source)
            let sum = distance.reduce(0, +)
            total += sum
            longest = max(longest, distance.max()!)
            eccentricity.append(Double(distance.max()!))
            closeness.append(Double(n - 1) / Double(sum))
            // Shortest ways to each node, then the share of them that depends on each, from the farthest inwards.
            let order = (0..<n).sorted { (distance[$0], $0) < (distance[$1], $1) }
            var ways = [Double](repeating: 0, count: n)
            ways[source] = 1
            for node in order {
                for next in graph.neighbours[node] where distance[next] == distance[node] + 1 {
                    ways[next] += ways[node]
                }
            }
            var dependence = [Double](repeating: 0, count: n)
            for node in order.reversed() {
                for before in graph.neighbours[node] where distance[before] == distance[node] - 1 {
                    let share = ways[before] / ways[node] * (1 + dependence[node])
                    along[edgeIndex[.init(before, node)]!] += share
                    dependence[before] += share
                }
                if node != source { through[node] += dependence[node] }
            }
        }
        nodes = n
        edges = graph.edges.count
        sources = graph.sourceCount
        diameter = longest
        density = 2 * Double(graph.edges.count) / Double(n * (n - 1))
        meanDistance = Double(total) / Double(n * (n - 1))
        self.eccentricity = Spread(eccentricity)
        degree = Spread(graph.neighbours.map { Double($0.count) })
        self.closeness = Spread(closeness)
        nodeBetweenness = Spread(n > 2 ? through.map { $0 / Double((n - 1) * (n - 2)) } : through)
        edgeBetweenness = Spread(along.map { $0 / Double(n * (n - 1)) })
    }

    /// All numbers with their names.
    public var values: [(name: String, value: Double)] {
        [
            ("nodes", Double(nodes)), ("edges", Double(edges)), ("sources", Double(sources)),
            ("diameter", Double(diameter)), ("density", density), ("mean distance", meanDistance),
        ]
            + [
                ("eccentricity", eccentricity), ("degree", degree), ("closeness", closeness),
                ("node betweenness", nodeBetweenness), ("edge betweenness", edgeBetweenness),
            ].flatMap { name, spread in [("\(name), mean", spread.mean), ("\(name), variance", spread.variance)] }
    }
}
