import LacunaModels
import LacunaTensor

/// Reads, in a prompt, for every block of queries the blocks of keys whose mean is nearest to the mean of the queries: the share
/// `share` of those that the block may see, its own always among them. What is written afterwards reads everything.
///
/// One of the six methods of Piotr Nawrot, Robert Li, Renjie Huang, Sebastian Ruder, Kelly Marchisio, Edoardo M. Ponti, "The Sparse
/// Frontier: Sparse Attention Trade-offs in Transformer LLMs", arXiv 2504.17768, who keep a number of blocks of 16 where this keeps
/// a share of blocks of 32, for products large enough to be fast.
///
/// - Complexity: O((queries / block) · (keys / block)) products a head, beside the means.
public struct BlockSparsePrompt: KeySelector {
    /// Of the blocks that a block of queries may see, the share that is read, in `0 < … <= 1`.
    public let share: Double
    /// Queries, and keys, of a block.
    public let block: Int
    public let promptRows: Int

    /// - Parameter promptRows: Rows that are planned together, at least 1; longer prompts go in pieces.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a share that is not above 0 and at most 1, or an empty block.
    public init(share: Double, block: Int = 32, promptRows: Int = 4096) throws {
        guard share > 0 && share <= 1, block >= 1, promptRows >= 1 else {
            throw LacunaError.invalidArgument(
                "block-sparse", reason: "a share of \(share) of blocks of \(block) is not above 0 and at most 1")
        }
        (self.share, self.block, self.promptRows) = (share, block, promptRows)
    }

    public var readsAll: Bool { true }
    public func select(_ request: KeyRequest) -> [Range<Int>] { [request.visible] }

    public func plan(_ request: PromptRequest) -> PromptPlan? {
        if share >= 1 { return nil }
        let (size, runs) = (request.size, request.held)
        guard let first = runs.first, let last = runs.last else { return nil }
        let held = HeldKeys(request.store, layer: request.layer, head: request.keyHead, runs: runs, size: size)
        // Blocks of keys lie on a grid of positions, tiles of queries begin with the first of them.
        let base = first.lowerBound / block
        let blocks = (last.upperBound - 1) / block + 1 - base
        let tiles = (request.count + block - 1) / block
        let means = Buffer<Float>(repeating: 0, count: (tiles + blocks) * size)
        let (queryMeans, keyMeans) = (means.pointer, means.pointer + tiles * size)
        var counts = [Int](repeating: 0, count: blocks)
        held.withKeys { keys in
            held.visit { place, position in
                let target = keyMeans + (position / block - base) * size
                for e in 0..<size { target[e] += keys[place * size + e] }
                counts[position / block - base] += 1
            }
        }
        for b in 0..<blocks where counts[b] > 0 {
            for e in 0..<size { keyMeans[b * size + e] /= Float(counts[b]) }
        }
        // A sum points where the mean points, and one tile's scores are compared with each other alone.
        for i in 0..<request.count {
            let (target, query) = (queryMeans + i / block * size, request.queries + i * request.stride)
            for e in 0..<size { target[e] += query[e] }
        }
        let scores = Buffer<Float>(uninitialized: tiles * blocks)
        LinearAlgebra.gemm(
            m: tiles, n: blocks, k: size, queryMeans, leadingA: size, keyMeans, leadingB: size, transposedB: true,
            into: scores.pointer, leadingC: blocks)
        let plans = (0..<tiles).map { tile in
            keys(tile, request, UnsafePointer(scores.pointer) + tile * blocks, base: base, counts: counts)
        }
        return PromptPlan(
            tile: block, keys: plans, products: tiles * blocks + request.count + held.count)
    }

    /// What a tile reads.
    private func keys(
        _ tile: Int, _ request: PromptRequest, _ scores: UnsafePointer<Float>, base: Int, counts: [Int]
    ) -> [Range<Int>] {
        let start = request.firstPosition + tile * block
        let visible = (request.window.map { max(0, start + 1 - $0) } ?? 0)..<min(start + block, request.end)
        // Its own blocks, two where the grids differ, always; of the others those there are.
        let own = max(0, start / block - base)
        let others = (0..<own).filter { counts[$0] > 0 && ($0 + base + 1) * block > visible.lowerBound }
        let ownCount = (visible.upperBound - 1) / block - base - own + 1
        let kept = max(0, Int((share * Double(others.count + ownCount)).rounded(.up)) - ownCount)
        guard let best = TopPages.places(others.map { scores[$0] }, count: others.count, kept: kept) else {
            return [visible]
        }
        let chosen = best.map { others[$0] } + (own..<own + ownCount)
        return TopPages.joined(chosen.map { ($0 + base) * block..<($0 + base + 1) * block }, within: visible)
    }
}
