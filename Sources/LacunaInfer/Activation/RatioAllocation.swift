import LacunaTensor

/// How a share of weights to leave out is spread over the matrices of a block.
public enum RatioAllocation: Sendable, Hashable {
    /// Every matrix the same.
    case uniform
    /// Step by step, each time from the matrix where that costs the least error of the block's output (as TEAL and WINA do):
    /// a step leaves out `step` of the block's weights more.
    case greedy(step: Double = 0.025)

    /// Reads `uniform` or `greedy`; nil for anything else.
    public init?(_ name: String) {
        switch name {
        case "uniform": self = .uniform
        case "greedy": self = .greedy()
        default: return nil
        }
    }

    /// As ``init(_:)`` reads it.
    public var name: String { self == .uniform ? "uniform" : "greedy" }

    /// No matrix gives more than this.
    static let most = 0.95

    /// The ratio of each matrix.
    ///
    /// - Parameters:
    ///   - weights: Of each matrix.
    ///   - target: Of all of them together, in `0..<1`.
    ///   - cost: The error of some ratios; only a greedy allocation asks.
    /// - Returns: Ratios whose mean, by weights, is the target (as far as ``most`` allows).
    /// - Throws: What `cost` throws.
    func ratios(
        weights: [Int], target: Double, cost: (_ ratios: [Double]) throws -> Double
    ) rethrows -> [Double] {
        let total = Double(weights.reduce(0, +))
        guard case .greedy(let step) = self, target > 0, total > 0 else {
            return weights.map { _ in target }
        }
        var ratios = weights.map { _ in 0.0 }
        var reached = 0.0
        while reached < target - 1e-9 {
            let amount = min(step, target - reached)
            var best: (matrix: Int, cost: Double)?
            for matrix in weights.indices {
                let raised = ratios[matrix] + amount * total / Double(weights[matrix])
                if raised > Self.most { continue }
                var trial = ratios
                trial[matrix] = raised
                let cost = try cost(trial)
                if cost < best?.cost ?? .infinity { best = (matrix, cost) }
            }
            guard let best else { break }
            ratios[best.matrix] += amount * total / Double(weights[best.matrix])
            reached += amount
        }
        return ratios
    }
}
