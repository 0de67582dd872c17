import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A decoder to be learned: the same network as ``Transformer``, on the tape.
///
/// Parameters have the names that checkpoints give them (`model.layers.0.self_attn.q_proj.weight`), so files, masks,
/// groups, hooks and reports agree without translation. What is loaded can be trained, whole, masked, or with its weights
/// frozen as they are stored and something small beside them; what is trained goes back by ``stored(_:)``.
///
/// ```swift
/// import LacunaLearn
/// import LacunaModels
///
/// let model = try TrainableTransformer(Transformer.load("smollm2"), weight: TrainableTransformer.frozen)
/// try model.replaceWeights(matching: "*.self_attn.?_proj") { _, base in
///     UpdatedWeight.lowRank(of: base, rank: 8, alpha: 16, using: &generator)
/// }
/// let loss = model.loss(batch.ids, next: batch.next, batch: 4, on: tape)
/// ```
public final class TrainableTransformer: Module {
    /// Sizes and constants.
    public private(set) var configuration: TransformerConfiguration
    /// The table of tokens, [vocabularySize, hiddenSize].
    public let embedding: TokenTable
    /// [maximumPositions, hiddenSize], added to the embeddings; nil where positions are rotations.
    public let positions: Parameter<Float>?
    /// The blocks, from the embeddings on.
    public let blocks: [TrainableBlock]
    /// The norm before the head.
    public var norm: any UnaryLayer { finalNorm }
    private let finalNorm: any TrainableNorm
    /// The output head; nil if it is the embedding table.
    public let head: Linear?
    /// Share of entries that are set to 0 while training, of embeddings and of what each part of a block gives.
    public var dropout = 0.0
    /// Whether blocks keep only their results and are computed again in the backward pass: see `Tape.recomputing(_:)`.
    public var recomputesBlocks = false

    /// Makes the trained form of a matrix: ``dense(_:_:)``, ``masked(_:_:)``, ``sparse(_:_:)``, ``frozen(_:_:)``, or one
    /// of your own.
    public typealias WeightForm = (_ name: String, _ matrix: any StoredMatrix) throws -> any TrainableWeight

    /// Every entry is trained, those that are 0 as well.
    public static func dense(_ name: String, _ matrix: any StoredMatrix) -> any TrainableWeight {
        DenseWeight(matrix.densified())
    }

    /// Entries that are 0 stay 0; every entry is stored.
    public static func masked(_ name: String, _ matrix: any StoredMatrix) -> any TrainableWeight {
        let value = matrix.densified()
        let weight = DenseWeight(value)
        if matrix.storedCount < matrix.rows * matrix.columns { weight.mask = SparsePattern(nonzerosOf: value) }
        return weight
    }

    /// Matrices that are stored sparse are trained in compressed rows, others dense.
    public static func sparse(_ name: String, _ matrix: any StoredMatrix) -> any TrainableWeight {
        let value = matrix.densified()
        return matrix.storedCount < matrix.rows * matrix.columns
            ? CSRWeight(value, mask: SparsePattern(nonzerosOf: value)) : DenseWeight(value)
    }

    /// Nothing is trained; matrices stay as they are stored.
    public static func frozen(_ name: String, _ matrix: any StoredMatrix) -> any TrainableWeight {
        FrozenWeight(matrix)
    }

    /// The network of a decoder. Norms and biases are trained unless frozen by `ParameterGroup`s.
    ///
    /// - Parameter weight: The form of each matrix, given its name in checkpoints: linear layers, the embedding table, and
    ///   the head unless it is tied.
    /// - Throws: What `weight` throws; `LacunaError.unsupported` for interleaved rotation.
    public init(_ decoder: Transformer, weight: WeightForm = TrainableTransformer.dense) throws {
        configuration = decoder.configuration
        let (configuration, names) = (configuration, configuration.names)
        embedding = TokenTable(
            try weight(names.embedding + ".weight", decoder.embedding), scale: configuration.embeddingScale)
        positions = decoder.positions.map { Parameter($0, decays: false) }
        blocks = try decoder.blocks.enumerated().map { layer, block in
            try TrainableBlock(block, names: names.block) { try weight(configuration.weightName($0, layer: layer), $1) }
        }
        finalNorm = decoder.finalNorm.trainable
        head = try decoder.untiedHead.map { Linear(weight: try weight(names.head + ".weight", $0)) }
    }

    /// A network of random weights: matrices normal of deviation 0.02, those that end a residual branch smaller by
    /// √(2 layers), norms of ones, biases 0.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a configuration out of range.
    public convenience init(
        _ configuration: TransformerConfiguration, dropout: Double = 0, using generator: inout SeededGenerator
    ) throws {
        // The shapes come from a decoder of random weights; its values are replaced.
        try self.init(Transformer(random: configuration, seed: 0))
        self.dropout = dropout
        let deviation = 0.02 / Float(2 * configuration.layerCount).squareRoot()
        let ends = configuration.names.block.branchEnds
        for (name, parameter) in namedParameters where parameter.shape.count == 2 {
            let endsBranch = ends.contains { name.hasSuffix("." + $0 + ".weight") }
            parameter.value = Tensor(
                normal: parameter.shape, standardDeviation: endsBranch ? deviation : 0.02, using: &generator)
        }
        for (name, parameter) in namedParameters where name.hasSuffix(".bias") {
            parameter.value = Tensor(zeros: parameter.shape)
        }
    }

    /// The parts by the names that checkpoints give them.
    public var parts: [(name: String, part: Any)] {
        let names = configuration.names
        return [(names.embedding, embedding)] + (positions.map { [(names.positions + ".weight", $0)] } ?? [])
            + [(names.layers, blocks), (names.norm, finalNorm)] + (head.map { [(names.head, $0)] } ?? [])
    }

    /// The output head; nil if it is the embedding table.
    public var outputLayer: Linear? { head }

    /// What the blocks give for token ids, before the last norm: [batch · T, hiddenSize].
    ///
    /// - Parameter ids: [batch · T], sequences one after the other, each from position 0.
    public func hiddenStates(_ ids: [Int32], batch: Int, on tape: Tape<Float>) -> Variable<Float> {
        blockStates(ids, batch: batch, on: tape).last!
    }

    /// The embeddings, then what each block gives: [batch · T, hiddenSize] each.
    public func blockStates(_ ids: [Int32], batch: Int, on tape: Tape<Float>) -> [Variable<Float>] {
        let places = places(ids.count, batch: batch)
        var start = embedding(ids, on: tape)
        if let positions { start = start + positions.on(tape).gathered(places) }
        return blockStates(start.dropout(dropout), from: 0, batch: batch)
    }

    private func places(_ rows: Int, batch: Int) -> [Int32] {
        let length = rows / max(batch, 1)
        require(
            length * batch == rows && length <= configuration.maximumPositions, "sequences of \(length) tokens")
        return (0..<rows).map { Int32($0 % length) }
    }

    /// A stream [batch · T, hiddenSize] as it comes to a block, then what that and each later one make of it.
    ///
    /// - Parameter layer: The first block that is run, 0...``TransformerConfiguration/layerCount``.
    public func blockStates(_ stream: Variable<Float>, from layer: Int, batch: Int) -> [Variable<Float>] {
        let places = places(stream.rows, batch: batch)
        var states = [stream]
        for block in blocks[layer...] {
            let x = states.last!
            if recomputesBlocks {
                states.append(
                    stream.tape.recomputing { [dropout] in
                        block(x, positions: places, batch: batch, dropout: dropout)
                    })
            } else {
                states.append(block(x, positions: places, batch: batch, dropout: dropout))
            }
        }
        return states
    }

    /// Logits [n, vocabulary] of some rows of ``hiddenStates(_:batch:on:)``.
    public func logits(_ hidden: Variable<Float>) -> Variable<Float> { headLogits(norm(hidden)) }

    /// Logits [n, vocabulary] of rows behind the last norm.
    func headLogits(_ normalized: Variable<Float>) -> Variable<Float> {
        head.map { $0(normalized) } ?? embedding.logits(normalized)
    }

    /// Logits [batch · T, vocabulary] for token ids [batch · T].
    public func callAsFunction(_ ids: [Int32], batch: Int, on tape: Tape<Float>) -> Variable<Float> {
        logits(hiddenStates(ids, batch: batch, on: tape))
    }

    /// The mean cross-entropy of the next tokens. Logits of all rows are never in memory together.
    ///
    /// - Parameters:
    ///   - ids: [batch · T].
    ///   - next: The token after each; negative ones do not count.
    public func loss(_ ids: [Int32], next: [Int32], batch: Int, on tape: Tape<Float>) -> Variable<Float> {
        Loss.crossEntropy(of: norm(hiddenStates(ids, batch: batch, on: tape)), labels: next) { [self] in
            headLogits($0)
        }
    }

    /// The decoder that this network is now, to be evaluated, run, pruned and saved.
    ///
    /// - Parameter values: The type of stored values; frozen matrices keep theirs.
    /// - Throws: As ``TrainableWeight/stored(_:)``.
    public func stored(_ values: ValueType = .f32) throws -> Transformer {
        try Transformer(
            configuration: configuration, embedding: embedding.weight.stored(values), positions: positions?.value,
            blocks: blocks.map { try $0.stored(values) }, finalNorm: finalNorm.stored,
            untiedHead: head.map { try $0.weight.stored(values) }, file: "trained model")
    }
}

/// Embeddings of tokens: a table [vocabulary, width] in any form, which may be the output head as well.
public final class TokenTable: Module {
    /// [vocabulary, width].
    public let weight: any TrainableWeight
    /// What looked up rows are multiplied by.
    public let scale: Float

    /// A table in any form. No weight decay is applied to it.
    public init(_ weight: any TrainableWeight, scale: Float = 1) {
        self.weight = weight
        self.scale = scale
        for parameter in weight.parameters { parameter.decays = false }
    }

    /// Rows [ids.count, width].
    public func callAsFunction(_ ids: [Int32], on tape: Tape<Float>) -> Variable<Float> {
        let rows: Variable<Float>
        switch weight {
        case let dense as DenseWeight where dense.view == nil:
            rows = dense.parameter.on(tape).gathered(ids)
        case let frozen as FrozenWeight:
            var table = Tensor<Float>(uninitialized: [ids.count, frozen.inputs])
            table.withMutablePointer { p in
                for (i, id) in ids.enumerated() {
                    require(id >= 0 && Int(id) < frozen.outputs, "token \(id) outside the vocabulary")
                    frozen.matrix.decode(rows: Int(id)..<Int(id) + 1, into: p + i * frozen.inputs)
                }
            }
            rows = tape.constant(table)
        default:
            // Whatever else it is, it multiplies rows of the identity.
            var picks = Tensor<Float>(zeros: [weight.inputs, weight.inputs])
            for i in 0..<weight.inputs { picks[i, i] = 1 }
            rows = weight.apply(tape.constant(picks), bias: nil).transposed().gathered(ids)
        }
        return scale == 1 ? rows : rows.affine(scale)
    }

    /// Products [n, vocabulary] of rows [n, width] with the table.
    public func logits(_ x: Variable<Float>) -> Variable<Float> {
        x.tape.note(rows: x.rows, dense: weight.outputs * weight.inputs, active: weight.multiplyAdds)
        return weight.apply(x, bias: nil)
    }
}
