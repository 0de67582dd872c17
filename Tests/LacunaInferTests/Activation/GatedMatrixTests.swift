import LacunaSparse
import LacunaTensor
import Testing

struct GatedMatrixTests {
    private func random(_ rows: Int, _ columns: Int, seed: UInt64) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        return Tensor(normal: [rows, columns], using: &generator)
    }

    private func product(_ weight: Tensor<Float>, _ x: [Float], rows: Set<Int>? = nil, inputs: Set<Int>? = nil)
        -> [Float]
    {
        (0..<weight.rows).map { r in
            if let rows, !rows.contains(r) { return 0 }
            return Float(
                (0..<weight.columns).reduce(0.0) { sum, c in
                    if let inputs, !inputs.contains(c) { return sum }
                    return sum + Double(weight[r, c]) * Double(x[c])
                })
        }
    }

    private func isNear(_ a: [Float], _ b: [Float], _ tolerance: Float = 1e-4) -> Bool {
        let scale = b.map(abs).max() ?? 1
        return a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= tolerance * max(scale, 1e-3) }
    }

    @Test(arguments: [ValueType.f32, .bf16])
    func inputMajorRowsAreDecoded(_ values: ValueType) throws {
        let weight = random(37, 21, seed: 1)
        let matrix = try InputMajorMatrix(weight, values: values)
        let rounded = try WeightStore.make(weight, layout: .dense, values: values).densified()
        #expect(matrix.densified() == rounded)
        var part = Tensor<Float>(zeros: [5, 21])
        part.withMutablePointer { matrix.decode(rows: 30..<35, into: $0) }
        #expect(part == rounded.rows(30..<35))
        part.withMutablePointer { matrix.decode(rows: 3..<3, into: $0) }
        let third: [UInt32] = [0, 4, 5, 6, 9, 18, 20]
        #expect(third.withUnsafeBufferPointer { matrix.bytesRead(activeInputs: $0) } * 3 == matrix.byteCount)
    }

    @Test(arguments: [StorageLayout.bitmask, .csr, .nm(n: 2, m: 4)], [ValueType.f32, .bf16])
    func transposedSparseMatrices(_ layout: StorageLayout, _ values: ValueType) throws {
        let (rows, columns) = (45, 68)
        let weight = random(rows, columns, seed: 2)
        let sparse = Tensor<Float>(
            weight.scalars.enumerated().map { ($0 * 7 + $0 / columns) % 4 < 2 && $0 % columns % 4 < 2 ? $1 : 0 },
            shape: weight.shape)
        let stored = try WeightStore.make(sparse, layout: layout, values: values)
        let turned = try TransposedMatrix(turning: stored)
        #expect(turned.rows == rows && turned.columns == columns)
        #expect(turned.densified() == stored.densified())
        #expect(turned.keptEntries.count == stored.keptEntries.count)
        let x = random(6, columns, seed: 3)
        let expected = x.multiplied(by: stored.densified(), otherTransposed: true)
        for count in [1, 3, 6] {
            let found = turned.applied(toRows: x.rows(0..<count))
            for t in 0..<count { #expect(isNear(found.rows(t..<t + 1).scalars, expected.rows(t..<t + 1).scalars)) }
        }
        let active: [UInt32] = [0, 3, 4, 17, 40, 67]
        let vector = x.rows(1..<2).scalars
        var output = [Float](repeating: .nan, count: rows)
        active.withUnsafeBufferPointer { turned.multiply(vector, activeInputs: $0, into: &output) }
        #expect(isNear(output, product(stored.densified(), vector, inputs: Set(active.map { Int($0) }))))
        // Inputs with more entries take more bytes, all of them together everything.
        func bytes(_ active: [UInt32]) -> Int {
            active.withUnsafeBufferPointer { turned.bytesRead(activeInputs: $0) }
        }
        let whole = bytes((0..<UInt32(columns)).map { $0 })
        #expect(abs(whole - turned.byteCount) <= turned.byteCount / 10)
        #expect(bytes([]) == 0 && bytes([0]) > bytes([3]) && bytes([0, 3]) == bytes([0]) + bytes([3]))
        [].withUnsafeBufferPointer { turned.multiply(vector, activeInputs: $0, into: &output) }
        #expect(output.allSatisfy { $0 == 0 })
        let input = EncodedInput(vector, count: columns, encodings: .float)
        turned.multiply(input, rows: 10..<20, into: &output)
        #expect(isNear(Array(output[..<10]), Array(product(stored.densified(), vector)[10..<20])))
    }

    /// Large enough for several threads, whose number changes nothing.
    @Test func transposedProductsDoNotDependOnThreads() throws {
        let weight = random(600, 400, seed: 4)
        let stored = try WeightStore.make(
            Tensor(weight.scalars.map { abs($0) > 0.7 ? $0 : 0 }, shape: weight.shape), layout: .bitmask, values: .f32)
        let turned = try TransposedMatrix(turning: stored)
        let x = random(1, 400, seed: 5).scalars
        let active = (0..<400).filter { $0 % 3 != 0 }.map { UInt32($0) }
        let threads = Parallel.threads
        defer { Parallel.threads = threads }
        var results: [[Float]] = []
        for count in [1, 2, 3] {
            Parallel.threads = count
            var output = [Float](repeating: .nan, count: 600)
            active.withUnsafeBufferPointer { turned.multiply(x, activeInputs: $0, into: &output) }
            results.append(output)
        }
        #expect(results[0] == results[1] && results[1] == results[2])
        #expect(isNear(results[0], product(stored.densified(), x, inputs: Set(active.map { Int($0) }))))
    }

    @Test func integersAreNotTurned() throws {
        let weight = random(8, 64, seed: 6)
        for (layout, values) in [
            (StorageLayout.bitmask, ValueType.int8), (.dense, .f32), (.bsr(rows: 4, columns: 4), .f32),
        ] {
            let stored = try WeightStore.make(weight, layout: layout, values: values)
            #expect(throws: LacunaError.self) { try TransposedMatrix(turning: stored) }
        }
    }

    @Test(arguments: [
        (StorageLayout.dense, ValueType.f32), (.dense, .bf16), (.dense, .int8), (.dense, .int4), (.bitmask, .f32),
        (.csr, .f32), (.bsr(rows: 4, columns: 4), .f32), (.nm(n: 2, m: 4), .f32),
    ])
    func activeRowsAlone(_ layout: StorageLayout, _ values: ValueType) throws {
        let weight = random(70, 64, seed: 7)
        let sparse = Tensor<Float>(weight.scalars.enumerated().map { $0 % 4 < 2 ? $1 : 0 }, shape: weight.shape)
        let matrix = try WeightStore.make(sparse, layout: layout, values: values)
        let x = random(1, 64, seed: 8).scalars
        let active: [UInt32] = [0, 1, 2, 9, 33, 34, 69]
        let whole: [Float]
        whole = matrix.multiplied(by: x)
        var output = [Float](repeating: .nan, count: 70)
        let read = active.withUnsafeBufferPointer { Product.gemv(matrix, x: x, activeRows: $0, into: &output) }
        let kept = Set(active.map { Int($0) })
        #expect(isNear(output, whole.enumerated().map { kept.contains($0) ? $1 : 0 }, 1e-5))
        #expect(matrix is BSRMatrix ? read == matrix.byteCount : read <= matrix.byteCount / 10)
        let none = [UInt32]().withUnsafeBufferPointer { Product.gemv(matrix, x: x, activeRows: $0, into: &output) }
        #expect(output.allSatisfy { $0 == 0 } && (matrix is BSRMatrix || none == 0))
    }
}
