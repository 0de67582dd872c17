import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@Suite struct GGUFWriterTests {
    /// Everything of a file of the `gguf` package, metadata of all types and tensors of all types, comes back bit by bit.
    @Test func copiesAreTheSame() throws {
        let scratch = try Scratch()
        let source = try GGUFFile(fixture("gguf/types.gguf"))
        let writer = try GGUFWriter(scratch.file("copy.gguf"))
        for key in source.metadataKeys { writer.set(key, .encoded(try #require(source.encodedValue(key)))) }
        for tensor in source.tensors {
            try writer.write(tensor.name, type: tensor.type, shape: tensor.shape, bytes: source.bytes(of: tensor.name))
        }
        #expect(!FileSystem.exists(scratch.file("copy.gguf")))
        try writer.finish()
        let copy = try GGUFFile(scratch.file("copy.gguf"))
        #expect(copy.version == 3 && copy.metadataKeys == source.metadataKeys && copy.names == source.names)
        for key in source.metadataKeys {
            #expect(copy[key] == source[key] && copy.encodedValue(key) == source.encodedValue(key))
        }
        for tensor in source.tensors {
            let info = try copy.info(tensor.name)
            #expect(info.shape == tensor.shape && info.type == tensor.type && info.byteRange.lowerBound % 32 == 0)
            #expect(try copy.bytes(of: tensor.name).elementsEqual(source.bytes(of: tensor.name)))
        }
    }

    @Test func valuesOfItsOwn() throws {
        let scratch = try Scratch()
        let writer = try GGUFWriter(scratch.file("a.gguf"))
        writer.set("general.architecture", .string("llama"))
        writer.set("a.count", .uint32(7))
        writer.set("a.signed", .int32(-7))
        writer.set("a.rate", .float32(0.5))
        writer.set("a.flag", .bool(true))
        writer.set("a.words", .strings(["ä", ""]))
        writer.set("a.numbers", .int32s([1, -2]))
        writer.set("a.rates", .float32s([0.25]))
        writer.set("a.count", .uint32(8))
        #expect(writer.contains("a.flag") && !writer.contains("a.other"))
        try writer.finish()
        let file = try GGUFFile(scratch.file("a.gguf"))
        #expect(file.metadataKeys.count == 8 && file.tensors.isEmpty)
        #expect(try file.integer("a.count") == 8 && file.integer("a.signed") == -7 && file.number("a.rate") == 0.5)
        #expect(try file.optionalBool("a.flag") == true && file.strings("a.words") == ["ä", ""])
        #expect(try file.optionalIntegers("a.numbers") == [1, -2])
        #expect(file["a.rates"]?.arrayValue == [.number(0.25)])
    }

    /// Blocks are those that the `gguf` package makes of the same numbers, to the bit.
    @Test func roundingIsThePackages() throws {
        let expected = try GGUFFile(fixture("gguf/rounded.gguf"))
        let numbers = try expected.float("numbers")
        for type in [StoredType.block(.q80), .block(.q40), .scalar(.f16), .scalar(.bf16)] {
            let bytes = try #require(type.rounded(numbers.scalars))
            #expect(try bytes.elementsEqual(expected.bytes(of: "rounded.\(type.description.uppercased())")), "\(type)")
        }
        #expect(
            StoredType.block(.q80).rounded([1, 2]) == nil && StoredType.block(.q4K).rounded(numbers.scalars) == nil)
        // What is not a number makes no code up.
        #expect(StoredType.block(.q80).rounded([Float](repeating: .nan, count: 32)) != nil)
        #expect(StoredType.block(.q40).rounded([Float](repeating: .infinity, count: 32)) != nil)
    }

    @Test func whatIsNoTensorIsRefused() throws {
        let scratch = try Scratch()
        let writer = try GGUFWriter(scratch.file("b.gguf"))
        let tensor = Tensor<Float>([1, 2, 3, 4], shape: [2, 2])
        try writer.write("a", tensor)
        #expect(throws: LacunaError.self) { try writer.write("a", tensor) }
        #expect(throws: LacunaError.self) { try writer.write("b", tensor, as: .block(.q80)) }
        #expect(throws: LacunaError.self) { try writer.write("c", tensor, as: .block(.q6K)) }
        let bytes = [UInt8](repeating: 0, count: 4)
        bytes.withUnsafeBytes { bytes in
            #expect(throws: LacunaError.self) { try writer.write("d", type: .scalar(.f32), shape: [2], bytes: bytes) }
            #expect(throws: LacunaError.self) { try writer.write("e", type: .scalar(.u8), shape: [4], bytes: bytes) }
            #expect(throws: LacunaError.self) {
                try writer.write("f", type: .scalar(.f32), shape: [1, 1, 1, 1, 1], bytes: bytes)
            }
        }
    }
}
