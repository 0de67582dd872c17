import LacunaIO
import LacunaSparse
import LacunaTensor

/// A document that a search in an index directory found.
public struct SearchHit: Sendable, Equatable {
    /// The identifier that the document was added with.
    public let id: String
    /// The inner product of the query's and the document's vector.
    public let score: Float
    /// The text that the document was added with, empty if there was none.
    public let text: String
    /// Which of the query's terms the document has, and how much each adds to the score, the most first.
    public let contributions: [(term: String, score: Float)]

    public static func == (a: SearchHit, b: SearchHit) -> Bool {
        a.id == b.id && a.score == b.score && a.text == b.text
            && a.contributions.elementsEqual(b.contributions) { $0.term == $1.term && $0.score == $1.score }
    }
}

/// An index directory as it was at a moment. Adding, deleting and merging make new ones; this one goes on as it is.
public final class IndexSnapshot: Sendable {
    /// The directory.
    public let path: String
    /// What the index is made for.
    public let settings: IndexSettings
    /// Grows with everything that changes the directory.
    public let generation: Int
    /// The terms of the columns of all vectors.
    public let terms: TermTable
    let manifest: IndexManifest
    let parts: [Part]
    private let frequencies = Locked<[Int: Int]>([:])

    struct Part: Sendable {
        let segment: Segment
        let deletions: Deletions?
        /// The documents that were not deleted; nil for all.
        let live: DocumentSet?

        init(_ segment: Segment, _ deletions: Deletions?) {
            (self.segment, self.deletions) = (segment, deletions)
            live = deletions.map { deletions in
                DocumentSet(capacity: segment.documentCount) { !deletions.contains($0) }
            }
        }

        var liveCount: Int { live?.count ?? segment.documentCount }
    }

    /// How much of an index is read before it is used.
    public enum Checking: Sendable {
        /// Everything, and compared with the checksums: what is damaged is refused.
        case contents
        /// Headers only, so that an index of any size is there at once. A damaged one can then end the program, or find
        /// nonsense: for files that were checked before.
        case headers
    }

    /// Opens a directory.
    ///
    /// - Throws: `LacunaError` naming the file and what is wrong with it.
    public static func open(_ path: String, checking: Checking = .contents) throws -> IndexSnapshot {
        // A writer may take a file away between the manifest and the file: then there is a newer manifest.
        var last: Int?
        while true {
            let manifest = try IndexManifest(path)
            do {
                return try IndexSnapshot(path, manifest, checked: checking == .contents)
            } catch LacunaError.file(let file, let reason) {
                if last == manifest.generation || (try? IndexManifest(path).generation) == manifest.generation {
                    throw LacunaError.file(path: file, reason: reason)
                }
                last = manifest.generation
            }
        }
    }

    /// - Parameter known: Segments that are open already, by the names of their files.
    init(_ path: String, _ manifest: IndexManifest, checked: Bool, known: [String: Segment] = [:]) throws {
        (self.path, self.manifest) = (path, manifest)
        (settings, generation) = (manifest.settings, manifest.generation)
        if let entry = manifest.terms {
            let file = try SectionFile.Reader(FileSystem.join(path, entry.file))
            guard file.tableChecksum == entry.checksum else {
                throw LacunaError.malformed(
                    file: file.file.path, location: "header", reason: "is another file than the index means")
            }
            if checked { try file.verify() }
            terms = try TermTable(file, checked: checked)
        } else {
            terms = try TermTable([])
        }
        let termCount = terms.count
        parts = try manifest.segments.map { entry in
            let file = FileSystem.join(path, entry.file)
            let segment = try known[entry.file] ?? Segment(file, settings: manifest.settings, checked: checked)
            guard segment.checksum == entry.checksum else {
                throw LacunaError.malformed(
                    file: file, location: "header", reason: "is another file than the index means")
            }
            guard segment.vectors.termCount <= termCount else {
                throw LacunaError.malformed(
                    file: file, location: "section shape",
                    reason: "\(segment.vectors.termCount) terms, the index has \(termCount)")
            }
            let deletions = try entry.deletions.map {
                try Deletions(FileSystem.join(path, $0), documents: segment.documentCount)
            }
            return Part(segment, deletions)
        }
    }

    // MARK: What is in it

    /// Documents that can be found.
    public var documentCount: Int { parts.reduce(0) { $0 + $1.liveCount } }
    /// Documents that were deleted and still take room.
    public var deletedCount: Int { parts.reduce(0) { $0 + $1.segment.documentCount - $1.liveCount } }
    /// Number of segments, each of which is searched by itself.
    public var segmentCount: Int { parts.count }
    /// Entries of all vectors, deleted documents included.
    public var entryCount: Int { parts.reduce(0) { $0 + $1.segment.vectors.entryCount } }
    /// Bytes of all files.
    public var byteCount: Int {
        let names = manifest.files.union([IndexManifest.name])
        return names.reduce(0) { $0 + ((try? FileSystem.size(FileSystem.join(path, $1))) ?? 0) }
    }
    /// The names of the fields that filters may ask for.
    public var fields: [String] { manifest.fields.map(\.name) }

    /// Whether a document of an identifier can be found.
    public func contains(_ id: String) -> Bool { place(of: id) != nil }

    func place(of id: String) -> (part: Int, document: Int)? {
        for (number, part) in parts.enumerated().reversed() {
            if let document = part.segment.document(id), part.deletions?.contains(document) != true {
                return (number, document)
            }
        }
        return nil
    }

    /// Calls `body` with every document that can be found, in the order in which they were added.
    ///
    /// - Throws: What `body` throws, or as ``DocumentVectors/vector(_:)``.
    public func forEachDocument(
        _ body: (_ id: String, _ vector: SparseVector<Float>, _ text: String) throws -> Void
    ) throws {
        for place in livePlaces() {
            let segment = parts[place.part].segment
            try body(
                segment.ids[place.document], try segment.vectors.vector(place.document), segment.texts[place.document])
        }
    }

    /// What a document was added with for filters, as far as it is kept: truth values are words, and a list of one word is
    /// that word.
    func metadata(part: Int, document: Int) -> JSONObject {
        var object = JSONObject()
        for (name, _) in manifest.fields {
            switch parts[part].segment.metadata[name]?.value(document) {
            case .number(let number)?: object[name] = .number(number)
            case .keywords(let words)?:
                object[name] = words.count == 1 ? .string(words[0]) : .array(words.map { .string($0) })
            case nil: break
            }
        }
        return object
    }

    /// Where the documents that can be found are, in the order in which they were added.
    func livePlaces() -> [(sequence: UInt64, part: Int, document: Int)] {
        parts.indices.flatMap { part in
            (0..<parts[part].segment.documentCount).filter { parts[part].live?.contains($0) ?? true }.map {
                (sequence: parts[part].segment.sequences[$0], part: part, document: $0)
            }
        }.sorted { $0.sequence < $1.sequence }
    }

    /// The number of documents that can be found and have a term. Only exact indexes know.
    func documentFrequency(_ term: Int) -> Int {
        if let known = frequencies.withLock({ $0[term] }) { return known }
        var count = 0
        for part in parts where term < part.segment.vectors.termCount {
            guard let lists = part.segment.exact?.lists else { continue }
            let list = lists.starts[term]..<lists.starts[term + 1]
            count += part.live.map { live in list.count { live.contains(Int(lists.documents[$0])) } } ?? list.count
        }
        frequencies.withLock { $0[term] = count }
        return count
    }

    // MARK: Searching

    /// A query's vector, from weights of terms; those that the index does not have are left out. With BM25 the weights
    /// count words, and are multiplied by the terms' inverse document frequencies.
    ///
    /// - Throws: `LacunaError.invalidArgument` for weights that are negative or not finite, and a term that comes
    ///   twice.
    public func query(_ weights: [(term: String, weight: Float)]) throws -> SparseVector<Float> {
        var entries: [(index: Int, value: Float)] = []
        for (term, weight) in weights {
            guard weight.isFinite && weight >= 0 else {
                throw LacunaError.invalidArgument(
                    "query", reason: "the weight \(weight) of '\(term)' is negative or not finite")
            }
            guard let index = terms.index(of: term), weight > 0 else { continue }
            if case .bm25 = settings.weighting {
                let idf = BM25.inverseDocumentFrequency(documentFrequency(index), of: documentCount)
                entries.append((index, weight * idf))
            } else {
                entries.append((index, weight))
            }
        }
        return try SparseVector(count: terms.count, entries: entries)
    }

    /// The best documents for a query.
    ///
    /// - Parameters:
    ///   - search: How a ``IndexSettings/Kind/seismic(_:)`` index is searched; nil for its settings.
    ///   - exactly: Score every document, whatever the kind of the index.
    /// - Throws: `LacunaError.invalidArgument` for a count below 1, a query of another length or with weights that
    ///   cannot be, and a filter that makes no sense for the documents.
    public func search(
        _ query: SparseVector<Float>, count: Int, filter: MetadataFilter? = nil, search: SeismicSearch? = nil,
        exactly: Bool = false
    ) throws -> (hits: [SearchHit], work: SearchWork) {
        let (found, work) = try find(
            query, count: count, allowed: allowed(by: filter), search: search, exactly: exactly)
        return (found.map { hit($0, query) }, work)
    }

    struct Found {
        var score: Float
        var sequence: UInt64
        var part: Int
        var document: Int
    }

    /// Of each segment the documents that are there and that the filter lets through; nil for all of them. It looks at
    /// every document, so it is worked out once for many queries.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a filter that does not go with the fields.
    func allowed(by filter: MetadataFilter?) throws -> [DocumentSet?] {
        guard let filter else { return parts.map(\.live) }
        try filter.check(manifest.fields)
        return parts.map { part in
            let test = filter.test(part.segment.metadata)
            return DocumentSet(capacity: part.segment.documentCount) {
                (part.live?.contains($0) ?? true) && test($0)
            }
        }
    }

    /// Searches segment by segment, each with the score that the best so far ask of it.
    ///
    /// - Parameter allowed: As ``allowed(by:)`` has them.
    func find(
        _ query: SparseVector<Float>, count: Int, allowed: [DocumentSet?], search: SeismicSearch?, exactly: Bool
    ) throws -> ([Found], SearchWork) {
        guard count >= 1 else { throw LacunaError.invalidArgument("k", reason: "\(count) is below 1") }
        guard query.count == terms.count else {
            throw LacunaError.invalidArgument(
                "query", reason: "has \(query.count) entries, the index \(terms.count) terms")
        }
        try search?.check()
        var best: [Found] = []
        var work = SearchWork()
        for (number, part) in parts.enumerated() where part.liveCount > 0 {
            let segment = part.segment
            let known = try SparseVector(
                count: segment.vectors.termCount, entries: query.filter { $0.index < segment.vectors.termCount })
            var index = segment.index
            let members = allowed[number]
            if members?.count == 0 { continue }
            if exactly {
                index = segment.exact ?? BruteForceIndex(segment.vectors)
            } else if var seismic = segment.seismic {
                // The settings of this snapshot: a segment may have been opened under older ones.
                seismic.search = search ?? settings.search
                // An approximate search counts on finding good documents soon; among few, all can be scored.
                let few = members.map { $0.count <= max(1000, 20 * count) } ?? false
                index = few ? BruteForceIndex(seismic.vectors) : seismic
            }
            try index.check(known, count: count, filter: members)
            let floor = best.count == count ? best[count - 1].score : Float.leastNonzeroMagnitude
            var top = TopDocuments(min(count, segment.documentCount), floor: floor)
            work += SearchScratch.withOne { index.collect(known, into: &top, filter: members, scratch: $0) }
            best += top.sorted().map {
                Found(
                    score: $0.score, sequence: segment.sequences[$0.document], part: number, document: $0.document)
            }
            best.sort { $0.score != $1.score ? $0.score > $1.score : $0.sequence < $1.sequence }
            best.removeLast(max(best.count - count, 0))
        }
        return (best, work)
    }

    /// - Parameter explains: Whether ``SearchHit/contributions`` are worked out, which takes longer than most searches.
    func hit(_ found: Found, _ query: SparseVector<Float>, explains: Bool = true) -> SearchHit {
        let segment = parts[found.part].segment
        var contributions: [(term: String, score: Float)] = []
        if explains {
            segment.vectors.forEachEntry(of: found.document) { term, weight in
                let part = weight * query[term]
                if part > 0 { contributions.append((terms[term], part)) }
            }
            contributions.sort { $0.score != $1.score ? $0.score > $1.score : $0.term < $1.term }
        }
        return SearchHit(
            id: segment.ids[found.document], score: found.score, text: segment.texts[found.document],
            contributions: contributions)
    }
}

/// An index directory that is searched while others write to it: always as it was last committed.
public final class LiveIndex: Sendable {
    /// The directory.
    public let path: String
    private let current: Locked<IndexSnapshot>

    /// - Throws: As ``IndexSnapshot/open(_:checking:)``.
    public init(_ path: String, checking: IndexSnapshot.Checking = .contents) throws {
        self.path = path
        current = Locked(try IndexSnapshot.open(path, checking: checking))
    }

    /// The directory as it is now. What is new since the last call is read and checked; what was there is kept.
    ///
    /// - Throws: As ``IndexSnapshot/open(_:checking:)``.
    /// - Complexity: One small file is read if nothing has changed.
    public func snapshot() throws -> IndexSnapshot {
        let before = current.withLock { $0 }
        let manifest = try IndexManifest(path)
        if manifest.generation == before.generation { return before }
        let known = Dictionary(uniqueKeysWithValues: before.parts.map { ($0.segment.name, $0.segment) })
        let next: IndexSnapshot
        do {
            next = try IndexSnapshot(path, manifest, checked: true, known: known)
        } catch LacunaError.file {
            next = try IndexSnapshot.open(path)
        }
        current.withLock { if $0.generation < next.generation { $0 = next } }
        return next
    }
}
