import CLacuna
import LacunaTensor

/// The three products of a sparse layer by the segments of its rows.
extension SparseMatrix: TrainableMatrix, PanelProducts where Scalar: SparseScalar {
    /// What kernels take, in one of the orders of the pattern.
    func kernel(_ order: SegmentOrder) -> lk_segmented {
        order.kernel(values: buffer.pointer, column: pattern.compressedRows.columns.pointer, wide: true)
    }

    public func forwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let order = cut.batch <= Scalar.panelWidth / 2 ? pattern.narrowSegments : pattern.segments
        withUnsafePointer(to: kernel(order)) { kernel in
            cut.forEachTile(
                of: panels, features: columns, parts: order.blocks, range: order.rows(block:),
                product: { Scalar.kernelTable.pointee.product_segments(kernel, $0, $1, $2, $3) }, take)
        }
    }

    public func backwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let (order, cut) = (pattern.segments, PanelCut<Scalar>(batch: batch))
        withUnsafePointer(to: kernel(order)) { kernel in
            cut.forEachTile(
                of: panels, features: rows, parts: order.bands, range: { order.columns(band: $0, of: columns) },
                product: { Scalar.kernelTable.pointee.transposed_segments(kernel, $0, $1, $2, $3) }, take)
        }
    }

    public func samplePanels(
        _ a: UnsafePointer<Scalar>, _ b: UnsafePointer<Scalar>, batch: Int,
        into gradient: UnsafeMutablePointer<Scalar>, adding: Bool
    ) {
        let (order, cut) = (pattern.segments, PanelCut<Scalar>(batch: batch))
        if cut.count == 0 {
            if !adding { gradient.update(repeating: 0, count: count) }
            return
        }
        // Short segments would leave most of a vector of entries empty.
        let byBands = order.meanLength >= 32
        withUnsafePointer(to: kernel(order)) { kernel in
            Parallel.forEach(order.blocks) { block in
                for p in 0..<cut.count {
                    let (a, b) = (a + cut.offset(p, features: rows), b + cut.offset(p, features: columns))
                    if byBands {
                        Scalar.kernelTable.pointee.sampled_segments(
                            kernel, block, a, b, cut[p].width, adding || p > 0 ? 1 : 0, gradient)
                    } else {
                        let rows = order.rows(block: block)
                        let compressed = pattern.compressedRows
                        Scalar.kernelTable.pointee.sampled(
                            compressed.starts.pointer, compressed.columns.pointer, rows.lowerBound, rows.upperBound, a,
                            b, cut[p].width, adding || p > 0 ? 1 : 0, gradient)
                    }
                }
            }
        }
    }
}
