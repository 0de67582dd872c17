import LacunaTensor

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What the kernels cost on this machine, measured once and kept in a file: the costs that ``StoragePlan`` estimates with,
/// and the densities up to which sparse products with many vectors beat decoding and BLAS.
///
/// Processors differ in this by factors: instructions of 64 bytes take one cycle or two, memory twice as long. Without a
/// tuning the numbers are those of one processor (``StorageCosts/measured``). A tuning changes how products are computed
/// and which stores are recommended, and results by no more than rounding.
///
/// The file is `lacuna/tuning.json` in the user's folder for caches; the environment variable `LACUNA_TUNING` names another
/// one, or is `none`. A file that cannot be read, or of another processor, counts as none.
public struct KernelTuning: Sendable, Hashable, Codable {
    /// The processor that was measured: ``Processor/description``.
    public var processor: String
    /// Costs of one thread.
    public var costs: StorageCosts
    /// Densities from which decoding is faster, 0...1, by layout and type of values: "csr f32".
    public var densityLimits: [String: Double]

    /// What was measured on a processor.
    public init(processor: String = Processor.description, costs: StorageCosts, densityLimits: [String: Double]) {
        self.processor = processor
        self.costs = costs
        self.densityLimits = densityLimits
    }

    /// Under what a limit is kept: layouts that share their costs share it.
    static func key(_ format: StorageFormat) -> String { "\(format.layout.base.costKey) \(format.values)" }

    // MARK: The one in use

    private static let state = Locked<(isLoaded: Bool, tuning: KernelTuning?)>((false, nil))

    /// The tuning in use: the file's, unless another one was given. Nil without either.
    public static var current: KernelTuning? {
        state.withLock { state in
            if !state.isLoaded {
                state = (true, path.flatMap { try? load(from: $0) })
                if state.tuning?.processor != Processor.description { state.tuning = nil }
            }
            return state.tuning
        }
    }

    /// Uses `tuning` from now on in this process; nil stands for none, whatever the file says.
    public static func use(_ tuning: KernelTuning?) { state.withLock { $0 = (true, tuning) } }

    /// Where the file is; nil if there is no folder for caches or tuning is turned off.
    public static var path: String? {
        let environment = ProcessInfo.processInfo.environment
        if let wish = environment["LACUNA_TUNING"], !wish.isEmpty { return wish == "none" ? nil : wish }
        if let cache = environment["XDG_CACHE_HOME"], cache.hasPrefix("/") { return cache + "/lacuna/tuning.json" }
        guard let home = environment["HOME"], home.hasPrefix("/") else { return nil }
        #if canImport(Darwin)
            return home + "/Library/Caches/lacuna/tuning.json"
        #else
            return home + "/.cache/lacuna/tuning.json"
        #endif
    }

    // MARK: Files

    /// Reads a file that ``save(to:)`` wrote.
    ///
    /// - Throws: `LacunaError.file` if it cannot be read, `LacunaError.malformed` if it is not one.
    public static func load(from path: String) throws -> KernelTuning {
        let data: Data
        do { data = try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
            throw LacunaError.file(path: path, reason: "cannot be read")
        }
        guard let tuning = try? JSONDecoder().decode(KernelTuning.self, from: data) else {
            throw LacunaError.malformed(file: path, location: "contents", reason: "not a tuning of kernels")
        }
        guard tuning.costs.isValid, tuning.densityLimits.values.allSatisfy({ (0...1).contains($0) }) else {
            throw LacunaError.malformed(file: path, location: "costs", reason: "a cost or a density is out of range")
        }
        return tuning
    }

    /// Writes the tuning, as a whole or not at all, and makes the folder if there is none.
    ///
    /// - Throws: `LacunaError.file` if it cannot be written.
    public func save(to path: String) throws {
        let file = URL(fileURLWithPath: path)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        do {
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try encoder.encode(self).write(to: file, options: .atomic)
        } catch {
            throw LacunaError.file(path: path, reason: "cannot be written: \(error)")
        }
    }
}

// MARK: - Measuring

extension KernelTuning {
    /// Measures this machine: some seconds on one thread. Nothing else should run meanwhile.
    ///
    /// - Parameters:
    ///   - side: Rows and columns of the matrices, a multiple of 64.
    ///   - rounds: Of which the fastest counts.
    /// - Throws: `LacunaError.invalidArgument` for other sizes, `LacunaError.cancelled`.
    public static func measure(
        side: Int = 1024, rounds: Int = 5, progress: (any ProgressReporter)? = nil
    ) throws -> KernelTuning {
        guard side >= 64, side % 64 == 0, rounds >= 1 else {
            throw LacunaError.invalidArgument("side", reason: "\(side), and \(rounds) rounds")
        }
        let threads = Parallel.threads
        defer { Parallel.threads = threads }
        Parallel.threads = 1
        let bench = Bench(side: side, rounds: rounds)
        var costs = StorageCosts.measured
        try progress.report("measuring kernels", 0, of: 8)
        costs.bandwidth = try bench.bandwidth()
        try progress.report("measuring kernels", 1, of: 8)
        costs[.dense] = try bench.dense()
        let layouts: [StorageLayout] = [
            .bitmask, .nm(n: 2, m: 4), .csr, .bsr(rows: 16, columns: 16), .bsr(rows: 4, columns: 4),
        ]
        for (i, layout) in layouts.enumerated() {
            try progress.report("measuring kernels", i + 2, of: 8)
            costs[layout] = try bench.layout(layout)
        }
        try progress.report("measuring kernels", 7, of: 8)
        var limits: [String: Double] = [:]
        for values in [ValueType.f32, .bf16, .f16, .int8] {
            for layout in [StorageLayout.csr, .bitmask] {
                limits[key(StorageFormat(layout, values))] = try bench.densityLimit(layout, values)
            }
        }
        return KernelTuning(costs: costs, densityLimits: limits)
    }

    /// Times products of random matrices.
    private struct Bench {
        let side: Int
        let rounds: Int
        let weight: Tensor<Float>
        let draws: [Double]
        let x: Tensor<Float>
        let y: Buffer<Float>
        /// Vectors of the products with few and with many.
        static let (few, many) = (16, 128)

        init(side: Int, rounds: Int) {
            var generator = SeededGenerator(seed: 1)
            (self.side, self.rounds) = (side, rounds)
            weight = Tensor(normal: [side, side], using: &generator)
            draws = (0..<side * side).map { _ in generator.uniform() }
            x = Tensor(normal: [Self.many, side], using: &generator)
            y = Buffer(repeating: 0, count: Self.many * side)
        }

        /// The fastest of the rounds, after one that does not count.
        func seconds(_ body: () -> Void) -> Double {
            var best = Double.infinity
            for round in 0...rounds {
                let start = monotonicSeconds()
                body()
                if round > 0 { best = min(best, monotonicSeconds() - start) }
            }
            return max(best, 1e-9)
        }

        func seconds(_ matrix: any StoredMatrix, vectors n: Int) -> Double {
            x.withPointer { x in
                seconds {
                    if n == 1 {
                        Product.gemv([(matrix, y.pointer)], x: x)
                    } else {
                        matrix.multiply(matrix: x, count: n, into: y.pointer, leadingY: side)
                    }
                }
            }
        }

        /// Bytes a second that a dense product with one vector reads from memory: from weights of 64 MiB, or, for small
        /// sides, of whatever level of the caches holds them.
        func bandwidth() throws -> Double {
            let rows = side * min(16, max(1, (16 << 20) / (side * side)))
            let large = try DenseMatrix(DenseRows(Tensor(repeating: 1, shape: [rows, side])), values: .f32)
            let out = Buffer<Float>(repeating: 0, count: rows)
            return x.withPointer { x in
                Double(large.byteCount) / seconds { Product.gemv([(large, out.pointer)], x: x) }
            }
        }

        func dense() throws -> StorageCosts.Layout {
            // Rows that the second-level cache holds: what bounds them is arithmetic.
            let rows = max(16, min(side, (192 << 10) / side))
            let small = try DenseMatrix(DenseRows(Tensor(repeating: 1, shape: [rows, side])), values: .f32)
            let full = try DenseMatrix(DenseRows(weight), values: .f32)
            let operations = 2 * Double(side * side)
            return StorageCosts.Layout(
                entryNanoseconds: 1e9 * seconds(small, vectors: 1) / Double(rows * side), valueNanoseconds: 0,
                rate16: operations * Double(Self.few) / seconds(full, vectors: Self.few),
                rate128: operations * Double(Self.many) / seconds(full, vectors: Self.many))
        }

        /// A store of random entries or blocks at about `density`.
        func store(_ layout: StorageLayout, _ values: ValueType, density: Double, rows: Int) throws -> any StoredMatrix
        {
            let (width, draws) = (side, draws)
            let mask: SparsePattern
            var layout = layout
            switch layout.base {
            case is NMLayout:
                // 2:4, or 1:4.
                let n = density < 0.4 ? 1 : 2
                layout = .nm(n: n, m: 4)
                let picks = draws
                mask = SparsePattern(rows: rows, columns: width) { r, c in
                    let group = c / 4 * 4
                    let mine = picks[r * width + c]
                    return (group..<group + 4).filter { picks[r * width + $0] < mine }.count < n
                }
            case let blocks as BSRLayout:
                mask = SparsePattern(rows: rows, columns: width) {
                    draws[$0 / blocks.rows * width + $1 / blocks.columns] < density
                }
            default: mask = SparsePattern(rows: rows, columns: width) { draws[$0 * width + $1] < density }
            }
            let part = rows == side ? weight : weight.rows(0..<rows)
            return try WeightStore.make(part, mask: mask, layout: layout, values: values)
        }

        /// Solves t = entries · a + stored · b for the times of two densities, neither below 0.
        private func solve(
            entries: Double, _ first: (stored: Double, time: Double), _ second: (stored: Double, time: Double)
        ) -> (entry: Double, value: Double) {
            let spread = first.stored - second.stored
            let value = spread > 0 ? (first.time - second.time) / spread : -1
            let entry = (first.time - value * first.stored) / entries
            if value <= 0 { return (first.time / entries, 0) }
            return entry < 0 ? (0, first.time / first.stored) : (entry, value)
        }

        func layout(_ layout: StorageLayout) throws -> StorageCosts.Layout {
            let rows = max(64, min(side, (192 << 10) / side / 64 * 64))
            let small = try [0.5, 0.2].map { try store(layout, .f32, density: $0, rows: rows) }
            let full = try [0.5, 0.2].map { try store(layout, .f32, density: $0, rows: side) }
            func point(_ matrix: any StoredMatrix, _ n: Int) -> (stored: Double, time: Double) {
                (Double(matrix.storedCount), seconds(matrix, vectors: n))
            }
            let once = solve(entries: Double(rows * side), point(small[0], 1), point(small[1], 1))
            let entries = Double(side * side)
            let (dense, sparse) = (point(full[0], Self.many), point(full[1], Self.many))
            let panel = solve(entries: entries * Double(Self.many) / 64, dense, sparse)
            let filled = Double(Self.many)
            let rate = panel.value > 0 ? 2 * filled / panel.value : 2 * dense.stored * filled / dense.time
            let few = point(full[0], Self.few)
            let rest = max(few.time - entries * Double(Self.few) / 64 * panel.entry, few.time / 4)
            return StorageCosts.Layout(
                entryNanoseconds: 1e9 * once.entry, valueNanoseconds: 1e9 * once.value,
                rate16: 2 * few.stored * Double(Self.few) / rest, rate128: rate,
                panelNanoseconds: panel.value > 0 ? 1e9 * panel.entry : 0)
        }

        /// Where the sparse product's time reaches that of decoding and BLAS, between measured densities.
        func densityLimit(_ layout: StorageLayout, _ values: ValueType) throws -> Double {
            var before: (density: Double, ratio: Double)?
            for density in [0.3, 0.45, 0.6, 0.75, 0.9, 1.0] {
                let matrix = try store(layout, values, density: density, rows: side)
                guard let panelled = matrix as? any PanelMatrix else { return 0 }
                let ratio = x.withPointer { x in
                    let sparse = seconds {
                        MatrixProduct.byPanels([(panelled, y.pointer, side)], x: x, count: Self.many, columns: side)
                    }
                    return sparse
                        / seconds {
                            MatrixProduct.decoded(matrix, x: x, count: Self.many, into: y.pointer, leadingY: side)
                        }
                }
                if ratio >= 1 {
                    guard let (lower, slower) = before else { return density / 2 }
                    return lower + (1 - slower) / (ratio - slower) * (density - lower)
                }
                before = (density, ratio)
            }
            return 1
        }
    }
}
