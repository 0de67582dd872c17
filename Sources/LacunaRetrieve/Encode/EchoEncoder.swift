import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// How a text is put before a causal language model so that all of it is known at every position that is read: twice.
///
/// Of `before text between text` the second copy is read. Positions of a single copy know only what stands before them.
public struct EchoForm: Sendable, Equatable {
    /// What stands before the first copy.
    public var before: String
    /// What stands between the copies; nil for a single copy, of which positions know the less the earlier they are.
    public var between: String?

    /// The words that the authors' prompt has.
    public init(before: String = "rewrite: ", between: String? = " rewritten: ") {
        (self.before, self.between) = (before, between)
    }

    /// The form in tokens.
    struct Tokens: Sendable {
        let before: [Int]
        let between: [Int]?

        init(_ form: EchoForm, _ tokenizer: Tokenizer) {
            func tokens(_ text: String) -> [Int] {
                text.isEmpty ? [] : tokenizer.encode(text, recognizesSpecials: false, addsBeginning: false)
            }
            let start = tokenizer.addsBeginning ? tokenizer.beginningToken.map { [$0] } ?? [] : []
            before = start + tokens(form.before)
            between = form.between.map(tokens)
        }

        init(before: [Int], between: [Int]?) { (self.before, self.between) = (before, between) }

        /// What a model reads for a text, and the places of the copy that is read: the last.
        func callAsFunction(_ text: [Int]) -> (tokens: [Int], read: Range<Int>) {
            let all = before + text + (between.map { $0 + text } ?? [])
            return (all, all.count - text.count..<all.count)
        }

        /// Tokens of the longest text that fits into so many positions.
        func longest(_ positions: Int) -> Int {
            between.map { (positions - before.count - $0.count) / 2 } ?? positions - before.count
        }
    }
}

/// Weights for all terms of the vocabulary, from the output head of a causal language model that reads a text twice.
///
///     w_j = max over tokens i of the second copy of log(1 + max(0, logit_ij))
///
/// Meet Doshi, Vishwajeet Kumar, Rudra Murthy, Vignesh P, Jaydeep Sen, "Mistral-SPLADE: LLMs for better Learned Sparse
/// Retrieval", arXiv:2408.11119. A language model that was not trained for this gives nearly every term a weight: its logits have a
/// large offset in common.
public struct EchoEncoder: TermEncoder {
    /// The language model, from whose logits the weights are made.
    public let model: Transformer
    /// How texts become tokens; what its tokenizer puts around a text stands in front once.
    public let input: TextInput
    /// How the model reads them.
    public let form: EchoForm
    /// What becomes of the logits.
    public var pooling: LexicalPooling
    public let termNames: [String]
    public var batchTokens = 4096
    private let tokens: EchoForm.Tokens

    /// - Parameter input: Its length is that of one copy.
    /// - Throws: `LacunaError.invalidArgument` for texts that are longer than the model's positions allow.
    public init(
        _ model: Transformer, input: TextInput, form: EchoForm = EchoForm(), pooling: LexicalPooling = LexicalPooling()
    ) throws {
        tokens = EchoForm.Tokens(form, input.tokenizer)
        let longest = tokens.longest(model.configuration.maximumPositions)
        guard input.maximumLength <= longest else {
            throw LacunaError.invalidArgument(
                "length",
                reason: "\(input.maximumLength) tokens, of which at most \(longest) fit into the model's positions")
        }
        (self.model, self.input, self.form, self.pooling) = (model, input, form, pooling)
        termNames = TextInput.termNames(input.tokenizer, count: model.configuration.vocabularySize)
    }

    public func length(of text: String) -> Int { 2 * min(input.maximumLength, text.utf8.count / 4 + 2) }

    public func encode(_ texts: [String]) throws -> SparseMatrix<Float> {
        let rows = try texts.map { text -> [(column: Int, value: Float)] in
            let (all, read) = tokens(input.bareTokens(text))
            if read.isEmpty { return [] }
            let hidden = try model.hiddenStates(all, sequenceLength: all.count)
            var sums = LexicalAccumulator(pooling, terms: termCount)
            for first in stride(from: read.lowerBound, to: read.upperBound, by: 128) {
                let part = first..<min(first + 128, read.upperBound)
                model.logits(hidden, rows: part).withPointer { sums.add($0, rows: part.count) }
            }
            return sums.row
        }
        return try SparseMatrix(columns: termCount, rows: rows)
    }
}
