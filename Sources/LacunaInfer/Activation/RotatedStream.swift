import LacunaModels
import LacunaSparse
import LacunaTensor

extension Transformer {
    /// The same function with its RMS norms' gains folded into the matrices behind them and the residual stream turned by an
    /// orthogonal Q, so that the matrices that read the stream have nearly orthogonal columns: where ``ActivationMethod/wina``
    /// chooses best.
    ///
    /// Q holds the eigenvectors of `Σ WᵀW` over all matrices that read the stream, each divided by its size. Every reader W
    /// becomes `W diag(gain) Q`, every writer `Qᵀ W`; an RMS norm with gain 1 sees lengths alone, which Q keeps. The authors turn
    /// each block by a Q of its own, after which shortcuts need a dense product for every part of a block; one Q for all needs
    /// none. Their removal of the embedding's mean is left out, as it changes what RMS norms give.
    ///
    /// All matrices become dense f32, and the head its own.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for layer norms, and norms of what parts give.
    public func rotatedToColumns() throws -> Transformer {
        let width = configuration.hiddenSize
        guard
            blocks.allSatisfy({
                $0.attentionNorm.bias == nil && $0.feedForwardNorm.bias == nil && $0.outputNorms == nil
                    && $0.normPlacement == .before
            })
        else {
            throw LacunaError.unsupported(
                file: nil, what: "turning the stream of a model with other norms than RMS norms before its parts")
        }
        let readers: [(LinearRole, (TransformerBlock) -> Tensor<Float>)] = [
            (.query, { $0.attentionNorm.weight }), (.key, { $0.attentionNorm.weight }),
            (.value, { $0.attentionNorm.weight }), (.gate, { $0.feedForwardNorm.weight }),
            (.up, { $0.feedForwardNorm.weight }),
        ]
        func folded(_ weight: Tensor<Float>, _ gain: Tensor<Float>) -> Tensor<Float> {
            weight * gain.reshaped([1, gain.count])
        }
        var gram = Tensor<Double>(zeros: [width, width])
        for block in blocks {
            for (role, gain) in readers where role != .gate || block.feedForward.gate != nil {
                let weight = folded(block[role].weight.densified(), gain(block)).map { Double($0) }
                let own = weight.multiplied(by: weight, transposed: true)
                let trace = (0..<width).reduce(0.0) { $0 + own[$1, $1] }
                if trace > 0 { gram += own * (1 / trace) }
            }
        }
        let q = try gram.symmetricEigen().vectors.transposed().map { Float($0) }
        func dense(_ weight: Tensor<Float>) throws -> any StoredMatrix {
            try WeightStore.make(weight, layout: .dense, values: .f32)
        }
        let ones = Tensor<Float>(repeating: 1, shape: [width])
        var turned = blocks
        for layer in turned.indices {
            let block = blocks[layer]
            for (role, gain) in readers where role != .gate || block.feedForward.gate != nil {
                turned[layer][role].weight = try dense(
                    folded(block[role].weight.densified(), gain(block)).multiplied(by: q))
            }
            for role in [LinearRole.output, .down] {
                turned[layer][role].weight = try dense(
                    q.multiplied(by: block[role].weight.densified(), transposed: true))
                if let bias = block[role].bias {
                    turned[layer][role].bias = bias.reshaped([1, width]).multiplied(by: q).reshaped([width])
                }
            }
            turned[layer].attentionNorm.weight = ones
            turned[layer].feedForwardNorm.weight = ones
        }
        var configuration = configuration
        configuration.tiedEmbeddings = false
        return try Transformer(
            configuration: configuration, embedding: dense(embedding.densified().multiplied(by: q)), blocks: turned,
            finalNorm: Normalization(weight: ones, bias: nil, epsilon: finalNorm.epsilon),
            untiedHead: dense(folded(head.densified(), finalNorm.weight).multiplied(by: q)))
    }
}
