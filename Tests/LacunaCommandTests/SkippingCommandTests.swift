import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

@Suite struct SkippingCommandTests {
    @Test func calibrateRunAndCompare() throws {
        let tiny = try TinyModel()
        let written = try tiny.json(
            "calibrate", "MODEL", "--activation", "wina:0.4", "--calibration", "TEXT", "--sequences", "4",
            "--sequence-length", "64", "--output", "OUT/plan.json")
        #expect(written["request"]?.stringValue == "wina:0.4" && written["calibrationTokens"]?.intValue == 256)
        #expect(written["shares"]?.arrayValue?.count == 7)
        let again = try tiny.lacuna(
            "calibrate", "MODEL", "--activation", "wina:0.4", "--calibration", "TEXT", "--sequences", "4",
            "--sequence-length", "64", "--output", "OUT/plan.json", "--quiet")
        #expect(again.status == 2 && again.errorOutput.contains("--force"))

        let plain = try tiny.json("run", "MODEL", "--prompt", "the gap", "--max-tokens", "6")
        let run = try tiny.json(
            "run", "MODEL", "--prompt", "the gap", "--max-tokens", "6", "--activation", "OUT/plan.json")
        let skipping = try #require(run["skipping"])
        #expect(plain["skipping"]?.isNull == true && skipping["activation"]?.stringValue == "wina:0.4")
        #expect(abs((skipping["byteShare"]?.doubleValue ?? 0) - 0.6) < 0.1)
        #expect(abs((skipping["sparsity"]?.doubleValue ?? 0) - 0.4) < 0.1)
        #expect((run["bytesPerToken"]?.intValue ?? .max) < (plain["bytesPerToken"]?.intValue ?? 0))

        let rows = try #require(
            try tiny.json(
                "eval", "MODEL", "--text", "TEXT", "--tokens", "512", "--window", "128", "--activation", "teal:0.5",
                "--activation", "cats:0.2", "--activation", "OUT/plan.json", "--calibration", "TEXT"
            ).arrayValue)
        #expect(rows.map { $0["activation"]?.stringValue } == ["dense", "teal:0.5", "cats:0.2", "wina:0.4"])
        for (row, expected) in zip(rows, [0, 0.5, 0.2, 0.4]) {
            #expect(abs((row["sparsity"]?.doubleValue ?? 9) - expected) < 0.05)
            #expect(abs((row["linearShare"]?.doubleValue ?? 9) - (1 - expected)) < 0.1)
            #expect((row["perplexity"]?.doubleValue ?? 0) > 50)
        }
        let table = try tiny.lacuna(
            "eval", "MODEL", "--text", "TEXT", "--tokens", "256", "--activation", "OUT/plan.json", "--quiet")
        #expect(table.status == 0 && table.output.contains("wina:0.4") && table.output.contains("dense"))
    }

    @Test func benchModel() throws {
        let tiny = try TinyModel()
        let arguments = ["bench", "model", "MODEL", "--prompt-tokens", "20", "--new-tokens", "5", "--runs", "2"]
        let plain = try tiny.json(arguments: arguments)
        for (key, tokens) in [("reading", 20), ("writing", 5)] {
            let part = try #require(plain[key])
            let runs = part["runs"]?.arrayValue?.compactMap(\.doubleValue) ?? []
            #expect(part["tokens"]?.intValue == tokens && runs.count == 2 && runs.allSatisfy { $0 > 0 })
            #expect(part["tokensPerSecond"]?.doubleValue == (runs[0] + runs[1]) / 2)
        }
        #expect((plain["bytesPerToken"]?.intValue ?? 0) > 0 && plain["skipping"]?.isNull == true)
        let cats = ["--activation", "teal:0.5", "--calibration", "TEXT", "--text", "TEXT"]
        let skipping = try tiny.json(arguments: arguments + cats)
        #expect((skipping["bytesPerToken"]?.intValue ?? .max) < (plain["bytesPerToken"]?.intValue ?? 0))
        #expect(skipping["skipping"]?["activation"]?.stringValue == "teal:0.5")
        let table = try tiny.lacuna(arguments: arguments + ["--quiet"])
        #expect(table.status == 0 && table.output.contains("writing") && table.output.contains("GB/s"))
        for wrong in [
            ["--activation", "teal:0.5", "--calibration", "TEXT"], ["--prompt-tokens", "300"], ["--new-tokens", "1"],
            ["--text", "TEXT", "--prompt-tokens", "100000"],
        ] { #expect(try tiny.lacuna(arguments: arguments + wrong + ["--quiet"]).status == 2) }
    }

    @Test func keysAndValues() throws {
        let tiny = try TinyModel()
        let rows = try #require(
            try tiny.json(
                "eval", "MODEL", "--text", "TEXT", "--tokens", "256", "--window", "256", "--attention", "quest:0.25",
                "--kv", "mustafar:0.5"
            ).arrayValue)
        #expect(rows.map { $0["keys"]?.stringValue } == ["all keys", "quest:0.25, mustafar:0.5"])
        #expect(rows.allSatisfy { $0["tokensScored"]?.intValue == 128 })
        // Two layers, which Quest leaves alone.
        #expect(rows[0]["keyShare"]?.doubleValue == 1 && rows[1]["keyShare"]?.doubleValue == 1)
        #expect((rows[1]["cacheBytes"]?.intValue ?? .max) < (rows[0]["cacheBytes"]?.intValue ?? 0))
        let window = try tiny.json(
            "run", "MODEL", "--prompt", "the gap left out on purpose", "--max-tokens", "4", "--attention", "window:8")
        #expect((window["skipping"]?["keyShare"]?.doubleValue ?? 1) < 0.9)
        #expect(rows[1]["wholeQueries"]?.doubleValue == 1 && rows[1]["keyChoiceCost"]?.doubleValue == 0)
        let sums = try tiny.json(
            "eval", "MODEL", "--text", "TEXT", "--tokens", "128", "--window", "128", "--attention", "alisa:0.25",
            "--kv", "int4")
        let row = try #require(sums.arrayValue?.last)
        #expect(row["wholeQueries"]?.doubleValue == 0 && (row["keyChoiceCost"]?.doubleValue ?? 0) > 0)
        let double = try tiny.json(
            "eval", "MODEL", "--text", "TEXT", "--tokens", "128", "--window", "128", "--attention", "double:0.25",
            "--calibration", "TEXT")
        #expect(double.arrayValue?.last?["keys"]?.stringValue == "double:0.25")
        let prompts = try #require(
            try tiny.json(
                "eval", "MODEL", "--text", "TEXT", "--tokens", "256", "--window", "256", "--prefill",
                "block-sparse:0.3",
                "--evict", "snapkv:0.25", "--kv", "int8"
            ).arrayValue)
        #expect(
            prompts.map { $0["keys"]?.stringValue } == ["all keys", "all keys, block-sparse:0.3, snapkv:0.25, int8"])
        #expect(prompts[0]["promptShare"]?.doubleValue == 1 && prompts[0]["promptCost"]?.doubleValue == 0)
        #expect((prompts[1]["promptShare"]?.doubleValue ?? 1) < 0.8 && (prompts[1]["promptCost"]?.doubleValue ?? 0) > 0)
        #expect((prompts[1]["keyShare"]?.doubleValue ?? 1) < 0.8)
        #expect((prompts[1]["cacheBytes"]?.intValue ?? .max) < (prompts[0]["cacheBytes"]?.intValue ?? 0) / 4)
        let plain = try tiny.json("run", "MODEL", "--prompt", "the gap left out on purpose", "--max-tokens", "12")
        let corrected = try tiny.json(
            "run", "MODEL", "--prompt", "the gap left out on purpose", "--max-tokens", "12", "--attention",
            "window:500",
            "--correct", "4")
        // A draft that leaves nothing out is the model's own text.
        #expect(corrected["tokens"] == plain["tokens"] && corrected["skipping"]?["keyShare"]?.doubleValue == 1)
        #expect((corrected["rounds"]?.intValue ?? 0) >= 3 && (corrected["rounds"]?.intValue ?? 99) <= 12)
        let sparse = try tiny.lacuna(
            "run", "MODEL", "--prompt", "the gap left out on purpose", "--max-tokens", "12", "--attention", "window:3",
            "--correct", "4")
        #expect(sparse.status == 0 && sparse.errorOutput.contains("passes of the whole model"))
        let kept = try tiny.lacuna("run", "MODEL", "--prompt", "the gap", "--max-tokens", "4", "--kv", "int8")
        #expect(kept.status == 0 && kept.errorOutput.contains("int8"))
    }

    /// A gate is learned, read by, and refused where it is not one.
    @Test func gatesInFiles() throws {
        let tiny = try TinyModel()
        let written = try tiny.json(
            "calibrate", "MODEL", "--prefill", "seer:0.3", "--block", "8", "--steps", "5", "--calibration", "TEXT",
            "--sequences", "2", "--sequence-length", "64", "--output", "OUT/gate.safetensors")
        #expect(written["request"]?.stringValue == "seer:0.3" && written["block"]?.intValue == 8)
        let rows = try #require(
            try tiny.json(
                "eval", "MODEL", "--text", "TEXT", "--tokens", "256", "--window", "256", "--prefill",
                "OUT/gate.safetensors"
            ).arrayValue)
        #expect(rows.last?["keys"]?.stringValue == "all keys, seer:0.3")
        #expect((rows.last?["promptShare"]?.doubleValue ?? 1) < 0.6)
        for arguments in [
            ["run", "MODEL", "--prompt", "a", "--prefill", "TEXT"],
            ["calibrate", "MODEL", "--prefill", "seer:2", "--calibration", "TEXT", "--output", "OUT/x"],
            ["calibrate", "MODEL", "--prefill", "seer:0.3", "--output", "OUT/x"],
            ["calibrate", "MODEL", "--calibration", "TEXT", "--output", "OUT/x"],
            [
                "calibrate", "MODEL", "--activation", "wina:0.4", "--block", "8", "--calibration", "TEXT", "--output",
                "OUT/x",
            ],
        ] {
            let executable = try #require(CommandLineTests.executable)
            let all = (arguments + ["--quiet"]).map {
                $0.replacing("MODEL", with: tiny.path).replacing("TEXT", with: tiny.text).replacing(
                    "OUT", with: tiny.root)
            }
            let outcome = try ChildProcess(executable: executable, arguments: all).run()
            #expect(outcome.status != 0 && !outcome.errorOutput.isEmpty, "\(arguments): \(outcome.output)")
        }
    }

    /// A page with a row for each of two layers and one for both, and columns of what was left out.
    @Test func pagesOfWhatWasLeftOut() throws {
        let tiny = try TinyModel()
        let run = [
            "run", "MODEL", "--prompt", "the gap left out on purpose", "--max-tokens", "4", "--activation",
            "teal+top:0.4", "--attention", "window:8", "--report", "OUT/left-out.html",
        ]
        let json = try tiny.json(arguments: run)
        let roles = try #require(json["skipping"]?["roles"])
        #expect(roles["mlp.down_proj"]?["layers"]?.arrayValue?.count == 2)
        #expect(abs((roles["self_attn.q_proj"]?["sparsity"]?.doubleValue ?? 0) - 0.4) < 0.02)
        let page = try FileSystem.readText(tiny.root + "/left-out.html")
        #expect(page.contains("mlp.down_proj") && page.contains("to choose keys"))
        let rows = page.ranges(of: "<tr>").count
        #expect(rows == 4, "\(rows)")
        let again = try tiny.json(arguments: run + ["--force"])
        #expect(again["tokens"] == json["tokens"])
        let outcome = try tiny.lacuna("run", "MODEL", "--prompt", "a", "--report", "OUT/x.html")
        #expect(outcome.status != 0 && outcome.errorOutput.contains("--activation"))
    }

    @Test func whatCannotBeIsRefused() throws {
        let tiny = try TinyModel()
        for arguments in [
            ["run", "--prompt", "a", "--activation", "wina"], ["run", "--prompt", "a", "--activation", "wina:2"],
            ["run", "--prompt", "a", "--activation", "wino:0.4"], ["run", "--prompt", "a", "--activation", "wina:0.4"],
            ["run", "--prompt", "a", "--activation", "teal+top:0.4", "--weights", "int8"],
            ["run", "--prompt", "a", "--calibration", "TEXT"], ["run", "--prompt", "a", "--allocation", "greedy"],
            ["run", "--prompt", "a", "--activation", "teal+top:0.4", "--activation", "spark:0.2"],
            ["run", "--prompt", "a", "--attention", "quest"], ["run", "--prompt", "a", "--attention", "quest:0"],
            ["run", "--prompt", "a", "--attention", "double:0.5"],
            ["run", "--prompt", "a", "--kv", "int8:3"], ["run", "--prompt", "a", "--kv", "mustafar:1"],
            ["run", "--prompt", "a", "--correct", "4"],
            ["run", "--prompt", "a", "--attention", "window:4", "--correct", "4", "--kv", "int8"],
            ["run", "--prompt", "a", "--attention", "window:4", "--correct", "4", "--temperature", "0.5"],
            ["run", "--chat", "--attention", "window:4", "--correct", "4"],
            ["run", "--prompt", "a", "--attention", "alisa:0.5", "--correct", "4"],
            ["run", "--chat", "--attention", "window:4", "--report", "OUT/x.html"],
            ["run", "--prompt", "a", "--kv", "int4:1"],
            ["run", "--prompt", "a", "--prefill", "quest:0.5"], ["run", "--prompt", "a", "--prefill", "flexprefill:2"],
            ["run", "--prompt", "a", "--evict", "snapkv"], ["run", "--prompt", "a", "--evict", "int8"],
            ["eval", "--text", "TEXT", "--evict", "snapkv:0.5", "--stride", "5"],
            ["eval", "--text", "TEXT", "--prefill", "block-sparse:0.5", "--compare", "MODEL"],
            ["run", "--prompt", "a", "--kv", "mustafa:0.5"], ["run", "--prompt", "a", "--attention", "window:0.5"],
            ["eval", "--text", "TEXT", "--activation", "teal+top:0.4", "--compare", "MODEL"],
            ["eval", "--text", "TEXT", "--kv", "int8", "--at-most", "5"],
            ["calibrate", "--activation", "wina:0.4", "--output", "OUT/x.json"],
            ["calibrate", "--activation", "spark:0.4", "--allocation", "greedy", "--output", "OUT/x.json"],
            ["calibrate", "--activation", "spark:0.2", "--output", "-"],
        ] {
            let executable = try #require(CommandLineTests.executable)
            let all = ([arguments[0], "MODEL"] + arguments.dropFirst() + ["--quiet"]).map {
                $0.replacing("MODEL", with: tiny.path).replacing("TEXT", with: tiny.text).replacing(
                    "OUT", with: tiny.root)
            }
            let outcome = try ChildProcess(executable: executable, arguments: all).run()
            #expect(outcome.status == 2, "\(arguments): \(outcome.status) \(outcome.output)")
            #expect(!outcome.errorOutput.isEmpty)
        }
        // What goes beside a plan replaces nothing of anybody else's, forced or not.
        let ranks = ["calibrate", "MODEL", "--activation", "r-sparse:0.4", "--calibration", "TEXT", "--sequences", "4"]
        for (place, more) in [("MODEL/model.json", []), ("MODEL/model.json", ["--force"]), ("MODEL/model", [])] {
            let before = try FileSystem.readBytes(tiny.path + "/model.safetensors")
            let outcome = try tiny.lacuna(arguments: ranks + ["--output", place, "--quiet"] + more)
            #expect(outcome.status == 2 && outcome.errorOutput.contains("model.safetensors"), "\(outcome)")
            #expect(try FileSystem.readBytes(tiny.path + "/model.safetensors") == before)
            #expect(!FileSystem.exists(tiny.path + "/model.json"))
        }
        #expect(try tiny.lacuna(arguments: ranks + ["--output", "/dev/null", "--quiet"]).status == 2)
        for more in [[], ["--force"]] {
            let outcome = try tiny.lacuna(
                arguments: ranks + ["--sequence-length", "64", "--output", "OUT/ranks.json", "--quiet"] + more)
            #expect(outcome.status == 0, "\(outcome)")
        }
        let typo = try tiny.lacuna("run", "MODEL", "--prompt", "a", "--kv", "mustafa:0.5")
        #expect(typo.errorOutput.contains("did you mean 'mustafar'"))
        let stored = try tiny.lacuna(
            "run", "MODEL", "--prompt", "a", "--activation", "teal+top:0.4", "--weights", "int8")
        #expect(stored.errorOutput.contains("self_attn.q_proj") && stored.errorOutput.contains("--weights bf16"))
    }
}
