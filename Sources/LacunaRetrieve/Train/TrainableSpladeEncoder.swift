import LacunaLearn
import LacunaModels
import LacunaTensor

extension TrainableBERT {
    /// The last hidden state of every token of some texts, [tokens, hiddenSize].
    func states(of texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float> {
        var lengths = [Int](repeating: 0, count: texts.count)
        // Where each token stands when all texts are filled up to the longest.
        let columns = texts.texts.map { text -> Int in
            lengths[Int(text)] += 1
            return lengths[Int(text)] - 1
        }
        let width = max(lengths.max() ?? 0, 1)
        var ids = [Int32](repeating: 0, count: texts.count * width)
        var visible = [UInt8](repeating: 0, count: ids.count)
        // A text without tokens attends to something, so that nothing is divided by 0; nobody reads what it gives.
        for text in lengths.indices where lengths[text] == 0 { visible[text * width] = 1 }
        let places = zip(texts.texts, columns).map { Int($0) * width + $1 }
        for (place, token) in zip(places, texts.tokens) { (ids[place], visible[place]) = (token, 1) }
        return self(ids, batch: texts.count, visible: visible, on: tape).gathered(places.map { Int32($0) })
    }
}

/// ``SpladeEncoder`` to be learned: weights of all terms from a head for masked tokens.
///
///     w_j = max over tokens i of log(1 + max(0, logit_ij))
public final class TrainableSpladeEncoder: StorableTermEncoder {
    /// The encoder with its head.
    public let network: TrainableBERT
    /// What becomes of the logits.
    public var pooling: LexicalPooling { head.pooling }
    var head: LexicalHead

    /// - Throws: `LacunaError.unsupported` for a network without a head for masked tokens.
    public init(_ network: TrainableBERT, pooling: LexicalPooling = LexicalPooling()) throws {
        self.network = network
        head = LexicalHead(
            pooling, terms: network.configuration.vocabularySize, logits: try network.predictor())
    }

    public var termCount: Int { network.configuration.vocabularySize }
    public var parts: [(name: String, part: Any)] { [("network", network)] }
    public var readsAddedTokens: Bool { true }

    public func callAsFunction(_ texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float> {
        if texts.count == 0 { return tape.constant(Tensor(zeros: [0, termCount])) }
        return head(network.states(of: texts, on: tape), texts: texts.texts, count: texts.count)
    }

    public func stored(_ input: TextInput) throws -> any TermEncoder {
        try SpladeEncoder(network.stored(), input: input, pooling: pooling)
    }
}

/// ``TokenWeightEncoder`` to be learned: a weight for every token that occurs, from what surrounds it.
public final class TrainableTokenWeightEncoder: StorableTermEncoder {
    /// The encoder; its head for masked tokens, if it has one, is not used.
    public let network: TrainableBERT
    /// From a hidden state to the weight of its token: [1, hiddenSize] and a bias.
    public let score: Linear
    private let addedTokens: Set<Int32>

    /// Begins with a bias of 1, so that no weight begins at 0, whose gradient is 0.
    ///
    /// - Parameter addedTokens: What the tokenizer puts around a text: no terms.
    public init(_ network: TrainableBERT, addedTokens: Set<Int>, using generator: inout SeededGenerator) {
        self.network = network
        self.addedTokens = Set(addedTokens.map { Int32($0) })
        score = Linear(inputDimensions: network.configuration.hiddenSize, outputDimensions: 1, using: &generator)
        score.bias?.value = Tensor([1])
    }

    public var termCount: Int { network.configuration.vocabularySize }
    public var parts: [(name: String, part: Any)] { [("network", network), ("score", score)] }
    public var readsAddedTokens: Bool { true }

    public func callAsFunction(_ texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float> {
        let own = texts.tokens.indices.filter { !addedTokens.contains(texts.tokens[$0]) }
        if own.isEmpty { return tape.constant(Tensor(zeros: [texts.count, termCount])) }
        let states = network.states(of: texts, on: tape).gathered(own.map { Int32($0) })
        return score(states).relu().logarithmOfOnePlus().reshaped([own.count])
            .largestOfTerms(texts.selecting(own), terms: termCount)
    }

    public func stored(_ input: TextInput) throws -> any TermEncoder {
        let weight = try score.weight.stored(.f32).densified()
        return try TokenWeightEncoder(
            network.stored(), weight: weight.scalars, bias: score.bias?.value[0] ?? 0, input: input)
    }
}
