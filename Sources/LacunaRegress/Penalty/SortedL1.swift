import LacunaTensor

/// SLOPE: `λ Σ_i c_i |β|_(i)` with the coefficients sorted by size, the largest first, and factors `c_1 ≥ c_2 ≥ … ≥ 0`. Large
/// coefficients pay more, as tests on many columns ask for, and columns that tell the same get coefficients of the same size.
///
/// With equal factors this is the lasso. With several outputs each is sorted by itself.
///
/// Małgorzata Bogdan, Ewout van den Berg, Chiara Sabatti, Weijie Su, Emmanuel Candès, "SLOPE – Adaptive Variable Selection via Convex
/// Optimization", arXiv 1407.3824; factors that fall on a line are OSCAR: Howard Bondell, Brian Reich, Biometrics 2008.
public struct SortedL1: ScalablePenalty {
    /// λ, what the largest coefficient pays where the first factor is 1.
    public var strength: Double
    /// `c`: one for each column, not ascending.
    public let factors: [Double]
    /// Sums of the factors from the first on.
    private let sums: [Double]

    /// - Parameter factors: One for each column: finite, at least 0, not ascending, the first above 0.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other factors, and for a strength that is not finite and at least
    ///   0.
    public init(_ strength: Double, factors: [Double]) throws {
        guard strength >= 0, strength.isFinite else {
            throw LacunaError.invalidArgument("strength", reason: "is \(strength)")
        }
        guard let first = factors.first, first > 0, factors.allSatisfy({ $0 >= 0 && $0.isFinite }),
            zip(factors, factors.dropFirst()).allSatisfy({ $0 >= $1 })
        else {
            throw LacunaError.invalidArgument(
                "factors", reason: "are not finite numbers that begin above 0 and do not ascend")
        }
        self.strength = strength
        self.factors = factors
        var sum = 0.0
        sums = factors.map {
            sum += $0
            return sum
        }
    }

    /// How factors fall from the largest coefficient to the smallest.
    public enum Sequence: Sendable, Equatable {
        /// As the critical values of Benjamini and Hochberg for this rate of false discoveries, between 0 and 1, divided by the
        /// first of them.
        case falseDiscoveries(rate: Double)
        /// On a line from 1 to this number in 0...1 (OSCAR); 1 is the lasso.
        case line(to: Double)

        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a rate or an end that is out of range.
        public func factors(columns: Int) throws -> [Double] {
            switch self {
            case .falseDiscoveries(let rate):
                guard rate > 0, rate < 1 else {
                    throw LacunaError.invalidArgument("rate", reason: "is \(rate), not between 0 and 1")
                }
                let values = (0..<columns).map {
                    NormalDistribution.quantile(1 - Double($0 + 1) * rate / (2 * Double(max(columns, 1))))
                }
                return values.map { $0 / (values.first ?? 1) }
            case .line(let end):
                guard end >= 0, end <= 1 else {
                    throw LacunaError.invalidArgument("line", reason: "ends at \(end), not between 0 and 1")
                }
                return (0..<columns).map { 1 + (end - 1) * Double($0) / Double(max(columns - 1, 1)) }
            }
        }
    }

    public var columns: Int? { factors.count }
    public var isConvex: Bool { true }
    public var hasDual: Bool { strength > 0 }

    /// Places by the size of what is there, the largest first.
    private func order(_ v: UnsafePointer<Double>, _ count: Int) -> [Int] {
        (0..<count).sorted { (abs(v[$0]), $1) > (abs(v[$1]), $0) }
    }

    public func value(_ beta: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double {
        var sum = 0.0
        for k in 0..<outputs {
            let sizes = (0..<columns).lazy.map { abs(beta[k * columns + $0]) }.filter { $0 > 0 }.sorted(by: >)
            for (size, factor) in zip(sizes, factors) { sum += factor * size }
        }
        return strength * sum
    }

    public func proximal(_ beta: UnsafeMutablePointer<Double>, step: Double, columns: Int, outputs: Int) {
        for k in 0..<outputs {
            let v = beta + k * columns
            let order = order(v, columns)
            let rest = Isotonic.falling(order.indices.map { abs(v[order[$0]]) - step * strength * factors[$0] })
            for (place, j) in order.enumerated() {
                let size = max(0, rest[place])
                v[j] = v[j] < 0 ? -size : size
            }
        }
    }

    /// Within a run of coefficients of one size, the subdifferential is all that lies between the factors of their places in
    /// any order; where coefficients are 0, all that is no larger. Both are projected onto by isotonic regression.
    public func distance(
        _ beta: UnsafePointer<Double>, gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int,
        outputs: Int
    ) -> Double {
        var largest = 0.0
        for k in 0..<outputs {
            let (b, g) = (beta + k * columns, gradient + k * columns)
            let order = order(b, columns)
            var start = 0
            while start < columns {
                var end = start + 1
                let size = abs(b[order[start]])
                while end < columns && abs(b[order[end]]) == size { end += 1 }
                // What pulls outwards, along the sign where there is one.
                let pulls = order[start..<end].map { size == 0 ? abs(g[$0]) : b[$0] > 0 ? -g[$0] : g[$0] }
                    .sorted(by: >)
                let rest = Isotonic.falling(
                    pulls.indices.map { pulls[$0] - strength * factors[start + $0] })
                for value in rest { largest = max(largest, size == 0 ? max(0, value) : abs(value)) }
                start = end
            }
        }
        return largest
    }

    /// The sums of the largest pulls stay below the sums of the first factors.
    public func dualScale(_ gradient: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double {
        let ratio = largestRatio(gradient, columns: columns, outputs: outputs)
        return ratio <= strength ? 1 : strength / ratio
    }

    public func conjugate(_ gradient: UnsafePointer<Double>, scale: Double, columns: Int, outputs: Int) -> Double { 0 }

    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double { largestRatio(gradient, columns: columns, outputs: outputs) }

    private func largestRatio(_ gradient: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double {
        var largest = 0.0
        for k in 0..<outputs {
            var sum = 0.0
            let sizes = (0..<columns).map { abs(gradient[k * columns + $0]) }.sorted(by: >)
            for (place, size) in sizes.enumerated() {
                sum += size
                largest = max(largest, sum / sums[place])
            }
        }
        return largest
    }

    /// The same factors for the first so many columns.
    func prefix(_ count: Int) throws -> SortedL1 { try SortedL1(strength, factors: Array(factors.prefix(count))) }
}

/// Least squares under an order.
enum Isotonic {
    /// The nearest sequence that does not ascend, by pooling neighbours that do.
    static func falling(_ values: [Double]) -> [Double] {
        var pools: [(sum: Double, count: Int)] = []
        for value in values {
            pools.append((value, 1))
            while pools.count > 1 {
                let (last, before) = (pools[pools.count - 1], pools[pools.count - 2])
                guard before.sum / Double(before.count) <= last.sum / Double(last.count) else { break }
                pools.removeLast()
                pools[pools.count - 1] = (before.sum + last.sum, before.count + last.count)
            }
        }
        return pools.flatMap { [Double](repeating: $0.sum / Double($0.count), count: $0.count) }
    }
}
