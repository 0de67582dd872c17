import LacunaTensor
import Testing

@testable import LacunaSparse

/// Every layout × value type × shape × product against plain loops over the rounded weights.
@Suite struct StoreGridTests {
    @Test(arguments: StoreCases.grid)
    func decodesToTheRoundedWeights(square: StoreCases.Square) throws {
        let (weight, mask) = StoreCases.make(square)
        let stored = try WeightStore.make(weight, mask: mask, layout: square.layout, values: square.values)
        #expect(stored.rows == square.rows && stored.columns == square.columns)
        #expect(stored.format == StorageFormat(square.layout, square.values))
        let expected = StoreCases.rounded(weight, mask, square.values)
        let found = stored.densified().scalars
        // Integers times a scale that was worked out in another order may differ in the last place.
        let close = zip(found, expected).allSatisfy { abs($0 - $1) <= (square.values == .int8 ? 1e-6 * abs($1) : 0) }
        #expect(found.count == expected.count && close)
        // Any range of rows decodes by itself.
        if square.rows > 2 {
            var part = [Float](repeating: .nan, count: (square.rows - 2) * square.columns)
            stored.decode(rows: 1..<square.rows - 1, into: &part)
            #expect(part == Array(found[square.columns..<(square.rows - 1) * square.columns]))
        }
    }

    @Test(arguments: StoreCases.grid)
    func multipliesAVector(square: StoreCases.Square) throws {
        let (weight, mask) = StoreCases.make(square)
        let stored = try WeightStore.make(weight, mask: mask, layout: square.layout, values: square.values)
        let dense = stored.densified().scalars
        let x = StoreCases.vector(square.columns, seed: 3)
        let seen = StoreCases.roundedInput(x, stored.inputEncoding)
        let expected = StoreCases.product(dense, rows: square.rows, x: seen)
        var y = [Float](repeating: .nan, count: square.rows)
        y.withUnsafeMutableBufferPointer { y in
            x.withUnsafeBufferPointer { x in
                guard let p = y.baseAddress, let q = x.baseAddress ?? UnsafePointer(bitPattern: 64) else { return }
                Product.gemv([(stored, p)], x: q)
            }
        }
        #expect(StoreCases.agrees(y[...], expected))
        if square.rows > 4 {
            let input = x.withUnsafeBufferPointer {
                EncodedInput(
                    $0.baseAddress ?? UnsafePointer(bitPattern: 64)!, count: x.count, encodings: stored.inputEncoding)
            }
            var part = [Float](repeating: .nan, count: square.rows - 3)
            stored.multiply(input, rows: 2..<square.rows - 1, into: &part)
            #expect(part == Array(y[2..<square.rows - 1]))
        }
    }

    @Test(arguments: StoreCases.grid)
    func multipliesManyVectors(square: StoreCases.Square) throws {
        let (weight, mask) = StoreCases.make(square)
        let stored = try WeightStore.make(weight, mask: mask, layout: square.layout, values: square.values)
        let dense = stored.densified().scalars
        for n in [1, 2, 7, 64, 130] {
            let x = StoreCases.vector(n * square.columns, seed: UInt64(n))
            var y = [Float](repeating: .nan, count: n * square.rows)
            y.withUnsafeMutableBufferPointer { y in
                x.withUnsafeBufferPointer { x in
                    guard let p = y.baseAddress, let q = x.baseAddress ?? UnsafePointer(bitPattern: 64) else { return }
                    Product.gemm(stored, q, count: n, into: p)
                }
            }
            // A few vectors are multiplied as single ones are, except that dense integers have products with several: bytes with as
            // many as get what each gets alone.
            let isDense = [.dense, .masked].contains(square.layout)
            let isBatched =
                isDense && (square.values == .int4 || square.values == .int8 && n > MatrixProduct.mostApart)
            let isAlone = n <= 4 || isDense && square.values == .int8 && n <= MatrixProduct.mostApart
            // Of many, sparse products read floats; matrices that are decoded read what their values are multiplied with.
            let isSparse = (stored as? any PanelMatrix).map { MatrixProduct.isSparseFaster($0) } ?? false
            let encoding: InputEncoding =
                isBatched && n > 1
                ? .int8Groups32 : isAlone ? stored.inputEncoding : square.values == .bf16 && !isSparse ? .bf16 : .float
            for t in n > 8 ? [0, 16, 63, n - 1] : [0, n - 1] {
                let entries = Array(x[t * square.columns..<(t + 1) * square.columns])
                let seen = StoreCases.roundedInput(entries, encoding)
                let expected = StoreCases.product(dense, rows: square.rows, x: seen)
                #expect(StoreCases.agrees(y[t * square.rows..<(t + 1) * square.rows], expected), "n \(n), vector \(t)")
            }
        }
    }
}
