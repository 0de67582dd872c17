import LacunaTensor

/// An order of a layer's output channels that brings channels with similar scores next to each other, so that a pattern
/// that keeps or drops groups of consecutive channels together keeps more.
///
/// The objective is the score that is kept: with the channels cut into groups of `group`, a unit is one input channel of
/// one group, its score the sum over the group, and the best units up to the wanted number are kept. The search clusters
/// rows greedily by the cosine of their scores, then swaps pairs of channels of different groups as long as that helps.
/// After Haitao Xu et al., "SparseByteNN: A Novel Mobile Inference Acceleration Framework Based on Fine-Grained Group
/// Sparsity", arXiv 2310.19509, whose search the paper does not give in detail.
public struct ChannelRearrangement: Sendable {
    /// Output channels of a group.
    public var group: Int
    /// Fraction of units that are dropped.
    public var sparsity: Double
    /// Pairs that are tried.
    public var swaps: Int

    /// A rearrangement for groups of so many channels at a sparsity, by so many attempted swaps.
    public init(group: Int = 4, sparsity: Double = 0.5, swaps: Int = 20_000) {
        self.group = group
        self.sparsity = sparsity
        self.swaps = swaps
    }

    /// The order for `scores` [outputs, inputs], not negative: element `i` is the channel that comes to place `i`.
    /// - Throws: `LacunaError.invalidArgument` for a tensor that is not a matrix, a group below 1, a sparsity outside 0...1.
    public func order(_ scores: Tensor<Float>, using generator: inout SeededGenerator) throws -> [Int] {
        guard scores.rank == 2 else {
            throw LacunaError.invalidArgument("scores", reason: "shape \(scores.shape) is not a matrix")
        }
        guard group >= 1 && (0...1).contains(sparsity) else {
            throw LacunaError.invalidArgument("group", reason: "groups of \(group) at sparsity \(sparsity)")
        }
        let (m, n) = (scores.rows, scores.columns)
        if group == 1 || m <= group { return Array(0..<m) }
        var order = cluster(scores)
        let values = scores.scalars
        let groups = (m + group - 1) / group
        // Scores of units, and of each group what the threshold leaves of them.
        var units = [Float](repeating: 0, count: groups * n)
        for (place, channel) in order.enumerated() {
            for c in 0..<n { units[place / group * n + c] += values[channel * n + c] }
        }
        let kept = units.count - Int(sparsity * Double(units.count))
        // A pair is judged at the threshold of the moment, which is brought up to date now and then: sorting for every
        // pair would cost more than all pairs together.
        var threshold = Self.threshold(units, keeping: kept)
        func gain(_ unit: Float) -> Float { max(unit - threshold, 0) }
        for attempt in 0..<swaps {
            if attempt % 200 == 199 { threshold = Self.threshold(units, keeping: kept) }
            let (a, b) = (Int(generator.next() % UInt64(m)), Int(generator.next() % UInt64(m)))
            let (ga, gb) = (a / group, b / group)
            if ga == gb { continue }
            let (ra, rb) = (order[a] * n, order[b] * n)
            var change: Float = 0
            for c in 0..<n {
                let difference = values[rb + c] - values[ra + c]
                let (ua, ub) = (units[ga * n + c], units[gb * n + c])
                change += gain(ua + difference) - gain(ua) + gain(ub - difference) - gain(ub)
            }
            guard change > 0 else { continue }
            for c in 0..<n {
                let difference = values[rb + c] - values[ra + c]
                units[ga * n + c] += difference
                units[gb * n + c] -= difference
            }
            order.swapAt(a, b)
        }
        return order
    }

    /// The share of the score that the best units keep under an order, relative to what as many single entries would.
    public func keptShare(_ scores: Tensor<Float>, order: [Int]) -> Double {
        let (m, n) = (scores.rows, scores.columns)
        let values = scores.scalars
        var units = [Float](repeating: 0, count: (m + group - 1) / group * n)
        for (place, channel) in order.enumerated() {
            for c in 0..<n { units[place / group * n + c] += values[channel * n + c] }
        }
        let kept = units.count - Int(sparsity * Double(units.count))
        let best = units.sorted(by: >).prefix(kept).reduce(0) { $0 + Double($1) }
        let free = values.sorted(by: >).prefix(kept * group).reduce(0) { $0 + Double($1) }
        return free == 0 ? 1 : best / free
    }

    private static func threshold(_ units: [Float], keeping kept: Int) -> Float {
        kept == 0 ? .infinity : units.sorted(by: >)[kept - 1]
    }

    /// Groups one after the other: the channel with the largest score that is left, and those most similar to it.
    private func cluster(_ scores: Tensor<Float>) -> [Int] {
        let m = scores.rows
        let gram = scores.multiplied(by: scores, otherTransposed: true).scalars
        var left = (0..<m).sorted { gram[$0 * m + $0] > gram[$1 * m + $1] }
        var order: [Int] = []
        while let first = left.first {
            func cosine(_ i: Int) -> Float {
                let scale = (gram[first * m + first] * gram[i * m + i]).squareRoot()
                return scale > 0 ? gram[first * m + i] / scale : 0
            }
            let nearest = left.dropFirst().sorted { cosine($0) > cosine($1) }.prefix(group - 1)
            order += [first] + nearest
            let taken = Set([first] + nearest)
            left.removeAll { taken.contains($0) }
        }
        return order
    }
}
