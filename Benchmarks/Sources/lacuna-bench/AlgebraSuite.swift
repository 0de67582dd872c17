import BenchmarkHarness
import Foundation
import LacunaIO
import LacunaSparse
import LacunaTensor

/// The everyday operations of sparse matrices, beside what `Scripts/peers_algebra.py` timed with SciPy on matrices of the
/// same sizes.
struct AlgebraSuite {
    let settings: Settings
    let peer: PeerSteps?

    /// What is measured, by the names that the script has too.
    private enum Task: String, CaseIterable {
        case triplets = "30 million triplets into 10 million rows"
        case sum = "sum"
        case hadamard = "entry by entry"
        case slice = "a slice"
        case transpose = "transpose"
        case vector = "times a vector"
        case firstTransposed = "first product with the transpose"
        case transposed = "transpose times a vector"
        case reading = "reading .mtx"

        /// Bars of a row with one thread.
        var bars: [Bar] {
            switch self {
            case .triplets: [.atMost(.seconds, 2)]
            case .sum, .hadamard, .slice, .transpose: [.atLeast(.peerRatio, 1 / 1.5)]
            case .reading: [.atLeast(.bandwidth, 150e6)]
            case .vector, .firstTransposed, .transposed: []
            }
        }
    }

    func sections() throws -> [Section] {
        var rows = try triplets()
        rows += try operations()
        return [
            Section(
                "Sparse matrices, everyday operations",
                explanation: """
                    200,000 × 200,000 with four million entries, in double precision, except where another size is named. \
                    *× peer* is SciPy's time, of one thread, over ours. Of the triplets *peak* is what building takes beyond \
                    the three arrays: it should be at most three times the matrix, whose bytes stand beside it. A *first* \
                    product finds nothing that earlier ones have worked out.
                    """,
                columns: [.threads, .seconds, .spread, .bytes, .bandwidth, .peakBytes, .peerRatio], rows: rows)
        ]
    }

    private func row(_ task: Task, _ measurement: BenchmarkHarness.Measurement, threads: Int) -> Row {
        var row = Row(measurement, threads: threads)
        if let seconds = peer?.seconds(task.rawValue, threads: 1) { row[.peerRatio] = seconds / measurement.median }
        if threads == 1 { row.bars = task.bars }
        return row
    }

    // MARK: Triplets

    private func triplets() throws -> [Row] {
        settings.announce("algebra: triplets")
        let scale = settings.quick ? 10 : 1
        let (count, size) = (30_000_000 / scale, 10_000_000 / scale)
        var generator = SeededGenerator(seed: settings.seed, stream: 5)
        let rowIndices = (0..<count).map { _ in Int32(truncatingIfNeeded: generator.next() % UInt64(size)) }
        let columnIndices = (0..<count).map { _ in Int32(truncatingIfNeeded: generator.next() % UInt64(size)) }
        let values = [Double](repeating: 1, count: count)
        var matrix: SparseMatrix<Double>?
        return try settings.forEachThreadCount { threads in
            matrix = nil
            let before = ResidentMemory.resetPeak()
            matrix = try SparseMatrix(
                rows: size, columns: size, rowIndices: rowIndices, columnIndices: columnIndices, values: values)
            let peak = ResidentMemory.peak.map { Double($0 - before) }
            let bytes = Double(matrix?.byteCount ?? 0)
            matrix = nil
            let measured = settings.timer(rounds: 4, turnSeconds: 0).measure([
                Candidate(Task.triplets.rawValue, work: Work(bytes: bytes)) { _ in
                    matrix = nil
                    matrix = try? SparseMatrix(
                        rows: size, columns: size, rowIndices: rowIndices, columnIndices: columnIndices, values: values)
                }
            ])
            guard matrix != nil else { throw LacunaError.numerical(operation: "triplets", reason: "were refused") }
            var row = row(.triplets, measured[0], threads: threads)
            row[.peakBytes] = peak
            row[.bandwidth] = nil
            if scale > 1 { row.bars = [] }
            if peak != nil { row.bars.append(.atMost(.peakBytes, 3 * bytes)) }
            return [row]
        }
    }

    // MARK: Operations

    private func operations() throws -> [Row] {
        settings.announce("algebra: operations")
        let size = 200_000
        var generator = SeededGenerator(seed: settings.seed, stream: 6)
        func random() throws -> SparseMatrix<Double> {
            try .random(rows: size, columns: size, density: 1e-4, using: &generator)
        }
        let (a, b) = (try random(), try random())
        let x = (0..<size).map { _ in generator.normal() }
        let half = size / 4..<size / 4 * 3
        // Copies whose patterns have no transpose or orders yet: one for every call.
        let rounds = 4
        let fresh = (0..<(rounds + 2) * settings.threads.count).map { _ in a.filter { _, _, _ in true } }
        let transposes = fresh.map { $0.filter { _, _, _ in true } }
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(
            "lacuna-bench-\(ProcessInfo.processInfo.processIdentifier).mtx")
        defer { try? FileManager.default.removeItem(at: file) }
        try a.write(matrixMarket: file.path)
        let fileBytes = try FileSystem.size(file.path)
        var next = (product: 0, transpose: 0)
        let bytes = Work(bytes: Double(a.byteCount))
        return settings.forEachThreadCount { threads in
            let quick: [(Task, Candidate)] = [
                (.sum, Candidate(Task.sum.rawValue, work: Work()) { _ in _ = a + b }),
                (.hadamard, Candidate(Task.hadamard.rawValue, work: Work()) { _ in _ = a.hadamard(b) }),
                (.slice, Candidate(Task.slice.rawValue, work: Work()) { _ in _ = a[rows: half, columns: half] }),
                (.vector, Candidate(Task.vector.rawValue, work: bytes) { _ in _ = a * x }),
                (
                    .transposed,
                    Candidate(Task.transposed.rawValue, work: bytes) { _ in _ = a.multiplied(by: x, transposed: true) }
                ),
            ]
            let once: [(Task, Candidate)] = [
                (
                    .transpose,
                    Candidate(Task.transpose.rawValue, work: Work()) { _ in
                        _ = transposes[min(next.transpose, transposes.count - 1)].transposed()
                        next.transpose += 1
                    }
                ),
                (
                    .firstTransposed,
                    Candidate(Task.firstTransposed.rawValue, work: bytes) { _ in
                        _ = fresh[min(next.product, fresh.count - 1)].multiplied(by: x, transposed: true)
                        next.product += 1
                    }
                ),
                (
                    .reading,
                    Candidate(Task.reading.rawValue, work: Work(bytes: Double(fileBytes))) { _ in
                        _ = try? SparseMatrix<Double>(matrixMarket: file.path)
                    }
                ),
            ]
            let measured =
                settings.timer(rounds: 10).measure(quick.map(\.1))
                + PairedTimer(rounds: rounds, turnSeconds: 0).measure(once.map(\.1))
            return zip((quick + once).map(\.0), measured).map { row($0, $1, threads: threads) }
        }
    }
}

/// What this process holds in memory, as Linux counts it; nil elsewhere.
private enum ResidentMemory {
    private static func field(_ name: String) -> Int? {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8) else { return nil }
        for line in status.split(separator: "\n") where line.hasPrefix("\(name):") {
            return line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }.map { $0 << 10 }
        }
        return nil
    }

    /// The most that it has held since ``resetPeak()``, in bytes.
    static var peak: Int? { field("VmHWM") }

    /// Forgets what it held before, and returns what it holds.
    static func resetPeak() -> Int {
        try? "5".write(toFile: "/proc/self/clear_refs", atomically: false, encoding: .utf8)
        return field("VmRSS") ?? 0
    }
}
