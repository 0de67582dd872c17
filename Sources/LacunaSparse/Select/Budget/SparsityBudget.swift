import LacunaTensor

/// How a sparsity is shared out among the layers of a model.
///
/// ``UniformBudget``, ``LayerBudget``, ``ErdosRenyiBudget`` and ``GlobalBudget`` conform; a method that shares out by a rule
/// of its own conforms another type. Any budget goes with any pattern that takes the sparsities it gives. Patterns n:m take
/// only their own (``requireAgreement(with:)`` says so where a budget is chosen); patterns `any:m` get an n for every layer
/// (``sparsities(for:layers:scores:)``).
public protocol SparsityBudget: Sendable {
    /// A layer to be pruned, by name and the shape of its weight: [outputs, inputs], or of a convolution
    /// [outputs, inputs, height, width].
    typealias Layer = (name: String, shape: [Int])

    /// The fraction of all entries that is removed, as far as that is known without the layers.
    var sparsity: Double? { get }
    /// Whether layers may get different sparsities.
    var variesByLayer: Bool { get }
    /// Whether `allocate` has to see the scores of all layers at once.
    var needsScores: Bool { get }

    /// The sparsity of every layer, 0...1.
    ///
    /// - Parameters:
    ///   - layers: What is to be pruned; names must differ.
    ///   - scores: Importance of every entry of every layer, by name, as matrices [outputs, inputs · height · width]; nil
    ///     suffices unless `needsScores`.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range, two layers of one name, layers that
    ///   the budget cannot serve, and missing scores.
    func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double]

    /// The masks of all layers.
    ///
    /// The default selects every layer by itself with the sparsity that `allocate` gives it: patterns of scope global are
    /// then of scope layer.
    ///
    /// - Throws: As ``allocate(layers:scores:)`` and ``Selection/mask(scores:pattern:sparsity:within:)``.
    func masks(scores: [String: Tensor<Float>], pattern: Pattern) throws -> [String: SparsePattern]
}

extension SparsityBudget {
    public var variesByLayer: Bool { true }
    public var needsScores: Bool { false }

    /// The sparsity of every layer by a budget that needs no scores.
    public func allocate(layers: [Layer]) throws -> [String: Double] { try allocate(layers: layers, scores: nil) }

    public func masks(scores: [String: Tensor<Float>], pattern: Pattern) throws -> [String: SparsePattern] {
        let layers = scores.keys.sorted().map { ($0, scores[$0]!.shape) }
        let sparsities = try sparsities(for: pattern, layers: layers, scores: scores)
        var masks: [String: SparsePattern] = [:]
        for (name, scores) in scores {
            masks[name] = try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsities[name])
        }
        return masks
    }

    /// The sparsity of every layer under a pattern, such as the pattern can have.
    ///
    /// For `any:m` it is `1 - n/m` with a whole n for every layer, 1...m: the share that the budget gives it, rounded down,
    /// and one more for the layers that lose most by that, as long as all together keep no more than the budget says.
    ///
    /// - Throws: As ``allocate(layers:scores:)`` and ``requireAgreement(with:)``.
    public func sparsities(
        for pattern: Pattern, layers: [Layer], scores: [String: Tensor<Float>]? = nil
    ) throws -> [String: Double] {
        try pattern.validate()
        try requireAgreement(with: pattern)
        let shares = try allocate(layers: layers, scores: scores)
        guard case .every(let m, _) = pattern.competition else { return shares }
        if let implied = pattern.impliedSparsity {
            if let (name, share) = shares.first(where: { abs($0.value - implied) >= 1e-9 }) {
                throw LacunaError.invalidArgument(
                    "sparsity", reason: "the pattern \(pattern) fixes it to \(implied), not \(share) in '\(name)'")
            }
            return shares
        }
        let sizes = layers.map { $0.shape.reduce(1, *) }
        let wanted = layers.map { (1 - shares[$0.name]!) * Double(m) }
        var kept = wanted.map { min(max(1, Int($0 + 1e-9)), m) }
        func total(_ kept: [some BinaryInteger]) -> Double {
            zip(kept, sizes).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        let limit = zip(wanted, sizes).reduce(0) { $0 + $1.0 * Double($1.1) } * (1 + 1e-12)
        let byLoss = layers.indices.sorted { a, b in
            let (lossA, lossB) = (wanted[a] - Double(kept[a]), wanted[b] - Double(kept[b]))
            return lossA != lossB ? lossA > lossB : a < b
        }
        for layer in byLoss where wanted[layer] - Double(kept[layer]) > 1e-9 {
            if total(kept) + Double(sizes[layer]) <= limit { kept[layer] += 1 }
        }
        return Dictionary(
            uniqueKeysWithValues: layers.indices.map { (layers[$0].name, 1 - Double(kept[$0]) / Double(m)) })
    }

    /// Whether the budget's sparsity is one that the pattern can have: to be asked where the two are chosen.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a pattern n:m and a budget that gives layers another
    ///   sparsity than `1 - n/m`, or different ones: `any:m` takes those.
    public func requireAgreement(with pattern: Pattern) throws {
        guard let implied = pattern.impliedSparsity, let (_, m, _) = pattern.group else { return }
        if variesByLayer || sparsity.map({ abs($0 - implied) >= 1e-9 }) ?? false {
            throw LacunaError.invalidArgument(
                "budget",
                reason: "the pattern \(pattern) removes \(implied) of every layer; any:\(m) takes other sparsities")
        }
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if two layers have one name.
    func requireDifferentNames(_ layers: [Layer]) throws {
        var names = Set<String>()
        for layer in layers where !names.insert(layer.name).inserted {
            throw LacunaError.invalidArgument("layers", reason: "two are named '\(layer.name)'")
        }
    }
}
