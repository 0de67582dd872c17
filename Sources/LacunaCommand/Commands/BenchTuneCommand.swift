import ArgumentParser
import LacunaIO
import LacunaSparse
import LacunaTensor

extension BenchCommand {
    struct Tune: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measures this machine's kernels once, so that products and plans choose by its own numbers.",
            discussion: """
                Results are the same with and without, up to rounding. The file is read by every later run on this processor;
                LACUNA_TUNING=none ignores it. Run it while nothing else does.

                Examples:
                  lacuna bench tune
                  lacuna bench tune --remove
                """)

        @Option(in: 1...1000, help: "Rounds; the fastest counts.") var rounds = 5
        @Flag(help: "Remove the file instead: built-in numbers are used again.") var remove = false
        @OptionGroup var output: JSONOption
        @OptionGroup var options: RunOptions

        func run() throws {
            guard let path = KernelTuning.path else {
                throw LacunaError.invalidArgument(
                    "LACUNA_TUNING", reason: "is none, or there is no folder for caches: set it to a file's path")
            }
            if remove {
                try FileSystem.remove(path)
                return printResult(json: output.json, ["removed": .string(path)], text: "removed \(path)")
            }
            let progress = options.begin()
            let start = monotonicSeconds()
            let tuning = try KernelTuning.measure(rounds: rounds, progress: progress)
            try tuning.save(to: path)
            progress.clear()
            let seconds = monotonicSeconds() - start
            printResult(json: output.json, json(tuning, path), text: text(tuning, path, seconds))
        }

        private func text(_ tuning: KernelTuning, _ path: String, _ seconds: Double) -> String {
            var table = Table([.left("store"), .right("sparse up to a density of")])
            for (key, limit) in tuning.densityLimits.sorted(by: { $0.key < $1.key }) {
                table.append([key, Quantities.fixed(limit, 2)])
            }
            return """
                \(tuning.processor)
                memory: \(Quantities.fixed(tuning.costs.bandwidth / 1e9, 1)) GB/s a thread

                \(table.text(console: .output))

                \(path), in \(Quantities.fixed(seconds, 1)) s
                """
        }

        private func json(_ tuning: KernelTuning, _ path: String) -> JSONValue {
            var limits = JSONObject()
            for (key, limit) in tuning.densityLimits.sorted(by: { $0.key < $1.key }) { limits[key] = .number(limit) }
            return [
                "file": .string(path), "processor": .string(tuning.processor),
                "bandwidth": .number(tuning.costs.bandwidth), "densityLimits": .object(limits),
            ]
        }
    }
}
