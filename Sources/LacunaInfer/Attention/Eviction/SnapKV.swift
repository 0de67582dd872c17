import LacunaModels
import LacunaTensor

/// What a ``SnapKVCache`` keeps of a prompt: of every head the positions to which the last queries of the prompt attend, smoothed
/// over their neighbours, the last positions and the first four.
///
/// Yuhong Li and others, "SnapKV: LLM Knows What You are Looking for Before Generation", arXiv 2404.14469, and, if heads share a
/// budget, Yuan Feng, Junlin Lv, Yukun Cao, Xike Xie, S. Kevin Zhou, "Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget
/// Allocation for Efficient LLM Inference", arXiv 2407.11550; both as Piotr Nawrot and others have them in "The Sparse Frontier: Sparse
/// Attention Trade-offs in Transformer LLMs", arXiv 2504.17768, but for the budget, which is a share of the positions rather than
/// their number.
public struct SnapKV: Sendable, Hashable {
    /// Of the positions, the share that each head keeps, or all heads of a layer on average, in `0 < … <= 1`. First and last
    /// positions are part of it.
    public let share: Double
    /// Whether heads of a layer compete for what they keep, each with a fifth of its share for certain.
    public let isAdaptive: Bool
    /// Last queries of the prompt that decide.
    public let window: Int
    /// Last positions that stay, at most half of what a head keeps.
    public let local: Int
    /// Neighbours over which attention is averaged, the position itself included. Odd.
    public let smoothing: Int

    /// First positions that stay.
    static let sinks = 4
    /// Of its share, what a head keeps for certain.
    static let certain = 0.2

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a share that is not above 0 and at most 1, no queries, or an even
    ///   number of neighbours.
    public init(share: Double, isAdaptive: Bool = false, window: Int = 256, local: Int = 128, smoothing: Int = 21)
        throws
    {
        let name = isAdaptive ? "ada-snapkv" : "snapkv"
        guard share > 0 && share <= 1 else {
            throw LacunaError.invalidArgument(name, reason: "the share \(share) is not above 0 and at most 1")
        }
        guard window >= 1, local >= 1, smoothing >= 1, smoothing % 2 == 1 else {
            throw LacunaError.invalidArgument(
                name,
                reason: "\(window) queries, \(local) last positions and \(smoothing) neighbours must be positive, the "
                    + "last odd")
        }
        (self.share, self.isAdaptive) = (share, isAdaptive)
        (self.window, self.local, self.smoothing) = (window, local, smoothing)
    }

    /// Positions that a head keeps of so many, on average.
    public func budget(_ positions: Int) -> Int { max(1, Int((share * Double(positions)).rounded(.up))) }

    /// Which positions each head of a layer keeps.
    ///
    /// - Parameters:
    ///   - masses: [heads][positions held], the attention that each was paid; 0 where there was none.
    ///   - budget: Positions to keep, on average over heads.
    /// - Returns: Places in `masses`, ascending; everything for a head that has no more than it may keep.
    public func kept(_ masses: [[Float]], budget: Int) -> [[Int]] {
        let certain = masses.map { Self.certain($0.count, budget: budget, local: local) }
        var rest = masses.enumerated().map { head, masses in
            let middle = certain[head].first..<masses.count - certain[head].last
            return (first: middle.lowerBound, scores: Array(smoothed(masses[middle])))
        }
        // What is not a number is kept, and seen.
        for head in rest.indices {
            for i in rest[head].scores.indices where rest[head].scores[i].isNaN { rest[head].scores[i] = .infinity }
        }
        let wanted = certain.enumerated().map { head, certain in
            max(0, min(budget, masses[head].count) - certain.first - certain.last)
        }
        func best(_ scores: [Float], _ count: Int) -> [Int] {
            TopPages.places(scores, count: scores.count, kept: count) ?? Array(scores.indices)
        }
        func places(_ head: Int, _ chosen: [Int]) -> [Int] {
            Array(0..<certain[head].first) + chosen.map { $0 + rest[head].first }
                + (masses[head].count - certain[head].last..<masses[head].count)
        }
        if !isAdaptive { return masses.indices.map { places($0, best(rest[$0].scores, wanted[$0])) } }
        var chosen = masses.indices.map { head in
            let floor = Int((Self.certain * Double(budget)).rounded(.up)) - certain[head].first - certain[head].last
            return Set(best(rest[head].scores, min(wanted[head], max(0, floor))))
        }
        let open = wanted.reduce(0, +) - chosen.reduce(0) { $0 + $1.count }
        var candidates: [(head: Int, place: Int)] = []
        for head in masses.indices {
            candidates += rest[head].scores.indices.filter { !chosen[head].contains($0) }.map { (head, $0) }
        }
        for i in best(candidates.map { rest[$0.head].scores[$0.place] }, open) {
            chosen[candidates[i].head].insert(candidates[i].place)
        }
        return masses.indices.map { places($0, chosen[$0].sorted()) }
    }

    /// First and last positions that stay.
    private static func certain(_ count: Int, budget: Int, local: Int) -> (first: Int, last: Int) {
        if count <= budget { return (0, count) }
        let last = min(local, max(1, budget / 2))
        return (min(sinks, budget - last), last)
    }

    /// Averages over neighbours, what is beyond the ends being 0.
    private func smoothed(_ masses: ArraySlice<Float>) -> [Float] {
        let (x, reach) = (Array(masses), smoothing / 2)
        return x.indices.map { i in
            x[max(0, i - reach)..<min(x.count, i + reach + 1)].reduce(0, +) / Float(smoothing)
        }
    }
}
