import LacunaTensor

/// How sure a fit is: how often a column would be selected from other rows, and where its coefficient may lie.
public struct Certainty: Sendable, Equatable {
    /// What intervals rest on.
    public enum Method: String, Sendable, CaseIterable {
        /// Coefficients corrected for the shrinkage, with normal errors (``DebiasedLasso``): intervals for each column by
        /// itself, whether or not it was selected.
        case debiased
        /// Percentiles of fits to rows drawn with replacement, at the strength of the fit: how the estimate varies, shrinkage
        /// included.
        case bootstrap
    }

    /// An interval that covers in 95 of 100 such tables.
    public struct Interval: Sendable, Equatable {
        /// Column of the table's design.
        public let feature: Int
        /// The estimate that the interval is around, for the column as it is.
        public let estimate, lower, upper: Double
    }

    /// For each feature the share of half-samples from which it was selected; nil where it was not asked for.
    public internal(set) var stability: [Double]?
    /// Columns selected from a half-sample on average.
    public internal(set) var meanSelected: Double?
    /// For 95 in 100, of the features that have one; nil where none were asked for.
    public internal(set) var intervals: [Interval]?
    /// How the intervals were made.
    public internal(set) var method: Method?

    /// With what another one says beside.
    public func joined(_ other: Certainty) -> Certainty {
        Certainty(
            stability: stability ?? other.stability, meanSelected: meanSelected ?? other.meanSelected,
            intervals: intervals ?? other.intervals, method: method ?? other.method)
    }

    /// At most so many columns that have no effect are expected among those with a stability of at least `threshold`, if
    /// columns without effect are exchangeable and no worse than at random: `q²/((2π - 1) p)`.
    ///
    /// Nicolai Meinshausen, Peter Bühlmann, "Stability Selection", arXiv 0809.2932; for complementary pairs Rajen Shah, Richard
    /// Samworth, "Variable Selection with Error Control", arXiv 1105.5578.
    ///
    /// - Parameter threshold: Above ½, up to 1.
    public func expectedFalseSelections(threshold: Double) -> Double? {
        guard let stability, let meanSelected, threshold > 0.5, threshold <= 1, !stability.isEmpty else { return nil }
        return meanSelected * meanSelected / ((2 * threshold - 1) * Double(stability.count))
    }
}

extension Estimator {
    /// The same fit again, at the strength that was found.
    private func fixed(at fit: Fit) -> Estimator {
        var result = self
        if case .subset = regularizer {
            result.regularizer = .subset(size: Int(fit.strength))
        } else {
            result.strength = fit.strength
        }
        if case .elasticNet = regularizer, let mixing = fit.mixing {
            result.regularizer = .elasticNet(mixing: mixing)
        }
        result.progress = nil
        return result
    }

    /// The classes of the target, by which samples are drawn.
    private func strata(_ table: Table) -> [Int]? {
        if family.hasEvents { return table.events.map { $0.map { $0 ? 1 : 0 } } }
        guard family.hasClasses, let response = table.responses.first else { return nil }
        let classes = ClassNames(response)
        return response.words.enumerated().map { classes.place($1, response.numbers?[$0]) ?? 0 }
    }

    /// Selects from both halves of the rows, divided at random `pairs` times. Classes are divided evenly; groups of the table
    /// stay whole.
    ///
    /// - Parameters:
    ///   - pairs: At least 1; 50 make 100 fits.
    /// - Throws: As ``fit(_:)``.
    public func stability(_ table: Table, of fit: Fit, pairs: Int = 50, seed: UInt64 = 0) throws -> Certainty {
        guard pairs >= 1 else { throw LacunaError.invalidArgument("pairs", reason: "are \(pairs)") }
        let estimator = fixed(at: fit)
        let weights = table.weights ?? [Double](repeating: 1, count: table.rows)
        let (strata, groups) = (strata(table), table.groups.map { RowGroups($0) })
        var counts = [Double](repeating: 0, count: table.design.columns)
        var total = 0
        for pair in 0..<pairs {
            try progress.report("stability", pair, of: pairs)
            let own = seed &* 0x9E37_79B9 &+ UInt64(pair)
            let halves =
                groups?.folds(count: 2, seed: own)
                ?? CrossValidation.folds(rows: table.rows, count: 2, seed: own, strata: strata)
            for half in 0..<2 {
                let found = try estimator.fit(
                    table.weighted(by: weights.indices.map { halves[$0] == half ? weights[$0] : 0 }))
                for j in found.solution.selectedColumns {
                    counts[j] += 1
                    total += 1
                }
            }
        }
        return Certainty(
            stability: counts.map { $0 / Double(2 * pairs) }, meanSelected: Double(total) / Double(2 * pairs),
            intervals: nil, method: nil)
    }

    /// Percentile intervals of the coefficients that are not 0, from rows (or groups of the table) drawn with replacement.
    ///
    /// - Parameter samples: At least 20.
    /// - Throws: As ``fit(_:)``, and ``LacunaError/unsupported(file:what:)`` for several outputs.
    public func bootstrap(_ table: Table, of fit: Fit, samples: Int = 200, seed: UInt64 = 0) throws -> Certainty {
        guard samples >= 20 else {
            throw LacunaError.invalidArgument("samples", reason: "are \(samples); 20 are needed")
        }
        guard fit.model.coefficients.count == 1 else {
            throw LacunaError.unsupported(file: nil, what: "intervals of several outputs")
        }
        let estimator = fixed(at: fit)
        let weights = table.weights ?? [Double](repeating: 1, count: table.rows)
        let groups = table.groups.map { RowGroups($0) } ?? .singletons(rows: table.rows)
        let strata = strata(table)
        let chosen = fit.solution.selectedColumns
        var values = [[Double]](repeating: [], count: chosen.count)
        var generator = SeededGenerator(seed: seed, stream: 0xB007)
        // Groups of one class are drawn among themselves, so that no sample lacks a class.
        let kinds = strata.map { strata in groups.firstRows.map { strata[$0] } } ?? groups.firstRows.map { _ in 0 }
        let byKind = Dictionary(grouping: groups.firstRows.indices, by: { kinds[$0] }).sorted { $0.key < $1.key }
        for sample in 0..<samples {
            try progress.report("bootstrap", sample, of: samples)
            var times = [Double](repeating: 0, count: groups.count)
            for (_, members) in byKind {
                for _ in members { times[members[Int(generator.next() % UInt64(members.count))]] += 1 }
            }
            let found = try estimator.fit(
                table.weighted(by: weights.indices.map { weights[$0] * times[groups.indices[$0]] }))
            for (k, j) in chosen.enumerated() { values[k].append(found.model.coefficients[0][j]) }
        }
        return Certainty(
            stability: nil, meanSelected: nil,
            intervals: zip(chosen, values).map { j, values in
                let sorted = values.sorted()
                func percentile(_ share: Double) -> Double {
                    let place = share * Double(sorted.count - 1)
                    let below = Int(place)
                    let rest = place - Double(below)
                    return sorted[below] * (1 - rest) + sorted[min(below + 1, sorted.count - 1)] * rest
                }
                return .init(
                    feature: j, estimate: fit.model.coefficients[0][j], lower: percentile(0.025),
                    upper: percentile(0.975))
            }, method: .bootstrap)
    }

    /// Refuses what debiased intervals are not for, which can be known before any fit.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` naming it.
    public func validateDebiased(hasWeights: Bool, hasFactors: Bool, responses: Int = 1) throws {
        let isElastic = regularizer == .lasso || { if case .elasticNet = regularizer { true } else { false } }()
        for (what, isSo) in [
            ("the family \(family.name)", family != .gaussian), ("several targets", responses != 1),
            ("the penalty \(regularizer.name)", !isElastic), ("limits of coefficients", hasLimits),
            ("factors of the penalty", hasFactors || adaptivePower != nil), ("weights of rows", hasWeights),
            ("no intercept", !hasIntercept),
        ] where isSo {
            throw LacunaError.unsupported(
                file: nil,
                what: "debiased intervals with \(what); they are for the lasso and the elastic net of numbers")
        }
    }

    /// Intervals of debiased coefficients.
    ///
    /// - Parameter features: Columns of the design; all for nil.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for anything but one target of numbers, a lasso or elastic net without
    ///   limits or factors, and rows that count alike; ``LacunaError/invalidArgument(_:reason:)`` for too few rows.
    public func debiased(_ table: Table, of fit: Fit, features: [Int]? = nil) throws -> Certainty {
        try validateDebiased(
            hasWeights: table.weights != nil, hasFactors: factors != nil, responses: table.responses.count)
        guard let numbers = table.responses.first?.numbers else { return Certainty() }
        let target = table.offset.map { zip(numbers, $0).map { $0 - $1 } } ?? numbers
        let intervals = try DebiasedLasso(progress: progress).intervals(
            table.design, target: target, coefficients: fit.model.coefficients[0], intercept: fit.model.intercepts[0],
            features: features ?? Array(0..<table.design.columns))
        return Certainty(stability: nil, meanSelected: nil, intervals: intervals, method: .debiased)
    }
}

extension Table {
    /// The same table whose rows count differently.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another number of weights.
    public func weighted(by weights: [Double]) throws -> Table {
        guard weights.count == rows else {
            throw LacunaError.invalidArgument("weights", reason: "\(weights.count) weights for \(rows) rows")
        }
        var result = self
        result.weights = weights
        return result
    }
}
