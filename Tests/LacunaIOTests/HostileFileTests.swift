import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

/// Files that are cut off, damaged or made to do harm: always a typed error that names the file, never a crash.
@Suite struct HostileFileTests {
    // MARK: Small valid files

    static func safetensors() throws -> [UInt8] {
        let scratch = try Scratch()
        let writer = try SafetensorsWriter(scratch.file("f"), metadata: ["format": "pt"])
        try writer.write("a", Tensor<Float>([1, 2, 3], shape: [1, 3]), as: .bf16)
        try writer.write("b", type: .i64, shape: [2], values: [1, 2] as [Int64])
        try writer.finish()
        return try FileSystem.readBytes(scratch.file("f"))
    }

    static func string(_ text: String) -> [UInt8] { littleEndian(UInt64(text.utf8.count)) + Array(text.utf8) }

    static func header(tensors: UInt64, values: UInt64, version: UInt32 = 3) -> [UInt8] {
        Array("GGUF".utf8) + littleEndian(version) + littleEndian(tensors) + littleEndian(values)
    }

    static func value(_ key: String, _ type: UInt32, _ bytes: [UInt8]) -> [UInt8] {
        string(key) + littleEndian(type) + bytes
    }

    static func tensor(_ name: String, _ dimensions: [UInt64], type: UInt32, offset: UInt64) -> [UInt8] {
        string(name) + littleEndian(UInt32(dimensions.count)) + dimensions.flatMap { littleEndian($0) }
            + littleEndian(type) + littleEndian(offset)
    }

    static func padded(_ bytes: [UInt8], data: Int) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: (32 - bytes.count % 32) % 32 + data)
    }

    /// Three tensors, metadata with a string, an array and a nested array.
    static func gguf() -> [UInt8] {
        padded(
            header(tensors: 3, values: 3) + value("s", 8, string("text"))
                + value("l", 9, littleEndian(UInt32(8)) + littleEndian(UInt64(2)) + string("x") + string("yz"))
                + value(
                    "n", 9,
                    littleEndian(UInt32(9)) + littleEndian(UInt64(1)) + littleEndian(UInt32(4))
                        + littleEndian(UInt64(1)) + littleEndian(UInt32(7)))
                + tensor("a", [4], type: 0, offset: 0) + tensor("b", [32, 2], type: 2, offset: 32)
                + tensor("c", [2, 2], type: 1, offset: 96), data: 104)
    }

    static func tokenizer() throws -> [UInt8] {
        Array(
            """
            {"added_tokens":[{"id":4,"content":"<e>","special":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":
            {"type":"ByteLevel","add_prefix_space":false},"post_processor":{"type":"TemplateProcessing","single":[
            {"SpecialToken":{"id":"<e>"}},{"Sequence":{"id":"A"}}]},"model":{"type":"BPE","unk_token":"a",
            "vocab":{"a":0,"b":1,"ab":2,"Ġ":3},"merges":["a b"]}}
            """.utf8)
    }

    static func index() -> [UInt8] { Array(#"{"weight_map":{"a":"f.safetensors","b":"f.safetensors"}}"#.utf8) }

    // MARK: What is done with each

    enum Kind: String, CaseIterable {
        case safetensors, gguf, tokenizer, index, checkpoint, torchStream, torchArchive

        func bytes() throws -> [UInt8] {
            switch self {
            case .safetensors: try HostileFileTests.safetensors()
            case .gguf: HostileFileTests.gguf()
            case .tokenizer: try HostileFileTests.tokenizer()
            case .index: HostileFileTests.index()
            case .checkpoint: try HostileFileTests.checkpoint()
            case .torchStream: try FileSystem.readBytes(fixture("torch/stream.pth"))
            case .torchArchive: try FileSystem.readBytes(fixture("torch/archive.pth"))
            }
        }

        /// Opens the file and uses everything in it.
        func use(_ path: String) throws {
            switch self {
            case .safetensors, .gguf, .index, .torchStream, .torchArchive:
                let source =
                    try self == .index
                    ? ShardedSafetensors(index: path) : self == .gguf ? GGUFFile(path) : TensorFiles.open(path)
                for name in source.names { _ = try source.float(name) }
            case .tokenizer:
                let tokenizer = try Tokenizer(json: path)
                _ = tokenizer.decode(tokenizer.encode("ab <e> a\u{301}b abc"))
            case .checkpoint:
                let checkpoint = try SparseCheckpoint(TensorFiles.open(path))
                for name in checkpoint.names { _ = try checkpoint.matrix(name) }
            }
        }
    }

    static func checkpoint() throws -> [UInt8] {
        let scratch = try Scratch()
        let writer = try CheckpointWriter(directory: scratch.path)
        for (index, format) in ["bitmask-bf16", "bitmask-int8", "int4", "bitmask-int4"].enumerated() {
            let (weight, mask) = SparseCheckpointTests.weight(2, 9, seed: index)
            let format = try #require(StorageFormat(description: format))
            try writer.write(
                "\(index).weight",
                WeightStore.make(
                    weight, mask: format.layout == .dense ? nil : mask, layout: format.layout, values: format.values))
        }
        try writer.finish(configuration: JSONObject())
        return try FileSystem.readBytes(scratch.file("model.safetensors"))
    }

    @Test(arguments: Kind.allCases) func validFilesAreAccepted(kind: Kind) throws {
        let scratch = try Scratch()
        _ = try scratch.write(Self.safetensors(), to: "f.safetensors")
        try kind.use(scratch.write(kind.bytes(), to: "file"))
    }

    @Test(arguments: Kind.allCases) func filesCutOffAnywhere(kind: Kind) throws {
        let scratch = try Scratch()
        _ = try scratch.write(Self.safetensors(), to: "f.safetensors")
        let bytes = try kind.bytes()
        let path = try scratch.write(bytes, to: "file")
        for length in bytes.indices.reversed() {
            try scratch.overwrite(Array(bytes[..<length]), in: "file")
            // The end of a GGUF file may be padding that belongs to no tensor; nothing is missing then.
            let error = failure { try kind.use(path) }
            #expect(error?.description.contains(path) == true, "\(kind) cut to \(length): \(String(describing: error))")
        }
    }

    @Test(arguments: Kind.allCases) func flippedBits(kind: Kind) throws {
        let scratch = try Scratch()
        _ = try scratch.write(Self.safetensors(), to: "f.safetensors")
        let bytes = try kind.bytes()
        let path = try scratch.write(bytes, to: "file")
        for position in bytes.indices where kind != .checkpoint || position % 7 == 0 {
            for bit in [0, 3, 7] {
                var damaged = bytes
                damaged[position] ^= 1 << UInt8(bit)
                try scratch.overwrite(damaged, in: "file")
                survives("\(kind) byte \(position) bit \(bit)") { try kind.use(path) }
            }
        }
    }

    /// Random edits of valid files: bytes, stretches removed, repeated or moved, lengths made huge.
    @Test(arguments: Kind.allCases) func mutatedFiles(kind: Kind) throws {
        let scratch = try Scratch()
        _ = try scratch.write(Self.safetensors(), to: "f.safetensors")
        let path = scratch.file("file")
        let valid = try kind.bytes()
        _ = try scratch.write(valid, to: "file")
        var generator = SeededGenerator(seed: 11, stream: UInt64(Kind.allCases.firstIndex(of: kind)!))
        for round in 0..<600 {
            var bytes = valid
            for _ in 0...Int.random(in: 0..<4, using: &generator) { Self.mutate(&bytes, &generator) }
            try scratch.overwrite(bytes, in: "file")
            survives("\(kind) round \(round)") { try kind.use(path) }
        }
    }

    static func mutate(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        guard !bytes.isEmpty else { return }
        let at = Int.random(in: 0..<bytes.count, using: &generator)
        let length = min(Int.random(in: 1..<24, using: &generator), bytes.count - at)
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: bytes[at] = UInt8.random(in: 0...255, using: &generator)
        case 1: bytes.removeSubrange(at..<at + length)
        case 2: bytes.insert(contentsOf: bytes[at..<at + length], at: at)
        case 3: bytes[at] = [0, 0x7F, 0x80, 0xFF, 0x22, 0x5B, 0x7B, 0x39].randomElement(using: &generator)!
        case 4: for i in at..<at + min(length, 8) { bytes[i] = 0xFF }
        default:
            let to = Int.random(in: 0...bytes.count - length, using: &generator)
            let piece = Array(bytes[at..<at + length])
            bytes.replaceSubrange(to..<to + length, with: piece)
        }
    }

    // MARK: Made to do harm

    private func malformed(_ bytes: [UInt8], _ open: (String) throws -> some TensorSource) throws -> String {
        let scratch = try Scratch()
        let path = try scratch.write(bytes, to: "file")
        guard case .malformed(path, let location, _) = failure({ try open(path) }) else {
            Issue.record("accepted, or another error")
            return ""
        }
        return location
    }

    private func header(_ json: String, data: Int = 0) -> [UInt8] {
        littleEndian(UInt64(json.utf8.count)) + Array(json.utf8) + [UInt8](repeating: 0, count: data)
    }

    @Test(arguments: [
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 8, "a.data_offsets"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,16]}}"#, 8, "a.data_offsets"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8, "a.data_offsets"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#, 8, "a.data_offsets"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}"#, 8, "a.data_offsets"),
        (#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8, "a.shape"),
        (#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0, "a.shape"),
        (#"{"a":{"dtype":"F32","shape":[0,9223372036854775807,2],"data_offsets":[0,0]}}"#, 0, "a.shape"),
        (#"{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,0]}}"#, 0, "byte"),
        (#"{"a":{"dtype":"F32","shape":[0.5],"data_offsets":[0,0]}}"#, 0, "a.shape"),
        (#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#, 8, "a.dtype"),
        (#"{"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}}"#, 8, "a.dtype"),
        (#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, 8, "a.dtype"),
        (#"{"a":[]}"#, 0, "a"),
        (#"{"__metadata__":{"x":1}}"#, 0, "__metadata__.x"),
        // A gap, an overlap, the same name twice, bytes left over, and a header that is nested deeply.
        (
            #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}"#,
            4, "b"
        ),
        (
            #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}}"#,
            4, "b"
        ),
        (
            #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#,
            4, "byte"
        ),
        (#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, 4, "data"),
        (#"{"a":[[[[[[[[[[]]]]]]]]]]}"#, 0, "byte"),
        (#"["a"]"#, 0, "header"), ("", 0, "header"), ("{", 0, "byte"),
    ])
    func safetensorsHeaders(json: String, data: Int, location: String) throws {
        #expect(try malformed(header(json, data: data)) { try SafetensorsFile($0) }.contains(location))
    }

    @Test func safetensorsLengths() throws {
        for length in [UInt64.max, 1 << 63, 1 << 40, 100_000_001, 3] {
            #expect(try malformed(littleEndian(length) + [0x7B, 0x7D]) { try SafetensorsFile($0) } == "header")
        }
        #expect(try malformed([]) { try SafetensorsFile($0) } == "header")
        #expect(
            try malformed(littleEndian(UInt64(4)) + [0x7B, 0xFF, 0xFE, 0x7D]) { try SafetensorsFile($0) }.contains(
                "byte"))
    }

    @Test func elementTypesWithoutUse() throws {
        let scratch = try Scratch()
        let path = try scratch.write(
            header(#"{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#, data: 2), to: "f")
        #expect(
            failure { try SafetensorsFile(path).float("a") }
                == .unsupported(file: path, what: "the numbers of tensor 'a', of type F8_E4M3"))
    }

    static let ggufFiles: [(String, [UInt8], String)] = [
        ("empty", [], "header"), ("other magic", Array("GGUG".utf8) + [UInt8](repeating: 0, count: 20), "header"),
        ("huge tensor count", padded(header(tensors: .max, values: 0), data: 64), "tensor count"),
        ("huge value count", padded(header(tensors: 0, values: 1 << 60), data: 64), "metadata count"),
        ("huge string", padded(header(tensors: 0, values: 1) + littleEndian(UInt64.max), data: 64), "metadata key 0"),
        (
            "huge array",
            padded(
                header(tensors: 0, values: 1) + value("k", 9, littleEndian(UInt32(0)) + littleEndian(UInt64(1 << 50))),
                data: 9),
            "metadata 'k'"
        ),
        (
            "array in array in array in array in array",
            padded(
                header(tensors: 0, values: 1)
                    + value("k", 9, (0..<9).flatMap { _ in littleEndian(UInt32(9)) + littleEndian(UInt64(1)) }),
                data: 64),
            "metadata 'k'"
        ),
        ("unknown value type", padded(header(tensors: 0, values: 1) + value("k", 13, []), data: 64), "metadata 'k'"),
        ("boolean of 2", padded(header(tensors: 0, values: 1) + value("k", 7, [2]), data: 64), "metadata 'k'"),
        (
            "invalid text",
            padded(header(tensors: 0, values: 1) + value("k", 8, littleEndian(UInt64(1)) + [0xFF]), data: 64),
            "metadata 'k'"
        ),
        (
            "key twice", padded(header(tensors: 0, values: 2) + value("k", 7, [1]) + value("k", 7, [1]), data: 64),
            "metadata 'k'"
        ),
        (
            "alignment of 0",
            padded(header(tensors: 0, values: 1) + value("general.alignment", 4, littleEndian(UInt32(0))), data: 64),
            "metadata 'general.alignment'"
        ),
        (
            "alignment of 3",
            padded(header(tensors: 0, values: 1) + value("general.alignment", 4, littleEndian(UInt32(3))), data: 64),
            "metadata 'general.alignment'"
        ),
        (
            "five dimensions",
            padded(header(tensors: 1, values: 0) + tensor("t", [1, 1, 1, 1, 1], type: 0, offset: 0), data: 64),
            "t"
        ),
        (
            "dimension beyond Int",
            padded(header(tensors: 1, values: 0) + tensor("t", [.max], type: 0, offset: 0), data: 64), "t"
        ),
        (
            "overflowing shape",
            padded(header(tensors: 1, values: 0) + tensor("t", [1 << 40, 1 << 40], type: 0, offset: 0), data: 64), "t"
        ),
        ("half a block", padded(header(tensors: 1, values: 0) + tensor("t", [16], type: 2, offset: 0), data: 64), "t"),
        ("unknown type", padded(header(tensors: 1, values: 0) + tensor("t", [16], type: 99, offset: 0), data: 64), "t"),
        ("odd offset", padded(header(tensors: 1, values: 0) + tensor("t", [1], type: 0, offset: 4), data: 64), "t"),
        ("offset beyond", padded(header(tensors: 1, values: 0) + tensor("t", [1], type: 0, offset: 64), data: 64), "t"),
        (
            "huge offset",
            padded(header(tensors: 1, values: 0) + tensor("t", [1], type: 0, offset: 0xFFFF_FFFF_FFFF_FFE0), data: 64),
            "t"
        ),
        (
            "overlap",
            padded(
                header(tensors: 2, values: 0) + tensor("t", [16], type: 0, offset: 0)
                    + tensor("u", [8], type: 0, offset: 32), data: 64), "u"
        ),
        (
            "name twice",
            padded(
                header(tensors: 2, values: 0) + tensor("t", [8], type: 0, offset: 0)
                    + tensor("t", [8], type: 0, offset: 32), data: 64), "t"
        ),
    ]

    @Test(arguments: ggufFiles.indices) func ggufHeaders(index: Int) throws {
        let (what, bytes, location) = Self.ggufFiles[index]
        #expect(try malformed(bytes) { try GGUFFile($0) } == location, "\(what)")
    }

    @Test func ggufVersionsAndTypes() throws {
        let scratch = try Scratch()
        for (bytes, what) in [
            (Self.header(tensors: 0, values: 0, version: 1), "GGUF version 1"),
            (Self.header(tensors: 0, values: 0, version: 0x0300_0000), "GGUF in big-endian order"),
            (
                Self.padded(
                    Self.header(tensors: 1, values: 0) + Self.tensor("t", [256], type: 16, offset: 0), data: 128),
                "tensor 't' of type IQ2_XXS"
            ),
        ] {
            let path = try scratch.write(bytes, to: "f")
            #expect(failure { try GGUFFile(path) } == .unsupported(file: path, what: what))
        }
    }

    @Test func tokenizersInGGUFFiles() throws {
        let scratch = try Scratch()
        func strings(_ values: [String]) -> [UInt8] {
            littleEndian(UInt32(8)) + littleEndian(UInt64(values.count)) + values.flatMap(Self.string)
        }
        func write(
            model: String = "gpt2", pre: String = "gpt-2", merges: [String] = ["a b"], types: [Int32] = [1, 1, 1],
            end: UInt32 = 2
        ) throws -> String {
            try scratch.write(
                Self.padded(
                    Self.header(tensors: 0, values: 6) + Self.value("tokenizer.ggml.model", 8, Self.string(model))
                        + Self.value("tokenizer.ggml.pre", 8, Self.string(pre))
                        + Self.value("tokenizer.ggml.tokens", 9, strings(["a", "b", "ab"]))
                        + Self.value("tokenizer.ggml.merges", 9, strings(merges))
                        + Self.value(
                            "tokenizer.ggml.token_type", 9,
                            littleEndian(UInt32(5)) + littleEndian(UInt64(types.count))
                                + types.flatMap { littleEndian($0) })
                        + Self.value("tokenizer.ggml.eos_token_id", 4, littleEndian(end)), data: 0), to: "f")
        }
        let good = try Tokenizer(gguf: GGUFFile(write()))
        #expect(good.encode("abba") == [2, 1, 0] && good.endTokens == [2])
        for path in [{ try write(model: "rwkv") }, { try write(pre: "default") }] as [() throws -> String] {
            guard case .unsupported = failure({ try Tokenizer(gguf: GGUFFile(path())) }) else {
                Issue.record("accepted")
                continue
            }
        }
        for path in [
            { try write(merges: ["ab"]) }, { try write(merges: ["b a"]) }, { try write(types: [1]) },
            { try write(end: 3) }, { try write(model: "llama", pre: "default") },
        ] as [() throws -> String] {
            guard case .malformed = failure({ try Tokenizer(gguf: GGUFFile(path())) }) else {
                Issue.record("accepted")
                continue
            }
        }
    }
}
