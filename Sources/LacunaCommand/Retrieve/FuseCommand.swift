import ArgumentParser
import LacunaRetrieve
import LacunaTensor

struct FuseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fuse", abstract: "Puts rankings of several systems together.",
        discussion: """
            Examples:
              lacuna fuse bm25.run splade.run dense.run --output fused.run
              lacuna fuse bm25.run dense.run --weight 1.5 --output fused.run
              lacuna fuse first.run second.run third.run --shards --output all.run

            By reciprocal rank, which needs no scores that compare: the sum of 1 / (60 + rank) over the runs that have the document. \
            With a weight, by scores: that of the first run and so many times that of the second, each brought to a width of 1 \
            within a query. With --shards, the best by score of runs over parts of one collection, which were indexed by themselves.
            """)

    @Argument(help: ArgumentHelp("TREC runs, two or more.", valueName: "run"))
    var runs: [InputFile]

    @Option(
        within: .atLeast(0),
        help: ArgumentHelp("Of two runs: add scores, the second's so many times.", valueName: "w"))
    var weight: Double?

    @Option(
        within: .atLeast(0),
        help: ArgumentHelp("By reciprocal rank: what is added to a rank; 60 by default.", valueName: "c"))
    var constant: Double?

    @Flag(help: "The runs are of parts of one collection: put together by their scores as they are.")
    var shards = false

    @Option(in: 1...10_000_000, help: ArgumentHelp("Documents of a query that are read, and written.", valueName: "n"))
    var depth = 1000

    @Option(help: ArgumentHelp("Where the run goes.", valueName: "file"))
    var output = OutputFile(path: "-")

    @Option(help: ArgumentHelp("The name in the run's last column.", valueName: "name"))
    var name = "fused"

    @Flag(help: "Replace the output file.")
    var force = false

    func validate() throws {
        guard runs.count >= 2 else { throw ValidationError("give two runs or more") }
        if shards && (weight != nil || constant != nil) {
            throw ValidationError("--shards takes scores as they are: leave out --weight and --constant")
        }
        if weight != nil {
            guard runs.count == 2 else { throw ValidationError("--weight is for two runs") }
            if constant != nil { throw ValidationError("give --weight or --constant") }
        }
    }

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let rankings = try runs.map { try RankedRun(contentsOf: $0.path) }
        var fused =
            try shards
            ? Fusion.union(rankings, depth: depth)
            : weight.map { try Fusion.interpolation(rankings[0], rankings[1], weight: $0, depth: depth) }
                ?? Fusion.reciprocalRank(rankings, constant: constant ?? 60, depth: depth)
        fused.name = name
        try output.write(try fused.trecText())
    }
}
