import LacunaLearn
import LacunaSparse
import LacunaTensor

/// How the saliency of a network's first weights shares a sparsity out among its layers: weights are scored on one batch, the
/// largest scores of all layers together are counted, and only the counts are used.
public enum SaliencyRatios: String, Sendable, Hashable, CaseIterable {
    /// `|w g|`: Namhoon Lee, Thalaiyasingam Ajanthan, Philip Torr, "SNIP: Single-shot Network Pruning based on Connection
    /// Sensitivity", arXiv 1810.02340.
    case snip
    /// `w (H g)`, H the Hessian: what keeps the gradient's norm. Chaoqi Wang, Guodong Zhang, Roger Grosse, "Picking Winning
    /// Tickets Before Training by Preserving Gradient Flow", arXiv 2002.07376. The product is a difference of
    /// gradients.
    case grasp

    /// The scores of every entry of the layers' weights, the larger the more it matters.
    ///
    /// - Parameters:
    ///   - layers: Dense, without masks.
    ///   - loss: Of one batch.
    /// - Throws: `LacunaError.unsupported` for other weights, and what `loss` throws.
    public func scores(
        of layers: [(name: String, layer: Linear)], loss: (Tape<Float>) throws -> Variable<Float>
    ) throws -> [String: Tensor<Float>] {
        let weights = try layers.map { name, layer -> Parameter<Float> in
            guard let weight = layer.dense, weight.mask == nil, weight.view == nil else {
                throw LacunaError.unsupported(file: nil, what: "\(self) on \(layer.weight.storage) weights ('\(name)')")
            }
            return weight.parameter
        }
        /// Gradients of the weights as they are, and none left behind.
        func gradients() throws -> [Tensor<Float>] {
            for weight in weights { weight.clearGradient() }
            let tape = Tape<Float>()
            let value = try loss(tape)
            tape.backward(from: value)
            defer { for weight in weights { weight.clearGradient() } }
            return weights.map { $0.gradient ?? Tensor(zeros: $0.shape) }
        }
        let start = weights.map(\.value)
        var directions = try gradients()
        if self == .grasp {
            func norm(_ parts: [Tensor<Float>]) -> Double {
                parts.reduce(0.0) { $0 + $1.scalars.reduce(0.0) { $0 + Double($1 * $1) } }.squareRoot()
            }
            // Steps of a thousandth of the weights' own size.
            let length = norm(directions)
            let step = length > 0 ? Float(1e-3 * norm(start) / length) : 0
            defer { for (weight, value) in zip(weights, start) { weight.value = value } }
            func moved(_ sign: Float) throws -> [Tensor<Float>] {
                for (index, weight) in weights.enumerated() {
                    let (from, along) = (start[index].scalars, directions[index].scalars)
                    weight.value = Tensor(zip(from, along).map { $0 + sign * step * $1 }, shape: weight.shape)
                }
                return try gradients()
            }
            let (above, below) = (try moved(1), try moved(-1))
            directions = zip(above, below).map { up, down in
                Tensor(zip(up.scalars, down.scalars).map { step > 0 ? ($0 - $1) / (2 * step) : 0 }, shape: up.shape)
            }
        }
        var result: [String: Tensor<Float>] = [:]
        for (index, entry) in layers.enumerated() {
            let products = zip(start[index].scalars, directions[index].scalars).map {
                self == .snip ? abs($0 * $1) : $0 * $1
            }
            result[entry.name] = Tensor(products, shape: start[index].shape)
        }
        return result
    }

    /// The sparsity of each layer when so large a share of all weights is removed by their scores.
    ///
    /// - Throws: As ``scores(of:loss:)``; `LacunaError.invalidArgument` for a sparsity outside 0...1, `.numerical` for scores
    ///   that are no numbers.
    public func budget(
        _ sparsity: Double, layers: [(name: String, layer: Linear)], loss: (Tape<Float>) throws -> Variable<Float>
    ) throws -> LayerBudget {
        guard (0...1).contains(sparsity) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) is not in 0...1")
        }
        let scores = try scores(of: layers, loss: loss)
        let total = scores.values.reduce(0) { $0 + $1.count }
        let masks = try Selection.masks(
            scores: scores, amount: .count(total - Selection.removedCount(sparsity: sparsity, of: total)), within: [:])
        return LayerBudget(masks.mapValues { 1 - Double($0.count) / Double(max($0.rows * $0.columns, 1)) })
    }
}

/// One sparsity for all layers but the first, which stays dense, and the last, which keeps a fifth at least: the uniform+ of
/// Trevor Gale, Erich Elsen, Sara Hooker, "The State of Sparsity in Deep Neural Networks", arXiv 1902.09574, as Shiwei Liu and others
/// have it, arXiv 2202.02643. Over all layers together the network is denser than the sparsity says.
public struct UniformPlusBudget: SparsityBudget, Hashable {
    /// Of the layers between the first and the last, 0...1.
    public var value: Double

    /// A budget of a sparsity, 0...1.
    public init(_ sparsity: Double) { value = sparsity }

    /// Depends on the layers.
    public var sparsity: Double? { nil }

    public func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
        guard (0...1).contains(value) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(value) is not in 0...1")
        }
        guard Set(layers.map(\.name)).count == layers.count else {
            throw LacunaError.invalidArgument("layers", reason: "two have one name")
        }
        var result = Dictionary(uniqueKeysWithValues: layers.map { ($0.name, value) })
        if let last = layers.last { result[last.name] = min(value, 0.8) }
        if let first = layers.first { result[first.name] = 0 }
        return result
    }
}
