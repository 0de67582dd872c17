import ArgumentParser
import BenchmarkHarness
import Foundation
import LacunaTensor

@main
struct Bench: ParsableCommand {
    enum Suite: String, ExpressibleByArgument, CaseIterable {
        case kernels
        case regress
    }

    static let configuration = CommandConfiguration(
        commandName: "lacuna-bench", abstract: "Measures Lacuna, dense against sparse, and against its peers.",
        discussion: """
            lacuna-bench                          everything, with a table on the terminal
            lacuna-bench kernels --threads 1      stored matrices times vectors, one thread
            lacuna-bench regress --problems DIR   lasso fits, beside the peers that Scripts/peers_regress.py timed
            lacuna-bench --markdown docs/Performance.md --json bench.json
            """)

    @Argument(help: "What to measure; everything if none is named.")
    var suites: [Suite] = []
    @Option(help: "Numbers of threads to measure with. (default: 1 and all)")
    var threads: String?
    @Option(help: "The folder of Scripts/peers_regress.py; without it, the suite regress is left out.")
    var problems: String?
    @Option(help: "Seed of the random weights.")
    var seed: UInt64 = 1
    @Flag(help: "Few repetitions: for trying things out, not for publication.")
    var quick = false
    @Option(help: "Where to write the results as JSON.")
    var json: String?
    @Option(help: "Where to write the document with all tables.")
    var markdown: String?

    func run() throws {
        CleanEnvironment.restartIfPinned()
        let settings = Settings(
            machine: Machine(), threads: try threadCounts(), seed: seed, quick: quick)
        let weights = RandomWeights(seed: seed)
        var report = Report(machine: settings.machine)
        for suite in suites.isEmpty ? Suite.allCases : suites {
            switch suite {
            case .kernels:
                report.sections += try VectorSuite(settings: settings, weights: weights).sections()
                report.sections += try MatrixSuite(settings: settings, weights: weights).sections()
            case .regress:
                if let problems {
                    report.sections += try RegressSuite(settings: settings, folder: problems).sections()
                } else if !suites.isEmpty {
                    throw ValidationError("the suite regress needs --problems DIR")
                }
            }
        }
        print(report.text)
        if let markdown {
            let introduction = "Written by `lacuna-bench`; every ratio is a median over paired rounds."
            let document = report.markdown(title: "Performance", introduction: introduction)
            try document.write(toFile: markdown, atomically: true, encoding: .utf8)
        }
        if let json { try report.json().write(to: URL(fileURLWithPath: json)) }
    }

    private func threadCounts() throws -> [Int] {
        guard let threads else { return Array(Set([1, Parallel.threads])).sorted() }
        let counts = threads.split(separator: ",").compactMap { Int($0) }
        guard !counts.isEmpty, counts.allSatisfy({ $0 >= 1 }), counts.count == threads.split(separator: ",").count
        else { throw ValidationError("--threads takes positive numbers with commas between them") }
        return counts.sorted()
    }
}
