import ArgumentParser
import LacunaIO
import LacunaRetrieve
import LacunaSparse
import LacunaTensor

struct SearchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search", abstract: "Searches an index.",
        discussion: """
            Examples:
              lacuna search abstracts --query "heat transfer in boundary layers"
              lacuna search abstracts --query wing --filter 'year >= 1958 and section = theory' --json
              lacuna search abstracts --queries queries.jsonl --k 1000 --output splade.run
              lacuna search abstracts --queries queries.jsonl --k 1000 --feedback 10 --output rm3.run
              lacuna search abstracts --serve 8080   # a page, and POST /search

            A result's terms are those that it shares with the query, with what each adds to the score. --queries \
            writes a \
            TREC run. --vectors takes queries that are encoded already: {"id", "vector": {term: weight}} a line.
            """)

    @Argument(help: "The directory of the index.", completion: .directory)
    var index: String

    @Option(name: [.customShort("q"), .long], help: ArgumentHelp("A text to search for.", valueName: "text"))
    var query: [String] = []

    @Option(help: ArgumentHelp("Queries as JSON lines (_id, text) or id<tab>text.", valueName: "file"))
    var queries: InputFile?

    @Option(help: ArgumentHelp("Encoded queries, as lacuna encode --queries writes them.", valueName: "file"))
    var vectors: InputFile?

    @Option(
        in: 0...65535,
        help: ArgumentHelp(
            "Serve the index on this port of this machine, 0 for any that is free; 'lacuna serve --index' has more to set.",
            valueName: "port"))
    var serve: Int?

    @Option(in: 1...10_000_000, help: ArgumentHelp("Results of a query.", valueName: "n"))
    var k = 10

    @Option(help: ArgumentHelp("Only documents whose metadata pass.", valueName: "expression"))
    var filter: String?

    @Option(in: 1...1_000_000, help: ArgumentHelp("Seismic: walk the lists of so many query terms.", valueName: "n"))
    var queryCut: Int?

    @Option(within: .atLeast(0), help: "Seismic: pass over blocks below this part of the k-th best score.")
    var heapFactor: Double?

    @Option(
        in: 1...1000,
        help: ArgumentHelp(
            "Search again with terms of so many documents found first (pseudo relevance feedback, RM3).", valueName: "n"
        ))
    var feedback: Int?

    @Option(in: 1...10_000, help: ArgumentHelp("With --feedback: terms of the new query.", valueName: "n"))
    var feedbackTerms = QueryExpansion().terms

    @Option(
        within: .from(0, to: 1),
        help: ArgumentHelp("With --feedback: the share of the new query that comes from the documents.", valueName: "w")
    )
    var feedbackWeight = 0.3

    @Flag(help: "Score every document, whatever the index is.")
    var exact = false

    @Flag(help: "Do not read the whole index to see whether it is damaged: opens at once.")
    var trust = false

    @Option(
        help: ArgumentHelp("The folder of the index's encoder, if it has moved.", valueName: "directory"),
        completion: .directory)
    var model: String?

    @Option(help: ArgumentHelp("With --queries or --vectors: where the run goes.", valueName: "file"))
    var output = OutputFile(path: "-")

    @Option(help: ArgumentHelp("The name in the run's last column.", valueName: "name"))
    var name = "lacuna"

    @Flag(help: "Replace the output file.")
    var force = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        guard [!query.isEmpty, queries != nil, vectors != nil, serve != nil].count(where: { $0 }) == 1 else {
            throw ValidationError("give one of --query, --queries, --vectors and --serve")
        }
        let others =
            filter != nil || feedback != nil || queryCut != nil || heapFactor != nil || exact || trust || form.json
        if serve != nil && others {
            throw ValidationError("with --serve, filters and the like are part of a request")
        }
        if exact && (queryCut != nil || heapFactor != nil) {
            throw ValidationError("--query-cut and --heap-factor are for searches that are not --exact")
        }
    }

    func run() throws {
        if let serve {
            var arguments = ["--index", index, "--port", "\(serve)"]
            if let model { arguments += ["--encoder", model] }
            if let threads = options.threads { arguments += ["--threads", "\(threads)"] }
            try ServeCommand.become(arguments)
        }
        let progress = options.begin()
        defer { progress.clear() }
        try OutputFile.check([output], overwriting: force)
        let snapshot = try IndexSnapshot.open(index, checking: trust ? .headers : .contents)
        let condition = try filter.map { try MetadataFilter($0) }
        var search: SeismicSearch?
        if queryCut != nil || heapFactor != nil {
            guard case .seismic = snapshot.settings.kind else {
                throw LacunaError.invalidArgument(
                    queryCut != nil ? "query-cut" : "heap-factor",
                    reason: "is for approximate searches, and the index is exact")
            }
            var changed = snapshot.settings.search
            if let queryCut { changed.queryCut = queryCut }
            if let heapFactor { changed.heapFactor = Float(heapFactor) }
            search = changed
        }
        let expansion = feedback.map {
            QueryExpansion(
                .rocchio(alpha: Float(1 - feedbackWeight), beta: Float(feedbackWeight)), documents: $0,
                terms: feedbackTerms)
        }
        if !query.isEmpty {
            let results = try weighting(snapshot).queries(query).map { given in
                let weights =
                    try expansion.map {
                        try snapshot.expanded(given, by: $0, filter: condition, search: search, exactly: exact)
                    } ?? given
                return try snapshot.search(
                    snapshot.query(weights), count: k, filter: condition, search: search, exactly: exact)
            }
            progress.clear()
            printResult(json: form.json, json(results.map(\.hits)), text: text(results.map(\.hits)))
            return
        }
        let prepared: [(id: String, weights: [(term: String, weight: Float)])]
        if let queries {
            let texts = try TextQuery.read(queries.path)
            prepared = zip(texts, try weighting(snapshot).queries(texts.map(\.text))).map { ($0.id, $1) }
        } else {
            prepared = try IndexedDocument.readAll(vectors!.path).map { ($0.id, $0.weights) }
        }
        let start = monotonicSeconds()
        let (run, work) = try snapshot.run(
            prepared, count: k, name: name, filter: condition, search: search, exactly: exact, expansion: expansion,
            progress: progress)
        let seconds = monotonicSeconds() - start
        progress.clear()
        try output.write(try run.trecText())
        if !options.quiet {
            let n = Double(max(prepared.count, 1))
            Console.error.print(
                "\(Quantities.grouped(prepared.count)) queries in \(Quantities.duration(seconds)), "
                    + "\(Quantities.grouped(Int(n / max(seconds, 1e-9)))) a second; "
                    + "\(Quantities.grouped(Int(Double(work.documentsScored) / n))) documents scored a query")
        }
    }

    private func weighting(_ snapshot: IndexSnapshot) throws -> TextWeighting {
        guard let weighting = try TextWeighting(snapshot.settings, path: model) else {
            throw LacunaError.invalidArgument(
                "model",
                reason: "the index was given vectors and does not say what encodes a text: give --model or --vectors")
        }
        return weighting
    }

    private func text(_ results: [[SearchHit]]) -> String {
        zip(query, results).map { query, hits in
            var lines = results.count > 1 ? [query, ""] : []
            if hits.isEmpty { lines.append("nothing was found") }
            for (rank, hit) in hits.enumerated() {
                let title = "\(rank + 1). \(hit.id)  \(Quantities.fixed(Double(hit.score), 3))"
                lines.append(Console.output.styled(title, .bold))
                if !hit.text.isEmpty { lines.append("   " + String(hit.text.prefix(Console.output.width - 6))) }
                lines.append(
                    "   "
                        + hit.contributions.prefix(8).map { "\($0.term) \(Quantities.fixed(Double($0.score), 2))" }
                        .joined(separator: ", "))
            }
            return lines.joined(separator: "\n")
        }.joined(separator: "\n\n")
    }

    private func json(_ results: [[SearchHit]]) -> JSONValue {
        .array(
            zip(query, results).map { query, hits in
                [
                    "query": .string(query),
                    "hits": .array(
                        hits.map { hit in
                            [
                                "id": .string(hit.id), "score": .number(Double(hit.score)), "text": .string(hit.text),
                                "terms": .object(
                                    hit.contributions.reduce(into: JSONObject()) {
                                        $0[$1.term] = .number(Double($1.score))
                                    }),
                            ]
                        }),
                ]
            })
    }
}
