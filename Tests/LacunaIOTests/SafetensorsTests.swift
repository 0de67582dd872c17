import LacunaIO
import LacunaTensor
import Testing

@Suite struct SafetensorsTests {
    @Test func whatIsWrittenIsReadBack() throws {
        let scratch = try Scratch()
        var generator = SeededGenerator(seed: 1)
        let a = Tensor<Float>(normal: [3, 5], using: &generator)
        let b = Tensor<Float>(normal: [7], using: &generator)
        let writer = try SafetensorsWriter(scratch.file("x.safetensors"), metadata: ["format": "pt"])
        try writer.write("bytes", type: .u8, shape: [3], values: [1, 2, 3] as [UInt8])
        try writer.write("half", b, as: .f16)
        try writer.write("brain", b, as: .bf16)
        try writer.write("float", a)
        try writer.write("long", type: .i64, shape: [2, 1], values: [-5, 1 << 40] as [Int64])
        try writer.write("empty", Tensor<Float>(zeros: [0, 4]))
        try writer.write("scalar", Tensor<Float>([2.5], shape: []))
        try writer.finish()
        #expect(try FileSystem.list(scratch.path) == ["x.safetensors"])

        let file = try SafetensorsFile(scratch.file("x.safetensors"))
        #expect(file.metadata == ["format": "pt"])
        #expect(try file.float("float") == a)
        #expect(try file.float("half").scalars == b.scalars.map { Half($0).float })
        #expect(try file.float("brain").scalars == b.scalars.map { BFloat16($0).float })
        #expect(try file.float("bytes").scalars == [1, 2, 3])
        #expect(try file.integers("long") == [-5, 1 << 40])
        #expect(try file.float("empty").shape == [0, 4])
        #expect(try file.float("scalar") == Tensor([2.5], shape: []))
        for tensor in file.tensors {
            guard case .scalar(let type) = tensor.type else { continue }
            #expect(tensor.byteRange.lowerBound % type.size == 0, "\(tensor.name) is aligned")
        }
        #expect(file.tensors[0].byteRange.lowerBound % 64 == 0)
    }

    /// Where a number may lie in memory, and at an odd byte, where another way is taken.
    @Test func everyHalfPrecisionNumberWidensExactly() throws {
        let scratch = try Scratch()
        let writer = try SafetensorsWriter(scratch.file("h.safetensors"))
        try writer.write("h", type: .f16, shape: [65536], values: Array(0...UInt16.max))
        try writer.finish()
        var header = #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#
        header += #""h":{"dtype":"F16","shape":[65536],"data_offsets":[1,131073]}}"#
        header += String(repeating: " ", count: (8 - header.utf8.count % 8) % 8)
        let start = (0..<8).map { UInt8(truncatingIfNeeded: header.utf8.count >> (8 * $0)) }
        let numbers = (0...UInt16.max).flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
        let odd = try scratch.write(start + Array(header.utf8) + [7] + numbers, to: "odd.safetensors")
        for path in [scratch.file("h.safetensors"), odd] {
            let widened = try SafetensorsFile(path).float("h").scalars
            for bits in 0...UInt16.max {
                let expected = Half(bits: bits).float
                let found = widened[Int(bits)]
                if expected.isNaN {
                    #expect(found.isNaN)
                } else {
                    #expect(found.bitPattern == expected.bitPattern)
                }
            }
        }
    }

    @Test func theWriterRefusesWhatWouldNotBeReadable() throws {
        let scratch = try Scratch()
        let writer = try SafetensorsWriter(scratch.file("x.safetensors"))
        try writer.write("a", Tensor<Float>([1, 2]))
        #expect(failure { try writer.write("a", Tensor<Float>([1])) } != nil)
        #expect(failure { try writer.write("b", type: .f32, shape: [3], values: [1, 2] as [Float]) } != nil)
        #expect(failure { try writer.write("c", Tensor<Float>([1]), as: .i8) } != nil)
        #expect(failure { try SafetensorsWriter(scratch.file("missing/x.safetensors")) } != nil)
    }

    @Test func anAbandonedWriterLeavesNothing() throws {
        let scratch = try Scratch()
        do {
            let writer = try SafetensorsWriter(scratch.file("x.safetensors"))
            try writer.write("a", Tensor<Float>(zeros: [100_000]))
            #expect(try FileSystem.list(scratch.path).count == 1)
        }
        #expect(try FileSystem.list(scratch.path).isEmpty)
    }

    @Test func shardsAreJoinedByTheirIndex() throws {
        let scratch = try Scratch()
        for (name, value) in [("a", Float(1)), ("b", 2)] {
            let writer = try SafetensorsWriter(scratch.file("part-\(name).safetensors"))
            try writer.write(name, Tensor<Float>([value]))
            try writer.finish()
        }
        let index = scratch.file("model.safetensors.index.json")
        try AtomicFile.write(
            #"{"metadata":{"total_size":8},"weight_map":{"a":"part-a.safetensors","b":"part-b.safetensors"}}"#,
            to: index)
        let source = try TensorFiles.open(scratch.path)
        #expect(source.names == ["a", "b"])
        #expect(try source.float("b", shape: [1]).scalars == [2])
        #expect(
            failure { try source.float("b", shape: [2]) }
                == .tensorMismatch(
                    file: scratch.file("part-b.safetensors"), name: "b", expected: "[2]", found: "[1]"))
        #expect(failure { try source.float("c") } == .missingTensor(file: index, name: "c"))

        try AtomicFile.write(#"{"weight_map":{"z":"part-a.safetensors"}}"#, to: index)
        #expect(
            failure { try TensorFiles.open(scratch.path) }
                == .missingTensor(file: scratch.file("part-a.safetensors"), name: "z"))
        try AtomicFile.write(#"{"weight_map":{"a":"../part-a.safetensors"}}"#, to: index)
        guard case .malformed(_, "weight_map.a", _) = failure({ try TensorFiles.open(scratch.path) }) else {
            Issue.record("a shard outside the directory was accepted")
            return
        }
    }
}
