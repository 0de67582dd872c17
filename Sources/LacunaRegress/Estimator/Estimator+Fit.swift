import LacunaIO
import LacunaTensor

extension Estimator {
    /// Fits the path, chooses a strength unless one is given, and makes the model.
    ///
    /// - Throws: As ``validate()``; ``LacunaError/malformed(file:location:reason:)`` for a target that the family does not
    ///   suit; ``LacunaError/numerical(operation:reason:)`` where nothing is related to the target;
    ///   ``LacunaError/cancelled``.
    public func fit(_ table: Table) throws -> Fit {
        try validate()
        guard table.design.columns > 0 else {
            throw LacunaError.malformed(
                file: table.file, location: "columns", reason: "there is none beside the target")
        }
        guard let response = table.responses.first else {
            throw LacunaError.invalidArgument("--target", reason: "is needed for \(table.file)")
        }
        if table.responses.count > 1 && family != .gaussian {
            throw LacunaError.unsupported(file: nil, what: "several targets with the family \(family.name)")
        }
        let weights = try SampleWeights.normalized(table.weights, rows: table.rows)
        try table.requireFinite()
        if let offset = table.offset { try SampleWeights.requireFinite(offset) }
        switch family {
        case .gaussian:
            var targets = try table.responses.map { try numbers($0, table) }
            if let offset = table.offset { targets = targets.map { zip($0, offset).map { $0 - $1 } } }
            let scale = scale(of: targets, weights)
            let unit = Unit(target: scale, loss: scale * scale)
            let datafit = try SquaredLoss(tasks: targets.map { $0.map { $0 / scale } }, weights: table.weights)
            let names = table.responses.count > 1 ? table.responses.map(\.name) : []
            return try fit(table, datafit, weights, unit, outputs: names)
        case .huber(let delta):
            let target = try numbers(response, table)
            let scale = scale(of: [target], weights)
            let sorted = target.sorted()
            let median = sorted[sorted.count / 2]
            let spread = target.map { abs($0 - median) }.sorted()[sorted.count / 2] * 1.4826
            let bend = delta ?? 1.345 * (spread > 0 ? spread : scale)
            let datafit = try HuberLoss(target.map { $0 / scale }, delta: bend / scale, weights: table.weights)
            return try withOffset(table, datafit, weights, Unit(target: scale, loss: scale * scale))
        case .quantile(let level):
            let target = try numbers(response, table)
            let scale = scale(of: [target], weights)
            // The width of He, Pan, Tan and Zhou, in spreads of the target.
            let (n, p) = (Double(table.rows), Double(table.design.columns))
            let width = max(0.05, (level * (1 - level)).squareRoot() * power(logarithm(p + 1) / n, 0.25))
            let datafit = try QuantileLoss(
                target.map { $0 / scale }, level: level, width: width, weights: table.weights)
            return try withOffset(table, datafit, weights, Unit(target: scale, loss: scale))
        case .poisson:
            let datafit = try PoissonLoss(numbers(response, table), weights: table.weights)
            return try withOffset(table, datafit, weights, Unit(target: 1, loss: 1))
        case .binomial, .multinomial:
            let classes = ClassNames(response, among: weights.indices.filter { weights[$0] > 0 })
            let names = classes.names
            guard names.count >= 2 else {
                throw LacunaError.malformed(
                    file: table.file, location: "target '\(response.name)'",
                    reason: "is '\(names.first ?? "")' in every row; classes are told apart by two of them")
            }
            let words = response.words
            let labels = words.indices.map { classes.place(words[$0], response.numbers?[$0]) ?? 0 }
            var result: Fit
            if family == .binomial {
                guard names.count == 2 else {
                    throw LacunaError.malformed(
                        file: table.file, location: "target '\(response.name)'",
                        reason: "has \(names.count) classes (\(names.prefix(5).joined(separator: ", "))"
                            + (names.count > 5 ? " …" : "") + "), not two; 'multinomial' is for several")
                }
                let datafit = try LogisticLoss(labels.map { Double($0) }, weights: table.weights)
                result = try withOffset(table, datafit, weights, Unit(target: 1, loss: 1), labels: labels)
            } else {
                guard names.count <= 1000 else {
                    throw LacunaError.malformed(
                        file: table.file, location: "target '\(response.name)'", reason: "has \(names.count) classes")
                }
                guard table.offset == nil else {
                    throw LacunaError.unsupported(file: nil, what: "an offset of several classes")
                }
                let datafit = try MultinomialLoss(classes: labels, count: names.count, weights: table.weights)
                result = try fit(
                    table, datafit, weights, Unit(target: 1, loss: 1), outputs: names, labels: labels)
            }
            result.model.classes = names
            result.model.hasNumericClasses = classes.isNumeric
            return result
        }
    }

    /// What strengths and losses were divided by.
    private struct Unit {
        let target, loss: Double

        func strength(_ scaled: Double, _ regularizer: Regularizer, mixing: Double?) -> Double {
            switch regularizer {
            case .l0: scaled * loss
            default:
                mixing.map { scaled * ($0 * loss / target + (1 - $0) * loss / target / target) } ?? scaled * loss
                    / target
            }
        }
    }

    /// Numbers whose squares can be added up.
    private func numbers(_ response: Table.Response, _ table: Table) throws -> [Double] {
        guard let numbers = response.numbers else {
            throw LacunaError.invalidArgument(
                "--target", reason: "'\(response.name)' is text; only 'logistic' and 'multinomial' predict classes")
        }
        if let row = numbers.firstIndex(where: { !(abs($0) <= 1e145) }) {
            throw LacunaError.malformed(
                file: table.file, location: "target, row \(table.number(ofRow: row))",
                reason: numbers[row].isFinite
                    ? "\(numbers[row]) is too large to be squared" : "\(numbers[row]) is not a finite number")
        }
        return numbers
    }

    /// The spread of the targets, which becomes 1; 1 if they never vary.
    private func scale(of targets: [[Double]], _ weights: [Double]) -> Double {
        var square = 0.0
        for target in targets {
            let mean = hasIntercept ? SampleWeights.mean(target[...], weights) : 0
            square += zip(target, weights).reduce(0) { $0 + $1.1 * ($1.0 - mean) * ($1.0 - mean) }
        }
        let scale = (square / Double(targets.count)).squareRoot()
        return scale > 0 && scale.isFinite ? scale : 1
    }

    private func withOffset<F: Datafit>(
        _ table: Table, _ datafit: F, _ weights: [Double], _ unit: Unit, labels: [Int]? = nil
    ) throws -> Fit {
        guard let offset = table.offset else { return try fit(table, datafit, weights, unit, labels: labels) }
        return try fit(
            table, OffsetLoss(datafit, offset: offset.map { $0 / unit.target }), weights, unit, labels: labels)
    }

    private func fit<F: Datafit>(
        _ table: Table, _ datafit: F, _ weights: [Double], _ unit: Unit, outputs: [String] = [], labels: [Int]? = nil
    ) throws -> Fit {
        let design =
            standardizes ? table.design.standardized(weights: weights, centered: hasIntercept) : table.design
        let columns = design.columns
        let scales = design.inverseScales
        func one<P: SeparablePenalty & ScalablePenalty>(_ penalty: P, mixing: Double? = nil, given: Double? = nil)
            throws -> Fit
        {
            let problem = try Problem(design, datafit, penalty, hasIntercept: hasIntercept)
            if datafit.outputs == 1 {
                return try finish(
                    table, problem, unit, outputs, labels, mixing, given, weights,
                    path: {
                        try RegularizationPath(
                            $0, strengths: $1, solver: ProximalNewton(tolerance: tolerance, progress: $2))
                    })
            }
            return try finish(
                table, problem, unit, outputs, labels, mixing, given, weights,
                path: {
                    try RegularizationPath(
                        $0, strengths: $1, solver: CoordinateDescent(tolerance: tolerance, progress: $2))
                })
        }
        switch regularizer {
        case .lasso, .elasticNet:
            var share = 1.0
            if case .elasticNet(let mixing) = regularizer { share = mixing }
            var given = strength.map { $0 * unit.target / unit.loss }
            if let strength {
                // The same two penalties for the target in its spreads.
                let absolute = strength * share * unit.target / unit.loss
                let square = strength * (1 - share) * unit.target * unit.target / unit.loss
                given = absolute + square
                if absolute + square > 0 { share = absolute / (absolute + square) }
            }
            if factors == nil && adaptivePower == nil && !hasLimits {
                return try one(ElasticNet(1, mixing: share), mixing: share, given: given)
            }
            var weightsOfColumns = factors ?? [Double](repeating: 1, count: columns)
            if let adaptivePower {
                var pilot = self
                pilot.adaptivePower = nil
                pilot.strength = nil
                pilot.choice.rule = .smallest
                pilot.isRelaxed = false
                let effects = try pilot.fit(table).effects
                let largest = effects.reduce(0) { max($0, abs($1)) }
                guard largest > 0 else {
                    throw LacunaError.numerical(operation: "adaptive lasso", reason: "the first fit selects nothing")
                }
                weightsOfColumns = effects.prefix(columns).map { power(max(abs($0) / largest, 1e-6), -adaptivePower) }
            }
            let (low, high) = (lower, upper)
            func limits(_ bound: Double) -> [Double] {
                (0..<columns).map {
                    bound.isInfinite || bound == 0 ? bound : bound / ((scales?[$0] ?? 1) * unit.target)
                }
            }
            return try one(
                ConstrainedElasticNet(
                    1, mixing: share, factors: weightsOfColumns, lower: limits(low), upper: limits(high)),
                mixing: share, given: given)
        case .scad(let shape):
            return try one(SCAD(1, shape: shape), given: strength.map { $0 * unit.target / unit.loss })
        case .mcp(let shape): return try one(MCP(1, shape: shape), given: strength.map { $0 * unit.target / unit.loss })
        case .l0: return try one(L0(1), given: strength.map { $0 / unit.loss })
        case .group(let groups, let mixing):
            let penalty = GroupLasso(1, groups: groups, mixing: mixing)
            let problem = try Problem(design, datafit, penalty, hasIntercept: hasIntercept)
            let given = strength.map { $0 * unit.target / unit.loss }
            if datafit.curvatureBound == nil {
                return try finish(
                    table, problem, unit, outputs, labels, nil, given, weights,
                    path: {
                        try RegularizationPath(
                            groups: $0, strengths: $1, solver: FISTA(tolerance: tolerance, progress: $2))
                    })
            }
            return try finish(
                table, problem, unit, outputs, labels, nil, given, weights,
                path: {
                    try RegularizationPath(
                        groups: $0, strengths: $1, solver: BlockCoordinateDescent(tolerance: tolerance, progress: $2))
                })
        }
    }

    /// - Parameters:
    ///   - mixing: The share of the L1 penalty of an elastic net, for the target in its spreads.
    ///   - given: The strength that was asked for, for the target in its spreads.
    private func finish<F: Datafit, P: ScalablePenalty>(
        _ table: Table, _ problem: Problem<F, P>, _ unit: Unit, _ outputs: [String], _ labels: [Int]?,
        _ mixing: Double?, _ given: Double?, _ weights: [Double],
        path: (Problem<F, P>, [Double], (any ProgressReporter)?) throws -> RegularizationPath
    ) throws -> Fit {
        let maximum = RegularizationPath.maximumStrength(problem)
        let strengths = try Self.strengths(maximum, choice, given: given)
        var validation: CrossValidation?
        if given == nil {
            validation = try CrossValidation(
                problem, strengths, folds(table, labels, weights), progress,
                measure: measure(table, labels, weights, unit)
            ) { try path($0, strengths, nil).solutions }
        }
        let found = try path(problem, strengths, progress)
        let chosen =
            validation.map { choice.rule == .smallest ? $0.best : $0.simplest } ?? found.solutions.count - 1
        let solutions = found.solutions.map { $0.inUnits(target: unit.target, loss: unit.loss) }
        var own = found.strengths.map { unit.strength($0, regularizer, mixing: mixing) }
        if given != nil, let strength, !own.isEmpty { own[own.count - 1] = strength }
        let solution = solutions[chosen]
        let scales = problem.design.inverseScales
        let plain = solution.unscaled(problem.design)
        let columns = plain.columns
        let all = plain.coefficients
        var coefficients = (0..<plain.outputs).map { Array(all[$0 * columns..<($0 + 1) * columns]) }
        var intercepts = plain.intercepts
        var effects = solution.coefficients
        if isRelaxed {
            let relaxed = try relaxed(problem, solution.selectedColumns).inUnits(target: unit.target, loss: unit.loss)
            let chosen = solution.selectedColumns
            for (k, value) in zip(relaxed.support, relaxed.values) {
                let (j, output) = (chosen[k % max(chosen.count, 1)], k / max(chosen.count, 1))
                effects[output * columns + j] = value
                coefficients[output][j] = value * (scales?[j] ?? 1)
            }
            intercepts = relaxed.intercepts
        }
        let model = LinearModel(
            method: regularizer.name, family: family, features: table.features, coefficients: coefficients,
            intercepts: intercepts, strength: own[chosen], outputs: outputs, isZeroBased: table.isZeroBased,
            offsetColumn: table.offsetColumn)
        return Fit(
            model: model, path: RegularizationPath(strengths: own, solutions: solutions, explained: found.explained),
            chosen: chosen, maximumStrength: unit.strength(maximum, regularizer, mixing: mixing),
            validation: validation.map {
                $0.scaled(strengths: own, losses: choice.measure == .loss ? unit.loss : 1)
            },
            effects: effects, scales: scales,
            mixing: mixing.map { share in
                // The share for the target as it is.
                let (absolute, square) = (
                    share / unit.target * unit.loss, (1 - share) * unit.loss / unit.target / unit.target
                )
                return absolute / (absolute + square)
            })
    }

    /// The chosen columns fitted without a penalty.
    private func relaxed<F: Datafit, P: Penalty>(_ problem: Problem<F, P>, _ chosen: [Int]) throws -> Solution {
        let rows = problem.design.rows
        var values = [Double](repeating: 0, count: rows * chosen.count)
        values.withUnsafeMutableBufferPointer { values in
            guard let base = values.baseAddress else { return }
            for (k, j) in chosen.enumerated() { problem.design.add(1, column: j, to: base + k * rows) }
        }
        let design = DenseDesign(Buffer(values), rows: rows, columns: chosen.count)
        let small = try Problem(design, problem.datafit, L1(0), hasIntercept: hasIntercept)
        return problem.datafit.outputs == 1
            ? try ProximalNewton(tolerance: tolerance).solve(small)
            : try CoordinateDescent(tolerance: tolerance).solve(small)
    }

    /// The path, cut off at the strength that was asked for.
    static func strengths(_ maximum: Double, _ choice: StrengthChoice, given: Double?) throws -> [Double] {
        guard let given else {
            return try RegularizationPath.strengths(from: maximum, ratio: choice.ratio, count: choice.count)
        }
        guard maximum.isFinite else {
            throw LacunaError.numerical(operation: "path", reason: "the largest gradient is \(maximum)")
        }
        if maximum <= given || given == 0 { return [given] }
        let steps = max(2, min(choice.count, 20))
        return try RegularizationPath.strengths(from: maximum, ratio: given / maximum, count: steps).dropLast() + [
            given
        ]
    }

    // MARK: Cross-validation

    /// The table's folds; else folds that keep its groups whole; else by the seed, classes shared out evenly.
    private func folds(_ table: Table, _ labels: [Int]?, _ weights: [Double]) throws -> [Int] {
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
            if let labels {
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
    private func measure(
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
        case .auc:
            guard let labels else { return nil }
            let offset = table.offset
            return { eta, weights in
                1
                    - Self.areaUnderCurve(
                        eta.indices.map { eta[$0] + (offset?[$0] ?? 0) }, labels: labels, weights: weights)
            }
        }
    }

    /// The chance that a row of class 1 has a larger score than one of class 0, ties counting half; ½ without both.
    static func areaUnderCurve(_ scores: [Double], labels: [Int], weights: [Double]) -> Double {
        let order = scores.indices.filter { weights[$0] > 0 }.sorted { scores[$0] < scores[$1] }
        var (below, won, positive) = (0.0, 0.0, 0.0)
        var start = 0
        while start < order.count {
            var end = start
            var (zeros, ones) = (0.0, 0.0)
            while end < order.count && scores[order[end]] == scores[order[start]] {
                if labels[order[end]] == 1 { ones += weights[order[end]] } else { zeros += weights[order[end]] }
                end += 1
            }
            won += ones * (below + zeros / 2)
            below += zeros
            positive += ones
            start = end
        }
        return below > 0 && positive > 0 ? won / (below * positive) : 0.5
    }
}

extension Solution {
    /// For a target multiplied by a number.
    func inUnits(target: Double, loss: Double) -> Solution {
        var result = self
        for k in result.values.indices { result.values[k] *= target }
        for k in result.intercepts.indices { result.intercepts[k] *= target }
        result.objective *= loss
        switch certificate {
        case .dualityGap(let absolute, let relative):
            result.certificate = .dualityGap(absolute: absolute * loss, relative: relative)
        case .stationarity(let distance, let relative):
            result.certificate = .stationarity(distance: distance * loss / target, relative: relative)
        }
        return result
    }
}
