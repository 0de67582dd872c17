import BenchmarkHarness
import LacunaSparse
import LacunaTensor

/// Products of stored matrices with many vectors: what reading a prompt consists of.
struct MatrixSuite {
    let settings: Settings
    let weights: RandomWeights

    func sections() throws -> [Section] {
        try [(Shapes.square, 128), (.smolLM2, 128), (.square, 16)].filter { settings.includes($0.0) }
            .map { try section($0, count: $1) }
    }

    private func section(_ shapes: Shapes, count: Int) throws -> Section {
        settings.announce("matrices: \(shapes.name), \(count) vectors")
        let operations = 2 * Double(shapes.weightCount) * Double(count)
        return Section(
            "Products with \(count) vectors, \(shapes.name)",
            explanation: """
                Reading a prompt of \(count) tokens. The baseline is the fastest of three ways to ask the BLAS library \
                for the dense f32 product (\(Format.significant(operations / 1e9)) GFLOP), chosen for each number of \
                threads. *GFLOP/s* counts the dense product's operations, done or skipped. *allowed* is what skipping \
                every removed weight would give at the dense product's rate, `1 / (1 - sparsity)`.
                """,
            columns: [.threads, .seconds, .spread, .operations, .expected, .measured, .share],
            rows: try rows(shapes, count: count, work: Work(operations: operations)))
    }

    private func rows(_ shapes: Shapes, count: Int, work: Work) throws -> [Row] {
        let dense = DenseProducts(shapes, weights: weights, count: count).candidates(work: work)
        var storages: [Storage] = []
        for values in [ValueType.f32, .bf16] {
            storages.append(.dense(values))
            storages += [0.5, 0.8, 0.9].map { .bitmask(values, $0) }
        }
        storages += [ValueType.f32, .bf16].flatMap { [.nm($0, 2, 4), .nm($0, 4, 8)] }
        storages += [.bsr(.f32, side: 4, 0.8), .bsr(.f32, side: 16, 0.75), .bsr(.f32, side: 16, 0.8)]
        storages += [.bitmask(.int8, 0.8), .csr(.f32, 0.9)]
        storages.removeAll { !settings.values.contains($0.values) }
        let candidates = try storages.map { storage in
            let stored = try StoredShapes(shapes, storage, weights: weights, count: count)
            stored.multiplyMatrix()
            try stored.verify()
            return Candidate(storage.name, work: work) { _ in stored.multiplyMatrix() }
        }
        return settings.forEachThreadCount { threads in
            let measured = settings.timer(rounds: 12).measure(dense + candidates)
            guard let baseline = measured.prefix(dense.count).min(by: { $0.median < $1.median }) else { return [] }
            return [Row(baseline, threads: threads)]
                + zip(storages, measured.dropFirst(dense.count)).map { storage, measurement in
                    var row = Row(measurement, threads: threads)
                    row.compare(measurement, with: baseline, allowed: 1 / (1 - storage.sparsity))
                    row.bars = bars(storage)
                    return row
                }
        }
    }

    private func bars(_ storage: Storage) -> [Bar] {
        switch (storage.layout.base, storage.sparsity) {
        case (is NMLayout, _): [.atLeast(.measured, 1)]
        case (let blocks as BSRLayout, 0.75) where blocks == BSRLayout(rows: 16, columns: 16):
            [.atLeast(.measured, 2.5)]
        case (is BitmaskLayout, 0.8) where storage.values != .int8: [.atLeast(.measured, 1)]
        case (is BitmaskLayout, 0.9) where storage.values != .int8: [.atLeast(.measured, 2)]
        default: []
        }
    }
}
