import LacunaModels
import LacunaSparse
import LacunaTensor

/// Reads, for every token that is written, the pages of keys that could matter most: a page's score is the largest product that any
/// key within its bounds could have with the query, `Σ_d max(q_d · least_d, q_d · largest_d)`. The page of the query is always
/// read; prompts read everything.
///
/// Jiaming Tang, Yilong Zhao, Kan Zhu, Guangxuan Xiao, Baris Kasikci, Song Han, "Quest: Query-Aware Sparsity for Efficient
/// Long-Context LLM Inference", arXiv 2406.10774; as one of the six methods of Piotr Nawrot and others, "The Sparse Frontier:
/// Sparse Attention Trade-offs in Transformer LLMs", arXiv 2504.17768. Each query head chooses for itself; with
/// ``choosesByGroup`` heads that share keys choose by the sum of their scores, as in their harness, and read the same pages. Layers of `dense` read everything, as the first two do in the authors' code.
///
/// Stores have to be ``PageBoundsCache``s; what is not one, such as the keys of a sequence without a store, is read whole.
///
/// - Complexity: O(pages · head size) a query and head, beside the keys that are read.
public struct Quest: KeySelector {
    /// Of the visible keys, the share that is read, in `0 < … <= 1`.
    public let share: Double
    /// Layers, from the first, that read everything.
    public let dense: Int
    public let choosesByGroup: Bool

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a share that is not above 0 and at most 1.
    public init(share: Double, dense: Int = 2, choosesByGroup: Bool = false) throws {
        guard share > 0 && share <= 1, dense >= 0 else {
            throw LacunaError.invalidArgument("quest", reason: "a share of \(share) is not above 0 and at most 1")
        }
        (self.share, self.dense, self.choosesByGroup) = (share, dense, choosesByGroup)
    }

    public var readsPromptsWhole: Bool { true }

    /// The pages among which a query chooses; nil if it reads everything.
    private func pages(_ request: KeyRequest) -> (store: PageBoundsCache, first: Int, count: Int, budget: Int)? {
        guard request.layer >= dense, share < 1, let store = request.store as? PageBoundsCache else { return nil }
        let first = request.visible.lowerBound / store.pageSize
        let count = (request.visible.upperBound - 1) / store.pageSize - first + 1
        let budget = max(1, Int((share * Double(count)).rounded(.up)))
        return budget < count ? (store, first, count, budget) : nil
    }

    public func numbersCompared(_ request: KeyRequest) -> Int {
        pages(request).map { ($0.count - 1) * 2 * $0.store.shape.headSize } ?? 0
    }

    public func select(_ request: KeyRequest) -> [Range<Int>] {
        let visible = request.visible
        guard let (store, first, count, budget) = pages(request) else { return [visible] }
        let (pageSize, size) = (store.pageSize, store.shape.headSize)
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * size + count) { memory in
            let (query, scores) = (memory.baseAddress!, memory.baseAddress! + 2 * size)
            // Negative entries meet the least keys, positive ones the largest: one product with both bounds, for the sum over several
            // queries as well.
            query.update(repeating: 0, count: 2 * size)
            for member in 0..<request.group {
                for e in 0..<size {
                    let q = request.query[member * size + e]
                    query[e] += min(q, 0)
                    query[size + e] += max(q, 0)
                }
            }
            AttentionKernels.scores(
                query: query, keys: store.bounds(layer: request.layer, head: request.keyHead) + first * 2 * size,
                count: count - 1, stride: 2 * size, size: 2 * size, into: scores)
            return TopPages.ranges(
                scores, count: count - 1, kept: budget - 1, first: first, pageSize: pageSize, visible: visible)
        }
    }
}
