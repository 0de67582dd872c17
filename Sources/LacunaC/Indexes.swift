import LacunaIO
import LacunaRetrieve
import LacunaSparse
import LacunaTensor

/// An index directory that a caller holds, or one that is to be made by the first documents.
final class IndexObject: @unchecked Sendable {
    private let path: String
    /// Where the index's encoder is, if it is not where the index says.
    private let encoder: String?
    private let state: Locked<State>
    private let weighting = Locked<TextWeighting?>(nil)
    /// Changes come one after another; searches go on meanwhile.
    private let changing = Locked(())

    private enum State {
        case planned(IndexPlan, overwrite: Bool)
        case made(LiveIndex)
    }

    /// - Throws: As ``LacunaRetrieve/IndexWriter/check(creating:replacing:)``.
    init(creating path: String, overwrite: Bool) throws {
        try IndexWriter.check(creating: path, replacing: overwrite)
        (self.path, encoder) = (path, nil)
        state = Locked(.planned(IndexPlan(), overwrite: overwrite))
    }

    init(opening path: String, encoder: String?, checking: IndexSnapshot.Checking) throws {
        (self.path, self.encoder) = (path, encoder)
        state = Locked(.made(try LiveIndex(path, checking: checking)))
    }

    static func get(_ handle: OpaquePointer?) throws -> IndexObject {
        try Objects.get(handle, IndexObject.self, "index")
    }

    // MARK: Setting up

    /// Changes what the index is made for.
    func plan(_ change: (inout IndexPlan) throws -> Void) throws {
        try state.withLock { state in
            guard case .planned(var plan, let overwrite) = state else {
                throw refused("name", "can be set before there are documents, not afterwards")
            }
            try change(&plan)
            state = .planned(plan, overwrite: overwrite)
        }
        weighting.withLock { $0 = nil }
    }

    var isMade: Bool { if case .made = state.withLock({ $0 }) { true } else { false } }

    /// The index as it is now.
    func snapshot() throws -> IndexSnapshot {
        guard case .made(let live) = state.withLock({ $0 }) else {
            throw refused("index", "has no documents yet: it is made when some are added")
        }
        return try live.snapshot()
    }

    // MARK: Encoding

    /// What turns texts into weights; loaded when it is first asked for.
    private func textWeighting() throws -> TextWeighting {
        try weighting.withLock { known in
            if let known { return known }
            let found: TextWeighting?
            switch state.withLock({ $0 }) {
            case .planned(let plan, _): found = try plan.weighting()
            case .made(let live): found = try TextWeighting(live.snapshot().settings, path: encoder)
            }
            guard let found else {
                throw refused(
                    "texts", "cannot be encoded: the index was made for vectors and names nothing that encodes texts")
            }
            known = found
            return found
        }
    }

    func encode(_ texts: [String], asQueries: Bool, progress: (any ProgressReporter)?) throws -> TermVectors {
        let weighting = try textWeighting()
        return TermVectors(
            lists: try asQueries ? weighting.queries(texts) : weighting.documents(texts, progress: progress))
    }

    // MARK: Changing

    /// Changes the directory: all of it, or nothing if `body` throws.
    ///
    /// - Parameter body: Gives whether segments are to be put into one.
    private func change(
        progress: (any ProgressReporter)?, makes: Bool = false, _ body: (IndexWriter) throws -> Bool
    ) throws {
        try changing.withLock { _ in
            switch state.withLock({ $0 }) {
            case .made:
                let writer = try IndexWriter(opening: path, progress: progress)
                if try body(writer) { try writer.merge() } else { try writer.commit() }
            case .planned(let plan, let overwrite):
                guard makes else { throw refused("index", "has no documents yet: it is made when some are added") }
                let weighting = try self.weighting.withLock { known in
                    known = try known ?? plan.weighting()
                    return known
                }
                let writer = try IndexWriter(
                    creating: path, settings: plan.settings(weighting), replacing: overwrite, progress: progress)
                _ = try body(writer)
                try writer.merge()
                let live = try LiveIndex(path)
                state.withLock { $0 = .made(live) }
            }
        }
    }

    func add(
        _ vectors: TermVectors, ids: [String]?, texts: [String]?, metadata: [String]?,
        progress: (any ProgressReporter)?
    ) throws {
        try change(progress: progress, makes: true) { writer in
            for row in 0..<vectors.count {
                if row % 256 == 0 { try progress.report("adding documents", row, of: vectors.count) }
                let id = ids?[row] ?? String(row)
                var fields = JSONObject()
                if let text = metadata?[row] {
                    guard case .object(let object) = try JSONValue(parsing: text, file: "metadata of '\(id)'") else {
                        throw refused("metadata", "that of document '\(id)' is no JSON object")
                    }
                    fields = object
                }
                try writer.add(
                    IndexedDocument(id: id, weights: vectors.weights(row), text: texts?[row] ?? "", metadata: fields))
            }
            return false
        }
    }

    func delete(_ ids: [String]) throws -> Int {
        var deleted = 0
        try change(progress: nil) { writer in
            for id in ids where writer.delete(id) { deleted += 1 }
            return false
        }
        return deleted
    }

    func merge(progress: (any ProgressReporter)?) throws { try change(progress: progress) { _ in true } }

    /// Changes how an approximate index is searched by default.
    func setSearch(_ search: SeismicSearch) throws {
        try change(progress: nil) { writer in
            try writer.setSearch(search)
            return false
        }
    }

    // MARK: Asking

    func number(_ name: String) throws -> Double {
        let snapshot = try snapshot()
        var search: SeismicSearch?
        if case .seismic = snapshot.settings.kind { search = snapshot.settings.search }
        return switch name {
        case "documents": Double(snapshot.documentCount)
        case "deleted": Double(snapshot.deletedCount)
        case "segments": Double(snapshot.segmentCount)
        case "terms": Double(snapshot.terms.count)
        case "entries": Double(snapshot.entryCount)
        case "bytes": Double(snapshot.byteCount)
        case "generation": Double(snapshot.generation)
        case "query_cut": search.map { IndexPlan.number($0.queryCut) } ?? .nan
        case "heap_factor": search.map { Double($0.heapFactor) } ?? .nan
        default: throw refused("name", "'\(name)' is no number of an index")
        }
    }

    /// How an index is searched where a caller changes that.
    ///
    /// - Parameters:
    ///   - queryCut: 0 for that of the index.
    ///   - heapFactor: Not a number for that of the index.
    /// - Throws: What has no meaning for the index is refused, never ignored.
    static func search(_ snapshot: IndexSnapshot, queryCut: Double, heapFactor: Double, exactly: Bool) throws
        -> SeismicSearch?
    {
        let changes = [("query_cut", queryCut != 0), ("heap_factor", !heapFactor.isNaN)].filter(\.1).map(\.0)
        guard let changed = changes.first else { return nil }
        guard case .seismic = snapshot.settings.kind, !exactly else {
            throw refused(changed, "has no meaning for an exact search")
        }
        var search = snapshot.settings.search
        if queryCut != 0 { search.queryCut = try IndexPlan.count(queryCut, "query_cut") }
        if !heapFactor.isNaN { search.heapFactor = Float(heapFactor) }
        try search.check()
        return search
    }
}

/// What an index is to be made for, as it is being set up: settings are put together when the first documents come.
struct IndexPlan {
    private var texts: [String: String] = [:]
    private var numbers: [String: Double] = [:]

    private static let names: [String: [String]] = [
        "kind": ["exact", "seismic"], "bm25": ["words", "plain-words", "counts"], "encoder": [],
    ]
    private static let bm25Numbers = ["k1", "b"]
    private static let seismicNumbers = [
        "n_postings", "max_fraction", "cluster_ratio", "doc_cut", "min_cluster_size", "block_size",
        "summary_prune_ratio", "neighbours", "seed", "query_cut", "heap_factor",
    ]
    static let searchNumbers = ["query_cut", "heap_factor"]

    mutating func set(_ name: String, _ text: String) throws {
        guard let allowed = Self.names[name] else { throw refused("name", "'\(name)' is no text of an index") }
        guard allowed.isEmpty || allowed.contains(text) else {
            throw refused(name, "'\(text)' is none of \(allowed.joined(separator: ", "))")
        }
        texts[name] = text
    }

    mutating func set(_ name: String, _ number: Double) throws {
        guard (Self.bm25Numbers + Self.seismicNumbers + ["max_terms"]).contains(name) else {
            throw refused("name", "'\(name)' is no number of an index")
        }
        numbers[name] = number
    }

    /// A count that may be infinite: all there are.
    static func count(_ number: Double, _ name: String) throws -> Int {
        number == .infinity ? .max : try Arguments.integer(number, name)
    }

    static func number(_ count: Int) -> Double { count == .max ? .infinity : Double(count) }

    /// What turns texts into weights; nil if there will be vectors.
    func weighting() throws -> TextWeighting? {
        if let folder = texts["encoder"] {
            var encoder = try SparseEncoder.load(folder)
            if let most = numbers["max_terms"] {
                encoder.maximumTerms = try Arguments.count(
                    Int64(Arguments.integer(most, "max_terms")), "max_terms", atLeast: 1)
            }
            return .model(encoder, path: folder)
        }
        switch texts["bm25"] {
        case "words": return .words(WordAnalyzer())
        case "plain-words": return .words(WordAnalyzer(stemmer: .none, removesStopWords: false))
        default: return nil
        }
    }

    /// - Throws: What is set but has no meaning for the index is refused, never ignored.
    func settings(_ weighting: TextWeighting?) throws -> IndexSettings {
        func refuse(_ names: [String], unless holds: Bool, _ why: String) throws {
            if !holds, let name = names.first(where: { numbers[$0] != nil }) { throw refused(name, why) }
        }
        let isSeismic = texts["kind"] == "seismic"
        let hasWords = texts["bm25"] != nil
        try refuse(Self.bm25Numbers, unless: hasWords, "has no meaning without bm25")
        try refuse(Self.seismicNumbers, unless: isSeismic, "has no meaning for an exact index")
        try refuse(["max_terms"], unless: texts["encoder"] != nil, "has no meaning without an encoder")
        if hasWords && texts["encoder"] != nil { throw refused("bm25", "and an encoder exclude each other") }
        var result = IndexSettings(encoder: weighting?.description ?? JSONObject())
        if hasWords {
            let plain = try BM25()
            result.weighting = .bm25(
                try BM25(k1: numbers["k1"].map { Float($0) } ?? plain.k1, b: numbers["b"].map { Float($0) } ?? plain.b),
                averageLength: nil)
        }
        if isSeismic { result.kind = .seismic(try seismic()) }
        if let cut = numbers["query_cut"] { result.search.queryCut = try Self.count(cut, "query_cut") }
        if let factor = numbers["heap_factor"] { result.search.heapFactor = Float(factor) }
        try result.check()
        return result
    }

    private func seismic() throws -> SeismicSettings {
        func integer(_ name: String) throws -> Int? {
            try numbers[name].map {
                let value = try Arguments.integer($0, name)
                guard (0...1 << 30).contains(value) else { throw refused(name, "is \(value), not in 0...\(1 << 30)") }
                return value
            }
        }
        var result = SeismicSettings()
        if case .global(let count, let cap) = result.pruning {
            result.pruning = .global(try integer("n_postings") ?? count, cap: numbers["max_fraction"] ?? cap)
        }
        let ofClusters = ["cluster_ratio", "doc_cut", "min_cluster_size"]
        if let size = try integer("block_size") {
            if let other = ofClusters.first(where: { numbers[$0] != nil }) {
                throw refused(other, "and block_size exclude each other")
            }
            result.blocking = .fixed(size)
        } else if case .clusters(let ratio, let components, let smallest) = result.blocking {
            result.blocking = .clusters(
                ratio: numbers["cluster_ratio"] ?? ratio, components: try integer("doc_cut") ?? components,
                smallest: try integer("min_cluster_size") ?? smallest)
        }
        if let share = numbers["summary_prune_ratio"] { result.summaryEnergy = share }
        if let count = try integer("neighbours") { result.neighbours = count }
        if let seed = numbers["seed"] {
            guard let whole = UInt64(exactly: seed) else {
                throw refused("seed", "is \(seed), not a whole number from 0 on")
            }
            result.seed = whole
        }
        return result
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_create")
public func lacunaIndexCreate(
    _ path: UnsafePointer<CChar>?, _ overwrite: Int32, _ index: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        try give(
            IndexObject(creating: Arguments.text(path, "path"), overwrite: overwrite != 0), index, "index")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_open")
public func lacunaIndexOpen(
    _ path: UnsafePointer<CChar>?, _ encoder: UnsafePointer<CChar>?, _ trust: Int32,
    _ index: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let folder = encoder == nil ? nil : try Arguments.text(encoder, "encoder")
        try give(
            IndexObject(
                opening: Arguments.text(path, "path"), encoder: folder, checking: trust != 0 ? .headers : .contents),
            index, "index")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_set_text")
public func lacunaIndexSetText(
    _ index: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ text: UnsafePointer<CChar>?
) -> Int32 {
    guarded {
        let index = try IndexObject.get(index)
        let (name, text) = (try Arguments.text(name, "name"), try Arguments.text(text, "text"))
        try index.plan { try $0.set(name, text) }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_set_number")
public func lacunaIndexSetNumber(_ index: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ number: Double) -> Int32 {
    guarded {
        let index = try IndexObject.get(index)
        let name = try Arguments.text(name, "name")
        guard index.isMade, IndexPlan.searchNumbers.contains(name) else {
            try index.plan { try $0.set(name, number) }
            return
        }
        var search = try index.snapshot().settings.search
        if name == "query_cut" {
            search.queryCut = try IndexPlan.count(number, name)
        } else {
            search.heapFactor = Float(number)
        }
        try index.setSearch(search)
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_add")
public func lacunaIndexAdd(
    _ index: OpaquePointer?, _ vectors: OpaquePointer?, _ ids: UnsafePointer<UnsafePointer<CChar>?>?,
    _ texts: UnsafePointer<UnsafePointer<CChar>?>?, _ metadata: UnsafePointer<UnsafePointer<CChar>?>?,
    _ progress: ProgressCallback?, _ context: UnsafeMutableRawPointer?
) -> Int32 {
    guarded {
        let index = try IndexObject.get(index)
        let vectors = try TermVectors.get(vectors)
        func list(_ pointer: UnsafePointer<UnsafePointer<CChar>?>?, _ name: String) throws -> [String]? {
            try pointer == nil ? nil : Arguments.texts(pointer, vectors.count, name)
        }
        try index.add(
            vectors, ids: list(ids, "ids"), texts: list(texts, "texts"), metadata: list(metadata, "metadata"),
            progress: CallbackProgress(progress, context))
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_delete")
public func lacunaIndexDelete(
    _ index: OpaquePointer?, _ ids: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int64,
    _ deleted: UnsafeMutablePointer<Int64>?
) -> Int32 {
    guarded {
        let found = try IndexObject.get(index).delete(
            Arguments.texts(ids, Arguments.count(count, "count"), "ids"))
        deleted?.pointee = Int64(found)
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_merge")
public func lacunaIndexMerge(
    _ index: OpaquePointer?, _ progress: ProgressCallback?, _ context: UnsafeMutableRawPointer?
) -> Int32 {
    guarded { try IndexObject.get(index).merge(progress: CallbackProgress(progress, context)) }
}

/// See lacuna.h.
@_cdecl("lacuna_index_number")
public func lacunaIndexNumber(
    _ index: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ number: UnsafeMutablePointer<Double>?
) -> Int32 {
    guarded {
        let value = try IndexObject.get(index).number(Arguments.text(name, "name"))
        guard let number else { throw refused("number", "is NULL") }
        number.pointee = value
    }
}

/// See lacuna.h.
@_cdecl("lacuna_index_contains")
public func lacunaIndexContains(
    _ index: OpaquePointer?, _ id: UnsafePointer<CChar>?, _ found: UnsafeMutablePointer<Int32>?
) -> Int32 {
    guarded {
        let snapshot = try IndexObject.get(index).snapshot()
        let id = try Arguments.text(id, "id")
        guard let found else { throw refused("found", "is NULL") }
        found.pointee = snapshot.contains(id) ? 1 : 0
    }
}
