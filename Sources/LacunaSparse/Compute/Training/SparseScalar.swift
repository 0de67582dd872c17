import CLacuna
import LacunaTensor

/// The types of values that sparse matrices compute with: `Float` and `Double`.
public protocol SparseScalar: TensorScalar, SparseElement {
    /// The compiled kernels for this type.
    static var sparseKernels: SparseKernels { get }
}

/// The compiled kernels of one type of value, at the level of vector instructions that this processor has.
public struct SparseKernels: @unchecked Sendable {
    /// Constant memory of the program.
    package let table: UnsafePointer<lk_real>

    fileprivate init(_ type: Int) { table = lk_real_best(Int32(type)) }
}

extension Float: SparseScalar {
    public static let sparseKernels = SparseKernels(LK_F32)
}

extension Double: SparseScalar {
    public static let sparseKernels = SparseKernels(LK_F64)
}

extension SparseScalar {
    package static var kernelTable: UnsafePointer<lk_real> { sparseKernels.table }

    /// Vectors of a full panel: 256 bytes of each feature.
    static var panelWidth: Int { 256 / MemoryLayout<Self>.size }
    /// Panels are as wide as a multiple of this: 64 bytes.
    static var panelUnit: Int { 64 / MemoryLayout<Self>.size }
}
