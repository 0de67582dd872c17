import LacunaIO
import LacunaRetrieve
import LacunaSparse
import LacunaTensor

/// Weights of terms of some documents or queries, in memory of its own.
final class TermVectors: @unchecked Sendable {
    private enum Content {
        /// Compressed rows, and what their columns are called; nil for their numbers, of which there may be milliards.
        case rows(starts: [Int], columns: [UInt32], weights: [Float], names: [String]?)
        case lists([[(term: String, weight: Float)]])
    }

    private let content: Content

    init(lists: [[(term: String, weight: Float)]]) { content = .lists(lists) }

    /// - Parameter names: Of the columns; nil to call them by their numbers.
    init(_ matrix: MatrixObject, names: [String]?) throws {
        if let names {
            var seen: Set<ExactString> = []
            if let twice = names.first(where: { !seen.insert(ExactString($0)).inserted }) {
                throw refused("terms", "'\(twice)' is the name of two columns")
            }
        }
        // What a caller has lent is given back with the matrix, which need not live as long as this.
        let weights: [Float] =
            switch matrix.content {
            case .float(let matrix): matrix.values
            case .double(let matrix): matrix.values.map { Float($0) }
            }
        content = matrix.pattern.withCompressedRows { starts, indices in
            .rows(starts: Array(starts), columns: Array(indices), weights: weights, names: names)
        }
    }

    static func get(_ handle: OpaquePointer?) throws -> TermVectors {
        try Objects.get(handle, TermVectors.self, "vectors")
    }

    var count: Int {
        switch content {
        case .rows(let starts, _, _, _): starts.count - 1
        case .lists(let lists): lists.count
        }
    }

    func weights(_ row: Int) -> [(term: String, weight: Float)] {
        switch content {
        case .rows(let starts, let columns, let weights, let names):
            (starts[row]..<starts[row + 1]).map { place in
                let column = Int(columns[place])
                return (term: names?[column] ?? String(column), weight: weights[place])
            }
        case .lists(let lists): lists[row]
        }
    }

    /// As queries of an index.
    func queries(_ snapshot: IndexSnapshot) throws -> [SparseVector<Float>] {
        try (0..<count).map { try snapshot.query(weights($0)) }
    }
}

/// What searches found: lists of all queries one after another.
final class HitsObject: @unchecked Sendable {
    /// Texts one after another.
    private struct Texts {
        var bytes: [UInt8] = []
        var starts = [0]

        mutating func append(_ text: String) {
            bytes += text.utf8
            starts.append(bytes.count)
        }
    }

    private let numbers: [String: NumberArray]
    private let texts: [String: (bytes: Buffer<UInt8>, starts: NumberArray)]

    init(_ results: [(hits: [SearchHit], work: SearchWork)]) {
        var (starts, termStarts) = ([0], [0])
        var (scores, termScores): ([Float], [Float]) = ([], [])
        var (ids, contents, terms) = (Texts(), Texts(), Texts())
        for result in results {
            for hit in result.hits {
                scores.append(hit.score)
                ids.append(hit.id)
                contents.append(hit.text)
                for (term, score) in hit.contributions {
                    terms.append(term)
                    termScores.append(score)
                }
                termStarts.append(termScores.count)
            }
            starts.append(scores.count)
        }
        numbers = [
            "starts": NumberArray(starts), "scores": NumberArray(scores), "term_starts": NumberArray(termStarts),
            "term_scores": NumberArray(termScores),
            "documents_scored": NumberArray(results.map(\.work.documentsScored)),
        ]
        texts = ["ids": ids, "texts": contents, "terms": terms].mapValues {
            (Buffer($0.bytes), NumberArray($0.starts))
        }
    }

    func array(_ name: String) throws -> NumberArray {
        guard let found = numbers[name] else { throw refused("name", "'\(name)' is no array of hits") }
        return found
    }

    /// Bytes that live as long as the object.
    func text(_ name: String) throws -> (bytes: UnsafeRawPointer, starts: NumberArray) {
        guard let found = texts[name] else { throw refused("name", "'\(name)' is no list of texts of hits") }
        return (UnsafeRawPointer(found.bytes.pointer), found.starts)
    }
}

extension MeasuredRecall {
    /// As lacuna.h lists them.
    fileprivate var numbers: [Double] { [mean, standardError, documentsScored, Double(queries)] }
}

/// See lacuna.h.
@_cdecl("lacuna_vectors_rows")
public func lacunaVectorsRows(
    _ matrix: OpaquePointer?, _ terms: UnsafePointer<UnsafePointer<CChar>?>?,
    _ vectors: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let matrix = try Objects.get(matrix, MatrixObject.self, "matrix")
        let names = terms == nil ? nil : try Arguments.texts(terms, matrix.pattern.columns, "terms")
        try give(TermVectors(matrix, names: names), vectors, "vectors")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_encode")
public func lacunaIndexEncode(
    _ index: OpaquePointer?, _ texts: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int64, _ queries: Int32,
    _ progress: ProgressCallback?, _ context: UnsafeMutableRawPointer?,
    _ vectors: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let index = try IndexObject.get(index)
        let texts = try Arguments.texts(texts, Arguments.count(count, "count"), "texts")
        try give(
            index.encode(texts, asQueries: queries != 0, progress: CallbackProgress(progress, context)), vectors,
            "vectors")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_search")
public func lacunaIndexSearch(
    _ index: OpaquePointer?, _ queries: OpaquePointer?, _ k: Int64, _ filter: UnsafePointer<CChar>?,
    _ queryCut: Double, _ heapFactor: Double, _ exact: Int32, _ explain: Int32, _ progress: ProgressCallback?,
    _ context: UnsafeMutableRawPointer?, _ hits: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let snapshot = try IndexObject.get(index).snapshot()
        let queries = try TermVectors.get(queries)
        let condition = filter == nil ? nil : try MetadataFilter(Arguments.text(filter, "filter"))
        try give(
            HitsObject(
                snapshot.search(
                    all: queries.queries(snapshot), count: Arguments.count(k, "k", atLeast: 1), filter: condition,
                    search: IndexObject.search(
                        snapshot, queryCut: queryCut, heapFactor: heapFactor, exactly: exact != 0),
                    exactly: exact != 0, explains: explain != 0, progress: CallbackProgress(progress, context))),
            hits, "hits")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_hits_array")
public func lacunaHitsArray(
    _ hits: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ array: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        try give(
            Objects.get(hits, HitsObject.self, "hits").array(Arguments.text(name, "name")), array, "array")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_hits_texts")
public func lacunaHitsTexts(
    _ hits: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ bytes: UnsafeMutablePointer<UnsafeRawPointer?>?,
    _ starts: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let found = try Objects.get(hits, HitsObject.self, "hits").text(Arguments.text(name, "name"))
        guard let bytes else { throw refused("bytes", "is NULL") }
        try give(found.starts, starts, "starts")
        bytes.pointee = found.bytes
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_recall")
public func lacunaIndexRecall(
    _ index: OpaquePointer?, _ queries: OpaquePointer?, _ k: Int64, _ queryCut: Double, _ heapFactor: Double,
    _ progress: ProgressCallback?, _ context: UnsafeMutableRawPointer?,
    _ numbers: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let snapshot = try IndexObject.get(index).snapshot()
        let vectors = try queries.map { try TermVectors.get($0).queries(snapshot) }
        let found = try snapshot.recall(
            of: vectors, count: Arguments.count(k, "k", atLeast: 1),
            search: IndexObject.search(snapshot, queryCut: queryCut, heapFactor: heapFactor, exactly: false),
            progress: CallbackProgress(progress, context))
        try give(NumberArray(found.numbers), numbers, "numbers")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_tune")
public func lacunaIndexTune(
    _ index: OpaquePointer?, _ queries: OpaquePointer?, _ k: Int64, _ recall: Double,
    _ progress: ProgressCallback?, _ context: UnsafeMutableRawPointer?,
    _ numbers: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let index = try IndexObject.get(index)
        let snapshot = try index.snapshot()
        guard case .seismic = snapshot.settings.kind else {
            throw refused("index", "is exact: its searches find all there is, and have nothing to set")
        }
        let vectors = try queries.map { try TermVectors.get($0).queries(snapshot) }
        let tuning = try snapshot.tuned(
            recall: recall, queries: vectors, count: Arguments.count(k, "k", atLeast: 1),
            progress: CallbackProgress(progress, context))
        let array = NumberArray(
            tuning.measured.numbers + [
                tuning.reachesGoal ? 1 : 0, IndexPlan.number(tuning.search.queryCut),
                Double(tuning.search.heapFactor),
            ])
        guard numbers != nil else { throw refused("numbers", "is NULL") }
        try index.setSearch(tuning.search)
        try give(array, numbers, "numbers")
    }
}
