import LacunaTensor

/// What the entries of sparse matrices and vectors may be: `Float` and `Double` for arithmetic, `Int32` and `Bool` for
/// counting and reachability over a ``Semiring``.
public protocol SparseElement: BitwiseCopyable, Hashable, Sendable {
    /// What an entry that is not stored holds: 0, or false.
    static var absent: Self { get }
}

extension Float: SparseElement { public static var absent: Float { 0 } }
extension Double: SparseElement { public static var absent: Double { 0 } }
extension Int32: SparseElement { public static var absent: Int32 { 0 } }
extension Bool: SparseElement { public static var absent: Bool { false } }
