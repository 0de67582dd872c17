import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Sub-networks of several tasks in one set of weights: a backbone of values, a mask for every task, and for every task its own
/// biases and norms.
///
/// Memory is one array of values and one bit a weight and task. While a task is learned its sub-network is in the layers of
/// ``network``, under masks; ``merge(task:)`` puts it into the backbone, of which it changes only what no earlier task
/// uses. The outputs of earlier tasks are therefore, bit for bit, what they were.
public final class SubnetworkBank: StatefulModule {
    /// The network whose layers hold the sub-network at work.
    public let network: any UnaryLayer
    private let layers: [Linear]
    /// [outputs, inputs] of each layer with masks: at first what the network began with.
    private let backbone: [Parameter<Float>]
    /// The network's other parameters: biases, norms, layers without masks.
    private let others: [Parameter<Float>]
    /// Their values for each task, at first what the network began with.
    private let own: [[Parameter<Float>]]
    /// By task that was learned, of each layer.
    public private(set) var masks: [[SparsePattern]] = []

    /// - Throws: `LacunaError.unsupported` for chosen layers whose weights are not dense, `.invalidArgument` if none is
    ///   chosen.
    public init(_ network: any UnaryLayer, layers choice: LayerChoice, tasks: Int) throws {
        let chosen = try choice.layers(of: network)
        for (name, layer) in chosen where layer.dense == nil || layer.dense?.mask != nil || layer.dense?.view != nil {
            throw LacunaError.unsupported(
                file: nil, what: "sub-networks of \(layer.weight.storage) weights ('\(name)')")
        }
        func copy(_ parameter: Parameter<Float>) -> Parameter<Float> {
            Parameter(parameter.value, isTrainable: false, decays: false)
        }
        self.network = network
        layers = chosen.map(\.layer)
        backbone = layers.map { copy($0.dense!.parameter) }
        let masked = Set(layers.map { ObjectIdentifier($0.dense!.parameter) })
        others = network.parameters.filter { !masked.contains(ObjectIdentifier($0)) }
        let rest = others
        own = (0..<tasks).map { _ in rest.map(copy) }
    }

    public var parts: [(name: String, part: Any)] {
        [("", network), ("backbone", backbone)] + own.enumerated().map { ("own.\($0)", $1) }
    }
    public var outputLayer: Linear? { network.outputLayer }

    /// What any of the tasks learned uses, of each layer.
    public var used: [SparsePattern] {
        layers.indices.map { index in
            masks.reduce(SparsePattern(rows: layers[index].outputDimensions, columns: layers[index].inputDimensions)) {
                $0.union($1[index])
            }
        }
    }

    /// The share of the weights that any task learned uses.
    public var usedShare: Double {
        let total = layers.reduce(0) { $0 + $1.outputDimensions * $1.inputDimensions }
        return Double(used.reduce(0) { $0 + $1.count }) / Double(max(total, 1))
    }

    /// Puts the whole backbone, without masks, and the task's own parameters into the network.
    func open(task: Int) {
        for (layer, values) in zip(layers, backbone) { layer.weight = DenseWeight(values.value) }
        exchangeOthers(with: own[task].map(\.value))
    }

    /// Where the weights are, row · inputs + column, that earlier tasks use, of each layer.
    func usedPlaces() -> [[Int32]] {
        used.map { pattern in
            var places: [Int32] = []
            pattern.forEachEntry { _, row, column in places.append(Int32(row * pattern.columns + column)) }
            return places
        }
    }

    /// Gives the weights that earlier tasks use, as far as the present masks have them, the backbone's values again, and
    /// optimisers nothing to remember of them.
    func hold(_ places: [[Int32]]) {
        for (index, layer) in layers.enumerated() where !places[index].isEmpty {
            guard let parameter = layer.dense?.parameter else { continue }
            let (w, b, mask) = (parameter.buffer.pointer, backbone[index].buffer.pointer, parameter.mask?.pointer)
            for place in places[index] {
                let i = Int(place)
                w[i] = mask.map { $0[i] != 0 } ?? true ? b[i] : 0
            }
            for (name, slot) in parameter.slots {
                // An average of the values, should there be one, is the value.
                let (s, isAverage) = (slot.pointer, name == "average")
                for place in places[index] { s[Int(place)] = isAverage ? w[Int(place)] : 0 }
            }
            parameter.noteChange()
        }
    }

    /// Makes the gradients of the weights that earlier tasks use 0.
    func gate(_ places: [[Int32]]) {
        for (index, layer) in layers.enumerated() {
            guard let parameter = layer.dense?.parameter, parameter.hasGradient else { continue }
            let g = parameter.gradientPointer
            for place in places[index] { g[Int(place)] = 0 }
        }
    }

    /// Keeps the sub-network in the layers as that of a task, which is the next one or the last one again.
    func merge(task: Int) {
        require(task <= masks.count, "task \(task) before \(masks.count)")
        masks.removeSubrange(task...)
        let earlier = used
        let found = layers.map { layer in
            layer.dense?.mask
                ?? SparsePattern(rows: layer.outputDimensions, columns: layer.inputDimensions, keepingAll: true)
        }
        for (index, layer) in layers.enumerated() {
            let (w, b) = (layer.dense!.parameter.buffer.pointer, backbone[index].buffer.pointer)
            found[index].subtracting(earlier[index]).forEachEntry { _, row, column in
                let i = row * layer.inputDimensions + column
                b[i] = w[i]
            }
        }
        masks.append(found)
        for (kept, parameter) in zip(own[task], others) { kept.value = parameter.value }
    }

    /// Runs `body` with the sub-network of a task in the network; with what is in it for a task that is not yet learned.
    public func withTask<Result>(_ task: Int, _ body: (any UnaryLayer) throws -> Result) rethrows -> Result {
        guard task < masks.count else { return try body(network) }
        let weights = layers.map(\.weight)
        for (index, layer) in layers.enumerated() {
            let weight = DenseWeight(backbone[index].value)
            weight.mask = masks[task][index]
            layer.weight = weight
        }
        let values = exchangeOthers(with: own[task].map(\.value))
        defer {
            for (layer, weight) in zip(layers, weights) { layer.weight = weight }
            exchangeOthers(with: values)
        }
        return try body(network)
    }

    /// Gives the other parameters values, and returns those that they had.
    @discardableResult
    private func exchangeOthers(with values: [Tensor<Float>]) -> [Tensor<Float>] {
        let old = others.map(\.value)
        for (parameter, value) in zip(others, values) { parameter.value = value }
        return old
    }

    public var integerState: [(name: String, values: [Int32])] {
        [("masks", masks.flatMap { task in task.flatMap { IntegerCoding.integers($0.packedWords) } })]
    }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        let bad = LacunaError.malformed(file: file, location: "masks", reason: "are not those of the network's tasks")
        let halves = integerState["masks"] ?? []
        guard halves.count % 2 == 0 else { throw bad }
        var words = IntegerCoding.words(halves)[...]
        var found: [[SparsePattern]] = []
        while !words.isEmpty {
            found.append(
                try layers.map { layer in
                    let count = (layer.inputDimensions + 63) / 64 * layer.outputDimensions
                    guard words.count >= count,
                        let mask = try? SparsePattern(
                            rows: layer.outputDimensions, columns: layer.inputDimensions,
                            packedWords: Array(words.prefix(count)))
                    else { throw bad }
                    words = words.dropFirst(count)
                    return mask
                })
        }
        guard found.count <= own.count else { throw bad }
        masks = found
    }
}

/// Numbers as the whole numbers that files of networks keep beside tensors.
enum IntegerCoding {
    /// Two for each word, the low half first.
    static func integers(_ words: [UInt64]) -> [Int32] {
        words.flatMap { [Int32(truncatingIfNeeded: $0), Int32(truncatingIfNeeded: $0 >> 32)] }
    }

    /// The words of ``integers(_:)``; a last half without its other is lost.
    static func words(_ integers: [Int32]) -> [UInt64] {
        (0..<integers.count / 2).map {
            UInt64(UInt32(bitPattern: integers[2 * $0])) | UInt64(UInt32(bitPattern: integers[2 * $0 + 1])) << 32
        }
    }

    /// The bits of numbers.
    static func integers(_ numbers: [Double]) -> [Int32] { integers(numbers.map(\.bitPattern)) }
    /// The numbers of such bits.
    static func numbers(_ integers: [Int32]) -> [Double] { words(integers).map { Double(bitPattern: $0) } }
    /// The bits of numbers.
    static func integers(_ numbers: [Float]) -> [Int32] { numbers.map { Int32(bitPattern: $0.bitPattern) } }
    /// The numbers of such bits.
    static func floats(_ integers: some Collection<Int32>) -> [Float] {
        integers.map { Float(bitPattern: UInt32(bitPattern: $0)) }
    }
}
