import LacunaSparse
import LacunaTensor

/// Shares a sparsity out among a model's blocks: those with more outliers among their scores keep more.
///
/// The outlier ratio of a block is the fraction of its scores above `multiple` times their mean. Ratios are put on a line from
/// `-spread` to `+spread` and centred, so that a block keeps `1 - s + r - mean r`, the mean weighted by size: all blocks
/// together keep `1 - s`. All layers of a block get the same. Scores are those of the method, or `|w| ‖x‖` of the dense model
/// for methods without any.
///
/// A block is what a name says up to its first number, such as `model.layers.3`; a layer without a number is one of its own.
///
/// Lu Yin, You Wu, Zhenyu Zhang, Cheng-Yu Hsieh and others, "Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce
/// for Pruning LLMs to High Sparsity", arXiv 2310.05175.
public struct OutlierBudget: SparsityBudget, Hashable {
    /// 0...1.
    public var value: Double
    /// `M`: how many times the mean an outlier is. The authors choose among 3, 5, 7 and 10.
    public var multiple: Double
    /// `λ`: how far a block's sparsity may be from the mean, at most half of `min(s, 1 - s)`. The authors choose up to 0.2.
    public var spread: Double

    /// - Parameters:
    ///   - sparsity: Of all blocks together, 0...1.
    ///   - multiple: Above 0.
    ///   - spread: 0 or more. The default suits a sparsity of 0.16 to 0.84; others need a smaller one.
    public init(_ sparsity: Double, multiple: Double = 5, spread: Double = 0.08) {
        value = sparsity
        self.multiple = multiple
        self.spread = spread
    }

    public var sparsity: Double? { value }
    public var needsScores: Bool { true }

    public func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
        guard (0...1).contains(value), multiple > 0, spread >= 0, 2 * spread <= min(value, 1 - value) else {
            throw LacunaError.invalidArgument(
                "budget",
                reason: "outliers of \(multiple) times the mean, a sparsity of \(value) and a spread of \(spread)")
        }
        guard let scores else {
            throw LacunaError.invalidArgument("budget", reason: "outliers are counted in the scores of all layers")
        }
        var blocks: [String: [Layer]] = [:]
        for layer in layers { blocks[Self.block(of: layer.name), default: []].append(layer) }
        var ratios: [String: Double] = [:]
        for (block, members) in blocks {
            ratios[block] = try outlierRatio(
                members.map { layer in
                    guard let scores = scores[layer.name] else {
                        throw LacunaError.invalidArgument("scores", reason: "there are none of layer '\(layer.name)'")
                    }
                    return scores
                })
        }
        guard let least = ratios.values.min(), let most = ratios.values.max(), most > least else {
            return Dictionary(uniqueKeysWithValues: layers.map { ($0.name, value) })
        }
        let shifts = ratios.mapValues { ($0 - least) / (most - least) * 2 * spread }
        func size(_ layer: Layer) -> Double { Double(layer.shape.reduce(1, *)) }
        let total = layers.reduce(0) { $0 + size($1) }
        let centre = layers.reduce(0) { $0 + size($1) * shifts[Self.block(of: $1.name)]! } / total
        return Dictionary(
            uniqueKeysWithValues: layers.map { ($0.name, value + centre - shifts[Self.block(of: $0.name)]!) })
    }

    /// The fraction of all entries above `multiple` times their mean.
    private func outlierRatio(_ scores: [Tensor<Float>]) throws -> Double {
        var (sum, count, outliers) = (0.0, 0, 0)
        for tensor in scores { tensor.withPointer { p in for i in 0..<tensor.count { sum += Double(p[i]) } } }
        count = scores.reduce(0) { $0 + $1.count }
        guard sum.isFinite else {
            throw LacunaError.numerical(operation: "outliers", reason: "a score is not finite")
        }
        let limit = Float(multiple * sum / Double(max(count, 1)))
        for tensor in scores {
            tensor.withPointer { p in for i in 0..<tensor.count where p[i] > limit { outliers += 1 } }
        }
        return Double(outliers) / Double(max(count, 1))
    }

    /// What a name says up to its first number.
    static func block(of name: String) -> String {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard let number = parts.firstIndex(where: { !$0.isEmpty && $0.allSatisfy(\.isNumber) }) else { return name }
        return parts[...number].joined(separator: ".")
    }
}
