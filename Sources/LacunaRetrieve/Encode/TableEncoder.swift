import LacunaIO
import LacunaSparse
import LacunaTensor

/// One weight for each term that occurs, whatever the rest of the text: no network, for queries of "inference-free"
/// retrieval.
///
/// Zhichao Geng, Yiwen Wang, Dongyu Ru, Yang Yang, "Towards Competitive Search Relevance For Inference-Free Learned
/// Sparse Retrievers", arXiv:2411.04403. How often a term occurs makes no difference; a weight that is not above 0
/// leaves the term out.
public struct TableEncoder: TermEncoder {
    /// How texts become tokens. What a tokenizer puts around a text (`[CLS]` and such) gets no weight.
    public let input: TextInput
    /// [terms].
    public let weights: [Float]
    public let termNames: [String]
    public var batchTokens: Int { 1 << 16 }

    /// - Throws: `LacunaError.invalidArgument` for weights that are not finite.
    public init(_ weights: [Float], input: TextInput) throws {
        if let bad = weights.firstIndex(where: { !$0.isFinite }) {
            throw LacunaError.invalidArgument("weights", reason: "that of term \(bad) is not finite")
        }
        (self.weights, self.input) = (weights, input)
        termNames = TextInput.termNames(input.tokenizer, count: weights.count)
    }

    /// The same weight for all terms: binary vectors.
    public init(binary weight: Float = 1, input: TextInput) throws {
        try self.init(
            [Float](repeating: weight, count: input.tokenizer.vocabularySize), input: input)
    }

    /// The inverse document frequencies of some texts' terms; a term that none of them has is worth as much as one that
    /// one of them has.
    public init(inverseDocumentFrequenciesOf texts: some Collection<String>, input: TextInput) throws {
        var counts = [Int](repeating: 0, count: input.tokenizer.vocabularySize)
        for text in texts {
            for token in Set(input.bareTokens(text)) where token < counts.count { counts[token] += 1 }
        }
        try self.init(
            counts.map { BM25.inverseDocumentFrequency(max($0, 1), of: max(texts.count, 1)) }, input: input)
    }

    public func length(of text: String) -> Int { text.utf8.count / 4 + 1 }

    public func encode(_ texts: [String]) throws -> SparseMatrix<Float> {
        let rows = texts.map { text in
            Set(input.bareTokens(text)).sorted().compactMap { token -> (column: Int, value: Float)? in
                token < weights.count && weights[token] > 0 ? (token, weights[token]) : nil
            }
        }
        return try SparseMatrix(columns: weights.count, rows: rows)
    }
}
