import ArgumentParser
import LacunaIO
import LacunaRetrieve
import LacunaTensor

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate", abstract: "Says how good a ranking is, by judgements of relevance.",
        discussion: """
            Examples:
              lacuna evaluate bm25.run qrels/test.tsv
              lacuna evaluate splade.run qrels.txt --baseline bm25.run --metric nDCG@10 --metric MAP

            RUN is a TREC run (query Q0 document rank score name). QRELS are TREC's (query 0 document grade) or the \
            tab-separated ones of BEIR. Both may be packed (.gz). Numbers are those of trec_eval; queries for which \
            the run \
            has nothing count as 0.

            With a baseline: the mean difference, where it lies with 95 % confidence, and the chance of one as large \
            if both \
            were equally good, by Student's t-test and by the bootstrap.
            """)

    enum Ties: String, ExpressibleByArgument, CaseIterable { case identifier, average }

    @Argument(help: ArgumentHelp("A TREC run.", valueName: "run"))
    var ranking: InputFile

    @Argument(help: "Judgements.")
    var qrels: InputFile

    @Option(
        help: ArgumentHelp(
            "nDCG@k, MRR@k, MAP, Recall@k, P@k or Success@k; may be given several times.", valueName: "name"))
    var metric: [String] = ["nDCG@10", "MRR@10", "MAP", "Recall@100"]

    @Option(help: ArgumentHelp("Another run, to compare with.", valueName: "file"))
    var baseline: InputFile?

    @Option(help: "Documents of equal score: by identifier, as trec_eval has it, or the average over all orders.")
    var ties = Ties.identifier

    @Option(in: 1...1000, help: ArgumentHelp("The least grade that is relevant, but for nDCG.", valueName: "n"))
    var relevantFrom = 1

    @Flag(help: "Also the numbers of every query.")
    var perQuery = false

    @OptionGroup var form: JSONOption

    func run() throws {
        let metrics = try metric.map { try RankingMetric($0) }
        let judgements = try Judgements(contentsOf: qrels.path)
        let system = try RankedRun(contentsOf: ranking.path)
        let other = try baseline.map { try RankedRun(contentsOf: $0.path) }
        func evaluate(_ run: RankedRun) -> [RankingEvaluation] {
            RankingEvaluation.evaluate(
                run, judgements, metrics: metrics, ties: ties == .average ? .average : .identifier,
                relevantFrom: relevantFrom)
        }
        let (mine, theirs) = (evaluate(system), other.map(evaluate))
        let tests = try theirs.map { theirs in
            try zip(mine, theirs).map { a, b in
                (t: try PairedTest.student(a.values, b.values), bootstrap: try PairedTest.bootstrap(a.values, b.values))
            }
        }
        printResult(
            json: form.json, json(mine, theirs, tests), text: text(system, other, mine, theirs, tests))
    }

    private typealias Tests = [(t: PairedTest, bootstrap: PairedTest)]

    private func text(
        _ run: RankedRun, _ other: RankedRun?, _ mine: [RankingEvaluation], _ theirs: [RankingEvaluation]?,
        _ tests: Tests?
    ) -> String {
        var columns: [Table.Column] = [.left("metric"), .right(run.name), .right("± s.e.")]
        if let other {
            columns += [
                .right(other.name), .right("difference"), .right("95 % interval"), .right("p (t)"),
                .right("p (bootstrap)"),
            ]
        }
        var table = Table(columns)
        for (index, result) in mine.enumerated() {
            var row = [
                result.metric.description, Quantities.fixed(result.mean, 4),
                result.standardError.isNaN ? "" : Quantities.fixed(result.standardError, 4),
            ]
            if let theirs, let tests {
                let (t, bootstrap) = tests[index]
                row += [
                    Quantities.fixed(theirs[index].mean, 4), Quantities.fixed(t.difference, 4),
                    "\(Quantities.fixed(t.interval.lowerBound, 4)) … \(Quantities.fixed(t.interval.upperBound, 4))",
                    Quantities.significant(t.probability, 2), Quantities.significant(bootstrap.probability, 2),
                ]
            }
            table.append(row)
        }
        var text = "\(Quantities.grouped(mine[0].queries.count)) judged queries"
        if mine[0].missing > 0 { text += ", \(Quantities.grouped(mine[0].missing)) of them without results" }
        text += "\n\n" + table.text(console: .output)
        if perQuery {
            var all = Table([.left("query")] + mine.map { .right($0.metric.description) })
            for (index, query) in mine[0].queries.enumerated() {
                all.append([query] + mine.map { Quantities.fixed($0.values[index], 4) })
            }
            text += "\n\n" + all.text(console: .output)
        }
        return text
    }

    private func json(_ mine: [RankingEvaluation], _ theirs: [RankingEvaluation]?, _ tests: Tests?) -> JSONValue {
        .object(
            mine.enumerated().reduce(into: JSONObject()) { object, entry in
                let (index, result) = entry
                var value = JSONObject()
                value["mean"] = .number(result.mean)
                value["standard_error"] = .number(result.standardError)
                value["queries"] = JSONValue(result.queries.count)
                value["missing"] = JSONValue(result.missing)
                if let theirs, let tests {
                    value["baseline"] = .number(theirs[index].mean)
                    value["difference"] = .number(tests[index].t.difference)
                    value["p_t"] = .number(tests[index].t.probability)
                    value["p_bootstrap"] = .number(tests[index].bootstrap.probability)
                }
                if perQuery {
                    value["values"] = .object(
                        zip(result.queries, result.values).reduce(into: JSONObject()) { $0[$1.0] = .number($1.1) })
                }
                object[result.metric.description] = .object(value)
            })
    }
}
