import Lacuna

/// Checks the row-wise product with hashed or dense accumulators on a graph with heavy rows.
struct SMASHReproduction: Reproduction {
    let shortName = "SMASH"
    let paper = 100
    let title = "SMASH: Sparse Matrix Atomic Scratchpad Hashing"
    let arXiv: String? = "2105.14156"
    let claim =
        "Row-wise sparse products that merge partial products as they appear, in a table that is close to the processor, "
        + "run 9.4 times as fast as the authors' baseline on 16K × 16K R-MAT graphs."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let scale = context.quick ? 11 : 13
        let graph = try Self.rmat(scale: scale, edgesPerNode: 8, seed: context.seed)
        let pattern = graph.pattern
        try context.progress.report("multiplying", 0, of: 3)
        var operations = 0
        let lengths = pattern.keptCounts
        pattern.forEachEntry { operations += lengths[$2] }

        // All values are 1: sums are integers, exact in any order.
        let product = try graph.multiplied(by: graph)
        let dictionary = Self.byDictionaries(graph)
        try context.progress.report("comparing", 1, of: 3)
        let entries = dictionary.reduce(0) { $0 + $1.count }
        var wrong = product.count == entries ? 0.0 : 1
        product.forEachEntry { if dictionary[$0][$1] != $2 { wrong += 1 } }
        let threads = Parallel.threads
        Parallel.threads = 1
        defer { Parallel.threads = threads }
        let rounds = context.quick ? 3 : 5
        let own = Self.fastest(rounds) { _ = try? graph.multiplied(by: graph) }
        let baseline = Self.fastest(2) { _ = Self.byDictionaries(graph) }
        let symbolic = try pattern.multiplied(by: pattern)
        let unchanged = try graph.multiplied(by: .identity(graph.columns))
        let transposed = try graph.transposed().multiplied(by: graph.transposed()).transposed()
        return Outcome(
            setting:
                "R-MAT graph (0.57, 0.19, 0.19, 0.05) of scale \(scale) with 8 edges a node, duplicates removed, squared: "
                + "\(graph.count) entries, \(operations) multiplications; one thread",
            measurements: [
                Measurement("entries of the product", measured: Double(product.count)),
                Measurement("multiplications an entry", measured: Double(operations) / Double(max(product.count, 1))),
                Measurement(
                    "milliseconds", measured: own * 1e3, baseline: baseline * 1e3, baselineName: "a dictionary a row"),
                Measurement("entries that differ from the dictionaries'", measured: wrong),
            ],
            checks: [
                Check("pattern and values equal the dictionaries' exactly", wrong, .atMost, 0),
                Check("three times as fast as a dictionary a row, or more", baseline / own, .atLeast, 3),
                Check(
                    "the Boolean product has the same pattern", Double(symbolic.count - product.count).magnitude,
                    .atMost, 0),
                Check("A I = A", unchanged.values == graph.values ? 0 : 1, .atMost, 0),
                Check("(A A)ᵀ = Aᵀ Aᵀ", transposed.values == product.values ? 0 : 1, .atMost, 0),
            ],
            notes: [
                "The authors' factor compares versions of their kernel on a simulated processor with a scratchpad memory; here "
                    + "the baseline is a hash table for each row, on one core, and the factor has another meaning.",
                "Their atomic updates make sums depend on the order of threads; here a row belongs to one thread.",
            ])
    }

    private static func fastest(_ rounds: Int, _ body: () -> Void) -> Double {
        (0..<rounds).map { _ -> Double in
            let start = monotonicSeconds()
            body()
            return monotonicSeconds() - start
        }.min() ?? .infinity
    }

    private static func byDictionaries(_ a: SparseMatrix<Float>) -> [[Int: Float]] {
        let (starts, columns, values) = (a.pattern.rowStarts, a.pattern.columnIndices, a.values)
        return (0..<a.rows).map { r in
            var row: [Int: Float] = [:]
            for i in starts[r]..<starts[r + 1] {
                for j in starts[columns[i]]..<starts[columns[i] + 1] {
                    row[columns[j], default: 0] += values[i] * values[j]
                }
            }
            return row
        }
    }

    /// Edges fall into quadrants with the given probabilities, again and again.
    private static func rmat(scale: Int, edgesPerNode: Int, seed: UInt64) throws -> SparseMatrix<Float> {
        var generator = SeededGenerator(seed: seed, stream: 100)
        let nodes = 1 << scale
        var edges: [(row: Int, column: Int, value: Float)] = []
        for _ in 0..<nodes * edgesPerNode {
            var (row, column) = (0, 0)
            for _ in 0..<scale {
                let draw = generator.uniform()
                row = row * 2 + (draw < 0.76 ? 0 : 1)
                column = column * 2 + (draw < 0.57 || (draw >= 0.76 && draw < 0.95) ? 0 : 1)
            }
            edges.append((row, column, 1))
        }
        return try SparseMatrix(rows: nodes, columns: nodes, entries: edges, combining: { $1 })
    }
}
