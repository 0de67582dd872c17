import LacunaTensor

/// Randomises a vector of bounded length so that its mean is right and every answer is ε-differentially private: the
/// answer is a random point of a sphere, more often than not on the vector's side.
///
/// `u = ±g/‖g‖`, with `+` at probability `1/2 + ‖g‖/2r`; then a uniform point of the sphere of radius
/// `B = r (e^ε + 1)/(e^ε - 1) · (√π/2) d Γ((d+1)/2) / Γ(d/2 + 1)` on the side of `u` with probability
/// `e^ε/(1 + e^ε)`, on the other side otherwise.
///
/// John C. Duchi, Michael I. Jordan, Martin J. Wainwright, "Minimax Optimal Procedures for Locally Private Estimation", arXiv
/// 1604.02390.
public struct SphereRandomizer: Sendable, Equatable {
    /// Of the vectors, at least 1.
    public let dimensions: Int
    /// r: the longest vector. Longer ones are scaled down to it.
    public let bound: Double
    /// ε of one answer.
    public let epsilon: Double
    /// B: the length of every answer.
    public let radius: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless all three are above 0 and finite.
    public init(dimensions: Int, bound: Double, epsilon: Double) throws {
        guard dimensions > 0 else {
            throw LacunaError.invalidArgument("dimensions", reason: "must be at least 1, but is \(dimensions)")
        }
        guard bound > 0, bound.isFinite else {
            throw LacunaError.invalidArgument("bound", reason: "must be a finite number above 0, but is \(bound)")
        }
        self.dimensions = dimensions
        self.bound = bound
        self.epsilon = try PrivacyBudget(epsilon: epsilon).epsilon
        // Γ((d+1)/2) / Γ(d/2+1) by its recurrence in steps of 2.
        var ratio = dimensions % 2 == 1 ? 2 / Double.pi.squareRoot() : Double.pi.squareRoot() / 2
        for d in stride(from: dimensions % 2 == 1 ? 1 : 2, to: dimensions, by: 2) {
            ratio *= Double(d + 1) / Double(d + 2)
        }
        let odds = exponential(-epsilon)
        radius = bound * (1 + odds) / (1 - odds) * Double.pi.squareRoot() / 2 * Double(dimensions) * ratio
    }

    /// One answer, of length ``radius``.
    public func callAsFunction(_ g: [Double], using generator: inout SeededGenerator) -> [Double] {
        require(g.count == dimensions)
        let length = g.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let isForward = generator.uniform() < 0.5 + min(length, bound) / (2 * bound)
        let isTrue = generator.uniform() < 1 / (1 + exponential(-epsilon))
        var point: [Double] = []
        var square = 0.0
        while square == 0 {
            point = (0..<dimensions).map { _ in generator.normal() }
            square = point.reduce(0) { $0 + $1 * $1 }
        }
        // A vector of length 0 has no direction; any will do, because both signs are then equally likely.
        let dot = length > 0 ? zip(point, g).reduce(0) { $0 + $1.0 * $1.1 } : point[0]
        let wantsPositive = isForward == isTrue
        let scale = (dot > 0) == wantsPositive ? radius / square.squareRoot() : -radius / square.squareRoot()
        return point.map { $0 * scale }
    }
}
