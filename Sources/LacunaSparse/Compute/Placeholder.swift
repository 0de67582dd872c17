import LacunaTensor

extension WeightMatrix {
    public func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int
    ) {
        let grain = max(16, min(256, (262_144 / max(columns, 1)) / 16 * 16))
        Parallel.forRanges(rows, grain: grain) { range in
            let tile = Buffer<Float>(uninitialized: range.count * columns)
            decode(rows: range, into: tile.pointer)
            LinearAlgebra.gemm(
                m: n, n: range.count, k: columns, x, leadingA: columns, tile.pointer, leadingB: columns,
                transposedB: true, into: y + range.lowerBound, leadingC: leadingY)
        }
    }
}
