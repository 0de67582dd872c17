import Foundation
import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@Suite struct SparseCheckpointTests {
    // MARK: Written by the compressed-tensors package (Scripts/fixtures_compressed.py)

    @Test(arguments: [
        "bitmask", "twofour", "bitmask-int8", "packed-int4", "w4a16-symmetric", "w4a16-zeros", "w4a16-channel",
        "w4a16-reordered",
    ])
    func whatThePackageWroteIsRead(name: String) throws {
        let checkpoint = try SparseCheckpoint(TensorFiles.open(fixture("compressed/by-package/\(name).safetensors")))
        let expected = try SafetensorsFile(fixture("compressed/by-package/\(name).expected.safetensors"))
        #expect(Set(checkpoint.names) == Set(expected.names))
        for weight in expected.names {
            let dense = try expected.float(weight)
            #expect(try checkpoint.shape(of: weight) == dense.shape)
            #expect(try checkpoint.float(weight) == dense, "\(weight)")
            let matrix = try checkpoint.matrix(weight)
            #expect(matrix.densified().isClose(to: dense), "\(weight)")
            if matrix.format.layout == .bitmask {
                #expect(matrix.storedCount == dense.scalars.count { $0 != 0 })
            }
        }
    }

    @Test func formatsAreRecognisedWithoutLacunasSection() throws {
        func format(_ file: String, _ name: String) throws -> String {
            try SparseCheckpoint(TensorFiles.open(fixture("compressed/by-package/\(file).safetensors")))
                .format(of: name).description
        }
        #expect(try format("bitmask", "a.weight") == "bitmask-f32")
        #expect(try format("bitmask", "b.weight") == "bitmask-bf16")
        #expect(try format("bitmask", "c.d.weight") == "bitmask-f16")
        #expect(try format("twofour", "b.weight") == "2:4-bf16")
        #expect(try format("bitmask-int8", "a.weight") == "bitmask-int8")
        #expect(try format("packed-int4", "a.weight") == "int4")
    }

    /// Other programs' 4-bit weights keep their codes where blocks can hold them, and are floats where not.
    @Test func packedWeightsOfOthersStayPacked() throws {
        for (name, stored) in [("symmetric", "Q4_0"), ("zeros", "Q5_0"), ("channel", "Q4_0"), ("reordered", "f32")] {
            let checkpoint = try SparseCheckpoint(
                TensorFiles.open(fixture("compressed/by-package/w4a16-\(name).safetensors")))
            let dense = try checkpoint.float("a.weight")
            let matrix = try checkpoint.matrix("a.weight")
            #expect(matrix.format.description == stored, "\(name)")
            #expect(matrix.densified() == dense)
            #expect(try checkpoint.matrix("a.weight", values: .f32).densified() == dense)
        }
    }

    @Test func otherWaysOfQuantisingAreNamed() throws {
        func open(_ section: JSONValue) throws {
            let fields = try JSONFields(["quantization_config": section], file: "config.json")
            _ = try SparseCheckpoint(
                TensorFiles.open(fixture("compressed/by-package/packed-int4.safetensors")), configuration: fields)
        }
        func groups(_ weights: JSONValue, format: String = "pack-quantized") -> JSONValue {
            [
                "quant_method": "compressed-tensors", "format": .string(format),
                "config_groups": ["group_0": ["weights": weights]],
            ]
        }
        try open(groups(["num_bits": 4, "type": "int", "strategy": "group"]))
        for (section, word) in [
            (["quant_method": "gptq", "bits": 4], "gptq"), (["load_in_4bit": true], "none given"),
            (groups(["num_bits": 8, "type": "float", "strategy": "channel"]), "float"),
            (groups(["num_bits": 2, "type": "int", "strategy": "channel"]), "2-bit"),
            (groups(["num_bits": 4, "type": "int", "strategy": "block"]), "block"),
            (groups(["num_bits": 4, "type": "int", "strategy": "group"], format: "nvfp4-pack-quantized"), "nvfp4"),
            (["quant_method": "compressed-tensors", "sparsity_config": ["format": "odd"]], "odd"),
        ] as [(JSONValue, String)] {
            let error = failure { try open(section) }
            #expect(error.map { "\($0)".contains(word) } == true, "\(word)")
        }
    }

    // MARK: Written by Lacuna, read by the package (Scripts/check_compressed.py)

    /// Numbers that any machine computes alike. `density` of four in a row are kept.
    static func weight(_ rows: Int, _ columns: Int, seed: Int, density: Int = 2) -> (Tensor<Float>, SparsePattern) {
        var mask = SparsePattern(rows: rows, columns: columns)
        var values: [Float] = []
        for i in 0..<rows * columns {
            let isKept = (i % columns + i / columns * 3 + seed) % 4 < density
            let value = Float((i * 7919 + seed * 104_729) % 401 - 200) / 64
            values.append(isKept ? (value == 0 ? 1 : value) : 0)
            if isKept { mask[i / columns, i % columns] = true }
        }
        return (Tensor(values, shape: [rows, columns]), mask)
    }

    static let written:
        [(directory: String, layout: CheckpointWriter.SparseLayout, weights: [(String, [Int], String)])] = [
            (
                "bitmask", .bitmask,
                [
                    ("a", [6, 20], "bitmask-f32"), ("b", [5, 70], "bitmask-bf16"), ("c", [4, 33], "csr-bf16"),
                    ("d", [8, 16], "bsr2x4-f32"), ("e", [4, 24], "1:4-bf16"), ("f", [3, 12], "masked-f32"),
                ]
            ),
            ("bitmask-int8", .bitmask, [("a", [6, 20], "bitmask-int8"), ("b", [5, 70], "csr-int8")]),
            ("twofour", .twoOfFour, [("a", [6, 20], "2:4-f32"), ("b", [5, 72], "2:4-bf16")]),
            ("int8", .bitmask, [("a", [6, 20], "int8"), ("b", [5, 70], "int8")]),
            ("int4", .bitmask, [("a", [6, 64], "int4"), ("b", [5, 192], "int4")]),
        ]

    private static func matrices(
        _ weights: [(String, [Int], String)]
    ) throws -> [(name: String, matrix: any StoredMatrix)] {
        try weights.enumerated().map { index, item in
            let format = try #require(StorageFormat(description: item.2))
            var density = 2
            if let layout = format.layout.base as? NMLayout { density = layout.n }
            let (weight, mask) = weight(item.1[0], item.1[1], seed: index, density: density)
            return (
                item.0 + ".weight",
                try WeightStore.make(weight, mask: mask, layout: format.layout, values: format.values)
            )
        }
    }

    private static func write(_ index: Int, to directory: String) throws {
        let item = written[index]
        let writer = try CheckpointWriter(directory: directory, layout: item.layout)
        for (name, matrix) in try matrices(item.weights) { try writer.write(name, matrix) }
        var shapes = JSONObject()
        for weight in item.weights { shapes[weight.0] = .array(weight.1.map { JSONValue($0) }) }
        var configuration = JSONObject()
        configuration["shapes"] = .object(shapes)
        try writer.finish(configuration: configuration)
    }

    @Test(arguments: written.indices) func thePackageReadsWhatLacunaWrites(index: Int) throws {
        let item = Self.written[index]
        let scratch = try Scratch()
        try Self.write(index, to: scratch.path)
        if ProcessInfo.processInfo.environment["LACUNA_UPDATE_FIXTURES"] != nil {
            let source = repositoryFile("Tests/LacunaIOTests/Fixtures/compressed/by-lacuna/\(item.directory)")
            try FileSystem.createDirectory(source)
            for name in try FileSystem.list(scratch.path) {
                try AtomicFile.write(FileSystem.readBytes(scratch.file(name)), to: source + "/" + name)
            }
        }
        // The package was given these very files...
        let stored = try fixture("compressed/by-lacuna/\(item.directory)")
        for name in ["model.safetensors", "config.json"] {
            #expect(
                try FileSystem.readBytes(scratch.file(name)) == FileSystem.readBytes(stored + "/" + name), "\(name)")
        }
        // ... and found the weights in them. It multiplies out in half precision (sparse int8) and in the type of the
        // scales (int4: bf16).
        let tolerance: Float = item.directory == "bitmask-int8" ? 1e-3 : item.directory == "int4" ? 4e-3 : 4e-7
        let expected = try SafetensorsFile(stored + "/expected.safetensors")
        for (name, matrix) in try Self.matrices(item.weights) {
            #expect(try matrix.densified().isClose(to: expected.float(name), tolerance), "\(item.directory) \(name)")
        }
    }

    // MARK: Round trips

    static let formats = [
        "f32", "bf16", "f16", "int8", "int4", "masked-f32", "masked-f16", "masked-int4", "bitmask-f32", "bitmask-bf16",
        "bitmask-int8",
        "bitmask-int4", "2:4-f32", "2:4-bf16", "2:4-int8", "2:4-int4", "2:8-bf16", "csr-f32", "csr-bf16", "csr-int8",
        "csr-int4", "bitmask-f16", "2:4-f16", "csr-f16", "bsr4x4-f16", "bsr4x4-f32", "bsr2x8-int8", "bsr4x4-int4",
    ]

    @Test(arguments: formats) func everyFormatComesBack(description: String) throws {
        let format = try #require(StorageFormat(description: description))
        #expect(format.description == description)
        let scratch = try Scratch()
        var generator = SeededGenerator(seed: 5)
        let weight = Tensor<Float>(normal: [13, 136], using: &generator)
        var mask = Self.weight(13, 136, seed: 1).1
        if format.layout == .nm(n: 2, m: 8) {
            for r in 0..<13 { for c in 0..<136 where c % 8 > 3 { mask[r, c] = false } }
        }
        let matrix = try WeightStore.make(
            weight, mask: format.layout == .dense ? nil : mask, layout: format.layout, values: format.values)

        let writer = try CheckpointWriter(directory: scratch.path)
        try writer.write("p.q.weight", matrix)
        try writer.write("norm.weight", Tensor<Float>([1, 2]))
        try writer.finish(configuration: JSONObject())
        #expect(try FileSystem.list(scratch.path) == ["config.json", "model.safetensors"])

        let checkpoint = try SparseCheckpoint(directory: scratch.path)
        #expect(try checkpoint.source.float("norm.weight").scalars == [1, 2])
        if ["f32", "bf16", "f16"].contains(description) {
            #expect(!checkpoint.contains("p.q.weight"))
            #expect(try checkpoint.source.float("p.q.weight") == matrix.densified())
            return
        }
        #expect(checkpoint.names == ["p.q.weight"])
        #expect(try checkpoint.shape(of: "p.q.weight") == [13, 136])
        let copy = try checkpoint.matrix("p.q.weight")
        #expect(copy.format == matrix.format)
        // A CSR matrix does not tell which of its values were rounded to zero, so those are not saved.
        let dropsZeros = format.layout == .csr && (format.values == .int8 || format.values == .int4)
        #expect(copy.storedCount == (dropsZeros ? matrix.densified().scalars.count { $0 != 0 } : matrix.storedCount))
        #expect(copy.densified().isClose(to: matrix.densified()))
        let widened = try checkpoint.matrix("p.q.weight", values: .f32)
        #expect(widened.format == StorageFormat(format.layout, .f32))
        #expect(widened.densified().isClose(to: matrix.densified()))
    }

    /// Of another program's file too, which says nothing of Lacuna's formats: 16 bits do not become 32.
    @Test func halfPrecisionOfOthersStaysHalf() throws {
        let values = [Float(0.1), -3, 65_504, 0x1p-24].map { Half($0).bits }
        let scratch = try broken(
            ("a.compressed", .f16, [4], values.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }))
        let matrix = try SparseCheckpoint(directory: scratch.path).matrix("a.weight")
        #expect(matrix.format == StorageFormat(.bitmask, .f16))
        let dense = matrix.densified()
        #expect([dense[0, 0], dense[0, 9], dense[2, 0], dense[2, 7]] == [Half(0.1).float, -3, 65_504, 0x1p-24])
    }

    @Test func blocksOfGGUFFilesStayAsTheyAre() throws {
        let file = try GGUFFile(fixture("gguf/types.gguf"))
        let scratch = try Scratch()
        let writer = try CheckpointWriter(directory: scratch.path)
        for type in ["Q4_0", "Q4_1", "Q8_0"] {
            let bytes = try file.bytes(of: "blocks.\(type)")
            try writer.write("\(type).weight", GGUFMatrix(type, bytes: bytes, rows: 3, columns: 512))
        }
        try writer.finish(configuration: JSONObject())
        let checkpoint = try SparseCheckpoint(directory: scratch.path)
        for type in ["Q4_0", "Q4_1", "Q8_0"] {
            let matrix = try checkpoint.matrix("\(type).weight")
            #expect(matrix.format.description == type)
            #expect(try checkpoint.float("\(type).weight") == file.float("blocks.\(type)"))
            #expect(
                try Array(checkpoint.source.bytes(of: "\(type).gguf_blocks")) == Array(file.bytes(of: "blocks.\(type)"))
            )
            #expect(try checkpoint.matrix("\(type).weight", values: .f32).format.description == "f32")
        }
    }

    @Test func halfOfTheWeightsTakeHalfOfTheBytes() throws {
        let scratch = try Scratch()
        let (weight, mask) = Self.weight(256, 512, seed: 0)
        let matrix = try WeightStore.make(weight, mask: mask, layout: .bitmask, values: .bf16)
        let writer = try CheckpointWriter(directory: scratch.path)
        try writer.write("a.weight", matrix)
        try writer.finish(configuration: JSONObject())
        // Half of 2 bytes, 1/8 for the bit, 8 bytes a row, and a header.
        let size = try FileSystem.size(scratch.file("model.safetensors"))
        #expect(size <= 256 * 512 * 9 / 8 + 256 * 8 + 1024)
    }

    @Test func theLayoutThatFits() throws {
        let (weight, mask) = Self.weight(4, 8, seed: 0)
        let dense = try WeightStore.make(weight, layout: .dense, values: .f32)
        let nm = try WeightStore.make(weight, mask: mask, layout: .nm(n: 2, m: 4), values: .bf16)
        let bits = try WeightStore.make(weight, mask: mask, layout: .bitmask, values: .bf16)
        #expect(CheckpointWriter.SparseLayout.fitting([dense, nm]) == .twoOfFour)
        #expect(CheckpointWriter.SparseLayout.fitting([nm, bits]) == .bitmask)
        #expect(CheckpointWriter.SparseLayout.fitting([dense]) == .bitmask)
        let scratch = try Scratch()
        let writer = try CheckpointWriter(directory: scratch.path, layout: .twoOfFour)
        #expect(failure { try writer.write("a.weight", bits) } != nil)
        #expect(failure { try writer.write("a", nm) } != nil)
    }

    @Test(arguments: ["", "bf17", "bitmask", "bitmask-", "2:-f32", "0:4-f32", "bsr4-f32", "bsr4x4", "q4_1", "Q4_2"])
    func unknownFormatNames(text: String) { #expect(StorageFormat(description: text) == nil) }

    // MARK: Broken checkpoints

    /// A bitmask checkpoint of one 3 × 10 weight, with one tensor replaced or left out.
    private func broken(_ change: (String, ElementType, [Int], [UInt8])?, without: String? = nil) throws -> Scratch {
        let scratch = try Scratch()
        let writer = try SafetensorsWriter(scratch.file("model.safetensors"))
        let good: [(String, ElementType, [Int], [UInt8])] = [
            ("a.compressed", .bf16, [4], [0, 0x3F, 0, 0x40, 0, 0x41, 0, 0x42]),
            ("a.bitmask", .u8, [3, 2], [1, 2, 0, 0, 0x81, 0]),
            ("a.row_offsets", .i64, [3], [0, 2, 2].flatMap { littleEndian(Int64($0)) }),
            ("a.shape", .i64, [2], [3, 10].flatMap { littleEndian(Int64($0)) }),
        ]
        for tensor in good where tensor.0 != without {
            let (name, type, shape, bytes) = tensor.0 == change?.0 ? change! : tensor
            try writer.write(name, type: type, shape: shape, values: bytes)
        }
        try writer.finish()
        return scratch
    }

    @Test func brokenTensorsAreNamed() throws {
        let good = try broken(nil)
        #expect(try SparseCheckpoint(directory: good.path).matrix("a.weight").storedCount == 4)
        let pair = { (a: Int64, b: Int64) in littleEndian(a) + littleEndian(b) }
        let changes: [(String, ElementType, [Int], [UInt8])] = [
            ("a.compressed", .bf16, [3], [0, 0, 0, 0, 0, 0]),
            ("a.compressed", .i32, [4], [UInt8](repeating: 0, count: 16)),
            ("a.bitmask", .u8, [3, 1], [1, 2, 3]), ("a.bitmask", .i8, [3, 2], [1, 2, 0, 0, 0x81, 0]),
            ("a.bitmask", .u8, [3, 2], [1, 6, 0, 0, 1, 0]), ("a.row_offsets", .i64, [2], pair(0, 2)),
            ("a.row_offsets", .i64, [3], pair(0, 1) + littleEndian(Int64(2))),
            ("a.row_offsets", .f64, [3], pair(0, 1) + littleEndian(Int64(2))), ("a.shape", .i64, [2], pair(3, 9)),
            ("a.shape", .i64, [2], pair(3, -10)), ("a.shape", .i64, [2], pair(1 << 62, 1 << 62)),
            ("a.shape", .i64, [2], pair(1 << 55, 0)), ("a.shape", .i64, [2], pair(0, 1 << 55)),
            ("a.shape", .i64, [1], littleEndian(Int64(3))),
        ]
        for change in changes {
            let scratch = try broken(change)
            let error = failure { try SparseCheckpoint(directory: scratch.path).matrix("a.weight") }
            #expect("\(String(describing: error))".contains("model.safetensors"), "\(change)")
            #expect("\(String(describing: error))".contains("a."), "\(change)")
        }
        for name in ["a.bitmask", "a.shape"] {
            let scratch = try broken(nil, without: name)
            #expect(
                failure { try SparseCheckpoint(directory: scratch.path).matrix("a.weight") }
                    == .missingTensor(file: scratch.file("model.safetensors"), name: name))
        }
    }

    @Test func brokenSections() throws {
        let scratch = try broken(nil)
        for text in [
            #"{"lacuna":{"version":2,"weights":{}}}"#, #"{"lacuna":{"weights":{}}}"#, #"{"lacuna":[]}"#,
            #"{"lacuna":{"version":1,"weights":{"a.weight":"what"}}}"#,
            #"{"lacuna":{"version":1,"weights":{"a.weight":1}}}"#,
        ] {
            try AtomicFile.write(text, to: scratch.file("config.json"))
            #expect(failure { try SparseCheckpoint(directory: scratch.path) } != nil)
        }
        // The section may ask for a layout that cannot hold the weight.
        for format in ["1:8-bf16", "bsr999x1-f32", "Q4_1", "3:2000-f32"] {
            try AtomicFile.write(
                #"{"lacuna":{"version":1,"weights":{"a.weight":"\#(format)"}}}"#, to: scratch.file("config.json"))
            #expect(failure { try SparseCheckpoint(directory: scratch.path).matrix("a.weight") } != nil, "\(format)")
        }
    }

    @Test func integersWithOtherScalesAreNotRoundedSilently() throws {
        let scratch = try Scratch()
        let writer = try SafetensorsWriter(scratch.file("model.safetensors"))
        try writer.write("a.weight", type: .i8, shape: [1, 4], values: [1, 2, 3, 100] as [Int8])
        try writer.write("a.weight_scale", Tensor<Float>([0.3], shape: [1, 1]))
        try writer.finish()
        let checkpoint = try SparseCheckpoint(directory: scratch.path)
        #expect(try checkpoint.float("a.weight").scalars == [1, 2, 3, 100].map { $0 * 0.3 as Float })
        // Integers of ours would have another scale: floats hold the products as they are.
        let matrix = try checkpoint.matrix("a.weight")
        #expect(try matrix.format.description == "f32" && matrix.densified() == checkpoint.float("a.weight"))
        #expect(try checkpoint.matrix("a.weight", values: .f32).densified() == checkpoint.float("a.weight"))
    }
}

extension Tensor<Float> {
    /// Equal to a few units in the last place: scales are computed again when integers are stored.
    func isClose(to other: Tensor<Float>, _ tolerance: Float = 4e-7) -> Bool {
        shape == other.shape && zip(scalars, other.scalars).allSatisfy { abs($0 - $1) <= tolerance * abs($1) }
    }
}
