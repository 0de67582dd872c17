import LacunaTensor

/// How well linear predictors fit what was observed: a convex function of `η` [rows, outputs], column-major.
///
/// Losses are weighted means over the rows, `F(η) = Σ_i w_i f_i(η_i)` with weights that sum to 1, so that strengths of
/// penalties do not depend on the number of rows. Every array of `rows · outputs` numbers is column-major.
public protocol Datafit: Sendable {
    /// How many rows were observed.
    var rows: Int { get }
    /// Linear predictors a row: 1, tasks, or classes.
    var outputs: Int { get }
    /// Sample weights; they sum to 1.
    var weights: [Double] { get }
    /// `F(η)`.
    func value(_ eta: UnsafePointer<Double>) -> Double
    /// `∂F/∂η`.
    func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>)
    /// `∂²F/∂η²`, the diagonal of it; for several coupled outputs a diagonal upper bound.
    func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>)
    /// The largest second derivative of a row's loss `f_i`; nil if there is none.
    var curvatureBound: Double? { get }
    /// Whether the curvature does not depend on `η`.
    var isQuadratic: Bool { get }
    /// The convex conjugate `F*(s g)` at a multiple, `0 <= s <= 1`, of the gradient at some `η`.
    func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double
    /// The same where the `η` is known to which the gradient belongs, or an upper bound of it: what duality gaps are made of.
    /// Losses whose rows are apart from each other need no `η`.
    func conjugate(gradient g: UnsafePointer<Double>, scale s: Double, at eta: UnsafePointer<Double>) -> Double
    /// The same losses of predictors that are less by a constant for each output, chosen so that the targets lie around 0;
    /// and those constants. A datafit whose targets are no locations has zeros to offer.
    func centered() -> (datafit: Self, shifts: [Double])
    /// `Σ_i w_i |f_i|` with every part of a row's loss taken without its sign: what rounding is a share of.
    func magnitude(_ eta: UnsafePointer<Double>) -> Double
    /// How far one step of an intercept may go, where a loss is flat far out; infinite where predictors have the units of the
    /// targets and curvatures bound the loss.
    var longestStep: Double { get }
    /// The same observations with other weights, which are normalised.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if one is negative or not finite, or all are 0.
    func weighted(by weights: [Double]) throws -> Self
    /// The mean loss of rows that were left out of a fit, as a function of the predictors of all rows.
    ///
    /// - Parameters:
    ///   - outside: Weights of the rows left out, 0 for the others.
    ///   - inside: Weights of the rows that were fitted, 0 for the others.
    /// - Throws: As ``weighted(by:)``.
    func leftOut(_ outside: [Double], beside inside: [Double]) throws -> ([Double]) -> Double
}

extension Datafit {
    public var outputs: Int { 1 }
    public var isQuadratic: Bool { false }
    public func centered() -> (datafit: Self, shifts: [Double]) { (self, [Double](repeating: 0, count: outputs)) }
    public func magnitude(_ eta: UnsafePointer<Double>) -> Double { abs(value(eta)) }
    public var longestStep: Double { 4 }
    public func conjugate(
        gradient g: UnsafePointer<Double>, scale s: Double, at eta: UnsafePointer<Double>
    ) -> Double { conjugate(gradient: g, scale: s) }
    public func leftOut(_ outside: [Double], beside inside: [Double]) throws -> ([Double]) -> Double {
        let loss = try weighted(by: outside)
        return { loss.value($0) }
    }

    /// The intercepts, one for each output, that fit best without any feature, by Newton's method.
    ///
    /// - Returns: Finite numbers; where the best fit lies at infinity (observations of one class only), as far as
    ///   `maximumSteps` steps of at most ``longestStep`` lead.
    public func interceptsAlone(maximumSteps: Int = 100) -> [Double] {
        var intercepts = [Double](repeating: 0, count: outputs)
        let eta = Buffer<Double>(repeating: 0, count: rows * outputs)
        let work = Buffer<Double>(uninitialized: rows * outputs)
        refineIntercepts(&intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: maximumSteps)
        return intercepts
    }

    /// Newton steps on the intercepts alone; keeps `eta` up to date. `work` holds `rows · outputs` numbers, of which none is read and
    /// none kept: a solver's row gradients, which no longer belong to `eta` afterwards, will do.
    func refineIntercepts(
        _ intercepts: inout [Double], eta: UnsafeMutablePointer<Double>, work: UnsafeMutablePointer<Double>,
        maximumSteps: Int
    ) {
        let n = rows
        let isExact = isQuadratic && outputs == 1
        var before = isExact ? 0 : value(eta)
        let far = longestStep
        // What steps are compared with: predictors of classes and counts are of the size of 1, others as large as they are.
        var unit = far.isFinite ? 1.0 : 0
        for _ in 0..<maximumSteps {
            curvature(eta, into: work)
            let bends = (0..<outputs).map { Self.sum(work + $0 * n, n) }
            gradient(eta, into: work)
            var steps = [Double](repeating: 0, count: outputs)
            var largest = 0.0
            for k in 0..<outputs {
                let (slope, bend) = (Self.sum(work + k * n, n), bends[k])
                if slope == 0 { continue }
                // Far out, where a loss is flat, a step is bounded.
                steps[k] =
                    isExact ? -slope / bend : bend > 0 ? max(-far, min(far, -slope / bend)) : (slope > 0 ? -far : far)
                if !steps[k].isFinite { steps[k] = 0 }
                if unit == 0 { unit = abs(steps[k]) }
                largest = max(largest, abs(steps[k]) / max(unit + abs(intercepts[k]), .leastNormalMagnitude))
            }
            if largest == 0 { break }
            for attempt in 0..<30 {
                for k in 0..<outputs where steps[k] != 0 {
                    intercepts[k] += steps[k]
                    for i in 0..<n { eta[k * n + i] += steps[k] }
                }
                if isExact { break }
                let after = value(eta)
                if after <= before + 1e-14 * abs(before) || attempt == 29 {
                    before = after
                    break
                }
                // Too far: back, to half of it.
                for k in 0..<outputs where steps[k] != 0 {
                    intercepts[k] -= steps[k]
                    for i in 0..<n { eta[k * n + i] -= steps[k] }
                    steps[k] /= 2
                }
            }
            if largest < 1e-15 || isExact { break }
        }
    }

    private static func sum(_ v: UnsafePointer<Double>, _ n: Int) -> Double {
        var sum = 0.0
        for i in 0..<n { sum += v[i] }
        return sum
    }
}

/// Sample weights as every datafit keeps them.
enum SampleWeights {
    /// Divided by their sum; equal ones for nil.
    static func normalized(_ weights: [Double]?, rows: Int) throws -> [Double] {
        if rows == 0 { throw LacunaError.invalidArgument("data", reason: "there are no rows") }
        guard let weights else { return [Double](repeating: 1 / Double(rows), count: rows) }
        if weights.count != rows {
            throw LacunaError.invalidArgument("weights", reason: "\(weights.count) weights for \(rows) rows")
        }
        if let bad = weights.firstIndex(where: { !($0 >= 0) || !$0.isFinite }) {
            throw LacunaError.invalidArgument(
                "weights", reason: "weight \(bad + 1) is \(weights[bad]), not a finite number of at least 0")
        }
        let total = weights.reduce(0, +)
        if total <= 0 || !total.isFinite {
            throw LacunaError.invalidArgument("weights", reason: "they sum to \(total)")
        }
        return weights.map { $0 / total }
    }

    /// A weighted mean by two passes; the number itself where all rows of positive weight have the same.
    static func mean(_ values: ArraySlice<Double>, _ weights: [Double]) -> Double {
        guard let first = weights.firstIndex(where: { $0 > 0 }) else { return 0 }
        let base = values.startIndex
        let anchor = values[base + first]
        // Deviations from one of the values are 0 where all are equal, and small where they are close together.
        return weights.indices.reduce(0) { $0 + weights[$1] * (values[base + $1] - anchor) } + anchor
    }

    static func requireFinite(_ target: [Double]) throws {
        if let bad = target.firstIndex(where: { !$0.isFinite }) {
            throw LacunaError.invalidArgument("target", reason: "value \(bad + 1) is \(target[bad])")
        }
    }
}
