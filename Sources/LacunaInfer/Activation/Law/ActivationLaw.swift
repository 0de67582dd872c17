import LacunaTensor

/// How the activation ratio of a model goes with the tokens that it was trained on: with ReLU it falls to a limit,
/// `A(D) = exp(-c D^α + b) + A₀`; with SiLU it rises to one, `A(D) = A₀ - c / D^α`.
///
/// Yuqi Luo and others, "Sparsing Law: Towards Large Language Models with Greater Activation Sparsity", arXiv 2411.02335.
public struct ActivationLaw: Sendable, Hashable {
    /// Which of the two curves.
    public enum Form: String, Sendable, Hashable, CaseIterable {
        /// Falls, faster than a power at first.
        case relu
        /// Rises or falls by a power.
        case silu
    }

    /// Which curve.
    public let form: Form
    /// A₀, the ratio after any number of tokens.
    public let limit: Double
    /// c.
    public let factor: Double
    /// α.
    public let exponent: Double
    /// b; 0 for SiLU.
    public let offset: Double

    /// A curve of given constants.
    public init(_ form: Form, limit: Double, factor: Double, exponent: Double, offset: Double = 0) {
        (self.form, self.limit, self.factor, self.exponent, self.offset) = (form, limit, factor, exponent, offset)
    }

    /// A(D).
    public func callAsFunction(_ tokens: Double) -> Double {
        switch form {
        case .relu: exponential(offset - factor * power(tokens, exponent)) + limit
        case .silu: limit - factor * power(tokens, -exponent)
        }
    }

    /// The curve with the least squares. For given α (and for ReLU c) the rest is linear; these are found on a grid that is refined
    /// around the best.
    ///
    /// - Parameter points: Tokens, above 0, and ratios.
    /// - Returns: The curve, and the root of its mean square error.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer points than unknowns, tokens that are not positive or ratios that are not
    ///   finite.
    public static func fit(
        _ form: Form, _ points: [(tokens: Double, ratio: Double)]
    ) throws -> (law: ActivationLaw, error: Double) {
        let unknowns = form == .relu ? 4 : 3
        guard points.count >= unknowns, points.allSatisfy({ $0.tokens > 0 && $0.tokens.isFinite && $0.ratio.isFinite })
        else {
            throw LacunaError.invalidArgument(
                "points", reason: "\(points.count) of positive tokens and finite ratios for \(unknowns) unknowns")
        }
        // In units of the geometric mean of the tokens, so that grids need not know how many there are.
        let unit = exponential(points.reduce(0) { $0 + logarithm($1.tokens) } / Double(points.count))
        let (x, y) = (points.map { $0.tokens / unit }, points.map(\.ratio))
        func solve(_ exponent: Double, _ factor: Double) -> (slope: Double, limit: Double, error: Double) {
            let curve = x.map {
                form == .relu ? exponential(-factor * power($0, exponent)) : power($0, -exponent)
            }
            return line(curve, y)
        }
        var best = (exponent: 0.5, factor: 1.0, error: Double.infinity)
        var (centre, width) = ((logarithm(0.5), 0.0), (2.5, 4.0))
        for round in 0..<60 {
            let steps = round == 0 ? 40 : 4
            for i in -steps...steps {
                for j in form == .relu ? Array(-steps...steps) : [0] {
                    let exponent = exponential(centre.0 + width.0 * Double(i) / Double(steps))
                    let factor = exponential(centre.1 + width.1 * Double(j) / Double(steps))
                    let found = solve(exponent, factor)
                    // The curves of the law have one direction: a falling ReLU, either of SiLU.
                    if form == .relu && found.slope < 0 { continue }
                    if found.error < best.error { best = (exponent, factor, found.error) }
                }
            }
            centre = (logarithm(best.exponent), logarithm(best.factor))
            width = (width.0 * (round == 0 ? 0.1 : 0.75), width.1 * (round == 0 ? 0.1 : 0.75))
        }
        let (slope, limit, error) = solve(best.exponent, best.factor)
        let scale = power(unit, best.exponent)
        let law =
            form == .relu
            ? ActivationLaw(
                form, limit: limit, factor: best.factor / scale, exponent: best.exponent,
                offset: slope > 0 ? logarithm(slope) : -.infinity)
            : ActivationLaw(form, limit: limit, factor: -slope * scale, exponent: best.exponent)
        return (law, (error / Double(points.count)).squareRoot())
    }

    /// Least squares of `y ≈ slope · x + limit`.
    private static func line(_ x: [Double], _ y: [Double]) -> (slope: Double, limit: Double, error: Double) {
        let n = Double(x.count)
        let (meanX, meanY) = (x.reduce(0, +) / n, y.reduce(0, +) / n)
        var (xx, xy) = (0.0, 0.0)
        for (a, b) in zip(x, y) {
            xx += (a - meanX) * (a - meanX)
            xy += (a - meanX) * (b - meanY)
        }
        let slope = xx > 0 ? xy / xx : 0
        let limit = meanY - slope * meanX
        let error = zip(x, y).reduce(0.0) { $0 + ($1.1 - slope * $1.0 - limit) * ($1.1 - slope * $1.0 - limit) }
        return (slope, limit, error)
    }
}
