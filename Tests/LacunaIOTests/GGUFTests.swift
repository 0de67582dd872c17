import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@Suite struct GGUFTests {
    @Test func everyTensorTypeEqualsTheReferenceDequantisation() throws {
        let file = try GGUFFile(fixture("gguf/types.gguf"))
        let expected = try SafetensorsFile(fixture("gguf/types.expected.safetensors"))
        #expect(file.tensors.count == 13)
        #expect(Set(file.names) == Set(expected.names))
        for tensor in file.tensors {
            let ours = try file.float(tensor.name)
            let theirs = try expected.float(tensor.name)
            #expect(ours.shape == theirs.shape)
            for (a, b) in zip(ours.scalars, theirs.scalars) {
                // The reference multiplies in another order; a unit in the last place may differ, no more.
                #expect(abs(a - b) <= 2e-7 * max(abs(a), abs(b)) + 1e-8, "\(tensor.name)")
            }
        }
    }

    /// What the kernels make of the blocks in the file is what the package makes of them, for one vector and for several.
    @Test func matricesOfEveryTypeMultiplyWhereTheyAre() throws {
        let file = try GGUFFile(fixture("gguf/types.gguf"))
        let expected = try SafetensorsFile(fixture("gguf/types.expected.safetensors"))
        var random = SeededGenerator(seed: 4)
        for tensor in file.tensors where tensor.name.hasPrefix("blocks.") || tensor.name == "plain.F16" {
            let (rows, columns) = (tensor.shape[0], tensor.shape[1])
            let bytes = try file.bytes(of: tensor.name)
            let name = tensor.type.description
            let matrix: any StoredMatrix
            if tensor.type == .scalar(.f16) {
                let halves = try DenseMatrix(borrowing: bytes, of: file, values: .f16, rows: rows, columns: columns)
                #expect(halves.numberBytes?.baseAddress == bytes.baseAddress)
                matrix = halves
            } else {
                let blocks = try GGUFMatrix(name, borrowing: bytes, of: file, rows: rows, columns: columns)
                #expect(blocks.bytes.baseAddress == bytes.baseAddress)
                matrix = blocks
            }
            let weights = try expected.float(tensor.name)
            for (a, b) in zip(matrix.densified().scalars, weights.scalars) {
                #expect(abs(a - b) <= 2e-7 * max(abs(a), abs(b)) + 1e-8, "\(tensor.name)")
            }
            // Whole numbers up to 127 stay what they are when they are rounded to bytes.
            for n in [1, 2, 3, 5, 9, 17, 33] {
                var x = (0..<n * columns).map { _ in Float(Int(random.next() % 255) - 127) }
                for i in stride(from: 0, to: x.count, by: name == "f16" ? 7 : 32) { x[i] = 127 }
                let y = matrix.applied(toRows: Tensor(x, shape: [n, columns]))
                for t in 0..<n {
                    for r in 0..<rows {
                        var (sum, magnitude) = (0.0, 0.0)
                        for c in 0..<columns {
                            let term = Double(weights[r, c]) * Double(x[t * columns + c])
                            (sum, magnitude) = (sum + term, magnitude + abs(term))
                        }
                        #expect(abs(Double(y[t, r]) - sum) <= 2e-6 * magnitude, "\(name), \(n) vectors")
                    }
                }
            }
        }
    }

    @Test func metadataOfEveryType() throws {
        let file = try GGUFFile(fixture("gguf/types.gguf"))
        #expect(file.version == 3)
        #expect(file["test.u8"] == .integer(200))
        #expect(file["test.i8"] == .integer(-100))
        #expect(file["test.u16"] == .integer(60000))
        #expect(file["test.i16"] == .integer(-30000))
        #expect(try file.integer("test.u32") == 4_000_000_000)
        #expect(try file.integer("test.i32") == -2_000_000_000)
        #expect(file["test.u64"] == .unsigned(.max))
        #expect(file["test.i64"] == .integer(.min))
        #expect(try file.number("test.f32") == 0.5)
        #expect(try file.number("test.f64") == 0.1)
        #expect(try file.optionalBool("test.bool") == true)
        #expect(try file.string("test.string") == "Grüße, 世界 🌍")
        #expect(try file.strings("test.strings") == ["a", "", "ö"])
        #expect(try file.optionalIntegers("test.integers") == [1, -2, 3])
        #expect(file["test.numbers"]?.arrayValue?.compactMap(\.doubleValue) == [0.25, -1.5])
        #expect(try file.optionalInteger("test.absent") == nil)
        let path = file.path
        #expect(
            failure { try file.integer("test.absent") }
                == .malformed(file: path, location: "metadata 'test.absent'", reason: "is missing"))
        #expect(
            failure { try file.integer("test.string") }
                == .malformed(
                    file: path, location: "metadata 'test.string'", reason: "expected an integer, found a string"))
    }

    @Test func rawBlocksStayAccessible() throws {
        let file = try GGUFFile(fixture("gguf/types.gguf"))
        let info = try file.info("blocks.Q4_1")
        #expect(info.type == .block(.q41))
        #expect(info.shape == [3, 512])
        #expect(try file.bytes(of: "blocks.Q4_1").count == 3 * 512 / 32 * 20)
        #expect(failure { try file.info("nothing") } == .missingTensor(file: file.path, name: "nothing"))
    }
}
