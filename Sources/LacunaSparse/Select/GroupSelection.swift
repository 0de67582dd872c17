import LacunaTensor

extension Selection {
    /// How many of a group of `size` consecutive entries the pattern n:m keeps: `n` of a whole group of `m`, and
    /// `ceil(n · size / m)` of an incomplete one.
    public static func keptCount(n: Int, m: Int, size: Int) -> Int { (n * size + m - 1) / m }

    /// The mask of the pattern n:m along an axis.
    static func groups(_ scores: Tensor<Float>, n: Int, m: Int, axis: Pattern.Axis) throws -> Mask {
        let (rows, columns) = (scores.rows, scores.columns)
        var mask = Mask(rows: rows, columns: columns)
        let wordsPerRow = mask.wordsPerRow
        // A band is what a group covers along the rows: bands share no word of the mask.
        let height = axis == .output ? m : 1
        let bands = (rows + height - 1) / height
        let sawNaN = Buffer<Bool>(repeating: false, count: bands)
        scores.withPointer { p in
            mask.withMutableWords { words, _ in
                Parallel.forRanges(bands, grain: max(1, 65536 / max(columns * height, 1))) { range in
                    for band in range {
                        let firstRow = band * height
                        let bits = words + firstRow * wordsPerRow
                        let start = p + firstRow * columns
                        switch axis {
                        case .input:
                            for column in stride(from: 0, to: columns, by: m) {
                                let size = min(m, columns - column)
                                let sorted = keepLargest(
                                    keptCount(n: n, m: m, size: size), of: size, start + column, stride: 1
                                ) { bits[(column &+ $0) / 64] |= 1 << UInt64((column &+ $0) % 64) }
                                if !sorted { sawNaN.pointer[band] = true }
                            }
                        case .output:
                            let size = min(m, rows - firstRow)
                            let kept = keptCount(n: n, m: m, size: size)
                            for column in 0..<columns {
                                let sorted = keepLargest(kept, of: size, start + column, stride: columns) {
                                    bits[$0 * wordsPerRow + column / 64] |= 1 << UInt64(column % 64)
                                }
                                if !sorted { sawNaN.pointer[band] = true }
                            }
                        }
                    }
                }
            }
        }
        if sawNaN.elements.contains(true) { throw undefinedScore(scores, "scores") }
        return mask
    }

    /// Calls `keep` with the places of the `kept` largest of `size` scores, the later one of equals first. Returns
    /// false if one is NaN.
    ///
    /// The rank of each is counted against all others: for the small groups in use that beats any sort.
    @inline(__always)
    private static func keepLargest(
        _ kept: Int, of size: Int, _ scores: UnsafePointer<Float>, stride: Int, _ keep: (Int) -> Void
    ) -> Bool {
        var defined = true
        for i in 0..<size {
            let x = scores[i &* stride]
            defined = defined && x == x
            var larger = 0
            for j in 0..<i where scores[j &* stride] > x { larger &+= 1 }
            for j in i &+ 1..<max(size, i &+ 1) where scores[j &* stride] >= x { larger &+= 1 }
            if larger < kept { keep(i) }
        }
        return defined
    }
}
