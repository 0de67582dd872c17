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
    private static func tokenizer(merging: Bool) -> JSONValue {
        var vocabulary = JSONObject()
        var next: UInt32 = 0x100
        for byte in UInt32(0)..<256 {
            let isPrintable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
            vocabulary[String(Unicode.Scalar(isPrintable ? byte : next)!)] = JSONValue(Int(byte))
            if !isPrintable { next += 1 }
        }
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

    /// Runs the built program on arguments in which `MODEL` and `TEXT` stand for the paths, and `OUT` for the root.
    func lacuna(_ arguments: String...) throws -> ChildProcess.Outcome {
        let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
        let arguments = arguments.map {
            $0.replacing("MODEL", with: path).replacing("TEXT", with: text).replacing("OUT", with: root)
        }
        return try ChildProcess(executable: executable, arguments: arguments).run()
    }

    /// The same, with the result read as JSON.
    func json(_ arguments: String...) throws -> JSONValue {
        let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
        let all = (arguments + ["--json", "--quiet"]).map {
            $0.replacing("MODEL", with: path).replacing("TEXT", with: text).replacing("OUT", with: root)
        }
        let outcome = try ChildProcess(executable: executable, arguments: all).run()
        #expect(outcome.status == 0, "\(arguments): \(outcome.errorOutput)")
        return try JSONValue(parsing: outcome.output)
    }
}
