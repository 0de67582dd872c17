import LacunaIO
import LacunaRegress
import LacunaTensor

/// What `lacuna fit` found, and how it is shown.
struct FitReport {
    let data: String
    let rows: Int
    let fit: Fit
    let choice: StrengthChoice
    /// The table's own folds.
    let folds: [Int]?
    let certainty: Certainty?
    /// Rows of the table at most.
    let limit: Int
    /// What there is to say about groups and tails.
    var mixed: MixedReport?

    private var model: LinearModel { fit.model }
    private var columns: Int { model.features.count }

    /// The largest effect of a feature on any output.
    private func size(_ j: Int) -> Double {
        model.coefficients.indices.reduce(0) { max($0, abs(fit.effects[$1 * columns + j])) }
    }

    private var selected: [Int] {
        model.features.indices.filter { j in model.coefficients.contains { $0[j] != 0 } }
            .map { ($0, size($0)) }.sorted { ($0.1, $1.0) > ($1.1, $0.0) }.map(\.0)
    }

    private var intervals: [Int: Certainty.Interval] {
        Dictionary((certainty?.intervals ?? []).map { ($0.feature, $0) }, uniquingKeysWith: { first, _ in first })
    }

    var table: Table {
        let outputs = model.coefficients.count
        var columns: [Table.Column] = [.left("feature")]
        columns +=
            outputs == 1
            ? [.right("coefficient"), .right("per standard deviation")] : outputNames.map { .right($0) }
        if certainty?.stability != nil { columns.append(.right("selected from halves")) }
        let intervals = intervals
        if certainty?.intervals != nil {
            columns +=
                certainty?.method == .debiased
                ? [.right("debiased"), .right("95 % interval")] : [.right("95 % interval")]
        }
        var table = Table(columns)
        // Debiased intervals are for all features; those that were not selected follow where they exclude 0.
        let others = intervals.values.filter { interval in
            certainty?.method == .debiased && model.coefficients[0][interval.feature] == 0
                && (interval.lower > 0 || interval.upper < 0)
        }.map(\.feature).sorted()
        for j in (selected + others).prefix(limit) {
            var cells = [model.features[j].name]
            if outputs == 1 {
                cells += [
                    Quantities.significant(model.coefficients[0][j], 6), Quantities.significant(fit.effects[j], 4),
                ]
            } else {
                cells += model.coefficients.map { Quantities.significant($0[j], 5) }
            }
            if let stability = certainty?.stability { cells.append(Quantities.percent(stability[j])) }
            if certainty?.intervals != nil {
                let interval = intervals[j]
                if certainty?.method == .debiased {
                    cells.append(interval.map { Quantities.significant($0.estimate, 5) } ?? "")
                }
                cells.append(
                    interval.map { "\(Quantities.significant($0.lower, 4)) to \(Quantities.significant($0.upper, 4))" }
                        ?? "")
            }
            table.append(cells)
        }
        return table
    }

    /// A name for each output.
    private var outputNames: [String] { model.outputs.isEmpty ? ["coefficient"] : model.outputs }

    private var certificate: String {
        switch fit.solution.certificate {
        case .dualityGap(_, let relative):
            "duality gap \(relative == 0 ? "0" : "at most \(Quantities.significant(relative, 2))") of the null loss"
        case .stationarity(_, let relative):
            "distance to stationarity at most \(Quantities.significant(relative, 2)) of the largest gradient"
        }
    }

    /// Whether the name of the method says what the family is.
    private var named: Bool {
        model.family == .gaussian || model.method == "logistic" || model.method == model.family.name
    }

    /// Name and value of everything worth knowing.
    var facts: [(name: String, value: String)] {
        var facts = [
            ("data", "\(data): \(Quantities.grouped(rows)) rows, \(Quantities.grouped(model.features.count)) features"),
            ("method", model.method + (named ? "" : ", \(model.family.name)")),
            model.method == Regularizer.subset(size: nil).name
                ? ("size", "\(Int(fit.strength)) features, exactly")
                : (
                    "strength",
                    Quantities.significant(fit.strength, 6) + ", "
                        + (fit.maximumStrength > 0
                            ? "\(Quantities.significant(fit.strength / fit.maximumStrength, 4)) of the largest that matters"
                            : "and none matters: nothing is related to the target")
                ),
            ("selected", "\(selected.count) features"),
            model.eventColumn != nil
                ? ("predictor", "the logarithm of the hazard over that of an average row")
                : (
                    model.intercepts.count == 1 ? "intercept" : "intercepts",
                    zip(model.intercepts, outputNames).map { value, name in
                        (model.intercepts.count > 1 ? "\(name) " : "") + Quantities.significant(value, 6)
                    }.joined(separator: ", ")
                ),
            (
                model.family == .gaussian ? "variance explained" : "deviance explained",
                Quantities.percent(fit.path.explained[fit.chosen])
            ),
        ]
        if let validation = fit.validation {
            let place = fit.chosen
            facts.append(
                (
                    "cross-validated \(choice.measure == .loss ? "loss" : choice.measure == .auc ? "1 - AUC" : choice.measure == .concordance ? "1 - concordance" : choice.measure.rawValue)",
                    "\(Quantities.significant(validation.losses[place], 5)) ± "
                        + "\(Quantities.significant(validation.standardErrors[place], 3)) in \((folds?.max()).map { $0 + 1 } ?? choice.folds) folds; "
                        + (choice.rule == .smallest
                            ? "the smallest" : "the simplest within one standard error of the smallest")
                ))
        }
        if let mixing = fit.mixing, mixing < 1, mixing > 0 {
            facts.append(("share of the L1 penalty", Quantities.significant(mixing, 6)))
        }
        if let mixed { facts += mixed.facts }
        if let expected = certainty?.expectedFalseSelections(threshold: 0.9) {
            facts.append(
                (
                    "stability",
                    "at most \(Quantities.significant(expected, 3)) features without effect are expected among those "
                        + "selected from 90 % of halves"
                ))
        }
        facts.append(("certificate", certificate + (fit.solution.converged ? "" : " (stopped short)")))
        if let classes = model.classes, classes.count == 2 {
            facts.append(("predicted class", "\(classes[1]), not \(classes[0])"))
        }
        facts += fit.remarks.map { ("remark", $0) }
        return facts
    }

    func summary(console: Console) -> String {
        let width = facts.map(\.name.count).max() ?? 0
        let lines = facts.map { $0.name + String(repeating: " ", count: width - $0.name.count + 2) + $0.value }
        let rest = selected.count - min(limit, selected.count)
        return lines.joined(separator: "\n") + "\n\n" + table.text(console: console)
            + (rest > 0 ? "\n… and \(rest) more (--top)" : "")
            + (mixed.map { "\n\n" + $0.summary(console: console) } ?? "")
    }

    var json: JSONValue {
        var object = model.heading
        object["features"] = .array(
            selected.map { j in
                let interval = intervals[j]
                return [
                    "name": .string(model.features[j].name), "coefficient": .number(model.coefficients[0][j]),
                    "coefficients": model.coefficients.count > 1
                        ? .array(model.coefficients.map { .number($0[j]) }) : .null,
                    "standardized": .number(fit.effects[j]),
                    "stability": certainty?.stability.map { .number($0[j]) } ?? .null,
                    "estimate": interval.map { .number($0.estimate) } ?? .null,
                    "lower": interval.map { .number($0.lower) } ?? .null,
                    "upper": interval.map { .number($0.upper) } ?? .null,
                ]
            })
        object["mixing"] = fit.mixing.map { .number($0) }
        if let certainty, let all = certainty.intervals {
            object["intervals"] = .array(
                all.map {
                    [
                        "name": .string(model.features[$0.feature].name), "estimate": .number($0.estimate),
                        "lower": .number($0.lower), "upper": .number($0.upper),
                    ]
                })
        }
        if let mixed {
            object["groups"] = nil
            object["mixed"] = mixed.json
        }
        object["rows"] = JSONValue(rows)
        object["columns"] = JSONValue(model.features.count)
        object["explained"] = .number(fit.path.explained[fit.chosen])
        object["converged"] = .bool(fit.solution.converged)
        object["gap"] = .number(fit.solution.certificate.relative)
        object["path"] = .array(
            fit.path.strengths.indices.map { k in
                [
                    "strength": .number(fit.path.strengths[k]),
                    "selected": JSONValue(fit.path.solutions[k].selectedColumns.count),
                    "explained": .number(fit.path.explained[k]),
                    "loss": fit.validation.map { .number($0.losses[k]) } ?? .null,
                    "standardError": fit.validation.map { .number($0.standardErrors[k]) } ?? .null,
                ]
            })
        return .object(object)
    }

    // MARK: Page

    private var pathChart: LineChart {
        // The features that matter most somewhere along the path.
        var largest: [Int: Double] = [:]
        for solution in fit.path.solutions {
            for (j, value) in zip(solution.support, solution.values) where j < columns {
                largest[j] = max(largest[j] ?? 0, abs(value))
            }
        }
        let shown = largest.sorted { ($0.value, $1.key) > ($1.value, $0.key) }.prefix(10).map(\.key)
        let series = shown.map { j in
            LineChart.Series(
                name: model.features[j].name,
                points: zip(fit.path.strengths, fit.path.solutions).map { strength, solution in
                    let value = solution.support.firstIndex(of: j).map { solution.values[$0] } ?? 0
                    return .init(strength, value)
                })
        }
        return LineChart(
            title: "Coefficients along the path (the \(shown.count) largest)",
            x: .init(title: "strength of the penalty", scale: .logarithmic),
            y: .init(title: "coefficient per standard deviation"), series: series)
    }

    private var validationChart: LineChart? {
        guard let validation = fit.validation else { return nil }
        func series(_ name: String, _ sign: Double, reference: Bool) -> LineChart.Series {
            LineChart.Series(
                name: name,
                points: validation.strengths.indices.map {
                    .init(validation.strengths[$0], validation.losses[$0] + sign * validation.standardErrors[$0])
                }, isReference: reference)
        }
        var mean = series("loss on rows left out", 0, reference: false)
        mean.mark = (
            .init(validation.strengths[fit.chosen], validation.losses[fit.chosen]),
            "\(fit.solution.selectedColumns.count) features"
        )
        return LineChart(
            title: "Cross-validation in \((folds?.max()).map { $0 + 1 } ?? choice.folds) folds",
            x: .init(title: "strength of the penalty", scale: .logarithmic), y: .init(title: "loss"),
            series: [
                mean, series("one standard error above", 1, reference: true),
                series("one standard error below", -1, reference: true),
            ])
    }

    var page: HTMLReport {
        var page = HTMLReport(
            title: "\(model.method) on \(FileSystem.name(of: data))",
            lead: "\(selected.count) of \(model.features.count) features, chosen from \(rows) rows.")
        page.facts(facts)
        if fit.path.solutions.count > 1 {
            page.heading("Path")
            page.chart(pathChart)
        }
        if let chart = validationChart {
            page.heading("Cross-validation")
            page.chart(chart)
        }
        page.heading("Coefficients")
        page.table(table)
        mixed?.add(to: &page)
        return page
    }
}
