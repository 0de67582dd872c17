/// Which entries of a weight are kept.
public typealias Mask = SparsePattern
