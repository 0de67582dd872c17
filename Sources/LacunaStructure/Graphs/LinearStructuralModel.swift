import LacunaTensor

/// Linear structural equations `x = Wᵀ x + z` on a random acyclic graph.
public struct LinearStructuralModel: Sendable {
    /// How each variable's own noise is distributed, with mean 0 and its standard deviation.
    public enum Distribution: String, Sendable, CaseIterable {
        /// Normal.
        case normal
        /// Exponential, less its mean: skewed.
        case exponential
        /// Laplace's: heavier tails.
        case laplace
    }

    /// Who acts on whom, and how much.
    public let graph: DirectedGraph
    /// Standard deviation of each variable's own noise.
    public let noise: [Double]
    /// How it is distributed.
    public var distribution = Distribution.normal

    /// - Parameters:
    ///   - graph: Without cycles.
    ///   - noise: One standard deviation for all, or one for each.
    public init(_ graph: DirectedGraph, noise: [Double], distribution: Distribution = .normal) {
        require(graph.topologicalOrder != nil && (noise.count == 1 || noise.count == graph.count))
        self.graph = graph
        self.noise = noise.count == graph.count ? noise : [Double](repeating: noise[0], count: graph.count)
        self.distribution = distribution
    }

    /// An Erdős-Rényi graph under a random order, with weights of magnitude 0.5 to 2 and either sign.
    ///
    /// - Parameters:
    ///   - edges: Expected number of edges; at most `count · (count - 1) / 2`.
    ///   - noise: One standard deviation for all, or one for each.
    public init(count: Int, edges: Double, noise: [Double], using generator: inout SeededGenerator) {
        require(count >= 2)
        let order = (0..<count).shuffled(using: &generator)
        let probability = min(1, 2 * edges / Double(count * (count - 1)))
        var graph = DirectedGraph(count: count)
        for a in 0..<count {
            for b in a + 1..<max(count, a + 1) where generator.uniform() < probability {
                graph[order[a], order[b]] = Self.weight(&generator)
            }
        }
        self.init(graph, noise: noise)
    }

    /// A scale-free graph: variables come one after another, and each acts on as many of the earlier ones, which are chosen in
    /// proportion to how many edges they have, and one; weights as above. Few variables get many edges.
    ///
    /// Albert-László Barabási, Réka Albert, "Emergence of Scaling in Random Networks", Science 1999.
    ///
    /// - Parameters:
    ///   - edgesPerVariable: Edges of each new variable, at least 1; the first ones have fewer.
    ///   - noise: One standard deviation for all, or one for each.
    public init(scaleFree count: Int, edgesPerVariable: Int, noise: [Double], using generator: inout SeededGenerator) {
        require(count >= 2 && edgesPerVariable > 0)
        let order = (0..<count).shuffled(using: &generator)
        var graph = DirectedGraph(count: count)
        var degree = [Double](repeating: 1, count: count)
        for a in 1..<count {
            var open = Set(0..<a)
            for _ in 0..<min(a, edgesPerVariable) {
                let candidates = open.sorted()
                var draw = generator.uniform() * candidates.reduce(0) { $0 + degree[$1] }
                var chosen = candidates[candidates.count - 1]
                for b in candidates {
                    draw -= degree[b]
                    if draw < 0 {
                        chosen = b
                        break
                    }
                }
                open.remove(chosen)
                graph[order[a], order[chosen]] = Self.weight(&generator)
                degree[a] += 1
                degree[chosen] += 1
            }
        }
        self.init(graph, noise: noise)
    }

    private static func weight(_ generator: inout SeededGenerator) -> Double {
        let magnitude = 0.5 + 1.5 * generator.uniform()
        return generator.next() % 2 == 0 ? magnitude : -magnitude
    }

    /// Independent observations [rows, count].
    public func sample(rows: Int, using generator: inout SeededGenerator) -> Tensor<Double> {
        let d = graph.count
        let order = graph.topologicalOrder ?? Array(0..<d)
        var data = Tensor<Double>(zeros: [rows, d])
        data.withMutablePointer { x in
            for row in 0..<rows {
                for j in order {
                    var value = noise[j] * draw(&generator)
                    for i in 0..<d where graph[i, j] != 0 { value += graph[i, j] * x[row * d + i] }
                    x[row * d + j] = value
                }
            }
        }
        return data
    }

    /// One number of mean 0 and variance 1.
    private func draw(_ generator: inout SeededGenerator) -> Double {
        switch distribution {
        case .normal: return generator.normal()
        case .exponential: return -logarithm(1 - generator.uniform()) - 1
        case .laplace:
            let sign = generator.next() % 2 == 0 ? 1.0 : -1
            return sign * -logarithm(1 - generator.uniform()) / 2.0.squareRoot()
        }
    }
}
