import LacunaLearn
import LacunaTensor

/// Lifts the terms that a text literally has, the more the less a second view of the text gives them: what keeps a
/// large model's expansions from drowning brands and numbers.
///
///     W = w + I ∘ (max_j w'_j - w'_j)        w' = linear(h)
///
/// I marks the terms that occur in the text; h is a hidden state of it. (PROSPER, "LLMs as Sparse Retrievers: A
/// Framework for First-Stage Product Search", arXiv:2510.18527.)
public final class LiteralResidual: Module {
    /// w' of a hidden state: [terms, width] and a bias.
    public let linear: Linear
    /// Whether terms get what they lack to the largest; else they get w' itself, the weaker form that the authors
    /// compare with.
    public var compensates = true

    /// Begins at 0, so that W begins as w.
    public init(width: Int, terms: Int) {
        linear = Linear(
            weight: DenseWeight(Tensor(zeros: [terms, width])), bias: Tensor(zeros: [terms]))
    }

    public var parts: [(name: String, part: Any)] { [("linear", linear)] }

    /// - Parameters:
    ///   - weights: w, [texts, terms].
    ///   - hidden: h, [texts, width].
    public func callAsFunction(
        _ weights: Variable<Float>, hidden: Variable<Float>, texts: TokenTexts
    ) -> Variable<Float> {
        let terms = weights.columns
        let second = linear(hidden)
        var literal = Tensor<Float>(zeros: [texts.count, terms])
        for (token, text) in zip(texts.tokens, texts.texts) { literal[Int(text), Int(token)] = 1 }
        let isLiteral = weights.tape.constant(literal)
        if !compensates { return weights + isLiteral * second }
        let largest = second.rowMaxima().reshaped([texts.count, 1]).expanded(to: [texts.count, terms])
        return weights + isLiteral * (largest - second)
    }
}

extension Variable where Scalar == Float {
    /// The `k` largest entries of each row that has more than `k` entries other than 0, the rest 0; other rows as they
    /// are: the lexical focusing window.
    public func focused(_ k: Int) -> Variable {
        require(k >= 1, "a window of \(k) terms")
        if k >= columns { return self }
        let (rows, columns) = (self.rows, self.columns)
        let isWide = withPointer { p in
            (0..<rows).map { row in (0..<columns).count { p[row * columns + $0] != 0 } > k }
        }
        guard isWide.contains(true) else { return self }
        let largest = topK(k)
        if !isWide.contains(false) { return largest }
        return Variable.choosing(
            (0..<rows * columns).map { isWide[$0 / columns] }, largest, self)
    }
}
