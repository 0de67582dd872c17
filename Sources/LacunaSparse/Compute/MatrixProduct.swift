import CLacuna
import LacunaTensor

/// Products with many vectors, each in the fastest of four ways: one vector at a time, sparse by panels of vectors, densely
/// after decoding, or, of quantised blocks and dense integers, all vectors at once as bytes.
///
/// Decoding makes zeros of the weights that sparse layouts leave out, and 0 times an infinite input is not a number: where
/// an input is not finite, such matrices are multiplied without being decoded. What a layout leaves out thus never
/// contributes, whatever meets it and however many vectors there are. Zeros that are stored (those of dense and masked
/// layouts, of stored blocks, and of N:M groups with fewer than N kept entries) are multiplied as other values are.
enum MatrixProduct {
    typealias Operand = (matrix: any StoredMatrix, y: UnsafeMutablePointer<Float>, leadingY: Int)

    /// Up to this many vectors are multiplied one at a time, a range of rows after the other: the stored bytes are read
    /// from memory once.
    static let fewVectors = 4
    /// Up to this many vectors meet dense bytes without the matrix being turned, each with the bits that it gets alone.
    static let mostApart = 16

    static func run(_ operands: [Operand], x: UnsafePointer<Float>, count n: Int) {
        guard let columns = operands.first?.matrix.columns, n > 0 else { return }
        require(operands.allSatisfy { $0.matrix.columns == columns }, "matrices differ in their columns")
        let isApart = n > 1 && Scratch.current.keepsVectorsApart
        if operands.contains(where: { $0.matrix.isMultipliedWhole }) {
            for (matrix, y, leadingY) in operands where matrix.isMultipliedWhole {
                if isApart {
                    for t in 0..<n {
                        matrix.multiply(matrix: x + t * columns, count: 1, into: y + t * leadingY, leadingY: leadingY)
                    }
                    continue
                }
                matrix.multiply(matrix: x, count: n, into: y, leadingY: leadingY)
            }
            return run(operands.filter { !$0.matrix.isMultipliedWhole }, x: x, count: n)
        }
        var operands = operands
        if n > 1 {
            func isBatched(_ operand: Operand) -> Bool {
                guard let matrix = operand.matrix as? any BatchMatrix else { return false }
                return isApart ? matrix.hasApartKernel : matrix.hasBatchKernel
            }
            let batched = operands.filter(isBatched)
            if !batched.isEmpty {
                byBatches(batched, x: x, count: n, columns: columns, isApart: isApart || n <= mostApart)
                operands.removeAll(where: isBatched)
                if operands.isEmpty { return }
            }
        }
        if isApart || n <= fewVectors { return oneByOne(operands, x: x, count: n, columns: columns) }
        var sparse: [(any PanelMatrix, UnsafeMutablePointer<Float>, Int)] = []
        // Looked for only where it matters.
        lazy var isFinite = Kernels.best.all_finite(x, n * columns) != 0
        for (matrix, y, leadingY) in operands {
            guard let panelled = matrix as? any PanelMatrix else {
                decoded(matrix, x: x, count: n, into: y, leadingY: leadingY)
                continue
            }
            if isSparseFaster(panelled) {
                sparse.append((panelled, y, leadingY))
            } else if isFinite {
                decoded(matrix, x: x, count: n, into: y, leadingY: leadingY)
            } else if panelled.hasPanelKernel {
                sparse.append((panelled, y, leadingY))
            } else {
                oneByOne([(matrix, y, leadingY)], x: x, count: n, columns: columns)
            }
        }
        if !sparse.isEmpty { byPanels(sparse, x: x, count: n, columns: columns) }
    }

    // MARK: One vector at a time

    private static func oneByOne(_ operands: [Operand], x: UnsafePointer<Float>, count n: Int, columns: Int) {
        let encodings = operands.reduce(into: InputEncoding()) { $0.formUnion($1.matrix.inputEncoding) }
        let inputs = (0..<n).map { EncodedInput(x + $0 * columns, count: columns, encodings: encodings) }
        for (matrix, y, leadingY) in operands {
            let isSmall = matrix.byteCount * n < Product.serialCost
            let cut = isSmall ? RowCut(rows: matrix.rows) : RowCut(matrix, bytes: Product.itemCost)
            Parallel.forEach(cut.items) { item in
                let rows = cut.range(item)
                for (t, input) in inputs.enumerated() {
                    matrix.multiply(input, rows: rows, into: y + t * leadingY + rows.lowerBound)
                }
            }
        }
    }

    // MARK: Quantised blocks and dense integers

    /// - Parameter isApart: Whether matrices that can give each vector the bits that it gets alone do.
    private static func byBatches(
        _ operands: [Operand], x: UnsafePointer<Float>, count n: Int, columns: Int, isApart: Bool
    ) {
        let encodings = operands.reduce(into: InputEncoding()) { encodings, operand in
            let takesGroupsOf64 = isApart && (operand.matrix as? any BatchMatrix)?.hasApartKernel == true
            encodings.formUnion(takesGroupsOf64 ? .int8Groups64 : .int8Groups32)
        }
        let inputs = Scratch.current.rows
        inputs.encode(x, count: n, columns: columns, encodings: encodings)
        for (matrix, y, leadingY) in operands {
            guard let matrix = matrix as? any BatchMatrix else { continue }
            let isSmall = matrix.byteCount * n < Product.serialCost
            let items = isSmall ? 1 : 4 * Parallel.threads
            let cut = RowCut(rows: matrix.rows, unit: 16, items: items, limit: max(matrix.rows, 1))
            Parallel.forEach(cut.items) { item in
                let rows = cut.range(item)
                matrix.multiply(inputs, rows: rows, into: y + rows.lowerBound, leadingOutput: leadingY)
            }
        }
    }

    // MARK: Decoding

    /// Bytes of decoded rows that are multiplied at a time. BLAS brings the vectors into a form of its own once for each
    /// tile: with small tiles that costs more than it saves that they stay in the second-level cache.
    static let decodedBytes = 4 << 20

    static func decoded(
        _ matrix: any StoredMatrix, x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>,
        leadingY: Int
    ) {
        let columns = matrix.columns
        if columns == 0 {
            for t in 0..<n { (y + t * leadingY).update(repeating: 0, count: matrix.rows) }
            return
        }
        let precision = precision(of: matrix)
        let dense = matrix as? any DenseFloats
        if let floats = dense?.floats {
            return LinearAlgebra.parallelGemm(
                m: n, n: matrix.rows, k: columns, x, leadingA: columns, floats, leadingB: columns, transposedB: true,
                precision: precision, into: y, leadingC: leadingY)
        }
        if let halves = dense?.halves {
            return LinearAlgebra.parallelGemm(
                m: n, n: matrix.rows, k: columns, x, leadingA: columns, bf16: halves, leadingB: columns,
                transposedB: true, into: y, leadingC: leadingY)
        }
        let limit = max(64, decodedBytes / (4 * columns))
        let cut = RowCut(rows: matrix.rows, unit: matrix.rowGranularity, items: 4, limit: limit)
        Parallel.forEach(cut.items) { item in
            let rows = cut.range(item)
            let tile = Scratch.current.tile(count: rows.count * columns)
            matrix.decode(rows: rows, into: tile)
            LinearAlgebra.gemm(
                m: n, n: rows.count, k: columns, x, leadingA: columns, tile, leadingB: columns, transposedB: true,
                precision: precision, into: y + rows.lowerBound, leadingC: leadingY)
        }
    }

    /// Inputs of bf16 values are rounded to bf16 in products with one vector, and so they are here.
    private static func precision(of matrix: any StoredMatrix) -> ProductPrecision {
        matrix.format.values == .bf16 ? .bf16 : Scratch.current.precision
    }

    // MARK: Panels

    /// The largest density at which the sparse kernel beats decoding and BLAS: that of this machine's ``KernelTuning``, or the
    /// layout's own.
    static func densityLimit(_ format: StorageFormat) -> Double {
        KernelTuning.current?.densityLimits[KernelTuning.key(format)] ?? format.layout.base.densityLimit(format.values)
    }

    static func isSparseFaster(_ matrix: any PanelMatrix) -> Bool {
        matrix.hasPanelKernel && 1 - matrix.sparsity <= densityLimit(matrix.format)
    }

    /// Vectors that are brought into panels at a time.
    private static let panelledVectors = 512

    static func byPanels(
        _ operands: [(any PanelMatrix, UnsafeMutablePointer<Float>, Int)], x: UnsafePointer<Float>, count n: Int,
        columns: Int
    ) {
        for first in stride(from: 0, to: n, by: panelledVectors) {
            let plan = PanelPlan(count: min(panelledVectors, n - first), columns: columns)
            let panels = Scratch.current.panels(count: plan.size)
            pack(x + first * columns, plan, into: panels)
            for (matrix, y, leadingY) in operands {
                let start = y + first * leadingY
                let blocks = matrix.panelBlocks(width: plan.panel(0).width)
                Parallel.forEach(blocks.count) { block in
                    let rows = blocks.rows(block)
                    let tile = Scratch.current.tile(count: rows.count * PanelPlan.width)
                    for p in 0..<plan.panels {
                        let (t, used, width) = plan.panel(p)
                        matrix.multiply(
                            panel: InputPanel(columns: columns, width: width, pointer: panels + plan.offset(p)),
                            block: block, rows: rows,
                            into: OutputPanel(rows: rows.count, width: width, pointer: tile))
                        Kernels.best.unpack_panel(
                            tile, width, rows.count, used, start + t * leadingY + rows.lowerBound, leadingY)
                    }
                }
            }
        }
    }

    /// Transposes the vectors of `x` into the panels of a plan.
    private static func pack(_ x: UnsafePointer<Float>, _ plan: PanelPlan, into panels: UnsafeMutablePointer<Float>) {
        let band = 256
        let bands = (plan.columns + band - 1) / band
        Parallel.forEach(plan.panels * bands) { item in
            let (first, used, width) = plan.panel(item / bands)
            let c = item % bands * band
            Kernels.best.pack_panel(
                x + first * plan.columns + c, plan.columns, used, min(band, plan.columns - c), width,
                panels + plan.offset(item / bands) + c * width)
        }
    }
}
