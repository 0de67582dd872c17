import Foundation
import LacunaIO
import LacunaRegress
import LacunaTensor
import Testing

/// Dense, sparse and mapped designs against plain loops over a matrix.
@Suite struct DesignTests {
    /// A matrix with empty and constant columns, and its scaled values.
    private struct Reference {
        let rows = 37
        let columns = 11
        var values: [Double]
        let scales: [Double]?

        init(scaled: Bool) {
            var random = SeededGenerator(seed: 3)
            values = (0..<37 * 11).map { _ in random.next() % 3 == 0 ? random.normal() : 0 }
            for i in 0..<37 {
                values[4 * 37 + i] = 0
                values[6 * 37 + i] = 2.5
            }
            scales = scaled ? (0..<11).map { _ in 0.5 + random.uniform() } : nil
        }

        func value(_ i: Int, _ j: Int) -> Double { values[j * rows + i] * (scales?[j] ?? 1) }

        func designs() throws -> [any Design] {
            let dense = DenseDesign(columnMajor: values, rows: rows)
            let path = FileManager.default.temporaryDirectory.path + "/lacuna-regress-\(UUID().uuidString)"
            try AtomicFile.write([UInt8](repeating: 7, count: 16) + values.withUnsafeBytes(Array.init), to: path)
            defer { try? FileSystem.remove(path) }
            let mapped = try DenseDesign(mapping: MappedFile(path), offset: 16, rows: rows, columns: columns)
            let matrix = Tensor(values, shape: [columns, rows]).transposed()
            return [
                dense.scaled(by: scales), try SparseDesign(dense).scaled(by: scales), mapped.scaled(by: scales),
                DenseDesign(matrix).scaled(by: scales), try SparseDesign(dense.scaled(by: scales)),
            ]
        }
    }

    @Test(arguments: [false, true]) func everyOperation(scaled: Bool) throws {
        let reference = Reference(scaled: scaled)
        let (n, p) = (reference.rows, reference.columns)
        var random = SeededGenerator(seed: 4)
        let v = (0..<n).map { _ in random.normal() }
        let w = (0..<n).map { _ in random.uniform() }
        let total = w.reduce(0, +)
        for design in try reference.designs() {
            #expect(design.rows == n && design.columns == p && design.byteCount > 0)
            var all = [Double](repeating: 9, count: p)
            design.correlations(nil, with: v, into: &all)
            let exact = (0..<p).map { j in (0..<n).reduce(0) { $0 + reference.value($1, j) * v[$1] } }
            #expect(largestDifference(all, exact) < 1e-12)
            var some = [0.0, 0, 0]
            design.correlations([7, 0, 4], with: v, into: &some)
            #expect(largestDifference(some, [exact[7], exact[0], exact[4]]) < 1e-12)
            #expect(abs(design.correlation(6, with: v) - exact[6]) < 1e-12)
            var sum = v
            design.add(-2, column: 3, to: &sum)
            #expect(largestDifference(sum, (0..<n).map { v[$0] - 2 * reference.value($0, 3) }) < 1e-12)
            var norms = all
            design.squaredNorms(weights: w, into: &norms)
            #expect(
                largestDifference(
                    norms, (0..<p).map { j in (0..<n).reduce(0) { $0 + w[$1] * pow(reference.value($1, j), 2) } })
                    < 1e-12)
            let beta = (0..<p).map { $0 % 2 == 0 ? Double($0) : 0 }
            var eta = v
            design.product(beta, into: &eta)
            #expect(
                largestDifference(
                    eta, (0..<n).map { i in (0..<p).reduce(0) { $0 + reference.value(i, $1) * beta[$1] } }) < 1e-11)
            // Gram matrices, with and without means.
            let means = (0..<p).map { j in (0..<n).reduce(0) { $0 + w[$1] * reference.value($1, j) } / total }
            for centered in [false, true] {
                let (a, b): ([UInt32], [UInt32]) = ([2, 6, 9], [0, 2, 4, 6, 10])
                var gram = [Double](repeating: 9, count: 3 * 7)
                design.gram(
                    a, b, weights: w, totalWeight: total,
                    means: centered ? (a.map { means[Int($0)] }, b.map { means[Int($0)] }) : nil, into: &gram,
                    leading: 7)
                for (r, i) in a.enumerated() {
                    for (c, j) in b.enumerated() {
                        let (mi, mj) = centered ? (means[Int(i)], means[Int(j)]) : (0, 0)
                        let value = (0..<n).reduce(0) {
                            $0 + w[$1] * (reference.value($1, Int(i)) - mi) * (reference.value($1, Int(j)) - mj)
                        }
                        #expect(abs(gram[r * 7 + c] - value) < 1e-11)
                    }
                    #expect(gram[r * 7 + 5] == 9)
                }
            }
        }
    }

    @Test func standardisedColumns() throws {
        let reference = Reference(scaled: false)
        let weights = (0..<37).map { Double($0 % 5) / 73 }
        let sum = weights.reduce(0, +)
        let normalized = weights.map { $0 / sum }
        for design in try reference.designs() {
            for centered in [true, false] {
                let scaled = (design as any Design).standardized(weights: normalized, centered: centered)
                var norms = [Double](repeating: 0, count: 11)
                scaled.squaredNorms(weights: normalized, into: &norms)
                let means = scaled.means(weights: normalized)
                for j in 0..<11 {
                    let variance = norms[j] - (centered ? means[j] * means[j] : 0)
                    if j == 4 {
                        #expect(variance == 0)
                    } else if j == 6 && centered {
                        #expect(scaled.inverseScales?[6] == 1, "a constant column keeps its scale")
                    } else {
                        #expect(abs(variance - 1) < 1e-10)
                    }
                }
            }
        }
    }

    @Test func matricesAndTheirTransposes() throws {
        let matrix = try SparseMatrix<Double>(
            rows: 3, columns: 2, rowIndices: [2, 0, 2, 1], columnIndices: [1, 0, 1, 1], values: [5, 1, -1, 2])
        for design in [SparseDesign(matrix), SparseDesign(transpose: matrix.transposed())] {
            var out = [0.0, 0]
            design.correlations(nil, with: [1, 10, 100], into: &out)
            #expect(out == [1, 420] && design.count == 3 && design.rows == 3 && design.columns == 2)
        }
    }

    @Test func mappedFilesMustHoldTheirShape() throws {
        let path = FileManager.default.temporaryDirectory.path + "/lacuna-regress-\(UUID().uuidString)"
        try AtomicFile.write([UInt8](repeating: 0, count: 80), to: path)
        defer { try? FileSystem.remove(path) }
        let file = try MappedFile(path)
        #expect(try DenseDesign(mapping: file, rows: 5, columns: 2).rows == 5)
        for (offset, rows, columns) in [(8, 5, 2), (4, 3, 2), (0, 6, 2), (-8, 1, 1), (0, -1, 1), (0, .max, 16)] {
            #expect(throws: LacunaError.self) {
                try DenseDesign(mapping: file, offset: offset, rows: rows, columns: columns)
            }
        }
    }

    @Test func numbersThatAreNoneAreFound() throws {
        for bad in [Double.nan, .infinity, -.infinity] {
            var values = [Double](repeating: 1, count: 12)
            values[7] = bad
            let dense = DenseDesign(columnMajor: values, rows: 4)
            for design in [dense, try SparseDesign(dense)] as [any Design] {
                let place = try #require(design.firstNonFinite())
                #expect(place == (row: 3, column: 1))
                let failure = #expect(throws: LacunaError.self) {
                    try Problem(design, SquaredLoss([1, 2, 3, 4]), L1(1))
                }
                #expect(failure?.description.contains("row 4, column 2") == true)
            }
        }
    }
}
