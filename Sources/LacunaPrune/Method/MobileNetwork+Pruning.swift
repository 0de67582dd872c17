import LacunaModels
import LacunaSparse
import LacunaTensor

extension MobileNetwork {
    /// The network with every pointwise layer pruned to the same sparsity, each by itself. The first layer, the depthwise ones and the
    /// classifier stay as they are: they are little of the work.
    ///
    /// What pruning changes of the mean of an output, over what calibration saw, is given back by its bias.
    ///
    /// - Parameters:
    ///   - method: Any method for the weights of linear layers: the columns are channels, the inputs pixels.
    ///   - pattern: `.unstructured(.layer)`, or `.block(rows: 4, columns: 1)` for groups of 4 outputs that keep or drop an input together.
    ///   - sparsity: Share of the weights that goes, 0...1; nil where the pattern fixes it.
    ///   - inputs: From ``pointwiseInputs(_:gram:progress:)``; nil for methods that need none, and then biases stay.
    /// - Throws: What the method throws.
    public func pruned(
        by method: any LayerwisePruning, _ pattern: Pattern, sparsity: Double?, inputs: [Int: InputStatistics]? = nil
    ) throws -> MobileNetwork {
        var result = self
        for place in pointwise {
            var weight = layers[place].weight
            let seen = inputs?[place]
            _ = try method.prune(
                &weight, statistics: seen, request: PruningRequest(pattern, sparsity: sparsity, layer: place))
            result.layers[place].weight = weight
            guard let means = seen?.means else { continue }
            let columns = weight.columns
            let (before, after) = (layers[place].weight.scalars, weight.scalars)
            for o in 0..<weight.rows {
                var change: Float = 0
                for i in 0..<columns { change += (before[o * columns + i] - after[o * columns + i]) * means[i] }
                result.layers[place].bias[o] += change
            }
        }
        return result
    }
}
