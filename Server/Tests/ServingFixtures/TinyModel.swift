import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaServing
import LacunaTensor

/// A model of a few thousand random weights whose tokens are single bytes, with two special tokens and "th".
package struct TinyModel: Sendable {
    package let model: LanguageModel
    package static let template = """
        {% for m in messages %}{{ '<s>' + m.role[0] + m.content + '<e>' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<s>a' }}{% endif %}
        """

    /// The same with tools before the messages, which calls of functions in the form of Hermes are announced by.
    package static let toolTemplate =
        "{% if tools %}{% for t in tools %}{{ t.function.name }}<tool_call>{% endfor %}{% endif %}" + template

    package init(
        seed: UInt64 = 5, positions: Int = 256, hasTemplate: Bool = true, template: String = TinyModel.template
    ) throws {
        let path = "/tmp/lacuna-serving-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
        defer { try? FileSystem.remove(path) }
        let printable = Array(33...126) + Array(161...172) + Array(174...255)
        var vocabulary = JSONObject()
        var next = 256
        for byte in 0..<256 {
            let scalar = printable.contains(byte) ? byte : next
            if !printable.contains(byte) { next += 1 }
            vocabulary[String(UnicodeScalar(UInt32(scalar))!)] = JSONValue(byte)
        }
        vocabulary["th"] = 258
        let document: JSONValue = [
            "added_tokens": [
                ["id": 256, "content": "<s>", "special": true], ["id": 257, "content": "<e>", "special": true],
            ],
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false], "decoder": ["type": "ByteLevel"],
            "model": ["type": "BPE", "vocab": .object(vocabulary), "merges": ["t h"]],
        ]
        let decoder = try Transformer(
            random: TransformerConfiguration(
                vocabularySize: 259, hiddenSize: 32, intermediateSizes: [64, 64], headCount: 4, keyValueHeadCount: 2,
                headSize: 8, maximumPositions: positions, tiedEmbeddings: false, endTokens: [257]),
            seed: seed)
        try FileSystem.createDirectory(path)
        try AtomicFile.write(document.serialized(), to: path + "/tokenizer.json")
        var settings = JSONObject()
        settings["eos_token"] = "<e>"
        if hasTemplate { settings["chat_template"] = .string(template) }
        try AtomicFile.write(JSONValue.object(settings).serialized(), to: path + "/tokenizer_config.json")
        model = LanguageModel(name: "tiny", decoder: decoder, tokenizer: try Tokenizer(directory: path))
    }

    package func service(
        slots: Int = 8, queue: Int = 64, promptRows: Int = 16, context: Int = 256, limits: Service.Limits = .init(),
        apiKey: String? = nil
    ) throws -> Service {
        try Service(
            ServedModel(model), scheduling: .init(slots: slots, queue: queue, context: context, promptRows: promptRows),
            limits: limits, apiKey: apiKey)
    }
}
