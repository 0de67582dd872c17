import LacunaTensor
import Testing

@testable import LacunaStructure

/// Classes of graphs by enumeration, and the search among them.
@Suite struct EquivalenceTests {
    /// Every acyclic graph of so many variables.
    private static func graphs(_ count: Int) -> [DirectedGraph] {
        let pairs = (0..<count).flatMap { i in (0..<i).map { ($0, i) } }
        var all = [DirectedGraph(count: count)]
        for (i, j) in pairs {
            all = all.flatMap { graph in
                var (one, two) = (graph, graph)
                one[i, j] = 1
                two[j, i] = 1
                return [graph, one, two]
            }
        }
        return all.filter { $0.topologicalOrder != nil }
    }

    /// What observations can tell: pairs with an edge, and pairs of causes without one between them.
    private static func signature(_ graph: DirectedGraph) -> Set<[Int]> {
        var marks: Set<[Int]> = []
        for (a, c, _) in graph.edges {
            marks.insert([min(a, c), max(a, c)])
            for (b, e, _) in graph.edges where e == c && a < b && graph[a, b] == 0 && graph[b, a] == 0 {
                marks.insert([a, b, c])
            }
        }
        return marks
    }

    /// 25 graphs in 11 classes, 543 in 185; an edge is directed if and only if all members agree.
    @Test(arguments: [(2, 3, 2), (3, 25, 11), (4, 543, 185)]) func classes(count: Int, graphs: Int, classes: Int) {
        let all = Self.graphs(count)
        #expect(all.count == graphs)
        let byMarks = Dictionary(grouping: all) { Self.signature($0) }
        #expect(byMarks.count == classes)
        for members in byMarks.values {
            let found = EquivalenceClass(of: members[0])
            for i in 0..<count {
                for j in 0..<count {
                    let directions = Set(members.map { [$0[i, j] != 0, $0[j, i] != 0] })
                    #expect(found.isDirected(i, j) == (directions == [[true, false]]))
                    #expect(found.isUndirected(i, j) == (directions.count == 2))
                }
            }
            for member in members {
                #expect(EquivalenceClass(of: member) == found)
                #expect(found.distance(to: member) == 0 && found.edgeCount == member.edges.count)
            }
            // A member of the class, by the class alone.
            let built = found.member
            #expect(built.map { Self.signature($0) } == Self.signature(members[0]))
        }
    }

    @Test func distances() {
        // a → c ← b, and c → d, which has to point away.
        let graph = DirectedGraph(count: 4, weights: [0, 0, 2, 0, 0, 0, -1, 0, 0, 0, 0, 3, 0, 0, 0, 0])
        let found = EquivalenceClass(of: graph)
        #expect(found.isDirected(0, 2) && found.isDirected(1, 2) && found.isDirected(2, 3) && found.edgeCount == 3)
        var other = graph
        (other[2, 3], other[3, 2]) = (0, 1)
        #expect(found.distance(to: other) == 1, "turned round")
        (other[3, 2], other[0, 3]) = (0, 1)
        #expect(found.distance(to: other) == 2, "one missing, one too many")
        // A chain is open: both directions count as right.
        let chain = EquivalenceClass(of: DirectedGraph(count: 2, weights: [0, 1, 0, 0]))
        #expect(chain.isUndirected(0, 1) && chain.distance(to: DirectedGraph(count: 2, weights: [0, 0, 1, 0])) == 0)
        #expect(chain.distance(to: DirectedGraph(count: 2)) == 1)
    }

    /// The best of all 543 graphs by a score that is computed here from residuals.
    @Test func findsTheBestScore() throws {
        let all = Self.graphs(4)
        for seed in 0..<5 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let model = LinearStructuralModel(count: 4, edges: 3.5, noise: [0.5, 1, 2, 1], using: &random)
            let data = model.sample(rows: 2000, using: &random)
            var columns = (0..<4).map { j in (0..<2000).map { data[$0, j] } }
            for j in 0..<4 {
                let mean = columns[j].reduce(0, +) / 2000
                for i in 0..<2000 { columns[j][i] -= mean }
            }
            func score(_ graph: DirectedGraph) throws -> Double {
                var sum = 0.0
                for j in 0..<4 {
                    let parents = (0..<4).filter { graph[$0, j] != 0 }
                    let square = columns[j].reduce(0) { $0 + $1 * $1 }
                    var rest = square
                    if !parents.isEmpty {
                        let x = Tensor(parents.flatMap { columns[$0] }, shape: [parents.count, 2000])
                        let y = Tensor(columns[j], shape: [2000, 1])
                        let cross = x.multiplied(by: y)
                        let solved = try x.multiplied(by: x, otherTransposed: true).solvePositiveDefinite(cross)
                        rest -= zip(solved.scalars, cross.scalars).reduce(0) { $0 + $1.0 * $1.1 }
                    }
                    sum += -1000 * logarithm(rest / square) - logarithm(2000) / 2 * Double(parents.count)
                }
                return sum
            }
            let found = try GreedyEquivalenceSearch().fit(data)
            let best = try all.map(score).max() ?? .nan
            #expect(abs(found.score - best) < 1e-6 * abs(best), "\(seed): \(found.score) of \(best)")
            #expect(abs(try score(found.graph) - found.score) < 1e-6 * abs(best))
            #expect(found.structure == EquivalenceClass(of: found.graph))
            // The weights are those of least squares: residuals are uncorrelated with the causes.
            for (i, j, _) in found.graph.edges {
                var rest = columns[j]
                for k in 0..<4 where found.graph[k, j] != 0 {
                    for r in 0..<2000 { rest[r] -= found.graph[k, j] * columns[k][r] }
                }
                let inner = zip(rest, columns[i]).reduce(0) { $0 + $1.0 * $1.1 }
                #expect(abs(inner) < 1e-6 * 2000)
            }
            // Units do not matter.
            let scaled = Tensor((0..<8000).map { data.scalars[$0] * [1e6, 1, 1e-4, -3][$0 % 4] }, shape: [2000, 4])
            #expect(try GreedyEquivalenceSearch().fit(scaled).structure == found.structure)
        }
    }

    /// Effects that cancel in part need the second phase: what was inserted too early is removed.
    @Test func recoversLargerGraphs() throws {
        var (distance, edges) = (0, 0)
        for seed in 0..<4 as Range<UInt64> {
            var random = SeededGenerator(seed: 100 + seed)
            let model = LinearStructuralModel(count: 10, edges: 12, noise: [1], using: &random)
            let found = try GreedyEquivalenceSearch().fit(model.sample(rows: 20_000, using: &random))
            distance += found.structure.distance(to: model.graph)
            edges += model.graph.edges.count
            #expect(found.graph.topologicalOrder != nil)
        }
        #expect(distance * 10 <= edges, "\(distance) of \(edges)")
    }

    @Test func unusableData() throws {
        let search = GreedyEquivalenceSearch()
        #expect(throws: LacunaError.self) { try search.fit(Tensor(zeros: [3, 3])) }
        #expect(throws: LacunaError.self) { try search.fit(Tensor(repeating: 1, shape: [9, 3])) }
        // One variable twice.
        var random = SeededGenerator(seed: 1)
        var twice = Tensor<Double>(normal: [50, 3], using: &random)
        for i in 0..<50 { twice[i, 2] = 2 * twice[i, 0] }
        #expect(throws: LacunaError.self) { try search.fit(twice) }
        // A price above what any edge is worth.
        let data = Tensor<Double>(normal: [50, 4], using: &random)
        #expect(try GreedyEquivalenceSearch(penalty: 1e6).fit(data).structure.edgeCount == 0)
    }

    /// Within a step, too: one may take long.
    @Test func searchesAreCancelled() {
        var random = SeededGenerator(seed: 1)
        let data = Tensor<Double>(normal: [50, 4], using: &random)
        let search = GreedyEquivalenceSearch(penalty: 1e6, progress: Impatience(after: 2))
        #expect(throws: LacunaError.self) { try search.fit(data) }
        let rival = NOTEARS(maximumRounds: 1, progress: Impatience(after: 1))
        #expect(throws: LacunaError.self) { try rival.fit(data) }
    }
}
