import LacunaTensor

/// A batch of vectors as sparse products read them: cut into panels of 64 vectors (32 of doubles), each stored feature by
/// feature.
///
/// Entry `c` of vector `t` is at `(t / w) * w * features + c * v + t % w`, where `w` is the width of a full panel and `v`
/// the width of the panel that `t` is in: `w`, or for the last panel what is left of the batch, rounded up to 64 bytes.
/// The entries between the end of the batch and the width of the last panel are zeros, and should stay so where the batch
/// takes part in ``SparseMatrix/accumulateGradient(output:input:into:adding:)``, which sums over all of them.
///
/// Layers that work entry by entry (activation functions, dropout, addition) may be applied to ``elements`` as they are.
/// Keeping activations in this form from layer to layer saves two transpositions a product.
public final class Panels<Scalar: SparseScalar>: @unchecked Sendable {
    /// Number of vectors.
    public let batch: Int
    /// Entries of each vector.
    public let features: Int
    private let buffer: Buffer<Scalar>

    /// Panels of zeros.
    public init(zeros batch: Int, features: Int) {
        require(batch >= 0 && features >= 0)
        self.batch = batch
        self.features = features
        let plan = PanelCut<Scalar>(batch: batch)
        buffer = Buffer(repeating: 0, count: plan.size(features: features))
    }

    /// The rows of `x` [batch, features].
    public convenience init(_ x: Tensor<Scalar>) {
        self.init(zeros: x.rows, features: x.columns)
        x.withPointer { load($0, leading: x.columns) }
    }

    /// All entries of all panels, padding included.
    package var elements: UnsafeMutableBufferPointer<Scalar> { buffer.elements }
    var pointer: UnsafeMutablePointer<Scalar> { buffer.pointer }
    var cut: PanelCut<Scalar> { PanelCut(batch: batch) }

    /// Takes the rows of `x`, which are `leading` apart.
    public func load(_ x: UnsafePointer<Scalar>, leading: Int) {
        PanelCut<Scalar>(batch: batch).pack(x, leading: leading, features: features, into: buffer.pointer)
    }

    /// Takes `x` [features, batch], whose rows are `leading` apart: one vector a column.
    public func load(columns x: UnsafePointer<Scalar>, leading: Int) {
        let cut = cut
        for p in 0..<cut.count {
            let (first, used, width) = cut[p]
            let target = buffer.pointer + cut.offset(p, features: features)
            Parallel.forRanges(features, grain: 4096) { range in
                for c in range { (target + c * width).update(from: x + c * leading + first, count: used) }
            }
        }
    }

    /// `y = alpha self + beta y` for the rows of `y` [batch, features], `leading` apart. With `beta` 0 what `y` held does
    /// not matter.
    public func store(into y: UnsafeMutablePointer<Scalar>, leading: Int, alpha: Scalar = 1, beta: Scalar = 0) {
        let cut = cut
        let features = features
        Parallel.forEach(cut.count) { p in
            let (first, used, width) = cut[p]
            Scalar.kernelTable.pointee.transpose_add(
                buffer.pointer + cut.offset(p, features: features), width, features, used, Double(alpha),
                Double(beta), y + first * leading, leading)
        }
    }

    /// The same for `y` [features, batch]: one vector a column.
    public func store(
        intoColumns y: UnsafeMutablePointer<Scalar>, leading: Int, alpha: Scalar = 1, beta: Scalar = 0
    ) {
        let cut = cut
        for p in 0..<cut.count {
            let (first, used, width) = cut[p]
            let source = buffer.pointer + cut.offset(p, features: features)
            Parallel.forRanges(features, grain: 4096) { range in
                for c in range {
                    Scalar.kernelTable.pointee.combine(
                        Double(alpha), source + c * width, Double(beta), y + c * leading + first, used)
                }
            }
        }
    }

    /// The vectors as rows of a tensor [batch, features].
    public var tensor: Tensor<Scalar> {
        var result = Tensor<Scalar>(uninitialized: [batch, features])
        result.withMutablePointer { store(into: $0, leading: features) }
        return result
    }
}

/// How a batch is cut into panels.
struct PanelCut<Scalar: SparseScalar> {
    let batch: Int

    var count: Int { (batch + Scalar.panelWidth - 1) / Scalar.panelWidth }

    /// The first vector of a panel, how many it has, and its width.
    subscript(panel: Int) -> (first: Int, used: Int, width: Int) {
        let first = panel * Scalar.panelWidth
        let used = min(Scalar.panelWidth, batch - first)
        return (first, used, (used + Scalar.panelUnit - 1) / Scalar.panelUnit * Scalar.panelUnit)
    }

    func offset(_ panel: Int, features: Int) -> Int { panel * Scalar.panelWidth * features }

    func size(features: Int) -> Int {
        count == 0 ? 0 : offset(count - 1, features: features) + self[count - 1].width * features
    }

    /// Computes a tile of sums for every panel of `source` [features] and every part of a result, and hands it on: what
    /// products in either direction have in common.
    ///
    /// - Parameters:
    ///   - range: The features of the result that a part computes.
    ///   - product: Adds to `tile`, which is zeros [features of the part, width], what a panel gives.
    ///   - take: Receives the tile of a panel and a range of features; on any thread, as `product`.
    func forEachTile(
        of source: UnsafePointer<Scalar>, features: Int, parts: Int, range: (_ part: Int) -> Range<Int>,
        product: (
            _ part: Int, _ panel: UnsafePointer<Scalar>, _ width: Int, _ tile: UnsafeMutablePointer<Scalar>
        ) -> Void,
        _ take: (_ panel: Int, _ range: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        Parallel.forEach(count * parts) { item in
            let (p, part) = (item / parts, item % parts)
            let (range, width) = (range(part), self[p].width)
            let tile = Scratch.current.tile(Scalar.self, count: range.count * width)
            tile.update(repeating: 0, count: range.count * width)
            product(part, source + offset(p, features: features), width, tile)
            take(p, range, tile)
        }
    }

    /// Transposes rows of `x` into panels, padding included.
    func pack(_ x: UnsafePointer<Scalar>, leading: Int, features: Int, into panels: UnsafeMutablePointer<Scalar>) {
        let band = 512
        let bands = (features + band - 1) / band
        Parallel.forEach(count * bands) { item in
            let (first, used, width) = self[item / bands]
            let c = item % bands * band
            let height = min(band, features - c)
            let target = panels + offset(item / bands, features: features) + c * width
            if used < width { target.update(repeating: 0, count: height * width) }
            Scalar.kernelTable.pointee.transpose_add(
                x + first * leading + c, leading, used, height, 1, 0, target, width)
        }
    }
}
