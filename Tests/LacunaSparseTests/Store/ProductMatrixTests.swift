import LacunaTensor
import Testing

@testable import LacunaSparse

@Suite struct ProductMatrixTests {
    private func factors(_ shapes: [[Int]], seed: UInt64 = 3) throws -> [any StoredMatrix] {
        var generator = SeededGenerator(seed: seed)
        let layouts: [StorageLayout] = [.dense, .bitmask, .csr]
        return try shapes.enumerated().map { index, shape in
            var weight = Tensor<Float>(normal: shape, using: &generator)
            if layouts[index % 3] != .dense {
                let count = weight.count
                weight.withMutablePointer { p in for i in 0..<count where i % 3 == 0 { p[i] = 0 } }
            }
            return try WeightStore.make(weight, layout: layouts[index % 3], values: .f32)
        }
    }

    private func dense(_ factors: [any StoredMatrix]) -> Tensor<Float> {
        factors.dropFirst().reduce(factors[0].densified()) { $0.multiplied(by: $1.densified()) }
    }

    private func expectClose(_ a: Tensor<Float>, _ b: Tensor<Float>, _ what: String = "") {
        #expect(a.shape == b.shape)
        let scale = b.scalars.reduce(1) { max($0, abs($1)) }
        #expect(zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) <= 1e-5 * scale }, "\(what)")
    }

    @Test(arguments: [[[9, 4], [4, 13]], [[33, 70], [70, 300], [300, 21]], [[5, 1], [1, 6]]])
    func productsAreThoseOfTheFactors(shapes: [[Int]]) throws {
        let factors = try factors(shapes)
        let product = try ProductMatrix(factors: factors)
        let whole = dense(factors)
        #expect([product.rows, product.columns] == whole.shape)
        #expect(product.storedCount == factors.reduce(0) { $0 + $1.storedCount })
        #expect(product.byteCount == factors.reduce(0) { $0 + $1.byteCount })
        #expect(product.factors.count == factors.count)
        expectClose(product.densified(), whole)
        var generator = SeededGenerator(seed: 8)
        for n in [1, 2, 5, 40] {
            let x = Tensor<Float>(normal: [n, product.columns], using: &generator)
            expectClose(product.applied(toRows: x), x.multiplied(by: whole, otherTransposed: true), "\(n) vectors")
        }
    }

    @Test func rangesOfRowsAreRowsOfTheProduct() throws {
        let factors = try factors([[20, 7], [7, 11]])
        let product = try ProductMatrix(factors[0], factors[1])
        let x = (0..<11).map { Float($0) - 4 }
        let whole = product.multiplied(by: x)
        var part = [Float](repeating: .nan, count: 5)
        x.withUnsafeBufferPointer {
            product.multiply(
                EncodedInput($0.baseAddress!, count: 11, encodings: product.inputEncoding), rows: 6..<11, into: &part)
        }
        #expect(zip(part, whole[6..<11]).allSatisfy { abs($0 - $1) < 1e-4 })
        var rows = [Float](repeating: .nan, count: 3 * 11)
        product.decode(rows: 17..<20, into: &rows)
        #expect(zip(rows, dense(factors).scalars[17 * 11..<20 * 11]).allSatisfy { abs($0 - $1) < 1e-4 })
    }

    @Test func productsOfSeveralMatricesTakeBothKinds() throws {
        let factors = try factors([[6, 4], [4, 9]])
        let product = try ProductMatrix(factors: factors)
        let plain = try WeightStore.make(
            Tensor<Float>((0..<63).map { Float($0 % 5) - 2 }, shape: [7, 9]), layout: .dense, values: .f32)
        var generator = SeededGenerator(seed: 5)
        let x = Tensor<Float>(normal: [3, 9], using: &generator)
        for n in [1, 3] {
            var first = [Float](repeating: .nan, count: 6 * n)
            var second = [Float](repeating: .nan, count: 7 * n)
            first.withUnsafeMutableBufferPointer { a in
                second.withUnsafeMutableBufferPointer { b in
                    let operands: [(any StoredMatrix, UnsafeMutablePointer<Float>)] = [
                        (product, a.baseAddress!), (plain, b.baseAddress!),
                    ]
                    x.withPointer {
                        if n == 1 { Product.gemv(operands, x: $0) } else { Product.gemm(operands, x: $0, count: n) }
                    }
                }
            }
            let rows = x.rows(0..<n)
            expectClose(Tensor(first, shape: [n, 6]), product.applied(toRows: rows))
            expectClose(Tensor(second, shape: [n, 7]), plain.applied(toRows: rows))
        }
    }

    @Test func factorsHaveToFit() throws {
        let factors = try factors([[6, 4], [5, 9]])
        #expect(throws: LacunaError.self) { try ProductMatrix(factors: factors) }
        #expect(throws: LacunaError.self) { try ProductMatrix(factors: [factors[0]]) }
    }

    @Test func theLayoutIsANameAndNothingIsMadeInIt() throws {
        let factors = try factors([[6, 4], [4, 9]])
        let format = try ProductMatrix(factors: factors).format
        #expect(format.description == "product-f32")
        #expect(StorageFormat(description: "product-f32") == format)
        #expect(throws: LacunaError.self) {
            try WeightStore.make(Tensor<Float>(zeros: [2, 2]), layout: format.layout, values: .f32)
        }
    }
}
