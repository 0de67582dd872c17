import LacunaIO
import LacunaTensor

extension Estimator {
    /// Fits the path, chooses a strength unless one is given, and makes the model.
    ///
    /// - Throws: As ``validate()``; ``LacunaError/malformed(file:location:reason:)`` for a target that the family does not
    ///   suit; ``LacunaError/numerical(operation:reason:)`` where nothing is related to the target;
    ///   ``LacunaError/cancelled``.
    public func fit(_ table: Table) throws -> Fit {
        try validate(responses: table.responses.count)
        guard table.design.columns > 0 else {
            throw LacunaError.malformed(
                file: table.file, location: "columns", reason: "there is none beside the target")
        }
        guard let response = table.responses.first else {
            throw LacunaError.invalidArgument("--target", reason: "is needed for \(table.file)")
        }
        if table.events != nil && !family.hasEvents {
            throw LacunaError.unsupported(file: nil, what: "a column of events with the family \(family.name)")
        }
        try requireMemory(table)
        let weights = try SampleWeights.normalized(table.weights, rows: table.rows)
        try table.requireFinite()
        if let offset = table.offset { try SampleWeights.requireFinite(offset) }
        switch family {
        case .gaussian:
            var targets = try table.responses.map { try numbers($0, table) }
            if let offset = table.offset { targets = targets.map { zip($0, offset).map { $0 - $1 } } }
            let scale = scale(of: targets, weights)
            let unit = Unit(target: scale, loss: scale * scale)
            let datafit = try SquaredLoss(tasks: targets, unit: scale, weights: table.weights)
            let names = table.responses.count > 1 ? table.responses.map(\.name) : []
            return try fit(table, datafit, unit, outputs: names)
        case .huber(let delta):
            let target = try numbers(response, table)
            let scale = scale(of: [target], weights)
            let sorted = target.sorted()
            let median = sorted[sorted.count / 2]
            let spread = target.map { abs($0 - median) }.sorted()[sorted.count / 2] * 1.4826
            let bend = delta ?? 1.345 * (spread > 0 ? spread : scale)
            let datafit = try HuberLoss(target.map { $0 / scale }, delta: bend / scale, weights: table.weights)
            return try withOffset(table, datafit, Unit(target: scale, loss: scale * scale))
        case .quantile(let level):
            let target = try numbers(response, table)
            let scale = scale(of: [target], weights)
            // The width of He, Pan, Tan and Zhou, in spreads of the target.
            let (n, p) = (Double(table.rows), Double(table.design.columns))
            let width = max(0.05, (level * (1 - level)).squareRoot() * power(logarithm(p + 1) / n, 0.25))
            let datafit = try QuantileLoss(
                target.map { $0 / scale }, level: level, width: width, weights: table.weights)
            return try withOffset(table, datafit, Unit(target: scale, loss: scale))
        case .poisson:
            let datafit = try PoissonLoss(numbers(response, table), weights: table.weights)
            return try withOffset(table, datafit, Unit(target: 1, loss: 1))
        case .cox(let ties):
            guard let events = table.events else {
                throw LacunaError.invalidArgument(
                    "--event", reason: "is needed with the family cox: a column that says which rows had their event")
            }
            let datafit = try CoxLoss(
                numbers(response, table), events: events, ties: ties, weights: table.weights)
            var result = try withOffset(
                table, datafit, Unit(target: 1, loss: 1), labels: events.map { $0 ? 1 : 0 })
            result.model.eventColumn = table.eventColumn
            return result
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
                result = try withOffset(table, datafit, Unit(target: 1, loss: 1), labels: labels)
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
                    table, datafit, Unit(target: 1, loss: 1), outputs: names, labels: labels)
            }
            result.model.classes = names
            result.model.hasNumericClasses = classes.isNumeric
            return result
        }
    }

    /// Asks for what is worked on beside the table before anything is worked on: a dozen numbers for each row and for each column,
    /// some more where folds are fitted, and all coefficients of a path that keeps them all.
    ///
    /// - Throws: ``LacunaError/resource(_:needed:available:)``.
    private func requireMemory(_ table: Table) throws {
        let outputs = max(table.responses.count, 1)
        let (rows, columns) = (table.rows, table.design.columns)
        let isChosen = strength == nil
        var perColumn = 72 + (isChosen ? 32 : 0)
        if case .elasticNet(let mixing) = regularizer, mixing == 0 { perColumn += 16 * (isChosen ? choice.count : 20) }
        let perRow = 88 + (isChosen ? 56 : 0)
        let (forColumns, one) = columns.multipliedReportingOverflow(by: perColumn * outputs)
        let (forRows, other) = rows.multipliedReportingOverflow(by: perRow * outputs)
        let (bytes, both) = forColumns.addingReportingOverflow(forRows)
        try MachineMemory.require(
            one || other || both ? .max : bytes, for: "fitting \(rows) rows of \(columns) features")
    }

    /// What strengths and losses were divided by.
    struct Unit {
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
        _ table: Table, _ datafit: F, _ unit: Unit, labels: [Int]? = nil
    ) throws -> Fit {
        guard let offset = table.offset else { return try fit(table, datafit, unit, labels: labels) }
        return try fit(table, OffsetLoss(datafit, offset: offset.map { $0 / unit.target }), unit, labels: labels)
    }

    private func fit<F: Datafit>(
        _ table: Table, _ datafit: F, _ unit: Unit, outputs: [String] = [], labels: [Int]? = nil
    ) throws -> Fit {
        let design =
            standardizes ? table.design.standardized(weights: datafit.weights, centered: hasIntercept) : table.design
        let columns = design.columns
        let scales = design.inverseScales
        func one<P: SeparablePenalty & ScalablePenalty>(_ penalty: P, mixing: Double? = nil, given: Double? = nil)
            throws -> Fit
        {
            let problem = try Problem(design, datafit, penalty, hasIntercept: hasIntercept)
            if datafit.outputs == 1 {
                return try finish(
                    table, problem, unit, outputs, labels, mixing, given,
                    path: {
                        try RegularizationPath(
                            $0, strengths: $1, solver: ProximalNewton(tolerance: tolerance, progress: $2))
                    })
            }
            return try finish(
                table, problem, unit, outputs, labels, mixing, given,
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
        case .slope(let sequence):
            let problem = try Problem(
                design, datafit, SortedL1(1, factors: sequence.factors(columns: columns)), hasIntercept: hasIntercept)
            return try finish(
                table, problem, unit, outputs, labels, nil, strength.map { $0 * unit.target / unit.loss },
                path: {
                    let solver = SortedDescent(tolerance: tolerance, progress: $2)
                    let solutions = try solver.path($0, strengths: $1)
                    return RegularizationPath(
                        strengths: $1, solutions: solutions, explained: RegularizationPath.explained($0, solutions))
                })
        case .subset(let size):
            let problem = try Problem(design, datafit, L1(0), hasIntercept: hasIntercept)
            if let size, size > columns {
                throw LacunaError.invalidArgument("--size", reason: "is \(size) of \(columns) features")
            }
            let sizes = size.map { $0...$0 } ?? 1...Self.largestSubset(rows: table.rows, columns: columns)
            var standings: [BestSubset.Standing] = []
            func path(
                _ problem: Problem<F, L1>, _ sizes: [Double], _ solver: BestSubset
            ) throws -> RegularizationPath {
                let found = try solver.solve(problem, sizes: Int(sizes[0])...Int(sizes[sizes.count - 1]))
                standings = found.map(\.standing)
                let solutions = found.map(\.solution)
                return RegularizationPath(
                    strengths: sizes, solutions: solutions,
                    explained: RegularizationPath.explained(problem, solutions))
            }
            var result = try finish(
                table, problem, unit, outputs, labels, nil, size.map { Double($0) }, sizes: sizes,
                // Nothing is proven of folds.
                path: { problem, sizes, _ in
                    try path(problem, sizes, BestSubset(tolerance: tolerance, maximumBounds: 0))
                },
                final: { try path($0, $1, BestSubset(tolerance: tolerance, progress: $2)) })
            result.standing = standings[result.chosen]
            return result
        case .group(let groups, let mixing):
            let penalty = GroupLasso(1, groups: groups, mixing: mixing)
            let problem = try Problem(design, datafit, penalty, hasIntercept: hasIntercept)
            let given = strength.map { $0 * unit.target / unit.loss }
            if datafit.curvatureBound == nil {
                return try finish(
                    table, problem, unit, outputs, labels, nil, given,
                    path: {
                        try RegularizationPath(
                            groups: $0, strengths: $1, solver: FISTA(tolerance: tolerance, progress: $2))
                    })
            }
            return try finish(
                table, problem, unit, outputs, labels, nil, given,
                path: {
                    try RegularizationPath(
                        groups: $0, strengths: $1, solver: BlockCoordinateDescent(tolerance: tolerance, progress: $2))
                })
        }
    }

    /// - Parameters:
    ///   - mixing: The share of the L1 penalty of an elastic net, for the target in its spreads.
    ///   - given: The strength that was asked for, for the target in its spreads.
    ///   - sizes: What takes the place of strengths.
    ///   - final: What follows the path of all rows, if not the same as that of folds.
    private func finish<F: Datafit, P: ScalablePenalty>(
        _ table: Table, _ problem: Problem<F, P>, _ unit: Unit, _ outputs: [String], _ labels: [Int]?,
        _ mixing: Double?, _ given: Double?, sizes: ClosedRange<Int>? = nil,
        path: (Problem<F, P>, [Double], (any ProgressReporter)?) throws -> RegularizationPath,
        final: ((Problem<F, P>, [Double], (any ProgressReporter)?) throws -> RegularizationPath)? = nil
    ) throws -> Fit {
        let weights = problem.datafit.weights
        let maximum = sizes.map { Double($0.upperBound) } ?? RegularizationPath.maximumStrength(problem)
        let strengths = try sizes.map { $0.map { Double($0) } } ?? Self.strengths(maximum, choice, given: given)
        var validation: CrossValidation?
        if given == nil {
            validation = try CrossValidation(
                problem, strengths, folds(table, labels, weights), progress,
                measure: measure(table, labels, weights, unit)
            ) { try path($0, strengths, progress.map { QuietProgress($0) }).solutions }
        }
        let found = try final?(problem, strengths, progress) ?? path(problem, strengths, progress)
        let chosen =
            validation.map { choice.rule == .smallest ? $0.best : $0.simplest } ?? found.solutions.count - 1
        var solutions = found.solutions.map { $0.inUnits(target: unit.target, loss: unit.loss) }
        if family.hasEvents { for k in solutions.indices { solutions[k].center(problem.design, weights) } }
        var own =
            sizes == nil ? found.strengths.map { unit.strength($0, regularizer, mixing: mixing) } : found.strengths
        if given != nil, let strength, !own.isEmpty { own[own.count - 1] = strength }
        let solution = solutions[chosen]
        let scales = problem.design.inverseScales
        let plain = solution.unscaled(problem.design)
        let columns = plain.columns
        let all = plain.coefficients
        var coefficients =
            plain.outputs == 1 ? [all] : (0..<plain.outputs).map { Array(all[$0 * columns..<($0 + 1) * columns]) }
        var intercepts = plain.intercepts
        var effects = solution.coefficients
        if isRelaxed {
            let chosen = solution.selectedColumns
            var relaxed = try relaxed(problem, chosen).inUnits(target: unit.target, loss: unit.loss)
            if family.hasEvents { relaxed.center(ColumnSubset(problem.design, chosen), weights) }
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
            chosen: chosen,
            maximumStrength: sizes == nil ? unit.strength(maximum, regularizer, mixing: mixing) : maximum,
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
        let design = ColumnSubset(problem.design, chosen)
        let small = try Problem(design, problem.datafit, L1(0), hasIntercept: hasIntercept)
        return problem.datafit.outputs == 1
            ? try ProximalNewton(tolerance: tolerance).solve(small)
            : try CoordinateDescent(tolerance: tolerance).solve(small)
    }

    /// As many columns as can be told apart at all: `n / (log p · log log n)`, after Zhu and others, but no more than half of the
    /// rows and 50.
    private static func largestSubset(rows: Int, columns: Int) -> Int {
        let n = max(Double(rows), 4)
        let most = n / (logarithm(max(Double(columns), 3)) * max(logarithm(logarithm(n)), 0.5))
        return max(1, min(columns, rows / 2, 50, Int(most)))
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
}

extension Solution {
    /// Lets predictors be 0 on the average row, where a constant means nothing.
    mutating func center(_ design: any Design, _ weights: [Double]) {
        intercepts[0] = 0
        intercepts[0] = -SampleWeights.mean(predictors(design)[...], weights)
    }

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
