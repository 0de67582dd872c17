import Foundation
import Testing

@testable import BenchmarkHarness

private func sampleRow() -> Row {
    let dense = Measurement(name: "dense", work: Work(bytes: 100), seconds: [1, 1])
    let sparse = Measurement(name: "sparse", work: Work(bytes: 25), seconds: [0.3125, 0.3125])
    var row = Row(sparse, threads: 2)
    row.compare(sparse, with: dense)
    row.relate(sparse, to: Measurement(name: "read", work: Work(bytes: 200), seconds: [1, 1]))
    return row
}

@Test func rowsRelateTimesToBytes() {
    let row = sampleRow()
    #expect(row[.expected] == 4)
    #expect(row[.measured] == 3.2)
    #expect(row[.share] == 0.8)
    #expect(row[.bandwidthShare] == 0.4)
    #expect(row.remark == "computing: memory allows 2.5× this speed")
    #expect(row.baseline == "dense")
}

@Test func barsAreMetMissedOrOpen() {
    let row = sampleRow()
    #expect(Bar.atLeast(.measured, 3.2).isMet(by: row) == true)
    #expect(Bar.atLeast(.share, 0.85).isMet(by: row) == false)
    #expect(Bar.atMost(.measured, 3.2).isMet(by: row) == true)
    #expect(Bar.below(.measured, 3.2).isMet(by: row) == false)
    #expect(Bar.atLeast(.perplexity, 1).isMet(by: row) == nil)
}

@Test func tablesAlignAndCount() throws {
    var row = sampleRow()
    row.bars = [.atLeast(.measured, 3), .atLeast(.share, 0.85), .atLeast(.perplexity, 1)]
    var report = Report()
    report.sections = [
        Section("Products", explanation: "Why.", columns: [.threads, .measured], remarkTitle: "bound by", rows: [row])
    ]
    #expect(report.bars.met == 1 && report.bars.missed.count == 1 && report.bars.open == 1)
    let lines = report.sections[0].text.split(separator: "\n")
    #expect(lines[1].hasPrefix("        threads  measured  bar"))
    #expect(lines[2].hasPrefix("sparse        2     3.20×  measured ≥ 3.00×: met; share ≥ 85 %: missed"))
    let markdown = report.markdown(title: "T", introduction: "I.")
    #expect(markdown.contains("| --- | ---: | ---: | --- | --- |"))
    #expect(markdown.contains("share ≥ 85 %: **missed**"))
    #expect(markdown.contains("**Bars:** 1 met, 1 missed, 1 not measured."))
    let share = Metric.share.text(row[.share] ?? .nan)
    #expect(markdown.contains("- Products: sparse, threads 2: \(share); share ≥ 85 %"))
    #expect(try Report(json: report.json()).sections[0].rows == [row])
}

@Test(arguments: [(0.0000125, "12.5 µs"), (0.0325, "32.5 ms"), (2.5, "2.50 s"), (1.0, "1.00 s")])
func timesChooseTheirUnit(seconds: Double, text: String) {
    #expect(Format.time(seconds) == text)
}

@Test func peersCountAtTheirBest() throws {
    func results(_ speed: Double, values: String) throws -> PeerResults {
        let json = """
            {"peer": "p", "version": "1", "results": [{"values": "\(values)", "phase": "decode", "threads": 1,
             "tokensPerSecond": \(speed), "best": 1, "worst": 1, "tokens": 64, "bytes": 1}]}
            """
        return try JSONDecoder().decode(PeerResults.self, from: Data(json.utf8))
    }
    let merged = try results(10, values: "f32").best(with: results(12, values: "f32")).best(
        with: results(5, values: "bf16"))
    #expect(merged.result(values: "f32", phase: "decode", threads: 1)?.tokensPerSecond == 12)
    #expect(merged.result(values: "bf16", phase: "decode", threads: 1)?.tokensPerSecond == 5)
    #expect(merged.result(values: "f32", phase: "prefill", threads: 1) == nil)
}

@Test func stepsOfAPeer() throws {
    let json = #"{"version": "P 1", "results": [{"name": "MLP", "threads": 2, "seconds": 0.5, "best": 0.4}]}"#
    let peer = try JSONDecoder().decode(PeerSteps.self, from: Data(json.utf8))
    #expect(peer.seconds("MLP", threads: 2) == 0.5)
    #expect(peer.seconds("MLP", threads: 1) == nil && peer.seconds("GPT", threads: 2) == nil)
}
