import LacunaIO
import LacunaTensor

/// A dense matrix in column-major order, in memory or in a mapped file.
///
/// A mapped design may be larger than memory: every operation walks whole columns in ascending order.
public struct DenseDesign: Design, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public private(set) var inverseScales: [Double]?
    /// Keeps `values` alive. Nothing writes to it after initialisation.
    private let owner: AnyObject
    let values: UnsafePointer<Double>
    /// What is subtracted from each column as it is read, in stored units; nil for nothing. Numbers in memory are copied
    /// instead, unless there is no room.
    private var shifts: [Double]?

    /// - Parameter columnMajor: Column after column, `rows` numbers each.
    public init(columnMajor values: [Double], rows: Int) {
        require(rows > 0 ? values.count % rows == 0 : values.isEmpty)
        self.init(Buffer(values), rows: rows, columns: rows > 0 ? values.count / rows : 0)
    }

    /// - Parameter matrix: Shape [rows, columns].
    public init(_ matrix: Tensor<Double>) {
        let transposed = matrix.transposed()
        let buffer = transposed.withPointer { Buffer(copying: $0, count: transposed.count) }
        self.init(buffer, rows: matrix.rows, columns: matrix.columns)
    }

    /// Columns one after another in memory, which is not copied.
    ///
    /// - Precondition: The buffer holds `rows · columns` numbers.
    public init(_ columnMajor: Buffer<Double>, rows: Int, columns: Int) {
        require(columnMajor.count >= rows * columns && columns <= Int(UInt32.max))
        self.rows = rows
        self.columns = columns
        owner = columnMajor
        values = UnsafePointer(columnMajor.pointer)
    }

    /// A design that stays on disk.
    ///
    /// - Parameters:
    ///   - file: Holds the numbers column after column, in the machine's byte order.
    ///   - offset: Where they begin; a multiple of 8.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if the file is too short for the shape.
    public init(mapping file: MappedFile, offset: Int = 0, rows: Int, columns: Int) throws {
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
        let (bytes, overflow2) = count.multipliedReportingOverflow(by: 8)
        guard rows >= 0, columns >= 0, columns <= Int(UInt32.max), offset >= 0, offset % 8 == 0, !overflow, !overflow2,
            bytes <= file.count - offset
        else {
            throw LacunaError.malformed(
                file: file.path, location: "byte \(offset)",
                reason: "there is no room for \(rows) by \(columns) numbers in \(file.count) bytes")
        }
        self.rows = rows
        self.columns = columns
        owner = file
        let empty = UnsafePointer(UnsafeMutablePointer<Double>(bitPattern: 8)!)  // never read: there are no numbers
        values = file.bytes.baseAddress.map { ($0 + offset).assumingMemoryBound(to: Double.self) } ?? empty
    }

    public var byteCount: Int { rows * columns * 8 }
    /// Whether the numbers are in a file rather than in memory.
    public var isMapped: Bool { owner is MappedFile }

    public func scaled(by inverseScales: [Double]?) -> DenseDesign {
        require(inverseScales == nil || inverseScales!.count == columns)
        var result = self
        result.inverseScales = inverseScales
        return result
    }

    public func correlations(
        _ selected: [UInt32]?, with v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
    ) {
        let count = selected?.count ?? columns
        Parallel.forRanges(count, grain: columnGrain(rows)) { range in
            let target = out + range.lowerBound
            if shifts != nil {
                for k in range { out[k] = dot(selected.map { Int($0[k]) } ?? k, v) }
            } else if let selected {
                selected.withUnsafeBufferPointer {
                    kernels.dots_f64(
                        values, rows, $0.baseAddress! + range.lowerBound, range.count, v, rows, target)
                }
            } else {
                kernels.dots_f64(values + range.lowerBound * rows, rows, nil, range.count, v, rows, target)
            }
            if let scales = inverseScales {
                for k in range { out[k] *= scales[selected.map { Int($0[k]) } ?? k] }
            }
        }
    }

    public func correlation(_ j: Int, with v: UnsafePointer<Double>) -> Double {
        dot(j, v) * (inverseScales?[j] ?? 1)
    }

    /// The product with a stored column, shifted.
    private func dot(_ j: Int, _ v: UnsafePointer<Double>) -> Double {
        guard let shift = shifts?[j], shift != 0 else { return kernels.dot_f64(values + j * rows, v, rows) }
        var sum = 0.0
        forEachPiece(j, shift) { start, piece, count in sum += kernels.dot_f64(piece, v + start, count) }
        return sum
    }

    /// Calls `body` with pieces of a shifted column: where they begin, their numbers, and how many.
    private func forEachPiece(_ j: Int, _ shift: Double, _ body: (Int, UnsafePointer<Double>, Int) -> Void) {
        withUnsafeTemporaryAllocation(of: Double.self, capacity: Self.piece) { room in
            guard let base = room.baseAddress else { return }
            for start in stride(from: 0, to: rows, by: Self.piece) {
                let count = min(Self.piece, rows - start)
                let source = values + j * rows + start
                for i in 0..<count { base[i] = source[i] - shift }
                body(start, base, count)
            }
        }
    }

    /// Numbers of a piece: what stays in the first-level cache.
    private static let piece = 2048

    public func add(_ a: Double, column j: Int, to v: UnsafeMutablePointer<Double>) {
        let factor = a * (inverseScales?[j] ?? 1)
        guard let shift = shifts?[j], shift != 0 else { return kernels.axpy_f64(factor, values + j * rows, v, rows) }
        forEachPiece(j, shift) { start, piece, count in kernels.axpy_f64(factor, piece, v + start, count) }
    }

    public func squaredNorms(weights: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        Parallel.forRanges(columns, grain: columnGrain(rows)) { range in
            for j in range {
                let scale = inverseScales?[j] ?? 1
                var sum = 0.0
                if let shift = shifts?[j], shift != 0 {
                    forEachPiece(j, shift) { start, piece, count in
                        sum += kernels.weighted_squares_f64(piece, weights + start, count)
                    }
                } else {
                    sum = kernels.weighted_squares_f64(values + j * rows, weights, rows)
                }
                out[j] = sum * scale * scale
            }
        }
    }

    public func gram(
        _ first: [UInt32], _ second: [UInt32], weights: UnsafePointer<Double>, totalWeight: Double,
        means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int
    ) {
        let (a, b) = (first.count, second.count)
        if a == 0 || b == 0 { return }
        // Columns among themselves, at the end of `second`, are half of a symmetric matrix; what comes before is not.
        let isSymmetric = b >= a && second.suffix(a).elementsEqual(first)
        let others = isSymmetric ? b - a : b
        // Blocks of rows keep the packed columns in the cache, and a mapped design out of memory.
        let block = min(rows, max(256, (1 << 15) / (a + others)))
        let left = Buffer<Double>(uninitialized: a * block)
        let right = Buffer<Double>(uninitialized: others * block)
        for i in 0..<a { (out + i * leading).update(repeating: 0, count: b) }
        let roots = (0..<rows).map { weights[$0].squareRoot() }
        for start in stride(from: 0, to: rows, by: block) {
            let count = min(block, rows - start)
            for (k, j) in first.enumerated() {
                pack(Int(j), start, count, shift: means?.first[k] ?? 0, weights: roots, into: left.pointer + k * count)
            }
            for (k, j) in second.prefix(others).enumerated() {
                pack(
                    Int(j), start, count, shift: means?.second[k] ?? 0, weights: roots, into: right.pointer + k * count)
            }
            LinearAlgebra.gemm(
                m: a, n: others, k: count, left.pointer, leadingA: count, right.pointer, leadingB: count,
                transposedB: true, beta: 1, into: out, leadingC: leading)
            if isSymmetric {
                LinearAlgebra.accumulateOuterGram(
                    left.pointer, leadingA: count, rows: a, columns: count, into: out + others, leadingC: leading)
            }
        }
        if isSymmetric {
            for i in 0..<a { for j in 0..<i { out[j * leading + others + i] = out[i * leading + others + j] } }
        }
    }

    private func pack(
        _ j: Int, _ start: Int, _ count: Int, shift: Double, weights: UnsafePointer<Double>,
        into target: UnsafeMutablePointer<Double>
    ) {
        let source = values + j * rows + start
        let scale = inverseScales?[j] ?? 1
        let weights = weights + start
        if let own = shifts?[j], own != 0 {
            for i in 0..<count { target[i] = weights[i] * ((source[i] - own) * scale - shift) }
        } else {
            for i in 0..<count { target[i] = weights[i] * (source[i] * scale - shift) }
        }
    }

    public func moments(weights: [Double]) -> ColumnMoments {
        var moments = ColumnMoments(columns: columns)
        if rows == 0 { return moments }
        let first = weights.firstIndex { $0 > 0 } ?? 0
        let hasZeros = weights.contains(0)
        moments.withColumns(grain: columnGrain(rows)) { range, set in
            var work = [Double](repeating: 0, count: rows)
            for j in range {
                var summary = ColumnSummary(
                    values + j * rows, weights: weights, count: rows, first: first, hasZeros: hasZeros, work: &work)
                if let shift = shifts?[j] { summary.mean -= shift }
                set(j, summary)
            }
        }
        return moments.scaled(by: inverseScales)
    }

    public func shifted(by shifts: [Double]) -> any Design {
        require(shifts.count == columns)
        var result = self
        let total = zip(shifts, self.shifts ?? shifts.map { _ in 0 }).map(+)
        // A copy is quicker to use, where there is room for it.
        guard !isMapped, byteCount < MachineMemory.available / 4 else {
            result.shifts = total
            return result
        }
        let copy = Buffer<Double>(uninitialized: max(rows * columns, 1))
        Parallel.forRanges(columns, grain: columnGrain(rows)) { range in
            for j in range {
                let (source, target, shift) = (values + j * rows, copy.pointer + j * rows, total[j])
                for i in 0..<rows { target[i] = source[i] - shift }
            }
        }
        result = DenseDesign(copy, rows: rows, columns: columns)
        result.inverseScales = inverseScales
        return result
    }

    public func firstNonFinite() -> (row: Int, column: Int)? {
        for j in 0..<columns {
            let column = values + j * rows
            // A sum of zeros is 0 unless something was not finite.
            var sum = 0.0
            for i in 0..<rows { sum += column[i] * 0 }
            if sum != 0 { return ((0..<rows).first { !column[$0].isFinite } ?? 0, j) }
        }
        return nil
    }
}
