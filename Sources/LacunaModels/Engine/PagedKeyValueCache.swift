import LacunaTensor

/// A ``KeyValueStore`` of pages: memory grows with the positions held, forks share all pages until one of them writes into
/// the last, and pages whose positions are all evicted are freed.
///
/// Woosuk Kwon, Zhuohan Li, Siyuan Zhuang, Ying Sheng, Lianmin Zheng, Cody Hao Yu, Joseph E. Gonzalez, Hao Zhang, Ion Stoica,
/// "Efficient Memory Management for Large Language Model Serving with PagedAttention", arXiv 2309.06180. Views within a
/// page, as selectors of windows and blocks ask for, read it in place; longer ones are put together first.
public final class PagedKeyValueCache: KeyValueStore, @unchecked Sendable {
    /// Layers, heads, and positions that fit.
    public let shape: KeyValueShape
    /// Positions of a page.
    public let pageSize: Int
    public private(set) var count = 0
    public private(set) var evicted = PositionSet()
    /// [layer][keys, values][head][position of the page][head size]; nil once all positions are evicted.
    private var pages: [Buffer<Float>?] = []

    /// - Parameter pageSize: Positions of a page, at least 1.
    public init(_ shape: KeyValueShape, pageSize: Int = 64) {
        require(pageSize >= 1, "pages of \(pageSize) positions")
        self.shape = shape
        self.pageSize = pageSize
    }

    public var capacity: Int { shape.capacity }
    private var pageFloats: Int { 2 * shape.layers * shape.width * pageSize }

    /// Of the pages, shared ones included.
    public var byteCount: Int { pages.count { $0 != nil } * pageFloats * MemoryLayout<Float>.size }

    /// Whether a page is the same memory as another store has it.
    public func sharesPage(_ index: Int, with other: PagedKeyValueCache) -> Bool {
        pages[index] != nil && pages[index] === other.pages[index]
    }

    public func truncate(to count: Int) {
        require(count >= 0 && count <= self.count, "\(count) of \(self.count) positions")
        self.count = count
        evicted.truncate(to: count)
        pages.removeSubrange(min((count + pageSize - 1) / pageSize, pages.count)...)
    }

    public func advance(by more: Int) { count += more }

    public func evict(_ positions: Range<Int>) {
        requireEvictable(positions)
        evicted.insert(positions)
        for range in evicted.ranges {
            let whole =
                (range.lowerBound + pageSize - 1)
                / pageSize..<max(
                    range.upperBound / pageSize, (range.lowerBound + pageSize - 1) / pageSize)
            for page in whole { pages[page] = nil }
        }
    }

    public func fork() -> any KeyValueStore {
        let copy = PagedKeyValueCache(shape, pageSize: pageSize)
        (copy.count, copy.evicted, copy.pages) = (count, evicted, pages)
        return copy
    }

    private func offset(layer: Int, part: Int, head: Int, place: Int) -> Int {
        (((layer * 2 + part) * shape.heads + head) * pageSize + place) * shape.headSize
    }

    public func append(
        layer: Int, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, count more: Int
    ) {
        for i in 0..<more {
            let (page, place) = ((count + i) / pageSize, (count + i) % pageSize)
            while pages.count <= page { pages.append(nil) }
            if pages[page] == nil {
                pages[page] = Buffer(uninitialized: pageFloats)
            } else if i == 0 || place == 0, !isKnownUniquelyReferenced(&pages[page]) {
                // Another store reads what is there.
                pages[page] = pages[page]!.copy()
            }
            let target = pages[page]!.pointer
            for (part, source) in [keys, values].enumerated() {
                for head in 0..<shape.heads {
                    (target + offset(layer: layer, part: part, head: head, place: place)).update(
                        from: source + i * shape.width + head * shape.headSize, count: shape.headSize)
                }
            }
        }
    }

    public func view(layer: Int, head: Int, positions: Range<Int>) -> KeyValueView {
        func start(_ part: Int, _ position: Int) -> UnsafeMutablePointer<Float> {
            let page = pages[position / pageSize]
            require(page != nil, "position \(position) was evicted")
            return page!.pointer + offset(layer: layer, part: part, head: head, place: position % pageSize)
        }
        let (first, size) = (positions.lowerBound, shape.headSize)
        if positions.isEmpty || first / pageSize == (positions.upperBound - 1) / pageSize {
            let place = positions.isEmpty ? 0 : first
            return KeyValueView(keys: start(0, place), values: start(1, place), owner: pages[place / pageSize])
        }
        let floats = Buffer<Float>(uninitialized: 2 * positions.count * size)
        for part in 0..<2 {
            var position = first
            while position < positions.upperBound {
                let run = min(pageSize - position % pageSize, positions.upperBound - position)
                (floats.pointer + (part * positions.count + position - first) * size).update(
                    from: start(part, position), count: run * size)
                position += run
            }
        }
        return KeyValueView(keys: floats.pointer, values: floats.pointer + positions.count * size, owner: floats)
    }
}
