import Lacuna

/// Sparse matrices as numbers rather than weights: the ranks of a graph's pages, and the heat of a plate.
@main
struct SparseAlgebra {
    static func main() throws {
        try pageRank()
        try poisson()
    }

    /// The pages of a graph of 20,000 with ten links each, by how often a surfer comes by who follows links and now and then
    /// starts anew anywhere.
    static func pageRank() throws {
        let pages = 20_000
        var generator = SeededGenerator(seed: 1)
        let links = try SparsePattern.random(rows: pages, columns: pages, density: 5e-4, using: &generator)
        let graph = SparseMatrix<Double>(links, repeating: 1)
        let follow = graph.scaled(rows: graph.rowSums().map { $0 == 0 ? 0 : 0.85 / $0 })
        var rank = [Double](repeating: 1 / Double(pages), count: pages)
        for _ in 0..<50 {
            let next = follow.multiplied(by: rank, transposed: true)
            let anew = (1 - next.reduce(0, +)) / Double(pages)
            rank = next.map { $0 + anew }
        }
        let best = rank.indices.max { rank[$0] < rank[$1] }!
        print("PageRank: page \(best) comes first, \(graph.pattern.transposed().keptCount(row: best)) links lead there")
    }

    /// -Δu = 1 on a square of 200 × 200 points whose edge is kept at 0.
    static func poisson() throws {
        let side = 200
        let line = try SparseMatrix<Double>(
            rows: side, columns: side,
            diagonals: [
                (-1, [Double](repeating: -1, count: side - 1)), (0, [Double](repeating: 2, count: side)),
                (1, [Double](repeating: -1, count: side - 1)),
            ])
        let one = SparseMatrix<Double>.identity(side)
        let laplacian = try line.kronecker(one) + one.kronecker(line)
        let heat = try laplacian.conjugateGradients([Double](repeating: 1, count: side * side))
        let largest = try laplacian.truncatedSVD(rank: 1).s[0]
        print(
            "Poisson: \(heat.iterations) iterations, residual \(heat.residualNorm), largest singular value \(largest)")
        try laplacian.write(matrixMarket: "laplacian.mtx")
    }
}
