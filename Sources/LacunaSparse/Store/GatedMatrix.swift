import LacunaTensor

/// A stored matrix whose products read only what some of its inputs need: what a gate in front of a layer multiplies.
///
/// Most matrices lie output by output, so that leaving out an input saves no reading. These lie input by input, or know what to
/// put in the place of the inputs that are left out.
public protocol GatedMatrix: StoredMatrix {
    /// `output[r] = Σ_c W[r, c] x[c]` over the inputs `c` in `activeInputs`, and what stands for the other inputs, if the
    /// matrix has something for them. With all inputs active it is `W x`.
    ///
    /// - Parameters:
    ///   - x: [columns].
    ///   - activeInputs: Ascending, below `columns` (not checked).
    ///   - output: [rows].
    func multiply(
        _ x: UnsafePointer<Float>, activeInputs: UnsafeBufferPointer<UInt32>, into output: UnsafeMutablePointer<Float>)

    /// The same for many vectors, where `masked` [count, columns] is `x` [count, columns] with zeros for inputs that are not
    /// active: the weights are read once, all of them.
    func multiply(
        matrix x: UnsafePointer<Float>, masked: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>)

    /// Bytes that a product with one vector of these active inputs reads.
    func bytesRead(activeInputs: UnsafeBufferPointer<UInt32>) -> Int
}

extension GatedMatrix {
    public func multiply(
        matrix x: UnsafePointer<Float>, masked: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>
    ) {
        Product.gemm(self, masked, count: count, into: y)
    }

    public func bytesRead(activeInputs: UnsafeBufferPointer<UInt32>) -> Int {
        columns == 0 ? 0 : byteCount * activeInputs.count / columns
    }
}

extension InputMajorMatrix: GatedMatrix {
    public func multiply(
        _ x: UnsafePointer<Float>, activeInputs: UnsafeBufferPointer<UInt32>, into output: UnsafeMutablePointer<Float>
    ) {
        Product.gemv(self, x: x, activeInputs: activeInputs, into: output)
    }
}

/// A sparse matrix `W` [rows, columns] stored input by input: its transpose in any layout, a row of which is read for every
/// active input. Pruned weights and gated inputs so save together.
public final class TransposedMatrix: GatedMatrix {
    /// `Wᵀ` [columns, rows].
    public let transposed: any StoredMatrix
    private let all: [UInt32]
    /// Bytes of every input's row.
    private let inputBytes: [Int]

    /// - Parameter transposed: `Wᵀ`, with rows that can be decoded one by one.
    public init(_ transposed: any StoredMatrix) {
        self.transposed = transposed
        all = (0..<UInt32(transposed.rows)).map { $0 }
        // What is not values is spread evenly: bits are, and where rows begin.
        let (kept, stored) = (transposed.keptEntries, max(transposed.storedCount, 1))
        let isByEntry = transposed is CSRMatrix
        let entry = isByEntry ? transposed.byteCount / stored : transposed.format.values.bits / 8
        let rest = max(transposed.byteCount - entry * transposed.storedCount, 0) / max(transposed.rows, 1)
        inputBytes = (0..<transposed.rows).map { rest + entry * kept.keptCount(row: $0) }
    }

    /// `matrix` turned, with the kept entries and the values of its own.
    ///
    /// - Throws: `LacunaError.unsupported` for layouts other than bitmask and CSR (N:M among them) and values other than
    ///   f32 and bf16: integers have one scale an output, which turned rows cannot have.
    public convenience init(turning matrix: any StoredMatrix) throws {
        let values = matrix.format.values
        guard matrix is BitmaskMatrix || matrix is CSRMatrix, !values.isInteger else {
            throw LacunaError.unsupported(file: nil, what: "\(matrix.format) weights stored input by input")
        }
        let layout: StorageLayout = matrix is CSRMatrix ? .csr : .bitmask
        self.init(
            try WeightStore.make(
                matrix.densified().transposed(), mask: matrix.keptEntries.transposed(), layout: layout, values: values))
    }

    public var rows: Int { transposed.columns }
    public var columns: Int { transposed.rows }
    public var format: StorageFormat { transposed.format }
    public var storedCount: Int { transposed.storedCount }
    public var byteCount: Int { transposed.byteCount }
    public var inputEncoding: InputEncoding { .float }
    public var isMultipliedWhole: Bool { true }
    public var keptEntries: SparsePattern { transposed.keptEntries.transposed() }

    public func multiply(_ input: EncodedInput, rows range: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(range)
        let whole = Buffer<Float>(uninitialized: max(rows, 1))
        all.withUnsafeBufferPointer { multiply(input.floats.baseAddress!, activeInputs: $0, into: whole.pointer) }
        output.update(from: whole.pointer + range.lowerBound, count: range.count)
    }

    public func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int
    ) {
        if n <= MatrixProduct.fewVectors {
            return all.withUnsafeBufferPointer { all in
                for t in 0..<n { multiply(x + t * columns, activeInputs: all, into: y + t * leadingY) }
            }
        }
        let dense = transposed.densified()
        dense.withPointer {
            LinearAlgebra.parallelGemm(
                m: n, n: rows, k: columns, x, leadingA: columns, $0, leadingB: rows, transposedB: false, into: y,
                leadingC: leadingY)
        }
    }

    public func decode(rows range: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(range)
        let column = Buffer<Float>(uninitialized: max(rows, 1))
        for c in 0..<columns {
            transposed.decode(rows: c..<c + 1, into: column.pointer)
            for (i, row) in range.enumerated() { output[i * columns + c] = column.pointer[row] }
        }
    }

    public func bytesRead(activeInputs: UnsafeBufferPointer<UInt32>) -> Int {
        activeInputs.reduce(0) { $0 + inputBytes[Int($1)] }
    }

    /// Sums that are made side by side. A fixed number, so that results do not depend on the threads.
    private static let parts = 4

    public func multiply(
        _ x: UnsafePointer<Float>, activeInputs: UnsafeBufferPointer<UInt32>, into output: UnsafeMutablePointer<Float>
    ) {
        let (rows, count) = (rows, activeInputs.count)
        let parts = bytesRead(activeInputs: activeInputs) < Product.serialCost ? 1 : Self.parts
        let sums = Buffer<Float>(repeating: 0, count: max((parts - 1) * rows, 1))
        output.update(repeating: 0, count: rows)
        Parallel.forEach(parts) { part in
            let sum = part == 0 ? output : sums.pointer + (part - 1) * rows
            let entries = Scratch.current.tile(count: rows)
            for i in part * count / parts..<(part + 1) * count / parts {
                let input = Int(activeInputs[i])
                transposed.decode(rows: input..<input + 1, into: entries)
                Kernels.best.axpy_f32(x[input], entries, sum, rows)
            }
        }
        for part in 1..<max(parts, 1) {
            Kernels.best.axpy_f32(1, sums.pointer + (part - 1) * rows, output, rows)
        }
    }
}

extension Product {
    /// `output[r] = Σ_c W[r, c] x[c]` for the rows `r` in `activeRows`; the other outputs become 0, and their weights are not
    /// read where the layout has rows that stand by themselves.
    ///
    /// - Parameters:
    ///   - x: [columns].
    ///   - activeRows: Ascending, below `rows` (not checked).
    ///   - output: [rows].
    /// - Returns: Bytes of weights read.
    /// - Complexity: O(active rows · columns).
    @discardableResult
    public static func gemv(
        _ matrix: any StoredMatrix, x: UnsafePointer<Float>, activeRows: UnsafeBufferPointer<UInt32>,
        into output: UnsafeMutablePointer<Float>
    ) -> Int {
        let standAlone = matrix is DenseMatrix || matrix is BitmaskMatrix || matrix is CSRMatrix || matrix is GGUFMatrix
        guard standAlone else {
            let whole = Buffer<Float>(uninitialized: max(matrix.rows, 1))
            gemv([(matrix, whole.pointer)], x: x)
            output.update(repeating: 0, count: matrix.rows)
            for row in activeRows { output[Int(row)] = whole.pointer[Int(row)] }
            return matrix.byteCount
        }
        output.update(repeating: 0, count: matrix.rows)
        let input = Scratch.current.input
        input.encode(x, count: matrix.columns, encodings: matrix.inputEncoding)
        let (count, bytes) = (activeRows.count, matrix.rows == 0 ? 0 : matrix.byteCount / matrix.rows)
        let items = count * bytes < serialCost ? 1 : Parallel.threads
        Parallel.forEach(items) { item in
            var i = item * count / items
            let end = (item + 1) * count / items
            while i < end {
                // Neighbours go together.
                let first = Int(activeRows[i])
                var last = first + 1
                i += 1
                while i < end, Int(activeRows[i]) == last { (last, i) = (last + 1, i + 1) }
                matrix.multiply(input, rows: first..<last, into: output + first)
            }
        }
        return count * bytes
    }
}
