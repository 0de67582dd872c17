import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A ``MobileNetwork`` on the tape: what it computes with gradients, its layers' weights those of linear layers, so that every method and
/// storage for these applies. What is 0 in a pointwise layer stays so, unless it is said otherwise.
public final class TrainableMobileNetwork: UnaryLayer {
    private let template: MobileNetwork
    private let layers: [any UnaryLayer]
    /// The linear layers behind ``layers``.
    private let products: [Linear]
    /// [classes, channels].
    public let classifier: Linear

    /// - Parameter keepsZeros: Whether weights of pointwise layers that are 0 are masked.
    public init(_ network: MobileNetwork, keepsZeros: Bool = true) {
        template = network
        // Every weight is set: what is drawn here is never seen.
        var generator = SeededGenerator(seed: 0)
        var (layers, products): ([any UnaryLayer], [Linear]) = ([], [])
        for layer in network.layers {
            let size = layer.weight.rank == 4 ? layer.weight.shape[2] : 1
            let sliding = Self.sliding(layer, network.border)
            if layer.kind == .depthwise {
                let made = DepthwiseConv2d(
                    channels: layer.outputs, kernelSize: size, sliding: sliding, using: &generator)
                layers.append(made)
                products.append(made.product)
            } else {
                let made = SparseConv2d(
                    inputChannels: layer.inputs, outputChannels: layer.outputs, kernelSize: size, sliding: sliding,
                    using: &generator)
                layers.append(made)
                products.append(made.product)
            }
        }
        (self.layers, self.products) = (layers, products)
        classifier = Linear(
            weight: DenseWeight(network.classifier),
            bias: Tensor(network.classifierBias, shape: [network.classifierBias.count]))
        for (product, source) in zip(products, network.layers) {
            let flat = source.weight.reshaped([source.outputs, source.weight.count / source.outputs])
            let weight = DenseWeight(flat)
            if keepsZeros && source.kind == .pointwise { weight.mask = SparsePattern(nonzerosOf: flat) }
            product.weight = weight
            product.bias?.value = Tensor(source.bias, shape: [source.bias.count])
        }
    }

    private static func sliding(_ layer: MobileNetwork.Layer, _ border: DirectConvolution.Border) -> Sliding {
        if layer.kind == .pointwise { return Sliding() }
        return border == .fitted
            ? .fitted(stride: layer.step) : Sliding(stride: layer.step, padding: layer.weight.shape[2] / 2)
    }

    /// The layers by the names that the checkpoint has for them, and the classifier.
    public var parts: [(name: String, part: Any)] {
        zip(template.layers, layers).map { ($0.name, $1) } + [("classifier", classifier)]
    }

    public var outputLayer: Linear? { classifier }

    /// Logits [n, classes] of images [n, 3, height, width].
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { states(x).logits }

    /// What layers without a clamp make, in their order, and the logits. The former are the narrow images between blocks: what a student is
    /// to have in common with its teacher.
    public func states(_ x: Variable<Float>) -> (narrow: [Variable<Float>], logits: Variable<Float>) {
        var (read, narrow): ([Variable<Float>], [Variable<Float>]) = ([x], [])
        for (layer, description) in zip(layers, template.layers) {
            var y = layer(read[read.count - 1])
            if let clamp = description.clamp { y = y.clamped(to: clamp) }
            if let added = description.added { y = y + read[added] }
            if description.clamp == nil { narrow.append(y) }
            read.append(y)
        }
        return (narrow, classifier(read[read.count - 1].globalAveragePooled()))
    }

    /// The network as it is now, for inference.
    public var network: MobileNetwork {
        var result = template
        for (index, product) in products.enumerated() {
            result.layers[index].weight = product.weight.densified().reshaped(template.layers[index].weight.shape)
            result.layers[index].bias = product.bias?.value.scalars ?? template.layers[index].bias
        }
        result.classifier = classifier.weight.densified()
        result.classifierBias = classifier.bias?.value.scalars ?? template.classifierBias
        return result
    }
}
