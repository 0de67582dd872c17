import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

@Suite struct MannersTests {
    @Test(arguments: [
        (["purne", "x"], "there is no command 'purne'; did you mean 'prune'?"),
        (["fit", "laso", "x.csv"], "there is no command 'laso'; did you mean 'lasso'?"),
        (["bench", "kernel"], "did you mean 'kernels'?"),
        (["run", "smolm2", "--prompt", "x"], "did you mean 'smollm2'?"),
        (["data", "fashon-mnist"], "did you mean 'fashion-mnist'?"),
        (["prune", "m", "--output", "/tmp/never", "--method", "wnda"], "did you mean 'wanda'?"),
        (
            ["prune", "m", "--output", "/tmp/never", "--method", "magnitude", "--pattern", "unstructred"],
            "did you mean 'unstructured'?"
        ),
        (["reproduce", "dsnto"], "did you mean 'DSnoT'?"),
        (["train", "--example", "mlp-fashon"], "did you mean 'mlp-fashion'?"),
    ])
    func mistypedNamesAreGuessed(_ arguments: [String], _ guess: String) throws {
        let outcome = try Program(environment: ["LACUNA_CACHE": "/nowhere"]).run(arguments)
        #expect(outcome.status == 2 && outcome.errorOutput.contains(guess), "\(outcome.errorOutput)")
    }

    @Test func nothingIsGuessedFromNonsense() throws {
        for word in ["frobnicate", "x", "zzzzzz"] {
            let outcome = try Program().run(word)
            #expect(
                outcome.errorOutput.contains("there is no command '\(word)'") && !outcome.errorOutput.contains("mean"))
        }
        #expect(LacunaMain.unknownCommand(["help", "prune"]) == nil)
        #expect(LacunaMain.unknownCommand(["prune", "purne"]) == nil)
        #expect(LacunaMain.unknownCommand(["--help"]) == nil)
    }

    @Test(arguments: ["bash", "zsh", "fish"]) func completionsKnowFilesAndNames(shell: String) throws {
        let script = try Program().run("--generate-completion-script", shell)
        #expect(script.status == 0)
        for word in ["wanda", "magnitude+dsnot", "unstructured:row", "2:4", "mlp-fashion", "smollm2", "dsnot", "toml"] {
            #expect(script.output.contains(word), "\(shell) does not offer \(word)")
        }
        // Files, directories, and models through the program itself.
        #expect(script.output.contains("---completion prune"))
        let files = ["bash": "compgen -f", "zsh": "_files", "fish": "__fish_complete_path"]
        #expect(script.output.contains(try #require(files[shell])) || script.output.contains("-f"))
    }

    @Test func modelsAreOfferedByNameAndPath() throws {
        let folder = try Folder()
        try FileSystem.createDirectory(folder.file("models-a"))
        try folder.write("", to: "models-b.gguf")
        func offered(_ prefix: String) throws -> [String] {
            try Program(directory: folder.path).run(
                "---completion", "prune", "--", "positional@0", "2", "\(prefix.count)", "lacuna", "prune", prefix
            ).output.split(separator: "\n").map(String.init)
        }
        #expect(try offered("smo") == ["smollm2"])
        #expect(try offered("models") == ["models-a/", "models-b.gguf"])
        #expect(try offered(folder.file("models-b")) == [folder.file("models-b.gguf")])
    }

    // MARK: Terminals

    @Test func commandsToTheTerminalAreSpeltOut() {
        #expect(
            Printable.name("a\u{1B}[31mb\nc\u{7F}\u{9B}d\u{202E}e") == "a\\u001b[31mb\\u000ac\\u007f\\u009bd\\u202ee")
        #expect(Printable.name("Größe → 漢字 𝕏") == "Größe → 漢字 𝕏")
        let bold = "\u{1B}[1mtitle\u{1B}[0m\n\tbody"
        #expect(Printable.text(bold) == bold)
        #expect(Printable.text("\u{1B}]0;owned\u{7}\(bold)\u{1B}[2J") == "\\u001b]0;owned\\u0007\(bold)\\u001b[2J")
        #expect(Printable.prose("a\u{1B}[1mb\n") == "a\\u001b[1mb\n")
        var table = Table([.left("name")])
        table.append(["\u{1B}[1mx"])
        #expect(table.rows == [["\\u001b[1mx"]])
    }

    @Test func namesFromFilesReachNoTerminalRaw() throws {
        let folder = try Folder()
        let name = "w\\u001b[2J\\u001b]0;owned\\u0007"
        var header = Array(#"{"\#(name)":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#.utf8)
        while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
        let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> ($0 * 8)) }
        let file = try folder.write(length + header + [0, 0, 128, 63, 0, 0, 192, 127], to: "x.safetensors")
        let table = try folder.write("\"a\u{1B}[2J\",\"y\u{7}\"\n1,2\n2,3\n3,5\n4,6\n", to: "t.csv")
        for command in [
            ["inspect", file], ["inspect", file, "--json"], ["inspect", folder.file("no\u{1B}[2Jthing")],
            ["fit", "lasso", table, "--target", "y\u{7}", "--lambda", "0.01"],
            ["fit", "lasso", table, "--target", "z\u{1B}c"],
        ] {
            let outcome = try Program().run(command)
            #expect(!(outcome.output + outcome.errorOutput).unicodeScalars.contains { $0.value == 27 || $0.value == 7 })
            if command.last == "--json" {
                let found = try JSONValue(parsing: outcome.output)["tensors"]?.arrayValue?.first?["name"]?.stringValue
                #expect(found == "w\u{1B}[2J\u{1B}]0;owned\u{7}")
            }
        }
    }

    // MARK: Interruption

    /// A product that looks at nothing until it is done takes minutes; the answer takes a moment.
    @Test(arguments: [SIGINT, SIGTERM, SIGHUP]) func theAnswerToASignalIsQuick(signal: Int32) throws {
        let executable = try #require(CommandLineTests.executable)
        let process = ChildProcess(
            executable: executable,
            arguments: [
                "bench", "kernels", "--rows", "3000", "--columns", "3000", "--vectors", "3000", "--rounds", "1000",
                "--quiet",
            ])
        var (child, ticks, sent) = (pid_t(), 0, 0.0)
        let outcome = try process.run(
            started: { child = $0 },
            whileRunning: {
                ticks += 1
                guard ticks == 12 else { return }
                sent = monotonicSeconds()
                kill(child, signal)
            })
        #expect(outcome.status == 128 + signal, "\(outcome)")
        // The watcher of the process looks ten times a second.
        #expect(monotonicSeconds() - sent < 0.5 + 0.2)
    }

    @Test func hangUpsThatAreIgnoredStayIgnored() throws {
        let executable = try #require(CommandLineTests.executable)
        let outcome = try ChildProcess(
            executable: "/bin/sh",
            arguments: [
                "-c",
                "trap '' HUP; \"$0\" bench kernels --rows 600 --columns 600 --rounds 40 --quiet --json & p=$!; "
                    + "sleep 0.3; kill -HUP $p; wait $p",
                executable,
            ]
        ).run()
        #expect(outcome.status == 0, "\(outcome)")
        _ = try JSONValue(parsing: outcome.output)
    }

    // MARK: Models

    @Test func modelsWithOtherTokenizersAreComparedInBits() throws {
        let (plain, merging) = (try TinyModel(), try TinyModel(merging: true))
        let arguments = ["eval", plain.path, "--text", plain.text, "--compare", merging.path, "--quiet"]
        let whole = try Program().run(arguments)
        #expect(
            whole.status == 0 && whole.output.contains("different tokens") && !whole.output.contains("perplexity of"))
        let results = try #require(
            try JSONValue(parsing: Program().run(arguments + ["--tokens", "500", "--json"]).output).arrayValue)
        #expect(results[0]["tokens"]?.intValue == 500)
        // The second model reads the text of those 500 tokens, which are bytes, in fewer tokens.
        let text = try FileSystem.readText(plain.text).prefix(500)
        let pairs = text.components(separatedBy: "th").count - 1
        #expect(pairs > 5 && results[1]["tokens"]?.intValue == 500 - pairs)
        for result in results {
            let (loss, tokens) = (result["loss"]?.doubleValue ?? 0, Double(result["tokens"]?.intValue ?? 0))
            #expect(abs((result["bitsPerByte"]?.doubleValue ?? 0) - loss / logarithm(2) * tokens / 500) < 1e-9)
        }
        // The same tokens: perplexities, as ever.
        let same = try Program().run("eval", plain.path, "--text", plain.text, "--compare", plain.path, "--quiet")
        #expect(same.output.contains("perplexity of model / model: 1.0000"))
    }

    @Test func aNumberThatIsNoneIsNamedByEveryCommand() throws {
        let tiny = try TinyModel()
        let path = tiny.path + "/model.safetensors"
        let name = "model.layers.1.mlp.up_proj.weight"
        var bytes = try FileSystem.readBytes(path)
        let start = try SafetensorsFile(path).info(name).byteRange.lowerBound
        bytes.replaceSubrange(start + 4 * 65..<start + 4 * 66, with: [0, 0, 0xC0, 0x7F])
        try AtomicFile.write(bytes, to: path)
        try AtomicFile.write(TinyModel.training(from: tiny.path, text: tiny.text), to: tiny.root + "/tune.toml")
        for command in [
            ["run", tiny.path, "--prompt", "x"], ["eval", tiny.path, "--text", tiny.text],
            ["prune", tiny.path, "--method", "random", "--output", tiny.root + "/out"],
            ["sweep", tiny.path, "--text", tiny.text],
            ["train", tiny.root + "/tune.toml", "--output", tiny.root + "/out"],
        ] {
            let outcome = try Program().run(command)
            #expect(
                outcome.status == 2 && outcome.errorOutput.contains("tensor '\(name)': entry [1, 1] is not a finite"))
        }
        #expect(!FileSystem.exists(tiny.root + "/out"))
    }

    /// The same of encoders, dictionaries and networks that tables were learned with.
    @Test func aNumberThatIsNoneIsNamedInOtherModels() throws {
        let tiny = try TinyModel()
        try TinyModel.writeEncoder(to: tiny.root + "/encoder")
        try AtomicFile.write(#"{"_id": "a", "text": "gap"}"# + "\n", to: tiny.root + "/c.jsonl")
        try AtomicFile.write(
            "a,b,class\n" + (0..<20).map { "\($0),\($0 % 7),\($0 % 2)\n" }.joined(), to: tiny.root + "/t.csv")
        try AtomicFile.write(
            """
            [data]
            kind = "csv"
            path = "\(tiny.root)/t.csv"
            [model]
            kind = "mlp"
            hidden = [4]
            [optimizer]
            learning_rate = 0.1
            [training]
            steps = 2
            """, to: tiny.root + "/run.toml")
        let encode = ["encode", "OUT/c.jsonl", "--model", "OUT/encoder"]
        let predict = ["train", "OUT/run", "--predict", "OUT/t.csv"]
        let evaluate = [
            "explain", "eval", "OUT/sae/topk", "--model", "MODEL", "--text", "TEXT", "--context", "8", "--tokens", "64",
        ]
        func run(_ arguments: [String]) throws -> ChildProcess.Outcome {
            try Program().run(
                arguments.map {
                    $0.replacing("MODEL", with: tiny.path).replacing("TEXT", with: tiny.text)
                        .replacing("OUT", with: tiny.root)
                })
        }
        for command in [
            ["train", "OUT/run.toml", "--output", "OUT/run", "--quiet"],
            [
                "explain", "train", "MODEL", "--layer", "0", "--text", "TEXT", "--tokens", "256", "--context", "16",
                "--width",
                "16", "--k", "2", "--batch", "16", "--steps", "2", "--quiet", "--output", "OUT/sae",
            ], encode, predict, evaluate,
        ] {
            let outcome = try run(command)
            #expect(outcome.status == 0, "\(command): \(outcome)")
        }
        for (file, command) in [
            ("encoder/model", encode), ("run/model", predict), ("sae/topk/sae_weights", evaluate),
        ] {
            let path = "\(tiny.root)/\(file).safetensors"
            let first = try #require(try SafetensorsFile(path).tensors.first { $0.name != "b_dec" })
            var bytes = try FileSystem.readBytes(path)
            bytes.replaceSubrange(
                first.byteRange.lowerBound..<first.byteRange.lowerBound + 4, with: [0, 0, 0x80, 0x7F])
            try AtomicFile.write(bytes, to: path)
            let outcome = try run(command)
            #expect(outcome.status == 2 && outcome.errorOutput.contains("'\(first.name)'"), "\(command): \(outcome)")
            #expect(outcome.errorOutput.contains("finite"))
        }
    }

    @Test func aSingleSafetensorsFileIsExplained() throws {
        let tiny = try TinyModel()
        let outcome = try Program().run("run", tiny.path + "/model.safetensors", "--prompt", "x")
        #expect(outcome.status == 2 && outcome.errorOutput.contains("give its directory, with config.json"))
    }

    @Test func pruningKeepsTheTypesOfTheSource() throws {
        let tiny = try TinyModel()
        for (type, chosen) in [("f32", "f32"), ("bf16", "bf16"), ("int8", "int8"), ("int4", "int4")] {
            _ = try tiny.json(
                "prune", "MODEL", "--method", "magnitude", "--sparsity", "0", "--layout", "dense", "--weights", type,
                "--head", type, "--output", "OUT/\(type)")
            let before = try FileSystem.size("\(tiny.root)/\(type)")
            let report = try tiny.json(
                "prune", "OUT/\(type)", "--method", "magnitude", "--output", "OUT/\(type)-sparse")
            #expect(report["values"]?.stringValue == chosen)
            // At 4 bits the rows of so small a model are shorter than what describes them.
            if type != "int4" { #expect(try FileSystem.size("\(tiny.root)/\(type)-sparse") < before) }
            let listing = try tiny.json("inspect", "OUT/\(type)-sparse")["tensors"]?.arrayValue ?? []
            #expect(
                listing.first { $0["name"]?.stringValue == "model.embed_tokens.weight" }?["type"]?.stringValue?
                    .hasSuffix(type) == true)
        }
        let text = try tiny.lacuna("prune", "OUT/int4", "--method", "magnitude", "--output", "OUT/x", "--quiet").output
        #expect(text.contains("chosen by default") && text.contains("values int4") && text.contains("--weights"))
    }

    // MARK: Tables

    @Test func tablesAsPeopleHaveThem() throws {
        let folder = try Folder()
        let rows = (0..<10).map { "\($0),\($0 * 3 % 7),\($0 + 1)\n" }.joined()
        let bare = try folder.write(rows, to: "bare.csv")
        let refused = try Program().run("fit", "lasso", bare, "--target", "3", "--lambda", "0.1")
        #expect(refused.status == 2 && refused.errorOutput.contains("--header no"))
        let fitted = try Program().run("fit", "lasso", bare, "--target", "3", "--lambda", "0.1", "--header", "no")
        #expect(
            fitted.status == 0 && fitted.output.contains("10 rows, 2 features") && fitted.output.contains("column 1"))
        // A word that is missing is no level, and no baseline.
        let words = ["NA", "DE", "FR"]
        let lines = (0..<12).map { "\(words[$0 % 3]),\($0 % 5),\($0)\n" }.joined()
        let countries = try folder.write("country,a,y\n" + lines, to: "countries.csv")
        let fit = ["fit", "lasso", countries, "--target", "y", "--lambda", "0.01", "--text", "one-hot"]
        let gap = try Program().run(fit)
        #expect(gap.status == 2 && gap.errorOutput.contains("column 'country': a word is missing in row 1"))
        #expect(try Program().run(fit + ["--missing", "drop"]).output.contains("8 rows, 3 features"))
        // Rows without a target go with --missing drop.
        let target = try folder.write("a,y\n1,2\n2,NA\n3,4\n4,5\n5,6\n", to: "target.csv")
        let lasso = ["fit", "lasso", target, "--target", "y", "--lambda", "0.01"]
        #expect(try Program().run(lasso).errorOutput.contains("--missing drop"))
        #expect(try Program().run(lasso + ["--missing", "drop"]).output.contains("4 rows, 1 features"))
    }

    @Test func messagesNameWhatThereIs() throws {
        let folder = try Folder()
        let train = try folder.write("a,b,y\n" + (0..<9).map { "\($0),\($0 % 4),\($0)\n" }.joined(), to: "t.csv")
        let fit = ["fit", "lasso", train, "--target", "y", "--lambda", "0.01", "--model", folder.file("m.json")]
        #expect(try Program().run(fit).status == 0)
        let gap = try folder.write("a,b\n1,2\n,3\n", to: "gap.csv")
        let predicted = try Program().run("fit", "predict", folder.file("m.json"), gap)
        #expect(predicted.status == 2 && predicted.errorOutput.contains("missing in row 2"))
        #expect(!predicted.errorOutput.contains("see --missing"))
        // The weight of a fold.
        let weights = (0..<9).map { "\($0),\($0 % 4 == 3 ? 1 : 0),\($0)\n" }.joined()
        let weighted = try folder.write("a,w,y\n" + weights, to: "w.csv")
        let folds = try Program().run("fit", "lasso", weighted, "--target", "y", "--weights", "w")
        #expect(folds.status == 2 && folds.errorOutput.contains("has no weight"))
        // Targets of MatrixMarket files.
        let size = "%%MatrixMarket matrix array real general\n"
        let matrix = try folder.write(size + "4 2\n1\n2\n3\n4\n1\n0\n1\n0\n", to: "A.mtx")
        let vector = try folder.write(size + "4 1\n1\n2\n3\n5\n", to: "b.mtx")
        let sparse = try folder.write(
            "%%MatrixMarket matrix coordinate real general\n4 1 3\n1 1 1\n2 1 2\n4 1 5\n", to: "s.mtx")
        let lasso = ["fit", "lasso", matrix, "--lambda", "0.01", "--target"]
        #expect(try Program().run(lasso + [vector]).status == 0 && Program().run(lasso + [sparse]).status == 0)
        #expect(try Program().run(lasso + [matrix]).errorOutput.contains("a target has 1 column, not 2"))
        #expect(try Program().run(lasso + ["1"]).errorOutput.contains("'1' is no file"))
        #expect(try Program().run("fit", "lasso", "x.svmlight").errorOutput.contains("No such file"))
    }
}
