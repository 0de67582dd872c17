import BenchmarkHarness
import Foundation
import LacunaIO
import LacunaRegress
import LacunaTensor

/// Lasso and L1 logistic fits to a certified gap, beside the times of other programs on the same numbers.
struct RegressSuite {
    let settings: Settings
    /// Where `Scripts/peers_regress.py` put the problems and its times.
    let folder: String

    /// Seconds of one peer on one problem.
    private struct PeerTime: Decodable {
        let seconds: [Double]
        let gap: Double
        var median: Double { Statistics.median(seconds) }
        /// A peer that cannot reach the gap at any of its tolerances is not compared with.
        var counts: Bool { gap <= 1.001e-6 }
    }
    private struct Shape: Decodable { let rows, columns: Int }

    func sections() throws -> [Section] {
        func decode<T: Decodable>(_ type: T.Type, _ name: String) throws -> T {
            try JSONDecoder().decode(type, from: Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)")))
        }
        let shapes = try decode([String: Shape].self, "problems.json")
        let peers = (try? decode([String: [String: PeerTime]].self, "peers.json")) ?? [:]
        var section = Section(
            "Lasso, to a duality gap of 1e-6",
            explanation: """
                `(1/2n)‖y - Xβ‖² + λ‖β‖₁` without intercept, one thread, from a cold start to a duality gap of 1e-6 of \
                the loss of β = 0, at every strength of a path. Dense: 1000 × 5000, neighbouring columns correlated by \
                0.5. Sparse: 20,000 × 50,000 at 0.1 %. A path has 100 strengths from λ_max to λ_max/100. Peers run at \
                the loosest tolerance that reaches the same gap (`Scripts/peers_regress.py`); *measured* is the time of \
                the fastest of those that do over ours.
                """,
            columns: [.seconds, .spread, .measured], remarkTitle: "peers")
        let before = Parallel.threads
        Parallel.threads = 1
        defer { Parallel.threads = before }
        for kind in ["dense", "sparse"] {
            guard let shape = shapes[kind] else { continue }
            let design = try read(kind, shape)
            let loss = try SquaredLoss(numbers("\(kind).y"))
            let problem = try Problem(design, loss, L1(1), hasIntercept: false)
            let maximum = RegularizationPath.maximumStrength(problem)
            let path = try RegularizationPath.strengths(from: maximum)
            for (name, strengths) in [("10", [maximum / 10]), ("100", [maximum / 100]), ("path", path)] {
                settings.announce("lasso: \(kind) \(name)")
                section.rows.append(
                    try row(
                        "\(kind), \(Self.titles[name] ?? name)", problem, strengths, rounds: name == "path" ? 6 : 20,
                        peers["\(kind) \(name)"] ?? [:]))
            }
        }
        return try [section, logistic(shapes, peers)].filter { !$0.rows.isEmpty }
    }

    /// L1 logistic regression; the real tables only if the script found them.
    private func logistic(
        _ shapes: [String: Shape], _ peers: [String: [String: PeerTime]]
    ) throws -> Section {
        var section = Section(
            "L1 logistic regression, to a duality gap of 1e-6",
            explanation: """
                The mean of `log(1 + exp(-s x·β))` plus `λ‖β‖₁`, without intercept, one thread, from a cold start to a duality \
                gap of 1e-6 of the loss of β = 0. Labels: the signs of the dense problem's target, 1000 × 5000. Golub: \
                leukaemia patients by gene expression, 38 × 3051; grants: applications by counts and values of those who applied, \
                8190 × 1497; both standardised. *Measured* is the time of the fastest peer that \
                reaches the gap over ours.
                """,
            columns: [.seconds, .spread, .measured], remarkTitle: "peers")
        for kind in ["labels", "golub", "grants"] {
            guard let shape = shapes[kind] else { continue }
            let design = DenseDesign(
                Buffer(try numbers(kind == "labels" ? "dense.x" : "\(kind).x")), rows: shape.rows,
                columns: shape.columns)
            let problem = try Problem(design, LogisticLoss(numbers("\(kind).y")), L1(1), hasIntercept: false)
            let maximum = RegularizationPath.maximumStrength(problem)
            for (name, strength) in [("10", maximum / 10), ("100", maximum / 100)] {
                settings.announce("logistic: \(kind) \(name)")
                section.rows.append(
                    try row(
                        "\(kind), \(Self.titles[name] ?? name)", problem, [strength], rounds: 20,
                        peers["\(kind) \(name)"] ?? [:]))
            }
        }
        return section
    }

    /// Times one problem and sets it beside its peers.
    private func row<F: Datafit>(
        _ name: String, _ problem: Problem<F, L1>, _ strengths: [Double], rounds: Int, _ known: [String: PeerTime]
    ) throws -> Row {
        var last: [Solution] = []
        let candidate = Candidate(name, work: Work()) { _ in
            last = (try? ProximalNewton(tolerance: 1e-6).path(problem, strengths: strengths)) ?? []
        }
        let measured = settings.timer(rounds: rounds, turnSeconds: 0).measure([candidate])[0]
        guard last.count == strengths.count, last.allSatisfy(\.converged) else {
            throw LacunaError.numerical(operation: candidate.name, reason: "did not reach its tolerance")
        }
        var row = Row(measured, threads: 1)
        if let best = known.filter({ $0.value.counts }).min(by: { $0.value.median < $1.value.median }) {
            row.baseline = best.key
            row[.measured] = best.value.median / measured.median
            row.bars = [.atLeast(.measured, 1.5)]
        }
        let others = known.sorted { $0.value.median < $1.value.median }.map { name, time in
            "\(name) \(Format.time(time.median))\(time.counts ? "" : " (gap \(Format.significant(time.gap * 1e6))e-6)")"
        }
        row.remark =
            "\(last.last?.support.count ?? 0) columns, \(last.reduce(0) { $0 + $1.passes }) passes; "
            + others.joined(separator: ", ")
        return row
    }

    private static let titles = ["10": "λ_max/10", "100": "λ_max/100", "path": "path of 100"]

    private func bytes(_ name: String) throws -> MappedFile { try MappedFile("\(folder)/\(name)") }

    private func numbers(_ name: String) throws -> [Double] {
        let file = try bytes(name)
        return withExtendedLifetime(file) { Array(file.bytes.bindMemory(to: Double.self)) }
    }

    private func read(_ kind: String, _ shape: Shape) throws -> any Design {
        if kind == "dense" {
            return DenseDesign(Buffer(try numbers("dense.x")), rows: shape.rows, columns: shape.columns)
        }
        let (start, index) = (try bytes("sparse.start"), try bytes("sparse.index"))
        return SparseDesign(
            transpose: try SparseMatrix(
                rows: start.count / 8 - 1, columns: shape.rows,
                rowStarts: start.bytes.bindMemory(to: Int64.self).map(Int.init),
                columnIndices: index.bytes.bindMemory(to: UInt32.self), values: numbers("sparse.values")))
    }
}
