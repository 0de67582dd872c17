import LacunaSparse
import LacunaTensor

extension Linear {
    /// Keeps only the weights in `mask`, in the given storage. Optimiser state starts anew.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a mask of another shape or one that the storage cannot hold.
    public func sparsify(_ storage: StorageLayout, mask: SparsePattern) throws {
        guard mask.rows == outputDimensions, mask.columns == inputDimensions else {
            throw LacunaError.invalidArgument(
                "mask", reason: "\(mask.rows)x\(mask.columns) for a layer of \(outputDimensions)x\(inputDimensions)")
        }
        let dense = weight.densified()
        guard let layout = storage.base as? any TrainableLayout else {
            throw LacunaError.invalidArgument("storage", reason: "weights are not trained in the layout \(storage)")
        }
        weight = try layout.trainable(dense, mask: mask)
    }

    /// The same layer with other storage; this one stays as it is. See ``sparsify(_:mask:)``.
    public func sparsified(_ storage: StorageLayout, mask: SparsePattern) throws -> Linear {
        let copy = Linear(weight: DenseWeight(weight.densified()), bias: bias?.value)
        try copy.sparsify(storage, mask: mask)
        return copy
    }
}

extension Module {
    /// Changes the storage of the linear layers for which `masks` has an entry, by path.
    ///
    /// - Throws: As ``Linear/sparsify(_:mask:)``, and for names that are no layer's.
    public func sparsify(_ storage: StorageLayout, masks: [String: SparsePattern]) throws {
        let layers = Dictionary(uniqueKeysWithValues: linears.map { ($0.name, $0.layer) })
        for (name, mask) in masks {
            guard let layer = layers[name] else {
                throw LacunaError.invalidArgument("masks", reason: "there is no linear layer '\(name)'")
            }
            try layer.sparsify(storage, mask: mask)
        }
    }
}

extension Module {
    /// Turns masks into storage: linear layers with a masked dense weight keep only what the mask keeps, as compressed
    /// rows where that is less than a quarter of the entries, by a bit an entry where it is more. Nothing that is computed
    /// changes; optimiser state starts anew. A weight with a view has no mask of its own and stays.
    ///
    /// - Returns: The paths of the layers that changed.
    @discardableResult
    public func compress() -> [String] {
        var changed: [String] = []
        for (name, layer) in linears {
            guard let dense = layer.dense, dense.view == nil, let mask = dense.mask else { continue }
            let isSparse = 4 * mask.count < mask.rows * mask.columns
            layer.weight =
                isSparse
                ? CSRWeight(dense.parameter.value, mask: mask) : BitmaskWeight(dense.parameter.value, mask: mask)
            changed.append(name)
        }
        return changed
    }
}
