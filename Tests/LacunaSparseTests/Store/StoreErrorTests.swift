import LacunaSparse
import LacunaTensor
import Testing

/// Inputs that a store must refuse, and how values are rounded at the edges.
@Suite struct StoreErrorTests {
    private let weight = Tensor<Float>(repeating: 1, shape: [4, 8])

    private func argument(_ body: () throws -> Any) -> String? {
        do { _ = try body() } catch LacunaError.invalidArgument(let name, _) { return name } catch {}
        return nil
    }

    @Test func refusesMasksThatAnNMPatternCannotHold() {
        var mask = SparsePattern(rows: 4, columns: 8)
        for c in 4..<7 { mask[2, c] = true }
        let error = #expect(throws: LacunaError.self) {
            try WeightStore.make(weight, mask: mask, layout: .nm(n: 2, m: 4), values: .f32)
        }
        guard case .invalidArgument("pattern", let reason)? = error else { return #expect(Bool(false)) }
        #expect(reason.contains("row 2") && reason.contains("4...7") && reason.contains("2:4"))
        #expect(throws: Never.self) {
            try WeightStore.make(weight, mask: mask, layout: .nm(n: 3, m: 4), values: .f32)
        }
    }

    @Test(arguments: [(0, 4), (5, 4), (2, 1025), (-1, 4), (1, 0)])
    func refusesNumbersThatAreNoPattern(n: Int, m: Int) {
        let mask = SparsePattern(rows: 4, columns: 8)
        #expect(
            argument { try WeightStore.make(weight, mask: mask, layout: .nm(n: n, m: m), values: .f32) } == "pattern")
    }

    @Test(arguments: [(0, 4), (4, 0), (257, 1), (1, 257), (-3, 2)])
    func refusesSidesOfBlocks(r: Int, c: Int) {
        let mask = SparsePattern(rows: 4, columns: 8)
        let layout = StorageLayout.bsr(rows: r, columns: c)
        #expect(argument { try WeightStore.make(weight, mask: mask, layout: layout, values: .f32) } == "pattern")
    }

    @Test(arguments: StoreCases.layouts)
    func refusesOtherShapes(layout: StorageLayout) {
        let mask = SparsePattern(rows: 4, columns: 9)
        #expect(argument { try WeightStore.make(weight, mask: mask, layout: layout, values: .f32) } == "mask")
        let vector = Tensor<Float>(repeating: 1, shape: [8])
        #expect(argument { try WeightStore.make(vector, layout: layout, values: .f32) } == "weight")
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity])
    func refusesToRoundWhatIsNotFinite(value: Float) throws {
        var weight = weight
        weight[1, 1] = value
        for layout in [StorageLayout.dense, .bitmask, .csr] {
            for values in [ValueType.int8, .int4] {
                #expect(throws: LacunaError.self) { try WeightStore.make(weight, layout: layout, values: values) }
            }
            // Floats are stored as they are.
            let stored = try WeightStore.make(weight, layout: layout, values: .bf16)
            let found = stored.densified()[1, 1]
            #expect(found == value || (found.isNaN && value.isNaN))
        }
    }

    /// f16 has an end where floats go on: what would round to infinity is refused, infinity itself is not.
    @Test func refusesWhatHalfPrecisionCannotHold() throws {
        for layout in [StorageLayout.dense, .bitmask, .csr, .bsr(rows: 4, columns: 4)] {
            for (value, rounded) in [(Float(65_519), Float(65_504)), (-65_519, -65_504), (.infinity, .infinity)] {
                var weight = weight
                weight[1, 1] = value
                let stored = try WeightStore.make(weight, layout: layout, values: .f16)
                #expect(stored.densified()[1, 1] == rounded)
            }
            for value in [Float(65_520), -1e30] {
                var weight = weight
                weight[1, 1] = value
                #expect(throws: LacunaError.self) { try WeightStore.make(weight, layout: layout, values: .f16) }
            }
        }
    }

    @Test func blocksOfFilesAreNotMade() {
        #expect(throws: LacunaError.self) {
            try WeightStore.make(weight, layout: .gguf("Q4_0"), values: .int4)
        }
    }

    @Test func withoutAMaskSparseLayoutsKeepTheNonzeros() throws {
        var weight = Tensor<Float>(zeros: [4, 8])
        weight[0, 3] = 1
        weight[3, 7] = -2
        #expect(try WeightStore.make(weight, layout: .csr, values: .f32).storedCount == 2)
        #expect(try WeightStore.make(weight, layout: .dense, values: .f32).storedCount == 32)
        #expect(SparsePattern(nonzerosOf: weight).count == 2)
    }

    @Test func roundingToInt8() {
        var codes = [Int8](repeating: 99, count: 4)
        #expect(Quantization.int8([0, 0, -0.0, 0], count: 4, codes: &codes) == 0)
        #expect(codes == [0, 0, 0, 0])
        let scale = Quantization.int8([-254, 127, 1, 3], count: 4, codes: &codes)
        #expect(scale == 2 && codes == [-127, 64, 0, 2])  // halves go to the even neighbour
        #expect(Quantization.int8([.leastNonzeroMagnitude, 0, 0, 0], count: 4, codes: &codes) == 0)
    }

    @Test func roundingToInt4TakesTheBetterScale() {
        var codes = [Int8](repeating: 99, count: 8)
        // All multiples of 1 from -8 to 6: exact with the extreme at -8.
        #expect(Quantization.int4([-8, -6, -4, -1, 0, 2, 4, 6], count: 8, codes: &codes).float == 1)
        #expect(codes == [-8, -6, -4, -1, 0, 2, 4, 6])
        // From -7 to 7: exact with the largest magnitude at 7.
        #expect(Quantization.int4([-7, 7, 3, -1, 0, 2, 4, 6], count: 8, codes: &codes).float == 1)
        #expect(codes == [-7, 7, 3, -1, 0, 2, 4, 6])
        // A positive extreme with a negative scale: 8, -7.
        #expect(Quantization.int4([8, -7, -3, -1, 0, 2, 4, 6], count: 8, codes: &codes).float == -1)
        #expect(Quantization.int4([0, 0], count: 2, codes: &codes).float == 0)
    }

    @Test func roundedNumbersAreRoundedToThemselves() {
        var generator = SeededGenerator(seed: 4)
        for largest in 1...8 {
            // Codes up to ±largest, -8 among them only for 8, times a number of 8 bits.
            let scale = BFloat16(Float(generator.normal()))
            let values = (0..<61).map { i -> Float in
                let code = i == 17 ? -largest : Int(generator.next() % UInt64(2 * largest)) - largest + 1
                return scale.float * Float(max(-largest, min(code, 7)))
            }
            var codes = [Int8](repeating: 99, count: values.count)
            let found = Quantization.int4(values, count: values.count, codes: &codes).float
            #expect(zip(values, codes).allSatisfy { $0 == found * Float($1) }, "codes to \(largest)")
        }
    }

    @Test(arguments: [64, 61, 8, 5]) func theScaleErrsLessThanOneThatCutsNothingOff(count: Int) {
        var generator = SeededGenerator(seed: 5)
        var (own, plain, best) = (0.0, 0.0, 0.0)
        for _ in 0..<400 {
            let x = (0..<count).map { _ in Float(generator.normal()) }
            func error(_ scale: BFloat16) -> Double {
                x.reduce(0) {
                    let code = max(-8, min(7, ($1 / scale.float).rounded(.toNearestOrEven)))
                    let difference = Double($1) - Double(scale.float * code)
                    return $0 + difference * difference
                }
            }
            let extreme = x.max { abs($0) < abs($1) }!
            var codes = [Int8](repeating: 0, count: count)
            let found = Quantization.int4(x, count: count, codes: &codes)
            #expect(
                zip(x, codes).allSatisfy { abs($0.0 / found.float - Float($0.1)) < 0.5001 || $0.1 == -8 || $0.1 == 7 })
            let whole = min(error(BFloat16(extreme / -8)), error(BFloat16(abs(extreme) / 7)))
            #expect(error(found) <= whole * 1.00001)
            own += error(found)
            plain += whole
            best += (40...120).map {
                min(error(BFloat16(extreme / Float($0) * -10)), error(BFloat16(extreme / Float($0) * 10)))
            }.min()!
        }
        // Within a twentieth of what trying 162 scales finds. Few numbers can be met nearly exactly by chance.
        #expect(count < 60 || (own < 1.05 * best && own < 0.94 * plain), "\(own), \(plain), \(best)")
    }
}

/// The block formats of GGUF files.
@Suite struct StoreGGUFTests {
    static func blocks(_ name: String, rows: Int, columns: Int, seed: UInt64) -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        var bytes: [UInt8] = []
        for _ in 0..<rows * columns / 32 {
            for _ in 0..<(name == "Q4_1" ? 2 : 1) {
                let bits = Half(Float(generator.normal()) * 0.1).bits
                bytes += [UInt8(bits & 255), UInt8(bits >> 8)]
            }
            for _ in 0..<(name == "Q8_0" ? 32 : 16) { bytes.append(UInt8(truncatingIfNeeded: generator.next())) }
        }
        return bytes
    }

    /// As the format is described: the low halves of the bytes are the first 16 values of a block.
    static func decoded(_ name: String, _ bytes: [UInt8]) -> [Float] {
        let size = GGUFMatrix.blockBytes(name)!
        func half(_ i: Int) -> Float { Half(bits: UInt16(bytes[i]) | UInt16(bytes[i + 1]) << 8).float }
        return stride(from: 0, to: bytes.count, by: size).flatMap { start in
            (0..<32).map { i -> Float in
                let scale = half(start)
                if name == "Q8_0" { return scale * Float(Int8(bitPattern: bytes[start + 2 + i])) }
                let byte = bytes[start + (name == "Q4_1" ? 4 : 2) + i % 16]
                let nibble = Float(i < 16 ? byte & 15 : byte >> 4)
                return name == "Q4_0" ? scale * (nibble - 8) : scale * nibble + half(start + 2)
            }
        }
    }

    @Test(arguments: ["Q8_0", "Q4_0", "Q4_1"], [(1, 32), (7, 64), (30, 576), (3, 0)])
    func multipliesAsStored(name: String, shape: (Int, Int)) throws {
        let (rows, columns) = shape
        let bytes = Self.blocks(name, rows: rows, columns: columns, seed: 2)
        let stored = try bytes.withUnsafeBytes { try GGUFMatrix(name, bytes: $0, rows: rows, columns: columns) }
        #expect(stored.byteCount == bytes.count)
        let expected = Self.decoded(name, bytes)
        #expect(zip(stored.densified().scalars, expected).allSatisfy { abs($0 - $1) <= 1e-6 * (abs($1) + 1e-3) })
        for n in [1, 3, 70] where columns > 0 {
            let x = StoreCases.vector(n * columns, seed: 5)
            var y = [Float](repeating: .nan, count: n * rows)
            Product.gemm(stored, x, count: n, into: &y)
            for t in 0..<n {
                let entries = Array(x[t * columns..<(t + 1) * columns])
                let seen = StoreCases.roundedInput(entries, .int8Groups32)
                #expect(
                    StoreCases.agrees(y[t * rows..<(t + 1) * rows], StoreCases.product(expected, rows: rows, x: seen)))
            }
        }
    }

    @Test func refusesWrongSizesAndTypes() {
        let bytes = [UInt8](repeating: 0, count: 18 * 4)
        func make(_ name: String, _ rows: Int, _ columns: Int) throws {
            _ = try bytes.withUnsafeBytes { try GGUFMatrix(name, bytes: $0, rows: rows, columns: columns) }
        }
        #expect(throws: Never.self) { try make("Q4_0", 2, 64) }
        #expect(throws: LacunaError.self) { try make("Q4_0", 3, 64) }
        #expect(throws: LacunaError.self) { try make("Q4_0", 2, 60) }
        #expect(throws: LacunaError.self) { try make("Q4_1", 2, 64) }
        #expect(throws: LacunaError.self) { try make("Q4_0", Int.max, 64) }
        #expect(throws: LacunaError.self) { try make("Q6_K", 2, 64) }
        #expect(throws: LacunaError.self) { try make("IQ4_NL", 2, 64) }
    }
}
