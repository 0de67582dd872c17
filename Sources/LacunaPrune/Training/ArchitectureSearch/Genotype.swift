import LacunaTensor

/// What a search has found: the two kinds of cells that a network is made of.
public struct Genotype: Sendable, Hashable, CustomStringConvertible {
    /// One way into a node.
    public struct Edge: Sendable, Hashable, CustomStringConvertible {
        /// 0 and 1 for what the two cells before give, then the cell's own nodes.
        public var from: Int
        /// What the edge does.
        public var operation: CellOperation
        /// An edge.
        public init(from: Int, operation: CellOperation) { (self.from, self.operation) = (from, operation) }
        /// As in `sep_conv_3x3(0)`.
        public var description: String { "\(operation.rawValue)(\(from))" }
    }

    /// The edges into each node of a cell that keeps the image's size.
    public var normal: [[Edge]]
    /// The edges into each node of a cell that halves it.
    public var reduce: [[Edge]]

    /// Two cells of as many nodes.
    ///
    /// - Throws: `LacunaError.invalidArgument` for cells of different size, a node without edges, and an edge from a later node.
    public init(normal: [[Edge]], reduce: [[Edge]]) throws {
        guard normal.count == reduce.count, !normal.isEmpty else {
            throw LacunaError.invalidArgument("genotype", reason: "\(normal.count) and \(reduce.count) nodes")
        }
        for cell in [normal, reduce] {
            for (node, edges) in cell.enumerated() {
                guard !edges.isEmpty, edges.allSatisfy({ (0..<node + 2).contains($0.from) && $0.operation != .none })
                else { throw LacunaError.invalidArgument("genotype", reason: "node \(node) has the edges \(edges)") }
            }
        }
        (self.normal, self.reduce) = (normal, reduce)
    }

    /// Edges between all nodes of a cell, in the order in which `α` has its rows: those into node 0 from 0 and 1, into node 1 from 0, 1, 2 …
    public static func edges(nodes: Int) -> [(node: Int, from: Int)] {
        (0..<nodes).flatMap { node in (0..<node + 2).map { (node, $0) } }
    }

    /// The cell that weights of all candidates decide for: into every node the two edges whose best candidate weighs most, with that
    /// candidate. Nothing at all is no candidate, though its weight takes from the others'. Of equal weights the first.
    ///
    /// - Parameters:
    ///   - weights: [edges, candidates], each row a softmax.
    ///   - operations: The candidates.
    /// - Precondition: A row for each of ``edges(nodes:)``.
    public static func cell(_ weights: Tensor<Float>, operations: [CellOperation], nodes: Int) -> [[Edge]] {
        let all = edges(nodes: nodes)
        require(weights.shape == [all.count, operations.count], "weights \(weights.shape) of \(nodes) nodes")
        return (0..<nodes).map { node in
            let ways = all.indices.filter { all[$0].node == node }.map { row -> (weight: Float, edge: Edge) in
                var best: (weight: Float, place: Int)?
                for (place, operation) in operations.enumerated() where operation != .none {
                    if best.map({ weights[row, place] > $0.weight }) ?? true { best = (weights[row, place], place) }
                }
                return (best!.weight, Edge(from: all[row].from, operation: operations[best!.place]))
            }
            // A stable order: sorting by weight, then by place.
            let order = ways.indices.sorted { (ways[$0].weight, $1) > (ways[$1].weight, $0) }
            return order.prefix(2).sorted().map { ways[$0].edge }
        }
    }

    /// A line a cell.
    public var description: String {
        func line(_ nodes: [[Edge]]) -> String {
            nodes.map { $0.map(\.description).joined(separator: " + ") }.joined(separator: "; ")
        }
        return "normal: \(line(normal))\nreduce: \(line(reduce))"
    }
}
