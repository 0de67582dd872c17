import LacunaTensor

/// A sparse matrix `W` [rows, columns] whose values may be trained: its three products on panels.
///
/// ``SparseMatrix`` holds any pattern and suits sparse ones, ``CompressedGroups`` any pattern of middling density, such as
/// 2:4, ``CompressedBlocks`` dense blocks.
public protocol TrainableMatrix<Scalar>: Sendable {
    /// The type of the values.
    associatedtype Scalar: SparseScalar
    /// Outputs.
    var rows: Int { get }
    /// Inputs.
    var columns: Int { get }
    /// Values stored.
    var count: Int { get }

    /// Calls `body` with the values, which are only valid during the call.
    func withValues<R>(_ body: (UnsafeBufferPointer<Scalar>) throws -> R) rethrows -> R
    /// Calls `body` with values that no other matrix shares.
    mutating func withMutableValues<R>(_ body: (UnsafeMutableBufferPointer<Scalar>) throws -> R) rethrows -> R

    /// `Y = alpha X Wᵀ + beta Y`
    func multiply(_ x: Panels<Scalar>, alpha: Scalar, beta: Scalar, into y: Panels<Scalar>)
    /// `dX = alpha dY W + beta dX`
    func multiplyTransposed(_ dy: Panels<Scalar>, alpha: Scalar, beta: Scalar, into dx: Panels<Scalar>)
    /// `g[j] (+)= Σ_b dY[b, row(j)] X[b, column(j)]` for every value `j`.
    func accumulateGradient(
        output dy: Panels<Scalar>, input x: Panels<Scalar>, into gradient: UnsafeMutablePointer<Scalar>, adding: Bool)
    /// The matrix with zeros where nothing is stored, [rows, columns].
    func densified() -> Tensor<Scalar>
}
