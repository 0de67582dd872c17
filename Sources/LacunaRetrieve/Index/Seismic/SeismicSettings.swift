import LacunaTensor

/// How a ``SeismicIndex`` is built.
public struct SeismicSettings: Sendable, Equatable {
    /// Which postings of a term's list are kept.
    public enum Pruning: Sendable, Equatable {
        /// The `count` largest of every list.
        case list(Int)
        /// The largest of all lists together, `count` times the number of terms, but of one list at most `cap` times
        /// `count`.
        case global(Int, cap: Double)
    }

    /// How a list is cut into blocks.
    public enum Blocking: Sendable, Equatable {
        /// Around documents drawn as centres, `ratio` of the list's length: every document goes to the centre with
        /// which the `components` largest of its weights have the largest inner product. Clusters of `smallest`
        /// documents or fewer are dissolved.
        case clusters(ratio: Double, components: Int = 15, smallest: Int = 2)
        /// So many documents each, by descending weight.
        case fixed(Int)
    }

    /// `n_postings` of OpenSearch and Seismic.
    public var pruning: Pruning
    /// `cluster_ratio` of OpenSearch, `centroid_fraction` of Seismic.
    public var blocking: Blocking
    /// The part of a block's total weight that its summary keeps: `summary_prune_ratio` of OpenSearch,
    /// `summary_energy` of Seismic.
    public var summaryEnergy: Double
    /// Nearest documents kept for each document, for refinement; 0 for none.
    public var neighbours: Int
    /// For the choice of centres.
    public var seed: UInt64

    /// The defaults are those of the authors' code where it has any.
    public init(
        pruning: Pruning = .global(3500, cap: 1.5), blocking: Blocking = .clusters(ratio: 0.1),
        summaryEnergy: Double = 0.4, neighbours: Int = 0, seed: UInt64 = 0
    ) {
        (self.pruning, self.blocking, self.summaryEnergy) = (pruning, blocking, summaryEnergy)
        (self.neighbours, self.seed) = (neighbours, seed)
    }

    /// Nothing is pruned: with ``SeismicSearch/exhaustive`` the result is exact.
    public static let exhaustive = SeismicSettings(pruning: .list(.max), summaryEnergy: 1)

    /// - Throws: `LacunaError.invalidArgument` naming the setting.
    public func check() throws {
        func fail(_ name: String, _ reason: String) -> LacunaError { .invalidArgument(name, reason: reason) }
        switch pruning {
        case .list(let count): if count < 1 { throw fail("n_postings", "\(count) is below 1") }
        case .global(let count, let cap):
            if count < 1 { throw fail("n_postings", "\(count) is below 1") }
            if !(cap >= 1 && cap.isFinite) { throw fail("max_fraction", "\(cap) is below 1") }
        }
        switch blocking {
        case .clusters(let ratio, let components, let smallest):
            if !(ratio > 0 && ratio <= 1) { throw fail("cluster_ratio", "\(ratio) is not above 0 and at most 1") }
            if components < 1 { throw fail("doc_cut", "\(components) is below 1") }
            if smallest < 0 { throw fail("min_cluster_size", "\(smallest) is negative") }
        case .fixed(let size): if size < 1 { throw fail("block_size", "\(size) is below 1") }
        }
        if !(summaryEnergy > 0 && summaryEnergy <= 1) {
            throw fail("summary_prune_ratio", "\(summaryEnergy) is not above 0 and at most 1")
        }
        if neighbours < 0 || neighbours > 1024 { throw fail("neighbours", "\(neighbours) is not in 0...1024") }
    }
}

/// How a ``SeismicIndex`` is searched: the trade of time for recall.
public struct SeismicSearch: Sendable, Equatable, CustomStringConvertible {
    /// Only the lists of the query's so many largest weights are walked: `query_cut` of Seismic, `top_n` of OpenSearch.
    public var queryCut: Int
    /// A block is passed over if its summary's score is below this part of the k-th best score so far: `heap_factor`. 0
    /// passes over nothing; above 1 even blocks that would matter.
    public var heapFactor: Float
    /// Add the nearest documents of each result, where the index has them.
    public var usesNeighbours: Bool

    /// The defaults score some hundred documents a query; measure the recall on your own with ``RecallTuning``.
    public init(queryCut: Int = 8, heapFactor: Float = 0.8, usesNeighbours: Bool = true) {
        (self.queryCut, self.heapFactor, self.usesNeighbours) = (queryCut, heapFactor, usesNeighbours)
    }

    /// All lists, and no block passed over that could matter.
    public static let exhaustive = SeismicSearch(queryCut: .max, heapFactor: 1)

    /// - Throws: `LacunaError.invalidArgument` naming the setting.
    public func check() throws {
        if queryCut < 1 { throw LacunaError.invalidArgument("query_cut", reason: "\(queryCut) is below 1") }
        if !(heapFactor >= 0 && heapFactor.isFinite) {
            throw LacunaError.invalidArgument("heap_factor", reason: "\(heapFactor) is negative or not finite")
        }
    }

    /// As it is printed: `query_cut 8, heap_factor 0.8`.
    public var description: String {
        "query_cut \(queryCut == .max ? "all" : String(queryCut)), heap_factor \(heapFactor)"
    }
}
