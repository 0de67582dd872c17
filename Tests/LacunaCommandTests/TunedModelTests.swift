import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// Language models of other people's, tuned on a user's own lines and asked.
@Suite struct TunedModelTests {
    private let tiny: TinyModel

    init() throws {
        tiny = try TinyModel()
        // A template that begins the answer, as those of chat models do.
        let configuration: JSONValue = [
            "eos_token": "<|im_end|>",
            "chat_template": .string(
                "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
                    + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"),
        ]
        try AtomicFile.write(configuration.serialized(), to: tiny.path + "/tokenizer_config.json")
    }

    private func train(
        _ data: String, rest: String = "[optimizer]\nlearning_rate = 1e-3\n[training]\nsteps = 1", to output: String
    ) throws -> ChildProcess.Outcome {
        let config = """
            [data]
            \(data)
            [model]
            from = "\(tiny.path)"
            \(rest)
            """
        try AtomicFile.write(config, to: tiny.root + "/run.toml")
        return try tiny.lacuna("train", "OUT/run.toml", "--output", "OUT/" + output, "--quiet")
    }

    private func lines(_ objects: [JSONValue], to name: String) throws -> String {
        let path = tiny.root + "/" + name
        try AtomicFile.write(objects.map { $0.serialized() + "\n" }.joined(), to: path)
        return path
    }

    /// What was learned by heart is answered: questions and conversations, whose lines may have answers or not.
    @Test(arguments: ["answers", "chat"]) func linesAreAnswered(form: String) throws {
        let known = [("red", "stop, please"), ("green", "go"), ("amber", "wait\n\"a bit\"")]
        func line(_ question: String, _ answer: String?) -> JSONValue {
            if form == "answers" {
                return answer.map { ["question": .string(question), "answer": .string($0)] }
                    ?? ["question": .string(question)]
            }
            let turn: JSONValue = ["role": "user", "content": .string(question)]
            return [
                "messages": .array(
                    [turn] + (answer.map { [["role": "assistant", "content": .string($0)]] } ?? []))
            ]
        }
        let path = try lines(known.map { line($0, $1) }, to: "known.jsonl")
        let outcome = try train(
            """
            kind = "jsonl"
            path = "\(path)"
            valid = "\(path)"
            form = "\(form)"
            window = 96
            batch = 3
            \(form == "answers" ? "prompt = \"question\"" : "")
            """,
            rest: """
                [optimizer]
                learning_rate = 4e-3
                [training]
                steps = 150
                """, to: "tuned")
        #expect(outcome.status == 0, "\(outcome.errorOutput)")
        let asked = try lines([line("green", nil), line("amber", "?"), line("red", nil)], to: "new.jsonl")
        let found = try #require(try tiny.json("train", "OUT/tuned", "--predict", asked).arrayValue)
        #expect(found.map { $0["input"]?.stringValue } == ["line 1", "line 2", "line 3"])
        #expect(found.map { $0["prediction"]?.stringValue } == ["go", "wait\n\"a bit\"", "stop, please"])
        let table = try tiny.lacuna("train", "OUT/tuned", "--predict", asked)
        #expect(
            table.output
                == "input,prediction\nline 1,go\nline 2,\"wait\n\"\"a bit\"\"\"\nline 3,\"stop, please\"\n")
        // A line that asks nothing is named.
        let empty = try lines([line("red", nil), ["other": 1]], to: "bad.jsonl")
        let bad = try tiny.lacuna("train", "OUT/tuned", "--predict", empty)
        #expect(bad.status == 2 && bad.errorOutput.contains("line 2"), "\(bad.errorOutput)")
    }

    @Test func textsAreNotQuestions() throws {
        let outcome = try train(
            "kind = \"text\"\npath = \"\(tiny.text)\"\nwindow = 16", to: "tuned")
        #expect(outcome.status == 0, "\(outcome.errorOutput)")
        let refused = try tiny.lacuna("train", "OUT/tuned", "--predict", "TEXT")
        #expect(refused.status == 2 && refused.errorOutput.contains("lacuna run"), "\(refused.errorOutput)")
    }

    /// What texts spell is plain text, unless it is said that it is not.
    @Test func specialTokensOfTexts() throws {
        let text = tiny.root + "/special.txt"
        // Ten letters and ten tokens, or a letter for each character of their names.
        try AtomicFile.write(String(repeating: "a<|im_end|>", count: 10), to: text)
        func scored(_ options: String...) throws -> Int? {
            try tiny.json(arguments: ["eval", "MODEL", "--text", text] + options).arrayValue?.first?["tokensScored"]?
                .intValue
        }
        #expect(try scored() == 109)
        #expect(try scored("--special-tokens") == 19)
        for (option, count) in [("", 110), ("special_tokens = true", 20)] {
            let name = "tuned\(count)"
            let outcome = try train(
                "kind = \"text\"\npath = \"\(text)\"\nvalid = \"\(text)\"\nwindow = 8\n\(option)",
                to: name)
            #expect(outcome.status == 0 && outcome.output.contains("\(count) tokens"), "\(outcome)")
        }
        // Calibration reads few tokens where they are few.
        let choices: [(options: [String], status: Int32)] = [([], 0), (["--special-tokens"], 2)]
        for (options, status) in choices {
            let outcome = try tiny.lacuna(
                arguments: [
                    "prune", "MODEL", "--method", "wanda", "--calibration", text, "--sequences", "1",
                    "--sequence-length", "32", "--output", "OUT/p\(status)", "--quiet",
                ] + options)
            #expect(outcome.status == status, "\(outcome.errorOutput)")
        }
        #expect(
            try tiny.lacuna("prune", "MODEL", "--method", "magnitude", "--special-tokens", "--output", "OUT/q").status
                == 2)
    }

    /// A checkpoint of 4-bit codes with 16-bit scales, as other programs quantise, goes through every verb.
    @Test func packedWeights() throws {
        let source = try SafetensorsFile(tiny.path + "/model.safetensors")
        let (packed, plain) = (tiny.root + "/packed", tiny.root + "/plain")
        for folder in [packed, plain] {
            try FileSystem.createDirectory(folder)
            for name in ["tokenizer.json", "tokenizer_config.json"] {
                try AtomicFile.write(FileSystem.readText("\(tiny.path)/\(name)"), to: "\(folder)/\(name)")
            }
        }
        let (codes, floats) = (
            try SafetensorsWriter(packed + "/model.safetensors"), try SafetensorsWriter(plain + "/model.safetensors")
        )
        for info in source.tensors {
            let tensor = try source.float(info.name)
            guard info.name.hasSuffix("_proj.weight") else {
                try codes.write(info.name, tensor)
                try floats.write(info.name, tensor)
                continue
            }
            // Groups of 32 columns: the scale is a power of two, which 16 bits hold, and codes are -8...7.
            let (rows, columns, groups) = (tensor.rows, tensor.columns, tensor.columns / 32)
            var (words, scales) = ([Int32](repeating: 0, count: rows * columns / 8), [Float]())
            var values = tensor.scalars
            for group in 0..<rows * groups {
                let range = group * 32..<group * 32 + 32
                let most = values[range].map(abs).max() ?? 0
                let scale = Float(sign: .plus, exponent: Int((most / 7).exponent) + 1, significand: 1)
                scales.append(scale)
                for i in range {
                    let code = max(-8, min(7, Int((values[i] / scale).rounded())))
                    values[i] = Float(code) * scale
                    words[i / 8] |= Int32(truncatingIfNeeded: (code + 8) << (4 * (i % 8)))
                }
            }
            try floats.write(info.name, Tensor(values, shape: tensor.shape))
            let name = String(info.name.dropLast(".weight".count))
            try codes.write(name + ".weight_packed", type: .i32, shape: [rows, columns / 8], values: words)
            try codes.write(name + ".weight_scale", Tensor(scales, shape: [rows, groups]), as: .f16)
            try codes.write(name + ".weight_shape", type: .i64, shape: [2], values: [Int64(rows), Int64(columns)])
        }
        try codes.finish()
        try floats.finish()
        var object = try JSONFields(contentsOf: tiny.path + "/config.json").object
        object["lacuna"] = nil
        try AtomicFile.write(JSONValue.object(object).serialized(), to: plain + "/config.json")
        object["quantization_config"] = [
            "quant_method": "compressed-tensors", "format": "pack-quantized",
            "config_groups": [
                "group_0": [
                    "targets": ["Linear"],
                    "weights": [
                        "num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": true,
                    ],
                ]
            ],
        ]
        try AtomicFile.write(JSONValue.object(object).serialized(), to: packed + "/config.json")

        let listing = try tiny.json("inspect", "OUT/packed", "--filter", "proj")
        #expect(listing["tensors"]?.arrayValue?.isEmpty == false)
        func perplexity(_ model: String, _ options: String...) throws -> Double {
            let result = try tiny.json(
                arguments: ["eval", model, "--text", "TEXT", "--tokens", "256", "--window", "64"] + options)
            return try #require(result.arrayValue?.first?["perplexity"]?.doubleValue)
        }
        let expected = try perplexity("OUT/plain")
        // As floats the same numbers; as they are stored, inputs are rounded to bytes.
        #expect(abs(try perplexity("OUT/packed", "--weights", "f32") / expected - 1) < 1e-4)
        #expect(abs(try perplexity("OUT/packed") / expected - 1) < 0.02)
        #expect(try tiny.json("run", "OUT/packed", "--prompt", "the gap", "--max-tokens", "4")["tokens"] != nil)
        for (name, options) in [
            ("pruned", ["--method", "wanda", "--calibration", "TEXT", "--sequences", "2", "--sequence-length", "64"]),
            ("pruned.gguf", ["--method", "magnitude", "--format", "gguf"]),
        ] {
            _ = try tiny.json(
                arguments: ["prune", "OUT/packed", "--sparsity", "0.25", "--output", "OUT/" + name] + options)
            #expect(try perplexity("OUT/" + name).isFinite)
        }
        let config = """
            [data]
            kind = "text"
            path = "\(tiny.text)"
            window = 32
            batch = 2
            [model]
            from = "\(packed)"
            weights = "frozen"
            update = "low-rank"
            [optimizer]
            learning_rate = 1e-3
            [training]
            steps = 3
            """
        try AtomicFile.write(config, to: tiny.root + "/packed.toml")
        let tuned = try tiny.lacuna("train", "OUT/packed.toml", "--output", "OUT/tuned", "--quiet")
        #expect(tuned.status == 0, "\(tuned.errorOutput)")
        #expect(try perplexity("OUT/tuned").isFinite)
        let sweep = try tiny.lacuna(
            "sweep", "OUT/packed", "--text", "TEXT", "--tokens", "128", "--sparsities", "0.2", "--quiet")
        #expect(sweep.status == 0, "\(sweep.errorOutput)")
    }
}
