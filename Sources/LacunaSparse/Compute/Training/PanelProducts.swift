import LacunaTensor

/// The three products of a sparse layer `Y = X Wᵀ`: forward, and the gradients of its input and of its weights.
///
/// Each exists for batches as rows of matrices, which are transposed into panels on the way in and out, and for
/// ``Panels``, which are not. With `beta` 0 what the target held does not matter, even if it is not a number.
///
/// The requirements are what differs by the form of the matrix; `panels` are laid out as ``Panels`` says.
///
/// - Complexity: `2 · count · batch` operations, and the batch's own size for the transpositions.
public protocol PanelProducts<Scalar>: TrainableMatrix {
    /// Computes `W x` for every vector of the panels [columns], and calls `take` with the sums of a panel and a range of
    /// rows, [rows, width of the panel], on any thread.
    func forwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void)
    /// The same for `Wᵀ dy` and panels [rows].
    func backwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void)
    /// `g[j] (+)= Σ_t a[row(j), t] b[column(j), t]` for panels `a` [rows] and `b` [columns].
    func samplePanels(
        _ a: UnsafePointer<Scalar>, _ b: UnsafePointer<Scalar>, batch: Int,
        into gradient: UnsafeMutablePointer<Scalar>, adding: Bool)
}

extension PanelProducts {
    // MARK: Forward

    /// `Y = alpha X Wᵀ + beta Y`: `x` [batch, columns] and `y` [batch, rows], rows `leadingX` and `leadingY` apart.
    public func multiply(
        _ x: UnsafePointer<Scalar>, leadingX: Int, batch: Int, alpha: Scalar = 1, beta: Scalar = 0,
        into y: UnsafeMutablePointer<Scalar>, leadingY: Int
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let panels = Scratch.current.panels(Scalar.self, count: cut.size(features: columns))
        cut.pack(x, leading: leadingX, features: columns, into: panels)
        forwardTiles(panels, batch: batch) { p, rows, tile in
            let (first, used, width) = cut[p]
            Scalar.kernelTable.pointee.transpose_add(
                tile, width, rows.count, used, Double(alpha), Double(beta), y + first * leadingY + rows.lowerBound,
                leadingY)
        }
    }

    /// `X Wᵀ` of `x` [batch, columns]: the matrix applied to every row, as a layer is.
    public func applied(toRows x: Tensor<Scalar>) -> Tensor<Scalar> {
        require(x.rank == 2 && x.columns == columns, "\(x.shape) does not fit [\(rows), \(columns)]")
        var y = Tensor<Scalar>(uninitialized: [x.rows, rows])
        let batch = x.rows
        x.withPointer { x in
            y.withMutablePointer { multiply(x, leadingX: columns, batch: batch, into: $0, leadingY: rows) }
        }
        return y
    }

    /// `Y = alpha X Wᵀ + beta Y` on panels of `columns` and of `rows` features.
    public func multiply(_ x: Panels<Scalar>, alpha: Scalar = 1, beta: Scalar = 0, into y: Panels<Scalar>) {
        require(x.features == columns && y.features == rows && x.batch == y.batch, "panels of other shapes")
        let cut = x.cut
        forwardTiles(x.pointer, batch: x.batch) { p, rows, tile in
            let (start, width) = (cut.offset(p, features: self.rows), cut[p].width)
            Scalar.kernelTable.pointee.combine(
                Double(alpha), tile, Double(beta), y.pointer + start + rows.lowerBound * width, rows.count * width)
        }
    }

    // MARK: Gradient of the input

    /// `dX = alpha dY W + beta dX`: `dy` [batch, rows] and `dx` [batch, columns]. `W` is read as it is stored.
    public func multiplyTransposed(
        _ dy: UnsafePointer<Scalar>, leadingY: Int, batch: Int, alpha: Scalar = 1, beta: Scalar = 0,
        into dx: UnsafeMutablePointer<Scalar>, leadingX: Int
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let panels = Scratch.current.panels(Scalar.self, count: cut.size(features: rows))
        cut.pack(dy, leading: leadingY, features: rows, into: panels)
        backwardTiles(panels, batch: batch) { p, columns, tile in
            let (first, used, width) = cut[p]
            Scalar.kernelTable.pointee.transpose_add(
                tile, width, columns.count, used, Double(alpha), Double(beta),
                dx + first * leadingX + columns.lowerBound, leadingX)
        }
    }

    /// `dY W` of `dy` [batch, rows]: the transpose applied to every row.
    public func transposeApplied(toRows dy: Tensor<Scalar>) -> Tensor<Scalar> {
        require(dy.rank == 2 && dy.columns == rows, "\(dy.shape) does not fit [\(rows), \(columns)] transposed")
        var dx = Tensor<Scalar>(uninitialized: [dy.rows, columns])
        let batch = dy.rows
        dy.withPointer { dy in
            dx.withMutablePointer { multiplyTransposed(dy, leadingY: rows, batch: batch, into: $0, leadingX: columns) }
        }
        return dx
    }

    /// `dX = alpha dY W + beta dX` on panels of `rows` and of `columns` features.
    public func multiplyTransposed(
        _ dy: Panels<Scalar>, alpha: Scalar = 1, beta: Scalar = 0, into dx: Panels<Scalar>
    ) {
        require(dy.features == rows && dx.features == columns && dx.batch == dy.batch, "panels of other shapes")
        let cut = dy.cut
        backwardTiles(dy.pointer, batch: dy.batch) { p, columns, tile in
            let (start, width) = (cut.offset(p, features: self.columns), cut[p].width)
            Scalar.kernelTable.pointee.combine(
                Double(alpha), tile, Double(beta), dx.pointer + start + columns.lowerBound * width,
                columns.count * width)
        }
    }

    // MARK: Gradient of the weights

    /// The sampled dense-dense product `g[j] (+)= Σ_b dY[b, row(j)] X[b, column(j)]` for the entries `j` of the pattern,
    /// and for no others: the gradient of the values of this matrix (which are not read).
    ///
    /// - Parameters:
    ///   - dy: [batch, rows], rows `leadingY` apart.
    ///   - x: [batch, columns], rows `leadingX` apart.
    ///   - gradient: [count], in the order of the pattern.
    ///   - adding: Adds to what `gradient` holds instead of replacing it.
    public func accumulateGradient(
        output dy: UnsafePointer<Scalar>, leadingY: Int, input x: UnsafePointer<Scalar>, leadingX: Int, batch: Int,
        into gradient: UnsafeMutablePointer<Scalar>, adding: Bool = false
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let size = cut.size(features: rows)
        let a = Scratch.current.panels(Scalar.self, count: size + cut.size(features: columns))
        cut.pack(dy, leading: leadingY, features: rows, into: a)
        cut.pack(x, leading: leadingX, features: columns, into: a + size)
        samplePanels(a, a + size, batch: batch, into: gradient, adding: adding)
    }

    /// The same on panels of `rows` and of `columns` features.
    public func accumulateGradient(
        output dy: Panels<Scalar>, input x: Panels<Scalar>, into gradient: UnsafeMutablePointer<Scalar>,
        adding: Bool = false
    ) {
        require(dy.features == rows && x.features == columns && x.batch == dy.batch, "panels of other shapes")
        samplePanels(dy.pointer, x.pointer, batch: x.batch, into: gradient, adding: adding)
    }
}
