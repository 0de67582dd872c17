import LacunaTensor

/// Softmax attention for one head, in which a query sees the keys up to its own position, or all of them.
enum HeadAttention {
    /// A matrix of which one head occupies `headSize` columns, rows `stride` floats apart.
    struct HeadView {
        var pointer: UnsafePointer<Float>
        var stride: Int
    }

    /// Attention of `count` consecutive queries, the first at `firstPosition`. Queries go in blocks, as two dense products
    /// around a masked softmax.
    ///
    /// - Parameters:
    ///   - keys: From position `firstKey` on, at or before the first that a query sees; so are the values.
    ///   - window: How many positions back a query sees, itself included.
    ///   - keyCount: How many keys there are, if a query sees later ones too; nil for causal attention.
    ///   - output: Rows `outputStride` floats apart.
    static func attend(
        queries: HeadView, count: Int, firstPosition: Int, keys: HeadView, values: HeadView, firstKey origin: Int,
        keyCount total: Int?, headSize: Int, scale: Float, window: Int, into output: UnsafeMutablePointer<Float>,
        outputStride: Int
    ) {
        let last = total ?? firstPosition + count - origin
        let block = max(8, min(64, count, 262_144 / last))
        let scores = Buffer<Float>(uninitialized: block * last)
        for start in stride(from: 0, to: count, by: block) {
            let rows = min(block, count - start)
            let position = firstPosition + start
            // Keys that at least one query of the block sees.
            let firstKey = max(origin, position - window + 1)
            let keyCount = total ?? position + rows - firstKey
            LinearAlgebra.gemm(
                m: rows, n: keyCount, k: headSize, alpha: scale, queries.pointer + start * queries.stride,
                leadingA: queries.stride, keys.pointer + (firstKey - origin) * keys.stride, leadingB: keys.stride,
                transposedB: true, into: scores.pointer, leadingC: keyCount)
            for i in 0..<rows {
                let row = scores.pointer + i * keyCount
                let low = max(0, position + i - window + 1 - firstKey)
                let high = total ?? position + i + 1 - firstKey
                (row).update(repeating: 0, count: low)
                VectorMath.softmax(row + low, count: high - low)
                (row + high).update(repeating: 0, count: keyCount - high)
            }
            LinearAlgebra.gemm(
                m: rows, n: headSize, k: keyCount, scores.pointer, leadingA: keyCount,
                values.pointer + (firstKey - origin) * values.stride, leadingB: values.stride,
                into: output + start * outputStride, leadingC: outputStride)
        }
    }
}

/// Attention of a step's rows, all heads, over what their sequences hold.
struct SpanAttention {
    let geometry: AttentionGeometry
    let context: StepContext
    let layer: Int
    /// [count, heads · head size] of the step's rows.
    let queries: UnsafePointer<Float>
    let keys: UnsafePointer<Float>
    let values: UnsafePointer<Float>

    /// Rows of one span that are one piece of work.
    private struct Piece {
        let span: Int
        let rows: Range<Int>
    }

    func attend(into mixed: UnsafeMutablePointer<Float>) {
        let g = geometry
        // A row by itself goes through the vector kernels; so do all rows if their keys are selected one by one.
        var (singles, blocks): ([Piece], [Piece]) = ([], [])
        var planned: [(span: Int, plans: [PromptPlan])] = []
        var longest = 0
        for (index, span) in context.spans.enumerated() {
            longest = max(longest, g.visible(span.firstPosition + span.rows.count - 1, in: span).count)
            if let plans = plans(span) {
                planned.append((index, plans))
            } else if (span.rows.count == 1 && span.store != nil) || !readsAll(span) {
                for row in span.rows { singles.append(Piece(span: index, rows: row..<row + 1)) }
            } else {
                // Long sequences are cut so that there is work for many threads even when there is one of them.
                let piece = max(256, (span.rows.count + 3) / 4)
                for start in stride(from: span.rows.lowerBound, to: span.rows.upperBound, by: piece) {
                    blocks.append(Piece(span: index, rows: start..<min(start + piece, span.rows.upperBound)))
                }
            }
        }
        if !blocks.isEmpty {
            Parallel.forEach(blocks.count * g.headCount) {
                attend(blocks[$0 / g.headCount], head: $0 % g.headCount, into: mixed)
            }
        }
        for (span, plans) in planned { attend(context.spans[span], plans, into: mixed) }
        if singles.isEmpty { return }
        // The heads of a group read the same keys and values, so they stay on one thread, where those stay in cache.
        let items = singles.count * g.keyValueHeadCount
        let stride = (longest + 15) / 16 * 16
        let scores = context.pointer(.scores, items * stride)
        func single(_ item: Int) {
            attend(
                singles[item / g.keyValueHeadCount], keyHead: item % g.keyValueHeadCount,
                scores: scores + item * stride, into: mixed)
        }
        if longest * singles.count * g.queryWidth < 262_144 {
            for item in 0..<items { single(item) }
        } else {
            Parallel.forEach(items) { single($0) }
        }
    }

    // MARK: Blocks of rows

    private func attend(_ piece: Piece, head: Int, into mixed: UnsafeMutablePointer<Float>) {
        let (g, span) = (geometry, context.spans[piece.span])
        let keyHead = head / (g.headCount / g.keyValueHeadCount)
        let position = span.firstPosition + piece.rows.lowerBound - span.rows.lowerBound
        let visible = g.visible(position, in: span)
        let firstKey = visible.lowerBound
        let offset = piece.rows.lowerBound * g.queryWidth + head * g.headSize
        func run(_ k: HeadAttention.HeadView, _ v: HeadAttention.HeadView) {
            HeadAttention.attend(
                queries: .init(pointer: queries + offset, stride: g.queryWidth), count: piece.rows.count,
                firstPosition: position, keys: k, values: v, firstKey: firstKey,
                keyCount: g.isCausal ? nil : visible.count, headSize: g.headSize, scale: g.scale,
                window: g.window ?? Int.max / 2, into: mixed + offset, outputStride: g.queryWidth)
        }
        if let store = span.store {
            store.view(layer: layer, head: keyHead, positions: firstKey..<position + piece.rows.count).withPointers {
                run(.init(pointer: $0, stride: g.headSize), .init(pointer: $1, stride: g.headSize))
            }
        } else {
            let start = (span.rows.lowerBound + firstKey - span.firstPosition) * g.keyWidth + keyHead * g.headSize
            run(.init(pointer: keys + start, stride: g.keyWidth), .init(pointer: values + start, stride: g.keyWidth))
        }
    }

    // MARK: Single rows

    /// One row's heads that share a head of keys.
    private func attend(
        _ piece: Piece, keyHead: Int, scores: UnsafeMutablePointer<Float>, into mixed: UnsafeMutablePointer<Float>
    ) {
        let (g, span) = (geometry, context.spans[piece.span])
        let row = piece.rows.lowerBound
        let position = span.firstPosition + row - span.rows.lowerBound
        let (visible, group) = (g.visible(position, in: span), g.headCount / g.keyValueHeadCount)
        let (selector, first) = (context.selector, keyHead * group)
        func request(_ head: Int, group: Int = 1) -> KeyRequest {
            KeyRequest(
                layer: layer, head: head, keyHead: keyHead, group: group, position: position, visible: visible,
                query: queries + row * g.queryWidth + head * g.headSize, store: span.store)
        }
        let isShared = selector.choosesByGroup && !selector.readsAll
        let common = isShared ? selector.select(request(first, group: group)) : []
        for head in first..<first + group {
            let offset = row * g.queryWidth + head * g.headSize
            let (query, output) = (queries + offset, mixed + offset)
            let own = request(head)
            var ranges = selector.readsAll ? [visible] : isShared ? common : selector.select(own)
            if let store = span.store { ranges = store.evicted(layer: layer, head: keyHead).removed(from: ranges) }
            if let meter = context.meter {
                // What a group looks at to choose counts once.
                let asked = !isShared ? own : head == first ? request(first, group: group) : nil
                meter.note(
                    layer: layer, keys: visible.count, read: ranges.reduce(0) { $0 + $1.count }, size: g.headSize,
                    compared: selector.readsAll ? 0 : asked.map { selector.numbersCompared($0) } ?? 0)
            }
            func note() {
                if !selector.readsAll { selector.observe(own, ranges: ranges, weights: scores) }
            }
            if let direct = span.store?.direct {
                attend(query, ranges, visible.count, keyHead: keyHead, direct, scores, into: output)
                note()
                continue
            }
            let views = ranges.map { view(span, keyHead, $0) }
            var count = 0
            for (range, view) in zip(ranges, views) {
                view.withPointers { keys, _ in
                    VectorMath.attentionScores(
                        query: query, keys: keys, count: range.count, stride: keyStride(span), size: g.headSize,
                        scale: g.scale, into: scores + count)
                }
                count += range.count
            }
            require(count > 0 && count <= visible.count, "a selector chose \(count) of \(visible.count) keys")
            VectorMath.softmax(scores, count: count)
            note()
            count = 0
            for (index, (range, view)) in zip(ranges, views).enumerated() {
                view.withPointers { _, values in
                    if index == 0 {
                        return VectorMath.attentionMix(
                            weights: scores, values: values, count: range.count, stride: keyStride(span),
                            size: g.headSize, into: output)
                    }
                    withUnsafeTemporaryAllocation(of: Float.self, capacity: g.headSize) { part in
                        VectorMath.attentionMix(
                            weights: scores + count, values: values, count: range.count, stride: keyStride(span),
                            size: g.headSize, into: part.baseAddress!)
                        VectorMath.add(part.baseAddress!, to: output, count: g.headSize)
                    }
                }
                count += range.count
            }
        }
    }

    /// One head of a row over a store that multiplies by itself.
    private func attend(
        _ query: UnsafePointer<Float>, _ ranges: [Range<Int>], _ visible: Int, keyHead: Int,
        _ store: any DirectKeyValueStore, _ scores: UnsafeMutablePointer<Float>,
        into output: UnsafeMutablePointer<Float>
    ) {
        var count = 0
        for range in ranges {
            store.scores(
                layer: layer, head: keyHead, positions: range, query: query, scale: geometry.scale, into: scores + count
            )
            count += range.count
        }
        require(count > 0 && count <= visible, "a selector chose \(count) of \(visible) keys")
        VectorMath.softmax(scores, count: count)
        output.update(repeating: 0, count: geometry.headSize)
        count = 0
        for range in ranges {
            store.addMix(layer: layer, head: keyHead, positions: range, weights: scores + count, to: output)
            count += range.count
        }
    }

    private func readsAll(_ span: Span) -> Bool {
        let selector = context.selector
        let isWhole = selector.readsAll || (selector.readsPromptsWhole && span.rows.count > TokenBatch.draftRows)
        return isWhole && !hasHoles(span)
    }

    /// Whether positions are missing for a head.
    private func hasHoles(_ span: Span) -> Bool {
        guard let store = span.store else { return false }
        return (0..<geometry.keyValueHeadCount).contains { !store.evicted(layer: layer, head: $0).isEmpty }
    }

    // MARK: Prompts of which keys are left out

    /// The plans of all heads for a prompt, if keys are to be left out of it, positions that are not there excepted.
    private func plans(_ span: Span) -> [PromptPlan]? {
        let (g, selector) = (geometry, context.selector)
        guard let store = span.store, g.isCausal, span.rows.count > TokenBatch.draftRows else { return nil }
        let chosen = Locked([PromptPlan?](repeating: nil, count: g.headCount))
        let start = queries + span.rows.lowerBound * g.queryWidth
        func request(_ head: Int) -> PromptRequest {
            PromptRequest(
                layer: layer, head: head, keyHead: head / (g.headCount / g.keyValueHeadCount),
                firstPosition: span.firstPosition, count: span.rows.count, window: g.window, scale: g.scale,
                queries: start + head * g.headSize, stride: g.queryWidth, size: g.headSize, store: store)
        }
        Parallel.forEach(g.headCount) { head in
            guard let plan = selector.plan(request(head)) else { return }
            chosen.withLock { $0[head] = plan }
        }
        let plans = chosen.withLock { $0 }
        let isWhole = selector.readsAll || selector.readsPromptsWhole
        if plans.allSatisfy({ $0 == nil }) && !(isWhole && hasHoles(span)) { return nil }
        return plans.enumerated().map { head, plan in
            let request = request(head)
            let plan = plan ?? PromptPlan(whole: request)
            require(
                plan.keys.count == (span.rows.count + plan.tile - 1) / plan.tile,
                "a plan of \(plan.keys.count) tiles of \(plan.tile) for \(span.rows.count) queries")
            let missing = store.evicted(layer: layer, head: request.keyHead)
            return missing.isEmpty
                ? plan
                : PromptPlan(
                    tile: plan.tile, keys: plan.keys.map { missing.removed(from: $0) }, products: plan.products)
        }
    }

    /// Attention of a span by plans of its heads.
    private func attend(_ span: Span, _ plans: [PromptPlan], into mixed: UnsafeMutablePointer<Float>) {
        let g = geometry
        // A few tiles are one piece of work: later ones read more.
        var items: [(head: Int, tiles: Range<Int>)] = []
        for (head, plan) in plans.enumerated() {
            let group = max(1, 256 / plan.tile)
            for first in stride(from: 0, to: plan.keys.count, by: group) {
                items.append((head, first..<min(first + group, plan.keys.count)))
            }
        }
        Parallel.forEach(items.count) { item in
            let (head, tiles) = items[item]
            let (plan, keyHead) = (plans[head], head / (g.headCount / g.keyValueHeadCount))
            var read = 0
            for tile in tiles {
                let start = span.rows.lowerBound + tile * plan.tile
                let offset = start * g.queryWidth + head * g.headSize
                read += TileAttention(
                    queries: .init(pointer: queries + offset, stride: g.queryWidth),
                    rows: min(plan.tile, span.rows.upperBound - start),
                    firstPosition: span.firstPosition + tile * plan.tile, headSize: g.headSize, scale: g.scale,
                    window: g.window, output: mixed + offset, outputStride: g.queryWidth
                ).attend(plan.keys[tile], keyStride: keyStride(span)) { view(span, keyHead, $0) }
            }
            context.meter?.note(prompt: 0, read: read, products: 0)
        }
        if let meter = context.meter {
            let visible = (0..<span.rows.count).reduce(0) { $0 + g.visible(span.firstPosition + $1, in: span).count }
            meter.note(
                prompt: visible * g.headCount, read: 0, products: plans.reduce(0) { $0 + $1.products })
        }
    }

    private func keyStride(_ span: Span) -> Int { span.store == nil ? geometry.keyWidth : geometry.headSize }

    private func view(_ span: Span, _ keyHead: Int, _ positions: Range<Int>) -> KeyValueView {
        if let store = span.store { return store.view(layer: layer, head: keyHead, positions: positions) }
        let start =
            (span.rows.lowerBound + positions.lowerBound - span.firstPosition) * geometry.keyWidth
            + keyHead * geometry.headSize
        return KeyValueView(keys: keys + start, values: values + start)
    }
}
