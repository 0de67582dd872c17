import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Sparse-Wide as a method: hidden layers become wider at the same cost, and connections move by ``DropAndGrow``.
public final class IsoFLOPTraining: NetworkShaping {
    /// How much sparser, and so how much larger, layers become.
    public let transformation: SparseIFT
    private let settings: DropAndGrow.Settings
    private var engine: DropAndGrow?

    /// - Parameter settings: How connections move; its budget is replaced by the transformation's.
    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ transformation: SparseIFT, settings: DropAndGrow.Settings) throws {
        _ = try DropAndGrow(settings)
        self.transformation = transformation
        self.settings = settings
    }

    public var card: MethodCard { SparseIFT.card }

    public func shaped(_ widths: [Int], examples: LabelledExamples, make: ([Int]) -> MLP) throws -> MLP {
        let (wider, budget) = transformation.wide(widths)
        var settings = settings
        settings.budget = budget
        engine = try DropAndGrow(settings)
        return make(wider)
    }

    /// - Throws: `LacunaError.invalidArgument` for a network that ``shaped(_:examples:make:)`` has not made.
    public func begin(_ run: TrainingRun) throws {
        guard let engine else {
            throw LacunaError.invalidArgument("model", reason: "the network was not shaped by the method")
        }
        try engine.begin(run)
    }
    public func attach(_ run: TrainingRun) throws { try engine?.attach(run) }
    public func beforeStep(_ run: TrainingRun) throws { try engine?.beforeStep(run) }
    public func gradientsReady(_ run: TrainingRun) throws { try engine?.gradientsReady(run) }
    public func end(_ run: TrainingRun) throws { try engine?.end(run) }
    public var state: JSONValue { engine?.state ?? .null }
    public func restore(_ state: JSONValue) throws { try engine?.restore(state) }
}

/// The other transformations of ``SparseIFT`` as a method: layers are replaced by sparse ones of the same cost, in fully connected and
/// convolutional networks alike, and connections move by ``DropAndGrow``.
public final class IsoFLOPLayers: TrainingMethod {
    /// What takes a layer's place.
    public enum Variant: String, Sendable, Hashable, CaseIterable {
        /// Several sparse layers with norms, added.
        case parallel
        /// Two sparse layers with a norm and a rectifier between them.
        case factorized
        /// A sparse layer beside a low-rank product.
        case doped
    }

    /// How much sparser, and so how much larger, layers become.
    public let transformation: SparseIFT
    /// What takes a layer's place.
    public let variant: Variant
    private let settings: DropAndGrow.Settings
    private var engine: DropAndGrow?

    /// - Parameter settings: Which layers are replaced, and how connections move; its budget is replaced by one of s for every layer.
    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ transformation: SparseIFT, variant: Variant, settings: DropAndGrow.Settings) throws {
        _ = try DropAndGrow(settings)
        (self.transformation, self.variant, self.settings) = (transformation, variant, settings)
    }

    public var card: MethodCard { SparseIFT.card }

    /// Whether layers stay those of a matrix.
    public var isLinear: Bool { variant == .doped }

    /// Replaces the layers; without a sparsity none.
    ///
    /// - Throws: `LacunaError.unsupported` for weights that are not whole.
    public func begin(_ run: TrainingRun) throws {
        engine = nil
        if transformation.sparsity == 0 { return }
        var inner: [NamePattern] = []
        for (name, layer) in try settings.layers.layers(of: run.model) {
            guard layer.isWhole else {
                throw LacunaError.unsupported(
                    file: nil, what: "replacing \(layer.weight.storage) weights ('\(name)') by sparse ones")
            }
            switch variant {
            case .parallel:
                let sum = transformation.parallel(layer, using: &run.generator)
                inner += sum.branches.indices.map { NamePattern("\(name).weight.branches.\($0)") }
                layer.weight = sum
            case .factorized:
                layer.weight = transformation.factorized(layer, using: &run.generator)
                inner += [NamePattern("\(name).weight.first"), NamePattern("\(name).weight.second")]
            case .doped:
                layer.weight = transformation.doped(layer, using: &run.generator)
                inner.append(NamePattern("\(name).weight.branches.0"))
            }
        }
        var settings = settings
        settings.layers = .matching(inner)
        settings.budget = UniformBudget(transformation.sparsity)
        let engine = try DropAndGrow(settings)
        try engine.begin(run)
        self.engine = engine
    }

    public func attach(_ run: TrainingRun) throws { try engine?.attach(run) }
    public func beforeStep(_ run: TrainingRun) throws { try engine?.beforeStep(run) }
    public func gradientsReady(_ run: TrainingRun) throws { try engine?.gradientsReady(run) }
    public func end(_ run: TrainingRun) throws { try engine?.end(run) }
    public var state: JSONValue { engine?.state ?? .null }
    public func restore(_ state: JSONValue) throws { try engine?.restore(state) }
}

extension SparseIFT {
    static let card = MethodCard(
        name: "sparse-ift", family: .sparseTraining,
        paper: .init(
            authors: "Vithursan Thangarasa, Shreyas Saxena, Abhay Gupta, Sean Lie",
            title: "Sparse-IFT: Sparse Iso-FLOP Transformations for Maximizing Training Efficiency",
            arXiv: "2303.11525"),
        composition: ["|w| drops, |gradient| grows", "larger layers of the dense cost", "drop and grow"],
        implements: [
            "wide, parallel, factorised and doped layers",
            "connections that move or stay (`fraction = 0`)",
            "all but wide in convolutional networks too",
        ],
        leavesOut: ["decay of the folded sum of parallel branches", "wide convolutional networks and transformers"])
}
