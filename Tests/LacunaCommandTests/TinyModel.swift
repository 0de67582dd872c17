import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaCommand

/// A directory with a model of a few thousand weights and the simplest tokenizer there is: a token a byte. It is removed
/// with the last reference.
final class TinyModel {
    let root: String
    var path: String { root + "/model" }
    var text: String { root + "/text.txt" }

    /// - Parameter merging: Whether the tokenizer makes one token of "th", and so cuts texts otherwise than a token a byte.
    init(merging: Bool = false) throws {
        let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        root = FileSystem.join(folder, "lacuna-tiny-\(String(UInt64.random(in: 0 ... .max), radix: 36))")
        try FileSystem.createDirectory(root)
        let decoder = try Transformer(
            random: TransformerConfiguration(
                vocabularySize: 259, hiddenSize: 64, intermediateSizes: [128, 128], headCount: 4,
                keyValueHeadCount: 2, headSize: 16, maximumPositions: 256, tiedEmbeddings: true, endTokens: [257]),
            seed: 1)
        try decoder.save(to: path)
        try AtomicFile.write(Self.tokenizer(merging: merging).serialized(), to: path + "/tokenizer.json")
        try AtomicFile.write(Self.tokenizerConfiguration.serialized(), to: path + "/tokenizer_config.json")
        let words = ["the ", "gap ", "left ", "out, ", "on ", "purpose.\n"]
        var generator = SeededGenerator(seed: 3)
        let sentence = (0..<600).map { _ in words.randomElement(using: &generator)! }
        try AtomicFile.write(sentence.joined(), to: text)
    }

    deinit { try? FileSystem.remove(root) }

    /// Printable Latin-1 characters stand for their bytes, the others, in order, for characters from U+0100.
    private static var byteVocabulary: [(token: String, id: Int)] {
        var next: UInt32 = 0x100
        return (UInt32(0)..<256).map { byte in
            let isPrintable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
            defer { if !isPrintable { next += 1 } }
            return (String(Unicode.Scalar(isPrintable ? byte : next)!), Int(byte))
        }
    }

    private static func tokenizer(merging: Bool) -> JSONValue {
        var vocabulary = JSONObject()
        for (token, id) in byteVocabulary { vocabulary[token] = JSONValue(id) }
        if merging { vocabulary["th"] = 258 }
        func special(_ id: Int, _ content: String) -> JSONValue {
            [
                "id": JSONValue(id), "content": .string(content), "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            ]
        }
        return [
            "version": "1.0",
            "added_tokens": [special(256, "<|im_start|>"), special(257, "<|im_end|>")],
            "normalizer": nil,
            "pre_tokenizer": [
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
            ],
            "post_processor": nil,
            "decoder": ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true],
            "model": ["type": "BPE", "vocab": .object(vocabulary), "merges": merging ? ["t h"] : []],
        ]
    }

    private static let tokenizerConfiguration: JSONValue = [
        "eos_token": "<|im_end|>",
        "chat_template": .string(
            "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                + "'<|im_end|>' + '\\n'}}{% endfor %}"),
    ]

    /// Makes a sparse encoder of the tokenizer: a weight for every byte.
    static func writeEncoder(to folder: String, weights: [Float] = (0..<259).map { Float($0 % 7) / 4 }) throws {
        try FileSystem.createDirectory(folder)
        try AtomicFile.write(
            #"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.SparseStaticEmbedding"}]"#,
            to: folder + "/modules.json")
        try AtomicFile.write(tokenizer(merging: true).serialized(), to: folder + "/tokenizer.json")
        try AtomicFile.write(tokenizerConfiguration.serialized(), to: folder + "/tokenizer_config.json")
        let writer = try SafetensorsWriter(folder + "/model.safetensors")
        try writer.write("weight", type: .f32, shape: [weights.count], values: weights)
        try writer.finish()
    }

    /// The model as a GGUF file.
    func gguf() throws -> [UInt8] {
        let source = try SafetensorsFile(path + "/model.safetensors")
        func number(_ value: Int, _ bytes: Int) -> [UInt8] {
            (0..<bytes).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        func string(_ text: String) -> [UInt8] { number(text.utf8.count, 8) + Array(text.utf8) }
        func strings(_ texts: [String]) -> [UInt8] { number(8, 4) + number(texts.count, 8) + texts.flatMap(string) }
        var values: [(key: String, type: Int, bytes: [UInt8])] = [
            ("general.architecture", 8, string("llama")), ("tokenizer.ggml.model", 8, string("gpt2")),
            ("tokenizer.ggml.pre", 8, string("smollm")), ("tokenizer.ggml.merges", 9, strings(["t h"])),
            ("llama.attention.layer_norm_rms_epsilon", 6, number(Int(Float(1e-5).bitPattern), 4)),
        ]
        for (key, value) in [
            ("block_count", 2), ("embedding_length", 64), ("feed_forward_length", 128), ("attention.head_count", 4),
            ("attention.head_count_kv", 2), ("context_length", 256),
        ] { values.append(("llama.\(key)", 4, number(value, 4))) }
        var tokens = [String](repeating: "", count: 259)
        for (token, id) in Self.byteVocabulary { tokens[id] = token }
        tokens.replaceSubrange(256..., with: ["<|im_start|>", "<|im_end|>", "th"])
        values.append(("tokenizer.ggml.tokens", 9, strings(tokens)))
        let names = [
            "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
        ]
        let parts = [
            "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        ]
        var (infos, data): ([UInt8], [UInt8]) = ([], [])
        for info in source.tensors {
            var name = names[info.name] ?? info.name.replacing("model.layers.", with: "blk.")
            for (old, new) in parts { name = name.replacing(".\(old).", with: ".\(new).") }
            infos += string(name) + number(info.shape.count, 4) + info.shape.reversed().flatMap { number($0, 8) }
            infos += number(0, 4) + number(data.count, 8)
            data += Array(try source.bytes(of: info.name))
            while data.count % 32 != 0 { data.append(0) }
        }
        var file = Array("GGUF".utf8) + number(3, 4) + number(source.tensors.count, 8) + number(values.count, 8)
        for value in values { file += string(value.key) + number(value.type, 4) + value.bytes }
        file += infos
        while file.count % 32 != 0 { file.append(0) }
        return file + data
    }

    /// Runs the built program on arguments in which `MODEL` and `TEXT` stand for the paths, and `OUT` for the root.
    /// A configuration that goes on learning a model from a text.
    static func training(from model: String, text: String) -> String {
        """
        [data]
        kind = "text"
        path = "\(text)"
        window = 16
        batch = 2
        [model]
        from = "\(model)"
        [optimizer]
        learning_rate = 0.001
        [training]
        steps = 2
        """
    }

    func lacuna(_ arguments: String...) throws -> ChildProcess.Outcome { try lacuna(arguments: arguments) }

    func lacuna(arguments: [String]) throws -> ChildProcess.Outcome {
        let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
        let arguments = arguments.map {
            $0.replacing("MODEL", with: path).replacing("TEXT", with: text).replacing("OUT", with: root)
        }
        return try ChildProcess(executable: executable, arguments: arguments).run()
    }

    /// The same, with the result read as JSON.
    func json(_ arguments: String...) throws -> JSONValue { try json(arguments: arguments) }

    func json(arguments: [String]) throws -> JSONValue {
        let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
        let all = (arguments + ["--json", "--quiet"]).map {
            $0.replacing("MODEL", with: path).replacing("TEXT", with: text).replacing("OUT", with: root)
        }
        let outcome = try ChildProcess(executable: executable, arguments: all).run()
        #expect(outcome.status == 0, "\(arguments): \(outcome.errorOutput)")
        return try JSONValue(parsing: outcome.output)
    }
}
