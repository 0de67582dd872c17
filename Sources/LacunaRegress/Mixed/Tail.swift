import LacunaTensor

/// How heavy the tails of residuals are: the q-Gaussian of Tsallis, which is Student's t.
///
/// A residual vector of `n` numbers at squared Mahalanobis distance `d²` loses `½(ν + n) log(1 + d²/ν)`. For `n = 1` that is
/// `log(1 + (q - 1)/(3 - q) r²/s²) / (q - 1)` with `ν = (3 - q)/(q - 1)`. At `q = 1`, `ν = ∞`, it is `½ d²`.
///
/// Constantino Tsallis, "Possible Generalization of Boltzmann-Gibbs Statistics", J. Statistical Physics 1988; Kenneth Lange,
/// Roderick Little, Jeremy Taylor, "Robust Statistical Modeling Using the t Distribution", JASA 1989.
public struct Tail: Sendable, Equatable, Hashable {
    /// ν, above 0; infinity for normal residuals.
    public let degreesOfFreedom: Double

    /// Normal residuals: `q = 1`.
    public static let gaussian = Tail(unchecked: .infinity)

    private init(unchecked degreesOfFreedom: Double) { self.degreesOfFreedom = degreesOfFreedom }

    /// - Parameter degreesOfFreedom: ν, above 0; infinity for normal residuals.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for anything else.
    public init(degreesOfFreedom: Double) throws {
        guard degreesOfFreedom > 0 else {
            throw LacunaError.invalidArgument(
                "degrees of freedom", reason: "must be above 0, but are \(degreesOfFreedom)")
        }
        self.degreesOfFreedom = degreesOfFreedom
    }

    /// - Parameter q: 1 (normal) or more, below 3; 2 is Cauchy's distribution.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for anything else.
    public init(q: Double) throws {
        guard q >= 1 && q < 3 else {
            throw LacunaError.invalidArgument("q", reason: "must be at least 1 and below 3, but is \(q)")
        }
        degreesOfFreedom = q == 1 ? .infinity : (3 - q) / (q - 1)
    }

    /// Tsallis' index: 1 for the normal distribution, below 3.
    public var q: Double { isGaussian ? 1 : (degreesOfFreedom + 3) / (degreesOfFreedom + 1) }
    /// Whether tails are those of the normal distribution.
    public var isGaussian: Bool { degreesOfFreedom == .infinity }

    /// What `n` residuals at the squared distance `d²` lose; 0 at 0.
    public func loss(_ squaredDistance: Double, count n: Int) -> Double {
        if isGaussian { return squaredDistance / 2 }
        return (degreesOfFreedom + Double(n)) / 2 * logarithmOfOnePlus(squaredDistance / degreesOfFreedom)
    }

    /// `(ν + n)/(ν + d²)`, twice the derivative of the loss in `d²`: what `n` residuals count for in a weighted least-squares
    /// fit. 1 at the distance to be expected, `d² = n`.
    public func weight(_ squaredDistance: Double, count n: Int) -> Double {
        isGaussian ? 1 : (degreesOfFreedom + Double(n)) / (degreesOfFreedom + squaredDistance)
    }

    /// The loss minus this is the log density of `n` residuals at scale 1, with the sign changed:
    /// `log Γ((ν + n)/2) - log Γ(ν/2) - (n/2) log(ν π)`.
    public func logNormalizer(count n: Int) -> Double {
        let half = Double(n) / 2
        if isGaussian { return -half * logarithm(2 * .pi) }
        return GammaFunction.logarithmOfRatio(degreesOfFreedom / 2, plus: half) - half
            * logarithm(degreesOfFreedom * .pi)
    }
}
