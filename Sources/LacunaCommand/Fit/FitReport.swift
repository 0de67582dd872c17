import LacunaIO
import LacunaRegress
import LacunaTensor

/// What `lacuna fit` found, and how it is shown.
struct FitReport {
    let data: String
    let rows: Int
    let model: FittedModel
    let outcome: FitMethod.Outcome
    /// Coefficients of the columns as fitted, which are standardised unless the user said otherwise.
    let effects: [Double]
    let settings: FitMethod.Settings
    /// Rows of the table at most.
    let limit: Int
    /// What there is to say about groups and tails.
    var mixed: MixedReport?

    private var selected: [Int] {
        model.coefficients.indices.filter { model.coefficients[$0] != 0 }
            .sorted { (abs(effects[$0]), $1) > (abs(effects[$1]), $0) }
    }

    var table: Table {
        var table = Table([.left("feature"), .right("coefficient"), .right("per standard deviation")])
        for j in selected.prefix(limit) {
            table.append([
                model.features[j].name, Quantities.significant(model.coefficients[j], 6),
                Quantities.significant(effects[j], 4),
            ])
        }
        return table
    }

    private var certificate: String {
        switch outcome.solution.certificate {
        case .dualityGap(_, let relative): "duality gap \(Quantities.significant(relative, 2)) of the null loss"
        case .stationarity(_, let relative):
            "distance to stationarity \(Quantities.significant(relative, 2)) of the largest gradient"
        }
    }

    /// Name and value of everything worth knowing.
    var facts: [(name: String, value: String)] {
        var facts = [
            ("data", "\(data): \(Quantities.grouped(rows)) rows, \(Quantities.grouped(model.features.count)) features"),
            ("method", model.method.rawValue),
            (
                "strength",
                "\(Quantities.significant(outcome.strength, 6)), "
                    + "\(Quantities.significant(outcome.strength / max(outcome.maximum, .leastNormalMagnitude), 4)) of the "
                    + "largest that matters"
            ),
            ("selected", "\(selected.count) features"), ("intercept", Quantities.significant(model.intercept, 6)),
            (
                model.method == .logistic ? "deviance explained" : "variance explained",
                Quantities.percent(outcome.path.explained[outcome.chosen])
            ),
        ]
        if let validation = outcome.validation {
            let place = outcome.chosen
            facts.append(
                (
                    "cross-validated loss",
                    "\(Quantities.significant(validation.losses[place], 5)) ± "
                        + "\(Quantities.significant(validation.standardErrors[place], 3)) in \(settings.folds) folds; "
                        + (settings.usesSmallestLoss
                            ? "the smallest" : "the simplest within one standard error of the smallest")
                ))
        }
        if let mixed { facts += mixed.facts }
        facts.append(("certificate", certificate + (outcome.solution.converged ? "" : " (stopped short)")))
        if let classes = model.classes { facts.append(("predicted class", "\(classes[1]), not \(classes[0])")) }
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
        var object: JSONObject = {
            if case .object(let object) = model.json { return object }
            return JSONObject()
        }()
        object["features"] = .array(
            selected.map { j in
                [
                    "name": .string(model.features[j].name), "coefficient": .number(model.coefficients[j]),
                    "standardized": .number(effects[j]),
                ]
            })
        if let mixed {
            object["groups"] = nil
            object["mixed"] = mixed.json
        }
        object["rows"] = JSONValue(rows)
        object["columns"] = JSONValue(model.features.count)
        object["explained"] = .number(outcome.path.explained[outcome.chosen])
        object["converged"] = .bool(outcome.solution.converged)
        object["gap"] = .number(outcome.solution.certificate.relative)
        object["path"] = .array(
            outcome.path.strengths.indices.map { k in
                [
                    "strength": .number(outcome.path.strengths[k]),
                    "selected": JSONValue(outcome.path.solutions[k].selectedColumns.count),
                    "explained": .number(outcome.path.explained[k]),
                    "loss": outcome.validation.map { .number($0.losses[k]) } ?? .null,
                    "standardError": outcome.validation.map { .number($0.standardErrors[k]) } ?? .null,
                ]
            })
        return .object(object)
    }

    // MARK: Page

    private var pathChart: LineChart {
        // The features that matter most somewhere along the path.
        var largest: [Int: Double] = [:]
        for solution in outcome.path.solutions {
            for (j, value) in zip(solution.support, solution.values) { largest[j] = max(largest[j] ?? 0, abs(value)) }
        }
        let shown = largest.sorted { ($0.value, $1.key) > ($1.value, $0.key) }.prefix(10).map(\.key)
        let series = shown.map { j in
            LineChart.Series(
                name: model.features[j].name,
                points: zip(outcome.path.strengths, outcome.path.solutions).map { strength, solution in
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
        guard let validation = outcome.validation else { return nil }
        func series(_ name: String, _ sign: Double, reference: Bool) -> LineChart.Series {
            LineChart.Series(
                name: name,
                points: validation.strengths.indices.map {
                    .init(validation.strengths[$0], validation.losses[$0] + sign * validation.standardErrors[$0])
                }, isReference: reference)
        }
        var mean = series("loss on rows left out", 0, reference: false)
        mean.mark = (
            .init(validation.strengths[outcome.chosen], validation.losses[outcome.chosen]),
            "\(outcome.solution.selectedColumns.count) features"
        )
        return LineChart(
            title: "Cross-validation in \(settings.folds) folds",
            x: .init(title: "strength of the penalty", scale: .logarithmic), y: .init(title: "loss"),
            series: [
                mean, series("one standard error above", 1, reference: true),
                series("one standard error below", -1, reference: true),
            ])
    }

    var page: HTMLReport {
        var page = HTMLReport(
            title: "\(model.method.rawValue) on \(FileSystem.name(of: data))",
            lead: "\(selected.count) of \(model.features.count) features, chosen from \(rows) rows.")
        page.facts(facts)
        if outcome.path.solutions.count > 1 {
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
