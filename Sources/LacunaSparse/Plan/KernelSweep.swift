import LacunaTensor

/// Times stores against the dense product over a range of sparsities: where each breaks even on this machine.
public struct KernelSweep: Sendable {
    /// Rows of the matrices measured.
    public var rows: Int
    /// Columns of the matrices measured.
    public var columns: Int
    /// Vectors that they are multiplied with.
    public var vectors: Int
    /// How values are stored, those of the dense matrix too.
    public var values: ValueType
    /// Fractions of zeros, each in 0..<1.
    public var sparsities: [Double]
    /// The layouts compared.
    public var layouts: [StorageLayout]
    /// Rounds in which the dense product and every store have one turn each.
    public var rounds: Int
    /// What matrices and inputs are drawn by.
    public var seed: UInt64

    /// A sweep of these sizes, sparsities and layouts.
    public init(
        rows: Int = 2048, columns: Int = 2048, vectors: Int = 128, values: ValueType = .f32,
        sparsities: [Double] = [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95],
        layouts: [StorageLayout] = [.csr, .bitmask, .bsr(rows: 16, columns: 16)], rounds: Int = 7, seed: UInt64 = 1
    ) {
        self.rows = rows
        self.columns = columns
        self.vectors = vectors
        self.values = values
        self.sparsities = sparsities
        self.layouts = layouts
        self.rounds = rounds
        self.seed = seed
    }

    /// One store at one sparsity.
    public struct Point: Sendable, Hashable {
        /// The layout measured.
        public var layout: StorageLayout
        /// Fraction of zeros of the matrix measured.
        public var sparsity: Double
        /// Median over the rounds.
        public var seconds: Double
        /// Median over the rounds of the dense product's time over this one's.
        public var speed: Double
        /// Bytes that the store takes.
        public var byteCount: Int
    }

    /// Runs the sweep. Blocks are pruned by blocks, everything else entry by entry, by magnitude.
    /// - Throws: `LacunaError.invalidArgument` for sizes below 1 or sparsities outside 0..<1, `LacunaError.cancelled`.
    public func run(progress: (any ProgressReporter)? = nil) throws -> [Point] {
        guard rows >= 1 && columns >= 1 && vectors >= 1 && rounds >= 1 else {
            throw LacunaError.invalidArgument("size", reason: "\(rows) x \(columns) with \(vectors) vectors")
        }
        guard sparsities.allSatisfy({ (0..<1).contains($0) }) else {
            throw LacunaError.invalidArgument("sparsity", reason: "must be at least 0 and below 1")
        }
        var generator = SeededGenerator(seed: seed)
        let weight = Tensor<Float>(normal: [rows, columns], using: &generator)
        let scores = try MagnitudeScore().scores(weight: weight, statistics: nil)
        let x = Tensor<Float>(normal: [vectors, columns], using: &generator)
        let y = Buffer<Float>(repeating: 0, count: vectors * rows)
        let dense = try DenseMatrix(DenseRows(weight), values: values)
        var points: [Point] = []
        for (index, sparsity) in sparsities.enumerated() {
            try progress.report("measuring", index, of: sparsities.count)
            let stores = try layouts.map { layout -> any StoredMatrix in
                // Layouts that are made for a pattern at any sparsity get that.
                let own = layout.base.pattern.flatMap { $0.impliedSparsity == nil ? $0 : nil }
                let mask = try Selection.mask(
                    scores: scores, pattern: own ?? .unstructured(.layer), sparsity: sparsity)
                return try WeightStore.make(weight, mask: mask, layout: layout, values: values)
            }
            let all: [any StoredMatrix] = [dense] + stores
            var times = [[Double]](repeating: [], count: all.count)
            x.withPointer { x in
                // The first round meets cold code and tables that are made on demand; it does not count.
                for round in 0...rounds {
                    for (i, matrix) in all.enumerated() {
                        let start = monotonicSeconds()
                        if vectors == 1 {
                            Product.gemv([(matrix, y.pointer)], x: x)
                        } else {
                            matrix.multiply(matrix: x, count: vectors, into: y.pointer, leadingY: rows)
                        }
                        if round > 0 { times[i].append(monotonicSeconds() - start) }
                    }
                }
            }
            func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
            for (i, store) in stores.enumerated() {
                points.append(
                    Point(
                        layout: layouts[i], sparsity: sparsity, seconds: median(times[i + 1]),
                        speed: median(zip(times[0], times[i + 1]).map { $0 / $1 }), byteCount: store.byteCount))
            }
        }
        return points
    }

    /// The sparsity from which a layout is faster than the dense product, between the measured points; nil if it never is,
    /// the first point's if it always is.
    public static func breakEven(_ points: [Point], _ layout: StorageLayout) -> Double? {
        let own = points.filter { $0.layout == layout }.sorted { $0.sparsity < $1.sparsity }
        guard let last = own.lastIndex(where: { $0.speed < 1 }) else { return own.first?.sparsity }
        guard last + 1 < own.count else { return nil }
        let (a, b) = (own[last], own[last + 1])
        return a.sparsity + (1 - a.speed) / (b.speed - a.speed) * (b.sparsity - a.sparsity)
    }
}
