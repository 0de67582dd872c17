import LacunaTensor

/// One sparsity over all layers, denser where a layer is small or far from square: the density of a layer is in proportion to
/// the sum of its dimensions over their product, `(n_out + n_in) / (n_out · n_in)` for a matrix and
/// `(n_out + n_in + h + w) / (n_out · n_in · h · w)` for a convolution, whose shape must say so. Layers that would keep more
/// than they have stay dense and the others share the rest. Shares are whole numbers of entries that add up exactly.
///
/// Erdős-Rényi-Kernel: Utku Evci, Trevor Gale, Jacob Menick, Pablo Samuel Castro, Erich Elsen, "Rigging the Lottery: Making
/// All Tickets Winners", arXiv 1911.11134; for pruning at random, Shiwei Liu and others, "The Unreasonable Effectiveness of
/// Random Pruning", arXiv 2202.02643.
public struct ErdosRenyiBudget: SparsityBudget, Hashable {
    /// 0...1.
    public var value: Double
    /// The density of the last layer, 0...1, if it is apart from the others: 1 is the ERK+ of Liu and others, for networks
    /// that end in a classifier. Over all layers together the sparsity still is what is asked for.
    public var lastDensity: Double?

    /// A budget of an overall sparsity, 0...1.
    public init(_ sparsity: Double, lastDensity: Double? = nil) {
        value = sparsity
        self.lastDensity = lastDensity
    }

    public var sparsity: Double? { value }

    public func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
        try requireDifferentNames(layers)
        try Selection.requireFraction(value, "sparsity")
        let total = layers.reduce(0) { $0 + Self.size($1) }
        let kept = total - Selection.removedCount(sparsity: value, of: total)
        guard let lastDensity else { return Self.shares(layers, keeping: kept) }
        try Selection.requireFraction(lastDensity, "lastDensity")
        guard let last = layers.last else { return [:] }
        let size = Self.size(last)
        let keptLast = size - Selection.removedCount(sparsity: 1 - lastDensity, of: size)
        guard keptLast <= kept, kept - keptLast <= total - size else {
            throw LacunaError.invalidArgument(
                "lastDensity",
                reason: "\(lastDensity) in '\(last.name)' leaves no way to a sparsity of \(value) over all layers")
        }
        var sparsities = Self.shares(Array(layers.dropLast()), keeping: kept - keptLast)
        sparsities[last.name] = size == 0 ? 0 : Double(size - keptLast) / Double(size)
        return sparsities
    }

    private static func size(_ layer: Layer) -> Int { layer.shape.reduce(1, *) }

    private static func shares(_ layers: [Layer], keeping keptTotal: Int) -> [String: Double] {
        let sizes = layers.map(size)
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
