import LacunaRegress
import LacunaStructure
import LacunaTensor
import Testing

@Suite struct SketchTests {
    private static func sketches(_ rows: Int, _ inputRows: Int, seed: UInt64) -> [(String, any Sketch)] {
        [
            ("Gaussian", GaussianSketch(rows: rows, inputRows: inputRows, seed: seed)),
            ("CountSketch", SparseSketch(rows: rows, inputRows: inputRows, seed: seed)),
            ("OSNAP", SparseSketch(rows: rows, inputRows: inputRows, nonzeros: 4, seed: seed)),
            ("Hadamard", HadamardSketch(rows: rows, inputRows: inputRows, seed: seed)),
            ("pooled", PooledHadamardSketch(rows: rows, inputRows: inputRows, seed: seed)),
            ("very sparse", VerySparseProjection(rows: rows, inputRows: inputRows, seed: seed)),
        ]
    }

    private static func identity(_ n: Int) -> Tensor<Double> {
        var result = Tensor<Double>(zeros: [n, n])
        for i in 0..<n { result[i, i] = 1 }
        return result
    }

    /// By the definition: entry (i, j) is -1 to the number of ones that i and j share.
    @Test(arguments: [1, 2, 8, 32]) func hadamardMatrices(n: Int) {
        var x = Self.identity(n)
        x.withMutablePointer { Hadamard.transform($0, rows: n, columns: n) }
        for i in 0..<n { for j in 0..<n { #expect(x[i, j] == ((i & j).nonzeroBitCount % 2 == 0 ? 1 : -1)) } }
        x.withMutablePointer { Hadamard.transform($0, rows: n, columns: n) }
        for i in 0..<n { for j in 0..<n { #expect(x[i, j] == (i == j ? Double(n) : 0)) } }
    }

    @Test func paddedCounts() {
        #expect([1, 2, 3, 4, 5, 1024, 1025].map(Hadamard.paddedCount) == [1, 2, 4, 4, 8, 1024, 2048])
    }

    /// `E[SᵀS] = I`: the mean over many sketches, entry by entry.
    @Test(arguments: 0..<6) func keepLengthsInExpectation(kind: Int) {
        let (n, rows, draws) = (6, 4, 2000)
        let identity = Self.identity(n)
        var mean = [Double](repeating: 0, count: n * n)
        var square = mean
        for draw in 0..<draws {
            let s = Self.sketches(rows, n, seed: UInt64(draw))[kind].1.apply(identity)
            let gram = s.multiplied(by: s, transposed: true).scalars
            for k in 0..<n * n {
                mean[k] += gram[k] / Double(draws)
                square[k] += gram[k] * gram[k] / Double(draws)
            }
        }
        for k in 0..<n * n {
            let deviation = max(0, square[k] - mean[k] * mean[k]).squareRoot() / Double(draws).squareRoot()
            #expect(abs(mean[k] - (k / n == k % n ? 1 : 0)) <= 5 * deviation + 1e-12, "\(kind) \(k)")
        }
    }

    /// A sketch is one linear map: of columns together or apart, dense or sparse, whatever the number of threads.
    @Test(arguments: 0..<6) func areLinearMaps(kind: Int) throws {
        var random = SeededGenerator(seed: 4)
        let x = Tensor<Double>(normal: [50, 3], using: &random)
        let sketch = Self.sketches(16, 50, seed: 9)[kind].1
        let matrix = sketch.apply(Self.identity(50))
        let expected = matrix.multiplied(by: x)
        #expect(matrix.shape == [sketch.rows, 50])
        let before = Parallel.threads
        defer { Parallel.threads = before }
        for threads in [1, 3] {
            Parallel.threads = threads
            #expect(largestDifference(sketch.apply(x).scalars, expected.scalars) < 1e-12)
        }
        for j in 0..<3 {
            let column = Tensor((0..<50).map { x[$0, j] }, shape: [50, 1])
            #expect(largestDifference(sketch.apply(column).scalars, (0..<sketch.rows).map { expected[$0, j] }) < 1e-12)
        }
        if let sparse = sketch as? SparseSketch {
            let design = try SparseDesign(DenseDesign(x)).scaled(by: [1, 2, 0.5])
            let scaled = Tensor((0..<150).map { x.scalars[$0] * [1, 2, 0.5][$0 % 3] }, shape: [50, 3])
            #expect(largestDifference(sparse.apply(design).scalars, sparse.apply(scaled).scalars) < 1e-12)
        }
    }

    @Test func entriesAreWhatTheyShouldBe() {
        let count = SparseSketch(rows: 8, inputRows: 30, nonzeros: 3, seed: 2).apply(Self.identity(30))
        for j in 0..<30 {
            let column = (0..<8).map { count[$0, j] }.filter { $0 != 0 }
            #expect(column.count == 3 && column.allSatisfy { abs(abs($0) - 1 / 3.0.squareRoot()) < 1e-15 })
        }
        let rare = VerySparseProjection(rows: 40, inputRows: 100, seed: 1).apply(Self.identity(100)).scalars
        let share = Double(rare.count { $0 != 0 }) / 4000
        #expect(abs(share - 0.1) < 0.03 && rare.allSatisfy { $0 == 0 || abs(abs($0) - 0.5) < 1e-15 })
        let pooled = PooledHadamardSketch(rows: 20, inputRows: 100)
        #expect(pooled.rows == 32 && pooled.pool == 16)
        // A pool of one row each and no rows left out: the transform itself, with normal weights.
        #expect(PooledHadamardSketch(rows: 128, inputRows: 100, pool: 1).pool == 1)
    }

    /// All rows of the transform: an orthogonal map, so the sketched solution is the solution.
    @Test func aWholeTransformIsExact() throws {
        var random = SeededGenerator(seed: 8)
        let a = Tensor<Double>(normal: [64, 5], using: &random)
        let b = (0..<64).map { _ in random.normal() }
        let sketch = HadamardSketch(rows: 64, inputRows: 64, seed: 3)
        let matrix = sketch.apply(Self.identity(64))
        let gram = matrix.multiplied(by: matrix, transposed: true)
        for i in 0..<64 { for j in 0..<64 { #expect(abs(gram[i, j] - (i == j ? 1 : 0)) < 1e-12) } }
        let exact = try Self.exact(a, b)
        #expect(largestDifference(try SketchedLeastSquares.solve(a, b, sketch: sketch).coefficients, exact) < 1e-10)
    }

    private static func exact(_ a: Tensor<Double>, _ b: [Double]) throws -> [Double] {
        let (q, r) = try a.qr()
        let right = q.multiplied(by: Tensor(b, shape: [b.count, 1]), transposed: true)
        return r.solveTriangular(right, lower: false).scalars
    }

    @Test(arguments: 0..<6) func sketchedResidualsAreNearlyBest(kind: Int) throws {
        var random = SeededGenerator(seed: 5)
        let a = Tensor<Double>(normal: [600, 10], using: &random)
        let b = (0..<600).map { _ in random.normal() }
        let sketch = Self.sketches(256, 600, seed: 1)[kind].1
        let exact = try Self.exact(a, b)
        let fitted = a.multiplied(by: Tensor(exact, shape: [10, 1])).scalars
        let best = zip(b, fitted).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
        let rough = try SketchedLeastSquares.solve(a, b, sketch: sketch)
        #expect(rough.residual >= best * (1 - 1e-12) && rough.residual < 1.15 * best)
    }

    /// As a preconditioner the sketch gives the exact solution, in few steps however the columns are scaled.
    @Test(arguments: 0..<6) func preconditionedIterationIsExact(kind: Int) throws {
        var random = SeededGenerator(seed: 6)
        var a = Tensor<Double>(normal: [600, 10], using: &random)
        for i in 0..<600 { for j in 0..<10 { a[i, j] *= power(10, Double(j) - 5) } }
        let b = (0..<600).map { _ in random.normal() }
        let sketch = Self.sketches(128, 600, seed: 2)[kind].1
        let found = try SketchedLeastSquares.solve(a, b, preconditionedBy: sketch)
        let exact = try Self.exact(a, b)
        #expect(found.converged && found.iterations < 60)
        for (x, y) in zip(found.coefficients, exact) { #expect(abs(x - y) < 1e-8 * abs(y) + 1e-12) }
        // A system with a solution.
        let consistent = a.multiplied(by: Tensor(exact, shape: [10, 1])).scalars
        let solved = try SketchedLeastSquares.solve(a, consistent, preconditionedBy: sketch)
        #expect(solved.converged && solved.residual < 1e-9)
    }

    /// Two columns that a sketch cannot tell apart share what is theirs; a preconditioner must not lose them.
    @Test func lostDirections() throws {
        var a = Tensor<Double>(zeros: [8, 2])
        for i in 0..<8 { (a[i, 0], a[i, 1]) = (1, 2) }
        let b = [Double](repeating: 5, count: 8)
        let sketch = GaussianSketch(rows: 4, inputRows: 8)
        let found = try SketchedLeastSquares.solve(a, b, sketch: sketch)
        #expect(largestDifference(found.coefficients, [1, 2]) < 1e-12 && found.residual < 1e-12)
        #expect(throws: LacunaError.self) { try SketchedLeastSquares.solve(a, b, preconditionedBy: sketch) }
    }

    /// However small a column is beside the others, its coefficient is found.
    @Test func scalesOfColumnsDoNotMatter() throws {
        var random = SeededGenerator(seed: 7)
        var a = Tensor<Double>(normal: [200, 3], using: &random)
        for i in 0..<200 { a[i, 1] *= 1e-20 }
        let b = (0..<200).map { a[$0, 0] + 2e20 * a[$0, 1] - a[$0, 2] }
        let sketch = GaussianSketch(rows: 40, inputRows: 200)
        for found in [
            try SketchedLeastSquares.solve(a, b, sketch: sketch),
            try SketchedLeastSquares.solve(a, b, preconditionedBy: sketch),
        ] { #expect(largestDifference(zip(found.coefficients, [1, 1e-20, 1]).map { $0 * $1 }, [1, 2, -1]) < 1e-10) }
    }

    /// Nor does the unit of the target, though the squares of its numbers be no numbers.
    @Test func theScaleOfTheTargetDoesNotMatter() throws {
        var random = SeededGenerator(seed: 8)
        let a = Tensor<Double>(normal: [200, 3], using: &random)
        let b = (0..<200).map { a[$0, 0] + 2 * a[$0, 1] + 0.1 * random.normal() }
        let sketch = GaussianSketch(rows: 40, inputRows: 200)
        let plain = try SketchedLeastSquares.solve(a, b, sketch: sketch)
        let exact = try SketchedLeastSquares.solve(a, b, preconditionedBy: sketch)
        for unit in [0x1p-700, 0x1p700] {
            let moved = b.map { $0 * unit }
            let found = try SketchedLeastSquares.solve(a, moved, sketch: sketch)
            #expect(found.coefficients == plain.coefficients.map { $0 * unit })
            #expect(found.residual == plain.residual * unit)
            let iterated = try SketchedLeastSquares.solve(a, moved, preconditionedBy: sketch)
            #expect(iterated.coefficients == exact.coefficients.map { $0 * unit } && iterated.converged)
            #expect(iterated.iterations == exact.iterations)
        }
        // Columns so large that their squares are no numbers are not taken for dependent ones.
        let tall = a * 0x1p600
        #expect(try SketchedLeastSquares.solve(tall, b, preconditionedBy: sketch).converged)
    }

    @Test func theBoundOnStepsIsKept() throws {
        var random = SeededGenerator(seed: 6)
        let a = Tensor<Double>(normal: [600, 10], using: &random)
        let b = (0..<600).map { _ in random.normal() }
        let found = try SketchedLeastSquares.solve(
            a, b, preconditionedBy: GaussianSketch(rows: 20, inputRows: 600), maximumIterations: 3)
        #expect(!found.converged && found.iterations == 3)
    }

    @Test func badInput() {
        let a = Tensor<Double>(zeros: [8, 3])
        let b = [Double](repeating: 1, count: 8)
        #expect(throws: LacunaError.self) {
            try SketchedLeastSquares.solve(a, b, preconditionedBy: GaussianSketch(rows: 4, inputRows: 8))
        }
        #expect(throws: LacunaError.self) {
            try SketchedLeastSquares.solve(a, b, sketch: GaussianSketch(rows: 4, inputRows: 9))
        }
        #expect(throws: LacunaError.self) {
            try SketchedLeastSquares.solve(a, b, sketch: GaussianSketch(rows: 2, inputRows: 8))
        }
        #expect(throws: LacunaError.self) {
            try SketchedLeastSquares.solve(
                Tensor(repeating: .nan, shape: [8, 3]), b, sketch: GaussianSketch(rows: 4, inputRows: 8))
        }
        // In rows that a sketch leaves out too.
        var random = SeededGenerator(seed: 1)
        let normal = Tensor<Double>(normal: [64, 3], using: &random)
        let projection = VerySparseProjection(rows: 4, inputRows: 64, rarity: 16)
        let lost = (0..<64).first { i in
            let unit = Tensor((0..<64).map { $0 == i ? 1.0 : 0 }, shape: [64, 1])
            return projection.apply(unit).scalars.allSatisfy { $0 == 0 }
        }
        for (row, value) in [(lost ?? -1, Double.nan), (5, Double.infinity)] {
            var target = [Double](repeating: 1, count: 64)
            target[row] = value
            #expect(throws: LacunaError.self) {
                try SketchedLeastSquares.solve(normal, target, sketch: projection)
            }
            #expect(throws: LacunaError.self) {
                try SketchedLeastSquares.solve(normal, target, preconditionedBy: projection)
            }
        }
    }
}
