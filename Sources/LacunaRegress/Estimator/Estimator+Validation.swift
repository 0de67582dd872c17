import LacunaTensor

/// How strengths are compared on rows left out.
extension Estimator {
    /// The table's folds; else folds that keep its groups whole; else by the seed, classes shared out evenly.
    func folds(_ table: Table, _ labels: [Int]?, _ weights: [Double]) throws -> [Int] {
        let folds: [Int]
        if let own = table.folds {
            folds = own
        } else if let groups = table.groups {
            let groups = RowGroups(groups)
            guard groups.count >= choice.folds else {
                throw LacunaError.invalidArgument(
                    "--folds", reason: "\(choice.folds) folds of \(groups.count) groups, which are kept whole")
            }
            folds = groups.folds(count: choice.folds, seed: choice.seed)
        } else {
            guard table.rows >= choice.folds else {
                throw LacunaError.invalidArgument("--folds", reason: "\(choice.folds) folds of \(table.rows) rows")
            }
            folds = CrossValidation.folds(
                rows: table.rows, count: choice.folds, seed: choice.seed, strata: labels)
        }
        let count = (folds.max() ?? -1) + 1
        for fold in 0..<count {
            let own = folds.indices.reduce(0) { folds[$1] == fold ? $0 + weights[$1] : $0 }
            guard own > 0 && own < 1 - 1e-12 else {
                throw LacunaError.invalidArgument(
                    "--weights",
                    reason: "fold \(fold + 1) of \(count) has \(own > 0 ? "all of the weight" : "no weight"); "
                        + "fewer --folds, another --seed, or --lambda without cross-validation")
            }
            if family.hasEvents {
                guard
                    labels?.indices.contains(where: { folds[$0] != fold && weights[$0] > 0 && labels?[$0] == 1 })
                        == true
                else {
                    throw LacunaError.invalidArgument(
                        "--folds", reason: "all events are in fold \(fold + 1); nothing is left to learn from")
                }
            } else if let labels {
                // A fold that holds all rows of a class leaves nothing to learn it from.
                let inside = Set(labels.indices.filter { folds[$0] != fold && weights[$0] > 0 }.map { labels[$0] })
                if inside.count < 2 {
                    throw LacunaError.invalidArgument(
                        "--folds", reason: "all rows outside fold \(fold + 1) are of one class")
                }
            }
        }
        return folds
    }

    /// What is measured on rows left out, if not the loss: of predictors and of the weights that are not 0 there.
    func measure(
        _ table: Table, _ labels: [Int]?, _ weights: [Double], _ unit: Unit
    ) -> (([Double], [Double]) -> Double)? {
        let rows = table.rows
        func mean(_ weights: [Double], _ value: (Int) -> Double) -> Double {
            var (sum, total) = (0.0, 0.0)
            for i in 0..<rows where weights[i] > 0 {
                sum += weights[i] * value(i)
                total += weights[i]
            }
            return sum / total
        }
        switch choice.measure {
        case .loss: return nil
        case .absolute:
            let targets = table.responses.compactMap(\.numbers)
            let isCount = family == .poisson
            let offset = table.offset
            return { eta, weights in
                mean(weights) { i in
                    targets.indices.reduce(0) { sum, k in
                        let eta = eta[k * rows + i] * unit.target + (offset?[i] ?? 0)
                        return sum + abs(targets[k][i] - (isCount ? exponential(eta) : eta))
                    } / Double(targets.count)
                }
            }
        case .errors:
            guard let labels else { return nil }
            let outputs = family == .binomial ? 1 : (labels.max() ?? 0) + 1
            let offset = table.offset
            return { eta, weights in
                mean(weights) { i in
                    if outputs == 1 { return (eta[i] + (offset?[i] ?? 0) > 0 ? 1 : 0) == labels[i] ? 0 : 1 }
                    let best = (0..<outputs).max { eta[$0 * rows + i] < eta[$1 * rows + i] }
                    return best == labels[i] ? 0 : 1
                }
            }
        case .concordance:
            guard let times = table.responses.first?.numbers, let events = table.events else { return nil }
            let offset = table.offset
            return { eta, weights in
                1
                    - Ranking.concordance(
                        eta.indices.map { eta[$0] + (offset?[$0] ?? 0) }, times: times, events: events,
                        weights: weights)
            }
        case .auc:
            guard let labels else { return nil }
            let offset = table.offset
            return { eta, weights in
                1
                    - Ranking.areaUnderCurve(
                        eta.indices.map { eta[$0] + (offset?[$0] ?? 0) }, labels: labels, weights: weights)
            }
        }
    }
}
