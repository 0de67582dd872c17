/// The logarithm of the gamma function, and of what is made of it.
package enum GammaFunction {
    /// `log Γ(x)` for `x > 0`: Stirling's series, after the recurrence has brought the argument above 10.
    package static func logarithm(_ x: Double) -> Double {
        var (x, product) = (x, 1.0)
        var shift = 0.0
        while x < 10 {
            product *= x
            x += 1
            if product < 1e-200 {
                shift += LacunaTensor.logarithm(product)
                product = 1
            }
        }
        shift += LacunaTensor.logarithm(product)
        let inverse = 1 / (x * x)
        let series =
            (1.0 / 12 - inverse
                * (1.0 / 360 - inverse
                    * (1.0 / 1260 - inverse * (1.0 / 1680 - inverse * (1.0 / 1188 - inverse * 691 / 360360)))))
            / x
        return (x - 0.5) * LacunaTensor.logarithm(x) - x + 0.5 * LacunaTensor.logarithm(2 * .pi) + series - shift
    }

    /// `log Γ(x + a) - log Γ(x)` for `x > 0`, `a >= 0`, without cancellation for large `x`.
    package static func logarithmOfRatio(_ x: Double, plus a: Double) -> Double {
        if x > 1e4 * max(1, a * a) {
            // The expansion in 1/x; what it leaves out is below 1e-12.
            return a * LacunaTensor.logarithm(x) + a * (a - 1) / (2 * x) - a * (a - 1) * (2 * a - 1) / (12 * x * x)
        }
        return logarithm(x + a) - logarithm(x)
    }

    /// The regularised incomplete beta function `I_x(a, b)` for `a, b > 0`, by its continued fraction (Lentz's algorithm).
    package static func incompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
        if x <= 0 { return 0 }
        if x >= 1 { return 1 }
        // The fraction converges fast only on one side of the mean.
        if x > (a + 1) / (a + b + 2) { return 1 - incompleteBeta(1 - x, b, a) }
        // The ratio with the smaller added to the larger, so that what cancels is small.
        let logFront =
            logarithmOfRatio(max(a, b), plus: min(a, b)) - logarithm(min(a, b)) + a * LacunaTensor.logarithm(x)
            + b * logarithmOfOnePlus(-x)
        let tiny = 1e-300
        func away(_ value: Double) -> Double { abs(value) < tiny ? tiny : value }
        var (c, d) = (1.0, 1 / away(1 - (a + b) * x / (a + 1)))
        var fraction = d
        for m in 1..<1000 {
            let i = Double(m)
            for numerator in [
                i * (b - i) * x / ((a + 2 * i - 1) * (a + 2 * i)),
                -(a + i) * (a + b + i) * x / ((a + 2 * i) * (a + 2 * i + 1)),
            ] {
                d = 1 / away(1 + numerator * d)
                c = away(1 + numerator / c)
                fraction *= d * c
            }
            if abs(d * c - 1) < 1e-15 { break }
        }
        return exponential(logFront) * fraction / a
    }
}
