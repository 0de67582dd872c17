import LacunaIO
import LacunaTensor
import Testing

/// `lacuna run --features` and `--steer`, and `lacuna explain probe`, on a small dictionary of a small model.
@Suite struct FeatureCommandTests {
    private final class Bed {
        let tiny: TinyModel
        var dictionary: String { tiny.root + "/sae/topk" }

        init() throws {
            tiny = try TinyModel()
            let outcome = try Program().run(
                "explain", "train", tiny.path, "--layer", "0", "--text", tiny.text, "--context", "16", "--width", "64",
                "--k", "4", "--batch", "32", "--steps", "40", "--learning-rate", "0.003", "--quiet", "--output",
                tiny.root + "/sae")
            #expect(outcome.status == 0, "\(outcome)")
        }

        func run(_ arguments: String...) throws -> ChildProcess.Outcome {
            try Program().run(["run", tiny.path, "--max-tokens", "6", "--quiet"] + arguments)
        }
    }

    @Test func tokensAreFollowedUpAndFeaturesHeld() throws {
        let bed = try Bed()
        let outcome = try bed.run("--prompt", "the gap", "--features", bed.dictionary, "--json")
        #expect(outcome.status == 0, "\(outcome)")
        let result = try JSONValue(parsing: outcome.output)
        let written = try #require(result["features"]?.arrayValue)
        let tokens = try #require(result["tokens"]?.arrayValue)
        #expect(written.count == tokens.count && written.map { $0["token"]! } == tokens && !tokens.isEmpty)
        let effects = try #require(written.last?["features"]?.arrayValue)
        #expect((1...5).contains(effects.count))
        for effect in effects {
            #expect((0..<64).contains(effect["feature"]!.intValue!) && effect["strength"]!.doubleValue! > 0)
            #expect((1..<7 + tokens.count).contains(effect["position"]!.intValue!))
        }
        let table = try bed.run("--prompt", "the gap", "--features", bed.dictionary)
        #expect(table.status == 0 && table.output.contains("features: effect at token"))
        #expect(table.output.contains("\(effects[0]["feature"]!.intValue!): "))

        // A feature held at a strength far beyond its own changes what is written; held at nothing, the text has no table.
        let feature = effects[0]["feature"]!.intValue!
        let steered = try bed.run(
            "--prompt", "the gap", "--features", bed.dictionary, "--steer", "\(feature)=500", "--json")
        #expect(steered.status == 0, "\(steered)")
        let other = try JSONValue(parsing: steered.output)
        #expect(other["tokens"]?.arrayValue != tokens && other["features"] == .null)
    }

    @Test func mistakesAreSaid() throws {
        let bed = try Bed()
        func refused(_ words: String, _ arguments: String...) throws {
            let outcome = try Program().run(["run", bed.tiny.path, "--quiet"] + arguments)
            #expect(outcome.status == 2 && outcome.errorOutput.contains(words), "\(outcome)")
        }
        try refused("give --features", "--prompt", "a", "--steer", "3=4")
        try refused("not FEATURE=STRENGTH", "--prompt", "a", "--features", bed.dictionary, "--steer", "3")
        try refused("given twice", "--prompt", "a", "--features", bed.dictionary, "--steer", "3=4", "--steer", "3=5")
        try refused("0...63", "--prompt", "a", "--features", bed.dictionary, "--steer", "64=4")
        try refused("--feature-site", "--prompt", "a", "--features", bed.dictionary, "--feature-site", "nowhere")
        try refused("after a --prompt", "--chat", "--features", bed.dictionary)
    }

    @Test func conceptsAreProbed() throws {
        let bed = try Bed()
        let outcome = try Program().run(
            "explain", "probe", bed.dictionary, "--model", bed.tiny.path, "--text", bed.tiny.text, "--context", "16",
            "--concepts", "kinds", "--json", "--quiet")
        #expect(outcome.status == 0, "\(outcome)")
        let report = try #require(JSONValue(parsing: outcome.output).arrayValue?.first)
        let rows = try #require(report["concepts"]?.arrayValue)
        // A token is a byte here: spaces begin words, and there are commas and full stops.
        #expect(rows.map { $0["concept"]?.stringValue } == ["begins a word", "punctuation"])
        #expect(rows.allSatisfy { $0["model"]!.doubleValue! > 0.9 && $0["single"]!.doubleValue! <= 1 })
        #expect(report["skipped"]?.arrayValue == ["capital", "number"])
    }
}
