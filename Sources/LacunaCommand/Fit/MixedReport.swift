import LacunaIO
import LacunaRegress

/// What a report on a mixed model has beside its coefficients.
struct MixedReport {
    let outcome: MixedOutcome
    let table: LacunaRegress.Table
    /// Rows of a table at most.
    let limit: Int

    private var fit: MixedFit { outcome.fit }

    private func label(_ group: Int) -> String {
        let row = fit.groups.firstRows[group]
        return table.groups?[row] ?? "\(number(row))"
    }

    /// The row's number in the file, from 1.
    private func number(_ row: Int) -> Int { table.number(ofRow: row) }

    private static func describe(_ tail: Tail) -> String {
        tail.isGaussian
            ? "normal (q = 1)"
            : "q = \(Quantities.significant(tail.q, 4)), Student with "
                + "\(Quantities.significant(tail.degreesOfFreedom, 4)) degrees of freedom"
    }

    var facts: [(name: String, value: String)] {
        let isHeavy = !fit.tail.isGaussian
        var facts = [("tail", Self.describe(fit.tail))]
        if !outcome.tails.isEmpty {
            facts.append(
                (
                    "tails tried",
                    outcome.tails.map {
                        "\($0.tail.isGaussian ? "normal" : "q \(Quantities.significant($0.tail.q, 4))"): "
                            + Quantities.significant($0.score, 6)
                    }.joined(separator: ", ")
                ))
        }
        let residual = isHeavy ? "squared scale of residuals" : "variance of residuals"
        if outcome.hasGroups {
            let largest = fit.groups.sizes.max() ?? 0
            facts.append(
                ("groups", "\(Quantities.grouped(fit.groups.count)), of up to \(Quantities.grouped(largest)) rows"))
        }
        facts.append((residual, Quantities.significant(fit.scale.residual, 5)))
        if outcome.hasGroups {
            facts += [
                (
                    isHeavy ? "squared scale of groups" : "variance of groups",
                    Quantities.significant(fit.scale.intercepts, 5)
                ),
                ("intraclass correlation", Quantities.significant(fit.scale.intraclassCorrelation, 4)),
            ]
        }
        facts += [
            ("log likelihood", Quantities.significant(fit.logLikelihood, 7)),
            ("BIC", Quantities.significant(fit.bic, 7) + chosen(.bic)),
            ("extended BIC", Quantities.significant(fit.extendedBIC, 7) + chosen(.ebic)),
        ]
        if let ending = outcome.ending { facts.append(("end of the path", ending)) }
        return facts
    }

    private func chosen(_ choice: MixedEstimator.Choice) -> String {
        outcome.choice == choice ? ", by which the strength was chosen" : ""
    }

    /// Groups in the order of their weights, those of equal weight by their distance.
    private var groups: [Int] {
        fit.groupWeights.indices.sorted { a, b in
            let (first, second) = (strangeness(a), strangeness(b))
            return fit.groupWeights[a] != fit.groupWeights[b]
                ? fit.groupWeights[a] < fit.groupWeights[b] : first != second ? first > second : a < b
        }
    }

    /// `d²/n`, 1 to be expected.
    private func strangeness(_ group: Int) -> Double {
        fit.squaredDistances[group] / Double(fit.groups.sizes[group])
    }

    private func residual(_ row: Int) -> Double { fit.residuals[row] - fit.randomIntercepts[fit.groups.indices[row]] }

    private var rows: [Int] {
        fit.residuals.indices.sorted { a, b in
            let (first, second) = (abs(residual(a)), abs(residual(b)))
            return first != second ? first > second : a < b
        }
    }

    func groupTable(_ limit: Int) -> Table {
        var result = Table([
            .left("group"), .right("rows"), .right("random intercept"), .right("squared distance a row"),
            .right("weight"),
        ])
        for g in groups.prefix(limit) {
            result.append([
                label(g), "\(fit.groups.sizes[g])", Quantities.significant(fit.randomIntercepts[g], 4),
                Quantities.significant(strangeness(g), 4), Quantities.significant(fit.groupWeights[g], 3),
            ])
        }
        return result
    }

    func rowTable(_ limit: Int) -> Table {
        var columns: [Table.Column] = [.right("row")]
        if outcome.hasGroups { columns.append(.left("group")) }
        var result = Table(columns + [.right("residual"), .right("scales away"), .right("weight")])
        let scale = fit.scale.residual.squareRoot()
        for row in rows.prefix(limit) {
            var cells = ["\(number(row))"]
            if outcome.hasGroups { cells.append(label(fit.groups.indices[row])) }
            result.append(
                cells + [
                    Quantities.significant(residual(row), 4), Quantities.significant(abs(residual(row)) / scale, 3),
                    Quantities.significant(fit.rowWeights[row], 3),
                ])
        }
        return result
    }

    static let groupHeading = "Groups that count least"
    static let rowHeading = "Rows farthest from their group"

    func summary(console: Console) -> String {
        let shown = min(limit, 5)
        var parts: [String] = []
        if outcome.hasGroups { parts.append("\(Self.groupHeading):\n" + groupTable(shown).text(console: console)) }
        parts.append(
            (outcome.hasGroups ? Self.rowHeading : "Rows farthest off") + ":\n" + rowTable(shown).text(console: console)
        )
        return parts.joined(separator: "\n\n")
    }

    func add(to page: inout HTMLReport) {
        if outcome.hasGroups {
            page.heading(Self.groupHeading)
            page.paragraph(
                "A group's weight is what it counted for in the fit: 1 for a group as far off as is to be expected, less for "
                    + "an outlier. Random intercepts are best predictions, shrunk towards 0.")
            page.table(groupTable(limit))
        }
        page.heading(outcome.hasGroups ? Self.rowHeading : "Rows farthest off")
        page.paragraph(
            outcome.hasGroups
                ? "The weight that each row would have as a group of its own, given its group's random intercept; it took no "
                    + "part in the fit." : "The weight is what the row counted for in the fit.")
        page.table(rowTable(limit))
    }

    var json: JSONValue {
        [
            "q": .number(fit.tail.q),
            "degreesOfFreedom": fit.tail.isGaussian ? .null : .number(fit.tail.degreesOfFreedom),
            "tails": .array(
                outcome.tails.map {
                    [
                        "q": .number($0.tail.q), "score": .number($0.score),
                    ]
                }), "penalty": .string(outcome.penalty.rawValue),
            "choice": outcome.choice.map { .string($0.rawValue) } ?? .null,
            "residualVariance": .number(fit.scale.residual), "interceptVariance": .number(fit.scale.intercepts),
            "intraclassCorrelation": .number(fit.scale.intraclassCorrelation),
            "logLikelihood": .number(fit.logLikelihood), "bic": .number(fit.bic),
            "extendedBIC": .number(fit.extendedBIC),
            "pathEnding": outcome.ending.map { .string($0) } ?? .null,
            "groups": .array(
                outcome.hasGroups
                    ? groups.map { g in
                        [
                            "group": .string(label(g)), "rows": JSONValue(fit.groups.sizes[g]),
                            "randomIntercept": .number(fit.randomIntercepts[g]),
                            "squaredDistance": .number(fit.squaredDistances[g]), "weight": .number(fit.groupWeights[g]),
                        ]
                    } : []),
            "rows": .array(
                rows.prefix(limit).map { row in
                    [
                        "row": JSONValue(number(row)), "residual": .number(residual(row)),
                        "weight": .number(fit.rowWeights[row]),
                    ]
                }),
        ]
    }
}
