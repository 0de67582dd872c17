import LacunaTensor

/// How a sparsity is shared out among the layers of a model.
public enum SparsityBudget: Hashable, Sendable {
    /// The same sparsity for every layer.
    case uniform(Double)
    /// A sparsity for every layer by name.
    case perLayer([String: Double])
    /// One sparsity over all layers, denser where a layer is small or far from square: the density of a layer is in
    /// proportion to the sum of its dimensions over their product, `(n_in + n_out) / (n_in · n_out)` for a matrix.
    /// Layers that would keep more than they have stay dense and the others share the rest.
    ///
    /// Erdős-Rényi-Kernel: Utku Evci, Trevor Gale, Jacob Menick, Pablo Samuel Castro, Erich Elsen, "Rigging the
    /// Lottery: Making All Tickets Winners", arXiv 1911.11134; for pruning at random, Shiwei Liu and others, "The
    /// Unreasonable Effectiveness of Random Pruning", arXiv 2202.02643.
    case erdosRenyiKernel(Double)
    /// The same for all layers but the last, which has the density given; over all layers together the sparsity still is
    /// what is asked for. The ERK+ of Shiwei Liu and others, arXiv 2202.02643, for networks that end in a classifier.
    case erdosRenyiKernelPlus(Double, lastDensity: Double = 1)
    /// One sparsity over all layers, shared out by their scores.
    case global(Double)

    /// A layer to be pruned, by name and shape.
    public typealias Layer = (name: String, shape: [Int])

    /// The sparsity of every layer.
    ///
    /// A uniform budget removes in every layer ``Selection/removedCount(sparsity:of:)`` of its entries, so its total is
    /// exact to one entry a layer. The Erdős-Rényi-Kernel budget is exact: its shares are whole numbers of entries that add up.
    ///
    /// - Parameter layers: What is to be pruned; names must differ.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a sparsity outside 0...1, two layers of one name, and a
    ///   per-layer budget that lacks a layer or names one that is not there; ``LacunaError/unsupported(file:what:)`` for
    ///   a global budget, which only scores can share out (``masks(scores:pattern:)``).
    public func allocate(layers: [Layer]) throws -> [String: Double] {
        var names = Set<String>()
        for layer in layers where !names.insert(layer.name).inserted {
            throw LacunaError.invalidArgument("layers", reason: "two are named '\(layer.name)'")
        }
        switch self {
        case .uniform(let sparsity):
            try Selection.requireFraction(sparsity, "sparsity")
            return Dictionary(uniqueKeysWithValues: layers.map { ($0.name, sparsity) })
        case .perLayer(let sparsities):
            if let unknown = sparsities.keys.sorted().first(where: { !names.contains($0) }) {
                throw LacunaError.invalidArgument("sparsity", reason: "there is no layer '\(unknown)'")
            }
            for layer in layers {
                guard let sparsity = sparsities[layer.name] else {
                    throw LacunaError.invalidArgument("sparsity", reason: "none is given for layer '\(layer.name)'")
                }
                try Selection.requireFraction(sparsity, "sparsity of '\(layer.name)'")
            }
            return sparsities
        case .erdosRenyiKernel(let sparsity):
            try Selection.requireFraction(sparsity, "sparsity")
            return SparsityBudget.erdosRenyi(layers, sparsity: sparsity)
        case .erdosRenyiKernelPlus(let sparsity, let lastDensity):
            try Selection.requireFraction(sparsity, "sparsity")
            try Selection.requireFraction(lastDensity, "lastDensity")
            return try SparsityBudget.erdosRenyiPlus(layers, sparsity: sparsity, lastDensity: lastDensity)
        case .global:
            throw LacunaError.unsupported(file: nil, what: "a global budget without the scores of all layers")
        }
    }

    /// The masks of all layers, with any budget and any pattern that takes the sparsities it gives.
    ///
    /// - Parameters:
    ///   - scores: Importance of every entry of every matrix, by name.
    ///   - pattern: The sets of entries that may be kept. Under a budget per layer, scope global means scope layer;
    ///     under a global budget every scope means global.
    /// - Throws: As ``allocate(layers:)`` and ``Selection/mask(scores:pattern:sparsity:)``.
    public func masks(scores: [String: Tensor<Float>], pattern: Pattern) throws -> [String: Mask] {
        if case .global(let sparsity) = self {
            return try Selection.selectGlobally(scores, pattern: pattern, sparsity: sparsity)
        }
        let sparsities = try allocate(layers: scores.keys.sorted().map { ($0, scores[$0]!.shape) })
        var masks: [String: Mask] = [:]
        for (name, scores) in scores {
            masks[name] = try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsities[name])
        }
        return masks
    }

    private static func erdosRenyi(_ layers: [Layer], sparsity: Double) -> [String: Double] {
        let total = layers.reduce(0) { $0 + $1.shape.reduce(1, *) }
        return erdosRenyi(layers, keeping: total - Selection.removedCount(sparsity: sparsity, of: total))
    }

    private static func erdosRenyiPlus(
        _ layers: [Layer], sparsity: Double, lastDensity: Double
    ) throws -> [String: Double] {
        guard let last = layers.last else { return [:] }
        let total = layers.reduce(0) { $0 + $1.shape.reduce(1, *) }
        let kept = total - Selection.removedCount(sparsity: sparsity, of: total)
        let size = last.shape.reduce(1, *)
        let keptLast = size - Selection.removedCount(sparsity: 1 - lastDensity, of: size)
        guard keptLast <= kept, kept - keptLast <= total - size else {
            throw LacunaError.invalidArgument(
                "lastDensity",
                reason: "\(lastDensity) in '\(last.name)' leaves no way to a sparsity of \(sparsity) over all layers")
        }
        var sparsities = erdosRenyi(Array(layers.dropLast()), keeping: kept - keptLast)
        sparsities[last.name] = size == 0 ? 0 : Double(size - keptLast) / Double(size)
        return sparsities
    }

    private static func erdosRenyi(_ layers: [Layer], keeping keptTotal: Int) -> [String: Double] {
        let sizes = layers.map { $0.shape.reduce(1, *) }
        let sides = layers.map { Double($0.shape.reduce(0, +)) }

        // Layers whose share exceeds their size stay dense; that enlarges the others' shares, so look again.
        var dense = sizes.map { $0 == 0 }
        var scale = 0.0
        while true {
            let shared = keptTotal - layers.indices.reduce(0) { $0 + (dense[$1] ? sizes[$1] : 0) }
            let side = layers.indices.reduce(0) { $0 + (dense[$1] ? 0 : sides[$1]) }
            scale = side > 0 ? Double(shared) / side : 0
            let full = layers.indices.filter { !dense[$0] && scale * sides[$0] >= Double(sizes[$0]) }
            if full.isEmpty { break }
            for layer in full { dense[layer] = true }
        }

        // Whole numbers of entries that add up: round down, then one more for those that lost most.
        let shares = layers.indices.map { dense[$0] ? Double(sizes[$0]) : scale * sides[$0] }
        var kept = shares.map { Int($0) }
        var missing = keptTotal - kept.reduce(0, +)
        let byLoss = layers.indices.sorted { a, b in
            let (lossA, lossB) = (shares[a] - Double(kept[a]), shares[b] - Double(kept[b]))
            return lossA != lossB ? lossA > lossB : a < b
        }
        for layer in byLoss where missing > 0 && kept[layer] < sizes[layer] {
            kept[layer] += 1
            missing -= 1
        }
        return Dictionary(
            uniqueKeysWithValues: layers.indices.map { layer in
                let size = sizes[layer]
                return (layers[layer].name, size == 0 ? 0 : Double(size - kept[layer]) / Double(size))
            })
    }
}
