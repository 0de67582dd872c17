import CLacuna
import LacunaTensor

/// The three products of a sparse layer by the segments of its rows.
extension SparseMatrix: TrainableMatrix, PanelProducts where Scalar: SparseScalar {
    /// What kernels take, in one of the orders of the pattern.
    func kernel(_ order: SegmentOrder) -> lk_segmented {
        order.kernel(values: buffer.pointer, column: pattern.compressedRows.columns.pointer, wide: true)
    }

    public func _forward(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let order = cut.batch <= Scalar._panelWidth / 2 ? pattern.narrowSegments : pattern.segments
        withUnsafePointer(to: kernel(order)) { kernel in
            cut.forEachTile(
                of: panels, features: columns, parts: order.blocks, range: order.rows(block:),
                product: { Scalar._product(kernel, $0, $1, $2, $3) }, take)
        }
    }

    public func _backward(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let (order, cut) = (pattern.segments, PanelCut<Scalar>(batch: batch))
        withUnsafePointer(to: kernel(order)) { kernel in
            cut.forEachTile(
                of: panels, features: rows, parts: order.bands, range: { order.columns(band: $0, of: columns) },
                product: { Scalar._transposed(kernel, $0, $1, $2, $3) }, take)
        }
    }

    public func _sample(
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
                        Scalar._sampledSegments(kernel, block, a, b, cut[p].width, adding || p > 0, gradient)
                    } else {
                        Scalar._sampled(
                            pattern.starts32.pointer, pattern.compressedRows.columns.pointer, order.rows(block: block), a, b,
                            cut[p].width, adding || p > 0, gradient)
                    }
                }
            }
        }
    }
}
