import LacunaModels
import LacunaTensor

/// Reads, in a prompt, some keys from every query (vertical lines of the matrix of attention) and some distances (slashes), those
/// that the last queries of the prompt attend to most. The first four keys and the last 64 distances are always among them. What
/// is written afterwards reads everything.
///
/// Of the keys and of the distances the part `1 - √(1 - share)` is kept each, so that together they come to `share` where they are
/// independent. Distances are counted in blocks, as kernels skip them (``SlashEstimate``).
///
/// Huiqiang Jiang and others, "MInference 1.0: Accelerating Pre-filling for Long-Context LLMs via Dynamic Sparse Attention", arXiv
/// 2407.02490, as one of the six methods of Piotr Nawrot, Robert Li, Renjie Huang, Sebastian Ruder, Kelly Marchisio, Edoardo M.
/// Ponti, "The Sparse Frontier: Sparse Attention Trade-offs in Transformer LLMs", arXiv 2504.17768, who keep numbers rather than
/// shares, 512 of each.
///
/// - Complexity: O(queries looked at · keys) products a head.
public struct VerticalSlash: KeySelector {
    /// Of what a prompt may read, about the share that it reads, in `0 < … <= 1`.
    public let share: Double
    /// Last queries by which is chosen.
    public let queries: Int
    /// Queries of a tile, and distances of a diagonal.
    public let block: Int
    public let promptRows: Int

    /// First keys that are always read.
    static let sinks = 4
    /// Distances that are always read.
    static let local = 64

    /// - Parameter promptRows: Rows that are planned together, at least 1; longer prompts go in pieces.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a share that is not above 0 and at most 1, or no queries.
    public init(share: Double, queries: Int = 256, block: Int = 32, promptRows: Int = 4096) throws {
        guard share > 0 && share <= 1 else {
            throw LacunaError.invalidArgument(
                "vertical-slash", reason: "the share \(share) is not above 0 and at most 1")
        }
        guard queries >= 1, block >= 1, promptRows >= 1 else {
            throw LacunaError.invalidArgument(
                "vertical-slash",
                reason: "\(queries) queries, blocks of \(block) and \(promptRows) rows must be positive")
        }
        (self.share, self.queries, self.block, self.promptRows) = (share, queries, block, promptRows)
    }

    public var readsAll: Bool { true }
    public func select(_ request: KeyRequest) -> [Range<Int>] { [request.visible] }

    public func plan(_ request: PromptRequest) -> PromptPlan? {
        if share >= 1 { return nil }
        guard var estimate = SlashEstimate(request, queries: queries, block: block) else { return nil }
        let part = 1 - (1 - share).squareRoot()
        estimate.requireFirst(columns: Self.sinks, diagonals: Self.local / block + 1)
        func kept(_ count: Int) -> Int { Int((part * Double(count)).rounded(.up)) }
        guard
            let columns = TopPages.places(
                estimate.columns, count: estimate.columns.count, kept: max(Self.sinks, kept(estimate.columns.count))),
            let diagonals = TopPages.places(
                estimate.diagonals, count: estimate.diagonals.count,
                kept: max(Self.local / block + 1, kept(estimate.diagonals.count)))
        else { return nil }
        return estimate.plan(columns: columns, diagonals: diagonals)
    }
}

extension SlashEstimate {
    /// Puts the first keys, and the shortest distances, before all others.
    mutating func requireFirst(columns: Int, diagonals: Int) {
        for place in 0..<min(columns, self.columns.count) { self.columns[place] = .infinity }
        for place in 0..<min(diagonals, self.diagonals.count) { self.diagonals[place] = .infinity }
    }
}
