import LacunaLearn
import LacunaModels
import LacunaTensor

/// A network whose widths are being searched: a ``BiMask`` for the neurons of every hidden layer, for the entries of the heads of every block's
/// attention, and for the residual stream.
///
/// It computes what the network would with the masked units multiplied; when units go, they go from the network's matrices, with gradients
/// and optimiser states. When all widths are chosen, ``fuse()`` puts the multipliers into the weights and leaves the smaller network.
public final class ElasticNetwork: UnaryLayer {
    /// Units of one place.
    public struct Axis {
        /// What the units are.
        public enum Kind: String, Sendable, Hashable, CaseIterable {
            /// Neurons of a hidden layer.
            case neurons
            /// Entries of the heads of a block's attention.
            case heads
            /// The residual stream of a vision transformer.
            case stream
        }
        /// Where they are.
        public let name: String
        /// What they are.
        public let kind: Kind
        /// Which and how many stay.
        public let mask: BiMask
        /// Layers whose outputs they are; none for the stream.
        let producers: [Linear]
        /// Takes the others out of the network, whose weights are their own again.
        let remove: (BiMask.Kept) throws -> Void
    }

    /// Multiply-adds of one input: a factor times the widths of up to two axes.
    private struct Cost {
        let factor: Double
        let axes: [Int]
    }

    /// An ``MLP`` or a ``TrainableViT``.
    public let network: any UnaryLayer
    /// What is searched.
    public let axes: [Axis]
    /// What hides patches, if anything does.
    public let reconstruction: PatchReconstruction?
    private let costs: [Cost]
    private let widths: [Double]

    /// A search for all hidden widths of a fully connected network, from `least` of each on.
    ///
    /// - Parameter least: The smallest candidate's share; from there they go in steps of an eighth, and to the whole.
    /// - Throws: `LacunaError.unsupported` for weights that are not dense and whole.
    public init(_ network: MLP, least: Double = 0.25, using generator: inout SeededGenerator) throws {
        try Self.requireWhole(network)
        self.network = network
        reconstruction = nil
        let layers = network.layers
        var axes: [Axis] = []
        for index in 0..<layers.count - 1 {
            let (maker, reader) = (layers[index], layers[index + 1])
            axes.append(
                Axis(
                    name: "layers.\(index)", kind: .neurons,
                    mask: try Self.mask(maker.outputDimensions, least: least, steps: 8, using: &generator),
                    producers: [maker], remove: { Self.remove($0, [maker], reader) }))
        }
        self.axes = axes
        widths = layers.dropLast().map { Double($0.outputDimensions) }
        costs = layers.indices.map { index in
            let own = [index - 1, index].filter { (0..<layers.count - 1).contains($0) }
            let fixed =
                (index == 0 ? layers[index].inputDimensions : 1)
                * (index == layers.count - 1 ? layers[index].outputDimensions : 1)
            return Cost(factor: Double(fixed), axes: own)
        }
        wrap()
    }

    /// A search for the widths of a vision transformer: neurons from a quarter in steps of an eighth, heads two by two and their entries as the
    /// neurons, the stream from a half in steps of `min(width / 32, 12)`, at least 1. The whole of each is a candidate in any case.
    ///
    /// - Parameters:
    ///   - kinds: What is searched.
    ///   - reconstruction: What hides patches; nil for nothing.
    /// - Throws: `LacunaError.unsupported` for weights that are not dense and whole, gated feed-forward parts and experts.
    public init(
        _ network: TrainableViT, kinds: Set<Axis.Kind> = Set(Axis.Kind.allCases),
        reconstruction: PatchReconstruction? = nil, using generator: inout SeededGenerator
    ) throws {
        try Self.requireWhole(network)
        self.network = network
        self.reconstruction = reconstruction
        let c = network.configuration
        let (tokens, width) = (Double(c.specialTokens + c.patchCount), Double(c.hiddenSize))
        var (axes, costs, widths): ([Axis], [Cost], [Double]) = ([], [], [])
        /// The place of an axis in costs, or its width as a factor.
        func add(_ kind: Axis.Kind, _ count: Double, _ make: () throws -> Axis) rethrows -> Int? {
            guard kinds.contains(kind) else { return nil }
            axes.append(try make())
            widths.append(count)
            return axes.count - 1
        }
        func cost(_ factor: Double, _ places: (Int?, Double)...) {
            costs.append(
                Cost(
                    factor: places.reduce(factor) { $1.0 == nil ? $0 * $1.1 : $0 },
                    axes: places.compactMap(\.0)))
        }
        let stream = try add(.stream, width) {
            let step = max(1, min(c.hiddenSize / 32, 12))
            let sizes = stride(from: (c.hiddenSize + 1) / 2, through: c.hiddenSize, by: step)
            let candidates = Self.reaching(c.hiddenSize, Array(sizes)).map { BiMask.Width(size: $0) }
            return Axis(
                name: "stream", kind: .stream,
                mask: try BiMask(.init(size: c.hiddenSize), candidates: candidates, using: &generator),
                producers: [],
                remove: { kept in
                    try network.keepStream(kept[0].units)
                    reconstruction?.keep(kept[0].units)
                })
        }
        cost(Double(c.patchCount * c.channels * c.patchSize * c.patchSize), (stream, width))
        for (index, block) in network.blocks.enumerated() {
            guard case .dense(let part) = block.mixer, part.gate == nil else {
                throw LacunaError.unsupported(file: nil, what: "a search of widths of gated parts and experts")
            }
            let (attention, g) = (block.attention, block.attention.geometry)
            let heads = try add(.heads, Double(g.headCount * g.headSize)) {
                let sizes = Self.sizes(g.headSize, least: 0.25, steps: 8)
                let counts = Self.reaching(g.headCount, Array(stride(from: 2, through: g.headCount, by: 2)))
                return Axis(
                    name: "blocks.\(index).heads", kind: .heads,
                    mask: try BiMask(
                        .init(groups: g.headCount, size: g.headSize),
                        candidates: counts.flatMap { n in sizes.map { BiMask.Width(groups: n, size: $0) } },
                        using: &generator),
                    producers: [attention.query, attention.key, attention.value],
                    remove: { kept in try attention.keep(kept.map { (head: $0.group, entries: $0.units) }) })
            }
            let inner = Double(part.up.outputDimensions)
            let neurons = try add(.neurons, inner) {
                Axis(
                    name: "blocks.\(index).neurons", kind: .neurons,
                    mask: try Self.mask(part.up.outputDimensions, least: 0.25, steps: 8, using: &generator),
                    producers: [part.up], remove: { Self.remove($0, [part.up], part.down) })
            }
            let mixed = Double(g.headCount * g.headSize)
            cost(4 * tokens, (stream, width), (heads, mixed))
            cost(2 * tokens * tokens, (heads, mixed))
            cost(2 * tokens, (stream, width), (neurons, inner))
        }
        for classifier in [network.classifier, network.teacherClassifier].compactMap(\.self) {
            cost(Double(classifier.outputDimensions), (stream, width))
        }
        (self.axes, self.costs, self.widths) = (axes, costs, widths)
        wrap()
        let mask = stream.map { axes[$0].mask }
        if mask != nil || reconstruction != nil {
            network.embedding = { [unowned network] x in
                let hidden = reconstruction.map { $0.hide(x, network.configuration) } ?? x
                return mask.map { hidden.multipliedByRow($0.multiplier(on: x.tape)) } ?? hidden
            }
        }
    }

    private static func requireWhole(_ network: any Module) throws {
        for (name, layer) in network.linears where layer.dense == nil || !layer.isWhole {
            throw LacunaError.unsupported(
                file: nil, what: "a search of widths of \(layer.weight.storage) weights ('\(name)')")
        }
    }

    private static func sizes(_ width: Int, least: Double, steps: Int) -> [Int] {
        let step = max(1, width / steps)
        return reaching(width, Array(stride(from: max(1, Int(least * Double(width))), through: width, by: step)))
    }

    /// Sizes in steps, and the whole, which steps may miss.
    private static func reaching(_ whole: Int, _ sizes: [Int]) -> [Int] {
        sizes.last == whole ? sizes : sizes + [whole]
    }

    private static func mask(
        _ width: Int, least: Double, steps: Int, using generator: inout SeededGenerator
    ) throws -> BiMask {
        guard least > 0, least <= 1 else {
            throw LacunaError.invalidArgument("least", reason: "\(least) is not above 0 and at most 1")
        }
        return try BiMask(
            .init(size: width), candidates: sizes(width, least: least, steps: steps).map { .init(size: $0) },
            using: &generator)
    }

    private static func remove(_ kept: BiMask.Kept, _ makers: [Linear], _ reader: Linear) {
        for maker in makers {
            maker.dense!.parameter.keep(kept[0].units, along: 0)
            maker.bias?.keep(kept[0].units, along: 0)
        }
        reader.dense!.parameter.keep(kept[0].units, along: 1)
    }

    public var parts: [(name: String, part: Any)] {
        [("", network)] + axes.map { ("search.\($0.name)", $0.mask) }
            + (reconstruction.map { [("reconstruction", $0)] } ?? [])
    }
    public var outputLayer: Linear? { network.outputLayer }
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { network(x) }

    /// The loss of a batch: the cross-entropy, or with a teacher a mixture of it and the divergence from the teacher's predictions; and where
    /// patches are hidden the error of what is said of them, scaled to be as large.
    ///
    /// - Parameters:
    ///   - share: Of the teacher, 0...1.
    ///   - temperature: Of the divergence.
    public func loss(
        _ batch: (inputs: Tensor<Float>, labels: [Int32]), on tape: Tape<Float>, teacher: (any UnaryLayer)? = nil,
        share: Double = 0.5, temperature: Float = 1
    ) -> Variable<Float> {
        let images = tape.constant(batch.inputs)
        var (logits, error): (Variable<Float>, Variable<Float>?)
        if let reconstruction, let vit = network as? TrainableViT {
            let (c, states) = (vit.configuration, vit.hiddenStates(images))
            logits = vit.logits(of: states)
            error = reconstruction.error(states, batch.inputs, c)
        } else {
            (logits, error) = (network(images), nil)
        }
        var task = Loss.crossEntropy(logits, labels: batch.labels)
        if let teacher {
            let taught = tape.evaluating { teacher(tape.constant(batch.inputs)) }
            task =
                task.affine(Float(1 - share))
                + Loss.distillation(student: logits, teacher: taught, temperature: temperature).affine(Float(share))
        }
        guard let error, error.item > 0 else { return task }
        return task + error.affine(task.item / error.item)
    }

    // MARK: Cost

    /// Multiply-adds of one input to be expected, on the tape, [1, 1].
    func expectedCost(on tape: Tape<Float>) -> Variable<Float> {
        let counts = axes.map { $0.mask.expectedCount(on: tape) }
        let terms = costs.map { cost -> Variable<Float> in
            let factor = tape.constant(Tensor([Float(cost.factor / denseMultiplyAdds)], shape: [1, 1]))
            return cost.axes.reduce(factor) { $0 * counts[$1] }
        }
        return terms.dropFirst().reduce(terms[0], +)
    }

    /// Multiply-adds of one input to be expected of the widths as they stand.
    public var expectedMultiplyAdds: Double {
        let counts = axes.map(\.mask.expectedCount)
        return costs.reduce(0) { $0 + $1.axes.reduce($1.factor) { $0 * counts[$1] } }
    }

    /// Multiply-adds of one input before anything was removed.
    public var denseMultiplyAdds: Double { costs.reduce(0) { $0 + $1.axes.reduce($1.factor) { $0 * widths[$1] } } }

    // MARK: Shrinking

    /// Whether all widths are chosen.
    public var isDecided: Bool { axes.allSatisfy { $0.mask.decided != nil } }

    private func wrap() {
        for axis in axes { for layer in axis.producers { layer.weight = GatedWeight(layer.weight, axis.mask) } }
    }

    private func unwrap() {
        for axis in axes {
            for layer in axis.producers { if let gated = layer.weight as? GatedWeight { layer.weight = gated.base } }
        }
    }

    /// Lets every axis change, and takes out of the network what it no longer keeps.
    ///
    /// - Returns: How many axes lost units.
    @discardableResult
    func shrink(_ change: (BiMask) -> BiMask.Kept?) throws -> Int {
        unwrap()
        defer { wrap() }
        var changed = 0
        for axis in axes {
            guard let kept = change(axis.mask) else { continue }
            try axis.remove(kept)
            changed += 1
        }
        return changed
    }

    /// Takes for every axis the width with the largest share, and removes the other units.
    ///
    /// - Throws: As ``TrainableViT/keepStream(_:)``.
    public func decideWidths() throws { try shrink { $0.decide() } }

    /// Puts the multipliers into the weights: the network computes without masks what it computed with them.
    ///
    /// - Throws: `LacunaError.invalidArgument` as long as a width is not chosen.
    public func fuse() throws {
        if let open = axes.first(where: { $0.mask.decided == nil }) {
            throw LacunaError.invalidArgument("search", reason: "'\(open.name)' has no width yet")
        }
        unwrap()
        for axis in axes {
            let factors = Tensor(axis.mask.decided!)
            let n = factors.count
            for layer in axis.producers {
                layer.dense!.parameter.value = layer.dense!.parameter.value * factors.reshaped([n, 1])
                if let bias = layer.bias { bias.value = bias.value * factors }
            }
            if axis.kind == .stream, let vit = network as? TrainableViT {
                vit.kernel.value = vit.kernel.value * factors.reshaped([n, 1, 1, 1])
                vit.kernelBias.value = vit.kernelBias.value * factors
                for parameter in vit.specialTokens + [vit.positions] {
                    parameter.value = parameter.value * factors.reshaped([1, 1, n])
                }
                if let token = reconstruction?.token { token.value = token.value * factors }
            }
            axis.mask.dissolve()
        }
        (network as? TrainableViT)?.embedding = nil
    }
}
