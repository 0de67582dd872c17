import ArgumentParser
import BenchmarkHarness
import CBenchmark
import Foundation
import LacunaSparse
import LacunaTensor

@main
struct Bench: ParsableCommand {
    enum Suite: String, ExpressibleByArgument, CaseIterable {
        case vectors, matrices, decode, attention, layers, training, sparse, algebra, planner, regress
    }

    static let configuration = CommandConfiguration(
        commandName: "lacuna-bench", abstract: "Measures Lacuna, dense against sparse, and against its peers.",
        discussion: """
            lacuna-bench                                        everything, with a table on the terminal
            lacuna-bench vectors --values bf16 --threads 1      stored matrices times one vector
            lacuna-bench regress --problems DIR                 lasso fits, beside what Scripts/peers_regress.py timed
            lacuna-bench --markdown docs/Performance.md --json bench.json
            """)

    @Argument(help: "What to measure; everything if none is named.")
    var suites: [Suite] = []
    @Option(help: "Numbers of threads to measure with. (default: 1 and all)")
    var threads: String?
    @Option(help: "Only value types with these names, such as bf16,int8. (default: all)")
    var values: String?
    @Option(help: "Only shapes whose name contains this, such as SmolLM2. (default: all)")
    var shapes: String?
    @Option(help: "The folder of Scripts/peers_regress.py; without it, the suite regress is left out.")
    var problems: String?
    @Option(help: "Seed of the random weights.")
    var seed: UInt64 = 1
    @Flag(help: "Few repetitions: for trying things out, not for publication.")
    var quick = false
    @Option(help: "What Scripts/peers.sh wrote: llama.cpp's speeds on this machine.")
    var peers: String?
    @Option(help: "What Scripts/peers_training.py wrote: PyTorch's training steps on this machine.")
    var trainingPeers: String?
    @Option(help: "What Scripts/peers_algebra.py wrote: SciPy's times on this machine.")
    var algebraPeers: String?
    @Option(help: "Path of libmkl_rt (`pip install mkl` brings one): measures sparse products against it.")
    var mkl: String?
    @Option(help: "Where to write the results as JSON.")
    var json: String?
    @Option(help: "Where to write the document with all tables.")
    var markdown: String?

    func run() throws {
        CleanEnvironment.restartIfPinned()
        let settings = Settings(
            machine: Machine(), threads: try threadCounts(), seed: seed, quick: quick, values: try valueTypes(),
            shapes: shapes)
        let weights = RandomWeights(seed: seed)
        var report = Report(machine: settings.machine)
        for suite in suites.isEmpty ? Suite.allCases : suites {
            switch suite {
            case .sparse:
                report.sections += try SparseSuite(settings: settings, weights: weights, mkl: try openMKL()).sections()
            case .algebra:
                let peer = try algebraPeers.map(PeerSteps.init(contentsOf:))
                report.sections += try AlgebraSuite(settings: settings, peer: peer).sections()
            case .planner:
                report.sections += try PlannerSuite(settings: settings, weights: weights).sections()
            case .layers:
                report.sections += try LayerTrainingSuite(settings: settings, weights: weights).sections()
            case .vectors:
                report.sections += try VectorSuite(settings: settings, weights: weights).sections()
            case .matrices:
                report.sections += try MatrixSuite(settings: settings, weights: weights).sections()
            case .decode:
                let peer = try peers.map(PeerResults.init(contentsOf:))
                report.sections += try DecodeSuite(settings: settings, weights: weights, peer: peer).sections()
            case .attention: report.sections += try AttentionSuite(settings: settings).sections()
            case .regress:
                if let problems {
                    report.sections += try RegressSuite(settings: settings, folder: problems).sections()
                } else if !suites.isEmpty {
                    throw ValidationError("the suite regress needs --problems DIR")
                }
            case .training:
                let peer = try trainingPeers.map(PeerSteps.init(contentsOf:))
                report.sections += try TrainingSuite(settings: settings, peer: peer).sections()
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

    private func valueTypes() throws -> [ValueType] {
        guard let values else { return ValueType.allCases }
        return try values.split(separator: ",").map { name in
            guard let type = ValueType(rawValue: String(name)) else {
                throw ValidationError("--values: \(name) is none of \(ValueType.allCases)")
            }
            return type
        }
    }

    private func openMKL() throws -> Bool {
        guard let mkl else { return false }
        guard mkl_open(mkl) == 1 else { throw ValidationError("--mkl: \(mkl) is not a usable libmkl_rt") }
        return true
    }

    private func threadCounts() throws -> [Int] {
        guard let threads else { return Array(Set([1, Parallel.threads])).sorted() }
        let counts = threads.split(separator: ",").compactMap { Int($0) }
        guard !counts.isEmpty, counts.allSatisfy({ $0 >= 1 }), counts.count == threads.split(separator: ",").count
        else { throw ValidationError("--threads takes positive numbers with commas between them") }
        return counts.sorted()
    }
}
