import CLacuna
import LacunaTensor

/// The three products of a sparse layer by its blocks.
extension CompressedBlocks: PanelProducts {
    /// Rows or columns of an item of parallel work: as many blocks as have about this many.
    private static let itemSize = 128

    public func _forward(
        _ panels: UnsafePointer<Float>, batch: Int,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Float>) -> Void
    ) {
        run(
            panels, features: columns, batch: batch, result: rows, size: blockRows,
            kernel: Kernels.best.product_blocks_f32, take)
    }

    public func _backward(
        _ panels: UnsafePointer<Float>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Float>) -> Void
    ) {
        run(
            panels, features: rows, batch: batch, result: columns, size: blockColumns,
            kernel: Kernels.best.transposed_blocks_f32, take)
    }

    typealias Kernel =
        @convention(c) (
            UnsafePointer<lk_bsr>?, Int, Int, Int, UnsafePointer<Float>?, Int, UnsafeMutablePointer<Float>?
        ) -> Void

    /// Cuts the `result` features into ranges of blocks of `size` features and calls `product` for each.
    private func run(
        _ panels: UnsafePointer<Float>, features: Int, batch: Int, result: Int, size: Int, kernel product: Kernel,
        _ take: (_ panel: Int, _ range: Range<Int>, _ tile: UnsafePointer<Float>) -> Void
    ) {
        let count = (result + size - 1) / size
        let grain = max(1, CompressedBlocks.itemSize / size)
        func blocks(_ part: Int) -> Range<Int> { part * grain..<min((part + 1) * grain, count) }
        withUnsafePointer(to: kernel) { kernel in
            PanelCut<Float>(batch: batch).forEachTile(
                of: panels, features: features, parts: (count + grain - 1) / grain,
                range: { blocks($0).lowerBound * size..<min(blocks($0).upperBound * size, result) },
                product: { product(kernel, rows, blocks($0).lowerBound, blocks($0).upperBound, $1, $2, $3) }, take)
        }
    }

    /// Every value of every block, [blocks, blockRows, blockColumns].
    public func _sample(
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, batch: Int, into gradient: UnsafeMutablePointer<Float>,
        adding: Bool
    ) {
        let cut = PanelCut<Float>(batch: batch)
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
                        kernel, rows, range.lowerBound, range.upperBound, a + cut.offset(p, features: rows),
                        b + cut.offset(p, features: columns), cut[p].width, 1, gradient)
                }
            }
        }
    }
}
