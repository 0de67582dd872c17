import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Prunes the linear layers of a decoder: embeddings, norms and the output head stay as they are.
///
/// Methods that look at inputs see the calibration text block by block. All sequences stand in front of a block; it runs
/// once so that its layers' inputs are observed; its layers are pruned and stored; it runs again, pruned, to move the
/// sequences behind it. So every layer is pruned for the inputs that it will really get from the pruned, rounded layers
/// before it, and memory holds the hidden states of one place in the model, never those of all.
///
/// Methods that need no inputs go from matrix to matrix. Structured methods (``FeedForwardPruning``) observe the dense
/// model in one pass and then slice.
///
///     let method = try PruningMethods.named("wanda")
///     let pruner = Pruner(method, pattern: .nm(n: 2, m: 4))
///     let (pruned, report) = try pruner.prune(decoder, calibration: CalibrationSet(text: tokens))
public struct Pruner: Sendable {
    /// What decides which weights go.
    public var method: any PruningMethod
    /// Nil for methods whose form has no pattern (``MatrixCompression``).
    public var pattern: Pattern?
    /// How sparsity is shared out among layers; nil only for patterns that fix it.
    public var budget: (any SparsityBudget)?
    /// How pruned matrices are stored.
    public var storage: PrunedStorage
    /// Collects Gram matrices also for methods that look at inputs without them, so that the report can tell output
    /// errors. Methods that look at no inputs and structured ones report none.
    public var measuresError: Bool
    /// Calibration tokens that go through a block at once, rounded to whole sequences. Bounds the memory of activations.
    public var batchTokens: Int
    /// Layers that stay as they are, by names such as `model.layers.0.*`.
    public var ignored: [NamePattern] = []

    /// Settings are checked when something is pruned.
    public init(
        _ method: any PruningMethod, pattern: Pattern?, budget: (any SparsityBudget)? = nil,
        storage: PrunedStorage = PrunedStorage(), measuresError: Bool = false, batchTokens: Int = 4096
    ) {
        self.method = method
        self.pattern = pattern
        self.budget = budget
        self.storage = storage
        self.measuresError = measuresError
        self.batchTokens = batchTokens
    }

    /// A copy of `decoder` with pruned layers, and what was done. The original is left as it is.
    ///
    /// For structured methods the sparsity is that of the feed-forward neurons, the budget must be uniform, the pattern is
    /// not looked at, no layer can be left out, and sliced matrices are stored dense.
    ///
    /// - Parameter calibration: Needed unless the method's requirement is none.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a pattern or budget that the method cannot do,
    ///   ``LacunaError/invalidArgument(_:reason:)`` for bad numbers or missing calibration,
    ///   ``LacunaError/numerical(operation:reason:)`` from methods, ``LacunaError/cancelled``.
    public func prune(
        _ decoder: Transformer, calibration: CalibrationSet? = nil, progress: (any ProgressReporter)? = nil
    ) throws -> (decoder: Transformer, report: PruningReport) {
        let begin = monotonicSeconds()
        if batchTokens < 1 { throw LacunaError.invalidArgument("batch", reason: "must be positive") }
        try pattern?.validate()
        if let pattern { try budget?.requireAgreement(with: pattern) }
        if let unknown = ignored.first(where: { pattern in !decoder.linearNames.contains(where: pattern.matches) }) {
            throw LacunaError.invalidArgument("ignored layers", reason: "'\(unknown)' is the name of no layer")
        }
        guard method.requirement.isSubset(of: .gram) else {
            throw LacunaError.unsupported(
                file: nil, what: "calibration for \(method.card.name), which needs more than a layer's inputs")
        }
        let needsCalibration = method.requirement != .none
        if needsCalibration && calibration == nil {
            throw LacunaError.invalidArgument("calibration", reason: "the method \(method.card.name) needs a text")
        }
        let seen = needsCalibration ? calibration : nil
        let estimate = memoryEstimate(decoder, calibrationTokens: seen?.tokens.count ?? 0).total

        var result = decoder
        let layers: [PruningReport.Layer]
        switch method {
        case let method as any FeedForwardPruning:
            layers = try slice(&result, method, seen!, progress)
        case let method as any LayerwisePruning:
            guard let pattern else {
                throw LacunaError.invalidArgument("pattern", reason: "\(method.card.name) needs one")
            }
            try method.requireSupport(pattern)
            try storage.requireRoom(for: pattern)
            if isGlobal && (method.requirement == .none || pattern.isGlobal) {
                layers = try pruneGlobally(&result, method, pattern, progress)
            } else {
                let scores = try isGlobal ? surveyedScores(decoder, method, seen!, progress) : nil
                let requests = try requests(decoder, pattern, scores)
                layers = try inTurn(&result, seen, progress) {
                    try prune(&$0, $1.filter { requests[$0] != nil }, method, $2, requests)
                }
            }
        case let method as any MatrixCompression:
            layers = try compress(&result, method, seen, progress)
        default:
            throw LacunaError.unsupported(file: nil, what: "the kind of method that \(method.card.name) is")
        }
        let report = PruningReport(
            method: method.card.name, pattern: pattern, layers: layers, calibrationTokens: seen?.tokens.count ?? 0,
            seconds: monotonicSeconds() - begin, estimatedBytes: estimate, peakBytes: peakResidentBytes())
        return (result, report)
    }

    /// Whether the scores of all layers have to be known before any is pruned.
    var isGlobal: Bool { budget?.needsScores ?? false || pattern?.isGlobal ?? false }

    /// The sparsity over all layers, as far as it is known beforehand.
    var nominalSparsity: Double { pattern?.impliedSparsity ?? budget?.sparsity ?? 0 }

    /// The names of the layers that are worked on, in the order in which a token passes them.
    func names(_ decoder: Transformer) -> [String] {
        ignored.isEmpty
            ? decoder.linearNames
            : decoder.linearNames.filter { name in !ignored.contains { $0.matches(name) } }
    }

    /// Names and shapes of the layers that are worked on.
    func shapes(_ decoder: Transformer) -> [SparsityBudget.Layer] {
        names(decoder).map { ($0, [decoder[linear: $0].rows, decoder[linear: $0].columns]) }
    }

    /// The request for every layer.
    ///
    /// - Parameter scores: For budgets that need them.
    func requests(_ decoder: Transformer, _ pattern: Pattern, _ scores: [String: Tensor<Float>]?) throws
        -> [String: PruningRequest]
    {
        let layers = shapes(decoder)
        let sparsities = try budget?.sparsities(for: pattern, layers: layers, scores: scores)
        var requests: [String: PruningRequest] = [:]
        for (index, layer) in layers.enumerated() {
            requests[layer.name] = PruningRequest(
                pattern, sparsity: sparsities?[layer.name], layer: index, values: storage.values)
        }
        return requests
    }
}
