import LacunaReproduce

/// Reproductions as one page of Markdown: an overview, then every setting, measurement, check and note.
struct ReproductionPage {
    let reports: [ReproductionReport]
    /// Those of which there is no result.
    var lacking: [any Reproduction] = []
    /// Where results are kept.
    var results: String?
    let quick: Bool
    let seed: UInt64

    var markdown: String {
        let reproduced = reports.count(where: \.isReproduced)
        let parts =
            ["# Reproductions", introduction(reproduced), overview] + reports.map(section)
        return parts.joined(separator: "\n\n") + "\n"
    }

    private func introduction(_ reproduced: Int) -> String {
        let kept = results.map { " --results \($0)" } ?? ""
        let command =
            "lacuna reproduce --all\(quick ? " --quick" : "")\(seed == 0 ? "" : " --seed \(seed)")\(kept)"
        let names = lacking.map { "[\($0.paper)] \($0.shortName)" }.joined(separator: ", ")
        return
            "Papers' claims, checked at desk scale: \(reproduced) of \(reports.count) hold in full. A verdict follows from "
            + "the checks below it and from nothing else; a claim that does not hold here may hold at its authors' scale.\n\n"
            + "Written by `\(command) --markdown` in "
            + "\(Quantities.duration(reports.reduce(0) { $0 + $1.seconds })) on \(processors)."
            + (lacking.isEmpty ? "" : " Not measured in this form yet: \(names).")
    }

    private var processors: String {
        Set(reports.map(\.processor)).sorted().joined(separator: " and ")
    }

    private var overview: String {
        Table(
            [.right(""), .left("name"), .left("paper"), .left("verdict"), .right("took")],
            rows: reports.map { report in
                [
                    "[\(report.reproduction.paper)](#\(Self.anchor(report)))", report.reproduction.shortName,
                    report.reproduction.title, report.verdict, Quantities.duration(report.seconds),
                ]
            }
        ).markdown()
    }

    private func section(_ report: ReproductionReport) -> String {
        let reproduction = report.reproduction
        let source = reproduction.arXiv.map { ", [arXiv \($0)](https://arxiv.org/abs/\($0))" } ?? ""
        var parts = [
            "## \(Self.heading(report))", "*\(reproduction.title)*\(source)", "**Claim.** \(reproduction.claim)",
            "**Verdict: \(report.verdict).**",
        ]
        guard case .success(let outcome) = report.result else { return parts.joined(separator: "\n\n") }
        parts.append("**Setting.** \(outcome.setting)")
        if !outcome.measurements.isEmpty {
            let table = Table(
                [.left("measured"), .right(""), .right("compared"), .left("with")],
                rows: outcome.measurements.map { row in
                    [
                        row.quantity, ReproductionReport.number(row.measured, row.standardError),
                        row.baseline.map { ReproductionReport.number($0, row.baselineError) } ?? "",
                        row.baseline == nil ? "" : row.baselineName,
                    ]
                })
            parts.append(table.markdown())
        }
        parts.append(
            outcome.checks.map {
                "- \($0.holds ? "✓" : "✗") \($0.statement): \(Quantities.significant($0.left)) \(Self.sign($0.relation)) "
                    + Quantities.significant($0.right)
            }.joined(separator: "\n"))
        parts += outcome.notes + outcome.missing
        return parts.joined(separator: "\n\n")
    }

    private static func heading(_ report: ReproductionReport) -> String {
        "\(report.reproduction.paper). \(report.reproduction.shortName)"
    }

    /// As hosts of Markdown make anchors of headings: lower case, spaces to hyphens, other signs dropped.
    private static func anchor(_ report: ReproductionReport) -> String {
        String(
            heading(report).lowercased().compactMap { character -> Character? in
                if character == " " { return "-" }
                return character.isLetter || character.isNumber || character == "-" || character == "_"
                    ? character : nil
            })
    }

    private static func sign(_ relation: Check.Relation) -> String {
        switch relation {
        case .less: "<"
        case .atMost: "≤"
        case .greater: ">"
        case .atLeast: "≥"
        }
    }
}
