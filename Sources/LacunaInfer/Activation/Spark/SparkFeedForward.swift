import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Sizes of a ``SparkFeedForward``.
public struct SparkSettings: Sendable, Hashable {
    /// Entries of an input and of an output.
    public var width: Int
    /// Neurons.
    public var neurons: Int
    /// r: the first entries of an input, by which neurons are chosen.
    public var predicted: Int
    /// Of the neurons, about the share that an input activates, in `0 < … <= 1`; 1 for all.
    public var density: Double
    /// What survivors go through, `activation(x - θ)`; one that is 0 at 0.
    public var activation: Activation

    /// A part that activates 8 % by four ninths of its inputs, as the authors' does.
    ///
    /// - Parameter predicted: nil for four ninths of the width.
    public init(
        width: Int, neurons: Int, predicted: Int? = nil, density: Double = 0.08, activation: Activation = .gelu
    ) {
        (self.width, self.neurons, self.density, self.activation) = (width, neurons, density, activation)
        self.predicted = predicted ?? width * 4 / 9
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for sizes or a density out of range, and for an activation that is not 0 at 0.
    public func validate() throws {
        guard width >= 2, neurons >= 1, predicted >= 1, predicted < width, density > 0, density <= 1 else {
            throw LacunaError.invalidArgument(
                "spark", reason: "\(neurons) neurons, \(predicted) of \(width) inputs, a density of \(density)")
        }
        guard [.relu, .gelu, .geluExact, .silu].contains(activation) else {
            throw LacunaError.invalidArgument(
                "spark", reason: "'\(activation.rawValue)' is none of relu, gelu, geluExact, silu")
        }
    }

    /// Multiply-adds of one input with k active neurons: `r · neurons + (width - r) k + width k`.
    public func multiplyAdds(active k: Int) -> Int { predicted * neurons + (width - predicted) * k + width * k }
}

/// A feed-forward part that is sparse from the first step of training on: the first r entries of an input say which neurons are active
/// and how much, the others what these are multiplied by,
/// `y = V [ f(max(u - θ, 0)) · K2ᵀ x[r…] ]`, `u = K1ᵀ x[..<r]`, θ the ``StatisticalTopK`` of u. Rows of K2ᵀ and columns of V are read
/// for active neurons alone, and what predicts them is a part of the network rather than another one beside it.
///
/// Chong You and others, "Spark Transformer: Reactivating Sparsity in FFN and Attention", arXiv 2506.06644: Spark-FFN. Their attention,
/// which has to be trained in the same way, is not here; ``ActivationMethod/spark`` is the selection alone, for networks that are
/// loaded.
public final class SparkFeedForward: TrainableRowMixer {
    /// Sizes.
    public let settings: SparkSettings
    /// K1ᵀ [neurons, r].
    public let predictor: Linear
    /// K2ᵀ [neurons, width - r].
    public let up: Linear
    /// V [width, neurons].
    public let down: Linear
    /// Sees what ``down`` is about to read, [n, neurons]; nil for no one.
    public var watch: ((Variable<Float>) -> Void)?
    private let selection: StatisticalTopK

    /// Random weights.
    ///
    /// - Throws: As ``SparkSettings/validate()``.
    public init(
        _ settings: SparkSettings, initialization: Initialization = .uniform, using generator: inout SeededGenerator
    ) throws {
        try settings.validate()
        self.settings = settings
        selection = try StatisticalTopK(density: settings.density)
        func linear(_ inputs: Int, _ outputs: Int) -> Linear {
            Linear(
                inputDimensions: inputs, outputDimensions: outputs, bias: false, initialization: initialization,
                using: &generator)
        }
        predictor = linear(settings.predicted, settings.neurons)
        up = linear(settings.width - settings.predicted, settings.neurons)
        down = linear(settings.neurons, settings.width)
    }

    public var parts: [(name: String, part: Any)] {
        [("predictor", predictor), ("up_proj", up), ("down_proj", down)]
    }

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let r = settings.predicted
        let chosen = predictor(x.sliced(columns: 0..<r)).softTopK(selection).map(settings.activation)
        let hidden = chosen * up(x.sliced(columns: r..<settings.width))
        watch?(hidden)
        return down(hidden)
    }

    /// - Throws: As ``TrainableRowMixer/stored(_:)``, and as ``GatedStores/turned(_:name:)`` for values that cannot be read input by input.
    public func stored(_ values: ValueType) throws -> ChannelMixer { .custom(try SparkLayer(self, values)) }
}

/// A ``SparkFeedForward`` to be run: a few rows at a time read the weights of their active neurons alone.
public struct SparkLayer: RowMixer {
    /// Sizes.
    public let settings: SparkSettings
    private let predictor, up: any StoredMatrix
    private let down: any GatedMatrix
    private let selection: StatisticalTopK

    /// Up to this many rows go one by one; more together need nearly all neurons.
    private static let skippingRows = 4

    init(_ part: SparkFeedForward, _ values: ValueType) throws {
        settings = part.settings
        selection = try StatisticalTopK(density: settings.density)
        predictor = try part.predictor.weight.stored(values)
        up = try part.up.weight.stored(values)
        down = try GatedStores.turned(part.down.weight.stored(values), name: "down_proj")
    }

    public var inputs: Int { settings.width }
    public var outputs: Int { settings.width }
    public var byteCount: Int { predictor.byteCount + up.byteCount + down.byteCount }
    /// All of them: any neuron may be active.
    public var bytesTouchedPerVector: Int { byteCount }
    public var weightCount: Int { 2 * settings.width * settings.neurons }

    /// The neurons that an input activates, ascending.
    ///
    /// - Precondition: It has as many entries as the part has inputs.
    public func active(_ x: [Float]) -> [Int] {
        require(x.count == settings.width, "\(x.count) entries for \(settings.width) inputs")
        var u = [Float](repeating: 0, count: settings.neurons)
        x.withUnsafeBufferPointer { x in
            u.withUnsafeMutableBufferPointer { Product.gemv([(predictor, $0.baseAddress!)], x: x.baseAddress!) }
        }
        return u.withUnsafeBufferPointer { chosen($0.baseAddress!).places.map { Int($0) } }
    }

    /// Bytes that an input with so many active neurons reads.
    public func bytesRead(active count: Int) -> Int {
        predictor.byteCount + (up.byteCount + down.byteCount) * count / settings.neurons
    }

    /// The neurons above θ of `u` [neurons], and θ; with a density of 1 all of them, moved by nothing.
    private func chosen(_ u: UnsafePointer<Float>) -> (places: [UInt32], limit: Float) {
        let neurons = settings.neurons
        let limit = selection.threshold(u, count: neurons)
        if limit == -.infinity { return ((0..<UInt32(neurons)).map { $0 }, 0) }
        return ((0..<UInt32(neurons)).filter { u[Int($0)] > limit }, limit)
    }

    public func apply(
        _ x: UnsafePointer<Float>, count: Int, layer: Int, into y: UnsafeMutablePointer<Float>
    ) throws {
        let (width, neurons, r) = (settings.width, settings.neurons, settings.predicted)
        let rest = width - r
        let isSkipping = count <= Self.skippingRows
        let memory = Buffer<Float>(uninitialized: max(1, count * (width + 2 * neurons) + neurons))
        let (heads, tails) = (memory.pointer, memory.pointer + count * r)
        let (scores, ups) = (memory.pointer + count * width, memory.pointer + count * (width + neurons))
        let gates = memory.pointer + count * (width + 2 * neurons)
        for row in 0..<count {
            (heads + row * r).update(from: x + row * width, count: r)
            (tails + row * rest).update(from: x + row * width + r, count: rest)
        }
        if isSkipping {
            for row in 0..<count { Product.gemv([(predictor, scores + row * neurons)], x: heads + row * r) }
        } else {
            Product.gemm(predictor, heads, count: count, into: scores)
            Product.gemm(up, tails, count: count, into: ups)
        }
        for row in 0..<count {
            let (u, values) = (scores + row * neurons, ups + row * neurons)
            let (places, limit) = chosen(u)
            places.withUnsafeBufferPointer { active in
                for (i, place) in active.enumerated() { gates[i] = u[Int(place)] - limit }
                settings.activation.apply(gates, into: gates, count: active.count)
                if isSkipping { Product.gemv(up, x: tails + row * rest, activeRows: active, into: values) }
                u.update(repeating: 0, count: neurons)
                for (i, place) in active.enumerated() { u[Int(place)] = gates[i] * values[Int(place)] }
                if isSkipping { down.multiply(u, activeInputs: active, into: y + row * width) }
            }
        }
        if !isSkipping { Product.gemm(down, scores, count: count, into: y) }
    }
}
