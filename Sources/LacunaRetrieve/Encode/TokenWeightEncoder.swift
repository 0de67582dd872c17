import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// A weight for every term that occurs in a text, from what surrounds it: terms are weighted, none is added.
///
///     w_t = max over the tokens i that are t of log(1 + max(0, v · h_i + b))
///
/// h_i is the last hidden state of token i. (DeepImpact: Antonio Mallia, Omar Khattab, Torsten Suel, Nicola Tonellotto,
/// "Learning Passage Impacts for Inverted Indexes", arXiv:2104.12016; uniCOIL: Jimmy Lin, Xueguang Ma, "A Few Brief Notes on
/// DeepImpact, COIL, and a Conceptual Framework for Information Retrieval Techniques", arXiv:2106.14807.)
public struct TokenWeightEncoder: TermEncoder {
    /// The encoder whose last hidden states are read.
    public let model: BERT
    /// v, [hiddenSize].
    public let weight: [Float]
    /// b.
    public let bias: Float
    /// How texts become tokens of the model. What its tokenizer puts around a text gets no weight.
    public let input: TextInput
    public let termNames: [String]
    public var batchTokens = 4096

    /// - Throws: `LacunaError.invalidArgument` for weights that are not finite, or not one for each entry of a hidden state.
    public init(_ model: BERT, weight: [Float], bias: Float, input: TextInput) throws {
        guard weight.count == model.configuration.hiddenSize, bias.isFinite, weight.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument(
                "weight", reason: "is no finite number for each of \(model.configuration.hiddenSize) entries")
        }
        (self.model, self.weight, self.bias, self.input) = (model, weight, bias, input)
        termNames = TextInput.termNames(input.tokenizer, count: model.configuration.vocabularySize)
    }

    public func length(of text: String) -> Int { min(input.maximumLength, text.utf8.count / 4 + 2) }

    public func encode(_ texts: [String]) throws -> SparseMatrix<Float> {
        let tokens = texts.map(input.tokens)
        let hidden = try model.hiddenStates(tokens)
        let added = input.addedTokens
        let pooling = LexicalPooling()
        var row = 0
        let rows = hidden.withPointer { states in
            tokens.map { text -> [(column: Int, value: Float)] in
                var found: [Int: Float] = [:]
                for token in text {
                    let state = states + row * weight.count
                    row += 1
                    if added.contains(token) { continue }
                    var score = bias
                    for (j, w) in weight.enumerated() { score += w * state[j] }
                    let value = pooling.activated(score)
                    if value > found[token, default: 0] { found[token] = value }
                }
                return found.sorted { $0.key < $1.key }.map { (column: $0.key, value: $0.value) }
            }
        }
        return try SparseMatrix(columns: termCount, rows: rows)
    }
}
