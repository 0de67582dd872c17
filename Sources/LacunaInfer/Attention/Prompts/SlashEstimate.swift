import LacunaModels
import LacunaTensor

/// How much attention the last queries of a prompt pay to every key, and at every distance: the estimate that vertical-slash
/// patterns are chosen by.
///
/// Distances are counted in blocks, as kernels skip them: of a tile that begins at position p, block diagonal 0 are the keys from p
/// on, and block diagonal b those from `p - b · block` to the next.
struct SlashEstimate {
    /// Of every held key, the sum over the queries. They add up to the number of queries, and so do ``diagonals``.
    var columns: [Float]
    /// Of every block diagonal.
    var diagonals: [Float]
    /// The keys.
    let held: HeldKeys
    /// Products that were made.
    let products: Int
    private let request: PromptRequest
    private let block: Int

    /// - Parameters:
    ///   - queries: Of the last ones, how many are looked at, as far as there are so many.
    ///   - block: Queries of a tile.
    /// - Returns: Nil without keys.
    init?(_ request: PromptRequest, queries: Int, block: Int) {
        let runs = request.held
        guard let first = runs.first?.lowerBound else { return nil }
        (self.request, self.block) = (request, block)
        held = HeldKeys(request.store, layer: request.layer, head: request.keyHead, runs: runs, size: request.size)
        let (rows, count) = (min(queries, request.count), held.count)
        products = rows * count
        let start = request.count - rows
        let shares = Buffer<Float>(uninitialized: rows * count)
        held.attention(
            request.queries + start * request.stride, rows: rows, stride: request.stride,
            first: request.firstPosition + start, window: request.window, size: request.size, scale: request.scale,
            into: shares.pointer)
        columns = [Float](repeating: 0, count: count)
        // The last tile's distance to the first key is the largest that there is.
        let lastTile = request.firstPosition + (request.count - 1) / block * block
        diagonals = [Float](repeating: 0, count: max(0, lastTile - first + block - 1) / block + 1)
        for i in 0..<rows {
            let tile = request.firstPosition + (start + i) / block * block
            let row = shares.pointer + i * count
            held.visit { place, position in
                columns[place] += row[place]
                if position < tile + block {
                    diagonals[Self.diagonal(position, tile: tile, block: block)] += row[place]
                }
            }
        }
    }

    private static func diagonal(_ position: Int, tile: Int, block: Int) -> Int {
        position >= tile ? 0 : (tile - position + block - 1) / block
    }

    /// The plan that reads some keys from every query that sees them, and some block diagonals.
    ///
    /// - Parameters:
    ///   - columns: Places of keys, ascending.
    ///   - diagonals: Ascending.
    func plan(columns: [Int], diagonals: [Int]) -> PromptPlan {
        let all = 0..<request.end
        var chosen: [Range<Int>] = []
        var next = 0
        held.visit { place, position in
            if next < columns.count && columns[next] == place {
                chosen.append(position..<position + 1)
                next += 1
            }
        }
        chosen = TopPages.joined(chosen, within: all)
        let tiles = stride(from: 0, to: request.count, by: block).map { offset in
            let tile = request.firstPosition + offset
            let low = request.window.map { max(0, tile + 1 - $0) } ?? 0
            let visible = low..<min(tile + block, request.end)
            let slashes = diagonals.reversed().compactMap { diagonal -> Range<Int>? in
                let end = tile - diagonal * block + block
                return end <= 0 ? nil : max(0, end - block)..<end
            }
            return TopPages.union(slashes, chosen, within: visible)
        }
        return PromptPlan(tile: block, keys: tiles, products: products)
    }
}
