import LacunaSparse
import LacunaTensor

/// The sparse vectors of documents, for scoring one document at a time: what is called a forward index.
///
/// Terms take two bytes where there are at most 65,536 of them, weights four. What is not larger than 0 is not kept.
public struct DocumentVectors: Sendable {
    /// Number of terms of the vocabulary: the length of every vector.
    public let termCount: Int
    /// Where each document begins among the entries, [documents + 1].
    let starts: MappedArray<Int>
    /// The terms of all entries; exactly one of both is there.
    let narrowTerms: MappedArray<UInt16>?
    let wideTerms: MappedArray<UInt32>?
    let weights: MappedArray<Float>

    /// The largest number of terms that two bytes can tell apart.
    static let narrowLimit = 1 << 16

    /// Number of documents, those without entries included.
    public var documentCount: Int { starts.count - 1 }
    /// Number of entries of all documents.
    public var entryCount: Int { weights.count }
    /// Bytes that the vectors take, in memory or in a mapped file.
    public var byteCount: Int {
        starts.byteCount + (narrowTerms?.byteCount ?? 0) + (wideTerms?.byteCount ?? 0) + weights.byteCount
    }

    init(
        termCount: Int, starts: MappedArray<Int>, narrowTerms: MappedArray<UInt16>?, wideTerms: MappedArray<UInt32>?,
        weights: MappedArray<Float>
    ) {
        self.termCount = termCount
        (self.starts, self.narrowTerms, self.wideTerms, self.weights) = (starts, narrowTerms, wideTerms, weights)
    }

    /// - Parameter documents: [documents, terms].
    /// - Throws: `LacunaError.invalidArgument` for weights that are negative or not finite: bounds, and with them every
    ///   faster search, need weights that add up.
    public init(_ documents: SparseMatrix<Float>) throws {
        termCount = documents.columns
        let starts = Buffer<Int>(uninitialized: documents.rows + 1)
        let isNarrow = documents.columns <= Self.narrowLimit
        var kept = 0
        var bad: (row: Int, column: Int, value: Float)?
        documents.forEachEntry { row, column, value in
            if value > 0 && value.isFinite { kept += 1 } else if value != 0 && bad == nil { bad = (row, column, value) }
        }
        if let bad {
            throw LacunaError.invalidArgument(
                "documents",
                reason: "document \(bad.row) has the weight \(bad.value) at term \(bad.column); "
                    + "weights have to be finite and not negative")
        }
        let narrow = Buffer<UInt16>(uninitialized: isNarrow ? kept : 0)
        let wide = Buffer<UInt32>(uninitialized: isNarrow ? 0 : kept)
        let weights = Buffer<Float>(uninitialized: kept)
        var place = 0
        documents.pattern.withCompressedRows { rowStarts, columns in
            documents.withValues { values in
                for row in 0..<documents.rows {
                    starts.pointer[row] = place
                    for i in rowStarts[row]..<rowStarts[row + 1] where values[i] != 0 {
                        if isNarrow {
                            narrow.pointer[place] = UInt16(truncatingIfNeeded: columns[i])
                        } else {
                            wide.pointer[place] = columns[i]
                        }
                        weights.pointer[place] = values[i]
                        place += 1
                    }
                }
            }
        }
        starts.pointer[documents.rows] = place
        self.starts = MappedArray(starts)
        narrowTerms = isNarrow ? MappedArray(narrow) : nil
        wideTerms = isNarrow ? nil : MappedArray(wide)
        self.weights = MappedArray(weights)
    }

    /// Calls `body` with every term and weight of a document, by ascending term.
    @inline(__always)
    func forEachEntry(of document: Int, _ body: (_ term: Int, _ weight: Float) -> Void) {
        let range = starts[document]..<starts[document + 1]
        if let terms = narrowTerms {
            for i in range { body(Int(terms[i]), weights[i]) }
        } else {
            let terms = wideTerms!
            for i in range { body(Int(terms[i]), weights[i]) }
        }
    }

    /// A document's vector.
    ///
    /// - Throws: `LacunaError.malformed` for a term that comes twice or is not in the vocabulary, as in a damaged index that was
    ///   opened without being checked.
    public func vector(_ document: Int) throws -> SparseVector<Float> {
        require((0..<documentCount).contains(document), "document \(document) of \(documentCount)")
        var entries: [(index: Int, value: Float)] = []
        forEachEntry(of: document) { entries.append(($0, $1)) }
        do {
            return try SparseVector(count: termCount, entries: entries)
        } catch {
            throw LacunaError.malformed(
                file: "index", location: "vectors", reason: "document \(document): \(error)")
        }
    }

    /// The inner product of a document with a query that is spread out over all terms: the one way in which scores are
    /// computed.
    @inline(__always)
    func score(_ document: Int, _ query: UnsafePointer<Float>) -> Float {
        let (start, end) = (starts[document], starts[document + 1])
        if let terms = narrowTerms {
            return Self.dot(terms.pointer + start, weights.pointer + start, end - start, query)
        }
        return Self.dot(wideTerms!.pointer + start, weights.pointer + start, end - start, query)
    }

    /// Four sums side by side, as one addition would wait for the other.
    @inline(__always)
    private static func dot<Term: FixedWidthInteger & UnsignedInteger>(
        _ terms: UnsafePointer<Term>, _ weights: UnsafePointer<Float>, _ count: Int, _ query: UnsafePointer<Float>
    ) -> Float {
        var (a, b, c, d): (Float, Float, Float, Float) = (0, 0, 0, 0)
        var i = 0
        while i + 4 <= count {
            a += weights[i] * query[Int(truncatingIfNeeded: terms[i])]
            b += weights[i + 1] * query[Int(truncatingIfNeeded: terms[i + 1])]
            c += weights[i + 2] * query[Int(truncatingIfNeeded: terms[i + 2])]
            d += weights[i + 3] * query[Int(truncatingIfNeeded: terms[i + 3])]
            i += 4
        }
        while i < count {
            a += weights[i] * query[Int(truncatingIfNeeded: terms[i])]
            i += 1
        }
        return (a + b) + (c + d)
    }

    /// How far a score may be off, relative to itself, if its terms are added in another order.
    static func rounding(terms: Int) -> Float { Float(terms + 4) * 0x1p-22 }
}

/// Scores every document, or every one that the filter lets through: no index at all, and what the others are compared
/// with.
public struct BruteForceIndex: SparseIndex {
    /// The vectors that are scored, as they are.
    public let vectors: DocumentVectors

    /// An index that is its vectors: nothing is built.
    public init(_ vectors: DocumentVectors) { self.vectors = vectors }

    /// - Throws: As ``DocumentVectors/init(_:)``.
    public init(_ documents: SparseMatrix<Float>) throws { self.init(try DocumentVectors(documents)) }

    public var documentCount: Int { vectors.documentCount }
    public var termCount: Int { vectors.termCount }
    public var byteCount: Int { vectors.byteCount }

    public func collect(
        _ query: SparseVector<Float>, into top: inout TopDocuments, filter: DocumentSet?, scratch: SearchScratch
    ) -> SearchWork {
        var work = SearchWork()
        scratch.withDense(query) { dense in
            func visit(_ document: Int) {
                top.insert(document, score: vectors.score(document, dense))
                work.documentsScored += 1
            }
            if let filter {
                filter.forEachMember { visit($0) }
            } else {
                for document in 0..<documentCount { visit(document) }
            }
        }
        return work
    }
}
