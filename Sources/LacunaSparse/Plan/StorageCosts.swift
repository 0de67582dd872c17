/// What products cost in each layout: a small table of measured numbers from which ``StoragePlan`` estimates times.
///
/// One vector costs the greater of its bytes at `bandwidth` and its arithmetic: `entryNanoseconds` for every entry of the
/// matrix, stored or not, and `valueNanoseconds` for every stored value. Many vectors cost `2 · values · vectors` operations
/// at a rate between `rate16` and `rate128`, by the number of vectors, and `panelNanoseconds` for every entry of the matrix
/// and every 64 vectors, in proportion. All numbers are for one thread.
public struct StorageCosts: Sendable, Hashable, Codable {
    public struct Layout: Sendable, Hashable, Codable {
        public var entryNanoseconds: Double
        public var valueNanoseconds: Double
        /// Operations a second on stored values with 16 vectors and with 128 or more.
        public var rate16: Double
        public var rate128: Double
        /// For every entry of the matrix and every 64 vectors.
        public var panelNanoseconds: Double

        public init(
            entryNanoseconds: Double, valueNanoseconds: Double, rate16: Double, rate128: Double,
            panelNanoseconds: Double = 0
        ) {
            self.panelNanoseconds = panelNanoseconds
            self.entryNanoseconds = entryNanoseconds
            self.valueNanoseconds = valueNanoseconds
            self.rate16 = rate16
            self.rate128 = rate128
        }
    }

    /// Bytes a second that one thread reads from memory.
    public var bandwidth: Double
    public var dense: Layout
    public var bitmask: Layout
    public var nm: Layout
    public var csr: Layout
    /// Blocks of at least 64 values.
    public var bsr: Layout
    /// Smaller blocks.
    public var smallBlocks: Layout

    public init(
        bandwidth: Double, dense: Layout, bitmask: Layout, nm: Layout, csr: Layout, bsr: Layout, smallBlocks: Layout
    ) {
        self.bandwidth = bandwidth
        self.dense = dense
        self.bitmask = bitmask
        self.nm = nm
        self.csr = csr
        self.bsr = bsr
        self.smallBlocks = smallBlocks
    }

    /// Measured on one core of an AMD Zen 5 with AVX-512: f32 values, 4096 × 4096, `lacuna-bench planner` of the benchmark
    /// package, which times every store on random, N:M and block patterns at 50 to 95 % with 1, 16 and 128 vectors. Times
    /// of one vector are cold. A layout's numbers are what fits its rows best by hand: rates at 50 to 80 %, then
    /// `panelNanoseconds` by what 90 and 95 % take beyond them. The same suite says how far the choice is from the best.
    public static let measured = StorageCosts(
        bandwidth: 36e9,
        dense: Layout(entryNanoseconds: 0.05, valueNanoseconds: 0, rate16: 68e9, rate128: 165e9),
        bitmask: Layout(
            entryNanoseconds: 0.04, valueNanoseconds: 0.004, rate16: 50e9, rate128: 150e9, panelNanoseconds: 0.17),
        nm: Layout(
            entryNanoseconds: 0.04, valueNanoseconds: 0.004, rate16: 80e9, rate128: 140e9, panelNanoseconds: 0.02),
        csr: Layout(
            entryNanoseconds: 0, valueNanoseconds: 0.26, rate16: 70e9, rate128: 115e9, panelNanoseconds: 0.05),
        bsr: Layout(entryNanoseconds: 0, valueNanoseconds: 0.16, rate16: 80e9, rate128: 125e9, panelNanoseconds: 0.02),
        smallBlocks: Layout(entryNanoseconds: 0, valueNanoseconds: 0.15, rate16: 46e9, rate128: 110e9))

    /// Those of this machine's ``KernelTuning``, or ``measured``.
    public static var current: StorageCosts { KernelTuning.current?.costs ?? measured }

    /// Whether times that follow from the costs are numbers: everything is finite, rates above 0 and costs not below.
    var isValid: Bool {
        func isPositive(_ x: Double) -> Bool { x > 0 && x.isFinite }
        return isPositive(bandwidth)
            && [dense, bitmask, nm, csr, bsr, smallBlocks].allSatisfy { layout in
                isPositive(layout.rate16) && isPositive(layout.rate128)
                    && [layout.entryNanoseconds, layout.valueNanoseconds, layout.panelNanoseconds].allSatisfy {
                        $0 >= 0 && $0.isFinite
                    }
            }
    }

    func layout(_ layout: StorageLayout) -> Layout {
        switch layout {
        case .bitmask: bitmask
        case .nm: nm
        case .csr: csr
        case .bsr(let rows, let columns): rows * columns >= 64 ? bsr : smallBlocks
        case .dense, .masked, .gguf: dense
        }
    }
}
