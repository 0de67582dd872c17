import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Graphs with a class each. Their nodes are rows of one table, which several graphs may share.
public struct GraphExamples: Sendable {
    /// A graph.
    public struct Graph: Sendable, Hashable {
        /// For each node its row of the table.
        public let nodes: [Int]
        /// Pairs of places in ``nodes``, each pair once.
        public let edges: [WiringGraph.Edge]

        /// Nodes by their rows, and edges between places in that list.
        public init(nodes: [Int], edges: [WiringGraph.Edge]) { (self.nodes, self.edges) = (nodes, edges) }
    }

    /// [rows, features].
    public let table: SparseMatrix<Float>
    /// None is empty.
    public let graphs: [Graph]
    /// One a graph, each in `0..<classes`.
    public let labels: [Int32]
    /// How many classes there are, whether or not all occur.
    public let classes: Int
    /// Lengths of the random walks that describe where in its graph a node is: 1...walks, 0 for no such description.
    public let walks: Int
    /// Of every graph [nodes · walks].
    private let positions: [[Float]]
    /// What ``table`` holds, row by row.
    private let rows: [[(column: Int, value: Float)]]

    /// - Parameter walks: For each node and each k of 1...walks, the probability that a random walk of k steps from the node
    ///   ends there: `diag((D⁻¹ A)^k)`, the encoding of positions of Vijay Prakash Dwivedi and others, "Graph Neural Networks
    ///   with Learnable Structural and Positional Representations", arXiv 2110.07875.
    /// - Throws: `LacunaError.invalidArgument` for a graph without nodes, places or labels out of range, and unequal numbers of
    ///   graphs and labels.
    /// - Complexity: O(walks · nodes · edges) a graph.
    public init(
        table: SparseMatrix<Float>, graphs: [Graph], labels: [Int32], classes: Int, walks: Int = 8
    ) throws {
        guard graphs.count == labels.count else {
            throw LacunaError.invalidArgument("labels", reason: "\(labels.count) for \(graphs.count) graphs")
        }
        if let bad = labels.first(where: { $0 < 0 || Int($0) >= classes }) {
            throw LacunaError.invalidArgument("labels", reason: "\(bad) is not in 0..<\(classes)")
        }
        guard walks >= 0 else { throw LacunaError.invalidArgument("walks", reason: "\(walks) is negative") }
        for (index, graph) in graphs.enumerated() {
            guard !graph.nodes.isEmpty, graph.nodes.allSatisfy({ (0..<table.rows).contains($0) }),
                graph.edges.allSatisfy({ $0.low >= 0 && $0.low != $0.high && $0.high < graph.nodes.count })
            else {
                throw LacunaError.invalidArgument(
                    "graphs", reason: "number \(index) has no nodes, or one that is none of \(table.rows)")
            }
        }
        (self.table, self.graphs, self.labels, self.classes, self.walks) = (table, graphs, labels, classes, walks)
        positions = graphs.map { Self.returns($0, walks) }
        var rows = [[(column: Int, value: Float)]](repeating: [], count: table.rows)
        table.forEachEntry { rows[$0].append(($1, $2)) }
        self.rows = rows
    }

    /// The probabilities to be back where a walk began, [nodes · walks].
    private static func returns(_ graph: Graph, _ walks: Int) -> [Float] {
        let n = graph.nodes.count
        var degree = [Float](repeating: 0, count: n)
        for edge in graph.edges {
            degree[edge.low] += 1
            degree[edge.high] += 1
        }
        var result = [Float](repeating: 0, count: n * walks)
        for start in 0..<n {
            var place = [Float](repeating: 0, count: n)
            place[start] = 1
            for step in 0..<walks {
                var next = [Float](repeating: 0, count: n)
                for edge in graph.edges {
                    next[edge.high] += place[edge.low] / degree[edge.low]
                    next[edge.low] += place[edge.high] / degree[edge.high]
                }
                place = next
                result[start * walks + step] = place[start]
            }
        }
        return result
    }

    /// Graphs.
    public var count: Int { graphs.count }
    /// Numbers that a model reads of a node.
    public var inputDimensions: Int { table.columns + walks }

    /// Some of the graphs beside each other.
    public func batch(_ indices: some Collection<Int>) -> GraphBatch {
        let chosen = indices.map { graphs[$0] }
        let length = chosen.map(\.nodes.count).max() ?? 0
        var x = Tensor<Float>(zeros: [chosen.count * length, inputDimensions])
        var (from, to) = ([Int32](), [Int32]())
        let width = inputDimensions
        x.withMutablePointer { x in
            for (index, (graph, source)) in zip(chosen, indices).enumerated() {
                for (place, node) in graph.nodes.enumerated() {
                    let row = x + (index * length + place) * width
                    for entry in rows[node] { row[entry.column] = entry.value }
                    for step in 0..<walks { row[table.columns + step] = positions[source][place * walks + step] }
                }
                for edge in graph.edges {
                    let (a, b) = (Int32(index * length + edge.low), Int32(index * length + edge.high))
                    from += [a, b]
                    to += [b, a]
                }
            }
        }
        return GraphBatch(
            inputs: x, counts: chosen.map(\.nodes.count), length: length, from: from, to: to,
            labels: indices.map { labels[$0] })
    }
}

/// Graphs beside each other, each with as many rows as the largest has nodes.
public struct GraphBatch: Sendable {
    /// [graphs · length, features + walks]; rows behind a graph's nodes are 0.
    public let inputs: Tensor<Float>
    /// Nodes of each graph.
    public let counts: [Int]
    /// Rows of each graph.
    public let length: Int
    /// Rows of the nodes at the two ends of every edge; each edge in both directions.
    public let from, to: [Int32]
    /// The class of each graph.
    public let labels: [Int32]

    /// Whether rows are nodes, [graphs · length].
    var isNode: [Bool] { counts.flatMap { count in (0..<length).map { $0 < count } } }
}

/// Batches of graphs in an order drawn anew for every epoch.
public struct GraphBatches: BatchSource {
    /// What batches are taken from.
    public let examples: GraphExamples
    /// Graphs of a batch.
    public let batchSize: Int
    private let order: EpochOrder

    /// - Precondition: There are examples, and `batchSize` is positive.
    public init(_ examples: GraphExamples, batchSize: Int, seed: UInt64) {
        require(batchSize > 0 && examples.count > 0, "an empty batch")
        (self.examples, self.batchSize) = (examples, batchSize)
        order = EpochOrder(count: examples.count, seed: seed)
    }

    public var batchesPerEpoch: Int? { (examples.count + batchSize - 1) / batchSize }
    public func batch(step: Int) -> GraphBatch { examples.batch(order.batch(step, of: batchSize)) }
}
