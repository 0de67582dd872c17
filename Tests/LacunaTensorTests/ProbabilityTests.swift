import Foundation
import LacunaTensor
import Testing

/// Functions of probability against closed forms and the C library.
@Suite struct ProbabilityTests {
    private func near(_ a: Double, _ b: Double, _ tolerance: Double = 1e-13) -> Bool {
        abs(a - b) <= tolerance * max(1, abs(b))
    }

    @Test func gamma() {
        for x in [1e-8, 0.1, 0.5, 1, 1.5, 2, 3.7, 9.99, 10, 25, 171.3, 1e3, 1e8] {
            #expect(near(GammaFunction.logarithm(x), lgamma(x)), "\(x)")
        }
        // Γ(x + 1) = x Γ(x), where the difference of logarithms would be noise.
        for x in [3.5, 5e4, 1e9, 1e14] {
            #expect(near(GammaFunction.logarithmOfRatio(x, plus: 1), log(x), 1e-12), "\(x)")
            #expect(near(GammaFunction.logarithmOfRatio(x, plus: 2), log(x) + log(x + 1), 1e-12), "\(x)")
        }
        #expect(GammaFunction.logarithmOfRatio(3, plus: 0) == 0)
    }

    @Test func incompleteBeta() {
        for x in [0.001, 0.2, 0.5, 0.77, 0.999] {
            for b in [0.5, 1, 3, 40] {
                #expect(near(GammaFunction.incompleteBeta(x, 1, b), 1 - pow(1 - x, b), 1e-12))
                #expect(near(GammaFunction.incompleteBeta(x, b, 1), pow(x, b), 1e-12))
            }
            #expect(near(GammaFunction.incompleteBeta(x, 0.5, 0.5), 2 / .pi * asin(x.squareRoot()), 1e-12))
            #expect(
                near(
                    GammaFunction.incompleteBeta(x, 7, 2.5) + GammaFunction.incompleteBeta(1 - x, 2.5, 7), 1, 1e-12))
        }
        #expect(GammaFunction.incompleteBeta(0, 2, 3) == 0 && GammaFunction.incompleteBeta(1, 2, 3) == 1)
    }

    @Test func normal() {
        for p in [1e-320, 1e-300, 1e-200, 1e-150, 1e-20, 1e-4, 0.1, 0.3, 0.4999, 0.5] {
            let x = NormalDistribution.quantile(p)
            // Where shares underflow, by their logarithm: log Φ(x) ≈ -x²/2 - log(-x √(2π)) - 1/x².
            let found =
                x < -35
                ? -x * x / 2 - log(-x) - 0.5 * log(2 * .pi) - 1 / (x * x) : log(NormalDistribution.share(below: x))
            #expect(near(found, log(p), x < -35 ? 1e-7 : 1e-12), "\(p): \(x)")
            if p > 1e-5 { #expect(near(NormalDistribution.quantile(1 - p), -x, 1e-10), "\(p)") }
        }
        #expect(abs(NormalDistribution.quantile(0.975) - 1.959963984540054) < 1e-14)
        #expect(NormalDistribution.quantile(0) == -Double.infinity)
        #expect(NormalDistribution.quantile(1) == Double.infinity)
        #expect(NormalDistribution.share(below: 0) == 0.5)
        #expect(NormalDistribution.share(below: 40) == 1)
        #expect(near(NormalDistribution.share(below: -38) / 2.88542835100396e-316, 1, 1e-6))
    }

    @Test func student() {
        for t in [0.0, 0.3, 1, 5, 300] {
            #expect(near(StudentDistribution(1).twoSidedTail(t), 1 - 2 / .pi * atan(t), 1e-12), "Cauchy's")
            #expect(near(StudentDistribution(2).twoSidedTail(t), 1 - t / (2 + t * t).squareRoot(), 1e-12))
            #expect(StudentDistribution(3).twoSidedTail(-t) == StudentDistribution(3).twoSidedTail(t))
        }
        for degrees in [1.0, 4, 30, 1e6] {
            let t = StudentDistribution(degrees).twoSidedQuantile(0.05)
            #expect(near(StudentDistribution(degrees).twoSidedTail(t), 0.05, 1e-11))
        }
        // Many degrees of freedom: the normal distribution, and (z³ + z) / 4 over their number.
        #expect(abs(StudentDistribution(1e6).twoSidedQuantile(0.05) - 1.959963984540054 - 2.37228e-6) < 1e-9)
    }
}
