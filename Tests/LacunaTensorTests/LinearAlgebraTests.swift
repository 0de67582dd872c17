import CLinearAlgebra
import LacunaTensor
import Testing

/// Every case runs in both precisions.
protocol Precision: TensorScalar { static var tolerance: Self { get } }
extension Float: Precision { static var tolerance: Float { 2e-5 } }
extension Double: Precision { static var tolerance: Double { 1e-12 } }
private let precisions: [any Precision.Type] = [Float.self, Double.self]

private func random<S: Precision>(_ rows: Int, _ columns: Int, seed: UInt64 = 1) -> Tensor<S> {
    var generator = SeededGenerator(seed: seed)
    return Tensor(normal: [rows, columns], using: &generator)
}

private func product<S: Precision>(_ a: Tensor<S>, _ b: Tensor<S>) -> Tensor<S> {
    let (m, k, n) = (a.rows, a.columns, b.columns)
    let (x, y) = (a.scalars, b.scalars)
    var c = [S](repeating: 0, count: m * n)
    for i in 0..<m { for p in 0..<k { for j in 0..<n { c[i * n + j] += x[i * k + p] * y[p * n + j] } } }
    return Tensor(c, shape: [m, n])
}

private func identity<S: Precision>(_ n: Int) -> Tensor<S> {
    Tensor((0..<n * n).map { $0 / n == $0 % n ? 1 : 0 }, shape: [n, n])
}

/// `min(i, j)` counted from 1: its Cholesky factor is all ones, its inverse tridiagonal, its spectrum known.
private func minimumMatrix<S: Precision>(_ n: Int) -> Tensor<S> {
    Tensor((0..<n * n).map { S(min($0 / max(n, 1), $0 % max(n, 1)) + 1) }, shape: [n, n])
}

private func close<S: Precision>(_ a: Tensor<S>, _ b: Tensor<S>, scale: S = 1) -> Bool {
    let limit = S.tolerance * scale * (b.scalars.map(\.magnitude).max() ?? 1)
    return a.shape == b.shape && zip(a.scalars, b.scalars).allSatisfy { ($0 - $1).magnitude <= limit }
}

private let shapes: [[Int]] = [
    [0, 0], [0, 3], [3, 0], [1, 1], [1, 9], [9, 1], [2, 2], [5, 3], [3, 5], [64, 64], [100, 7], [7, 100],
]

@Suite struct ProductTests {
    private func rounded(_ tensor: Tensor<Float>) -> Tensor<Float> {
        Tensor(tensor.scalars.map { BFloat16($0).float }, shape: tensor.shape)
    }

    /// A product in bf16 is that of the rounded numbers: whatever is transposed, in pieces, added to what is there.
    @Test(arguments: [(3, 4, 5), (70, 33, 129), (300, 90, 200), (90, 300, 200)])
    func productsInBF16(m: Int, n: Int, k: Int) {
        let a: Tensor<Float> = random(m, k, seed: 5)
        let b: Tensor<Float> = random(k, n, seed: 6)
        let start: Tensor<Float> = random(m, n, seed: 7)
        let exact = product(rounded(a), rounded(b)).scalars
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let (x, y) = (ta ? a.transposed() : a, tb ? b.transposed() : b)
            for beta: Float in [0, 1] {
                var c = start
                x.withPointer { x in
                    y.withPointer { y in
                        c.withMutablePointer { c in
                            LinearAlgebra.parallelGemm(
                                m: m, n: n, k: k, x, leadingA: ta ? m : k, transposedA: ta, y, leadingB: tb ? k : n,
                                transposedB: tb, beta: beta, precision: .bf16, into: c, leadingC: n)
                        }
                    }
                }
                let wanted = zip(exact, start.scalars).map { $0 + beta * $1 }
                #expect(close(c, Tensor(wanted, shape: [m, n])))
            }
            if ta { continue }
            var c = start
            let half = Buffer(y.scalars.map { BFloat16($0).bits })
            x.withPointer { x in
                c.withMutablePointer { c in
                    LinearAlgebra.parallelGemm(
                        m: m, n: n, k: k, x, leadingA: k, bf16: UnsafePointer(half.pointer), leadingB: tb ? k : n,
                        transposedB: tb, into: c, leadingC: n)
                }
            }
            #expect(close(c, Tensor(exact, shape: [m, n])))
        }
    }

    @Test func nothingToSumInBF16() {
        var c: [Float] = [1, 2]
        let none: [Float] = []
        none.withUnsafeBufferPointer { none in
            let there = none.baseAddress ?? UnsafePointer(bitPattern: 64)!
            LinearAlgebra.gemm(
                m: 1, n: 2, k: 0, there, leadingA: 0, there, leadingB: 2, beta: 2, precision: .bf16, into: &c,
                leadingC: 2)
        }
        #expect(c == [2, 4])
    }

    /// A host program's number of threads is there again after a call, and calls of ours do not depend on it.
    @Test func threadsOfTheLibraryAreTheHosts() {
        let before = la_threads()
        if before == 0 { return }
        defer { la_set_threads(before) }
        var generator = SeededGenerator(seed: 4)
        let a = Tensor<Float>(normal: [130, 90], using: &generator)
        var results: [Tensor<Float>] = []
        for threads in [Int32(1), 2] {
            // Set between the calls of other tests or during one of them.
            for _ in 0..<20 {
                la_set_threads(threads)
                results.append(a.multiplied(by: a, otherTransposed: true))
                Parallel.forEach(8) { _ in _ = a.multiplied(by: a, otherTransposed: true) }
                #expect(la_threads() == threads)
            }
        }
        #expect(results.allSatisfy { $0 == results[0] })
    }

    @Test(arguments: [
        [0, 0, 0], [0, 3, 2], [3, 0, 2], [3, 2, 0], [1, 1, 1], [1, 50, 1], [50, 1, 50], [4, 3, 2], [17, 33, 9],
        [130, 130, 130], [40, 130, 420],
    ])
    func multiplication(sizes: [Int]) {
        func check<S: Precision>(_: S.Type) {
            let (m, k, n) = (sizes[0], sizes[1], sizes[2])
            let a: Tensor<S> = random(m, k, seed: 1)
            let b: Tensor<S> = random(k, n, seed: 2)
            let c = product(a, b)
            #expect(close(a.multiplied(by: b), c))
            #expect(close(a.transposed().multiplied(by: b, transposed: true), c))
            #expect(close(a.multiplied(by: b.transposed(), otherTransposed: true), c))
            #expect(close(a.transposed().multiplied(by: b.transposed(), transposed: true, otherTransposed: true), c))
        }
        for type in precisions { check(type) }
    }

    @Test func scaledAndStridedProducts() {
        func check<S: Precision>(_: S.Type) {
            // C[2, 2] inside a matrix of 5 columns; A[2, 3] and B[3, 2] are corners of larger ones.
            let a: Tensor<S> = Tensor((1...12).map { S($0) }, shape: [3, 4])
            let b: Tensor<S> = Tensor((1...9).map { S($0) }, shape: [3, 3])
            for k in [0, 3] {
                for beta in [S(0), 0.5] {
                    var c = Tensor<S>(repeating: beta == 0 ? .nan : 10, shape: [2, 5])
                    c.withMutablePointer { c in
                        a.withPointer { a in
                            b.withPointer { b in
                                LinearAlgebra.gemm(
                                    m: 2, n: 2, k: k, alpha: 2, a, leadingA: 4, b, leadingB: 3, beta: beta, into: c + 1,
                                    leadingC: 5)
                            }
                        }
                    }
                    for i in 0..<2 {
                        for j in 0..<2 {
                            let sum = (0..<k).reduce(S(0)) { $0 + a[i, $1] * b[$1, j] }
                            #expect(c[i, j + 1] == 2 * sum + beta * 10)
                        }
                        #expect(c[i, 0].isNaN == (beta == 0) && c[i, 3].isNaN == (beta == 0))
                    }
                }
            }
        }
        for type in precisions { check(type) }
    }

    @Test(arguments: [[0, 4], [4, 0], [1, 1], [3, 191], [2, 192], [5, 193], [40, 400]])
    func gramAddsToTheLowerTriangleAlone(shape: [Int]) {
        func check<S: Precision>(_: S.Type) {
            let (k, n) = (shape[0], shape[1])
            let a: Tensor<S> = random(k, n)
            var gram = Tensor<S>(repeating: 1, shape: [n, n])
            for _ in 0..<2 {
                gram.withMutablePointer { c in
                    a.withPointer { LinearAlgebra.accumulateGram($0, rows: k, columns: n, into: c) }
                }
            }
            let expected = product(a.transposed(), a).scalars
            let found = gram.scalars
            let limit = S.tolerance * S(10 + k)
            let correct = (0..<n).allSatisfy { i in
                (0..<n).allSatisfy { j in
                    j <= i ? (found[i * n + j] - 1 - 2 * expected[i * n + j]).magnitude < limit : found[i * n + j] == 1
                }
            }
            #expect(correct)
        }
        for type in precisions { check(type) }
    }

    @Test func libraryIsNamed() { #expect(!LinearAlgebra.libraryDescription.isEmpty) }
}

@Suite struct FactorizationTests {
    private func isNumerical(_ error: any Error) -> Bool {
        if case LacunaError.numerical = error { true } else { false }
    }

    @Test(arguments: [0, 1, 2, 5, 64, 150]) func choleskyClosedForm(n: Int) throws {
        func check<S: Precision>(_: S.Type) throws {
            var a: Tensor<S> = minimumMatrix(n)
            // The upper triangle is not read.
            for i in 0..<n { for j in i + 1..<max(n, i + 1) { a[i, j] = .nan } }
            let factor = try a.cholesky()
            #expect(factor == Tensor((0..<n * n).map { $0 % n <= $0 / n ? 1 : 0 }, shape: [n, n]))
            let inverse = try factor.inverseFromCholesky()
            let tridiagonal = Tensor<S>(
                (0..<n * n).map { index -> S in
                    let (i, j) = (index / n, index % n)
                    return i == j ? (i == n - 1 ? 1 : 2) : abs(i - j) == 1 ? -1 : 0
                }, shape: [n, n])
            #expect(close(inverse, tridiagonal))
        }
        for type in precisions { try check(type) }
    }

    @Test func choleskyRefusals() {
        func check<S: Precision>(_: S.Type) {
            for bad: [S] in [[-1], [0], [.nan], [.infinity]] {
                #expect { try Tensor(bad, shape: [1, 1]).cholesky() } throws: { isNumerical($0) }
            }
            for place in [0, 3, 4, 6, 7, 8] {
                var a: Tensor<S> = minimumMatrix(3)
                a[place / 3, place % 3] = .nan
                #expect { try a.cholesky() } throws: { isNumerical($0) }
            }
            var indefinite: Tensor<S> = minimumMatrix(100)
            indefinite[70, 70] = 1
            #expect(
                throws: LacunaError.numerical(
                    operation: "cholesky", reason: "the leading minor of order 71 is not positive definite")
            ) { try indefinite.cholesky() }
            var undefined: Tensor<S> = minimumMatrix(100)
            undefined[99, 0] = .nan
            #expect { try undefined.cholesky() } throws: { isNumerical($0) }
            #expect(throws: LacunaError.self) { try Tensor<S>(zeros: [2, 3]).cholesky() }
            #expect(throws: LacunaError.self) { try Tensor<S>(zeros: [4]).cholesky() }
            #expect(throws: LacunaError.self) { try Tensor<S>(zeros: [2, 3]).inverseFromCholesky() }
            #expect { try Tensor<S>(zeros: [2, 2]).inverseFromCholesky() } throws: { isNumerical($0) }
        }
        for type in precisions { check(type) }
    }

    @Test(arguments: [[0, 0], [0, 2], [2, 0], [1, 1], [1, 7], [5, 1], [6, 4], [70, 90]])
    func triangularSolutions(shape: [Int]) {
        func check<S: Precision>(_: S.Type) {
            let (m, n) = (shape[0], shape[1])
            let x: Tensor<S> = random(m, n, seed: 3)
            let full: Tensor<S> = random(m, m, seed: 4)
            for lower in [true, false] {
                // Diagonally dominant, so that the solution is stable. The other triangle is rubbish.
                let triangle = Tensor<S>(
                    (0..<m * m).map { index -> S in
                        let (i, j) = (index / m, index % m)
                        return i == j ? 4 : (j < i) == lower ? full[i, j] / S(m) : 0
                    }, shape: [m, m])
                var given = triangle
                for i in 0..<m { for j in 0..<m where i != j && (j < i) != lower { given[i, j] = .nan } }
                for transposed in [false, true] {
                    let b = product(transposed ? triangle.transposed() : triangle, x)
                    #expect(close(given.solveTriangular(b, lower: lower, transposed: transposed), x, scale: 4))
                }
            }
        }
        for type in precisions { check(type) }
    }

    @Test(arguments: shapes) func qr(shape: [Int]) throws {
        func check<S: Precision>(_: S.Type) throws {
            let a: Tensor<S> = random(shape[0], shape[1])
            let k = min(shape[0], shape[1])
            let (q, r) = try a.qr()
            #expect(q.shape == [shape[0], k] && r.shape == [k, shape[1]])
            #expect(close(product(q, r), a, scale: 4))
            #expect(close(product(q.transposed(), q), identity(k), scale: 4))
            for i in 0..<k { for j in 0..<i { #expect(r[i, j] == 0) } }
        }
        for type in precisions { try check(type) }
    }

    @Test(arguments: shapes) func singularValues(shape: [Int]) throws {
        func check<S: Precision>(_: S.Type) throws {
            let a: Tensor<S> = random(shape[0], shape[1])
            let k = min(shape[0], shape[1])
            let (u, s, vt) = try a.svd()
            #expect(u.shape == [shape[0], k] && s.count == k && vt.shape == [k, shape[1]])
            #expect(s == s.sorted(by: >) && s.allSatisfy { $0 >= 0 })
            let scaled = Tensor<S>(vt.scalars.enumerated().map { $1 * s[$0 / shape[1]] }, shape: [k, shape[1]])
            #expect(close(product(u, scaled), a, scale: 8))
            #expect(close(product(u.transposed(), u), identity(k), scale: 8))
            #expect(close(product(vt, vt.transposed()), identity(k), scale: 8))
        }
        for type in precisions { try check(type) }
    }

    @Test func singularValuesOfKnownMatrices() throws {
        func check<S: Precision>(_: S.Type) throws {
            let diagonal = Tensor<S>([0, -3, 0, 0, 0, 2], shape: [2, 3])
            #expect(try zip(diagonal.svd().s, [3, 2]).allSatisfy { ($0 - $1).magnitude < 1e-6 })
            // Rank 1: the product of the norms, then 0.
            let outer = product(Tensor<S>([3, 4], shape: [2, 1]), Tensor<S>([2, 1, 2], shape: [1, 3]))
            let values = try outer.svd().s
            #expect((values[0] - 15).magnitude < 1e-5 && values[1].magnitude < 1e-5)
            #expect(try Tensor<S>(zeros: [4, 3]).svd().s == [0, 0, 0])
        }
        for type in precisions { try check(type) }
    }

    @Test(arguments: [0, 1, 2, 10, 60]) func eigenvaluesClosedForm(n: Int) throws {
        func check<S: Precision>(_: S.Type) throws {
            // The second difference matrix has eigenvalues 2 - 2 cos(kπ / (n + 1)). Its upper triangle is not read.
            let a = Tensor<S>(
                (0..<n * n).map { $0 / n == $0 % n ? 2 : $0 / n == $0 % n + 1 ? -1 : $0 / n < $0 % n ? .nan : 0 },
                shape: [n, n])
            let (values, vectors) = try a.symmetricEigen()
            #expect(values.count == n && vectors.shape == [n, n])
            for (k, value) in values.enumerated() {
                let expected = 2 - 2 * cosine(Double(k + 1) * arcCosine(-1) / Double(n + 1))
                #expect(abs(Double(value) - expected) < Double(S.tolerance) * 8)
                // A v = λ v for row k.
                for i in 0..<n {
                    let left = i > 0 ? vectors[k, i - 1] : 0
                    let right = i < n - 1 ? vectors[k, i + 1] : 0
                    #expect((2 * vectors[k, i] - left - right - value * vectors[k, i]).magnitude < S.tolerance * 8)
                }
            }
            #expect(close(product(vectors, vectors.transposed()), identity(n), scale: 8))
        }
        for type in precisions { try check(type) }
    }

    @Test func matricesThatAreNotFiniteAreRefused() {
        func check<S: Precision>(_: S.Type) {
            for bad: S in [.nan, .infinity, -.infinity] {
                var a: Tensor<S> = random(6, 6)
                a[5, 2] = bad
                #expect { try a.qr() } throws: { isNumerical($0) }
                #expect { try a.svd() } throws: { isNumerical($0) }
                #expect { try a.symmetricEigen() } throws: { isNumerical($0) }
            }
            #expect(throws: LacunaError.self) { try Tensor<S>(zeros: [2, 3]).symmetricEigen() }
        }
        for type in precisions { check(type) }
    }
}

@Suite struct PositiveDefiniteTests {
    @Test func solvesAndRefuses() throws {
        func check<S: Precision>(_: S.Type) throws {
            for n in [0, 1, 2, 9, 40] {
                let matrix: Tensor<S> = minimumMatrix(n)
                let x: Tensor<S> = random(n, 3, seed: 4)
                #expect(close(try matrix.solvePositiveDefinite(product(matrix, x)), x, scale: S(n * n + 1)))
            }
            var bad: [S] = [1, 2, 2, 1]
            #expect(!LinearAlgebra.choleskyInPlace(&bad, n: 2))
            var nan: [S] = [.nan]
            #expect(!LinearAlgebra.choleskyInPlace(&nan, n: 1))
            #expect(throws: LacunaError.self) {
                try Tensor<S>([1, 2, 2, 1], shape: [2, 2]).solvePositiveDefinite(Tensor(zeros: [2, 1]))
            }
        }
        for type in precisions { try check(type) }
    }
}
