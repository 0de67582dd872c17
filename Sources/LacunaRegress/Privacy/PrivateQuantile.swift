import LacunaTensor

/// A quantile released with pure differential privacy by the inverse-sensitivity mechanism.
///
/// A number `t` gets the density `exp(-ε len_ρ(t) / 2)` on a public interval, where `len(t)` is the fewest rows to
/// replace so that `t` becomes the quantile and `len_ρ` the smallest of it within `ρ` of `t`. For the `r`-th smallest of
/// `n` numbers `len(t) = max(0, n - r + 1 - #{x_i >= t})` above it and `max(0, r - #{x_i <= t})` below, so the density
/// is constant between neighbouring rows and is drawn from exactly.
///
/// Rows and answers are multiples of a ``grid`` that no row decides, so that the low bits of an answer are not those of a row.
///
/// Hilal Asi, Jonathan Ullman, Lydia Zakynthinou, "From Robustness to Privacy and Back", arXiv 2302.01855.
public struct PrivateQuantile: Sendable, Equatable {
    /// Between 0 and 1; 0.5 for the median.
    public let fraction: Double
    /// Where the quantile is looked for. It must not be chosen by looking at the rows.
    public let range: ClosedRange<Double>
    /// ρ: how far from the quantile an answer counts as the quantile itself.
    public let resolution: Double
    /// ε of one answer. Above 0.
    public let epsilon: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a fraction outside 0...1, an interval that is infinite or
    ///   not longer than 2ρ, ρ not above 0, or ε not above 0.
    public init(
        fraction: Double = 0.5, range: ClosedRange<Double>, resolution: Double, epsilon: Double
    ) throws {
        guard (0...1).contains(fraction) else {
            throw LacunaError.invalidArgument("fraction", reason: "must be from 0 to 1, but is \(fraction)")
        }
        guard resolution > 0, (range.upperBound - range.lowerBound).isFinite,
            range.upperBound - range.lowerBound > 2 * resolution
        else {
            throw LacunaError.invalidArgument(
                "range", reason: "\(range) must be finite and longer than twice the resolution \(resolution)")
        }
        self.fraction = fraction
        self.range = range
        self.resolution = resolution
        self.epsilon = try PrivacyBudget(epsilon: epsilon).epsilon
    }

    /// What rows are rounded to before anything is done with them, and answers are multiples of: a power of two below a
    /// thousandth of the resolution, where doubles allow.
    public var grid: Double {
        let fine = Double(sign: .plus, exponent: resolution.exponent - 10, significand: 1)
        let coarse = max(abs(range.lowerBound), abs(range.upperBound)) * 0x1p-50
        return coarse < fine ? fine : Double(sign: .plus, exponent: coarse.exponent + 1, significand: 1)
    }

    /// The rank, from 1, of the quantile among `n` rows.
    public func rank(of n: Int) -> Int { max(1, min(n, Int((fraction * Double(n)).rounded(.up)))) }

    /// The fewest rows to replace so that `t` becomes the quantile (`len`, with ρ = 0).
    ///
    /// - Parameter rows: Ascending.
    public func pathLength(to t: Double, in rows: [Double]) -> Int {
        let rank = rank(of: rows.count)
        let value = rows[rank - 1]
        if t == value { return 0 }
        return t > value
            ? max(0, rows.count - rank + 1 - rows.count { $0 >= t }) : max(0, rank - rows.count { $0 <= t })
    }

    /// - Parameter rows: In any order. Those outside the interval count as its bounds.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for no rows or one that is not a number.
    public func callAsFunction(_ rows: [Double], using generator: inout SeededGenerator) throws -> Double {
        guard !rows.isEmpty else { throw LacunaError.invalidArgument("rows", reason: "there are none") }
        if let place = rows.firstIndex(where: \.isNaN) {
            throw LacunaError.invalidArgument("rows", reason: "row \(place + 1) is not a number")
        }
        let grid = self.grid
        func snapped(_ x: Double) -> Double { (x / grid).rounded() * grid }
        let pieces = pieces(prepared(rows))
        let mechanism = try ExponentialMechanism(epsilon: epsilon)
        let chosen = mechanism.choose(
            pieces.map { Double($0.length) },
            logMass: pieces.map { logarithm($0.interval.upperBound - $0.interval.lowerBound) }, using: &generator)
        let interval = pieces[chosen].interval
        let drawn = interval.lowerBound + generator.uniform() * (interval.upperBound - interval.lowerBound)
        // The nearest multiple inside the range.
        let answer = snapped(drawn)
        return answer > range.upperBound
            ? (range.upperBound / grid).rounded(.down) * grid
            : answer < range.lowerBound ? (range.lowerBound / grid).rounded(.up) * grid : answer
    }

    /// Rows inside the interval, on the grid, ascending.
    private func prepared(_ rows: [Double]) -> [Double] {
        rows.map { (min(max($0, range.lowerBound), range.upperBound) / grid).rounded() * grid }.sorted()
    }

    /// How answers are distributed for these rows, before they are rounded to the ``grid``: what audits compare.
    ///
    /// - Precondition: There are rows, all of them numbers.
    public func distribution(of rows: [Double]) -> AnswerDistribution {
        let pieces = pieces(prepared(rows))
        return AnswerDistribution(pieces: pieces.map { ($0.interval, -epsilon * Double($0.length) / 2) })
    }

    /// Intervals of positive length that cover the range, with the smoothed path length on each.
    func pieces(_ sorted: [Double]) -> [(interval: ClosedRange<Double>, length: Int)] {
        Self.pieces(sorted, rank: rank(of: sorted.count), resolution: resolution, range: range)
    }

    static func pieces(
        _ sorted: [Double], rank: Int, resolution: Double, range: ClosedRange<Double>
    ) -> [(interval: ClosedRange<Double>, length: Int)] {
        let n = sorted.count
        var pieces: [(ClosedRange<Double>, Int)] = []
        func add(_ low: Double, _ high: Double, _ length: Int) {
            let (low, high) = (max(low, range.lowerBound), min(high, range.upperBound))
            if low < high { pieces.append((low...high, length)) }
        }
        // Smoothing moves the rows below the quantile down by ρ and those above it up.
        for i in 0..<rank {
            add(
                i == 0 ? -.infinity : sorted[i - 1] - resolution,
                sorted[i] - resolution, rank - i)
        }
        add(sorted[rank - 1] - resolution, sorted[rank - 1] + resolution, 0)
        for i in rank - 1..<n {
            add(
                sorted[i] + resolution,
                i == n - 1 ? .infinity : sorted[i + 1] + resolution, i - rank + 2)
        }
        return pieces
    }
}
