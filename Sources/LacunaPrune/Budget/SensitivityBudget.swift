import LacunaModels
import LacunaSparse
import LacunaTensor

/// Shares a sparsity out among a model's blocks by what pruning each of them alone costs.
///
/// Of each block the divergence of predictions is measured with that block alone pruned to `s - spread` and to `s + spread`. Between
/// and beyond, it is taken to grow like `D_b(x) = c_b e^{k_b x}`, and the sparsities are those that make the sum over all blocks
/// smallest at the sparsity of all: where the last weight of every block costs the same, `c_b k_b e^{k_b s_b} = λ n_b`, none further than
/// the spread from the mean. All layers of a block get the same.
///
/// Costs of single blocks do not add up exactly, so the result is a proposal, to be measured against others.
public struct SensitivityBudget: SparsityBudget, Hashable {
    /// What pruning a block alone costs: divergences, in any unit, at the lower and at the higher sparsity.
    public struct Cost: Sendable, Hashable {
        /// At `s - spread`.
        public var low: Double
        /// At `s + spread`.
        public var high: Double

        /// Divergences, 0 or more.
        public init(low: Double, high: Double) { (self.low, self.high) = (low, high) }
    }

    /// 0...1.
    public var value: Double
    /// How far a block's sparsity may be from it.
    public var spread: Double
    /// By the names of blocks, such as `model.layers.3`.
    public var costs: [String: Cost]

    /// - Parameters:
    ///   - sparsity: Of all blocks together, 0...1.
    ///   - spread: Above 0; neither `sparsity - spread` nor `sparsity + spread` may leave 0...1.
    public init(_ sparsity: Double, spread: Double, costs: [String: Cost]) {
        (value, self.spread, self.costs) = (sparsity, spread, costs)
    }

    /// A spread that suits a sparsity: a tenth, or what there is room for.
    public static func spread(for sparsity: Double) -> Double { min(0.1, sparsity / 2, (1 - sparsity) / 2) }

    public var sparsity: Double? { value }

    public func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
        guard (0...1).contains(value), spread > 0, spread <= min(value, 1 - value) else {
            throw LacunaError.invalidArgument("budget", reason: "a sparsity of \(value) and a spread of \(spread)")
        }
        var sizes: [String: Double] = [:]
        for layer in layers {
            sizes[OutlierBudget.block(of: layer.name), default: 0] += Double(layer.shape.reduce(1, *))
        }
        var curves: [(block: String, size: Double, level: Double, growth: Double)] = []
        for block in sizes.keys.sorted() {
            guard let cost = costs[block] else {
                throw LacunaError.invalidArgument("budget", reason: "it is not known what pruning '\(block)' costs")
            }
            guard cost.low >= 0, cost.high >= 0, cost.low.isFinite, cost.high.isFinite else {
                throw LacunaError.invalidArgument(
                    "budget", reason: "pruning '\(block)' costs \(cost.low) and \(cost.high)")
            }
            // Noise may make more removed cost less: a block then is as good as free.
            let (low, high) = (max(cost.low, 1e-9), max(cost.high, 1.05 * cost.low, 1.05e-9))
            let growth = logarithm(high / low) / (2 * spread)
            curves.append((block, sizes[block]!, (low * high).squareRoot(), growth))
        }
        let total = curves.reduce(0) { $0 + $1.size }
        func shifts(_ price: Double) -> [Double] {
            curves.map { curve in
                let shift = (price + logarithm(curve.size / (curve.level * curve.growth))) / curve.growth
                return min(max(shift, -spread), spread)
            }
        }
        func mean(_ shifts: [Double]) -> Double {
            zip(shifts, curves).reduce(0) { $0 + $1.0 * $1.1.size } / max(total, 1)
        }
        // The mean rises with the price of a weight.
        var (low, high) = (-200.0, 200.0)
        for _ in 0..<200 {
            let middle = (low + high) / 2
            if mean(shifts(middle)) < 0 { low = middle } else { high = middle }
        }
        let found = shifts((low + high) / 2)
        let rest = mean(found)
        let shares = Dictionary(
            uniqueKeysWithValues: zip(curves, found).map { ($0.block, min(max(value + $1 - rest, 0), 1)) })
        return Dictionary(
            uniqueKeysWithValues: layers.map { ($0.name, shares[OutlierBudget.block(of: $0.name)]!) })
    }

    /// Measures what pruning each block alone costs.
    ///
    /// - Parameters:
    ///   - method: Prunes the model twice, as a whole; blocks of the result are put into the dense model one at a time.
    ///   - reference: Predictions of the dense model, on a text that the result is not judged by.
    /// - Throws: What pruning and ``PredictionReference/compare(_:progress:)`` throw.
    /// - Complexity: Two prunings, and two readings of the reference's text for each block.
    public static func measure(
        _ sparsity: Double, method: any LayerwisePruning, pattern: Pattern, reference: PredictionReference,
        calibration: CalibrationSet, progress: (any ProgressReporter)? = nil
    ) throws -> SensitivityBudget {
        let (dense, spread) = (reference.decoder, spread(for: sparsity))
        let blocks = Dictionary(grouping: dense.linearNames) { OutlierBudget.block(of: $0) }
        var costs: [String: Cost] = [:]
        for (index, amount) in [sparsity - spread, sparsity + spread].enumerated() {
            let pruner = Pruner(method, pattern: pattern, budget: UniformBudget(amount))
            let pruned = try pruner.prune(dense, calibration: calibration, progress: progress).decoder
            for (place, block) in blocks.keys.sorted().enumerated() {
                try progress.report("searching a budget", index * blocks.count + place, of: 2 * blocks.count, block)
                var mixed = dense
                for name in blocks[block]! { mixed[linear: name] = pruned[linear: name] }
                let cost = try reference.compare(mixed).divergence
                if index == 0 { costs[block] = Cost(low: cost, high: 0) } else { costs[block]?.high = cost }
            }
        }
        return SensitivityBudget(sparsity, spread: spread, costs: costs)
    }
}
