import CLacuna
import LacunaTensor

/// The three products of a sparse layer by its blocks.
extension CompressedBlocks: PanelProducts {
    /// Rows or columns of an item of parallel work: as many blocks as have about this many.
    private static var itemSize: Int { 128 }

    public func forwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        run(
            panels, features: columns, batch: batch, result: rows, size: blockRows,
            kernel: Scalar.kernelTable.pointee.product_blocks, take)
    }

    public func backwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        run(
            panels, features: rows, batch: batch, result: columns, size: blockColumns,
            kernel: Scalar.kernelTable.pointee.transposed_blocks, take)
    }

    typealias Kernel =
        @convention(c) (
            UnsafePointer<lk_blocks>?, Int, Int, UnsafeRawPointer?, Int, UnsafeMutableRawPointer?
        ) -> Void

    /// Cuts the `result` features into ranges of blocks of `size` features and calls `product` for each.
    private func run(
        _ panels: UnsafePointer<Scalar>, features: Int, batch: Int, result: Int, size: Int, kernel product: Kernel,
        _ take: (_ panel: Int, _ range: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let count = (result + size - 1) / size
        let grain = max(1, Self.itemSize / size)
        func blocks(_ part: Int) -> Range<Int> { part * grain..<min((part + 1) * grain, count) }
        withUnsafePointer(to: kernel) { kernel in
            PanelCut<Scalar>(batch: batch).forEachTile(
                of: panels, features: features, parts: (count + grain - 1) / grain,
                range: { blocks($0).lowerBound * size..<min(blocks($0).upperBound * size, result) },
                product: { product(kernel, blocks($0).lowerBound, blocks($0).upperBound, $1, $2, $3) }, take)
        }
    }

    /// Every value of every block, [blocks, blockRows, blockColumns].
    public func samplePanels(
        _ a: UnsafePointer<Scalar>, _ b: UnsafePointer<Scalar>, batch: Int, into gradient: UnsafeMutablePointer<Scalar>,
        adding: Bool
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let grain = max(1, Self.itemSize / blockRows)
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
                    Scalar.kernelTable.pointee.sampled_blocks(
                        kernel, range.lowerBound, range.upperBound, a + cut.offset(p, features: rows),
                        b + cut.offset(p, features: columns), cut[p].width, 1, gradient)
                }
            }
        }
    }
}
