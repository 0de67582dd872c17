import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaTensor

/// ``EchoEncoder`` to be learned: weights of all terms from a causal language model that reads a text twice, or once.
public final class TrainableEchoEncoder: StorableTermEncoder {
    /// The language model.
    public let network: TrainableTransformer
    /// How it reads texts.
    public let form: EchoForm
    /// What becomes of the logits.
    public var pooling: LexicalPooling { head.pooling }
    /// How many of a text's first tokens are read, of the copy that is; nil for all. To see what they know.
    public var readTokens: Int?
    private let tokens: EchoForm.Tokens
    var head: LexicalHead

    /// - Parameters:
    ///   - tokenizer: The model's own, which the form is spelled with.
    ///   - pooling: What becomes of the logits.
    public convenience init(
        _ network: TrainableTransformer, tokenizer: Tokenizer, form: EchoForm = EchoForm(),
        pooling: LexicalPooling = LexicalPooling()
    ) {
        self.init(network, form: form, tokens: EchoForm.Tokens(form, tokenizer), pooling: pooling)
    }

    /// A network whose tokens have no spelling: texts are read as they are, twice or once.
    public convenience init(
        _ network: TrainableTransformer, isEchoed: Bool, pooling: LexicalPooling = LexicalPooling()
    ) {
        self.init(
            network, form: EchoForm(before: "", between: isEchoed ? "" : nil),
            tokens: EchoForm.Tokens(before: [], between: isEchoed ? [] : nil), pooling: pooling)
    }

    private init(
        _ network: TrainableTransformer, form: EchoForm, tokens: EchoForm.Tokens, pooling: LexicalPooling
    ) {
        (self.network, self.form, self.tokens) = (network, form, tokens)
        head = LexicalHead(pooling, terms: network.configuration.vocabularySize) { network.logits($0) }
    }

    public var termCount: Int { network.configuration.vocabularySize }
    public var parts: [(name: String, part: Any)] { [("network", network)] }
    public var readsAddedTokens: Bool { false }

    public func callAsFunction(_ texts: TokenTexts, on tape: Tape<Float>) -> Variable<Float> {
        var own = [[Int]](repeating: [], count: texts.count)
        for (text, token) in zip(texts.texts, texts.tokens) { own[Int(text)].append(Int(token)) }
        let forms = own.map { tokens($0) }
        let width = max(forms.map(\.tokens.count).max() ?? 0, 1)
        // What fills up stands behind everything: a causal model does not see it.
        var ids = [Int32](repeating: 0, count: texts.count * width)
        var (places, owners): ([Int32], [Int32]) = ([], [])
        for (text, form) in forms.enumerated() {
            for (i, token) in form.tokens.enumerated() { ids[text * width + i] = Int32(token) }
            for i in form.read.prefix(readTokens ?? .max) {
                places.append(Int32(text * width + i))
                owners.append(Int32(text))
            }
        }
        if places.isEmpty { return tape.constant(Tensor(zeros: [texts.count, termCount])) }
        let states = network.hiddenStates(ids, batch: texts.count, on: tape).gathered(places)
        return head(states, texts: owners, count: texts.count)
    }

    public func stored(_ input: TextInput) throws -> any TermEncoder {
        try EchoEncoder(network.stored(), input: input, form: form, pooling: pooling)
    }
}
