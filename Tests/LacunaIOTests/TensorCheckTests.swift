import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

/// What is known of a model's tensors before they are loaded: types nobody can compute with, memory, numbers that spoil
/// everything.
@Suite struct TensorCheckTests {
    /// A safetensors file with one tensor of any type.
    private func file(_ scratch: Scratch, _ type: String, _ shape: [Int], bytes: Int) throws -> SafetensorsFile {
        var header = Array(
            #"{"x":{"dtype":"\#(type)","shape":\#(shape),"data_offsets":[0,\#(bytes)]}}"#.utf8)
        while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
        return try SafetensorsFile(
            scratch.write(
                littleEndian(UInt64(header.count)) + header + [UInt8](repeating: 0, count: bytes), to: "x.safetensors"))
    }

    @Test(arguments: [
        ("U16", [2, 3], 12), ("U32", [2, 3], 24), ("U64", [3], 24), ("C64", [2], 16), ("F8_E4M3", [5], 5),
        ("F8_E5M2", [5], 5), ("F4", [2, 6], 6), ("F6_E2M3", [8], 6),
    ])
    func typesFromElsewhereAreListed(type: String, shape: [Int], bytes: Int) throws {
        let scratch = try Scratch()
        let file = try file(scratch, type, shape, bytes: bytes)
        let info = try file.info("x")
        #expect(info.type.description == type && info.shape == shape && info.byteRange.count == bytes)
        guard case .unsupported(_, let what) = failure({ try file.float("x") }) else { return }
        #expect(what.contains("'x'") && what.contains(type))
        #expect(failure { try file.integers("x") } != nil)
        try file.requireFinite()
        // Their sizes are checked like all others.
        #expect(failure { try self.file(scratch, type, shape, bytes: bytes + 1) } != nil)
        #expect(failure { try self.file(scratch, "F5", shape, bytes: bytes) } != nil)
    }

    @Test func theFirstNumberThatIsNotFiniteIsNamed() throws {
        let scratch = try Scratch()
        func check(_ type: ElementType, _ value: Float, at place: Int?) throws -> LacunaError? {
            var values = [Float](repeating: 1, count: 70_000 * 3)
            if let place { values[place] = value }
            let path = scratch.file("x.safetensors")
            let writer = try SafetensorsWriter(path)
            try writer.write("fine", Tensor<Float>([3, 4]))
            try writer.write("w", Tensor(values, shape: [70_000, 3]), as: type)
            try writer.finish()
            let file = try SafetensorsFile(path)
            if place == nil {
                try file.requireFinite()
                return nil
            }
            return failure { try file.requireFinite() }
        }
        for type in [ElementType.f32, .bf16, .f16] {
            #expect(try check(type, 0, at: nil) == nil)
            for (value, place) in [(Float.nan, 0), (.infinity, 4), (-.infinity, 209_999)] {
                #expect(
                    try check(type, value, at: place)
                        == .malformed(
                            file: scratch.file("x.safetensors"), location: "tensor 'w'",
                            reason: "entry [\(place / 3), \(place % 3)] is not a finite number"))
            }
        }
        // The largest numbers are numbers; so are all integers.
        #expect(try check(.f16, 65504, at: nil) == nil)
        let writer = try SafetensorsWriter(scratch.file("i.safetensors"))
        try writer.write("i", type: .i32, shape: [1], values: [Int32(bitPattern: 0x7FC0_0000)])
        try writer.write("d", type: .f64, shape: [2], values: [1, Double.nan])
        try writer.finish()
        guard
            case .malformed(_, "tensor 'd'", "entry [1] is not a finite number") = failure({
                try SafetensorsFile(scratch.file("i.safetensors")).requireFinite()
            })
        else {
            Issue.record("a double that is none")
            return
        }
    }

    /// Blocks carry their NaN in a scale.
    @Test(arguments: [
        (UInt32(2), 18, [0]), (3, 20, [0, 2]), (6, 22, [0]), (7, 24, [0, 2]), (8, 34, [0]), (12, 144, [0, 2]),
        (13, 176, [0, 2]), (14, 210, [208]),
    ])
    func scalesOfBlocks(type: UInt32, size: Int, scales: [Int]) throws {
        let scratch = try Scratch()
        let elements = type < 12 ? 32 : 256
        func path(_ data: [UInt8]) throws -> String {
            let head = HostileFileTests.padded(
                HostileFileTests.header(tensors: 1, values: 0)
                    + HostileFileTests.tensor("w", [UInt64(elements), 2], type: type, offset: 0), data: 0)
            let padding = [UInt8](repeating: 0, count: (32 - 2 * size % 32) % 32)
            return try scratch.write(head + data + padding, to: "x.gguf")
        }
        // Every other byte may be anything.
        var data = [UInt8](repeating: 0xFF, count: 2 * size)
        for block in 0..<2 { for offset in scales { data[block * size + offset + 1] = 0x3C } }
        try GGUFFile(path(data)).requireFinite()
        for offset in scales {
            var damaged = data
            damaged[size + offset + 1] = 0x7C
            #expect(
                failure { try GGUFFile(path(damaged)).requireFinite() }
                    == .malformed(
                        file: scratch.file("x.gguf"), location: "tensor 'w'",
                        reason: "entry [1, 0] is not a finite number"))
        }
    }

    @Test func memoryIsKnownBefore() throws {
        let scratch = try Scratch()
        let writer = try SafetensorsWriter(scratch.file("x.safetensors"))
        let matrix = Tensor<Float>(zeros: [8, 16])
        try writer.write("a", matrix)
        try writer.write("b", matrix, as: .bf16)
        try writer.write("c", matrix, as: .f16)
        try writer.write("v", Tensor<Float>(zeros: [16]))
        try writer.write("i", type: .i64, shape: [2], values: [1, 2] as [Int64])
        try writer.finish()
        let file = try SafetensorsFile(scratch.file("x.safetensors"))
        // Matrices stay as they are, and so do vectors of floats and integers.
        #expect(file.loadedBytes() == 512 + 256 + 256 + 64 + 16)
        #expect(file.loadedBytes(as: .f32) == 3 * 512 + 80)
        #expect(file.loadedBytes(as: .bf16) == 3 * 256 + 80)
        #expect(file.loadedBytes(as: .int8) == 3 * 128 + 80)
        #expect(file.loadedBytes(as: .int4) == 3 * 64 + 80)
    }
}
