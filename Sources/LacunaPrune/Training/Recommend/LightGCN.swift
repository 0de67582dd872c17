import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Vectors of users and items, averaged over a few steps to neighbours in the graph of interactions, whose inner products rank
/// items; learned by pairs of items of which the user has one. Without steps it is matrix factorisation.
///
/// `e = mean of e⁽⁰⁾ … e⁽ᴸ⁾`, `e⁽ˡ⁺¹⁾ = D^-½ A D^-½ e⁽ˡ⁾`, loss `mean softplus(s_other - s_item) + decay / 2 · (|e_u|² + |e_i|² +
/// |e_o|²)` of the vectors as they are kept. Xiangnan He and others, "LightGCN: Simplifying and Powering Graph Convolution Network for
/// Recommendation", arXiv 2002.02126; Steffen Rendle and others, "BPR: Bayesian Personalized Ranking from Implicit Feedback", arXiv
/// 1205.2618.
public final class LightGCN: Recommender {
    /// [users + items, dimensions], users first.
    public let table: Linear
    /// L, 0 for matrix factorisation.
    public let steps: Int
    /// Of squared lengths, each divided by the batch.
    public let decay: Float
    private let users: Int
    /// [users + items, users + items], symmetric.
    private let graph: SparseMatrix<Float>

    /// - Throws: `LacunaError.invalidArgument` for dimensions, steps or decays out of range.
    public init(
        _ data: Interactions, dimensions: Int = 64, steps: Int = 3, decay: Float = 1e-4,
        using generator: inout SeededGenerator
    ) throws {
        guard dimensions > 0, steps >= 0, decay >= 0 else {
            throw LacunaError.invalidArgument(
                "recommender", reason: "\(dimensions) dimensions, \(steps) steps, decay \(decay)")
        }
        (self.steps, self.decay, users) = (steps, decay, data.users)
        let count = data.users + data.itemCount
        table = .table(count: count, dimensions: dimensions, deviation: 0.1, using: &generator)
        var degree = [Float](repeating: 0, count: count)
        data.pattern.forEachEntry { _, user, item in
            degree[user] += 1
            degree[data.users + item] += 1
        }
        var rows = [[(column: Int, value: Float)]](repeating: [], count: count)
        data.pattern.forEachEntry { _, user, item in
            let (a, b) = (user, data.users + item)
            let value = 1 / (degree[a] * degree[b]).squareRoot()
            rows[a].append((b, value))
            rows[b].append((a, value))
        }
        graph = try SparseMatrix(columns: count, rows: rows)
    }

    /// The table.
    public var parts: [(name: String, part: Any)] { [("table", table)] }
    public var tables: LayerChoice { LayerChoice("table") }

    /// Final vectors, [users + items, dimensions].
    public func vectors(on tape: Tape<Float>) -> Variable<Float> {
        let first = table.rows(on: tape)
        if steps == 0 { return first }
        var (sum, last) = (first, first)
        for _ in 0..<steps {
            last = last.multiplied(fromLeft: graph)
            sum = sum + last
        }
        return sum.affine(1 / Float(steps + 1))
    }

    public func loss(
        _ data: Interactions, batch: Int, step: Int, seed: UInt64, on tape: Tape<Float>
    ) -> Variable<Float> {
        let triples = data.triples(batch, step: step, seed: seed)
        let (vectors, raw) = (vectors(on: tape), table.rows(on: tape))
        let places = [triples.users, triples.items.map { Int32(users) + $0 }, triples.others.map { Int32(users) + $0 }]
        let found = places.map { vectors.gathered($0) }
        let margins = (found[0] * (found[2] - found[1])).rowSums()
        let lengths = places.map { raw.gathered($0).map(.square).sum() }
        return margins.map(.softplus).mean()
            + (lengths[0] + lengths[1] + lengths[2]).affine(decay / 2 / Float(max(batch, 1)))
    }

    public func scores(of chosen: [Int32], _ data: Interactions, on tape: Tape<Float>) -> Variable<Float> {
        let vectors = vectors(on: tape)
        return vectors.gathered(chosen).multiplied(
            by: vectors.gathered((users..<vectors.rows).map { Int32($0) }), otherTransposed: true)
    }
}
