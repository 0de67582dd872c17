import BenchmarkHarness
import LacunaSparse
import LacunaTensor

/// Products of stored matrices with one vector: what generating a token consists of.
struct VectorSuite {
    let settings: Settings
    let weights: RandomWeights

    func sections() throws -> [Section] {
        try [Shapes.square, .smolLM2].filter(settings.includes).map {
            try section($0, extended: $0.groups.count == 1)
        }
    }

    private func section(_ shapes: Shapes, extended: Bool) throws -> Section {
        var section = Section(
            "Products with one vector, \(shapes.name)",
            explanation: """
                Each row is one pass over \(shapes.name) (\(Format.significant(Double(shapes.weightCount) / 1e6)) M \
                weights, random, pruned by magnitude). Nothing of it is in the caches when a pass begins: other data is read \
                in between. \
                *MB* is everything the product reads: values, scales, bit masks, offsets. *of read loop* relates its \
                speed to a plain loop that only reads, timed in the same rounds with the same threads. *allowed* is \
                the ratio of bytes to the dense matrix of the same value type, *measured* the median over the rounds \
                of the ratio of times, *share* one over the other.
                """,
            columns: [
                .threads, .bytes, .seconds, .spread, .bandwidth, .bandwidthShare, .expected, .measured, .share,
            ], remarkTitle: "bound by")
        for values in settings.values {
            settings.announce("vectors: \(shapes.name), \(values)")
            section.rows += try rows(shapes, storages(values, extended: extended))
        }
        return section
    }

    private func storages(_ values: ValueType, extended: Bool) -> [Storage] {
        var storages: [Storage] = [.dense(values)]
        storages += [0.5, 0.75, 0.8, 0.9].map { .bitmask(values, $0) }
        storages.append(.nm(values, 2, 4))
        if extended && (values == .f32 || values == .bf16) {
            storages += [.csr(values, 0.9), .bsr(values, side: 4, 0.8), .bsr(values, side: 16, 0.8)]
        }
        return storages
    }

    /// The first storage is the baseline of the others.
    private func rows(_ shapes: Shapes, _ storages: [Storage]) throws -> [Row] {
        let readLoop = ReadLoop(coldBytes: settings.machine.coldBytes)
        let candidates = try storages.map { storage in
            let stored = try StoredShapes(shapes, storage, weights: weights)
            stored.multiplyVector()
            try stored.verify()
            let work = Work(bytes: Double(stored.byteCount), operations: 2 * Double(shapes.weightCount))
            return Candidate(storage.name, work: work) { _ in stored.multiplyVector() }
        }
        let timer = settings.timer(rounds: 30, turnSeconds: 0, beforeTurn: readLoop.evict)
        return settings.forEachThreadCount { threads in
            let measured = timer.measure([readLoop.candidate] + candidates)
            return zip(storages, measured.dropFirst()).enumerated().map { index, pair in
                var row = Row(pair.1, threads: threads)
                row.relate(pair.1, to: measured[0])
                if index > 0 { row.compare(pair.1, with: measured[1]) }
                row.bars = bars(pair.0)
                return row
            }
        }
    }

    private func bars(_ storage: Storage) -> [Bar] {
        switch (storage.layout.base, storage.values) {
        case (is DenseLayout, .bf16): return [.atLeast(.bandwidthShare, 0.85)]
        // Integer values may fall behind by 15 %.
        case (is BitmaskLayout, .bf16), (is BitmaskLayout, .int8):
            let bf16 = [0.5: 1.6, 0.75: 2.6, 0.8: 3]
            guard let speed = bf16[storage.sparsity] else { return [] }
            return [.atLeast(.measured, storage.values == .bf16 ? speed : 0.85 * speed)]
        case (is NMLayout, .bf16): return [.atLeast(.measured, 1.6)]
        case (is NMLayout, .int8): return [.atLeast(.measured, 0.85 * 1.6)]
        case (is BitmaskLayout, .int4) where storage.sparsity == 0.5: return [.atLeast(.measured, 1)]
        default: return []
        }
    }
}
