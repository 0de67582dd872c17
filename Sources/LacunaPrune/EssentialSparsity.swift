import LacunaSparse
import LacunaTensor

/// What a model is worth, and which way is better.
public enum SweepMetric: String, Sendable, Hashable, CaseIterable {
    /// A fraction of right answers. Higher is better; a tolerance of 0.01 allows a loss of one point.
    case accuracy
    /// Exponential of the mean negative log-likelihood. Lower is better; a tolerance of 0.01 allows one percent more.
    /// Curves are judged by its logarithm.
    case perplexity

    /// A scale on which higher is better and a tolerance is a difference.
    func performance(_ value: Double) -> Double {
        switch self {
        case .accuracy: value
        case .perplexity: value > 0 ? -logarithm(value) : -.infinity
        }
    }

    func tolerated(_ tolerance: Double) -> Double {
        switch self {
        case .accuracy: tolerance
        case .perplexity: logarithm(1 + tolerance)
        }
    }
}

/// How a model fares at growing sparsity under one method: the answer to "how far can I prune?".
///
/// Ajay Jaiswal, Shiwei Liu, Tianlong Chen, Zhangyang Wang, "The Emergence of Essential Sparsity in Large Pre-trained
/// Models: The Weights that Matter", arXiv 2306.03805. The authors read the sharp drop off a plot; here it is defined
/// twice, by a tolerance and by the curve's bend.
public struct SparsityCurve: Sendable, Hashable {
    public struct Point: Sendable, Hashable {
        /// Fraction of the prunable weights removed.
        public var sparsity: Double
        /// In the unit of the metric.
        public var value: Double

        public init(sparsity: Double, value: Double) {
            self.sparsity = sparsity
            self.value = value
        }
    }

    /// The method's name.
    public var method: String
    public var metric: SweepMetric
    /// In ascending order of sparsity.
    public var points: [Point]

    public init(method: String, metric: SweepMetric, points: [Point]) {
        self.method = method
        self.metric = metric
        self.points = points.sorted { $0.sparsity < $1.sparsity }
    }

    /// The largest sparsity on the grid up to which no point is worse than the first by more than `tolerance`; nil
    /// without points.
    public func essentialSparsity(tolerance: Double = 0.01) -> Double? {
        guard let first = points.first else { return nil }
        let bound = metric.performance(first.value) - metric.tolerated(tolerance)
        return points.prefix { metric.performance($0.value) >= bound }.last?.sparsity ?? first.sparsity
    }

    /// The point that lies highest above the straight line between the curve's ends, both axes scaled to 0...1: where
    /// the loss begins to run away. Nil if no point lies above that line. Values that are not finite count as the
    /// worst finite one.
    public var knee: Point? {
        let finite = points.map { metric.performance($0.value) }.filter(\.isFinite)
        guard points.count > 2, let worst = finite.min(), let best = finite.max(), best > worst else { return nil }
        let span = points.last!.sparsity - points[0].sparsity
        if span <= 0 { return nil }
        let scaled = points.map { point in
            let performance = metric.performance(point.value)
            return (
                x: (point.sparsity - points[0].sparsity) / span,
                y: ((performance.isFinite ? performance : worst) - worst) / (best - worst)
            )
        }
        let (start, end) = (scaled[0].y, scaled[scaled.count - 1].y)
        // The distance from a line grows with the height above it; the factor between the two does not matter.
        let heights = scaled.map { $0.y - (start + (end - start) * $0.x) }
        let highest = heights.indices.max { heights[$0] < heights[$1] }!
        return heights[highest] > 1e-12 ? points[highest] : nil
    }
}

/// Prunes a set of matrices to growing sparsity, each time from the original weights, and asks what is left is worth.
///
/// Everything that a network's layers multiply with belongs into the set; embeddings and the output head do not: they
/// would dominate a global threshold.
public struct SparsitySweep: Sendable {
    /// Fractions removed, each 0...1; 0 is the original.
    public var sparsities: [Double]
    /// Where entries compete with each other: `.global` shares a sparsity out among the matrices by their scores.
    public var scope: Pattern.Scope

    public init(sparsities: [Double] = (0..<10).map { Double($0) / 10 }, scope: Pattern.Scope = .global) {
        self.sparsities = sparsities
        self.scope = scope
    }

    /// The curve of one method.
    ///
    /// - Parameters:
    ///   - weights: The original matrices.
    ///   - method: One that needs no calibration.
    ///   - evaluate: The value, in the unit of `metric`, of a network with the given matrices.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a method that needs calibration,
    ///   ``LacunaError/invalidArgument(_:reason:)`` for a sparsity outside 0...1, and what `evaluate` throws.
    public func run(
        _ weights: [Tensor<Float>], method: any ScoredPruning, metric: SweepMetric,
        evaluate: ([Tensor<Float>]) throws -> Double
    ) throws -> SparsityCurve {
        var points: [SparsityCurve.Point] = []
        for sparsity in sparsities.sorted() {
            let pruned = try prune(weights, method: method, sparsity: sparsity)
            points.append(.init(sparsity: sparsity, value: try evaluate(pruned)))
        }
        return SparsityCurve(method: method.card.name, metric: metric, points: points)
    }

    /// Copies of the matrices at one sparsity.
    public func prune(
        _ weights: [Tensor<Float>], method: any ScoredPruning, sparsity: Double
    ) throws -> [Tensor<Float>] {
        if method.requirement != .none {
            throw LacunaError.unsupported(file: nil, what: "a sweep without calibration by \(method.card.name)")
        }
        if scope != .global {
            return try weights.enumerated().map { index, weight in
                var weight = weight
                _ = try method.prune(
                    &weight, statistics: nil,
                    request: PruningRequest(.unstructured(scope), sparsity: sparsity, layer: index))
                return weight
            }
        }
        // Names that sort as the indices do, so that ties are broken in the order of the matrices.
        let width = String(weights.count).count
        func name(_ index: Int) -> String {
            let digits = String(index)
            return String(repeating: "0", count: width - digits.count) + digits
        }
        var scores: [String: Tensor<Float>] = [:]
        for (index, weight) in weights.enumerated() {
            scores[name(index)] = try method.score(layer: index).scores(weight: weight, statistics: nil)
        }
        let masks = try Selection.selectGlobally(scores, sparsity: sparsity)
        return weights.enumerated().map { index, weight in masks[name(index)]!.applied(to: weight) }
    }
}
