import LacunaSparse
import LacunaTensor

/// A network of convolutions as mobile networks have them: dense ones at the beginning, depthwise and pointwise ones in turns, sums with
/// what a block was given, the mean over pixels, a classifier. Batch normalisations are folded into weights and biases.
///
/// It is a list of layers, whatever the architecture: ``EfficientNetLite`` and ``MobileNetV1`` make one, ``MobileNetRunner`` runs it,
/// ``TrainableMobileNetwork`` trains it, and methods change weights in it.
public struct MobileNetwork: Sendable {
    /// What a layer reads for each of its outputs.
    public enum Kind: Sendable, Hashable {
        /// A neighbourhood of pixels in all channels.
        case full
        /// A neighbourhood of pixels in its own channel.
        case depthwise
        /// One pixel in all channels: nearly all of the work, and what sparsity is applied to.
        case pointwise
    }

    /// A convolution with a bias and a clamp.
    public struct Layer: Sendable {
        /// What the checkpoint calls it.
        public var name: String
        /// What it reads.
        public var kind: Kind
        /// [outputs, inputs, k, k] of full ones, [channels, 1, k, k] of depthwise ones, [outputs, inputs] of pointwise ones.
        public var weight: Tensor<Float>
        /// [outputs].
        public var bias: [Float]
        /// Pixels from one place of the kernel to the next; 1 for pointwise layers.
        public var step: Int
        /// The least and the largest output, if there are such: 0 and 6 for ReLU6.
        public var clamp: ClosedRange<Float>?
        /// The layer whose input is added to the output; nil for none.
        public var added: Int?

        /// A layer of these properties.
        public init(
            _ name: String, _ kind: Kind, weight: Tensor<Float>, bias: [Float], step: Int = 1,
            clamp: ClosedRange<Float>? = 0...6, added: Int? = nil
        ) {
            (self.name, self.kind, self.weight, self.bias) = (name, kind, weight, bias)
            (self.step, self.clamp, self.added) = (step, clamp, added)
        }

        /// Channels that it makes.
        public var outputs: Int { weight.shape[0] }
        /// Channels that it reads.
        public var inputs: Int { kind == .depthwise ? weight.shape[0] : weight.shape[1] }
    }

    /// In the order in which they run.
    public var layers: [Layer]
    /// [classes, channels]
    public var classifier: Tensor<Float>
    /// [classes].
    public var classifierBias: [Float]
    /// Where the zeros around images are.
    public var border: DirectConvolution.Border

    /// - Throws: `LacunaError.invalidArgument` for layers that do not fit each other.
    public init(
        layers: [Layer], classifier: Tensor<Float>, classifierBias: [Float], border: DirectConvolution.Border
    ) throws {
        (self.layers, self.classifier, self.classifierBias) = (layers, classifier, classifierBias)
        self.border = border
        try validate()
    }

    /// - Throws: As ``init(layers:classifier:classifierBias:border:)``, after which layers may have been changed.
    func validate() throws {
        func refuse(_ name: String, _ reason: String) -> LacunaError { .invalidArgument(name, reason: reason) }
        guard let first = layers.first, let last = layers.last else { throw refuse("layers", "there are none") }
        var (channels, reduction) = (first.inputs, 1)
        var before: [(channels: Int, reduction: Int)] = []
        for layer in layers {
            let rank = layer.kind == .pointwise ? 2 : 4
            guard layer.weight.rank == rank, layer.bias.count == layer.weight.shape[0], layer.step >= 1,
                layer.kind != .pointwise || layer.step == 1
            else {
                throw refuse(
                    layer.name, "weights \(layer.weight.shape) with \(layer.bias.count) biases and step \(layer.step)")
            }
            guard layer.inputs == channels else {
                throw refuse(layer.name, "reads \(layer.inputs) channels of \(channels)")
            }
            before.append((channels, reduction))
            let (steps, overflow) = reduction.multipliedReportingOverflow(by: layer.step)
            guard !overflow else { throw refuse(layer.name, "a step of \(layer.step) after \(reduction)") }
            (channels, reduction) = (layer.outputs, steps)
            if let added = layer.added {
                guard before.indices.contains(added), before[added] == (channels, reduction) else {
                    throw refuse(layer.name, "an image of another size or of other channels is added")
                }
            }
        }
        guard classifier.rank == 2, classifier.columns == last.outputs, classifierBias.count == classifier.rows else {
            throw refuse("classifier", "weights \(classifier.shape) for \(last.outputs) channels")
        }
    }

    /// The places of the pointwise layers.
    public var pointwise: [Int] { layers.indices.filter { layers[$0].kind == .pointwise } }

    /// The share of zeros among the weights of the pointwise layers.
    public var pointwiseSparsity: Double {
        let weights = pointwise.map { layers[$0].weight }
        let zeros = weights.reduce(0) { sum, weight in sum + weight.scalars.count { $0 == 0 } }
        return Double(zeros) / Double(max(weights.reduce(0) { $0 + $1.count }, 1))
    }

    // MARK: Orders of channels

    /// For each layer, which channels have to keep one order together: the first layer whose outputs they are, or -1 for those of the
    /// image, whose order is given. Depthwise layers pass channels on, and sums join them.
    public var channelGroups: [Int] {
        // The image's come first, then those of each layer.
        var group = Array(0...layers.count)
        func root(_ i: Int) -> Int {
            var i = i
            while group[i] != i { i = group[i] }
            return i
        }
        for (i, layer) in layers.enumerated() {
            // What a layer reads is the outputs of the one before, or the image.
            let others = (layer.kind == .depthwise ? [i] : []) + (layer.added.map { [$0] } ?? [])
            for other in others {
                let (a, b) = (root(i + 1), root(other))
                group[max(a, b)] = min(a, b)
            }
        }
        return layers.indices.map { root($0 + 1) - 1 }
    }

    /// The same network with the channels that layers make in another order, undone in everything that reads them: depthwise filters, the
    /// inputs of the next layers, sums and the classifier.
    ///
    /// - Parameter orders: For some of the groups of ``channelGroups``, the channel that comes to each place.
    /// - Precondition: Permutations of as many channels as there are, none of them of the image's.
    public func rearranged(_ orders: [Int: [Int]]) -> MobileNetwork {
        require(orders[-1] == nil, "the order of an image's channels is given")
        let groups = channelGroups
        var result = self
        for (i, layer) in layers.enumerated() {
            if let order = orders[groups[i]] {
                require(order.sorted() == Array(0..<layer.outputs), "no permutation of the outputs of \(layer.name)")
                let flat = layer.weight.reshaped([layer.outputs, layer.weight.count / layer.outputs])
                result.layers[i].weight = flat.selectingRows(order).reshaped(layer.weight.shape)
                result.layers[i].bias = order.map { layer.bias[$0] }
            }
            if i > 0, layer.kind != .depthwise, let order = orders[groups[i - 1]] {
                result.layers[i].weight = Self.reordered(inputsOf: result.layers[i].weight, order)
            }
        }
        if let order = orders[groups[layers.count - 1]] {
            result.classifier = Self.reordered(inputsOf: classifier, order)
        }
        return result
    }

    /// A weight [outputs, inputs, …] with its inputs in another order.
    private static func reordered(inputsOf weight: Tensor<Float>, _ order: [Int]) -> Tensor<Float> {
        let (outputs, inputs) = (weight.shape[0], weight.shape[1])
        let taps = weight.count / max(outputs * inputs, 1)
        var result = weight
        weight.withPointer { source in
            result.withMutablePointer { target in
                for o in 0..<outputs {
                    for (place, input) in order.enumerated() {
                        (target + (o * inputs + place) * taps).update(
                            from: source + (o * inputs + input) * taps, count: taps)
                    }
                }
            }
        }
        return result
    }

    /// Orders that bring channels with similar weights together, so that groups of `search.group` outputs that are kept or dropped together
    /// keep more of the weights' magnitudes. Channels that a sum joins are ordered by the layers that make them side by side.
    ///
    /// - Throws: As ``ChannelRearrangement/order(_:using:)``.
    public func orders(
        _ search: ChannelRearrangement, using generator: inout SeededGenerator
    ) throws -> [Int: [Int]] {
        let groups = channelGroups
        var orders: [Int: [Int]] = [:]
        for group in Set(groups).sorted() where group >= 0 {
            let makers = layers.indices.filter { groups[$0] == group && layers[$0].kind == .pointwise }
            guard !makers.isEmpty else { continue }
            let weights = makers.map { layers[$0].weight.transposed() }
            let columns = weights.reduce(0) { $0 + $1.rows }
            let scores = Tensor(weights.flatMap(\.scalars), shape: [columns, layers[group].outputs]).transposed()
            orders[group] = try search.order(scores.map { abs($0) }, using: &generator)
        }
        return orders
    }
}

extension MobileNetV1 {
    /// The network as a list of layers.
    public var layered: MobileNetwork {
        get throws {
            var layers = [MobileNetwork.Layer("first", .full, weight: first, bias: firstBias, step: 2)]
            for (index, block) in blocks.enumerated() {
                layers.append(
                    .init(
                        "blocks.\(index).depthwise", .depthwise, weight: block.depthwise, bias: block.depthwiseBias,
                        step: block.step))
                layers.append(
                    .init("blocks.\(index).pointwise", .pointwise, weight: block.pointwise, bias: block.pointwiseBias))
            }
            return try MobileNetwork(
                layers: layers, classifier: classifier, classifierBias: classifierBias, border: .centred)
        }
    }
}
