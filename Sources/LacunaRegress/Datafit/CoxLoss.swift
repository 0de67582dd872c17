import LacunaTensor

/// Times to an event, some of which were not lived to see, by Cox's partial likelihood: at every time of an event, how likely
/// it is that it happens to those it happens to, among all who are still at risk.
///
///     F(η) = Σ_t ( -Σ_{i ∈ D_t} w_i η_i + d_t log Σ_{j ∈ R_t} w_j exp η_j )        (Breslow's ties)
///
/// over the distinct times `t` of events, with `D_t` the rows whose event is at `t`, `d_t` their weight, and `R_t` the rows whose
/// time is `t` or later. Efron's ties put the logarithm of `S - (l/m) S_D` for `l = 0, …, m - 1` in place of `m` times that of
/// `S`, where `m` rows share a time and `S_D` is their part of the sum. A larger predictor is a larger hazard, an earlier event.
///
/// A constant added to all predictors changes nothing, so that there is no intercept; fits "with an intercept" see columns
/// without their means, which is exact here too and better conditioned.
///
/// - Complexity: O(n) exponentials for a value or gradient of `n` rows; Efron's ties and conjugates at a scale below 1 visit
///   rows of equal event times once for each of them.
///
/// David Cox, "Regression Models and Life-Tables", JRSS B 1972; Norman Breslow, discussion there; Bradley Efron, "The Efficiency of
/// Cox's Likelihood Function for Censored Data", JASA 1977.
public struct CoxLoss: Datafit {
    /// What becomes of events at equal times.
    public enum Ties: String, Sendable, CaseIterable, Codable {
        /// Each as if it were first among a crowd that grows thinner by shares: closer to the exact likelihood.
        case efron
        /// Each as if it were first.
        case breslow
    }

    /// When a row was last seen, or its event happened.
    public let times: [Double]
    /// Whether there was an event; false for rows that were lost from sight at their time.
    public let events: [Bool]
    /// Sample weights; they sum to 1.
    public let weights: [Double]
    /// What becomes of events at equal times.
    public let ties: Ties
    /// Rows of weight above 0, ascending by their times.
    let order: [Int32]
    /// Ascending by their times.
    let steps: [Step]

    /// A time at which there is an event.
    struct Step: Sendable {
        /// Where the rows that are still at risk begin in the order.
        let first: Int
        /// Rows whose event is then.
        let rows: [Int32]
        /// Their weight together.
        let weight: Double
    }

    /// - Parameters:
    ///   - times: Finite numbers, in any unit: only their order counts.
    ///   - events: One for each time; at least one of positive weight is true.
    ///   - weights: One for each row, at least 0; equal ones for nil.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for lengths that differ, numbers that are not finite, and rows
    ///   without any event.
    public init(_ times: [Double], events: [Bool], ties: Ties = .efron, weights: [Double]? = nil) throws {
        guard events.count == times.count else {
            throw LacunaError.invalidArgument("events", reason: "are \(events.count), the times \(times.count)")
        }
        let weights = try SampleWeights.normalized(weights, rows: times.count)
        try SampleWeights.requireFinite(times)
        (self.times, self.events, self.weights, self.ties) = (times, events, weights, ties)
        let order = times.indices.filter { weights[$0] > 0 }.sorted { (times[$0], $0) < (times[$1], $1) }
        var steps: [Step] = []
        var place = 0
        while place < order.count {
            let start = place
            var rows: [Int32] = []
            while place < order.count && times[order[place]] == times[order[start]] {
                if events[order[place]] { rows.append(Int32(order[place])) }
                place += 1
            }
            if !rows.isEmpty {
                steps.append(Step(first: start, rows: rows, weight: rows.reduce(0) { $0 + weights[Int($1)] }))
            }
        }
        guard !steps.isEmpty else { throw LacunaError.invalidArgument("events", reason: "there is none") }
        self.order = order.map { Int32($0) }
        self.steps = steps
    }

    public var rows: Int { times.count }

    /// A single row can carry all of the hazard.
    public var curvatureBound: Double? { nil }

    // MARK: Risk sets

    /// What predictors make of a step: the logarithm of `S`, the mean predictor at risk, and the shares of `S` and of that mean
    /// that belong to the rows of the step.
    struct Risk {
        var logarithm = 0.0
        var mean = 0.0
        var share = 0.0
        var part = 0.0
    }

    /// From the last step to the first, so that sums only grow; they are kept beside the largest predictor so far.
    func risks(_ eta: UnsafePointer<Double>) -> [Risk] {
        var result = [Risk](repeating: Risk(), count: steps.count)
        var (largest, sum, moment) = (-Double.infinity, 0.0, 0.0)
        var end = order.count
        for k in steps.indices.reversed() {
            for place in steps[k].first..<end {
                let i = Int(order[place])
                let (w, x) = (weights[i], eta[i])
                if x > largest {
                    let factor = exponential(largest - x)
                    sum = sum * factor + w
                    moment = moment * factor + w * x
                    largest = x
                } else {
                    let e = w * exponential(x - largest)
                    sum += e
                    moment += e * x
                }
            }
            end = steps[k].first
            result[k].logarithm = largest + LacunaTensor.logarithm(sum)
            result[k].mean = moment / sum
            for i in steps[k].rows {
                let e = weights[Int(i)] * exponential(eta[Int(i)] - result[k].logarithm)
                result[k].share += e
                result[k].part += e * eta[Int(i)]
            }
        }
        return result
    }

    /// Calls `body` for every logarithm of a step, with its weight and with the share `l/m` by which the step's own rows are
    /// thinned.
    @inline(__always)
    func forEachLogarithm(of step: Step, _ body: (_ weight: Double, _ thinning: Double) -> Void) {
        guard ties == .efron, step.rows.count > 1 else { return body(step.weight, 0) }
        let m = Double(step.rows.count)
        for l in 0..<step.rows.count { body(step.weight / m, Double(l) / m) }
    }

    public func value(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        for (step, risk) in zip(steps, risks(eta)) {
            for i in step.rows { sum -= weights[Int(i)] * eta[Int(i)] }
            forEachLogarithm(of: step) { weight, thinning in
                sum += weight * (risk.logarithm + logarithm(1 - thinning * min(risk.share, 1)))
            }
        }
        return sum
    }

    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        curvature(eta, into: out)
        for step in steps { for i in step.rows { out[Int(i)] -= weights[Int(i)] } }
    }

    /// Of the matrix of second derivatives, which is not diagonal, the diagonal upper bound `Σ_t d_t p_tj`, where `p_tj` is the
    /// share of row `j` in the sum of step `t`: a row's expected number of events. Beside an intercept, models made of it
    /// lose the variance between the means of risk sets, no more.
    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        out.update(repeating: 0, count: rows)
        let risks = risks(eta)
        // The hazard so far, beside the largest of its logarithms.
        var (largest, sum) = (-Double.infinity, 0.0)
        for (k, step) in steps.enumerated() {
            let risk = risks[k]
            var (whole, thinned) = (0.0, 0.0)
            forEachLogarithm(of: step) { weight, thinning in
                let rest = 1 - thinning * min(risk.share, 1)
                whole += weight / rest
                thinned += weight * thinning / rest
            }
            let jump = logarithm(whole) - risk.logarithm
            if jump > largest {
                sum = sum * exponential(largest - jump) + 1
                largest = jump
            } else {
                sum += exponential(jump - largest)
            }
            let end = k + 1 < steps.count ? steps[k + 1].first : order.count
            for place in step.first..<end {
                let i = Int(order[place])
                out[i] += weights[i] * sum * exponential(eta[i] + largest)
            }
            if thinned > 0 {
                for i in step.rows {
                    out[Int(i)] -= weights[Int(i)] * thinned * exponential(eta[Int(i)] - risk.logarithm)
                }
            }
        }
    }

    public func magnitude(_ eta: UnsafePointer<Double>) -> Double {
        var (sum, total, largest) = (0.0, 0.0, 0.0)
        for i in order { largest = max(largest, abs(eta[Int(i)])) }
        for (step, risk) in zip(steps, risks(eta)) {
            for i in step.rows { sum += weights[Int(i)] * abs(eta[Int(i)]) }
            sum += step.weight * abs(risk.logarithm)
            total += step.weight
        }
        // A logarithm of a sum is off by the relative error of the sum, however small it is.
        return sum + total * (1 + largest)
    }

    /// Known without predictors only for a scale of 0: less what is lost when events are foreseen without error. Elsewhere
    /// ``conjugate(gradient:scale:at:)`` knows it.
    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        guard s == 0 else { return .infinity }
        var sum = 0.0
        for step in steps {
            forEachLogarithm(of: step) { weight, thinning in
                sum -= weight * (logarithm(step.weight) + logarithm(1 - thinning))
            }
        }
        return sum
    }

    public func weighted(by weights: [Double]) throws -> CoxLoss {
        try CoxLoss(times, events: events, ties: ties, weights: weights)
    }

    /// What the rows left out add to the partial likelihood of those that were fitted, a row: risk sets are those of all rows,
    /// since a few by themselves have hardly any.
    ///
    /// Pierre Verweij, Hans van Houwelingen, "Cross-Validation in Survival Analysis", Statistics in Medicine 1993.
    public func leftOut(_ outside: [Double], beside inside: [Double]) throws -> ([Double]) -> Double {
        func sums(_ weights: [Double]) throws -> (([Double]) -> Double) {
            let total = weights.reduce(0, +)
            let loss = try weighted(by: weights)
            let shift = weights.indices.reduce(0) { events[$1] ? $0 + weights[$1] : $0 } * logarithm(total)
            return { total * loss.value($0) + shift }
        }
        let whole = try sums(zip(inside, outside).map { $0 + $1 })
        let fitted = try sums(inside)
        let left = outside.reduce(0, +)
        return { (whole($0) - fitted($0)) / left }
    }
}
