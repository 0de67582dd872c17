import LacunaTensor

/// A quantile released with (ε, δ)-differential privacy, without a range in which it is looked for.
///
/// Far from all rows the density `exp(-ε len / 2)` of ``PrivateQuantile`` has no end, so it is cut off: answers `t` of smoothed path
/// length `len_ρ(t) > L` are not given. Where a neighbouring table just does or does not give an answer, its density is `exp(-ε' L /
/// 2)` over that at the quantile; with `V(l)` for the length of all answers of path length up to `l`, the table is *calm* if
///
///     V(L + 1) ≤ ρ δ' exp(ε' L / 2),    ε' = ε/2,    δ' = δ / (1 + exp(ε'/2)),
///
/// and answers of neighbouring calm tables are (ε', δ)-close. Whether a table is calm is itself a secret: the largest `k` with `V(L + 1
/// + k)` below that bound changes by at most 1 with a row, so that as many rows must change before a table is not calm. The number
/// is compared, with Laplace noise of scale `1/ε'`, with `ln(1/2δ)/ε'`; below it there is no answer. A table that is not calm
/// then gets one with probability δ at most, others spend ε' twice.
///
/// Hilal Asi, Jonathan Ullman, Lydia Zakynthinou, "From Robustness to Privacy and Back", arXiv 2302.01855; the test is that of
/// Cynthia Dwork, Jing Lei, "Differential Privacy and Robust Statistics", STOC 2009. `L`, half of the rows on the thinner side, and
/// the condition are this toolkit's choice.
public struct UnboundedPrivateQuantile: Sendable, Equatable {
    /// Between 0 and 1; 0.5 for the median.
    public let fraction: Double
    /// ρ: how far from the quantile an answer counts as the quantile itself.
    public let resolution: Double
    /// ε and δ of one answer, or of none.
    public let budget: PrivacyBudget

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a fraction outside 0...1, ρ that is not above 0 or not finite, and δ
    ///   that is not above 0 or not below 1/2.
    public init(fraction: Double = 0.5, resolution: Double, budget: PrivacyBudget) throws {
        guard (0...1).contains(fraction) else {
            throw LacunaError.invalidArgument("fraction", reason: "must be from 0 to 1, but is \(fraction)")
        }
        guard resolution > 0, resolution.isFinite, resolution < 1e280, resolution > 1e-280 else {
            throw LacunaError.invalidArgument("resolution", reason: "\(resolution) is not above 0, or out of reach")
        }
        guard budget.delta > 0, budget.delta < 0.5 else {
            throw LacunaError.invalidArgument("delta", reason: "must be above 0 and below 0.5, but is \(budget.delta)")
        }
        (self.fraction, self.resolution, self.budget) = (fraction, resolution, budget)
    }

    /// What rows and answers are rounded to: a power of two below a thousandth of the resolution.
    public var grid: Double { Double(sign: .plus, exponent: resolution.exponent - 10, significand: 1) }
    /// Rows farther from 0 count as this: as many steps of the grid as doubles can tell apart.
    public var limit: Double { grid * 0x1p50 }

    /// What the releases about one row add up to.
    public var account: PrivacyAccount {
        PrivacyAccount(
            model: .central,
            releases: [
                PrivacyAccount.Release(
                    "whether there is an answer, and the answer", mechanism: "inverse sensitivity after a test",
                    budget: budget)
            ])
    }

    /// The path length beyond which there are no answers, for `n` rows.
    func reach(of n: Int) -> Int {
        let rank = rank(of: n)
        return min(rank, n - rank + 1) / 2
    }

    private func rank(of n: Int) -> Int { max(1, min(n, Int((fraction * Double(n)).rounded(.up)))) }

    private func snapped(_ x: Double) -> Double { (x / grid).rounded() * grid }

    /// Pieces by path length, rows anywhere.
    private func pieces(_ rows: [Double]) -> [(interval: ClosedRange<Double>, length: Int)] {
        PrivateQuantile.pieces(
            rows.map { snapped(min(max($0, -limit), limit)) }.sorted(), rank: rank(of: rows.count),
            resolution: resolution, range: -limit...limit)
    }

    /// How many rows have to change before the table is not calm; -1 if it is not.
    func calm(_ pieces: [(interval: ClosedRange<Double>, length: Int)], rows n: Int) -> Int {
        let reach = reach(of: n)
        let half = budget.epsilon / 2
        // In logarithms, as the bound is astronomical for many rows.
        let bound =
            logarithm(resolution) + logarithm(budget.delta) - logarithmOfOnePlus(exponential(half / 2))
            + half * Double(reach) / 2
        var lengths = [Double](repeating: 0, count: n + 2)
        for piece in pieces {
            lengths[min(piece.length, n + 1)] += piece.interval.upperBound - piece.interval.lowerBound
        }
        var (sum, calm) = (0.0, -1)
        for (length, width) in lengths.enumerated() {
            sum += width
            if length >= reach + 1 {
                if logarithm(sum) > bound { break }
                calm = length - reach - 1
            }
        }
        return calm
    }

    /// Probability that so calm a table gets an answer.
    private func acceptance(_ calm: Int) -> Double {
        let half = budget.epsilon / 2
        let excess = half * Double(calm) + logarithm(2 * budget.delta)
        return excess < 0 ? exponential(excess) / 2 : 1 - exponential(-excess) / 2
    }

    /// How answers are distributed for these rows, before they are rounded to the ``grid``: what audits compare.
    ///
    /// - Precondition: There are rows, all of them numbers.
    public func distribution(of rows: [Double]) -> AnswerDistribution {
        let pieces = pieces(rows)
        let reach = reach(of: rows.count)
        return AnswerDistribution(
            refusal: 1 - acceptance(calm(pieces, rows: rows.count)),
            pieces: pieces.filter { $0.length <= reach }.map { ($0.interval, -budget.epsilon * Double($0.length) / 4) })
    }

    /// The answer, or nil if the rows near the quantile are too few or too far apart for one.
    ///
    /// - Parameter rows: In any order, and as large as may be, up to ``limit``.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for no rows or one that is not a number.
    public func callAsFunction(_ rows: [Double], using generator: inout SeededGenerator) throws -> Double? {
        guard !rows.isEmpty else { throw LacunaError.invalidArgument("rows", reason: "there are none") }
        if let place = rows.firstIndex(where: \.isNaN) {
            throw LacunaError.invalidArgument("rows", reason: "row \(place + 1) is not a number")
        }
        let pieces = pieces(rows)
        guard generator.uniform() < acceptance(calm(pieces, rows: rows.count)) else { return nil }
        let reach = reach(of: rows.count)
        let given = pieces.filter { $0.length <= reach }
        let chosen = try ExponentialMechanism(epsilon: budget.epsilon / 2).choose(
            given.map { Double($0.length) },
            logMass: given.map { logarithm($0.interval.upperBound - $0.interval.lowerBound) }, using: &generator)
        let interval = given[chosen].interval
        return snapped(interval.lowerBound + generator.uniform() * (interval.upperBound - interval.lowerBound))
    }
}
