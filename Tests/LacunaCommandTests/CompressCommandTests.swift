import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// A model compressed from the command line, on one small enough for a test.
@Suite struct CompressCommandTests {
    private func arguments(_ tiny: TinyModel, _ more: [String] = []) throws -> [String] {
        // Another text, of other words.
        let words = ["a ", "test ", "measures; ", "it ", "never ", "teaches. "]
        var generator = SeededGenerator(seed: 5)
        let text = (0..<300).map { _ in words.randomElement(using: &generator)! }.joined()
        try AtomicFile.write(text, to: tiny.root + "/test.txt")
        return [
            "compress", "MODEL", "--target", "2:4", "--weights", "int4", "--heal", "8steps", "--text", "TEXT",
            "--evaluate", "OUT/test.txt", "--output", "OUT/small", "--tokens", "400", "--sequences", "4",
            "--sequence-length", "64", "--block-steps", "2", "--window", "32", "--methods", "magnitude,wanda",
        ] + more
    }

    @Test func compressesReportsAndRuns() throws {
        let tiny = try TinyModel()
        let result = try tiny.json(arguments: arguments(tiny))
        let steps = try #require(result["steps"]?.arrayValue)
        #expect(
            steps.map { $0["stage"]?.stringValue } == ["dense", "pruned", "reconstructed", "rounded", "healed"])
        #expect(steps.allSatisfy { ($0["tokens_per_second"]?.doubleValue ?? 0) > 0 && $0["tokens"]?.intValue == 398 })
        #expect(result["candidates"]?.arrayValue?.count == 2 && result["healing_steps"]?.intValue == 8)
        #expect(result["texts"]?.arrayValue?.count == 3)
        let page = try FileSystem.readText(tiny.root + "/small/report.html")
        let charts = page.split(separator: "<figure>").dropFirst().map { $0.split(separator: "</figure>")[0] }
        #expect(charts.count == 3)
        for chart in charts { try expectWellFormed(String(chart)) }
        #expect(page.contains("rounded to int4") && page.contains("Quality against size"))
        // The other verbs take the output directory as a model.
        let tensors = try tiny.json("inspect", "OUT/small", "--filter", "mlp")["tensors"]?.arrayValue
        #expect(tensors?.count == 6 && tensors!.allSatisfy { $0["type"]?.stringValue == "2:4-int4" })
        let evaluated = try tiny.json("eval", "OUT/small", "--text", "OUT/test.txt", "--tokens", "400")
        let own = evaluated["perplexity"]?.doubleValue ?? evaluated.arrayValue?[0]["perplexity"]?.doubleValue
        let last = try #require(steps.last?["perplexity"]?.doubleValue)
        #expect(abs(try #require(own) - last) < 1e-3 * last)
        // A run that is there is not begun anew; one that is done has nothing left to do.
        let again = try tiny.lacuna(arguments: arguments(tiny))
        #expect(again.status == 2 && again.errorOutput.contains("--resume"))
        let resumed = try tiny.json(arguments: arguments(tiny, ["--resume"]))
        #expect(resumed["steps"] == result["steps"])
    }

    /// Called from anywhere, the program of a checkout finds the checkout's texts: what is said is what comes after.
    @Test func textsAreFoundFromTheProgram() throws {
        let (tiny, folder) = (try TinyModel(), try Folder())
        let program = Program(directory: folder.path)
        let compressed = try program.run("compress", tiny.path, "--output", "out", "--resume")
        #expect(compressed.status == 2)
        #expect(compressed.errorOutput.contains("compression.json: is not there"))
        let shown = try program.run("demo", "--report", folder.path)
        #expect(shown.status == 2 && shown.errorOutput.contains("is a directory"))
        let other = try program.run("demo", "--report", folder.path, "--data", "nowhere")
        #expect(other.errorOutput.contains("nowhere/test.txt: is not there: give the directory with --data"))
    }

    @Test func mistakesAreNamedBeforeTheWork() throws {
        let tiny = try TinyModel()
        func refusal(_ more: String...) throws -> String {
            let outcome = try tiny.lacuna(arguments: arguments(tiny, more))
            #expect(outcome.status == 2 && !FileSystem.exists(tiny.root + "/small"), "\(more)")
            return outcome.errorOutput
        }
        #expect(try refusal("--target", "half").contains("such as 50%"))
        #expect(try refusal("--heal", "soon").contains("such as 20min"))
        #expect(try refusal("--methods", "wandaa").contains("wanda"))
        #expect(try refusal("--budgets", "unifrom").contains("uniform"))
        #expect(try refusal("--evaluate", "TEXT").contains("learned by heart"))
        let early = try refusal("--resume")
        #expect(early.contains("compression.json: is not there") && early.contains("without --resume"))
    }
}
