/// What products cost in each layout: a small table of measured numbers from which ``StoragePlan`` estimates times.
///
/// One vector costs the greater of its bytes at `bandwidth` and its arithmetic: `entryNanoseconds` for every entry of the
/// matrix, stored or not, and `valueNanoseconds` for every stored value. Many vectors cost `2 · values · vectors` operations
/// at a rate between `rate16` and `rate128`, by the number of vectors, and `panelNanoseconds` for every entry of the matrix
/// and every 64 vectors, in proportion. All numbers are for one thread.
///
/// Every layout brings its own numbers (``StoreLayout/costs``); a table holds those that were measured otherwise.
public struct StorageCosts: Sendable, Hashable, Codable {
    /// What the products of one layout cost.
    public struct Layout: Sendable, Hashable, Codable {
        /// One vector: time for an entry of the matrix, stored or not, in nanoseconds.
        public var entryNanoseconds: Double
        /// One vector: time for a stored value, in nanoseconds.
        public var valueNanoseconds: Double
        /// Operations a second on stored values with 16 vectors and with 128 or more.
        public var rate16: Double
        /// The same with 128 vectors.
        public var rate128: Double
        /// For every entry of the matrix and every 64 vectors.
        public var panelNanoseconds: Double

        /// Costs of one layout, as measured or estimated.
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
    /// By ``StoreLayout/costKey``.
    public var layouts: [String: Layout]

    /// Costs of a machine that reads `bandwidth` bytes a second, with those of some layouts by their keys.
    public init(bandwidth: Double, layouts: [String: Layout] = [:]) {
        self.bandwidth = bandwidth
        self.layouts = layouts
    }

    /// What a layout costs: what the table says, or else what the layout itself does.
    public subscript(layout: StorageLayout) -> Layout {
        get { layouts[layout.base.costKey] ?? layout.base.costs }
        set { layouts[layout.base.costKey] = newValue }
    }

    /// Measured on one core of an AMD Zen 5 with AVX-512, as the layouts' own numbers are: f32 values, 4096 × 4096,
    /// `lacuna-bench planner` of the benchmark package, which times every store on random, N:M and block patterns at 50 to
    /// 95 % with 1, 16 and 128 vectors. Times of one vector are cold. A layout's numbers are what fits its rows best by
    /// hand: rates at 50 to 80 %, then `panelNanoseconds` by what 90 and 95 % take beyond them. The same suite says how far
    /// the choice is from the best.
    public static let measured = StorageCosts(bandwidth: 36e9)

    /// Those of this machine's ``KernelTuning``, or ``measured``.
    public static var current: StorageCosts { KernelTuning.current?.costs ?? measured }

    /// Whether times that follow from the costs are numbers: everything is finite, rates above 0 and costs not below.
    var isValid: Bool {
        func isPositive(_ x: Double) -> Bool { x > 0 && x.isFinite }
        return isPositive(bandwidth)
            && layouts.values.allSatisfy { layout in
                isPositive(layout.rate16) && isPositive(layout.rate128)
                    && [layout.entryNanoseconds, layout.valueNanoseconds, layout.panelNanoseconds].allSatisfy {
                        $0 >= 0 && $0.isFinite
                    }
            }
    }
}
