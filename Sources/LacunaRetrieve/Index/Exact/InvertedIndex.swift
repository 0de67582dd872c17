import LacunaSparse
import LacunaTensor

/// An exact index: inverted lists to find the documents that can matter, and their vectors to score them.
///
/// Every strategy gives the documents and scores of ``BruteForceIndex``, to the last bit.
public struct InvertedIndex: SparseIndex {
    /// How the lists are walked.
    public enum Strategy: String, Sendable, Hashable, CaseIterable {
        /// Term at a time, window of documents by window: the fastest for queries of many terms, whose lists nearly all
        /// matter.
        case accumulate
        /// Lists whose terms together cannot lift a document into the result are only looked into. (Turtle and Flood,
        /// "Query evaluation: strategies and optimizations", 1995.)
        case maxScore
        /// Document at a time; blocks whose largest weights cannot add up to enough are passed over. (Ding and Suel,
        /// "Faster top-k document retrieval using block-max indexes", 2011.)
        case blockMaxWAND
        /// ``maxScore`` for up to ``fewTerms`` terms, ``accumulate`` beyond.
        case automatic
    }

    /// What documents are scored with.
    public let vectors: DocumentVectors
    /// What finds the documents that are scored.
    public let lists: PostingLists
    /// How the lists are walked. The result is the same by each; only the time differs.
    public var strategy: Strategy

    /// Up to how many query terms ``Strategy/automatic`` takes ``Strategy/maxScore``.
    public static let fewTerms = 8

    init(vectors: DocumentVectors, lists: PostingLists, strategy: Strategy = .automatic) {
        (self.vectors, self.lists, self.strategy) = (vectors, lists, strategy)
    }

    /// Inverts the vectors.
    ///
    /// - Complexity: O(entries).
    public init(_ vectors: DocumentVectors, strategy: Strategy = .automatic) {
        self.init(vectors: vectors, lists: PostingLists(vectors), strategy: strategy)
    }

    /// - Throws: As ``DocumentVectors/init(_:)``.
    public init(_ documents: SparseMatrix<Float>, strategy: Strategy = .automatic) throws {
        self.init(try DocumentVectors(documents), strategy: strategy)
    }

    public var documentCount: Int { vectors.documentCount }
    public var termCount: Int { vectors.termCount }
    public var byteCount: Int { vectors.byteCount + lists.byteCount }

    public func collect(
        _ query: SparseVector<Float>, into top: inout TopDocuments, filter: DocumentSet?, scratch: SearchScratch
    ) -> SearchWork {
        var terms: [QueryTerm] = []
        query.forEachEntry { term, weight in
            let list = lists.starts[term]..<lists.starts[term + 1]
            if weight > 0 && !list.isEmpty {
                terms.append(QueryTerm(term: term, weight: weight, bound: weight * lists.maxima[term], list: list))
            }
        }
        if terms.isEmpty { return SearchWork() }
        let chosen =
            strategy != .automatic ? strategy : terms.count <= Self.fewTerms ? .maxScore : .accumulate
        return scratch.withDense(query) { dense in
            switch chosen {
            case .blockMaxWAND:
                blockMaxWAND(terms, dense, into: &top, filter: filter)
            case .maxScore:
                windows(terms, dense, into: &top, filter: filter, scratch: scratch, usesBounds: true)
            case .accumulate, .automatic:
                windows(terms, dense, into: &top, filter: filter, scratch: scratch, usesBounds: false)
            }
        }
    }
}

/// A query's term, with where its list is read.
struct QueryTerm {
    let term: Int
    let weight: Float
    /// What the term adds to a document's score at most.
    let bound: Float
    /// The postings that have not been passed yet.
    var list: Range<Int>
}
