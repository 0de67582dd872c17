import LacunaSparse
import LacunaTensor

/// Makes a sparse vector over a vocabulary of each text.
public protocol TermEncoder: Sendable {
    /// The name of each term of the vocabulary.
    var termNames: [String] { get }
    /// Tokens of the texts that are best encoded at once.
    var batchTokens: Int { get }

    /// Roughly how many tokens a text has, for making batches.
    func length(of text: String) -> Int

    /// One row of weights, none negative, for each text: [texts, terms].
    func encode(_ texts: [String]) throws -> SparseMatrix<Float>
}

extension TermEncoder {
    /// Number of terms of the vocabulary: the columns of every matrix of vectors.
    public var termCount: Int { termNames.count }

    /// Encodes any number of texts, some at a time.
    ///
    /// - Parameters:
    ///   - maximumTerms: Only so many of a text's largest weights are kept (`max_active_dims`); nil for all.
    /// - Throws: `LacunaError.invalidArgument` for a `maximumTerms` below 1, what the encoder throws, and
    ///   `LacunaError.cancelled`.
    public func encode(
        all texts: [String], maximumTerms: Int? = nil, progress: (any ProgressReporter)? = nil
    ) throws -> SparseMatrix<Float> {
        if let maximumTerms, maximumTerms < 1 {
            throw LacunaError.invalidArgument("max_active_dims", reason: "\(maximumTerms) is below 1")
        }
        var parts: [SparseMatrix<Float>] = []
        var start = 0
        while start < texts.count {
            try progress.report("encoding", start, of: texts.count)
            var (end, tokens) = (start, 0)
            while end < texts.count && (end == start || tokens + length(of: texts[end]) <= batchTokens) {
                tokens += length(of: texts[end])
                end += 1
            }
            let part = try encode(Array(texts[start..<end]))
            parts.append(try maximumTerms.map { try part.largestOfRows($0) } ?? part)
            start = end
        }
        try progress.report("encoding", texts.count, of: texts.count)
        return parts.isEmpty ? SparseMatrix(zeros: 0, termCount) : try .stackedVertically(parts)
    }
}

extension SparseMatrix<Float> {
    /// The `count` largest entries of each row; of equal ones at the border the earlier.
    func largestOfRows(_ count: Int) throws -> SparseMatrix {
        let rows = (0..<rows).map { row -> [(column: Int, value: Float)] in
            let entries = self.row(row).map { (column: $0.index, value: $0.value) }
            if entries.count <= count { return entries }
            return entries.sorted { $0.value != $1.value ? $0.value > $1.value : $0.column < $1.column }.prefix(count)
                .sorted { $0.column < $1.column }
        }
        return try SparseMatrix(columns: columns, rows: rows)
    }
}

/// What becomes of a text's logits: from [tokens, vocabulary] to one weight a term.
public struct LexicalPooling: Sendable, Hashable {
    /// What saturates a logit, so that no term outweighs all others. Raw values are the names in settings of
    /// sentence-transformers.
    public enum Activation: String, Sendable, Hashable {
        /// log(1 + max(0, x)).
        case log = "relu"
        /// log(1 + log(1 + max(0, x))), which makes weights more even and vectors sparser: `log1p_relu`.
        case doubleLog = "log1p_relu"
    }

    /// How the weights of a text's tokens become one weight a term.
    public enum Strategy: String, Sendable, Hashable {
        /// The largest over all tokens (SPLADE v2).
        case max
        /// The sum over all tokens (the first SPLADE).
        case sum
    }

    /// What is applied to each logit.
    public var activation: Activation
    /// How tokens are put together.
    public var strategy: Strategy

    /// The default is that of SPLADE v2 and of its later versions.
    public init(activation: Activation = .log, strategy: Strategy = .max) {
        (self.activation, self.strategy) = (activation, strategy)
    }

    func activated(_ logit: Float) -> Float {
        guard logit > 0 else { return 0 }
        let once = logarithmOfOnePlus(Double(logit))
        return Float(activation == .log ? once : logarithmOfOnePlus(once))
    }
}

/// Gathers the logits of one text, row by row.
struct LexicalAccumulator {
    let pooling: LexicalPooling
    /// For the maximum the largest logit so far, for the sum the sum of activations.
    private var values: [Float]

    init(_ pooling: LexicalPooling, terms: Int) {
        self.pooling = pooling
        values = [Float](repeating: pooling.strategy == .max ? -.infinity : 0, count: terms)
    }

    /// - Parameter logits: [rows, terms].
    mutating func add(_ logits: UnsafePointer<Float>, rows: Int) {
        let terms = values.count
        let pooling = pooling
        values.withUnsafeMutableBufferPointer { values in
            nonisolated(unsafe) let values = values
            nonisolated(unsafe) let logits = logits
            Parallel.forRanges(terms, grain: 2048) { range in
                for row in 0..<rows {
                    let x = logits + row * terms
                    if pooling.strategy == .max {
                        for j in range { values[j] = Swift.max(values[j], x[j]) }
                    } else {
                        for j in range where x[j] > 0 { values[j] += pooling.activated(x[j]) }
                    }
                }
            }
        }
    }

    var row: [(column: Int, value: Float)] {
        values.indices.compactMap { term in
            let weight = pooling.strategy == .max ? pooling.activated(values[term]) : values[term]
            return weight > 0 ? (term, weight) : nil
        }
    }
}
