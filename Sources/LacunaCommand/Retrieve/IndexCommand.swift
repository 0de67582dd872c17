import ArgumentParser
import LacunaIO
import LacunaRetrieve
import LacunaTensor

struct IndexCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "index", abstract: "Builds, changes and describes indexes of documents.",
        discussion: """
            Examples:
              lacuna index build abstracts corpus.jsonl --bm25
              lacuna index build abstracts corpus.jsonl --model splade --seismic --recall 0.95
              lacuna index add abstracts more.jsonl
              lacuna search abstracts --query "boundary layer"

            An index is a directory. It can be searched while it is changed; a change is there at once or, whatever \
            happens \
            to the program, not at all.
            """,
        subcommands: [
            IndexBuild.self, IndexAdd.self, IndexDelete.self, IndexMerge.self, IndexStats.self, IndexVerify.self,
            IndexExport.self,
        ])
}

/// What documents are read with.
struct FeedOptions: ParsableArguments {
    @Flag(help: "Leave out lines with something wrong, and count them.")
    var skipBad = false

    @Flag(help: "Do not keep the texts: results show identifiers only.")
    var noContents = false

    @Option(
        in: 1...1_000_000,
        help: ArgumentHelp("Documents in memory take about so much before they are written.", valueName: "MB"))
    var memory = 1024

    /// Adds the documents of some files and says what was left out.
    func add(
        _ files: [InputFile], to writer: IndexWriter, _ weighting: TextWeighting?, _ progress: ProgressDisplay
    ) throws -> Int {
        var feed = DocumentFeed(weighting: weighting, skipsBad: skipBad, keepsTexts: !noContents)
        for file in files { try feed.add(file.path, to: writer, progress: progress) }
        progress.clear()
        if feed.skipped > 0 {
            Console.error.print(
                "left out \(Quantities.grouped(feed.skipped)) documents, the first: "
                    + (feed.firstSkipped?.description ?? ""))
        }
        return feed.added
    }
}

struct IndexBuild: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build", abstract: "Makes an index of documents.",
        discussion: """
            FILE has one JSON object a line: {"id", "vector": {term: weight}} is taken as it is; {"_id", "title", \
            "text"} is \
            encoded by --model or, with --bm25, cut into words. A member "metadata" of words, lists of words and \
            numbers can \
            be filtered by. A document replaces an earlier one of the same identifier.

            The index is exact, unless --seismic is given: that one is faster for learned vectors and may miss some \
            results. --recall finds out how it has to be searched, and says what it measured.
            """)

    @Argument(help: "The directory of the index.", completion: .directory)
    var index: String

    @Argument(help: "JSON lines of documents.")
    var files: [InputFile]

    @Option(
        help: ArgumentHelp("The folder of a sparse encoder for texts.", valueName: "directory"), completion: .directory)
    var model: String?

    @Option(in: 1...1_000_000, help: ArgumentHelp("Keep only so many of a text's largest weights.", valueName: "n"))
    var maxActiveDims: Int?

    @Flag(help: "Weigh the words of texts by BM25.")
    var bm25 = false

    @Option(
        name: .customLong("k1"), within: .atLeast(0), help: "BM25: how soon repetition stops to count (default: 0.9).")
    var k1: Double?

    @Option(
        name: .customLong("b"), within: .from(0, to: 1),
        help: "BM25: how much long documents are held back (default: 0.4).")
    var b: Double?

    @Flag(help: "BM25: keep words as they are, instead of English stems without stop words.")
    var plainWords = false

    @Flag(help: "An approximate index for learned vectors.")
    var seismic = false

    @Option(
        in: 1...100_000_000,
        help: ArgumentHelp("Seismic: postings kept, per term on average (default: 3500).", valueName: "n"))
    var nPostings: Int?

    @Option(within: .above(0, atMost: 1), help: "Seismic: clusters per posting of a list (default: 0.1).")
    var clusterRatio: Double?

    @Option(
        in: 1...1_000_000,
        help: ArgumentHelp("Seismic: blocks of so many documents instead of clusters.", valueName: "n"))
    var blockSize: Int?

    @Option(
        within: .above(0, atMost: 1),
        help: "Seismic: the part of a block's weight that its summary keeps (default: 0.4).")
    var summaryPruneRatio: Double?

    @Option(
        in: 0...1024,
        help: ArgumentHelp(
            "Seismic: nearest documents kept for each, to refine results (default: 0).", valueName: "n"))
    var neighbours: Int?

    @Option(within: .above(0, atMost: 1), help: "Seismic: find out how to search for this recall at 10.")
    var recall: Double?

    @Option(
        help: ArgumentHelp("Queries to measure the recall with, instead of documents cut short.", valueName: "file"))
    var recallQueries: InputFile?

    @Option(seed: ArgumentHelp("Changes the choice of cluster centres.", valueName: "n"))
    var seed: UInt64 = 0

    @Flag(help: "Replace an index that is there.")
    var force = false

    @OptionGroup var feed: FeedOptions
    @OptionGroup var options: RunOptions

    func validate() throws {
        if bm25 && model != nil { throw ValidationError("--bm25 and --model exclude each other") }
        if bm25 && seismic { throw ValidationError("--bm25 needs an exact index: leave out --seismic") }
        if recall != nil && !seismic { throw ValidationError("--recall is for --seismic: other indexes are exact") }
        // What would be ignored is refused.
        for (option, isGiven) in [("--k1", k1 != nil), ("--b", b != nil), ("--plain-words", plainWords)] {
            if isGiven && !bm25 { throw ValidationError("\(option) is for --bm25") }
        }
        for (option, isGiven) in [
            ("--n-postings", nPostings != nil), ("--cluster-ratio", clusterRatio != nil),
            ("--block-size", blockSize != nil), ("--summary-prune-ratio", summaryPruneRatio != nil),
            ("--neighbours", neighbours != nil), ("--seed", seed != 0),
        ] where isGiven && !seismic { throw ValidationError("\(option) is for --seismic") }
        if clusterRatio != nil && blockSize != nil {
            throw ValidationError("--cluster-ratio and --block-size exclude each other")
        }
        if maxActiveDims != nil && model == nil { throw ValidationError("--max-active-dims is for --model") }
        if recallQueries != nil && recall == nil { throw ValidationError("--recall-queries is for --recall") }
    }

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        try IndexWriter.check(creating: index, replacing: force)
        var weighting: TextWeighting?
        if bm25 {
            weighting = .words(
                WordAnalyzer(stemmer: plainWords ? .none : .porter, removesStopWords: !plainWords))
        } else if let model {
            var encoder = try SparseEncoder.load(model)
            encoder.maximumTerms = maxActiveDims
            weighting = .model(encoder, path: model)
        }
        let writer = try IndexWriter(
            creating: index, settings: try settings(weighting), replacing: force,
            memoryBudget: feed.memory << 20, progress: progress)
        let added = try feed.add(files, to: writer, weighting, progress)
        try writer.merge()
        var text = "\(index): \(Quantities.grouped(added)) documents"
        if let recall {
            let snapshot = try IndexSnapshot.open(index)
            let queries =
                try recallQueries.map { file in
                    try weighting.map { try $0.queries(TextQuery.read(file.path).map(\.text)) }
                        .map { try $0.map(snapshot.query) }
                } ?? nil
            if recallQueries != nil && queries == nil {
                throw LacunaError.invalidArgument("recall-queries", reason: "there is no --model to encode them")
            }
            let tuning = try snapshot.tuned(recall: recall, queries: queries, progress: progress)
            try writer.setSearch(tuning.search)
            try writer.commit()
            let measured = tuning.measured
            text +=
                "\nrecall@10 \(Quantities.fixed(measured.mean, 3)) ± \(Quantities.fixed(measured.standardError, 3)) on "
                + "\(measured.queries) \(recallQueries == nil ? "documents cut short" : "queries"), "
                + "not those it was chosen by: "
                + "\(tuning.search), \(Quantities.grouped(Int(measured.documentsScored))) documents scored a query"
            if !tuning.reachesGoal {
                text += "\nno setting reaches \(recall): more postings (--n-postings) or larger summaries are needed"
            }
        }
        progress.clear()
        Console.output.print(text)
    }

    private func settings(_ weighting: TextWeighting?) throws -> IndexSettings {
        var kind = IndexSettings.Kind.exact
        if seismic {
            var settings = SeismicSettings(seed: seed)
            if let nPostings { settings.pruning = .global(nPostings, cap: 1.5) }
            if let clusterRatio { settings.blocking = .clusters(ratio: clusterRatio) }
            if let blockSize { settings.blocking = .fixed(blockSize) }
            if let summaryPruneRatio { settings.summaryEnergy = summaryPruneRatio }
            if let neighbours { settings.neighbours = neighbours }
            kind = .seismic(settings)
        }
        return IndexSettings(
            kind: kind,
            weighting: bm25 ? .bm25(try BM25(k1: Float(k1 ?? 0.9), b: Float(b ?? 0.4)), averageLength: nil) : .given,
            encoder: weighting?.description ?? JSONObject())
    }
}

struct IndexAdd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Adds documents, or replaces those of the same identifier.")

    @Argument(help: "The directory of the index.", completion: .directory)
    var index: String

    @Argument(help: "JSON lines of documents.")
    var files: [InputFile]

    @Option(
        help: ArgumentHelp("The folder of the index's encoder, if it has moved.", valueName: "directory"),
        completion: .directory)
    var model: String?

    @OptionGroup var feed: FeedOptions
    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let writer = try IndexWriter(opening: index, memoryBudget: feed.memory << 20, progress: progress)
        let added = try feed.add(files, to: writer, try TextWeighting(writer.settings, path: model), progress)
        try writer.commit()
        progress.clear()
        Console.output.print("\(index): added \(Quantities.grouped(added)) documents")
    }
}

struct IndexDelete: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "delete", abstract: "Deletes documents.")

    @Argument(help: "The directory of the index.", completion: .directory)
    var index: String

    @Argument(help: "Identifiers of documents.")
    var ids: [String]

    func run() throws {
        let writer = try IndexWriter(opening: index)
        let missing = ids.filter { !writer.delete($0) }
        try writer.commit()
        Console.output.print("\(index): deleted \(Quantities.grouped(ids.count - missing.count)) documents")
        if !missing.isEmpty {
            throw CommandFailure(
                .failure, "\(index): there is no document \(missing.map { "'\($0)'" }.joined(separator: ", "))")
        }
    }
}

struct IndexMerge: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge", abstract: "Puts all segments into one, without the documents that were deleted.")

    @Argument(help: "The directory of the index.", completion: .directory)
    var index: String

    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let before = try IndexSnapshot.open(index).byteCount
        try IndexWriter(opening: index, progress: progress).merge()
        progress.clear()
        let snapshot = try IndexSnapshot.open(index)
        Console.output.print(
            "\(index): \(Quantities.bytes(before)) before, \(Quantities.bytes(snapshot.byteCount)) now")
    }
}

struct IndexStats: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "stats", abstract: "Says what is in an index.")

    @Argument(help: "The directory of the index.", completion: .directory)
    var index: String

    @OptionGroup var form: JSONOption

    func run() throws {
        let snapshot = try IndexSnapshot.open(index)
        let count = max(snapshot.documentCount + snapshot.deletedCount, 1)
        let perDocument = Double(snapshot.entryCount) / Double(count)
        var kind = "exact"
        if case .seismic = snapshot.settings.kind { kind = "seismic, searched with \(snapshot.settings.search)" }
        var weights = "as given"
        if case .bm25(let bm25, let length) = snapshot.settings.weighting {
            weights =
                "BM25, k1 \(bm25.k1), b \(bm25.b), average length "
                + (length.map { Quantities.fixed(Double($0), 1) } ?? "none yet")
        }
        let rows: [(String, String, JSONValue)] = [
            ("documents", Quantities.grouped(snapshot.documentCount), JSONValue(snapshot.documentCount)),
            ("deleted", Quantities.grouped(snapshot.deletedCount), JSONValue(snapshot.deletedCount)),
            ("segments", Quantities.grouped(snapshot.segmentCount), JSONValue(snapshot.segmentCount)),
            ("terms", Quantities.grouped(snapshot.terms.count), JSONValue(snapshot.terms.count)),
            ("entries", Quantities.grouped(snapshot.entryCount), JSONValue(snapshot.entryCount)),
            ("entries a document", Quantities.fixed(perDocument, 1), .number(perDocument)),
            ("bytes", Quantities.bytes(snapshot.byteCount), JSONValue(snapshot.byteCount)),
            ("index", kind, .string(kind)), ("weights", weights, .string(weights)),
            ("fields", snapshot.fields.joined(separator: ", "), .array(snapshot.fields.map { .string($0) })),
            ("generation", Quantities.grouped(snapshot.generation), JSONValue(snapshot.generation)),
        ]
        var table = Table([.left("index"), .left(index)])
        for row in rows { table.append([row.0, row.1]) }
        printResult(
            json: form.json,
            .object(rows.reduce(into: JSONObject()) { $0[$1.0.replacing(" ", with: "_")] = $1.2 }),
            text: table.text(console: .output))
    }
}

struct IndexVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Reads all of an index and compares it with its checksums.")

    @Argument(help: "The directory of the index.", completion: .directory)
    var index: String

    func run() throws {
        let snapshot = try IndexSnapshot.open(index)
        Console.output.print(
            "\(index): \(Quantities.bytes(snapshot.byteCount)) in \(snapshot.segmentCount) segments agree "
                + "with their checksums"
        )
    }
}

struct IndexExport: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Writes the documents of an index for other search engines.",
        discussion: """
            Formats:
              vectors      JSON lines with float weights, as lacuna index build reads them
              anserini     JsonVectorCollection with whole weights, for Lucene: index with -impact -pretokenized
              opensearch   lines of the bulk API with a rank_features field
              qdrant       lines of points with a sparse vector of indices and values
              pgvector     rows to COPY into a sparsevec column: identifier, tab, {index:value,…}/terms
              terms        the terms that qdrant's and pgvector's indices stand for, a JSON string a line, for queries
            """)

    @Argument(help: "The directory of the index.", completion: .directory)
    var index: String

    @Option(help: "vectors, anserini, opensearch, qdrant, pgvector or terms.")
    var format: VectorExport.Format

    @Option(help: ArgumentHelp("Where it goes; - is standard output.", valueName: "file"))
    var output = OutputFile(path: "-")

    @Option(within: .above(0), help: "anserini: weights are multiplied by this and rounded.")
    var scale = 100.0

    @Option(help: ArgumentHelp("opensearch: the name of the index there.", valueName: "name"))
    var name = "lacuna"

    @Flag(help: "Replace the output file.")
    var force = false

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let snapshot = try IndexSnapshot.open(index)
        let file = try AtomicFile(output.isStandardOutput ? "/dev/stdout" : output.path)
        try VectorExport(format: format, scale: scale, indexName: name).write(snapshot) { try file.write($0) }
        try file.commit()
    }
}

extension VectorExport.Format: ExpressibleByArgument {}
