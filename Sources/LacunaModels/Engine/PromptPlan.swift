import LacunaTensor

/// Consecutive queries of one head, those of a prompt or of a piece of one, and where the keys are that they may read.
public struct PromptRequest {
    /// From 0.
    public let layer: Int
    /// Of the queries.
    public let head: Int
    /// Of the keys.
    public let keyHead: Int
    /// Place of the first query in its sequence, from 0.
    public let firstPosition: Int
    /// How many queries there are.
    public let count: Int
    /// How many positions back the model lets a query see, itself included; nil for all.
    public let window: Int?
    /// What the model multiplies scores by.
    public let scale: Float
    /// Rows of the queries after rotation, `stride` floats apart, [head size] each.
    public let queries: UnsafePointer<Float>
    /// Floats from one query to the next.
    public let stride: Int
    /// Entries of a query, and of a key.
    public let size: Int
    /// Where the keys are, those of these queries included.
    public let store: any KeyValueStore

    /// Queries of one head, and where their keys are.
    public init(
        layer: Int, head: Int, keyHead: Int, firstPosition: Int, count: Int, window: Int? = nil, scale: Float,
        queries: UnsafePointer<Float>, stride: Int, size: Int, store: any KeyValueStore
    ) {
        (self.layer, self.head, self.keyHead) = (layer, head, keyHead)
        (self.firstPosition, self.count, self.window, self.scale) = (firstPosition, count, window, scale)
        (self.queries, self.stride, self.size, self.store) = (queries, stride, size, store)
    }

    /// The position after the last query's.
    public var end: Int { firstPosition + count }

    /// Positions that at least one query may see and that the store still has, as ascending ranges.
    public var held: [Range<Int>] {
        let first = window.map { max(0, firstPosition + 1 - $0) } ?? 0
        return store.evicted(layer: layer, head: keyHead).removed(from: [first..<end])
    }
}

/// Which keys the queries of a prompt read: a list for every tile of consecutive queries, so that the others cost neither a product
/// nor a read. Within what is listed a query reads what the model lets it see.
public struct PromptPlan: Sendable {
    /// Queries of a tile, from the first one of the request on; the last tile may have fewer.
    public let tile: Int
    /// For each tile, ascending ranges of positions that do not overlap. Every query finds at least one position that it may see
    /// among them, if only its own.
    public let keys: [[Range<Int>]]
    /// What the choice took: products of a vector of the size of a head with another one.
    public let products: Int

    /// - Precondition: A tile has at least one query.
    public init(tile: Int, keys: [[Range<Int>]], products: Int) {
        require(tile >= 1, "tiles of \(tile) queries")
        (self.tile, self.keys, self.products) = (tile, keys, products)
    }

    /// Everything that queries may see.
    public init(whole request: PromptRequest, tile: Int = 64) {
        let starts = stride(from: 0, to: request.count, by: tile)
        self.init(
            tile: tile,
            keys: starts.map { start in
                let first = request.firstPosition + start
                let low = request.window.map { max(0, first + 1 - $0) } ?? 0
                return [low..<min(first + tile, request.end)]
            }, products: 0)
    }
}
