import LacunaSparse

/// `λ Σ_g (α‖β_g‖₁ + (1 - α) c_g ‖β_g‖₂)`: whole groups are 0 or not; with α > 0 also single coefficients within them.
///
/// With `Groups.singletons` and several tasks it selects the same columns for all of them.
///
/// Ming Yuan, Yi Lin, "Model Selection and Estimation in Regression with Grouped Variables", JRSS B 2006 (α = 0); Noah
/// Simon, Jerome Friedman, Trevor Hastie, Robert Tibshirani, "A Sparse-Group Lasso", JCGS 2013.
public struct GroupLasso: GroupPenalty, ScalablePenalty {
    public var strength: Double
    public let groups: Groups
    /// `c_g`; by default the root of the group's size.
    public let factors: [Double]
    /// α in 0...1.
    public let mixing: Double

    /// - Parameters:
    ///   - strength: λ, at least 0.
    ///   - factors: `c_g`, one for each group, at least 0; the root of the group's size for nil.
    ///   - mixing: α in 0...1.
    public init(_ strength: Double, groups: Groups, factors: [Double]? = nil, mixing: Double = 0) {
        require(strength >= 0 && mixing >= 0 && mixing <= 1)
        require(factors.map { $0.count == groups.count && $0.allSatisfy { $0 >= 0 } } ?? true)
        self.strength = strength
        self.groups = groups
        self.factors = factors ?? groups.members.map { Double($0.count).squareRoot() }
        self.mixing = mixing
    }

    public var hasDual: Bool { strength > 0 && (mixing > 0 || factors.allSatisfy { $0 > 0 }) }

    private var absolute: Double { strength * mixing }
    private func joint(_ g: Int) -> Double { strength * (1 - mixing) * factors[g] }

    public func value(_ block: UnsafePointer<Double>, count: Int, group: Int) -> Double {
        var sum = 0.0
        if mixing > 0 { for i in 0..<count { sum += abs(block[i]) } }
        return absolute * sum + joint(group) * length(block, count)
    }

    public func proximal(_ block: UnsafeMutablePointer<Double>, count: Int, step: Double, group: Int) {
        if mixing > 0 { for i in 0..<count { block[i] = Proximal.softThreshold(block[i], step * absolute) } }
        Proximal.groupSoftThreshold(block, count: count, threshold: step * joint(group))
    }

    public func distance(_ block: UnsafePointer<Double>, gradient: UnsafePointer<Double>, count: Int, group: Int)
        -> Double
    {
        let norm = length(block, count)
        var sum = 0.0
        for i in 0..<count {
            let smooth = norm > 0 ? gradient[i] + joint(group) * block[i] / norm : gradient[i]
            let rest =
                block[i] != 0
                ? smooth + (block[i] > 0 ? absolute : -absolute) : Proximal.softThreshold(smooth, absolute)
            sum += rest * rest
        }
        return norm > 0 ? sum.squareRoot() : max(0, sum.squareRoot() - joint(group))
    }

    public func dualScale(_ gradient: UnsafePointer<Double>, count: Int, group: Int) -> Double {
        func isInside(_ scale: Double) -> Bool {
            var sum = 0.0
            for i in 0..<count {
                let rest = max(0, scale * abs(gradient[i]) - absolute)
                sum += rest * rest
            }
            return sum.squareRoot() <= joint(group)
        }
        if isInside(1) { return 1 }
        if mixing == 0 { return joint(group) / length(gradient, count) }
        return Self.bisect(from: 0, to: 1, while: isInside)
    }

    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        // The smallest strength at which the whole gradient is inside the dual ball.
        var upper = 0.0
        for i in 0..<columns * outputs { upper += gradient[i] * gradient[i] }
        upper = upper.squareRoot()
        for g in groups.members.indices where mixing == 0 && factors[g] > 0 { upper = max(upper, upper / factors[g]) }
        if mixing > 0 { upper /= mixing }
        func isOutside(_ strength: Double) -> Bool {
            with(strength: strength).dualScale(gradient, columns: columns, outputs: outputs) < 1
        }
        if upper == 0 || !isOutside(0) { return 0 }
        return Self.bisect(from: 0, to: upper * (1 + 1e-9), while: isOutside).nextUp * (1 + 1e-14)
    }

    /// The largest number at which `condition` still holds, to full precision.
    private static func bisect(from low: Double, to high: Double, while condition: (Double) -> Bool) -> Double {
        var (low, high) = (low, high)
        for _ in 0..<120 {
            let middle = (low + high) / 2
            if middle == low || middle == high { break }
            if condition(middle) { low = middle } else { high = middle }
        }
        return low
    }
}
