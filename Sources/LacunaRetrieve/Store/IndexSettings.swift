import LacunaIO
import LacunaTensor

/// What an index directory is made for. Kept in its manifest.
public struct IndexSettings: Sendable, Equatable {
    /// How its documents are found.
    public enum Kind: Sendable, Equatable {
        /// Inverted lists: ``InvertedIndex``.
        case exact
        /// ``SeismicIndex``.
        case seismic(SeismicSettings)
    }

    /// What becomes of the weights that documents are added with.
    public enum Weighting: Sendable, Equatable {
        /// They are kept as they are.
        case given
        /// They count words, and are weighted by ``BM25``; queries are weighted by the documents there are at the
        /// time. The average length is fixed when the first documents are written, so that no later one changes those
        /// before it; nil until then.
        case bm25(BM25, averageLength: Float?)
    }

    /// How documents are found; fixed when the index is made.
    public var kind: Kind
    /// What becomes of weights; fixed when the index is made.
    public var weighting: Weighting
    /// How a ``Kind/seismic(_:)`` index is searched if nothing else is asked for.
    public var search: SeismicSearch
    /// What turns text into vectors, for those who search: free for the caller.
    public var encoder: JSONObject

    /// Settings of an index of learned weights that is searched exactly, unless something else is said.
    public init(
        kind: Kind = .exact, weighting: Weighting = .given, search: SeismicSearch = SeismicSearch(),
        encoder: JSONObject = JSONObject()
    ) {
        (self.kind, self.weighting, self.search, self.encoder) = (kind, weighting, search, encoder)
    }

    /// - Throws: `LacunaError.invalidArgument` naming the setting.
    public func check() throws {
        try search.check()
        if case .seismic(let settings) = kind {
            try settings.check()
            if case .bm25 = weighting {
                throw LacunaError.invalidArgument(
                    "index", reason: "BM25 needs an exact index, for how many documents have a term")
            }
        }
    }

    // MARK: As JSON

    var json: JSONObject {
        var object = JSONObject()
        switch kind {
        case .exact: object["index"] = "exact"
        case .seismic(let settings):
            object["index"] = "seismic"
            switch settings.pruning {
            case .list(let count):
                object["pruning"] = "list"
                object["n_postings"] = JSONValue(count)
            case .global(let count, let cap):
                object["pruning"] = "global"
                object["n_postings"] = JSONValue(count)
                object["max_fraction"] = .number(cap)
            }
            switch settings.blocking {
            case .clusters(let ratio, let components, let smallest):
                object["cluster_ratio"] = .number(ratio)
                object["doc_cut"] = JSONValue(components)
                object["min_cluster_size"] = JSONValue(smallest)
            case .fixed(let size): object["block_size"] = JSONValue(size)
            }
            object["summary_prune_ratio"] = .number(settings.summaryEnergy)
            object["neighbours"] = JSONValue(settings.neighbours)
            object["seed"] = .string(String(settings.seed))
            object["query_cut"] = JSONValue(search.queryCut)
            object["heap_factor"] = .number(Double(search.heapFactor))
            object["uses_neighbours"] = .bool(search.usesNeighbours)
        }
        switch weighting {
        case .given: object["weights"] = "given"
        case .bm25(let bm25, let length):
            object["weights"] = "bm25"
            object["k1"] = .number(Double(bm25.k1))
            object["b"] = .number(Double(bm25.b))
            object["average_length"] = length.map { .number(Double($0)) } ?? .null
        }
        object["encoder"] = .object(encoder)
        return object
    }

    init(_ fields: JSONFields) throws {
        switch try fields.string("index") {
        case "exact": kind = .exact
        case "seismic":
            let count = try fields.integer("n_postings")
            let pruning: SeismicSettings.Pruning
            switch try fields.string("pruning") {
            case "global": pruning = .global(count, cap: try fields.number("max_fraction"))
            case "list": pruning = .list(count)
            default: throw fields.failure("pruning", "is neither 'global' nor 'list'")
            }
            let blocking: SeismicSettings.Blocking =
                if let size = try fields.optionalInteger("block_size") {
                    .fixed(size)
                } else {
                    .clusters(
                        ratio: try fields.number("cluster_ratio"), components: try fields.integer("doc_cut"),
                        smallest: try fields.integer("min_cluster_size"))
                }
            guard let seed = UInt64(try fields.string("seed")) else { throw fields.failure("seed", "is no number") }
            kind = .seismic(
                SeismicSettings(
                    pruning: pruning, blocking: blocking, summaryEnergy: try fields.number("summary_prune_ratio"),
                    neighbours: try fields.integer("neighbours"), seed: seed))
        case let other: throw LacunaError.unsupported(file: fields.file, what: "an index of kind '\(other)'")
        }
        search =
            fields.contains("query_cut")
            ? SeismicSearch(
                queryCut: try fields.integer("query_cut"), heapFactor: Float(try fields.number("heap_factor")),
                usesNeighbours: try fields.bool("uses_neighbours", default: true)) : SeismicSearch()
        switch try fields.string("weights") {
        case "given": weighting = .given
        case "bm25":
            let length = try fields.optionalNumber("average_length").map { Float($0) }
            if let length, !(length >= 0 && length.isFinite) { throw fields.failure("average_length", "is negative") }
            weighting = .bm25(
                try BM25(k1: Float(try fields.number("k1")), b: Float(try fields.number("b"))), averageLength: length)
        case let other: throw LacunaError.unsupported(file: fields.file, what: "weights of kind '\(other)'")
        }
        encoder = try fields.optionalFields("encoder")?.object ?? JSONObject()
        try check()
    }
}

/// What a directory's files are at a moment. The one file of an index that changes, and always as a whole.
struct IndexManifest: Sendable, Equatable {
    struct SegmentEntry: Sendable, Equatable {
        var file: String
        var checksum: UInt32
        /// The file of the documents that were deleted; nil if none was.
        var deletions: String?
        var deletionsChecksum: UInt32 = 0
    }

    static let name = "index.json"
    static let version = 1

    var generation = 0
    var settings: IndexSettings
    var terms: (file: String, checksum: UInt32)?
    var fields: [(name: String, kind: MetadataValue.Kind)] = []
    var segments: [SegmentEntry] = []
    /// The number that the next document gets, larger than all before it.
    var nextSequence: UInt64 = 0
    /// The number that the next file gets.
    var nextFile = 1

    init(settings: IndexSettings) { self.settings = settings }

    static func == (a: IndexManifest, b: IndexManifest) -> Bool { a.json == b.json }

    /// Names of all files that the index consists of, besides the manifest.
    var files: Set<String> {
        Set(segments.map(\.file) + segments.compactMap(\.deletions) + (terms.map { [$0.file] } ?? []))
    }

    private var json: JSONObject {
        var object = JSONObject()
        object["format"] = "lacuna-index"
        object["version"] = JSONValue(Self.version)
        object["generation"] = JSONValue(generation)
        object["settings"] = .object(settings.json)
        if let terms { object["terms"] = ["file": .string(terms.file), "checksum": JSONValue(Int(terms.checksum))] }
        object["fields"] = .array(fields.map { ["name": .string($0.name), "kind": .string($0.kind.rawValue)] })
        object["segments"] = .array(
            segments.map { segment in
                var entry = JSONObject()
                entry["file"] = .string(segment.file)
                entry["checksum"] = JSONValue(Int(segment.checksum))
                if let deletions = segment.deletions {
                    entry["deletions"] = .string(deletions)
                    entry["deletions_checksum"] = JSONValue(Int(segment.deletionsChecksum))
                }
                return .object(entry)
            })
        object["next_sequence"] = JSONValue(Int(nextSequence))
        object["next_file"] = JSONValue(nextFile)
        return object
    }

    private static func checksum(_ object: JSONObject) -> Int {
        let text = Array(JSONValue.object(object).serialized().utf8)
        return Int(text.withUnsafeBytes { SectionFile.checksum($0) })
    }

    /// Puts the manifest in its place: from then on the directory is what it says.
    func write(to directory: String) throws {
        var object = json
        object["checksum"] = JSONValue(Self.checksum(object))
        try AtomicFile.write(JSONValue.object(object).serialized(.pretty), to: FileSystem.join(directory, Self.name))
    }

    /// - Throws: `LacunaError.file` if there is none, `LacunaError.unsupported` for another version,
    ///   `LacunaError.malformed` for one that is damaged.
    init(_ directory: String) throws {
        let path = FileSystem.join(directory, Self.name)
        guard FileSystem.exists(path) else {
            throw LacunaError.file(path: directory, reason: "is no index: it has no file \(Self.name)")
        }
        let fields = try JSONFields(contentsOf: path)
        guard try fields.optionalString("format") == "lacuna-index" else {
            throw fields.failure("format", "is not 'lacuna-index'")
        }
        let version = try fields.integer("version")
        guard version == Self.version else {
            throw LacunaError.unsupported(
                file: path, what: "version \(version) of the index format (this program reads \(Self.version))")
        }
        var object = fields.object
        let checksum = try fields.integer("checksum")
        object["checksum"] = nil
        guard Self.checksum(object) == checksum else {
            throw fields.failure("checksum", "does not agree: the file is damaged")
        }
        func name(_ entry: JSONFields, _ key: String) throws -> String {
            let name = try entry.string(key)
            guard !name.contains("/"), name.hasSuffix(".lacuna"), !name.hasPrefix(".") else {
                throw entry.failure(key, "'\(name)' is no name of a file of an index")
            }
            return name
        }
        func sum(_ entry: JSONFields, _ key: String) throws -> UInt32 {
            guard let sum = UInt32(exactly: try entry.integer(key)) else { throw entry.failure(key, "is out of range") }
            return sum
        }
        settings = try IndexSettings(try fields.fields("settings"))
        generation = try fields.integer("generation")
        if let entry = try fields.optionalFields("terms") {
            terms = (try name(entry, "file"), try sum(entry, "checksum"))
        }
        self.fields = try fields.array("fields").map {
            let entry = try JSONFields($0, file: path, location: "fields")
            guard let kind = MetadataValue.Kind(rawValue: try entry.string("kind")) else {
                throw entry.failure("kind", "is none that is known")
            }
            return (try entry.string("name"), kind)
        }
        segments = try fields.array("segments").map {
            let entry = try JSONFields($0, file: path, location: "segments")
            var segment = SegmentEntry(file: try name(entry, "file"), checksum: try sum(entry, "checksum"))
            if entry.contains("deletions") {
                segment.deletions = try name(entry, "deletions")
                segment.deletionsChecksum = try sum(entry, "deletions_checksum")
            }
            return segment
        }
        guard Set(segments.map(\.file)).count == segments.count else {
            throw fields.failure("segments", "has a file twice")
        }
        let sequence = try fields.integer("next_sequence")
        nextFile = try fields.integer("next_file")
        // Far from where counting on would overflow.
        for (key, number, least) in [
            ("next_sequence", sequence, 0), ("next_file", nextFile, 1), ("generation", generation, 0),
        ] where !(least..<1 << 60).contains(number) {
            throw fields.failure(key, "is out of range")
        }
        nextSequence = UInt64(sequence)
    }
}
