import BenchmarkHarness
import LacunaSparse
import LacunaTensor

/// Whether `PlannedMatrix` picks the fastest store: all stores that can hold a matrix, timed in the same rounds.
struct PlannerSuite {
    let settings: Settings
    let weights: RandomWeights
    private let shape = Shapes.Matrix(rows: 4096, columns: 4096)

    func sections() throws -> [Section] { try [1, 16, 128].map(section) }

    private var patterns: [(name: String, pattern: Pattern, sparsity: Double)] {
        [0.5, 0.6, 0.7, 0.8, 0.9, 0.95].map { ("unstructured \(percent($0))", .unstructured(.layer), $0) }
            + [("2:4", .nm(n: 2, m: 4), 0.5), ("4:8", .nm(n: 4, m: 8), 0.5), ("1:4", .nm(n: 1, m: 4), 0.75)]
            + [0.5, 0.75, 0.9].map { ("blocks of 16 × 16, \(percent($0))", .block(rows: 16, columns: 16), $0) }
            + [0.75, 0.9].map { ("blocks of 4 × 4, \(percent($0))", .block(rows: 4, columns: 4), $0) }
    }

    private func section(_ vectors: Int) throws -> Section {
        settings.announce("planner: \(vectors) vectors")
        let x = Buffer<Float>(repeating: 0.5, count: vectors * shape.columns)
        let y = Buffer<Float>(repeating: 0, count: vectors * shape.rows)
        let readLoop = ReadLoop(coldBytes: settings.machine.coldBytes)
        let timer =
            vectors == 1
            ? settings.timer(rounds: 10, turnSeconds: 0, beforeTurn: readLoop.evict) : settings.timer(rounds: 6)
        var rows: [Row] = []
        for (name, pattern, sparsity) in patterns {
            let weight = weights.weight(shape)
            let mask = try weights.mask(shape, pattern: pattern, sparsity: sparsity)
            let plan = try StoragePlan(mask: mask, vectors: vectors)
            let candidates = try plan.candidates.map { candidate in
                let store = try WeightStore.make(weight, mask: mask, layout: candidate.layout, values: .f32)
                let work = Work(
                    bytes: vectors == 1 ? Double(candidate.byteCount) : 0,
                    operations: 2 * Double(candidate.storedCount * vectors))
                return Candidate("\(candidate.layout)", work: work) { _ in
                    if vectors == 1 {
                        Product.gemv([(store, y.pointer)], x: x.pointer)
                    } else {
                        Product.gemm(store, x.pointer, count: vectors, into: y.pointer)
                    }
                }
            }
            // Costs are those of one thread.
            let before = Parallel.threads
            Parallel.threads = 1
            defer { Parallel.threads = before }
            let measured = timer.measure(candidates)
            guard let best = measured.min(by: { $0.median < $1.median }) else { continue }
            for (candidate, measurement) in zip(plan.candidates, measured) {
                var row = Row(measurement, threads: 1)
                let isPicked = candidate.layout == plan.best.layout
                row.name = "\(name): \(measurement.name)\(isPicked ? ", picked" : "")"
                row[.measured] = measurement.speed(against: best)
                row[.estimate] = candidate.seconds
                if isPicked { row.bars = [.atLeast(.measured, 0.8)] }
                rows.append(row)
            }
        }
        return Section(
            "Choosing a store, 4096 × 4096, \(vectors) vector\(vectors == 1 ? "" : "s"), one thread",
            explanation: """
                f32 values; \(vectors == 1 ? "cold" : "nothing is evicted between turns"). *measured* is the speed against \
                the fastest of the stores, *estimate* the time the planner expects; *GFLOP/s* counts stored values.
                """,
            columns: [.seconds, .spread, .bandwidth, .operations, .estimate, .measured], rows: rows)
    }

    private func percent(_ sparsity: Double) -> String { "\(Int((sparsity * 100).rounded())) %" }
}
