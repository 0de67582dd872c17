import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// N:M training from scratch: a straight-through estimator with a pull on what is masked.
///
/// Every step keeps the N largest of M magnitudes, computes with those alone, sends the gradient `g` to all weights, and
/// adds `λ w` to the gradient of the masked ones: `W <- W - rate (g + λ (1 - E) W)`. Masked weights can return; the pull
/// keeps them from flipping in and out.
///
/// Aojun Zhou and others, "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch", arXiv 2102.04010.
/// λ is theirs for SGD, where the term enters the momentum. Adam would divide it by the size of the gradients: decoupled, it
/// bypasses the moments, `W <- W - rate λ (1 - E) W`, and is of the size of a weight decay. λ 0 is the plain straight-through
/// estimator.
public final class SRSTE: TrainingMethod {
    /// What every forward pass keeps; one that fixes its sparsity, such as 2:4.
    public let pattern: Pattern
    /// λ, 0 or more.
    public let decay: Float
    /// Whether the pull bypasses the optimiser instead of being part of the gradient.
    public let isDecoupled: Bool
    /// The layers with sparse products. Their weights are dense and without masks.
    public let layers: LayerChoice
    private let views = StraightThroughLayers()
    private var last: [SparsePattern] = []
    /// Mean over the weights of how often the mask changed between looks: the authors' sparse architecture divergence,
    /// summed over the run.
    public private(set) var divergence = 0.0
    /// Steps between looks.
    public let divergenceInterval: Int

    /// - Throws: `LacunaError.invalidArgument` unless the pattern is N:M and λ finite and not negative.
    public init(
        pattern: Pattern, decay: Double = 2e-4, isDecoupled: Bool = false, layers: LayerChoice = .allButOutput,
        divergenceInterval: Int = 50
    ) throws {
        try pattern.validate()
        guard pattern.impliedSparsity != nil else {
            throw LacunaError.invalidArgument("pattern", reason: "\(pattern) is not N:M")
        }
        guard decay >= 0, decay.isFinite else {
            throw LacunaError.invalidArgument("decay", reason: "\(decay) is negative or not finite")
        }
        guard divergenceInterval >= 1 else {
            throw LacunaError.invalidArgument("interval", reason: "\(divergenceInterval) is not positive")
        }
        self.pattern = pattern
        self.decay = Float(decay)
        self.isDecoupled = isDecoupled
        self.layers = layers
        self.divergenceInterval = divergenceInterval
    }

    public var card: MethodCard {
        MethodCard(
            name: "sr-ste", family: .sparseTraining,
            paper: .init(
                authors:
                    "Aojun Zhou, Yukun Ma, Junnan Zhu, Jianbo Liu, Zhijie Zhang, Kun Yuan, Wenxiu Sun, Hongsheng Li",
                title: "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch",
                arXiv: "2102.04010"),
            composition: ["|w|", "N:M", "straight-through with masked decay"],
            implements: [
                "straight-through estimator with masked decay, in the gradient or decoupled",
                "steadiness of the mask (SAD)",
                "groups along inputs of linear layers",
            ],
            leavesOut: [
                "groups along the channels of convolutions: they run along channel and kernel",
                "products that skip what is masked",
            ])
    }

    public func begin(_ run: TrainingRun) throws { (last, divergence) = ([], 0) }

    public func attach(_ run: TrainingRun) throws {
        try views.attach(layers, of: run.model, pattern)
        if !last.isEmpty { try MaskCoding.requireFit(last, views.layers.map(\.weight.parameter.shape)) }
    }

    public func gradientsReady(_ run: TrainingRun) throws {
        if !isDecoupled { views.pull(Double(decay)) }
    }

    public func afterStep(_ run: TrainingRun) throws {
        for (_, weight, view) in views.layers where isDecoupled && decay > 0 {
            guard let mask = view.mask else { continue }
            let parameter = weight.parameter
            let pull = -run.optimizer.learningRate * parameter.rateFactor * Double(decay)
            mask.addRemoved(
                of: UnsafePointer(parameter.buffer.pointer), times: pull, to: parameter.buffer.pointer)
            parameter.noteChange()
        }
        guard run.step % divergenceInterval == 0 else { return }
        let masks = try views.layers.map { try StraightThroughView.mask($0.weight.parameter.value, pattern) }
        if last.count == masks.count {
            let changed = zip(last, masks).reduce(0) { sum, pair in
                sum + pair.0.subtracting(pair.1).count + pair.1.subtracting(pair.0).count
            }
            divergence += Double(changed) / Double(max(masks.reduce(0) { $0 + $1.rows * $1.columns }, 1))
        }
        last = masks
    }

    public func end(_ run: TrainingRun) throws { try views.finish() }

    public var state: JSONValue {
        ["divergence": .number(divergence), "masks": .array(last.map { MaskCoding.json($0) })]
    }

    public func restore(_ state: JSONValue) throws {
        guard let sum = state["divergence"]?.doubleValue, let masks = state["masks"] else {
            throw LacunaError.malformed(file: "checkpoint", location: "sr-ste", reason: "has no divergence or no masks")
        }
        (divergence, last) = (sum, try MaskCoding.masks(masks))
    }
}

/// Masks in the state of hooks.
enum MaskCoding {
    static func json(_ mask: SparsePattern) -> JSONValue {
        [
            "rows": JSONValue(mask.rows), "columns": JSONValue(mask.columns),
            "words": .array(mask.packedWords.map { .integer(Int64(bitPattern: $0)) }),
        ]
    }

    static func mask(_ value: JSONValue) throws -> SparsePattern {
        let bad = LacunaError.malformed(file: "checkpoint", location: "mask", reason: "is not one")
        guard let rows = value["rows"]?.intValue, let columns = value["columns"]?.intValue, rows >= 0, columns >= 0,
            let words = value["words"]?.arrayValue
        else { throw bad }
        let packed = try words.map { word in
            guard case .integer(let bits) = word else { throw bad }
            return UInt64(bitPattern: bits)
        }
        guard let mask = try? SparsePattern(rows: rows, columns: columns, packedWords: packed) else { throw bad }
        return mask
    }

    /// Masks of several layers.
    static func masks(_ value: JSONValue) throws -> [SparsePattern] {
        guard let list = value.arrayValue else {
            throw LacunaError.malformed(file: "checkpoint", location: "masks", reason: "are no list")
        }
        return try list.map(mask)
    }

    /// - Throws: `LacunaError.malformed` unless there is a mask for each of the weights, of its shape.
    static func requireFit(_ masks: [SparsePattern], _ shapes: [[Int]]) throws {
        guard masks.map({ [$0.rows, $0.columns] }) == shapes else {
            throw LacunaError.malformed(file: "checkpoint", location: "masks", reason: "are of other layers")
        }
    }
}
