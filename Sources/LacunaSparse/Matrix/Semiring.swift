/// What takes the place of plus and times in a product of sparse matrices.
///
/// `plus` is associative and commutative with the neutral element ``zero``; entries that are not stored count as zero, and
/// `times` with one of them gives zero. Types that conform are usually empty structures, so that products specialise to
/// them; the ordinary product over `Float` and `Double`, `multiplied(by:)` without a semiring, has kernels of its own.
///
/// After the GraphBLAS: J. Kepner, P. Aaltonen, D. Bader, A. Buluç, F. Franchetti, J. Gilbert and others, "Mathematical
/// Foundations of the GraphBLAS", arXiv 1606.05790.
public protocol Semiring<Element>: Sendable {
    /// What is added and multiplied.
    associatedtype Element: SparseElement
    /// The neutral element of `plus`: what an entry without terms holds.
    var zero: Element { get }
    /// The sum: associative and commutative, with ``zero`` as its neutral element.
    func plus(_ a: Element, _ b: Element) -> Element
    /// The product: associative, and distributive over the sum.
    func times(_ a: Element, _ b: Element) -> Element
}

/// `c_ij = Σ_k a_ik b_kj`: the ordinary product.
public struct PlusTimes<Element: SparseElement & Numeric>: Semiring {
    /// The semiring; it has no settings.
    @inlinable public init() {}
    @inlinable public var zero: Element { 0 }
    @inlinable public func plus(_ a: Element, _ b: Element) -> Element { a + b }
    @inlinable public func times(_ a: Element, _ b: Element) -> Element { a * b }
}

/// `c_ij = min_k (a_ik + b_kj)`: the shortest of the paths of two steps. What is not stored is infinitely far.
public struct MinPlus<Element: SparseElement & BinaryFloatingPoint>: Semiring {
    /// The semiring; it has no settings.
    @inlinable public init() {}
    @inlinable public var zero: Element { .infinity }
    @inlinable public func plus(_ a: Element, _ b: Element) -> Element { Swift.min(a, b) }
    @inlinable public func times(_ a: Element, _ b: Element) -> Element { a + b }
}

/// `c_ij = max_k (a_ik + b_kj)`: the longest of the paths of two steps, as for schedules and most likely sequences.
public struct MaxPlus<Element: SparseElement & BinaryFloatingPoint>: Semiring {
    /// The semiring; it has no settings.
    @inlinable public init() {}
    @inlinable public var zero: Element { -.infinity }
    @inlinable public func plus(_ a: Element, _ b: Element) -> Element { Swift.max(a, b) }
    @inlinable public func times(_ a: Element, _ b: Element) -> Element { a + b }
}

/// `c_ij = max_k (a_ik b_kj)` of values that are not negative: the most reliable of the paths of two steps.
public struct MaxTimes<Element: SparseElement & BinaryFloatingPoint>: Semiring {
    /// The semiring; it has no settings.
    @inlinable public init() {}
    @inlinable public var zero: Element { 0 }
    @inlinable public func plus(_ a: Element, _ b: Element) -> Element { Swift.max(a, b) }
    @inlinable public func times(_ a: Element, _ b: Element) -> Element { a * b }
}

/// `c_ij = ⋁_k (a_ik ∧ b_kj)`: whether there is a path of two steps.
public struct OrAnd: Semiring {
    /// The semiring; it has no settings.
    @inlinable public init() {}
    @inlinable public var zero: Bool { false }
    @inlinable public func plus(_ a: Bool, _ b: Bool) -> Bool { a || b }
    @inlinable public func times(_ a: Bool, _ b: Bool) -> Bool { a && b }
}
