/// What a product of sparse matrices puts in the place of plus and times.
public enum Semiring: Sendable, Hashable, CaseIterable {
    /// `c_ij = Σ_k a_ik b_kj`: the matrix product.
    case plusTimes
    /// `c_ij = min_k (a_ik + b_kj)`: the shortest of the paths of two steps. What is not stored is infinitely far.
    case minPlus
}
