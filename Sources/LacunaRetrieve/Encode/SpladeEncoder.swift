import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Weights for all terms of the vocabulary, from the head for masked tokens of an encoder of the BERT family.
///
///     w_j = max over tokens i of log(1 + max(0, logit_ij))
///
/// Thibault Formal, Carlos Lassance, Benjamin Piwowarski, Stéphane Clinchant, "SPLADE v2: Sparse Lexical and Expansion
/// Model for Information Retrieval", arXiv:2109.10086.
public struct SpladeEncoder: TermEncoder {
    /// An encoder with a head for masked tokens, from whose logits the weights are made.
    public let model: BERT
    /// How texts become tokens of the model.
    public let input: TextInput
    /// What becomes of the logits: the largest over the tokens, or their sum.
    public var pooling: LexicalPooling
    /// The spelling of each token of the model's vocabulary.
    public let termNames: [String]
    public var batchTokens = 4096

    /// - Throws: `LacunaError.unsupported` for a model without a head for masked tokens.
    public init(_ model: BERT, input: TextInput, pooling: LexicalPooling = LexicalPooling()) throws {
        guard model.maskedHead != nil else {
            throw LacunaError.unsupported(
                file: nil, what: "a sparse encoder made of a model without a head for masked tokens")
        }
        (self.model, self.input, self.pooling) = (model, input, pooling)
        termNames = TextInput.termNames(input.tokenizer, count: model.configuration.vocabularySize)
    }

    public func length(of text: String) -> Int { min(input.maximumLength, text.utf8.count / 4 + 2) }

    public func encode(_ texts: [String]) throws -> SparseMatrix<Float> {
        let tokens = texts.map(input.tokens)
        let hidden = try model.hiddenStates(tokens)
        var rows: [[(column: Int, value: Float)]] = []
        var start = 0
        let width = hidden.columns
        for text in tokens {
            var sums = LexicalAccumulator(pooling, terms: termCount)
            // The logits of a whole batch would take more memory than anything else.
            for first in stride(from: 0, to: text.count, by: 128) {
                let count = min(128, text.count - first)
                var part = Tensor<Float>(uninitialized: [count, width])
                hidden.withPointer { source in
                    part.withMutablePointer { $0.update(from: source + (start + first) * width, count: count * width) }
                }
                try model.maskedLogits(part).withPointer { sums.add($0, rows: count) }
            }
            rows.append(sums.row)
            start += text.count
        }
        return try SparseMatrix(columns: termCount, rows: rows)
    }
}
