import LacunaSparse
import LacunaTensor

/// Sparse linear regression when every row is randomised before anyone collects it, in one round.
///
/// A user with features `x` and target `y` clips them to `x̃ = clip(x, ±τ₁)`, `ỹ = clip(y, ±τ₂)` and sends
/// `x̃x̃ᵀ + E` and `x̃ỹ + e`, `E` symmetric with independent normal noise on and above the diagonal. The collector only sums
/// and returns `soft_λ(Σ⁻¹ b)` of the two means: a closed form that needs no number of features that matter. With a public
/// covariance the first message, and its share of the budget, are saved.
///
/// Neighbouring rows move the messages by at most `2dτ₁²` (Frobenius) and `2√d τ₁τ₂`; the budget is split in halves.
/// The error falls as `1/√n` but grows with the number of columns: this is for few columns and very many rows.
///
/// Liyang Zhu, Meng Ding, Vaneet Aggarwal, Jinhui Xu, Di Wang, "Improved Analysis of Sparse Linear Regression in Local
/// Differential Privacy Model", arXiv 2310.07367.
public struct LocalSparseRegression: Sendable {
    /// d, the number of features.
    public let columns: Int
    /// What every user spends, over both messages.
    public let budget: PrivacyBudget
    /// τ₁. Features beyond it, in magnitude, are clipped. It must not be chosen by looking at the rows.
    public let featureBound: Double
    /// τ₂, the same for targets.
    public let targetBound: Double
    /// The covariance of the clipped features [columns, columns] if it is known from public rows.
    public let publicCovariance: Tensor<Double>?
    private let covarianceMechanism: GaussianMechanism?
    private let correlationMechanism: GaussianMechanism

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for no columns, bounds that are not above 0 and finite, δ = 0,
    ///   or a public covariance of another size.
    public init(
        columns: Int, budget: PrivacyBudget, featureBound: Double, targetBound: Double,
        publicCovariance: Tensor<Double>? = nil, calibration: GaussianMechanism.Calibration = .analytic
    ) throws {
        guard columns > 0 else { throw LacunaError.invalidArgument("columns", reason: "there are none") }
        for (name, bound) in [("featureBound", featureBound), ("targetBound", targetBound)] {
            guard bound > 0, bound.isFinite else {
                throw LacunaError.invalidArgument(name, reason: "must be a finite number above 0, but is \(bound)")
            }
        }
        if let publicCovariance, publicCovariance.shape != [columns, columns] {
            throw LacunaError.invalidArgument(
                "publicCovariance", reason: "is \(publicCovariance.shape), but there are \(columns) columns")
        }
        self.columns = columns
        self.budget = budget
        self.featureBound = featureBound
        self.targetBound = targetBound
        self.publicCovariance = publicCovariance
        let d = Double(columns)
        let share = publicCovariance == nil ? budget.divided(by: 2) : budget
        covarianceMechanism =
            publicCovariance == nil
            ? try GaussianMechanism(
                sensitivity: 2 * d * featureBound * featureBound, budget: share, calibration: calibration) : nil
        correlationMechanism = try GaussianMechanism(
            sensitivity: 2 * d.squareRoot() * featureBound * targetBound, budget: share, calibration: calibration)
    }

    /// Standard deviation of the noise on every entry of one user's `x̃x̃ᵀ`; 0 with a public covariance.
    public var covarianceNoise: Double { covarianceMechanism?.standardDeviation ?? 0 }
    /// Standard deviation of the noise on every entry of one user's `x̃ỹ`.
    public var correlationNoise: Double { correlationMechanism.standardDeviation }

    /// What the releases about one row add up to.
    public var account: PrivacyAccount {
        var releases = [
            PrivacyAccount.Release(
                "correlation with the target", mechanism: Self.describe(correlationMechanism),
                budget: correlationMechanism.budget)
        ]
        if let covarianceMechanism {
            releases.insert(
                PrivacyAccount.Release(
                    "covariance of the features", mechanism: Self.describe(covarianceMechanism),
                    budget: covarianceMechanism.budget), at: 0)
        }
        return PrivacyAccount(model: .local, releases: releases)
    }

    private static func describe(_ mechanism: GaussianMechanism) -> String {
        "normal noise, \(mechanism.calibration.rawValue) calibration"
    }

    /// Sums of messages. It holds nothing else about anyone.
    public struct Aggregate: Sendable, Equatable {
        /// How many messages were added.
        public internal(set) var users = 0
        /// The upper triangle, row by row; empty with a public covariance.
        var covariance: [Double]
        var correlation: [Double]

        init(users: Int = 0, covariance: [Double], correlation: [Double]) {
            (self.users, self.covariance, self.correlation) = (users, covariance, correlation)
        }

        /// Adds the messages of other users.
        public static func += (sum: inout Aggregate, other: Aggregate) {
            sum.users += other.users
            for k in sum.covariance.indices { sum.covariance[k] += other.covariance[k] }
            for k in sum.correlation.indices { sum.correlation[k] += other.correlation[k] }
        }
    }

    /// One user's message.
    ///
    /// - Parameter features: [columns].
    public func message(_ features: [Double], _ target: Double, using generator: inout SeededGenerator) -> Aggregate {
        var message = clippedSums(1) { _, x in
            x.update(from: features, count: columns)
            return target
        }
        covarianceMechanism?.privatize(&message.covariance, using: &generator)
        correlationMechanism.privatize(&message.correlation, using: &generator)
        return message
    }

    /// The sum of the messages of all rows of a table, drawn at once: the sum of `n` independent normal noises is one
    /// normal noise with `√n` times the standard deviation.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes differ, there are no rows, or a number is not
    ///   finite.
    public func aggregate(
        _ design: any Design, _ target: [Double], using generator: inout SeededGenerator
    ) throws -> Aggregate {
        guard design.columns == columns else {
            throw LacunaError.invalidArgument("design", reason: "has \(design.columns) columns instead of \(columns)")
        }
        let rows = try design.rowMajor(target)
        return noisy(
            clippedSums(design.rows) { i, x in
                for j in 0..<columns { x[j] = rows[i * columns + j] }
                return target[i]
            }, using: &generator)
    }

    /// The messages of so many users whose clipped, noiseless means are given; for studies of more users than fit in memory.
    public func aggregate(
        users: Int, meanCovariance: Tensor<Double>, meanCorrelation: [Double], using generator: inout SeededGenerator
    ) -> Aggregate {
        require(users > 0 && meanCovariance.shape == [columns, columns] && meanCorrelation.count == columns)
        var sums = emptySums()
        sums.users = users
        if publicCovariance == nil {
            var k = 0
            for i in 0..<columns {
                for j in i..<columns {
                    sums.covariance[k] = Double(users) * meanCovariance[i, j]
                    k += 1
                }
            }
        }
        sums.correlation = meanCorrelation.map { $0 * Double(users) }
        return noisy(sums, using: &generator)
    }

    private func noisy(_ sums: Aggregate, using generator: inout SeededGenerator) -> Aggregate {
        var sums = sums
        covarianceMechanism?.privatize(&sums.covariance, times: Double(sums.users), using: &generator)
        correlationMechanism.privatize(&sums.correlation, times: Double(sums.users), using: &generator)
        return sums
    }

    private func emptySums() -> Aggregate {
        Aggregate(
            covariance: [Double](repeating: 0, count: publicCovariance == nil ? columns * (columns + 1) / 2 : 0),
            correlation: [Double](repeating: 0, count: columns))
    }

    /// Noiseless sums. `row` writes the features and returns the target.
    private func clippedSums(
        _ rows: Int, _ row: (Int, UnsafeMutablePointer<Double>) -> Double
    ) -> Aggregate {
        var sums = emptySums()
        sums.users = rows
        var x = [Double](repeating: 0, count: columns)
        for i in 0..<rows {
            let target = x.withUnsafeMutableBufferPointer { row(i, $0.baseAddress!) }
            let y = min(max(target, -targetBound), targetBound)
            for j in 0..<columns {
                x[j] = min(max(x[j], -featureBound), featureBound)
                sums.correlation[j] += x[j] * y
            }
            if publicCovariance != nil { continue }
            var k = 0
            for a in 0..<columns {
                for b in a..<columns {
                    sums.covariance[k] += x[a] * x[b]
                    k += 1
                }
            }
        }
        return sums
    }

    /// How large a coefficient must be to stay.
    public enum Threshold: Sendable, Equatable {
        /// `√(2 ln d)` times each coefficient's standard deviation, which follows from the known noise. The rows' own
        /// sampling error is not in it; it is smaller by orders of magnitude.
        case universal
        /// The same for every coefficient, at least 0.
        case fixed(Double)
    }

    /// What the sums say.
    public struct Estimate: Sendable, Equatable {
        /// [columns].
        public let coefficients: [Double]
        /// Before small ones were cut.
        public let dense: [Double]
        /// λ of every coefficient.
        public let thresholds: [Double]
        /// Whether the noise is as large as the covariance in some direction, so that the estimate means little there.
        public let isNoiseDominated: Bool
    }

    /// The estimate from summed messages alone: whatever is done here costs no privacy.
    public func estimate(_ sums: Aggregate, threshold: Threshold = .universal) throws -> Estimate {
        let (d, n) = (columns, Double(sums.users))
        var covariance = publicCovariance ?? Tensor(zeros: [d, d])
        if publicCovariance == nil {
            var k = 0
            for i in 0..<d {
                for j in i..<d {
                    covariance[i, j] = sums.covariance[k] / n
                    covariance[j, i] = covariance[i, j]
                    k += 1
                }
            }
        }
        let (values, vectors) = try covariance.symmetricEigen()
        // The noise's own eigenvalues reach ± 2 σ √(d/n); less than a quarter of that says nothing about the rows.
        let noise = 2 * covarianceNoise * (Double(d) / n).squareRoot()
        let floor = max(noise / 4, 1e-12 * (values.last ?? 1), .leastNormalMagnitude)
        var inverse = Tensor<Double>(zeros: [d, d])
        for (k, value) in values.enumerated() {
            let scale = 1 / max(value, floor)
            for i in 0..<d { for j in 0..<d { inverse[i, j] += scale * vectors[k, i] * vectors[k, j] } }
        }
        let dense = (0..<d).map { i in (0..<d).reduce(0) { $0 + inverse[i, $1] * sums.correlation[$1] / n } }
        let thresholds: [Double]
        switch threshold {
        case .fixed(let value):
            guard value >= 0 else {
                throw LacunaError.invalidArgument("threshold", reason: "must be at least 0, but is \(value)")
            }
            thresholds = [Double](repeating: value, count: d)
        case .universal:
            // Every entry of e - Eθ has this variance.
            let square = dense.reduce(0) { $0 + $1 * $1 }
            let variance =
                (correlationNoise * correlationNoise + covarianceNoise * covarianceNoise * square) / n
            let factor = (2 * logarithm(Double(max(d, 2)))).squareRoot()
            thresholds = (0..<d).map { i in
                factor * (variance * (0..<d).reduce(0) { $0 + inverse[i, $1] * inverse[i, $1] }).squareRoot()
            }
        }
        return Estimate(
            coefficients: zip(dense, thresholds).map { Proximal.softThreshold($0, $1) }, dense: dense,
            thresholds: thresholds, isNoiseDominated: values[0] < floor)
    }
}

extension Design {
    /// All entries, row after row, checked together with a target of as many rows.
    func rowMajor(_ target: [Double]) throws -> [Double] {
        guard rows > 0, target.count == rows else {
            throw LacunaError.invalidArgument("design", reason: "has \(rows) rows, the target has \(target.count)")
        }
        try requireFinite()
        if let place = target.firstIndex(where: { !$0.isFinite }) {
            throw LacunaError.invalidArgument("target", reason: "row \(place + 1) is not a finite number")
        }
        var column = [Double](repeating: 0, count: rows)
        var result = [Double](repeating: 0, count: rows * columns)
        for j in 0..<columns {
            for i in 0..<rows { column[i] = 0 }
            column.withUnsafeMutableBufferPointer { add(1, column: j, to: $0.baseAddress!) }
            for i in 0..<rows { result[i * columns + j] = column[i] }
        }
        return result
    }
}
