import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A way to train a network that is sparse, at the end or all along.
public protocol TrainingMethod: TrainingHook {
    /// What the method is.
    var card: MethodCard { get }
    /// What changes the parameters in a run of this method: the optimiser that was asked for, unless the method lies in the
    /// optimiser's step.
    ///
    /// - Throws: `LacunaError.invalidArgument` for an optimiser that the method cannot work in.
    func optimizer(_ base: any Optimizer) throws -> any Optimizer
}

extension TrainingMethod {
    public func optimizer(_ base: any Optimizer) throws -> any Optimizer { base }
}

/// Which linear layers of a model a method makes sparse.
public enum LayerChoice: Sendable, Hashable {
    /// Every linear layer, convolutions included.
    case all
    /// All but the one that gives the output (``Module/outputLayer``): classifiers and heads stay dense.
    case allButOutput
    /// Those whose paths match one of these.
    case matching([NamePattern])

    /// Names as a configuration gives them, separated by commas: `all`, `all-but-output`, or patterns (``NamePattern``); one
    /// without `*` and `?` stands for all paths that begin with it.
    public init(_ text: String) {
        switch text {
        case "all": self = .all
        case "all-but-output": self = .allButOutput
        default:
            self = .matching(
                text.split(separator: ",").map { part in
                    let name = part.drop { $0 == " " }
                    return NamePattern(name.contains { $0 == "*" || $0 == "?" } ? String(name) : name + "*")
                })
        }
    }

    /// The chosen layers with their paths, in order.
    ///
    /// - Throws: `LacunaError.invalidArgument` if none is chosen, or a pattern matches none.
    public func layers(of model: any Module) throws -> [(name: String, layer: Linear)] {
        let all = model.linears
        let chosen: [(name: String, layer: Linear)]
        switch self {
        case .all: chosen = all
        case .allButOutput:
            let output = model.outputLayer
            chosen = all.filter { $0.layer !== output }
        case .matching(let patterns):
            // Each one by itself: a misspelt name must not leave a layer out without a word.
            for pattern in patterns where !all.contains(where: { pattern.matches($0.name) }) {
                throw LacunaError.invalidArgument("layers", reason: "'\(pattern)' matches no linear layer of the model")
            }
            chosen = all.filter { entry in patterns.contains { $0.matches(entry.name) } }
        }
        if chosen.isEmpty {
            throw LacunaError.invalidArgument("layers", reason: "no linear layer of the model is chosen")
        }
        return chosen
    }
}

extension Module {
    /// The shapes of all linear layers' weights: [outputs, inputs], and of convolutions [outputs, channels, height, width].
    var weightShapes: [ObjectIdentifier: [Int]] {
        var shapes: [ObjectIdentifier: [Int]] = [:]
        forEachModule { _, module in
            if let layer = module as? Linear, shapes[ObjectIdentifier(layer)] == nil {
                shapes[ObjectIdentifier(layer)] = [layer.outputDimensions, layer.inputDimensions]
            }
            if let layer = module as? SparseConv2d {
                let side = layer.kernelSize
                shapes[ObjectIdentifier(layer.product)] =
                    [layer.product.outputDimensions, layer.inputChannels, side, side]
            }
            if let layer = module as? DepthwiseConv2d {
                shapes[ObjectIdentifier(layer.product)] = [layer.channels, 1, layer.kernelSize, layer.kernelSize]
            }
        }
        return shapes
    }
}

/// Access to a sparse layer's mask and stored values, whether it is masked or stored as CSR.
///
/// Values are listed in the order of the mask: row by row, kept columns ascending.
struct SparseLayerState {
    let layer: Linear
    let name: String

    /// - Throws: `LacunaError.unsupported` for storage that has no pattern to change.
    init(_ name: String, _ layer: Linear) throws {
        guard layer.weight is CSRWeight || layer.dense != nil else {
            throw LacunaError.unsupported(
                file: nil, what: "changing the pattern of \(layer.weight.storage) weights ('\(name)')")
        }
        self.layer = layer
        self.name = name
    }

    var mask: SparsePattern {
        if let csr = layer.weight as? CSRWeight { return csr.pattern }
        return layer.dense!.mask
            ?? SparsePattern(rows: layer.outputDimensions, columns: layer.inputDimensions, keepingAll: true)
    }

    /// The kept values.
    func values(_ mask: SparsePattern) -> [Float] {
        if let csr = layer.weight as? CSRWeight { return csr.values.value.scalars }
        return kept(of: layer.dense!.parameter.value, mask)
    }

    /// The gradient of every entry [rows, columns], kept or not; nil if it was not asked for or nothing reached it.
    var denseGradient: Tensor<Float>? {
        if let csr = layer.weight as? CSRWeight { return csr.denseGradient }
        return layer.dense!.parameter.gradient
    }

    func kept(of matrix: Tensor<Float>, _ mask: SparsePattern) -> [Float] {
        var result: [Float] = []
        matrix.withPointer { p in
            for r in 0..<mask.rows { mask.forEachKeptColumn(row: r) { result.append(p[r * mask.columns + $0]) } }
        }
        return result
    }

    /// Changes the mask: entries of both keep their values and state, new ones start at `fill`.
    func move(to mask: SparsePattern, from old: SparsePattern, fill: (_ row: Int, _ column: Int) -> Float) {
        if let csr = layer.weight as? CSRWeight { return csr.move(to: mask, fill: fill) }
        let weight = layer.dense!
        weight.mask = mask
        let columns = mask.columns
        let grown = mask.subtracting(old)
        for r in 0..<mask.rows {
            grown.forEachKeptColumn(row: r) { weight.parameter.buffer.pointer[r * columns + $0] = fill(r, $0) }
        }
    }
}

extension SparsePattern {
    /// Exactly `count` entries, every set equally likely.
    ///
    /// - Throws: `LacunaError.invalidArgument` for more entries than there are.
    public init(rows: Int, columns: Int, keepingRandom count: Int, using generator: inout SeededGenerator) throws {
        guard count >= 0 && count <= rows * columns else {
            throw LacunaError.invalidArgument("count", reason: "\(count) of \(rows) x \(columns) entries")
        }
        self = try Selection.mask(
            scores: RandomScore(seed: generator.next()).scores(weight: Tensor(zeros: [rows, columns])),
            pattern: .unstructured(.layer), amount: .count(count))
    }
}

extension TrainingMethod {
    /// Stops a run whose scores have grown beyond all numbers: they would no longer say which entries stay, while the loss may not show
    /// it.
    ///
    /// - Throws: `LacunaError.numerical`.
    static func requireFinite(_ scores: [Parameter<Float>]) throws {
        guard scores.allSatisfy({ $0.buffer.elements.allSatisfy(\.isFinite) }) else {
            throw LacunaError.numerical(
                operation: "training scores", reason: "one is not finite: a smaller learning rate may help")
        }
    }
}

extension Pattern {
    /// - Throws: `LacunaError.invalidArgument` for a pattern of all layers together.
    func requireLayers() throws {
        guard !isGlobal else {
            throw LacunaError.invalidArgument("pattern", reason: "\(self): each layer is pruned by itself here")
        }
    }

    /// What is removed of each layer by itself, 0...1; nil where the pattern says it.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a pattern that is none or of all layers together, and for a sparsity that is missing,
    ///   out of range or in contradiction to the pattern.
    func sparsityOfEachLayer(_ sparsity: Double?) throws -> Double? {
        try validate()
        try requireLayers()
        if let implied = impliedSparsity {
            guard sparsity.map({ abs($0 - implied) < 1e-9 }) ?? true else {
                throw LacunaError.invalidArgument("sparsity", reason: "the pattern \(self) removes \(implied)")
            }
            return nil
        }
        guard let sparsity else { throw LacunaError.invalidArgument("sparsity", reason: "is missing") }
        guard (0...1).contains(sparsity) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) is not in 0...1")
        }
        return sparsity
    }
}
