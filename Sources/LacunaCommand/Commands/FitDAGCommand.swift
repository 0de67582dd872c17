import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaStructure
import LacunaTensor

struct FitDAG: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dag", abstract: "Learns which columns act on which: a sparse acyclic graph of linear effects.",
        discussion: """
            Columns are centred, and divided by one number for all of them, the least of their standard deviations: their \
            variances tell causes from effects, and the unit they share does not matter. --lambda belongs to that unit. \
            (Saboksayr and others, CoLiDE, arXiv:2310.02895.)
            """)

    @Argument(
        help: "A .csv, .tsv, .npy, .npz or .mtx file of numbers; - is the input, as CSV.",
        completion: .file(extensions: TableFormat.endings))
    var data: InputFile

    @OptionGroup var columns: ColumnOptions

    @Flag(help: "A noise level for each variable instead of one for all.")
    var unequalNoise = false

    @Option(
        name: .customLong("lambda"), within: .atLeast(0),
        help: ArgumentHelp("Weight of the L1 penalty.", valueName: "x"))
    var sparsity = 0.05

    @Option(within: .atLeast(0), help: ArgumentHelp("Magnitude up to which effects count as none.", valueName: "x"))
    var threshold = 0.3

    @Option(
        in: 1...1_000_000_000,
        help: ArgumentHelp("Steps of each stage; three and a half times as many in the last.", valueName: "n"))
    var steps = 20_000

    @Option(help: ArgumentHelp("Write the graph for Graphviz; - is the output.", valueName: "file.dot"))
    var dot: OutputFile?

    @Option(help: ArgumentHelp("Write a picture; - is the output.", valueName: "file.svg"))
    var svg: OutputFile?

    @Flag(help: "Replace files that are there already.")
    var force = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        try OutputFile.check([dot, svg], overwriting: force)
        let progress = options.begin()
        defer { progress.clear() }
        let table = try columns.read(data, quiet: options.quiet)
        let (n, d) = (table.rows, table.design.columns)
        // The graph and what its optimisation keeps are squares of the number of variables.
        try MachineMemory.require(shape: [8, d, d], of: Double.self, for: "a graph of \(d) variables")
        let solver = CoLiDE(
            noise: unequalNoise ? .varying : .equal, sparsity: sparsity, iterations: steps,
            finalIterations: steps * 7 / 2, threshold: threshold, progress: progress)
        let result = try solver.fit(table.matrix())
        progress.clear()
        let picture = GraphPicture(graph: result.graph, names: table.features.map(\.name))
        printResult(
            json: form.json, json(result, picture.names),
            text: text(result, picture, rows: n), files: [dot, svg])
        try dot?.write(picture.dot)
        try svg?.write(picture.svg(title: "Effects in \(FileSystem.name(of: data.path))"))
    }

    private func text(_ result: CoLiDE.Result, _ picture: GraphPicture, rows: Int) -> String {
        var table = Table([.left("cause"), .left("effect"), .right("weight")])
        for edge in picture.edges {
            table.append([
                picture.names[edge.source], picture.names[edge.target], Quantities.significant(edge.weight, 4),
            ])
        }
        let levels =
            unequalNoise
            ? "from \(Quantities.significant(result.noise.min() ?? 0, 4)) to "
                + Quantities.significant(result.noise.max() ?? 0, 4)
            : Quantities.significant(result.noise.first ?? 0, 4)
        let cycles = result.dense.acyclicThreshold
        return
            "\(data): \(Quantities.grouped(rows)) rows, \(picture.names.count) variables; \(picture.edges.count) edges; "
            + "noise level \(levels); before small effects were cut, cycles of effects up to \(Quantities.significant(cycles, 2))"
            + "\(result.converged ? "" : "; not converged: the last steps still moved, or cycles had to be cut")\n\n"
            + table.text(console: .output)
    }

    private func json(_ result: CoLiDE.Result, _ names: [String]) -> JSONValue {
        [
            "variables": .array(names.map { .string($0) }),
            "edges": .array(
                result.graph.edges.map {
                    [
                        "source": .string(names[$0.source]), "target": .string(names[$0.target]),
                        "weight": .number($0.weight),
                    ]
                }),
            "noise": .array(result.noise.map { .number($0) }), "iterations": JSONValue(result.iterations),
            "converged": .bool(result.converged), "cyclesUpTo": .number(result.dense.acyclicThreshold),
        ]
    }
}
