import LacunaModels
import LacunaTensor

/// Reads, for every token that is written, the last positions and as many of the older ones to which attention went of late: of n
/// positions, and a share r, the last `k = round(n r / 2)` and the k with the largest sum, over the last k queries and all heads of
/// the layer, of what they were paid. Positions that a query did not read were paid nothing by it. Nothing is forgotten, so that what
/// matters again is found again, as far as the queries before have begun to look at it.
///
/// Youpeng Zhao, Di Wu, Jun Wang, "ALISA: Accelerating Large Language Model Inference via Sparsity-Aware KV Caching", arXiv
/// 2403.17312: sparse window attention. Their schedule of three phases moves keys and values between an accelerator and its host,
/// deletes and recomputes them; here there is one memory, and it is left out. Prompts are read whole; what their last k queries paid
/// is counted in sixteenths of k.
///
/// Stores have to be ``AttentionMassCache``s; what is not one is read whole.
public struct ALISA: KeySelector {
    /// Of the visible positions, the share that is read, in `0 < … <= 1`.
    public let share: Double
    /// Whether all queries count instead of the last k. Such sums find what was heavy before for long after it no longer is.
    public let remembersAll: Bool
    public let promptRows: Int

    /// Steps in which the last queries of a prompt are counted.
    private static let groups = 16

    /// - Parameter promptRows: Rows of a prompt that are looked at together, at least 1.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a share that is not above 0 and at most 1.
    public init(share: Double, remembersAll: Bool = false, promptRows: Int = 4096) throws {
        guard share > 0 && share <= 1, promptRows >= 1 else {
            throw LacunaError.invalidArgument("alisa", reason: "a share of \(share) is not above 0 and at most 1")
        }
        (self.share, self.remembersAll, self.promptRows) = (share, remembersAll, promptRows)
    }

    /// How many of the last of so many positions are read, and how many others; at least 1.
    public func half(_ positions: Int) -> Int { max(1, Int((share * Double(positions) / 2).rounded())) }

    public var readsPromptsWhole: Bool { true }

    /// Of the sums of a layer's positions, which are for all of its heads; the first head counts them.
    public func numbersCompared(_ request: KeyRequest) -> Int {
        let half = half(request.position + 1)
        guard request.head == 0, 2 * half < request.visible.count, request.store is AttentionMassCache else { return 0 }
        return request.position + 1 - half
    }

    public func select(_ request: KeyRequest) -> [Range<Int>] {
        let visible = request.visible
        let half = half(request.position + 1)
        guard 2 * half < visible.count, let store = request.store as? AttentionMassCache else { return [visible] }
        let local = visible.upperBound - half
        return TopPages.union(
            store.heavyHitters(layer: request.layer), [local..<visible.upperBound], within: visible)
    }

    public func observe(_ request: KeyRequest, ranges: [Range<Int>], weights: UnsafePointer<Float>) {
        guard let store = request.store as? AttentionMassCache else { return }
        store.note(
            layer: request.layer, head: request.head, position: request.position, queries: 1, ranges: ranges,
            weights: UnsafeBufferPointer(start: weights, count: ranges.reduce(0) { $0 + $1.count }))
    }

    /// Reads everything, and notes what the last queries pay.
    public func plan(_ request: PromptRequest) -> PromptPlan? {
        guard let store = request.store as? AttentionMassCache, share < 1 else { return nil }
        let rows = min(request.count, half(request.end + 1))
        let held = HeldKeys(
            request.store, layer: request.layer, head: request.keyHead, runs: request.held, size: request.size)
        let step = (rows + Self.groups - 1) / Self.groups
        let shares = Buffer<Float>(uninitialized: max(1, step * held.count))
        for first in stride(from: request.count - rows, to: request.count, by: step) {
            let count = min(step, request.count - first)
            held.attention(
                request.queries + first * request.stride, rows: count, stride: request.stride,
                first: request.firstPosition + first, window: request.window, size: request.size, scale: request.scale,
                into: shares.pointer)
            for i in 1..<max(1, count) {
                let row = shares.pointer + i * held.count
                for t in 0..<held.count { shares.pointer[t] += row[t] }
            }
            store.note(
                layer: request.layer, head: request.head, position: request.firstPosition + first + count - 1,
                queries: count, ranges: request.held,
                weights: UnsafeBufferPointer(start: shares.pointer, count: held.count))
        }
        return nil
    }
}
