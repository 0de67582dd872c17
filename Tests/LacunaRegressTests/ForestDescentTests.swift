import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRegress

/// Blocks without cycles, minimised by messages along their trees.
@Suite struct ForestDescentTests {
    /// A lattice with random couplings and a diagonal that keeps it definite; its dense form; a right side and the solution.
    private static func lattice(
        _ rows: Int, _ columns: Int, seed: UInt64 = 1
    ) throws -> (sparse: SparseMatrix<Double>, dense: [[Double]], linear: [Double], best: [Double]) {
        var random = SeededGenerator(seed: seed)
        let p = rows * columns
        var dense = [[Double]](repeating: [Double](repeating: 0, count: p), count: p)
        for i in 0..<rows {
            for j in 0..<columns {
                for (a, b) in [(i + 1, j), (i, j + 1)] where a < rows && b < columns {
                    let (u, v, weight) = (i * columns + j, a * columns + b, random.normal())
                    (dense[u][v], dense[v][u]) = (weight, weight)
                }
            }
        }
        for i in 0..<p { dense[i][i] = 0.3 + dense[i].reduce(0) { $0 + abs($1) } }
        let linear = (0..<p).map { _ in random.normal() }
        let best = try Tensor(dense.flatMap { $0 }, shape: [p, p]).solvePositiveDefinite(
            Tensor(linear, shape: [p, 1]))
        let entries = (0..<p).flatMap { i in
            (0..<p).compactMap { j in dense[i][j] == 0 ? nil : (row: i, column: j, value: dense[i][j]) }
        }
        return (try SparseMatrix(rows: p, columns: p, entries: entries), dense, linear, best.scalars)
    }

    @Test func partitionsAreForestsThatHoldEverythingOnce() throws {
        for (rows, columns) in [(1, 2), (1, 7), (2, 2), (3, 2), (4, 5), (5, 4), (6, 9)] {
            let (_, dense, _, _) = try Self.lattice(rows, columns)
            for partition in LatticePartition.allCases {
                let blocks = partition.blocks(rows: rows, columns: columns)
                #expect(blocks.joined().sorted() == Array(0..<rows * columns))
                for block in blocks {
                    // A forest has fewer edges than places, and so has every part of it: leaves can be plucked to the last.
                    var left = Set(block)
                    func degree(_ i: Int) -> Int { left.count { $0 != i && dense[i][$0] != 0 } }
                    while let leaf = left.first(where: { degree($0) <= 1 }) { left.remove(leaf) }
                    #expect(left.isEmpty, "\(partition) of \(rows) × \(columns) has a cycle")
                    if partition == .redBlack {
                        for i in block { for j in block where i != j { #expect(dense[i][j] == 0) } }
                    }
                }
                if partition == .trees && rows > 1 {
                    for block in blocks {
                        let edges = block.reduce(0) { sum, i in
                            sum + block.count { $0 > i && dense[i][$0] != 0 }
                        }
                        #expect(edges == block.count - 1, "one tree")
                    }
                }
            }
        }
    }

    /// Each block is minimised exactly: against dense factorisations of the blocks, sweep by sweep.
    @Test(arguments: LatticePartition.allCases) func sweepsAreExact(partition: LatticePartition)
        throws
    {
        let (sparse, dense, linear, best) = try Self.lattice(5, 4, seed: 3)
        let blocks = partition.blocks(rows: 5, columns: 4)
        let descent = ForestDescent(blocks: blocks)
        var x = [Double](repeating: 0, count: 20)
        for sweep in 1...6 {
            for block in blocks {
                let matrix = block.map { i in block.map { dense[i][$0] } }
                let right = block.map { i -> Double in
                    var sum = linear[i]
                    for j in 0..<20 { sum -= dense[i][j] * x[j] }
                    return sum
                }
                let step = try Tensor(matrix.flatMap { $0 }, shape: [block.count, block.count])
                    .solvePositiveDefinite(Tensor(right, shape: [block.count, 1])).scalars
                for (i, move) in zip(block, step) { x[i] += move }
            }
            let run = try descent.minimize(hessian: sparse, linear: linear, sweeps: sweep)
            #expect(largestDifference(run.point, x) < 1e-12)
            var value = 0.0
            for i in 0..<20 {
                var inner = 0.0
                for j in 0..<20 { inner += dense[i][j] * x[j] }
                value += x[i] * (inner / 2 - linear[i])
            }
            #expect(run.values.count == sweep && abs(run.values[sweep - 1] - value) < 1e-12)
            #expect(zip(run.values.dropFirst(), run.values).allSatisfy { $0 <= $1 + 1e-14 })
        }
        let run = try descent.minimize(hessian: sparse, linear: linear, sweeps: 2000)
        #expect(largestDifference(run.point, best) < 1e-10)
        #expect(
            try descent.minimize(hessian: sparse, linear: linear, sweeps: 0).point
                == [Double](repeating: 0, count: 20))
    }

    /// A tree is one block, and one sweep is all.
    @Test func aTreeTakesOneSweep() throws {
        let (sparse, _, linear, best) = try Self.lattice(1, 30, seed: 5)
        let run = try ForestDescent(blocks: [Array((0..<30).reversed())]).minimize(
            hessian: sparse, linear: linear, sweeps: 1)
        #expect(largestDifference(run.point, best) < 1e-12)
        #expect(LatticePartition.trees.blocks(rows: 1, columns: 30) == [Array(0..<30)])
    }

    @Test func unusableBlocks() throws {
        let (sparse, _, linear, _) = try Self.lattice(2, 2)
        func fails(_ blocks: [[Int]], _ hessian: SparseMatrix<Double>? = nil, _ other: [Double]? = nil) {
            #expect(throws: LacunaError.self) {
                try ForestDescent(blocks: blocks).minimize(
                    hessian: hessian ?? sparse, linear: other ?? linear, sweeps: 1)
            }
        }
        fails([[0, 1, 2, 3]])
        fails([[0, 0], [1]])
        fails([[4]])
        fails([[-1]])
        fails([[0]], nil, [1, 2, 3])
        fails([[0]], nil, [1, 2, 3, .nan])
        fails([[0]], try SparseMatrix(rows: 4, columns: 4, entries: [(row: 0, column: 1, value: 2.0)]))
        fails([[0]], try SparseMatrix(rows: 4, columns: 4, entries: [(row: 0, column: 0, value: -1.0)]))
        fails(
            [[0]],
            try SparseMatrix(rows: 4, columns: 4, entries: [(row: 0, column: 0, value: Double.infinity)]))
    }
}
