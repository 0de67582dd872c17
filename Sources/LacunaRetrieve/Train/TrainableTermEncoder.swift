import LacunaLearn
import LacunaModels
import LacunaTensor

/// Texts as tokens, one behind the other.
public struct TokenTexts: Sendable {
    /// All texts' tokens, one text behind the other.
    public let tokens: [Int32]
    /// The text of each token.
    public let texts: [Int32]
    /// Number of texts.
    public let count: Int

    /// - Parameter texts: The tokens of each text, below the ``TrainableTermEncoder/termCount`` of the encoder that reads
    ///   them; a text may have none.
    public init(_ texts: [[Int]]) {
        tokens = texts.joined().map { Int32($0) }
        self.texts = texts.enumerated().flatMap { index, text in text.map { _ in Int32(index) } }
        count = texts.count
    }

    /// Some of the tokens, by their places; the number of texts stays.
    func selecting(_ places: [Int]) -> TokenTexts {
        TokenTexts(tokens: places.map { tokens[$0] }, texts: places.map { texts[$0] }, count: count)
    }

    private init(tokens: [Int32], texts: [Int32], count: Int) {
        (self.tokens, self.texts, self.count) = (tokens, texts, count)
    }
}

/// Makes weights of all terms from texts, on the tape: one side of a learned sparse retriever.
///
/// Retrievers that look different are pairs of these, with a regulariser for each side and a loss: see
/// ``LexicalRetriever``.
///
/// Thong Nguyen, Sean MacAvaney, Andrew Yates, "A Unified Framework for Learned Sparse Retrieval", arXiv:2303.13416.
public protocol TrainableTermEncoder: Module {
    /// Number of terms of the vocabulary; tokens are below it.
    var termCount: Int { get }
    /// [texts, terms], none negative.
    func callAsFunction(_ texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float>
}

/// A trainable encoder whose result is an encoder of texts, which ``SparseEncoder`` can save.
public protocol StorableTermEncoder: TrainableTermEncoder {
    /// Whether it reads what a tokenizer puts around a text, such as `[CLS]`.
    var readsAddedTokens: Bool { get }
    /// The encoder that this is now, to be run.
    ///
    /// - Throws: `LacunaError.invalidArgument` for weights that are not finite.
    func stored(_ input: TextInput) throws -> any TermEncoder
}

extension StorableTermEncoder {
    /// The tokens of a text as this encoder reads them.
    public func tokens(_ text: String, _ input: TextInput) -> [Int] {
        readsAddedTokens ? input.tokens(text) : input.bareTokens(text)
    }
}

/// The same learned weight for every token that occurs: no weighting, no expansion.
public final class BinaryTermEncoder: StorableTermEncoder {
    /// Number of terms of the vocabulary.
    public let termCount: Int
    /// The one weight, [1]; what falls below 0 counts as 0.
    public let scale: Parameter<Float>

    /// - Parameter scale: What the weight is at first; 0.3 in the authors' code.
    public init(terms: Int, scale: Float = 0.3) {
        termCount = terms
        self.scale = Parameter(Tensor([scale]), decays: false)
    }

    public var parts: [(name: String, part: Any)] { [("scale", scale)] }
    public var readsAddedTokens: Bool { false }

    public func callAsFunction(_ texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float> {
        let weights = scale.on(tape).relu().expanded(to: [texts.tokens.count])
        return weights.largestOfTerms(texts, terms: termCount)
    }

    public func stored(_ input: TextInput) throws -> any TermEncoder {
        try TableEncoder([Float](repeating: scale.value[0], count: termCount), input: input)
    }
}

/// A weight of its own for every token that occurs, from a table: of inverse document frequencies, for queries that
/// need no network.
public final class TableTermEncoder: StorableTermEncoder {
    /// [terms, 1]; what is below 0 counts as 0.
    public let weights: Parameter<Float>

    /// - Parameter isTrainable: Whether the table is learned; it stays as it is by default.
    public init(_ weights: [Float], isTrainable: Bool = false) {
        self.weights = Parameter(Tensor(weights, shape: [weights.count, 1]), isTrainable: isTrainable, decays: false)
    }

    public var termCount: Int { weights.count }
    public var parts: [(name: String, part: Any)] { [("weights", weights)] }
    public var readsAddedTokens: Bool { false }

    public func callAsFunction(_ texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float> {
        weights.on(tape).gathered(texts.tokens).relu().reshaped([texts.tokens.count])
            .largestOfTerms(texts, terms: termCount)
    }

    public func stored(_ input: TextInput) throws -> any TermEncoder {
        try TableEncoder(weights.value.scalars, input: input)
    }
}

/// A weight for every token that occurs, from its embedding: `log(1 + max(0, w · e + b))`, or without the logarithm.
/// Terms are weighted, not added.
public final class MLPTermEncoder: TrainableTermEncoder {
    /// [terms, width].
    public let embedding: Parameter<Float>
    /// From an embedding to the weight of its token: [1, width] and a bias.
    public let score: Linear
    /// Whether weights are saturated by log(1 + x).
    public let isLogarithmic: Bool

    /// Begins with normal embeddings of about length 1, and a bias of 1 so that no weight begins at 0.
    public init(terms: Int, width: Int, isLogarithmic: Bool = true, using generator: inout SeededGenerator) {
        embedding = Parameter(
            Tensor(
                normal: [terms, width], standardDeviation: 1 / Float(width).squareRoot(), using: &generator),
            decays: false)
        score = Linear(inputDimensions: width, outputDimensions: 1, using: &generator)
        // Nothing begins at a weight of 0, whose gradient is 0.
        score.bias?.value = Tensor([1])
        self.isLogarithmic = isLogarithmic
    }

    public var termCount: Int { embedding.shape[0] }
    public var parts: [(name: String, part: Any)] { [("embedding", embedding), ("score", score)] }

    public func callAsFunction(_ texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float> {
        let scores = score(embedding.on(tape).gathered(texts.tokens)).relu().reshaped([texts.tokens.count])
        return (isLogarithmic ? scores.logarithmOfOnePlus() : scores).largestOfTerms(texts, terms: termCount)
    }
}

/// Weights of all terms from every token's embedding and an output embedding of every term, the largest over the
/// tokens: SPLADE's head without a network below it, so that the framework can be tried without a language model.
///
///     w_j = max_i log(1 + max(0, e_i · u_j + c_j))
public final class FactorizedTermEncoder: TrainableTermEncoder {
    /// What tokens and terms are compared by, [terms, width] each, and an offset of each term, [terms].
    public let embedding, output, bias: Parameter<Float>

    /// - Parameter isTied: Whether output embeddings begin as copies of the tokens', so that at first a term stands
    ///   mostly for itself.
    public init(terms: Int, width: Int, isTied: Bool = true, using generator: inout SeededGenerator) {
        func table() -> Tensor<Float> {
            Tensor<Float>(
                normal: [terms, width], standardDeviation: 1 / Float(width).squareRoot(), using: &generator)
        }
        let first = table()
        embedding = Parameter(first, decays: false)
        output = Parameter(isTied ? first : table(), decays: false)
        bias = Parameter(Tensor(zeros: [terms]))
    }

    public var termCount: Int { embedding.shape[0] }
    public var parts: [(name: String, part: Any)] { [("embedding", embedding), ("output", output), ("bias", bias)] }

    public func callAsFunction(_ texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float> {
        let rows = embedding.on(tape).gathered(texts.tokens)
        let logits = rows.multiplied(by: output.on(tape), otherTransposed: true).addingRow(bias.on(tape))
        // The logarithm is monotone: it may wait until one row a text is left.
        return logits.segmentMaxima(texts.texts, count: texts.count).relu().logarithmOfOnePlus()
    }
}

extension Variable where Scalar == Float {
    /// log(1 + x).
    func logarithmOfOnePlus() -> Variable { affine(1, 1).map(.logarithm) }

    /// The largest of the numbers of a text's equal tokens at that token's term, 0 at terms that do not occur: [texts,
    /// terms], from one number a token.
    func largestOfTerms(_ texts: TokenTexts, terms: Int) -> Variable {
        require(count == texts.tokens.count, "\(count) weights for \(texts.tokens.count) tokens")
        require(
            texts.tokens.allSatisfy { $0 >= 0 && Int($0) < terms }, "a token is none of the \(terms) terms")
        // Which token each place gets its number from.
        var found = [Int: Int](minimumCapacity: count)
        withPointer { x in
            for i in texts.tokens.indices {
                let place = Int(texts.texts[i]) * terms + Int(texts.tokens[i])
                if let other = found[place], x[other] >= x[i] { continue }
                found[place] = i
            }
        }
        let source = found
        return tape.operation(inputs: [self], shape: [texts.count, terms]) { inputs, output in
            for i in output.indices { output[i] = 0 }
            for (place, i) in source { output[place] = inputs[0][i] }
        } backward: { pass in
            pass.accumulate(0) { dx in for (place, i) in source { dx[i] += pass.gradient[place] } }
        }
    }
}
