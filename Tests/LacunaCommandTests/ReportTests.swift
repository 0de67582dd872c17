import LacunaReproduce
import Testing

@testable import LacunaCommand

@Suite struct ReportTests {
    static let hostile = "a <b> & \"c\" 'd' \u{1} </svg></script>"

    private func chart(_ scale: AxisTicks.Scale = .linear) -> LineChart {
        LineChart(
            title: Self.hostile, x: .init(title: "sparsity"), y: .init(title: "perplexity", scale: scale),
            series: [
                .init(
                    name: "wanda \(Self.hostile)", points: [.init(0, 29.6), .init(0.5, 60), .init(0.8, 4000)],
                    mark: (.init(0.5, 60), "knee & <more>")),
                .init(name: "dense", points: [.init(0, 29.6), .init(0.8, 29.6)], isReference: true),
            ])
    }

    @Test(arguments: [AxisTicks.Scale.linear, .logarithmic])
    func chartIsWellFormed(_ scale: AxisTicks.Scale) throws {
        let svg = chart(scale).svg()
        try expectWellFormed(svg)
        #expect(!svg.contains("<b>") && !svg.contains("nan") && !svg.contains("inf"))
        #expect(svg.components(separatedBy: "<polyline").count == 3)
        #expect(svg.components(separatedBy: "class=\"dot\"").count == 4)
    }

    @Test func chartLeavesOutWhatItCannotShow() throws {
        var chart = chart(.logarithmic)
        chart.series[0].points += [.init(0.9, .infinity), .init(0.95, .nan), .init(0.99, 0)]
        let svg = chart.svg()
        try expectWellFormed(svg)
        #expect(svg.components(separatedBy: "class=\"dot\"").count == 4)
    }

    @Test func emptyAndConstantDataAreDrawn() throws {
        var chart = chart()
        chart.series = []
        try expectWellFormed(chart.svg())
        chart.series = [.init(name: "one", points: [.init(1, 5)])]
        try expectWellFormed(chart.svg())
    }

    @Test func barsAreInProportion() throws {
        let bars = BarChart(
            title: "t",
            bars: [
                .init(name: "a", value: 200, label: "x"), .init(name: "b", value: 50, label: "y", group: 1),
                .init(name: "c", value: .nan, label: "z"),
            ])
        let svg = bars.svg()
        try expectWellFormed(svg)
        let widths = svg.components(separatedBy: "<rect class=\"bar").dropFirst().compactMap { part -> Double? in
            part.components(separatedBy: " width=\"")[1].split(separator: "\"").first.flatMap { Double($0) }
        }
        #expect(widths.count == 3)
        #expect(abs(widths[0] / widths[1] - 4) < 0.01 && widths[2] == 0)
    }

    @Test func pointsAreInsideTheAxes() {
        let ticks = AxisTicks(covering: 29.6...4000, scale: .logarithmic)
        #expect(ticks.values == [20, 50, 100, 200, 500, 1000, 2000, 5000])
        #expect(ticks.position(of: 20, scale: .logarithmic) == 0)
        #expect(abs(ticks.position(of: 5000, scale: .logarithmic) - 1) < 1e-12)
    }

    @Test(arguments: [
        (0.0...1.0, 6, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0.1...0.35, 6, ["0.1", "0.15", "0.2", "0.25", "0.3", "0.35"]),
        (-3.0...17.0, 6, ["-5", "0", "5", "10", "15", "20"]),
        (1e6...5e6, 5, ["10⁶", "2·10⁶", "3·10⁶", "4·10⁶", "5·10⁶"]),
    ])
    func linearTicksAreRound(_ range: ClosedRange<Double>, _ count: Int, _ expected: [String]) {
        #expect(AxisTicks(covering: range, scale: .linear, count: count).values.map(AxisTicks.label) == expected)
    }

    @Test func manyDecadesShowPowersOfTenOnly() {
        #expect(AxisTicks(covering: 2...3e5, scale: .logarithmic).values == [1, 10, 100, 1000, 1e4, 1e5, 1e6])
    }

    @Test func reportEscapesEverything() throws {
        var report = HTMLReport(title: Self.hostile, lead: Self.hostile)
        report.heading(Self.hostile)
        report.paragraph(Self.hostile)
        report.code(Self.hostile)
        report.facts([(Self.hostile, Self.hostile)])
        report.quotations(prompt: Self.hostile, [(Self.hostile, Self.hostile)])
        report.chart(BarChart(title: Self.hostile, bars: [.init(name: Self.hostile, value: 1, label: Self.hostile)]))
        report.table(Table([.left(Self.hostile)], rows: [[Self.hostile]]))
        report.chart(chart())
        let html = report.html()
        #expect(!html.contains("<b>") && !html.contains("</script>"))
        // The page is written so that it is XML, too, once the two HTML-only forms are mended.
        try expectWellFormed(
            html.replacing("<!DOCTYPE html>\n", with: "")
                .replacing("<meta charset=\"utf-8\">", with: "")
                .replacing("initial-scale=1\">", with: "initial-scale=1\"/>"))
    }

    @Test func reportLoadsNothing() {
        var report = HTMLReport(title: "t", lead: "l")
        report.chart(chart())
        let html = report.html().replacing("http://www.w3.org/2000/svg", with: "")
        for word in ["http:", "https:", "src=", "@import", "url("] { #expect(!html.contains(word)) }
    }

    /// What could not be run for lack of data is not passed over.
    @Test func aReproductionWithoutItsDataIsNotReproduced() throws {
        struct Half: Reproduction {
            let shortName = "Half"
            let paper = 1000
            let title = "Half a Paper"
            let claim = "It holds."
            let arXiv: String? = nil
            var checks: [Check]
            var missing: [String]
            func run(_ context: ReproductionContext) throws -> Outcome {
                Outcome(setting: "here", measurements: [], checks: checks, missing: missing)
            }
        }
        func report(_ checks: [Check], _ missing: [String]) throws -> ReproductionReport {
            try ReproductionReport(Half(checks: checks, missing: missing), ReproductionContext())
        }
        let good = Check("a", 1, .less, 2)
        #expect(try report([good], []).isReproduced)
        let half = try report([good], ["Data/a was not found."])
        #expect(!half.isReproduced && half.verdict == "reproduced as far as there was data")
        #expect(half.line(.output).contains("Data/a was not found.") && half.details.contains("Data/a was not found."))
        #expect(half.json["missing"]?.arrayValue?.count == 1 && half.json["reproduced"]?.boolValue == false)
        #expect(try report([], ["Data/a was not found."]).verdict == "not run, for lack of data")
        let page = ReproductionPage(reports: [half], quick: false, seed: 0).markdown
        #expect(page.contains("0 of 1 hold") && page.contains("Data/a was not found."))
    }
}
