import LacunaSparse
import LacunaTensor

/// A layout in which sparse weights can be trained. One from outside the library conforms as those below do, and is then
/// taken wherever a layer is made sparse (``Linear/sparsify(_:mask:)``).
public protocol TrainableLayout: StoreLayout {
    /// The entries of `weight` [outputs, inputs] that `mask` keeps, as a weight to train.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a mask that the layout cannot hold.
    func trainable(_ weight: Tensor<Float>, mask: SparsePattern) throws -> any TrainableWeight
}

extension StorageLayout {
    /// The layout of a name, such as `masked`, `csr`, `bitmask`, `2:4`, `bsr32x32`, if weights can be trained in it.
    ///
    /// - Throws: `LacunaError.invalidArgument` for other names.
    public static func trainable(_ name: String) throws -> StorageLayout {
        guard let layout = StorageLayout(name), layout.base is any TrainableLayout else {
            throw LacunaError.invalidArgument(
                "storage", reason: "'\(name)' is none of masked, csr, bitmask, n:m, bsrRxC")
        }
        return layout
    }
}

extension MaskedLayout: TrainableLayout {
    public func trainable(_ weight: Tensor<Float>, mask: SparsePattern) throws -> any TrainableWeight {
        let masked = DenseWeight(weight)
        masked.mask = mask
        return masked
    }
}

extension CSRLayout: TrainableLayout {
    public func trainable(_ weight: Tensor<Float>, mask: SparsePattern) throws -> any TrainableWeight {
        CSRWeight(weight, mask: mask)
    }
}

extension BitmaskLayout: TrainableLayout {
    public func trainable(_ weight: Tensor<Float>, mask: SparsePattern) throws -> any TrainableWeight {
        BitmaskWeight(weight, mask: mask)
    }
}

extension NMLayout: TrainableLayout {
    public func trainable(_ weight: Tensor<Float>, mask: SparsePattern) throws -> any TrainableWeight {
        guard mask.satisfies(.nm(n: n, m: m)) else {
            throw LacunaError.invalidArgument("mask", reason: "keeps more than \(n) of some \(m) columns")
        }
        return BitmaskWeight(weight, mask: mask)
    }
}

extension BSRLayout: TrainableLayout {
    public func trainable(_ weight: Tensor<Float>, mask: SparsePattern) throws -> any TrainableWeight {
        try BlockWeight(weight, mask: mask, blockRows: rows, blockColumns: columns)
    }
}
