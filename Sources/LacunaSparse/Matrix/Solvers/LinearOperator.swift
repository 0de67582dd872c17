import LacunaTensor

/// What iterative solvers need of a matrix: its products with vectors.
///
/// ``SparseMatrix`` and `Tensor` conform; ``FunctionOperator`` makes one of functions, for matrices that are never formed.
public protocol LinearOperator<Scalar>: Sendable {
    /// The type of its numbers.
    associatedtype Scalar: SparseScalar
    /// Length of the vectors that come out.
    var rows: Int { get }
    /// Length of the vectors that go in.
    var columns: Int { get }
    /// Whether ``applyTransposed(_:into:)`` can be called: least squares and singular values ask first, and throw. By default true.
    var hasTranspose: Bool { get }
    /// `y = A x`: `x` [columns], `y` [rows].
    func apply(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>)
    /// `y = Aᵀ x`: `x` [rows], `y` [columns].
    func applyTransposed(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>)
}

extension LinearOperator {
    public var hasTranspose: Bool { true }

    /// - Throws: `LacunaError.invalidArgument` if the operator has no transpose, which a method is about to use.
    func checkTranspose() throws {
        guard hasTranspose else {
            throw LacunaError.invalidArgument(
                "operator", reason: "this method needs products with the transpose, which the operator does not have")
        }
    }

    /// `A x` of `x` [columns].
    public func applied(to x: [Scalar]) -> [Scalar] {
        require(x.count == columns, "a vector of \(x.count) for an operator of \(columns) columns")
        let (from, y) = (Buffer(x), Buffer<Scalar>(uninitialized: rows))
        apply(UnsafeBufferPointer(from.elements), into: y.elements)
        return y.array
    }

    /// `Aᵀ x` of `x` [rows].
    public func transposeApplied(to x: [Scalar]) -> [Scalar] {
        require(x.count == rows, "a vector of \(x.count) for an operator of \(rows) rows, transposed")
        let (from, y) = (Buffer(x), Buffer<Scalar>(uninitialized: columns))
        applyTransposed(UnsafeBufferPointer(from.elements), into: y.elements)
        return y.array
    }
}

extension SparseMatrix: LinearOperator where Scalar: SparseScalar {
    public func apply(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>) {
        guard let target = y.baseAddress else { return }
        multiply(vector: x.baseAddress ?? UnsafePointer(target), into: target)
    }

    public func applyTransposed(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>) {
        guard let target = y.baseAddress else { return }
        multiplyTransposed(vector: x.baseAddress ?? UnsafePointer(target), into: target)
    }
}

extension Tensor: LinearOperator where Scalar: SparseScalar {
    public func apply(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>) {
        product(x, into: y, transposed: false)
    }

    public func applyTransposed(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>) {
        product(x, into: y, transposed: true)
    }

    private func product(
        _ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>, transposed: Bool
    ) {
        guard let target = y.baseAddress else { return }
        let (rows, columns) = (rows, columns)
        withPointer { a in
            LinearAlgebra.gemm(
                m: transposed ? columns : rows, n: 1, k: transposed ? rows : columns, a, leadingA: columns,
                transposedA: transposed, x.baseAddress ?? UnsafePointer(target), leadingB: 1, into: target, leadingC: 1)
        }
    }
}

/// An operator of functions.
///
/// ```swift
/// let shift = FunctionOperator<Double>(rows: 3, columns: 3, apply: { [$0[2], $0[0], $0[1]] })
/// ```
public struct FunctionOperator<Scalar: SparseScalar>: LinearOperator {
    public let rows: Int
    public let columns: Int
    private let function: @Sendable ([Scalar]) -> [Scalar]
    private let transpose: (@Sendable ([Scalar]) -> [Scalar])?

    /// - Parameters:
    ///   - apply: `A x` [rows] of `x` [columns].
    ///   - transpose: `Aᵀ x` [columns] of `x` [rows]; only least squares and singular vectors need it.
    public init(
        rows: Int, columns: Int, apply: @escaping @Sendable ([Scalar]) -> [Scalar],
        transpose: (@Sendable ([Scalar]) -> [Scalar])? = nil
    ) {
        (self.rows, self.columns, function, self.transpose) = (rows, columns, apply, transpose)
    }

    public var hasTranspose: Bool { transpose != nil }

    public func apply(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>) {
        store(function(Array(x)), into: y)
    }

    public func applyTransposed(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>) {
        require(transpose != nil, "the operator was made without its transpose: ask hasTranspose first")
        if let transpose { store(transpose(Array(x)), into: y) }
    }

    private func store(_ result: [Scalar], into y: UnsafeMutableBufferPointer<Scalar>) {
        require(result.count == y.count, "the operator's function gave \(result.count) numbers instead of \(y.count)")
        _ = y.update(from: result)
    }
}
