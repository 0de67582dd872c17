import LacunaModels
import LacunaTensor

/// Reads, in a prompt, for each head the fewest keys, and the fewest distances, to which the last queries pay the share `mass` of
/// their attention: heads that look at few places read few. What is written afterwards reads everything.
///
/// Xunhao Lai, Jianqiao Lu, Yao Luo, Yiyuan Ma, Xun Zhou, "FlexPrefill: A Context-Aware Sparse Attention Mechanism for Efficient
/// Long-Sequence Inference", arXiv 2502.20766, in the form that it has among the six methods of Piotr Nawrot and others, "The Sparse
/// Frontier: Sparse Attention Trade-offs in Transformer LLMs", arXiv 2504.17768: without the pooled pattern between which and this
/// one the first authors choose head by head. At least 128 keys and as many distances are read, where theirs is 512, for shorter
/// prompts than theirs.
///
/// - Complexity: O(queries looked at · keys) products a head, and sorting.
public struct FlexPrefill: KeySelector {
    /// Of the attention of the last queries, the share that is to be covered, in `0 < … <= 1`; the authors' harness has 0.65.
    public let mass: Double
    /// Last queries by which is chosen.
    public let queries: Int
    /// Keys, and distances, to read at least.
    public let minimum: Int
    /// Queries of a tile, and distances of a diagonal.
    public let block: Int
    public let promptRows: Int

    /// - Parameter promptRows: Rows that are planned together, at least 1; longer prompts go in pieces.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a mass that is not above 0 and at most 1, or no queries.
    public init(mass: Double, queries: Int = 512, minimum: Int = 128, block: Int = 32, promptRows: Int = 4096) throws {
        guard mass > 0 && mass <= 1, queries >= 1, minimum >= 0, block >= 1, promptRows >= 1 else {
            throw LacunaError.invalidArgument(
                "flexprefill", reason: "a mass of \(mass), by \(queries) queries, is not above 0 and at most 1")
        }
        (self.mass, self.queries, self.minimum) = (mass, queries, minimum)
        (self.block, self.promptRows) = (block, promptRows)
    }

    public var readsAll: Bool { true }
    public func select(_ request: KeyRequest) -> [Range<Int>] { [request.visible] }

    public func plan(_ request: PromptRequest) -> PromptPlan? {
        if mass >= 1 { return nil }
        guard let estimate = SlashEstimate(request, queries: queries, block: block),
            let columns = Self.covering(estimate.columns, mass: mass, atLeast: minimum),
            var diagonals = Self.covering(
                estimate.diagonals, mass: mass, atLeast: (minimum + block - 1) / block)
        else { return nil }
        // A query's own position is on the first diagonal.
        if diagonals.first != 0 { diagonals.insert(0, at: 0) }
        return estimate.plan(columns: columns, diagonals: diagonals)
    }

    /// The fewest places, ascending, whose shares come to `mass` of all, and at least so many; of equal ones the later.
    ///
    /// - Returns: Nil where a share is not a number.
    static func covering(_ shares: [Float], mass: Double, atLeast minimum: Int) -> [Int]? {
        let total = shares.reduce(0.0) { $0 + Double($1) }
        guard total.isFinite else { return nil }
        let order = shares.indices.sorted { shares[$0] == shares[$1] ? $0 > $1 : shares[$0] > shares[$1] }
        var (covered, count) = (0.0, 0)
        while count < order.count && (count < minimum || covered < mass * total) {
            covered += Double(shares[order[count]])
            count += 1
        }
        return order.prefix(count).sorted()
    }
}
