import LacunaIO
import LacunaInfer
import LacunaModels

/// Several forms of one model side by side: quality, bytes, speed, and the ratios to the dense form of the same type.
struct ModelComparison {
    struct Row {
        let name: String
        let method: String
        let pattern: String
        let sparsity: Double
        let perplexity: Double
        let diskBytes: Int
        let bytesPerToken: Int
        let headBytes: Int
        let prefill: Double
        let decode: Double
        /// The row that this one is compared with; nil for dense ones.
        let dense: Int?
    }

    /// Dense rows come before those that refer to them.
    var rows: [Row] = []

    /// One row for each model, and one of ratios below each that has a dense counterpart.
    var table: Table {
        var table = Table([
            .left("model"), .left("method"), .left("pattern"), .right("sparsity"), .right("perplexity"),
            .right("on disk"), .right("bytes a token"), .right("prefill tok/s"), .right("decode tok/s"),
        ])
        for row in rows {
            table.append([
                row.name, row.method, row.pattern, Quantities.percent(row.sparsity),
                Quantities.fixed(row.perplexity, 2), Quantities.bytes(row.diskBytes),
                Quantities.bytes(row.bytesPerToken), Quantities.fixed(row.prefill, 0), Quantities.fixed(row.decode, 1),
            ])
            guard let dense = row.dense.map({ rows[$0] }) else { continue }
            table.append([
                "  ÷ \(dense.name)", "", "", "", Self.ratio(row.perplexity, dense.perplexity),
                Self.ratio(Double(row.diskBytes), Double(dense.diskBytes)),
                Self.ratio(Double(row.bytesPerToken), Double(dense.bytesPerToken)),
                Self.ratio(row.prefill, dense.prefill), Self.ratio(row.decode, dense.decode),
            ])
        }
        return table
    }

    private static func ratio(_ value: Double, _ dense: Double) -> String {
        "\(Quantities.fixed(value / dense, 2)) ×"
    }

    func bars(_ title: String, _ value: (Row) -> Double, label: (Row) -> String) -> BarChart {
        BarChart(
            title: title,
            bars: rows.map { .init(name: $0.name, value: value($0), label: label($0), group: $0.dense == nil ? 0 : 1) })
    }

    /// What a reader of the ratios has to know.
    var note: String {
        let shares = rows.map { row in
            "\(Quantities.percent(Double(row.headBytes) / Double(row.bytesPerToken), 0)) of \(row.name)"
        }
        return "Embedding, norms and output head are not pruned. The head is read whole for every token: of the bytes "
            + "a token it is \(shares.joined(separator: ", ")). --head int8 halves a bf16 one."
    }

    var json: JSONValue {
        .array(
            rows.map { row in
                [
                    "model": .string(row.name), "method": .string(row.method), "pattern": .string(row.pattern),
                    "sparsity": .number(row.sparsity), "perplexity": .number(row.perplexity),
                    "diskBytes": JSONValue(row.diskBytes), "bytesPerToken": JSONValue(row.bytesPerToken),
                    "headBytes": JSONValue(row.headBytes), "prefillTokensPerSecond": .number(row.prefill),
                    "decodeTokensPerSecond": .number(row.decode),
                    "comparedWith": row.dense.map { .string(rows[$0].name) } ?? .null,
                ]
            })
    }
}
