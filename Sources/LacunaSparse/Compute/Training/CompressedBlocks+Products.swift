import CLacuna
import LacunaTensor

/// The three products of a sparse layer `Y = X Wᵀ` on panels, as ``CompressedRows`` has them.
///
/// - Complexity: `2 · count · batch` operations.
extension CompressedBlocks {
    /// Rows or columns of an item of parallel work: as many blocks as have about this many.
    private static let itemSize = 128

    /// `Y = alpha X Wᵀ + beta Y` on panels of `columns` and of `rows` features.
    public func multiply(_ x: Panels<Float>, alpha: Float = 1, beta: Float = 0, into y: Panels<Float>) {
        precondition(x.features == columns && y.features == rows && x.batch == y.batch, "panels of other shapes")
        run(x, into: y, alpha: alpha, beta: beta, size: blockRows, kernel: Kernels.best.product_blocks_f32)
    }

    /// `dX = alpha dY W + beta dX` on panels of `rows` and of `columns` features.
    public func multiplyTransposed(_ dy: Panels<Float>, alpha: Float = 1, beta: Float = 0, into dx: Panels<Float>) {
        precondition(dy.features == rows && dx.features == columns && dx.batch == dy.batch, "panels of other shapes")
        run(dy, into: dx, alpha: alpha, beta: beta, size: blockColumns, kernel: Kernels.best.transposed_blocks_f32)
    }

    typealias Kernel =
        @convention(c) (
            UnsafePointer<lk_bsr>?, Int, Int, Int, UnsafePointer<Float>?, Int, UnsafeMutablePointer<Float>?
        ) -> Void

    /// Cuts `target` into ranges of blocks of `size` features and calls `product` for each.
    private func run(
        _ source: Panels<Float>, into target: Panels<Float>, alpha: Float, beta: Float, size: Int,
        kernel product: Kernel
    ) {
        let cut = source.cut
        let (count, features) = ((target.features + size - 1) / size, target.features)
        let grain = max(1, CompressedBlocks.itemSize / size)
        let items = (count + grain - 1) / grain
        withUnsafePointer(to: kernel) { kernel in
            Parallel.forEach(cut.count * items) { item in
                let (p, first) = (item / items, item % items * grain)
                let last = min(first + grain, count)
                let width = cut[p].width
                let entries = (min(last * size, features) - first * size) * width
                let tile = Scratch.current.tile(count: entries)
                tile.update(repeating: 0, count: entries)
                product(
                    kernel, rows, first, last, source.pointer + cut.offset(p, features: source.features), width, tile)
                let result = target.pointer + cut.offset(p, features: features) + first * size * width
                Kernels.best.combine_f32(alpha, tile, beta, result, entries)
            }
        }
    }

    /// `g (+)= Σ_b dY[b, row] X[b, column]` for every value of every block, [blocks, blockRows, blockColumns], on panels
    /// of `rows` and of `columns` features.
    public func accumulateGradient(
        output dy: Panels<Float>, input x: Panels<Float>, into gradient: UnsafeMutablePointer<Float>,
        adding: Bool = false
    ) {
        precondition(dy.features == rows && x.features == columns && x.batch == dy.batch, "panels of other shapes")
        let cut = x.cut
        let grain = max(1, CompressedBlocks.itemSize / blockRows)
        withUnsafePointer(to: kernel) { kernel in
            Parallel.forRanges(blocks.rows, grain: grain) { range in
                if !adding {
                    let size = blockRows * blockColumns
                    let entries =
                        blocks.entries(row: range.lowerBound)
                        .lowerBound..<blocks.entries(row: range.upperBound - 1).upperBound
                    (gradient + entries.lowerBound * size).update(repeating: 0, count: entries.count * size)
                }
                for p in 0..<cut.count {
                    Kernels.best.sampled_blocks_f32(
                        kernel, rows, range.lowerBound, range.upperBound, dy.pointer + cut.offset(p, features: rows),
                        x.pointer + cut.offset(p, features: columns), cut[p].width, 1, gradient)
                }
            }
        }
    }
}
