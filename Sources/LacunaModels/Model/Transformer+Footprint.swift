import LacunaSparse
import LacunaTensor

/// What one stored matrix of a decoder takes.
public struct MatrixFootprint: Sendable, Equatable {
    /// The name of the weight in Hugging Face checkpoints.
    public var name: String
    public var format: StorageFormat
    public var rows: Int
    public var columns: Int
    /// Values stored.
    public var storedCount: Int
    /// Bytes of values, scales and positions: what a product with one vector reads.
    public var byteCount: Int

    init(_ name: String, _ matrix: any StoredMatrix) {
        self.name = name
        format = matrix.format
        rows = matrix.rows
        columns = matrix.columns
        storedCount = matrix.storedCount
        byteCount = matrix.byteCount
    }

    /// Fraction of entries not stored.
    public var sparsity: Double { rows * columns == 0 ? 0 : 1 - Double(storedCount) / Double(rows * columns) }
}

// How large a decoder is, and how much of it every token reads.
extension Transformer {
    /// All matrices: the blocks' linear layers in order, the embedding table, and the head unless it is tied.
    public var footprints: [MatrixFootprint] {
        linearNames.map { MatrixFootprint($0, self[linear: $0]) }
            + [MatrixFootprint("model.embed_tokens.weight", embedding)]
            + (untiedHead.map { [MatrixFootprint("lm_head.weight", $0)] } ?? [])
    }

    /// Bytes of the blocks' linear weights.
    public var linearBytes: Int { blocks.reduce(0) { $0 + $1.linearBytes } }

    /// Bytes of the matrix that gives logits; for a tied head, those of the embedding table.
    public var headBytes: Int { head.byteCount }

    /// Bytes of weights in memory. A tied head takes none of its own.
    public var weightBytes: Int {
        linearBytes + vectorBytes + embedding.byteCount + (untiedHead?.byteCount ?? 0)
    }

    /// Bytes that decoding one token reads: all linear weights, norms and biases, the head, and one row of the embedding
    /// table. A tied table counts once, as the head.
    ///
    /// - Parameter position: Positions in the cache, whose keys and values are read as well.
    public func bytesTouchedPerToken(position: Int = 0) -> Int {
        let seen = blocks.indices.reduce(0) { $0 + min(position, configuration.window(layer: $1) ?? position) }
        let cached = 2 * configuration.keyValueWidth * seen * MemoryLayout<Float>.size
        return linearBytes + vectorBytes + headBytes + embedding.byteCount / configuration.vocabularySize + cached
    }

    /// Norms and biases.
    private var vectorBytes: Int {
        MemoryLayout<Float>.size * (finalNorm.count + blocks.reduce(0) { $0 + $1.vectorCount })
    }

    /// Entries of all matrices and vectors, those left out included. A tied table counts once.
    public var parameterCount: Int {
        footprints.reduce(0) { $0 + $1.rows * $1.columns } + vectorBytes / MemoryLayout<Float>.size
    }

    /// Fraction of the entries of the blocks' linear weights that are not stored.
    public var linearSparsity: Double {
        let all = linearNames.map { MatrixFootprint($0, self[linear: $0]) }
        let total = all.reduce(0) { $0 + $1.rows * $1.columns }
        return 1 - Double(all.reduce(0) { $0 + $1.storedCount }) / Double(max(total, 1))
    }
}

extension TransformerBlock {
    fileprivate var linearBytes: Int { LinearRole.allCases.reduce(0) { $0 + self[$1].weight.byteCount } }

    fileprivate var vectorCount: Int {
        attentionNorm.weight.count + feedForwardNorm.weight.count + (attention.queryNorm?.count ?? 0)
            + (attention.keyNorm?.count ?? 0)
            + (outputNorms.map { $0.attention.weight.count + $0.feedForward.weight.count } ?? 0)
            + LinearRole.allCases.reduce(0) { $0 + (self[$1].bias?.count ?? 0) }
    }
}
