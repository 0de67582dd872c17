import LacunaSparse
import LacunaTensor

/// What one stored matrix of a decoder takes.
public struct MatrixFootprint: Sendable, Equatable {
    /// The name of the weight in Hugging Face checkpoints.
    public var name: String
    /// Layout and type of values.
    public var format: StorageFormat
    /// Outputs of a linear layer; tokens of a table.
    public var rows: Int
    /// Inputs of a linear layer; the width of a table.
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
    /// All matrices: the blocks' linear layers in order, the embedding table, and the head unless it is tied. Matrices of
    /// experts are not among them.
    public var footprints: [MatrixFootprint] {
        linearNames.map { MatrixFootprint($0, self[linear: $0]) }
            + [MatrixFootprint("\(configuration.names.embedding).weight", embedding)]
            + (untiedHead.map { [MatrixFootprint("\(configuration.names.head).weight", $0)] } ?? [])
    }

    /// Bytes of the blocks' linear weights, those of experts included.
    public var linearBytes: Int { blocks.reduce(0) { $0 + $1.linearBytes } }

    /// Bytes of the matrix that gives logits; for a tied head, those of the embedding table.
    public var headBytes: Int { head.byteCount }

    /// Bytes of weights in memory. A tied head takes none of its own.
    public var weightBytes: Int {
        linearBytes + vectorBytes + positionBytes + embedding.byteCount + (untiedHead?.byteCount ?? 0)
    }

    /// Bytes that decoding one token reads: all linear weights, of experts those that are chosen, norms and biases, the head,
    /// and one row of the embedding table. A tied table counts once, as the head.
    ///
    /// - Parameter position: Positions in the cache, whose keys and values are read as well.
    public func bytesTouchedPerToken(position: Int = 0) -> Int {
        let seen = blocks.indices.reduce(0) { $0 + min(position, configuration.window(layer: $1) ?? position) }
        let cached = 2 * configuration.keyValueWidth * seen * MemoryLayout<Float>.size
        let linears = blocks.reduce(0) { $0 + $1.linearBytesTouched }
        let rows = embedding.byteCount / configuration.vocabularySize + positionBytes / configuration.maximumPositions
        return linears + vectorBytes + headBytes + rows + cached
    }

    /// Norms and biases.
    private var vectorBytes: Int {
        MemoryLayout<Float>.size * (finalNorm.vectorCount + blocks.reduce(0) { $0 + $1.vectorCount })
    }

    private var positionBytes: Int { MemoryLayout<Float>.size * (positions?.count ?? 0) }

    /// Entries of all matrices and vectors, those left out included. A tied table counts once, and experts count all.
    public var parameterCount: Int {
        footprints.reduce(0) { $0 + $1.rows * $1.columns } + (vectorBytes + positionBytes) / MemoryLayout<Float>.size
            + blocks.reduce(0) { $0 + $1.expertEntries }
    }

    /// Fraction of the entries of the blocks' linear weights that are not stored.
    public var linearSparsity: Double {
        let all = linearNames.map { MatrixFootprint($0, self[linear: $0]) }
        let total = all.reduce(0) { $0 + $1.rows * $1.columns }
        return 1 - Double(all.reduce(0) { $0 + $1.storedCount }) / Double(max(total, 1))
    }
}

extension TransformerBlock {
    private var ownBytes: Int { roles.reduce(0) { $0 + self[$1].weight.byteCount } }

    fileprivate var linearBytes: Int {
        switch mixer {
        case .dense: ownBytes
        case .experts(let part): ownBytes + part.byteCount
        case .custom(let part): ownBytes + part.byteCount
        }
    }

    /// What one row reads.
    fileprivate var linearBytesTouched: Int {
        switch mixer {
        case .dense: ownBytes
        case .experts(let part): ownBytes + part.bytesTouchedPerVector
        case .custom(let part): ownBytes + part.bytesTouchedPerVector
        }
    }

    fileprivate var expertEntries: Int {
        if case .custom(let part) = mixer { return part.weightCount }
        guard case .experts(let part) = mixer else { return 0 }
        return part.experts.reduce(0) { sum, expert in
            sum
                + [expert.gate, expert.up, expert.down].reduce(0) { sum, layer in
                    sum + (layer.map { $0.outputs * $0.inputs + ($0.bias?.count ?? 0) } ?? 0)
                }
        }
    }

    fileprivate var vectorCount: Int {
        attentionNorm.vectorCount + feedForwardNorm.vectorCount + (attention.queryNorm?.count ?? 0)
            + (attention.keyNorm?.count ?? 0)
            + (outputNorms.map { $0.attention.vectorCount + $0.feedForward.vectorCount } ?? 0)
            + roles.reduce(0) { $0 + (self[$1].bias?.count ?? 0) }
    }
}

extension Normalization {
    fileprivate var vectorCount: Int { weight.count + (bias?.count ?? 0) }
}
