import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

/// What is left out while models run, instead of weights for good: lists whose choices are combined.
struct SkippingSweepOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Instead of pruning: inputs to leave out of products, separated by commas, such as teal:0.3,wina:0.3 \
            ('lacuna methods' lists them), or files that 'lacuna calibrate' wrote.
            """,
            valueName: "list"))
    var activation: String?

    @Option(
        help: ArgumentHelp(
            "Keys that attention reads, separated by commas, such as quest:0.25,window:256, combined with the others.",
            valueName: "list"))
    var attention: String?

    @Option(
        help: ArgumentHelp(
            "How keys and values are kept, separated by commas, such as int8,int4,mustafar:0.5, combined with the others.",
            valueName: "list"))
    var kv: String?

    /// What is to be combined; nil if weights are to be pruned.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a list that names nothing.
    var sweep: SkippingSweep? {
        get throws {
            func list(_ words: String?, _ option: String) throws -> [String] {
                guard let words else { return [] }
                let found = words.split(separator: ",").map(String.init)
                if found.isEmpty { throw LacunaError.invalidArgument(option, reason: "names none") }
                return found
            }
            if activation == nil && attention == nil && kv == nil { return nil }
            return SkippingSweep(
                activations: try list(activation, "--activation"), attentions: try list(attention, "--attention"),
                keepings: try list(kv, "--kv"))
        }
    }
}

/// All combinations of ways to leave out work, and how they are shown.
struct SkippingSweepResult {
    let model: String
    let text: String
    let window: Int
    let results: [SkippingEvaluation]

    private var front: Set<Int> { Set(SkippingEvaluation.front(results)) }

    var table: Table {
        var table = Table([
            .left("left out"), .right("weights"), .right("keys read"), .right("to choose"), .right("bytes a token"),
            .right("cache"),
            .right("tokens/s"), .right("perplexity"), .right("÷ dense"), .left("front"),
        ])
        let (dense, front) = (results[0], front)
        for (place, result) in results.enumerated() {
            table.append([
                result.name, Quantities.percent(result.sparsity), Quantities.percent(result.keyShare),
                Quantities.percent(result.keys.cost),
                Quantities.bytes(result.bytesPerToken), Quantities.bytes(result.cacheBytes),
                Quantities.fixed(result.tokensPerSecond, 1), Quantities.fixed(result.perplexity.value, 3),
                Quantities.fixed(result.perplexity.value / dense.perplexity.value, 4), front.contains(place) ? "*" : "",
            ])
        }
        return table
    }

    var explanation: String {
        "Perplexity of \(model) on \(text), written token by token in windows of \(window), of which the first half is a prompt. "
            + "Weights: what was left out of the linear layers'. Bytes a token: of weights, and of the keys and values that a token at the end of a window "
            + "reads; to choose: numbers read to choose keys, over all keys and values. Front (*): no other has a lower perplexity at as few bytes."
    }

    func summary(console: Console) -> String { "\(explanation)\n\n\(table.text(console: console))" }

    /// A line for each way of keeping and reading keys, along what is left out of products.
    var chart: LineChart {
        var groups: [(name: String, points: [LineChart.Point])] = []
        for result in results {
            let name = result.cache ?? "all keys as floats"
            let point = LineChart.Point(Double(result.bytesPerToken) / 1e6, result.perplexity.value)
            if let place = groups.firstIndex(where: { $0.name == name }) {
                groups[place].points.append(point)
            } else {
                groups.append((name, [point]))
            }
        }
        let ends = results.map { Double($0.bytesPerToken) / 1e6 }
        let dense = results[0].perplexity.value
        return LineChart(
            title: "Perplexity of \(model) against what a token reads", x: .init(title: "megabytes a token"),
            y: .init(title: "perplexity (logarithmic)", scale: .logarithmic),
            series: groups.map { .init(name: $0.name, points: $0.points.sorted { $0.x < $1.x }) } + [
                .init(
                    name: "dense", points: [.init(ends.min() ?? 0, dense), .init(ends.max() ?? 0, dense)],
                    isReference: true)
            ])
    }

    var report: HTMLReport {
        var report = HTMLReport(title: "What can \(model) leave out while it runs?", lead: explanation)
        report.chart(chart)
        report.table(table)
        return report
    }

    var json: JSONValue {
        let front = front
        return [
            "model": .string(model), "text": .string(text), "window": JSONValue(window),
            "points": .array(
                results.enumerated().map { place, result in
                    [
                        "activation": result.activation.map { .string($0) } ?? .null,
                        "cache": result.cache.map { .string($0) } ?? .null,
                        "perplexity": .number(result.perplexity.value), "loss": .number(result.perplexity.loss),
                        "tokensScored": JSONValue(result.perplexity.tokens), "sparsity": .number(result.sparsity),
                        "keyShare": .number(result.keyShare), "wholeQueries": .number(result.keys.wholeShare),
                        "keyChoiceCost": .number(result.keys.cost), "bytesPerToken": JSONValue(result.bytesPerToken),
                        "weightBytes": JSONValue(result.weightBytes), "cacheBytes": JSONValue(result.cacheBytes),
                        "tokensPerSecond": .number(result.tokensPerSecond), "onFront": .bool(front.contains(place)),
                    ]
                }),
        ]
    }
}
