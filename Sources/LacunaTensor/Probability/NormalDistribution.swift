/// The standard normal distribution.
package enum NormalDistribution {
    /// `Φ(x)`, the share below `x`, without cancellation in the lower tail.
    package static func share(below x: Double) -> Double { complementaryError(-x / 2.0.squareRoot()) / 2 }

    /// The number below which the distribution has this share, by Newton's method on the tail's logarithm; infinite for shares of 0
    /// and 1.
    package static func quantile(_ share: Double) -> Double {
        if share <= 0 { return -.infinity }
        if share >= 1 { return .infinity }
        if share == 0.5 { return 0 }
        if share > 0.5 { return -quantile(1 - share) }
        // The tail beyond x is concave in its logarithm and nearly quadratic. From this side, where the tail is too small, every step
        // stays on it.
        var x = (-2 * logarithm(2 * share)).squareRoot()
        for _ in 0..<60 {
            let (logTail, hazard) = tail(x)
            let step = (logTail - logarithm(share)) / hazard
            x += step
            if abs(step) <= 1e-15 * max(1, abs(x)) { break }
        }
        return -x
    }

    /// The logarithm of the share beyond `x`, and the density there over that share.
    private static func tail(_ x: Double) -> (logarithm: Double, hazard: Double) {
        if x > 30 {
            // The share itself underflows soon: its expansion in 1/x², whose next term is below 1e-10 of it.
            let r = 1 / (x * x)
            let mills = (1 - r * (1 - r * (3 - r * (15 - r * 105)))) / x
            return (-x * x / 2 - logarithm(2 * .pi) / 2 + logarithm(mills), 1 / mills)
        }
        let share = share(below: -x)
        return (logarithm(share), exponential(-x * x / 2) / (2 * Double.pi).squareRoot() / share)
    }
}
