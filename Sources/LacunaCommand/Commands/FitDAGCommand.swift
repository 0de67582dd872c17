import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaStructure
import LacunaTensor

struct FitDAG: ParsableCommand {
    /// How a graph is found.
    enum Method: String, ExpressibleByArgument, CaseIterable {
        case colide, ges
    }

    static let configuration = CommandConfiguration(
        commandName: "dag", abstract: "Learns which columns act on which: a sparse acyclic graph of linear effects.",
        discussion: """
            With colide, columns are centred, and divided by one number for all of them, the least of their standard deviations: \
            their variances tell causes from effects, and the unit they share does not matter. --lambda belongs to that unit. \
            (Saboksayr and others, CoLiDE, arXiv:2310.02895.)

            With ges, nothing is read from variances, and units do not matter: edges are inserted and removed as the Bayesian \
            information criterion says, and directions that observations cannot decide stay open. It needs more rows than \
            columns. (Chickering, "Optimal Structure Identification With Greedy Search", JMLR 2002.)
            """)

    @Argument(
        help: "A .csv, .tsv, .npy, .npz or .mtx file of numbers; - is the input, as CSV.",
        completion: .file(extensions: TableFormat.endings))
    var data: InputFile

    @OptionGroup var columns: ColumnOptions

    @Option(help: "How the graph is found: colide, by noise levels and an L1 penalty, or ges, by a score.")
    var method = Method.colide

    @Flag(help: "With colide: a noise level for each variable instead of one for all.")
    var unequalNoise = false

    @Option(
        name: .customLong("lambda"), within: .atLeast(0),
        help: ArgumentHelp("With colide: weight of the L1 penalty; 0.05 if not given.", valueName: "x"))
    var sparsity: Double?

    @Option(
        within: .atLeast(0),
        help: ArgumentHelp(
            "With colide: magnitude up to which effects count as none; 0.3 if not given.", valueName: "x"))
    var threshold: Double?

    @Option(
        in: 1...1_000_000_000,
        help: ArgumentHelp(
            "With colide: steps of each stage, three and a half times as many in the last; 20000 if not given.",
            valueName: "n"))
    var steps: Int?

    @Option(
        within: .above(0),
        help: ArgumentHelp(
            "With ges: what an edge costs, in half the logarithm of the number of rows; 1, which is BIC, if not given.",
            valueName: "x"))
    var penalty: Double?

    @Option(help: ArgumentHelp("Write the graph for Graphviz; - is the output.", valueName: "file.dot"))
    var dot: OutputFile?

    @Option(help: ArgumentHelp("Write a picture; - is the output.", valueName: "file.svg"))
    var svg: OutputFile?

    @Flag(help: "Replace files that are there already.")
    var force = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        let given: [(option: String, isGiven: Bool, method: Method)] = [
            ("--unequal-noise", unequalNoise, .colide), ("--lambda", sparsity != nil, .colide),
            ("--threshold", threshold != nil, .colide), ("--steps", steps != nil, .colide),
            ("--penalty", penalty != nil, .ges),
        ]
        if let wrong = given.first(where: { $0.isGiven && $0.method != method }) {
            throw ValidationError("\(wrong.option) is for --method \(wrong.method.rawValue)")
        }
    }

    func run() throws {
        try OutputFile.check([dot, svg], overwriting: force)
        let progress = options.begin()
        defer { progress.clear() }
        let table = try columns.read(data, quiet: options.quiet)
        let d = table.design.columns
        let names = table.features.map(\.name)
        // The graph and what its optimisation keeps are squares of the number of variables.
        try MachineMemory.require(shape: [8, d, d], of: Double.self, for: "a graph of \(d) variables")
        let found: Found
        switch method {
        case .colide:
            let steps = steps ?? 20_000
            let solver = CoLiDE(
                noise: unequalNoise ? .varying : .equal, sparsity: sparsity ?? 0.05, iterations: steps,
                finalIterations: steps * 7 / 2, threshold: threshold ?? 0.3, progress: progress)
            found = Found(try solver.fit(table.matrix()), names, unequalNoise: unequalNoise)
        case .ges:
            let search = GreedyEquivalenceSearch(penalty: penalty ?? 1, progress: progress)
            found = Found(try search.fit(table.matrix()), names)
        }
        progress.clear()
        let picture = found.picture
        printResult(json: form.json, found.json, text: text(found, rows: table.rows), files: [dot, svg])
        try dot?.write(picture.dot)
        try svg?.write(picture.svg(title: "Effects in \(FileSystem.name(of: data.path))"))
    }

    private func text(_ found: Found, rows: Int) -> String {
        let picture = found.picture
        let headings: [Table.Column] = [.left("cause"), .left("effect"), .right("weight")]
        var table = Table(headings + (picture.open.isEmpty ? [] : [.left("direction")]))
        for edge in picture.edges {
            let cells = [
                picture.names[edge.source], picture.names[edge.target], Quantities.significant(edge.weight, 4),
            ]
            table.append(
                cells + (picture.open.isEmpty ? [] : [picture.isOpen(edge.source, edge.target) ? "open" : "decided"]))
        }
        return
            "\(data): \(Quantities.grouped(rows)) rows, \(picture.names.count) variables; \(picture.edges.count) edges; "
            + found.summary + "\n\n" + table.text(console: .output)
    }
}

/// A graph and what its method says of it.
private struct Found {
    let picture: GraphPicture
    let summary: String
    let json: JSONValue

    init(_ result: CoLiDE.Result, _ names: [String], unequalNoise: Bool) {
        picture = GraphPicture(graph: result.graph, names: names)
        let levels =
            unequalNoise
            ? "from \(Quantities.significant(result.noise.min() ?? 0, 4)) to "
                + Quantities.significant(result.noise.max() ?? 0, 4)
            : Quantities.significant(result.noise.first ?? 0, 4)
        let cycles = result.dense.acyclicThreshold
        summary =
            "noise level \(levels); before small effects were cut, cycles of effects up to \(Quantities.significant(cycles, 2))"
            + (result.converged ? "" : "; not converged: the last steps still moved, or cycles had to be cut")
        json = [
            "method": .string("colide"), "variables": .array(names.map { .string($0) }), "edges": Self.edges(picture),
            "noise": .array(result.noise.map { .number($0) }), "iterations": JSONValue(result.iterations),
            "converged": .bool(result.converged), "cyclesUpTo": .number(cycles),
        ]
    }

    init(_ result: GreedyEquivalenceSearch.Result, _ names: [String]) {
        picture = GraphPicture(
            graph: result.graph, names: names,
            open: Set(
                result.graph.edges.filter { result.structure.isUndirected($0.source, $0.target) }.map {
                    [$0.source, $0.target]
                }))
        let open = picture.open.count
        summary =
            "score \(Quantities.significant(result.score, 5)) beyond that of no edges; "
            + (open == 0
                ? "all directions are decided"
                : "\(open) of the directions \(open == 1 ? "is" : "are") open, with the weight of one choice that fits the others")
        json = [
            "method": .string("ges"), "variables": .array(names.map { .string($0) }), "edges": Self.edges(picture),
            "score": .number(result.score), "steps": JSONValue(result.steps),
        ]
    }

    private static func edges(_ picture: GraphPicture) -> JSONValue {
        .array(
            picture.graph.edges.map {
                [
                    "source": .string(picture.names[$0.source]), "target": .string(picture.names[$0.target]),
                    "weight": .number($0.weight), "decided": .bool(!picture.isOpen($0.source, $0.target)),
                ]
            })
    }
}
