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
    /// What a model is worth at a sparsity.
    public struct Point: Sendable, Hashable {
        /// Fraction of the prunable weights removed.
        public var sparsity: Double
        /// In the unit of the metric.
        public var value: Double

        /// A point of a curve.
        public init(sparsity: Double, value: Double) {
            self.sparsity = sparsity
            self.value = value
        }
    }

    /// The method's name.
    public var method: String
    /// What the points' values are values of.
    public var metric: SweepMetric
    /// In ascending order of sparsity.
    public var points: [Point]

    /// - Parameter points: In any order.
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
