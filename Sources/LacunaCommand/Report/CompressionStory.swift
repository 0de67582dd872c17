import LacunaIO
import LacunaModels
import LacunaPrune
import LacunaTensor

/// A compression's result, told on the terminal, on a page and as JSON.
struct CompressionStory {
    let model: String
    let report: CompressionReport
    /// Of the model's files, before and after.
    let diskBytes: (before: Int, after: Int)
    let text: String
    let evaluation: String
    let trainingTokens: Int
    let prompts: [String]
    /// What the dense and the compressed model wrote after each prompt.
    let continuations: [[String]]
    let seconds: Double
    let directory: String

    private var plan: CompressionPlan { report.plan }

    /// A row for each step.
    var table: Table {
        var table = Table([
            .left("step"), .right("perplexity"), .right("÷ dense"), .right("KL"), .right("agreement"),
            .right("weights"),
            .right("bytes a token"), .right("tokens/s"), .right("trained on"), .right("took"),
        ])
        let dense = report.steps.first?.fidelity.perplexity ?? 1
        for step in report.steps {
            table.append([
                step.stage.title(plan.values), Quantities.fixed(step.fidelity.perplexity, 2),
                Quantities.fixed(step.fidelity.perplexity / dense, 3), Quantities.fixed(step.fidelity.divergence, 4),
                Quantities.percent(step.fidelity.agreement), Quantities.bytes(step.weightBytes),
                Quantities.bytes(step.bytesPerToken), step.tokensPerSecond.map { Quantities.fixed($0, 1) } ?? "",
                step.trainedTokens > 0 ? Quantities.grouped(step.trainedTokens) : "",
                step.seconds > 0 ? Quantities.duration(step.seconds) : "",
            ])
        }
        return table
    }

    /// What was tried before anything was done in earnest.
    var candidates: Table {
        var table = Table([
            .left("method"), .left("budget"), .right("KL"), .right("agreement"), .right("perplexity"), .right("took"),
        ])
        for candidate in report.candidates {
            let isChosen = candidate == report.chosen
            table.append([
                candidate.method + (isChosen ? " *" : ""), candidate.budget.rawValue,
                Quantities.fixed(candidate.fidelity.divergence, 4), Quantities.percent(candidate.fidelity.agreement),
                Quantities.fixed(candidate.fidelity.perplexity, 2), Quantities.duration(candidate.seconds),
            ])
        }
        return table
    }

    private var facts: [(name: String, value: String)] {
        let last = report.steps.last
        var facts = [
            ("model", model),
            (
                "removed",
                "\(Quantities.percent(last?.sparsity ?? 0, 2)) of the layers' weights; asked for \(plan.target.words)"
            ),
            ("on disk", "\(Quantities.bytes(diskBytes.before)) before, \(Quantities.bytes(diskBytes.after)) now"),
            ("general text", "\(text): \(Quantities.grouped(trainingTokens)) tokens to learn from"),
            (
                "measured on",
                "\(evaluation): \(Quantities.grouped(last?.fidelity.tokens ?? 0)) tokens, never trained on"
            ),
        ]
        if let steps = report.healingSteps {
            facts.append(
                (
                    "steps end to end",
                    "\(Quantities.grouped(steps)) of \(Quantities.grouped(plan.healing.tokensPerStep)) tokens "
                        + "(--heal \(plan.effort.words))"
                ))
        }
        if let control = report.control, let ratio = report.perplexityRatio {
            let how =
                plan.healing.teacherWeight == 1
                ? "the dense model learns nothing from itself" : "the dense model trained in the same way"
            facts.append(
                (
                    "control",
                    "perplexity \(Quantities.fixed(control.perplexity, 2)): \(how); ours is \(Quantities.fixed(ratio, 3)) × that"
                ))
        }
        facts.append(("memory", "\(Quantities.bytes(report.peakBytes)) at the most"))
        facts.append(("took", Quantities.duration(seconds)))
        return facts
    }

    private static let explanation =
        "KL: the mean divergence of the next token's distribution from the dense model's, in nats. Agreement: how often both think "
        + "the same token the likeliest. Bytes a token: what writing one reads."

    func text(console: Console) -> String {
        var parts = ["tried, * taken:\n" + candidates.text(console: console), table.text(console: console)]
        parts.append(Self.explanation)
        parts.append(facts.map { "\(console.styled($0.name + ":", .bold)) \($0.value)" }.joined(separator: "\n"))
        for (prompt, written) in zip(prompts, continuations) {
            parts.append(
                ([console.styled(prompt, .bold) + " …"]
                    + zip(["dense", "compressed"], written).map { "\($0): \(Self.oneLine($1))" })
                    .joined(separator: "\n"))
        }
        parts.append("written: \(directory)/")
        return parts.joined(separator: "\n\n")
    }

    private static func oneLine(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).map { $0.drop(while: \.isWhitespace) }.joined(separator: " ⏎ ")
    }

    var page: HTMLReport {
        var page = HTMLReport(
            title: "\(model), with \(Quantities.percent(report.steps.last?.sparsity ?? 0, 0)) of its weights removed",
            lead: "What every step cost and gained: quality on text that was never trained on, bytes, and speed.")
        page.table(table)
        page.paragraph(Self.explanation)
        page.chart(
            front("Quality against size", "bytes read for a token, in MB") { Double($0.bytesPerToken) / 1e6 })
        if report.steps.allSatisfy({ $0.tokensPerSecond != nil }) {
            page.chart(front("Quality against speed", "tokens written in a second") { $0.tokensPerSecond ?? 0 })
        }
        page.chart(
            BarChart(
                title: "Divergence from the dense model's predictions, in nats",
                bars: report.steps.dropFirst().map {
                    .init(
                        name: $0.stage.title(plan.values), value: $0.fidelity.divergence,
                        label: Quantities.fixed($0.fidelity.divergence, 4))
                }))
        page.heading("What was tried")
        page.paragraph(
            "Each on half of the calibration text, compared on held-out text. The composition with the smallest divergence, "
                + "marked *, was taken.")
        page.table(candidates)
        page.heading("What they write")
        for (prompt, written) in zip(prompts, continuations) {
            page.quotations(
                prompt: prompt, zip(["dense", "compressed"], written).map { ($0, Self.oneLine($1)) })
        }
        page.heading("Setting")
        page.facts(facts)
        return page
    }

    /// Every step as a point.
    private func front(_ title: String, _ axis: String, _ x: (CompressionReport.Step) -> Double) -> LineChart {
        LineChart(
            title: title, x: .init(title: axis), y: .init(title: "perplexity (logarithmic)", scale: .logarithmic),
            series: report.steps.map {
                .init(name: $0.stage.title(plan.values), points: [.init(x($0), $0.fidelity.perplexity)])
            })
    }

    var json: JSONValue {
        var object = report.json.objectValue ?? JSONObject()
        object["model"] = .string(model)
        object["directory"] = .string(directory)
        object["disk_bytes"] = ["before": JSONValue(diskBytes.before), "after": JSONValue(diskBytes.after)]
        object["run_seconds"] = .number(seconds)
        object["texts"] = .array(
            zip(prompts, continuations).map { prompt, written in
                ["prompt": .string(prompt), "dense": .string(written[0]), "compressed": .string(written[1])]
            })
        return .object(object)
    }
}
