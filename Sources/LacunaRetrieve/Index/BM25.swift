import LacunaSparse
import LacunaTensor

/// Term weights of BM25, so that its score is an inner product like that of learned vectors.
///
///     score = Σ_t  c_q(t) · idf(t) · w(t, d)
///     w(t, d) = c(t) (k1 + 1) / (c(t) + k1 (1 - b + b · length / average length))
///     idf(t) = ln(1 + (N - n(t) + 0.5) / (n(t) + 0.5))
///
/// c counts a term in a document and c_q in the query; n(t) of the N documents have the term. Documents hold w, queries
/// the rest, so that N and n may be those of the moment of the search. (Robertson, Walker, Jones, Hancock-Beaulieu and
/// Gatford, "Okapi at TREC-3", 1994, with Lucene's idf, which is never negative.)
public struct BM25: Sendable, Equatable {
    /// How slowly further occurrences of a term count less; 0 counts a term once. From 0; 0.9 suits short passages.
    public let k1: Float
    /// How much long documents are held back, from 0 (not at all) to 1 (in proportion to their length).
    public let b: Float

    /// - Throws: `LacunaError.invalidArgument` for a negative `k1` or a `b` outside 0...1.
    public init(k1: Float = 0.9, b: Float = 0.4) throws {
        guard k1 >= 0 && k1.isFinite else { throw LacunaError.invalidArgument("k1", reason: "\(k1) is negative") }
        guard b >= 0 && b <= 1 else { throw LacunaError.invalidArgument("b", reason: "\(b) is not in 0...1") }
        (self.k1, self.b) = (k1, b)
    }

    /// The mean number of words of the documents [documents, terms] of counts; 0 if there are none.
    public static func averageLength(_ counts: SparseMatrix<Float>) -> Float {
        counts.rows == 0 ? 0 : Float(counts.values.reduce(0.0) { $0 + Double($1) } / Double(counts.rows))
    }

    /// The weights w of documents, from how often they have each term: [documents, terms].
    public func documentWeights(_ counts: SparseMatrix<Float>, averageLength: Float) -> SparseMatrix<Float> {
        let lengths = counts.rowSums()
        return counts.mapEntries { row, _, count in
            weight(count: count, length: lengths[row], averageLength: averageLength)
        }
    }

    /// The weight w of a term that a document of some length has so often.
    public func weight(count: Float, length: Float, averageLength: Float) -> Float {
        let relative = averageLength > 0 ? length / averageLength : 1
        return count == 0 ? 0 : count * (k1 + 1) / (count + k1 * (1 - b + b * relative))
    }

    /// How much a term that so many of the documents have is worth.
    public static func inverseDocumentFrequency(_ frequency: Int, of documents: Int) -> Float {
        let (n, total) = (Double(frequency), Double(documents))
        return Float(logarithmOfOnePlus((total - n + 0.5) / (n + 0.5)))
    }

    /// A query's weights: how often it has each term, times the term's inverse document frequency.
    ///
    /// - Parameter frequencies: How many of the documents have each term, [terms].
    public static func queryWeights(
        _ counts: SparseVector<Float>, frequencies: [Int], documents: Int
    ) throws -> SparseVector<Float> {
        guard frequencies.count == counts.count else {
            throw LacunaError.invalidArgument(
                "query", reason: "has \(counts.count) terms, there are frequencies of \(frequencies.count)")
        }
        return try SparseVector(
            count: counts.count,
            entries: counts.map {
                (index: $0.index, value: $0.value * inverseDocumentFrequency(frequencies[$0.index], of: documents))
            })
    }

    /// An index of documents by how often they have each term, [documents, terms]. It is searched with
    /// ``queryWeights(_:frequencies:documents:)``, for which its ``PostingLists/documentFrequency(_:)`` serve.
    ///
    /// - Throws: As ``DocumentVectors/init(_:)``.
    public func index(_ counts: SparseMatrix<Float>) throws -> InvertedIndex {
        try InvertedIndex(documentWeights(counts, averageLength: Self.averageLength(counts)))
    }
}
