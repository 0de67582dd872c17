import LacunaSparse
import LacunaTensor

/// A way to remove weights from a trained network. Conform to ``LayerwisePruning`` or ``FeedForwardPruning``.
public protocol PruningMethod: Sendable {
    /// What the method is.
    var card: MethodCard { get }
    /// What calibration has to collect of a layer's inputs.
    var requirement: ScoreRequirement { get }
}

/// How one matrix is to be pruned.
public struct PruningRequest: Sendable, Hashable {
    /// Which entries may be kept together.
    public var pattern: Pattern
    /// Fraction of the entries to remove, 0...1; nil where the pattern fixes it.
    public var sparsity: Double?
    /// The layer's index in its model: separates random choices of layers that have one shape.
    public var layer: Int
    /// The type that kept entries are going to be stored in. A method that makes up for what it removes may make up for the rounding
    /// as well.
    public var values: ValueType

    /// - Parameter sparsity: Needed unless the pattern fixes it.
    public init(_ pattern: Pattern, sparsity: Double? = nil, layer: Int = 0, values: ValueType = .f32) {
        self.pattern = pattern
        self.sparsity = sparsity
        self.layer = layer
        self.values = values
    }
}

/// A method that prunes one linear layer at a time, knowing its weights and what calibration saw of its inputs.
public protocol LayerwisePruning: PruningMethod {
    /// Which entries compete with each other when a user asks for unstructured sparsity and says no more.
    var defaultScope: Pattern.Scope { get }

    /// Whether the method can prune under `pattern`.
    func supports(_ pattern: Pattern) -> Bool

    /// Prunes one layer: removed entries become 0, and kept ones may change.
    ///
    /// - Parameters:
    ///   - weight: `W` [outputs, inputs].
    ///   - statistics: The layer's inputs; nil suffices if `requirement` is none.
    /// - Returns: What was kept.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a pattern that the method cannot do,
    ///   ``LacunaError/invalidArgument(_:reason:)`` for a bad sparsity, missing statistics or ones of another width,
    ///   ``LacunaError/numerical(operation:reason:)`` for numbers that are not finite or cannot be inverted.
    func prune(_ weight: inout Tensor<Float>, statistics: InputStatistics?, request: PruningRequest) throws
        -> SparsePattern

    /// Prunes layers that read the same input, such as the query, key and value projections. The default prunes one
    /// after the other; a method that derives something costly from the input does so once.
    func prune(
        group weights: inout [Tensor<Float>], statistics: InputStatistics?, requests: [PruningRequest]
    ) throws -> [SparsePattern]
}

extension LayerwisePruning {
    public func prune(
        group weights: inout [Tensor<Float>], statistics: InputStatistics?, requests: [PruningRequest]
    ) throws -> [SparsePattern] {
        require(weights.count == requests.count)
        var masks: [SparsePattern] = []
        for index in weights.indices {
            masks.append(try prune(&weights[index], statistics: statistics, request: requests[index]))
        }
        return masks
    }

    /// Reads a pattern as ``Pattern/init(_:)`` does, with `unstructured` alone meaning the method's own scope.
    public func pattern(_ text: String) throws -> Pattern {
        text == "unstructured" ? .unstructured(defaultScope) : try Pattern(text)
    }

    /// - Throws: ``LacunaError/unsupported(file:what:)`` unless the method supports the pattern.
    public func requireSupport(_ pattern: Pattern) throws {
        if !supports(pattern) {
            throw LacunaError.unsupported(file: nil, what: "the pattern \(pattern) with the method \(card.name)")
        }
    }
}

/// A method that keeps the entries with the largest scores and does nothing else. Works with every pattern.
public protocol ScoredPruning: LayerwisePruning {
    /// The score that decides in the layer of this index.
    func score(layer: Int) -> any ImportanceScore
}

extension ScoredPruning {
    public var requirement: ScoreRequirement { score(layer: 0).requirement }

    public func supports(_ pattern: Pattern) -> Bool { true }

    public func prune(
        _ weight: inout Tensor<Float>, statistics: InputStatistics?, request: PruningRequest
    ) throws -> SparsePattern {
        let scores = try score(layer: request.layer).scores(weight: weight, statistics: statistics)
        let mask = try Selection.mask(scores: scores, pattern: request.pattern, sparsity: request.sparsity)
        mask.apply(to: &weight)
        return mask
    }
}
