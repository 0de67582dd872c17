import LacunaSparse
import LacunaTensor

/// MobileNet-v1 (Andrew Howard et al., arXiv 1704.04861) for inference, batch normalisation folded in: a 3 × 3 layer, 13
/// blocks of a depthwise 3 × 3 and a pointwise 1 × 1 convolution, each with ReLU6, the mean over pixels, a classifier.
///
/// Nearly all of its work is in the pointwise layers, which are what sparsity is applied to; ``MobileNetRunner`` runs it.
public struct MobileNetV1: Sendable {
    /// A depthwise and a pointwise convolution, each with a bias and a ReLU.
    public struct Block: Sendable {
        /// [channels, 1, 3, 3]
        public var depthwise: Tensor<Float>
        /// [channels].
        public var depthwiseBias: [Float]
        /// Pixels from one place of the depthwise kernel to the next: 1 or 2.
        public var step: Int
        /// [outputs, channels]
        public var pointwise: Tensor<Float>
        /// [outputs].
        public var pointwiseBias: [Float]
    }

    /// [channels, 3, 3, 3], step 2
    public var first: Tensor<Float>
    /// [channels of the first convolution].
    public var firstBias: [Float]
    /// The blocks, from the first convolution on.
    public var blocks: [Block]
    /// [classes, channels]
    public var classifier: Tensor<Float>
    /// [classes].
    public var classifierBias: [Float]

    /// Output channels at full width and the step of each block.
    public static let plan: [(channels: Int, step: Int)] =
        [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
        + [(Int, Int)](repeating: (512, 1), count: 5) + [(1024, 2), (1024, 1)]

    /// Random weights that keep activations at about one size from layer to layer.
    ///
    /// - Parameters:
    ///   - width: Multiplies the number of channels of every layer (rounded to multiples of 8).
    ///   - classes: Outputs of the classifier.
    /// - Throws: `LacunaError.invalidArgument` for a width or a number of classes that is not positive, and a width above 1024.
    public init(randomOfWidth width: Double = 1, classes: Int = 1000, using generator: inout SeededGenerator) throws {
        guard width > 0 && width <= 1024 && classes > 0 else {
            throw LacunaError.invalidArgument("width", reason: "width \(width) with \(classes) classes")
        }
        func channels(_ full: Int) -> Int { max(8, Int((Double(full) * width / 8).rounded()) * 8) }
        func bias(_ count: Int) -> [Float] { (0..<count).map { _ in Float(generator.normal()) * 0.1 } }
        func tensor(_ shape: [Int], fan: Int) -> Tensor<Float> {
            Tensor(normal: shape, standardDeviation: (2 / Float(fan)).squareRoot(), using: &generator)
        }
        var inputs = channels(32)
        first = tensor([inputs, 3, 3, 3], fan: 27)
        firstBias = bias(inputs)
        blocks = []
        for (full, step) in Self.plan {
            let outputs = channels(full)
            blocks.append(
                Block(
                    depthwise: tensor([inputs, 1, 3, 3], fan: 9), depthwiseBias: bias(inputs), step: step,
                    pointwise: tensor([outputs, inputs], fan: inputs), pointwiseBias: bias(outputs)))
            inputs = outputs
        }
        classifier = tensor([classes, inputs], fan: 2 * inputs)
        classifierBias = bias(classes)
    }

    /// The network with the smallest weights of every pointwise layer set to 0: units of `group` consecutive output
    /// channels by their sum of magnitudes, `sparsity` of all units of a layer. The survivors of a layer are scaled so that
    /// its outputs keep their size, as training would see to.
    /// - Throws: `LacunaError.invalidArgument` for a sparsity outside 0...1.
    public func sparsified(_ sparsity: Double, group: Int = 1) throws -> MobileNetV1 {
        var result = self
        for index in blocks.indices {
            let weight = blocks[index].pointwise
            let scores = try MagnitudeScore().scores(weight: weight, statistics: nil)
            let pattern: Pattern = group == 1 ? .unstructured(.layer) : .block(rows: group, columns: 1)
            let mask = try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
            let (m, n) = (weight.rows, weight.columns)
            result.blocks[index].pointwise.withMutablePointer { w in
                var (before, after): (Float, Float) = (0, 0)
                for r in 0..<m {
                    for c in 0..<n {
                        before += w[r * n + c] * w[r * n + c]
                        if !mask[r, c] { w[r * n + c] = 0 }
                        after += w[r * n + c] * w[r * n + c]
                    }
                }
                let scale = after > 0 ? (before / after).squareRoot() : 1
                for i in 0..<m * n { w[i] *= scale }
            }
        }
        return result
    }

    /// The same network with the output channels of every pointwise layer in another order, undone in what reads them: the
    /// depthwise filters and the input channels of the next layer, or of the classifier.
    ///
    /// - Parameter orders: For each block, the channel that comes to each place.
    /// - Precondition: One permutation for each block.
    public func rearranged(_ orders: [[Int]]) -> MobileNetV1 {
        require(orders.count == blocks.count)
        guard let network = try? layered else {
            require(false, "layers do not fit each other")
            return self
        }
        // The pointwise layer of a block comes after the first layer, the blocks before and its depthwise layer.
        func pointwise(_ block: Int) -> Int { 2 * block + 2 }
        var places: [Int: [Int]] = [:]
        for (block, order) in orders.enumerated() { places[pointwise(block)] = order }
        let found = network.rearranged(places)
        var result = self
        for block in blocks.indices {
            let (filter, mixture) = (found.layers[pointwise(block) - 1], found.layers[pointwise(block)])
            (result.blocks[block].depthwise, result.blocks[block].depthwiseBias) = (filter.weight, filter.bias)
            (result.blocks[block].pointwise, result.blocks[block].pointwiseBias) = (mixture.weight, mixture.bias)
        }
        result.classifier = found.classifier
        return result
    }
}
