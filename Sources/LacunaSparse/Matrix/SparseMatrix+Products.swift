import CLacuna
import LacunaTensor

// A.multiplied(by: B) is A B. With `transposed`, the matrix on the left is transposed without being formed.
extension SparseMatrix where Scalar: SparseScalar {
    // MARK: Vectors

    /// `A x` of `x` [columns]; with `transposed`, `Aᵀ x` of `x` [rows].
    ///
    /// - Complexity: O(rows + columns + entries).
    public func multiplied(by x: [Scalar], transposed: Bool = false) -> [Scalar] {
        require(
            x.count == (transposed ? rows : columns),
            "a vector of \(x.count) for a matrix \(pattern.shapeText)\(transposed ? " transposed" : "")")
        let y = Buffer<Scalar>(uninitialized: transposed ? columns : rows)
        x.withUnsafeBufferPointer { x in
            // An empty vector has no address, and nothing is read of it.
            let start = x.baseAddress ?? UnsafePointer(y.pointer)
            if transposed {
                multiplyTransposed(vector: start, into: y.pointer)
            } else {
                multiply(vector: start, into: y.pointer)
            }
        }
        return y.array
    }

    /// `A x` of a vector [columns].
    public static func * (a: SparseMatrix, x: [Scalar]) -> [Scalar] { a.multiplied(by: x) }

    /// `A x` of a sparse vector [columns], stored where a row of A and `x` share an entry.
    ///
    /// - Complexity: O(rows + columns + entries).
    public func multiplied(by x: SparseVector<Scalar>) -> SparseVector<Scalar> {
        require(x.count == columns, "a vector of \(x.count) for a matrix \(pattern.shapeText)")
        return SparseVector(multiplied(by: x.densified()))
    }

    /// Entries of an item of parallel work, at least.
    private static var itemEntries: Int { 16_384 }

    /// `y = alpha A x + beta y`: `x` [columns], `y` [rows].
    ///
    /// Work is cut by entries: a row may be shared by several threads, and one that has most of the entries is.
    public func multiply(
        vector x: UnsafePointer<Scalar>, alpha: Scalar = 1, beta: Scalar = 0, into y: UnsafeMutablePointer<Scalar>
    ) {
        let compressed = pattern.compressedRows
        let (offsets, columns) = (compressed.starts.pointer, compressed.columns.pointer)
        let share = Swift.max(Self.itemEntries, (count + 31) / 32)
        let items = Swift.max((count + share - 1) / share, 1)
        let direct = alpha == 1 && beta == 0
        let scratch = Scratch.current.panels(Scalar.self, count: (direct ? 0 : rows) + items)
        // What each item gives to the row that began before it.
        let carried = scratch + (direct ? 0 : rows)
        let sums = direct ? y : scratch
        func firstRow(at entry: Int) -> Int {
            var (low, high) = (0, rows)
            while low < high {
                let middle = (low + high) / 2
                if offsets[middle] < entry { low = middle + 1 } else { high = middle }
            }
            return low
        }
        let values = UnsafePointer(buffer.pointer)
        func sum(_ range: Range<Int>) -> Scalar {
            var sum: Scalar = 0
            withUnsafePointer(to: (range.lowerBound, range.upperBound)) {
                $0.withMemoryRebound(to: Int.self, capacity: 2) {
                    Scalar.kernelTable.pointee.gemv_rows($0, columns, values, x, 0, 1, &sum)
                }
            }
            return sum
        }
        Parallel.forEach(items) { item in
            let (start, end) = (item * share, Swift.min((item + 1) * share, count))
            let first = firstRow(at: start)
            let last = item + 1 == items ? rows : firstRow(at: end)
            carried[item] = 0
            if first > 0 && offsets[first] > start {
                carried[item] = sum(start..<Swift.min(end, offsets[first]))
            }
            // The last row that begins here may end elsewhere.
            let isCut = last > first && offsets[last] > end
            let whole = first..<(isCut ? last - 1 : last)
            if !whole.isEmpty {
                Scalar.kernelTable.pointee.gemv_rows(
                    offsets, columns, values, x, whole.lowerBound, whole.upperBound, sums + whole.lowerBound)
            }
            if isCut { sums[last - 1] = sum(offsets[last - 1]..<end) }
        }
        for item in 1..<Swift.max(items, 1) where carried[item] != 0 || carried[item].isNaN {
            let first = firstRow(at: item * share)
            if first > 0 { sums[first - 1] += carried[item] }
        }
        if !direct { Scalar.kernelTable.pointee.combine(Double(alpha), sums, Double(beta), y, rows) }
        withExtendedLifetime(self) {}
    }

    /// `y = Aᵀ x`: `x` [rows], `y` [columns]. Rows are added up in pieces, as many as the entries pay for, each into a
    /// vector of its own.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    package func multiplyTransposed(vector x: UnsafePointer<Scalar>, into y: UnsafeMutablePointer<Scalar>) {
        let compressed = pattern.compressedRows
        let (starts, indices, values) = (compressed.starts.pointer, compressed.columns.pointer, buffer.pointer)
        let (rows, columns, count) = (rows, columns, count)
        let pieces = Swift.max(1, Swift.min(8, count / Swift.max(4 * columns, 65_536)))
        func add(_ range: Range<Int>, to target: UnsafeMutablePointer<Scalar>) {
            for r in range {
                let factor = x[r]
                for j in starts[r]..<starts[r + 1] { target[Int(indices[j])] += values[j] * factor }
            }
        }
        y.update(repeating: 0, count: columns)
        if pieces == 1 { return add(0..<rows, to: y) }
        let partial = Buffer<Scalar>(repeating: 0, count: (pieces - 1) * columns)
        func row(_ piece: Int) -> Int {
            var (low, high) = (0, rows)
            while low < high {
                let middle = (low + high) / 2
                if starts[middle] < count / pieces * piece { low = middle + 1 } else { high = middle }
            }
            return piece == pieces ? rows : low
        }
        Parallel.forEach(pieces) { piece in
            add(row(piece)..<row(piece + 1), to: piece == 0 ? y : partial.pointer + (piece - 1) * columns)
        }
        Parallel.forRanges(columns, grain: 16_384) { range in
            for piece in 0..<pieces - 1 {
                for c in range { y[c] += partial.pointer[piece * columns + c] }
            }
        }
        withExtendedLifetime(self) {}
    }

    // MARK: Dense matrices

    /// `A B` of a dense `B` [columns, n]; with `transposed`, `Aᵀ B` of `B` [rows, n].
    ///
    /// - Complexity: O(entries · n).
    public func multiplied(by b: Tensor<Scalar>, transposed: Bool = false) -> Tensor<Scalar> {
        let (inner, outer) = transposed ? (rows, columns) : (columns, rows)
        require(
            b.rank == 2 && b.rows == inner,
            "shape \(b.shape) for a matrix \(pattern.shapeText)\(transposed ? " transposed" : "")")
        var result = Tensor<Scalar>(uninitialized: [outer, b.columns])
        b.withPointer { source in
            result.withMutablePointer {
                multiply(
                    dense: source, leading: b.columns, columns: b.columns, transposed: transposed, into: $0,
                    leading: b.columns)
            }
        }
        return result
    }

    /// `C = A B`: `B` [columns, n] and `C` [rows, n] with rows `leading` apart; with `transposed`, `C = Aᵀ B` of `B` [rows, n]
    /// and `C` [columns, n].
    package func multiply(
        dense b: UnsafePointer<Scalar>, leading: Int, columns n: Int, transposed: Bool = false,
        into c: UnsafeMutablePointer<Scalar>, leading leadingC: Int
    ) {
        let panels = Panels<Scalar>(zeros: n, features: transposed ? rows : columns)
        panels.load(columns: b, leading: leading)
        let cut = panels.cut
        func take(_ panel: Int, _ range: Range<Int>, _ tile: UnsafePointer<Scalar>) {
            let (first, used, width) = cut[panel]
            for (i, r) in range.enumerated() {
                (c + r * leadingC + first).update(from: tile + i * width, count: used)
            }
        }
        if transposed {
            backwardTiles(panels.pointer, batch: n, take)
        } else {
            forwardTiles(panels.pointer, batch: n, take)
        }
        withExtendedLifetime(panels) {}
    }

    /// `A B` of a dense matrix [columns, n].
    public static func * (a: SparseMatrix, b: Tensor<Scalar>) -> Tensor<Scalar> { a.multiplied(by: b) }

    /// The sampled product of two dense matrices: `Σ_k a[i, k] b[j, k]` at the entries (i, j) of a pattern, and nowhere else;
    /// `a` [rows, k] and `b` [columns, k].
    ///
    /// - Complexity: O(entries · k).
    public static func sampled(_ a: Tensor<Scalar>, _ b: Tensor<Scalar>, at pattern: SparsePattern) -> SparseMatrix {
        require(
            a.rank == 2 && b.rank == 2 && a.rows == pattern.rows && b.rows == pattern.columns && a.columns == b.columns,
            "shapes \(a.shape) and \(b.shape) for a pattern \(pattern.shapeText)")
        var result = SparseMatrix(pattern)
        let (left, right) = (a.transposed(), b.transposed())
        let k = a.columns
        left.withPointer { dy in
            right.withPointer { x in
                result.withMutableValues {
                    guard let values = $0.baseAddress else { return }
                    let matrix = SparseMatrix(pattern)
                    matrix.accumulateGradient(
                        output: dy, leadingY: pattern.rows, input: x, leadingX: pattern.columns, batch: k, into: values)
                }
            }
        }
        return result
    }

    // MARK: Sparse matrices

    /// The product of two sparse matrices [rows, columns] × [columns, n], columns ascending in every row.
    ///
    /// Entries whose terms cancel are kept as explicit zeros; ``droppingZeros()`` removes them. Sums run in the order of this
    /// matrix's columns, so results do not depend on the threads.
    ///
    /// - Complexity: as many multiplications as there are pairs of entries `a_ik`, `b_kj`, and as much memory as the result.
    /// - Throws: `LacunaError.invalidArgument` if the matrices do not fit, `LacunaError.unsupported` if the product has
    ///   more than 2³¹ - 1 entries.
    public func multiplied(by other: SparseMatrix) throws -> SparseMatrix {
        try multiplied(by: other, kernel: Scalar.kernelTable.pointee.spgemm, zero: 0)
    }

    /// The product of two sparse matrices whose shapes fit.
    ///
    /// - Precondition: As ``multiplied(by:)`` throws.
    public static func * (a: SparseMatrix, b: SparseMatrix) -> SparseMatrix {
        do { return try a.multiplied(by: b) } catch { fatalError("\(error)") }
    }

    private func multiplied(
        by other: SparseMatrix, kernel: SparseProduct.Kernel, zero: Scalar
    ) throws -> SparseMatrix {
        let product = try SparseProduct(pattern, other.pattern, valueBytes: MemoryLayout<Scalar>.stride)
        let (pattern, values) = try product.run(
            UnsafePointer(buffer.pointer), UnsafePointer(other.buffer.pointer), zero: zero, kernel: kernel)
        withExtendedLifetime((self, other)) {}
        return SparseMatrix(pattern, buffer: values)
    }

    /// The product over (min, +), by the kernels of the ordinary one.
    @usableFromInline
    func multipliedByKernel(minPlus other: SparseMatrix) throws -> SparseMatrix {
        try multiplied(by: other, kernel: Scalar.kernelTable.pointee.spgemm_min_plus, zero: .infinity)
    }

    /// Those entries of the product that a pattern names, and no others: `(A B) ∘ pattern`. Entries of the pattern without
    /// any term hold 0.
    ///
    /// Where the pattern is sparser than the product, most sums are never begun: counting the triangles of a graph takes
    /// the entries of `A A` at `A` alone.
    ///
    /// - Parameter complemented: Takes the entries of the product that the pattern does not name instead.
    /// - Complexity: as many look-ups as there are pairs of entries `a_ik`, `b_kj` in rows where the pattern has entries,
    ///   and a multiplication for each that it names. Complemented: as the whole product.
    /// - Throws: `LacunaError.invalidArgument` if the shapes do not fit.
    public func multiplied(
        by other: SparseMatrix, at entries: SparsePattern, complemented: Bool = false
    ) throws -> SparseMatrix {
        try multiplied(by: other, over: PlusTimes<Scalar>(), at: entries, complemented: complemented)
    }
}

extension SparseMatrix {
    /// The product of two sparse matrices over a semiring, its entries where the ordinary product has any.
    ///
    /// - Complexity: As the ordinary product, with one look-up more for every pair of entries.
    /// - Throws: `LacunaError.invalidArgument` if the matrices do not fit, `LacunaError.unsupported` if the product has
    ///   more than 2³¹ - 1 entries.
    @inlinable
    public func multiplied<Ring: Semiring>(by other: SparseMatrix, over ring: Ring) throws -> SparseMatrix
    where Ring.Element == Scalar {
        // (min, +) has kernels; the ordinary ring too, but is asked for without naming it.
        if Ring.self == MinPlus<Float>.self, let a = self as? SparseMatrix<Float>, let b = other as? SparseMatrix<Float>
        {
            return try a.multipliedByKernel(minPlus: b) as! SparseMatrix
        }
        if Ring.self == MinPlus<Double>.self, let a = self as? SparseMatrix<Double>,
            let b = other as? SparseMatrix<Double>
        {
            return try a.multipliedByKernel(minPlus: b) as! SparseMatrix
        }
        return try multiplied(by: other, over: ring, at: pattern.multiplied(by: other.pattern))
    }

    /// Those entries of the product over a semiring that a pattern names, and no others. Entries of the pattern without any
    /// term hold the semiring's zero.
    ///
    /// - Parameter complemented: Takes the entries of the product that the pattern does not name instead.
    /// - Throws: `LacunaError.invalidArgument` if the shapes do not fit.
    @inlinable
    public func multiplied<Ring: Semiring>(
        by other: SparseMatrix, over ring: Ring, at entries: SparsePattern, complemented: Bool = false
    ) throws -> SparseMatrix where Ring.Element == Scalar {
        try checkProduct(with: other, at: entries)
        let target = complemented ? try pattern.multiplied(by: other.pattern).subtracting(entries) : entries
        var result = SparseMatrix(target, repeating: ring.zero)
        withValues { a in
            other.withValues { b in
                pattern.withCompressedRows { aStarts, aColumns in
                    other.pattern.withCompressedRows { bStarts, bColumns in
                        target.withCompressedRows { starts, columns in
                            result.withMutableValues { values in
                                let values = values
                                forEachProductRow(other.columns) { range, place in
                                    for r in range where starts[r] < starts[r + 1] {
                                        for j in starts[r]..<starts[r + 1] { place[Int(columns[j])] = j + 1 }
                                        for i in aStarts[r]..<aStarts[r + 1] {
                                            let k = Int(aColumns[i])
                                            for j in bStarts[k]..<bStarts[k + 1] {
                                                let found = place[Int(bColumns[j])]
                                                if found > 0 {
                                                    values[found - 1] = ring.plus(
                                                        values[found - 1], ring.times(a[i], b[j]))
                                                }
                                            }
                                        }
                                        for j in starts[r]..<starts[r + 1] { place[Int(columns[j])] = 0 }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        return result
    }

    @usableFromInline
    func checkProduct(with other: SparseMatrix, at entries: SparsePattern) throws {
        guard columns == other.rows else {
            throw LacunaError.invalidArgument(
                "other", reason: "\(other.pattern.shapeText) does not fit \(pattern.shapeText)")
        }
        guard entries.rows == rows, entries.columns == other.columns else {
            throw LacunaError.invalidArgument(
                "entries", reason: "\(entries.shapeText) is not [\(rows), \(other.columns)]")
        }
    }

    /// Calls `body` with ranges of rows and a table of zeros for `width` columns, which it leaves as it was.
    @usableFromInline
    func forEachProductRow(_ width: Int, _ body: (Range<Int>, UnsafeMutablePointer<Int>) -> Void) {
        Parallel.forRanges(rows, grain: Swift.max(64, rows / 128)) { range in
            let table = Buffer<Int>(repeating: 0, count: width)
            body(range, table.pointer)
            withExtendedLifetime(table) {}
        }
    }

    /// `A x` over a semiring, of `x` [columns].
    @inlinable
    public func multiplied<Ring: Semiring>(by x: [Scalar], over ring: Ring) -> [Scalar] where Ring.Element == Scalar {
        checkVector(x.count)
        var y = [Scalar](repeating: ring.zero, count: rows)
        forEachEntry { row, column, value in y[row] = ring.plus(y[row], ring.times(value, x[column])) }
        return y
    }

    @usableFromInline
    func checkVector(_ length: Int) {
        require(length == columns, "a vector of \(length) for a matrix \(pattern.shapeText)")
    }

    /// All entries combined by the semiring's `plus`.
    @inlinable
    public func reduced<Ring: Semiring>(over ring: Ring) -> Scalar where Ring.Element == Scalar {
        withValues { $0.reduce(ring.zero, ring.plus) }
    }

    /// The entries of every row combined by the semiring's `plus`.
    @inlinable
    public func rowsReduced<Ring: Semiring>(over ring: Ring) -> [Scalar] where Ring.Element == Scalar {
        var result = [Scalar](repeating: ring.zero, count: rows)
        forEachEntry { row, _, value in result[row] = ring.plus(result[row], value) }
        return result
    }
}

extension SparsePattern {
    /// Where the product of two matrices of these patterns may have entries: the Boolean product.
    ///
    /// - Throws: `LacunaError.invalidArgument` if they do not fit, `LacunaError.unsupported` beyond 2³¹ - 1 entries.
    public func multiplied(by other: SparsePattern) throws -> SparsePattern {
        try SparseProduct(self, other, valueBytes: 1).pattern()
    }
}
