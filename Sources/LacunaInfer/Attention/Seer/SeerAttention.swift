import LacunaModels
import LacunaTensor

/// Reads, in a prompt, the blocks of keys that a ``SeerGate`` expects attention to go to. Each tile's own block is always read, and
/// the last two tiles read everything. What is written afterwards reads everything.
///
/// - Complexity: O(tiles · blocks · width + (queries + keys) · head size) a head.
public struct SeerAttention: KeySelector {
    /// Which blocks are read.
    public enum Choice: Sendable, Hashable {
        /// As many of the best as make about this share of all pairs, in `0 < … <= 1`: of n blocks `n (1 - √(1 - share))` for each tile.
        case share(Double)
        /// Those to which the gate gives at least this probability; 0 for all. What is right depends on the length of prompts, since
        /// probabilities add up to 1.
        case threshold(Double)
    }

    /// Says what is read.
    public let gate: SeerGate
    /// Which blocks are read.
    public let choice: Choice
    public let promptRows: Int

    /// - Parameter promptRows: Rows that are planned together, at least 1; longer prompts go in pieces.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a share that is not above 0 and at most 1, or a threshold that is not
    ///   in 0...1.
    public init(_ gate: SeerGate, _ choice: Choice, promptRows: Int = 4096) throws {
        let isValid =
            switch choice {
            case .share(let share): share > 0 && share <= 1
            case .threshold(let threshold): threshold >= 0 && threshold <= 1
            }
        guard isValid, promptRows >= 1 else {
            throw LacunaError.invalidArgument("seer", reason: "\(choice) is out of range")
        }
        (self.gate, self.choice, self.promptRows) = (gate, choice, promptRows)
    }

    public var readsAll: Bool { true }
    public func select(_ request: KeyRequest) -> [Range<Int>] { [request.visible] }

    public func plan(_ request: PromptRequest) -> PromptPlan? {
        let block = gate.block
        require(
            request.layer < gate.layers.count && request.head < gate.layers[request.layer].queries.count,
            "a gate of another model")
        let features = SeerFeatures(request, block: block, rotary: gate.rotations[request.layer])
        let (tiles, starts) = (features.tileStarts, features.blockStarts)
        if starts.isEmpty { return nil }
        let logits = gate.logits(features, layer: request.layer, head: request.head)
        let keys = tiles.enumerated().map { tile, start in
            let visible = (request.window.map { max(0, start + 1 - $0) } ?? 0)..<min(start + block, request.end)
            if tile + 2 >= tiles.count { return [visible] }
            let others = starts.indices.filter {
                starts[$0] + block <= start && starts[$0] + block > visible.lowerBound
            }
            let own = max(0, start / block * block)..<visible.upperBound
            let best = chosen(others, among: starts.count, row: (0..<starts.count).map { logits[tile, $0] })
            let ranges = best.map { starts[$0]..<starts[$0] + block }
            return TopPages.union(TopPages.joined(ranges, within: visible), [own], within: visible)
        }
        return PromptPlan(
            tile: block, keys: keys,
            // A map costs as much as so many products of the size of a head.
            products: tiles.count * gate.width + 3 * starts.count * gate.width
                + (tiles.count * starts.count * gate.width + request.size - 1) / request.size)
    }

    /// Of the blocks before a tile, those to read.
    private func chosen(_ others: [Int], among blocks: Int, row: [Float]) -> [Int] {
        switch choice {
        case .share(let share):
            // Rounding of the root does not cost a block.
            let kept = Int(Double(blocks) * (1 - (1 - share).squareRoot()) + 1e-9)
            let scores = others.map { row[$0] }
            return (TopPages.places(scores, count: others.count, kept: kept - 1) ?? Array(others.indices)).map {
                others[$0]
            }
        case .threshold(let threshold):
            let top = row.max() ?? 0
            let weights = row.map { exponential(Double($0 - top)) }
            let sum = weights.reduce(0, +)
            return others.filter { !(weights[$0] / sum < threshold) }
        }
    }
}
