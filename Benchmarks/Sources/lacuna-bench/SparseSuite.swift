import BenchmarkHarness
import CBenchmark
import Foundation
import LacunaSparse
import LacunaTensor

/// Products of CSR matrices against BLAS and, if it is there, against MKL's inspector-executor.
struct SparseSuite {
    let settings: Settings
    let weights: RandomWeights
    /// Whether MKL was loaded.
    let mkl: Bool
    private let size = 4096
    private static let sparsities = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]

    init(settings: Settings, weights: RandomWeights, mkl: Bool) {
        self.settings = settings
        self.weights = weights
        self.mkl = mkl
    }

    func sections() throws -> [Section] {
        [try vectors()] + (try [16, 128].map(matrices)) + [try products()]
    }

    private var shape: Shapes.Matrix { Shapes.Matrix(rows: size, columns: size) }
    private var mklName: String { "MKL inspector-executor" }

    private func threaded(_ body: (Int) throws -> [Row]) rethrows -> [Row] {
        try settings.forEachThreadCount { threads in
            if mkl { mkl_threads(Int32(threads)) }
            return try body(threads)
        }
    }

    // MARK: One vector

    private func vectors() throws -> Section {
        settings.announce("sparse: one vector")
        let x = Buffer<Float>(repeating: 0.5, count: size)
        let y = Buffer<Float>(repeating: 0, count: size)
        let readLoop = ReadLoop(coldBytes: settings.machine.coldBytes)
        let timer = settings.timer(rounds: 20, turnSeconds: 0, beforeTurn: readLoop.evict)
        var rows: [Row] = []
        for sparsity in [0.8, 0.9, 0.95] {
            let weight = weights.weight(shape)
            let mask = try weights.mask(shape, pattern: .unstructured(.layer), sparsity: sparsity)
            let wide = try SparseMatrix(weight, at: mask)
            let narrow = try CSRMatrix(DenseRows(weight, mask: mask), values: .f32)
            let half = try CSRMatrix(DenseRows(weight, mask: mask), values: .bf16)
            let bits = try BitmaskMatrix(DenseRows(weight, mask: mask), values: .f32)
            var candidates = [
                Candidate("f32, 32-bit columns", work: Work(bytes: Double(wide.byteCount))) { _ in
                    wide.multiply(vector: x.pointer, into: y.pointer)
                }
            ]
            candidates += [
                ("f32, 16-bit columns", narrow as any StoredMatrix), ("bf16, 16-bit columns", half),
                ("f32, bitmask", bits),
            ].map {
                name, matrix in
                Candidate(name, work: Work(bytes: Double(matrix.byteCount))) { _ in
                    Product.gemv([(matrix, y.pointer)], x: x.pointer)
                }
            }
            rows += threaded { threads in
                var all = candidates
                let peer = mkl ? PeerMatrix(wide, width: 1) : nil
                if let peer {
                    all.insert(
                        Candidate(mklName, work: Work(bytes: Double(wide.byteCount))) { _ in
                            _ = mkl_vector(peer.handle, x.pointer, y.pointer)
                        }, at: 0)
                }
                let measured = timer.measure(all)
                return measured.map { measurement in
                    var row = Row(measurement, threads: threads)
                    row.name = "\(percent(sparsity)): \(measurement.name)"
                    if mkl && measurement.name != mklName {
                        row.compare(measurement, with: measured[0])
                        if measurement.name == "f32, 32-bit columns" { row.bars = [.atLeast(.measured, 1.2)] }
                        if measurement.name == "f32, 16-bit columns" { row.bars = [.atLeast(.measured, 1.4)] }
                    }
                    return row
                }
            }
        }
        return Section(
            "CSR with one vector, \(size) × \(size)",
            explanation: """
                Cold: other data is read in between. *measured* is the speed against MKL's inspector-executor in the same \
                rounds (32-bit columns, f32), *allowed* the ratio of the bytes.
                """,
            columns: [.threads, .bytes, .seconds, .spread, .bandwidth, .expected, .measured], rows: rows)
    }

    // MARK: Many vectors

    private func matrices(_ width: Int) throws -> Section {
        settings.announce("sparse: \(width) vectors")
        let operations = 2 * Double(size * size * width)
        let dense = DenseProducts(Shapes(name: "", groups: [[shape]]), weights: weights, count: width)
            .candidates(work: Work(operations: operations))
        let x = Buffer<Float>(repeating: 0.5, count: size * width)
        let y = Buffer<Float>(repeating: 0, count: size * width)
        let (panelX, panelY) = (
            Panels<Float>(zeros: width, features: size), Panels<Float>(zeros: width, features: size)
        )
        var rows: [Row] = []
        for sparsity in Self.sparsities {
            let weight = weights.weight(shape)
            let mask = try weights.mask(shape, pattern: .unstructured(.layer), sparsity: sparsity)
            let wide = try SparseMatrix(weight, at: mask)
            let narrow = try CSRMatrix(DenseRows(weight, mask: mask), values: .f32)
            let half = try CSRMatrix(DenseRows(weight, mask: mask), values: .bf16)
            let work = Work(operations: 2 * Double(wide.count * width))
            let candidates = [
                Candidate("f32", work: work) { _ in
                    narrow.multiply(matrix: x.pointer, count: width, into: y.pointer, leadingY: size)
                },
                Candidate("f32, panels", work: work) { _ in wide.multiply(panelX, into: panelY) },
                Candidate("bf16", work: work) { _ in
                    half.multiply(matrix: x.pointer, count: width, into: y.pointer, leadingY: size)
                },
            ]
            rows += threaded { threads in
                let peer = mkl ? PeerMatrix(wide, width: width) : nil
                let peers = peer.map { peer in
                    [
                        Candidate(mklName, work: work) { _ in
                            _ = mkl_matrix(peer.handle, x.pointer, Int32(width), y.pointer)
                        }
                    ]
                }
                let measured = settings.timer(rounds: 8).measure(dense + (peers ?? []) + candidates)
                guard let blas = measured.prefix(dense.count).min(by: { $0.median < $1.median }) else { return [] }
                return ([blas] + measured.dropFirst(dense.count)).map { measurement in
                    var row = Row(measurement, threads: threads)
                    row.name = "\(percent(sparsity)): \(measurement.name)"
                    row.compare(measurement, with: blas, allowed: 1 / (1 - sparsity))
                    if mkl && measurement.name != mklName {
                        row[.peerRatio] = measurement.speed(against: measured[dense.count])
                    }
                    if measurement.name == "f32" && sparsity >= 0.8 {
                        row.bars = [.atLeast(.peerRatio, width == 16 ? 1.5 : 2.4)]
                    }
                    return row
                }
            }
        }
        return Section(
            "CSR with \(width) vectors, \(size) × \(size)",
            explanation: """
                *GFLOP/s* counts the operations on stored values (the dense product: on all). *measured* is the speed \
                against the fastest of three ways to ask BLAS for the dense product, *allowed* what skipping every removed \
                weight would give at its rate. *f32* and *bf16* take and give rows, *panels* keeps activations in panels; \
                MKL takes and gives [features, vectors].
                """,
            columns: [.threads, .seconds, .spread, .operations, .expected, .measured, .peerRatio], rows: rows)
    }

    // MARK: Sparse times sparse

    private func products() throws -> Section {
        settings.announce("sparse: sparse times sparse")
        var rows: [Row] = []
        for (name, matrix) in [
            ("random 20,000², 10 a row", SparseGraphs.uniform(nodes: 20_000, perRow: 10, seed: settings.seed)),
            (
                "power law, 50,000 nodes, squared",
                SparseGraphs.powerLaw(nodes: 50_000, edges: 500_000, seed: settings.seed)
            ),
        ] {
            let operations = matrix.pattern.operations(with: matrix.pattern)
            let work = Work(operations: 2 * operations)
            var single: BenchmarkHarness.Measurement?
            rows += threaded { threads in
                var candidates = [
                    Candidate("Lacuna, sorted", work: work) { _ in _ = try? matrix.multiplied(by: matrix) }
                ]
                if mkl, let peer = PeerMatrix(matrix, width: 0) {
                    candidates.insert(
                        Candidate("MKL, sorted", work: work) { _ in _ = mkl_product(peer.handle, peer.handle, 1) },
                        at: 0)
                    candidates.insert(
                        Candidate("MKL, unsorted", work: work) { _ in _ = mkl_product(peer.handle, peer.handle, 0) },
                        at: 0)
                }
                let measured = settings.timer(rounds: 6).measure(candidates)
                let own = measured[measured.count - 1]
                return measured.map { measurement in
                    var row = Row(measurement, threads: threads)
                    row.name = "\(name): \(measurement.name)"
                    if mkl { row.compare(measurement, with: measured[0], allowed: 1) }
                    if measurement.name == own.name {
                        row.bars = mkl ? [.atLeast(.measured, 1 / 1.5)] : []
                        if let single, threads == 2 { row[.peerRatio] = single.median / own.median }
                        if threads == 1 { single = own }
                    }
                    return row
                }
            }
        }
        return Section(
            "Sparse times sparse",
            explanation:
                "*measured* is the speed against MKL's unsorted result; the last column the speed on two threads against one.",
            columns: [.threads, .seconds, .spread, .operations, .measured, .peerRatio], rows: rows)
    }

    private func percent(_ sparsity: Double) -> String { "\(Int((sparsity * 100).rounded())) %" }
}

/// MKL's form of a matrix. MKL runs its products on as many threads as there were when the form was made, whatever it is
/// told later, so every number of threads needs one of its own.
private final class PeerMatrix {
    let handle: UnsafeMutableRawPointer
    private let matrix: SparseMatrix<Float>

    private let (starts, columns): ([UInt32], [UInt32])

    init?(_ matrix: SparseMatrix<Float>, width: Int) {
        self.matrix = matrix
        let starts = matrix.pattern.rowStarts.map { UInt32($0) }
        let columns = matrix.pattern.columnIndices.map { UInt32($0) }
        (self.starts, self.columns) = (starts, columns)
        let handle = matrix.withValues {
            mkl_csr(Int32(matrix.rows), Int32(matrix.columns), starts, columns, $0.baseAddress, Int32(width))
        }
        guard let handle else { return nil }
        self.handle = handle
    }

    deinit { mkl_free(handle) }
}

extension SparsePattern {
    /// Multiplications of the product of a matrix of this pattern with one of another.
    func operations(with other: SparsePattern) -> Double {
        var sum = 0.0
        let lengths = other.keptCounts
        forEachEntry { sum += Double(lengths[$2]) }
        return sum
    }
}

/// Square sparse matrices with the structure of graphs.
enum SparseGraphs {
    static func uniform(nodes: Int, perRow: Int, seed: UInt64) -> SparseMatrix<Float> {
        var generator = SeededGenerator(seed: seed, stream: 1)
        return matrix(
            nodes, (0..<nodes).map { _ in (0..<perRow).map { _ in Int(generator.next() % UInt64(nodes)) } }, &generator)
    }

    /// Both ends of an edge are drawn with probability proportional to 1 / (rank + 20)^0.6 or so.
    static func powerLaw(nodes: Int, edges: Int, seed: UInt64) -> SparseMatrix<Float> {
        var generator = SeededGenerator(seed: seed, stream: 2)
        var neighbours = [[Int]](repeating: [], count: nodes)
        var place = Array(0..<nodes)
        place.shuffle(using: &generator)
        func draw() -> Int { place[min(nodes - 1, Int(pow(generator.uniform(), 1.8) * Double(nodes)))] }
        for _ in 0..<edges { neighbours[draw()].append(draw()) }
        return matrix(nodes, neighbours, &generator)
    }

    private static func matrix(_ nodes: Int, _ rows: [[Int]], _ generator: inout SeededGenerator) -> SparseMatrix<Float>
    {
        var (offsets, indices) = ([0], [Int]())
        for row in rows {
            indices += Set(row).sorted()
            offsets.append(indices.count)
        }
        guard
            let matrix = try? SparseMatrix<Float>(
                rows: nodes, columns: nodes, rowStarts: offsets, columnIndices: indices,
                values: (0..<indices.count).map { _ in Float(generator.normal()) })
        else { preconditionFailure("columns ascend and are in range by construction") }
        return matrix
    }
}
