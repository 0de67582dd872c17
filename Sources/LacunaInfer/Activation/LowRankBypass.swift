import LacunaModels
import LacunaSparse
import LacunaTensor

/// A matrix W and a low-rank copy `L R` of it that stands for the inputs that a gate leaves out:
/// `y = W (x · m) + L R (x · (1 - m))` with m the active inputs. Without a gate it is W.
public struct LowRankBypass: SubstitutedMatrix {
    /// W [rows, columns].
    public let base: any GatedMatrix
    /// L [rows, rank].
    public let left: any StoredMatrix
    /// R [rank, columns].
    public let right: any StoredMatrix

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for factors that do not fit the matrix.
    public init(_ base: any GatedMatrix, left: any StoredMatrix, right: any StoredMatrix) throws {
        guard left.rows == base.rows, right.columns == base.columns, left.columns == right.rows else {
            throw LacunaError.invalidArgument(
                "factors",
                reason: "[\(left.rows), \(left.columns)] and [\(right.rows), \(right.columns)] for a matrix "
                    + "[\(base.rows), \(base.columns)]")
        }
        (self.base, self.left, self.right) = (base, left, right)
    }

    /// Of the factors.
    public var rank: Int { left.columns }
    public var rows: Int { base.rows }
    public var columns: Int { base.columns }
    public var format: StorageFormat { base.format }
    public var storedCount: Int { base.storedCount }
    public var byteCount: Int { base.byteCount }
    public var inputEncoding: InputEncoding { base.inputEncoding }
    public var rowGranularity: Int { base.rowGranularity }
    public var isMultipliedWhole: Bool { base.isMultipliedWhole }
    public var keptEntries: SparsePattern { base.keptEntries }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        base.multiply(input, rows: rows, into: output)
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        base.decode(rows: rows, into: output)
    }

    public func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int
    ) {
        base.multiply(matrix: x, count: n, into: y, leadingY: leadingY)
    }

    public func multiply(
        _ x: UnsafePointer<Float>, activeInputs: UnsafeBufferPointer<UInt32>, into output: UnsafeMutablePointer<Float>
    ) {
        base.multiply(x, activeInputs: activeInputs, into: output)
        if activeInputs.count == columns { return }
        let rest = Buffer<Float>(uninitialized: columns)
        rest.pointer.update(from: x, count: columns)
        for i in activeInputs { rest.pointer[Int(i)] = 0 }
        addLowRank(rest.pointer, count: 1, to: output)
    }

    public func multiply(
        matrix x: UnsafePointer<Float>, masked: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>
    ) {
        base.multiply(matrix: x, masked: masked, count: count, into: y)
        let rest = Buffer<Float>(uninitialized: max(count * columns, 1))
        for i in 0..<count * columns { rest.pointer[i] = x[i] - masked[i] }
        addLowRank(rest.pointer, count: count, to: y)
    }

    private func addLowRank(_ x: UnsafePointer<Float>, count: Int, to y: UnsafeMutablePointer<Float>) {
        let inner = Buffer<Float>(uninitialized: max(count * rank, 1))
        let outer = Buffer<Float>(uninitialized: max(count * rows, 1))
        Product.gemm(right, x, count: count, into: inner.pointer)
        Product.gemm(left, inner.pointer, count: count, into: outer.pointer)
        for i in 0..<count * rows { y[i] += outer.pointer[i] }
    }

    /// The entries of both factors.
    public var substituteCount: Int { left.rows * left.columns + right.rows * right.columns }

    public func bytesRead(activeInputs: UnsafeBufferPointer<UInt32>) -> Int {
        base.bytesRead(activeInputs: activeInputs)
            + (activeInputs.count == columns ? 0 : left.byteCount + right.byteCount)
    }
}
