import ArgumentParser
import LacunaIO
import LacunaSparse
import LacunaTensor

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measures models and sparse products on this machine, or explains which store a matrix would get.",
        discussion: """
            Examples:
              lacuna bench model smollm2 --weights bf16
              lacuna bench kernels --vectors 128 --plot kernels.svg
              lacuna bench kernels --vectors 1 --values bf16 --sparsities 0.5,0.75
              lacuna bench explain --sparsity 0.9 --vectors 16
              lacuna bench tune

            The tables in docs/Performance.md come from the benchmark package: 'make bench'.
            """,
        subcommands: [Model.self, Kernels.self, Explain.self, Tune.self])

    struct Kernels: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Times stores against the dense BLAS product over a range of sparsities; marks where they break even.")

        @Option(in: 1...Limits.side, help: "Rows of the matrix.") var rows = 2048
        @Option(in: 1...Limits.side, help: "Columns of the matrix.") var columns = 2048
        @Option(in: 1...Limits.side, help: "Vectors that it is multiplied with at a time.") var vectors = 128
        @Option(help: ArgumentHelp("Fractions removed, separated by commas.", valueName: "list"))
        var sparsities = "0.3,0.5,0.6,0.7,0.8,0.9,0.95"
        @Option(
            help: ArgumentHelp("Stored values, the dense ones too: f32, bf16, f16, int8 or int4.", valueName: "type"))
        var values = ValueType.f32
        @Option(in: 1...100_000, help: "Rounds; every number is a median over them.") var rounds = 7
        @Option(help: ArgumentHelp("Where to draw the speeds, as SVG; - is the output.", valueName: "file"))
        var plot: OutputFile?
        @Flag(help: "Replace a file that is there already.") var force = false
        @OptionGroup var output: JSONOption
        @OptionGroup var options: RunOptions

        func run() throws {
            try OutputFile.check([plot], overwriting: force)
            // The dense matrix beside a sparse one, and the vectors on both sides.
            try Limits.requireMemory(rows, columns, copies: 3)
            try Limits.requireMemory(vectors, rows + columns, copies: 1)
            let progress = options.begin()
            let sweep = KernelSweep(
                rows: rows, columns: columns, vectors: vectors, values: values,
                sparsities: try SparsityList.parse(sparsities), rounds: rounds)
            let points = try sweep.run(progress: progress)
            progress.clear()
            try plot?.write(chart(sweep, points).svg())
            printResult(json: output.json, json(sweep, points), text: text(sweep, points), files: [plot])
        }

        private func name(_ layout: StorageLayout) -> String { StorageFormat(layout, values).description }

        private func text(_ sweep: KernelSweep, _ points: [KernelSweep.Point]) -> String {
            var table = Table([.left("store"), .right("sparsity"), .right("ms"), .right("MB"), .right("× dense")])
            for point in points {
                table.append([
                    name(point.layout), Quantities.fixed(point.sparsity, 2), Quantities.fixed(point.seconds * 1e3, 3),
                    Quantities.fixed(Double(point.byteCount) / 1e6, 2), Quantities.fixed(point.speed, 2),
                ])
            }
            let lines = sweep.layouts.map { layout in
                let at = KernelSweep.breakEven(points, layout)
                return "\(name(layout)): "
                    + (at.map { "faster than dense from \(Quantities.fixed($0, 2))" } ?? "never faster than dense")
            }
            let header = """
                \(rows) x \(columns), \(vectors) vectors, \(Processor.description), \(Parallel.threads) threads
                dense: \(LinearAlgebra.libraryDescription)
                """
            return [header, table.text(console: .output), lines.joined(separator: "\n")].joined(separator: "\n\n")
        }

        private func json(_ sweep: KernelSweep, _ points: [KernelSweep.Point]) -> JSONValue {
            [
                "rows": JSONValue(rows), "columns": JSONValue(columns), "vectors": JSONValue(vectors),
                "values": .string(values.rawValue), "dense": .string(LinearAlgebra.libraryDescription),
                "points": .array(
                    points.map {
                        [
                            "store": .string(name($0.layout)), "sparsity": .number($0.sparsity),
                            "seconds": .number($0.seconds), "speed": .number($0.speed),
                            "bytes": JSONValue($0.byteCount),
                        ]
                    }),
                "breakEven": .array(
                    sweep.layouts.map {
                        [
                            "store": .string(name($0)),
                            "sparsity": KernelSweep.breakEven(points, $0).map { .number($0) } ?? .null,
                        ]
                    }),
            ]
        }

        private func chart(_ sweep: KernelSweep, _ points: [KernelSweep.Point]) -> LineChart {
            var series = sweep.layouts.map { layout in
                LineChart.Series(
                    name: name(layout),
                    points: points.filter { $0.layout == layout }.map { .init($0.sparsity, $0.speed) },
                    mark: KernelSweep.breakEven(points, layout).map { (.init($0, 1), Quantities.fixed($0, 2)) })
            }
            let ends = sweep.sparsities
            series.append(
                LineChart.Series(
                    name: "dense BLAS", points: [.init(ends.min() ?? 0, 1), .init(ends.max() ?? 1, 1)],
                    isReference: true))
            return LineChart(
                title: "\(rows) × \(columns) times \(vectors) vectors", x: .init(title: "sparsity"),
                y: .init(title: "times the dense product's speed", scale: .logarithmic), series: series)
        }
    }

    struct Explain: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows which store a pruned matrix would get, and what the others would cost.")

        @Option(in: 1...Limits.side, help: "Rows of the matrix.") var rows = 4096
        @Option(in: 1...Limits.side, help: "Columns of the matrix.") var columns = 4096
        @Option(within: .from(0, to: 1), help: "Fraction of weights removed (unstructured and blocks).")
        var sparsity = 0.9
        @Option(help: ArgumentHelp("unstructured, N:M such as 2:4, or blocks such as 16x16.", valueName: "pattern"))
        var pattern = "unstructured"
        @Option(in: 1...Limits.side, help: "Vectors that it is multiplied with at a time.") var vectors = 1
        @Option(help: ArgumentHelp("f32, bf16, f16, int8 or int4.", valueName: "type")) var values = ValueType.f32
        @OptionGroup var output: JSONOption

        func run() throws {
            // Weight, scores, mask and what choosing takes.
            try Limits.requireMemory(rows, columns, copies: 4)
            var generator = SeededGenerator(seed: 1)
            let weight = Tensor<Float>(normal: [rows, columns], using: &generator)
            let scores = try MagnitudeScore().scores(weight: weight, statistics: nil)
            let pattern = try parsed()
            var wanted: Double? = sparsity
            if pattern.impliedSparsity != nil { wanted = nil }
            let mask = try Selection.mask(scores: scores, pattern: pattern, sparsity: wanted)
            let plan = try StoragePlan(mask: mask, vectors: vectors, values: values)
            var table = Table([.left("store"), .right("MB"), .right("estimated ms"), .left("bound by")])
            for candidate in plan.candidates {
                table.append([
                    StorageFormat(candidate.layout, values).description,
                    Quantities.fixed(Double(candidate.byteCount) / 1e6, 2),
                    Quantities.fixed(candidate.seconds * 1e3, 3),
                    candidate.bound.rawValue,
                ])
            }
            let best = StorageFormat(plan.best.layout, values).description
            let json: JSONValue = [
                "best": .string(best),
                "candidates": .array(
                    plan.candidates.map {
                        [
                            "store": .string(StorageFormat($0.layout, values).description),
                            "bytes": JSONValue($0.byteCount), "seconds": .number($0.seconds),
                            "bound": .string($0.bound.rawValue),
                        ]
                    }),
            ]
            printResult(
                json: output.json, json,
                text: table.text(console: .output)
                    + "\n\n\(best): the least time by the table of measured costs (one thread, f32, AMD Zen 5 with AVX-512)."
            )
        }

        private func parsed() throws -> Pattern {
            if pattern == "unstructured" { return .unstructured(.layer) }
            for separator: Character in [":", "x"] {
                let parts = pattern.split(separator: separator).compactMap { Int($0) }
                if parts.count == 2 && parts.allSatisfy({ $0 >= 1 }) {
                    return separator == ":" ? .nm(n: parts[0], m: parts[1]) : .block(rows: parts[0], columns: parts[1])
                }
            }
            throw LacunaError.invalidArgument(
                "--pattern",
                reason: "'\(pattern)' is not unstructured, N:M or ROWSxCOLUMNS"
                    + Suggestion.phrase(pattern, among: ["unstructured", "2:4", "16x16"]))
        }
    }
}

/// How large a matrix a benchmark may ask for.
private enum Limits {
    static let side = 1 << 30

    /// - Throws: ``LacunaError/resource(_:needed:available:)`` if the machine has not that much memory.
    static func requireMemory(_ rows: Int, _ columns: Int, copies: Int) throws {
        try MachineMemory.require(
            shape: [copies, rows, columns], of: Float.self, for: "matrices of \(rows) by \(columns)")
    }
}
