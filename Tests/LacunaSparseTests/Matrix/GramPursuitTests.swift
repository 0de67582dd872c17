import LacunaSparse
import LacunaTensor
import Testing

@Suite struct GramPursuitTests {
    /// Unit atoms in rows.
    private func atoms(_ count: Int, _ width: Int, seed: UInt64) -> Tensor<Double> {
        var generator = SeededGenerator(seed: seed)
        var result = Tensor<Double>(normal: [count, width], using: &generator)
        result.withMutablePointer { p in
            for k in 0..<count {
                let length = (0..<width).reduce(0) { $0 + p[k * width + $1] * p[k * width + $1] }.squareRoot()
                for c in 0..<width { p[k * width + c] /= length }
            }
        }
        return result
    }

    private func code(_ dictionary: Tensor<Double>, _ x: [Double], _ count: Int) throws -> (
        support: [Int], values: [Double]
    ) {
        let pursuit = try GramPursuit(gram: dictionary.multiplied(by: dictionary, otherTransposed: true))
        let correlations = dictionary.multiplied(by: Tensor(x, shape: [x.count, 1]))
        return correlations.withPointer { pursuit.code(correlations: $0, count: count) }
    }

    private func residual(_ dictionary: Tensor<Double>, _ x: [Double], _ code: (support: [Int], values: [Double]))
        -> [Double]
    {
        x.indices.map { c in x[c] - zip(code.support, code.values).reduce(0) { $0 + $1.1 * dictionary[$1.0, c] } }
    }

    @Test func everyStepIsTheLargestCorrelationAndALeastSquaresFit() throws {
        let dictionary = atoms(14, 9, seed: 2)
        var generator = SeededGenerator(seed: 3)
        let x = (0..<9).map { _ in generator.normal() }
        var former: (support: [Int], values: [Double]) = ([], [])
        for count in 1...6 {
            let rest = residual(dictionary, x, former)
            let correlations = (0..<14).map { k in abs((0..<9).reduce(0) { $0 + dictionary[k, $1] * rest[$1] }) }
            let expected = (0..<14).filter { !former.support.contains($0) }.max { correlations[$0] < correlations[$1] }
            let found = try code(dictionary, x, count)
            #expect(Array(found.support.dropLast()) == former.support)
            #expect(found.support.last == expected)
            // Least squares: what is left is orthogonal to every atom of the support.
            let left = residual(dictionary, x, found)
            for k in found.support { #expect(abs((0..<9).reduce(0) { $0 + dictionary[k, $1] * left[$1] }) < 1e-10) }
            former = found
        }
    }

    @Test func aSparseSignalIsFoundAndNoMoreAtomsAreUsed() throws {
        // Orthogonal atoms: every support is found, largest first.
        var dictionary = Tensor<Double>(zeros: [5, 5])
        for i in 0..<5 { dictionary[i, i] = 1 }
        let found = try code(dictionary, [0, -3, 0, 2, 0], 5)
        #expect(found.support == [1, 3])
        #expect(found.values == [-3, 2])
        #expect(try code(dictionary, [0, 0, 0, 0, 0], 3).support.isEmpty)
        #expect(try code(dictionary, [1, 1, 0, 0, 0], 1).support == [0], "ties go to the lower index")
    }

    @Test func aDependentAtomDoesNotJoin() throws {
        let dictionary = Tensor<Double>([1, 0, 1, 0, 0, 1], shape: [3, 2])
        let found = try code(dictionary, [2, 1], 3)
        #expect(found.support == [0, 2])
        #expect(zip(found.values, [2, 1]).allSatisfy { abs($0 - $1) < 1e-12 })
    }

    @Test func whatIsNoGramMatrixIsRefused() {
        #expect(throws: LacunaError.self) { try GramPursuit(gram: Tensor(zeros: [2, 3])) }
        #expect(throws: LacunaError.self) { try GramPursuit(gram: Tensor([.nan], shape: [1, 1])) }
    }
}

@Suite struct GrowingFactorTests {
    /// Vectors that join one at a time, of any length, against elimination with pivots on the whole matrix.
    @Test(arguments: [0, 1, 2, 5, 12]) func solvesAtEverySize(count: Int) throws {
        let width = 20
        var generator = SeededGenerator(seed: UInt64(count))
        let vectors = (0..<count).map { i in (0..<width).map { _ in generator.normal() * Double(i + 1) } }
        func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        var factor = GrowingFactor()
        for n in 0..<count {
            let joined = factor.append((0...n).map { dot(vectors[n], vectors[$0]) })
            #expect(joined)
            // What depends on those that are there is refused, and leaves no trace.
            let sum = (0..<width).map { c in (0...n).reduce(0.0) { $0 + Double($1 + 2) * vectors[$1][c] } }
            let dependent = factor.append((0...n).map { dot(sum, vectors[$0]) } + [dot(sum, sum)])
            let undefined = factor.append([Double](repeating: .nan, count: n + 2))
            #expect(!dependent && !undefined && factor.count == n + 1)
            let target = (0...n).map { Double($0 * $0) - 3 }
            let z = factor.solve(
                (0...n).map { i in (0...n).reduce(0) { $0 + dot(vectors[i], vectors[$1]) * target[$1] } })
            #expect(zip(z, target).allSatisfy { abs($0 - $1) < 1e-8 })
        }
        #expect(factor.count == count)
        #expect(GrowingFactor(capacity: 3).solve([]).isEmpty)
    }
}
