import LacunaTensor

/// The scale parameters under which given residuals are most likely.
///
/// For a ratio `t` the equation of `s²` is `Σ w_g(s²) d_g²(s²) = N`, whose left side falls in `s²`: one root, by safeguarded
/// Newton steps. Along those roots the derivative of the likelihood in `t` has a closed form, whose root is bracketed from
/// where the last fit left it.
extension GroupedLikelihood {
    /// - Returns: nil where the likelihood has no bound: residuals that vanish, altogether or within groups, or too many of them
    ///   for tails this heavy.
    func mostLikelyScale(_ moments: Moments, from start: VarianceComponents) -> VarianceComponents? {
        guard let residual = residualVariance(moments, ratio: start.ratio, from: start.residual) else { return nil }
        let kept = VarianceComponents(residual: residual, ratio: start.ratio)
        guard groups.hasCompany else { return kept }
        var failed = false
        var current = residual
        // The derivative in t along the best s².
        func slope(_ t: Double) -> Double {
            guard let variance = residualVariance(moments, ratio: t, from: current) else {
                failed = true
                return 0
            }
            current = variance
            var sum = 0.0
            for (g, n) in groups.sizes.enumerated() where multiplicities[g] > 0 {
                let inverse = 1 / (1 + t * Double(n))
                let weight = tail.weight(moments.distance(g, count: n, ratio: t) / variance, count: n)
                let mean = moments.sums[g] * inverse
                sum += multiplicities[g] * (Double(n) * inverse - weight * mean * mean / variance)
            }
            return sum / 2
        }
        // Two ratios between which the derivative changes its sign, the lower one first; or 0.
        let smallest = 1e-4 / Double(groups.sizes.max() ?? 1)
        var (low, high) = (start.ratio, start.ratio)
        if slope(start.ratio) < 0 {
            high = max(4 * low, smallest)
            while slope(high) < 0 && !failed {
                (low, high) = (high, 4 * high)
                // Rows of a group that equal each other to this degree leave nothing for the residuals.
                if high > 1e12 { return nil }
            }
        } else {
            while low > 0 {
                (low, high) = (low < smallest ? 0 : low / 4, low)
                if slope(low) < 0 || failed { break }
                if low == 0 { high = 0 }
            }
        }
        if failed { return nil }
        let root = high == 0 ? 0 : Self.root(low, high, slope)
        guard !failed, let variance = residualVariance(moments, ratio: root, from: current) else { return nil }
        let found = VarianceComponents(residual: variance, ratio: root)
        // A root of the derivative is no minimum of a likelihood with several.
        return negativeLogLikelihood(moments, found) <= negativeLogLikelihood(moments, kept) ? found : kept
    }

    /// The ratio to begin with: the best of a few.
    func firstScale(_ moments: Moments, residual: Double) -> VarianceComponents? {
        var best: (value: Double, scale: VarianceComponents)?
        for ratio in groups.hasCompany ? [0, 0.05, 0.2, 0.5, 1, 2, 5, 20] : [0.0] {
            guard let variance = residualVariance(moments, ratio: ratio, from: residual) else { continue }
            let scale = VarianceComponents(residual: variance, ratio: ratio)
            let value = negativeLogLikelihood(moments, scale)
            if best == nil || value < best!.value { best = (value, scale) }
        }
        return best.flatMap { mostLikelyScale(moments, from: $0.scale) }
    }

    /// The most likely `s²` for a ratio; nil if that is 0.
    func residualVariance(_ moments: Moments, ratio t: Double, from start: Double) -> Double? {
        let distances = groups.sizes.indices.map { moments.distance($0, count: groups.sizes[$0], ratio: t) }
        if tail.isGaussian {
            let variance = zip(distances, multiplicities).reduce(0) { $0 + $1.0 * $1.1 } / total
            return variance > 0 && variance.isFinite ? variance : nil
        }
        let nu = tail.degreesOfFreedom
        // As s² goes to 0, each group that is not fitted exactly counts ν + n.
        var limit = 0.0
        for (g, n) in groups.sizes.enumerated() where distances[g] > 0 { limit += multiplicities[g] * (nu + Double(n)) }
        guard limit > total * (1 + 1e-12) else { return nil }
        var logVariance = logarithm(start)
        var (low, high) = (-Double.infinity, Double.infinity)
        for _ in 0..<200 {
            let variance = exponential(logVariance)
            var (sum, fall) = (-total, 0.0)
            for (g, n) in groups.sizes.enumerated() where multiplicities[g] > 0 {
                let x = distances[g] / variance
                let share = x == .infinity ? 1 : x / (nu + x)
                let part = multiplicities[g] * (nu + Double(n)) * share
                sum += part
                fall += part * (1 - share)
            }
            if sum > 0 { low = logVariance } else { high = logVariance }
            var next = fall > 0 ? logVariance + sum / fall : .nan
            if !(next > low && next < high) {
                next =
                    low > -.infinity && high < .infinity
                    ? (low + high) / 2 : low > -.infinity ? logVariance + 4 : logVariance - 4
            }
            let step = abs(next - logVariance)
            logVariance = next
            if step <= 1e-15 * (1 + abs(next)) || next < -1400 || next > 1400 { break }
        }
        let variance = exponential(logVariance)
        return variance > 0 && variance.isFinite ? variance : nil
    }

    /// A root between two points where the signs differ, by false position that never keeps an end twice (Illinois).
    private static func root(_ a: Double, _ b: Double, _ f: (Double) -> Double) -> Double {
        var (low, high) = (a, b)
        var (atLow, atHigh) = (f(low), f(high))
        for iteration in 0..<200 {
            if atLow == 0 { return low }
            if atHigh == 0 { return high }
            if high - low <= 1e-13 * high { break }
            var middle = (low * atHigh - high * atLow) / (atHigh - atLow)
            // Halving every third time bounds the number of steps.
            if iteration % 3 == 2 || !(middle > low && middle < high) { middle = (low + high) / 2 }
            if !(middle > low && middle < high) { break }
            let value = f(middle)
            if (value > 0) == (atHigh > 0) {
                (high, atHigh) = (middle, value)
                atLow /= 2
            } else {
                (low, atLow) = (middle, value)
                atHigh /= 2
            }
        }
        return (low + high) / 2
    }
}
