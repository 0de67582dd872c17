#if SuiteSparse
    import LacunaSparse
    import LacunaSuiteSparse
    import Testing

    @Suite struct SparseFactorizationTests {
        private func random(_ count: Int, seed: UInt64) -> [Double] {
            var generator = SeededGenerator(seed: seed)
            return (0..<count).map { _ in generator.normal() }
        }

        private func distance(_ x: [Double], _ y: [Double]) -> Double {
            zip(x, y).reduce(0) { max($0, abs($1.0 - $1.1)) }
        }

        @Test(arguments: [1, 2, 17, 90]) func generalSystems(size: Int) throws {
            var generator = SeededGenerator(seed: UInt64(size))
            let a =
                try SparseMatrix<Double>.random(rows: size, columns: size, density: 0.15, using: &generator)
                + 3 * SparseMatrix<Double>.identity(size)
            let x = random(size, seed: 2)
            let factors = try SparseLU(a)
            #expect(try distance(factors.solve(a * x), x) < 1e-9)
            #expect(try distance(factors.solve(a.multiplied(by: x, transposed: true), transposed: true), x) < 1e-9)
            #expect(factors.factorCount >= size && factors.reciprocalCondition > 0 && factors.reciprocalCondition <= 1)
            #expect(throws: LacunaError.self) { try factors.solve([Double](repeating: 0, count: size + 1)) }
        }

        @Test(arguments: [1, 3, 60]) func definiteSystems(size: Int) throws {
            var generator = SeededGenerator(seed: UInt64(size))
            let half = try SparseMatrix<Double>.random(rows: size, columns: size, density: 0.1, using: &generator)
            let a = half * half.transposed() + SparseMatrix<Double>.identity(size)
            let symmetric = 0.5 * (a + a.transposed())
            let x = random(size, seed: 4)
            let factor = try SparseCholesky(symmetric)
            #expect(try distance(factor.solve(symmetric * x), x) < 1e-9 && factor.factorCount >= size)
            #expect(throws: LacunaError.self) { try factor.solve([]) }
        }

        @Test func badMatricesAreRefused() throws {
            let singular = try SparseMatrix<Double>(
                rows: 2, columns: 2, rowIndices: [0, 1], columnIndices: [0, 0], values: [1, 1])
            #expect(throws: LacunaError.self) { try SparseLU(singular) }
            #expect(throws: LacunaError.self) { try SparseLU(SparseMatrix(zeros: 2, 3)) }
            #expect(throws: LacunaError.self) { try SparseLU(SparseMatrix(diagonal: [1, .nan])) }
            #expect(throws: LacunaError.self) { try SparseCholesky(singular) }
            #expect(throws: LacunaError.self) { try SparseCholesky(SparseMatrix(diagonal: [1, -1])) }
            #expect(throws: LacunaError.self) { try SparseCholesky(SparseMatrix(diagonal: [1, .infinity])) }
        }
    }
#endif
